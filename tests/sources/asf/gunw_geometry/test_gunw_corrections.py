"""What is subtracted from phase: values, sign, both dates, heights, and what is not known (D42)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, CorruptError
from m3leo_prep.sources.asf.gunw.corrections import NAMES, lacking, subtracted
from m3leo_prep.sources.asf.gunw.file import GunwFile
from m3leo_prep.testing.earthdata.files.gunw import IONOSPHERE, IONOSPHERE_PITCH, TIDE, TROPOSPHERE, Field
from tests.sources.asf.gunw_geometry.granules import NORTH, WEST, granule, hills, level

Floats = NDArray[np.float64]
REFERENCE, SECONDARY = "reference", "secondary"
DATES = REFERENCE, SECONDARY
WET, DRY = "Wet", "Hydrostatic"


def flat(value: float) -> Field:
    return lambda h, lat, lon: value + 0.0 * (h + lat + lon)


def tilted(level: float, east: float, north: float, up: float = 0.0) -> Field:
    return lambda h, lat, lon: level + east * (lon - WEST) + north * (lat - NORTH) + up * h


ALL = {
    IONOSPHERE: tilted(2.0, 3.0, -1.0),
    TIDE.format(REFERENCE): tilted(5.0, 0.5, 0.25, 1e-4),
    TIDE.format(SECONDARY): tilted(1.0, -0.5, 0.75, 2e-4),
    TROPOSPHERE.format(REFERENCE, WET): tilted(-10.0, 1.0, 0.0, 1e-3),
    TROPOSPHERE.format(SECONDARY, WET): tilted(-20.0, 0.0, 1.0, 2e-3),
    TROPOSPHERE.format(REFERENCE, DRY): tilted(-300.0, 0.1, 0.2, 3e-2),
    TROPOSPHERE.format(SECONDARY, DRY): tilted(-310.0, 0.2, 0.1, 4e-2),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> GunwFile:
    """Return a granule that holds all there are."""
    return granule(tmp_path_factory.mktemp("corrected"), corrections=ALL)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["ionosphere"], [(IONOSPHERE, 1)]),
        (["solid_earth_tide"], [(TIDE.format(REFERENCE), 1), (TIDE.format(SECONDARY), -1)]),
        (
            ["troposphere"],
            [(TROPOSPHERE.format(date, part), 1 - 2 * (date == SECONDARY)) for date in DATES for part in (WET, DRY)],
        ),
        (NAMES, [(path, -1 if SECONDARY in path else 1) for path in ALL]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value[0], str) else "",
)
def test_reference_minus_secondary_at_the_height_of_the_ground(
    file: GunwFile, names: list[str], pairs: list[tuple[str, int]]
) -> None:
    geobox = file.geobox[30:370, 40:460]
    made, valid = subtracted(file, names, geobox, hills)
    to = geobox.transform
    lat = (to.f + to.e * (np.arange(340) + 0.5))[:, None]
    lon = (to.c + to.a * (np.arange(420) + 0.5))[None, :]
    height = hills(geobox)[0].astype(float)
    truth = sum(sign * ALL[path](height, lat, lon) for path, sign in pairs)
    assert made.dtype == np.float64
    assert valid.all()
    assert np.abs(made - truth).max() < 1e-4, "float32 of 300 rad as stored"


def test_constants_subtract_exactly(tmp_path: Path) -> None:
    constants = {path: flat(value) for path, value in zip(ALL, (0.7, 3.3, 1.1, -5.5, -7.7, 301.0, 299.9), strict=True)}
    file = granule(tmp_path, corrections=constants)
    made, valid = subtracted(file, NAMES, file.geobox, hills)
    values = [float(np.float32(value)) for value in (0.7, 3.3, 1.1, -5.5, -7.7, 301.0, 299.9)]
    iono, tide, tide_before, wet, wet_before, dry, dry_before = values
    assert (made == iono + tide - tide_before + wet - wet_before + dry - dry_before).all()
    assert valid.all()


def test_one_pixel_has_the_same_bits_in_every_cut(file: GunwFile) -> None:
    whole, _ = subtracted(file, NAMES, file.geobox, level(321.5))
    for rows, cols in ((slice(0, 40), slice(60, 120)), (slice(37, 98), slice(1, 2)), (slice(399, 400), slice(0, 500))):
        part, _ = subtracted(file, NAMES, file.geobox[rows, cols], level(321.5))
        assert part.tobytes() == whole[rows, cols].tobytes()


def test_not_known_next_to_where_the_ionosphere_is_not(tmp_path: Path) -> None:
    def coast(h: Floats, lat: Floats, lon: Floats) -> Floats:
        return np.where(lon < -119.2, np.nan, 2.0) + 0.0 * (h + lat)

    file = granule(tmp_path, corrections={IONOSPHERE: coast})
    made, valid = subtracted(file, ["ionosphere"], file.geobox, None)
    to = file.geobox.transform
    lon = to.c + to.a * (np.arange(500) + 0.5)
    assert not valid[:, lon < -119.2].any()
    assert valid[:, lon > -119.2 + IONOSPHERE_PITCH].all()
    assert (made[valid] == 2).all(), "nothing that is not there was mixed in"
    assert np.isnan(made[~valid]).all()


def test_without_heights_it_says_what_to_name(file: GunwFile) -> None:
    assert subtracted(file, ["ionosphere"], file.geobox, None)[1].all()
    with pytest.raises(ConfigError, match=r"solid_earth_tide and troposphere.*\n.*`dem: NAME`"):
        subtracted(file, NAMES, file.geobox, None)


def test_a_granule_says_what_it_lacks(tmp_path: Path, file: GunwFile) -> None:
    assert lacking(file, NAMES) == ()
    assert lacking(granule(tmp_path, serial=1), NAMES) == NAMES
    half = granule(tmp_path, corrections={p: ALL[p] for p in ALL if p != TROPOSPHERE.format(SECONDARY, DRY)}, serial=2)
    assert lacking(half, NAMES) == ("troposphere",)
    with pytest.raises(CorruptError, match="troposphereHydrostatic"):
        subtracted(half, ["troposphere"], half.geobox, hills)
