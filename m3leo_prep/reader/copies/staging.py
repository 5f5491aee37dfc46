"""Datasets copied to a fast local disk, as far as they are needed, and read from there ever after."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.blobs.location import scheme
from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.reader.copies.pulled import read_part
from m3leo_prep.reader.copies.pulling import pull
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.selection import Pick
from m3leo_prep.store.lock import planning

Root = str | Path | Dataset
Needs = Sequence[tuple[Mapping[str, Pick], NDArray[np.int64]]]
"""By dataset, what is read of which rows."""


def staged(roots: Sequence[Root], folder: Path, choose: Callable[[Sequence[Dataset]], Needs]) -> list[Dataset]:
    """Return the datasets as they are below ``folder``; what is needed and is not there yet is copied first.

    Each dataset has a folder of its own there, named after its location. Where all that is needed is there already,
    nothing is asked of the location: no network, and no news of changes; delete the folder to copy anew. Processes
    that stage the same at once wait for the first.

    Args:
        roots: where the datasets are.
        folder: on a local disk.
        choose: returns what is needed of these datasets.

    Raises:
        StoreError: the folder cannot be written, the disk is full, or a file came damaged.
    """
    folders = [folder / folder_name(root) for root in roots]
    with planning(folder / ".staging"):
        here = _complete(folders, choose)
        if here:
            return here
        sources = [root if isinstance(root, Dataset) else Dataset(root) for root in roots]
        for source, target, (picks, rows) in zip(sources, folders, choose(sources), strict=True):
            pull(source, target, layers=[_variable(pick) for pick in picks.values()], rows=rows)
    return [Dataset(target) for target in folders]


def folder_name(root: Root) -> str:
    """Return the name of the folder below a stage that a dataset is copied to.

    >>> folder_name("hf://datasets/me/europe") == folder_name("hf://user:secret@datasets/me/europe?signature=abc")
    True
    """
    text = root.url if isinstance(root, Dataset) else str(root)
    if scheme(text) == "file":
        location = str(Path(re.sub(r"^file://", "", text, flags=re.IGNORECASE)).resolve())
    else:
        # A signature changes, the dataset does not.
        location = re.sub(r"://[^/]*:[^/]*@", "://", re.sub(r"[?#].*$", "", text)).rstrip("/")
    last = re.sub(r"[^A-Za-z0-9._-]+", "-", location.rpartition("/")[2]).strip(".-")
    return f"{last or 'dataset'}-{sha256(location.encode()).hexdigest()[:8]}"


def _complete(folders: Sequence[Path], choose: Callable[[Sequence[Dataset]], Needs]) -> list[Dataset]:
    """Return the staged datasets if everything that is needed is there, else nothing."""
    parts = [read_part(folder) for folder in folders]
    found = [part for part in parts if part is not None]
    if len(found) < len(folders):
        return []
    try:
        datasets = [Dataset(folder) for folder in folders]
        needs = choose(datasets)
    except (ConfigError, StoreError):
        # Something that is asked for is not here, or nowhere: the source knows.
        return []
    for dataset, part, (picks, rows) in zip(datasets, found, needs, strict=True):
        is_whole = part.manifest_digest == dataset.manifest["manifest_digest"]
        for pick in picks.values():
            numbers = np.unique(rows // pick.layer.shard_chips).tolist()
            if not (is_whole and part.shards.get(_variable(pick), frozenset()).issuperset(numbers)):
                return []
    return datasets


def _variable(pick: Pick) -> str:
    return f"{pick.layer.name}.{pick.array.name}"
