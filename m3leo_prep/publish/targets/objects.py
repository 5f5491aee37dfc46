"""An object store: s3://, gs://, az://; each object keeps its sha256 beside it."""

from __future__ import annotations

from m3leo_prep.blobs.objects import ObjectBlobs
from m3leo_prep.ports.target import Outgoing
from m3leo_prep.publish.targets.kept import KeptTarget


class ObjectTarget(KeptTarget):
    """A prefix of an object store; what we sent is compared without reading it back."""

    def __init__(self, address: str) -> None:
        """``address`` is ``s3://BUCKET/PREFIX`` and the like; nothing is asked yet.

        Raises:
            ConfigError: it names no bucket.
        """
        super().__init__(blobs := ObjectBlobs(address))
        self._objects = blobs

    def _sha256(self, name: str) -> str:
        return self._objects.stored_sha256(name) or super()._sha256(name)

    def _put(self, file: Outgoing) -> None:
        self._objects.put_file(file.name, file.path, file.sha256)
