"""JPEG 2000 from afar: the same pixels as from the file, few requests, and never zeros out of what is not there."""

from __future__ import annotations

import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.sources._native import Window
from m3leo_prep.sources.remote import rasters, reading
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.sources.remote.blocks import BlockCache, PieceCache
from m3leo_prep.sources.remote.codestream import main_header
from m3leo_prep.sources.remote.files import usage
from m3leo_prep.sources.remote.jp2 import Jp2
from m3leo_prep.sources.remote.precincts import precincts
from m3leo_prep.sources.remote.rasters import RemoteRaster, open_many, open_remote, read_many
from m3leo_prep.testing.web import RangeServer

SIDE, BLOCK = 1000, 128
"""Eight by eight tiles, the last of 104 px."""
SOT = b"\xff\x90\x00\x0a"


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    rasters._headers.clear()
    monkeypatch.setattr(reading.read, "__defaults__", (BlockCache(), PieceCache()))


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint16]:
    """Noise, with a smooth third and a flat one, so that the sizes of tiles differ a thousandfold."""
    rng = np.random.default_rng(3)
    made = rng.integers(1000, 9000, (SIDE, SIDE))
    made[300:600] = 2000 + np.arange(SIDE)
    made[600:900, :700] = 1234
    return made.astype(np.uint16)


@pytest.fixture(scope="module")
def made(pixels: NDArray[np.uint16], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same image without tables of its tiles, and with them."""
    folder = tmp_path_factory.mktemp("jp2")
    for name, more in {"plain": {}, "tlm": {"TLM": "YES", "PLT": "YES"}, "plt": {"PLT": "YES"}}.items():
        write(folder / f"{name}.jp2", pixels[None], **more)
    write(folder / "colour.jp2", np.stack([pixels, pixels.T, pixels[::-1]]))
    return folder


def write(path: Path, data: NDArray[np.uint16], **more: Any) -> None:
    profile = {"width": data.shape[2], "height": data.shape[1], "count": len(data), "dtype": "uint16"}
    profile |= {"crs": "EPSG:32631", "transform": from_origin(399_960, 4_800_000, 10, 10)}
    options = {"QUALITY": 100, "REVERSIBLE": "YES", "RESOLUTIONS": 6, "blockxsize": BLOCK, "blockysize": BLOCK}
    with rasterio.open(path, "w", driver="JP2OpenJPEG", **{**profile, **options, **more}) as file:
        file.write(data)


def access(**more: Any) -> Access:
    return Access(f"test-{threading.get_ident()}-{np.random.default_rng().integers(2**62)}", **more)


def served(web: RangeServer, path: Path, data: bytes | None = None) -> RemoteRaster:
    (web.folder / path.name).write_bytes(path.read_bytes() if data is None else data)
    return open_remote(f"{web.url}/{path.name}", access())


def window(raster: RemoteRaster, row: int, col: int) -> Window:
    """The pixels of one block."""
    (height, width), (rows, cols) = raster.block, raster.shape
    return Window(row * height, min((row + 1) * height, rows), col * width, min((col + 1) * width, cols))


def tile_parts(data: bytes) -> list[tuple[int, int]]:
    """Offset and length of each tile-part, by the lengths that they tell."""
    place, found = data.index(SOT), []
    while data[place : place + 4] == SOT:
        length = struct.unpack(">I", data[place + 6 : place + 10])[0] or len(data) - place
        found.append((place, length))
        place += length
    return found


@pytest.mark.parametrize("name", ["plain", "tlm", "plt"])
@pytest.mark.parametrize(
    "where", [(0, 1000, 0, 1000), (127, 129, 500, 501), (999, 1000, 999, 1000), (310, 640, 100, 420)]
)
def test_any_window_is_as_the_image_that_was_written(
    made: Path, pixels: NDArray[np.uint16], web: RangeServer, name: str, where: tuple[int, int, int, int]
) -> None:
    raster = served(web, made / f"{name}.jp2")
    assert raster.block == (BLOCK, BLOCK)
    assert str(raster.geobox.crs) == "EPSG:32631"
    assert raster.geobox.transform[:6] == (10, 0, 399_960, 0, -10, 4_800_000)
    assert (raster.shape, raster.dtype, raster.count, len(raster.gcps)) == ((SIDE, SIDE), np.uint16, 1, 0)
    got = raster.read(Window(*where))
    np.testing.assert_array_equal(got, pixels[where[0] : where[1], where[2] : where[3]])
    assert not got.flags.writeable


def test_a_real_tile_of_sentinel_2_is_read_bit_for_bit(shared_data: Path) -> None:
    (path,) = shared_data.rglob("T31TDH_20180101T105441_B01.jp2")
    raster = open_remote(str(path), access())
    with rasterio.open(path) as file:
        # Its blocks of 192 px begin where those of the wavelets do not.
        wanted = file.read(1, window=((370, 800), (1500, 1830)))
    np.testing.assert_array_equal(raster.read(Window(370, 800, 1500, 1830)), wanted)
    assert raster.block == (192, 192)
    assert str(raster.geobox.crs) == "EPSG:32631"


def test_bands_of_one_file_are_told_apart(made: Path, pixels: NDArray[np.uint16]) -> None:
    raster = open_remote(str(made / "colour.jp2"), access())
    assert raster.count == 3
    for band, wanted in enumerate((pixels, pixels.T, pixels[::-1]), 1):
        np.testing.assert_array_equal(raster.read(Window(100, 300, 0, 50), band), wanted[100:300, :50])


def test_a_bare_codestream_is_read_too(made: Path, pixels: NDArray[np.uint16], tmp_path: Path) -> None:
    data = (made / "plain.jp2").read_bytes()
    (tmp_path / "bare.j2k").write_bytes(data[data.index(b"\xff\x4f\xff\x51") :])
    raster = open_remote(str(tmp_path / "bare.j2k"), access())
    assert raster.geobox is None
    np.testing.assert_array_equal(raster.read(Window(5, 400, 5, 400)), pixels[5:400, 5:400])


def test_with_a_table_only_the_tiles_that_are_needed_travel(made: Path, web: RangeServer) -> None:
    raster = served(web, made / "tlm.jp2")
    web.requests.clear()
    raster.read(Window(0, 300, 0, 256))
    lengths = [length for _, length in tile_parts((made / "tlm.jp2").read_bytes())]
    assert len(web.requests) <= 3
    needed = sum(lengths[8 * row + col] for row in range(3) for col in range(2))
    assert sum(request.sent for request in web.requests) < needed + 3 * 64 * 2**10
    requests, count = usage(raster.access)
    assert requests == len(web.requests) + 1
    assert count > needed


@pytest.mark.parametrize("row", [0, 3, 5, 7])
def test_without_a_table_a_tile_is_found_by_few_requests(
    made: Path, pixels: NDArray[np.uint16], web: RangeServer, row: int
) -> None:
    raster = served(web, made / "plain.jp2")
    web.requests.clear()
    one = window(raster, row, 6)
    np.testing.assert_array_equal(raster.read(one), pixels[one.row0 : one.row1, one.col0 : one.col1])
    # To go from tile to tile would be a request for each.
    assert len(web.requests) <= 5
    web.requests.clear()
    # Where a neighbour was seen, its beginning is known.
    raster.read(window(raster, row, 7))
    assert len(web.requests) <= 2


def test_a_table_that_is_wrong_is_not_believed(made: Path, pixels: NDArray[np.uint16], tmp_path: Path) -> None:
    data = bytearray((made / "tlm.jp2").read_bytes())
    place = data.index(b"\xff\x55") + 6
    first, second = data[place + 1 : place + 5], data[place + 6 : place + 10]
    assert first != second
    data[place + 1 : place + 5], data[place + 6 : place + 10] = second, first
    (tmp_path / "wrong.jp2").write_bytes(data)
    raster = open_remote(str(tmp_path / "wrong.jp2"), access())
    np.testing.assert_array_equal(raster.read(Window(0, 128, 0, 384)), pixels[:128, :384])


@pytest.mark.parametrize("name", ["plain", "tlm"])
def test_a_truncated_file_is_damaged_where_it_ends_and_whole_before(
    made: Path, pixels: NDArray[np.uint16], web: RangeServer, name: str
) -> None:
    data = (made / f"{name}.jp2").read_bytes()
    first, length = tile_parts(data)[20]
    raster = served(web, Path("cut.jp2"), data[: first + length // 2])
    good = window(raster, 2, 3)
    np.testing.assert_array_equal(raster.read(good), pixels[good.row0 : good.row1, good.col0 : good.col1])
    for row, col in [(2, 4), (2, 5), (7, 7)]:
        with pytest.raises(CorruptError, match=rf"row {row}, column {col} is damaged.*") as caught:
            raster.read(window(raster, row, col))
        assert caught.value.where.endswith("cut.jp2")


def test_a_hole_of_zeros_is_damage_though_gdal_makes_pixels_of_it(
    made: Path, pixels: NDArray[np.uint16], tmp_path: Path
) -> None:
    data = bytearray((made / "plain.jp2").read_bytes())
    first, length = tile_parts(bytes(data))[4]
    data[first + length // 2 : first + length] = bytes(length - length // 2)
    path = tmp_path / "hole.jp2"
    path.write_bytes(data)
    raster = open_remote(str(path), access())
    where = window(raster, 0, 4)
    with rasterio.Env(GDAL_NUM_THREADS="1"), rasterio.open(path) as file:
        silent = file.read(1, window=((where.row0, where.row1), (where.col0, where.col1)))
    assert (silent != pixels[where.row0 : where.row1, where.col0 : where.col1]).any()
    with pytest.raises(CorruptError, match="row 0, column 4 is damaged: it holds 1024 zero bytes"):
        raster.read(where)
    np.testing.assert_array_equal(raster.read(window(raster, 0, 5)), pixels[:128, 640:768])


def test_what_only_the_decoder_notices_is_damaged_and_not_zeros(made: Path, tmp_path: Path) -> None:
    data = bytearray((made / "plain.jp2").read_bytes())
    first, _ = tile_parts(bytes(data))[4]
    begins = data.index(b"\xff\x93", first)
    data[begins : begins + 2] = b"\xff\x01"
    (tmp_path / "packets.jp2").write_bytes(data)
    raster = open_remote(str(tmp_path / "packets.jp2"), access())
    with pytest.raises(CorruptError, match="row 0, column 4 is damaged"):
        raster.read(window(raster, 0, 4))


def test_a_tile_without_its_mark_is_damaged(made: Path, tmp_path: Path) -> None:
    data = bytearray((made / "plain.jp2").read_bytes())
    data[tile_parts(bytes(data))[10][0]] = 0
    (tmp_path / "mark.jp2").write_bytes(data)
    raster = open_remote(str(tmp_path / "mark.jp2"), access())
    with pytest.raises(CorruptError, match=r"damaged"):
        raster.read(window(raster, 1, 2))


@pytest.mark.parametrize("cut", [0, 5, 40, 150])
def test_what_is_cut_in_its_header_is_no_raster(made: Path, tmp_path: Path, cut: int) -> None:
    (tmp_path / "short.jp2").write_bytes((made / "plain.jp2").read_bytes()[:cut])
    with pytest.raises(CorruptError):
        open_remote(str(tmp_path / "short.jp2"), access())


def test_tiles_in_an_unknown_number_of_parts_are_read_from_the_whole_file(
    made: Path, pixels: NDArray[np.uint16], web: RangeServer
) -> None:
    data = bytearray((made / "plain.jp2").read_bytes())
    data[data.index(SOT) + 11] = 0
    raster = served(web, Path("parts.jp2"), bytes(data))
    np.testing.assert_array_equal(raster.read(Window(100, 300, 100, 300)), pixels[100:300, 100:300])


def test_threads_that_want_one_block_decode_it_once(
    made: Path, pixels: NDArray[np.uint16], monkeypatch: pytest.MonkeyPatch
) -> None:
    raster = open_remote(str(made / "plain.jp2"), access())
    assert not raster.layout.cuts, "it does not tell the lengths of its packets"
    decoded: list[object] = []
    keep = BlockCache.keep
    monkeypatch.setattr(BlockCache, "keep", lambda *a, **k: (decoded.append(a[1]), keep(*a, **k))[1])
    start = threading.Barrier(6)

    def read(number: int) -> bool:
        start.wait()
        col = 100 * (number % 3)
        return bool((raster.read(Window(0, 256, col, col + 300)) == pixels[:256, col : col + 300]).all())

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, range(6)))
    assert len(decoded) == len(set(decoded)) == 8


# -- parts of tiles ----------------------------------------------------------------------------------------------------

PRECINCTS = {
    "as Sentinel-2": {"PRECINCTS": "{64,64},{64,64},{64,64},{64,64},{64,64}", "RESOLUTIONS": 5},
    "not square": {"PRECINCTS": "{32,128},{64,32},{32,32}", "RESOLUTIONS": 3, "PROGRESSION": "RPCL"},
    "lossy": {"PRECINCTS": "{64,64},{64,64},{64,64}", "RESOLUTIONS": 4, "REVERSIBLE": "NO", "QUALITY": 40},
    "markers between": {"PRECINCTS": "{64,64},{64,64},{64,64}", "SOP": "YES", "EPH": "YES"},
    "other order": {"PRECINCTS": "{64,64},{64,64},{64,64}", "PROGRESSION": "PCRL"},
    "layers": {"PRECINCTS": "{64,64},{64,64},{64,64}", "QUALITY": "20,50,100"},
}
CUT = {"as Sentinel-2", "not square", "lossy"}
EDGE = 160
"""Of a tile: every other one begins where no precinct of 64 does."""


@pytest.mark.parametrize("name", PRECINCTS)
def test_part_of_a_tile_is_as_if_all_of_it_were_decoded(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(4)
    data = rng.integers(0, 9000, (1, 400, 330)).astype(np.uint16)
    path = tmp_path / "a.jp2"
    write(path, data, blockxsize=EDGE, blockysize=EDGE, PLT="YES", **PRECINCTS[name])
    raster = open_remote(str(path), access())
    assert raster.layout.cuts == (name in CUT)
    with rasterio.Env(GDAL_NUM_THREADS="1"), rasterio.open(path) as file:
        whole = file.read(1)
    for _ in range(12):
        (a, b), (c, d) = (np.sort(rng.choice(side + 1, 2, replace=False)) for side in whole.shape)
        b, d = min(b, a + 90), min(d, c + 90)
        np.testing.assert_array_equal(raster.read(Window(int(a), int(b), int(c), int(d))), whole[a:b, c:d])


def test_packets_that_a_part_does_not_need_are_empty(tmp_path: Path) -> None:
    data = np.random.default_rng(4).integers(0, 9000, (1, 512, 512)).astype(np.uint16)
    path = tmp_path / "a.jp2"
    write(path, data, blockxsize=512, blockysize=512, PLT="YES", **PRECINCTS["as Sentinel-2"])
    coded = path.read_bytes()
    layout = Jp2(main_header(coded, len(coded)), coded, len(coded), "a.jp2")
    ((first, length),) = tile_parts(coded)
    part, divided = coded[first : first + length], precincts(layout.main)
    assert divided is not None
    tile = (0, 0, 512, 512)
    assert len(divided.thinned(part, tile, (0, 512), (0, 512)) or b"") == length - 2 - part[14] * 256 - part[15]
    corner = divided.thinned(part, tile, (0, 50), (0, 50))
    assert corner is not None
    # One of 64 at the finest resolution, 1 of 16 at the next, 4 of 4 (it reaches too far) and all of the rest.
    assert len(corner) < length * (1 / 64 + 1 / 64 + 1 / 16 + 0.02)
    # Lengths that are not those of the packets are not believed.
    assert divided.thinned(part[:-1], tile, (0, 50), (0, 50)) is None
    assert divided.thinned(part, (0, 0, 512, 448), (0, 50), (0, 50)) is None


@pytest.mark.parametrize("name", ["tlm", "plain"])
def test_a_window_beside_another_fetches_no_byte_again(
    made: Path, pixels: NDArray[np.uint16], web: RangeServer, name: str
) -> None:
    raster = served(web, made / f"{name}.jp2")
    raster.read(Window(0, 300, 0, 300))
    web.requests.clear()
    np.testing.assert_array_equal(raster.read(Window(256, 384, 256, 384)), pixels[256:384, 256:384])
    assert not web.requests
    raster.read(Window(0, 300, 300, 400))
    beyond = sum(length for _, length in tile_parts((made / f"{name}.jp2").read_bytes())[3:24:8])
    assert sum(request.sent for request in web.requests) < beyond + 3 * 64 * 2**10


def test_the_cache_holds_no_more_than_it_may() -> None:
    cache = BlockCache(limit=10_000)
    for key in range(8):
        assert cache.claim(key) is None
        cache.keep(key, np.zeros((1, 30, 50), np.uint16))
    assert cache.nbytes == 9_000
    assert cache.claim(7) is not None
    assert cache.claim(0) is None
    pieces = PieceCache(limit=100)
    for key in (0, 1, 2, 1):
        pieces.keep(key, bytes(40))
    assert [pieces.get(key) is not None for key in range(3)] == [False, True, True]


def test_who_waits_for_a_block_that_fails_is_told(made: Path, tmp_path: Path) -> None:
    data = (made / "tlm.jp2").read_bytes()
    first, length = tile_parts(data)[0]
    (tmp_path / "bad.jp2").write_bytes(data[: first + 40] + bytes(length) + data[first + 40 + length :])
    raster = open_remote(str(tmp_path / "bad.jp2"), access())

    def fault(_: int) -> str:
        try:
            raster.read(Window(0, 50, 0, 50))
        except CorruptError as error:
            return error.message
        return ""

    with ThreadPoolExecutor(4) as pool:
        assert all("row 0, column 0" in text for text in pool.map(fault, range(4)))


def test_many_files_are_read_at_once_in_order(made: Path, pixels: NDArray[np.uint16], web: RangeServer) -> None:
    names = ["plain.jp2", "tlm.jp2", "plt.jp2"]
    for name in names:
        (web.folder / name).write_bytes((made / name).read_bytes())
    web.latency = 0.01
    one = access(connections=3)
    raster = open_many([(f"{web.url}/{name}", one) for name in names])
    wanted = [(raster[k % 3], 1, Window(100 * k, 100 * k + 90, 0, 200)) for k in range(9)]
    for k, found in enumerate(read_many(wanted)):
        np.testing.assert_array_equal(found, pixels[100 * k : 100 * k + 90, :200])


@pytest.mark.parametrize("where", [Window(0, 1001, 0, 5), Window(-1, 3, 0, 5), Window(5, 5, 0, 5)])
def test_what_is_not_in_the_raster_cannot_be_asked(made: Path, where: Window) -> None:
    raster = open_remote(str(made / "tlm.jp2"), access())
    with pytest.raises(ValueError, match="not"):
        raster.read(where)
    with pytest.raises(ValueError, match="band 2"):
        raster.read(Window(0, 1, 0, 1), 2)
