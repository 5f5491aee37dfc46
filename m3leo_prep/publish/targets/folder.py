"""A folder of this machine, or of a file system that is mounted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ports.target import Limits, Outgoing, Target
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
    return _FolderTarget(path)


class _FolderTarget(KeptTarget):
    def __init__(self, path: Path) -> None:
        super().__init__(folder := LocalBlobs(path), Limits())
        self._folder = folder
        self._is_clean = False

    def send(self, files: Sequence[Outgoing], note: str, on_bytes: Callable[[int], None]) -> None:
        """Write files, after what a killed publish left half-written is gone."""
        if not self._is_clean:
            self._folder.clean()
            self._is_clean = True
        super().send(files, note, on_bytes)
