"""Closing a dataset: from the ledger alone, and every table says what the arrays say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import xarray as xr
import yaml

from m3leo_prep.core.grid import Grid
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.finalize import finalize
from m3leo_prep.pipeline.manifest import manifest_digest
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.runners.threads import Threads

from .conftest import LARGE, area, plan, tree

LAYERS = {"position": 2, "degrees": 2, "landcover": 1, "s1": 4}
"""Bands of each layer of the small dataset."""


def close_again(path: Path) -> int:
    folder = DatasetFolder(path)
    frozen = folder.frozen()
    assert frozen is not None
    return finalize(folder, frozen)


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "d")
    return tmp_path / "d"


def opened(path: Path, layer: str) -> xr.Dataset:
    return xr.open_zarr(path / "chips.zarr", group=layer, chunks=None)


# -- from the ledger alone ---------------------------------------------------------------------------------------------


def test_no_pixels_are_read(built: Path, copy: Path) -> None:
    """With every shard gone, the same manifest and the same tables come out."""
    shards = pq.read_table(built / "shards.parquet").to_pylist()
    assert len(shards) > 8
    kept = {name: data for name, data in tree(built).items() if name not in {shard["path"] for shard in shards}}
    for shard in shards:
        (copy / shard["path"]).unlink(missing_ok=True)
    for name in kept:
        if name != "manifest.json":
            (copy / name).unlink()
    assert close_again(copy) == 0
    assert tree(copy) == kept


def test_closing_twice_changes_no_byte(built: Path, copy: Path) -> None:
    close_again(copy)
    assert tree(copy) == tree(built)


def test_nothing_built_is_nothing_closed(tmp_path: Path) -> None:
    folder = DatasetFolder(tmp_path / "d")
    made = plan()
    folder.freeze(made)
    assert finalize(folder, made) == 0
    assert tree(tmp_path / "d") == {}


def test_a_layer_that_is_not_complete_is_not_closed(copy: Path) -> None:
    """A plan of more chips than the ledger has units."""
    folder = DatasetFolder(copy)
    grown = plan(where=area(LARGE, "more"), previous=folder.frozen())
    before = tree(copy)
    assert finalize(folder, grown) == 0
    assert tree(copy) == before


# -- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
def test_provenance_has_one_row_per_chip_slot_and_band(layer: str, built: Path) -> None:
    ds = opened(built, layer)
    name = str(next(v for v in ds.data_vars if f"{v}_reason" in ds.variables))
    table = pq.read_table(built / "provenance" / layer / "part-00000.parquet").to_pandas()
    slots = [slot.label for slot in plan().layer(layer).layer.slots]
    ids = pq.read_table(built / "chips.parquet")["chip_id"].to_pylist()
    bands = [str(band) for band in ds["band"].values]
    assert len(bands) == LAYERS[layer]
    expected = [(chip, slot, band) for chip in ids for slot in slots for band in bands]
    assert list(zip(table["chip_id"], table["slot"], table["band"], strict=True)) == expected
    assert set(table["variable"]) == {name}
    assert np.array_equal(table["reason"], ds[f"{name}_reason"].values.reshape(-1))
    pixels = ds[name].values
    there = np.isfinite(pixels) if pixels.dtype.kind == "f" else pixels != 255
    share = there.mean(axis=(-2, -1)).reshape(-1)
    np.testing.assert_allclose(table["valid_fraction"], share, atol=1e-6)
    per_band = np.repeat(ds["count"].values.reshape(-1), len(bands))
    assert np.array_equal(table["n_observations"], per_band)


def test_provenance_names_the_scenes_that_gave_pixels(built: Path) -> None:
    items = {item.id: item for item in plan().layer("s1").items}
    slots = {slot.label: slot for slot in plan().layer("s1").layer.slots}
    rows = pq.read_table(built / "provenance/s1/part-00000.parquet").to_pylist()
    assert any(row["items"] for row in rows)
    for row in rows:
        used = [items[name] for name in row["items"]]
        assert [item.datetime for item in used] == row["datetimes"]
        assert [item.version for item in used] == row["versions"]
        assert [item.properties["relative_orbit"] for item in used] == row["relative_orbits"]
        assert len({item.acquisition or item.id for item in used}) == row["n_observations"]
        assert all(slots[row["slot"]].contains(item.datetime) for item in used)
        if row["valid_fraction"] > 0:
            assert used


def test_chips_open_in_geopandas_with_their_crs(built: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    chips = geopandas.read_parquet(built / "chips.parquet")
    assert chips.crs is not None
    assert chips.crs.is_geographic
    assert chips.crs.to_authority() in {("OGC", "CRS84"), ("EPSG", "4326")}
    cells = plan().cells
    assert chips["chip_id"].tolist() == cells.ids()
    assert chips["row"].tolist() == list(range(len(cells)))
    assert shapely.equals_exact(chips.geometry.to_numpy(), cells.polygons(), tolerance=0).all()
    assert chips.geometry.intersects(area().geometry).all()
    inside = shapely.points(chips["lon"], chips["lat"])
    assert shapely.contains(chips.geometry.to_numpy(), inside).all()


def test_chips_hold_georeference_and_size(built: Path) -> None:
    chips = pq.read_table(built / "chips.parquet").to_pandas()
    grid = Grid(32, 10)
    for _, chip in chips.iterrows():
        epsg, col, row = grid.parse_id(chip["chip_id"])
        box = grid.geobox(epsg, col, row)
        assert (chip["epsg"], chip["x0"], chip["y0"]) == (epsg, box.affine.c, box.affine.f)
    np.testing.assert_allclose(chips["area_km2"], 0.32**2, rtol=2e-3)
    assert chips["owned_fraction"].eq(1).all()
    assert not chips["zone_shared"].any()
    assert chips["split"].isna().all()


@pytest.mark.parametrize("layer", LAYERS)
def test_chips_say_how_much_of_each_layer_is_there(layer: str, built: Path) -> None:
    chips = pq.read_table(built / "chips.parquet").to_pandas()
    ds = opened(built, layer)
    (name,) = (v for v in ds.variables if str(v).endswith("_valid"))
    percent = ds[name].values.reshape(len(chips), -1)
    np.testing.assert_allclose(chips[f"valid_{layer}"], percent.mean(axis=1), rtol=1e-6)


def test_geoparquet_metadata_is_what_the_standard_asks(built: Path) -> None:
    about = json.loads(pq.read_schema(built / "chips.parquet").metadata[b"geo"])
    assert about["version"].startswith("1.1")
    assert about["primary_column"] == "geometry"
    column = about["columns"]["geometry"]
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["Polygon"]
    assert "crs" not in column, "absent means OGC:CRS84"
    bounds = shapely.total_bounds(plan().cells.polygons())
    assert column["bbox"] == bounds.tolist()


# -- companions --------------------------------------------------------------------------------------------------------


def test_orbits_stand_beside_the_pixels_where_items_know_them(built: Path) -> None:
    ds = opened(built, "s1")
    assert ds.relative_orbit.dims == ds.orbit_direction.dims == ("chip", "time")
    rows = pq.read_table(built / "provenance/s1/part-00000.parquet").to_pylist()
    direction = {item.id: item.properties["orbit_direction"] for item in plan().layer("s1").items}
    codes = dict(zip(("ascending", "descending"), (0, 1), strict=True))
    ids = pq.read_table(built / "chips.parquet")["chip_id"].to_pylist()
    labels = [slot.label for slot in plan().layer("s1").layer.slots]
    with xr.open_zarr(built / "chips.zarr", group="s1", chunks=None, mask_and_scale=False) as raw:
        orbits, directions = raw.relative_orbit.values, raw.orbit_direction.values
    for row in rows[:: LAYERS["s1"]]:
        chip, slot = ids.index(row["chip_id"]), labels.index(row["slot"])
        seen = set(row["relative_orbits"])
        assert orbits[chip, slot] == (seen.pop() if len(seen) == 1 else -1)
        ways = {codes[direction[name]] for name in row["items"]}
        assert directions[chip, slot] == (ways.pop() if len(ways) == 1 else 255)
    assert ds.orbit_direction.attrs["flag_meanings"].split()[:2] == ["ascending", "descending"]


@pytest.mark.parametrize("layer", ["position", "landcover"])
def test_items_without_orbit_or_time_have_no_such_companions(layer: str, built: Path) -> None:
    ds = opened(built, layer)
    assert not {"relative_orbit", "orbit_direction", "first_time", "mean_time", "last_time"} & set(ds.variables)
    assert "count" in ds.variables


ORBITS = """
from dataclasses import dataclass
from datetime import UTC, datetime
import numpy as np
from shapely.geometry import box
from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable

WORLD = box(-180, -90, 180, 90)


@dataclass(frozen=True)
class Orbits:
    '''January: two passes of one orbit; February: of two orbits and directions; March: nothing.'''

    def describe(self):
        return SourceInfo((Variable("v", Kind.CONTINUOUS, ("v",)),), version="1", pitch=10.0)

    def find(self, area, slots):
        for month, day, orbit, way in ((1, 5, 44, "ascending"), (1, 17, 44, "ascending"), (2, 5, 44, "ascending"),
                                       (2, 6, 139, "descending")):
            when = datetime(2020, month, day, 12, tzinfo=UTC)
            properties = {"relative_orbit": orbit, "orbit_direction": way}
            yield Item(f"{month}-{day}", WORLD, datetime=when, properties=properties)

    def read(self, items, geobox, slot):
        around = geobox.pad(4)
        data = np.ones((1, *around.shape), np.float32)
        yield Raster(data, np.ones(data.shape, bool), around, items[0], "v")
"""


def test_an_orbit_is_told_only_if_all_passes_share_it(tmp_path: Path, write_source: Callable[[str], Path]) -> None:
    base = write_source(ORBITS)
    slots = "{periods: [[2020-01-01, 2020-01-31], [2020-02-01, 2020-02-29], [2020-03-01, 2020-03-31]]}"
    layer = f'{{source: "./my_source.py:Orbits", slots: {slots}}}'
    text = f"name: o\ngrid: {{chip_px: 32, resolution: 10}}\nlayers:\n  a: {layer}"
    build(plan(text, base=base), tmp_path / "d", runner=Threads(1))
    with xr.open_zarr(tmp_path / "d/chips.zarr", group="a", chunks=None, mask_and_scale=False) as ds:
        assert np.unique(ds.relative_orbit.values, axis=0).tolist() == [[44, -1, -1]]
        assert np.unique(ds.orbit_direction.values, axis=0).tolist() == [[0, 255, 255]]
        assert np.unique(ds["count"].values, axis=0).tolist() == [[2, 2, 0]]
    times = opened(tmp_path / "d", "a")
    expected = {
        "first_time": ["2020-01-05T12:00", "2020-02-05T12:00", "NaT"],
        "mean_time": ["2020-01-11T12:00", "2020-02-06T00:00", "NaT"],
        "last_time": ["2020-01-17T12:00", "2020-02-06T12:00", "NaT"],
    }
    for name, values in expected.items():
        wanted = np.array(values, "datetime64[s]")
        found = times[name].values.astype("datetime64[s]")
        assert all(np.array_equal(row, wanted, equal_nan=True) for row in found), name


# -- manifest and recipe -----------------------------------------------------------------------------------------------


def test_the_manifest_says_what_was_made(built: Path) -> None:
    text = (built / "manifest.json").read_text()
    manifest = json.loads(text)
    assert manifest["manifest_digest"] == manifest_digest(manifest)
    assert (manifest["name"], manifest["n_chips"], manifest["splits"]) == ("mini", len(plan().cells), {})
    assert list(manifest["layers"]) == list(LAYERS)
    s1 = manifest["layers"]["s1"]
    (array,) = s1["arrays"]
    assert (array["method"], array["statistic"], array["transform"], array["unit"]) == ("bspline", "mean", "db", "dB")
    assert s1["licence"] == "CC0-1.0 (synthetic)"
    assert s1["n_items"] == len(plan().layer("s1").items)
    assert set(manifest["libraries"]) >= {"numpy", "pyproj", "numcodecs"}
    shards = pq.read_table(built / "shards.parquet")
    assert manifest["shards"] == {"count": len(shards), "bytes": sum(shards["bytes"].to_pylist())}
    assert not {"NaN", "Infinity"} & set(text.replace(",", " ").split())


def test_the_manifest_lists_every_published_file_that_is_no_shard(built: Path) -> None:
    listed = set(json.loads((built / "manifest.json").read_text())["files"])
    shards = set(pq.read_table(built / "shards.parquet")["path"].to_pylist())
    assert listed | shards | {"manifest.json"} >= set(tree(built))
    assert not listed & shards
    assert not any(name.startswith(".m3leo") for name in listed)


def test_the_written_recipe_makes_the_same_plan(built: Path) -> None:
    text = (built / "recipe.yaml").read_text()
    assert yaml.safe_load(text)["grid"]["tiling"] == "utm"
    again = make_plan(parse_recipe(text), area(), base=Path.cwd())
    assert [p.layer for p in again.layers] == [p.layer for p in plan().layers]
    assert [p.settings() for p in again.layers] == [p.settings() for p in plan().layers]
