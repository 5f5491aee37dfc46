"""Are the splits of a finished dataset what its manifest says? And does no ground lie in two of them?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.core.splits.policy import Split, SplitPolicy, codes_of, names_of
from m3leo_prep.pipeline.leakage.checks import split_problems
from m3leo_prep.pipeline.splitting.assign import OF_PLACE, assign
from m3leo_prep.pipeline.splitting.columns import LISTED, MAIN, rank_name, read_regions
from m3leo_prep.pipeline.splitting.losses import counts
from m3leo_prep.pipeline.splitting.resolve import Resolved
from m3leo_prep.ports.blobs import Readable
from m3leo_prep.reader.dataset import Dataset

KNOWN = frozenset(names_of(np.array(list(Split), np.uint8)).tolist())


def cells_of(manifest: Mapping[str, Any], chips: pa.Table) -> Cells:
    """Return the cells of a dataset by the ids of its chips.

    Raises:
        ConfigError: an id that is none of its grid.
    """
    grid = Grid(manifest["grid"]["chip_px"], manifest["grid"]["resolution"])
    places = [grid.parse_id(chip) for chip in chips["chip_id"].to_pylist()]
    return Cells(grid, *(np.array(axis, np.int32) for axis in zip(*places, strict=True)))


def look(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return what the manifest says of each split column, and what is wrong with them.

    Raises:
        StoreError: no finished dataset there.
    """
    dataset = Dataset(path)
    chips = dataset.table("chips.parquet")
    return dict(dataset.manifest.get("splits", {})), list(problems_of(LocalBlobs(path), dataset.manifest, chips))


def problems_of(blobs: Readable, manifest: Mapping[str, Any], chips: pa.Table) -> Iterator[str]:
    """Yield what is wrong with the splits of a dataset, in words.

    Args:
        blobs: the dataset.
        manifest: its own.
        chips: ``chips.parquet``.
    """
    entries = manifest.get("splits", {})
    names = [name for name in chips.column_names if name == MAIN or name.startswith(f"{MAIN}_")]
    for name in names:
        if name not in entries and chips[name].null_count < len(chips):
            yield f"{name}: the manifest knows no policy of it"
    if not entries:
        return
    try:
        cells = cells_of(manifest, chips)
    except ConfigError as error:
        yield f"the splits were not checked: {error.message}"
        return
    ids = chips["chip_id"].to_pylist()
    polygons = np.asarray(shapely.from_wkb(chips["geometry"].to_pylist()), object)
    for name, entry in entries.items():
        if name not in names:
            yield f"{name}: there is no such column, though the manifest tells of it"
            continue
        unknown = sorted(set(chips[name].to_pylist()) - KNOWN, key=str)
        if unknown:
            yield f"{name}: unknown split '{unknown[0]}'"
            continue
        codes = codes_of(chips[name].to_pylist())
        yield from (f"{name}: {text}" for text in _against_manifest(blobs, name, entry, cells, codes))
        policy = SplitPolicy.of(entry["policy"])
        yield from (f"{name}: {text}" for text in split_problems(polygons, codes, ids=ids, policy=policy))
        yield from _rank_problems(chips, name, codes)


def _against_manifest(
    blobs: Readable, name: str, entry: Mapping[str, Any], cells: Cells, codes: NDArray[np.uint8]
) -> Iterator[str]:
    if counts(codes) != entry["chips"]:
        yield f"holds {counts(codes)}, the manifest says {entry['chips']}"
    policy = SplitPolicy.of(entry["policy"])
    if policy.policy in LISTED:
        return
    try:
        made = assign(Resolved(policy, read_regions(blobs, name, policy)), cells).split
    except StoreError as error:
        yield error.message
        return
    wrong = made != codes
    if policy.policy not in OF_PLACE:  # which chips yield depends on those that are there, in a sample fewer
        wrong &= (made != Split.BUFFER) & (codes != Split.BUFFER)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        found, expected = (names_of(part[row : row + 1])[0] or "none" for part in (codes, made))
        yield f"{int(wrong.sum()):,} chips differ from the policy: row {row} is {found} instead of {expected}"


def _rank_problems(chips: pa.Table, name: str, codes: NDArray[np.uint8]) -> Iterator[str]:
    rank = rank_name(name)
    if rank not in chips.column_names:
        yield f"{rank}: there is no such column"
        return
    values = chips[rank].to_numpy(zero_copy_only=False).astype(float)
    train = codes == Split.TRAIN
    if not np.isnan(values[~train]).all():
        yield f"{rank}: chips outside train have a rank"
    ranked = np.sort(values[train])
    if np.isnan(ranked).all():
        return  # the layer that stratifies them is not built yet
    # Ranks are k / n in float32.
    if not np.allclose(ranked, np.arange(1, len(ranked) + 1) / max(1, len(ranked)), rtol=2e-7, atol=0):
        yield f"{rank}: the ranks of train are not 1/n, 2/n ... 1"
