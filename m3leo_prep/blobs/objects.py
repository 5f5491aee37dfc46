"""Blobs in an object store: ``s3://``, ``gs://``, ``az://``, configured by the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from m3leo_prep.blobs.forked import is_forked, survives_fork
from m3leo_prep.blobs.names import names_server, parts_of, shown
from m3leo_prep.core.errors import ConfigError, CredentialsError, MissingDependency, StoreError
from m3leo_prep.ports.blobs import Blobs

try:
    import obstore
    from obstore import exceptions
    from obstore.store import from_url
except ImportError as error:
    raise MissingDependency(
        f"reading and writing object stores needs {error.name}", hint="pip install 'm3leo-prep[remote]'"
    ) from error

T = TypeVar("T")

PART_BYTES = 8 * 2**20
"""Larger blobs are sent in parts of this size."""
PARTS_AT_ONCE = 4
SHORT_ANSWERS = 3
"""With fewer bytes than they say, until we give up."""
SHA256 = "sha256"
"""Name of the hash in an object's own metadata (on S3 the header ``x-amz-meta-sha256``)."""
CLIENT = {"connect_timeout": "10s", "read_timeout": "30s", "timeout": "300s"}
RETRIES: dict[str, Any] = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=120),
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=15), "base": 2},
}
"""5xx, 429, cut connections and time-outs are repeated by obstore, a body that is cut goes on from there."""

_CREDENTIALS = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_SKIP_SIGNATURE",  # says itself that there are none
    ),
    "gs": (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
    ),
    "az": (
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_ACCESS_KEY",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_TOKEN",
        "AZURE_CLIENT_ID",
    ),
}
_LOGINS = {
    "s3": (
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; with the AWS command line: "
        '`eval "$(aws configure export-credentials --format env)"`'
    ),
    "gs": "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
}
# Where a machine in a cloud asks for credentials, as the last way to get some.
_MACHINE_CREDENTIALS = ("/latest/api/token", "/latest/meta-data", "metadata.google.internal", "/metadata/identity")
_STATUS = re.compile(r"status code: (\d{3}[\w ]*)")
_CODE = re.compile(r"<Code>(\w+)</Code>")


class ObjectBlobs:
    """Blobs below ``s3://BUCKET/PREFIX`` or another object store; safe in threads, after a fork, and when pickled.

    Keys, region (``us-east-1`` if none) and endpoint come from the environment: ``AWS_*``, ``GOOGLE_*``,
    ``AZURE_*``. Where it names no credentials, reading is tried without any first, as public data allows.

    Raises:
        ConfigError: the address names no bucket, or a setting in the environment is wrong.
    """

    def __init__(self, address: str) -> None:
        if not names_server(address):
            hint = f"such as {address.partition(':')[0]}://BUCKET/FOLDER"
            raise ConfigError("this address names no bucket", where=shown(address), hint=hint)
        self.address = address.partition("?")[0].rstrip("/")
        scheme = urlsplit(address).scheme
        self._kind = "s3" if scheme in {"s3", "s3a"} else "gs" if scheme == "gs" else "az"
        self._stores: dict[bool, Any] = {}
        named = any(name in os.environ for name in _CREDENTIALS[self._kind])
        self._signs = named or (self._kind == "gs" and _gcloud_login().is_file())

    @property
    def url(self) -> str:
        """The address."""
        return shown(self.address)

    @property
    def is_remote(self) -> bool:
        """True."""
        return True

    def put(
        self, name: str, data: bytes | memoryview | Iterable[bytes | memoryview], *, if_absent: bool = False
    ) -> None:
        """Write all of ``data`` or nothing; durable when it returns.

        Raises:
            FileExistsError: ``if_absent`` and the blob exists.
            CredentialsError: it may not be written.
            StoreError: it could not be written.
        """
        if is_forked():  # what goes to the helper is pickled
            whole = bytes(data) if isinstance(data, (bytes, bytearray, memoryview)) else b"".join(data)
            self._put(name, whole, if_absent=if_absent)
        else:
            self._put(name, data, if_absent=if_absent)

    @survives_fork
    def _put(
        self,
        name: str,
        data: bytes | memoryview | Iterable[bytes | memoryview] | Path,
        *,
        if_absent: bool = False,
        attributes: dict[str, str] | None = None,
    ) -> None:
        key = self._key(name)
        with self._explained(name):
            try:
                obstore.put(
                    self._store(signed=True),
                    key,
                    data,
                    mode="create" if if_absent else "overwrite",
                    # Only a single request can be conditional.
                    use_multipart=False if if_absent else None,
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                    attributes=attributes,
                )
            except FileNotFoundError:
                if isinstance(data, Path) and not data.is_file():
                    raise
                raise self._no_bucket() from None

    def put_file(self, name: str, path: Path, sha256: str) -> None:
        """Write a file, with its hash beside it for ``stored_sha256``; errors as in ``put``."""
        self._put(name, path, attributes={SHA256: sha256})

    @survives_fork
    def stored_sha256(self, name: str) -> str | None:
        """Return the hash that ``put_file`` left with a blob; None without one, or without the blob."""
        key = self._key(name)
        try:
            with self._explained(name):
                found = self._read(lambda store: obstore.get(store, key, options={"head": True}).attributes)
        except FileNotFoundError:
            return None
        stored = found.get(SHA256)
        return None if stored is None else str(stored)

    @survives_fork
    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return bytes ``start ... start + length`` (to the end if None; negative start counts from the end).

        Raises:
            FileNotFoundError: no such blob.
            StoreError: it could not be read.
            CredentialsError: it may not be read.
        """
        key = self._key(name)
        if length == 0:
            if self.size(name) is None:
                raise self._absent(name)
            return b""
        options: Any = {}
        if start < 0:
            options["range"] = {"suffix": -start}
        elif length is not None:
            options["range"] = (start, start + length)
        elif start:
            options["range"] = {"offset": start}
        with self._explained(name):
            try:
                found = self._read(lambda store: self._body(store, key, options))
            except exceptions.GenericError as error:
                if _status(error).startswith("416"):  # it ends before
                    return b""
                raise
        return found if start >= 0 else found[:length]

    @survives_fork
    def size(self, name: str) -> int | None:
        """Return the size in bytes, or None if there is no such blob; errors as in ``get``."""
        key = self._key(name)
        try:
            with self._explained(name):
                return int(self._read(lambda store: obstore.head(store, key)["size"]))
        except FileNotFoundError:
            return None

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the names under a folder, sorted; half-written blobs are never seen."""
        return iter(self._names(prefix.strip("/")))

    @survives_fork
    def _names(self, folder: str) -> tuple[str, ...]:
        key = self._key(folder) if folder else None

        def names(store: Any) -> tuple[str, ...]:
            return tuple(
                sorted(found["path"] for batch in obstore.list(store, key, chunk_size=1000) for found in batch)
            )

        with self._explained(folder):
            return self._read(names)

    @survives_fork
    def delete(self, name: str) -> None:
        """Remove a blob; absent is fine."""
        key = self._key(name)
        try:
            with self._explained(name):
                obstore.delete(self._store(signed=True), key)
        except FileNotFoundError:
            pass

    def __reduce__(self) -> tuple[type[ObjectBlobs], tuple[str]]:
        return ObjectBlobs, (self.address,)  # the client does not travel

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectBlobs) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self.address)

    def _key(self, name: str) -> str:
        return "/".join(parts_of(name, self.url))

    def _absent(self, name: str) -> FileNotFoundError:
        return FileNotFoundError(f"{self.url}/{name}: no such blob")

    def _no_bucket(self) -> StoreError:
        hint = "make it first, or check its name and region"
        return StoreError("there is no such bucket", where=self.url, hint=hint)

    def _body(self, store: Any, key: str, options: Any) -> bytes:
        """Return the bytes of an answer that holds as many as it says: the library does not look."""
        for _ in range(SHORT_ANSWERS):
            found = obstore.get(store, key, options=options)
            first, stop = found.range
            data = bytes(found.bytes())
            if len(data) == stop - first:
                return data
        raise StoreError("the store sends less than it says", where=f"{self.url}/{key}", hint="try again later")

    def _read(self, call: Callable[[Any], T]) -> T:
        """Return what a call returns: without a signature where nobody has logged in, unless that is refused."""
        if not self._signs:
            try:
                return call(self._store(signed=False))
            except exceptions.BaseError as error:
                if not _is_refusal(error):
                    raise
            # A machine in the cloud may have credentials that the environment does not name.
            found = call(self._store(signed=True))
            self._signs = True
            return found
        return call(self._store(signed=True))

    def _store(self, *, signed: bool) -> Any:
        """Return the client; made at first use, since it reads the environment."""
        if signed not in self._stores:
            # Options given here stand for all of the environment's.
            allowed = os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true", "yes", "on"}
            options: Any = {"client_options": {**CLIENT, "allow_http": allowed}, "retry_config": RETRIES}
            if not signed:
                options["skip_signature"] = True
            self._stores[signed] = from_url(self.address, **options)
        return self._stores[signed]

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Turn the library's errors, whose texts are long and may hold a signed address, into ours."""
        where = f"{self.url}/{name}".rstrip("/")
        try:
            yield
        except FileNotFoundError:
            raise self._absent(name) from None
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise FileExistsError(f"{where}: exists already") from None
        except exceptions.BaseError as error:
            raise self._said(error, where) from None

    def _said(self, error: Exception, where: str) -> Exception:
        text, login = str(error), _LOGINS[self._kind]
        code = _CODE.search(text)
        if any(place in text for place in _MACHINE_CREDENTIALS):
            return CredentialsError("no credentials were found", where=where, hint=login)
        if _is_refusal(error):
            reason = f" ({code[1]})" if code else ""
            return CredentialsError(f"the store refuses these credentials{reason}", where=where, hint=login)
        if isinstance(error, exceptions.UnknownConfigurationKeyError):
            return ConfigError(
                "a setting of the store is not known", where=where, hint="check AWS_*, GOOGLE_*, AZURE_*"
            )
        if "URL scheme is not allowed" in text or "BadScheme" in text:
            return ConfigError(
                "the endpoint is not encrypted", where=where, hint="set AWS_ALLOW_HTTP=true to allow that"
            )
        if code and code[1] == "NoSuchBucket":
            return self._no_bucket()
        status = _status(error)
        said = f"the store answers {status}" if status else "the store cannot be reached, or the connection was cut"
        hint = "check the network and AWS_ENDPOINT_URL" if self._kind == "s3" else "check the network"
        return StoreError(said + (f" ({code[1]})" if code else ""), where=where, hint=hint)


_: type[Blobs] = ObjectBlobs


def _status(error: Exception) -> str:
    """Return the HTTP status in a message of the library, such as ``503 Service Unavailable``, or nothing."""
    found = _STATUS.search(str(error))
    return found[1].strip() if found else ""


def _is_refusal(error: Exception) -> bool:
    known = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
    return isinstance(error, known) or _status(error)[:3] in {"401", "403"}


def _gcloud_login() -> Path:
    return Path.home() / ".config" / "gcloud" / "application_default_credentials.json"
