"""Does it fit? Asked before the first byte is written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from m3leo_prep.core.errors import StoreError
from m3leo_prep.core.layer import Array
from m3leo_prep.core.plan import Plan, Unit

COMPRESSED = {1: 0.35, 2: 0.85, 4: 0.9}
"""Expected stored share of raw bytes by item size: class codes compress well, speckle hardly."""
LZ4 = 1.15
"""Expected size beside zstd's."""
SPACE_MARGIN = 1.1
FILES_PER_UNIT = 8
"""Files and folders that a shard makes, at most."""


def check_space(plan: Plan, units: list[Unit], path: Path) -> None:
    """Refuse before the first byte what cannot fit.

    Args:
        plan: of the dataset.
        units: what is to be built.
        path: a folder on the dataset's disk.

    Raises:
        StoreError: too little disk space, or too few files may be made, with the figures and the ways out.
    """
    needed = SPACE_MARGIN * sum(_bytes(plan, unit) for unit in units)
    free = shutil.disk_usage(path).free
    inodes = os.statvfs(path)
    if inodes.f_files and inodes.f_favail < len(units) * FILES_PER_UNIT:
        raise StoreError(
            f"about {len(units) * FILES_PER_UNIT:,} files are needed, {inodes.f_favail:,} may be made in {path}",
            hint="build fewer layers with --layers, or give an --out on another disk",
        )
    if needed > free:
        raise StoreError(
            f"about {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free in {path}",
            hint="free space, build fewer layers with --layers or fewer chips with --sample, "
            "or give an --out on a larger disk",
        )


def _bytes(plan: Plan, unit: Unit) -> float:
    """Return the expected size of a unit's shards."""
    layer = plan.layer(unit.layer).layer
    pixels = layer.size**2 * (unit.last_row - unit.first_row) * (unit.last_slot - unit.first_slot)
    return sum(pixels * array.n_bands * array.itemsize * _share(array) for array in layer.arrays)


def _share(array: Array) -> float:
    """Return the expected stored share of an array's raw bytes."""
    match array.codec:
        case "none":
            return 1.0
        case "lz4":
            return min(1.0, LZ4 * COMPRESSED[array.itemsize])
        case "zstd":
            return COMPRESSED[array.itemsize]
