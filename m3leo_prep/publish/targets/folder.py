"""A folder of this machine, or of a file system that is mounted."""

from __future__ import annotations

from pathlib import Path

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ports.target import Limits, Target
from m3leo_prep.publish.targets.kept import KeptTarget


def folder_target(path: Path) -> Target:
    """Return a folder to publish to.

    Raises:
        ConfigError: it is a file, or a dataset was built there.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError("this is a file, not a folder", where=str(path))
    if (path / ".m3leo").is_dir():
        raise ConfigError("a dataset was built or pulled here", where=str(path), hint="publish to another folder")
    return KeptTarget(LocalBlobs(path), Limits())
