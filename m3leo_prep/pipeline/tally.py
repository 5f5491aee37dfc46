"""Counting differences in one pass: sums, a histogram of fixed bins, confusions, the worst chips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.reader.manifest import StoredArray

EDGES = tuple(float(f"{digit}e{power}") for power in range(-6, 7) for digit in (1, 2, 5))
"""Lower edges of the bins of |difference|; what is smaller than the first is counted apart."""
_LOWER = np.array(EDGES) * (1 - 1e-9)
"""A difference of 0.1 that is a rounding below it belongs to the bin that begins at 0.1."""
WORST = 10
TOP_CONFUSIONS = 5
CODES = 256


@dataclass(slots=True)
class BandTally:
    """Differences (B minus A) in one band, over all chips and slots that both have."""

    band: str
    is_class: bool
    """Codes agree or not; their difference has no size."""
    pixels: int = 0
    both: int = 0
    """Valid in A and in B."""
    only_a: int = 0
    only_b: int = 0
    differing: int = 0
    """Of ``both``, those of another value."""
    recoded: int = 0
    """Pixels of another code: where encodings differ, the same value may have another code."""
    max_abs: float = 0.0
    total: float = 0.0
    total_abs: float = 0.0
    total_square: float = 0.0
    histogram: list[int] = field(default_factory=lambda: [0] * (len(EDGES) + 1))
    """Of |difference| where there is one: below the first edge, then by lower edge."""
    confusions: list[tuple[int, int, int]] = field(default_factory=list)
    """Of classes, the commonest (code in A, code in B, pixels): at most five, of codes below 256."""

    @property
    def equal(self) -> bool:
        """True where every pixel has the same code, or is missing in both."""
        return not self.recoded and not self.differing and not self.only_a and not self.only_b

    @property
    def mean_abs(self) -> float | None:
        """Mean |difference|; None of classes, and where nothing is valid in both."""
        return self._per_pixel(self.total_abs)

    @property
    def rmse(self) -> float | None:
        """Root of the mean squared difference."""
        mean = self._per_pixel(self.total_square)
        return None if mean is None else sqrt(mean)

    @property
    def bias(self) -> float | None:
        """Mean of B minus A."""
        return self._per_pixel(self.total)

    @property
    def agreement(self) -> float | None:
        """Share of the pixels valid in both that have the same value."""
        return 1 - self.differing / self.both if self.both else None

    def derived(self) -> dict[str, Any]:
        """Return what follows from the sums."""
        names = ("equal", "mean_abs", "rmse", "bias", "agreement")
        return {name: getattr(self, name) for name in names}

    def _per_pixel(self, total: float) -> float | None:
        return total / self.both if self.both and not self.is_class else None


@dataclass(frozen=True, slots=True)
class ChipTally:
    """Differences in one chip, over all bands and slots."""

    chip: str
    row: int
    """In A."""
    both: int
    differing: int
    only_a: int
    only_b: int
    max_abs: float
    """0 of classes."""
    mean_abs: float

    @property
    def rank(self) -> tuple[float, float, float, int]:
        """How bad it is: by the largest difference, then the mean, then the share that differs."""
        share = self.differing / self.both if self.both else 0.0
        return self.max_abs, self.mean_abs, share, self.only_a + self.only_b


class Tally:
    """Takes in the codes of one variable, chip by chip."""

    def __init__(self, bands: Sequence[str], array: StoredArray) -> None:
        self.bands = [BandTally(band, array.is_class) for band in bands]
        self.worst: tuple[ChipTally, ...] = ()
        self._array = array
        self._pairs = np.zeros((len(bands), CODES, CODES), np.int64) if array.is_class else None
        self._before: NDArray[np.float64] = np.zeros(5)
        self._chip, self._row, self._max = "", 0, 0.0

    def begin(self, chip: str, row: int) -> None:
        """Begin a chip."""
        self._chip, self._row, self._max = chip, row, 0.0
        self._before = self._sums()

    def add(self, codes: NDArray[Any], twins: NDArray[Any], other: StoredArray, *, same_coding: bool) -> None:
        """Take in some slots of the chip, (slot, band, y, x) codes of A and of B."""
        for k, tally in enumerate(self.bands):
            self._add_band(k, tally, codes[:, k], twins[:, k], other, same_coding=same_coding)

    def end(self) -> None:
        """End the chip: keep it if it is one of the worst."""
        both, differing, only_a, only_b, total_abs = (self._sums() - self._before).tolist()
        if differing or only_a or only_b:
            mean = total_abs / both if both else 0.0
            counts = int(both), int(differing), int(only_a), int(only_b)
            chip = ChipTally(self._chip, self._row, *counts, self._max, mean)
            self.worst = tuple(nlargest(WORST, [*self.worst, chip], key=lambda one: one.rank))

    def result(self) -> tuple[BandTally, ...]:
        """Return the bands, when all chips are in."""
        if self._pairs is not None:
            for tally, pairs in zip(self.bands, self._pairs, strict=True):
                tally.confusions = _commonest(pairs)
        return tuple(self.bands)

    def _sums(self) -> NDArray[np.float64]:
        names = ("both", "differing", "only_a", "only_b", "total_abs")
        return np.array([sum(getattr(tally, name) for tally in self.bands) for name in names], np.float64)

    def _add_band(
        self,
        k: int,
        tally: BandTally,
        codes: NDArray[Any],
        twins: NDArray[Any],
        other: StoredArray,
        *,
        same_coding: bool,
    ) -> None:
        there, there_b = _valid(codes, self._array), _valid(twins, other)
        both = there & there_b
        tally.pixels += codes.size
        tally.both += int(both.sum())
        tally.only_a += int((there & ~there_b).sum())
        tally.only_b += int((there_b & ~there).sum())
        a, b = codes[both], twins[both]
        tally.recoded += int((a != b).sum())
        if self._array.is_class:
            self._add_codes(k, tally, a, b)
        else:
            self._add_values(tally, _difference(a, b, self._array, other, same_coding=same_coding))

    def _add_codes(self, k: int, tally: BandTally, a: NDArray[Any], b: NDArray[Any]) -> None:
        """Count the classes, or flags, that are not the same."""
        off = a != b
        tally.differing += int(off.sum())
        a, b = a[off].astype(np.int64), b[off].astype(np.int64)
        small = (a < CODES) & (b < CODES)
        assert self._pairs is not None
        pairs = np.bincount(a[small] * CODES + b[small], minlength=CODES * CODES)
        self._pairs[k] += pairs.reshape(CODES, CODES)

    def _add_values(self, tally: BandTally, difference: NDArray[np.float64]) -> None:
        size = np.abs(difference)
        off = size[size > 0]
        tally.differing += len(off)
        if not len(off):
            return
        tally.total += float(difference.sum())
        tally.total_abs += float(off.sum())
        tally.total_square += float(np.square(off).sum())
        tally.max_abs = max(tally.max_abs, float(off.max()))
        self._max = max(self._max, float(off.max()))
        bins = np.bincount(np.searchsorted(_LOWER, off, side="right"), minlength=len(tally.histogram))
        tally.histogram = (np.array(tally.histogram) + bins).tolist()


def _valid(codes: NDArray[Any], array: StoredArray) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(codes) if array.fill is None else codes != array.fill)


def _difference(
    a: NDArray[Any], b: NDArray[Any], one: StoredArray, other: StoredArray, *, same_coding: bool
) -> NDArray[np.float64]:
    """Return B minus A in physical units; with equal encodings from the codes, where it is exact."""
    if same_coding and one.fill is not None:
        return np.asarray((b.astype(np.int64) - a.astype(np.int64)) * one.scale)
    return np.asarray(b.astype(np.float64) * other.scale - a.astype(np.float64) * one.scale)


def _commonest(pairs: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return the commonest (code in A, code in B, pixels)."""
    flat = pairs.reshape(-1)
    top = np.argsort(-flat, kind="stable")[:TOP_CONFUSIONS]
    return [(int(i) // CODES, int(i) % CODES, int(flat[i])) for i in top if flat[i]]
