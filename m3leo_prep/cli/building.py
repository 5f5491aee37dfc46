"""``build`` and ``plan``: parsing, showing, asking; the work is in the pipeline."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from m3leo_prep.blobs.location import local_path
from m3leo_prep.cli.completing import DEFAULT_RECIPE
from m3leo_prep.cli.costing import costs_document, offers_document, print_costs, print_offers, short_source
from m3leo_prep.cli.render import ERR, print_json, print_table, progress, size
from m3leo_prep.cli.splitting import print_splits, splits_document, splits_in_words
from m3leo_prep.cli.watching import Following, Notifier, Units, stoppable
from m3leo_prep.core.defaults import is_count
from m3leo_prep.core.errors import EXIT_INCOMPLETE, ConfigError
from m3leo_prep.core.layer import Array
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.recipe import Recipe
from m3leo_prep.core.sample import Sample
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.areas import load_area
from m3leo_prep.pipeline.build import BuildResult, OnQuota
from m3leo_prep.pipeline.parts import Part, share
from m3leo_prep.pipeline.plan import make_plan, with_sources_of
from m3leo_prep.pipeline.recipes import load_recipe, recipe_names
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.todo import Forecast, Todo
from m3leo_prep.ports.runner import Runner

if TYPE_CHECKING:
    from m3leo_prep.pipeline.costing.projection import LayerCost

ASK_ABOVE = 10 * 10**9
"""A build that may write more bytes than this asks first."""
SHOWN = 10
"""Damaged items that are named one by one."""
RUNNERS = ("threads", "processes")


def run_plan(
    aoi: str,
    recipe: str | None,
    *,
    layers: list[str] | None,
    sources: list[str],
    sample: int | None,
    by: str | None,
    seed: int | None,
    skip_buffer: bool,
    measure: int,
    compare: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Print the plan of a build, or what each source that its layers list would take."""
    from m3leo_prep.pipeline.costing.comparison import compare as compare_sources
    from m3leo_prep.pipeline.costing.projection import check_layers, costs
    from m3leo_prep.pipeline.unit import WORK_BYTES

    chosen, base = _recipe(recipe)
    chosen = _from_sources(chosen, sources)
    _check_layers(chosen, layers)
    drawn = _sample(sample, by, seed)
    if compare:
        if measure:
            raise ConfigError("--compare measures nothing", hint="say --measure without it, and --source LAYER=NAME")
        area = load_area(aoi, yes=yes)
        with _quiet():
            offers = compare_sources(
                chosen,
                area,
                base=base,
                work_bytes=WORK_BYTES,
                layers=layers,
                sample=drawn,
                skip_buffer=skip_buffer,
                say=_say,
            )
        if as_json:
            print_json({"area": area.name, "offers": offers_document(offers)})
        else:
            print_offers(offers)
        return
    with _quiet():
        plan = make_plan(
            chosen,
            load_area(aoi, yes=yes),
            base=base,
            sample=drawn,
            skip_buffer=skip_buffer,
            only=layers,
            say=_say,
        )
        rows = costs(plan, work_bytes=WORK_BYTES, measure=measure, say=_say)
    check_layers(rows, measure)
    _warn(plan)
    _show(plan, rows, as_json=as_json)


def run_build(
    aoi: str,
    recipe: str | None,
    out: str | None,
    *,
    layers: list[str] | None,
    sources: list[str],
    workers: int | None,
    memory: str | None,
    runner: str,
    dask: str | None,
    part: str | None,
    sample: int | None,
    by: str | None,
    seed: int | None,
    skip_buffer: bool,
    on_quota: str,
    budget: list[str],
    notify: str | None,
    refresh: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Build a dataset and check it; return the exit code."""
    from m3leo_prep.pipeline.abilities import waits_for_providers
    from m3leo_prep.pipeline.build import build, check_same_dataset, freeze_for_parts
    from m3leo_prep.pipeline.costing.budget import Budget
    from m3leo_prep.pipeline.resources import default_workers, parse_bytes, work_bytes
    from m3leo_prep.store.lock import planning

    limit = None if memory is None else parse_bytes(memory)
    owned = None if part is None else Part.parse(part)
    waits = _on_quota(on_quota)
    allowed = Budget.parse(budget) if budget else None
    chosen, base = _recipe(recipe)
    chosen = _from_sources(chosen, sources)
    area = load_area(aoi, yes=yes)
    path = Path(out or f"{re.sub(r'[^A-Za-z0-9.-]+', '_', area.name)}-{chosen.name}")
    folder = DatasetFolder(path)
    folder.check_usable()
    with Notifier(None if dry_run else notify, path) as news:
        cluster = None if dask is None else _cluster(dask, path)
        if runner not in RUNNERS:
            raise ConfigError(f"there is no runner '{runner}'", hint=near(runner, RUNNERS))
        _check_layers(chosen, layers)
        drawn = _sample(sample, by, seed)
        # The first part plans; the others wait, and find its plan instead of asking the sources again.
        with _quiet(), planning(folder.state) if owned and not dry_run else nullcontext():
            previous = folder.frozen()
            if previous is not None:
                chosen = _from_sources(with_sources_of(chosen, previous), sources)
            plan = make_plan(
                chosen,
                area,
                base=base,
                previous=previous,
                refresh=refresh,
                sample=drawn,
                skip_buffer=skip_buffer,
                say=_say,
            )
            _warn(plan)
            n_workers = workers or default_workers(limit, waits=waits_for_providers(plan, layers))
            look = partial(_outlook, plan, folder, layers, owned, work_bytes(limit, n_workers))
            if previous is not None:
                check_same_dataset(previous, plan, path)
                _tell_continued(previous, plan)
            if not dry_run:
                _tell_splits(plan)
                _ask(plan, path, lambda: look()[1], named=None not in {out, recipe}, yes=yes)
                if owned:
                    freeze_for_parts(folder, plan)
        if dry_run:
            with _quiet():
                todo, rows = look()
            if allowed is not None:
                allowed.check_names(rows)
                allowed.check(rows)
            _show(plan, rows, as_json=as_json, forecasts=todo.forecasts if previous else ())
            return 0
        units = share(plan, frozenset(layers or chosen.layers), owned)
        totals = dict(Counter(unit.layer for unit in units))
        with stoppable() as stop, progress(totals, "units") as bar:
            watch = Following(bar, news, stop, is_continued=previous is not None)
            with _quiet():
                result = build(
                    plan,
                    path.absolute() if dask else path,
                    runner=cluster or _runner(runner, n_workers),
                    layers=layers,
                    part=owned,
                    on_quota=waits,
                    work_bytes=work_bytes(limit, n_workers),
                    budget=allowed,
                    watch=watch,
                )
        made: dict[str, Any] = {"part": part} | _figures(result, len(plan.cells))
        if owned is None:
            news.code = _checked(made, path, as_json=as_json)
            return news.code
        if as_json:
            print_json(made)
        else:
            _tell_holes(made)
            ERR.print(
                f"part {part} is built: {result.built:,} shards made, {result.skipped:,} done before. "
                f"When all parts are: m3leo-prep finalize {path}",
                soft_wrap=True,
            )
        news.code = EXIT_INCOMPLETE if result.retryable else 0
        return news.code


def run_finalize(dataset: str, *, layers: list[str] | None, as_json: bool) -> int:
    """Close a dataset that was built in parts, check it, and return the exit code."""
    from m3leo_prep.pipeline.build import close

    path = local_path(dataset)
    with ERR.status("closing"):
        result = close(path, layers, watch=Units())
    plan = DatasetFolder(path).frozen()
    assert plan is not None, "it was just closed"
    return _checked(_figures(result, len(plan.cells)), path, as_json=as_json)


def _figures(result: BuildResult, n_chips: int) -> dict[str, Any]:
    return {
        "path": str(result.path),
        "chips": n_chips,
        "units_built": result.built,
        "units_done_before": result.skipped,
        "retryable_holes": result.retryable,
        "damaged": list(result.damaged),
    }


def _checked(made: dict[str, Any], path: Path, *, as_json: bool) -> int:
    """Verify what was closed, tell it, and return the exit code."""
    from m3leo_prep.pipeline.verify import verify

    with _quiet():
        report = verify(path, quick=True)
    made |= {"verified": report.ok, "reasons": report.reasons}
    if as_json:
        print_json(made)
    report.raise_if_bad()
    if not as_json:
        _tell_made(made)
    return EXIT_INCOMPLETE if made["retryable_holes"] else 0


def _quiet() -> AbstractContextManager[object]:
    """A context in which whatever a source prints goes to standard error: standard output may carry JSON."""
    return redirect_stdout(sys.stderr)


def _sample(n: int | None, by: str | None, seed: int | None) -> Sample | None:
    if n is not None:
        return Sample(n, by or "blocks", seed or 0)
    if by is not None or seed is not None:
        raise ConfigError("--by and --seed say how a sample is drawn", hint="say --sample N, too")
    return None


def _on_quota(text: str) -> OnQuota:
    if text == "wait":
        return "wait"
    if text == "stop":
        return "stop"
    raise ConfigError(f"--on-quota is wait or stop, not '{text}'", hint=near(text, ("wait", "stop")))


def _outlook(
    plan: Plan, folder: DatasetFolder, layers: list[str] | None, part: Part | None, memory: int
) -> tuple[Todo, tuple[LayerCost, ...]]:
    """Return what a build would do, and what that takes from providers; nothing is written."""
    from m3leo_prep.pipeline.costing.projection import costs
    from m3leo_prep.pipeline.todo import find_todo

    chosen = frozenset(layers or plan.recipe.layers)
    todo = find_todo(plan, share(plan, chosen, part), folder.ledger.records(), folder.blobs)
    return todo, costs(plan, todo.tasks, layers=chosen, blobs=folder.blobs, work_bytes=memory)


def _recipe(name: str | None) -> tuple[Recipe, Path]:
    if name is None:
        ERR.print(f"no --recipe: {DEFAULT_RECIPE}; there are {', '.join(recipe_names())}", soft_wrap=True)
    return load_recipe(name or DEFAULT_RECIPE)


def _from_sources(recipe: Recipe, chosen: Sequence[str]) -> Recipe:
    """Return the recipe with the sources that ``--source LAYER=NAME`` says."""
    for text in chosen:
        layer, sign, source = text.partition("=")
        if not sign:
            raise ConfigError(f"--source is LAYER=NAME, not '{text}'", hint="such as --source s2=gee")
        recipe = recipe.with_source(layer, source)
    return recipe


def _check_layers(recipe: Recipe, layers: list[str] | None) -> None:
    if layers is None:
        return
    if not layers:
        raise ConfigError("--layers names no layer", hint="choose from: " + ", ".join(recipe.layers))
    for name in layers:
        if name not in recipe.layers:
            raise ConfigError(f"the recipe '{recipe.name}' has no layer '{name}'", hint=near(name, recipe.layers))


def _cluster(address: str, path: Path) -> Runner:
    from m3leo_prep.runners.dask import Dask

    cluster = Dask(address, path.absolute())
    if not cluster.check():
        ERR.print("the cluster has no workers yet: the build starts with the first")
    return cluster


def _runner(name: str, workers: int) -> Runner:
    """Return the runner of this machine that one of ``RUNNERS`` names."""
    if name == "processes":
        from m3leo_prep.runners.processes import Processes

        return Processes(workers)
    from m3leo_prep.runners.threads import Threads

    return Threads(workers)


def _say(line: str) -> None:
    ERR.print(line, style="dim")


def _warn(plan: Plan) -> None:
    for warning in plan.warnings:
        ERR.print(f"warning: {warning}", soft_wrap=True)


def _show(plan: Plan, rows: Sequence[LayerCost], *, as_json: bool, forecasts: tuple[Forecast, ...] = ()) -> None:
    estimate = plan.estimate()
    if as_json:
        figures = {"raw_bytes": estimate.raw_bytes, "files": estimate.files, "area": plan.area.name}
        figures |= {"splits": splits_document(plan), "skip_buffer": plan.skip_buffer}
        figures |= {"costs": costs_document(rows), "warnings": list(plan.warnings)}
        figures["layers"] = [
            asdict(row) | {"source": layer.source.name} for row, layer in zip(estimate.layers, plan.layers, strict=True)
        ]
        print_json(asdict(estimate) | figures | {"changes": [asdict(forecast) for forecast in forecasts]})
        return
    for forecast in forecasts:
        ERR.print(str(forecast), soft_wrap=True)
    table = []
    for row, layer in zip(estimate.layers, plan.layers, strict=True):
        arrays = layer.layer.arrays
        table.append(
            (
                row.layer,
                short_source(layer.source.name),
                row.items,
                row.slots,
                sum(array.n_bands for array in arrays),
                f"{layer.layer.pitch:g} m",
                ", ".join("/".join(dict.fromkeys(said)) for said in _ways(arrays)),
                size(row.raw_bytes),
                row.files,
            )
        )
    print_table(
        f"{plan.recipe.name} over {plan.area.name}: {estimate.chips:,} chips, {size(estimate.raw_bytes)} before "
        f"compression, {estimate.files:,} shards",
        ("layer", "source", "items", "slots", "bands", "pixel", "kernel, statistic", "raw", "shards"),
        table,
    )
    print_costs(rows)
    print_splits(plan)


def _ways(arrays: Sequence[Array]) -> tuple[list[str], list[str]]:
    """Return the kernels and the statistics of a layer's arrays, but for counts, which have none of their own."""
    made = [array for array in arrays if not is_count(array)]
    return [array.method for array in made], [str(array.statistic) for array in made]


def _tell_splits(plan: Plan) -> None:
    for line in splits_in_words(plan):
        ERR.print(line, soft_wrap=True)


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


def _ask(plan: Plan, path: Path, rows: Callable[[], Sequence[LayerCost]], *, named: bool, yes: bool) -> None:
    """Show the plan and ask, where folder or recipe were not named or much would be written.

    Raises:
        ConfigError: nobody can be asked.
    """
    estimate = plan.estimate()
    if yes or (named and estimate.raw_bytes <= ASK_ABOVE):
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"this would write up to {size(estimate.raw_bytes)} to {path}", hint="say --yes to go on")
    with _quiet():
        found = rows()
    _show(plan, found, as_json=False)
    typer.confirm(f"Build it in {path}?", abort=True, err=True)


def _tell_made(made: dict[str, Any]) -> None:
    for layer, reasons in made["reasons"].items():
        found = ", ".join(f"{name.lower().replace('_', ' ')} {n:,}" for name, n in sorted(reasons.items()))
        ERR.print(f"  {layer}: {found}")
    _tell_holes(made)
    ERR.print(
        f"{made['chips']:,} chips in {made['path']}, verified. "
        f"Next: m3leo-prep show {made['path']} 0   or   mp.open_dataset('{made['path']}')",
        soft_wrap=True,
    )


def _tell_holes(made: dict[str, Any]) -> None:
    for line in made["damaged"][:SHOWN]:
        ERR.print(f"  left out: {line}", soft_wrap=True)
    if len(made["damaged"]) > SHOWN:
        ERR.print(f"  and {len(made['damaged']) - SHOWN:,} more (--json lists all)")
    if made["retryable_holes"]:
        ERR.print(f"  {made['retryable_holes']:,} holes may fill: run the same command again")
