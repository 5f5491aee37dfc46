"""Files of the archive that several tests read, written once."""

import os
import shutil

import numpy as np
import pytest

from m3leo_prep.testing.earthdata.files.gssic import stored, write_tile
from tests.sources.asf.gssic.gssic_archive import season_of_mexico, smooth


def laid(folder, bucket):
    """Put files into the bucket without a copy."""
    shutil.copytree(folder, bucket, copy_function=os.link, dirs_exist_ok=True)


@pytest.fixture(scope="session")
def mexico_files(tmp_path_factory, shared_data):
    folder = tmp_path_factory.mktemp("mexico")
    return folder, season_of_mexico(folder, shared_data)


@pytest.fixture(scope="session")
def orbit_files(tmp_path_factory):
    folder, held = tmp_path_factory.mktemp("orbits"), {}
    codes = np.array([1, 5, 17, 21], np.uint8)[np.add.outer(np.arange(1200), np.arange(1200)) // 50 % 4]
    for tile in ("N20W100", "N20W099"):
        for orbit, base in (("12A", 30), ("143D", 36)):
            held[tile, orbit] = stored("inc", smooth(base, base, base + 10))
            write_tile(folder, f"{tile}_{orbit}_inc", held[tile, orbit])
            write_tile(folder, f"{tile}_{orbit}_lsmap", codes)
    write_tile(folder, "N20W100_70D_inc", held["N20W100", "12A"])
    return folder, held


@pytest.fixture
def mexico(earthdata, mexico_files):
    """Return the stored numbers of a season of a tile by metric, which the bucket holds."""
    folder, numbers = mexico_files
    laid(folder, earthdata.bucket)
    return numbers


@pytest.fixture
def orbits(earthdata, orbit_files):
    """Return what is stored of two orbits in two tiles beside each other, and a third orbit in one of them."""
    folder, held = orbit_files
    laid(folder, earthdata.bucket)
    return held
