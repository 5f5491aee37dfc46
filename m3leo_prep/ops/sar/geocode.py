"""From radar geometry to a map: where each target pixel lies in the image, and its value there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ops.sar.ellipsoid import Ground, ground
from m3leo_prep.ops.sar.orbit import Orbit
from m3leo_prep.ops.sar.rangedoppler import RadarGrid
from m3leo_prep.ops.sar.tiepoints import Geolocation, gcp_locate

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["VERSION", "Geolocation", "Heights", "Positions", "gcp_locate", "positions", "sample"]

VERSION = 1
"""Part of a unit's digest: bumped when the output changes."""

Heights = Callable[["GeoBox"], tuple[NDArray[np.float32], NDArray[np.bool_]]]
"""Gives (y, x) metres above the ELLIPSOID at the pixel centres of any GeoBox, and where they are known."""


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """Where the pixels of a target lie in a radar image."""

    line: NDArray[np.float64]
    """(y, x), whole numbers at the centres of radar pixels; NaN where the height is unknown or the orbit ends."""
    sample: NDArray[np.float64]
    """(y, x), the same."""

    def window(self, shape: tuple[int, int], scale: tuple[float, float] = (1.0, 1.0)) -> tuple[slice, slice] | None:
        """Return the (lines, samples) of an image of ``shape`` that ``sample`` reads, or None where it has none."""
        known = np.isfinite(self.line) & np.isfinite(self.sample)
        if not known.any():
            return None
        spans = []
        for position, size, wide in zip((self.line, self.sample), shape, scale, strict=True):
            reach = math.ceil(2 * max(wide, 1.0))
            there = position[known]
            # Clipped before the cast: a point far away need not fit an integer.
            low = int(np.clip(np.floor(there.min()) - reach, 0, size))
            high = int(np.clip(np.ceil(there.max()) + reach + 1, 0, size))
            if low >= high:
                return None
            spans.append(slice(low, high))
        return spans[0], spans[1]

    def inside(self, window: tuple[slice, slice]) -> Positions:
        """Return the positions in an image that begins where ``window`` does."""
        return Positions(self.line - window[0].start, self.sample - window[1].start)


def positions(orbit: Orbit, grid: RadarGrid, geobox: GeoBox, heights: Heights) -> Positions:
    """Return where the pixels of ``geobox`` lie in the image, by range and Doppler on ``heights``.

    Raises:
        ConfigError: the geobox has no CRS, or heights of another shape came.
    """
    seen = view(orbit, ground(geobox), known_heights(geobox, heights))
    return Positions(*grid.place(seen[0], seen[1]))


def known_heights(geobox: GeoBox, heights: Heights) -> NDArray[np.float64]:
    """Return the heights of ``geobox``, NaN where unknown.

    Raises:
        ConfigError: heights of another shape came.
    """
    metres, known = heights(geobox)
    if metres.shape != tuple(geobox.shape) or known.shape != tuple(geobox.shape):
        raise ConfigError(f"heights {metres.shape} and known {known.shape} do not fit {tuple(geobox.shape)} px")
    return np.where(known & np.isfinite(metres), metres, np.nan).astype(np.float64, copy=False)


def view(
    orbit: Orbit,
    earth: Ground,
    height: NDArray[np.float64],
    vectors: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return (5, y, x), what ``_locate.grid`` fills; points and looks go to ``vectors``, (2, y, x, 3), if given."""
    from m3leo_prep.ops.sar import _locate

    out = np.empty((5, *earth.shape))
    _locate.grid(
        orbit.times,
        orbit.polynomials(),
        earth.nodes,
        earth.step,
        earth.row,
        earth.col,
        height,
        np.empty((2, 0, 0, 3)) if vectors is None else vectors,
        out,
    )
    return out


def sample(
    power: NDArray[np.float32],
    valid: NDArray[np.bool_],
    line: NDArray[np.float64],
    sample: NDArray[np.float64],
    *,
    scale: tuple[float, float] = (1.0, 1.0),
    min_weight: float = 0.5,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the power at positions, and where it is known: cubic B-spline of flat noise gain, mask-aware.

    The gain is that of ``warp`` (``BSPLINE_NOISE_GAIN``: 0.21 to 0.25 of the variance at any position). A pixel does
    not depend on the other positions.

    Args:
        power: (lines, samples), linear, negative values included; what invalid pixels hold does not matter.
        valid: (lines, samples).
        line: (y, x) positions in ``power`` (``Positions.inside`` the window that was read), NaN for nowhere.
        sample: (y, x).
        scale: radar pixels per target pixel along lines and samples: above one, the kernel is widened.
        min_weight: least share of the kernel's weight on valid pixels.

    Raises:
        ConfigError: shapes do not fit.
    """
    if power.ndim != 2 or valid.shape != power.shape or line.shape != sample.shape:
        raise ConfigError(
            f"power {power.shape}, valid {valid.shape}, lines {line.shape} and samples {sample.shape} do not fit",
            hint="power and valid are (lines, samples) of the image, positions (y, x) of the target",
        )
    from m3leo_prep.ops.sar import _spline

    source = np.where(valid, power, np.float32(np.nan)).astype(np.float32, copy=False)
    out, ok = np.empty(line.shape, np.float32), np.empty(line.shape, bool)
    _spline.spline(
        source,
        np.ascontiguousarray(line).reshape(-1),
        np.ascontiguousarray(sample).reshape(-1),
        max(scale[0], 1.0),
        max(scale[1], 1.0),
        min_weight,
        out.reshape(-1),
        ok.reshape(-1),
    )
    return out, ok
