"""The areas and recipes that come with the package: where they lie, and what is known of the areas unopened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path


def shipped(kind: str) -> Path:
    """Return the folder of shipped ``aoi`` or ``recipes``: inside a wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "data" / kind
    return inside if inside.is_dir() else package.parent / kind


@dataclass(frozen=True, slots=True)
class AreaInfo:
    """What is known of a packaged area without decoding its polygon."""

    name: str
    title: str
    source: str
    licence: str
    note: str
    chips: int
    """Cells of the default grid (448 px of 10 m)."""
    area_km2: float


@cache
def list_areas() -> tuple[AreaInfo, ...]:
    """Return the packaged areas, by name."""
    found = []
    for entry in sorted(shipped("aoi").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".geojson"):
            properties = json.loads(entry.read_text(encoding="utf-8"))["properties"]
            found.append(AreaInfo(**properties))
    return tuple(found)
