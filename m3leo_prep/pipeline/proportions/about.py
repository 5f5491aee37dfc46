"""What a recipe asks of label proportions, checked before anything is built, and told in the manifest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from m3leo_prep.core.area import Area
from m3leo_prep.core.defaults import is_computed
from m3leo_prep.core.layer import Layer
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.raster import Kind
from m3leo_prep.core.recipe import Recipe
from m3leo_prep.pipeline.proportions.admin import Admin, read_shapes
from m3leo_prep.pipeline.proportions.coverage import can_cover
from m3leo_prep.pipeline.proportions.groups import Target, array_of, find_targets
from m3leo_prep.pipeline.proportions.overlaps import check_disjoint


def check_proportions(recipe: Recipe, layers: Sequence[Layer], area: Area, base: Path) -> None:
    """Return if label columns and tables of units can be made as the recipe asks.

    Args:
        recipe: what is asked.
        layers: all of the plan.
        area: units that lie nowhere near it are of no concern.
        base: folder that the recipe's relative paths start from.

    Raises:
        ConfigError: unknown names or codes, more than 32 classes without groups, or an unusable file of units.
        MissingDependency: its format needs geopandas.
    """
    find_targets(layers, recipe.proportions)
    if recipe.admin is not None:
        names, shapes = read_shapes(recipe.admin, base)
        _, south, _, north = area.geometry.bounds
        wide = math.cos(math.radians(min(84.0, max(abs(south), abs(north)))))
        reach = area.geometry.buffer(2 * recipe.grid.chip_px * recipe.grid.resolution / 111_000 / wide)
        near = np.flatnonzero(shapely.intersects(shapes, reach))
        check_disjoint([names[k] for k in near.tolist()], shapes[near], f"admin {recipe.admin.path}")


def proportions_document(plan: Plan) -> dict[str, Any]:
    """Return what the manifest says of label columns: the least valid share, the codes of each class, what is not told.

    ``left_out``: layers whose classes have no names. ``not_of_units``: by column, why units have no values of their own
    but only those of their built chips.
    """
    targets = find_targets([layer.layer for layer in plan.layers], plan.recipe.proportions)
    told = {target.layer for target in targets}
    nameless = [
        layer.layer.name
        for layer in plan.layers
        if layer.layer.role == "label"
        and layer.layer.name not in told
        and any(array.variable.kind is Kind.CLASSES for array in layer.layer.arrays)
    ]
    return {
        "min_valid": plan.recipe.proportions.min_valid,
        "columns": {
            target.name: {
                "layer": target.layer,
                "what": target.what,
                "classes": {name: list(codes) for name, codes in target.classes.items()},
            }
            for target in targets
        },
        "left_out": nameless,
        "not_of_units": _not_of_units(plan, targets),
    }


def _not_of_units(plan: Plan, targets: Sequence[Target]) -> dict[str, str]:
    told = {}
    for target in targets if plan.recipe.admin is not None else ():
        array = array_of(plan.layer(target.layer).layer, target)
        if is_computed(array):
            told[target.name] = "it is computed from other values, chip by chip"
        elif not can_cover(array):
            told[target.name] = f"it is the {array.statistic} of several acquisitions, made chip by chip"
    return told


def admin_document(admin: Admin) -> dict[str, Any]:
    """Return what the manifest says of administrative units."""
    model = admin.model
    return {
        "name": model.name,
        "file": Path(model.path).name,
        "id": model.id,
        "n_units": len(admin.names),
        "slivers": admin.slivers,
    } | {key: told for key in ("licence", "citation") if (told := getattr(model, key))}
