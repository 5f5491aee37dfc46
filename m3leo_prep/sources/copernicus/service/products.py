"""Whole products on this machine, each as one archive ``NAME.SAFE.zip``."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path, PurePosixPath

from m3leo_prep.core.errors import CorruptError, NoData, StoreError
from m3leo_prep.sources._archives import Limits, extract
from m3leo_prep.sources.copernicus.service.access import access
from m3leo_prep.sources.copernicus.service.hosts import BUCKET, hosts
from m3leo_prep.sources.copernicus.service.odata import Product, named
from m3leo_prep.sources.remote.access import Access

LIMITS = Limits(most_bytes=64 * 2**30, most_ratio=200, small=64 * 2**20)
"""A stripmap SLC is the largest product, of less than 10 GB; what a TIFF or JPEG 2000 holds shrinks little."""
MAGIC = (b"PK\x03\x04",)
PIECE = 2**20
"""Bytes copied at once."""


def product(name: str, *, keep: bool = False) -> Path:
    """Return the path of a product's archive; it is fetched if it is not in the cache of downloads.

    With keys of the object store its folder is read from there and packed here (nothing is compressed), else the
    archive comes by https. Hold the returned object, not its text, until the file is open.

    Args:
        name: of the product, with or without ``.SAFE``.
        keep: never remove it to make room.

    Raises:
        NoData: there is no such product.
        CorruptError: it is offline, or what came is not what the catalogue announces.
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
        raise _offline(full)
    make = _by_keys(found, way) if way.keys is not None and found.path else _by_https(found, way)
    return downloads().file(f"cdse/{found.id}/{full}.zip", make, keep=keep)


def check_online(name: str) -> None:
    """Return unless a product is offline, which is why its files are not there. Asks once for each in a process.

    Raises:
        CorruptError: it is; nothing that asks again helps, and other products have nothing to do with it.
        TriedOut, RateLimited, SourceError: the catalogue does not answer.
    """
    if _is_offline(hosts().catalogue, name if name.endswith(".SAFE") else f"{name}.SAFE"):
        raise _offline(name)


@lru_cache(maxsize=1024)
def _is_offline(catalogue: str, name: str) -> bool:
    del catalogue  # by which one is told from another
    found = named([name]).get(name)
    return found is not None and not found.is_online


def _offline(name: str) -> CorruptError:
    hint = "order it in the Data Workspace (https://workspace.dataspace.copernicus.eu), later build with --refresh"
    return CorruptError("the product is offline: it lies in an archive that no request reaches", where=name, hint=hint)


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
        from m3leo_prep.sources.http.cache import downloads
        from m3leo_prep.sources.remote.files import fetch
        from m3leo_prep.sources.remote.objects import listing

        listed = listing(f"s3://{BUCKET}/{found.path}/", way)
        objects = [(key, size) for key, size, _ in listed if not key.endswith("/")]
        if not objects:
            raise NoData("the object store has no such folder", where=f"s3://{BUCKET}/{found.path}")
        if not any(key == f"{found.path}/manifest.safe" for key, _ in objects):
            raise CorruptError("the object store holds no manifest.safe of it", where=found.name)
        places = [f"s3://{BUCKET}/{key}" for key, _ in objects]
        names = [f"{found.name}/{key.removeprefix(f'{found.path}/')}" for key, _ in objects]
        # In the cache each, so that a build that was stopped goes on from there.
        with ThreadPoolExecutor(way.connections) as pool:
            held = list(pool.map(lambda place, one: fetch(place, way, size=one[1]), places, objects))
        _pack(path, names, held)
        held.clear()  # they are in use no longer
        for place in places:
            downloads().remove(place)

    return make


def _pack(archive: Path, names: Sequence[str], files: Sequence[Path]) -> None:
    """Write files into an archive, nothing compressed.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    try:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as product:
            for name, file in zip(names, files, strict=True):
                with file.open("rb") as data, product.open(zipfile.ZipInfo(name), "w", force_zip64=True) as out:
                    shutil.copyfileobj(data, out, PIECE)
    except OSError as error:
        hint = "make room there; or M3LEO_PREP_CACHE names a folder on a larger disk"
        why = error.strerror or str(error)
        raise StoreError(f"the product cannot be written: {why}", where=str(archive), hint=hint) from None
