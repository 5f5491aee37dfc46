"""Radiometric terrain correction: how much ground a radar pixel holds, seen across the beam (Small 2011).

D. Small, Flattening Gamma: Radiometric Terrain Correction for SAR Imagery, IEEE TGRS 49 (8), 2011, 3081-3093: the
power of a radar pixel is divided by the area of all facets of the ground that fall into it, projected on the plane
across the beam. Small fills radar pixels facet by facet; here each target pixel gathers the facets around its own
place in the radar image, under a B-spline as wide as the image's resolution. That is the same sum, free of a second
lattice, and with a fixed farthest distance on the map: so no pixel depends on how the target is cut.

Ground in cast shadow counts if its own slope faces the radar (as in other tools): where it matters the pixel is masked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.ops._mesh import pitch_metres
from m3leo_prep.ops.sar.ellipsoid import Ground, ground
from m3leo_prep.ops.sar.geocode import Heights, Positions, known_heights, view
from m3leo_prep.ops.sar.orbit import Orbit
from m3leo_prep.ops.sar.rangedoppler import RadarGrid

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

VERSION = 1
"""Part of a unit's digest: bumped when the output changes."""
REACH = 3000.0
"""Metres on the map within which ground is seen to overlay or hide other ground: 1.7 km of relief at 29 degrees of
incidence, 3 km at 45. Farther layover is neither counted nor masked."""
_KNOTS = 2.0
"""Knot spacing of the gathering B-spline in radar pixels: its standard deviation, 1.15, is that of the resolution of
a GRD pixel (20 m at 10 m) and of the spline that samples the power together."""
_KNOTS_PER_PIXEL = 1.75
"""Least knot spacing in target pixels: facets on slopes that face away lie up to 1.7 times as far apart as on level
ground, and the sum of a spline at such points ripples by less than 0.05 dB."""


@dataclass(frozen=True, slots=True, eq=False)
class Terrain:
    """What the terrain does to the radar, on the target's pixels, all (y, x)."""

    positions: Positions
    factor: NDArray[np.float32]
    """Area across the beam over area in the slant plane: gamma0 (terrain) = beta0 / factor. NaN where heights are
    unknown there or beside, or where no ground faces the radar. On level ground 1 / tan(incidence)."""
    incidence: NDArray[np.float32]
    """Degrees between the beam and the normal of the slope (local incidence); above 90 the slope looks away."""
    ellipsoid_incidence: NDArray[np.float32]
    """Degrees between the beam and the normal of the ellipsoid."""
    layover: NDArray[np.bool_]
    """Other ground has the same azimuth time and slant range."""
    shadow: NDArray[np.bool_]
    """Hidden from the radar, by its own slope or by ground before it."""


def terrain(orbit: Orbit, grid: RadarGrid, geobox: GeoBox, heights: Heights) -> Terrain:
    """Return what the terrain does on ``geobox``; heights are asked for once, with the margin that this needs.

    No pixel depends on how the target is cut: ground counts up to ``REACH`` from each pixel.

    Raises:
        ConfigError: the geobox has no CRS, or heights of another shape came.
    """
    from m3leo_prep.ops.sar import _facets

    pitch = pitch_metres(geobox)
    knots = max(_KNOTS, _KNOTS_PER_PIXEL * pitch / grid.sample_spacing)
    beside = math.ceil(2 * knots * grid.sample_spacing / pitch) + 4
    rows, cols = _margin(orbit, geobox, REACH / pitch, beside)
    wide = geobox.pad(cols, rows)
    earth = ground(wide)
    height = known_heights(wide, heights)
    vectors = np.empty((2, *earth.shape, 3))
    time, slant, cosine, nadir, speed = view(orbit, earth, height, vectors)
    line, sample, density = grid.place_dense(time, slant)
    facet = np.empty((3, earth.shape[0] - 1, earth.shape[1] - 1))
    _facets.facets(vectors[0], vectors[1], line, sample, density, speed, grid.line_interval, facet)
    inner = (slice(rows, rows + geobox.shape[0]), slice(cols, cols + geobox.shape[1]))
    factor = _gathered(facet, line, sample, knots, REACH / pitch, inner)
    factor[~_all_known(height, beside, inner) | ~(factor > 0)] = np.nan
    local = np.empty(factor.shape)
    _facets.incidence(vectors[0], vectors[1], rows, cols, local)
    layover, shadow = np.empty(factor.shape, bool), np.empty(factor.shape, bool)
    lows, highs = (np.empty([-(-size // _facets.BLOCK) for size in earth.shape]) for _ in range(2))
    _facets.extremes(height, lows, highs)
    _facets.hidden(
        height, slant, -slant, nadir, cosine, lows, highs, _ways(orbit, earth), earth.step, earth.row, earth.col,
        REACH, rows, cols, layover, shadow,
    )  # fmt: skip
    return Terrain(
        Positions(line[inner].copy(), sample[inner].copy()),
        factor.astype(np.float32),
        local.astype(np.float32),
        np.degrees(np.arccos(cosine[inner])).astype(np.float32),
        layover,
        shadow | (local >= 90),
    )


def _ways(orbit: Orbit, earth: Ground) -> NDArray[np.float64]:
    """Return per mesh cell the step away from the radar, as ``_facets.directions`` fills it, in metres per pixel."""
    from m3leo_prep.ops.sar import _facets

    out = np.empty(((earth.nodes.shape[0] - 1) // 2, (earth.nodes.shape[1] - 1) // 2, 3))
    _facets.directions(orbit.times, orbit.polynomials(), earth.nodes, out)
    out[..., 2] /= earth.step
    return out


def _margin(orbit: Orbit, geobox: GeoBox, reach: float, beside: int) -> tuple[int, int]:
    """Return the rows and columns around ``geobox`` that hold all ground that its pixels may see."""
    way = _ways(orbit, ground(geobox))[..., :2]
    # Between the cells of a margin the direction turns by far less than a hundredth.
    share = np.nan_to_num(np.abs(way) / np.hypot(way[..., :1], way[..., 1:])).reshape(-1, 2).max(axis=0) + 0.01
    rows, cols = (math.ceil(reach * min(1.0, float(part))) + beside for part in share)
    return rows, cols


def _gathered(
    facet: NDArray[np.float64],
    line: NDArray[np.float64],
    sample: NDArray[np.float64],
    knots: float,
    reach: float,
    inner: tuple[slice, slice],
) -> NDArray[np.float64]:
    """Return the area across the beam around each inner pixel, per area of a radar pixel in the slant plane."""
    from m3leo_prep.ops.sar import _facets

    out = np.zeros((inner[0].stop - inner[0].start, inner[1].stop - inner[1].start))
    facing = facet[2] > 0
    if not facing.any():
        return out
    spans = [(math.floor(part[facing].min() / knots), math.floor(part[facing].max() / knots)) for part in facet[:2]]
    (low_line, high_line), (low_sample, high_sample) = spans
    lows = np.array([low_line, low_sample, high_sample - low_sample + 1])
    first = np.empty((high_line - low_line + 1) * int(lows[2]) + 1, np.int64)
    found = np.empty((int(facing.sum()), 3))
    place = np.empty((found.shape[0], 2), np.int32)
    _facets.binned(facet, knots, lows, first, found, place)
    corner = inner[0].start, inner[1].start
    _facets.gather(first, found, place, lows, knots, line, sample, reach, *corner, out)
    return out


def _all_known(height: NDArray[np.float64], around: int, inner: tuple[slice, slice]) -> NDArray[np.bool_]:
    """Return where all heights of a square around an inner pixel are known."""
    missing = np.zeros((height.shape[0] + 1, height.shape[1] + 1), np.int32)
    missing[1:, 1:] = np.isnan(height).cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    (top, low), (left, right) = ((s.start - around, s.stop + around + 1) for s in inner)
    span = 2 * around + 1
    part = missing[top:low, left:right]
    count = part[span:, span:] - part[:-span, span:] - part[span:, :-span] + part[:-span, :-span]
    known: NDArray[np.bool_] = count == 0
    return known
