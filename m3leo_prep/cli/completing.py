"""What the shell offers after an option: names read from files, without any heavy import.

Nothing offered lets the shell offer files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

DEFAULT_RECIPE = "m3leo"
BY = ("blocks", "landcover", "admin")
FORMATS = ("geotiff", "png", "netcdf", "webdataset")
RUNNERS = ("threads", "processes")
ON_QUOTA = ("stop", "wait")
POLICIES = ("blocks", "bands", "admin", "region", "random", "geetiles", "file")


def areas(incomplete: str) -> list[str]:
    """Return the shipped areas, and the outlines in this folder."""
    return _names("aoi", ".geojson", incomplete) or _files(incomplete, "*.geojson", "*.gpkg", "*.wkt")


def recipes(incomplete: str) -> list[str]:
    """Return the shipped recipes, and the YAML files in this folder."""
    return _names("recipes", ".yaml", incomplete) + _files(incomplete, "*.yaml", "*.yml")


def providers(incomplete: str) -> list[str]:
    """Return the providers that ``login`` knows."""
    from m3leo_prep.ports.login import login_names

    return _begun(login_names(), incomplete)


def sources(incomplete: str) -> list[str]:
    """Return the installed sources, and the Python files in this folder."""
    from m3leo_prep.ports.registry import source_names

    return _begun(source_names(), incomplete) + _files(incomplete, "*.py")


def layers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the layers of the recipe or dataset that the line has named so far, after those already typed."""
    typed, comma, last = incomplete.rpartition(",")
    taken = set(typed.split(","))
    # While an option lacks its value, the words that are arguments stand in ``args``.
    dataset = next(iter(ctx.args), None)
    names = [name for name in _layers(dataset, ctx.params.get("recipe")) if name not in taken]
    return [f"{typed}{comma}{name}" for name in _begun(names, last)]


def layer_sources(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return ``LAYER=NAME`` for each source that the layers of the recipe list, named so far or the default one."""
    from m3leo_prep.core.alternatives import spread

    try:
        layers = _recipe_document(ctx.params.get("recipe") or DEFAULT_RECIPE)["layers"]
        listed = {name: spread(said).get("alternatives", {}) for name, said in layers.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # a half-typed line is no error
    return _begun((f"{name}={source}" for name, sources in listed.items() for source in sources), incomplete)


def by(incomplete: str) -> list[str]:
    """Return what a sample may be spread over."""
    return _begun(BY, incomplete)


def policies(incomplete: str) -> list[str]:
    """Return the split policies."""
    return _begun(POLICIES, incomplete)


def formats(incomplete: str) -> list[str]:
    """Return the formats of ``export``."""
    return _begun(FORMATS, incomplete)


def runners(incomplete: str) -> list[str]:
    """Return the runners."""
    return _begun(RUNNERS, incomplete)


def on_quota(incomplete: str) -> list[str]:
    """Return what to do where a quota is used up."""
    return _begun(ON_QUOTA, incomplete)


def _begun(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _names(kind: str, suffix: str, incomplete: str) -> list[str]:
    from m3leo_prep.pipeline.shipped import shipped

    return _begun(sorted(path.stem for path in shipped(kind).glob(f"*{suffix}")), incomplete)


def _files(incomplete: str, *patterns: str) -> list[str]:
    if "/" in incomplete:  # the shell knows folders better
        return []
    return _begun(sorted(path.name for pattern in patterns for path in Path().glob(pattern)), incomplete)


def _layers(dataset: str | None, recipe: str | None) -> list[str]:
    try:
        if dataset:
            return list(json.loads((Path(dataset) / "manifest.json").read_bytes())["layers"])
        if recipe:
            return [str(name) for name in _recipe_document(recipe)["layers"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # a half-typed line is no error
    return []


def _recipe_document(recipe: str) -> dict[str, Any]:
    """Return a recipe as it is written; nothing if it is no YAML."""
    import yaml

    from m3leo_prep.pipeline.shipped import shipped

    is_path = recipe.endswith((".yaml", ".yml")) or "/" in recipe
    try:
        found = yaml.safe_load(
            (Path(recipe) if is_path else shipped("recipes") / f"{recipe}.yaml").read_text(encoding="utf-8")
        )
    except yaml.YAMLError:
        return {}
    return dict(found)
