"""Any source as if it saw the synthetic Earth: its variables, slots and pitch, and pixels that follow the ground."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.raster import Item, Kind, Raster, Slot, SourceInfo, Variable
from m3leo_prep.core.recipe import LayerModel, Recipe
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.resolve import source_spec
from m3leo_prep.ports.heights import Heights
from m3leo_prep.sources._native import NativeGrid, Window, transformer
from m3leo_prep.sources.synthetic.earth import ground

OURS = frozenset(LayerModel.model_fields) - {"source", "alternatives"}


@dataclass(frozen=True)
class AsIf:
    """Describes what another source does; one acquisition in the middle of each slot, two tracks, three pairs."""

    info: SourceInfo

    def describe(self) -> SourceInfo:
        variables = tuple(replace(variable, kernel="") for variable in self.info.variables)
        return replace(self.info, variables=variables, version="1", composites=False, joint=False)

    def __reduce__(self) -> Any:
        # What describes a product may hold read-only mappings, which do not pickle.
        plain = tuple(replace(one, attributes=dict(one.attributes)) for one in self.info.variables)
        return AsIf, (replace(self.info, variables=plain, attributes=dict(self.info.attributes)),)

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        outline = area.envelope.buffer(0.1)
        if slots[0].is_static:
            yield Item("map", outline, version="1")
            return
        if slots[0].kind == "orbit":
            for track, way in ((15, "ascending"), (37, "descending")):
                yield Item(way, outline, version="1", properties={"relative_orbit": track, "orbit_direction": way})
            return
        for slot in slots if slots[0].kind == "period" else slots[:1]:
            assert slot.start is not None
            assert slot.end is not None
            if slot.kind == "period":
                when = slot.start + (slot.end - slot.start) / 2
                yield Item(f"{when:%Y%m%d}", outline, version="1", datetime=when)
                continue
            for days in (12, 96, 180):
                second, first = slot.start + timedelta(days=20), slot.start + timedelta(days=20 + days)
                about: dict[str, Any] = {
                    "reference_time": first.isoformat(),
                    "secondary_time": second.isoformat(),
                    "relative_orbit": 15,
                    "orbit_direction": "ascending",
                    "product_version": "3.0.1",
                    "frame": 1,
                }
                yield Item(f"pair{days}", outline, version="1", datetime=first, properties=about)

    def read(self, items: Sequence[Item], geobox: Any, slot: Slot) -> Iterable[Raster]:
        grid = NativeGrid(str(geobox.crs), self.info.pitch or 10.0)
        window = grid.window(geobox)
        height = height_of(grid, window)
        for item in items:
            for variable in self.info.variables:
                band = values(variable, height)
                data = np.repeat(band[None], len(variable.bands), axis=0)
                is_phase = variable.kind is Kind.UNWRAPPED_PHASE
                components = np.ones(band.shape, np.int32) if is_phase else None
                valid = np.ones(data.shape, bool)
                yield Raster(data, valid, grid.geobox(window), item, variable.name, components=components)

    def read_on_heights(self, items: Sequence[Item], geobox: Any, slot: Slot, heights: Heights) -> Iterable[Raster]:
        there = heights(geobox)[1]
        assert there.any(), "the layer's dem has no height here"
        yield from self.read(items, geobox, slot)


@lru_cache(8)
def height_of(grid: NativeGrid, window: Window) -> NDArray[np.floating]:
    """Return metres (y, x); many layers of a recipe ask for the same pixels."""
    x, y = np.meshgrid(*grid.centres(window))
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(x, y)
    return ground(lon, lat, 0).height


def values(variable: Variable, height: NDArray[np.floating]) -> NDArray[Any]:
    """Return (y, x) numbers that the variable may have, by the height of the ground."""
    share = (height % 100) / 100
    if variable.kind in {Kind.CLASSES, Kind.BITS}:
        codes = np.array([one.code for one in variable.legend] or [1], np.uint8)
        return np.asarray(codes[(share * len(codes)).astype(int)])
    match variable.kind:
        case Kind.POWER:
            found = 0.05 + 0.1 * share
        case Kind.CONTINUOUS:
            found = {"m": height, "degree": 30 + 10 * share, "percent": 100 * share}.get(variable.unit, share)
        case Kind.REFLECTANCE | Kind.COHERENCE:
            found = 0.05 + 0.5 * share
        case _:
            found = 1 + share
    return np.asarray(found, np.float32)


def on_the_synthetic_earth(recipe: Recipe, base: Any) -> tuple[Recipe, dict[str, AsIf]]:
    """Return the recipe with sources that are objects, and those."""
    layers, sources = {}, {}
    for name, model in recipe.layers.items():
        info = open_source(source_spec(model, base, {})).describe()
        sources[f"asif_{name}"] = AsIf(info)
        said = {key: value for key, value in model.model_dump(exclude_unset=True).items() if key in OURS}
        layers[name] = LayerModel.model_validate({**said, "source": f"asif_{name}"})
    return recipe.model_copy(update={"layers": layers}), sources
