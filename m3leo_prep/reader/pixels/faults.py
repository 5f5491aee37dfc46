"""What is wrong with a shard that cannot be read, and the way out."""

from __future__ import annotations

from dataclasses import dataclass

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import StoreError, VerifyError
from m3leo_prep.ports.blobs import Readable
from m3leo_prep.reader.copies.pulled import place, read_part
from m3leo_prep.reader.files import read_table
from m3leo_prep.reader.manifest import read_manifest
from m3leo_prep.reader.pixels.listed import SHARDS

BROKEN_OFF = "it was not pulled, or the copy broke off: pull it again, or run `build` again"
CHANGED = "the dataset was changed while it was open"


@dataclass(frozen=True, slots=True)
class Faults:
    """Finds out why a shard of the dataset at ``root`` is not as listed."""

    root: Readable
    opened: str | None
    """Digest of the list of shards when the dataset was opened; None if nobody knows."""

    def absent(self, name: str, size: int) -> StoreError:
        """Return the error of a shard that is listed, but not there."""
        if self._is_changed():
            return self._changed(name)
        where = f"{self.root.url}/{name}"
        part = read_part(self.root.root) if isinstance(self.root, LocalBlobs) else None
        if part is not None and not part.covers(name):
            hint = f"m3leo-prep pull {part.url} {self.root.url} --layers {place(name)[0]}"
            return StoreError(f"this shard of {size:,} bytes was not pulled", where=where, hint=hint)
        message = f"this shard is not here, though the dataset lists it with {size} bytes"
        return StoreError(message, where=where, hint=BROKEN_OFF)

    def another_size(self, name: str, found: int, size: int) -> StoreError:
        """Return the error of a shard that is longer or shorter than listed."""
        if self._is_changed():
            return self._changed(name)
        message = f"this shard has {found} bytes, but is listed with {size}"
        return StoreError(message, where=f"{self.root.url}/{name}", hint=BROKEN_OFF)

    def not_listed(self, name: str) -> StoreError:
        """Return the error of a shard that nobody lists."""
        if self._is_changed():
            return self._changed(name)
        hint = "run `build` again, or pull shards.parquet and manifest.json again"
        return StoreError(f"this shard is not listed in {SHARDS}", where=f"{self.root.url}/{name}", hint=hint)

    def damaged(self, name: str, chunk: tuple[int, ...], row: int, error: VerifyError) -> StoreError | VerifyError:
        """Return the error of a damaged chunk of the chip in that row."""
        if self._is_changed():
            return self._changed(name)
        where = f"{self.root.url}/{name}, chunk {chunk}, chip {self._chip(row)}"
        return VerifyError(error.message, hint=error.hint, where=where)

    def check_unchanged(self) -> None:
        """Raise StoreError if the list of shards is no longer the one that was there when the dataset was opened."""
        if self._is_changed():
            raise self._changed(SHARDS)

    def _is_changed(self) -> bool:
        if self.opened is None:
            return False
        try:
            return listed_digest(read_manifest(self.root)) != self.opened
        except StoreError:  # a build takes the manifest away first
            return True

    def _changed(self, name: str) -> StoreError:
        return StoreError(CHANGED, where=f"{self.root.url}/{name}", hint="open it again, also in worker processes")

    def _chip(self, row: int) -> str:
        """Return the chip's id, or its row where the table cannot be read."""
        try:
            return str(read_table(self.root, "chips.parquet", ["chip_id"])["chip_id"][row])
        except (StoreError, IndexError):
            return f"in row {row}"


def listed_digest(manifest: dict[str, object]) -> str | None:
    """Return the digest of ``shards.parquet`` by a manifest, or None if it does not tell."""
    files = manifest.get("files")
    return files.get(SHARDS) if isinstance(files, dict) else None
