"""What every exported file says of itself: the chip, the variable, the licence, and names that file systems take."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from m3leo_prep.reader.chosen import chosen
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.reader.selection import Pick

Write = Callable[[Path], None]
Files = Iterator[tuple[str, Write]]
"""Name below the folder, and what writes it."""


def chip_place(dataset: Dataset, row: int) -> dict[str, Any]:
    """Return where a chip is: id, row, zone, corner, centre, split."""
    import pandas as pd

    known = ["chip_id", "row", "epsg", "x0", "y0", "lon", "lat", "split"]
    chip = dataset.chips.iloc[row]
    values = {key: chip[key] for key in known if key in dataset.chips}
    return {
        key: None if pd.isna(value) else value.item() if isinstance(value, np.generic) else value
        for key, value in values.items()
    }


def facts_of(dataset: Dataset, row: int, layer: StoredLayer, array: StoredArray) -> dict[str, Any]:
    """Return what every file says of its values: what they are, how they were made, who owns their source."""
    attributes = dict(array.attributes)
    kernel, unit = attributes.pop("method", ""), attributes.pop("units")
    return {
        **attributes,
        "chip_id": chip_place(dataset, row)["chip_id"],
        "dataset": dataset.manifest["name"],
        "layer": layer.name,
        "variable": array.name,
        **({} if array.is_class else {"units": unit}),
        "kernel": kernel,
        "licence": layer.licence,
        "citation": layer.citation,
    }


def slots_of(dataset: Dataset, row: int, layer: StoredLayer) -> list[dict[str, Any]]:
    """Return what the slots of a chip are: label, start and end, and which pair or orbit where a rule chose it."""
    if layer.is_static:
        return []
    spans = [
        {"label": s.label, "start": s.start and s.start.isoformat(), "end": s.end and s.end.isoformat()}
        for s in layer.slots
    ]
    return [span | facts for span, facts in zip(spans, chosen(dataset, row, layer), strict=True)]


def legend_of(array: StoredArray) -> list[dict[str, Any]]:
    """Return the classes of a variable: ``code``, ``name`` and ``color``, as in the manifest."""
    return list(array.about.get("legend") or [])


def key_of(pick: Pick) -> str:
    """Return ``layer``, or ``layer.variable`` where the layer has several."""
    return pick.layer.key(pick.array)


def plain_name(text: str) -> str:
    """Return a name that every file system and shell takes."""
    return re.sub(r"[^0-9A-Za-z_-]+", "-", text).strip("-") or "unnamed"
