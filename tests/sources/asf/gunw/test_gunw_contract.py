"""The port's rules on granules of the stand-in: one pair in two frames, one of version 2."""

from __future__ import annotations

from dataclasses import replace

import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from m3leo_prep.core.choice import parse_rule
from m3leo_prep.sources.asf import Asf
from m3leo_prep.testing.earthdata.files.gunw import PITCH, Layers
from m3leo_prep.testing.source import SourceContract
from tests.sources.asf.gunw.pairs import HERE, LONG, NORTH, granule, name, real


def some(layers, rows):
    names = ("phase", "coherence", "components", "amplitude", "unfiltered")
    return Layers(*(getattr(layers, each)[rows] for each in names))


@pytest.fixture(scope="session")
def granules(shared_data, tmp_path_factory):
    """Return the granules, written once."""
    folder = tmp_path_factory.mktemp("granules")
    near, long = real(shared_data), real(shared_data, LONG)
    south = granule(
        folder, some(near, slice(40, None)), name(clock="004325", digest="aaaa"), frame=21_006, north=NORTH - 40 * PITCH
    )
    old = granule(folder, replace(long, unfiltered=None), name(LONG, version="v2_0_6"), frame=None)
    return granule(folder, some(near, slice(0, 70))), south, old


class TestGunw(SourceContract):
    @pytest.fixture
    def source(self, earthdata, granules):
        for one in granules:
            earthdata.add(one)
        return Asf(product="gunw")

    @pytest.fixture
    def area(self):
        return HERE.buffer(-0.01)

    @pytest.fixture
    def slots(self):
        return parse_rule({"pairs": {"year": 2018, "windows": {"short": [0, 60], "long": [61, 200]}}}).slots()

    @pytest.fixture
    def geobox(self):
        return GeoBox((32, 32), Affine(80.0, 0.0, 487_000.0, 0.0, -80.0, 2_147_500.0), "EPSG:32614")
