"""How two datasets differ: what only one has, and the values of what both have, chip by chip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.tally import EDGES, BandTally, ChipTally, Tally
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer

READ_BYTES = 32 * 2**20
"""Codes of one dataset that are held at a time."""
FIRST_IDS = 5
LAYER_SETTINGS = ("source", "source_version", "operations", "pitch", "size", "n_items", "items_digest")
ARRAY_SETTINGS = (
    "kind",
    "unit",
    "method",
    "statistic",
    "dtype",
    "fill",
    "scale",
    "transform",
    "valid_min",
    "valid_max",
    "legend",
    "attributes",
)
CODING = ("dtype", "fill", "scale", "transform", "unit")
"""Settings that decide what a code means."""


@dataclass(frozen=True, slots=True)
class OnlyIn:
    """What one dataset has and the other has not."""

    a: tuple[str, ...]
    b: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.a or self.b)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting that is not the same in both manifests."""

    layer: str
    variable: str
    """Empty for a setting of the whole layer."""
    name: str
    a: Any
    b: Any


@dataclass(frozen=True, slots=True)
class VariableDifference:
    """One variable that both have."""

    layer: str
    variable: str
    unit: str
    compared: str
    """``codes``; ``values`` where the encodings differ; or why nothing was compared."""
    bands: tuple[BandTally, ...]
    only_bands: OnlyIn
    worst: tuple[ChipTally, ...]
    """At most ten chips, the worst first."""

    @property
    def is_compared(self) -> bool:
        """True where values were looked at."""
        return self.compared in {"codes", "values"}

    @property
    def equal(self) -> bool:
        """True where everything compared is equal, code by code."""
        return self.compared == "codes" and not self.only_bands and all(band.equal for band in self.bands)


@dataclass(frozen=True, slots=True)
class Difference:
    """How dataset B differs from dataset A; differences are B minus A."""

    a: str
    b: str
    only_layers: OnlyIn
    n_chips: int
    """In both."""
    only_chips: OnlyIn
    """Ids, by row."""
    only_slots: Mapping[str, OnlyIn]
    """By layer."""
    only_variables: Mapping[str, OnlyIn]
    """By layer."""
    settings: tuple[Setting, ...]
    variables: tuple[VariableDifference, ...]

    @property
    def identical(self) -> bool:
        """True where both have the same layers, chips, slots, variables and bands, and every code is equal."""
        only = [self.only_layers, self.only_chips, *self.only_slots.values(), *self.only_variables.values()]
        return not any(only) and all(variable.equal for variable in self.variables)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; of chips that only one has, the number and the first ids."""
        made = asdict(self) | {"identical": self.identical, "edges": list(EDGES)}
        for side in ("a", "b"):
            ids = made["only_chips"][side]
            made["only_chips"][side] = {"count": len(ids), "first": list(ids[:FIRST_IDS])}
        for about, variable in zip(made["variables"], self.variables, strict=True):
            about["equal"] = variable.equal
            about["bands"] = [asdict(band) | band.derived() for band in variable.bands]
        return made


def diff(a: str | Path, b: str | Path, layers: Sequence[str] | None = None) -> Difference:
    """Return how dataset ``b`` differs from ``a``; both are read once, chip by chip, in bounded memory.

    Chips are matched by id, slots by label, layers, variables and bands by name.

    Args:
        a: folder of a dataset.
        b: folder of another.
        layers: compare only these; None = all.

    Raises:
        ConfigError: neither has a layer of that name.
        StoreError: no finished dataset there, or a shard is absent.
        VerifyError: a shard is damaged.
    """
    one, other = Dataset(a), Dataset(b)
    names = list(dict.fromkeys([*one.layers, *other.layers]))
    for name in layers or ():
        if name not in names:
            raise ConfigError(f"neither has a layer '{name}'", where=f"{one.url}, {other.url}", hint=near(name, names))
    wanted = [name for name in names if layers is None or name in layers]
    both = [name for name in wanted if name in one.layers and name in other.layers]
    rows_a, rows_b = _rows(one), _rows(other)
    pairs = [(chip, row, rows_b[chip]) for chip, row in rows_a.items() if chip in rows_b]
    only_slots, only_variables = {}, {}
    settings: list[Setting] = []
    variables: list[VariableDifference] = []
    for name in both:
        here, there = one.layers[name], other.layers[name]
        only_slots[name] = _only([slot.label for slot in here.slots], [slot.label for slot in there.slots])
        only_variables[name] = _only(here.arrays, there.arrays)
        settings += _settings(one, other, name)
        common = [variable for variable in here.arrays if variable in there.arrays]
        variables += [_Comparison(one, other, here, there, variable).run(pairs) for variable in common]
    return Difference(
        a=one.url,
        b=other.url,
        only_layers=_only([n for n in wanted if n in one.layers], [n for n in wanted if n in other.layers]),
        n_chips=len(pairs),
        only_chips=_only(rows_a, rows_b),
        only_slots=only_slots,
        only_variables=only_variables,
        settings=tuple(settings),
        variables=tuple(variables),
    )


def _rows(dataset: Dataset) -> dict[str, int]:
    """Return the row of every chip."""
    ids = dataset.table("chips.parquet", ["chip_id"])["chip_id"].to_pylist()
    return {chip: row for row, chip in enumerate(ids)}


def _only(a: Sequence[str] | Mapping[str, Any], b: Sequence[str] | Mapping[str, Any]) -> OnlyIn:
    in_a, in_b = set(a), set(b)
    return OnlyIn(tuple(name for name in a if name not in in_b), tuple(name for name in b if name not in in_a))


def _settings(a: Dataset, b: Dataset, layer: str) -> Iterator[Setting]:
    """Yield what the manifests say differently of a layer that both have."""
    one, other = a.manifest["layers"][layer], b.manifest["layers"][layer]
    for key in LAYER_SETTINGS:
        if one.get(key) != other.get(key):
            yield Setting(layer, "", key, *_apart(one.get(key), other.get(key)))
    described = {array["name"]: array for array in other["arrays"]}
    for array in one["arrays"]:
        twin = described.get(array["name"], array)
        for key in ARRAY_SETTINGS:
            if array.get(key) != twin.get(key):
                yield Setting(layer, array["name"], key, *_apart(array.get(key), twin.get(key)))


def _apart(a: Any, b: Any) -> tuple[Any, Any]:
    """Return two values without the parts that both have."""
    if not isinstance(a, Mapping) or not isinstance(b, Mapping):
        return a, b
    return {k: v for k, v in a.items() if b.get(k) != v}, {k: v for k, v in b.items() if a.get(k) != v}


def _meanings(array: StoredArray) -> list[tuple[int, str]]:
    """Return what the codes of classes mean: colours may differ."""
    return [(entry["code"], entry["name"]) for entry in array.about.get("legend", ())]


class _Comparison:
    """Compares one variable that both datasets have."""

    def __init__(self, a: Dataset, b: Dataset, here: StoredLayer, there: StoredLayer, variable: str) -> None:
        self.a, self.b, self.here, self.there = a, b, here, there
        self.one, self.other = here.arrays[variable], there.arrays[variable]
        self.bands = [band for band in self.one.bands if band in self.other.bands]
        labels = {slot.label: k for k, slot in enumerate(there.slots)}
        self.slots = [(k, labels[slot.label]) for k, slot in enumerate(here.slots) if slot.label in labels]
        self.same_coding = all(self.one.about.get(key) == self.other.about.get(key) for key in CODING) and (
            _meanings(self.one) == _meanings(self.other)
        )

    def run(self, pairs: Sequence[tuple[str, int, int]]) -> VariableDifference:
        """Return the differences over chips, each with its rows in both."""
        why_not = self._why_not()
        tally = Tally(self.bands, self.one)
        if not why_not:
            for chip, row, twin in pairs:
                tally.begin(chip, row)
                for codes, twins in self._read(row, twin):
                    tally.add(codes, twins, self.other, same_coding=self.same_coding)
                tally.end()
        return VariableDifference(
            layer=self.here.name,
            variable=self.one.name,
            unit=self.one.unit,
            compared=why_not or ("codes" if self.same_coding else "values"),
            bands=() if why_not else tally.result(),
            only_bands=_only(self.one.bands, self.other.bands),
            worst=tally.worst,
        )

    def _why_not(self) -> str:
        """Return why the values cannot be compared; empty if they can."""
        if (self.here.pitch, self.here.size) != (self.there.pitch, self.there.size):
            sides = (f"{layer.size} x {layer.size} px of {layer.pitch:g} m" for layer in (self.here, self.there))
            return "not compared: {} and {} are different lattices".format(*sides)
        if self.one.unit != self.other.unit or self.one.kind != self.other.kind:
            kinds = (f"{array.kind} in {array.unit}" for array in (self.one, self.other))
            return "not compared: {} and {}".format(*kinds)
        if self.here.is_static != self.there.is_static:
            return "not compared: only one of them has a time axis"
        return ""

    def _read(self, row: int, twin: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield the codes of one chip in both, (slot, band, y, x), some slots at a time."""
        of_slot = len(self.bands) * self.here.size**2 * max(_itemsize(self.one), _itemsize(self.other))
        step = max(1, READ_BYTES // max(1, of_slot))
        bands = [[array.bands.index(band) for band in self.bands] for array in (self.one, self.other)]
        for first in range(0, len(self.slots), step):
            part = self.slots[first : first + step]
            codes = self.a.reader.read(self.here, self.one, row, [k for k, _ in part], bands[0])
            twins = self.b.reader.read(self.there, self.other, twin, [k for _, k in part], bands[1])
            yield (codes[None], twins[None]) if self.here.is_static else (codes, twins)


def _itemsize(array: StoredArray) -> int:
    return np.dtype(array.dtype).itemsize
