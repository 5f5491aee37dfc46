"""GeoTIFF and COG from afar: every layout gives the same pixels as from the file, and damage is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.transform import from_origin

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.sources._native import Window
from m3leo_prep.sources.remote import rasters
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.sources.remote.rasters import open_remote, read_many
from m3leo_prep.testing.web import RangeServer

ACCESS = Access("test-geotiff")
ROWS, COLS = 500, 700
LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {"compress": "none"},
    "deflate strips": {"compress": "deflate", "predictor": 2},
    "rows of one": {"compress": "lzw", "blockysize": 1},
    "tiles": {"tiled": True, "blockxsize": 128, "blockysize": 256, "compress": "zstd"},
    "bands apart": {"tiled": True, "blockxsize": 128, "blockysize": 128, "interleave": "band", "compress": "deflate"},
    "bands together": {"tiled": True, "blockxsize": 128, "blockysize": 128, "interleave": "pixel"},
    "BigTIFF": {"BIGTIFF": "YES", "tiled": True, "blockxsize": 256, "blockysize": 256},
    "big-endian": {"ENDIANNESS": "BIG", "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"},
    "COG": {"driver": "COG", "blocksize": 256, "compress": "deflate", "predictor": 2},
}


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    rasters._headers.clear()


def image(count: int = 3) -> NDArray[np.int16]:
    rng = np.random.default_rng(5)
    return rng.integers(-3000, 9000, (count, ROWS, COLS)).astype(np.int16)


def write(path: Path, data: NDArray[Any], **more: Any) -> None:
    profile = {"driver": "GTiff", "width": data.shape[2], "height": data.shape[1], "count": len(data)}
    profile |= {"dtype": data.dtype, "crs": "EPSG:32632", "transform": from_origin(5e5, 5.3e6, 20, 20)}
    with rasterio.open(path, "w", **{**profile, **more}) as file:
        file.write(data)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_gives_the_pixels_that_were_written(web: RangeServer, layout: str) -> None:
    data = image()
    write(web.folder / "a.tif", data, nodata=-9999, **LAYOUTS[layout])
    raster = open_remote(f"{web.url}/a.tif", ACCESS)
    assert (raster.shape, raster.dtype, raster.nodata, raster.count) == ((ROWS, COLS), np.int16, -9999, 3)
    assert str(raster.geobox.crs) == "EPSG:32632"
    assert raster.geobox.transform[:6] == (20, 0, 5e5, 0, -20, 5.3e6)
    for band, where in [(1, (0, 500, 0, 700)), (2, (255, 257, 100, 101)), (3, (499, 500, 690, 700))]:
        got = raster.read(Window(*where), band)
        np.testing.assert_array_equal(got, data[band - 1, where[0] : where[1], where[2] : where[3]])


def test_of_a_large_file_only_the_blocks_that_are_needed_travel(web: RangeServer) -> None:
    data = np.random.default_rng(1).integers(0, 2**16, (1, 2048, 2048)).astype(np.uint16)
    write(web.folder / "a.tif", data, driver="COG", blocksize=256, compress="deflate", overviews="none")
    raster = open_remote(f"{web.url}/a.tif", ACCESS)
    web.requests.clear()
    np.testing.assert_array_equal(raster.read(Window(300, 700, 300, 500)), data[0, 300:700, 300:500])
    assert len(web.requests) == 2, "one for each row of blocks"
    assert sum(request.sent for request in web.requests) < 2.1 * 256 * 256 * 2


def test_tables_that_lie_far_from_the_beginning_are_fetched(web: RangeServer) -> None:
    data = np.random.default_rng(1).integers(0, 255, (1, 400, 400)).astype(np.uint8)
    write(web.folder / "a.tif", data, blockysize=1, compress="deflate")
    with rasterio.open(web.folder / "a.tif", "r+") as file:
        # Rewritten, the tags lie at the end.
        file.update_tags(note="x" * 500)
    assert (web.folder / "a.tif").stat().st_size > 2 * rasters.HEAD_BYTES
    raster = open_remote(f"{web.url}/a.tif", ACCESS)
    np.testing.assert_array_equal(raster.read(Window(0, 400, 0, 400)), data[0])


def test_what_a_file_says_of_its_bands_and_points_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    points = [GroundControlPoint(r, c, 10 + c / 100, 50 - r / 100, 7.5) for r in (0, 60) for c in (0, 80)]
    with rasterio.open(
        path, "w", driver="GTiff", width=80, height=60, count=1, dtype="uint16", gcps=points, crs="EPSG:4326"
    ) as file:
        file.write(np.full((60, 80), 3, np.uint16), 1)
        file.scales, file.offsets = (1e-4,), (-0.1,)
        file.set_band_description(1, "red")
    raster = open_remote(str(path), ACCESS)
    assert raster.geobox is None
    np.testing.assert_allclose(raster.gcps, [(p.row, p.col, p.x, p.y, p.z) for p in points])
    (band,) = raster.bands
    assert (band.name, band.scale, band.offset) == ("red", 1e-4, -0.1)


def test_blocks_that_are_not_stored_hold_no_data(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    profile = {"width": 256, "height": 256, "count": 1, "dtype": "int16", "nodata": -5, "crs": "EPSG:32632"}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        tiled=True,
        blockxsize=128,
        blockysize=128,
        SPARSE_OK="TRUE",
        transform=from_origin(5e5, 5.3e6, 20, 20),
        **profile,
    ) as file:
        file.write(np.full((128, 128), 9, np.int16), 1, window=((0, 128), (0, 128)))
    got = open_remote(str(path), ACCESS).read(Window(0, 256, 0, 256))
    assert (got[:128, :128] == 9).all()
    assert (got[128:] == -5).all()
    assert (got[:, 128:] == -5).all()


@pytest.mark.parametrize("compress", ["none", "deflate"])
def test_a_truncated_file_is_damaged_where_it_ends_and_whole_before(web: RangeServer, compress: str) -> None:
    data = image(1)
    # A COG has its tables at the beginning.
    write(web.folder / "a.tif", data, driver="COG", blocksize=128, compress=compress, overviews="none")
    whole = (web.folder / "a.tif").read_bytes()
    (web.folder / "a.tif").write_bytes(whole[: len(whole) // 2])
    raster = open_remote(f"{web.url}/a.tif", ACCESS)
    np.testing.assert_array_equal(raster.read(Window(0, 100, 0, 700)), data[0, :100])
    with pytest.raises(CorruptError, match="is truncated: the block in row 3, column 5 lies beyond its end"):
        raster.read(Window(400, 500, 650, 700))


def test_a_block_with_turned_bits_is_damaged_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, image(1), driver="COG", blocksize=128, compress="deflate", overviews="none")
    raster = open_remote(str(path), ACCESS)
    first = int(raster.layout.offsets[0, 1, 2])  # type: ignore[attr-defined]  # a Tiff
    data = bytearray(path.read_bytes())
    data[first + 50 : first + 80] = bytes(30)
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="the block in row 1, column 2 is damaged"):
        raster.read(Window(130, 200, 260, 300))


@pytest.mark.parametrize(
    "data", [b"", b"II*\0", b"II*\0\x08\0\0\0\xff\xff", b"<html>no</html>", b"MM\0*" + b"\xff" * 500, b"GRIB" * 9]
)
def test_what_is_no_raster_is_damaged(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(CorruptError) as caught:
        open_remote(str(tmp_path / "a.tif"), ACCESS)
    assert caught.value.where.endswith("a.tif")


def test_real_files_of_many_makers_are_read_bit_for_bit(shared_data: Path) -> None:
    paths = sorted(path for name in ("s1_grd", "s2", "dem", "labels") for path in shared_data.glob(f"{name}/**/*.tif"))
    read = 0
    for path in paths[::3]:
        raster = open_remote(str(path), ACCESS)
        rows, cols = raster.shape
        if rows * cols > 5e6:
            continue
        where = Window(rows // 3, rows // 2 + 1, cols // 3, cols // 2 + 1)
        with rasterio.open(path) as file:
            wanted = file.read(1, window=((where.row0, where.row1), (where.col0, where.col1)))
        np.testing.assert_array_equal(raster.read(where), wanted, err_msg=str(path))
        read += 1
    assert read > 5


@pytest.mark.parametrize("layout", ["deflate strips", "tiles", "bands apart", "BigTIFF", "big-endian", "COG"])
def test_the_mask_inside_a_file_is_a_band_more(web: RangeServer, layout: str) -> None:
    data, path = image(), web.folder / "a.tif"
    seen = np.add.outer(np.arange(ROWS), np.arange(COLS)) % 7 > 2
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        plain = {"driver": "GTiff"} if layout == "COG" else LAYOUTS[layout]
        write(path, data, **plain)
        with rasterio.open(path, "r+") as file:
            # Smaller copies first, so that the mask is not the next image.
            file.build_overviews([2, 4])
            file.write_mask(seen)
        if layout == "COG":
            rasterio.shutil.copy(path, web.folder / "b.tif", **LAYOUTS["COG"])
            path = web.folder / "b.tif"
    raster = open_remote(f"{web.url}/{path.name}", ACCESS)
    assert (raster.count, raster.mask) == (3, 4)
    wanted = [(raster, band, Window(200, 430, 100, 300)) for band in (2, 4)]
    pixels, mask = read_many(wanted)
    np.testing.assert_array_equal(pixels, data[1, 200:430, 100:300])
    np.testing.assert_array_equal(mask > 0, seen[200:430, 100:300])
    np.testing.assert_array_equal(raster.read(Window(499, 500, 600, 700), 4)[0] > 0, seen[499, 600:700])


def test_of_a_file_whose_mask_is_not_stored_everywhere_nothing_is_seen_there(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    seen = np.zeros((ROWS, COLS), bool)
    seen[:200, :200] = True
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(path, image(), **LAYOUTS["tiles"], SPARSE_OK=True)
        with rasterio.open(path, "r+") as file:
            file.write_mask(seen)
    raster = open_remote(str(path), ACCESS)
    np.testing.assert_array_equal(raster.read(Window(0, ROWS, 0, COLS), 4) > 0, seen)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.dataset_mask() > 0, seen)


@pytest.mark.parametrize("interleave", ["band", "pixel"])
def test_an_alpha_band_is_the_mask(tmp_path: Path, interleave: str) -> None:
    data = image(2).astype(np.uint8)
    data[1] = 255 * (np.arange(COLS) % 3 > 0)
    write(tmp_path / "a.tif", data, ALPHA="YES", interleave=interleave)
    raster = open_remote(str(tmp_path / "a.tif"), ACCESS)
    assert (raster.count, raster.mask) == (2, 2)
    np.testing.assert_array_equal(raster.read(Window(0, 9, 0, COLS), 2), data[1, :9])


def test_tables_in_a_circle_end(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, image(1), compress="deflate")
    raw = bytearray(path.read_bytes())
    first = int.from_bytes(raw[4:8], "little")
    behind = first + 2 + 12 * int.from_bytes(raw[first : first + 2], "little")
    raw[behind : behind + 4] = first.to_bytes(4, "little")
    path.write_bytes(raw)
    assert open_remote(str(path), ACCESS).mask is None
