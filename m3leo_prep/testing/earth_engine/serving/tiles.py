"""Maps: an expression gets a name, by which a browser asks for its tiles.

https://developers.google.com/earth-engine/reference/rest/v1/projects.maps
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.testing.earth_engine.archive import Archive
from m3leo_prep.testing.earth_engine.evaluation import graph
from m3leo_prep.testing.earth_engine.evaluation.image import Image
from m3leo_prep.testing.earth_engine.evaluation.sampling import Grid
from m3leo_prep.testing.earth_engine.serving.limits import NOT_FOUND, Refused

_SIDE = 256
_HALF_EARTH = math.pi * 6_378_137.0
"""Metres of Web Mercator from its middle to its edge."""
_MOST_MAPS = 256


@dataclass(slots=True)
class Maps:
    """The maps that were made, the oldest forgotten first."""

    _graphs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def make(self, project: str, expression: Mapping[str, Any]) -> dict[str, str]:
        """Return the map of an expression; the same one for the same expression."""
        key = hashlib.sha256(json.dumps(expression, sort_keys=True).encode()).hexdigest()[:32]
        with self._lock:
            self._graphs[key] = expression
            while len(self._graphs) > _MOST_MAPS:
                self._graphs.pop(next(iter(self._graphs)))
        return {"name": f"projects/{project}/maps/{key}"}

    def tile(self, path: str, archive: Archive) -> bytes:
        """Return a tile as PNG, transparent where the image is masked.

        Args:
            path: ``KEY/tiles/ZOOM/X/Y``.
            archive: what there is.
        """
        key, _, *place = path.split("/")
        with self._lock:
            expression = self._graphs.get(key)
        if expression is None:
            raise Refused(404, NOT_FOUND.format(key))
        image = graph.evaluate(expression, archive)
        if not isinstance(image, Image):
            raise Refused(400, f"Expected an Image, got a {type(image).__name__}.")
        return _tile(image, *(int(number) for number in place))


def _tile(image: Image, zoom: int, x: int, y: int) -> bytes:
    pitch = 2 * _HALF_EARTH / (_SIDE << zoom)
    corner = (x * _SIDE * pitch - _HALF_EARTH, _HALF_EARTH - y * _SIDE * pitch)
    grid = Grid("EPSG:3857", (pitch, 0.0, corner[0], 0.0, -pitch, corner[1]), _SIDE, _SIDE)
    bands = list(image.pixels(grid).values())
    if any(values.dtype != np.uint8 for values, _ in bands) or len(bands) not in {1, 3}:
        raise Refused(400, "stand-in: tiles are made of pictures: `visualize` the image")
    alpha = np.minimum.reduce([np.asarray(mask, np.float32) for _, mask in bands]) * 255
    planes = [np.asarray(values) for values, _ in bands] + [alpha.astype(np.uint8)]
    return _png(np.stack(planes, axis=-1))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (y, x, channel), grey or coloured with alpha, as a file: https://www.w3.org/TR/png-3/."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, {2: 4, 4: 6}[channels], 0, 0, 0)
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
