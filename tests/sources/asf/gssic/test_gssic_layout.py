"""Parts of a GeoTIFF decoded without the rest of it, against GDAL on the whole file."""

import numpy as np
import pytest
import rasterio

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.sources.asf.gssic.layout import HEADER_BYTES, decode, layout
from m3leo_prep.sources.asf.gssic.tiles import Tile
from m3leo_prep.testing.earthdata.files.gssic import stored, write_tile
from tests.sources.asf.gssic.gssic_archive import smooth

TILE = Tile.named("N48W090")
NAME = "N48W090_fall_vv_COH12"


def file_of(tmp_path, metric="COH12", **options):
    pixels = stored(metric, smooth(7, 0.05, 0.9))
    path = write_tile(tmp_path, f"N48W090_fall_vv_{metric}", pixels, **options)
    return path, path.read_bytes(), pixels


def test_the_writer_lays_a_file_out_as_the_archive_does(tmp_path):
    """As the header of N42W090_fall_vv_COH12.tif: strips of 6 rows, LZW, the first at byte 1990."""
    path, data, _ = file_of(tmp_path)
    with rasterio.open(path) as file:
        assert file.block_shapes == [(6, 1200)]
        assert (file.compression.name, file.nodata, file.dtypes[0]) == ("lzw", 0, "uint8")
        assert file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1) == "1990"
        assert file.bounds == (-90, 47, -89, 48)
    found = layout(data[:HEADER_BYTES], len(data), TILE, str(path))
    assert found.rows == 120
    assert len(found.spans) == 10
    assert all(len(spans) == 1 for spans in found.spans)
    assert found.spans[0][0][0] == 1990
    assert found.spans[-1][-1][1] == len(data)


@pytest.mark.parametrize(
    ("metric", "options"),
    [
        ("COH12", {}),
        ("AMP", {}),
        ("AMP", {"predictor": 2, "compress": "deflate"}),
        ("COH12", {"compress": None}),
        ("AMP", {"tiled": True, "blockxsize": 256, "blockysize": 256}),
        ("COH12", {"BIGTIFF": "YES"}),
        ("AMP", {"ENDIANNESS": "BIG"}),
    ],
)
def test_groups_of_rows_are_what_gdal_reads(tmp_path, metric, options):
    path, data, pixels = file_of(tmp_path, metric, **options)
    found = layout(data[:HEADER_BYTES], len(data), TILE, str(path))
    for group in (0, 3, len(found.spans) - 1):
        parts = [data[first:stop] for first, stop in found.spans[group]]
        assert len(b"".join(parts)) < len(data) / 3
        got = found.decode(group, parts, str(path))
        np.testing.assert_array_equal(got, pixels[group * found.rows : (group + 1) * found.rows])
    np.testing.assert_array_equal(decode(data, str(path), TILE), pixels)


def test_tags_beyond_the_first_bytes_are_no_empty_file(tmp_path):
    path, data, _ = file_of(tmp_path)
    assert layout(data[:512], len(data), TILE, str(path)) is None
    assert layout(data[:100], len(data), TILE, str(path)) is None


def test_a_strip_that_is_not_stored_is_not_guessed(tmp_path):
    pixels = np.zeros((1200, 1200), np.uint8)
    pixels[:60] = 7
    path = write_tile(tmp_path, NAME, pixels, SPARSE_OK="TRUE")
    data = path.read_bytes()
    assert layout(data[:HEADER_BYTES], len(data), TILE, str(path)) is None
    np.testing.assert_array_equal(decode(data, str(path), TILE), pixels)


def test_another_tile_is_told(tmp_path):
    path, data, _ = file_of(tmp_path)
    for name in ("N47W090", "N48W089"):
        assert layout(data[:HEADER_BYTES], len(data), Tile.named(name), str(path)) is None
        with pytest.raises(CorruptError, match="not the tile"):
            decode(data, str(path), Tile.named(name))


def test_floats_are_told(tmp_path):
    path = write_tile(tmp_path, NAME, np.zeros((1200, 1200), np.float32))
    with pytest.raises(CorruptError, match="float32"):
        decode(path.read_bytes(), str(path), TILE)


def test_damage_is_told_where_it_is(tmp_path):
    path, data, pixels = file_of(tmp_path)
    found = layout(data[:HEADER_BYTES], len(data), TILE, str(path))
    first, stop = found.spans[4][0]
    broken = data[:first] + bytes(stop - first) + data[stop:]
    with pytest.raises(CorruptError, match="rows 480-600"):
        found.decode(4, [broken[first:stop]], str(path))
    with pytest.raises(CorruptError, match="cannot be decoded"):
        decode(broken, str(path), TILE)
    np.testing.assert_array_equal(decode(broken, str(path), TILE, 0, 120), pixels[:120])
