"""Rasters on servers, opened once and read by windows: JPEG 2000, COG and other GeoTIFF.

Only the blocks that are needed travel, all of a call at once, and each is decoded once for all threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.sources._native import Window
from m3leo_prep.sources.remote import files
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.sources.remote.layout import Band, Layout

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

HEAD_BYTES = 32 * 2**10
"""Fetched first. The tables of most files are in them: those of 10980 x 10980 px in blocks of 1024 take 3 kB."""
HEADERS = 4096
"""Files whose headers are kept."""


@dataclass(frozen=True, slots=True)
class RemoteRaster:
    """One raster file, its header known; equal ones are of one address and access."""

    address: str
    access: Access
    size: int
    """Of the file in bytes."""
    layout: Layout = field(repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.layout.header.shape

    @property
    def geobox(self) -> GeoBox | None:
        """Where the pixels are; None where the file has no geotransform, such as with GCPs."""
        box: GeoBox | None = self.layout.header.geobox
        return box

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored pixels."""
        return self.layout.header.dtype

    @property
    def nodata(self) -> float | None:
        """Stored value of no data, where the file declares one."""
        return self.layout.header.nodata

    @property
    def count(self) -> int:
        """Of bands."""
        return self.layout.header.count

    @property
    def block(self) -> tuple[int, int]:
        """(rows, columns) that are fetched and decoded together."""
        return self.layout.block

    @property
    def gcps(self) -> NDArray[np.float64]:
        """(n, 5) float64: row and column, x, y, height of the ground control points, in their own CRS; often empty."""
        return self.layout.header.gcps

    @property
    def bands(self) -> tuple[Band, ...]:
        """What the file says of its bands."""
        return self.layout.header.bands

    @property
    def mask(self) -> int | None:
        """Number of the band that is above 0 where there are data, which may be beyond ``count``; None = none."""
        return self.layout.header.mask

    def read(self, window: Window, band: int = 1) -> NDArray[Any]:
        """Return the stored pixels (y, x) of a window, read-only.

        Args:
            window: within the raster.
            band: from 1, or ``mask``.

        Raises:
            CorruptError: the file is truncated or damaged there.
            NoData, CredentialsError, TriedOut, RateLimited: see ``files.ranges``.
            ValueError: the window or the band is not in the raster.
        """
        return read_many([(self, band, window)])[0]


def open_remote(address: str, access: Access) -> RemoteRaster:
    """Return a raster, its header read; headers are kept by the process.

    Args:
        address: ``s3://BUCKET/KEY``, ``https://...`` or a local path.
        access: how it is opened.

    Raises:
        CorruptError: it is no JPEG 2000 file and no GeoTIFF, or its header is damaged.
        NoData, CredentialsError, TriedOut, RateLimited: see ``files.ranges``.
    """
    key = address, access
    with _lock:
        found = _headers.get(key)
        if found is not None:
            _headers.move_to_end(key)
            return found
    raster = _opened(address, access)
    with _lock:
        # Threads that opened it at the same time share what one of them learns of it.
        raster = _headers.setdefault(key, raster)
        while len(_headers) > HEADERS:
            _headers.popitem(last=False)
    return raster


def open_many(wanted: Sequence[tuple[str, Access]]) -> list[RemoteRaster]:
    """Return rasters in order, their headers fetched at once, as many as the access allows; see ``open_remote``."""
    if len(wanted) < 2:
        return [open_remote(*one) for one in wanted]
    with ThreadPoolExecutor(min(len(wanted), max(access.connections for _, access in wanted))) as pool:
        return list(pool.map(lambda one: open_remote(*one), wanted))


def read_many(requests: Sequence[tuple[RemoteRaster, int, Window]]) -> list[NDArray[Any]]:
    """Return the stored pixels (y, x) of windows of bands of rasters, read-only, in order.

    What they need of all files is fetched at once, as many requests under way as the access allows.

    Raises:
        CorruptError: a file is truncated or damaged there.
        NoData, CredentialsError, TriedOut, RateLimited: see ``files.ranges``.
        ValueError: a window or a band is not in its raster.
    """
    from m3leo_prep.sources.remote.reading import Wanted, read

    wanted = []
    for raster, band, window in requests:
        inside = window.within(Window(0, raster.shape[0], 0, raster.shape[1]))
        if inside != window or window.is_empty or not 1 <= band <= max(raster.count, raster.mask or 0):
            message = f"{raster.address} has {raster.count} bands of {raster.shape}: not {window} of band {band}"
            raise ValueError(message)
        wanted.append(Wanted(raster.address, raster.access, raster.size, raster.layout, band, window))
    return read(wanted)


_headers: OrderedDict[tuple[str, Access], RemoteRaster] = OrderedDict()
_lock = threading.Lock()


def _opened(address: str, access: Access) -> RemoteRaster:
    from m3leo_prep.sources.remote.codestream import RAW, SIGNATURE
    from m3leo_prep.sources.remote.tiff import MAGIC, tiff

    head, size = files.head(address, HEAD_BYTES, access)
    layout: Layout
    if head.startswith(MAGIC):
        layout = tiff(head, size, address, lambda spans: files.ranges(address, spans, access))
    elif head.startswith((RAW, SIGNATURE)):
        layout = _jpeg2000(head, size, address, access)
    else:
        said = "is empty" if not size else f"begins with {head[:8]!r}: it is no JPEG 2000 file and no GeoTIFF"
        raise CorruptError(said, where=address, hint="tell the provider; this file is left out")
    if not all(layout.header.shape):
        raise CorruptError("has no pixels", where=address)
    return RemoteRaster(address, access, size, layout)


def _jpeg2000(head: bytes, size: int, address: str, access: Access) -> Layout:
    from m3leo_prep.sources.remote.codestream import UnsoundError, main_header
    from m3leo_prep.sources.remote.jp2 import Jp2
    from m3leo_prep.sources.remote.whole import Whole

    try:
        layout = Jp2(main_header(head, size), head, size, address)
    except UnsoundError as error:
        message = f"is no sound JPEG 2000 file: {error}"
        raise CorruptError(message, where=address, hint="tell the provider; this file is left out") from None
    return layout if layout.is_plain else Whole(files.fetch(address, access), "JP2OpenJPEG", address)
