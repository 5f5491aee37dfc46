"""Distances and overlaps between splits against dense points and plain formulas, anywhere on the Earth."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from pyproj import Geod, Transformer

from m3leo_prep.core import geetiles
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.splits.policy import Split, SplitPolicy
from m3leo_prep.pipeline.leakage.checks import gaps_between, promise, split_problems
from m3leo_prep.pipeline.leakage.gaps import distances, nearest, overlaps
from m3leo_prep.pipeline.leakage.ground import Ground

GEOD = Geod(ellps="WGS84")
N_POINTS = 61
TRAIN, VAL, TEST, BUFFER, NONE = (np.uint8(split) for split in Split)


def square(epsg: int, x: float, y: float, side: float = 4480.0, pieces: int = 1) -> shapely.Polygon:
    """Return a square of UTM metres as lon/lat polygon, its edges cut into pieces."""
    ring = shapely.get_coordinates(shapely.segmentize(shapely.box(x, y, x + side, y + side), side / pieces))
    lon, lat = Transformer.from_crs(epsg, 4326, always_xy=True).transform(*ring.T)
    middle = lon[0]
    lon = np.where(lon - middle > 180, lon - 360, np.where(lon - middle < -180, lon + 360, lon))
    return shapely.Polygon(np.column_stack([lon, lat]))


def brute(a: shapely.Polygon, b: shapely.Polygon) -> float:
    """Return the least geodesic between dense points of two outlines, refined once around the nearest pair."""
    rings = [shapely.get_coordinates(one.exterior) for one in (a, b)]
    lines = [np.array([0.0, len(ring) - 1.0]) for ring in rings]
    best = np.inf
    for _ in range(6):
        at = [np.linspace(*line, N_POINTS) for line in lines]
        points = [
            np.column_stack([np.interp(t, np.arange(len(ring)), axis) for axis in ring.T])
            for t, ring in zip(at, rings, strict=True)
        ]
        i, j = (k.ravel() for k in np.meshgrid(range(N_POINTS), range(N_POINTS), indexing="ij"))
        metres = GEOD.inv(*points[0][i].T, *points[1][j].T)[2]
        k = int(metres.argmin())
        best = min(best, float(metres[k]))
        lines = [
            np.clip([t[n] - 2 * (t[1] - t[0]), t[n] + 2 * (t[1] - t[0])], 0, len(ring) - 1)
            for t, n, ring in zip(at, (i[k], j[k]), rings, strict=True)
        ]
    return best


def objects(*polygons: shapely.Polygon) -> np.ndarray:
    made = np.empty(len(polygons), object)
    made[:] = polygons
    return made


@pytest.mark.parametrize("lat_m", [0, 2_500_000, 5_300_000, 7_700_000, 9_200_000])
@pytest.mark.parametrize("away", [(4480 + 3.0, 0), (9000, 7000), (3000, -15000), (40_000, 900), (0, -4480 - 250)])
def test_the_gap_is_that_of_dense_points_at_every_latitude(lat_m, away):
    """Edges are cut finely for the brute force only, so that it follows the true edges of the squares."""
    x, y = 390_000.0, 20_000.0 + lat_m
    places = [(x, y), (x + away[0], y + away[1])]
    coarse = objects(*(square(32633, *place) for place in places))
    fine = [square(32633, *place, pieces=16) for place in places]
    gap = nearest(coarse, np.array([TRAIN, TEST]), Split.TRAIN, Split.TEST)
    assert gap.metres == pytest.approx(brute(*fine), abs=0.05)
    assert (gap.row_a, gap.row_b) == (0, 1)


@pytest.mark.parametrize("far", [60, 400, 2500])
def test_far_splits_keep_their_exact_geodesic(far):
    """The nearest of several chips, by the ellipsoid and not by chords: east and north are told apart."""
    rng = np.random.default_rng(far)
    here = [square(32633, 500_000 + 9000 * k, 5_300_000 + 9000 * m) for k in range(2) for m in range(2)]
    angle = rng.uniform(0, 2 * np.pi, 6)
    lon, lat, _ = GEOD.fwd(np.full(6, 15.0), np.full(6, 47.8), np.degrees(angle), np.full(6, far * 1000.0))
    there = [shapely.box(x, y, x + 0.04, y + 0.03) for x, y in zip(lon, lat, strict=True)]
    split = np.array([TRAIN] * 4 + [TEST] * 6)
    gap = nearest(objects(*here, *there), split, Split.TRAIN, Split.TEST)
    finest = min(brute(a, b) for a in here for b in there)
    # Edges of lon/lat boxes are parallels for the brute force: they bulge by 0.2 m here.
    assert gap.metres == pytest.approx(finest, abs=0.5)


def test_a_gap_over_the_antimeridian():
    """Fiji: one chip of 60S and one of 1S, which a map puts 360 degrees apart; a third lies across the line."""
    west = square(32760, 825_000, 8_100_000)
    east = shapely.box(-179.90, west.bounds[1], -179.86, west.bounds[1] + 0.04)
    unwrapped = shapely.box(180.10, west.bounds[1], 180.14, west.bounds[1] + 0.04)
    gap = nearest(objects(west, east), np.array([TRAIN, TEST]), Split.TRAIN, Split.TEST)
    assert gap.metres < 60_000
    assert gap.metres == pytest.approx(brute(west, unwrapped), abs=0.2)

    cells = Grid().cells(shapely.box(179.9, -17.2, 180, -17.0))
    across = next(p for p in cells.polygons() if p.geom_type == "MultiPolygon")
    split = np.array([TRAIN, TEST])
    assert (
        nearest(objects(across, shapely.box(-180, -17.2, -179.99, -17.0)), split, Split.TRAIN, Split.TEST).metres == 0
    )
    whole = shapely.box(179.99, -17.15, 180.02, -17.12)  # goes on beyond 180
    assert len(overlaps(objects(whole, shapely.box(-179.99, -17.14, -179.97, -17.13)), split).pairs) == 1


def test_neighbours_touch_and_corners_too():
    cells = Grid().cells(shapely.box(9.2, 47.0, 9.5, 47.2))
    polygons, split = cells.polygons(), np.full(len(cells), BUFFER)
    home = int(np.flatnonzero((cells.col == cells.col.min() + 1) & (cells.row == cells.row.min() + 1))[0])
    for step in ((1, 0), (0, 1), (1, 1)):
        other = np.flatnonzero((cells.col == cells.col[home] + step[0]) & (cells.row == cells.row[home] + step[1]))
        chosen = split.copy()
        chosen[home], chosen[other] = TRAIN, TEST
        assert nearest(polygons, chosen, Split.TRAIN, Split.TEST).metres == 0
        assert len(overlaps(polygons, chosen).pairs) == 0
        assert split_problems(polygons, chosen) == []


def test_gaps_across_a_zone_seam_are_those_of_every_pair():
    """Cells of 32N and 33N overlap at 12 E: no pair that shares ground is missed, and none is made up."""
    cells = Grid().cells(shapely.box(11.9, 49.0, 12.1, 49.2))
    polygons = cells.polygons()
    split = np.where(cells.epsg == 32632, TRAIN, TEST)
    assert nearest(polygons, split, Split.TRAIN, Split.TEST).metres == 0
    found = overlaps(polygons, split)
    # Reference: areas in one plane, all pairs, edges cut finely.
    plane = Transformer.from_crs(4326, "+proj=laea +lat_0=49.1 +lon_0=12", always_xy=True)
    flat = shapely.transform(
        shapely.segmentize(polygons, 0.01), lambda c: np.column_stack(plane.transform(c[:, 0], c[:, 1]))
    )
    a, b = np.flatnonzero(split == TRAIN), np.flatnonzero(split == TEST)
    areas = shapely.area(shapely.intersection(flat[a][:, None], flat[b][None, :]))
    assert {tuple(sorted(p)) for p in found.pairs.tolist()} == {
        tuple(sorted((int(a[i]), int(b[j])))) for i, j in np.argwhere(areas > 1.0)
    }
    assert len(found.pairs) > 5
    assert found.area_km2 == pytest.approx(areas.sum() / 1e6, rel=1e-3)
    assert found.chips == len(np.unique(np.argwhere(areas > 1)[:, 1]))
    assert found.share == found.chips / len(b)


def test_distances_are_those_of_all_pairs():
    rng = np.random.default_rng(5)
    cells = Grid().cells(shapely.box(5.6, 60.0, 6.6, 60.5))
    polygons = cells.polygons()
    split = rng.choice(np.array([TRAIN, TEST, BUFFER]), len(cells), p=[0.08, 0.12, 0.8]).astype(np.uint8)
    found = distances(polygons, split, Split.TEST, Split.TRAIN, 9_000.0)
    plane = Transformer.from_crs(4326, "+proj=aeqd +lat_0=60.25 +lon_0=6.1", always_xy=True)
    flat = shapely.transform(polygons, lambda c: np.column_stack(plane.transform(c[:, 0], c[:, 1])))
    every = shapely.distance(flat[split == TEST][:, None], flat[split == TRAIN][None, :]).min(axis=1)
    assert np.isfinite(found).any()
    assert np.isinf(found).any()
    np.testing.assert_allclose(found[every < 8_999], every[every < 8_999], atol=1.0)
    assert np.isinf(found[every > 9_001]).all()
    gap = nearest(polygons, split, Split.TRAIN, Split.TEST)
    assert gap.metres == pytest.approx(every.min(), abs=1.0)
    assert split[gap.row_a] == TRAIN
    assert split[gap.row_b] == TEST


@pytest.mark.parametrize("seed", range(6))
def test_chips_of_many_sizes_hide_no_pair(seed):
    """The nearest edges need not be those of the nearest centres: any outlines, against all pairs in one plane."""
    rng = np.random.default_rng(seed)
    sides = rng.choice([300.0, 4480.0, 40_000.0], 60)
    corners = np.column_stack([rng.uniform(350_000, 650_000, 60), rng.uniform(4_600_000, 5_800_000, 60)])
    polygons = objects(*(square(32633, *place, side=side) for place, side in zip(corners, sides, strict=True)))
    split = rng.choice(np.array([TRAIN, TEST]), 60).astype(np.uint8)
    plane = Transformer.from_crs(4326, 32633, always_xy=True)
    flat = shapely.transform(polygons, lambda c: np.column_stack(plane.transform(c[:, 0], c[:, 1])))
    a, b = (flat[split == one] for one in (TRAIN, TEST))
    every = shapely.distance(b[:, None], a[None, :])
    gap = nearest(polygons, split, Split.TRAIN, Split.TEST)
    assert gap.metres == pytest.approx(every.min(), rel=1e-3, abs=2)  # the zone's scale, and long edges bend
    found = distances(polygons, split, Split.TEST, Split.TRAIN, 30_000.0)
    near = every.min(axis=1)
    np.testing.assert_allclose(found[near < 29_900], near[near < 29_900], rtol=1e-3, atol=2)
    shared = overlaps(polygons, split)
    areas = shapely.area(shapely.intersection(b[:, None], a[None, :]))
    assert len(shared.pairs) == (areas > 1).sum()
    assert shared.area_km2 == pytest.approx(areas.sum() / 1e6, rel=2e-3, abs=1e-6)


def test_small_chips_behind_many_large_ones_are_looked_at():
    """Circles around large chips reach far beyond them, so they come first; the nearest chip comes last."""
    here = square(32633, 500_000, 5_300_000, side=300)
    large = square(32633, 500_300 + 5_000, 5_280_000, side=40_000)
    small = square(32633, 500_000, 5_300_300 + 4_900, side=300)
    polygons = objects(here, *[large] * 300, small)
    split = np.array([TEST] + [TRAIN] * 301)
    gap = nearest(polygons, split, Split.TEST, Split.TRAIN)
    assert (gap.row_b, gap.metres) == (301, pytest.approx(4_900 / 0.9996, abs=1))
    assert distances(polygons, split, Split.TEST, Split.TRAIN, 9_000.0)[0] == pytest.approx(gap.metres, abs=0.1)


def test_chips_that_fill_their_cubes_are_found_across_them():
    """Two diamonds at 0 E, 0 N, tip to tip 300 m apart, whose centres lie two cubes (of 100 km) from each other."""
    km = 180 / np.pi / 6378.137

    def diamond(east: float) -> shapely.Polygon:
        tips = [(east - 49.95, 0), (east, -30), (east + 49.95, 0), (east, 30)]
        return shapely.Polygon(np.array(tips) * km)

    polygons, split = objects(diamond(-0.05), diamond(100.15)), np.array([TRAIN, TEST])
    assert distances(polygons, split, Split.TEST, Split.TRAIN, 1_000.0)[0] == pytest.approx(300, abs=5)


def test_every_pair_of_splits_is_looked_at():
    polygons = objects(*(square(32633, 5e5 + 1000 * k, 5.3e6) for k in range(4)))
    found = overlaps(polygons, np.array([TRAIN, VAL, TEST, BUFFER]))
    assert found.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert found.area_km2 == pytest.approx((3.48 + 2.48 + 3.48) * 4.48, rel=2e-3)
    assert (found.chips, found.share) == (1, 1.0)
    assert found.ground_share == pytest.approx((2.48 + 3.48) / 2 / 4.48, rel=1e-3)


def test_there_is_no_gap_without_chips():
    polygons = objects(square(32633, 5e5, 5e6))
    assert nearest(polygons, np.array([TRAIN]), Split.TRAIN, Split.TEST) is None
    assert len(overlaps(polygons, np.array([TRAIN])).pairs) == 0
    assert len(distances(polygons, np.array([TRAIN]), Split.TEST, Split.TRAIN, 1000.0)) == 0
    assert np.isinf(distances(polygons, np.array([TEST]), Split.TEST, Split.TRAIN, 1000.0)).all()
    assert np.isnan(overlaps(polygons, np.array([TRAIN])).share)
    assert split_problems(np.empty(0, object), np.empty(0, np.uint8)) == []


def columns_of_chips(gap_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a lattice of chips, train in the west and test in the east of ``gap_cells`` columns of buffer."""
    polygons = [square(32633, 5e5 + 4480 * k, 5.3e6 + 4480 * m) for k in range(10) for m in range(4)]
    column = np.repeat(np.arange(10), 4)
    return objects(*polygons), np.where(column < 4, TRAIN, np.where(column < 4 + gap_cells, BUFFER, TEST)).astype(
        np.uint8
    )


def test_one_train_chip_moved_beside_test_is_found():
    policy = SplitPolicy("blocks", {"train": 0.6, "test": 0.4}, buffer_km=6.8)
    polygons, split = columns_of_chips(2)
    assert split_problems(polygons, split, policy=policy) == []
    ground = Ground.of(polygons)
    kept = promise(policy, ground, gaps_between(ground, split), 0)
    assert kept.kept
    assert kept.metres == pytest.approx(6800 - 4480 / np.sqrt(2), abs=5)
    assert kept.measured == pytest.approx(2 * 4480, rel=1e-3)

    split[6 * 4 - 2] = TRAIN  # in the last column of the buffer
    ids = [f"c{row}" for row in range(len(split))]
    (problem,) = split_problems(polygons, split, ids=ids, policy=policy)
    assert "train chip c22" in problem
    assert "0 m from test chip c2" in problem
    assert "6.8 km" in problem
    assert not promise(policy, ground, gaps_between(ground, split), 0).kept
    assert split_problems(polygons, split, ids=ids) == []  # they touch, and share no ground


def test_one_train_chip_laid_on_test_is_found():
    polygons, split = columns_of_chips(2)
    polygons[0] = square(32633, 5e5 + 4480 * 8.5, 5.3e6 + 100)
    ids = [f"c{row}" for row in range(len(split))]
    (problem,) = split_problems(polygons, split, ids=ids)
    assert "train chip c0 and test chip c32" in problem
    assert problem.startswith("4 pairs")
    split[0] = BUFFER
    assert split_problems(polygons, split, ids=ids) == []
    split[0] = VAL
    assert "val chip c0" in split_problems(polygons, split, ids=ids)[0]


def test_the_tiling_of_the_first_release_overlaps_far_from_its_meridian():
    """The published defect: at Massachusetts the lattice of zone 14 is turned against the boxes."""
    window = shapely.box(-72.6, 42.1, -71.9, 42.6)
    mirrored = shapely.box(-126.1, 42.1, -125.4, 42.6)  # so that the centroid is at 99 W, as that of CONUS is
    chips = geetiles.chips(shapely.MultiPolygon([mirrored, window]), 4480)
    chips = chips[shapely.intersects(chips, window)]
    split = np.where(np.arange(len(chips)) % 2 == 0, TRAIN, TEST).astype(np.uint8)
    found = overlaps(chips, split)
    assert found.share == 1.0
    assert 0.04 < found.ground_share < 0.12
    at_home = geetiles.chips(shapely.box(-99.4, 42.1, -98.7, 42.6), 4480)
    split = np.where(np.arange(len(at_home)) % 2 == 0, TRAIN, TEST).astype(np.uint8)
    assert overlaps(at_home, split).chips == 0
    assert 0 < nearest(at_home, split, Split.TRAIN, Split.TEST).metres < 1.5
