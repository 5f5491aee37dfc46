"""The Source port's contract on the products of the bucket."""

import pytest
from shapely.geometry import box

from m3leo_prep.core.choice import parse_rule
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources.asf.gssic.geometry import GssicGeometry
from m3leo_prep.sources.asf.gssic.source import Gssic
from m3leo_prep.testing.earthdata.files.gssic import write_tile
from m3leo_prep.testing.source import SourceContract
from tests.sources.asf.gssic.test_gssic_reading import MEXICO_CHIP


class TestSeasons(SourceContract):
    """A tile, and another beyond the target."""

    @pytest.fixture
    def source(self, earthdata, mexico):
        write_tile(earthdata.bucket, "N20W099_fall_vv_COH12", mexico["vv_COH12"])
        return Gssic()

    @pytest.fixture
    def area(self):
        return box(-99.3, 19.3, -98.8, 19.6)

    @pytest.fixture
    def slots(self):
        return parse_slots("seasons", year=2020)[2:]

    @pytest.fixture
    def geobox(self):
        return MEXICO_CHIP


class TestOrbits(TestSeasons):
    """Two orbits of a tile."""

    @pytest.fixture
    def source(self, orbits):
        return GssicGeometry()

    @pytest.fixture
    def slots(self):
        return parse_rule({"orbits": 2}).slots()
