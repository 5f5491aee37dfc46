"""Fetching a published dataset, or the part of it that is wanted, into a folder."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.blobs.location import local_path, open_root, scheme
from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.core.text import near
from m3leo_prep.ports.blobs import Readable
from m3leo_prep.reader.copies.pulled import Part, read_part
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.files import read_table
from m3leo_prep.reader.manifest import MANIFEST, StoredLayer, read_manifest, stored_layers
from m3leo_prep.store.shard import ZARR, sha256_of

AT_A_TIME = 8
"""Files fetched at once."""
PIECE_BYTES = 16 * 2**20
"""Of one request."""
ATTEMPTS = 3
"""For a file that came damaged: whoever fetches repeats what fails by itself."""
LAST = (f"{ZARR}/zarr.json",)
"""With the files of the root, what a reader opens first."""
LOCK = ".m3leo/pulling"


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did."""

    folder: Path
    url: str
    """From where, without secrets."""
    files: int
    """Fetched now."""
    bytes: int
    kept: int
    """Files that were here already."""
    shards: int
    """Here now."""
    all_shards: int
    """Of the whole dataset."""
    layers: tuple[str, ...]
    has_changed: bool
    """True where the dataset had changed there since it was pulled last: what was here has been brought up to date."""


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    sha256: str
    size: int | None
    """Small files have none in any table."""


def pull(
    location: str | Path | Dataset,
    folder: str | Path,
    *,
    layers: Sequence[str] | None = None,
    split: str | None = None,
    split_column: str = "split",
    rows: Iterable[int] | None = None,
    on_start: Callable[[int, int], None] = lambda _files, _bytes: None,
    on_file: Callable[[str, int], None] = lambda _name, _bytes: None,
) -> Pulled:
    """Fetch a dataset, or a part of it, into a folder; run again to go on, or with more to add to it.

    Tables and other small files always come; of the pixels only those shards that hold a wanted chip of a wanted layer.
    Each file is checked by its sha256 while it is written, and appears whole or not at all; the manifest comes last.

    Args:
        location: folder, address, or an opened dataset.
        folder: where to.
        layers: names, or single variables as ``layer.variable``; None = all.
        split: only chips of this split.
        split_column: the column of ``chips.parquet`` that says so.
        rows: only these rows of ``chips.parquet``; with ``split``, those of both.
        on_start: called once with the number of files to fetch and the bytes of the shards among them.
        on_file: called with each file that is done and its size, from several threads.

    Raises:
        ConfigError: no such layer, split or row.
        StoreError: the folder holds something else, is full, or a file came damaged each time.
        CredentialsError: the dataset may not be read with these credentials, or without any.
    """
    root, folder = _root(location), Path(folder)
    manifest = read_manifest(root)
    blobs, before = LocalBlobs(folder), _before(root, folder, manifest)
    if before is None:  # so that the next run knows what lies here, should this one be cut
        before = Part(root.url, manifest["dataset_id"], "")
    stored = stored_layers(manifest)
    wanted = _wanted(root, manifest, stored, layers, _rows(root, manifest, split, split_column, rows))
    part = Part(root.url, manifest["dataset_id"], manifest["manifest_digest"], before.joined(wanted))
    shards = list(_shards(root))
    mine = [shard for shard in shards if part.covers(shard.name)]
    small = [_File(name, digest, None) for name, digest in manifest["files"].items() if part.covers(name)]
    is_same = before.manifest_digest == part.manifest_digest
    has_changed = bool(before.manifest_digest) and not is_same
    with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="pull") as pool:
        to_do = [*_absent(pool, blobs, mine, before if is_same else None), *_absent(pool, blobs, small, None)]
        n_bytes = sum(file.size or 0 for file in to_do)
        _check_space(folder, n_bytes)
        if has_changed:  # rather none than a manifest beside shards that are not its own
            blobs.delete(MANIFEST)
        if has_changed or read_part(folder) is None:
            replace(before, manifest_digest="").write(blobs)
        with _tidied(blobs):
            on_start(len(to_do), n_bytes)
            fetched = 0
            for group in _in_order(to_do):
                for size in _each(pool, lambda file: _fetch(root, blobs, file, on_file), group):
                    fetched += size
            _put_manifest(root, blobs, part)
            for name in _stale(blobs, {shard.name for shard in shards if shard.size} | manifest["files"].keys()):
                blobs.delete(name)
            _note(folder, blobs, part)
    n_shards = sum(shard.size != 0 for shard in shards)
    here = sum(shard.size != 0 for shard in mine)
    kept = here + len(small) - len(to_do)
    layer_names = tuple(name for name in stored if name in part.layers)
    return Pulled(folder, root.url, len(to_do), fetched, kept, here, n_shards, layer_names, has_changed)


def _root(location: str | Path | Dataset) -> Readable:
    return location.root if isinstance(location, Dataset) else open_root(location)


def _before(root: Readable, folder: Path, manifest: Mapping[str, Any]) -> Part | None:
    """Return what was pulled into a folder before; refuse one that holds anything else."""
    if folder.exists() and not folder.is_dir():
        raise StoreError("this is a file, not a folder", where=str(folder))
    if scheme(root.url) == "file" and local_path(root.url).resolve() == folder.resolve():
        raise ConfigError("this is the dataset's own folder", where=str(folder), hint="give another FOLDER")
    if (folder / ".m3leo" / "plan").is_dir():
        hint = "give another FOLDER"
        raise StoreError("a dataset was built here: nothing is pulled over it", where=str(folder), hint=hint)
    before = read_part(folder)
    if before is None and folder.is_dir() and any(folder.iterdir()):
        what = "a dataset that was not pulled" if (folder / MANIFEST).exists() else "something else"
        raise StoreError(f"the folder holds {what}", where=str(folder), hint="give a new or an empty FOLDER")
    if before is not None and before.dataset_id != manifest["dataset_id"]:
        raise StoreError(
            f"the folder holds another dataset than {root.url}", where=str(folder), hint="give another FOLDER"
        )
    return before


def _rows(
    root: Readable, manifest: Mapping[str, Any], split: str | None, column: str, rows: Iterable[int] | None
) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """Return the wanted rows, or None for all."""
    n_chips = manifest["n_chips"]
    found = None if rows is None else np.unique(np.fromiter(rows, np.int64))
    if found is not None and len(found) and not (found[0] >= 0 and found[-1] < n_chips):
        raise ConfigError(f"there is no row {found[-1]}", where=root.url, hint=f"rows are 0 ... {n_chips - 1}")
    if split is None:
        return found
    columns = list(manifest.get("splits", {}))
    if column not in columns:
        hint = near(column, columns) or "the dataset has no splits"
        raise ConfigError(f"there is no split column '{column}'", where=root.url, hint=hint)
    values = read_table(root, "chips.parquet", [column])[column].to_numpy(zero_copy_only=False)
    chosen = np.flatnonzero(values == split)
    if not len(chosen):
        there = sorted({str(value) for value in values if value is not None})
        raise ConfigError(f"no chip is in the split '{split}'", where=root.url, hint=near(split, there))
    return chosen if found is None else np.intersect1d(chosen, found)


def _wanted(
    root: Readable,
    manifest: Mapping[str, Any],
    stored: Mapping[str, StoredLayer],
    layers: Sequence[str] | None,
    rows: np.ndarray[Any, np.dtype[np.int64]] | None,
) -> dict[str, frozenset[int]]:
    """Return the wanted shards along the chips by ``layer.variable``."""
    found = {}
    for name in stored if layers is None else layers:
        layer_name, _, variable = name.partition(".")
        if layer_name not in stored:
            raise ConfigError(f"there is no layer '{layer_name}'", where=root.url, hint=near(layer_name, stored))
        layer = stored[layer_name]
        every = np.arange(manifest["n_chips"]) if rows is None else rows
        numbers = frozenset(np.unique(every // layer.shard_chips).tolist())
        for array in [layer.array(variable)] if variable else layer.arrays.values():
            found[f"{layer_name}.{array.name}"] = numbers
    return found


def _shards(root: Readable) -> Iterator[_File]:
    columns = ("path", "sha256", "bytes")
    table = read_table(root, "shards.parquet", columns)
    for row in zip(*(table[column].to_pylist() for column in columns), strict=True):
        yield _File(*row)


@contextmanager
def _tidied(blobs: LocalBlobs) -> Iterator[None]:
    """A context in which files are fetched; what killed pulls left half-written goes before, unless another one runs.

    Several pulls into one folder do no harm: all write the same files, each whole.
    """
    if blobs.size(LOCK) is None:
        blobs.put(LOCK, b"")
    with (blobs.root / LOCK).open("rb") as lock:
        with suppress(OSError):  # a file system that cannot lock, or another pull
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            blobs.clean()
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _note(folder: Path, blobs: LocalBlobs, part: Part) -> None:
    """Write what is here now, with what another pull of the same state has brought meanwhile."""
    now = read_part(folder)
    if now is not None and now.manifest_digest == part.manifest_digest:
        part = replace(part, shards=part.joined(now.shards))
    part.write(blobs)


def _absent(pool: ThreadPoolExecutor, blobs: LocalBlobs, files: Iterable[_File], trusted: Part | None) -> list[_File]:
    """Return the files that are not here with the right bytes; those of a pull that ended well are not hashed again."""

    def is_here(file: _File) -> bool:
        if file.size == 0:  # absent by design; a file that an older state left goes with the stale ones
            return True
        size = blobs.size(file.name)
        if size is None or file.size not in {None, size}:
            return False
        return (trusted is not None and trusted.covers(file.name)) or sha256_of(blobs, file.name) == file.sha256

    listed = list(files)
    return [file for file, is_there in zip(listed, pool.map(is_here, listed), strict=True) if not is_there]


def _check_space(folder: Path, n_bytes: int) -> None:
    """Raise StoreError where the disk is too small for the shards that come."""
    base = folder.absolute()
    while not base.exists():
        base = base.parent
    free = shutil.disk_usage(base).free
    if n_bytes > free:
        raise StoreError(
            f"{n_bytes / 1e9:,.1f} GB are to come, {free / 1e9:,.1f} GB are free",
            where=str(folder),
            hint="pull a part of it with --layers or --split, or give another FOLDER",
        )


def _in_order(files: Sequence[_File]) -> tuple[list[_File], ...]:
    """Return shards and what lies deep first, then what a reader opens first: the files of the root."""
    first = [file for file in files if "/" in file.name and file.name not in LAST]
    return first, [file for file in files if "/" not in file.name or file.name in LAST]


def _each(pool: ThreadPoolExecutor, work: Callable[[_File], int], files: Sequence[_File]) -> Iterator[int]:
    """Yield each result; after an error nothing new is begun."""
    tasks = [pool.submit(work, file) for file in files]
    try:
        for task in tasks:
            yield task.result()
    finally:
        for task in tasks:
            task.cancel()


def _fetch(root: Readable, blobs: LocalBlobs, file: _File, on_file: Callable[[str, int], None]) -> int:
    """Fetch a file whole, checked while it is written; return its size."""
    wrong = ""
    for _ in range(ATTEMPTS):
        try:
            blobs.put(file.name, _checked(root, file))
        except _DamagedError as error:
            wrong = str(error)
            continue
        size = blobs.size(file.name) or 0
        on_file(file.name, size)
        return size
    raise StoreError(
        f"this file came damaged {ATTEMPTS} times: {wrong}",
        where=f"{root.url}/{file.name}",
        hint="run the same `pull` again; if it stays so, the published dataset is damaged: publish it again",
    )


class _DamagedError(Exception):
    """The bytes that came are not those that the manifest names."""


def _checked(root: Readable, file: _File) -> Iterator[bytes]:
    """Yield a file's bytes; raise at the end where they are not the right ones, so that nothing is kept."""
    digest, start = hashlib.sha256(), 0
    while file.size is None or start < file.size:
        try:
            piece = root.get(file.name, start, PIECE_BYTES)
        except FileNotFoundError as error:
            hint = "the dataset there is not whole, or is being changed: try again later, or publish it again"
            raise StoreError("the dataset lists this file, and it is not there", where=root.url, hint=hint) from error
        digest.update(piece)
        start += len(piece)
        yield piece
        if len(piece) < PIECE_BYTES:
            break
    if file.size not in {None, start}:
        raise _DamagedError(f"{start:,} bytes instead of {file.size:,}")
    if digest.hexdigest() != file.sha256:
        raise _DamagedError("its sha256 is not that of the dataset")


def _put_manifest(root: Readable, blobs: LocalBlobs, part: Part) -> None:
    """Write the manifest that belongs to what was fetched."""
    data = root.get(MANIFEST)
    if json.loads(data).get("manifest_digest") != part.manifest_digest:
        raise StoreError("the dataset changed while it was pulled", where=root.url, hint="run the same `pull` again")
    blobs.put(MANIFEST, data)


def _stale(blobs: LocalBlobs, names: set[str]) -> list[str]:
    """Return files here that an older state of the dataset had."""
    places = (ZARR, "provenance", "stats", "previews")
    return [name for folder in places for name in blobs.list(folder) if name not in names]
