"""Several frames of one pair as one: what to add to the phase of each component so that it goes on over the seam.

Each frame is unwrapped by itself, so its phase counts from a constant of its own, and each of its connected components
is besides off by a multiple of 2 pi. Where two frames overlap they show the same ground at the same times: the median
of their difference is the offset of one component against another. It is taken over the whole overlap of two files,
never over a window, so that a pixel is the same in every chip and whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.sources.asf.gunw.corrections import ionosphere

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from m3leo_prep.sources.asf.gunw.file import GunwFile

MIN_PIXELS = 200
"""Pixels two components must share, 1.7 km2: with the largest spread below, and pixels that do not know of each other,
their median is good to 0.07 rad."""
MAX_SPREAD = 1.0
"""Radians: half the distance between the 10th and the 90th percentile of the differences. A jump of 2 pi inside a tenth
of the overlap or more makes it larger."""
Node = tuple[int, int]
"""A component of a frame: (place in the order of the files, component)."""
NOWHERE = -1
"""Number of the component where there is no phase, as the product has it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One component of a frame: which one it is of the frames together, and what to add to its phase."""

    component: int
    number: int
    offset: float
    """Radians."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How one frame goes with the others."""

    parts: tuple[Part, ...] | None
    """Components that fit; None = all, as they are: the frame that the others are fitted to."""

    def apply(
        self, phase: NDArray[np.floating], components: NDArray[Any]
    ) -> tuple[NDArray[np.floating], NDArray[np.int32], NDArray[np.bool_]]:
        """Return (phase, components, valid) of some pixels of the frame, as they go with the other frames.

        Components that continue over a seam have one number. One that could not be fitted is not valid: its phase next
        to another frame's would be a step that is not there. Pixels of component 0 (unwrapped, not reliably) keep that
        number and get the offset of the frame's component that shares most pixels with what it was fitted to. The
        components are ``NOWHERE`` where they are not valid.

        Args:
            phase: (..., y, x) radians, as the product has it; corrections change nothing.
            components: (y, x), as the product has it.
        """
        there = components >= 0
        numbers = np.where(there, components, NOWHERE).astype(np.int32)
        if self.parts is None:
            return phase, numbers, there & np.isfinite(phase)
        offset = np.full(components.shape, np.nan)
        for part in self.parts:
            inside = components == part.component
            offset[inside] = part.offset
            numbers[inside] = part.number
        fits = np.isfinite(offset)
        numbers[~fits] = NOWHERE
        made = (phase + np.where(fits, offset, 0.0)).astype(phase.dtype)
        return made, numbers, fits & np.isfinite(phase)


@dataclass(frozen=True, slots=True)
class Seam:
    """Two components, each of another file, that are the same ground with an offset that can be relied on."""

    first: int
    second: int
    offset: float
    """Radians: median of first minus second."""
    pixels: int
    """That both have."""


def fitted(files: Sequence[GunwFile], *, without_ionosphere: bool = False) -> list[Fit]:
    """Return how each of the frames of one pair goes with the others; the first one stays as it is.

    Components are added one by one, always the one that shares most pixels with those that fit already, so that a third
    frame is fitted through a second one and the order of the others does not matter.

    Args:
        files: frames of one pair (same dates, same track), the one to be left alone first.
        without_ionosphere: the ionosphere is to be subtracted from the phase, which has its own constant in each frame.

    Raises:
        CorruptError: a file is damaged where they overlap.
    """
    links: list[tuple[int, Node, Node, float]] = []  # pixels, one node, another one, first minus second
    for j, second in enumerate(files):
        for i, first in enumerate(files[:j]):
            for seam in _seams(first, second, without_ionosphere=without_ionosphere):
                one, other = (i, seam.first), (j, seam.second)
                links += [(seam.pixels, one, other, seam.offset), (seam.pixels, other, one, -seam.offset)]
    # Most pixels first; the nodes only make the order of equals a fixed one.
    links.sort(key=lambda link: (-link[0], *link[1:]))
    known = {one: (one[1], 0.0) for _, one, _, _ in links if one[0] == 0}
    while link := next((link for link in links if link[1] in known and link[2] not in known), None):
        _, one, other, apart = link
        number, offset = known[one]
        known[other] = number, offset + apart
    surest = [link[2] for link in links if link[2] in known]
    return [Fit(None if n == 0 else _parts(n, known, surest)) for n in range(len(files))]


def _parts(n: int, known: Mapping[Node, tuple[int, float]], surest: Sequence[Node]) -> tuple[Part, ...]:
    """Return the components of frame ``n`` that fit, and component 0 with the offset of the surest of them."""
    unreliable = [Part(0, 0, known[node][1]) for node in surest if node[0] == n]
    return *unreliable[:1], *(Part(node[1], *known[node]) for node in sorted(known) if node[0] == n)


_SEAMS: WeakKeyDictionary[Any, WeakKeyDictionary[Any, dict[bool, Future[tuple[Seam, ...]]]]] = WeakKeyDictionary()
"""By pair of open files; as many as there are open files, and gone with them."""
_LOCK = Lock()


def _seams(first: GunwFile, second: GunwFile, *, without_ionosphere: bool) -> tuple[Seam, ...]:
    """Return what ``_measured`` returns, measured once however many threads ask."""
    with _LOCK:
        kept = _SEAMS.setdefault(first, WeakKeyDictionary()).setdefault(second, {})
        known = kept.get(without_ionosphere)
        if known is None:
            mine: Future[tuple[Seam, ...]] = Future()
            kept[without_ionosphere] = mine
    if known is not None:
        return known.result()
    try:
        mine.set_result(_measured(first, second, without_ionosphere=without_ionosphere))
    except BaseException as error:
        with _LOCK:
            del kept[without_ionosphere]  # who asks next tries again
        mine.set_exception(error)
        raise
    return mine.result()


def _measured(first: GunwFile, second: GunwFile, *, without_ionosphere: bool) -> tuple[Seam, ...]:
    """Return the seams between the components of two files, from all pixels that they share."""
    rows = _shared(first.geobox, second.geobox, axis=0)
    cols = _shared(first.geobox, second.geobox, axis=1)
    if not (rows[0].size and cols[0].size):
        return ()
    (a, in_a), (b, in_b) = (
        _phase(file, down, along, without_ionosphere=without_ionosphere)
        for file, down, along in ((first, rows[0], cols[0]), (second, rows[1], cols[1]))
    )
    both = (in_a > 0) & (in_b > 0) & np.isfinite(a) & np.isfinite(b)
    difference, other = a[both] - b[both], in_b[both].astype(np.int64)
    many = other.max(initial=0) + 1
    pairs = in_a[both].astype(np.int64) * many + other
    kinds, counts = np.unique(pairs, return_counts=True)
    made = []
    for kind in kinds[counts >= MIN_PIXELS]:
        shared = difference[pairs == kind]
        low, middle, high = np.percentile(shared, (10, 50, 90))
        if (high - low) / 2 <= MAX_SPREAD:
            made.append(Seam(int(kind // many), int(kind % many), float(middle), shared.size))
    return tuple(made)


def _shared(first: GeoBox, second: GeoBox, *, axis: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which row (axis 0) or column of ``first`` is nearest to each of ``second`` that lies on it, and those."""
    a, b = first.transform, second.transform
    (a0, step_a), (b0, step_b) = ((a.f, a.e), (b.f, b.e)) if axis == 0 else ((a.c, a.a), (b.c, b.a))
    of_second = np.arange(second.shape[axis])
    of_first = np.floor((b0 + (of_second + 0.5) * step_b - a0) / step_a).astype(np.intp)
    on = (of_first >= 0) & (of_first < first.shape[axis])
    return of_first[on], of_second[on]


def _phase(
    file: GunwFile, rows: NDArray[np.intp], cols: NDArray[np.intp], *, without_ionosphere: bool
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return phase (radians, NaN where there is none) and components of some rows and columns of a file."""
    window = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)
    some = np.ix_(rows - rows[0], cols - cols[0])
    stored = file.window("unwrappedPhase", *window)[some].astype(np.float64)
    phase = np.where(stored == 0, np.nan, stored)  # 0 is the product's fill value
    if without_ionosphere:
        phase -= ionosphere(file, file.geobox[window])[some]
    return phase, file.window("connectedComponents", *window)[some]
