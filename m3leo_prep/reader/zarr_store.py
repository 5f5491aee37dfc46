"""A dataset's Zarr hierarchy as a store of zarr-python, wherever the dataset is; read-only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from m3leo_prep.ports.blobs import Readable


class ReadableStore(Store):
    """The blobs below one folder, for ``zarr`` and ``xarray``; what is absent is None, any other failure an error."""

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(self, root: Readable, folder: str) -> None:
        super().__init__(read_only=True)
        self._root, self._folder = root, folder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadableStore) and (self._root, self._folder) == (other._root, other._folder)

    def __hash__(self) -> int:
        return hash((self._root.url, self._folder))

    def __str__(self) -> str:
        return f"{self._root.url}/{self._folder}"

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return a blob or a range of it, or None where it is absent."""
        start, length = 0, None
        match byte_range:
            case RangeByteRequest():
                start, length = byte_range.start, byte_range.end - byte_range.start
            case OffsetByteRequest():
                start = byte_range.offset
            case SuffixByteRequest():
                start = -byte_range.suffix
        try:
            data = await asyncio.to_thread(self._root.get, f"{self._folder}/{key}", start, length)
        except FileNotFoundError:
            return None
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return several ranges, asked for at once."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Return whether a blob is there."""
        return await asyncio.to_thread(self._root.size, f"{self._folder}/{key}") is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse."""
        raise NotImplementedError(f"{self} is read-only: {key} cannot be written ({len(value)} bytes)")

    async def delete(self, key: str) -> None:
        """Refuse."""
        raise NotImplementedError(f"{self} is read-only: {key} cannot be deleted")

    def list(self) -> AsyncIterator[str]:
        """Refuse: consolidated metadata says what there is."""
        raise NotImplementedError(f"{self} cannot be listed")

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Refuse, as ``list``."""
        raise NotImplementedError(f"{self}/{prefix} cannot be listed")

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Refuse, as ``list``."""
        raise NotImplementedError(f"{self}/{prefix} cannot be listed")
