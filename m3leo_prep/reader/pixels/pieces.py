"""Which chunks hold the slots and bands that are asked for, and where their planes go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Run:
    """Planes (one slot and band, all pixels) that lie together in a chunk, and together in the result."""

    source: int
    """First plane in the chunk."""
    target: int
    """First plane in the result."""
    planes: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk of a chip."""

    slot_shard: int
    place: int
    """Among the chip's chunks in that shard, in the order in which they lie there."""
    runs: tuple[Run, ...]


@lru_cache(1024)
def pieces(
    shard_slots: int, chunk_slots: int, band_chunk: int, n_bands: int, slots: tuple[int, ...], bands: tuple[int, ...]
) -> tuple[Piece, ...]:
    """Return the chunks that hold these slots and bands, each once, in the order in which they lie on disk.

    Args:
        shard_slots: slots per shard.
        chunk_slots: slots per chunk.
        band_chunk: bands per chunk.
        n_bands: bands of the variable.
        slots: indices of slots, in the order of the result.
        bands: indices of bands, in the order of the result.
    """
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for to_slot, slot in enumerate(slots):
        shard, inside = divmod(slot, shard_slots)
        for to_band, band in enumerate(bands):
            place = inside // chunk_slots * (n_bands // band_chunk) + band // band_chunk
            source = inside % chunk_slots * band_chunk + band % band_chunk
            found.setdefault((shard, place), []).append((source, to_slot * len(bands) + to_band))
    return tuple(Piece(shard, place, _runs(planes)) for (shard, place), planes in sorted(found.items()))


def _runs(planes: list[tuple[int, int]]) -> tuple[Run, ...]:
    """Return planes (in the chunk, in the result), the latter ascending, as runs.

    >>> _runs([(0, 4), (1, 5), (3, 6)])
    (Run(source=0, target=4, planes=2), Run(source=3, target=6, planes=1))
    """
    runs: list[Run] = []
    for source, target in planes:
        last = runs[-1] if runs else None
        if last and (source, target) == (last.source + last.planes, last.target + last.planes):
            runs[-1] = Run(last.source, last.target, last.planes + 1)
        else:
            runs.append(Run(source, target, 1))
    return tuple(runs)
