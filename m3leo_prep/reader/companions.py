"""Small arrays beside a layer's pixels: reasons, valid shares, times, orbits; read by chunks of chips."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.blobs.cached import Cached
from m3leo_prep.core.errors import StoreError, VerifyError
from m3leo_prep.ports.blobs import Readable
from m3leo_prep.reader.files import AGAIN
from m3leo_prep.store.codec import ChunkCodec
from m3leo_prep.store.shard import ZARR


@dataclass(frozen=True, slots=True)
class Companion:
    """An array (chip, …) beside a layer's pixels, such as ``backscatter_valid``."""

    root: Readable
    folder: str
    """Its name in the dataset."""
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    """Shape of a chunk: many chips, and everything of each."""
    dtype: str
    fill: Any
    """What stands where nothing is known."""

    def all(self) -> NDArray[Any]:
        """Return the values of all chips.

        Raises:
            StoreError: they cannot be read.
            VerifyError: they are damaged.
        """
        parts = list(self.parts())
        return np.concatenate(parts) if parts else np.empty(self.shape, self.dtype)

    def row(self, row: int) -> NDArray[Any]:
        """Return the values of one chip, without the chip axis; errors as in ``all``."""
        made: NDArray[Any] = self._part(row // self.chunk[0])[row % self.chunk[0]]
        return made

    def parts(self) -> Iterator[NDArray[Any]]:
        """Yield the values, some thousands of chips at a time; errors as in ``all``."""
        for place in range(math.ceil(self.shape[0] / self.chunk[0])):
            yield self._part(place)[: self.shape[0] - place * self.chunk[0]]

    def _part(self, place: int) -> NDArray[Any]:
        name = "/".join([self.folder, "c", str(place), *("0" for _ in self.chunk[1:])])
        where = f"{self.root.url}/{name}"
        codec = ChunkCodec(self.dtype)
        try:
            try:
                return codec.decode(self.root.get(name), self.chunk, where=where)
            except VerifyError:
                if not isinstance(self.root, Cached):
                    raise
                self.root.forget(name)  # it may have been damaged on its way here
                return codec.decode(self.root.get(name), self.chunk, where=where)
        except FileNotFoundError as error:
            raise StoreError("this part of an array is not here", where=where, hint=AGAIN) from error


def open_companion(root: Readable, layer: str, name: str) -> Companion:
    """Return an array beside a layer's pixels.

    Raises:
        StoreError: it is not there, or its description is damaged.
    """
    folder = f"{ZARR}/{layer}/{name}"
    try:
        raw = root.get(f"{folder}/zarr.json")
    except FileNotFoundError as error:
        raise StoreError("this array is not here", where=f"{root.url}/{folder}", hint=AGAIN) from error
    try:
        about = json.loads(raw)
        chunk = tuple(about["chunk_grid"]["configuration"]["chunk_shape"])
        return Companion(root, folder, tuple(about["shape"]), chunk, about["data_type"], about["fill_value"])
    except (ValueError, KeyError, TypeError) as error:
        message = f"this array's description is damaged: {error}"
        raise StoreError(message, where=f"{root.url}/{folder}", hint=AGAIN) from error
