"""Where a point of the ground is in a radar image: the range and zero-Doppler equations, and the image's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.ops.sar.ellipsoid import surface
from m3leo_prep.ops.sar.orbit import Orbit

SPEED_OF_LIGHT = 299_792_458.0
"""Metres per second, in vacuum (exact by the definition of the metre): slant range = c / 2 times the annotated time."""


@dataclass(frozen=True, slots=True, eq=False)
class RadarGrid:
    """How the lines and samples of a ground-range image (GRD) follow from azimuth time and slant range.

    ``tiepoints.fitted`` adds the two small shifts that the annotation tells only through its tie points.

    Raises:
        CorruptError: parts that do not fit, are not finite or not in order.
    """

    shape: tuple[int, int]
    """(lines, samples) of the image."""
    first_time: float
    """Time of line 0, seconds from the orbit's epoch (``productFirstLineUtcTime``)."""
    line_interval: float
    """Seconds (``azimuthTimeInterval``)."""
    sample_spacing: float
    """Metres of ground range (``rangePixelSpacing``)."""
    times: NDArray[np.float64]
    """(k,) azimuth times of the polynomials, seconds from the epoch (``coordinateConversion/azimuthTime``); between
    them ground range is interpolated, as the image has no steps."""
    slant_origins: NDArray[np.float64]
    """(k,) metres (``sr0``)."""
    coefficients: NDArray[np.float64]
    """(k, m): ground range in metres by rising powers of (slant range - origin) (``srgrCoefficients``)."""
    time_shift: tuple[float, float] = (0.0, 0.0)
    """Zero-Doppler time less the time of the line: seconds, and seconds per metre of slant range (residual bistatic
    delay: the processor moves all samples of a line as if they were at mid swath)."""

    def __post_init__(self) -> None:
        k = self.times.size
        if k < 1 or self.slant_origins.shape != (k,) or self.coefficients.ndim != 2 or len(self.coefficients) != k:
            raise CorruptError(
                f"{k} times, {self.slant_origins.shape} origins and {self.coefficients.shape} coefficients",
                hint="each record of the coordinate conversion has a time, an origin and coefficients",
            )
        parts = (self.times, self.slant_origins, self.coefficients, np.array([self.first_time, *self.time_shift]))
        steps = (self.line_interval, self.sample_spacing)
        if not all(np.isfinite(part).all() for part in parts) or not all(0 < step < np.inf for step in steps):
            raise CorruptError("the grid of the radar image is not finite, or has no spacing")
        if not (np.diff(self.times) > 0).all():
            raise CorruptError("the ground-range polynomials are not in order of time")

    def place(
        self, azimuth_time: NDArray[np.float64], slant_range: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (line, sample), whole numbers at the centres of pixels, shaped as given; outside is told as it is."""
        line, sample, _ = self.place_dense(azimuth_time, slant_range)
        return line, sample

    def place_dense(
        self, azimuth_time: NDArray[np.float64], slant_range: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return what ``place`` returns, and samples per metre of slant range."""
        from m3leo_prep.ops.sar import _locate

        time, distance = (
            np.ascontiguousarray(part, np.float64) for part in np.broadcast_arrays(azimuth_time, slant_range)
        )
        line, sample, density = (np.empty(time.shape) for _ in range(3))
        _locate.place(
            self.times,
            self.slant_origins,
            self.coefficients,
            self.first_time,
            self.line_interval,
            self.sample_spacing,
            *self.time_shift,
            time.reshape(-1),
            distance.reshape(-1),
            line.reshape(-1),
            sample.reshape(-1),
            density.reshape(-1),
        )
        return line, sample, density


def locate(
    orbit: Orbit, lon: NDArray[np.float64], lat: NDArray[np.float64], height: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (azimuth time in s from the epoch, slant range in m), shaped as given.

    NaN where the orbit's state vectors do not reach, and on the left of the flight: Sentinel-1 looks right.

    Args:
        orbit: of the acquisition, with a state vector before and after it.
        lon: degrees, WGS 84.
        lat: degrees.
        height: metres above the ellipsoid (not above the geoid: 50 m are 5 to 9 samples).
    """
    from m3leo_prep.ops.sar import _locate

    base = surface(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
    xyz = base[..., :3] + np.asarray(height, np.float64)[..., None] * base[..., 3:]
    shape = xyz.shape[:-1]
    time, distance = np.empty(shape), np.empty(shape)
    _locate.points(orbit.times, orbit.polynomials(), xyz.reshape(-1, 3), time.reshape(-1), distance.reshape(-1))
    return time, distance
