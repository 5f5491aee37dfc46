"""``build`` and ``plan``: parsing, showing, asking; the work is in the pipeline."""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from m3leo_prep.cli.render import ERR, print_json, print_table, progress, size
from m3leo_prep.core.errors import EXIT_INCOMPLETE, ConfigError
from m3leo_prep.core.plan import Plan, Unit
from m3leo_prep.core.recipe import Recipe
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.areas import load_area
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.recipes import load_recipe, recipe_names
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.ports.runner import Runner

ASK_ABOVE = 10 * 10**9
"""A build that may write more bytes than this asks first."""
SHOWN = 10
"""Damaged items that are named one by one."""
RUNNERS = ("threads", "processes")


def run_plan(aoi: str, recipe: str | None, *, layers: list[str] | None, yes: bool, as_json: bool) -> None:
    """Print the plan of a build."""
    chosen, base = _recipe(recipe)
    plan = make_plan(_only(chosen, layers), load_area(aoi, yes=yes), base=base, say=_say)
    _warn(plan)
    _show(plan, as_json=as_json)


def run_build(
    aoi: str,
    recipe: str | None,
    out: str | None,
    *,
    layers: list[str] | None,
    workers: int | None,
    memory: str | None,
    runner: str,
    refresh: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Build a dataset and check it; return the exit code."""
    from m3leo_prep.pipeline.build import build, check_same_dataset
    from m3leo_prep.pipeline.resources import default_workers, parse_bytes, work_bytes
    from m3leo_prep.pipeline.verify import verify

    limit = None if memory is None else parse_bytes(memory)
    chosen, base = _recipe(recipe)
    area = load_area(aoi, yes=yes)
    path = Path(out or f"{re.sub(r'[^A-Za-z0-9.-]+', '_', area.name)}-{chosen.name}")
    folder = DatasetFolder(path)
    folder.check_usable()
    n_workers = workers or default_workers(limit)
    run = _runner(runner, n_workers)
    _only(chosen, layers)
    previous = folder.frozen()
    plan = make_plan(chosen, area, base=base, previous=previous, refresh=refresh, say=_say)
    _warn(plan)
    if previous is not None:
        check_same_dataset(previous, plan, path)
        _tell_continued(previous, plan)
    if dry_run:
        _show(plan, as_json=as_json)
        return 0
    _ask(plan, path, named=out is not None, yes=yes)
    totals = Counter(unit.layer for unit in plan.units(None if layers is None else frozenset(layers)))
    with progress(dict(totals), "units") as bar:

        def on_unit(unit: Unit, record: object) -> None:
            bar.step(unit.layer, skipped=record is None)

        result = build(plan, path, runner=run, layers=layers, work_bytes=work_bytes(limit, n_workers), on_unit=on_unit)
    report = verify(path, quick=True)
    made: dict[str, Any] = {
        "path": str(path),
        "chips": len(plan.cells),
        "units_built": result.built,
        "units_done_before": result.skipped,
        "retryable_holes": result.retryable,
        "damaged": list(result.damaged),
        "verified": report.ok,
        "reasons": report.reasons,
    }
    if as_json:
        print_json(made)
    report.raise_if_bad()
    if not as_json:
        _tell_made(made)
    return EXIT_INCOMPLETE if result.retryable else 0


def _recipe(name: str | None) -> tuple[Recipe, Path]:
    if name is None:
        raise ConfigError("which recipe?", hint="--recipe with one of: " + ", ".join(recipe_names()))
    return load_recipe(name)


def _only(recipe: Recipe, layers: list[str] | None) -> Recipe:
    if layers is None:
        return recipe
    if not layers:
        raise ConfigError("--layers names no layer", hint="choose from: " + ", ".join(recipe.layers))
    for name in layers:
        if name not in recipe.layers:
            raise ConfigError(f"the recipe '{recipe.name}' has no layer '{name}'", hint=near(name, recipe.layers))
    return recipe.model_copy(update={"layers": {name: recipe.layers[name] for name in layers}})


def _runner(name: str, workers: int) -> Runner:
    if name == "processes":
        from m3leo_prep.runners.processes import Processes

        return Processes(workers)
    if name == "threads":
        from m3leo_prep.runners.threads import Threads

        return Threads(workers)
    raise ConfigError(f"there is no runner '{name}'", hint=near(name, RUNNERS))


def _say(line: str) -> None:
    ERR.print(line, style="dim")


def _warn(plan: Plan) -> None:
    for warning in plan.warnings:
        ERR.print(f"warning: {warning}", soft_wrap=True)


def _show(plan: Plan, *, as_json: bool) -> None:
    estimate = plan.estimate()
    if as_json:
        print_json(
            asdict(estimate) | {"raw_bytes": estimate.raw_bytes, "files": estimate.files, "area": plan.area.name}
        )
        return
    rows = []
    for row, layer in zip(estimate.layers, plan.layers, strict=True):
        arrays = layer.layer.arrays
        rows.append(
            (
                row.layer,
                layer.source.name,
                row.items,
                row.slots,
                sum(array.n_bands for array in arrays),
                f"{layer.layer.pitch:g} m",
                "/".join(dict.fromkeys(array.method for array in arrays)),
                "/".join(dict.fromkeys(array.statistic for array in arrays)),
                size(row.raw_bytes),
                row.files,
            )
        )
    print_table(
        f"{plan.recipe.name} over {plan.area.name}: {estimate.chips:,} chips, {size(estimate.raw_bytes)} before "
        f"compression, {estimate.files:,} shards",
        ("layer", "source", "items", "slots", "bands", "pixel", "kernel", "statistic", "raw", "shards"),
        rows,
    )


def _tell_continued(previous: Plan, plan: Plan) -> None:
    new = len(plan.cells) - len(previous.cells)
    if new:
        ERR.print(f"growing '{previous.area.name}' to '{plan.area.name}': {new:,} new chips, the old ones stay")
    for layer in plan.layers:
        old = next((p for p in previous.layers if p.layer.name == layer.layer.name), None)
        if old is None:
            ERR.print(f"new layer {layer.layer.name}")
        elif old.settings() != layer.settings():
            ERR.print(f"layer {layer.layer.name} has changed and is built again")
        elif [(i.id, i.version) for i in old.items] != [(i.id, i.version) for i in layer.items]:
            ERR.print(f"layer {layer.layer.name}: items went from {len(old.items):,} to {len(layer.items):,}")


def _ask(plan: Plan, path: Path, *, named: bool, yes: bool) -> None:
    """Show the plan and ask, where the folder was not named or much would be written.

    Raises:
        ConfigError: nobody can be asked.
    """
    estimate = plan.estimate()
    if yes or (named and estimate.raw_bytes <= ASK_ABOVE):
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"this would write up to {size(estimate.raw_bytes)} to {path}", hint="say --yes to go on")
    _show(plan, as_json=False)
    typer.confirm(f"Build it in {path}?", abort=True, err=True)


def _tell_made(made: dict[str, Any]) -> None:
    for layer, reasons in made["reasons"].items():
        found = ", ".join(f"{name.lower().replace('_', ' ')} {n:,}" for name, n in sorted(reasons.items()))
        ERR.print(f"  {layer}: {found}")
    for line in made["damaged"][:SHOWN]:
        ERR.print(f"  left out: {line}", soft_wrap=True)
    if len(made["damaged"]) > SHOWN:
        ERR.print(f"  and {len(made['damaged']) - SHOWN:,} more (--json lists all)")
    if made["retryable_holes"]:
        ERR.print(f"  {made['retryable_holes']:,} holes may fill: run the same command again")
    ERR.print(
        f"{made['chips']:,} chips in {made['path']}, verified. "
        f"Next: m3leo-prep verify {made['path']}   or   mp.open_dataset('{made['path']}')",
        soft_wrap=True,
    )
