"""Drawing a sample: which of an area's cells are built, and how a sampled dataset goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.plan import LayerPlan, Plan, SourceSpec
from m3leo_prep.core.raster import Kind
from m3leo_prep.core.recipe import Recipe
from m3leo_prep.core.sample import DEAR_EDGE, EDGE, NO_STRATUM, Clusters, Sample, clusters_of, equal_strata, take
from m3leo_prep.pipeline.items import find_items
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.resolve import resolve_layer
from m3leo_prep.pipeline.sampling.admin import locate, read_units

Say = Callable[[str], None]


def continued(previous: Plan, sample: Sample | None, *, say: Say) -> Sample | None:
    """Return the sample with which a dataset goes on: its own, or a larger one of the same kind.

    Raises:
        ConfigError: the dataset is no sample, or one that was drawn in another way, or larger.
    """
    old = previous.sample
    if old is None:
        if sample is not None:
            raise ConfigError(
                f"the dataset holds all of '{previous.area.name}', no sample of it",
                hint="leave --sample away, or give another --out",
            )
        return None
    if sample is None:
        say(f"going on with the sample that the dataset was drawn with: {old}")
        return old
    if not sample.grows(old):
        raise ConfigError(
            f"the dataset was drawn with {old}, which {sample} does not continue",
            hint="a sample only grows: the same --by and --seed and no smaller number, or give another --out",
        )
    return replace(sample, edge=old.edge)


def draw(
    recipe: Recipe,
    area: Area,
    cells: Cells,
    sample: Sample,
    *,
    specs: Mapping[str, SourceSpec],
    base: Path,
    previous: Plan | None = None,
    say: Say = lambda _: None,
) -> tuple[Cells, Sample]:
    """Return the cells that are drawn, in their order, and the sample with the edge of its clusters.

    Args:
        recipe: names the class layer and the administrative units.
        area: of the cells.
        cells: all of the area's.
        sample: how to draw.
        specs: the layers' sources.
        base: folder that the recipe's relative paths start from.
        previous: a dataset that is continued: what it holds is drawn already.
        say: receives one line per step.

    Raises:
        ConfigError: the area has too few cells, or the recipe no class layer or units to sample by.
    """
    if previous is not None and (sample, area.geometry) == (previous.sample, previous.area.geometry):
        return previous.cells, sample
    if sample.n > len(cells):
        raise ConfigError(
            f"a sample of {sample.n:,} chips was asked for, '{area.name}' has {len(cells):,}",
            hint="give a smaller --sample or a larger --aoi, or leave --sample away to build all",
        )
    edge = sample.edge or (DEAR_EDGE if any(open_source(s).describe().dear_blocks for s in specs.values()) else EDGE)
    clusters = clusters_of(cells, edge)
    order = clusters.order(sample.seed)
    chosen: Iterator[int] | NDArray[np.int64] = order
    among = "are there"
    if sample.by == "admin":
        strata, among = _units(recipe, clusters, cells.grid.cell_m, base, say)
        chosen = equal_strata(order, clusters.sizes, lambda some: strata[some], first_stage=len(order))
    elif sample.by == "landcover":
        majority, among = _majority(recipe, area, cells, clusters, specs, say)
        chosen = equal_strata(order, clusters.sizes, majority)
    drawn = take(clusters, chosen, sample.n, None if previous is None else _among(cells, previous.cells))
    n_drawn = int(drawn.sum())
    if n_drawn < sample.n:
        raise ConfigError(
            f"a sample of {sample.n:,} chips was asked for, only {n_drawn:,} of '{area.name}' {among}",
            hint="give a smaller --sample, or draw it --by blocks",
        )
    n_clusters = len(np.unique(clusters.member[drawn]))
    say(f"drew {n_drawn:,} of {len(cells):,} chips: {n_clusters:,} clusters of up to {edge} x {edge}, by {sample.by}")
    if previous is not None and n_drawn == len(previous.cells):
        say("the dataset holds as many chips already: give a larger --sample to grow it")
    return cells[drawn], replace(sample, edge=edge)


def places(cells: Cells) -> list[tuple[int, int, int]]:
    """Return (epsg, col, row) of each cell."""
    return list(zip(cells.epsg.tolist(), cells.col.tolist(), cells.row.tolist(), strict=True))


def _among(cells: Cells, some: Cells) -> NDArray[np.bool_]:
    """Return which cells are among some others."""
    known = set(places(some))
    return np.array([place in known for place in places(cells)])


def _units(recipe: Recipe, clusters: Clusters, cell_m: float, base: Path, say: Say) -> tuple[NDArray[np.int64], str]:
    """Return (cluster,) the unit at each cluster's centre, and words for where clusters of a sample are."""
    if recipe.admin is None:
        raise ConfigError(
            "the recipe names no administrative units to sample by",
            where=f"recipe {recipe.name}",
            hint="add `admin: {path: units.geojson, id: COLUMN}`, or draw --by blocks",
        )
    units = read_units(base / Path(recipe.admin.path).expanduser(), recipe.admin.id)
    found = locate(units, *clusters.centres(cell_m))
    none = int((found == NO_STRATUM).sum())
    if none:
        say(f"{none:,} of {len(clusters):,} clusters have their centre in no unit of {recipe.admin.path}: not drawn")
    return found, f"are in clusters whose centre lies in a unit of {recipe.admin.path}"


def _majority(
    recipe: Recipe, area: Area, cells: Cells, clusters: Clusters, specs: Mapping[str, SourceSpec], say: Say
) -> tuple[Callable[[NDArray[np.int64]], NDArray[np.int64]], str]:
    """Return what tells the majority class of clusters, and words for where clusters of a sample are."""
    from m3leo_prep.pipeline.resources import default_workers
    from m3leo_prep.pipeline.sampling.majority import Majority  # numba: a plan without pixels does not need it

    for name, model in recipe.layers.items():
        source = open_source(specs[name])
        info = source.describe()
        if model.statistic != "count" and any(variable.kind is Kind.CLASSES for variable in info.variables):
            break
    else:
        raise ConfigError(
            "the recipe has no layer of classes to sample by",
            where=f"recipe {recipe.name}",
            hint="add one (a land cover map), or draw --by blocks",
        )
    layer = resolve_layer(name, model, info, cells.grid, n_chips=len(cells))
    items = find_items(source, area, layer, max(layer.pitch, info.pitch or 0.0))
    plan = LayerPlan(layer, specs[name], info.version, {}, items, pitch=info.pitch)
    return Majority(plan, cells, clusters, default_workers(), say), f"are in clusters with a class in {name}"
