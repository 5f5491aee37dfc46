"""Whole products on this machine, each as one archive ``NAME.SAFE.zip``."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO

from m3leo_prep.core.errors import CorruptError, NoData
from m3leo_prep.sources._archives import Limits, extract
from m3leo_prep.sources.copernicus.service.access import access
from m3leo_prep.sources.copernicus.service.hosts import BUCKET, hosts
from m3leo_prep.sources.copernicus.service.odata import Product, named
from m3leo_prep.sources.remote.access import Access

LIMITS = Limits(most_bytes=64 * 2**30, most_ratio=200, small=64 * 2**20)
"""A stripmap SLC is the largest product, of less than 10 GB; what a TIFF or JPEG 2000 holds shrinks little."""
MAGIC = (b"PK\x03\x04",)
PIECE = 8 * 2**20
"""Bytes of an object read at once; as many pieces as there may be connections travel together."""


def product(name: str, *, keep: bool = False) -> Path:
    """Return the path of a product's archive; it is fetched if it is not in the cache of downloads.

    With keys of the object store its folder is read from there and packed here (nothing is compressed), else the
    archive comes by https. Hold the returned object, not its text, until the file is open.

    Args:
        name: of the product, with or without ``.SAFE``.
        keep: never remove it to make room.

    Raises:
        NoData: there is no such product, or it is offline.
        CorruptError: what came is not what the catalogue announces.
        CredentialsError: the login is refused.
        TriedOut, RateLimited: the service does not deliver.
        StoreError: the disk is full.
    """
    from m3leo_prep.sources.http.cache import downloads

    way = access()
    full = name if name.endswith(".SAFE") else f"{name}.SAFE"
    found = named([full]).get(full)
    if found is None:
        raise NoData("the catalogue has no such product", where=full)
    if not found.is_online:
        hint = "order it in the Data Workspace (https://workspace.dataspace.copernicus.eu), or leave it out"
        raise NoData("the product is offline: it lies in an archive that no request reaches", where=full, hint=hint)
    make = _by_keys(found, way) if way.keys is not None and found.path else _by_https(found, way)
    return downloads().file(f"cdse/{found.id}/{full}.zip", make, keep=keep)


def unpack(archive: Path, folder: Path) -> Path:
    """Return the folder ``NAME.SAFE`` that is written into ``folder``: all files of an archive, or none.

    Raises:
        CorruptError: no archive of a product, damaged, with names that lead out of it, or far larger than one is.
        StoreError: the disk is full or cannot be written.
    """
    name = archive.name.removesuffix(".zip")

    def name_of(path: PurePosixPath) -> str:
        return str(PurePosixPath(*path.parts[1:])) if path.parts[:1] == (name,) and len(path.parts) > 1 else ""

    def missing(names: Collection[str]) -> str:
        return "" if "manifest.safe" in names else f"the archive holds no {name}/manifest.safe"

    again = "remove it from the cache of downloads; it is fetched again by the next build"
    extract(
        archive, folder / name, name_of, missing, LIMITS, again=again, room="free some space, or name another folder"
    )
    return folder / name


def _by_https(found: Product, way: Access) -> Callable[[Path], object]:
    """Return what downloads the archive, as one of the connections that there may be."""
    from m3leo_prep.sources.http.download import download
    from m3leo_prep.sources.remote.limits import limit

    url = f"{hosts().download_url}/Products({found.id})/$value"

    def make(path: Path) -> None:
        with limit(way).turn():
            download(
                url,
                path,
                auth=way.auth,
                size=found.size,
                checksum=found.checksum,
                magic=MAGIC,
                where=found.name,
                on_bytes=limit(way).got,
            )

    return make


def _by_keys(found: Product, way: Access) -> Callable[[Path], object]:
    """Return what packs the objects of the product's folder."""

    def make(path: Path) -> None:
        from m3leo_prep.sources.copernicus.service.objects import listing

        assert way.keys is not None
        objects = [(key, size) for key, size in listing(f"{found.path}/", way.keys) if not key.endswith("/")]
        if not any(key == f"{found.path}/manifest.safe" for key, _ in objects):
            raise CorruptError("the object store holds no manifest.safe of it", where=found.name)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for key, size in objects:
                inside = f"{found.name}/{key.removeprefix(f'{found.path}/')}"
                with archive.open(zipfile.ZipInfo(inside), "w", force_zip64=True) as out:
                    _copy(f"s3://{BUCKET}/{key}", size, out, way)

    return make


def _copy(address: str, size: int, out: IO[bytes], way: Access) -> None:
    """Write an object, some pieces of it at a time."""
    from m3leo_prep.sources.remote.files import ranges

    starts = range(0, size, PIECE)
    with ThreadPoolExecutor(way.connections) as pool:
        for first in range(0, len(starts), way.connections):
            some = starts[first : first + way.connections]
            for data in pool.map(lambda start: ranges(address, [(start, min(size, start + PIECE))], way)[0], some):
                out.write(data)
