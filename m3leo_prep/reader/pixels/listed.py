"""The list of a dataset's shards: how long each must be, as arrays that stay small for a million chips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from m3leo_prep.core.errors import StoreError
from m3leo_prep.ports.blobs import Readable
from m3leo_prep.reader.files import AGAIN, read_table

SHARDS = "shards.parquet"


@dataclass(frozen=True, slots=True)
class Listed:
    """The bytes of each shard, by layer and variable."""

    sizes: Mapping[tuple[str, str], NDArray[np.int64]]
    """(shard along chips, shard along slots); 0 = absent by design, -1 = not listed."""

    def size(self, layer: str, variable: str, at: tuple[int, int]) -> int | None:
        """Return the bytes of a shard, 0 if all of it is missing by design, None if it is not listed."""
        sizes = self.sizes.get((layer, variable))
        if sizes is None or at[0] >= sizes.shape[0] or at[1] >= sizes.shape[1]:
            return None
        size = int(sizes[at])
        return None if size < 0 else size


def read_listed(root: Readable) -> Listed:
    """Return the list of shards of the dataset at ``root``; their checksums are left where they are.

    Raises:
        StoreError: it is absent or damaged.
    """
    table = read_table(root, SHARDS, ["path", "bytes"])
    try:
        return listed(table["path"], table["bytes"])
    except (ValueError, IndexError) as error:
        where = f"{root.url}/{SHARDS}"
        raise StoreError(f"the list of shards is damaged: {error}", where=where, hint=AGAIN) from error


def listed(names: pa.ChunkedArray | pa.Array, sizes: pa.ChunkedArray | pa.Array) -> Listed:
    """Return names of shards and their bytes as a list.

    Raises:
        ValueError: a name is not that of a shard.
        IndexError: likewise.
    """
    # chips.zarr/LAYER/VARIABLE/c/CHIP/SLOT/0/0/0; without a slot axis the band's 0 stands in its place.
    parts = _whole(pc.split_pattern(names, "/"))
    if len(parts) == 0:
        return Listed({})
    words, first = parts.values, np.from_dlpack(parts.offsets)[:-1]
    layers, variables, chips, slots = (words.take(_arrow(first + n)) for n in (1, 2, 4, 5))
    layers, variables = layers.dictionary_encode(), variables.dictionary_encode()
    # By DLPack and buffers: handed anything of NumPy's, or asked for it, pyarrow imports pandas.
    chips, slots = (np.from_dlpack(numbers.cast(pa.int64())) for numbers in (chips, slots))
    n_bytes, of_layer, of_variable = (
        np.from_dlpack(_whole(column)) for column in (sizes, layers.indices, variables.indices)
    )
    codes = of_layer.astype(np.int64) * len(variables.dictionary) + of_variable
    found: dict[tuple[str, str], NDArray[np.int64]] = {}
    for code in np.unique(codes).tolist():
        layer, variable = divmod(code, len(variables.dictionary))
        rows = np.flatnonzero(codes == code)
        made = np.full((chips[rows].max() + 1, slots[rows].max() + 1), -1, np.int64)
        made[chips[rows], slots[rows]] = n_bytes[rows]
        found[layers.dictionary[layer].as_py(), variables.dictionary[variable].as_py()] = made
    return Listed(found)


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _arrow(numbers: NDArray[Any]) -> pa.Array:
    return pa.Array.from_buffers(pa.int32(), len(numbers), [None, pa.py_buffer(numbers)])
