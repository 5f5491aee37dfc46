"""Chips of two zones on the same ground: found without fail, and one of them yields, built or not."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from m3leo_prep.core.grid import Grid
from m3leo_prep.core.splits.policy import Assignment, Split
from m3leo_prep.core.splits.scattered import assign_random
from m3leo_prep.core.splits.seams import overlapping, yield_overlaps

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
YIELDS = (Split.TRAIN, Split.VAL, Split.TEST)


@pytest.mark.parametrize(("lon", "lat"), [(12, 60), (3, 60), (9, 71.9), (21, 76), (6, 0.1), (-72, -50), (179.95, 66)])
def test_all_pairs_that_share_ground_are_found(truth, lon, lat):
    """Against outlines in the equal-area plane of the place, every cell with every other."""
    cells = truth.around(lon, lat, high=0.25)

    def flat(k):
        points = truth.square(cells, k, 40)
        x = (points[:, 0] - lon + 180) % 360 - 180
        y = np.sin(np.radians(points[:, 1]))
        return shapely.MultiPoint(np.column_stack([np.radians(x), y])).convex_hull

    shapes = np.array([flat(k) for k in range(len(cells))], object)
    one, two = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    apart = (one < two) & (cells.epsg[one] != cells.epsg[two])
    one, two = one[apart], two[apart]
    area = shapely.area(shapely.intersection(shapes[one], shapes[two])) * 6.37e6**2
    found = {tuple(pair) for pair in overlapping(cells).tolist()}
    clear = area > 4_000  # m2: a hull bulges over edges that bend inwards
    assert {(int(a), int(b)) for a, b in zip(one[clear], two[clear], strict=True)} <= found
    assert found <= {(int(a), int(b)) for a, b in zip(one, two, strict=True)}
    assert len(found) > 5


def test_cells_of_one_zone_and_far_away_share_none():
    assert overlapping(Grid().cells(shapely.box(8, 45, 9, 46))).shape == (0, 2)
    assert overlapping(Grid().cells(shapely.box(8, -0.2, 9, 0.2))).shape == (0, 2)


def test_the_one_that_yields_becomes_buffer(truth):
    cells = truth.around(12, 60, high=0.3)
    home = np.random.default_rng(0).choice([0, 1, 2, Split.NONE], len(cells)).astype(np.uint8)
    made = Assignment(home, home, np.zeros(len(cells), np.int64))
    for yields in (YIELDS, (Split.TEST, Split.TRAIN, Split.VAL)):
        found = yield_overlaps(cells, made, yields).split
        pairs = overlapping(cells)
        for a, b in pairs:
            if {home[a], home[b]} <= set(yields) and home[a] != home[b]:
                first = min((a, b), key=lambda k: yields.index(home[k]))
                assert found[first] == Split.BUFFER
        alone = np.setdiff1d(np.arange(len(cells)), pairs)
        assert (found[alone] == home[alone]).all()
        assert (found[home == yields[-1]] == yields[-1]).all()
        assert (found[home == Split.NONE] == Split.NONE).all()
    assert (made.split == home).all()


@pytest.mark.parametrize(("lon", "lat"), [(12, 60), (24, 70.5), (33, 76), (179.9, 66), (-72, -50)])
def test_random_is_a_function_of_the_cell_alone(truth, lon, lat):
    small, large = truth.around(lon, lat, high=0.3), truth.around(lon, lat, high=0.7)
    one, two = (assign_random(cells, shares=SHARES, seed=1, yields=YIELDS) for cells in (small, large))
    at = dict(zip(large.ids(), range(len(large)), strict=True))
    same = np.array([at[name] for name in small.ids()])
    assert (one.home == two.home[same]).all()
    assert (one.split == two.split[same]).all()
    # What is not built counts: half of the chips yield to the same neighbours as all.
    half = small[np.arange(0, len(small), 2)]
    assert (assign_random(half, shares=SHARES, seed=1, yields=YIELDS).split == one.split[::2]).all()
    for k in np.flatnonzero(small.zone_shared())[:12]:
        assert assign_random(small[k : k + 1], shares=SHARES, seed=1, yields=YIELDS).split == one.split[k]
    a, b = one.split[overlapping(small)].T
    assert ((a == b) | (a == Split.BUFFER) | (b == Split.BUFFER)).all()
    assert (one.split == Split.BUFFER).any()
    # Nothing else yields than what an overlap asks for.
    plain = assign_random(large, shares=SHARES, seed=1)
    assert (plain.split == plain.home).all()
    inner = np.isin(np.arange(len(large)), same)
    assert (yield_overlaps(large, plain, YIELDS).split == two.split)[inner].all()
    assert (assign_random(small, shares=SHARES, seed=2).home != one.home).mean() > 0.3
