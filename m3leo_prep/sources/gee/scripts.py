"""A user's function that returns an ``ee.Image`` or ``ee.ImageCollection``: loaded, called, blamed where it fails."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.core.raster import Slot
from m3leo_prep.core.text import near
from m3leo_prep.ports.guarded import guard
from m3leo_prep.ports.registry import load_module
from m3leo_prep.sources.gee.service.session import session

if TYPE_CHECKING:
    import ee

FORM = "def image(start, end): return ee.Image(...)"
_calling = Lock()


def name_of(script: str) -> str:
    """Return ``file.py:function`` without its folder: the same wherever the recipe lies."""
    path, _, function = script.rpartition(":")
    return f"{Path(path).name}:{function}"


def call(script: str, code: str, slot: Slot) -> tuple[ee.Image | ee.ImageCollection, str]:
    """Return what the function gives for a slot, and the SHA-256 of it as it is sent.

    The function is called with the slot's first day and the first day after it (2020-01-01, 2020-02-01: as in
    ``filterDate``), with None twice in a layer without slots, or without arguments if it takes none. Each slot once per
    process, one at a time: it may be anybody's code.

    Args:
        script: ``file.py:function``.
        code: SHA-256 of the file, so that an edited file is called again.
        slot: of the layer.

    Raises:
        ConfigError: no such file or function, other arguments, or it returns something else.
        MissingDependency: the file imports what is not installed.
        SourceError: it raises; file and line of it are told.
    """
    session()  # expressions need the server's list of functions
    days = [None if time is None else time.date().isoformat() for time in (slot.start, slot.end)]
    with _calling:
        return _called(script, code, *days)


@lru_cache(maxsize=256)
def _called(script: str, _code: str, start: str | None, end: str | None) -> tuple[Any, str]:
    import ee
    from ee import serializer

    function = _function(script)
    name = name_of(script)
    days = (start, end) if _takes_days(function, name) else ()
    said = f"{name.partition(':')[2]}({', '.join(map(str, days))})"
    with _theirs(name, said):
        given = function(*days)
    if not isinstance(given, (ee.Image, ee.ImageCollection)):
        raise ConfigError(
            f"{said} returned {type(given).__name__}, not an ee.Image or ee.ImageCollection", where=name, hint=FORM
        )
    with _theirs(name, said):
        sent = json.dumps(serializer.encode(given), sort_keys=True)
    return given, hashlib.sha256(sent.encode()).hexdigest()


def _function(script: str) -> Callable[..., Any]:
    path, _, wanted = script.rpartition(":")
    with _theirs(name_of(script), "importing it"):
        module = load_module(Path(path))
    function: Callable[..., Any] | None = getattr(module, wanted, None)
    if not callable(function):
        own = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        raise ConfigError(f"there is no function '{wanted}' in {path}", hint=near(wanted, own) or FORM)
    return function


def _takes_days(function: Callable[..., Any], name: str) -> bool:
    """Return whether the function takes two days; False if it takes nothing."""
    parameters = inspect.signature(function)
    try:
        parameters.bind(None, None)
    except TypeError:
        try:
            parameters.bind()
        except TypeError:
            raise ConfigError(
                f"it takes {parameters}, and is called with two days or with nothing", where=name, hint=FORM
            ) from None
        return False
    return True


@contextmanager
def _theirs(name: str, doing: str) -> Iterator[None]:
    """Tell what a user's code raises as its own, with file and line."""
    try:
        with guard("gee", doing):
            yield
    except SourceError as error:
        if error.__cause__ is None:
            raise  # ours, of a request that it made
        said = error.message.partition(": ")[2]
        raise SourceError(
            f"the script failed in {doing}: {said}",
            where=error.where or name,
            hint=f"correct {name}; nothing has been built",
        ) from error.__cause__
