"""How much of a chip is there, and why the rest is not: the stored shares and reasons, in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.reasons import Reason
from m3leo_prep.reader.companions import open_companion
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer

NOT_BUILT = int(Reason.NOT_BUILT)
"""What the stored share is where nobody has looked yet."""
WORDS = {
    Reason.OK: "masked",
    Reason.PARTIAL_COVERAGE: "partly covered",
    Reason.NO_ACQUISITION: "no acquisition",
    Reason.NOT_IN_DATASET: "not in the product",
    Reason.ALL_CLOUD: "all masked",
    Reason.BAND_NOT_IN_PRODUCT: "band not in the product",
    Reason.LAYER_NOT_IN_VERSION: "not in this version",
    Reason.OUT_OF_RANGE: "all out of range",
    Reason.CORRUPT: "damaged file",
    Reason.PROVIDER_ERROR: "provider failed",
    Reason.AUTH_FAILED: "login failed",
    Reason.RATE_LIMITED: "provider's limit",
    Reason.NOT_BUILT: "not built",
}
"""Why pixels are missing, for people; OK leaves only what was masked."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What is stored beside one variable of one chip; a static one has one slot."""

    valid: NDArray[np.uint8]
    """(slot, band) percent; 100 only if all, 0 only if none, 255 = not built."""
    reason: NDArray[np.uint8]
    """(slot, band) numbers of ``Reason``."""
    is_optical: bool

    def words(self, slot: int, bands: Iterable[int]) -> str:
        """Return why pixels of a slot's bands are missing, such as ``partly covered``; empty if none is.

        Args:
            slot: its index.
            bands: indices.
        """
        found = {int(self.reason[slot, band]) for band in bands if self.valid[slot, band] != 100}
        return ", ".join(self._word(Reason(number)) for number in sorted(found))

    def _word(self, reason: Reason) -> str:
        return "all cloud" if reason is Reason.ALL_CLOUD and self.is_optical else WORDS[reason]


def read_quality(dataset: Dataset, row: int, layer: StoredLayer, array: StoredArray) -> Quality:
    """Return a variable's valid shares and reasons in one chip.

    Raises:
        StoreError: they are not there.
        VerifyError: they are damaged.
    """
    shape = (len(layer.slots), len(array.bands))
    valid, reason = (
        open_companion(dataset.root, layer.name, f"{array.name}_{part}").row(row).reshape(shape)
        for part in ("valid", "reason")
    )
    return Quality(valid, reason, array.kind == "reflectance")


def percent(share: float) -> str:
    """Return a share of 0...1 for people; ``100 %`` only if all, ``0 %`` only if none.

    >>> percent(0.9999), percent(0.123), percent(0.0)
    ('>99 %', '12 %', '0 %')
    """
    if share in {0.0, 1.0}:
        return f"{share:.0%}".replace("%", " %")
    whole = round(100 * share)
    return "<1 %" if whole < 1 else ">99 %" if whole > 99 else f"{whole} %"
