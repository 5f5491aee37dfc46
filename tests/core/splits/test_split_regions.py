"""Regions: the largest overlap, distances to dense points on the ellipsoid, the rest, purity of place, seams."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.polygons import split_antimeridian
from m3leo_prep.core.splits.policy import Split
from m3leo_prep.core.splits.regions import assign_regions, largest_overlap
from m3leo_prep.core.splits.seams import overlapping

YIELDS = (Split.TRAIN, Split.VAL, Split.TEST)


def assign(cells, regions, homes, *, rest=Split.NONE, buffer_km=6.346, yields=YIELDS):
    return assign_regions(cells, regions, homes, rest=rest, buffer_km=buffer_km, yields=yields)


def columns(lon, lat, n=6, wide=0.25, high=1.0):
    """Return irregular regions side by side, and a split for each."""
    step = wide / np.cos(np.radians(lat))
    west = lon - n / 2 * step
    rng = np.random.default_rng(1)
    cuts = [
        np.column_stack([west + k * step + rng.uniform(-0.2, 0.2, 9) * step, np.linspace(lat - high, lat + high, 9)])
        for k in range(n + 1)
    ]
    regions = [split_antimeridian(shapely.Polygon(np.concatenate([cuts[k], cuts[k + 1][::-1]]))) for k in range(n)]
    return regions, [Split(k % 3) for k in range(n)]


@pytest.mark.parametrize(("lon", "lat"), [(10, 45), (12.1, 60), (-70, -35), (24, 75), (179.95, 52), (100, 0.3)])
def test_chips_yield_within_the_buffer_and_no_farther(truth, lon, lat):
    """D61, chip to region, in lon/lat and across 180 E."""
    cells = truth.around(lon, lat, high=0.5)
    regions, homes = columns(lon, lat)
    buffer_m = 7_000.0
    less, found, more = (assign(cells, regions, homes, buffer_km=buffer_m / 1000 + add) for add in (-0.1, 0, 0.1))
    # The edges of regions are straight in lon/lat.
    dense = {
        split: np.concatenate(
            [
                shapely.get_coordinates(shapely.segmentize(region.boundary, 0.002))
                for region, home in zip(regions, homes, strict=True)
                if home > split
            ]
        )
        for split in (Split.TRAIN, Split.VAL)
    }
    rows = np.flatnonzero(~cells.zone_shared() & (found.home < Split.TEST))
    seen = set()
    # Some chips anywhere, and those whose distance is said to be the buffer to 100 m.
    some = np.random.default_rng(5).choice(rows, min(15, len(rows)), replace=False)
    shell = rows[less.split[rows] != more.split[rows]][:20]
    assert len(shell)
    for k in [*some, *shell]:
        points = truth.square(cells, k, 12)
        distance = truth.least(points, dense[found.home[k]])
        inside = any(
            shapely.intersects_xy(region, points[:, 0], points[:, 1]).any()
            for region, home in zip(regions, homes, strict=True)
            if home > found.home[k]
        )
        yielding = found.split[k] == Split.BUFFER
        assert k not in shell or buffer_m - 101 < distance < buffer_m + 130
        assert (inside or distance < buffer_m + 30) if yielding else (distance > buffer_m * (1 - 1e-4)), (k, distance)
        seen.add(yielding)
    assert seen == {True, False}


def test_a_chip_belongs_to_the_region_that_covers_most_of_it(truth):
    cells = truth.around(10, 45, high=0.5)
    regions, homes = columns(10, 45, n=4)
    found = largest_overlap(cells, regions)

    # In (lon, sin lat) areas compare truly.
    def equal_area(shape):
        return shapely.transform(shape, lambda p: np.column_stack([p[:, 0], np.degrees(np.sin(np.radians(p[:, 1])))]))

    area = np.array([[equal_area(chip).intersection(equal_area(r)).area for r in regions] for chip in cells.polygons()])
    clear = np.abs(np.diff(np.sort(area, axis=1)[:, -2:], axis=1)[:, 0]) > 1e-9
    want = np.where(area.max(axis=1) > 0, area.argmax(axis=1), -1)
    assert (found == want)[clear].all()
    assert {-1, 0, 3} <= set(found.tolist())
    given = assign(cells, regions, homes, rest=Split.NONE)
    assert (given.group == found).all()
    assert (given.home == np.array([*homes, Split.NONE])[found]).all()
    assert (given.split[found < 0] == Split.NONE).all()


def test_of_regions_that_cover_as_much_the_first_counts(truth):
    cells = truth.around(10, 45, high=0.2)
    land = shapely.box(9, 44, 11, 46)
    assert (largest_overlap(cells, [land, land, shapely.box(8, 43, 12, 47)]) == 0).all()
    half = [shapely.box(9, 44, 10, 46), shapely.box(10, 44, 11, 46)]
    assert (largest_overlap(cells, half) == largest_overlap(cells, [half[1], half[0]])).sum() == 0


def test_parts_and_holes_count_as_they_lie(truth):
    cells = truth.around(10, 45, high=0.3)
    inner = shapely.box(9.8, 44.8, 10.2, 45.2)
    ring = shapely.box(9, 44, 11, 46) - inner
    lon, lat = cells.lon_lat()
    deep = shapely.contains_xy(inner.buffer(-0.05), lon, lat)
    assert deep.any()
    assert (largest_overlap(cells, [ring])[deep] == -1).all()
    assert (largest_overlap(cells, [ring, inner])[deep] == 1).all()
    # Two parts that each cover a third beat a whole that covers less than both.
    x0, y0 = (float(axis[0]) for axis in cells[:1].upper_left())
    from m3leo_prep.core.zones import unproject

    def strip(low, high):
        x = x0 + 4480 * np.array([low, high, high, low])
        y = y0 - 4480 * np.array([1, 1, 0, 0])
        return shapely.Polygon(np.column_stack(unproject(int(cells.epsg[0]), x, y)))

    parts = shapely.MultiPolygon([strip(0, 0.28), strip(0.72, 1)])
    assert largest_overlap(cells[:1], [strip(0.28, 0.72), parts]).tolist() == [1]


def test_a_chip_across_180_belongs_to_a_region_there():
    fiji = split_antimeridian(shapely.box(179.5, -17.5, 180.5, -16.5))
    cells = Grid().cells(fiji)
    lon = cells.lon_lat()[0]
    assert (lon > 0).any()
    assert (lon < 0).any()
    assert (largest_overlap(cells, [fiji]) == 0).all()


@pytest.mark.parametrize("place", [(10, 45), (-178.5, 66), (-70, -35)])
def test_growth_changes_nothing(truth, place):
    """D62: four times the area, the same chips, whatever else the regions hold."""
    small, large = truth.around(*place, high=0.7), truth.around(*place, high=1.6)
    regions, homes = columns(*place, n=12, wide=0.5, high=2)
    for rest in (Split.NONE, Split.TEST):
        one, two = (assign(cells, regions, homes, rest=rest) for cells in (small, large))
        at = dict(zip(large.ids(), range(len(large)), strict=True))
        same = np.array([at[name] for name in small.ids()])
        assert len(large) > 4 * len(small)
        for name in ("home", "split", "group"):
            assert (getattr(one, name) == getattr(two, name)[same]).all()
        assert (one.split == Split.BUFFER).any()


@pytest.mark.parametrize("rest", [Split.NONE, Split.TRAIN, Split.TEST])
@pytest.mark.parametrize("buffer_km", [0, 6.346])
@pytest.mark.parametrize(("lon", "lat"), [(12, 60), (24, 70.5), (33, 76), (179.9, 66)])
def test_chips_that_overlap_across_a_seam_share_their_split(truth, lon, lat, buffer_km, rest):
    cells = truth.around(lon, lat, high=0.5)
    pairs = overlapping(cells)
    assert len(pairs)
    regions, homes = columns(lon, lat, wide=0.15, n=5)
    found = assign(cells, regions, homes, rest=rest, buffer_km=buffer_km)
    learned = (found.split[pairs] <= Split.TEST).all(axis=1)
    one, two = found.split[pairs[learned]].T
    assert (one == two).all()
    assert (found.home[pairs[:, 0]] != found.home[pairs[:, 1]]).any()


def test_the_rest_is_ground_as_well(truth):
    """Train chips of a hold-out's surroundings yield to it, or it to them, as asked."""
    cells = truth.around(10, 45, high=0.5)
    free = ~cells.zone_shared()
    held = shapely.Point(10, 45).buffer(0.35)
    rest_yields = assign(cells, [held], [Split.TEST], rest=Split.TRAIN)
    assert not (rest_yields.split[rest_yields.group == 0] == Split.BUFFER).any()
    ring = free & (rest_yields.split == Split.BUFFER)
    assert (rest_yields.group[ring] == -1).all()
    assert ring.any()
    rest_stays = assign(cells, [held], [Split.TRAIN], rest=Split.TEST)
    assert not (rest_stays.split[rest_stays.group == -1] == Split.BUFFER).any()
    lost = free & (rest_stays.split == Split.BUFFER)
    # Chips that yield reach over the outline, or are less than the buffer inside of it.
    boundary = shapely.get_coordinates(shapely.segmentize(held.boundary, 0.002))
    for k in np.flatnonzero(free & (rest_stays.group == 0)):
        points = truth.square(cells, k, 12)
        over = not shapely.contains_xy(held, points[:, 0], points[:, 1]).all()
        distance = truth.least(points, boundary)
        assert lost[k] == (over or distance < 6346) or abs(distance - 6346) < 30


def test_bad_input_is_refused(truth):
    cells = truth.around(10, 45, high=0.1)
    with pytest.raises(ConfigError, match="1 regions, but splits of 2"):
        assign(cells, [shapely.box(9, 44, 11, 46)], [Split.TRAIN, Split.VAL])
    empty = assign(cells, [], [], rest=Split.TRAIN)
    assert (empty.split == Split.TRAIN).all()
    assert (empty.group == -1).all()


def test_long_edges_follow_their_parallel(truth):
    """An edge of 75 degrees along 60 N is no straight line in UTM; the distance to it is an arc of the meridian."""
    from pyproj import Geod

    cells = truth.around(9, 60, high=0.4)
    found = assign(cells, [shapely.box(-30, 50, 45, 60), shapely.box(-30, 60, 45, 65)], [Split.TRAIN, Split.TEST])
    lon, lat = cells.lon_lat()
    clear = np.abs(lat - 60) > 1e-3
    assert (found.group == (lat > 60))[clear].all()
    top = np.array([truth.square(cells, k, 3)[:, 1].max() for k in range(len(cells))])
    distance = np.sign(60 - top) * Geod(ellps="WGS84").inv(lon, top, lon, np.full(len(lon), 60.0))[2]
    judged = clear & (lat < 60) & ~cells.zone_shared() & (np.abs(distance - 6346) > 2)
    assert ((found.split == Split.BUFFER) == (distance < 6346))[judged].all()


def test_a_region_beyond_180_is_as_near_as_it_lies():
    from pyproj import Geod

    cells = Grid().cells(shapely.box(179.5, -17.3, 180, -16.7))
    homes = [Split.TRAIN, Split.TEST]
    found = assign(cells, [shapely.box(179, -18, 180, -16), shapely.box(-180, -18, -179, -16)], homes, buffer_km=15)
    x0, y0 = cells.upper_left()
    from m3leo_prep.core.zones import unproject

    train = found.home == Split.TRAIN
    east, lat = unproject(32760, x0 + 4480, y0 - 2240)
    distance = Geod(ellps="WGS84").inv(np.minimum(east, 180), lat, np.full(len(lat), 180.0), lat)[2]
    judged = train & (cells.epsg == 32760) & (np.abs(distance - 15_000) > 30)
    assert judged.sum() > 50
    assert ((found.split == Split.BUFFER) == (distance < 15_000))[judged].all()
    # A chip of the next zone that lies across 180 belongs to where most of it is.
    lon = cells.lon_lat()[0]
    assert (
        found.home[np.abs(np.abs(lon) - 180) > 1e-3] == np.where(lon > 0, *homes)[np.abs(np.abs(lon) - 180) > 1e-3]
    ).all()
