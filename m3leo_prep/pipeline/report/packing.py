"""The arrays of a report's map: shapes, outlines and numbers, as the page's script takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from m3leo_prep.maps.drawing import Column, Drawing
from m3leo_prep.maps.page import mercator_x, mercator_y
from m3leo_prep.pipeline.report.choices import Choice

MISSING = -(2**31)
"""What a missing number is packed as."""
_BITS = {"u1": 255, "u2": 65_535}


class Packed:
    """Arrays one after the other, each at a multiple of eight bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, values: NDArray[Any]) -> dict[str, Any]:
        """Append an array and return where it is: first byte, number of elements, type."""
        raw = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        at = self._size
        raw += b"\0" * (-len(raw) % 8)
        self._parts.append(raw)
        self._size += len(raw)
        return {"at": at, "n": int(values.size), "type": values.dtype.str[1:]}

    def bytes(self) -> bytes:
        """Return all of them."""
        return b"".join(self._parts)


def geometry(packed: Packed, drawing: Drawing) -> dict[str, Any]:
    """Pack every shape as a centre in m of Web Mercator, and half its sides as vectors in units of ``scale`` m."""
    corners = np.stack([mercator_x(drawing.lon), mercator_y(drawing.lat)])
    south_west, south_east, north_east, north_west = np.moveaxis(corners, -1, 0)
    across = (south_east - south_west + north_east - north_west) / 4
    along = (north_west - south_west + north_east - south_east) / 4
    scale = max(float(np.abs(across).max()), float(np.abs(along).max()), 1.0) / 32_000
    centre = np.rint(corners.mean(axis=-1)).astype(np.int32)
    parts = {"x": centre[0], "y": centre[1]}
    halves = dict(zip(("ux", "uy", "vx", "vy"), (*across, *along), strict=True))
    parts |= {name: np.rint(half / scale).astype(np.int16) for name, half in halves.items()}
    return {"scale": scale} | {name: packed.add(values) for name, values in parts.items()}


def outlines(packed: Packed, shapes: Sequence[BaseGeometry] | Iterator[BaseGeometry]) -> dict[str, Any]:
    """Pack polygons as rings of steps from point to point, m of Web Mercator, with the number of points of each."""
    rings = [
        shapely.get_coordinates(ring)
        for geometry in shapes
        for part in shapely.get_parts(geometry)
        if part.geom_type == "Polygon" and not part.is_empty
        for ring in (part.exterior, *part.interiors)
    ]
    steps = [np.diff(_metres(ring), axis=0, prepend=np.int32(0)) for ring in rings]
    points = np.concatenate(steps) if steps else np.zeros((0, 2), np.int32)
    lengths = np.array([len(ring) for ring in rings], np.int32)
    return {"n": packed.add(lengths), "dx": packed.add(points[:, 0].copy()), "dy": packed.add(points[:, 1].copy())}


def _metres(ring: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(np.stack([mercator_x(ring[:, 0]), mercator_y(ring[:, 1])], axis=1)).astype(np.int32)


def column_of(packed: Packed, column: Column, choices: Sequence[Choice]) -> dict[str, Any]:
    """Pack what is known of every shape; numbers are rounded to the digits that the page shows."""
    choice = next((one for one in choices if one.name == column.name), None)
    made: dict[str, Any] = {"name": column.name, "unit": column.unit, "choice": choice is not None}
    if column.is_category and choice is None:
        text = "\n".join(column.values.astype(str).tolist()).encode()
        return made | {"kind": "text", "data": packed.add(np.frombuffer(text, np.uint8))}
    if column.is_category:
        assert choice is not None
        words = [word for word, _, _ in choice.words]
        at = {word: place for place, word in enumerate(words)}
        codes = np.array([at[word] for word in column.values.astype(str).tolist()])
        kind = next(kind for kind, most in _BITS.items() if len(words) <= most)
        colours = [colour for _, colour, _ in choice.words]
        return made | {"kind": "word", "words": words, "colours": colours, "data": packed.add(codes.astype(kind))}
    digits = 4 if column.unit == "°" else 0 if column.values.dtype.kind in "iu" else 1 if column.unit == "%" else 2
    values = column.values.astype(np.float64)
    rounded = np.where(np.isfinite(values), np.rint(values * 10**digits), MISSING)
    made |= {"kind": "number", "digits": digits, "data": packed.add(_narrow(rounded))}
    if choice is not None:
        made |= {"limits": list(choice.limits), "colours": list(choice.ramp)}
    return made


def _narrow(values: NDArray[np.float64]) -> NDArray[Any]:
    """Return whole numbers in two bytes where they fit, missing ones as the least value of the type."""
    known = values[values != MISSING]
    if known.size and np.abs(known).max() >= 2**15:
        return values.astype(np.int32)
    return np.where(values == MISSING, -(2**15), values).astype(np.int16)
