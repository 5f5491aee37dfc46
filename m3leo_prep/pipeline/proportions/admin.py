"""The administrative units of a dataset: those of the recipe's file that its chips meet, and which chip is whose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.authalic import areas_km2
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.recipe import AdminModel
from m3leo_prep.core.splits.regions import largest_overlap
from m3leo_prep.pipeline.proportions.overlaps import Overlaps, check_disjoint, overlaps, owned_ground
from m3leo_prep.pipeline.sampling.admin import read_units

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Admin:
    """Units, in the order of their ids, and the ground that chips share with them."""

    model: AdminModel
    names: list[str]
    shapes: NDArray[np.object_]
    """(unit,) lon/lat polygons."""
    area: Floats
    """(unit,) km2."""
    pairs: Overlaps
    """Owned ground of chips in units."""
    bag: NDArray[np.int64]
    """(chip,) the unit that shares most ground with the chip, owned or not; -1 where none does."""
    slivers: int
    """Pairs of units that share ground, less than is an error."""


def admin_of(plan: Plan) -> Admin | None:
    """Return the units that a plan's chips meet, or None where the recipe names no file of units.

    Raises:
        ConfigError: the file cannot be read, has no such column, or units that overlap.
        MissingDependency: its format needs geopandas.
    """
    model = plan.recipe.admin
    if model is None:
        return None
    names, shapes = read_shapes(model, base_of(plan))
    grounds = owned_ground(plan.cells)
    pairs = overlaps(grounds, shapes)
    bag = largest_overlap(plan.cells, list(shapes))
    met = np.union1d(pairs.unit, bag[bag >= 0])
    slivers = check_disjoint([names[k] for k in met.tolist()], shapes[met], f"admin {model.path}")
    place = np.full(len(names), -1, np.int64)
    place[met] = np.arange(len(met))
    return Admin(
        model=model,
        names=[names[k] for k in met.tolist()],
        shapes=shapes[met],
        area=areas_km2(shapes[met]),
        pairs=Overlaps(pairs.chip, place[pairs.unit], pairs.area),
        bag=np.where(bag >= 0, place[bag], -1),
        slivers=slivers,
    )


def read_disjoint(model: AdminModel, base: Path) -> tuple[list[str], NDArray[np.object_], int]:
    """Return as ``read_shapes``, and how many pairs of units anywhere in the file share slivers.

    Raises:
        ConfigError: also two units that overlap.
        MissingDependency: the format needs geopandas.
    """
    names, shapes = read_shapes(model, base)
    return names, shapes, check_disjoint(names, shapes, f"admin {model.path}")


def read_shapes(model: AdminModel, base: Path) -> tuple[list[str], NDArray[np.object_]]:
    """Return ids and lon/lat polygons of the units of a file, sorted by id.

    Raises:
        ConfigError: the file cannot be read, or has no such column.
        MissingDependency: its format needs geopandas.
    """
    units = read_units(base / Path(model.path).expanduser(), model.id)
    shapes = np.empty(len(units), object)
    shapes[:] = list(units.values())
    return list(units), shapes


def base_of(plan: Plan) -> Path:
    """Return the folder that the recipe's relative paths start from."""
    return Path(plan.layers[0].source.base or ".")
