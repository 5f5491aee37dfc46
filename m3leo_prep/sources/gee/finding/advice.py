"""What a person should know of the images that were found, before a layer is built."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.sources._radar import SHORT
from m3leo_prep.sources.gee.choice import Choice
from m3leo_prep.sources.gee.finding.windows import overlap, spans

FEW = 3
"""Acquisitions in a slot below which a mean or a median is hardly one."""
_NAMED = 6
"""Slots that are named one by one."""
L2A_GLOBAL = datetime(2019, 1, 1, tzinfo=UTC)
"""Before: "2017-2018 L2 coverage in the EE collection is not yet global"
(https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S2_SR_HARMONIZED)."""


def advise(choice: Choice, items: Sequence[Item], slots: Sequence[Slot]) -> list[str]:
    """Return warnings for the plan: slots and directions without images or with few, and what the archive lacks.

    Args:
        choice: what the layer asks for.
        items: what ``find`` gave, for the whole area: each chip may have fewer.
        slots: of the layer.
    """
    warnings: list[str] = []
    if choice.row.family == "radar":
        for way in choice.orbits:
            own = [item for item in items if item.properties.get("orbit_direction") == way]
            warnings += _thin(choice, own, slots, f"{way} ", f" (bands ..._{SHORT[way]})")
            if not own and items:
                others = sorted({str(item.properties.get("orbit_direction")) for item in items} - {way})
                warnings[-1] += f": only {' and '.join(others)} passes here; `orbits: [{', '.join(others)}]` drops them"
    else:
        warnings += _thin(choice, items, slots, "", "")
    if choice.row.asset.startswith("COPERNICUS/S2_SR") and any(start < L2A_GLOBAL for start, _ in spans(choice, slots)):
        warnings.append("before 2019, Level-2A of Sentinel-2 in Earth Engine is not global: images may be missing")
    for first, last, what in choice.row.gaps:
        if any(overlap(start, end, first, last) for start, end in spans(choice, slots)):
            warnings.append(f"from {first} to {last}: {what}")
    dates = sorted({str(item.properties["date"]) for item in items if "date" in item.properties})
    if len(dates) > 1 and choice.year is None:
        warnings.append(f"images of {dates[0]} to {dates[-1]} become one: say `slots:` or `year:` to keep dates apart")
    older = sum(int(item.properties.get("older_processings", 0)) for item in items)
    if older:
        warnings.append(f"{older:,} older processings of images that are there in a newer baseline were left out")
    unscored = sum(item.properties.get("has_score") == 0 for item in items)
    if unscored:
        warnings.append(
            f"{unscored:,} of {len(items):,} images have no cloud score yet: none of their pixels count as clear"
        )
    return warnings


def _thin(choice: Choice, items: Sequence[Item], slots: Sequence[Slot], kind: str, what: str) -> list[str]:
    """Return what there is to say of slots with few images or none."""
    if not items:
        return [f"no {kind}image at all{what}"]
    passes = {
        slot.label: len({item.acquisition or item.id for item in items if slot.contains(item.datetime)})
        for slot in slots
    }
    found = []
    empty = [label for label, count in passes.items() if not count]
    if empty:
        found.append(f"no {kind}image{what} in {_names(empty)}")
    few = [label for label, count in passes.items() if 0 < count < FEW]
    if few and choice.mode == "composite" and choice.statistic in {"mean", "median"}:
        found.append(f"fewer than {FEW} {kind}acquisitions{what} for the {choice.statistic} in {_names(few)}")
    return found


def _names(labels: Sequence[str]) -> str:
    rest = len(labels) - _NAMED
    return ", ".join(labels) if rest <= 1 else f"{', '.join(labels[:_NAMED])} and {rest:,} more"
