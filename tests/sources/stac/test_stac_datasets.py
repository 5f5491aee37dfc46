"""A dataset of a catalogue and of a map that ends at the sea: what is asked when, and what is missing."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box

import m3leo_prep as mp
from m3leo_prep.core.area import Area
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.runners.threads import Threads
from m3leo_prep.sources.tiles import glo30
from tests.sources.stac.rasters import ramp, write
from tests.sources.stac.stac_server import StacApi, item

GLO30 = "Copernicus_DSM_COG_10_N49_00_E009_00_DEM"
COAST = Area.from_geometry(box(8.994, 49.478, 9.006, 49.482), name="coast")


@pytest.fixture
def dem(earthdata, monkeypatch):
    """Write the only tile of heights: it begins in the middle of the area."""
    monkeypatch.setenv("M3LEO_PREP_OPEN_S3", earthdata.environment["M3LEO_PREP_GSSIC_URL"])
    glo30._listed.cache_clear()
    bucket = earthdata.bucket.parent / "copernicus-dem-30m"
    (bucket / GLO30).mkdir(parents=True)
    (bucket / "tileList.txt").write_text(f"{GLO30}\n")
    grid = GeoBox((3600, 3600), Affine(1 / 3600, 0, 9 - 0.5 / 3600, 0, -1 / 3600, 50 + 0.5 / 3600), "EPSG:4326")
    how = {"driver": "GTiff", "crs": grid.crs, "transform": grid.transform, "dtype": "float32", "count": 1}
    blocks = {"tiled": True, "blockxsize": 256, "blockysize": 256, "SPARSE_OK": True}
    with rasterio.open(bucket / GLO30 / f"{GLO30}.tif", "w", width=3600, height=3600, **how, **blocks) as file:
        file.write(np.zeros((200, 200), np.float32), 1, window=rasterio.windows.Window(0, 1800, 200, 200))
    return {"source": "tiles", "product": "glo30"}


@pytest.fixture
def api(tmp_path):
    path = write(tmp_path / "a.tif", ramp())
    around = box(8.9, 49.4, 9.3, 49.55)
    with StacApi() as server:
        server.items = [item("a", around, "2020-06-10T10:00:00Z", assets={"red": {"href": str(path)}})]
        yield server


def test_a_catalogue_is_asked_once_and_the_sea_is_missing(api, dem, tmp_path):
    red = {"source": "stac", "catalogue": api.url, "collection": "things", "bands": ["red"], "kind": "continuous"}
    red["slots"] = {"periods": [["2020-06-01", "2020-06-30"]]}
    recipe = {"name": "x", "grid": {"chip_px": 32, "resolution": 10}, "splits": {"policy": "none"}}
    recipe = parse_recipe(yaml.safe_dump(recipe | {"layers": {"red": red, "dem": dem}}))

    def asked():
        found, api.requests[:] = api.pages(), []
        return found

    def names(plan):
        (layer,) = [one for one in plan.layers if one.layer.name == "red"]
        return [one.id for one in layer.items]

    first = make_plan(recipe, COAST, base=tmp_path)
    assert asked() == 1
    build(first, tmp_path / "d", runner=Threads(2))
    api.items.append({**api.items[0], "id": "b", "properties": {"datetime": "2020-06-20T10:00:00Z"}})
    again = make_plan(recipe, COAST, base=tmp_path, previous=first)
    build(again, tmp_path / "d", runner=Threads(2))
    assert asked() == 0
    assert names(again) == ["a"]
    fresh = make_plan(recipe, COAST, base=tmp_path, previous=first, refresh=True)
    assert asked() == 1
    assert names(fresh) == ["b", "a"]
    ends_at_9_degrees(mp.open_dataset(tmp_path / "d")["dem"].load())


def ends_at_9_degrees(dem):
    """Raise unless pixels west of the tile are missing, and chips without any other are not in the data set."""
    assert dem["height"].attrs["vertical_datum"].startswith("EGM2008")
    steps = (np.arange(dem.sizes["x"]) + 0.5) * dem.attrs["pitch"]
    reasons = dem["height_reason"].values[:, 0]
    for k, chip in enumerate(dem["height"].values[:, 0]):
        x, y = np.meshgrid(float(dem["x0"][k]) + steps, float(dem["y0"][k]) - steps)
        lon, _ = Transformer.from_crs(int(dem["epsg"][k]), 4326, always_xy=True).transform(x, y)
        columns, known = (lon - 9) * 3600 + 0.5, np.isfinite(chip)
        assert not known[columns < 0].any()
        assert known[columns > 1].all()
        assert (chip[known] == 0).all(), "and the sea that is in a tile has a height"
        whole = Reason.OK if known.any() else Reason.NOT_IN_DATASET
        assert reasons[k] == (Reason.PARTIAL_COVERAGE if known.any() and not known.all() else whole)
    assert set(reasons) == {Reason.NOT_IN_DATASET, Reason.PARTIAL_COVERAGE, Reason.OK}
