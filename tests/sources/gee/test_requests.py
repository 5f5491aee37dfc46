"""Cutting a window into requests: the limits hold whatever is asked, the pieces tile it, the corners are exact."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.sources.gee.reading.requests import (
    LEAST_SIDE,
    MAX_BANDS,
    MAX_BYTES,
    MAX_SIDE,
    Band,
    Request,
    carrier,
    finer,
    pieces,
)

MISSING = {"uint8": 255, "uint16": 65_535, "int16": -32_768, "int32": -(2**31), "float32": -1.0}
SIZE = {"uint8": 2, "uint16": 3, "int16": 3, "int32": 5, "float32": 5}
"""Bytes that the server counts for a pixel, its mask among them: written down here once more."""


def lattice(rows: int, cols: int, pitch: float = 10.0) -> GeoBox:
    return GeoBox((rows, cols), Affine(pitch, 0, 399_840, 0, -pitch, 5_000_320), "EPSG:32631")


def bands(dtypes: list[str]) -> list[Band]:
    return [Band(f"b{k}", dtype, MISSING[dtype]) for k, dtype in enumerate(dtypes)]  # type: ignore[arg-type]


def size(piece: Request, asked: list[Band]) -> int:
    height, width = piece.shape
    return height * width * sum(SIZE[band.dtype] for band in asked[piece.band0 : piece.band1])


few = st.lists(st.sampled_from(sorted(SIZE)), min_size=1, max_size=60)
many = st.builds(lambda n, dtype: [dtype] * n, st.integers(900, 2500), st.sampled_from(sorted(SIZE)))
shapes = st.one_of(
    st.tuples(st.integers(1, 4000), st.integers(1, 4000), few),
    st.tuples(st.integers(30_000, 70_000), st.integers(1, 40), few),
    st.tuples(st.integers(1, 300), st.integers(1, 300), many),
)


@settings(max_examples=120, deadline=None)
@given(shapes, st.booleans())
def test_no_request_is_refused_for_its_size_and_all_tile_the_window(
    asked_for: tuple[int, int, list[str]], turned: bool
) -> None:
    rows, cols, dtypes = asked_for
    box = lattice(cols, rows) if turned else lattice(rows, cols)
    asked = bands(dtypes)
    found = pieces(box, asked)
    assert max(size(piece, asked) for piece in found) <= MAX_BYTES
    assert max(max(piece.shape) for piece in found) <= MAX_SIDE
    assert max(piece.band1 - piece.band0 for piece in found) <= MAX_BANDS
    assert all(piece.bytes(asked) == size(piece, asked) for piece in found)
    cuts = [sorted({(piece.window[axis].start, piece.window[axis].stop) for piece in found}) for axis in range(3)]
    for ends, whole in zip(cuts, (len(asked), *box.shape), strict=True):
        assert ends[0][0] == 0
        assert ends[-1][1] == whole
        assert all(a[1] == b[0] for a, b in pairwise(ends))
    assert len(found) == len({(p.window[0].start, p.row0, p.col0) for p in found})
    assert sum(p.shape[0] * p.shape[1] * (p.band1 - p.band0) for p in found) == box.shape[0] * box.shape[1] * len(asked)
    assert found == pieces(box, asked)


@pytest.mark.parametrize(
    ("shape", "dtypes"),
    [
        ((4096, 4096), ["uint16"]),  # 48 MiB to the byte
        ((2048, 2048), ["uint8"] * 6),
        ((MAX_SIDE, 1), ["uint8"]),
        ((1, MAX_SIDE), ["float32"]),
        ((8, 8), ["float32"] * MAX_BANDS),
    ],
)
def test_what_is_just_allowed_is_one_request_and_one_more_is_split_beforehand(
    shape: tuple[int, int], dtypes: list[str]
) -> None:
    asked = bands(dtypes)
    assert len(pieces(lattice(*shape), asked)) == 1
    rows, cols = shape
    more = [
        (lattice(rows + 1, cols), asked),
        (lattice(rows, cols + 1), asked),
        (lattice(*shape), bands([*dtypes, "uint8"])),
    ]
    for box, wanted in more:
        is_over = (
            max(box.shape) > MAX_SIDE
            or len(wanted) > MAX_BANDS
            or sum(SIZE[band.dtype] for band in wanted) * box.shape[0] * box.shape[1] > MAX_BYTES
        )
        assert (len(pieces(box, wanted)) > 1) == is_over


def test_few_pieces_square_ones_and_all_bands_together() -> None:
    found = pieces(lattice(3584, 3584), bands(["int16"] * 24))
    least = -(-3584 * 3584 * 24 * 3 // MAX_BYTES)
    assert len(found) <= least * 1.1
    assert all((piece.band0, piece.band1) == (0, 24) for piece in found)
    assert all(max(piece.shape) <= 2 * min(piece.shape) for piece in found)
    assert len(pieces(lattice(3584, 3584), bands(["uint8"]))) == 1
    assert len({(p.band0, p.band1) for p in pieces(lattice(448, 448), bands(["uint8"] * 1025))}) == 2


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 9))
def test_halves_are_the_whole_and_end(rows: int, cols: int, count: int) -> None:
    whole = Request(3, 3 + rows, 5, 5 + cols, 2, 2 + count)
    halves = whole.halves()
    if halves is None:
        assert max(rows, cols) < 2 * LEAST_SIDE
        assert count == 1
        return
    seen = np.zeros((2 + count, 3 + rows, 5 + cols), np.int8)
    for half in halves:
        seen[half.window] += 1
        assert min(half.shape) >= min(LEAST_SIDE, rows, cols)
    assert (seen[whole.window] == 1).all()
    assert seen.sum() == rows * cols * count
    if max(rows, cols) >= 2 * LEAST_SIDE:
        assert all((half.band0, half.band1) == (whole.band0, whole.band1) for half in halves)


def test_corners_are_those_of_the_grid_to_the_last_bit() -> None:
    # The first tool's corners were products of a rounded pitch: here each is chip corner + n x pitch, exactly.
    box = lattice(3584, 3584)
    for piece in pieces(box, bands(["float32"] * 9)):
        said = piece.grid(box)["affineTransform"]
        assert said["translateX"] == 399_840 + 10 * piece.col0
        assert said["translateY"] == 5_000_320 - 10 * piece.row0


def test_a_grid_says_its_outer_corner_its_size_and_its_crs() -> None:
    said = Request(10, 30, 5, 12, 0, 1).grid(lattice(100, 100, 20.0))
    assert said == {
        "dimensions": {"width": 7, "height": 20},
        "affineTransform": {
            "scaleX": 20.0,
            "shearX": 0.0,
            "translateX": 399_940.0,
            "shearY": 0.0,
            "scaleY": -20.0,
            "translateY": 5_000_120.0,
        },
        "crsCode": "EPSG:32631",
    }
    world = GeoBox((10, 10), Affine(100, 0, 0, 0, -100, 0), "ESRI:54009")
    said = Request(0, 10, 0, 10, 0, 1).grid(world)
    assert "crsCode" not in said
    assert said["crsWkt"].startswith("PROJCS[")
    assert "Mollweide" in said["crsWkt"]


def test_a_finer_lattice_divides_the_pixels_and_has_a_margin() -> None:
    box = lattice(56, 56, 80.0)
    assert finer(box, 80.0) is box
    assert finer(box, 41.0) is box
    fine = finer(box, 10.0)
    assert fine.shape == ((56 + 8) * 8, (56 + 8) * 8)
    assert (fine.transform.a, fine.transform.e) == (10.0, -10.0)
    assert (fine.transform.c, fine.transform.f) == (box.transform.c - 320, box.transform.f + 320)
    thirds = finer(lattice(224, 224, 100.0), 30.0)
    assert thirds.shape == (232 * 3, 232 * 3)


@pytest.mark.parametrize(
    ("dtype", "legal", "kept", "nodata", "expected"),
    [
        ("uint8", (0, 100), (200,), (), ("uint8", 255)),
        ("uint8", None, (), (), ("int16", -32_768)),
        ("uint8", (0, 100), (255,), (), ("int16", -32_768)),
        ("uint8", None, (), (0.0,), ("uint8", 0)),
        ("uint8", None, (0,), (0.0,), ("int16", -32_768)),
        ("int8", None, (), (), ("int16", -32_768)),
        ("uint16", None, (), (), ("int32", -(2**31))),
        ("uint16", None, (), (0.0,), ("uint16", 0)),
        ("uint16", (0, 10_000), (), (), ("uint16", 65_535)),
        ("int16", None, (), (), ("int32", -(2**31))),
        ("int16", (-500, 9000), (), (), ("int16", -32_768)),
        ("int32", (-5, 5), (), (), ("int32", -(2**31))),
        ("uint32", (0, 1000), (), (), ("int32", -(2**31))),
        ("float64", None, (), (), ("float32", float(np.finfo(np.float32).min))),
    ],
)
def test_the_number_for_masked_is_one_that_no_value_can_be(
    dtype: str,
    legal: tuple[float, float] | None,
    kept: tuple[float, ...],
    nodata: tuple[float, ...],
    expected: tuple[str, float],
) -> None:
    band = carrier("b", dtype, legal, kept, nodata)
    assert (band.dtype, band.missing) == expected


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64"])
def test_integers_that_no_request_can_carry_are_refused(dtype: str) -> None:
    with pytest.raises(ConfigError, match="do not all fit") as error:
        carrier("time", dtype)
    assert "valid_range" in error.value.hint


def test_a_band_refuses_a_number_that_its_type_lacks() -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        Band("b", "uint8", -1)
    with pytest.raises(ValueError, match="no number of float32"):
        Band("b", "float32", 0.1)
