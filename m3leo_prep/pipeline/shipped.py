"""Where the areas and recipes that come with the package lie."""

from __future__ import annotations

from pathlib import Path


def shipped(kind: str) -> Path:
    """Return the folder of shipped ``aoi`` or ``recipes``: inside a wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "data" / kind
    return inside if inside.is_dir() else package.parent / kind
