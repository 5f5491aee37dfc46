"""The map of a report: what is known of every chip, packed for the page's own small canvas script.

Not a bokeh page: of 68 000 chips and six columns that has 13 MB, and shows nothing until all of it is read (1.5 s).
Here chips are typed arrays, zipped, and one script draws them after the first paint.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.maps.drawing import Column, draw
from m3leo_prep.maps.page import land
from m3leo_prep.pipeline.report.choices import NONE, Choice, make_choice
from m3leo_prep.pipeline.report.labels import majority, told
from m3leo_prep.pipeline.report.packing import Packed, column_of, geometry, outlines
from m3leo_prep.reader.dataset import Dataset

if TYPE_CHECKING:
    import pandas as pd

MOST_SHAPES = 150_000
"""More chips than this are drawn as squares of several."""
MOST_SHARES = 4_000_000
"""Class shares on the map, chips x classes: above it only the most frequent classes are there, which the page says."""


@dataclass(frozen=True, slots=True)
class ChipMap:
    """Everything that the map of a page holds."""

    choices: tuple[Choice, ...]
    first: str
    n_shapes: int
    side: int
    note: str
    left_out: tuple[str, ...]
    """Columns of class shares that are not on the map."""
    about: str
    """JSON for the script."""
    data: str
    """Base64 of the zipped arrays."""


def chip_map(dataset: Dataset, chips: pd.DataFrame) -> ChipMap:
    """Return the map of all chips.

    Args:
        dataset: the dataset.
        chips: its table without geometry.

    Raises:
        StoreError: a table is absent or damaged.
    """
    colours: dict[str, dict[str, str]] = {}
    more, left_out = _columns(dataset, chips, colours)
    drawing = draw(dataset, MOST_SHAPES, more)
    choices = tuple(make_choice(column, colours.get(column.name, {})) for column in drawing.colours)
    first = _first(choices)
    packed = Packed()
    about = {
        "n": len(drawing),
        "geometry": geometry(packed, drawing),
        "land": outlines(packed, land(drawing)),
        "outline": outlines(packed, [drawing.outline] if drawing.outline is not None else []),
        "columns": [column_of(packed, column, choices) for column in drawing.columns],
        "first": first,
    }
    data = base64.b64encode(gzip.compress(packed.bytes(), 6, mtime=0)).decode()
    return ChipMap(choices, first, len(drawing), drawing.side, drawing.note, left_out, json.dumps(about), data)


def _first(choices: Sequence[Choice]) -> str:
    """Return what a page opens with: the split, else the classes, else whatever differs between chips."""
    for start in ("split", "majority"):
        for choice in choices:
            if choice.name.startswith(start):
                return choice.name
    differing = [choice.name for choice in choices if choice.name.startswith("valid") and not choice.is_constant]
    return (differing or [choice.name for choice in choices if choice.name.startswith("valid")] or [choices[0].name])[0]


def _columns(
    dataset: Dataset, chips: pd.DataFrame, colours: dict[str, dict[str, str]]
) -> tuple[list[Column], tuple[str, ...]]:
    """Return what the map tells beside place, splits and valid shares, and which class shares it leaves out."""
    more: list[Column] = []
    shares: list[tuple[float, str, Column]] = []
    for label in told(dataset):
        if not label.classes:
            more.append(
                _quantity(f"{label.what} of {label.name}", chips[label.column].to_numpy(np.float64), label.unit)
            )
            continue
        values: NDArray[np.float64] = chips[[*label.classes]].to_numpy(np.float64)
        words = np.array([name for name, _ in label.classes.values()] + [NONE], object)
        title = f"majority of {label.name}"
        more.append(Column(title, words[majority(values)], limits=(0, 1)))
        colours[title] = dict(label.classes.values())
        for (name, (word, _)), column in zip(label.classes.items(), values.T, strict=True):
            share = Column(f"{label.name}: {word}", 100 * column, "%", (0.0, 100.0))
            shares.append((float(np.nan_to_num(column).sum()), name, share))
    more += [
        Column(name.replace("_", " ", 1), _words(chips[name]), limits=(0, 1))
        for name in chips.columns
        if name.startswith("admin_")
    ]
    shares.sort(key=lambda share: -share[0])
    most = max(1, MOST_SHARES // max(1, min(len(chips), MOST_SHAPES)))
    return [*more, *(column for _, _, column in shares[:most])], tuple(name for _, name, _ in shares[most:])


def _words(column: pd.Series[Any]) -> NDArray[Any]:
    return np.asarray(column.astype(object).where(column.notna(), NONE).astype(str), object)


def _quantity(name: str, values: NDArray[np.float64], unit: str) -> Column:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return Column(name, values, unit, (low, high if high > low else low + 1))
