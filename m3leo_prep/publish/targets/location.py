"""From what a person writes to the place where a dataset is published."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from m3leo_prep.blobs.location import OBJECT_STORES, local_path, scheme
from m3leo_prep.blobs.names import shown
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ports.target import Target

_REPOSITORY = re.compile(r"(?:datasets/)?([\w.-]+/[\w.-]+)")
_PAGE = re.compile(r"https?://(?:huggingface\.co|hf\.co)/datasets/([\w.-]+/[\w.-]+)(?:/tree/([\w.-]+))?/?")
_HUB = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)(?:@([^@]+?))?/?")
EXAMPLE = "OWNER/NAME for the Hugging Face Hub, s3://BUCKET/PREFIX, or ./FOLDER"


def as_location(text: str) -> str:
    """Return an address or a folder: ``OWNER/NAME`` and the page of a repository mean the Hub.

    >>> as_location("me/europe"), as_location("./me/europe"), as_location("s3://bucket/europe")
    ('hf://datasets/me/europe', './me/europe', 's3://bucket/europe')

    Raises:
        ConfigError: both a repository and a folder of this machine may be meant, or neither.
    """
    if page := _PAGE.fullmatch(text):
        return f"hf://datasets/{page[1]}" + (f"@{page[2]}" if page[2] else "")
    if scheme(text) != "file" or re.match(r"^(file://|[./~])", text) or text.endswith("/"):
        return text
    repository = _REPOSITORY.fullmatch(text)
    if repository is None:
        if "/" not in text and not Path(text).exists():
            raise ConfigError(f"is '{text}' a folder or a repository?", hint=f"write {EXAMPLE}")
        return text
    if Path(text).exists():
        raise ConfigError(
            f"'{text}' may mean the folder here or a repository of the Hub",
            hint=f"write ./{text} or hf://datasets/{repository[1]}",
        )
    return f"hf://datasets/{repository[1]}"


def open_target(
    target: str, *, private: bool = False, revision: str | None = None, say: Callable[[str], None] = lambda _: None
) -> Target:
    """Return the place where a dataset is published; nothing is asked or made yet.

    Args:
        target: ``OWNER/NAME`` or ``hf://datasets/OWNER/NAME[@REVISION]``, ``s3://BUCKET/PREFIX`` and other object
            stores, a folder (``./NAME``), or an address that fsspec can write to.
        private: make the repository a private one.
        revision: branch of the repository; made where it does not exist.
        say: told of waits.

    Raises:
        ConfigError: no such kind of place, or an option that it does not have.
        MissingDependency: it needs an extra.
    """
    address = as_location(target)
    kind = scheme(address)
    if kind == "hf":
        found = _HUB.fullmatch(address)
        if found is None:
            raise ConfigError(
                f"'{shown(address)}' is not a dataset repository",
                hint="hf://datasets/OWNER/NAME, without a folder below it",
            )
        if found[2] and revision not in {None, found[2]}:
            raise ConfigError(f"two revisions are named: {found[2]} and {revision}", where=shown(address))
        from m3leo_prep.publish.targets.hub import HubTarget

        return HubTarget(found[1], private=private, branch=found[2] or revision or "main", say=say)
    for given, option in ((private, "--private"), (revision is not None, "--revision")):
        if given:
            raise ConfigError(
                f"{option} is for repositories of the Hub", where=target if kind == "file" else shown(address)
            )
    if kind == "file":
        from m3leo_prep.publish.targets.folder import folder_target

        return folder_target(local_path(address).expanduser())
    if kind in {"http", "https"}:
        raise ConfigError("nothing can be written to a web server", where=shown(address), hint=f"write {EXAMPLE}")
    if kind in OBJECT_STORES:
        from m3leo_prep.publish.targets.objects import ObjectTarget

        return ObjectTarget(address)
    from m3leo_prep.publish.targets.other import other_target

    return other_target(address)
