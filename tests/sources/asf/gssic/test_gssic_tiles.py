"""Names and places of tiles: D33."""

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Point, box

from m3leo_prep.sources._native import Window
from m3leo_prep.sources.asf.gssic.tiles import PIXELS, TURN, Tile, tiles_of


def names(area):
    return [tile.name for tile in tiles_of(area)]


@pytest.mark.parametrize(
    ("lat", "lon", "name"),
    [
        (47.5, -89.5, "N48W090"),
        (-1.5, 12.5, "S01E012"),
        (-0.5, 10.5, "N00E010"),
        (0.5, -0.5, "N01W001"),
        (0.5, 0.5, "N01E000"),
        (-78.5, -160.5, "S78W161"),
        (81.5, 179.5, "N82E179"),
        (-20.5, -179.5, "S20W180"),
    ],
)
def test_a_point_lies_in_the_tile_of_its_upper_left_corner(lat, lon, name):
    (tile,) = tiles_of(Point(lon, lat).buffer(0.1))
    assert tile.name == name
    assert tile.footprint.contains(Point(lon, lat))
    assert Tile.named(name) == tile


def test_the_row_below_the_equator_may_be_called_south():
    assert Tile.named("S00E010") == Tile.named("N00E010")
    assert Tile.named("N00E010").names == ("N00E010", "S00E010")
    assert Tile.named("N05E180") == Tile.named("N05W180")
    assert Tile.named("N1E001") is None


@given(st.integers(-89, 90), st.integers(-180, 179))
def test_a_name_is_read_as_it_is_written(north, west):
    tile = Tile(north, west)
    assert all(Tile.named(name) == tile for name in tile.names)
    assert tiles_of(tile.footprint.buffer(-0.01)) == [tile]


def test_the_tiles_of_an_area_are_those_it_meets_and_no_others():
    diagonal = shapely.LineString([(10.1, 10.1), (12.9, 12.9)]).buffer(0.02)
    assert set(names(diagonal)) >= {"N13E012", "N12E011", "N11E010"}
    assert "N13E010" not in names(diagonal)
    assert all(tile.footprint.intersects(diagonal) for tile in tiles_of(diagonal))
    assert names(box(10.2, 10.2, 11.8, 11.8)) == ["N12E010", "N12E011", "N11E010", "N11E011"]


def test_an_area_across_the_antimeridian_has_tiles_on_both_sides():
    assert names(MultiPolygon([box(179.8, 1.2, 180, 1.8), box(-180, 1.2, -179.8, 1.8)])) == ["N02W180", "N02E179"]


def test_a_tile_is_placed_where_the_target_looks_for_it():
    west = Tile.named("N02W180")
    near = Window(100_000, 100_100, TURN - 50, TURN + 50)
    assert west.window(near).col0 == TURN
    assert west.window(Window(0, 10, -50, 50)).col0 == 0
    assert Tile.named("N02E179").window(Window(0, 10, -50, 50)).col0 == -PIXELS
