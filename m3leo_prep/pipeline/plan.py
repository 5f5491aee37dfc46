"""From a recipe and an area to a plan: chips, layers, items, units. Metadata only, no pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from m3leo_prep.core.area import Area
from m3leo_prep.core.defaults import is_computed, is_terrain
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.core.layer import Layer
from m3leo_prep.core.plan import NOT_IN_DIGEST, LayerPlan, Plan, SourceSpec, digest_of
from m3leo_prep.core.recipe import Recipe
from m3leo_prep.core.sample import Sample
from m3leo_prep.pipeline.abilities import advice, bare
from m3leo_prep.pipeline.derive import check_clouds
from m3leo_prep.pipeline.heights import SUFFIX, check_datum, check_dem, check_heights
from m3leo_prep.pipeline.items import find_items, merged, reaching, with_new_slots
from m3leo_prep.pipeline.origins import Objects, edited_sources, open_source
from m3leo_prep.pipeline.proportions.about import check_proportions
from m3leo_prep.pipeline.resolve import resolve_layer, source_spec
from m3leo_prep.pipeline.sampling.draw import continued, draw, places
from m3leo_prep.pipeline.splitting.planned import check_stratify, plan_splits, skips_buffer

Progress = Callable[[str], None]
MAX_FILES = 100_000
MAX_ENTRIES = 10_000
"""What a Hugging Face repository and one of its folders take (Hub documentation, repository recommendations)."""


def make_plan(
    recipe: Recipe,
    area: Area,
    *,
    base: Path,
    previous: Plan | None = None,
    sample: Sample | None = None,
    skip_buffer: bool = False,
    only: Collection[str] | None = None,
    refresh: bool = False,
    sources: Objects | None = None,
    say: Progress = lambda _: None,
) -> Plan:
    """Return what will be built.

    Args:
        recipe: what is asked.
        area: where.
        base: folder that the recipe's relative paths start from.
        previous: the frozen plan of the dataset that is continued or grown; its rows stay, its items are not
            asked for again.
        sample: build only so many chips of the area, spread over it. A sampled dataset that is continued without
            one keeps its own; with one it may only grow.
        skip_buffer: leave out chips that lie too near to another split. A dataset that was begun so goes on so.
        only: layers to look at, in a plan that nobody builds; splits are those of the whole recipe. None = all.
        refresh: ask the sources again for all items.
        sources: sources given as objects, by the name that a layer's ``source:`` says.
        say: receives one line per step.

    Raises:
        ConfigError: nothing to build, an unknown name, or settings that cannot work together.
    """
    if recipe.grid.tiling != "utm":
        raise ConfigError(
            f"the tiling '{recipe.grid.tiling}' only lists chips and ids so far",
            hint="build with `tiling: utm`",
        )
    grid = Grid(recipe.grid.chip_px, recipe.grid.resolution)
    say(f"tiling {area.name}")
    cells = grid.cells(area.geometry)
    if len(cells) == 0:
        raise ConfigError(f"the area '{area.name}' meets no chip", hint="is it empty, or smaller than a point?")
    if previous is not None:
        sample = continued(previous, sample, say=say)
    specs = {name: source_spec(model, base, sources) for name, model in recipe.layers.items()}
    splits = plan_splits(recipe, area, cells, specs, base=base, previous=previous, say=say)
    area_cells, skip_buffer = cells, skips_buffer(previous, splits, skip_buffer=skip_buffer, say=say)
    if skip_buffer:
        cells = splits.without_buffer(cells)
    if sample is not None:
        cells, sample = draw(recipe, area, cells, sample, specs=specs, base=base, previous=previous, say=say)
    if previous is not None:
        cells = _grown(previous, cells, area)
    layers = []
    for name in recipe.layers:
        if only is not None and name not in only:
            continue
        say(f"looking for items of {name}")
        layers.append(
            _plan_layer(
                name,
                recipe,
                grid,
                cells,
                area,
                specs,
                previous,
                refresh=refresh,
                is_sampled=sample is not None,
            )
        )
    if only is None:
        check_proportions(recipe, [layer.layer for layer in layers], area, base)
        check_stratify(recipe, [layer.layer for layer in layers])
    plan = Plan(
        recipe,
        area,
        grid,
        cells,
        tuple(layers),
        (
            *area.warnings,
            *splits.warnings,
            *splits.missing(area_cells, cells),
            *(line for layer in layers for line in advice(layer)),
        ),
        sample,
        splits=splits.policy,
        split=splits.of(area_cells, cells),
        regions=splits.regions,
        buffer_loss=splits.loss,
        skip_buffer=skip_buffer,
    )
    if previous is not None:
        plan = replace(plan, warnings=(*plan.warnings, *edited_sources(previous, plan)))
    _check_limits(plan)
    return plan


def with_sources_of(recipe: Recipe, previous: Plan) -> Recipe:
    """Return the recipe with the sources that a dataset was begun with, where it lists several.

    For who continues it without saying a source: the first one would take the place of the one that was chosen, and
    all of the layer be built again.
    """
    for layer in previous.layers:
        model = recipe.layers.get(layer.layer.name)
        if model is not None and layer.source.name in model.alternatives:
            recipe = recipe.with_source(layer.layer.name, layer.source.name)
    return recipe


def _check_limits(plan: Plan) -> None:
    """Raise ConfigError if the dataset could not be published: too many files, or too many in one folder."""
    files = plan.estimate().files
    entries = max((math.ceil(len(plan.cells) / layer.layer.shard_chips) for layer in plan.layers), default=0)
    if files > MAX_FILES or entries > MAX_ENTRIES:
        raise ConfigError(
            f"{files:,} shards, {entries:,} in one folder: a repository takes {MAX_FILES:,} files, "
            f"{MAX_ENTRIES:,} in a folder",
            hint="build the area in parts, or fewer layers to a dataset: readers join several",
        )


def _grown(previous: Plan, cells: Cells, area: Area) -> Cells:
    """Return the old rows followed by the new cells, so that no row ever moves."""
    old, new = places(previous.cells), places(cells)
    if old == new:
        return previous.cells
    missing = len(set(old) - set(new))
    if missing:
        raise ConfigError(
            f"the dataset holds '{previous.area.name}' with {missing:,} chips outside '{area.name}'",
            hint="a dataset only grows: give an area that contains the old one, or another --out",
        )
    known = set(old)
    fresh = np.array([key not in known for key in new])
    added = cells[fresh]
    return Cells(
        cells.grid,
        np.concatenate([previous.cells.epsg, added.epsg]),
        np.concatenate([previous.cells.col, added.col]),
        np.concatenate([previous.cells.row, added.row]),
    )


def _plan_layer(
    name: str,
    recipe: Recipe,
    grid: Grid,
    cells: Cells,
    area: Area,
    specs: Mapping[str, SourceSpec],
    previous: Plan | None,
    *,
    refresh: bool,
    is_sampled: bool,
) -> LayerPlan:
    where = f"layer {name}"
    model, spec = recipe.layers[name], specs[name]
    source = open_source(spec)
    info = source.describe()
    old = next((p for p in previous.layers if p.layer.name == name), None) if previous else None
    layer = resolve_layer(
        name, model, info, grid, n_chips=len(cells), codec=recipe.codec(name), old=old.layer if old else None
    )
    native = max(layer.pitch, info.pitch or 0.0)
    heights = None
    if check_dem(name, recipe.layers, info, bare(spec)) is not None:
        reach = native + info.ground_reach
        heights = _plan_heights(layer, reach, model.dem or "", recipe, specs, grid, cells, area)
        check_datum(spec, heights.layer)
    plan = LayerPlan(
        layer=layer,
        source=spec,
        source_version=info.version,
        op_versions=_op_versions(layer),
        items=(),
        licence=info.licence,
        citation=info.citation,
        pitch=info.pitch,
        heights=heights,
        ground_reach=info.ground_reach,
    )
    if plan.heights is not None and old is not None and old.heights is not None and not refresh:
        plan = replace(plan, heights=_kept_heights(plan.heights, old.heights, cells, previous))
    kept = (
        not refresh
        and old is not None
        and _same_place(old.source, spec)
        and digest_of(old.settings()) == digest_of(plan.settings())
    )
    if kept and old is not None and previous is not None:
        items = old.items
        if len(cells) > len(previous.cells):
            items = merged(items, find_items(source, area, layer, native))
        elif layer.slots != old.layer.slots:
            items = with_new_slots(items, find_items(source, area, layer, native), old.layer.slots, layer.slots)
    else:
        items = find_items(source, area, layer, native)
    if is_sampled:
        items = reaching(items, cells, layer, native)
    if not info.composites:
        check_clouds(layer, items)
    if not items:
        there = f"the sampled chips of '{area.name}'" if is_sampled else f"'{area.name}'"
        raise ConfigError(
            f"source '{model.source}' has nothing in {there} for {_span(layer)}",
            where=where,
            hint="check the area, the slots, and the files or product of this layer",
        )
    return replace(plan, items=items)


def _plan_heights(
    layer: Layer,
    reach: float,
    dem: str,
    recipe: Recipe,
    specs: Mapping[str, SourceSpec],
    grid: Grid,
    cells: Cells,
    area: Area,
) -> LayerPlan:
    """Return the plan of the heights behind a layer: on its lattice, with what is beside it in the recipe.

    Args:
        layer: the other layer.
        reach: metres around its chips where heights are asked for, too: its largest pixel, and what the source says.
        dem: name of the layer of heights.
        recipe: the recipe.
        specs: of its sources.
        grid: the chip grid.
        cells: the chips.
        area: the area.
    """
    spec = specs[dem]
    source = open_source(spec)
    info = source.describe()
    # Only its height, on the other layer's lattice, whatever else the recipe makes of it.
    update = {"resolution": layer.pitch, "terrain": None, "counts": False, "encoding": None, "band_chunk": None}
    model = recipe.layers[dem].model_copy(update=update)
    made = resolve_layer(layer.name + SUFFIX, model, info, grid, n_chips=len(cells))
    check_heights(made, where=f"layer {layer.name}", dem=dem)
    return LayerPlan(
        layer=made,
        source=spec,
        source_version=info.version,
        op_versions=_op_versions(made),
        items=find_items(source, area, made, reach + max(layer.pitch, info.pitch or 0.0)),
        licence=info.licence,
        citation=info.citation,
        pitch=info.pitch,
    )


def _kept_heights(new: LayerPlan, old: LayerPlan, cells: Cells, previous: Plan | None) -> LayerPlan:
    """Return the heights with the items that are frozen, and those of new ground besides."""
    if not _same_place(old.source, new.source) or digest_of(old.settings()) != digest_of(new.settings()):
        return new
    grown = previous is not None and len(cells) > len(previous.cells)
    return replace(new, items=merged(old.items, new.items) if grown else old.items)


def _same_place(one: SourceSpec, other: SourceSpec) -> bool:
    """Return whether two sources read the same files: what the digest leaves out, because items tell it."""
    same = all(one.options.get(key) == other.options.get(key) for key in NOT_IN_DIGEST)
    return same and (one.base == other.base or not NOT_IN_DIGEST & one.options.keys())


def _span(layer: Layer) -> str:
    return "any time" if layer.is_static else f"{layer.slots[0].label} to {layer.slots[-1].label}"


def _op_versions(layer: Layer) -> dict[str, int]:
    # Imported here: the operations need numba, which only a build needs.
    from m3leo_prep.ops import composite, join, medoid, terrain, warp

    read = [array for array in layer.arrays if not is_computed(array)]
    versions = {f"warp.{array.method}": warp.VERSIONS[warp.Method(array.method)] for array in read}
    if any(is_terrain(array) for array in layer.arrays):
        versions["terrain"] = terrain.VERSION
    if any(array.statistic == "medoid" for array in read):
        versions["medoid"] = medoid.VERSION
    return versions | {"composite": composite.VERSION, "join": join.VERSION}
