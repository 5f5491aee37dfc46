"""One file from a web server: resumed where it was cut, looked at before it is believed, whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from m3leo_prep.core.errors import CorruptError, PrepError, StoreError
from m3leo_prep.sources.http.auth import Auth
from m3leo_prep.sources.http.contents import digest_of, wrong
from m3leo_prep.sources.http.transfer import Transfer

TRIES_OF_CONTENTS = 2
"""A file that is not what was announced is fetched once more."""


def download(
    url: str,
    target: Path,
    *,
    auth: Auth | None = None,
    size: int = 0,
    checksum: str = "",
    magic: tuple[bytes, ...] = (),
    where: str,
    on_bytes: Callable[[int], None] | None = None,
) -> Path:
    """Return ``target``, which holds the file afterwards; what it held before is replaced, never believed.

    Bytes go to ``target`` with ``.part`` behind its name. A later call goes on with what an earlier one left there, if
    the checksum is known, or at least the size: by that a mixture with a file of the same address and size, such as one
    that was replaced meanwhile, is not seen. One call at a time per target.

    Args:
        url: by http or https; its query may be secret.
        target: a file in a folder that exists.
        auth: the login; it sees each host that a redirect leads to.
        size: bytes as announced; 0 = not known.
        checksum: ``md5:HEX`` or ``sha256:HEX``, or nothing: then the one of an object store is used, if it tells one.
        magic: what the file may begin with; empty = anything.
        where: the file, for messages.
        on_bytes: called with the number of bytes that came, as they come.

    Raises:
        CredentialsError: the login is refused, or a page for people came in place of the file.
        NoData: there is no such file.
        CorruptError: what came, twice, is not what was announced.
        TriedOut, RateLimited: the server did not deliver; what came is kept in the ``.part``.
        SourceError: it never will: an untrusted certificate, an answer without meaning here.
        StoreError: the file cannot be written, such as on a full disk.
    """
    part = target.with_name(f"{target.name}.part")
    fault = ""
    try:
        if not size and not checksum:
            part.unlink(missing_ok=True)
        for _ in range(TRIES_OF_CONTENTS):
            transfer = Transfer(url, part, where, auth=auth, size=size, magic=magic, on_bytes=on_bytes)
            transfer.run()
            fault = wrong(part, size=size, checksum=checksum or digest_of(transfer.headers), magic=magic)
            if not fault:
                _settle(part, target)
                return target
            part.unlink(missing_ok=True)
    except PrepError:
        raise
    except OSError as error:  # the network's are not OSErrors here
        with suppress(OSError):
            part.unlink()
        hint = "make room there; or M3LEO_PREP_CACHE names a folder on a larger disk"
        why = error.strerror or str(error)
        raise StoreError(f"the download cannot be written: {why}", where=str(target), hint=hint) from None
    raise CorruptError(f"{fault}, twice", where=where, hint="tell the provider; this file is left out")


def _settle(part: Path, target: Path) -> None:
    """Make a file that is whole survive a power cut, then give it its name."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
