"""What ``auto`` means for the buffer and for the size of blocks; chosen once, then frozen in the plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.splits.blocks import blocks_per_split
from m3leo_prep.core.splits.policy import LEARNED
from m3leo_prep.core.splits.shares import validate_shares

BLOCK_PER_BUFFER = (16, 8, 4)
"""Sides that are tried, in buffers. Smaller blocks would leave no train chips."""
ENOUGH = 30
"""Blocks of a split; with fewer, smaller blocks are tried."""
FEWEST = 10
"""Blocks of a split; with fewer, its scores would hang on a few places."""


def auto_buffer_km(chip_diagonal_m: float, label_pixel_m: float, correlation_km: float | None = None) -> float:
    """Return the buffer in km, in whole metres: a chip's diagonal + the coarsest label pixel.

    So no label pixel is shared, and no chip's own extent eats the distance. A correlation range that is longer than
    that pixel takes its place.
    """
    apart = max(label_pixel_m, 1000 * (correlation_km or 0.0))
    return math.ceil(chip_diagonal_m + apart - 1e-6) / 1000


def choose_block_km(
    cells: Cells,
    buffer_km: float,
    shares: Mapping[str, float],
    seed: int,
    count: Callable[[float], NDArray[np.int64]] | None = None,
) -> float:
    """Return the side of a block in km: 16, 8 or 4 buffers, the first with enough blocks in every wanted split.

    Args:
        cells: chips; blocks that hold any of them count.
        buffer_km: the buffer.
        shares: of train, val and test; a split whose share is 0 is not wanted.
        seed: of the draw.
        count: returns (3,) blocks of train, val and test for a side in km; by default those of ``assign_blocks``.

    Raises:
        ConfigError: there is no buffer, or even the smallest blocks are too few.
    """
    if buffer_km <= 0:
        raise ConfigError(
            "block_km: auto is a multiple of the buffer, which is 0",
            hint="give block_km in km, such as 100, or a buffer",
            where="splits.block_km",
        )
    wanted = np.array(validate_shares(shares)) > 0
    held = np.zeros(len(LEARNED), np.int64)
    side = 0.0
    for times in BLOCK_PER_BUFFER:
        side = times * buffer_km
        held = blocks_per_split(cells, side, shares, seed) if count is None else count(side)
        if (held[wanted] >= ENOUGH).all():
            return side
    poorest = min((split for split in LEARNED if wanted[split]), key=lambda split: int(held[split]))
    if held[poorest] < FEWEST:
        raise ConfigError(
            f"the area is too small for blocks: of {side:g} km, the smallest for a buffer of {buffer_km:g} km, "
            f"only {held[poorest]} are {poorest.name.lower()}, and {FEWEST} are the fewest that mean something",
            hint="use policy bands, admin or none, a smaller buffer_km, or a larger area; "
            "block_km sets another side if you know that it is right",
            where="splits.block_km",
        )
    return side
