"""NASA Earthdata: one account for all of NASA's archives; its clients read it from the netrc file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from m3leo_prep.ports.login import Prompt, Stored
from m3leo_prep.sources._secrets import netrc_has, netrc_path, store_netrc

if TYPE_CHECKING:
    from m3leo_prep.ports.login import Login

MACHINE = "urs.earthdata.nasa.gov"
"""https://urs.earthdata.nasa.gov/documentation/for_users/data_access/curl_and_wget"""


class Earthdata:
    """Stores a user name and password for ``urs.earthdata.nasa.gov``."""

    name = "earthdata"
    title = "NASA Earthdata (ASF and the other NASA archives)"
    signup = "https://urs.earthdata.nasa.gov/users/new"
    command = ""
    prompts = (Prompt("user", "User name", secret=False), Prompt("password", "Password"))

    @property
    def path(self) -> Path:
        """The netrc file."""
        return netrc_path()

    def stored(self) -> bool:
        """Return whether the netrc file has a login for Earthdata."""
        return netrc_has(MACHINE)

    def store(self, answers: Mapping[str, str]) -> Stored:
        """Put the login into the netrc file; all else in it stays as it is."""
        return store_netrc(MACHINE, answers["user"], answers["password"])


if TYPE_CHECKING:
    _: Login = Earthdata()
