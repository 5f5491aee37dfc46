"""``stats``: the statistics of each band in a table; where they are not there, a pass over the pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from m3leo_prep.blobs.location import local_path
from m3leo_prep.cli.render import ERR, OUT, print_json, print_table, progress
from m3leo_prep.pipeline.statistics.second_pass import Asked, ask, from_pixels, keep
from m3leo_prep.reader.manifest import StoredLayer

SHOWN = ("2", "50", "98")
"""Percentiles in the table; the file has more."""
MANY = 1e5
"""From here on numbers are shown without decimals."""


def run_stats(dataset: str, *, policy: str | None = None, layers: Sequence[str] | None, as_json: bool) -> None:
    """Print a dataset's statistics; make and keep those that are not there."""
    asked = ask(local_path(dataset), policy, layers)
    found = asked.written()
    absent = [layer.name for layer in asked.layers if layer.name not in found]
    if absent:
        found |= _made(asked, absent)
    documents = {layer.name: found[layer.name] for layer in asked.layers}
    if as_json:
        print_json(documents)
        return
    scope = next(iter(asked.scopes.values()))
    whose = "all" if scope.policy == "none" else f"the train chips of the policy '{scope.policy}':"
    n = len(scope.ids)
    OUT.print(f"from {whose} {n:,} chip{'s' if n != 1 else ''}; slots of a layer are pooled", soft_wrap=True)
    for stored in asked.layers:
        _print(stored, documents[stored.name])


def _made(asked: Asked, layers: Sequence[str]) -> dict[str, dict[str, Any]]:
    n = len(asked.rows)
    whose = "all" if next(iter(asked.scopes.values())).policy == "none" else "the train"
    names = ", ".join(layers)
    ERR.print(f"{names}: a pass over the pixels of {whose} {n:,} chips, needed once", soft_wrap=True)
    arrays = {layer.name: len(layer.arrays) for layer in asked.layers}
    with progress({name: n * arrays[name] for name in layers}, "chips") as bar:
        made = from_pixels(asked, layers, bar.step)
    keep(asked, made)
    return made


def _print(layer: StoredLayer, document: Mapping[str, Any]) -> None:
    quantities: list[list[Any]] = []
    classes: list[list[Any]] = []
    several = len(document["variables"]) > 1
    for name, variable in document["variables"].items():
        for band, about in variable["bands"].items():
            title = f"{name}.{band}" if several else band
            if variable["unit"] == "class":
                legend = {str(known["code"]): known["name"] for known in layer.arrays[name].about["legend"]}
                classes += _classes(title, about, legend)
            else:
                percentiles = about["percentiles"] or {}
                values = [about[key] for key in ("mean", "std", "min")] + [percentiles.get(q) for q in SHOWN]
                quantities.append([title, layer.arrays[name].unit_of(band), *map(_number, [*values, about["max"]])])
    if quantities:
        print_table(layer.name, ["band", "unit", "mean", "std", "min", *(f"p{q}" for q in SHOWN), "max"], quantities)
    for name, variable in document["variables"].items():
        if "counted_from" in variable:
            OUT.print(f"{name} counts from the reference of each chip and slot ({variable['counted_from']})")
    if classes:
        print_table(layer.name, ["band", "class", "pixels", "share"], classes)


def _classes(title: str, about: Mapping[str, Any], legend: Mapping[str, str]) -> list[list[Any]]:
    if "classes" not in about:
        return [[title, "flags", int(about["count"]), ""]]
    total = max(1, about["count"])
    return [
        [title, f"{code} {legend.get(code, '')}".rstrip(), int(n), f"{100 * n / total:.1f} %"]
        for code, n in about["classes"].items()
    ]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= MANY else f"{value:.5g}"
