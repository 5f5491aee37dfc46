"""Making one result: the scenes, the graph, SNAP, and the bands that it wrote as one GeoTIFF."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from m3leo_prep.core.errors import SourceError
from m3leo_prep.sources.snap import dimap, gpt, shelf
from m3leo_prep.sources.snap.dimap import Written
from m3leo_prep.sources.snap.gpt import Bounds
from m3leo_prep.sources.snap.installed import Snap
from m3leo_prep.sources.snap.shelf import Task

BLOCK = 512
"""Rows and columns of a tile, and rows that are held at once."""
TAG = "m3leo_prep"
"""Of the GeoTIFF: JSON that says what made it, of what."""


def make(task: Task, snap: Snap, limits: Bounds, fetch: Callable[[str], Path], target: Path, log: Path) -> None:
    """Make a result at ``target``; the graph and all that SNAP said stay at ``log``.

    Raises:
        PrepError: from fetching, from SNAP (``gpt.run``), or because it wrote something else (``dimap.read``).
        StoreError: the disk is full or cannot be written.
    """
    scenes = [fetch(name) for name in task.scenes]  # before anybody waits for SNAP
    with shelf.workplace(target) as work:
        graph = task.graph(scenes, work / "output.dim")
        text = graph.xml(snap.major)
        path = work / "graph.xml"
        try:
            for copy in (path, log.with_suffix(".xml")):
                copy.write_text(text, encoding="utf-8")
        except OSError as error:
            raise shelf.unwritable(str(error), log) from error
        with shelf.alone():
            gpt.run(snap, path, log, limits, task.name)
        written = dimap.read(graph.output(), task.grid, task.name)
        about = {
            "snap": snap.release,
            "graph": hashlib.sha256(text.encode()).hexdigest(),
            "scenes": task.scenes,
            "orbits": orbits(written),
            "orbit_files": written.orbits,
        }
        _store(written, task, about, target)


def orbits(written: Written) -> str:
    """Return ``precise``, or ``restituted`` if a scene has no better one: SNAP takes these where none is precise.

    ``unknown`` where it does not name the files; it fails where it finds none.
    """
    if any("RESORB" in name for name in written.orbits):
        return "restituted"
    return "precise" if any("POEORB" in name for name in written.orbits) else "unknown"


def _store(written: Written, task: Task, about: Mapping[str, object], target: Path) -> None:
    """Write the bands of a result as float32, tiled and compressed, in the order of ``task.bands``."""
    import rasterio
    from affine import Affine
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    names = [_named(written, pattern, task.name) for pattern in task.bands.values()]
    rows, columns = written.shape
    pitch = task.grid.pitch
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": len(names),
        "height": rows,
        "width": columns,
        "crs": f"EPSG:{task.grid.epsg}",
        "transform": Affine(pitch, 0.0, written.west, 0.0, -pitch, written.north),
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "interleave": "band",
        "compress": "deflate",
        "predictor": 3,
        "bigtiff": "if_safer",
    }
    try:
        with rasterio.open(target, "w", **profile) as raster:
            raster.descriptions = tuple(task.bands)
            raster.update_tags(**{TAG: json.dumps(about, sort_keys=True)})
            for number, name in enumerate(names, 1):
                for first in range(0, rows, BLOCK):
                    part = written.rows(name, first, min(rows, first + BLOCK)).astype(np.float32)
                    raster.write(part, number, window=Window(0, first, columns, len(part)))
    except (OSError, RasterioError) as error:
        raise shelf.unwritable(str(error), target) from error


def _named(written: Written, pattern: str, where: str) -> str:
    """Return the one band that SNAP named so.

    Raises:
        SourceError: it wrote none, or several.
    """
    found = [name for name in written.bands if re.fullmatch(pattern, name)]
    if len(found) != 1:
        have = ", ".join(written.bands) or "none"
        raise SourceError(f"SNAP wrote {len(found)} bands '{pattern}', not one; it wrote {have}", where=where)
    return found[0]
