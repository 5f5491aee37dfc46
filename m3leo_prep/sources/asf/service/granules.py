"""Granules of the archive on this machine: downloaded once, by whoever asks first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import unquote, urlsplit

from m3leo_prep.sources.asf.service.earthdata import login

Kind = Literal["netcdf", "tiff", "zip"]
MAGIC: Mapping[Kind, tuple[bytes, ...]] = MappingProxyType(
    {
        "netcdf": (b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02", b"CDF\x05"),
        "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        "zip": (b"PK\x03\x04",),
    }
)
"""What files of a kind begin with: NetCDF-4 (HDF5) and classic, TIFF and BigTIFF in both byte orders, ZIP."""


def granule(url: str, *, size: int = 0, checksum: str = "", kind: Kind, keep: bool = False) -> Path:
    """Return a granule's file in the cache; hold the path until the file is open, see ``FileCache.file``.

    No connection is opened, and no login needed, for one that is there.

    Args:
        url: as the catalogue says it.
        size: bytes; 0 = not known.
        checksum: ``md5:HEX`` or ``sha256:HEX``, or nothing.
        kind: what the file must be.
        keep: never remove it from the cache to make room: it cannot be had again for nothing.

    Raises:
        CredentialsError, NoData, CorruptError, TriedOut, RateLimited, SourceError, StoreError: see ``download``.
    """
    from m3leo_prep.sources.http.cache import downloads
    from m3leo_prep.sources.http.download import download

    name = name_of(url)

    def make(target: Path) -> object:
        return download(
            url, target, auth=login(), size=size, checksum=checksum, magic=MAGIC[kind], where=name.rsplit("/", 1)[-1]
        )

    return downloads().file(name, make, keep=keep)


def forget(url: str) -> None:
    """Remove a granule that its reader found damaged, so that it is downloaded anew when it is next asked for."""
    from m3leo_prep.sources.http.cache import downloads

    downloads().forget(name_of(url))


def name_of(url: str) -> str:
    """Return what a granule is called in the cache: its host and path, without the query, which may be a signature.

    >>> name_of("https://grfn.asf.alaska.edu/door/S1-GUNW-A.nc?A-userid=me")
    'grfn.asf.alaska.edu/door/S1-GUNW-A.nc'
    """
    found = urlsplit(url)
    return unquote(f"{found.netloc.rpartition('@')[2]}{found.path}")
