"""Several looks become one value: D19, D55, and bits that do not depend on how the work was cut."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from m3leo_prep.core.layer import Statistic
from m3leo_prep.ops.composite import Composite, Look, Mosaic

STATISTICS: tuple[Statistic, ...] = ("mean", "median", "min", "max", "count")


def look(values: Any, valid: Any = None, observed: Any = None, dtype: Any = np.float32) -> Look:
    """Return a look of one row of pixels; None in ``values`` is invalid and holds rubbish."""
    if valid is None:
        valid = [v is not None for v in values]
    rubbish = np.nan if np.dtype(dtype).kind == "f" else 99
    data = np.array([[[rubbish if v is None else v for v in values]]], dtype)
    ok = np.array([[valid]], bool)
    return Look(data, ok, ok if observed is None else np.array([[observed]], bool))


def composed(statistic: Statistic, *looks: Look) -> Look:
    composite = Composite(statistic)
    for one in looks:
        composite.add(one)
    result = composite.result()
    assert result is not None
    return result


def seen(result: Look) -> list[float | None]:
    """Return the values of one row, None where invalid."""
    values, valid = result.values.reshape(-1).tolist(), result.valid.reshape(-1).tolist()
    return [value if ok else None for value, ok in zip(values, valid, strict=True)]


# -- D55 ---------------------------------------------------------------------------------------------------------------


def test_a_pixel_seen_on_three_of_five_dates_has_count_3() -> None:
    dates = [
        look([1, 1, None]),
        look([2, None, None]),
        look([3, 1, None]),
        look([None, 5, None]),
        look([None, 1, None]),
    ]
    result = composed("count", *dates)
    assert result.values.tolist() == [[[3, 4, 0]]]
    assert result.valid.tolist() == [[[True, True, False]]], "nobody looked at the third"


def test_a_pixel_that_was_looked_at_in_vain_has_count_0() -> None:
    cloudy = look([None, 1], observed=[True, True])
    for dates in ([cloudy], [cloudy, cloudy]):
        result = composed("count", *dates)
        assert result.values.tolist() == [[[0, len(dates)]]]
        assert result.valid.all()


def test_backscatter_is_averaged_in_linear_power() -> None:
    """0 dB and -20 dB: the mean power is 0.505, -2.97 dB; the mean of dB would be -10."""
    (value,) = seen(composed("mean", look([1.0]), look([0.01])))
    assert value == pytest.approx(0.505)
    assert 10 * np.log10(value) == pytest.approx(-2.967, abs=1e-3)


def test_power_below_zero_is_averaged_like_any_other() -> None:
    (value,) = seen(composed("mean", look([-0.002]), look([0.004]), look([0.001])))
    assert value == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("power", "expected", "of_db"),
    [
        # n = 2: the mean of both. In dB: (0 - 20) / 2 = -10 dB = 0.1
        ([1.0, 0.01], 0.505, 0.1),
        # n = 4: the mean of the middle two, 0.01 and 0.1. In dB: -15 dB = 0.0316
        ([10.0, 0.001, 0.1, 0.01], 0.055, 10**-1.5),
        ([0.3, 0.1, 0.2], 0.2, 0.2),
    ],
)
def test_a_median_is_exact_in_power_for_every_n(power: list[float], expected: float, of_db: float) -> None:
    for order in itertools.permutations(power):
        (value,) = seen(composed("median", *(look([p]) for p in order)))
        assert value == pytest.approx(expected, rel=1e-6)
    in_db = 10 ** (np.median(10 * np.log10(power)) / 10)
    assert in_db == pytest.approx(of_db, rel=1e-6)
    assert (len(power) % 2 == 1) == (abs(in_db - expected) < 1e-6), "for even n the median of dB is another"


def test_a_median_leaves_out_what_is_masked() -> None:
    dates = [look([1, 1, None]), look([5, None, None]), look([9, 3, 7]), look([None, None, None])]
    assert seen(composed("median", *dates)) == [5, 2, 7]
    assert seen(composed("median", look([None, 1]), look([None, 2]))) == [None, 1.5]


def test_smallest_and_largest() -> None:
    dates = [look([3, None, -1]), look([1, 4, -5]), look([2, 6, None])]
    assert seen(composed("min", *dates)) == [1, 4, -5]
    assert seen(composed("max", *dates)) == [3, 6, -1]


# -- D19 ---------------------------------------------------------------------------------------------------------------


def test_speckle_is_averaged_without_bias_in_power_and_with_bias_in_db() -> None:
    """A field of 0.1 (-10 dB) with 4.4 looks: -10.0 +- 0.05 dB; a mean of dB gives -10.5."""
    rng = np.random.default_rng(19)
    looks, shape = 4.4, (1, 200, 200)
    dates = [(0.1 * rng.gamma(looks, 1 / looks, shape)).astype(np.float32) for _ in range(100)]
    everywhere = np.ones(shape, bool)
    result = composed("mean", *(Look(date, everywhere, everywhere) for date in dates))
    assert 10 * np.log10(result.values.mean(dtype=np.float64)) == pytest.approx(-10.0, abs=0.05)
    in_db = composed("mean", *(Look(10 * np.log10(date), everywhere, everywhere) for date in dates))
    assert in_db.values.mean(dtype=np.float64) == pytest.approx(-10.5, abs=0.05)


# -- blocking ----------------------------------------------------------------------------------------------------------


@st.composite
def _stack(draw: st.DrawFn) -> list[Look]:
    """Some looks, in one of the dtypes that sources give."""
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int16, np.uint8]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (2, 3, 5)
    made = []
    for _ in range(draw(st.integers(1, 6))):
        values = rng.normal(20, 5, shape).astype(dtype)
        valid = rng.random(shape) < draw(st.sampled_from([0.0, 0.5, 1.0]))
        made.append(Look(values, valid, valid | (rng.random(shape) < 0.3)))
    return made


def _nothing(like: Look) -> Look:
    nowhere = np.zeros_like(like.valid)
    return Look(np.full_like(like.values, 77), nowhere, nowhere)


def _same(one: Look, other: Look) -> bool:
    """Return whether both mean the same bits, once encoded as float32."""

    def shown(result: Look) -> NDArray[np.float32]:
        return np.where(result.valid, result.values.astype(np.float32), np.float32(np.nan))

    equal = np.array_equal(shown(one).view(np.uint32), shown(other).view(np.uint32))
    return equal and np.array_equal(one.valid, other.valid) and np.array_equal(one.observed, other.observed)


@pytest.mark.parametrize("statistic", STATISTICS)
@given(looks=_stack(), place=st.integers(0, 6))
def test_a_look_without_a_pixel_here_changes_no_bit(statistic: Statistic, looks: list[Look], place: int) -> None:
    """D11: a larger window meets more acquisitions; a chip in it must not notice."""
    more = list(looks)
    more.insert(min(place, len(looks)), _nothing(looks[0]))
    assert _same(composed(statistic, *looks), composed(statistic, *more))


@pytest.mark.parametrize("statistic", STATISTICS)
@given(looks=_stack(), row=st.integers(1, 2), col=st.integers(1, 4))
def test_a_block_cut_in_parts_gives_the_same_bits(statistic: Statistic, looks: list[Look], row: int, col: int) -> None:
    whole = composed(statistic, *looks)
    for part in (np.s_[:, :row, :col], np.s_[:, row:, :], np.s_[:, :, col:]):
        cut = composed(statistic, *(Look(one.values[part], one.valid[part], one.observed[part]) for one in looks))
        assert _same(cut, Look(whole.values[part], whole.valid[part], whole.observed[part]))


@pytest.mark.parametrize("statistic", ["median", "min", "max", "count"])
@given(looks=_stack())
def test_these_do_not_depend_on_the_order(statistic: Statistic, looks: list[Look]) -> None:
    assert _same(composed(statistic, *looks), composed(statistic, *reversed(looks)))


@given(looks=_stack())
def test_numpy_agrees(looks: list[Look]) -> None:
    stack = np.stack([np.where(one.valid, one.values.astype(np.float64), np.nan) for one in looks])
    some = np.isfinite(stack).any(axis=0)
    references = {"mean": np.nanmean, "median": np.nanmedian, "min": np.nanmin, "max": np.nanmax}
    for statistic, reference in references.items():
        result = composed(statistic, *looks)  # type: ignore[arg-type]
        assert np.array_equal(result.valid, some)
        expected = reference(stack[:, some], axis=0)
        np.testing.assert_allclose(result.values[some].astype(np.float64), expected, rtol=1e-6)
    count = composed("count", *looks)
    looked = np.any([one.observed for one in looks], axis=0)
    assert np.array_equal(count.values[looked], np.isfinite(stack).sum(axis=0)[looked])
    assert np.array_equal(count.valid, looked)


def test_integers_are_averaged_as_numbers_not_wrapped() -> None:
    (value,) = seen(composed("mean", look([200], dtype=np.uint8), look([100], dtype=np.uint8)))
    assert value == 150
    (value,) = seen(composed("median", look([255], dtype=np.uint8), look([254], dtype=np.uint8)))
    assert value == 254.5
    lows = composed("min", look([200, None], dtype=np.uint8), look([100, 7], dtype=np.uint8))
    assert lows.values.dtype == np.uint8
    assert seen(lows) == [100, 7]


def test_what_was_added_is_not_changed() -> None:
    first, second = look([1, 2]), look([3, None])
    for statistic in STATISTICS:
        composed(statistic, first, second)
    assert seen(first) == [1, 2]
    assert seen(second) == [3, None]


def test_nothing_added_is_nothing() -> None:
    assert Composite("mean").result() is None
    assert Mosaic().result() is None


# -- mosaics -----------------------------------------------------------------------------------------------------------


def test_the_first_tile_keeps_its_pixels() -> None:
    mosaic = Mosaic()
    assert mosaic.add(look([1, None, 1, None]), own=True).tolist() == [[[True, False, True, False]]]
    assert mosaic.add(look([2, 2, None, None]), own=True).tolist() == [[[False, True, False, False]]]
    result = mosaic.result()
    assert result is not None
    assert seen(result) == [1, 2, 1, None]


OWN_1, OWN_2 = (look([1, None, None, None]), True), (look([2, 2, None, None]), True)
FOREIGN_1, FOREIGN_2 = (look([7, 7, 7, None]), False), (look([8, 8, None, None]), False)


@pytest.mark.parametrize("order", list(itertools.permutations([OWN_1, FOREIGN_1, FOREIGN_2])))
def test_a_tile_of_the_own_zone_wins_whatever_the_order(order: tuple[tuple[Look, bool], ...]) -> None:
    mosaic = Mosaic()
    for tile, own in order:
        mosaic.add(tile, own=own)
    result = mosaic.result()
    assert result is not None
    first_foreign = next(tile for tile, own in order if not own)
    assert seen(result) == [1, seen(first_foreign)[1], 7, None]


@given(
    tiles=st.lists(
        st.tuples(st.lists(st.none() | st.integers(0, 99), min_size=4, max_size=4), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_a_mosaic_is_the_first_own_pixel_else_the_first_foreign_one(tiles: list[tuple[list[int | None], bool]]) -> None:
    mosaic = Mosaic()
    showing = [-1] * 4
    for number, (values, own) in enumerate(tiles):
        shown = mosaic.add(look(values), own=own).reshape(-1)
        showing = [number if now else before for now, before in zip(shown.tolist(), showing, strict=True)]
    result = mosaic.result()
    assert result is not None
    for pixel in range(4):
        found = [
            n for wanted in (True, False) for n, (v, own) in enumerate(tiles) if own is wanted and v[pixel] is not None
        ]
        assert seen(result)[pixel] == (tiles[found[0]][0][pixel] if found else None)
        assert showing[pixel] == (found[0] if found else -1), "the tile that says it shows is the one that does"


def test_a_mosaic_remembers_where_anybody_looked() -> None:
    mosaic = Mosaic()
    mosaic.add(look([None, None, 1], observed=[True, False, True]), own=True)
    mosaic.add(look([None, None, None], observed=[False, False, False]), own=False)
    result = mosaic.result()
    assert result is not None
    assert result.observed.tolist() == [[[True, False, True]]]
    mosaic.add(look([None, 2, None]), own=False)
    result = mosaic.result()
    assert result is not None
    assert result.observed.all()
