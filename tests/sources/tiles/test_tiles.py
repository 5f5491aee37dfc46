"""Maps from public buckets: which files there are, where their pixels lie, and what they mean."""

from __future__ import annotations

import re

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.transform import rowcol
from shapely.geometry import MultiPolygon, box

from m3leo_prep.core.errors import ConfigError, CorruptError, SourceError
from m3leo_prep.core.products import product
from m3leo_prep.core.raster import STATIC, Kind
from m3leo_prep.sources.local.outline import footprint
from m3leo_prep.sources.remote import rasters
from m3leo_prep.sources.tiles import Tiles, glo30, worldcover
from m3leo_prep.sources.tiles.cells import Cell
from m3leo_prep.sources.tiles.glo30 import width
from m3leo_prep.testing.source_rules import Case
from tests.sources.rules import keep_all

MAP = "{0}/{1}/map/ESA_WorldCover_10m_{1}_{0}_{2}_Map.tif"
DEM = "Copernicus_DSM_COG_10_{0}_00_{1}_00_DEM"
SAO_TOME = box(6.45, 0.01, 6.75, 0.40)


@pytest.fixture
def buckets(earthdata, monkeypatch):
    """Return the folder of buckets that anybody reads, over the protocol of S3."""
    monkeypatch.setenv("M3LEO_PREP_OPEN_S3", earthdata.environment["M3LEO_PREP_GSSIC_URL"])
    worldcover._listed.cache_clear()
    glo30._listed.cache_clear()
    return earthdata.bucket.parent


def near(lon, lat, count, pitch):
    """Return a chip around a place."""
    crs = f"EPSG:{32600 if lat >= 0 else 32700}"[:-2] + f"{int((lon + 180) // 6) % 60 + 1:02}"
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
    half = count * pitch / 2
    return GeoBox((count, count), Affine(pitch, 0, x - half, 0, -pitch, y + half), crs)


def lonlat(geobox):
    """Return longitudes and latitudes of the centres of pixels."""
    rows, cols = np.indices(tuple(geobox.shape)) + 0.5
    x, y = geobox.transform * (cols.ravel(), rows.ravel())
    return Transformer.from_crs(geobox.crs, 4326, always_xy=True).transform(x, y)


def put(path, data, geobox, tags=None, **more):
    """Write a file whose other blocks are empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (row, col), values = data
    rows, cols = geobox.shape
    place = {"crs": "EPSG:4326", "transform": geobox.transform, "height": rows, "width": cols, "count": 1}
    blocks = {"tiled": True, "blockxsize": 1024, "blockysize": 1024, "compress": "deflate", "SPARSE_OK": True}
    with rasterio.open(path, "w", driver="GTiff", dtype=values.dtype, **place, **blocks, **more) as to:
        window = rasterio.windows.Window(col, row, values.shape[1], values.shape[0])
        to.write(values, 1, window=window)
        to.update_tags(**tags or {})


def test_worldcover_is_the_real_map(buckets, shared_data):
    """The island of Sao Tome, put back to its place in its tile."""
    with rasterio.open(shared_data / "labels/esa_worldcover_2021_v200_sao_tome.tif") as file:
        real = file.read(1)
    tile = GeoBox((36_000, 36_000), Affine(1 / 12_000, 0, 6, 0, -1 / 12_000, 3), "EPSG:4326")
    put(buckets / "esa-worldcover" / MAP.format("v200", 2021, "N00E006"), ((30_960, 5_280), real), tile, nodata=0)
    source = Tiles(product="worldcover", year=2021)
    (found,) = source.find(SAO_TOME, [STATIC])
    assert found.id == "ESA_WorldCover_10m_2021_v200_N00E006_Map"
    chip = GeoBox((448, 448), Affine(10, 0, 228_000, 0, -10, 30_000), "EPSG:32632")
    (raster,) = source.read([found], chip, STATIC)
    lon, lat = raster.geobox.transform * (0, 0)
    row, col = round((3 - lat) * 12_000) - 30_960, round((lon - 6) * 12_000) - 5_280
    rows, cols = raster.geobox.shape
    np.testing.assert_array_equal(raster.data[0], real[row : row + rows, col : col + cols])
    np.testing.assert_array_equal(raster.valid[0], raster.data[0] != 0)
    assert len(np.unique(raster.data[0])) > 3
    (variable,) = source.describe().variables
    assert variable.kind is Kind.CLASSES
    assert variable.legend == product("worldcover-v200").variable().legend
    assert (source.describe().year, source.describe().is_static) == (2021, True)
    size = int(found.properties["size_map"])
    cost = source.estimate([chip], [STATIC], [found])
    assert 0 < cost.bytes < size
    assert source.probe() == "esa-worldcover answers: 1 files, without a login"


def test_of_worldcover_0_is_no_data_and_what_the_legend_lacks_is_damage(buckets):
    """Whatever the file declares: some copies declare nothing."""
    tile = GeoBox((36_000, 36_000), Affine(1 / 12_000, 0, 6, 0, -1 / 12_000, 51), "EPSG:4326")
    codes = np.full((300, 300), 10, np.uint8)
    codes[100:120, 90:130] = 0
    path = buckets / "esa-worldcover" / MAP.format("v200", 2021, "N48E006")
    put(path, ((18_000, 18_000), codes), tile)
    source = Tiles(product="worldcover-v200")
    area, chip = box(7.505, 49.49, 7.52, 49.495), near(7.5125, 49.4925, 64, 10)
    (found,) = source.find(area, [STATIC])
    (raster,) = source.read([found], chip, STATIC)
    np.testing.assert_array_equal(raster.valid, raster.data != 0)
    assert 0 < raster.valid.mean() < 1
    keep_all(Case(source, area, [STATIC], chip))
    codes[110, 110] = 255
    put(path, ((18_000, 18_000), codes), tile)
    rasters._headers.clear()
    with pytest.raises(CorruptError, match="the legend lacks: 255") as caught:
        list(source.read([found], near(7.5125, 49.4925, 80, 10), STATIC))
    assert "recipe" not in f"{caught.value.hint}"


def test_only_files_that_the_bucket_has_are_items(buckets):
    for name in ("N48E006", "N48E009", "S03W180", "N00E177"):
        path = buckets / "esa-worldcover" / MAP.format("v100", 2020, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        path.with_name(path.name.replace("_Map", "_InputQuality")).write_bytes(b"x")
    source = Tiles(product="worldcover-v100")
    around = box(5.5, 47.5, 11, 52)
    assert [one.properties["cell"] for one in source.find(around, [STATIC])] == ["N48E006", "N48E009"]
    assert not list(source.find(box(-30, 30, -29, 31), [STATIC]))
    pacific = MultiPolygon([box(179, -2, 180, 1), box(-180, -2, -179, 1)])
    assert [one.properties["cell"] for one in source.find(pacific, [STATIC])] == ["N00E177", "S03W180"]
    with pytest.raises(SourceError, match="lists no map"):
        list(Tiles(product="worldcover", year=2021).find(around, [STATIC]))


def listed(buckets, *names):
    folder = buckets / "copernicus-dem-30m"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [DEM.format(name[:3], name[3:]) for name in names]
    (folder / "tileList.txt").write_text("\r\n".join(lines) + "\r\n")
    return [folder / line / f"{line}.tif" for line in lines]


def put_plane(path, rows, cols, **more):
    """Write a tile of heights, of which some rows and columns hold 100 x longitude + latitude at their centres."""
    match = re.search(r"_([NS]\d{2})_00_([EW]\d{3})_00", path.name)
    cell = Cell.named(match[1] + match[2])
    dx, dy = 1 / width(cell), 1 / 3600
    place = Affine(dx, 0, cell.west - dx / 2, 0, -dy, cell.south + 1 + dy / 2)
    lon, lat = cell.west + np.arange(width(cell))[cols] * dx, cell.south + 1 - np.arange(3600)[rows] * dy
    heights = (100 * lon[None] + lat[:, None]).astype(np.float32)
    put(path, ((rows.start, cols.start), heights), GeoBox((3600, width(cell)), place, "EPSG:4326"), **more)


def test_heights_are_at_centres_on_whole_degrees_across_a_change_of_width(buckets):
    for path, rows in zip(listed(buckets, "N49E006", "N50E006"), (slice(0, 400), slice(3200, 3600)), strict=True):
        put_plane(path, rows, slice(0, 800))
    source = Tiles(product="glo30")
    chip = GeoBox((200, 200), Affine(20, 0, 290_000, 0, -20, 5_545_000), "EPSG:32632")
    found = list(source.find(box(6.05, 49.95, 6.15, 50.05), [STATIC]))
    assert [one.properties["cell"] for one in found] == ["N50E006", "N49E006"]
    rasters = list(source.read(found, chip, STATIC))
    for raster, one in zip(rasters, found, strict=True):
        rows, cols = np.indices(tuple(raster.geobox.shape)) + 0.5
        lon, lat = raster.geobox.transform * (cols, rows)
        np.testing.assert_allclose(raster.data[0], 100 * lon + lat, rtol=0, atol=1e-3)
        assert raster.valid.all()
        # A pixel's centre lies on the whole degree.
        assert abs(((lon[0] - 6) * width(Cell.named(one.properties["cell"]))).round(6) % 1).max() < 1e-5
    # No row is missing or twice between the files.
    upper, lower = (raster.geobox.boundingbox for raster in rasters)
    assert upper.bottom == pytest.approx(lower.top, abs=1e-9)
    assert lower.top == pytest.approx(50 + 0.5 / 3600, abs=1e-9)
    attributes = source.describe().variables[0].attributes
    assert attributes["vertical_datum"].startswith("EGM2008")
    assert "DLR" in attributes["notice"]


@pytest.mark.parametrize(
    ("names", "at"),
    [
        (["N00E006"], (6.5, 0.5)),
        (["S51E006", "S50E006"], (6.5, -50)),
        (["N69E010", "N70E010"], (10.5, 70)),
        (["N84E010", "N85E010"], (10.5, 85)),
        (["S01W180", "S01E179"], (180, -0.5)),
        (["N60W180", "N60E179"], (-179.9995, 60.5)),
    ],
)
def test_heights_are_where_rasterio_finds_them(buckets, names, at):
    """In all widths, on both sides of the antimeridian, and where the width changes."""
    paths = {path.stem: path for path in listed(buckets, *names)}
    for name, path in zip(names, paths.values(), strict=True):
        cell = Cell.named(name)
        col = round(((at[0] - cell.west + 90) % 360 - 90) * width(cell))
        row = round((cell.south + 1 - at[1]) * 3600)
        rows, cols = (slice(max(0, k - 120), k + 120) for k in (row, col))
        put_plane(path, rows, cols, tags={"AREA_OR_POINT": "Point"})
    source, chip = Tiles(product="glo30"), near(*at, 64, 30)
    found = list(source.find(footprint(chip), [STATIC]))
    assert sorted(one.properties["cell"] for one in found) == sorted(names)
    for one in found:
        (raster,) = source.read([one], chip, STATIC)
        lon, lat = lonlat(raster.geobox)
        with rasterio.open(paths[one.id]) as file:
            about = file.bounds.left + 0.5
            rows, cols = rowcol(file.transform, (lon - about + 180) % 360 - 180 + about, lat)
            window = rasterio.windows.Window(cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1)
            expected = file.read(1, window=window)[rows - rows.min(), cols - cols.min()]
        np.testing.assert_array_equal(raster.data[0].ravel(), expected)
        assert expected.all()
        assert raster.valid.all()
    # Each pixel of the chip lies in one of the files.
    places = shapely.multipoints(np.stack(lonlat(chip), 1))
    assert shapely.union_all([one.footprint.buffer(1e-9) for one in found]).contains(places)


def test_it_keeps_the_rules_of_every_source(buckets):
    (path,) = listed(buckets, "N49E006")
    put_plane(path, slice(1500, 2100), slice(1500, 2100))
    keep_all(Case(Tiles(product="glo30"), box(6.45, 49.48, 6.55, 49.52), [STATIC], near(6.5, 49.5, 64, 30)))


def test_sea_is_not_in_the_dataset_and_half_a_pixel_counts(buckets):
    listed(buckets, "N48E006", "S01W180", "N00E179")
    source = Tiles(product="glo30")
    assert not list(source.find(box(7.5, 48.2, 7.6, 48.3), [STATIC]))
    half = 0.5 / 3600
    # A file begins half a pixel west of its degree and ends half a pixel before the next.
    assert list(source.find(box(6 - 0.9 * half, 48.2, 6 - 0.1 * half, 48.3), [STATIC]))
    assert not list(source.find(box(7 - 0.9 * half, 48.2, 7, 48.3), [STATIC]))
    (west,) = source.find(box(-180, -0.5, -179.9, -0.4), [STATIC])
    assert west.properties["cell"] == "S01W180"
    # Its first half pixel is on the other side of the antimeridian.
    (east,) = source.find(box(180 - half / 2, -0.5, 180, -0.4), [STATIC])
    assert east.id == west.id


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("N00E006", 3600), ("N49E006", 3600), ("N50E006", 2400), ("S50E006", 3600), ("S51E006", 2400),
        ("N60E006", 1800), ("S71E006", 1200), ("N80E006", 720), ("S86E006", 360), ("S90E006", 360),
    ],
)  # fmt: skip
def test_columns_by_latitude(name, columns):
    assert width(Cell.named(name)) == columns
    assert Cell.named(name).name == name


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"product": "worldcover"}, "say of which year"),
        ({"product": "worldcover", "year": 2019}, "no map of 2019"),
        ({"product": "worldcover-v100", "year": 2021}, "no map of v100 of 2021"),
        ({"product": "glo90"}, "no product 'glo90'"),
        ({"product": "glo30", "year": 2021}, "has no option 'year'"),
    ],
)
def test_what_is_refused_at_once(said, why):
    with pytest.raises(ConfigError, match=why):
        Tiles(**said)
