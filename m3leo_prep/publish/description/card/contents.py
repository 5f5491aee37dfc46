"""The sections of a card about what is in the dataset: layers, splits, labels, what is missing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from m3leo_prep.core.raster import Kind
from m3leo_prep.pipeline.report.figures import SPLITS, LayerFigures, SplitFigures
from m3leo_prep.publish.description.card.about import About
from m3leo_prep.publish.description.card.words import escaped, number, several, share, table
from m3leo_prep.publish.description.licences import last_day

MOST_CLASSES = 24
"""Of a label that a table lists; the rest is in chips.parquet."""
MOST_BANDS = 16
_LATTICE = (
    "Every layer covers the same square of each chip, on a lattice of its own: {} px of {} m, or fewer and larger "
    "ones. Pixels that are missing are marked as missing, and never 0."
)
_PARTS = (
    "A part is one chip, slot and band. What is missing of parts that are there was masked pixel by pixel, such as "
    "clouds. `provenance/` tells the reason of every part, and the arrays `…_valid` and `…_reason` lie beside the "
    "pixels."
)


def layers(about: About) -> str:
    """Return the layers with their bands, units, pixels, slots and encodings."""
    rows = [row for layer in about.figures.layers for row in _variables(layer, about.manifest["layers"][layer.name])]
    head = ("layer", "role", "bands", "unit", "pixel", "slots", "stored as", "error at most", "valid")
    grid = about.manifest["grid"]
    made = [
        "## Layers",
        _LATTICE.format(grid["chip_px"], number(float(grid["resolution"]))),
        table(head, rows),
    ]
    made += [*_slots(about), *_meanings(about)]
    return "\n\n".join(made)


def _variables(layer: LayerFigures, stored: Mapping[str, Any]) -> Iterator[list[str]]:
    many = len(stored["arrays"]) > 1
    for array in stored["arrays"]:
        bands = array["bands"]
        told = ", ".join(escaped(band) for band in bands[:MOST_BANDS])
        if len(bands) > MOST_BANDS:
            told += f", … ({len(bands)} in all)"
        classes = f"{len(array['legend'])} classes" if array["legend"] else ""
        error = "exact" if not array["max_error"] else f"{number(array['max_error'], 2)} {_unit(array['unit'])}".strip()
        yield [
            f"`{layer.name}.{array['name']}`" if many else f"`{layer.name}`",
            layer.role,
            f"{told} ({classes})" if classes else told,
            _units(array),
            f"{number(layer.pitch_m)} m, {layer.size_px} px",
            "static" if not layer.n_slots else f"{layer.n_slots}",
            array["dtype"],
            error,
            share(layer.valid_mean / 100),
        ]


def _units(array: Mapping[str, Any]) -> str:
    """Return the unit of a variable; by band, where its source says one for each."""
    if by_band := array["attributes"].get("band_units"):
        return ", ".join(f"{escaped(band)}: {_unit(unit) or 'none'}" for band, unit in by_band.items())
    return {"1": "none", "class": "codes"}.get(array["unit"]) or escaped(array["unit"])


def _unit(unit: str) -> str:
    return "" if unit in {"1", "class"} else escaped(unit)


def _slots(about: About) -> Iterator[str]:
    """Yield which times the slots of each layer stand for."""
    lines = []
    for layer in about.figures.layers:
        stored = about.manifest["layers"][layer.name]
        slots = [slot for slot in stored["slots"] if slot["start"]]
        if not slots or stored.get("slot_kind", "period") != "period":
            continue
        names = [_slot(slot) for slot in slots]
        told = ", ".join(names) if len(names) <= 6 else f"{names[0]}, {names[1]}, … {names[-1]}"
        lines.append(f"- `{layer.name}`: {told}")
    if lines:
        yield "Slots in time, both days included:\n\n" + "\n".join(lines)
    ruled = [
        f"- `{name}`: {told}" for name, stored in about.manifest["layers"].items() if (told := _rule(name, stored))
    ]
    if ruled:
        yield "Slots whose scenes were chosen for each chip by a rule:\n\n" + "\n".join(ruled)


def _rule(name: str, stored: Mapping[str, Any]) -> str:
    """Return how a layer's pairs or orbits were chosen, and where it is said which; empty of periods."""
    rule = stored.get("rule") or {}
    place = f"`chips.zarr/{name}/`"
    if "orbits" in rule:
        orbits = (
            "the relative orbit that covers"
            if rule["orbits"] == 1
            else f"the {rule['orbits']} relative orbits that cover"
        )
        return f"{orbits} most of the chip, ascending ones first; which: `relative_orbit`, `orbit_direction` in {place}"
    if "pairs" not in rule:
        return ""
    pairs = rule["pairs"]
    windows = [f"{escaped(key)} {least} to {most} days" for key, (least, most) in pairs["windows"].items()]
    count = f", {pairs['count']} each" if pairs["count"] > 1 else ""
    first, last = pairs["start"][:10], last_day(pairs["end"])
    return (
        f"interferograms of two dates from {first} to {last}, by the days between these ({'; '.join(windows)}{count}), "
        f"`pick: {pairs['pick']}`; which: `reference_time`, `secondary_time`, `relative_orbit` and others in {place}"
    )


def _slot(slot: Mapping[str, Any]) -> str:
    """Return a slot's label, and its first and last day where that does not tell them."""
    first, last = slot["start"][:10], last_day(slot["end"])
    label = escaped(slot["label"])
    return label if slot["label"] in {first, f"{first}_{last}"} else f"{label} ({first} to {last})"


def _meanings(about: About) -> Iterator[str]:
    """Yield what else the manifest says of the numbers, such as how backscatter is normalised."""
    lines = []
    for name, layer in about.manifest["layers"].items():
        for array in layer["arrays"]:
            told = [f"{key.replace('_', ' ')} {_said(value)}" for key, value in array["attributes"].items()]
            if array["kind"] == Kind.UNWRAPPED_PHASE:
                told.append(
                    "each chip and slot has an arbitrary constant: subtract `phase_reference`, as statistics do"
                )
            if told:
                several_arrays = f".{array['name']}" if len(layer["arrays"]) > 1 else ""
                lines.append(f"- `{name}{several_arrays}`: {', '.join(told)}")
    if lines:
        yield "What the numbers are:\n\n" + "\n".join(lines)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escaped(json.dumps(value) if isinstance(value, (dict, list)) else str(value))


def splits(about: About) -> str:
    """Return the splits, their policy, and what leaks from one into another."""
    found = about.figures.splits
    if not found:
        return (
            "## Splits\n\nThe chips are not divided into train, val and test. Divide them by ground and with a buffer, "
            "not chip by chip: neighbours are alike (`m3leo-prep split` does it, without touching a pixel)."
        )
    made = ["## Splits"]
    for one in found:
        made += _split(one, about.figures.leakage.get(one.column))
    return "\n\n".join(made)


def _split(one: SplitFigures, leakage: Mapping[str, Any] | None) -> Iterator[str]:
    total = sum(one.chips.values())
    yield f"Column `{one.column}` of `chips.parquet`: {_policy(one.policy)}."
    rows = [[name, f"{n:,}", share(n / total), number(one.km2[name])] for name, n in one.chips.items()]
    yield table(("split", "chips", "share", "km²"), rows, numbers=(1, 2, 3))
    if "buffer" in one.chips:
        yield "Chips of the `buffer` lie too near to another split and belong to none."
    if leakage:
        lines = list(_leaks(leakage))
        yield "What leaks, measured from outlines, scenes and labels:\n\n" + "\n".join(f"- {line}" for line in lines)


def _policy(policy: Mapping[str, Any]) -> str:
    if not policy:
        return "the manifest does not say how it was made"
    told = [f"policy {policy['policy']}"]
    if policy.get("block_km"):
        told.append(f"{number(policy['block_km'], 4)} km wide")
    if policy.get("buffer_km"):
        told.append(f"buffer {number(policy['buffer_km'], 3)} km, taken from {policy['buffer_side']} first")
    if policy.get("shares"):
        told.append("asked shares " + ", ".join(f"{name} {value:g}" for name, value in policy["shares"].items()))
    if policy.get("stratify"):
        told.append(f"label budgets stratified by {policy['stratify']}")
    return ", ".join([*told, f"seed {policy['seed']}"])


def _leaks(leakage: Mapping[str, Any]) -> Iterator[str]:
    for pair, gap in leakage["gaps"].items():
        one, other = pair.split("-")
        if gap:
            yield f"{one} and {other}: the nearest chips are {number(gap['metres'])} m apart"
    shared = leakage["overlap"]
    yield f"test chips on ground of train or val: {_of_test(shared)}"
    if promised := leakage["promise"]:
        yield f"the distance that the buffer promises, {number(promised['metres'])} m, is " + (
            "kept" if promised["kept"] else "**not kept**"
        )
    for one in leakage["pixels"]:
        native = number(one["native_pitch"])
        yield f"test chips that share source pixels ({native} m) of `{one['layer']}`: {_of_test(one)}"
    for one in leakage["scenes"]:
        yield f"test chips from scenes that train chips of `{one['layer']}` were made of: {_of_test(one)}"
    for one in leakage["histograms"]:
        told = ", ".join(f"{name} {number(value, 2)}" for name, value in one["distance"].items())
        yield f"classes of `{one['label']}` against train (0 alike, 1 nothing in common): {told}"
    if leakage["correlograms"]:
        best, searched = leakage["recommended_buffer_km"], number(leakage["searched_km"], 3)
        told = f"{number(best, 3)} km" if best is not None else f"more than the {searched} km that were searched"
        yield f"buffer that the likeness of the labels asks for: {told}"
    yield from (f"{escaped(note)}" for note in leakage["notes"])


def _of_test(found: Mapping[str, Any]) -> str:
    return f"{found['chips']:,} ({share(found['share'])})" if found["chips"] else "none"


def labels(about: About) -> str:
    """Return what the labels say of chips and units; empty without any."""
    made = []
    for label in about.figures.labels:
        if label.classes:
            names = [name for name in SPLITS if name in label.classes[0].by_split]
            rows = [
                [
                    escaped(one.name),
                    share(one.mean),
                    f"{one.majority:,}",
                    *(share(one.by_split[name]) for name in names),
                ]
                for one in label.classes[:MOST_CLASSES]
            ]
            head = ["class", "share", "chips it is most of", *names]
            made.append(f"`{label.name}`, in the columns `prop_{label.name}_…`, of {several(label.known, 'chip')}:")
            made.append(table(head, rows, numbers=range(1, len(head))))
            if len(label.classes) > MOST_CLASSES:
                made.append(f"{len(label.classes) - MOST_CLASSES} more classes are in `chips.parquet`.")
        elif label.known:
            low, high = number(label.low), number(label.high)
            made.append(
                f"`{label.what}_{label.name}`: {low} to {high} {escaped(label.unit)}, mean {number(label.mean)}, "
                f"of {several(label.known, 'chip')}."
            )
    if units := about.figures.units:
        name = about.manifest["admin"]["name"]
        made.append(
            f"`units.parquet` has {several(units.n, 'administrative unit')} ({escaped(name)}) with label "
            f"proportions; chips cover {share(units.coverage)} of their {number(units.area_km2)} km². "
            "`chip_units.parquet` tells which chip lies in which."
        )
    return "\n\n".join(["## Labels", *made]) if made else ""


def missing(about: About) -> str:
    """Return what is missing, and why."""
    counted: dict[str, Counter[str]] = {}
    for one in about.figures.reasons:
        counted.setdefault(one.layer, Counter()).update(one.reasons)
    rows = []
    for layer in about.figures.layers:
        reasons = counted.get(layer.name, Counter())
        total = sum(reasons.values())
        told = ", ".join(f"{name} {share(n / total)}" for name, n in reasons.most_common() if name != "ok")
        rows.append(
            [
                f"`{layer.name}`",
                share(layer.valid_mean / 100),
                f"{layer.n_full:,}",
                f"{layer.n_empty:,}",
                told or "nothing",
            ]
        )
    head = ("layer", "valid pixels", "chips with all", "chips with none", "why parts are missing")
    return "\n\n".join(
        [
            "## What is missing",
            _PARTS,
            table(head, rows, numbers=(1, 2, 3)),
        ]
    )
