"""Proportions of real administrative units, against counts of points that know nothing of our geometry.

The reference lays points a fraction of a pixel apart over each unit, asks for each whether it is inside (shapely) and
what the raster holds there (rasterio, pyproj), and weighs it by the ground it stands for.
"""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import rasterio.warp
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from m3leo_prep.pipeline.areas import load_area
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.recipes import load_recipe
from m3leo_prep.runners.threads import Threads
from tests.pipeline.proportions.conftest import geodesic, made, write_raster

RECIPE = Path(__file__).resolve().parents[2] / "recipes/sao_miguel_llp.yaml"


def counted(unit: BaseGeometry, raster: Path, step: float, codes: list[int]) -> tuple[np.ndarray, float]:
    """Return the ground of each code in a unit as shares of what has one of them, and how much of the unit has."""
    with rasterio.open(raster) as file:
        data, grid = file.read(1), file.transform
        crs, bounds = file.crs, rasterio.warp.transform_bounds(file.crs, 4326, *file.bounds)
    west, south, east, north = (unit & shapely.box(*bounds).buffer(step)).bounds
    lon, lat = np.meshgrid(np.arange(west, east, step) + step / 2, np.arange(south, north, step) + step / 2)
    inside = shapely.contains_xy(unit, lon, lat)
    lon, lat = lon[inside], lat[inside]
    # Ground of a small box of degrees: by the two radii of curvature of the ellipsoid.
    e2, sine = 0.00669437999014, np.sin(np.radians(lat))
    radii = 6378.137**2 * (1 - e2) / (1 - e2 * sine**2) ** 2
    weight = radii * np.cos(np.radians(lat)) * np.radians(step) ** 2
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
    col, row = (np.floor(v).astype(int) for v in ~grid * (x, y))
    there = (row >= 0) & (row < data.shape[0]) & (col >= 0) & (col < data.shape[1])
    held = np.full(lon.shape, -9999)
    held[there] = data[row[there], col[there]]
    ground = np.array([weight[held == code].sum() for code in codes])
    return ground / max(ground.sum(), 1e-300), float(ground.sum() / geodesic(unit))


def test_sao_miguel_by_its_six_concelhos(shared_data: Path, tmp_path: Path) -> None:
    """The set that shows learning from label proportions, without its images."""
    data = shared_data / "colocated/sao_miguel_azores"
    text = RECIPE.read_text().replace("../../../shared/data", str(shared_data))
    text = "\n".join(line for line in text.splitlines() if not line.startswith(("  s2:", "splits:")))
    (tmp_path / "llp.yaml").write_text(text)
    recipe, base = load_recipe(str(tmp_path / "llp.yaml"))
    out = tmp_path / "out"
    build(make_plan(recipe, load_area(str(data / "ADMIN_concelhos.gpkg")), base=base), out, runner=Threads(2))
    units = pd.read_parquet(out / "units.parquet")
    frame = geopandas.read_file(data / "ADMIN_concelhos.gpkg").set_index("name").geometry
    assert list(units.unit) == sorted(frame.index)
    np.testing.assert_allclose(units.area_km2, [geodesic(frame[name]) for name in units.unit], rtol=1e-5)
    np.testing.assert_allclose(units.coverage, 1, atol=1e-5)
    level1 = [range(1, 12), range(12, 23), range(23, 35), range(35, 40), range(40, 45)]
    columns = [c for c in units if c.startswith("prop_corine")]
    assert len(columns) == len(level1)
    for unit in units.itertuples():
        shares, valid = counted(frame[unit.unit], data / "LULC_clc2018.tif", 0.00015, list(range(1, 45)))
        truth = [shares[[code - 1 for code in codes]].sum() for codes in level1]
        assert valid == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(units[columns].loc[unit.Index], truth, atol=5e-4)
    assert (units[columns].sum(axis=1) - 1).abs().max() < 1e-6
    pairs = pd.read_parquet(out / "chip_units.parquet")
    np.testing.assert_allclose(pairs.groupby("unit").area_km2.sum(), units.area_km2, rtol=1e-3)
    chips = pd.read_parquet(out / "chips.parquet")
    assert chips.admin_concelho.value_counts().to_dict() == dict(zip(units.unit, units.n_chips, strict=True))


UNITS = """
name: t
grid: {{chip_px: 64, resolution: 10}}
admin: {{path: {vector}, id: {column}}}
proportions: {{min_valid: 0}}
layers:
  cover: {{role: label, source: local, path: {raster}, kind: classes, legend: {legend}, nodata: {nodata}}}
"""


def test_danish_municipalities_over_jammerbugts_land_cover(shared_data: Path, tmp_path: Path) -> None:
    """5 km2 of land cover in a municipality of 865 km2: a share of its ground, and proportions of that."""
    raster = shared_data / "colocated/terramesh_dk_jammerbugt/LULC.tif"
    vector = shared_data / "vector/dk_nordjylland_kommuner.geojson"
    names = "{1: water, 2: trees, 3: flooded, 4: crops, 5: built, 6: bare, 7: snow, 8: clouds, 9: rangeland}"
    recipe = UNITS.format(vector=vector, column="KOMNAVN", raster=raster, legend=names, nodata=0)
    units = pd.read_parquet(made(recipe, (9.83, 57.22, 9.84, 57.225), tmp_path) / "units.parquet")
    frame = geopandas.read_file(vector).set_index("KOMNAVN").geometry
    assert units.unit.tolist() == ["Aalborg", "Brønderslev", "Jammerbugt"]
    for unit in units.itertuples():
        shares, valid = counted(frame[unit.unit], raster, 0.00005, list(range(1, 10)))
        assert unit.valid_cover == pytest.approx(valid, rel=5e-3)
        assert 1e-5 < valid < 0.01
        np.testing.assert_allclose(
            units[[c for c in units if c.startswith("prop_cover")]].loc[unit.Index], shares, atol=3e-3
        )


def test_alicantes_municipalities_over_its_water_label(shared_data: Path, tmp_path: Path) -> None:
    """Two of 141 outlines are invalid as they come; -1 is no data."""
    raster = shared_data / "colocated/sen1floods11_es_alicante/LABEL.tif"
    vector = shared_data / "vector/es_alicante_municipios.geojson"
    recipe = UNITS.format(vector=vector, column="id", raster=raster, legend="[land, water]", nodata=-1)
    units = pd.read_parquet(made(recipe, (-0.781, 38.084, -0.737, 38.128), tmp_path) / "units.parquet")
    frame = geopandas.read_file(vector).set_index("id").geometry.make_valid()
    assert len(units) > 1
    for unit in units.itertuples():
        shares, valid = counted(frame[unit.unit], raster, 0.00005, [0, 1])
        assert unit.valid_cover == pytest.approx(valid, rel=5e-3, abs=1e-5)
        np.testing.assert_allclose([unit.prop_cover_land, unit.prop_cover_water], shares, atol=3e-3)
    assert units.prop_cover_water.max() > 0.05


def test_rome_and_luxembourg_over_rasters_of_known_halves(shared_data: Path, tmp_path: Path) -> None:
    """Class 1 west of a line on a pixel's edge: a meridian (degrees), a line of an equal-area grid (metres)."""
    codes = np.ones((1000, 1600), np.uint8)
    codes[:, 760:] = 2
    write_raster(tmp_path / "rome.tif", codes, Affine(0.001, 0, 11.72, 0, -0.001, 42.35), "EPSG:4326")
    codes = np.ones((900, 700), np.uint8)
    codes[:, 400:] = 2
    write_raster(tmp_path / "lux.tif", codes, Affine(100, 0, 4_010_000, 0, -100, 3_020_000), "EPSG:3035")
    to_laea = pyproj.Transformer.from_crs(4326, 3035, always_xy=True)

    def in_laea(shape: BaseGeometry) -> BaseGeometry:
        return shapely.transform(
            shapely.segmentize(shape, 0.002), lambda points: np.column_stack(to_laea.transform(*points.T))
        )

    for name, vector, column, box in (
        ("rome", "it_roma_comuni.geojson", "name", (12.47, 41.88, 12.49, 41.90)),
        ("lux", "luxembourg_cantons.geojson", "name", (6.12, 49.60, 6.14, 49.61)),
    ):
        file = shared_data / "vector" / vector
        recipe = UNITS.format(vector=file, column=column, raster=f"{name}.tif", legend="{1: west, 2: east}", nodata=0)
        units = pd.read_parquet(made(recipe, box, tmp_path, name) / "units.parquet")
        frame = geopandas.read_file(file).dissolve(column).geometry.make_valid()
        for unit in units.itertuples():
            shape = frame[unit.unit]
            if name == "rome":
                west = geodesic(shape & shapely.box(0, 0, 11.72 + 0.76, 89)) / geodesic(shape)
            else:
                flat = in_laea(shape)
                west = (flat & shapely.box(0, 0, 4_050_000, 9e6)).area / flat.area
            assert unit.valid_cover == pytest.approx(1, abs=1e-5)
            assert unit.prop_cover_west == pytest.approx(west, abs=2e-5)
        assert units.prop_cover_west.between(0.01, 0.99).any(), "a unit that the line cuts"
