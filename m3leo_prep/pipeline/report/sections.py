"""The sections of a report about the dataset itself: overview, layers, what is valid, where it came from, sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from m3leo_prep.pipeline.report.figures import Figures, LayerFigures
from m3leo_prep.pipeline.report.html import (
    bar,
    columns,
    count,
    facts,
    histogram,
    keys,
    number,
    percent,
    size,
    stack,
    table,
    text,
)
from m3leo_prep.pipeline.report.reasons import ReasonFigures

REASONS = {
    "ok": "var(--ok)",
    "partial coverage": "var(--part)",
    "no acquisition": "var(--absent)",
    "not in dataset": "var(--absent)",
    "band not in product": "var(--absent)",
    "layer not in version": "var(--absent)",
    "all cloud": "var(--cloud)",
    "out of range": "var(--range)",
}
FAULT = "var(--fault)"
MOST_COLUMNS = 60
"""Slots that are drawn; of a longer series the table is complete."""


def tiles(figures: Figures) -> str:
    """Return the facts that everybody looks for first."""
    about, layers = figures.overview, figures.layers
    span = f"{about.first} to {about.last}" if about.first else "static layers only"
    inputs = sum(layer.role == "input" for layer in layers)
    valid = sum(layer.valid_mean for layer in layers) / len(layers)
    split = figures.splits[0] if figures.splits else None
    told = [
        (
            count(about.n_chips),
            "chip" if about.n_chips == 1 else "chips",
            f"{about.chip_px} px of {about.resolution_m:g} m, {about.chip_km:g} km",
        ),
        (f"{number(about.chips_km2)} km²", "ground of all chips", f"{count(len(about.zones), 'UTM zone')}"),
        (
            count(len(layers)),
            "layer" if len(layers) == 1 else "layers",
            f"{count(inputs, 'input')}, {count(len(layers) - inputs, 'label')}",
        ),
        (percent(valid), "valid", "mean of all layers"),
        (size(about.shard_bytes), "of pixels", f"in {count(about.shards, 'shard')}"),
        (
            _split_tile(split.chips) if split else "none",
            "% train / val / test" if split else "splits",
            f"{count(split.chips.get('buffer', 0))} in the buffer" if split else "not assigned yet",
        ),
    ]
    made = "".join(
        f'<div class="tile"><b>{big}</b><span>{name}</span><small>{small}</small></div>' for big, name, small in told
    )
    return f'<div class="tiles">{made}</div><p class="note">Time: {text(span)}.</p>'


def _split_tile(chips: object) -> str:
    assert isinstance(chips, dict)
    total = sum(chips.values())
    return " / ".join(f"{100 * chips.get(name, 0) / total:.0f}" for name in ("train", "val", "test"))


def layer_table(figures: Figures) -> str:
    """Return one row per layer: what it is, how it is stored, how much of it is there."""
    heads = [
        "layer",
        "variables and bands",
        "pixel",
        "slots",
        "valid",
        "chips by valid share",
        "whole / empty",
        "size",
    ]
    most = max((layer.bytes for layer in figures.layers), default=1) or 1
    rows = [_layer_row(layer, most) for layer in figures.layers]
    return table(heads, rows, numbers=(6,), caption="layers")


def _layer_row(layer: LayerFigures, most: int) -> list[str]:
    told = []
    for variable in layer.variables:
        units = set(variable["units"].values())
        unit = "" if len(units) > 1 or units & {"1", "class"} else f" in {text(units.pop())}"
        bands = ", ".join(text(band) for band in variable["bands"])
        classes = f", {count(variable['classes'], 'class', 'classes')}" if variable["classes"] else ""
        stored = f"{variable['dtype']}, {variable['method']}, {variable['statistic']}"
        told.append(f"{text(variable['name'])}{unit}{classes}<small>{bands}</small><small>{text(stored)}</small>")
    kind = "" if layer.slot_kind == "period" else f" {layer.slot_kind}{'s' if layer.n_slots > 1 else ''}"
    span = "chosen by chip" if layer.first is None else f"{layer.first}<br>to {layer.last}"
    slots = f'{layer.n_slots}{kind}<small class="whole-line">{span}</small>' if layer.n_slots else "static"
    side = f'<small class="whole-line">{layer.size_px} x {layer.size_px}</small>'
    pixel = f'<span class="whole-line">{layer.pitch_m:g} m</span>{side}'
    chips = histogram(
        layer.valid_histogram, "0 %", "100 %", f"chips of {layer.name} by valid share", high_px=34, wide_px=130
    )
    return [
        f'{text(layer.name)}<small><span class="tag {text(layer.role)}">{text(layer.role)}</span></small>',
        "<br>".join(told),
        pixel,
        slots,
        f"{percent(layer.valid_mean)}{bar(layer.valid_mean / 100)}<small>median {percent(layer.valid_median)}</small>",
        chips,
        f"{count(layer.n_full)} / {count(layer.n_empty)}",
        f'<span class="whole-line">{size(layer.bytes)}</span>{bar(layer.bytes / most)}',
    ]


def validity(figures: Figures) -> str:
    """Return how much of each slot is there and why the rest is not, variable by variable."""
    made = []
    for (layer, variable), group in groupby(figures.reasons, key=lambda one: (one.layer, one.variable)):
        made.append(_variable(layer, variable, list(group)))
    return f'<div class="two">{"".join(made)}</div>'


def _variable(layer: str, variable: str, slots: Sequence[ReasonFigures]) -> str:
    totals: dict[str, int] = {}
    for one in slots:
        for reason, n in one.reasons.items():
            totals[reason] = totals.get(reason, 0) + n
    order = sorted(totals, key=lambda reason: (reason != "ok", reason != "partial coverage", -totals[reason], reason))
    n = sum(totals.values())
    title = layer if variable == layer else f"{layer}: {variable}"
    parts = [
        (slot.slot, [(reason, _colour(reason), slot.reasons.get(reason, 0)) for reason in order]) for slot in slots
    ]
    label = f"Reasons of {title}: " + ", ".join(f"{reason} {totals[reason]}" for reason in order)
    if len(slots) == 1:
        drawn = stack([(reason, _colour(reason), totals[reason]) for reason in order], label=label)
    else:
        drawn = f'<div class="wide">{columns(parts[:MOST_COLUMNS], label)}</div>'
    legend = keys(
        (_colour(reason), reason, count(totals[reason]), f"{percent(100 * totals[reason] / n)}") for reason in order
    )
    left = (
        f'<p class="note">The first {MOST_COLUMNS} of {len(slots)} slots are drawn.</p>'
        if len(slots) > MOST_COLUMNS
        else ""
    )
    bands = list(slots[0].valid)
    heads = ["slot", *order, *(f"valid {text(band)}" for band in bands)]
    rows = [
        [
            text(slot.slot),
            *(count(slot.reasons.get(reason, 0)) for reason in order),
            *(percent(slot.valid[band]) for band in bands),
        ]
        for slot in slots
    ]
    numbers = table(heads, rows, numbers=range(1, len(heads)), caption=f"{title} by slot")
    return (
        f'<div class="card"><h3>{text(title)}</h3>{drawn}{legend}{left}'
        f"<details><summary>Numbers by slot and band</summary><div>{numbers}</div></details></div>"
    )


def _colour(reason: str) -> str:
    return REASONS.get(reason, FAULT)


def provenance(figures: Figures) -> str:
    """Return which scenes the layers were made of, under which licences, by which software."""
    layers = {layer.name: layer for layer in figures.layers}
    heads = [
        "layer",
        "source",
        "scenes used",
        "acquired (UTC)",
        "most looks",
        "versions",
        "relative orbits",
        "out of range / raised",
    ]
    rows = [
        [
            text(one.layer),
            f"{text(layers[one.layer].source)}<small>version {text(layers[one.layer].source_version)}</small>",
            count(one.scenes),
            f"{text(one.first)}<small>to {text(one.last)}</small>" if one.first else '<span class="dim">undated</span>',
            count(one.most_observations),
            ", ".join(text(version) for version in one.versions) or '<span class="dim">none</span>',
            ", ".join(str(orbit) for orbit in one.relative_orbits) or '<span class="dim">none</span>',
            f"{count(one.pixels_out_of_range)} / {count(one.pixels_floored)}",
        ]
        for one in figures.scenes
    ]
    made = [f'<div class="card">{table(heads, rows, numbers=(2, 4, 7), caption="scenes")}{_by_slot(figures)}</div>']
    licences = [
        [
            text(layer.name),
            text(layer.licence) or _none("not told by the source"),
            text(layer.citation) or _none("none told"),
        ]
        for layer in figures.layers
    ]
    about = figures.overview
    area = [text(f"area {about.area}"), text(about.area_licence) or _none("not told"), text(about.area_source)]
    terms = table(["input", "licence", "citation"], [*licences, area], caption="licences and citations")
    made.append(f'<div class="card"><h3>Licences and citations</h3>{terms}</div>')
    libraries = ", ".join(f"{text(name)} {text(version)}" for name, version in about.libraries.items())
    identity = {
        "dataset id": f"<code>{text(about.dataset_id)}</code>",
        "format": text(about.format_version),
        "manifest": f"<code>{text(about.manifest_digest)}</code>" if about.manifest_digest else "",
        "made with": libraries,
    }
    made.append(f'<div class="card"><h3>Identity</h3>{facts(identity)}</div>')
    return "".join(made)


def _by_slot(figures: Figures) -> str:
    rows = [[text(one.layer), text(slot), count(n)] for one in figures.scenes for slot, n in one.by_slot.items()]
    inner = table(["layer", "slot", "scenes used"], rows, numbers=(2,), caption="scenes by slot")
    return f"<details><summary>Scenes by slot</summary><div>{inner}</div></details>"


def _none(words: str) -> str:
    return f'<span class="dim">{words}</span>'


def sizes(figures: Figures) -> str:
    """Return how large each layer is."""
    whole = figures.overview.shard_bytes or 1
    chips = max(1, figures.overview.n_chips)
    rows = [
        [
            text(layer.name),
            size(layer.bytes) + bar(layer.bytes / whole),
            percent(100 * layer.bytes / whole),
            size(layer.bytes / chips),
            count(layer.shards),
            count(layer.shards_absent),
        ]
        for layer in figures.layers
    ]
    total = [
        "all layers",
        size(figures.overview.shard_bytes),
        "100 %",
        size(figures.overview.shard_bytes / chips),
        count(figures.overview.shards),
        count(sum(layer.shards_absent for layer in figures.layers)),
    ]
    heads = ["layer", "pixels on disk", "share", "a chip", "shards", "absent by design"]
    return f'<div class="card">{table(heads, [*rows, total], numbers=(2, 3, 4, 5), caption="sizes")}</div>'


def absences(figures: Figures) -> str:
    """Return what is not there, why, and how to get it; and chips that have nothing of a layer."""
    told = list(_absences(figures))
    if not told:
        return '<div class="card fine">Nothing: every part of a dataset is there.</div>'
    return "".join(
        f'<div class="absent"><p><b>{part}</b>: {why}.</p><p>{remedy}</p></div>' for part, why, remedy in told
    )


def _absences(figures: Figures) -> Iterator[tuple[str, str, str]]:
    for one in figures.absent:
        yield text(one.part), text(one.why), _how(one.remedy)
    for layer in figures.layers:
        if layer.n_empty:
            why = f"{count(layer.n_empty, 'chip')} of {count(figures.overview.n_chips)} have no valid pixel of it"
            yield (
                text(f"data of layer {layer.name}"),
                why,
                'The reasons stand under <a href="#validity">What is valid</a>.',
            )


def _how(remedy: str) -> str:
    if not remedy:
        return ""
    return f"<code>{text(remedy)}</code>" if remedy.startswith("m3leo-prep") else f"To get it: {text(remedy)}."
