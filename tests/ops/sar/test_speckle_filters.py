"""Speckle filters: even ground becomes smooth without a bias, edges and points stay, masks hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from m3leo_prep.ops.sar import speckle
from m3leo_prep.ops.sar.multitemporal import quegan
from m3leo_prep.ops.sar.speckle import gamma_map, lee, refined_lee

LOOKS = 4.4
FILTERS: dict[str, Callable[..., Any]] = {
    "lee": partial(lee, looks=LOOKS),
    "refined_lee": partial(refined_lee, looks=LOOKS),
    "gamma_map": partial(gamma_map, looks=LOOKS),
}
RADIUS = 3


def speckled(ground: np.ndarray, seed: int = 0) -> np.ndarray:
    return (ground * np.random.default_rng(seed).gamma(LOOKS, 1 / LOOKS, ground.shape)).astype(np.float32)


def looks_of(power: np.ndarray) -> float:
    return float(power.mean() ** 2 / power.var())


@pytest.mark.parametrize("name", FILTERS)
def test_even_ground_keeps_its_mean_and_gains_looks(name: str) -> None:
    power = speckled(np.full((200, 200), 0.05))
    made = FILTERS[name](power, np.ones(power.shape, bool))[4:-4, 4:-4]
    assert made.mean() == pytest.approx(0.05, rel=0.02)
    assert looks_of(made) > 5 * LOOKS


@pytest.mark.parametrize("name", FILTERS)
def test_a_constant_stays_what_it_is_and_a_bright_point_too(name: str) -> None:
    power = np.full((21, 21), 0.1, np.float32)
    assert np.allclose(FILTERS[name](power, np.ones(power.shape, bool)), 0.1, rtol=1e-6)
    power[10, 10] = 100.0
    assert FILTERS[name](power, np.ones(power.shape, bool))[10, 10] > 60


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("slanted", [False, True])
def test_the_refined_filter_keeps_edges_sharper_than_the_square_one(turn: int, slanted: bool) -> None:
    rows, cols = np.mgrid[:120, :120]
    bright = (cols + rows > 119) if slanted else (cols >= 60)
    ground = np.rot90(np.where(bright, 1.0, 0.1), turn)
    power = speckled(np.ascontiguousarray(ground), seed=turn)
    valid = np.ones(power.shape, bool)
    distance = np.rot90(np.abs(cols + rows - 119.5) / np.sqrt(2) if slanted else np.abs(cols - 59.5), turn)
    dark = (ground < 0.5) & (distance < 2.5) & (distance > 1)
    near = (slice(8, -8), slice(8, -8))
    sharp, square = (
        np.asarray(f(power, valid))[near][dark[near]].mean() for f in (FILTERS["refined_lee"], FILTERS["lee"])
    )
    assert abs(sharp - 0.1) < 0.05
    assert abs(sharp - 0.1) < abs(square - 0.1) + 0.005


def test_the_square_filter_is_its_formula() -> None:
    power = speckled(np.full((7, 7), 1.0), seed=3)
    power[0, 0] = 9.0
    noise, mean, variance = 1 / LOOKS, power.mean(dtype=float), power.var(dtype=float, ddof=1)
    signal = max((variance - mean**2 * noise) / (1 + noise), 0)
    expected = mean + signal / variance * (power[3, 3] - mean)
    assert lee(power, np.ones((7, 7), bool), looks=LOOKS)[3, 3] == pytest.approx(expected, rel=1e-5)


def _halves_by_hand(power: np.ndarray, y: int, x: int) -> float:
    """The refined filter at one pixel inside, by plain numpy."""
    thirds = np.array(
        [[power[y + i - 1 : y + i + 2, x + j - 1 : x + j + 2].mean() for j in (-2, 0, 2)] for i in (-2, 0, 2)]
    )
    (a, b, c), (d, m, e), (f, g, h) = thirds
    gradients = [c + e + h - a - d - f, f + g + h - a - b - c, b + c + e - d - f - g, e + h + g - b - a - d]
    pair = int(np.argmax(np.abs(gradients)))
    one, other = [(e, d), (g, b), (c, f), (h, a)][pair]
    rows, cols = np.mgrid[-3:4, -3:4]
    side = (cols, rows, cols - rows, cols + rows)[pair]
    inside = side >= 0 if abs(one - m) <= abs(other - m) else side <= 0
    values = power[y - 3 : y + 4, x - 3 : x + 4][inside].astype(float)
    mean, variance, noise = values.mean(), values.var(ddof=1), 1 / LOOKS
    signal = max((variance - mean**2 * noise) / (1 + noise), 0)
    return float(mean + signal / variance * (power[y, x] - mean))


def test_the_refined_filter_is_what_a_plain_one_gives() -> None:
    rng = np.random.default_rng(5)
    power = speckled(0.1 + rng.random((30, 600)).cumsum(axis=1) / 50, seed=6).astype(np.float64)
    made = refined_lee(power, np.ones(power.shape, bool), looks=LOOKS)
    for y, x in [(5, 5), (10, 20), (15, 510), (15, 511), (15, 512), (15, 513), (20, 590), (7, 130)]:
        assert made[y, x] == pytest.approx(_halves_by_hand(power, y, x), rel=1e-5), (y, x)


@pytest.mark.parametrize("name", FILTERS)
def test_masked_pixels_neither_count_nor_come_out(name: str) -> None:
    power = speckled(np.full((60, 60), 0.2))
    valid = np.random.default_rng(1).random(power.shape) < 0.7
    spoilt = np.where(valid, power, np.float32(1e6))
    clean, same = (FILTERS[name](given, valid) for given in (power, spoilt))
    assert np.array_equal(clean, same, equal_nan=True)
    assert np.array_equal(np.isfinite(clean), valid)
    alone = np.zeros_like(valid)
    alone[30, 30] = True
    assert FILTERS[name](power, alone)[30, 30] == pytest.approx(power[30, 30], rel=1e-6)


@pytest.mark.parametrize("name", FILTERS)
def test_power_below_0_stays_a_number(name: str) -> None:
    power = speckled(np.full((30, 30), 0.001)) - np.float32(0.001)
    made = FILTERS[name](power, np.ones(power.shape, bool))
    assert np.isfinite(made).all()
    assert abs(made.mean()) < 3e-4, "dark water stays around 0"


@pytest.mark.parametrize("name", FILTERS)
def test_no_pixel_depends_on_the_cut(name: str) -> None:
    power = speckled(np.full((60, 600), 0.2))
    valid = np.random.default_rng(1).random(power.shape) < 0.9
    whole = FILTERS[name](power, valid)
    part = FILTERS[name](power[11:50, 13:590], valid[11:50, 13:590])
    inner = (slice(11 + RADIUS, 50 - RADIUS), slice(13 + RADIUS, 590 - RADIUS))
    assert np.array_equal(whole[inner], part[RADIUS:-RADIUS, RADIUS:-RADIUS], equal_nan=True)


def test_windows_and_looks_that_mean_nothing_are_refused() -> None:
    one = np.ones((5, 5), np.float32)
    with pytest.raises(ValueError, match="no middle"):
        lee(one, one > 0, looks=4, size=4)
    with pytest.raises(ValueError, match="no number above 0"):
        refined_lee(one, one > 0, looks=0)
    with pytest.raises(ValueError, match="no middle"):
        quegan(one[None], one[None] > 0, size=2)


def test_dates_lend_each_other_looks_and_keep_their_means() -> None:
    levels = np.array([0.05, 0.1, 0.4, 0.2])
    power = np.stack([speckled(np.full((120, 120), level), seed=k) for k, level in enumerate(levels)])
    made = quegan(power, np.ones(power.shape, bool), size=11)[:, 8:-8, 8:-8]
    assert made.mean(axis=(1, 2)) == pytest.approx(levels, rel=0.03)
    gain = [looks_of(date) / LOOKS for date in made]
    assert all(3 < one < 4.2 for one in gain), gain


def test_a_date_that_is_missing_gives_nothing_and_gets_nothing() -> None:
    power = np.stack([speckled(np.full((30, 30), 0.1), seed=k) for k in range(3)])
    valid = np.ones(power.shape, bool)
    valid[1, 10:20] = False
    power[1, 10:20] = 1e6
    made = quegan(power, valid)
    assert np.isnan(made[1, 10:20]).all()
    assert np.isfinite(made[[0, 2]]).all()
    assert made[[0, 2]].max() < 1


def test_the_halves_of_the_window_share_their_middle_line() -> None:
    for pair in range(4):
        one, other = ({(y, x) for y, x in half.tolist()} for half in speckle._HALVES[2 * pair : 2 * pair + 2])
        assert len(one) == len(other) == 28
        assert len(one & other) == 7
        assert (3, 3) in one & other
