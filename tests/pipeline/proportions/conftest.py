"""Class rasters and files of units of which every area is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.area import Area
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.proportions.coverage import cover
from m3leo_prep.pipeline.proportions.measure import targets_of
from m3leo_prep.runners.threads import Threads

GEOD = pyproj.Geod(ellps="WGS84")


def geodesic(polygon: BaseGeometry) -> float:
    """Return km2 by pyproj, edges straight in lon/lat."""
    return abs(GEOD.geometry_area_perimeter(shapely.segmentize(polygon, 0.01))[0]) / 1e6


def write_raster(path: Path, data: np.ndarray, transform: Affine, crs: str, nodata: float | None = None) -> Path:
    shape = {"height": data.shape[0], "width": data.shape[1], "count": 1, "dtype": data.dtype}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, nodata=nodata, **shape) as file:
        file.write(data, 1)
    return path


def write_units(path: Path, units: dict[str, BaseGeometry] | list[tuple[str, BaseGeometry]], **extra: Any) -> Path:
    pairs = units.items() if isinstance(units, dict) else units
    features = [
        {"type": "Feature", "properties": {"id": name}, "geometry": shapely.geometry.mapping(shape)}
        for name, shape in pairs
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **extra}))
    return path


def planned(recipe: str, box: tuple[float, float, float, float] | BaseGeometry, base: Path) -> Plan:
    shape = box if isinstance(box, BaseGeometry) else shapely.box(*box)
    return make_plan(parse_recipe(dedent(recipe)), Area.from_geometry(shape, name="here"), base=base)


def made(recipe: str, box: tuple[float, float, float, float] | BaseGeometry, base: Path, out: str = "out") -> Path:
    build(planned(recipe, box, base), base / out, runner=Threads(2))
    return base / out


@pytest.fixture
def held(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Return a function that gives (unit, 2): km2 of the classes a = 1 and b = 2 of ``map.tif`` in polygons."""

    def measure(units: list[BaseGeometry], at: tuple[float, float], pattern: str = "map.tif") -> np.ndarray:
        recipe = f"""
            name: t
            grid: {{chip_px: 32, resolution: 10}}
            layers:
              cover: {{role: label, source: local, path: ., pattern: {pattern}, legend: {{1: a, 2: b}}, kind: classes}}
        """
        box = (at[0], at[1], at[0] + 1e-3, at[1] + 1e-3)
        layer = planned(recipe, box, tmp_path).layers[0]
        plan = planned(recipe, box, tmp_path)
        shapes = np.empty(len(units), object)
        shapes[:] = units
        return cover(layer, targets_of(plan, layer), shapes, open_source(layer.source))[0]

    return measure
