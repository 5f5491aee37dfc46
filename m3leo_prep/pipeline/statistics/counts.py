"""Histograms by split, of one variable: what a unit keeps in the ledger, and what they add up to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import Encoding
from m3leo_prep.core.errors import VerifyError
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.ops.summary import count_codes
from m3leo_prep.pipeline.statistics.bins import Bins
from m3leo_prep.store.ledger import Record

SPLITS = "splits"
"""Name in a ledger record of the splits by which its histograms are told apart."""


def histogram_name(variable: str) -> str:
    """Return the name of a variable's histogram in a ledger record."""
    return f"histogram.{variable}"


def counted(layer: Layer) -> list[Array]:
    """Return the variables of a layer that have a histogram: quantities; classes are counted by code."""
    return [array for array in layer.arrays if array.encoding.unit != "class"]


def empty_counts(layer: Layer) -> dict[str, Counts]:
    """Return counts by variable of a layer of which nothing is counted yet."""
    return {array.variable.name: Counts(bins_of(array.encoding), array.n_bands) for array in counted(layer)}


def bins_of(encoding: Encoding) -> Bins:
    """Return the bins of a stored form."""
    return Bins.of(encoding.dtype, encoding.scale, encoding.valid_min, encoding.valid_max)


class Counts:
    """How many valid pixels lie in each bin, by split and band; adding is exact, so its order does not matter."""

    def __init__(self, bins: Bins, n_bands: int) -> None:
        self.bins = bins
        self._shape = (n_bands, bins.n)
        self._counts: dict[int, NDArray[np.int64]] = {}

    def of(self, split: int) -> NDArray[np.int64]:
        """Return (band, bin) counts of a ``Split``, which may be added to."""
        if split not in self._counts:
            self._counts[split] = np.zeros(self._shape, np.int64)
        return self._counts[split]

    def add(self, split: int, codes: NDArray[Any], valid: NDArray[np.bool_], first_band: int = 0) -> None:
        """Add the valid codes of a block (band, y, x) whose first band is ``first_band``.

        Raises:
            VerifyError: codes that their encoding cannot have made.
        """
        counts = self.of(split)[first_band : first_band + len(codes)]
        outside = count_codes(codes, valid, counts, first=self.bins.first, shift=self.bins.shift)
        if outside:
            hint = "the pixels were changed after the build: `m3leo-prep verify` says where; build them again"
            raise VerifyError(f"{outside} stored codes lie outside the range of their encoding", hint=hint)

    def sparse(self) -> NDArray[np.int64]:
        """Return (4, k) split, band, bin and count of all that is not 0, in that order."""
        parts = []
        for split in sorted(self._counts):
            band, place = np.nonzero(self._counts[split])
            parts.append(np.stack([np.full(len(band), split), band, place, self._counts[split][band, place]]))
        return np.concatenate([np.zeros((4, 0), np.int64), *parts], axis=1).astype(np.int64)

    def add_sparse(self, given: NDArray[np.int64]) -> None:
        """Add what ``sparse`` returned."""
        for split in np.unique(given[0]):
            of_split = given[1:, given[0] == split]
            self.of(int(split))[of_split[0], of_split[1]] += of_split[2]


def holds_for(record: Record, splits: NDArray[np.uint8]) -> bool:
    """Return whether a record's histograms are told apart by ``splits``, those of its unit's chips now.

    A record of before the unit grew has fewer chips; one of before histograms has none.
    """
    if SPLITS not in record.arrays:
        return False
    kept = record.arrays[SPLITS]
    return len(kept) <= len(splits) and np.array_equal(kept, splits[: len(kept)])
