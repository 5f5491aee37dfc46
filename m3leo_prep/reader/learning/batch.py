"""Many chips at once: fetched together where a network is waited for, decoded in threads, each into its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import CLASS_FILL
from m3leo_prep.reader.manifest import StoredArray
from m3leo_prep.reader.pixels.convert import Convert, fitting
from m3leo_prep.reader.pixels.pieces import Plan, plan
from m3leo_prep.reader.pixels.shards import ShardReader
from m3leo_prep.reader.pixels.sinks import Want
from m3leo_prep.reader.selection import Pick
from m3leo_prep.reader.statistics import MeanStd


@dataclass(frozen=True, slots=True)
class Job:
    """One chip of one variable, and the places where it goes."""

    pick: Pick
    row: int
    values: NDArray[Any]
    """(slot, band, y, x), C-contiguous: float32 in physical units and 0 where missing; int64 of classes, 255 there."""
    valid: NDArray[np.bool_]
    """The same shape; True where valid."""
    statistics: MeanStd | None = None
    """(mean, std), each ([slot,] band, 1, 1) float32, axes of length 1 standing for all of them: valid values become
    (value - mean) / std."""


def fill(reader: ShardReader, jobs: Sequence[Job], *, threads: int | None = None) -> None:
    """Read every job's codes, and write its values and mask, chunk by chunk.

    Args:
        reader: of the dataset that all jobs are of.
        jobs: what to read; order does not matter.
        threads: how many read and decode at a time, without any influence on the result; None = 16 over a network, one
            in a worker process or for little, else as many as there are cores, up to 4.

    Raises:
        ValueError: the places of a job do not fit what it picks.
        StoreError: a shard is absent or has another size than listed.
        VerifyError: a shard is damaged; the message names shard and chip.
    """
    convert = fitting(sum([job.values.size for job in jobs]))
    by_plane: dict[tuple[int, int], MeanStd] = {}  # jobs of one key share their pick and statistics
    plans: dict[int, Plan] = {}
    wants = []
    for job in jobs:
        pick, mean_std = job.pick, None
        if job.statistics is not None and not pick.array.is_class:
            shared = id(pick), id(job.statistics)
            mean_std = by_plane[shared] = by_plane.get(shared) or _by_plane(pick, job.statistics)
        values, valid = _planes(job)
        sink = _Values(values, valid, pick.array, mean_std, convert)
        how = plans.get(id(pick)) or plans.setdefault(id(pick), plan(pick.layer, pick.array, pick.slots, pick.bands))
        wants.append(Want(pick.layer, pick.array, job.row, how, sink))
    reader.collect(wants, threads=threads)


class _Values(NamedTuple):
    """Values and mask of one chip, (plane, pixel)."""

    values: NDArray[Any]
    valid: NDArray[np.bool_]
    array: StoredArray
    mean_std: MeanStd | None
    """Each (plane,)."""
    convert: Convert

    def straight(self, first: int, planes: int) -> None:
        """Codes are no values: they are handed to ``put``."""

    def put(self, first: int, codes: NDArray[Any]) -> None:
        planes = slice(first, first + len(codes))
        mean, std = (None, None) if self.mean_std is None else (part[planes] for part in self.mean_std)
        self.convert(codes, self.values[planes], self.valid[planes], self.array, mean, std)

    def miss(self, first: int, planes: int) -> None:
        self.values[first : first + planes] = CLASS_FILL if self.array.is_class else 0
        self.valid[first : first + planes] = False


def _by_plane(pick: Pick, statistics: MeanStd) -> MeanStd:
    """Return (mean, std) of every plane, slots and the bands of each: two float32 (plane,)."""
    made = np.empty((2, len(pick.slots), len(pick.bands)), np.float32)
    for of_planes, part in zip(made, statistics, strict=True):
        of_planes[...] = part.reshape(-1, part.shape[-3])
    mean, std = made.reshape(2, -1)
    return mean, std


def _planes(job: Job) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return where a job's values and mask go, each (plane, pixel) and no copy.

    Raises:
        ValueError: they do not fit what is picked.
    """
    pick, values, valid = job.pick, job.values, job.valid
    n_planes, size = len(pick.slots) * len(pick.bands), pick.layer.size
    fits = values.dtype == (np.int64 if pick.array.is_class else np.float32) and valid.dtype == np.bool_
    for place in (values, valid):
        fits &= place.size == n_planes * size**2 and place.shape[-2:] == (size, size) and place.flags.c_contiguous
    if not fits:
        wanted = f"{len(pick.slots)} x {len(pick.bands)} x {size} x {size}"
        found = f"{values.dtype} {values.shape} and {valid.dtype} {valid.shape}"
        msg = f"a job needs float32 (int64 of classes) and bool of {wanted}, C-contiguous, not {found}"
        raise ValueError(msg)
    return values.reshape(n_planes, size**2), valid.reshape(n_planes, size**2)
