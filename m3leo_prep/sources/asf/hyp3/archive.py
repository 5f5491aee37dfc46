"""Taking the rasters out of a product's archive, which is not trusted."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from m3leo_prep.core.errors import CorruptError, StoreError

MOST_BYTES = 24 * 2**30
"""Of all rasters of a product together: an RTC product of 10 m has about 25 000 x 20 000 pixels of 4 bytes a raster."""
MOST_RATIO = 200
"""Bytes a compressed one may become: a GeoTIFF is compressed in itself, so that an archive saves little; ..."""
SMALL = 64 * 2**20
"""... of more than this, where even zeros do no harm."""
_AGAIN = "look at the job in ASF Vertex (On Demand products); it is fetched again by the next build"


def unpack(archive: Path, folder: Path, suffixes: Collection[str]) -> None:
    """Write the files of an archive whose names end in ``_SUFFIX.tif`` as ``folder/SUFFIX.tif``, and its ``NAME.txt``.

    Names of the archive are never used as paths. The folder appears whole or not at all.

    Raises:
        CorruptError: no archive, damaged, with names that lead out of it, or far larger than a product is.
        StoreError: the disk is full or cannot be written.
    """
    made = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        with zipfile.ZipFile(archive) as product:
            for name, info in _members(product, archive.name, suffixes).items():
                with product.open(info) as packed, (made / name).open("wb") as out:
                    shutil.copyfileobj(packed, out, 2**20)
                    out.flush()
                    os.fsync(out.fileno())
        made.rename(folder)
    # zipfile's words for damage, an unknown compression (NotImplementedError) and encryption (RuntimeError).
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise CorruptError(f"the product is no readable archive: {error}", where=archive.name, hint=_AGAIN) from error
    except OSError as error:
        raise StoreError(
            f"the product cannot be unpacked: {error.strerror}",
            where=str(folder),
            hint="free some space, or name a larger disk in M3LEO_PREP_ORDERS",
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _members(product: zipfile.ZipFile, where: str, suffixes: Collection[str]) -> dict[str, zipfile.ZipInfo]:
    """Return what is taken out, by the name it gets."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in product.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
            raise CorruptError(f"the archive holds a name that leads out of it: {info.filename!r}", where=where)
        name = _name(path, suffixes)
        if name and not info.is_dir():
            if stat.S_ISLNK(info.external_attr >> 16):
                raise CorruptError(f"the archive holds a link in place of a raster: {info.filename!r}", where=where)
            if name in found:
                raise CorruptError(f"the archive holds two files {name}", where=where)
            found[name] = info
    total = sum(info.file_size for info in found.values())
    squeezed = sum(info.compress_size for info in found.values())
    if total > MOST_BYTES or (total > SMALL and total > MOST_RATIO * squeezed):
        raise CorruptError(
            f"the archive would become {total / 1e9:,.1f} GB of {squeezed / 1e9:,.3f} GB: no product does", where=where
        )
    if not any(name.endswith(".tif") for name in found):
        raise CorruptError("the archive holds no raster of the product", where=where, hint=_AGAIN)
    return found


def _name(path: PurePosixPath, suffixes: Collection[str]) -> str:
    """Return what a file of the archive is called here; nothing if it is not needed."""
    if path.name == f"{path.parent.name}.txt":
        return "product.txt"
    return next((f"{suffix}.tif" for suffix in suffixes if path.name.endswith(f"_{suffix}.tif")), "")
