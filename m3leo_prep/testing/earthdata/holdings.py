"""What the stand-in holds: granules, jobs, tokens, and a folder that is the public bucket."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from m3leo_prep.testing.earthdata.granules import Granule

BUCKET = "sentinel-1-global-coherence-earthbigdata"
"""The bucket of GSSIC."""
CREDITS = 8000.0
"""That a user of HyP3 has each month: https://hyp3-docs.asf.alaska.edu/using/credits/."""


@dataclass(slots=True)
class Job:
    """A job of HyP3."""

    id: str
    type: str
    parameters: Mapping[str, Any]
    name: str | None
    cost: float
    looks: int = 0
    """How often its state was asked for."""
    fails: bool = False
    """It ends FAILED."""
    file: Path | None = None
    """What it made."""
    expired: bool = False
    """What it made is gone."""


@dataclass(slots=True)
class Holdings:
    """All that the services answer from."""

    folder: Path
    token: str = field(default_factory=lambda: f"eyJ0eXAiOiJKV1QifQ.{secrets.token_hex(12)}")
    user: str = "me"
    password: str = field(default_factory=lambda: secrets.token_hex(8))
    granules: list[Granule] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    credits: float | None = CREDITS
    makes: Callable[[Job], Path] | None = None
    """What makes the product of a job that succeeds; None: it has no files."""
    looks: int = 2
    """At a job until it is done: after the first it runs."""
    takes_tokens: bool = True
    """The data host takes a token itself; else it sends everyone through the login, for a cookie."""
    lists: bool = True
    """Anybody may list the bucket."""
    missing: int = HTTPStatus.FORBIDDEN
    """Status for an object of the bucket that is not there."""
    answered: tuple[Any, list[tuple[int, Granule]]] = (None, [])
    """The catalogue's last question and what was found."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    _key: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def bucket(self) -> Path:
        """The folder of the public bucket's objects."""
        made = self.folder / "buckets" / BUCKET
        made.mkdir(parents=True, exist_ok=True)
        return made

    @property
    def cookie(self) -> str:
        """What ``asf-urs`` holds once logged in."""
        return hashlib.sha256(f"cookie {self._key}".encode()).hexdigest()

    def signature(self, path: str) -> str:
        """Return what lets one address be read without a login."""
        return hashlib.sha256(f"{path} {self._key}".encode()).hexdigest()

    def file(self, dataset: str, name: str) -> Path | None:
        """Return a granule's file."""
        held = (granule.files.get(name) for granule in self.granules if granule.dataset == dataset)
        return next((file for file in held if file is not None), None)

    def job(self, job_id: str) -> Job | None:
        """Return a job by its id."""
        return next((job for job in self.jobs if job.id == job_id), None)
