"""The port through which logins are stored, and where its providers are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.core.text import near

GROUP = "m3leo_prep.logins"
"""Entry-point group; each entry is a class without arguments."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One thing to ask for."""

    name: str
    """Key of the answer."""
    text: str
    """What the person reads."""
    secret: bool = True
    """Typed blind."""
    optional: bool = False
    """May be left empty."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a login went, and what else had to be done there."""

    path: Path
    notes: tuple[str, ...] = ()


@runtime_checkable
class Login(Protocol):
    """How one provider's login is kept, where the provider's own client looks for it.

    Answers are secrets: they never reach a message, a log, a traceback, an argument of a process, or any file but the
    one the provider's client reads, which only its owner may read.
    """

    @property
    def name(self) -> str:
        """What a person says after ``login``."""
        ...

    @property
    def title(self) -> str:
        """The provider, and what it is used for."""
        ...

    @property
    def signup(self) -> str:
        """Where one gets an account."""
        ...

    @property
    def command(self) -> str:
        """The provider's own command that logs in; empty where it has none."""
        ...

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """What to ask for; empty where only the provider's own command can do it."""
        ...

    @property
    def path(self) -> Path:
        """The file that the provider's client reads."""
        ...

    def stored(self) -> bool:
        """Return whether a login is stored; whether the provider takes it, only ``Probing.probe`` can tell."""
        ...

    def store(self, answers: Mapping[str, str]) -> Stored:
        """Store the answers, by name of their prompts.

        Raises:
            ConfigError: an answer is empty or cannot be written in the file's format.
            StoreError: the file cannot be written.
        """
        ...


def login_names() -> list[str]:
    """Return the providers that ``login`` knows, sorted. Imports none of them."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load_login(name: str) -> Login:
    """Return the login of a provider.

    Raises:
        ConfigError: no such provider; near names are told.
        MissingDependency: it needs a package that is not installed.
    """
    entry = next(iter(entry_points(group=GROUP, name=name)), None)
    if entry is None:
        names = login_names()
        hint = near(name, names)
        known = "" if hint.startswith("choose") or not hint else f" Providers: {', '.join(names)}"
        raise ConfigError(f"there is no login for '{name}'", hint=hint + known)
    try:
        return cast("Login", entry.load()())
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"the login for '{name}' needs '{error.name}'", hint=f"pip install {error.name}"
        ) from error
