"""Counting chips whose pixels are copied from the last record of their unit and not made."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import code_range
from m3leo_prep.core.layer import Layer
from m3leo_prep.core.raster import Kind
from m3leo_prep.ops.reference import rereferenced
from m3leo_prep.pipeline.statistics.counts import Counts, counted, histogram_name, holds_for
from m3leo_prep.store.codec import ChunkCodec
from m3leo_prep.store.ledger import Record

Chunks = Mapping[str, Mapping[tuple[int, ...], bytes]]


def count_copied(
    counts: Mapping[str, Counts],
    layer: Layer,
    chunks: Chunks,
    prior: Record,
    same: NDArray[np.bool_],
    splits: NDArray[np.uint8],
) -> None:
    """Add copied chips to ``counts``: as the record counted them if it did so by the same splits, else anew.

    Args:
        counts: by variable.
        layer: the layer.
        chunks: what was copied, encoded, by variable and place in the shard.
        prior: the record it is copied from.
        same: (chip, slot), True where it was.
        splits: (chip,) those of the unit's chips now.
    """
    chips, slots = prior.arrays["digests"].shape[:2]
    is_whole = bool(same[:chips, :slots].all()) and same.sum() == chips * slots
    if is_whole and holds_for(prior, splits):
        for name, histogram in counts.items():
            histogram.add_sparse(prior.arrays[histogram_name(name)])
        return
    for array in counted(layer):
        name, fill = array.variable.name, array.encoding.fill
        codec = ChunkCodec(array.encoding.dtype, array.codec)
        shape = (layer.chunk_slots, array.band_chunk, layer.size, layer.size)
        is_phase = array.variable.kind is Kind.UNWRAPPED_PHASE
        for place, payload in chunks[name].items():
            first_band = place[-3] * array.band_chunk
            first_slot = 0 if layer.is_static else place[1] * layer.chunk_slots
            decoded = codec.decode(payload, shape, where=f"{layer.name}, copied chunk {place}")
            for slot, codes in enumerate(decoded, first_slot):
                valid = ~np.isnan(codes) if fill is None else codes != fill
                told = codes
                if is_phase:
                    reference = prior.arrays[f"reference.{name}"][place[0], slot, first_band:][: len(codes)]
                    told = rereferenced(codes, valid, reference, **code_range(array.encoding))
                counts[name].add(int(splits[place[0]]), told, valid, first_band=first_band)
