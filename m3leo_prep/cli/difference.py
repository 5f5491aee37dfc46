"""How two datasets differ, for people: counts, a histogram, the worst chips."""

from __future__ import annotations

import shlex

from m3leo_prep.cli.lines import count, line, number, say, share, short
from m3leo_prep.cli.render import OUT, print_table
from m3leo_prep.pipeline.diff import Difference, OnlyIn, VariableDifference
from m3leo_prep.pipeline.tally import EDGES

BAR = 28
"""Columns of the longest bar ..."""
WIDTH = 7
"""... and of a figure in the table."""


def show_difference(made: Difference) -> None:
    """Print a difference."""
    OUT.print(f"A  {made.a}\nB  {made.b}", soft_wrap=True)
    _only("layers", made.only_layers)
    _only("chips", made.only_chips)
    for layer, slots in made.only_slots.items():
        _only(f"slots of {layer}", slots)
    for layer, variables in made.only_variables.items():
        _only(f"variables of {layer}", variables)
    for setting in made.settings:
        name = ".".join(part for part in (setting.layer, setting.variable) if part)
        say(f"{name}: {setting.name} {short(setting.a)} in A, {short(setting.b)} in B")
    for variable in made.variables:
        _variable(made, variable)
    _verdict(made)


def _only(what: str, only: OnlyIn) -> None:
    for side, names in (("A", only.a), ("B", only.b)):
        if names:
            more = f", and {len(names) - 3:,} more" if len(names) > 3 else ""
            say(f"only {side} has {len(names):,} {what}: {', '.join(names[:3])}{more}")


def _variable(made: Difference, variable: VariableDifference) -> None:
    unit = "" if variable.unit in {"1", "class"} else f" [{variable.unit}]"
    title = f"{variable.layer}.{variable.variable}{unit}"
    _only(f"bands of {title}", variable.only_bands)
    if not variable.is_compared:
        say(f"\n{title}: {variable.compared}", bold=True)
        return
    pixels = sum(band.pixels for band in variable.bands)
    if variable.equal:
        say(f"\n{title}: equal, {count(pixels)} pixels of {_chips(made)}", bold=True)
        return
    how = "" if variable.compared == "codes" else ", as values, because the encodings differ"
    say(f"\n{title}: {count(pixels)} pixels of {_chips(made)} compared{how}", bold=True)
    is_class = variable.unit == "class"
    named = ["in both", "only A", "only B", "differ"]
    named += ["agree"] if is_class else ["max", "mean", "rmse", "B - A"]
    columns = ["band", *(name.rjust(WIDTH) for name in named)]
    rows = []
    for band in variable.bands:
        counts = [count(n) for n in (band.both, band.only_a, band.only_b, band.differing)]
        sizes = [band.max_abs, band.mean_abs, band.rmse, band.bias]
        told = [share(band.agreement)] if is_class else [number(size) for size in sizes]
        rows.append([band.band, *(cell.rjust(WIDTH) for cell in [*counts, *told])])
    print_table("", columns, rows)
    _confusions(variable) if is_class else _histogram(variable)
    _worst(made, variable, is_class=is_class)


def _histogram(variable: VariableDifference) -> None:
    counts = [sum(band.histogram[k] for band in variable.bands) for k in range(len(EDGES) + 1)]
    filled = [k for k, n in enumerate(counts) if n]
    if not filled:
        return
    equal = sum(band.both - band.differing for band in variable.bands)
    bars = [("equal", equal)]
    for k in range(filled[0], filled[-1] + 1):
        low = f"{EDGES[k - 1]:g}" if k else "0"
        high = f"{EDGES[k]:g}" if k < len(EDGES) else "more"
        bars.append((f"{low} ... {high}", counts[k]))
    unit = "" if variable.unit == "1" else f" in {variable.unit}"
    say(f"|B - A|{unit}", 2)
    most = max(n for _, n in bars)
    for label, n in bars:
        bar = "#" * max(int(n > 0), round(BAR * n / most))
        line(f"{label:>18}  {count(n):>8}  {bar}".rstrip())


def _confusions(variable: VariableDifference) -> None:
    for band in variable.bands:
        for code_a, code_b, n in band.confusions:
            say(f"{band.band}: {code_a} in A is {code_b} in B at {count(n)} pixels", 2)


def _worst(made: Difference, variable: VariableDifference, *, is_class: bool) -> None:
    say("worst chips", 2)
    for chip in variable.worst:
        if chip.differing:
            size = f"max {number(chip.max_abs)}, mean {number(chip.mean_abs)}"
            told = f"{count(chip.differing)} pixels differ" if is_class else size
        else:
            told = "equal where both are valid"
        lone = [f"only {side} {count(n)}" for side, n in (("A", chip.only_a), ("B", chip.only_b)) if n]
        line(f"{chip.chip}  {', '.join([told, *lone])}")
    if variable.worst:
        chip_id = variable.worst[0].chip
        for side in (made.a, made.b):
            line(f"m3leo-prep show {shlex.quote(side)} {chip_id} --layers {variable.layer}")


def _verdict(made: Difference) -> None:
    if made.identical:
        say(f"\nidentical: {_chips(made)}, every code the same", bold=True)
        return
    equal = sum(variable.equal for variable in made.variables)
    n = len(made.variables)
    say(f"\ndifferent: {equal} of {n} common {'variable is' if n == 1 else 'variables are'} equal", bold=True)


def _chips(made: Difference) -> str:
    return f"{made.n_chips:,} {'chip' if made.n_chips == 1 else 'chips'}"
