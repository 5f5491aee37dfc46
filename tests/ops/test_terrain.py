"""Slope and aspect against closed forms: planes, a cone, lakes, edges."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from m3leo_prep.ops.terrain import VERSION, horn

Floats = NDArray[np.float64]


def centres(size: int, pitch: float) -> tuple[Floats, Floats]:
    """Return (east, north) in metres of a north-up lattice with one pixel of margin."""
    at = (np.arange(-1, size + 1) + 0.5) * pitch
    east, south = np.meshgrid(at, at)
    return east, -south


def sure(height: Floats) -> NDArray[np.bool_]:
    return np.ones(height.shape, bool)


@pytest.mark.parametrize("pitch", [10.0, 20.0, 140.0])
@pytest.mark.parametrize("toward", [0, 30, 90, 135, 200, 270, 315])
@pytest.mark.parametrize("slope", [0.5, 10, 45, 80])
def test_a_plane_is_exact(slope: float, toward: float, pitch: float) -> None:
    """``toward`` is the direction down the slope, clockwise from north."""
    east, north = centres(70, pitch)
    down = np.array([np.sin(np.radians(toward)), np.cos(np.radians(toward))])
    height = 1200 - np.tan(np.radians(slope)) * (down[0] * east + down[1] * north)
    made, aspect, defined = horn(height, sure(height), pitch)
    assert defined.all()
    assert made.shape == (70, 70)
    assert made.dtype == aspect.dtype == np.float32
    assert np.abs(made - slope).max() < 1e-4
    assert np.abs(aspect - down[:, None, None]).max() < 1e-5


def test_water_runs_out_from_the_top_of_a_cone() -> None:
    east, north = centres(100, 10)
    x, y = east - 500, north + 500
    made, aspect, _ = horn(2000 - 0.5 * np.hypot(x, y), sure(x), 10)
    far = np.hypot(x, y)[1:-1, 1:-1] > 100
    outward = np.stack([x, y])[:, 1:-1, 1:-1] / np.hypot(x, y)[1:-1, 1:-1]
    assert np.abs(made[far] - np.degrees(np.arctan(0.5))).max() < 0.1
    assert (aspect * outward).sum(axis=0)[far].min() > 0.999
    assert np.allclose((aspect**2).sum(axis=0)[far], 1, atol=1e-6), "a unit vector"


@pytest.mark.parametrize("level", [0.0, 372.4, -411.7, 8000.1])
def test_a_lake_is_flat_and_faces_nowhere(level: float) -> None:
    """Interpolated heights of a lake differ in their last bits: that is no direction."""
    rng = np.random.default_rng(0)
    height = (np.full((40, 40), level) * (1 + rng.uniform(-1.2e-7, 1.2e-7, (40, 40)))).astype(np.float32)
    made, aspect, defined = horn(height, sure(height), 10)
    assert defined.all()
    assert (made == 0).all()
    assert np.isnan(aspect).all()


def test_a_gentle_slope_is_none() -> None:
    """One centimetre in ten metres is measured, not rounding."""
    east, _ = centres(40, 10)
    height = (400 + 0.001 * east).astype(np.float32)
    made, aspect, _ = horn(height, sure(height), 10)
    assert np.abs(made - np.degrees(0.001)).max() < 0.003
    assert (aspect[0] < -0.9).all(), "it rises to the east, so it faces west"


def test_a_missing_height_spoils_its_neighbours_and_no_more() -> None:
    height = np.add.outer(np.arange(12.0), np.arange(12.0))
    valid = sure(height)
    valid[5, 6] = False
    height[5, 6] = -9999
    made, aspect, defined = horn(height, valid, 10)
    expected = np.ones((10, 10), bool)
    expected[3:6, 4:7] = False
    assert np.array_equal(defined, expected)
    assert np.isnan(made[~expected]).all()
    assert np.isnan(aspect[:, ~expected]).all()
    assert np.allclose(made[expected], np.degrees(np.arctan(np.sqrt(2) / 10)))


def test_any_blocking_gives_the_same_bits() -> None:
    rng = np.random.default_rng(4)
    height = rng.gamma(2, 100, (202, 150)).astype(np.float32)
    valid = rng.random(height.shape) > 0.02
    whole = horn(height, valid, 20)
    for rows, cols in ((slice(0, 90), slice(30, 99)), (slice(37, 202), slice(0, 150)), (slice(101, 104), slice(5, 8))):
        part = horn(height[rows, cols], valid[rows, cols], 20)
        inside = np.s_[..., rows.start : rows.stop - 2, cols.start : cols.stop - 2]
        for a, b in zip(whole, part, strict=True):
            assert np.ascontiguousarray(a[inside]).tobytes() == b.tobytes()


def test_output_changes_only_with_a_new_version() -> None:
    """On failure: if the change is meant, raise ``VERSION`` and put the new hash here."""
    rng = np.random.default_rng(5)
    height = (rng.gamma(2, 100, (50, 60)) // 20 * 20).astype(np.float32)
    slope, aspect, defined = horn(height, rng.random(height.shape) > 0.05, 30)
    kept = np.where(defined, slope, 0).tobytes(), np.nan_to_num(aspect).tobytes(), defined.tobytes()
    assert (VERSION, hashlib.sha256(b"".join(kept)).hexdigest()[:16]) == (1, "54f1af809a350e69")
