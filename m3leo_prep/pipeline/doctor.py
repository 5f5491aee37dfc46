"""What works here and what does not: this machine, and what a recipe needs of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from m3leo_prep.core.errors import CredentialsError, MissingDependency, PrepError
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.raster import SourceInfo
from m3leo_prep.core.recipe import LayerModel, Recipe
from m3leo_prep.pipeline.machine import Finding, kernels, machine, packages
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.resolve import resolve_layer, source_spec
from m3leo_prep.ports.guarded import Guarded, guard
from m3leo_prep.ports.source import Probing, Source

__all__ = ["Finding", "examine"]


def examine(recipe: Recipe | None, base: Path | None, programs: Sequence[Finding] = ()) -> list[Finding]:
    """Return what was found, in reading order: the machine, the packages, then each layer of the recipe.

    Args:
        recipe: what shall be built; None looks at the machine alone.
        base: folder that the recipe's paths start from; None = the current one.
        programs: what was found of other programs that sources may need.
    """
    needed = frozenset() if recipe is None else frozenset({"build"})
    found = [*machine(Path.cwd()), *packages(needed=needed), kernels(), *programs]
    if recipe is not None:
        grid = Grid(recipe.grid.chip_px, recipe.grid.resolution)
        found += [_layer(name, model, grid, base or Path.cwd()) for name, model in recipe.layers.items()]
    return found


def _layer(name: str, model: LayerModel, grid: Grid, base: Path) -> Finding:
    """Return whether the layer's source can be made and, where it can tell, whether it answers."""
    title = f"layer {name}"
    try:
        source = open_source(source_spec(model, base))
        seen = _probe(model.source, source)
        info = source.describe()
        resolve_layer(name, model, info, grid, n_chips=1)
    except CredentialsError as error:
        step = error.hint or f"log in to {model.source}"
        return Finding(title, "fail", _told(error) + _others(name, model), step, is_login=True)
    except PrepError as error:
        step = error.hint if isinstance(error, MissingDependency) else error.hint or f"mend the layer '{name}'"
        return Finding(title, "fail", _told(error) + _others(name, model), step)
    return Finding(title, "ok", f"{model.source}: {seen or _described(info)}")


def _others(name: str, model: LayerModel) -> str:
    """Return which other sources the layer lists, and how one is taken."""
    others = [source for source in model.alternatives if source != model.source]
    return f"; other sources: {', '.join(f'--source {name}={other}' for other in others)}" if others else ""


def _probe(name: str, source: Source) -> str:
    """Return what the source tells of itself, or nothing if it cannot."""
    if isinstance(source, Guarded):
        with guard(name, "probe()"):
            return _probe(name, source.source)
    return source.probe() if isinstance(source, Probing) else ""


def _described(info: SourceInfo) -> str:
    return ", ".join(f"{v.name} ({', '.join(v.bands)})" if v.bands != (v.name,) else v.name for v in info.variables)


def _told(error: PrepError) -> str:
    return f"{error.where}: {error.message}" if error.where else error.message
