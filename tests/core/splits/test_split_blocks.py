"""Blocks: distances against dense points on the ellipsoid, shares, purity of place, seams, narrow blocks up north."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.core.splits import blocks, ground
from m3leo_prep.core.splits.policy import Split
from m3leo_prep.core.zones import project, zone_of

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
YIELDS = (Split.TRAIN, Split.VAL, Split.TEST)
PLANE = Transformer.from_crs(4326, 6933, always_xy=True)
HALF_WIDTH = 17367530.445161  # easting of 180 E in EPSG:6933, in metres

PLACES = [
    (13.0, 41.0),
    (8.9, 60.5),
    (-71.9, -41.2),
    (29.9, 70.3),
    (25.0, 79.0),
    (-60.2, -62.0),
    (179.9, 52.0),
    (179.6, -17.0),
    (102.0, 0.2),
]


def assign(cells, *, block_km=100.0, buffer_km=6.346, shares=SHARES, seed=1, yields=YIELDS):
    return blocks.assign_blocks(cells, block_km=block_km, buffer_km=buffer_km, shares=shares, seed=seed, yields=yields)


def test_the_plane_is_that_of_epsg_6933():
    assert pytest.approx(HALF_WIDTH, abs=1e-4) == ground.HALF_WIDTH
    assert PLANE.transform(180, 0)[0] == pytest.approx(ground.HALF_WIDTH, abs=1e-4)
    lat = np.linspace(-90, 90, 181)
    np.testing.assert_allclose(ground.latitude(ground.northing(lat)), lat, atol=1e-3)
    assert (ground.latitude(np.array([-9e6, 9e6])) == [-90, 90]).all()


def blocks_near(lon, lat, side, seed, metres):
    """Yield split and edges of the blocks around a place, drawn anew from the definition of the lattice."""
    lattice = blocks.Lattice(side, (0.6, 0.2, 0.2), seed)
    columns = int(np.ceil(2 * HALF_WIDTH / side))
    x, y = PLANE.transform(lon, lat)
    wide = 1 + int(metres * 1.3 / side / np.cos(np.radians(min(abs(lat) + 1, 88))))
    for column in range(int((x + HALF_WIDTH) // side) - wide, int((x + HALF_WIDTH) // side) + wide + 1):
        for row in range(int(y // side) - 1, int(y // side) + 2):
            turn, inside = divmod(column, columns)
            west = 360 * turn - 180 + inside * side / HALF_WIDTH * 180
            east = 360 * turn - 180 + min((inside + 1) * side, 2 * HALF_WIDTH) / HALF_WIDTH * 180
            end = 7_300_000  # just short of the poles
            south, north = (
                PLANE.transform(0, np.clip(r * side, -end, end), direction="INVERSE")[1] for r in (row, row + 1)
            )
            yield lattice.split(np.array([inside]), np.array([row]))[0], (west, east, south, north)


def outline(edges, lon, lat, metres, n=60):
    """Return dense points of the part of a block's outline within reach of a place; none where it is farther."""
    west, east, south, north = edges
    high = np.degrees(metres / 6.3e6)
    wide = high / np.cos(np.radians(min(abs(lat) + high, 89)))
    a = np.linspace(max(west, lon - wide), min(east, lon + wide), n)
    b = np.linspace(max(south, lat - high), min(north, lat + high), n)
    if a[0] > a[-1] or b[0] > b[-1]:
        return np.empty((0, 2))
    a_all, b_all = np.meshgrid(a, b)
    edge = (a_all == a[0]) | (a_all == a[-1]) | (b_all == b[0]) | (b_all == b[-1])
    return np.column_stack([a_all[edge], b_all[edge]])


@pytest.mark.parametrize(("lon", "lat"), PLACES)
def test_chips_yield_within_the_buffer_and_no_farther(truth, lon, lat):
    """D61, chip to block: none that stays is nearer than the buffer, and none that goes is clearly farther."""
    cells = truth.around(lon, lat)
    buffer_m, reach = 9_000.0, 16_000.0
    less, found, more = (assign(cells, block_km=40, buffer_km=buffer_m / 1000 + add) for add in (-0.1, 0, 0.1))
    rows = np.flatnonzero(~cells.zone_shared() & (found.home != Split.TEST))
    # Some chips anywhere, and those whose distance is said to be the buffer to 100 m.
    some = np.random.default_rng(3).choice(rows, min(20, len(rows)), replace=False)
    shell = rows[less.split[rows] != more.split[rows]][:20]
    seen = set()
    for k in [*some, *shell]:
        points = truth.square(cells, k)
        middle = points.mean(axis=0)
        distance = np.inf
        for split, edges in blocks_near(*middle, 40_000.0, 1, reach):
            if split > found.home[k] and len(block := outline(edges, *middle, reach)):
                distance = min(distance, truth.least(points, block))
        yielding = found.split[k] == Split.BUFFER
        # Dense points find what there is or more: up to 60 m more for their pitch.
        assert (distance < buffer_m + 60) if yielding else (distance >= buffer_m), (k, distance, yielding)
        assert k not in shell or buffer_m - 100 < distance < buffer_m + 160
        seen.add(yielding)
    assert seen == {True, False}


class Edges(blocks.Lattice):
    """A lattice whose one block has the edges that a test asks for."""

    def __init__(self, west, east, south, north):
        object.__setattr__(self, "edges", (west, east, south, north))

    def west(self, column):
        return np.where(column == 0, self.edges[0], self.edges[1])

    def south(self, row):
        return np.where(row == 0, self.edges[2], self.edges[3])


@settings(max_examples=60, deadline=None)
@given(
    lon=st.floats(-180, 180, exclude_max=True),
    lat=st.floats(-79.5, 83.5),
    east=st.floats(-25_000, 25_000),
    north=st.floats(-55_000, 25_000),
    wide=st.floats(1_000, 40_000),
    chip_px=st.sampled_from([448, 2000]),
)
@example(lon=179.99, lat=83.4, east=2000, north=9000, wide=20_000, chip_px=448)
@example(lon=3.0, lat=-79.0, east=-9000, north=100, wide=1_000, chip_px=448)
@example(lon=9.0, lat=81.5, east=0, north=26_000, wide=20_000, chip_px=2000)
def test_distance_to_a_block_is_that_of_geodesics(truth, lon, lat, east, north, wide, chip_px):
    """One chip, and one block whose SW corner lies ``east`` and ``north`` of it: to 3 m, narrow blocks too."""
    cells = cell_at(lon, lat, Grid(chip_px))
    chip_lon, chip_lat = ground.corners(cells)
    degree = np.degrees(1 / 6.37e6) / np.cos(np.radians(lat))
    west = chip_lon[0, 0] + east * degree
    south = np.clip(chip_lat[0, 0] + np.degrees(north / 6.37e6), -84.9, 84.9)
    edges = (west, west + wide * degree, south, south + 0.25)
    none = np.zeros(1, np.int64)
    got = blocks._distances(Edges(*edges), chip_lon, chip_lat, none, none, np.array([90_000.0]))[0]
    points = truth.square(cells, 0, 50)
    if shapely.box(edges[0], south, edges[1], south + 0.25).intersects(shapely.MultiPoint(points).convex_hull):
        assert got < 3
        return
    block = outline(edges, *points.mean(axis=0), 200_000.0, n=900)
    # Dense points, up to 400 m apart, never find less than there is, and not much more.
    assert got - 3 <= truth.least(points, block) <= np.hypot(got, 250) + 3


def cell_at(lon, lat, grid):
    epsg = int(zone_of(lon, lat))
    x, y = project(epsg, lon, lat)
    north = y if epsg < 32700 else 10_000_000 - y
    values = (epsg, (x - 500_000) // grid.cell_m, north // grid.cell_m)
    return Cells(grid, *(np.array([value], np.int32) for value in values))


@pytest.mark.parametrize("policy", ["blocks", "bands"])
def test_chips_of_two_splits_are_the_buffer_less_half_a_diagonal_apart(truth, policy):
    """D61, chip to chip: a chip may reach half its diagonal over the edge of its block; the pairs that are nearest."""
    from m3leo_prep.core.splits.bands import assign_bands

    cells = truth.around(9, 47, high=1.5)
    x0, y0 = cells.upper_left()
    squares = shapely.box(x0, y0 - 4480, x0 + 4480, y0)
    asked = {"buffer_km": 8.0, "shares": SHARES, "seed": 2, "yields": YIELDS}
    if policy == "blocks":
        found = assign(cells, block_km=50, buffer_km=8.0, seed=2)
    else:
        found = assign_bands(cells, band_km=50, angle_deg=20, **asked)
    for one in (Split.TRAIN, Split.VAL):
        mine, theirs = (np.flatnonzero(rows) for rows in (found.split == one, (found.split > one) & (found.split < 3)))
        _, distance = shapely.STRtree(squares[theirs]).query_nearest(squares[mine], return_distance=True)
        nearest = distance.min() / 0.9997  # the scale of UTM, 1 degree from the middle of its zone
        assert len(mine) > 50
        assert 8_000 - 4480 / np.sqrt(2) < nearest < 8_000 + 4480


@pytest.mark.parametrize("place", [(10, 45), (-178.5, 66), (-70, -35)])
def test_growth_changes_nothing_and_another_seed_does(truth, place):
    """D62: four times the area, the same chips."""
    small, large = truth.around(*place, high=0.7), truth.around(*place, high=1.6)
    one, two = assign(small, block_km=50), assign(large, block_km=50)
    at = dict(zip(large.ids(), range(len(large)), strict=True))
    same = np.array([at[name] for name in small.ids()])
    assert len(large) > 4 * len(small)
    for name in ("home", "split", "group"):
        assert (getattr(one, name) == getattr(two, name)[same]).all()
    other = assign(small, block_km=50, seed=2)
    assert (other.group == one.group).all()
    assert (other.home != one.home).any()
    # Order plays no part either.
    back = assign(small[np.arange(len(small))[::-1]], block_km=50)
    assert (back.split[::-1] == one.split).all()


def test_a_block_is_one_group_with_one_split_in_both_zones(truth):
    """D62: a place has the split of its block, whichever zone's chip shows it."""
    cells = truth.around(12.0, 58.0)
    found = assign(cells, buffer_km=0)
    for group in np.unique(found.group):
        assert len(np.unique(found.home[found.group == group])) == 1
    zones = [set(found.group[cells.epsg == epsg]) for epsg in np.unique(cells.epsg)]
    assert len(zones) == 2
    assert zones[0] & zones[1]


def lattice(shares=(0.6, 0.2, 0.2), seed=0, side=100_000.0):
    return blocks.Lattice(side, shares, seed)


def test_whole_super_blocks_hold_exactly_15_5_5():
    """D63: south of the equator too; and the pattern differs between super-blocks and seeds."""
    column, row = (axis.ravel() for axis in np.meshgrid(np.arange(340), np.arange(-70, 70)))
    splits = [lattice(seed=seed).split(column, row) for seed in (0, 1)]
    place = (row // 5) * 1000 + column // 5
    for split in splits:
        for which in Split.TRAIN, Split.VAL, Split.TEST:
            _, count = np.unique(place[split == which], return_counts=True)
            assert (count == (15 if which is Split.TRAIN else 5)).all()
    assert (splits[0] != splits[1]).mean() == pytest.approx(1 - 0.6**2 - 2 * 0.2**2, abs=0.03)
    supers = splits[0].reshape(28, 5, 68, 5).transpose(0, 2, 1, 3).reshape(-1, 25)
    assert len(np.unique(supers, axis=0)) == len(supers)
    # No place inside a super-block is favoured.
    assert np.abs((supers == Split.TEST).mean(axis=0) - 0.2).max() < 0.05


@pytest.mark.parametrize("shares", [(0.7, 0.15, 0.15), (0.9, 0.05, 0.05), (0.985, 0.0, 0.015), (1.0, 0.0, 0.0)])
def test_other_shares_are_met_at_a_thousand_blocks(shares):
    """D63."""
    column, row = (axis.ravel() for axis in np.meshgrid(np.arange(35), np.arange(30)))
    count = np.bincount(lattice(shares).split(column, row), minlength=3)
    np.testing.assert_allclose(count / count.sum(), shares, atol=0.03)
    assert (count[np.array(shares) == 0] == 0).all()


@pytest.mark.parametrize("buffer_km", [0, 1, 6.346])
@pytest.mark.parametrize(("lon", "lat"), [(12, 60), (24, 70.5), (33, 76), (179.9, 66), (-72, -50)])
def test_chips_that_overlap_across_a_seam_share_their_split(truth, lon, lat, buffer_km):
    from m3leo_prep.core.splits.seams import overlapping

    cells = truth.around(lon, lat, high=0.6)
    pairs = overlapping(cells)
    assert len(pairs)
    differs = 0
    for seed in range(3):
        found = assign(cells, block_km=30, buffer_km=buffer_km, seed=seed)
        differs += (found.home[pairs[:, 0]] != found.home[pairs[:, 1]]).sum()
        one, two = found.split[pairs].T
        assert ((one == two) | (one == Split.BUFFER) | (two == Split.BUFFER)).all()
    assert differs  # without the buffer of a diagonal they would be split


@pytest.mark.parametrize("yields", [YIELDS, (Split.VAL, Split.TRAIN, Split.TEST), (Split.TEST, Split.TRAIN, Split.VAL)])
def test_the_last_never_yields_and_all_that_yield_become_buffer(truth, yields):
    cells = truth.around(10, 45)
    found = assign(cells, block_km=50, yields=yields)
    lost = found.split == Split.BUFFER
    assert (found.split[~lost] == found.home[~lost]).all()
    share = [lost[found.home == split].mean() for split in yields]
    assert share[0] > share[1] > share[2] == 0


def test_without_a_buffer_only_seams_yield(truth):
    cells = truth.around(12, 45)
    lost = assign(cells, block_km=50, buffer_km=0).split == Split.BUFFER
    assert lost.any()
    assert not lost[~cells.zone_shared()].any()


def test_a_wider_buffer_takes_more_and_gives_nothing_back(truth):
    cells = truth.around(10, 45)
    lost = [assign(cells, buffer_km=km).split == Split.BUFFER for km in (0, 3, 6, 12, 60)]
    for less, more in pairwise(lost):
        assert more[less].all()
        assert more.sum() > less.sum()
    assert lost[-1][assign(cells).home == Split.TRAIN].mean() > 0.9


def test_blocks_are_narrow_but_whole_at_75_north(truth):
    """A block of 100 km is 30 km wide there and 330 km high; its area is the same."""
    cells = truth.around(20, 75, high=4)
    found = assign(cells, buffer_km=0)
    west = np.array(sorted(np.unique(lattice().west(lattice().column(cells.lon_lat()[0])))))
    assert np.diff(west) == pytest.approx(100_000 / HALF_WIDTH * 180)
    width = np.diff(west)[0] * 111_320 * np.cos(np.radians(75))
    assert width == pytest.approx(30_000, rel=0.02)
    assert len(np.unique(found.group)) > 5
    # Their longer outline costs more chips than the 10 % of the middle latitudes.
    assert 0.12 < (assign(cells).split == Split.BUFFER).mean() < 0.3


def test_the_losses_are_those_that_were_simulated():
    """The issue's figures: 21 % at 50 km, 10 % at 100 km; of 448-px chips over the middle latitudes of Europe."""
    cells = Grid().cells(shapely.box(0, 40, 20, 54))
    cells = cells[~cells.zone_shared()]
    for block_km, lost in ((100, 0.10), (50, 0.205)):
        shares = [(assign(cells, block_km=block_km, seed=s).split == Split.BUFFER).mean() for s in range(2)]
        assert np.mean(shares) == pytest.approx(lost, abs=0.015)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"block_km": 4}, "blocks of 4 km"),
        ({"block_km": float("nan")}, "blocks of nan"),
        ({"buffer_km": -1}, "buffer of -1"),
        ({"shares": {"train": 0.5, "test": 0.4}}, "sum to 0.9"),
    ],
)
def test_bad_numbers_are_refused(truth, wrong, message):
    with pytest.raises(ConfigError, match=message):
        assign(truth.around(10, 45, high=0.1), **wrong)


def test_blocks_per_split_counts_what_holds_chips(truth):
    cells = truth.around(10, 45)
    found = assign(cells, block_km=50)
    counted = blocks.blocks_per_split(cells, 50, SHARES, 1)
    assert counted.tolist() == [len(np.unique(found.group[found.home == split])) for split in YIELDS]
    assert blocks.blocks_per_split(cells[:1], 50, {"train": 1.0}, 1).tolist() == [1, 0, 0]
