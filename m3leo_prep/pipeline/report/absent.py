"""What a dataset does not have, why, and how to get it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from m3leo_prep.reader.dataset import Dataset

if TYPE_CHECKING:
    from m3leo_prep.pipeline.report.labels import LabelFigures, UnitFigures


@dataclass(frozen=True, slots=True)
class Absent:
    """One part that is not there."""

    part: str
    why: str
    remedy: str
    """What to run or write; empty where nothing can be done."""


def absent(
    dataset: Dataset,
    recipe: Mapping[str, Any],
    splits: Sequence[Any],
    labels: Sequence[LabelFigures],
    units: UnitFigures | None,
    statistics: Mapping[str, Any],
) -> tuple[Absent, ...]:
    """Return what is not there."""
    return tuple(_absent(dataset, recipe, splits, labels, units, statistics))


def _absent(
    dataset: Dataset,
    recipe: Mapping[str, Any],
    splits: Sequence[Any],
    labels: Sequence[LabelFigures],
    units: UnitFigures | None,
    statistics: Mapping[str, Any],
) -> Iterator[Absent]:
    where = dataset.url if dataset.root.is_remote else dataset.path.name
    for name in recipe.get("layers") or {}:
        if name not in dataset.layers:
            yield Absent(f"layer {name}", "the recipe asks for it, but it is not built yet", "run build again")
    if not splits:
        why = "no split policy assigned the chips"
        yield Absent("splits", why, f"m3leo-prep split {where} --policy blocks")
    told = {label.layer for label in labels}
    roles = {layer.name for layer in dataset.layers.values() if layer.role == "label"}
    if not roles:
        yield Absent("labels", "no layer of the recipe has the role label", "write role: label under a layer")
    nameless = (dataset.manifest.get("proportions") or {}).get("left_out", [])
    for name in sorted(roles - told):
        if name in nameless:
            how = f"write legend: {{code: name}} under the layer {name} and build again"
            yield Absent(f"label proportions of {name}", "its classes have no names", how)
        elif "proportions" in dataset.manifest:
            yield Absent(f"label columns of {name}", "a chip's mean or share means nothing for such values", "")
        else:
            yield Absent(f"label proportions of {name}", "it was built before there were any", "run build again")
    if units is None:
        why = "the recipe names no file of administrative units"
        if recipe.get("admin"):
            why = "the dataset was closed without them"
        yield Absent("administrative units", why, "write admin: {path: FILE, id: COLUMN} in the recipe and build again")
    lacking = [name for name in dataset.layers if name not in statistics]
    if lacking:
        yield Absent(f"statistics of {', '.join(lacking)}", "there is no stats/LAYER.json", f"m3leo-prep stats {where}")
