"""Where a chip's pixels came from: what is stored beside them, and one pixel followed back to its scenes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, PrepError, StoreError
from m3leo_prep.core.plan import LayerPlan, Plan, digest_of
from m3leo_prep.core.reasons import RETRYABLE, Reason
from m3leo_prep.core.text import near
from m3leo_prep.core.zones import unproject
from m3leo_prep.pipeline.explain.absent import why_nothing
from m3leo_prep.pipeline.explain.explanation import (
    BandState,
    Explanation,
    Origin,
    Pixel,
    PixelBand,
    SlotState,
    UsedItem,
    orbit_text,
)
from m3leo_prep.pipeline.finalize import PROVENANCE_CHIPS
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.reader.chosen import chosen
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.store.tables import provenance_name

WORDS = {
    Reason.OK: "every pixel was observed",
    Reason.PARTIAL_COVERAGE: "some pixels were never observed",
    Reason.NO_ACQUISITION: "nothing was acquired in this slot",
    Reason.NOT_IN_DATASET: "the product does not cover this place",
    Reason.ALL_CLOUD: "everything observed was masked (cloud, shadow, layover ...)",
    Reason.BAND_NOT_IN_PRODUCT: "the product has no such band",
    Reason.LAYER_NOT_IN_VERSION: "this version has no such layer",
    Reason.OUT_OF_RANGE: "every value was outside the possible range",
    Reason.CORRUPT: "the input file is damaged",
    Reason.PROVIDER_ERROR: "the provider failed; the next build asks again",
    Reason.AUTH_FAILED: "the login failed; the next build asks again",
    Reason.RATE_LIMITED: "the provider's limit was reached; the next build asks again",
    Reason.NOT_BUILT: "not built yet",
}


def explain(
    dataset_path: str | Path,
    chip: str | int,
    layer: str,
    variable: str | None = None,
    *,
    x: int | None = None,
    y: int | None = None,
    slot: str | None = None,
) -> Explanation:
    """Return where a chip's pixels came from, or, with ``x`` and ``y``, where one of them came from.

    Args:
        dataset_path: folder of the dataset.
        chip: id or row.
        layer: name, or ``layer.variable``.
        variable: name; None = all of the layer.
        x: column of the pixel on the layer's lattice, from the left.
        y: row of the pixel, from the top.
        slot: label of one slot; None = all.

    Raises:
        ConfigError: no such chip, layer, variable, slot or pixel.
        StoreError: no finished dataset there, or a shard is absent.
        VerifyError: a shard is damaged.
    """
    dataset = Dataset(dataset_path)
    if variable is None and layer not in dataset.layers and "." in layer:
        layer, variable = layer.split(".", maxsplit=1)
    stored = dataset.layer(layer)
    arrays = list(stored.arrays.values()) if variable is None else [stored.array(variable)]
    slots = _slots(stored, slot)
    row = dataset.row(chip)
    _check_pixel(stored, x, y)
    place = dataset.table("chips.parquet", ["chip_id", "epsg", "x0", "y0"]).slice(row, 1).to_pylist()[0]
    plan, notes = _plan(dataset, stored, row, place["chip_id"])
    states, problem = _states(dataset, stored, arrays, row, place["chip_id"], slots, plan)
    notes += [problem] if problem else []
    pixel = None
    if x is None or y is None:
        notes += _composited(plan)
    else:
        pixel, problem = _pixel(dataset, stored, arrays, slots, states, row, place, (x, y), plan)
        notes += [problem] if problem else []
        notes += _ground(plan, row, x, y) if plan and plan[1].heights and not problem else []
        notes += [_computed(stored, array) for array in arrays if "computed_from" in array.attributes]
    about = dataset.manifest["layers"][layer]
    here = f"-> EPSG:{place['epsg']}"
    return Explanation(
        dataset=dataset.url,
        chip=place["chip_id"],
        row=row,
        epsg=place["epsg"],
        layer=layer,
        role=stored.role,
        pitch=stored.pitch,
        size=stored.size,
        source=about["source"],
        source_version=about["source_version"],
        native_pitch=plan[1].pitch if plan else None,
        licence=stored.licence,
        citation=stored.citation,
        operations={k: v for k, v in stored.attributes.get("coordinate_operation", {}).items() if k.endswith(here)},
        variables=tuple(array.about for array in arrays),
        slots=() if pixel else tuple(states.values()),
        chosen=_chosen(dataset, stored, row, slots),
        pixel=pixel,
        notes=tuple(notes),
    )


def _slots(layer: StoredLayer, label: str | None) -> list[int]:
    labels = [slot.label for slot in layer.slots]
    if label is None:
        return list(range(len(labels)))
    if label not in labels:
        raise ConfigError(f"there is no slot '{label}'", where=f"layer {layer.name}", hint=near(label, labels))
    return [labels.index(label)]


def _chosen(dataset: Dataset, layer: StoredLayer, row: int, slots: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Return by label what is known of the pair or orbit in each slot, where anything is."""
    found = chosen(dataset, row, layer)
    return {layer.slots[slot].label: found[slot] for slot in slots if found[slot]}


def _check_pixel(layer: StoredLayer, x: int | None, y: int | None) -> None:
    where, last = f"layer {layer.name}", layer.size - 1
    if (x is None) != (y is None):
        raise ConfigError("a pixel needs both X and Y", where=where, hint=f"column and row, each 0 ... {last}")
    for name, position in (("X", x), ("Y", y)):
        if position is not None and not 0 <= position <= last:
            hint = f"pixels are 0 ... {last}, {layer.pitch:g} m each"
            raise ConfigError(f"{name} = {position} is not in the chip", where=where, hint=hint)


def _plan(dataset: Dataset, layer: StoredLayer, row: int, chip: str) -> tuple[tuple[Plan, LayerPlan] | None, list[str]]:
    """Return the frozen plan of the layer, if it is here, and what is to be said of it."""
    try:
        plan = None if dataset.root.is_remote else DatasetFolder(dataset.path).frozen(layer=layer.name)
    except PrepError as error:
        return None, [f"nothing can be derived again: {error.message}"]
    if plan is None:
        return None, ["nothing can be derived again: this copy has no build state (.m3leo)"]
    known = {one.layer.name: one for one in plan.layers}
    if layer.name not in known or row >= len(plan.cells) or plan.cells[row : row + 1].ids() != [chip]:
        return None, ["nothing can be derived again: the frozen plan is not the one of this dataset"]
    about = dataset.manifest["layers"][layer.name]
    if digest_of(known[layer.name].settings()) != about["settings_digest"]:
        return (plan, known[layer.name]), ["the layer was planned anew since it was built: run `build` again"]
    return (plan, known[layer.name]), []


def _composited(plan: tuple[Plan, LayerPlan] | None) -> list[str]:
    """Return what is to be said of a source that composites."""
    if plan is None:
        return []
    try:
        is_composited = open_source(plan[1].source).describe().composites
    except PrepError:
        return []  # another note tells that it cannot be read
    told = "the source composites by itself: the scenes named are those it was given, each one's share only it knows"
    return [told] if is_composited else []


def _states(
    dataset: Dataset,
    layer: StoredLayer,
    arrays: Sequence[StoredArray],
    row: int,
    chip: str,
    slots: Sequence[int],
    plan: tuple[Plan, LayerPlan] | None,
) -> tuple[dict[str, SlotState], str]:
    """Return what the provenance says of a chip, by slot, and what is wrong with it."""
    try:
        table = dataset.table(provenance_name(layer.name, row // PROVENANCE_CHIPS))
    except StoreError as error:
        return {}, f"scenes and reasons cannot be told: {error.message.splitlines()[0]}"
    rows = table.filter(pc.equal(table["chip_id"], chip)).to_pylist()
    names = {array.name for array in arrays}
    properties = {item.id: item.properties for item in plan[1].items} if plan else {}
    states = {}
    for slot in slots:
        label = layer.slots[slot].label
        here = [one for one in rows if one["slot"] == label and one["variable"] in names]
        if here:
            items = tuple(_items(here[0], properties))
            bands = tuple(_told(_band(one), plan, row, slot) for one in here)
            states[label] = SlotState(label, here[0]["n_observations"], items, bands)
    return states, ""


def _told(band: BandState, plan: tuple[Plan, LayerPlan] | None, row: int, slot: int) -> BandState:
    """Return a band's state; where nothing was acquired, with what the plan knows of that."""
    if plan is None or band.reason != Reason.NO_ACQUISITION.name:
        return band
    return replace(band, why=why_nothing(*plan, row, slot, band.band))


def _items(row: Mapping[str, Any], properties: Mapping[str, Mapping[str, Any]]) -> Iterator[UsedItem]:
    files = row.get("orbit_files") or [None] * len(row["items"])
    parts = (row["items"], row["datetimes"], row["versions"], row["relative_orbits"], files)
    for name, time, version, number, file in zip(*parts, strict=True):
        direction = str(properties.get(name, {}).get("orbit_direction", ""))
        orbit = orbit_text(direction, number, file)
        yield UsedItem(name, None if time is None else time.isoformat(), version, orbit)


def _band(row: Mapping[str, Any]) -> BandState:
    reason = Reason(row["reason"])
    counts = row["valid_fraction"], row["n_out_of_range"], row["n_floored"]
    return BandState(row["variable"], row["band"], reason.name, WORDS[reason], *counts)


def _pixel(
    dataset: Dataset,
    layer: StoredLayer,
    arrays: Sequence[StoredArray],
    slots: Sequence[int],
    states: Mapping[str, SlotState],
    row: int,
    place: Mapping[str, Any],
    at: tuple[int, int],
    plan: tuple[Plan, LayerPlan] | None,
) -> tuple[Pixel, str]:
    """Return a pixel's bands, and why they could not be derived again, if so."""
    x, y = at
    problem = ""
    bands: list[PixelBand] = []
    for slot in slots:
        label = layer.slots[slot].label
        origins: dict[str, list[Origin]] = {}
        if plan and not problem:
            try:
                origins = _origins(plan, row, slot, at, [array.name for array in arrays])
            except PrepError as error:
                problem = f"the scenes cannot be read here: {str(error).splitlines()[0]}"
        known = {(b.variable, b.band): b for b in states[label].bands} if label in states else {}
        for array in arrays:
            codes = dataset.reader.read(layer, array, row, None if layer.is_static else [slot])
            stack = (codes if layer.is_static else codes[0])[:, y, x]
            for k, band in enumerate(array.bands):
                origin = origins[array.name][k] if array.name in origins else None
                bands.append(_pixel_band(label, array, band, stack[k : k + 1], known.get((array.name, band)), origin))
    easting, northing = place["x0"] + (x + 0.5) * layer.pitch, place["y0"] - (y + 0.5) * layer.pitch
    lon, lat = (float(v) for v in unproject(place["epsg"], easting, northing))
    return Pixel(x, y, easting, northing, lon, lat, tuple(bands)), problem


def _ground(plan: tuple[Plan, LayerPlan], row: int, x: int, y: int) -> list[str]:
    """Return which height the source was told at a pixel, of a layer that names its heights."""
    from m3leo_prep.pipeline.explain.trace import height_at

    name = plan[1].layer.name
    height = height_at(plan[1], plan[0].cells[row : row + 1], x, y)
    told = "no height is known of the ground here" if height is None else f"the ground here is at {height:.1f} m"
    return [f"{told}, by layer {plan[0].recipe.layers[name].dem}, which {name} names as its `dem`"]


def _computed(layer: StoredLayer, array: StoredArray) -> str:
    """Return what is said instead of scenes."""
    origin = array.attributes["computed_from"]
    if array.about.get("statistic") == "count":
        return (
            f"{array.name} says of how many acquisitions {origin} was made: explain {layer.name}.{origin} there lists "
            "them; `verify` counts again"
        )
    return (
        f"{array.name} is computed from {origin}, at the pixel and its eight neighbours: explain {layer.name}.{origin} "
        "there; `verify` computes it again"
    )


def _origins(
    plan: tuple[Plan, LayerPlan], row: int, slot: int, at: tuple[int, int], names: list[str]
) -> dict[str, list[Origin]]:
    from m3leo_prep.pipeline.explain.trace import trace

    return trace(plan[1], plan[0].cells[row : row + 1], slot, *at, names)


def _pixel_band(
    slot: str, array: StoredArray, band: str, code: NDArray[Any], state: BandState | None, origin: Origin | None
) -> PixelBand:
    values, valid = array.physical(code)
    is_there = bool(valid[0])
    reproduced = None
    if origin is not None and not (state is not None and Reason[state.reason] in RETRYABLE):
        made = origin.code if origin.code is None else np.asarray(origin.code, code.dtype).item()
        reproduced = origin.adds_up and made == (code[0].item() if is_there else None)
    return PixelBand(
        slot=slot,
        variable=array.name,
        band=band,
        code=code[0].item() if is_there else None,
        value=_shortest(values[0]) if is_there else None,
        unit=array.unit_of(band),
        formula=_formula(array, band, code[0].item()) if is_there else "",
        reason=state.reason if state else "",
        why=state.why if state else "",
        missing="" if is_there else _missing(array, state, origin),
        origin=origin,
        reproduced=reproduced,
    )


def _missing(array: StoredArray, state: BandState | None, origin: Origin | None) -> str:
    """Return what kind of missing, as far as it is known."""
    if state is not None and Reason[state.reason] in RETRYABLE | {Reason.NOT_BUILT}:
        return "not had yet"
    if array.about.get("statistic") == "count" and "computed_from" in array.attributes:
        return "never observed"
    if "computed_from" in array.attributes:
        flat = ", or flat ground, which has no direction" if array.name == "aspect" else ""
        return f"no {array.attributes['computed_from']} here or beside it{flat}"
    if origin is not None:
        return origin.missing or "the source has a value now"
    reason = Reason[state.reason] if state else None
    if reason in {Reason.NO_ACQUISITION, Reason.NOT_IN_DATASET, Reason.CORRUPT}:
        return "never observed"
    if reason is Reason.OK and state is not None and not state.n_out_of_range:
        return "masked"
    return "never observed, masked or out of range: only the source could tell"


def _formula(array: StoredArray, band: str, code: float) -> str:
    from m3leo_prep.pipeline.explain.numbers import formula

    if not array.is_class:
        return formula(code, array.scale, array.unit_of(band), is_float=array.fill is None)
    names = {entry["code"]: entry["name"] for entry in array.about.get("legend", ())}
    if code in names:
        return f"{code} = {names[code]}"
    return f"{code} = {int(code):b} in bits" if array.kind == "bits" else str(code)


def _shortest(value: Any) -> float | int:
    """Return a float32 as the shortest number that is the same float32, such as -12.34."""
    return float(str(value)) if np.asarray(value).dtype.kind == "f" else int(value)
