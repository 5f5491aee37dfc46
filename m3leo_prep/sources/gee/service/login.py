"""Google Earth Engine's login, as ``m3leo-prep login gee`` tells of it: Earth Engine's own command does it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ports.login import Prompt, Stored
from m3leo_prep.sources.gee.service.credentials import APPLICATION, LOGIN, SERVICE_ACCOUNT, stored_path
from m3leo_prep.sources.gee.service.failures import REGISTER

if TYPE_CHECKING:
    from m3leo_prep.ports.login import Login


class EarthEngineLogin:
    """A login in a browser, which only ``earthengine authenticate`` can do."""

    name = "gee"
    title = "Google Earth Engine"
    signup = REGISTER
    command = LOGIN
    prompts: tuple[Prompt, ...] = ()

    @property
    def path(self) -> Path:
        """The key file that is named by a variable, else the file of ``earthengine authenticate``."""
        named = os.environ.get(SERVICE_ACCOUNT) or os.environ.get(APPLICATION)
        return Path(named).expanduser() if named else stored_path()

    def stored(self) -> bool:
        """Return whether that file is there; whether Earth Engine takes it, ``doctor`` tells."""
        return self.path.is_file()

    def store(self, answers: Mapping[str, str]) -> Stored:  # noqa: ARG002  (nothing is asked)
        """Raise ConfigError: a browser is needed."""
        raise ConfigError(f"{self.title} has a command of its own for this", hint=f"run: {self.command}")


if TYPE_CHECKING:
    _: Login = EarthEngineLogin()
