"""Finding sources by name: installed ones by entry point, a user's own by file."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any, cast

from m3leo_prep.core.errors import ConfigError, MissingDependency, PrepError
from m3leo_prep.core.text import near
from m3leo_prep.ports.source import Source

GROUP = "m3leo_prep.sources"
"""Entry-point group; a package adds a source with one line of its pyproject."""

METHODS = ("describe", "find", "read")
"""What a source has."""
_loading = Lock()


def source_names() -> list[str]:
    """Return the names of the installed sources, sorted. Imports none of them."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load_source(name: str, options: Mapping[str, Any], *, base: Path | None = None) -> Source:
    """Return the source ``name``, built with ``options``.

    ``name`` is an installed source, or ``"./my_source.py:MySource"`` with the path relative to ``base`` (the
    folder of the recipe; the current one if None).

    A class from a file pickles by a module name made from the file's path and content. A process that never saw
    the file cannot unpickle it by that name alone, so a worker process calls ``load_source`` (or
    ``source_class``) with the same arguments, once, before it receives or builds anything of that class.

    Raises:
        ConfigError: no such source, file, class or option, or the class is not a Source.
        MissingDependency: the source needs a package that is not installed.
    """
    found = source_class(name, base=base)
    _check_options(name, found, options)
    try:
        return cast("Source", cast("Any", found)(**options))
    except PrepError:
        raise
    except ModuleNotFoundError as error:
        raise _missing(name, error, _installed(name)) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error), where=f"source '{name}'", hint=_valid(found)) from error


def source_class(name: str, *, base: Path | None = None) -> type[Source]:
    """Return the class behind ``name`` without building it; see ``load_source``."""
    path, attribute = _file(name)
    found = _from_file((base or Path()) / path, attribute) if path else _from_entry_point(name)
    missing = [method for method in METHODS if not callable(getattr(found, method, None))]
    if not isinstance(found, type) or missing:
        lacks = f"lacks {', '.join(missing)}" if isinstance(found, type) else "is not a class"
        hint = "a source has describe(), find() and read(); see docs/guides/add-a-source.md"
        raise ConfigError(f"'{name}' is not a source: it {lacks}", hint=hint)
    return found


def source_code(name: str, base: Path) -> str:
    """Return the SHA-256 of the file that ``name`` says; nothing for an installed source.

    Raises:
        ConfigError: no such file.
    """
    path, _ = _file(name)
    return hashlib.sha256(_read((base / path).resolve())).hexdigest() if path else ""


def classes_in(path: Path) -> list[str]:
    """Return the names of the public classes in a file that have a source's methods, in the order they stand there."""
    module = load_module(path)
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and all(callable(getattr(value, method, None)) for method in METHODS)
        and not getattr(value, "_is_protocol", False)
    ]


def option_names(source: type[Source]) -> list[str]:
    """Return the options that a source takes, in the order of its signature."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in inspect.signature(source).parameters.values() if p.kind in kinds]


def _check_options(name: str, source: type[Source], options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(source).parameters.values()
    valid = option_names(source)
    where = f"source '{name}'"
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        for option in options:
            if option not in valid:
                close = near(option, [*valid, *_layer_keys()])
                hint = f"{close} {_valid(source)}" if close.startswith("did") else _valid(source)
                raise ConfigError(f"unknown option '{option}'", where=where, hint=hint)
    needed = [p.name for p in parameters if p.name in valid and p.default is inspect.Parameter.empty]
    absent = [option for option in needed if option not in options]
    if absent:
        raise ConfigError(f"needs {', '.join(absent)}", where=where, hint=_valid(source))


def _layer_keys() -> list[str]:
    """Return the keys that any layer of a recipe has: a misspelt one arrives here, as an option of the source."""
    from m3leo_prep.core.recipe import LayerModel

    return list(LayerModel.model_fields)


def _valid(source: type[Source]) -> str:
    names = option_names(source)
    return f"options are: {', '.join(names)}" if names else "it takes no options"


def _file(name: str) -> tuple[str, str]:
    """Return path and class of ``./my_source.py:MySource``; two empty texts for the name of an installed source."""
    path, colon, attribute = name.rpartition(":")
    return (path, attribute) if colon and path.endswith(".py") else ("", "")


def _installed(name: str) -> EntryPoint | None:
    """Return the entry point of ``name``, or None; the same one listed twice counts once."""
    entries = {entry.value: entry for entry in entry_points(group=GROUP, name=name)}
    if len(entries) > 1:
        raise ConfigError(f"source '{name}' is registered twice: {', '.join(sorted(entries))}")
    return next(iter(entries.values()), None)


def _from_entry_point(name: str) -> Any:
    entry = _installed(name)
    if entry is None:
        hint = near(name, source_names())
        raise ConfigError(f"unknown source '{name}'", hint=f"{hint} Or name a file: ./my_source.py:MySource")
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        raise _missing(name, error, entry) from error


def _missing(name: str, error: ModuleNotFoundError, entry: EntryPoint | None) -> MissingDependency:
    """Return the error whose hint is the install line: our extra where there is one, else the module."""
    wanted = (error.name or str(error)).partition(".")[0]
    install = wanted
    if entry is not None and entry.dist is not None:
        extras = entry.dist.metadata.get_all("Provides-Extra") or []
        extra = next((extra for extra in (name, "build") if extra in extras), "")
        install = f"'{entry.dist.metadata['Name']}[{extra}]'" if extra else wanted
    return MissingDependency(f"source '{name}' needs '{wanted}'", hint=f"pip install {install}")


def _from_file(path: Path, attribute: str) -> Any:
    module = load_module(path)
    if not hasattr(module, attribute):
        classes = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]
        raise ConfigError(f"no class '{attribute}' in {path}", hint=near(attribute, classes))
    return getattr(module, attribute)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        others = [f"./{other.name}" for other in sorted(path.parent.glob("*.py"))]
        hint = near(f"./{path.name}", others) or "the path is relative to the recipe's folder"
        raise ConfigError(f"no source file {path}: {error.strerror}", hint=hint) from error


def load_module(path: Path) -> ModuleType:
    """Return the module of a file, loaded once per content, under a name that other processes give it too.

    Raises:
        ConfigError: no such file, or not Python.
        MissingDependency: it imports what is not installed.
    """
    path = path.resolve()
    code = _read(path)
    digest = hashlib.sha256(str(path).encode() + b"\0" + code).hexdigest()[:16]
    name = f"m3leo_prep_user_{path.stem}_{digest}"
    with _loading:
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{path} cannot be imported as Python")
        module = importlib.util.module_from_spec(spec)
        # Before execution, because dataclasses and pickle look the module up by its name.
        sys.modules[name] = module
        try:
            # Not by the loader: its cache takes an edit within a second for the same file.
            exec(compile(code, path, "exec"), module.__dict__)  # noqa: S102  the user's own file
        except ModuleNotFoundError as error:
            del sys.modules[name]
            raise _missing(str(path), error, None) from error
        except SyntaxError as error:
            del sys.modules[name]
            raise ConfigError(f"line {error.lineno}: {error.msg}", where=str(path)) from error
        except BaseException:
            # The user's own error, told by its own traceback; only the half-made module must go.
            del sys.modules[name]
            raise
        return module
