"""Making a layer's source from its description, in any thread or process."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.plan import NOT_IN_DIGEST, Plan, SourceSpec
from m3leo_prep.ports.guarded import guard, guarded, is_ours
from m3leo_prep.ports.registry import METHODS, load_source, source_code
from m3leo_prep.ports.source import Source

Objects = Mapping[str, Source]
"""Sources given as objects, by the name that a recipe's layer says."""


def spec_of(name: str, options: Mapping[str, Any], base: Path, objects: Objects) -> SourceSpec:
    """Return the description of a layer's source, as it is now.

    Raises:
        ConfigError: no such file; an object that is no source, does not pickle, or is given options.
    """
    if name not in objects:
        return SourceSpec(name, options, str(base), code=_source_code(name, options, base))
    given = objects[name]
    where = f"source '{name}'"
    missing = [method for method in METHODS if not callable(getattr(given, method, None))]
    if missing or isinstance(given, type):
        said = "is a class" if isinstance(given, type) else f"lacks {', '.join(missing)}"
        raise ConfigError(f"the object given for it {said}", where=where, hint="give an instance of your class")
    if options:
        raise ConfigError(
            f"it is an object and takes no options: {', '.join(options)}", where=where, hint="set them on the object"
        )
    try:
        with Path(os.devnull).open("wb") as nowhere:
            pickle.dump(given, nowhere)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        hint = "define its class at the top of a module; open files and connections in read(), not in the constructor"
        raise ConfigError(
            f"the object given for it does not pickle, which worker processes need: {error}", where=where, hint=hint
        ) from error
    cls = type(given)
    return SourceSpec(name, {}, str(base), made_from=f"{cls.__module__}.{cls.__qualname__}", instance=given)


def open_source(spec: SourceSpec) -> Source:
    """Return the source; the same one for the same description, so that its caches serve all units of a process.

    Sources that do not come with m3leo-prep are guarded: what goes wrong in them is told as theirs.

    Raises:
        ConfigError: unknown source or option, or a file that is not the one the build was planned with.
        MissingDependency: an extra is not installed.
        SourceError: its constructor, or its file, raises.
    """
    if spec.instance is not None:
        return guarded(spec.name, spec.instance)
    if spec.made_from:
        raise ConfigError(
            f"source '{spec.name}' was given as an object ({spec.made_from})",
            hint="plan again with `mp.plan(..., sources={...})`",
        )
    base = Path(spec.base or ".")
    code = _source_code(spec.name, spec.options, base)
    if spec.code and code != spec.code:
        file = Path((_script(spec.options) or spec.name).rpartition(":")[0]).name
        raise ConfigError(
            f"{file} here is not the one the build was planned with",
            where=str(base),
            hint="run the same `build` again to plan with it; on a cluster, give every worker the same file",
        )
    return _open(spec.name, json.dumps(dict(spec.options), default=str), spec.base, code)


def objects_of(plan: Plan) -> dict[str, Source]:
    """Return the sources that a plan was given as objects."""
    specs = [layer.source for layer in plan.layers]
    return {spec.name: spec.instance for spec in specs if spec.instance is not None}


def edited_sources(old: Plan, new: Plan) -> tuple[str, ...]:
    """Return a warning for each source file that was edited but says the same version."""
    before = {layer.source.name: layer for layer in old.layers}
    found = []
    for layer in new.layers:
        was = before.get(layer.source.name)
        code = was.source.code if was else ""
        if was and code and layer.source.code != code and was.source_version == layer.source_version:
            file = Path(layer.source.name.rpartition(":")[0]).name
            found.append(
                f"{file} has changed but says the same version '{layer.source_version}': "
                "raise it if its pixels change, else what is built stays as it is"
            )
    return tuple(dict.fromkeys(found))


def _source_code(name: str, options: Mapping[str, Any], base: Path) -> str:
    """Return the SHA-256 of a source's own file, or of the file that its option ``script`` names; else nothing."""
    return source_code(name, base) or source_code(_script(options), base)


def _script(options: Mapping[str, Any]) -> str:
    script = options.get("script")
    return str(Path(script).expanduser()) if isinstance(script, str) and script else ""


@lru_cache(maxsize=64)
def _open(name: str, options: str, base: str, _code: str) -> Source:
    folder = Path(base or ".")
    made = json.loads(options)
    for key in NOT_IN_DIGEST & made.keys():
        if isinstance(made[key], str) and "://" not in made[key]:
            made[key] = str(folder / Path(made[key]).expanduser())
    with guard(name, "its constructor"):
        source = load_source(name, made, base=folder)
    return source if is_ours(source) else guarded(name, source)
