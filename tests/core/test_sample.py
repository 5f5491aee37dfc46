"""Samples: the order of clusters is spread, nested, a function of place and seed, and never changes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.core.sample import (
    CANDIDATES,
    EDGE,
    LEVELS,
    NO_STRATUM,
    Sample,
    clusters_of,
    equal_strata,
    grts_key,
    take,
)
from m3leo_prep.core.zones import project
from m3leo_prep.pipeline.areas import load_area

GRID = Grid()
NORTH, NEXT, SOUTH = 32632, 32633, 32732


def rectangle(epsg: int, cols: range, rows: range) -> Cells:
    row, col = np.meshgrid(np.array(rows, np.int32), np.array(cols, np.int32))
    return Cells(GRID, np.full(col.size, epsg, np.int32), col.ravel(), row.ravel())


def together(*some: Cells) -> Cells:
    return Cells(GRID, *(np.concatenate([getattr(c, name) for c in some]) for name in ("epsg", "col", "row")))


def drawn(cells: Cells, n: int, *, seed: int = 0, edge: int = EDGE) -> Cells:
    clusters = clusters_of(cells, edge)
    return cells[take(clusters, clusters.order(seed), n)]


def ids(cells: Cells) -> set[str]:
    return set(cells.ids())


@pytest.fixture(scope="module")
def europe() -> Cells:
    return GRID.cells(load_area("europe").geometry)


AREA = together(
    rectangle(NORTH, range(-5, 30), range(1000, 1037)),
    rectangle(NEXT, range(-40, -11), range(1003, 1020)),
    rectangle(SOUTH, range(2, 9), range(11)),
)


GOLDEN = ["32N_E010_0515/2", "32N_E005_0502/2", "32N_E000_0516/2", "32N_E002_0506/2"]
GOLDEN_DIGEST = "93893f40ff0a4878"


# -- clusters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", [2, 8])
def test_a_cluster_is_an_aligned_square_of_one_zone(edge: int) -> None:
    clusters = clusters_of(AREA, edge)
    assert clusters.sizes.sum() == len(AREA)
    assert len(np.unique(clusters.member)) == len(clusters)
    for cluster in range(len(clusters)):
        cells = AREA[clusters.member == cluster]
        assert set(cells.epsg.tolist()) == {int(clusters.epsg[cluster])}
        assert set(np.floor(cells.col / edge).tolist()) == {int(clusters.col[cluster])}
        assert set(np.floor(cells.row / edge).tolist()) == {int(clusters.row[cluster])}


def test_names_and_centres() -> None:
    """Columns west of the central meridian round down, rows of the south count southward."""
    cells = Cells(GRID, *(np.array(v, np.int32) for v in ([NORTH, NORTH, SOUTH], [-1, 25, 3], [7, 246, 4])))
    clusters = clusters_of(cells, 2)
    assert clusters.names() == ["32N_W001_0003/2", "32N_E012_0123/2", "32S_E001_0002/2"]
    lon, lat = clusters.centres(GRID.cell_m)
    expected = [(-4480.0, 7 * 4480.0), (25 * 4480.0, 247 * 4480.0), (3 * 4480.0, 1e7 - 5 * 4480.0)]
    for k, (x, y) in enumerate(expected):
        assert project(int(clusters.epsg[k]), lon[k], lat[k]) == pytest.approx((500_000 + x, y), abs=1e-3)


# -- the order ---------------------------------------------------------------------------------------------------------


def reference_key(epsg: int, col: int, row: int, seed: int) -> int:
    """The key in plain integers, step by step as the documentation says it."""
    mask = 2**64 - 1

    def mix(value: int) -> int:
        value = (value + 0x9E3779B97F4A7C15) & mask
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        return value ^ (value >> 31)

    zone = mix(mix(seed) ^ epsg)
    x, y, key = col + 2**20, row, 0
    for level in range(LEVELS):
        quarter = 2 * (y % 2) + x % 2
        x, y = x // 2, y // 2
        node = mix(mix(zone ^ (level + 1)) ^ ((x << 32) | y))
        left = [0, 1, 2, 3]
        shuffle: list[int] = []
        for base in (6, 2, 1, 1):  # the node's permutation, counted in lexicographic order
            place, node = (node % 24 // base, node % 24 % base) if not shuffle else (node // base, node % base)
            shuffle.append(left.pop(place))
        key = key * 4 + shuffle[quarter]
    return int((key + mix(zone)) % 4**LEVELS)


@given(col=st.integers(-(2**20), 2**20 - 1), row=st.integers(0, 2**20 - 1), seed=st.integers(0, 2**63 - 1))
def test_keys_are_those_of_plain_integers(col: int, row: int, seed: int) -> None:
    key = grts_key(NORTH, np.array([col]), np.array([row]), seed)
    assert int(key[0]) == reference_key(NORTH, col, row, seed)


def test_splitmix_is_the_published_one() -> None:
    """First output of SplitMix64 for the state 1234567 (the vector of its reference implementations)."""
    from m3leo_prep.core.sample import mix

    assert int(mix(np.array([1234567], np.uint64))[0]) == 6457827717110365317


def test_the_order_never_changes() -> None:
    """Else published samples could not be grown."""
    clusters = clusters_of(AREA, EDGE)
    names = np.array(clusters.names())[clusters.order(7)]
    assert names[:4].tolist() == GOLDEN
    assert hashlib.sha256("\n".join(names).encode()).hexdigest()[:16] == GOLDEN_DIGEST


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_share_takes_one_cluster_of_every_aligned_square(seed: int, power: int) -> None:
    """The defining property: 1/4 of a zone's clusters is one of each 2 x 2, 1/16 one of each 4 x 4."""
    side = 2**power
    clusters = clusters_of(rectangle(NORTH, range(-64, 64), range(1024, 1152)), 2)
    first = clusters.order(seed)[: len(clusters) // side**2]
    squares = clusters.col[first] // side * 1000 + clusters.row[first] // side
    assert len(np.unique(squares)) == len(first)


def test_which_cluster_of_a_square_is_taken_is_random() -> None:
    """A grid without random offsets would meet whatever repeats on the ground."""
    clusters = clusters_of(rectangle(NORTH, range(-64, 64), range(1024, 1152)), 2)
    first = clusters.order(0)[: len(clusters) // 4]
    quarter = 2 * (clusters.row[first] % 2) + clusters.col[first] % 2
    counts = np.bincount(quarter, minlength=4)
    assert (abs(counts - len(first) / 4) < 4 * np.sqrt(len(first) * 3 / 16)).all()


@given(seed=st.integers(0, 2**63 - 1), few=st.integers(1, len(AREA)), more=st.integers(1, len(AREA)))
@settings(deadline=None)
def test_samples_are_nested_and_as_large_as_asked(seed: int, few: int, more: int) -> None:
    few, more = sorted((few, more))
    small, large = drawn(AREA, few, seed=seed), drawn(AREA, more, seed=seed)
    assert ids(small) <= ids(large)
    assert few <= len(small) <= few + EDGE**2 - 1
    assert len(ids(small)) == len(small)


def test_exactly_all_and_exactly_one() -> None:
    assert ids(drawn(AREA, len(AREA))) == ids(AREA)
    assert 1 <= len(drawn(AREA, 1)) <= EDGE**2


def test_rows_keep_their_order() -> None:
    rows = {name: row for row, name in enumerate(AREA.ids())}
    order = [rows[name] for name in drawn(AREA, 200).ids()]
    assert order == sorted(order)


def test_clusters_are_whole_but_at_the_edge_of_the_area() -> None:
    clusters = clusters_of(AREA, EDGE)
    mask = take(clusters, clusters.order(3), 150)
    for cluster in np.unique(clusters.member[mask]):
        assert mask[clusters.member == cluster].all()


def test_the_order_does_not_depend_on_the_area(europe: Cells) -> None:
    """Clusters of a part stand in the order in which they stand in the whole."""
    part = europe[(europe.epsg == NORTH) & (europe.row > 1200)]
    whole, some = clusters_of(europe, EDGE), clusters_of(part, EDGE)
    names = set(some.names())
    assert len(names) > 1000
    order = [name for name in np.array(whole.names())[whole.order(5)] if name in names]
    assert order == np.array(some.names())[some.order(5)].tolist()


def test_a_larger_area_at_the_same_density_contains_the_sample(europe: Cells) -> None:
    """The clusters before a key are the same in any area; here one zone is the area, then two."""
    one, two = europe[europe.epsg == NORTH], europe[(europe.epsg == NORTH) | (europe.epsg == NEXT)]
    small, density = drawn(one, 800), 800 / len(one)
    assert ids(small) <= ids(drawn(two, int(1.03 * density * len(two))))


def test_other_seeds_draw_other_samples() -> None:
    first, other = ids(drawn(AREA, 200, seed=0)), ids(drawn(AREA, 200, seed=1))
    expected = 200 * 200 / len(AREA)
    assert len(first & other) < 2 * expected


@pytest.mark.parametrize("n", [2000, 5000, 20000])
def test_europe_is_covered_far_more_evenly_than_by_chance(europe: Cells, n: int) -> None:
    """Variance of the clusters per square of 140 km inside Europe: at most a fifth of that of random drawing."""
    clusters = clusters_of(europe, EDGE)
    _, square, there = np.unique(
        np.stack([clusters.epsg, clusters.col // 16, clusters.row // 16]),
        axis=1,
        return_inverse=True,
        return_counts=True,
    )
    full = there == 256
    assert full.sum() > 150

    def counts(order: NDArray[np.int64]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = np.bincount(square.reshape(-1)[order[: n // 4]], minlength=len(there))[full]
        return found

    spread, chance = counts(clusters.order(0)), counts(np.random.default_rng(0).permutation(len(clusters)))
    assert spread.mean() == pytest.approx(256 * n / 4 / len(clusters), rel=0.1)
    assert spread.var() < chance.var() / 5


@pytest.mark.parametrize(("n", "most"), [(125, 0.6), (1250, 0.35)])
def test_every_zone_has_its_share(europe: Cells, n: int, most: float) -> None:
    """Variance of the clusters per zone over some seeds, in units of that of random drawing; and no bias."""
    clusters = clusters_of(europe, EDGE)
    zones, zone, there = np.unique(clusters.epsg, return_inverse=True, return_counts=True)
    counts = np.stack(
        [np.bincount(zone[clusters.order(seed)[:n]], minlength=len(zones)) for seed in range(8)],
    )
    share = n * there / len(clusters)
    assert ((counts - share) ** 2 / share).mean() < most
    assert (abs(counts.mean(axis=0) - share) < 4 * np.sqrt(share / len(counts)) + 0.5).all()


def test_europe_is_drawn_in_a_moment(europe: Cells) -> None:
    start = time.process_time()
    assert 5000 <= len(drawn(europe, 5000)) <= 5003
    assert time.process_time() - start < 2


# -- strata ------------------------------------------------------------------------------------------------------------


def cluster_row(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.random.default_rng(1).permutation(n), np.full(n, 4)


@given(
    shares=st.lists(st.floats(0.01, 1), min_size=2, max_size=5),
    n=st.integers(1, 900),
    seed=st.integers(0, 100),
)
@settings(deadline=None)
def test_strata_get_equal_shares_as_far_as_they_reach(shares: list[float], n: int, seed: int) -> None:
    """All candidates known at once: no stratum is ahead of another that still had clusters."""
    rng = np.random.default_rng(seed)
    strata = rng.choice(len(shares), 300, p=np.array(shares) / sum(shares))
    order, sizes = rng.permutation(300), rng.integers(1, 5, 300)
    chosen: list[int] = []
    for cluster in equal_strata(order, sizes, lambda some: strata[some], first_stage=300):
        if sizes[chosen].sum() >= n:
            break
        chosen.append(cluster)
    assert len(set(chosen)) == len(chosen)
    chips = np.bincount(strata[chosen], sizes[chosen], minlength=len(shares))
    for stratum in range(len(shares)):
        exhausted = set(np.flatnonzero(strata == stratum)) <= set(chosen)
        assert exhausted or chips[stratum] >= chips.max() - 4
        members = [c for c in order if strata[c] == stratum]
        assert [c for c in chosen if strata[c] == stratum] == members[: int((strata[chosen] == stratum).sum())]


def test_in_a_sample_too_small_for_all_strata_they_are_spread() -> None:
    """Not those with the lowest numbers: the units of a country in alphabetical order lie together."""
    order, sizes = cluster_row(400)
    strata = np.arange(400) // 4
    chosen = list(equal_strata(order, sizes, lambda some: strata[some], first_stage=400))[:10]
    assert len(set(strata[chosen].tolist())) == 10
    assert chosen[0] == order[0]
    assert max(strata[chosen]) > 50


def test_stages_look_at_few_and_their_order_is_of_no_number() -> None:
    order, sizes = cluster_row(5000)
    strata = np.where(np.arange(5000) % 50 == 0, 1, 0)
    looked: list[int] = []

    def strata_of(some: NDArray[np.int64]) -> NDArray[np.int64]:
        looked.extend(some.tolist())
        return strata[some]

    chosen: list[int] = []
    for cluster in equal_strata(order, sizes, strata_of):
        chosen.append(cluster)
        assert min(5000, CANDIDATES * len(chosen)) <= len(looked) <= max(256, 1.25 * CANDIDATES * len(chosen) + 4)
    assert looked == order.tolist(), "each once, in the order"
    assert sorted(chosen) == list(range(5000))
    rare = int(strata[order[:256]].sum())
    assert strata[chosen[: 2 * rare]].sum() == rare > 0, "the rare class is half of it while it lasts"


def test_clusters_without_a_stratum_are_never_drawn() -> None:
    order, sizes = cluster_row(1000)
    strata = np.where(np.arange(1000) % 3 == 0, NO_STRATUM, np.arange(1000) % 3)
    chosen = list(equal_strata(order, sizes, lambda some: strata[some]))
    assert sorted(chosen) == np.flatnonzero(strata != NO_STRATUM).tolist()
    assert list(equal_strata(order, sizes, lambda some: np.full(len(some), NO_STRATUM))) == []


def test_take_asks_for_no_more_than_it_needs() -> None:
    clusters = clusters_of(AREA, EDGE)
    asked = []
    order = clusters.order(0)

    def lazily() -> Iterator[int]:
        for cluster in order:
            asked.append(cluster)
            yield int(cluster)

    mask = take(clusters, lazily(), 40)
    assert clusters.sizes[asked[:-1]].sum() < 40 <= mask.sum() == clusters.sizes[asked].sum()
    asked.clear()
    assert take(clusters, lazily(), 40, mask).sum() == mask.sum()
    assert asked == []


def test_what_is_known_stays_and_counts() -> None:
    clusters = clusters_of(AREA, EDGE)
    known = np.zeros(len(AREA), bool)
    known[np.random.default_rng(0).choice(len(AREA), 50, replace=False)] = True
    mask = take(clusters, clusters.order(0), 80, known)
    assert mask[known].all()
    assert 80 <= mask.sum() <= 83


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": 0}, "a sample of 0 chips"),
        ({"n": -5}, "a sample of -5 chips"),
        ({"n": 5, "by": "block"}, "did you mean 'blocks'"),
        ({"n": 5, "by": "country"}, "choose from: admin, blocks, landcover"),
        ({"n": 5, "seed": -1}, "the seed -1"),
        ({"n": 5, "seed": 2**63}, "is no number from 0 to"),
    ],
)
def test_a_sample_that_makes_no_sense_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match="--") as caught:
        Sample(**given)  # type: ignore[arg-type]  # on purpose
    assert words in str(caught.value)


def test_a_sample_reads_as_it_was_asked_for() -> None:
    assert str(Sample(500, "admin", 3)) == "--sample 500 --by admin --seed 3"
    assert Sample(**Sample(500, "admin", 3, 8).document()) == Sample(500, "admin", 3, 8)
