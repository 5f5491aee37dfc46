"""The Python names of the package; thin, like the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.recipe import Recipe, parse_recipe
from m3leo_prep.core.sample import Sample
from m3leo_prep.pipeline.areas import load_area
from m3leo_prep.pipeline.plan import make_plan, with_sources_of
from m3leo_prep.pipeline.recipes import load_recipe, recipe_names
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.ports.runner import Runner
from m3leo_prep.ports.source import Source

if TYPE_CHECKING:
    from m3leo_prep.reader.dataset import Dataset


def plan(
    aoi: str | Area,
    recipe: str | Recipe | None = None,
    *,
    out: str | Path | None = None,
    sample: int | Sample | None = None,
    refresh: bool = False,
    sources: Mapping[str, Source] | None = None,
    yes: bool = False,
) -> Plan:
    """Return what will be built: chips, layers, items, units. Metadata only.

    Args:
        aoi: name, file, WKT, ``lon,lat,lon,lat`` box, or an ``Area``.
        recipe: shipped name, path of a YAML file, YAML text, or a ``Recipe``.
        out: a dataset folder whose frozen plan is continued, from the sources that it was begun with; a ``Recipe`` is
            taken as it is.
        sample: build only so many chips, spread over the area; a ``Sample`` also says by what, and the seed.
        refresh: with ``out``, ask the sources again for what they have.
        sources: your own sources as objects, by the name that a layer's ``source:`` says. They pickle. What is built
            is known by an object's class and ``describe().version``: objects whose pixels differ say different ones.
        yes: accept an area of more than 500 000 chips or with far-flung parts.

    Raises:
        ConfigError: anything that cannot be built as asked.
    """
    area = load_area(aoi, yes=yes) if isinstance(aoi, str) else aoi
    chosen, base = _recipe(recipe)
    previous = DatasetFolder(Path(out)).frozen() if out is not None else None
    if previous is not None and not isinstance(recipe, Recipe):
        chosen = with_sources_of(chosen, previous)
    drawn = Sample(sample) if isinstance(sample, int) else sample
    return make_plan(chosen, area, base=base, previous=previous, sample=drawn, refresh=refresh, sources=sources)


def _recipe(recipe: str | Recipe | None) -> tuple[Recipe, Path]:
    if recipe is None:
        raise ConfigError("no recipe given", hint="recipes: " + ", ".join(recipe_names()))
    if isinstance(recipe, Recipe):
        return recipe, Path.cwd()
    if "\n" in recipe:
        return parse_recipe(recipe), Path.cwd()
    return load_recipe(recipe)


def build(
    plan: Plan,
    out: str | Path,
    *,
    workers: int | None = None,
    layers: list[str] | None = None,
    runner: Runner | None = None,
    budget: Mapping[str, float] | None = None,
) -> Dataset:
    """Build what is not done yet, close the dataset, and return it.

    Args:
        plan: from ``plan``.
        out: folder; an earlier state of the same dataset is resumed or grown.
        workers: threads (default: one per core, more where a provider is waited for, as far as memory goes).
        layers: build only these now.
        runner: how units are run instead of in threads: ``Processes`` or ``Dask`` of ``m3leo_prep.runners``.
        budget: what this run may take from providers: ``requests``, ``gigabytes``, or a provider's own unit such as
            ``eecu-hours``. It does not begin if more is projected, and stops (``QuotaReached``) before it takes more.

    Raises:
        PrepError: see the error tree in ``m3leo_prep.core.errors``.
    """
    from m3leo_prep.pipeline.abilities import waits_for_providers
    from m3leo_prep.pipeline.build import build as run
    from m3leo_prep.pipeline.costing.budget import Budget
    from m3leo_prep.pipeline.resources import default_workers
    from m3leo_prep.reader.dataset import Dataset
    from m3leo_prep.runners.threads import Threads

    run(
        plan,
        Path(out),
        runner=runner or Threads(workers or default_workers(waits=waits_for_providers(plan, layers))),
        layers=layers,
        budget=None if budget is None else Budget(budget),
    )
    return Dataset(Path(out))
