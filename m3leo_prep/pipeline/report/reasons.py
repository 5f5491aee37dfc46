"""How much of each slot is there, and why the rest is not: counted from the arrays beside the pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.reasons import Reason
from m3leo_prep.ports.blobs import Readable
from m3leo_prep.reader.companions import open_companion
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer

CODES = 256
"""Reasons and valid shares are bytes."""


@dataclass(frozen=True, slots=True)
class ReasonFigures:
    """One variable of a layer in one slot."""

    layer: str
    variable: str
    slot: str
    reasons: Mapping[str, int]
    """Chips x bands by reason, the most frequent first."""
    valid: Mapping[str, float | None]
    """Percent by band, the mean of all chips that were looked at; None where none was."""


def reason_figures(dataset: Dataset) -> tuple[ReasonFigures, ...]:
    """Return why data is missing, for every layer, variable and slot in order; in memory of one chunk at a time.

    Raises:
        StoreError: an array is absent.
        VerifyError: one is damaged.
    """
    return tuple(
        one
        for layer in dataset.layers.values()
        for array in layer.own
        for one in _of_variable(dataset.root, layer, array)
    )


def _of_variable(root: Readable, layer: StoredLayer, array: StoredArray) -> Iterator[ReasonFigures]:
    reasons = _counted(root, layer, array, "reason")
    valid = _counted(root, layer, array, "valid")
    shares = np.arange(CODES - 1)
    for place, slot in enumerate(layer.slots):
        found = reasons[place].sum(axis=0)
        order = sorted(np.flatnonzero(found).tolist(), key=lambda code: (-found[code], code))
        looked = valid[place, :, :-1]
        yield ReasonFigures(
            layer.name,
            array.name,
            slot.label,
            {Reason(code).name.lower().replace("_", " "): int(found[code]) for code in order},
            {
                band: float((looked[k] * shares).sum() / looked[k].sum()) if looked[k].any() else None
                for k, band in enumerate(array.bands)
            },
        )


def _counted(root: Readable, layer: StoredLayer, array: StoredArray, part: str) -> NDArray[np.int64]:
    """Return (slot, band, 256) chips by value."""
    cells = len(layer.slots) * len(array.bands)
    counts = np.zeros(cells * CODES, np.int64)
    for values in open_companion(root, layer.name, f"{array.name}_{part}").parts():
        flat = values.reshape(len(values), cells).astype(np.int64) + np.arange(cells) * CODES
        counts += np.bincount(flat.reshape(-1), minlength=cells * CODES)
    return counts.reshape(len(layer.slots), len(array.bands), CODES)
