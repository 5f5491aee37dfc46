"""The port's contract, and one number known by hand."""

import numpy as np
import pytest
from affine import Affine
from hillside import Hillside
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.raster import STATIC
from m3leo_prep.testing.source import SourceContract


class TestHillside(SourceContract):
    @pytest.fixture
    def source(self):
        return Hillside(relief=100.0)


def test_heights_lie_between_the_sea_and_the_relief():
    source = Hillside(relief=100.0)
    items = list(source.find(box(9.1, 49.1, 9.2, 49.2), [STATIC]))
    target = GeoBox((100, 100), Affine(10, 0, 509_000, 0, -10, 5_441_000), "EPSG:32632")
    (raster,) = source.read(items, target, STATIC)
    assert [item.id for item in items] == ["e009n+49"]
    assert 0 <= raster.data.min() < np.median(raster.data) < raster.data.max() <= 100
