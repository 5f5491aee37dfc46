"""How a window is cut into requests that Earth Engine does not refuse for size, and what each says of its grid.

Limits of one request: 48 MiB, 32768 px a side, 1024 bands
(https://developers.google.com/earth-engine/apidocs/ee-data-computepixels). The server counts one byte more for every
band and pixel than the band's own type, for its mask (https://github.com/google/Xee/pull/210).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ports.source import READ_MARGIN

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Dtype = Literal["uint8", "uint16", "int16", "int32", "float32"]

MAX_BYTES = 48 * 2**20
MAX_SIDE = 32_768
MAX_BANDS = 1024
MASK_BYTES = 1
"""What the server counts for the mask of one pixel of one band."""
LEAST_SIDE = 64
"""Pixels below which a side is not halved: what is around a piece is then read as often as the piece."""
_TILE = 256
"""Side of the tiles in which Earth Engine reads and computes (https://developers.google.com/earth-engine/guides/scale);
a piece costs about one tile more than its own size, along each side."""


@dataclass(frozen=True, slots=True)
class Band:
    """One band of a request: its name, the type it is cast to on the server, and how a masked pixel is sent."""

    name: str
    dtype: Dtype
    missing: float
    """The number that a masked pixel is sent as: no value of the band may be this."""

    def __post_init__(self) -> None:
        dtype = np.dtype(self.dtype)
        if dtype.kind == "f":
            if float(np.float32(self.missing)) != self.missing:
                msg = f"band {self.name}: {self.missing!r} is no number of {self.dtype}"
                raise ValueError(msg)
        elif not np.iinfo(dtype).min <= self.missing <= np.iinfo(dtype).max or self.missing != int(self.missing):
            msg = f"band {self.name}: {self.dtype} cannot hold {self.missing!r}"
            raise ValueError(msg)

    @property
    def bytes(self) -> int:
        """What the server counts for one pixel, with its mask."""
        return np.dtype(self.dtype).itemsize + MASK_BYTES


_WIDER: dict[str, tuple[Dtype, ...]] = {
    "uint8": ("uint8", "int16"),
    "int8": ("int16",),
    "uint16": ("uint16", "int32"),
    "int16": ("int16", "int32"),
    "int32": ("int32",),
    "uint32": ("int32",),
    "int64": ("int32",),
}
_MISSING: dict[Dtype, float] = {
    "uint8": 255,
    "uint16": 65_535,
    "int16": -32_768,
    "int32": -(2**31),
    "float32": float(np.finfo(np.float32).min),
}


def carrier(
    name: str,
    dtype: str,
    legal: tuple[float, float] | None = None,
    kept: Iterable[float] = (),
    nodata: Iterable[float] = (),
) -> Band:
    """Return how a band travels: its own type where one number of it is free to say "masked", else the next wider.

    The free number is 255 of uint8, 65535 of uint16, the lowest of the signed types and of float32; else one that means
    no data anyway. A band of all 256 codes travels as int16, all of uint16 and int16 as int32. Numbers of float64 are
    rounded to float32.

    Args:
        name: the band.
        dtype: its type in Earth Engine, by numpy's name.
        legal: least and greatest number that is a value; None = whatever the type holds.
        kept: numbers beside those that must arrive too, such as flags.
        nodata: numbers that are never a value.

    Raises:
        ConfigError: a type that no request can carry without loss.
    """
    if dtype.startswith("float"):
        return Band(name, "float32", _MISSING["float32"])
    kept, nodata = set(kept), tuple(nodata)
    held = np.iinfo(dtype)
    low, high = (held.min, held.max) if legal is None else (max(legal[0], held.min), min(legal[1], held.max))
    for wide in _WIDER[dtype]:
        room = np.iinfo(wide)
        if not room.min <= low <= high <= room.max:
            continue
        for missing in (_MISSING[wide], *nodata):
            free = missing in nodata or not low <= missing <= high
            if free and missing not in kept and room.min <= missing <= room.max:
                return Band(name, wide, missing)
    raise ConfigError(
        f"band '{name}' is {dtype}, whose numbers do not all fit the types that are requested",
        hint="give its `valid_range:`, or convert it to int32 or float32 in a `script:`",
    )


@dataclass(frozen=True, slots=True)
class Request:
    """One piece of a window: rows ``[row0, row1)``, columns ``[col0, col1)`` and bands ``[band0, band1)``."""

    row0: int
    row1: int
    col0: int
    col1: int
    band0: int
    band1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.row1 - self.row0, self.col1 - self.col0

    @property
    def window(self) -> tuple[slice, slice, slice]:
        """Where the piece lies in (band, y, x)."""
        return slice(self.band0, self.band1), slice(self.row0, self.row1), slice(self.col0, self.col1)

    def bytes(self, bands: Sequence[Band]) -> int:
        """Return what the server counts, masks included; ``bands`` are those of the whole window."""
        rows, cols = self.shape
        return rows * cols * sum(band.bytes for band in bands[self.band0 : self.band1])

    def halves(self) -> tuple[Request, Request] | None:
        """Return two pieces for one that was too much to compute: of space, then of bands; None if it is the least.

        The longer side is halved as long as the halves keep 64 px: all bands of a place share its computation.
        """
        rows, cols = self.shape
        if max(rows, cols) >= 2 * LEAST_SIDE:
            if rows >= cols:
                middle = self.row0 + rows // 2
                return self._with(row1=middle), self._with(row0=middle)
            middle = self.col0 + cols // 2
            return self._with(col1=middle), self._with(col0=middle)
        if self.band1 - self.band0 > 1:
            middle = (self.band0 + self.band1) // 2
            return self._with(band1=middle), self._with(band0=middle)
        return None

    def _with(self, **changed: int) -> Request:
        now = {name: getattr(self, name) for name in self.__slots__}
        return Request(**(now | changed))

    def grid(self, geobox: GeoBox) -> dict[str, Any]:
        """Return the piece's ``PixelGrid``: the outer corner of its first pixel, in float64.

        Source: https://developers.google.com/earth-engine/reference/rest/v1/PixelGrid.
        """
        rows, cols = self.shape
        a = geobox.transform
        transform = {
            "scaleX": a.a,
            "shearX": a.b,
            "translateX": a.c + self.col0 * a.a + self.row0 * a.b,
            "shearY": a.d,
            "scaleY": a.e,
            "translateY": a.f + self.col0 * a.d + self.row0 * a.e,
        }
        return {"dimensions": {"width": cols, "height": rows}, "affineTransform": transform, **_crs(geobox)}


def _crs(geobox: GeoBox) -> dict[str, str]:
    """Return the CRS as a request names it: by EPSG code, else as WKT 1."""
    crs = geobox.crs
    assert crs is not None
    if crs.epsg:
        return {"crsCode": f"EPSG:{crs.epsg}"}
    return {"crsWkt": str(crs.proj.to_wkt("WKT1_GDAL"))}


def pieces(geobox: GeoBox, bands: Sequence[Band]) -> list[Request]:
    """Return the requests that a window takes: they tile it without overlap, and none is refused for its size.

    A window that fits one request is one. Else it is cut along rows and columns into near-equal pieces with all bands,
    since bands of a composite share their work; along bands only beyond 1024. Of all ways to cut, that with the least
    to read on Earth Engine's side, a tile's edge around each piece included: few pieces, and square rather than strips.
    The same shape and bands always give the same pieces, in order of bands, rows, columns.
    """
    rows, cols = geobox.shape
    if not bands or not rows or not cols:
        return []
    found = []
    count = ceil(len(bands) / MAX_BANDS)
    for band0, band1 in _cuts(len(bands), count):
        down, across = _parts(rows, cols, MAX_BYTES // sum(band.bytes for band in bands[band0:band1]))
        for (row0, row1), (col0, col1) in product(_cuts(rows, down), _cuts(cols, across)):
            found.append(Request(row0, row1, col0, col1, band0, band1))
    return found


def _cuts(size: int, parts: int) -> list[tuple[int, int]]:
    """Return near-equal half-open parts of ``range(size)``; the largest has ``ceil(size / parts)``."""
    return list(pairwise(size * k // parts for k in range(parts + 1)))


def _parts(rows: int, cols: int, most: int) -> tuple[int, int]:
    """Return into how many parts rows and columns are cut, so that a piece has at most ``most`` px."""
    best = (float("inf"), 0, 0)
    least_down, least_across = ceil(rows / MAX_SIDE), ceil(cols / MAX_SIDE)
    # More than this along one side alone would be thinner than any piece that the other side allows.
    for down in range(least_down, min(rows, max(least_down, ceil(rows * cols / most) + 1)) + 1):
        height = ceil(rows / down)
        width = most // height
        if not width:
            continue
        across = max(least_across, ceil(cols / width))
        work = down * across * (height + _TILE) * (ceil(cols / across) + _TILE)
        best = min(best, (work, down, across))
    return best[1], best[2]


def finer(geobox: GeoBox, pitch: float) -> GeoBox:
    """Return the lattice on which to ask for a product: the window itself, or a finer one if its pixels are coarser.

    Where the window's pitch is at least twice the product's, each of its pixels is cut into k x k (k = the whole part
    of the ratio), so that nothing is skipped by nearest or bilinear sampling; they are then averaged here. The finer
    lattice reaches ``READ_MARGIN`` coarse pixels beyond the window, for that kernel.

    Args:
        geobox: the window on its layer's lattice.
        pitch: native pixel size of the product, in units of the window's CRS.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    ratio = floor(abs(geobox.transform.a) / pitch * (1 + 1e-9))
    if ratio < 2:
        return geobox
    wide = geobox.pad(READ_MARGIN)
    a = wide.transform
    fine = Affine(a.a / ratio, a.b / ratio, a.c, a.d / ratio, a.e / ratio, a.f)
    return GeoBox((wide.shape[0] * ratio, wide.shape[1] * ratio), fine, wide.crs)
