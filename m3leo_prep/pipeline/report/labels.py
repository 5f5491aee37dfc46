"""What the labels say: class shares and means of chips and of administrative units, as their tables have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredLayer
from m3leo_prep.reader.picture.legend import color_at, shown_classes

if TYPE_CHECKING:
    import pandas as pd

MOST_UNITS = 60
"""Listed one by one, the largest first; all are counted."""
MEAN_BINS = 24


@dataclass(frozen=True, slots=True)
class Told:
    """What one label tells of chips and units: the names of its columns, and how their classes look."""

    name: str
    """Of the columns: the layer, with variable, band and slot where it has several."""
    layer: str
    what: str
    """``prop``, ``mean`` or ``sum``."""
    classes: Mapping[str, tuple[str, str]]
    """(name, ``#rrggbb``) by column ``prop_<name>_<class>``; empty unless ``prop``."""
    unit: str

    @property
    def column(self) -> str:
        """The column of a quantity."""
        return f"{self.what}_{self.name}"


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class of a label."""

    column: str
    name: str
    color: str
    mean: float | None
    """Mean share over the chips whose proportions are known, 0...1."""
    majority: int
    """Chips in which no class has more, ties to the first column."""
    by_split: Mapping[str, float | None]
    """The same mean in the chips of each value of the column ``split``."""


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """One label in the chips."""

    name: str
    layer: str
    what: str
    known: int
    """Chips whose proportions, mean or sum are known."""
    unknown: int
    classes: tuple[ClassFigures, ...] = ()
    """Empty for a quantity, and for classes the following."""
    mean: float | None = None
    """Of the chips' means or sums."""
    low: float | None = None
    high: float | None = None
    histogram: tuple[int, ...] = ()
    """Chips by it, equal bins from ``low`` to ``high``."""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class OneUnit:
    """An administrative unit."""

    unit: str
    area_km2: float
    n_chips: int
    """Built chips whose bag it is."""
    coverage: float | None
    """Share of it that built chips cover."""
    values: Mapping[str, float | None]
    """By column: its own shares, means and sums, and those of its chips (``..._built_...``)."""
    reasons: tuple[str, ...]
    """Why values are not known."""


@dataclass(frozen=True, slots=True)
class UnitFigures:
    """The administrative units."""

    n: int
    area_km2: float
    with_chips: int
    """Units that built chips cover in part or whole."""
    coverage: float
    """Of their area together."""
    overlaps: int
    """Rows of chip_units.parquet."""
    listed: tuple[OneUnit, ...]


def told(dataset: Dataset) -> tuple[Told, ...]:
    """Return what the labels of a dataset tell, in the order of the manifest."""
    columns: Mapping[str, Any] = (dataset.manifest.get("proportions") or {}).get("columns", {})
    return tuple(
        _told(name, about, dataset.layers[about["layer"]])
        for name, about in columns.items()
        if about["layer"] in dataset.layers
    )


def _told(name: str, about: Mapping[str, Any], layer: StoredLayer) -> Told:
    legend: dict[int, tuple[str, str]] = {}
    for array in layer.arrays.values():
        codes = np.array([entry["code"] for entry in array.about.get("legend") or []], np.int64)
        legend |= {shown.code: (shown.name, shown.color) for shown in shown_classes(array, codes, codes >= 0)}
    classes = {}
    for place, (word, codes) in enumerate(about["classes"].items()):
        own, color = legend.get(codes[0], ("", color_at(place)))
        classes[f"prop_{name}_{word}"] = (own if len(codes) == 1 and own else word.replace("_", " "), color)
    units = {array.unit for array in layer.arrays.values()} - {"1", "class"}
    return Told(name, layer.name, about["what"], classes, units.pop() if len(units) == 1 else "")


def label_figures(labels: Sequence[Told], chips: pd.DataFrame) -> tuple[LabelFigures, ...]:
    """Return what the labels say of the chips."""
    return tuple(_classes(label, chips) if label.classes else _quantity(label, chips) for label in labels)


def majority(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (chip,) the class that has most of each chip, ties to the first; -1 where shares are not known.

    Args:
        shares: (chip, class), NaN where not known.
    """
    known = np.isfinite(shares).all(axis=1)
    return np.where(known, np.nan_to_num(shares, nan=-1.0).argmax(axis=1), -1)


def _classes(label: Told, chips: pd.DataFrame) -> LabelFigures:
    shares: NDArray[np.float64] = chips[[*label.classes]].to_numpy(np.float64)
    main = majority(shares)
    known = main >= 0
    most = np.bincount(main[known], minlength=len(label.classes))
    splits = chips["split"].to_numpy(object)
    names = sorted({name for name in splits if isinstance(name, str)})
    classes = tuple(
        ClassFigures(
            column,
            name,
            color,
            _mean(shares[known, k]),
            int(most[k]),
            {split: _mean(shares[known & (splits == split), k]) for split in names},
        )
        for k, (column, (name, color)) in enumerate(label.classes.items())
    )
    return LabelFigures(label.name, label.layer, label.what, int(known.sum()), int((~known).sum()), classes)


def _quantity(label: Told, chips: pd.DataFrame) -> LabelFigures:
    values = chips[label.column].to_numpy(np.float64)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (None, None)
    histogram = tuple(np.histogram(known, MEAN_BINS)[0].tolist()) if known.size else ()
    n = (known.size, values.size - known.size)
    return LabelFigures(label.name, label.layer, label.what, *n, (), _mean(known), low, high, histogram, label.unit)


def unit_figures(dataset: Dataset) -> UnitFigures | None:
    """Return the units of ``units.parquet``; None where the dataset has none.

    Raises:
        StoreError: a table is absent or damaged.
    """
    if "units.parquet" not in dataset.manifest["files"]:
        return None
    units: pd.DataFrame = dataset.table("units.parquet").drop_columns("geometry").to_pandas()
    area, coverage = units["area_km2"].to_numpy(np.float64), units["coverage"].to_numpy(np.float64)
    largest = units.iloc[np.argsort(-area, kind="stable")[:MOST_UNITS]]
    return UnitFigures(
        n=len(units),
        area_km2=float(area.sum()),
        with_chips=int((coverage > 0).sum()),
        coverage=float((coverage * area).sum() / area.sum()) if area.sum() > 0 else 0.0,
        overlaps=len(dataset.table("chip_units.parquet", ["unit"])),
        listed=tuple(_units(largest)),
    )


def _units(units: pd.DataFrame) -> Iterator[OneUnit]:
    values = [name for name in units.columns if name.startswith(("prop_", "mean_", "sum_"))]
    reasons = [name for name in units.columns if name.startswith("reason_")]
    for row in units.to_dict("records"):
        yield OneUnit(
            str(row["unit"]),
            float(row["area_km2"]),
            int(row["n_chips"]),
            _known(row["coverage"]),
            {name: _known(row[name]) for name in values},
            tuple(f"{name.removeprefix('reason_')}: {row[name]}" for name in reasons if isinstance(row[name], str)),
        )


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
