"""Small scenes of one's own for the stand-in, and the items that the listing would give of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.raster import Item, Raster, Slot
from m3leo_prep.sources.gee import EarthEngine
from m3leo_prep.testing.earth_engine.archive import Scene, SceneBand

ZONE, NEIGHBOUR = "EPSG:32631", "EPSG:32632"
X0, Y0 = 500_000.0, 5_000_000.0
"""Upper-left corner of the window in its zone."""
SLOT = Slot("2020-06", datetime(2020, 6, 1, tzinfo=UTC), datetime(2020, 7, 1, tzinfo=UTC))
EARTH = box(-180, -90, 180, 90)


@dataclass(frozen=True, slots=True)
class Shelf:
    """An archive of a few scenes."""

    scenes: Sequence[Scene]

    def image(self, name: str) -> Scene | None:
        return next((scene for scene in self.scenes if scene.id == name), None)

    def collection(self, name: str) -> Sequence[Scene] | None:
        found = [scene for scene in self.scenes if scene.id.rpartition("/")[0] == name]
        return sorted(found, key=lambda scene: (scene.properties["system:time_start"], scene.id)) or None


def band(
    name: str,
    values: ArrayLike,
    valid: ArrayLike | None = None,
    *,
    crs: str = ZONE,
    corner: tuple[float, float] = (X0, Y0),
    pitch: float = 10.0,
    dtype: str = "float32",
) -> SceneBand:
    """Return a band of an array; ``corner`` is its upper-left one."""
    array = np.asarray(values, dtype)
    there = np.ones(array.shape, bool) if valid is None else np.asarray(valid, bool)
    return SceneBand(
        name,
        dtype,
        crs,
        (pitch, 0.0, corner[0], 0.0, -pitch, corner[1]),
        (array.shape[0], array.shape[1]),
        lambda row0, row1, col0, col1: (array[row0:row1, col0:col1], there[row0:row1, col0:col1]),
    )


def window(rows: int, cols: int, *, pitch: float = 10.0, down: int = 0, right: int = 0, crs: str = ZONE) -> GeoBox:
    """Return a lattice that begins ``down`` and ``right`` pixels from the corner."""
    return GeoBox((rows, cols), Affine(pitch, 0, X0 + right * pitch, 0, -pitch, Y0 - down * pitch), crs)


def pair(
    collection: str,
    index: str,
    bands: Iterable[SceneBand],
    *,
    acquisition: str = "",
    of: Mapping[str, str | int | float] | None = None,
    when: datetime = datetime(2020, 6, 5, 6, tzinfo=UTC),
    **properties: Any,
) -> tuple[Scene, Item]:
    """Return a scene, and the item that the listing gives of it with the properties ``of``."""
    own = tuple(bands)
    name = f"{collection}/{index}"
    stamp = round(when.timestamp() * 1000)
    scene = Scene(name, EARTH, own, {"system:index": index, "system:time_start": stamp, **properties})
    item = Item(name, EARTH, "", when, acquisition, {"crs": own[0].crs, **(of or {})})
    return scene, item


def read(
    server: Any, source: EarthEngine, pairs: Sequence[tuple[Scene, Item]], geobox: GeoBox, *, first: bool = True
) -> dict[str, Raster]:
    """Return by variable what the source reads of scenes, in one window; ``first`` = these are the server's scenes."""
    if first:
        server.archive = Shelf([scene for scene, _ in pairs])
    rasters = source.read([item for _, item in pairs], geobox, SLOT)
    return {raster.variable: raster for raster in rasters}


def values(raster: Raster, band: int = 0) -> NDArray[Any]:
    """Return a band with NaN where it is not valid."""
    return np.where(raster.valid[band], raster.data[band], np.nan)
