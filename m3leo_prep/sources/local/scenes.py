"""Which files are there, and which of them belong together."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.sources.local.options import WHOLE, Band

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

SUFFIXES = (".tif", ".tiff", ".jp2", ".nc", ".vrt")
CATALOGUES = (".json", ".geojson", ".parquet", ".geoparquet")


@dataclass(frozen=True, slots=True)
class Scene:
    """Files that make one item (or one per time step)."""

    id: str
    files: Mapping[str, str]
    """Role (``WHOLE``, or the name of a band or ``mask``) -> path relative to the root, with ``/``."""
    datetime: datetime | None = None
    """As a catalogue says; None = look into the file."""
    footprint: BaseGeometry | None = None
    """As a catalogue says, to be checked against the file."""
    acquisition: str = ""
    properties: Mapping[str, str | int | float] = field(default_factory=dict)


def root_of(path: str) -> Path:
    """Return the folder that item paths are relative to: the folder itself, the file's, or what precedes a glob."""
    if glob.has_magic(path):
        parts = Path(path).parts
        fixed = next(k for k, part in enumerate(parts) if glob.has_magic(part))
        return Path(*parts[:fixed])
    here = Path(path)
    return here if here.is_dir() else here.parent


def list_files(path: str, pattern: str) -> list[str]:
    """Return the raster files of a folder (and the folders in it), a glob or a file: relative, sorted.

    Raises:
        ConfigError: the folder is missing, empty, or holds no such file.
    """
    root = root_of(path)
    if glob.has_magic(path):
        found = [Path(name) for name in glob.glob(path, recursive=True)]  # noqa: PTH207  Path has no absolute glob
        wanted = f"no file matches '{path}'"
    else:
        here = Path(path)
        if not here.exists():
            siblings = [p.name for p in here.parent.iterdir()] if here.parent.is_dir() else []
            hint = near(here.name, siblings) or "relative paths start from the recipe's folder"
            raise ConfigError("does not exist", where=path, hint=hint)
        found = list(here.rglob(pattern)) if here.is_dir() else [here]
        wanted = f"no raster matches pattern '{pattern}' in the folder"
    named = Path(pattern if not glob.has_magic(path) else path).suffix != ""
    files = sorted(
        p.relative_to(root).as_posix()
        for p in found
        if p.is_file() and not p.name.startswith(".") and (named or p.suffix.lower() in SUFFIXES or p == Path(path))
    )
    if not files:
        others = sorted({p.suffix for p in root.rglob("*") if p.is_file()}) if root.is_dir() else []
        there = f"it holds files {', '.join(s or 'without suffix' for s in others[:8])}" if others else "it is empty"
        hint = f"{there}; rasters end in {', '.join(SUFFIXES)}, or say `pattern:`"
        raise ConfigError(wanted, where=path, hint=hint)
    return files


def group(path: str, files: Sequence[str], bands: Sequence[Band] | None, mask: Band | None) -> list[Scene]:
    """Return the scenes of a list of files, sorted by id.

    A band with a file pattern is joined with the others of its scene: those in the same folder whose ``*``
    matched the same text.

    Raises:
        ConfigError: a pattern matches no file, or two files claim the same band of a scene.
    """
    apart = [band for band in bands or () if band.file]
    if mask is not None and mask.file:
        apart.append(mask)
    whole = not any(band.is_apart for band in bands or ())
    joined: dict[str, dict[str, str]] = {}
    for band in apart:
        regex = _regex(band.file)
        matches = 0
        for name in files:
            key = _scene_key(name, regex)
            if key is None:
                continue
            matches += 1
            files_of = joined.setdefault(key, {})
            if band.name in files_of:
                hint = "put a `*` where the names of scenes differ"
                raise ConfigError(
                    f"band {band.name}: {files_of[band.name]} and {name} are the same scene", where=path, hint=hint
                )
            files_of[band.name] = name
        if not matches:
            hint = "the folder holds, for example, " + ", ".join(Path(f).name for f in files[:3])
            raise ConfigError(f"band {band.name}: no file matches '{band.file}'", where=path, hint=hint)
    if not whole:
        names = {band.name for band in bands or ()}
        return [Scene(key, joined[key]) for key in sorted(joined) if names & joined[key].keys()]
    masks = {f["mask"]: key for key, f in joined.items()}
    scenes = []
    for name in files:
        if name in masks:
            continue
        extra = _mask_of(name, joined) if mask is not None and mask.file else {}
        scenes.append(Scene(name, {WHOLE: name, **extra}))
    return scenes


def _mask_of(name: str, joined: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the mask file whose scene's name is the longest start of this file's name."""
    stem = name.rpartition(".")[0]
    keys = [key for key in joined if stem.startswith(key)]
    return {"mask": joined[max(keys, key=len)]["mask"]} if keys else {}


def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile("(.*)".join(re.escape(part) for part in pattern.split("*")) + r"\Z")


def _scene_key(name: str, regex: re.Pattern[str]) -> str | None:
    """Return folder and matched text, or None. A pattern with ``/`` is matched against the whole path."""
    folder, slash, base = name.rpartition("/")
    if "/" in regex.pattern:
        match = regex.match(name)
        return "*".join(match.groups()) or "scene" if match else None
    match = regex.match(base)
    return None if match is None else (folder + slash + "*".join(match.groups())).rstrip("/") or "scene"
