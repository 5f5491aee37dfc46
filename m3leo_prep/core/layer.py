"""A layer as it will be stored: lattice, slots, arrays, chunks and shards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from m3leo_prep.core.choice import Rule
from m3leo_prep.core.encoding import Encoding
from m3leo_prep.core.raster import Slot, Variable

SHARD_CHIPS = (64, 256, 1024, 4096)
SHARD_RAW_BYTES = 128 * 2**20
"""A shard's chips, all slots together, stay below this (design: 128 MiB) ..."""
SHARD_SLOT_BYTES = 2**30
"""... and slots are split so that one shard's raw data stay below this (1 GiB)."""
SERIES_CHUNK_BYTES = 64 * 2**10
"""A chip whose slots together are smaller than this keeps them in one chunk."""
MAX_SHARDS_PER_ARRAY = 8_000
MAX_BAND_CHUNK = 4

Statistic = Literal["first", "last", "least_cloudy", "mean", "median", "medoid", "min", "max", "count"]
Codec = Literal["zstd", "lz4", "none"]
"""How chunks are compressed: smallest, fastest to decode, or not at all."""


@dataclass(frozen=True, slots=True)
class Array:
    """One variable as stored in Zarr: (chip, time, band, y, x), or (chip, band, y, x) if static."""

    variable: Variable
    encoding: Encoding
    method: str
    """Warp method, by name."""
    statistic: Statistic
    """How several items of one slot become one value."""
    band_chunk: int
    """Bands per chunk; divides the number of bands."""
    codec: Codec = "zstd"
    """How its chunks are compressed."""

    @property
    def itemsize(self) -> int:
        """Bytes of one stored value."""
        return np.dtype(self.encoding.dtype).itemsize

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return len(self.variable.bands)


@dataclass(frozen=True, slots=True)
class Layer:
    """Everything about a layer but its chips and items."""

    name: str
    role: Literal["input", "label"]
    pitch: float
    """Metres per pixel of the lattice."""
    size: int
    """Pixels along a chip's side: cell / pitch."""
    slots: tuple[Slot, ...]
    arrays: tuple[Array, ...]
    shard_chips: int
    """N: chips per shard."""
    shard_slots: int
    """T: slots per shard; 1 for a static layer."""
    chunk_slots: int
    """Slots per chunk: 1, or all of a short series."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    rule: Rule | None = None
    """How the items of a slot are chosen for each chip; None: by their dates."""

    @property
    def is_static(self) -> bool:
        """True for a layer without a time axis."""
        return self.slots[0].is_static

    @property
    def n_slot_shards(self) -> int:
        """Shards along the time axis."""
        return math.ceil(len(self.slots) / self.shard_slots)


def band_chunk(n_bands: int) -> int:
    """Return the bands per chunk: all up to 4, else the largest divisor that is at most 4."""
    return next(n for n in range(min(n_bands, MAX_BAND_CHUNK), 0, -1) if n_bands % n == 0)


def shard_rule(*, chip_slot_bytes: int, n_slots: int, n_chips: int, dear_blocks: bool = False) -> tuple[int, int, int]:
    """Return (chips per shard N, slots per shard T, slots per chunk).

    Args:
        chip_slot_bytes: raw bytes of one chip in one slot, all bands and variables together.
        n_slots: slots of the layer.
        n_chips: chips of the area; N rises if an array would have more than 8 000 chip-shards.
        dear_blocks: the source re-reads large blocks; larger units with fewer slots read less.
    """
    fits = [n for n in SHARD_CHIPS if n * chip_slot_bytes * n_slots <= SHARD_RAW_BYTES]
    n = max(fits, default=SHARD_CHIPS[0])
    if dear_blocks:
        n = max(n, 256)
    while n_chips > n * MAX_SHARDS_PER_ARRAY:
        n *= 4
    at_most = max(1, min(n_slots, SHARD_SLOT_BYTES // (n * chip_slot_bytes)))
    t = math.ceil(n_slots / math.ceil(n_slots / at_most))
    series = chip_slot_bytes * n_slots
    return n, t, t if t == n_slots and series < SERIES_CHUNK_BYTES else 1
