"""Which classes each split holds, from the label proportions of its chips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from m3leo_prep.core.splits.policy import LEARNED, Split
from m3leo_prep.pipeline.proportions.groups import snake_case
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.files import opened
from m3leo_prep.reader.manifest import StoredLayer

Codes = NDArray[np.uint8]
Floats = NDArray[np.float64]
PREFIX = "prop_"


@dataclass(frozen=True, slots=True)
class Histogram:
    """The classes of one label, split by split."""

    label: str
    classes: tuple[str, ...]
    shares: Mapping[str, tuple[float, ...]]
    """By split: part of the labelled ground that each class covers; NaN where the split has none."""
    distance: Mapping[str, float]
    """Of val and test: total variation from train, half the sum of the differences: 0 alike, 1 nothing in common."""


def histogram(label: str, proportions: Mapping[str, Floats], weight: Floats, split: Codes) -> Histogram:
    """Return the class shares of each split.

    Args:
        label: its name.
        proportions: by class, (chip,) its part of the chip's valid pixels, NaN where too few are valid.
        weight: (chip,) labelled ground of each chip, any unit of area.
        split: (chip,) ``Split`` codes.
    """
    values = np.stack(list(proportions.values()), axis=1)
    there = np.isfinite(values).all(axis=1) & (weight > 0)
    shares: dict[str, tuple[float, ...]] = {}
    for one in LEARNED:
        mine = there & (split == one)
        total = weight[mine].sum()
        ground = (values[mine] * weight[mine, None]).sum(axis=0)
        shares[one.name.lower()] = tuple((ground / total if total > 0 else np.full(values.shape[1], np.nan)).tolist())
    train = np.array(shares["train"])
    distance = {
        name: float(np.abs(np.array(shares[name]) - train).sum() / 2)
        for name in (Split.VAL.name.lower(), Split.TEST.name.lower())
    }
    return Histogram(label, tuple(proportions), shares, distance)


def column_names(dataset: Dataset) -> list[str]:
    """Return the columns of chips.parquet."""
    with pq.ParquetFile(opened(dataset.root, "chips.parquet")) as file:
        return list(file.schema_arrow.names)


def label_columns(dataset: Dataset) -> dict[str, dict[str, str]]:
    """Return the columns ``prop_<label>_<class>`` of chips.parquet, by label and class.

    A label is a layer, with variable, band and slot where it has several: its classes sum to 1.
    """
    labels = {name for layer in dataset.layers.values() if layer.role == "label" for name in _labels(layer)}
    found: dict[str, dict[str, str]] = {}
    for column in column_names(dataset):
        fitting = [label for label in labels if column.startswith(f"{PREFIX}{label}_")]
        if fitting:  # of two labels the longer has it: `prop_a_b_c` is the class c of a_b, if there is one
            label = max(fitting, key=len)
            found.setdefault(label, {})[column.removeprefix(f"{PREFIX}{label}_")] = column
    return found


def _labels(layer: StoredLayer) -> Iterator[str]:
    for array in layer.arrays.values():
        for band in array.bands:
            for slot in layer.slots:
                parts = [layer.name]
                parts += [array.name] * (len(layer.arrays) > 1)
                parts += [snake_case(band)] * (len(array.bands) > 1)
                parts += [snake_case(slot.label)] * (len(layer.slots) > 1)
                yield "_".join(parts)
