"""Heights above a geoid brought above the ellipsoid, and the sea where the layer of heights has none."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.ops.sar.tiepoints import Geolocation
from m3leo_prep.sources.copernicus import Copernicus
from m3leo_prep.sources.copernicus.grd.heights import at_sea, ellipsoidal
from m3leo_prep.sources.gee import EarthEngine
from m3leo_prep.sources.tiles import Tiles

PLACE = GeoBox.from_bbox((9.0, 47.0, 9.4, 47.2), "EPSG:4326", shape=(10, 20))
"""The western half of it is not in the layer of heights."""
UNDULATION = 45.0


@dataclass(frozen=True, eq=False)
class Heights:
    """100 m in the east."""

    vertical_datum: str = "EGM2008 height"
    missing_is_sea: bool = True
    asked: list[GeoBox] = field(default_factory=list)

    def __call__(self, geobox):
        self.asked.append(geobox)
        known = np.broadcast_to(np.arange(geobox.shape[1]) >= geobox.shape[1] // 2, geobox.shape)
        return np.where(known, np.float32(100), np.float32(np.nan)), known


def ties(height: float | np.ndarray, *, turned: float = 0.0) -> Geolocation:
    """Tie points over the place, as a descending image has them: lines to the south, samples to the west."""
    lat, lon = np.meshgrid(np.linspace(47.3, 46.9, 5), np.linspace(9.5, 8.9, 7), indexing="ij")
    lon = (lon - 0.1 * (lat - 47) + turned + 180) % 360 - 180
    lines, samples = np.linspace(0, 4000, 5), np.linspace(0, 6000, 7)
    return Geolocation(lines, samples, lon, lat, np.broadcast_to(np.asarray(height, float), lon.shape))


def test_without_the_file_of_the_geoid_the_way_out_is_told_at_once():
    """By the plan, before anything is read: ``check_datum``."""
    source = Copernicus(product="s1-grd")
    with pytest.raises(MissingDependency, match=r"PROJ has no us_nga_egm08_25\.tif") as told:
        source.check_datum("EGM2008 height")
    assert "`pyproj sync --file us_nga_egm08_25.tif`" in told.value.hint
    assert "`datum: ellipsoid`" in told.value.hint
    with pytest.raises(MissingDependency, match=r"us_nga_egm96_15\.tif"):
        Copernicus(product="s1-grd", dem_datum="egm96").check_datum("")
    with pytest.raises(ConfigError, match="not known what"):
        source.check_datum("")
    source.check_datum("ellipsoid")
    Copernicus(product="s1-grd", geocoding="ellipsoid", convention="beta0").check_datum("EGM2008 height")


def test_undulations_are_added(geoids):
    geoids(egm2008=UNDULATION)
    height, known = ellipsoidal(Heights(missing_is_sea=False), "egm2008", ties(0.0))(PLACE)
    np.testing.assert_allclose(height[:, 10:], 100 + UNDULATION, atol=1e-3)
    assert known[:, 10:].all()
    assert not known[:, :10].any()


def test_heights_above_the_ellipsoid_stay_and_their_gaps_too():
    heights = Heights("ellipsoid")
    assert ellipsoidal(heights, "ellipsoid", ties(0.0)) is heights


def test_where_tie_points_are_at_sea_its_level_is_known(geoids):
    geoids(egm2008=UNDULATION)
    height, known = ellipsoidal(Heights(), "egm2008", ties(0.0))(PLACE)
    assert known.all()
    np.testing.assert_allclose(height[:, :10], UNDULATION, atol=1e-3)
    # Armenia: not released either, and no sea.
    _, known = ellipsoidal(Heights(), "egm2008", ties(900.0))(PLACE)
    assert not known[:, :10].any()


@pytest.mark.parametrize("turned", [0.0, 170.8])
def test_one_tie_point_of_four_is_enough_and_farther_ones_are_not(turned):
    height = np.full((5, 7), 50.0)
    height[2, 3] = -0.4
    near = ties(height, turned=turned)
    lon, lat = near.lon[2, 3], near.lat[2, 3]
    # Tie points are 0.1 degree apart on both axes.
    for x, y, expected in ((0.07, 0.07, True), (-0.07, -0.07, True), (0.15, 0.0, False), (0.0, -0.15, False)):
        x180 = (lon + x + 180) % 360 - 180
        assert at_sea(near, np.array([x180]), np.array([lat + y])).tolist() == [expected]


def test_beyond_the_image_those_at_its_edge_count():
    """Else the margin that flattening looks at would be unknown, and a seam between slices would show at sea."""
    height = np.zeros((5, 7))
    height[:, 0] = height[:, 1] = 80.0  # land at the near range, which is east
    assert at_sea(ties(height), np.array([8.5, 9.9]), np.array([47.1, 47.1])).tolist() == [True, False]
    assert at_sea(ties(0.0), np.array([9.2, 9.2]), np.array([46.5, 47.6])).all()


def test_images_of_a_place_share_its_heights(geoids):
    geoids(egm2008=UNDULATION)
    heights = Heights()
    for height in (0.0, 900.0):
        ellipsoidal(heights, "egm2008", ties(height))(PLACE)
    assert len(heights.asked) == 1


@pytest.mark.parametrize("source", [Tiles(product="glo30"), EarthEngine(product="glo30")])
def test_who_promises_that_what_it_lacks_is_sea(source):
    """https://copernicus-dem-30m.s3.amazonaws.com/readme.html: "ocean areas do not have tiles"."""
    told = source.describe().variables[0].attributes
    assert told["missing_is_sea"] is True
    assert told["vertical_datum"] == "EGM2008 height"
