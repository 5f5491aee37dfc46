"""Where the blocks of a raster lie in the bytes of its file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.sources._native import Window
from m3leo_prep.sources.remote.files import NEAR_BYTES, Span


class Place(NamedTuple):
    """Which block, or part of it."""

    plane: int
    """It holds one band, or all where a file stores their pixels together."""
    row: int
    column: int
    part: Window | None = None
    """Pixels of the raster, all within the block; None = all of the block."""


RUN_BYTES = 8 * 2**20
"""Blocks that follow each other travel in one request, up to so many bytes: a second of it is never lost to a cut."""


@dataclass(frozen=True, slots=True)
class Run:
    """One request, and the blocks that it is made for."""

    span: Span
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its raster, as GDAL reads it."""

    shape: tuple[int, int]
    geobox: Any
    dtype: np.dtype[Any]
    nodata: float | None
    count: int
    gcps: NDArray[np.float64]
    bands: tuple[Band, ...]
    mask: int | None
    """Number of the band that is above 0 where there are data: one of them (alpha), or one more than there are (the
    file's own mask); None = there is no such band."""


@dataclass(frozen=True, slots=True)
class Band:
    """What a file says of one band."""

    name: str
    """Its description; empty without one."""
    scale: float
    offset: float
    """Physical value = stored value x scale + offset; 1 and 0 where the file declares none."""
    unit: str


class Layout(Protocol):
    """The blocks of one file; what is learned on the way may be kept, in any thread."""

    @property
    def header(self) -> Header:
        """What the file says."""
        ...

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a block."""
        ...

    @property
    def planes(self) -> int:
        """1 where a block holds all bands, else their number."""
        ...

    @property
    def cuts(self) -> bool:
        """Whether a part of a block takes less work than the block."""
        ...

    def span(self, place: Place) -> Span | None:
        """Return the bytes of all of a block; None where they are not known, or it has none."""
        ...

    def plan(self, places: Collection[Place], attempt: int) -> list[Run]:
        """Return the requests by which some blocks are had, or more is learned of where they are.

        Args:
            places: the blocks.
            attempt: how often this was asked before for some of them.

        Raises:
            CorruptError: a block lies outside of the file.
        """
        ...

    def decode(self, run: Run, data: bytes) -> Iterator[tuple[Place, NDArray[Any]]]:
        """Yield the blocks (band, y, x) of a run from its bytes, cut at the edges of the raster, as stored.

        Those that turn out to lie elsewhere are left out: they are to be planned again.

        Raises:
            CorruptError: a block is damaged.
        """
        ...


def header_of(data: Any) -> Header:
    """Return what an open rasterio dataset says of itself."""
    from odc.geo.geobox import GeoBox

    points, _ = data.gcps
    placed = not points and data.crs is not None and not data.transform.is_identity
    return Header(
        shape=data.shape,
        geobox=GeoBox(data.shape, data.transform, _crs(data.crs)) if placed else None,
        # As they are read: pairs of integers come as complex numbers.
        dtype=np.dtype({"complex_int16": "complex64"}.get(data.dtypes[0], data.dtypes[0])),
        nodata=data.nodata,
        count=data.count,
        gcps=np.array([(p.row, p.col, p.x, p.y, p.z or 0.0) for p in points], np.float64).reshape(-1, 5),
        bands=tuple(
            Band(name or "", scale, offset, unit or "")
            for name, scale, offset, unit in zip(data.descriptions, data.scales, data.offsets, data.units, strict=True)
        ),
        mask=next((k for k, what in enumerate(data.colorinterp, 1) if what.name == "alpha" and data.count > 1), None),
    )


def runs(found: Sequence[tuple[Span, Place]]) -> list[Run]:
    """Return as few requests as make sense for blocks whose bytes are known: those that are near travel together."""
    made: list[tuple[int, int, list[Place]]] = []
    for (first, stop), place in sorted(found, key=lambda one: one[0]):
        if made and first - made[-1][1] <= NEAR_BYTES and stop - made[-1][0] <= RUN_BYTES:
            made[-1] = made[-1][0], max(stop, made[-1][1]), [*made[-1][2], place]
        else:
            made.append((first, stop, [place]))
    return [Run((first, stop), tuple(places)) for first, stop, places in made]


def _crs(crs: Any) -> str:
    """Return a code where there is one, else WKT."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())
