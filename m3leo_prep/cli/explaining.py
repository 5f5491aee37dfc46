"""``explain`` and ``diff``: where pixels come from, and how two datasets differ, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from m3leo_prep.cli.lines import fact, line, say, share
from m3leo_prep.cli.render import ERR, print_json

if TYPE_CHECKING:
    from m3leo_prep.pipeline.explain.explanation import (
        Explanation,
        Neighbour,
        Origin,
        PixelBand,
        Scene,
        SlotState,
        UsedItem,
    )

GRID_COLUMNS = 4
"""Neighbours that fit side by side into 80 columns."""
LISTED = 8


def run_explain(
    dataset: str, chip: str, layer: str, *, x: int | None, y: int | None, slot: str | None, as_json: bool
) -> None:
    """Print where a chip's pixels, or one of them, came from."""
    from m3leo_prep.pipeline.explain import explain

    with ERR.status("reading"):
        made = explain(dataset, int(chip) if chip.isdecimal() else chip, layer, x=x, y=y, slot=slot)
    if as_json:
        print_json(made.to_dict())
        return
    _layer(made)
    for label, facts in made.chosen.items():
        units = {"perp_baseline": " m", "phase_reference": _phase_unit(made)}
        said = [f"{_fact(name, value)}{units.get(name, '')}" for name, value in facts.items()]
        fact("slot", f"{label}: {', '.join(said)}")
    for state in made.slots:
        _slot(state)
    if made.pixel is not None:
        place = made.pixel
        say(f"\npixel x = {place.x}, y = {place.y}", bold=True)
        say(f"its centre is at E {place.easting:.1f} m, N {place.northing:.1f} m, EPSG:{made.epsg}", 2)
        say(f"lon {place.lon:.6f}, lat {place.lat:.6f}", 2)
        for band in place.bands:
            _band(band)
    for note in made.notes:
        say(f"\nnote: {note}")


def run_diff(a: str, b: str, *, layers: list[str] | None, as_json: bool) -> None:
    """Print how two datasets differ."""
    from m3leo_prep.cli.difference import show_difference
    from m3leo_prep.pipeline.diff import diff

    with ERR.status("comparing"):
        made = diff(a, b, layers)
    if as_json:
        print_json(made.to_dict())
        return
    show_difference(made)


def _layer(made: Explanation) -> None:
    say(f"chip {made.chip} (row {made.row}), layer {made.layer} ({made.role})", bold=True)
    fact("pixels", f"{made.size} x {made.size} of {made.pitch:g} m in EPSG:{made.epsg}")
    native = "" if made.native_pitch is None else f", native pixel {made.native_pitch:.4g} m"
    fact("source", f"{made.source}, version {made.source_version}{native}")
    fact("licence", ", ".join(part for part in (made.licence, made.citation) if part))
    for pair, operation in made.operations.items():
        fact("transform", f"{pair} by {operation}")
    if not made.operations:
        fact("transform", f"none: the source is in EPSG:{made.epsg}, or gave nothing")
    for variable in made.variables:
        unit = "" if variable["unit"] in {"1", "class", "mixed"} else f" {variable['unit']}"
        fact("variable", f"{variable['name']} ({variable['kind']}): {', '.join(variable['bands'])}")
        fact("  kernel", f"{variable['method']}; several scenes of a slot: {variable['statistic']}")
        fill_code = "NaN" if variable["fill"] is None else variable["fill"]
        log = ", of 10 log10 of the power" if variable["transform"] == "db" else ""
        scale = "" if variable["scale"] == 1 else f", value = code x {variable['scale']:g}{unit}{log}"
        error = f", rounding error at most {variable['max_error']:g}{unit}" if variable["max_error"] else ""
        fact("  stored", f"{variable['dtype']}{scale}{error}; missing = {fill_code}")


def _fact(name: str, value: Any) -> str:
    """Return what a slot's companion says, such as ``reference time 2020-09-01``; days are enough of a date."""
    told = value[:10] if name.endswith("_time") else f"{value:.7g}" if isinstance(value, float) else str(value)
    return f"{name.replace('_', ' ')} {told}"


def _phase_unit(made: Explanation) -> str:
    """Return the unit of the unwrapped phase with a space before it; empty where another variable is explained."""
    return next((f" {about['unit']}" for about in made.variables if about["kind"] == "unwrapped_phase"), "")


def _slot(state: SlotState) -> None:
    n = state.n_acquisitions
    say(f"\nslot {state.slot}: {n} {'acquisition' if n == 1 else 'acquisitions'}", bold=True)
    several = len({band.variable for band in state.bands}) > 1
    names = [f"{band.variable} {band.band}" if several else band.band for band in state.bands]
    widest = max(map(len, names))
    for band, name in zip(state.bands, names, strict=True):
        more = [
            f"{n:,} {what}" for n, what in ((band.n_out_of_range, "out of range"), (band.n_floored, "floored")) if n
        ]
        text = "; ".join([f"{band.reason}: {band.why}", *more])
        say(f"{name:<{widest}}  {share(band.valid_share):>6} valid  {text}", 2)
    for item in state.items:
        say(f"from {_used(item)}", 2)


def _used(item: UsedItem) -> str:
    when = "" if item.time is None else f"{item.time[:19].replace('T', ' ')}  "
    parts = [item.id, item.orbit, f"version\u00a0{item.version}" if item.version else ""]
    return f"{when}{', '.join(part for part in parts if part)}"


def _band(band: PixelBand) -> None:
    say(f"\n{band.slot}, {band.variable} {band.band}", bold=True)
    if band.missing:
        reason = f" (of the whole chip: {band.reason}, {band.why})" if band.reason else ""
        say(f"missing: {band.missing}{reason}", 2)
    else:
        say(band.formula, 2)
    if band.origin is None:
        return
    if band.origin.steps:
        say(band.origin.steps, 2)
    for message in band.origin.damaged:
        say(f"damaged: {message}", 2)
    _composited(band.origin.composited)
    for scene in band.origin.scenes:
        if band.origin.composited:
            say("what the source made of them", 2)
        else:
            when = "" if scene.time is None else f"  {scene.time[:19].replace('T', ' ')}"
            say(f"{' + '.join(scene.items)}{when}  {scene.orbit}".rstrip(), 2)
        _scene(scene)
    if band.origin.elsewhere:
        say(f"{band.origin.elsewhere:,} more of the slot's items do not reach this pixel", 2)
    if band.reproduced:
        now = "this code now, by these weights" if not band.missing else "no value here now either"
        say(f"reproduced: the source gives {now}", 2)
    elif band.reproduced is False:
        say(f"NOT REPRODUCED: {_complaint(band, band.origin)}", 2, style="bold red")


def _complaint(band: PixelBand, origin: Origin) -> str:
    if origin.code != band.code:
        stored, now = ("missing" if code is None else code for code in (band.code, origin.code))
        return f"stored is {stored}, the source now gives {now}"
    return "the weights and values shown do not add up to it; please report this as a bug"


def _composited(items: Sequence[UsedItem]) -> None:
    """Print what a source that composites was given."""
    if not items:
        return
    scenes = "scene that reaches" if len(items) == 1 else "scenes that reach"
    say(f"composited by the source, of {len(items)} {scenes} this chip:", 2)
    for item in items[:LISTED]:
        say(_used(item), 4)
    if len(items) > LISTED:
        say(f"and {len(items) - LISTED:,} more (all with --json)", 4)


def _scene(scene: Scene) -> None:
    if scene.state == "not observed":
        say(f"gives nothing: {scene.why}", 4)
        return
    say(f"weight {scene.weight:.4g}: {scene.why}", 4)
    if scene.value is not None:
        stored = "" if scene.stored_value is None else f" = {scene.stored_value:.4f} dB"
        sums = "" if scene.adds_up is None else ": the weights add up to it" if scene.adds_up else ": NOT what adds up"
        say(f"value {scene.value:.7g}{stored}{sums}", 4)
    if scene.col is not None and scene.row is not None:
        size = " x ".join(f"{abs(part):.6g}" for part in scene.pixel_size)
        say(f"at {scene.map_x:.10g}, {scene.map_y:.10g} in {scene.crs}, pixels {size}", 4)
        say(f"column {scene.col:.3f}, row {scene.row:.3f} of the window read; {scene.kernel}", 4)
    _neighbours(scene.neighbours)


def _neighbours(neighbours: Sequence[Neighbour] | None) -> None:
    """Print values and weights: as they lie on the ground if they fit, else the heaviest."""
    if neighbours is None:
        say("made of too many source pixels to list", 6)
        return
    rows = sorted({n.row for n in neighbours})
    cols = sorted({n.col for n in neighbours})
    if len(cols) <= GRID_COLUMNS and len(rows) <= 2 * GRID_COLUMNS:
        at = {(n.row, n.col): _cell(n) for n in neighbours}
        line(f"{'':>8}" + "".join(f" {f'column {col}':>16}" for col in cols))
        for row in rows:
            line(f"{f'row {row}':>8}" + "".join(f" {at.get((row, col), ''):>16}" for col in cols))
        return
    heaviest = sorted(neighbours, key=lambda n: -max(abs(n.weight), abs(n.whole)))
    for n in heaviest[:LISTED]:
        line(f"column {n.col}, row {n.row}: {_cell(n)}")
    if len(heaviest) > LISTED:
        rest = sum(n.weight for n in heaviest[LISTED:])
        line(f"and {len(heaviest) - LISTED:,} lighter ones, weight {rest:.4f} together (all with --json)")


def _cell(n: Neighbour) -> str:
    return n.missing if n.value is None else f"{n.value:.4g} x {n.weight:.3f}"
