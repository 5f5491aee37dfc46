"""An archive of real rasters: files of a folder under Earth Engine's ids.

``index.yaml`` of the folder says which:

    images:
      - id: ESA/WorldCover/v100/2020
        time: 2020-01-01
        properties: {land_cover: true}
        bands: {Map: labels/worldcover.tif}
      - id: COPERNICUS/S1_GRD_FLOAT/scene
        time: 2020-06-01T05:40:00
        crs: EPSG:32631
        bands:
          VV: {path: s1.tif, band: 1}
          VH: {path: s1.tif, band: 2}

Files are whatever GDAL reads; masked is what they say is no data, and NaN. ``crs`` replaces the files' own, for one
with heights, which Earth Engine does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.testing.earth_engine.archive import Archive, Scene, SceneBand
from m3leo_prep.testing.earth_engine.holdings.schedule import millis


class FolderArchive:
    """Implements archive.Archive over the rasters of a folder."""

    def __init__(self, folder: Path, index: Mapping[str, Any] | None = None) -> None:
        """Read the headers of all files.

        Args:
            folder: paths are relative to it.
            index: instead of the folder's ``index.yaml``.

        Raises:
            ConfigError: the index or a file is not there, or not of its form.
        """
        if index is None:
            index = _read_index(folder / "index.yaml")
        images = index.get("images")
        if not isinstance(images, list) or not images:
            raise ConfigError("no list of images", where=f"index of {folder}", hint="images: [{id: ..., bands: ...}]")
        scenes = [_scene(folder, entry) for entry in images]
        self._images = {scene.id: scene for scene in scenes}
        self._collections: dict[str, list[Scene]] = {}
        for scene in sorted(scenes, key=lambda scene: (scene.properties.get("system:time_start", 0), scene.id)):
            self._collections.setdefault(scene.id.rpartition("/")[0], []).append(scene)

    @property
    def holdings(self) -> list[str]:
        """Ids of the collections, sorted."""
        return sorted(self._collections)

    def image(self, name: str) -> Scene | None:
        """Return an image by its full id; None if there is none."""
        return self._images.get(name)

    def collection(self, name: str) -> Sequence[Scene] | None:
        """Return the images of a collection in order of time and id; None if there is no such collection."""
        return self._collections.get(name)


def _read_index(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        read = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"is no YAML: {error}", where=str(path)) from error
    if not isinstance(read, Mapping):
        raise ConfigError("is no mapping", where=str(path), hint="images: [{id: ..., bands: ...}]")
    return read


def _scene(folder: Path, entry: Any) -> Scene:
    where = f"index of {folder}"
    if not isinstance(entry, Mapping) or not entry.get("id") or not isinstance(entry.get("bands"), Mapping):
        raise ConfigError(f"an image needs an id and bands, not {entry!r}", where=where)
    unknown = set(entry) - {"id", "bands", "time", "properties", "crs"}
    if unknown:
        raise ConfigError(f"unknown key '{min(unknown)}'", where=f"{where}, image {entry['id']}")
    name = str(entry["id"])
    bands, outlines = [], []
    for band, given in entry["bands"].items():
        at = given if isinstance(given, Mapping) else {"path": given}
        made, outline = _band(folder / str(at["path"]), str(band), int(at.get("band", 1)), entry.get("crs"))
        bands.append(made)
        outlines.append(outline)
    properties = {"system:index": name.rpartition("/")[2], **entry.get("properties", {})}
    if "time" in entry:
        when = datetime.fromisoformat(str(entry["time"]))
        properties["system:time_start"] = millis(when if when.tzinfo else when.replace(tzinfo=UTC))
    return Scene(name, outlines[0], tuple(bands), properties)


def _band(path: Path, name: str, number: int, crs: str | None) -> tuple[SceneBand, Any]:
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.warp import transform_geom
    from shapely import box
    from shapely.geometry import mapping, shape

    try:
        with rasterio.open(path) as file:
            own = crs or (
                f"EPSG:{file.crs.to_epsg()}" if file.crs and file.crs.to_epsg() else file.crs and file.crs.to_wkt()
            )
            if not own:
                raise ConfigError("has no projection", where=str(path), hint="give the image a crs")
            if not 1 <= number <= file.count:
                raise ConfigError(f"has {file.count} bands, not {number}", where=str(path))
            transform, bounds = file.transform, file.bounds
            dtype, size = file.dtypes[number - 1], file.shape
            edge = mapping(box(*bounds).segmentize(max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / 20))
            outline = shape(transform_geom(own, "EPSG:4326", edge))
    except RasterioError as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from error
    return SceneBand(name, dtype, own, tuple(transform)[:6], size, partial(_read, path, number)), outline


def _read(path: Path, number: int, r0: int, r1: int, c0: int, c1: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    import rasterio
    from rasterio.windows import Window

    # Opened each time: a file handle belongs to one thread.
    with rasterio.open(path) as file:
        window = Window(c0, r0, c1 - c0, r1 - r0)
        values, valid = file.read(number, window=window), file.read_masks(number, window=window) > 0
    return values, valid & np.isfinite(values)


_: type[Archive] = FolderArchive
