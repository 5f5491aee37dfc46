"""Label layers from file to dataset: codes without a class are counted, flags and percentages stay right, releases and
units do not mix."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
import xarray as xr
import yaml
from affine import Affine
from pyproj import Transformer

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads
from m3leo_prep.sources.vector import Vector

HERE = shapely.box(9.001, 45.001, 9.01, 45.006)
"""Six to nine chips of 320 m in zone 32."""
PLACE = Affine(10, 0, 499_000, 0, -10, 4_986_000)


def write(path: Path, data: np.ndarray, transform: Affine = PLACE, crs: str = "EPSG:32632", **profile) -> None:
    data = data[None] if data.ndim == 2 else data
    shape = {"count": len(data), "height": data.shape[1], "width": data.shape[2], "dtype": data.dtype}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **shape, **profile) as out:
        out.write(data)


def make(
    folder: Path, layer: str, chip_px: int = 32, area: shapely.Polygon = HERE, out: str = "made", **sources
) -> Path:
    recipe = parse_recipe(f"name: t\ngrid: {{chip_px: {chip_px}, resolution: 10}}\nlayers:\n  label: {layer}\n")
    plan = make_plan(recipe, Area.from_geometry(area, name="here"), base=folder, sources=sources)
    build(plan, folder / out, runner=Threads(2))
    return folder / out


def label(path: Path) -> xr.Dataset:
    return xr.open_zarr(path / "chips.zarr", group="label", chunks=None)


def test_ignored_codes_are_counted_in_the_provenance(tmp_path: Path) -> None:
    codes = np.full((300, 300), 1, "uint8")
    codes[:, 110:] = 77
    write(tmp_path / "a.tif", codes)
    with pytest.raises(ConfigError, match=r"a\.tif: holds class codes that the legend lacks: 77"):
        make(tmp_path, "{role: label, source: local, path: a.tif, legend: {1: land}}", out="refused")
    path = make(tmp_path, "{role: label, source: local, path: a.tif, legend: {1: land}, unknown: ignore}")
    ds = label(path)
    table = pq.ParquetDataset(path / "provenance/label").read().to_pandas()
    missing = (ds.classes.values == 255).sum()
    assert table["n_out_of_range"].sum() == missing > 0
    assert set(np.unique(ds.classes)) == {1, 255}
    assert verify(path).problems == []


def test_cover_in_percent_still_sums_to_one_hundred(tmp_path: Path) -> None:
    """D49 on another lattice: 231.66 m on the sinusoidal grid of MODIS to 140 m in UTM."""
    sinusoidal = "+proj=sinu +R=6371007.181 +units=m"
    x, y = Transformer.from_crs(4326, sinusoidal, always_xy=True).transform(9.0, 45.1)
    rng = np.random.default_rng(6)
    tree = rng.integers(0, 61, (80, 80))
    other = rng.integers(0, 100 - tree)
    bands = np.stack([tree, other, 100 - tree - other]).astype("uint8")
    bands[:, 30:36, :], bands[:, :, 40:42] = 200, 253
    pitch = 231.65635826
    write(tmp_path / "vcf.tif", bands, Affine(pitch, 0, x - 20 * pitch, 0, -pitch, y + 5 * pitch), sinusoidal)
    area = shapely.box(9.0, 45.0, 9.08, 45.04)
    path = make(tmp_path, "{role: label, source: local, path: vcf.tif, product: mod44b}", 448, area)
    ds = label(path)
    assert float(ds.pitch) == 140
    cover = ds.cover.values
    assert cover.shape[1] == 3
    valid = np.isfinite(cover).all(axis=1)
    assert np.array_equal(valid, np.isfinite(cover).any(axis=1))
    total = cover.sum(axis=1)[valid]
    assert np.abs(total - 100).max() < 0.01
    assert cover[np.isfinite(cover)].max() <= 100, "no 200 was averaged in"
    flags = ds.cover_flags.values
    assert set(np.unique(flags)) == {0, 1, 255}
    assert not np.isfinite(cover[flags == 255]).all()
    assert ds.cover_flags.attrs["flag_meanings"].split() == ["none", "water", "no_data"]
    assert 0.02 < (flags == 1).mean() < 0.2


def test_what_is_said_of_a_quantity_is_not_said_of_its_flags(tmp_path: Path) -> None:
    """`average` is for the cover, its flags take the majority; `last` is for both, or one would be of another file."""
    for year, tree, lake in ((2019, 20, slice(0, 150)), (2020, 60, slice(0, 125))):
        bands = np.array([tree, 90 - tree, 10], "uint8")[:, None, None].repeat(300, 1).repeat(300, 2)
        bands[:, :, lake] = 200
        write(tmp_path / f"vcf_{year}-03-05.tif", bands)
    layer = "role: label, source: local, path: 'vcf_*.tif', product: mod44b, resampling: average, resolution: 80"
    found = {}
    for order, tree in (("first", 60), ("last", 20)):
        path = make(tmp_path, f"{{{layer}, statistic: {order}}}", out=order)
        ds = label(path)
        assert {name: (ds[name].attrs["kernel"], ds[name].attrs["statistic"]) for name in ("cover", "cover_flags")} == {
            "cover": ("average", order),
            "cover_flags": ("mode", order),
        }
        arrays = json.loads((path / "manifest.json").read_text())["layers"]["label"]["arrays"]
        assert [(a["name"], a["method"]) for a in arrays] == [("cover", "average"), ("cover_flags", "mode")]
        said = yaml.safe_load((path / "recipe.yaml").read_text())["layers"]["label"]
        assert (said["resampling"], said["statistic"]) == ("average", order)
        flags, cover = ds.cover_flags.values, ds.cover.values
        assert set(np.unique(flags)) == {0, 1}
        assert set(np.unique(cover[flags == 0].round(3))) == {tree, 90 - tree, 10}, "of one file, and no 200 in it"
        found[order] = (flags == 1).mean()
        assert verify(path).problems == []
    assert found["last"] > found["first"] > 0, "each with the lake of its own year"


def test_releases_under_one_name_are_not_opened_together(tmp_path: Path) -> None:
    """D50: the readers refuse what differs in product or release."""
    torch = pytest.importorskip("torch")
    assert torch
    from m3leo_prep.reader.learning.chips import ChipDataset

    write(tmp_path / "a.tif", np.full((300, 300), 10, "uint8"))
    paths = [
        make(tmp_path, f"{{role: label, source: local, path: a.tif, product: worldcover-{v}}}", out=v)
        for v in ("v100", "v200", "v100b")[:2]
    ]
    with pytest.raises(ConfigError, match=r"'product' of 'label' is 'worldcover-v100' in .*, but 'worldcover-v200' in"):
        ChipDataset(paths, layers=["label"])
    assert len(ChipDataset(paths, layers=["label"], allow_mixed=True)) > 0


def test_a_changed_geoid_is_another_input(tmp_path: Path) -> None:
    """Relative to the recipe, as paths are; what the chips hold follows the undulation in the file."""
    write(tmp_path / "dem.tif", np.full((300, 300), -430, "float32"))
    write(tmp_path / "n.tif", np.full((20, 20), 48, "float32"), Affine(0.1, 0, 8, 0, -0.1, 46), "EPSG:4326")
    layer = "{source: local, path: dem.tif, product: copernicus-dem, geoid: n.tif, datum: ellipsoid}"
    first = label(make(tmp_path, layer))
    assert np.unique(first.height.values).tolist() == [-382]
    assert first.height.attrs["vertical_datum"] == "ellipsoid"
    write(tmp_path / "n.tif", np.full((20, 20), 50.5, "float32"), Affine(0.1, 0, 8, 0, -0.1, 46), "EPSG:4326")
    assert np.unique(label(make(tmp_path, layer, out="again")).height.values).tolist() == [-379.5]


def test_units_as_a_raster_label_at_every_pitch(tmp_path: Path) -> None:
    """Polygons are asked at the centre of each chip's own pixel: exact, and the same from two processes' windows."""
    rng = np.random.default_rng(9)
    x, y = Transformer.from_crs(4326, 32632, always_xy=True).transform(9.005, 45.0035)
    points = shapely.MultiPoint(np.stack([x + 500 * rng.normal(size=30), y + 400 * rng.normal(size=30)], axis=1))
    cells = shapely.get_parts(shapely.voronoi_polygons(points, extend_to=points.buffer(3000)))
    frame = geopandas.GeoDataFrame({"unit": np.arange(len(cells)) % 7}, geometry=cells, crs="EPSG:32632")
    frame.to_file(tmp_path / "units.gpkg")
    source = Vector(str(tmp_path / "units.gpkg"), column="unit", overlap="first")
    path = make(tmp_path, "{role: label, source: units, resolution: 20}", units=source)
    ds = label(path)
    steps = (np.arange(16) + 0.5) * 20
    for chip in range(ds.sizes["chip"]):
        cx, cy = np.meshgrid(float(ds.x0[chip]) + steps, float(ds.y0[chip]) - steps)
        truth = np.zeros((16, 16), int)
        for cell, unit in zip(cells, frame["unit"], strict=True):
            truth[shapely.contains_xy(cell, cx, cy)] = unit
        assert np.array_equal(ds.classes.values[chip, 0], truth)
    assert verify(path).problems == []
