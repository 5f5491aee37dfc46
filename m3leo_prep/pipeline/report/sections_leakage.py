"""What leaks from one split into another, as a report tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from m3leo_prep.pipeline.report.html import count, curve, number, share, stack, table, text

MOST_CURVES = 6
"""Correlograms that are drawn: of the labels that resemble each other farthest."""


def leaks(leakage: Mapping[str, Any]) -> str:
    """Return what was measured, as a table."""
    rows = [
        [f"{text(pair.replace('-', ' to '))}, nearest chips", f"{number(gap['metres'])} m" if gap else "no chips"]
        for pair, gap in leakage["gaps"].items()
    ]
    shared = leakage["overlap"]
    rows.append(["test chips on train or val ground", _of_test(shared)])
    if leakage["promise"]:
        kept = "kept" if leakage["promise"]["kept"] else "broken"
        rows.append(["distance that the buffer promises", f"{number(leakage['promise']['metres'])} m, {kept}"])
    for one in leakage["pixels"]:
        source = f"<small>source pixels of {number(one['native_pitch'], 3)} m</small>"
        rows.append([f"test chips that share pixels of {text(one['layer'])}{source}", _of_test(one)])
    for one in leakage["scenes"]:
        scenes = f"<small>{count(one['shared'])} of {count(one['scenes'], 'scene')} made both</small>"
        rows.append([f"test chips from train's scenes of {text(one['layer'])}{scenes}", _of_test(one)])
    for one in leakage["histograms"]:
        told = ", ".join(f"{text(name)} {number(value, 3)}" for name, value in one["distance"].items())
        rows.append([f"classes of {text(one['label'])} against train<small>0 alike, 1 nothing in common</small>", told])
    if leakage["correlograms"]:
        best = leakage["recommended_buffer_km"]
        searched = number(leakage["searched_km"], 3)
        told = f"{number(best, 3)} km" if best is not None else f"more than {searched} km"
        rows.append(["buffer that the labels ask for", told])
    notes = "".join(f'<p class="note">{text(note)}.</p>' for note in leakage["notes"])
    return table(["what", "measured"], rows, numbers=(1,), caption="leakage") + notes


def class_bars(leakage: Mapping[str, Any]) -> str:
    """Return the classes that each split holds, as bars."""
    made = []
    for one in leakage["histograms"]:
        bars = []
        for name, shares in one["shares"].items():
            if all(part is None for part in shares):
                continue
            named = zip(one["classes"], shares, one["colors"], strict=True)
            parts = [(f"{kind.replace('_', ' ')} {share(part)}", color, part or 0.0) for kind, part, color in named]
            drawn = stack(parts, thin=True, label=f"{name}: " + ", ".join(kind for kind, _, _ in parts))
            bars.append(f"<dt>{text(name)}</dt><dd>{drawn}</dd>")
        made.append(f'<h3>{text(one["label"])} by split, by labelled ground</h3><dl class="bars">{"".join(bars)}</dl>')
    return "".join(made)


def correlograms(leakage: Mapping[str, Any]) -> str:
    """Return the curves of the labels that resemble each other farthest."""
    found = leakage["correlograms"]
    order = sorted(found, key=lambda name: -(leakage["recommended"].get(name) or float("inf")))
    charts = []
    for name in order[:MOST_CURVES]:
        one = found[name]
        points = [(x, y) for x, y in zip(one["distance_km"], one["morans_i"], strict=True) if y is not None]
        if not points:
            continue
        best = leakage["recommended"].get(name)
        named = name.removeprefix("prop_").replace("_", " ")
        told = f"buffer {number(best, 3)} km" if best is not None else "alike as far as was searched"
        drawn = curve(points, mark=best, x_unit="km", label=f"Moran's I of {named} by distance")
        charts.append(f'<figure class="chart">{drawn}<figcaption><b>{text(named)}</b>: {told}</figcaption></figure>')
    if not charts:
        return ""
    left = f" The {MOST_CURVES} that reach farthest of {len(found)}." if len(found) > MOST_CURVES else ""
    about = (
        "Moran's I of chips by their distance: 1 alike, 0 no relation. The dashed line is the distance from which on "
        f"chips tell nothing of each other.{left}"
    )
    head = f'<h3>How far labels resemble each other</h3><p class="note">{about}</p>'
    return f'{head}<div class="charts big">{"".join(charts)}</div>'


def _of_test(found: Mapping[str, Any]) -> str:
    """Return a number of test chips, and their share."""
    return f"{count(found['chips'])}, {share(found['share'])}" if found["chips"] else "none"
