"""Pixels through the wire: nothing is 0 that was masked, and pieces are the whole, bit for bit."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from m3leo_prep.core.errors import ConfigError, SourceError, TransientError, TriedOut
from m3leo_prep.sources.gee.reading.decode import decode
from m3leo_prep.sources.gee.reading.pixels import Pixels, fetch
from m3leo_prep.sources.gee.reading.requests import Band, Request, pieces
from m3leo_prep.sources.gee.service.session import session
from m3leo_prep.testing.earth_engine.serving import faults
from tests.sources.gee.scenes import X0, Y0, Shelf, band, pair, window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from m3leo_prep.testing.earth_engine import StandIn

ROWS, COLS = 200, 150
FLOAT = float(np.finfo(np.float32).min)


@pytest.fixture
def numbers(earth_engine: StandIn) -> dict[str, NDArray[Any]]:
    """Put one image ``T/one`` on the shelf and return what its bands hold, NaN where it is masked."""
    rng = np.random.default_rng(3)
    there = rng.random((ROWS, COLS)) > 0.3
    made = {
        "byte": rng.integers(0, 256, (ROWS, COLS)).astype("uint8"),
        "small": rng.integers(-3000, 3000, (ROWS, COLS)).astype("int16"),
        "word": rng.integers(0, 65_536, (ROWS, COLS)).astype("uint16"),
        "real": rng.normal(size=(ROWS, COLS)).astype("float32"),
    }
    made["byte"][0, 0] = made["small"][0, 0] = 0
    there[0, 0] = True
    scene, _ = pair("T", "one", [band(name, array, there, dtype=str(array.dtype)) for name, array in made.items()])
    earth_engine.archive = Shelf([scene])
    return {name: np.where(there, array, np.nan) for name, array in made.items()}


def image() -> Any:
    import ee

    session()
    return ee.Image("T/one")


BANDS = (
    Band("byte", "int16", -32_768),
    Band("real", "float32", FLOAT),
    Band("small", "int16", -32_768),
    Band("word", "int32", -(2**31)),
)


def same(pixels: Pixels, numbers: dict[str, NDArray[Any]], rows: slice, cols: slice) -> None:
    for one in pixels.bands:
        (values,), (valid,) = pixels.stack([one.name])
        expected = numbers[one.name][rows, cols]
        np.testing.assert_array_equal(valid, np.isfinite(expected))
        np.testing.assert_array_equal(values[valid], expected[valid])
        assert values.dtype == one.dtype


def test_values_of_every_type_arrive_and_masked_pixels_are_none(
    earth_engine: StandIn, numbers: dict[str, NDArray[Any]]
) -> None:
    pixels = fetch(image(), BANDS, window(100, 90, down=40, right=30), what="a test")
    same(pixels, numbers, slice(40, 140), slice(30, 120))
    (asked,) = earth_engine.asked("computePixels")
    assert asked.bands == ["byte", "real", "small", "word"]
    assert asked.grid["affineTransform"]["translateX"] == X0 + 300
    assert asked.grid["affineTransform"]["translateY"] == Y0 - 400
    assert asked.tag == "m3leo-prep"


def test_a_zero_is_a_value_and_a_masked_pixel_is_not(earth_engine: StandIn, numbers: dict[str, NDArray[Any]]) -> None:
    pixels = fetch(image(), BANDS, window(20, 20), what="a test")
    values, valid = pixels.stack(["byte", "small"])
    assert valid[:, 0, 0].all()
    assert (values[:, 0, 0] == 0).all()
    assert not valid.all()
    assert (values[~valid] == -32_768).all()
    assert earth_engine.asked("computePixels")
    assert np.isnan(numbers["byte"][:20, :20]).any()


def test_a_window_beyond_the_image_is_masked_not_zero(earth_engine: StandIn, numbers: dict[str, NDArray[Any]]) -> None:
    pixels = fetch(image(), BANDS, window(30, 30, down=ROWS - 10, right=COLS - 10), what="a test")
    _, valid = pixels.stack(["real"])
    assert not valid[:, 10:].any()
    assert not valid[:, :, 10:].any()
    assert earth_engine.requests
    assert np.isfinite(numbers["real"]).any()


def test_bands_of_one_type_stack_in_any_order(earth_engine: StandIn, numbers: dict[str, NDArray[Any]]) -> None:
    pixels = fetch(image(), BANDS, window(20, 20), what="a test")
    forth, _ = pixels.stack(["byte", "small"])
    back, _ = pixels.stack(["small", "byte"])
    np.testing.assert_array_equal(forth, back[::-1])
    assert np.shares_memory(forth, pixels.arrays["int16"])
    with pytest.raises(ValueError, match="too many values"):
        pixels.stack(["byte", "real"])
    assert earth_engine.requests
    assert numbers


def test_nan_and_infinity_are_no_values() -> None:
    pixels = Pixels.empty([Band("real", "float32", FLOAT)], (1, 4))
    pixels.arrays["float32"][0] = [[1, np.nan, np.inf, FLOAT]]
    np.testing.assert_array_equal(pixels.stack(["real"])[1], [[[True, False, False, False]]])


@pytest.mark.parametrize("fault", [faults.timed_out(), faults.out_of_memory()], ids=lambda fault: fault.name)
@pytest.mark.parametrize("work", [8000, 20_000])
def test_pieces_of_what_is_too_much_are_the_whole_bit_for_bit(
    earth_engine: StandIn, numbers: dict[str, NDArray[Any]], fault: faults.Fault, work: int
) -> None:
    box = window(ROWS, COLS)
    whole = fetch(image(), BANDS, box, what="a test")
    before = len(earth_engine.asked("computePixels"))
    earth_engine.faults(fault, "computePixels", times=None, when=faults.heavier_than(work))
    pieced = fetch(image(), BANDS, box, what="a test")
    for kind, array in whole.arrays.items():
        assert array.tobytes() == pieced.arrays[kind].tobytes()
    same(pieced, numbers, slice(None), slice(None))
    asked = [str(sorted(request.grid.items())) for request in earth_engine.asked("computePixels")[before:]]
    assert len(asked) >= 3
    assert len(set(asked)) == len(asked), "the same request was sent again"


def test_bands_are_split_when_space_cannot_be(earth_engine: StandIn, numbers: dict[str, NDArray[Any]]) -> None:
    earth_engine.faults(faults.timed_out(), "computePixels", times=None, when=lambda request: len(request.bands) > 1)
    pixels = fetch(image(), BANDS, window(64, 64), what="a test")
    same(pixels, numbers, slice(0, 64), slice(0, 64))
    assert sorted(len(request.bands) for request in earth_engine.asked("computePixels")) == [1, 1, 1, 1, 2, 2, 4]


def test_what_is_too_much_even_in_its_smallest_piece_is_given_up_with_a_way_out(
    earth_engine: StandIn, numbers: dict[str, NDArray[Any]]
) -> None:
    earth_engine.faults(faults.out_of_memory(), "computePixels", times=None)
    with pytest.raises(TriedOut, match="User memory limit exceeded") as error:
        fetch(image(), BANDS[:1], window(128, 64), what="s2 2020-06")
    assert error.value.where == "s2 2020-06"
    assert "shorter slots" in error.value.hint
    assert len(earth_engine.asked("computePixels")) <= 3
    assert numbers


def test_a_body_that_breaks_off_is_asked_for_again(earth_engine: StandIn, numbers: dict[str, NDArray[Any]]) -> None:
    earth_engine.faults(faults.cut(), "computePixels")
    pixels = fetch(image(), BANDS, window(64, 64), what="a test")
    same(pixels, numbers, slice(0, 64), slice(0, 64))
    assert len(earth_engine.asked("computePixels")) == 2


def test_an_unknown_band_is_named_with_the_valid_ones(earth_engine: StandIn, numbers: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(ConfigError, match="B99") as error:
        fetch(image(), [Band("B99", "int16", -32_768)], window(8, 8), what="a test")
    assert "byte" in str(error.value)
    assert earth_engine.requests
    assert numbers


def test_a_window_over_48_mib_is_never_refused(earth_engine: StandIn) -> None:
    import ee

    session()
    two = ee.Image.constant(1).addBands(ee.Image.constant(2)).rename(["a", "b"])
    bands = (Band("a", "uint8", 255), Band("b", "float32", FLOAT))
    box = window(2700, 2700)
    pixels = fetch(two, bands, box, what="a test")
    assert len(earth_engine.asked("computePixels")) == len(pieces(box, bands)) == 2
    assert (pixels.arrays["uint8"] == 1).all()
    assert (pixels.arrays["float32"] == 2).all()


# -- bodies --------------------------------------------------------------------------------------------------------


def body(shape: tuple[int, int], bands: tuple[Band, ...], seed: int = 0) -> tuple[bytes, NDArray[Any]]:
    array = np.zeros(shape, [(one.name, one.dtype) for one in bands])
    rng = np.random.default_rng(seed)
    for one in bands:
        low, high = (0, 200) if one.dtype in {"uint8", "float32"} else (-32_768, 32_767)
        array[one.name] = rng.integers(low, high, shape).astype(one.dtype)
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue(), array


class Drips(io.BytesIO):
    """A connection that gives a few bytes at a time."""

    def readinto(self, buffer: Any) -> int:
        return super().readinto(memoryview(buffer)[:777])


@pytest.mark.parametrize(
    "bands",
    [
        tuple(Band(f"b{k}", "int16", -1) for k in range(24)),
        tuple(Band(f"b{k}", "uint16", 1) for k in range(4)),
        tuple(Band(f"b{k}", "uint8", 255) for k in range(3)),
        tuple(Band(f"b{k}", "float32", -1.0) for k in range(5)),
        BANDS,
        tuple(Band(f"band_with_a_long_name_{k:04d}", "uint8", 255) for k in range(1024)),
    ],
    ids=["24 int16", "4 uint16", "3 uint8", "5 float32", "mixed", "1024 bands"],
)
@pytest.mark.parametrize("stream", [io.BytesIO, Drips])
@pytest.mark.parametrize("width", [300, 301])
def test_a_body_is_put_in_its_places_as_numpy_reads_it(bands: tuple[Band, ...], stream: Any, width: int) -> None:
    """300 px in a row are taken apart by the kernel of whole words where bands are of two bytes."""
    shape = (37, width) if len(bands) < 1000 else (3, 5)
    data, array = body(shape, bands)
    wide = Pixels.empty(bands, (shape[0] + 4, shape[1] + 8))
    for plane in wide.arrays.values():
        plane[:] = 7
    places = wide.places(Request(2, 2 + shape[0], 4, 4 + shape[1], 0, len(bands)))
    decode(stream(data), bands, places)
    for one, place in zip(bands, places, strict=True):
        np.testing.assert_array_equal(place, array[one.name])
        place[:] = 7
    assert all((plane == 7).all() for plane in wide.arrays.values()), "written beyond its place"


def everywhere(bands: tuple[Band, ...], rows: int, cols: int) -> Any:
    return Pixels.empty(bands, (rows, cols)).places(Request(0, rows, 0, cols, 0, len(bands)))


def test_bodies_that_are_not_what_was_asked_for_are_refused() -> None:
    bands = BANDS[:2]
    data, _ = body((6, 5), bands)
    places = everywhere(bands, 6, 5)
    for end in (3, 9, 40, len(data) - 1):
        with pytest.raises(TransientError, match="ended before"):
            decode(io.BytesIO(data[:end]), bands, places)
    with pytest.raises(TransientError, match="more than the pixels"):
        decode(io.BytesIO(data + b"x"), bands, places)
    with pytest.raises(TransientError, match="no pixels but"):
        decode(io.BytesIO(b"<!DOCTYPE html>" + data), bands, places)
    with pytest.raises(SourceError, match=r"\(6, 5\) pixels where \(5, 6\)"):
        decode(io.BytesIO(data), bands, everywhere(bands, 5, 6))
    for wrong in (bands[::-1], (Band("byte", "uint16", 0), bands[1]), (Band("other", "int16", 0), bands[1])):
        with pytest.raises(SourceError, match=r"where .* were asked for"):
            decode(io.BytesIO(data), wrong, everywhere(wrong, 6, 5))
