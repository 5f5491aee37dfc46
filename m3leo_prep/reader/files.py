"""Parquet tables of a dataset that may be anywhere: only the columns that are asked for are fetched."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import PrepError, StoreError
from m3leo_prep.ports.blobs import Readable

WHOLE_BYTES = 2 * 2**20
"""A remote file up to this size comes in one request."""
AHEAD_BYTES = 256 * 2**10
"""Bytes asked for at least, of a larger one: a Parquet file's footer, or a column of one row group."""
AGAIN = "run `build` again, or pull it again"


def read_table(root: Readable, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a Parquet table, or some of its columns; of a remote one only these are fetched.

    Raises:
        StoreError: it cannot be read.
    """
    where = f"{root.url}/{name}"
    try:
        # Not pq.read_table: it loads pyarrow's dataset machinery first, a quarter of a second for nothing.
        with pq.ParquetFile(opened(root, name)) as file:
            unknown = set(columns or ()).difference(file.schema_arrow.names)
            if unknown:
                raise ValueError(f"it has no column {', '.join(sorted(unknown))}")  # noqa: TRY301  one message
            return file.read(columns)
    except PrepError:  # a StoreError is an OSError, a ConfigError a ValueError
        raise
    except (OSError, ValueError) as error:
        raise StoreError(f"this table cannot be read: {error}", where=where, hint=AGAIN) from error


def opened(root: Readable, name: str) -> Any:
    """Return what ``pq.ParquetFile`` takes of a blob; errors as in ``Readable.get``."""
    if isinstance(root, LocalBlobs):
        return root.root / name
    size = root.size(name)
    if size is None:
        raise FileNotFoundError("no such file")
    return pa.BufferReader(root.get(name)) if size <= WHOLE_BYTES else _Blob(root, name, size)


class _Blob(io.RawIOBase):
    """A blob as a file that is read in ranges, each at least ``AHEAD_BYTES``."""

    def __init__(self, root: Readable, name: str, size: int) -> None:
        super().__init__()
        self._root, self._name, self._size = root, name, size
        self._place = self._start = 0
        self._held = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + (0, self._place, self._size)[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        length = max(0, min(len(view), self._size - self._place))
        inside = self._place - self._start
        if length and not (inside >= 0 and inside + length <= len(self._held)):
            # Near the end, such as for a footer, what lies before is wanted next.
            self._start = max(0, min(self._place, self._size - AHEAD_BYTES))
            self._held = self._root.get(self._name, self._start, max(AHEAD_BYTES, self._place + length - self._start))
            inside = self._place - self._start
        view[:length] = self._held[inside : inside + length]
        self._place += length
        return length
