"""Bands: distances against dense points on the ellipsoid, numbers and spread of strips, purity of place, seams."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.splits import bands
from m3leo_prep.core.splits.policy import Split
from m3leo_prep.core.splits.seams import overlapping
from m3leo_prep.core.splits.shares import spread

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
YIELDS = (Split.TRAIN, Split.VAL, Split.TEST)
PLANE = Transformer.from_crs(4326, 6933, always_xy=True)
DEGREE = 17367530.445161 / 180


def assign(cells, *, band_km=100.0, angle=30.0, buffer_km=6.346, shares=SHARES, seed=1, yields=YIELDS):
    return bands.assign_bands(
        cells, band_km=band_km, angle_deg=angle, buffer_km=buffer_km, shares=shares, seed=seed, yields=yields
    )


def strip_at(lon, lat, width, angle):
    """Return the strip of points, from the definition: across a direction in EPSG:6933."""
    wrapped = np.mod(np.asarray(lon) + 180, 360) - 180
    x, y = PLANE.transform(wrapped, lat)
    return np.floor((x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))) / width).astype(int)


@pytest.mark.parametrize(
    ("lon", "lat", "angle"),
    [
        (10, 45, 0),
        (10, 45, 90),
        (10, 45, 33),
        (-70, -35, 51.6),
        (25, 70, 135),
        (20, 79, 20),
        (100, 0, -40),
        (179.95, 50, 0),
        (179.9, 62, 25),
    ],
)
def test_chips_yield_within_the_buffer_and_no_farther(truth, lon, lat, angle):
    """D61, chip to strip, against a dense field of points that know their strips."""
    cells = truth.around(lon, lat, high=0.6)
    buffer_m, width = 9_000.0, 40_000.0
    less, found, more = (
        assign(cells, band_km=width / 1000, angle=angle, buffer_km=buffer_m / 1000 + add) for add in (-0.3, 0, 0.3)
    )
    strips = bands.Strips(width, np.radians(angle), (0.6, 0.2, 0.2), 1)
    rows = np.flatnonzero(~cells.zone_shared() & (found.home != Split.TEST))
    seen = set()
    # Some chips anywhere, and those whose distance is said to be the buffer to 300 m.
    some = np.random.default_rng(5).choice(rows, min(12, len(rows)), replace=False)
    shell = rows[less.split[rows] != more.split[rows]][:15]
    for k in [*some, *shell]:
        points = truth.square(cells, k, 12)
        middle = points.mean(axis=0)
        assert found.home[k] == strips.split(np.array([strip_at(*middle, width, angle)]))[0]
        high = np.degrees(13_000 / 6.37e6)
        wide = high / np.cos(np.radians(abs(middle[1]) + high))
        a, b = np.meshgrid(
            middle[0] + np.linspace(-wide, wide, 261), np.clip(middle[1] + np.linspace(-high, high, 261), -89, 89)
        )
        field = np.column_stack([a.ravel(), b.ravel()])
        foreign = field[strips.split(strip_at(*field.T, width, angle)) > found.home[k]]
        distance = truth.least(points, foreign) if len(foreign) else np.inf
        yielding = found.split[k] == Split.BUFFER
        if yielding:
            # Slanted strips are said to take more than needed where they end.
            assert distance < buffer_m + 250 or (angle == 25 and abs(middle[0]) > 179.7), (k, distance)
        else:
            assert distance > buffer_m, (k, distance)
        seen.add(yielding)
    assert seen == {True, False}


@pytest.mark.parametrize("place", [(10, 45), (-178.5, 66), (-70, -35)])
def test_growth_changes_nothing_and_another_seed_does(truth, place):
    small, large = truth.around(*place, high=0.7), truth.around(*place, high=1.6)
    one, two = assign(small, band_km=50), assign(large, band_km=50)
    at = dict(zip(large.ids(), range(len(large)), strict=True))
    same = np.array([at[name] for name in small.ids()])
    assert len(large) > 4 * len(small)
    for name in ("home", "split", "group"):
        assert (getattr(one, name) == getattr(two, name)[same]).all()
    assert (assign(small, band_km=50, seed=5).home != one.home).any()


@pytest.mark.parametrize("buffer_km", [0, 6.346])
@pytest.mark.parametrize(("lon", "lat", "angle"), [(12, 60, 0), (24, 70.5, 40), (33, 76, 90), (179.9, 66, 10)])
def test_chips_that_overlap_across_a_seam_share_their_split(truth, lon, lat, angle, buffer_km):
    cells = truth.around(lon, lat, high=0.6)
    pairs = overlapping(cells)
    for seed in range(3):
        found = assign(cells, band_km=20, angle=angle, buffer_km=buffer_km, seed=seed)
        one, two = found.split[pairs].T
        assert ((one == two) | (one == Split.BUFFER) | (two == Split.BUFFER)).all()


def test_25_strips_hold_exactly_15_5_5_and_no_split_is_far_away():
    splits = bands.Strips(1.0, 0.0, (0.6, 0.2, 0.2), 3).split(np.arange(-2500, 2500)).reshape(-1, 25)
    for split, count in ((Split.TRAIN, 15), (Split.VAL, 5), (Split.TEST, 5)):
        assert ((splits == split).sum(axis=1) == count).all()
        # One throw in each part: the next strip of a split is never more than one and a half dozen away.
        gaps = np.diff(np.flatnonzero(splits.ravel() == split))
        assert gaps.max() <= 17
    assert len(np.unique(splits, axis=0)) == len(splits)
    assert (bands.Strips(1.0, 0.0, (0.6, 0.2, 0.2), 4).split(np.arange(-2500, 2500)) != splits.ravel()).mean() > 0.4


@pytest.mark.parametrize("shares", [(0.7, 0.15, 0.15), (0.9, 0.1, 0.0), (0.34, 0.33, 0.33)])
def test_other_shares_are_met_at_a_thousand_strips(shares):
    splits = bands.Strips(1.0, 0.0, shares, 3).split(np.arange(1000))
    np.testing.assert_allclose(np.bincount(splits, minlength=3) / 1000, shares, atol=0.03)


def test_a_spread_is_no_sorted_list():
    """Every slot has the same chances, and neighbours differ more often than in a permutation."""
    table = spread((0.6, 0.2, 0.2), np.arange(4000, dtype=np.uint64))
    assert (table[:, 1:] != table[:, :-1]).mean() > 1.05 * (1 - 0.6**2 - 2 * 0.2**2) * 25 / 24
    for split, share in ((Split.TRAIN, 0.6), (Split.VAL, 0.2), (Split.TEST, 0.2)):
        assert np.abs((table == split).mean(axis=0) - share).max() < 0.03


def test_the_angle_turns_the_strips_and_the_group_is_the_strip(truth):
    cells = truth.around(10, 45, high=1.5)
    lon, lat = cells.lon_lat()
    across = assign(cells, angle=0, buffer_km=0).group
    assert all(np.ptp(lon[across == g]) * DEGREE <= 100_000 for g in np.unique(across))
    along = assign(cells, angle=90, buffer_km=0).group
    assert all(np.ptp(PLANE.transform(0 * lat, lat)[1][along == g]) <= 100_000 for g in np.unique(along))
    slanted = assign(cells, angle=30, buffer_km=0)
    strip = strip_at(lon, lat, 100_000.0, 30)
    assert len(np.unique(slanted.group - strip)) == 1
    assert min(across.min(), along.min(), slanted.group.min()) >= 0
    held = bands.bands_per_split(cells, 100, 30, SHARES, 1)
    assert held.tolist() == [len(np.unique(slanted.group[slanted.home == split])) for split in YIELDS]


def test_the_last_never_yields(truth):
    cells = truth.around(10, 45)
    found = assign(cells, band_km=30, yields=(Split.TEST, Split.TRAIN, Split.VAL))
    lost = found.split == Split.BUFFER
    assert lost[found.home == Split.TEST].any()
    assert not lost[found.home == Split.VAL].any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"band_km": 4}, "bands of 4 km"), ({"angle": float("inf")}, "inf degrees"), ({"buffer_km": -1}, "buffer of -1")],
)
def test_bad_numbers_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        assign(Grid().cells(shapely.box(10, 45, 10.1, 45.1)), **wrong)
