"""Heights of the ground for sources that need them: the layer that ``dem:`` names, brought to any pixels asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.layer import Layer
from m3leo_prep.core.plan import LayerPlan, SourceSpec
from m3leo_prep.core.raster import Item, Kind, SourceInfo
from m3leo_prep.core.recipe import LayerModel
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.abilities import asked, bare
from m3leo_prep.pipeline.derive import derive
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.resolve import METRES
from m3leo_prep.pipeline.task import ground_items, near_ground
from m3leo_prep.ports.heights import Heights, OnDatum, OnHeights

KEPT = 4
"""Grids of which heights are kept, each as large as a window; ``windows.GROUND_BYTES`` counts them."""
T = TypeVar("T")
SUFFIX = ".dem"
"""Ends the name of a layer of heights that stands behind another layer; no layer of a recipe has a dot."""
HINT = (
    "name a layer of the recipe that holds heights in m: `dem: NAME`; any source will do, such as "
    "`NAME: {source: local, path: heights/, kind: continuous, unit: m}`"
)


def check_dem(name: str, layers: Mapping[str, LayerModel], info: SourceInfo, source: object) -> LayerModel | None:
    """Return the layer of heights that layer ``name`` says, None if it needs none.

    Raises:
        ConfigError: it needs heights and says none, says a layer that is not there, or needs none and says one.
    """
    where, dem = f"layer {name}", layers[name].dem
    if dem is None:
        if info.on_heights:
            raise ConfigError(
                f"{', '.join(info.on_heights)} cannot be given without heights: where and how radar sees a place "
                "depends on the height of its ground",
                where=where,
                hint=HINT,
            )
        return None
    if dem not in layers or dem == name:
        raise ConfigError(f"dem: the recipe has no other layer '{dem}'", where=where, hint=near(dem, layers))
    if not isinstance(source, OnHeights):
        raise ConfigError(f"dem: source '{layers[name].source}' uses no heights", where=where, hint="remove `dem:`")
    return layers[dem]


def check_heights(layer: Layer, *, where: str, dem: str) -> None:
    """Raise ConfigError if a layer is not one static height in metres."""
    found = [array.variable for array in layer.arrays if array.variable.kind is Kind.CONTINUOUS]
    if not layer.is_static or len(found) != 1 or len(found[0].bands) != 1 or found[0].unit not in METRES:
        said = ", ".join(f"'{a.variable.name}' ({a.variable.kind}, {a.variable.unit})" for a in layer.arrays)
        raise ConfigError(
            f"dem: '{dem}' is not one static height in m; it has {said}",
            where=where,
            hint="one continuous band without slots, whose unit is m",
        )


def check_datum(spec: SourceSpec, heights: Layer) -> None:
    """Raise ConfigError or MissingDependency if a source cannot use heights above what these are above."""
    source = bare(spec)
    if isinstance(source, OnDatum):
        asked(spec, "check_datum", partial(source.check_datum, _told(heights, "vertical_datum", "")))


def heights_of(plan: LayerPlan, cells: Cells) -> Heights | None:
    """Return what gives heights on any pixels in and around some chips; None if the layer needs none."""
    if plan.heights is None:
        return None
    items = ground_items(plan, near_ground(cells, plan))
    layer = plan.heights.layer
    # A source asks for the same pixels once for each variable and frame.
    return _Ground(
        lru_cache(KEPT)(partial(_heights, plan.heights, items)),
        _told(layer, "vertical_datum", ""),
        _told(layer, "missing_is_sea", default=False),
    )


def _told(layer: Layer, key: str, default: T) -> T:
    """Return what a layer of heights tells of them."""
    (height,) = (array.variable for array in layer.arrays if array.variable.kind is Kind.CONTINUOUS)
    found = height.attributes.get(key)
    return found if isinstance(found, type(default)) else default


@dataclass(frozen=True, slots=True)
class _Ground:
    """``Heights`` of a layer."""

    at: Callable[[GeoBox], tuple[NDArray[np.float32], NDArray[np.bool_]]]
    vertical_datum: str
    missing_is_sea: bool

    def __call__(self, geobox: GeoBox, /) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return self.at(geobox)


def _heights(plan: LayerPlan, items: tuple[Item, ...], geobox: GeoBox) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    (name,) = (array.variable.name for array in plan.layer.arrays if array.variable.kind is Kind.CONTINUOUS)
    made = derive(open_source(plan.source), plan.layer, items, geobox, plan.layer.slots[0], tells_chips=False)
    look = made.looks[name]
    if look is None:
        return np.full(geobox.shape, np.nan, np.float32), np.zeros(geobox.shape, bool)
    height, known = look.values[0].astype(np.float32, copy=False), look.valid[0]
    height.flags.writeable = known.flags.writeable = False  # shared by all who ask for these pixels
    return height, known
