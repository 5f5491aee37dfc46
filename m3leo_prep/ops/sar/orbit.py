"""Where a satellite is: state vectors, and the cubic Hermite polynomials between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError


@dataclass(frozen=True, slots=True, eq=False)
class Orbit:
    """State vectors in the Earth-fixed frame (WGS 84, ECEF), in order of time.

    Raises:
        CorruptError: fewer than two, out of order, not finite, or shapes that do not fit.
    """

    times: NDArray[np.float64]
    """(n,) seconds from an epoch that the caller chooses; all other times are from the same."""
    positions: NDArray[np.float64]
    """(n, 3) metres."""
    velocities: NDArray[np.float64]
    """(n, 3) metres per second."""

    def __post_init__(self) -> None:
        n = self.times.size
        if n < 2 or self.positions.shape != (n, 3) or self.velocities.shape != (n, 3):
            raise CorruptError(
                f"an orbit of {n} times, {self.positions.shape} positions and {self.velocities.shape} velocities",
                hint="at least two state vectors are needed, each with time, position and velocity",
            )
        whole = all(np.isfinite(part).all() for part in (self.times, self.positions, self.velocities))
        if not whole or not (np.diff(self.times) > 0).all():
            raise CorruptError("the state vectors of the orbit are not finite or not in order of time")

    def polynomials(self) -> NDArray[np.float64]:
        """Return (n - 1, 4, 3) coefficients of the positions between vectors, by rising powers of seconds.

        Seconds are from the earlier of the two vectors. The cubic has both positions and both velocities. Over 10 s its
        error is h**4 / 384 times the fourth derivative, r w**4 = 1e-5 m/s**4 for Sentinel-1: below a millimetre.
        """
        span = np.diff(self.times)[:, None]
        here, there = self.positions[:-1], self.positions[1:]
        start, end = self.velocities[:-1], self.velocities[1:]
        rise = (there - here) / span
        square = (3 * rise - 2 * start - end) / span
        cube = (start + end - 2 * rise) / span**2
        return np.stack([here, start, square, cube], axis=1)
