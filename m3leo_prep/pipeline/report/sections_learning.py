"""The sections of a report about learning from the dataset: labels, units, splits, leakage, statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from m3leo_prep.pipeline.report.figures import SPLITS as ORDER
from m3leo_prep.pipeline.report.figures import Figures, SplitFigures
from m3leo_prep.pipeline.report.html import (
    bar,
    count,
    facts,
    histogram,
    keys,
    number,
    percent,
    share,
    stack,
    steps,
    table,
    text,
)
from m3leo_prep.pipeline.report.labels import LabelFigures, OneUnit, UnitFigures
from m3leo_prep.pipeline.report.sections_leakage import class_bars, correlograms, leaks

MOST_CHARTS = 48
"""Bands whose histograms are drawn; the numbers of all are in the table."""


def labels(figures: Figures) -> str:
    """Return what the labels of chips and units say."""
    made = [_label(label) for label in figures.labels]
    if not made:
        told = "No chip has label proportions or means: see <a href='#missing'>What is missing</a>."
        made.append(f'<div class="card fine">{told}</div>')
    if figures.units is not None:
        made.append(_units(figures.units, figures.labels))
    else:
        told = "There are no administrative units: see <a href='#missing'>What is missing</a>."
        made.append(f'<div class="card fine">{told}</div>')
    return "".join(made)


def _label(label: LabelFigures) -> str:
    known = f"{count(label.known, 'chip')} with labels, {count(label.unknown)} without enough valid pixels."
    if not label.classes:
        return _quantity(label, known)
    parts = [(one.name, one.color, one.mean or 0.0) for one in label.classes]
    shares = ", ".join(f"{name} {share(mean)}" for name, _, mean in parts)
    splits = [name for name in ORDER if name in label.classes[0].by_split]
    order = sorted(label.classes, key=lambda one: -(one.mean or 0.0))
    most = max((one.mean or 0.0 for one in label.classes), default=1.0) or 1.0
    rows = [
        [
            f'<span class="swatch" style="--fill:{one.color}"></span> {text(one.name)}',
            share(one.mean) + bar((one.mean or 0.0) / most, one.color),
            count(one.majority),
            *(share(one.by_split[name]) for name in splits),
        ]
        for one in order
    ]
    heads = ["class", "mean share of the chips", "chips with most of it", *(f"mean in {text(name)}" for name in splits)]
    drawn = stack(parts, label=f"mean shares of {label.name}: {shares}")
    numbers = table(heads, rows, numbers=range(2, len(heads)), caption=f"classes of {label.name}")
    return f'<div class="card"><h3>{text(label.name)}</h3><p class="about">{known}</p>{drawn}{numbers}</div>'


def _quantity(label: LabelFigures, known: str) -> str:
    head = f"<h3>{text(label.name)}</h3>"
    if label.low is None or label.high is None:
        return f'<div class="card">{head}<p class="about">{known}</p></div>'
    low, high = (f"{number(value, 3)} {label.unit}".strip() for value in (label.low, label.high))
    drawn = histogram(label.histogram, low, high, f"chips by {label.what} of {label.name}", wide_px=420, high_px=80)
    mean = f"Chips by their {label.what}; on average {number(label.mean)} {text(label.unit)}. {known}"
    return f'<div class="card">{head}<p class="about">{mean}</p><div style="max-width:520px">{drawn}</div></div>'


def _units(units: UnitFigures, known: tuple[LabelFigures, ...]) -> str:
    labels = [label for label in known if label.classes]
    heads = ["unit", "area", "chips", "covered by chips", *(f"shares of {text(label.name)}" for label in labels)]
    rows = [
        [
            text(one.unit) + "".join(f"<small>{text(reason)}</small>" for reason in one.reasons),
            f"{number(one.area_km2)} km²",
            count(one.n_chips),
            share(one.coverage) + bar(one.coverage),
            *(_both(one, label) for label in labels),
        ]
        for one in units.listed
    ]
    some = f"{count(units.with_chips, 'unit has', 'units have')} some, in {count(units.overlaps, 'overlap')}"
    about = (
        f"{count(units.n, 'unit')}, {number(units.area_km2)} km². Chips cover {share(units.coverage)} of them; {some}. "
        "The upper bar is the whole unit, measured on the label raster itself; the lower one is what the built chips "
        "of its bag hold."
    )
    legend = "".join(keys((one.color, one.name, "", "") for one in label.classes) for label in labels)
    left = (
        f'<p class="note">The {len(units.listed)} largest of {count(units.n)} units.</p>'
        if len(units.listed) < units.n
        else ""
    )
    numbers = table(heads, rows, numbers=(1, 2), caption="administrative units")
    head = f'<h3>Administrative units</h3><p class="about">{about}</p>'
    return f'<div class="card">{head}{numbers}{legend}{left}{_unit_numbers(units, labels)}</div>'


def _both(unit: OneUnit, label: LabelFigures) -> str:
    """Return the class shares of a unit above those of its chips."""
    bars = ""
    for what, start in (("unit", "prop_"), ("its chips", "prop_built_")):
        columns = [(one, start + one.column.removeprefix("prop_")) for one in label.classes]
        found = [(one.name, one.color, unit.values.get(column)) for one, column in columns]
        if all(part is None for _, _, part in found):
            bars += f"<small>{what}: not known</small>"
            continue
        parts = [(f"{name} {share(part)}", color, part or 0.0) for name, color, part in found]
        bars += stack(parts, thin=True, label=f"{what}: " + ", ".join(name for name, _, _ in parts))
    return bars


def _unit_numbers(units: UnitFigures, labels: list[LabelFigures]) -> str:
    rows = []
    for one in units.listed:
        for label in labels:
            for kind in label.classes:
                own, built = (
                    one.values.get(start + kind.column.removeprefix("prop_")) for start in ("prop_", "prop_built_")
                )
                rows.append([text(one.unit), text(f"{label.name}: {kind.name}"), share(own), share(built)])
    heads = ["unit", "class", "of the unit", "of its chips"]
    inner = table(heads, rows, numbers=(2, 3), caption="class shares of units")
    return f"<details><summary>Shares as numbers</summary><div>{inner}</div></details>" if rows else ""


def splits(figures: Figures) -> str:
    """Return how chips are split, and what leaks from one split into another."""
    if not figures.splits:
        return (
            '<div class="card fine">No chip is assigned to a split: see <a href="#missing">What is missing</a>.</div>'
        )
    return "".join(_split(split, figures) for split in figures.splits)


def _split(split: SplitFigures, figures: Figures) -> str:
    n = figures.overview.n_chips
    parts = [(name, _colour(name), float(chips)) for name, chips in split.chips.items()]
    label = "chips by split: " + ", ".join(f"{name} {chips}" for name, chips in split.chips.items())
    legend = keys(
        (_colour(name), name, count(chips), f"{percent(100 * chips / n)}, {number(split.km2[name])} km²")
        for name, chips in split.chips.items()
    )
    policy = {key.replace("_", " "): text(_told(value)) for key, value in split.policy.items()}
    if split.buffer_loss:
        lost = (f"{text(name)} {share(loss)}" for name, loss in split.buffer_loss.items())
        policy["lost to the buffer"] = ", ".join(lost)
    if split.budgets:
        policy["label budgets"] = ", ".join(f"{name}: {count(chips, 'chip')}" for name, chips in split.budgets.items())
    rule = facts(policy) if policy else '<p class="note">The manifest does not tell by which rule.</p>'
    leakage = figures.leakage.get(split.column)
    return (
        f'<div class="card"><h3>{text(split.column)}</h3>{stack(parts, label=label)}{legend}'
        f'<div class="two split"><div><h3>The rule</h3>{rule}</div>'
        f"{f'<div><h3>What leaks</h3>{leaks(leakage)}</div>' if leakage else ''}</div>"
        f"{class_bars(leakage) + correlograms(leakage) if leakage else ''}</div>"
    )


def _colour(split: str) -> str:
    return f"var(--{split})" if split in ORDER else "var(--none)"


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_told(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_told(inner) for inner in value)
    if isinstance(value, float):
        return number(value)
    return "" if value is None else str(value)


def statistics(figures: Figures) -> str:
    """Return the numbers of every band, and its histogram."""
    if not figures.statistics:
        return '<div class="card fine">No statistics are stored: see <a href="#missing">What is missing</a>.</div>'
    found = list(_bands(figures))
    rows = [
        [
            f"{text(name)}<small>{text(unit)}</small>" if unit else text(name),
            *(number(band.get(key)) for key in ("mean", "std", "min")),
            *(number((band.get("percentiles") or {}).get(key)) for key in ("2", "50", "98")),
            number(band.get("max")),
            count(int(band["count"])),
        ]
        for name, unit, band in found
        if "mean" in band
    ]
    heads = ["band", "mean", "std", "min", "2 %", "median", "98 %", "max", "valid pixels"]
    charts: list[str] = []
    for name, unit, band in found:
        drawn = band.get("histogram")
        if not drawn or len(charts) == MOST_CHARTS:
            continue
        edges, counts = _inner(drawn["edges"], drawn["counts"])
        what = f"{text(name)}{f' in {text(unit)}' if unit else ''}"
        figure = steps(edges, counts, f"histogram of {name}")
        charts.append(f'<figure class="chart">{figure}<figcaption><b>{what}</b></figcaption></figure>')
    which = sorted({str(about.get("from")) for about in figures.statistics.values()})
    chips = sorted({int(about["chips"]) for about in figures.statistics.values() if "chips" in about})
    of = " and ".join(count(n, "chip") for n in chips)
    source = f'<p class="about">From {text(" and ".join(which))}: {of}, all slots together.</p>'
    drawn = f'<div class="charts">{"".join(charts)}</div>' if charts else ""
    numbers = table(heads, rows, numbers=range(1, 9), caption="statistics") if rows else ""
    return f'<div class="card">{source}{drawn}{"<div style=height:14px></div>" if charts else ""}{numbers}</div>'


def _inner(edges: list[float], counts: list[int]) -> tuple[list[float], list[int]]:
    """Return a histogram without its first and last bins where those hold long thin tails."""
    if len(counts) < 8:
        return edges, counts
    typical = (edges[-2] - edges[1]) / (len(counts) - 2)
    first = 1 if edges[1] - edges[0] > 4 * typical else 0
    last = len(counts) - 1 if edges[-1] - edges[-2] > 4 * typical else len(counts)
    return edges[first : last + 1], counts[first:last]


def _bands(figures: Figures) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield (name, unit, what is stored) of every band."""
    units = {(one.name, array["name"]): array["units"] for one in figures.layers for array in one.variables}
    for layer, about in figures.statistics.items():
        for variable, told in about.get("variables", {}).items():
            for band, values in told["bands"].items():
                unit = "" if units[layer, variable][band] in {"1", "class"} else units[layer, variable][band]
                unit += " from each chip's reference" if "counted_from" in told else ""
                prefix = layer if variable == layer else f"{layer} {variable}"
                yield (f"{prefix} {band}" if band != variable else prefix), unit, values
