"""Taking files out of archives, which are not trusted."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from m3leo_prep.core.errors import CorruptError, StoreError


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may become."""

    most_bytes: int
    """Of all files that are taken out."""
    most_ratio: int
    """Bytes a compressed one may become, ..."""
    small: int
    """... where it is more than this."""


def extract(
    archive: Path,
    folder: Path,
    name_of: Callable[[PurePosixPath], str],
    missing: Callable[[Collection[str]], str],
    limits: Limits,
    *,
    again: str,
    room: str,
) -> None:
    """Write the files of an archive that get a name, under it. The folder appears whole or not at all.

    Args:
        archive: what came.
        folder: that the files get into; there is none of this name.
        name_of: what a file of the archive is called in the folder, a path without ``..``; empty = it is not wanted.
        missing: what is not among these names, in words; nothing if all is there.
        limits: what it may become.
        again: what a person does about a damaged one.
        room: what a person does about a full disk.

    Raises:
        CorruptError: no archive, damaged, with names that lead out of it, or far larger than a product is.
        StoreError: the disk is full or cannot be written.
    """
    made = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        with zipfile.ZipFile(archive) as product:
            members = _members(product, archive.name, name_of)
            _check_sizes(members.values(), archive.name, limits)
            if fault := missing(members):
                raise CorruptError(fault, where=archive.name, hint=again)
            for name, info in members.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                with product.open(info) as packed, (made / name).open("xb") as out:
                    shutil.copyfileobj(packed, out, 2**20)
                    out.flush()
                    os.fsync(out.fileno())
        made.rename(folder)
    # zipfile's words for damage, an unknown compression (NotImplementedError) and encryption (RuntimeError).
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise CorruptError(f"the product is no readable archive: {error}", where=archive.name, hint=again) from error
    except OSError as error:
        text = f"the product cannot be unpacked: {error.strerror}"
        raise StoreError(text, where=str(folder), hint=room) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _members(
    product: zipfile.ZipFile, where: str, name_of: Callable[[PurePosixPath], str]
) -> dict[str, zipfile.ZipInfo]:
    """Return what is taken out, by the name it gets."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in product.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
            raise CorruptError(f"the archive holds a name that leads out of it: {info.filename!r}", where=where)
        name = name_of(path)
        if name and not info.is_dir():
            if stat.S_ISLNK(info.external_attr >> 16):
                raise CorruptError(f"the archive holds a link in place of a file: {info.filename!r}", where=where)
            if name in found:
                raise CorruptError(f"the archive holds two files {name}", where=where)
            found[name] = info
    return found


def _check_sizes(members: Collection[zipfile.ZipInfo], where: str, limits: Limits) -> None:
    total = sum(info.file_size for info in members)
    squeezed = sum(info.compress_size for info in members)
    if total > limits.most_bytes or (total > limits.small and total > limits.most_ratio * squeezed):
        raise CorruptError(
            f"the archive would become {total / 1e9:,.1f} GB of {squeezed / 1e9:,.3f} GB: no product does", where=where
        )
