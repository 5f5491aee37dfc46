"""The tie points (geolocation grid, GCPs) of a product: to geocode by them alone, and to check and fit its grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.ops.sar.orbit import Orbit
from m3leo_prep.ops.sar.rangedoppler import RadarGrid, locate

LARGEST_ERROR = 0.5
"""Pixels: a grid and orbit that miss a product's own tie points by more contradict it."""


@dataclass(frozen=True, slots=True, eq=False)
class Geolocation:
    """Tie points on a regular grid of lines and samples, at least four of each.

    Raises:
        CorruptError: shapes that do not fit, not finite, not in order.
    """

    lines: NDArray[np.float64]
    """(n,) rising."""
    samples: NDArray[np.float64]
    """(m,) rising."""
    lon: NDArray[np.float64]
    """(n, m) degrees."""
    lat: NDArray[np.float64]
    """(n, m) degrees."""
    height: NDArray[np.float64]
    """(n, m) metres, of the ground as the product's processor had it: positions belong to these heights above the
    ellipsoid. Sentinel-1 has heights above sea level there, 50 feet of the plain of the Po and 0 on the sea."""

    def __post_init__(self) -> None:
        shape = (self.lines.size, self.samples.size)
        fields = (self.lon, self.lat, self.height)
        if min(shape) < _TAPS or any(field.shape != shape for field in fields):
            raise CorruptError(
                f"tie points of {shape[0]} lines and {shape[1]} samples, and fields {[f.shape for f in fields]}",
                hint=f"a grid of at least {_TAPS} lines and samples is needed",
            )
        finite = all(np.isfinite(part).all() for part in (self.lines, self.samples, *fields))
        if not finite or not (np.diff(self.lines) > 0).all() or not (np.diff(self.samples) > 0).all():
            raise CorruptError("the tie points are not finite, or their lines or samples do not rise")


_TAPS = 4
"""Tie points per axis that a position is interpolated from (cubic)."""


def gcp_locate(
    geolocation: Geolocation, lon: NDArray[np.float64], lat: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (line, sample) from the tie points alone, shaped as given; NaN outside them.

    The cubic through four by four tie points gives the map position of a line and sample; Newton's method inverts
    it. Relief between the tie points is not seen: 100 m of height move a pixel by 100 to 180 m. Nor is the geoid
    (``Geolocation.height``), which lies 40 to 50 m above the ellipsoid in Europe: that moves all pixels by as much.

    Args:
        geolocation: of the product.
        lon: degrees; any turn.
        lat: degrees.
    """
    from m3leo_prep.ops.sar import _tiepoints

    first = float(geolocation.lon[0, 0])
    east, north = np.broadcast_arrays(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
    x, y = _turned(east, first), np.ascontiguousarray(north)
    line, sample = np.empty(x.shape), np.empty(x.shape)
    _tiepoints.invert(
        geolocation.lines,
        geolocation.samples,
        _turned(geolocation.lon, first),
        np.ascontiguousarray(geolocation.lat),
        x.reshape(-1),
        y.reshape(-1),
        line.reshape(-1),
        sample.reshape(-1),
    )
    return line, sample


def _turned(lon: NDArray[np.float64], first: float) -> NDArray[np.float64]:
    """Return degrees east of ``first``, -180...180: no jump at the antimeridian."""
    return np.ascontiguousarray((lon - first + 180.0) % 360.0 - 180.0)


def fitted(grid: RadarGrid, orbit: Orbit, geolocation: Geolocation) -> RadarGrid:
    """Return ``grid`` with its two shifts found from the product's tie points, which it then reproduces.

    - Zero-Doppler time less line time, linear in slant range: the bistatic delay that the processor leaves, half of
      the two-way time from mid swath (0.2 lines at the edges).
    - The time of the ground-range polynomials: they belong to lines 0.09 s before their annotated times (products of
      2021; in mountains they move by 17 samples per second). Interpolated as annotated they miss the tie points by
      up to 1.5 samples, shifted by 0.06.

    Raises:
        CorruptError: orbit and grid miss the tie points by more than ``LARGEST_ERROR`` pixels.
    """
    line, sample = np.meshgrid(geolocation.lines, geolocation.samples, indexing="ij")
    time, distance = locate(orbit, geolocation.lon, geolocation.lat, geolocation.height)
    if not np.isfinite(time).all():
        raise CorruptError("the orbit does not reach the product's tie points", hint="use the orbit of this product")
    delay = time - (grid.first_time + line * grid.line_interval)
    rate, start = np.polyfit(distance.ravel() - distance.mean(), delay.ravel(), 1)
    timed = replace(grid, time_shift=(float(start - rate * distance.mean()), float(rate)))
    best = replace(timed, times=timed.times + _record_shift(timed, time, distance, sample))
    found_line, found_sample = best.place(time, distance)
    for name, off in (("line", found_line - line), ("sample", found_sample - sample)):
        worst = float(np.abs(off).max())
        if worst > LARGEST_ERROR:
            raise CorruptError(
                f"orbit and grid miss the product's own tie points by {worst:.1f} {name}s",
                hint="the annotation contradicts itself, or the orbit is of another product",
            )
    return best


def _record_shift(
    grid: RadarGrid, time: NDArray[np.float64], distance: NDArray[np.float64], sample: NDArray[np.float64]
) -> float:
    """Return the seconds to add to the polynomials' times, at most half their spacing, least mean error at the ties."""
    if grid.times.size < 2:
        return 0.0
    spacing = float(np.median(np.diff(grid.times)))
    by_record = np.stack(
        [replace(grid, times=grid.times[k : k + 1], slant_origins=grid.slant_origins[k : k + 1],
                 coefficients=grid.coefficients[k : k + 1]).place(time, distance)[1] for k in range(grid.times.size)]
    )  # fmt: skip

    def error(shift: float) -> float:
        times = grid.times + shift
        k = np.clip(np.searchsorted(times, time, side="right") - 1, 0, times.size - 2)
        weight = np.clip((time - times[k]) / (times[k + 1] - times[k]), 0, 1)
        here, there = (np.take_along_axis(by_record, index[None], axis=0)[0] for index in (k, k + 1))
        return float(np.abs(here + weight * (there - here) - sample).mean())

    best = 0.0
    for width in (spacing / 2, spacing / 40):
        # The first of equals, nearest to where the search began: flat ground says nothing.
        tries = best + width * np.linspace(-1, 1, 81)
        best = float(min(sorted(tries, key=abs), key=error))
    return best
