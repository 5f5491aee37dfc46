"""Which label layers give which columns: classes by their legend or grouped, means and sums. No pixels."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.products import product
from m3leo_prep.core.raster import Kind, LegendClass
from m3leo_prep.core.recipe import ProportionsModel
from m3leo_prep.core.text import near

MAX_CLASSES = 32
"""Columns of proportions that a layer may have; a longer legend is grouped."""
MEANS = frozenset({Kind.CONTINUOUS, Kind.COHERENCE, Kind.REFLECTANCE})
"""Kinds whose mean over a chip or unit means something as it is stored (not dB, phases, directions, flags)."""

Codes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """What one band of a label layer in one slot tells of a chip or a unit."""

    layer: str
    variable: str
    slot: int
    band: int
    name: str
    """Of the columns: the layer; with variable, band and slot where the layer has several."""
    what: Literal["prop", "mean", "sum"]
    classes: Mapping[str, Codes] = field(default_factory=dict)
    """Codes by name of the class or group; empty unless ``prop``."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [f"prop_{self.name}_{one}" for one in self.classes] or [f"{self.what}_{self.name}"]

    @property
    def names(self) -> list[str]:
        """Names of all columns that tables of chips and of units may have of it."""
        built = [name.replace("_", "_built_", 1) for name in self.columns]
        return [*self.columns, *built, f"valid_{self.name}"]


def find_targets(layers: Iterable[Layer], model: ProportionsModel) -> list[Target]:
    """Return what is told of each chip and unit, in the order of layers, variables, bands and slots.

    Layers of role label: classes as proportions, amounts as sums, continuous quantities as means. A layer of classes
    without a legend has no names for columns and is left out, unless the recipe names it.

    Raises:
        ConfigError: a name, class or code that does not fit; more than 32 classes that are not grouped.
    """
    labels = {layer.name: layer for layer in layers if layer.role == "label"}
    for key, names in (("layers", model.layers or ()), ("groups", model.groups)):
        for name in names:
            if name not in labels:
                hint = near(name, labels) or "give a layer `role: label`"
                raise ConfigError(f"'{name}' is no label layer", where=f"proportions.{key}", hint=hint)
    chosen = labels if model.layers is None else {name: labels[name] for name in labels if name in model.layers}
    named = {*(model.layers or ()), *model.groups}
    made = [target for layer in chosen.values() for target in _targets(layer, model, is_named=layer.name in named)]
    for column, n in Counter(column for target in made for column in target.names).items():
        if n > 1:
            hint = "rename a layer, a class or a group"
            raise ConfigError(f"{n} label columns would have the name '{column}'", where="proportions", hint=hint)
    return made


def array_of(layer: Layer, target: Target) -> Array:
    """Return the array that a target is told from."""
    return next(array for array in layer.arrays if array.variable.name == target.variable)


def snake_case(name: str) -> str:
    """Return a name in lower-case ASCII letters, digits and single underscores; empty if nothing is left of it."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")


def _targets(layer: Layer, model: ProportionsModel, *, is_named: bool) -> Iterator[Target]:
    for array in layer.arrays:
        told = _told(array)
        classes: Mapping[str, Codes] = {}
        if told == "prop":
            if not array.variable.legend:
                if is_named:
                    hint = "give it one: `legend: {1: water, 2: forest}`"
                    raise ConfigError("its classes have no names", where=f"layer {layer.name}", hint=hint)
                continue
            classes = _classes(layer.name, array, model.groups.get(layer.name))
        elif layer.name in model.groups and len(layer.arrays) == 1:
            raise ConfigError(f"layer {layer.name} has no classes to group", where="proportions.groups")
        if told is None:
            continue
        for band, band_name in enumerate(array.variable.bands):
            for slot, step in enumerate(layer.slots):
                parts = [layer.name]
                parts += [array.variable.name] * (len(layer.arrays) > 1)
                parts += [snake_case(band_name)] * (array.n_bands > 1)
                parts += [snake_case(step.label)] * (len(layer.slots) > 1)
                yield Target(layer.name, array.variable.name, slot, band, "_".join(parts), told, classes)


def _told(array: Array) -> Literal["prop", "mean", "sum"] | None:
    if array.statistic == "count":
        return None
    if array.variable.kind is Kind.CLASSES:
        return "prop"
    if array.variable.kind is Kind.AMOUNT:
        return "sum"
    return "mean" if array.variable.kind in MEANS else None


def _classes(layer: str, array: Array, groups: str | Mapping[str, Sequence[int]] | None) -> dict[str, Codes]:
    legend = array.variable.legend
    if isinstance(groups, str):
        groups = _level(layer, array, groups)
    made = _grouped(layer, legend, groups) if groups is not None else _each(layer, legend)
    if len(made) > MAX_CLASSES:
        raise ConfigError(
            f"it has {len(made)} classes, and proportions are written of at most {MAX_CLASSES}",
            where=f"layer {layer}",
            hint=f"group them: `proportions: {{groups: {{{layer}: {{forest: [23, 24, 25], ...}}}}}}`, or leave the "
            "layer out with `proportions: {layers: [...]}`",
        )
    return made


def _level(layer: str, array: Array, level: str) -> Mapping[str, Sequence[int]]:
    """Return the groups that the table of the layer's product has under a name."""
    where = f"proportions.groups.{layer}"
    name = array.variable.attributes.get("product")
    if not name:
        hint = "give the groups themselves: `{forest: [23, 24, 25], ...}`"
        raise ConfigError(f"'{level}' is a level of a product, and the layer names no product", where=where, hint=hint)
    levels = product(str(name)).groups
    if level not in levels:
        raise ConfigError(f"the product {name} has no level '{level}'", where=where, hint=near(level, levels))
    present = {one.code for one in array.variable.legend}
    found = {group: [code for code in codes if code in present] for group, codes in levels[level].items()}
    return {group: codes for group, codes in found.items() if codes}


def _each(layer: str, legend: Sequence[LegendClass]) -> dict[str, Codes]:
    made: dict[str, Codes] = {}
    names: dict[str, str] = {}
    for one in legend:
        short = snake_case(one.name) or f"class_{one.code}"
        if short in made:
            raise ConfigError(
                f"the classes '{names[short]}' and '{one.name}' would share the column name '{short}'",
                where=f"layer {layer}",
                hint="rename one in `legend:`, or group them in `proportions.groups`",
            )
        made[short], names[short] = (one.code,), one.name
    return made


def _grouped(layer: str, legend: Sequence[LegendClass], groups: Mapping[str, Sequence[int]]) -> dict[str, Codes]:
    where = f"proportions.groups.{layer}"
    names = {one.code: one.name for one in legend}
    made: dict[str, Codes] = {}
    place: dict[int, str] = {}
    for group, codes in groups.items():
        short = snake_case(group)
        if not short or short in made:
            hint = "names of groups become columns: letters, digits and _"
            raise ConfigError(f"'{group}' names no group of its own", where=where, hint=hint)
        for code in codes:
            if code not in names:
                known = ", ".join(map(str, names))
                raise ConfigError(f"{group}: the legend has no code {code}", where=where, hint=f"it has {known}")
            if code in place:
                message = f"the code {code} ({names[code]}) stands in '{place[code]}' and in '{group}'"
                raise ConfigError(message, where=where, hint="put it in one group")
            place[code] = group
        made[short] = tuple(codes)
    left = [f"{code} ({name})" for code, name in names.items() if code not in place]
    if left:
        hint = "put every code in a group, so that proportions sum to 1"
        raise ConfigError(f"no group has the code {', '.join(left)}", where=where, hint=hint)
    return made
