"""NPY bodies of Earth Engine: read once, in blocks that stay in the processor's cache, straight into their places.

A body is one record per pixel, with a field for each band (https://numpy.org/doc/stable/reference/generated/
numpy.lib.format.html). A body of tens of megabytes costs more to allocate than to read, so it is never held.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from m3leo_prep.core.errors import SourceError, TransientError
from m3leo_prep.sources.gee.reading.requests import Band

Places = NDArray[Any] | Sequence[NDArray[Any]]
"""Where bands go: (y, x) each, or all in one array (band, y, x)."""
_BLOCK = 2 * 2**20
"""Bytes that are taken apart at once."""
_START = 10
"""Bytes of an NPY body up to its header: 6 of magic, 2 of version, 2 (4 since version 2) of length."""


class Stream(Protocol):
    """What a body is read from: a response, or ``io.BytesIO``."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill what can be filled and return how many bytes that was; 0 at the end."""
        ...


def decode(stream: Stream, bands: Sequence[Band], places: Places) -> None:
    """Read one answer into its places.

    Args:
        stream: the body, from its start.
        bands: what was asked for, in order.
        places: per band the (y, x) array to fill; bands of one type are read fastest into one array (band, y, x).

    Raises:
        TransientError: the body ends early, goes on beyond its pixels, or is no NPY at all.
        SourceError: it holds other bands, types or pixels than asked for.
    """
    shape = places[0].shape
    words = _words(bands, places)
    wanted = np.dtype([(band.name, np.dtype(band.dtype).newbyteorder("<")) for band in bands])
    _check(_header(stream), wanted, shape)
    rows, cols = shape
    step = max(1, min(rows, _BLOCK // (cols * wanted.itemsize)))
    block = np.empty((step, cols), wanted)
    for row in range(0, rows, step):
        part = block[: min(step, rows - row)]
        _fill(stream, part.view("u1").reshape(-1).data)
        if words is not None:
            _take_apart(part, words[:, row : row + len(part)])
            continue
        for band, place in zip(bands, places, strict=True):
            place[row : row + len(part)] = part[band.name]
    if stream.readinto(memoryview(bytearray(1))):
        raise TransientError("Earth Engine sent more than the pixels that were asked for")


def _words(bands: Sequence[Band], places: Places) -> NDArray[np.uint64] | None:
    """Return places as words of four pixels, (band, y, x / 4), where two-byte bands can be taken apart so."""
    if not isinstance(places, np.ndarray) or places.itemsize != 2 or len(bands) % 4 or places.shape[2] % 4:
        return None
    words = places.view(np.uint64)
    return words if words.flags.aligned else None


def _take_apart(records: NDArray[Any], words: NDArray[np.uint64]) -> None:
    from m3leo_prep.sources.gee.reading import _lanes

    _lanes.take_apart(records.view(np.uint64).reshape(*records.shape, -1), words)


def _header(stream: Stream) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type of an NPY body, of which the stream is then past the header."""
    start = _exactly(stream, _START)
    if start[:6] != npy.MAGIC_PREFIX:
        raise TransientError(f"Earth Engine sent no pixels but {start!r}...")
    if start[6] > 1:
        start += _exactly(stream, 2)
    length = int.from_bytes(start[8:], "little")
    text = io.BytesIO(start[8:] + _exactly(stream, length))
    read = npy.read_array_header_1_0 if start[6] == 1 else npy.read_array_header_2_0
    try:
        return read(text, max_header_size=length)
    except ValueError as error:
        raise TransientError(f"Earth Engine sent pixels with a header that is not NPY: {error}") from error


def _check(header: tuple[tuple[int, ...], bool, np.dtype[Any]], wanted: np.dtype[Any], shape: tuple[int, ...]) -> None:
    got, by_columns, dtype = header
    if dtype != wanted or by_columns:
        raise SourceError(f"Earth Engine sent the bands {_listed(dtype)} where {_listed(wanted)} were asked for")
    if got != shape:
        raise SourceError(f"Earth Engine sent {got} pixels where {shape} were asked for")


def _listed(dtype: np.dtype[Any], shown: int = 6) -> str:
    names = dtype.names or ()
    text = ", ".join(f"{name} ({dtype[name]})" for name in names[:shown])
    return f"{text} and {len(names) - shown} more" if len(names) > shown else text or str(dtype)


def _exactly(stream: Stream, size: int) -> bytes:
    found = bytearray(size)
    _fill(stream, memoryview(found))
    return bytes(found)


def _fill(stream: Stream, into: memoryview) -> None:
    """Fill a buffer, or raise TransientError if the body ends before."""
    done = 0
    while done < len(into):
        more = stream.readinto(into[done:])
        if not more:
            raise TransientError("Earth Engine's answer ended before its last pixel")
        done += more
