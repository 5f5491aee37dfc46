"""Any other place that fsspec can write to, such as ``sftp://`` or ``memory://``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from m3leo_prep.blobs.names import parts_of, shown
from m3leo_prep.core.errors import ConfigError, MissingDependency, StoreError
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.ports.target import Target
from m3leo_prep.publish.targets.kept import KeptTarget


def other_target(address: str) -> Target:
    """Return a place to publish to that fsspec knows.

    Raises:
        ConfigError: fsspec does not know this kind of address.
        MissingDependency: fsspec, or what it needs for this address, is not installed.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingDependency("this address needs fsspec", hint="pip install 'm3leo-prep[publish]'") from error
    try:
        files, root = url_to_fs(address)
    except ImportError as error:
        raise MissingDependency(str(error), where=shown(address), hint="install the package that it names") from error
    except ValueError as error:
        hint = "hf://, s3://, gs://, az://, a folder, or an address that fsspec can write to"
        raise ConfigError("this kind of address is not known", where=shown(address), hint=hint) from error
    return KeptTarget(_Blobs(files, root.rstrip("/"), shown(address)))


@dataclass(frozen=True, slots=True)
class _Blobs:
    """A file system of fsspec as blobs; a file gets its name when it is whole."""

    files: Any
    root: str
    url: str

    @property
    def is_remote(self) -> bool:
        """True, as far as anybody knows."""
        return True

    def put(
        self, name: str, data: bytes | memoryview | Iterable[bytes | memoryview], *, if_absent: bool = False
    ) -> None:
        """Write all of ``data`` or nothing."""
        path = self._path(name)
        if if_absent and self.files.exists(path):
            raise FileExistsError(name)
        folder, _, last = path.rpartition("/")
        temporary = f"{folder}/.{last}.{uuid4().hex}.part"
        parts = (data,) if isinstance(data, bytes | bytearray | memoryview) else data
        try:
            self.files.makedirs(folder, exist_ok=True)
            with self.files.open(temporary, "wb") as file:
                for part in parts:
                    file.write(part)
            self.files.mv(temporary, path)
        except BaseException as error:
            with suppress(OSError):  # the place may be out of reach
                self.files.rm_file(temporary)
            if not isinstance(error, OSError):
                raise
            raise StoreError(f"it cannot be written ({type(error).__name__})", where=f"{self.url}/{name}") from error

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return bytes; see the port."""
        end = None if length is None else start + length
        return bytes(self.files.cat_file(self._path(name), start=start or None, end=end or None))

    def size(self, name: str) -> int | None:
        """Return the size in bytes, or None if there is no such file."""
        try:
            return int(self.files.info(self._path(name))["size"])
        except FileNotFoundError:
            return None

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the names below, sorted."""
        self.files.invalidate_cache()
        below = f"{self.root}/{prefix}".rstrip("/")
        for path in sorted(self.files.find(below)):
            name = path[path.index(self.root) + len(self.root) :].lstrip("/")
            if not name.endswith(".part"):
                yield name

    def delete(self, name: str) -> None:
        """Remove a file; absent is fine."""
        path = self._path(name)
        if self.files.exists(path):
            self.files.rm_file(path)

    def _path(self, name: str) -> str:
        return "/".join([self.root, *parts_of(name, self.url)])


_: type[Blobs] = _Blobs
