"""A place of named byte strings: a folder, an object store, or what fsspec can write to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from m3leo_prep.core.errors import PublishError
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.ports.target import Limits, Outgoing, Step, Target
from m3leo_prep.publish.limits import MAX_FILE_BYTES
from m3leo_prep.store.shard import HASH_PIECE, sha256_of

MANIFEST = "manifest.json"
AT_A_TIME = 8
STEP = Step(files=1000, bytes=10**12, is_atomic=False)


class KeptTarget:
    """A dataset below the root of some blobs, compared by reading back what has the right size."""

    def __init__(self, blobs: Blobs, limits: Limits | None = None) -> None:
        self._blobs = blobs
        self._limits = limits or Limits(file_bytes=MAX_FILE_BYTES)

    @property
    def url(self) -> str:
        """What readers open."""
        return self._blobs.url

    @property
    def page(self) -> str:
        """Nothing: there is no web page."""
        return ""

    @property
    def revision(self) -> str:
        """Nothing: there is no history."""
        return ""

    @property
    def limits(self) -> Limits:
        """What it can take."""
        return self._limits

    @property
    def step(self) -> Step:
        """What is sent before the last file of a step."""
        return STEP

    def check(self) -> None:
        """Do nothing: whether it may be written shows when it is."""

    def prepare(self) -> None:
        """Do nothing: folders come with their files, and nobody but its owner makes a bucket."""

    def manifest(self) -> bytes | None:
        """Return the manifest that is there, or None."""
        try:
            return self._blobs.get(MANIFEST)
        except FileNotFoundError:
            return None

    def missing(self, files: Sequence[Outgoing]) -> list[Outgoing]:
        """Return those that are not there with the same bytes."""
        names = self.listed()

        def is_there(file: Outgoing) -> bool:
            if file.name not in names or self._blobs.size(file.name) != file.size:
                return False
            return self._sha256(file.name) == file.sha256

        with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="compare") as pool:
            return [file for file, is_same in zip(files, pool.map(is_there, files), strict=True) if not is_same]

    def send(self, files: Sequence[Outgoing], note: str, on_bytes: Callable[[int], None]) -> None:
        """Write files, several at once, the last one when all others are there."""
        del note  # there is no history

        def put(file: Outgoing) -> None:
            self._put(file)
            on_bytes(file.size)

        with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="publish") as pool:
            tasks = [pool.submit(put, file) for file in files[:-1]]
            try:
                for task in tasks:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
        for file in files[-1:]:
            put(file)

    def listed(self) -> set[str]:
        """Return the names of all files here."""
        return set(self._blobs.list())

    def remove(self, names: Sequence[str], note: str) -> None:
        """Remove files."""
        del note
        for name in names:
            self._blobs.delete(name)

    def _sha256(self, name: str) -> str:
        return sha256_of(self._blobs, name)

    def _put(self, file: Outgoing) -> None:
        self._blobs.put(file.name, _checked(file))


_: type[Target] = KeptTarget


def _checked(file: Outgoing) -> Iterator[bytes]:
    """Yield a file's bytes; raise at the end, so that nothing is written, where it is not what was checked before."""
    digest = hashlib.sha256()
    with Path(file.path).open("rb") as opened:
        while piece := opened.read(HASH_PIECE):
            digest.update(piece)
            yield piece
    if digest.hexdigest() != file.sha256:
        raise PublishError(
            "this file changed while the dataset was published", where=str(file.path), hint="run `publish` again"
        )
