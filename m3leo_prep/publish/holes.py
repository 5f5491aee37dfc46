"""Holes that a later build may fill: a dataset with such is not published unless somebody says so."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3leo_prep.core.errors import PublishError
from m3leo_prep.core.reasons import RETRYABLE, Reason

MAY_FILL = tuple(reason.name for reason in sorted({*RETRYABLE, Reason.NOT_BUILT}))


def holes_of(reasons: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Return how many holes of each layer may fill, chip x slot x band; only layers that have some.

    Args:
        reasons: per layer, chip x slot x band by reason, as ``verify`` counts them.
    """
    found = {layer: sum(counts.get(name, 0) for name in MAY_FILL) for layer, counts in reasons.items()}
    return {layer: n for layer, n in found.items() if n}


def check_holes(reasons: Mapping[str, Mapping[str, int]], manifest: Mapping[str, Any], folder: Path) -> None:
    """Raise PublishError if a later build may fill some holes; the message counts them and names the command."""
    holes = holes_of(reasons)
    if not holes:
        return
    told = ", ".join(f"{n:,} in {layer} ({_why(reasons[layer])})" for layer, n in holes.items())
    line = f"m3leo-prep build --aoi {shlex.quote(manifest['area']['name'])} --recipe {shlex.quote(manifest['name'])}"
    raise PublishError(
        f"{sum(holes.values()):,} holes may still fill (chip x slot x band): {told}",
        where=str(folder),
        hint=f"run the same build again, such as `{line} --out {shlex.quote(str(folder))}`, or publish with the "
        "holes: --allow-holes",
    )


def _why(counts: Mapping[str, int]) -> str:
    return ", ".join(name for name in MAY_FILL if counts.get(name))
