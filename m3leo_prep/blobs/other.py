"""Files at any address that fsspec knows: ``github://``, ``sftp://``, ``memory://`` and many more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from m3leo_prep.blobs.names import parts_of, shown
from m3leo_prep.core.errors import ConfigError, CredentialsError, MissingDependency, StoreError
from m3leo_prep.core.text import near
from m3leo_prep.ports.blobs import Readable

try:
    import fsspec
except ImportError as error:
    raise MissingDependency("reading there needs fsspec", hint="pip install 'm3leo-prep[remote]'") from error

USUAL = ("hf://", "https://", "s3://", "gs://", "az://")


def open_other(url: str) -> Readable:
    """Return the files below an address that fsspec knows.

    Raises:
        ConfigError: fsspec does not know this kind of address.
        MissingDependency: it needs a package for it.
    """
    kind = url.partition("://")[0].lower()
    try:
        fsspec.get_filesystem_class(kind)
    except ImportError as error:
        # fsspec's own words say which package.
        raise MissingDependency(f"{kind}:// cannot be read yet", where=shown(url), hint=str(error)) from error
    except ValueError:
        hint = near(kind, fsspec.available_protocols())
        if not hint.startswith("did you mean"):
            hint = f"{', '.join(USUAL)}, or another one that fsspec has"
        raise ConfigError(f"{kind}:// is not a known kind of address", where=shown(url), hint=hint) from None
    return OtherFiles(url)


@dataclass(frozen=True, slots=True)
class OtherFiles:
    """Files of an fsspec file system, which fsspec makes once a process and thread."""

    address: str = field(repr=False)
    """As it was given, secrets and all."""

    @property
    def url(self) -> str:
        """The address without user, password and query."""
        # In github://OWNER:NAME@REVISION/FOLDER it is no user that stands before the @.
        return self.address.partition("?")[0] if self.address.startswith("github:") else shown(self.address)

    @property
    def is_remote(self) -> bool:
        """True."""
        return True

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return bytes ``start ... start + length`` (to the end if None; negative start counts from the end).

        Raises:
            FileNotFoundError: no such file.
            StoreError: it could not be read.
            CredentialsError: it may not be read.
        """
        with self._opened(name) as (files, path):
            if start == 0 and length is None:
                return bytes(files.cat_file(path))
            # File systems differ in what they make of a range that reaches beyond the file.
            size = self._size(files, path)
            if size is None:
                raise FileNotFoundError
            first = max(0, size + start) if start < 0 else start
            stop = size if length is None else min(size, first + length)
            return bytes(files.cat_file(path, start=first, end=stop)) if first < stop else b""

    def size(self, name: str) -> int | None:
        """Return the size in bytes, or None if there is no such file; errors as in ``get``."""
        try:
            with self._opened(name) as (files, path):
                return self._size(files, path)
        except FileNotFoundError:
            return None

    @staticmethod
    def _size(files: Any, path: str) -> int | None:
        found = files.info(path)
        return int(found["size"]) if found["type"] == "file" else None

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[Any, str]]:
        """Yield the file system and a file's path there; its errors become ours."""
        where = f"{self.url}/{name}"
        parts = parts_of(name, self.url)
        try:
            files, root = fsspec.core.url_to_fs(self.address)
            yield files, "/".join([root.rstrip("/"), *parts])
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise FileNotFoundError(f"{where}: no such file") from None
        except PermissionError:
            raise CredentialsError("it may not be read", where=where, hint="log in there, or ask its owner") from None
        except (OSError, ValueError, RuntimeError) as error:
            said = type(error).__name__ if "://" in str(error) else str(error)  # an address may hold secrets
            raise StoreError(f"it cannot be read: {said}", where=where, hint="check the address") from None
