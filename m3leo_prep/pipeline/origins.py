"""Making a layer's source from its description, in any thread or process."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from m3leo_prep.core.plan import NOT_IN_DIGEST, SourceSpec
from m3leo_prep.ports.registry import load_source
from m3leo_prep.ports.source import Source


def open_source(spec: SourceSpec) -> Source:
    """Return the source; the same one for the same description, so that its caches serve all units of a process.

    Raises:
        ConfigError: unknown source or option.
        MissingDependency: an extra is not installed.
    """
    return _open(spec.name, json.dumps(dict(spec.options), default=str), spec.base)


@lru_cache(maxsize=64)
def _open(name: str, options: str, base: str) -> Source:
    folder = Path(base or ".")
    made = json.loads(options)
    for key in NOT_IN_DIGEST & made.keys():
        if isinstance(made[key], str) and "://" not in made[key]:
            made[key] = str(folder / Path(made[key]).expanduser())
    return load_source(name, made, base=folder)
