"""What the stand-in answers: the routes of the REST API that the client and this package use.

https://developers.google.com/earth-engine/reference/rest
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np

from m3leo_prep.testing.earth_engine.archive import Archive, Scene, SceneBand
from m3leo_prep.testing.earth_engine.evaluation import graph
from m3leo_prep.testing.earth_engine.evaluation.image import Image
from m3leo_prep.testing.earth_engine.evaluation.sampling import Grid
from m3leo_prep.testing.earth_engine.evaluation.values import Collection, EarthEngineError, Feature
from m3leo_prep.testing.earth_engine.serving.limits import NOT_FOUND, Limits, Refused
from m3leo_prep.testing.earth_engine.serving.record import Request
from m3leo_prep.testing.earth_engine.serving.tiles import Maps

PUBLIC = "projects/earthengine-public/assets/"
_PAGE = 1000
_POSITIONS = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
"""Of an affine transform, as archive.SceneBand has it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Body and headers of an answer with status 200."""

    body: bytes
    content_type: str = "application/json; charset=UTF-8"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Service:
    """Earth Engine without the network: a request in, an answer out."""

    archive: Archive
    limits: Limits
    eecu_rate: float
    """EECU-seconds for a million pixels of one image."""
    _profiles: dict[str, float] = field(default_factory=dict)
    _tables: dict[str, list[Any]] = field(default_factory=dict)
    _maps: Maps = field(default_factory=Maps)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _cores: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(os.cpu_count() or 1))
    """Forty requests computed at once would push each other's pixels out of the archive's cache."""

    def hold(self, archive: Archive) -> None:
        """Answer from another archive from now on."""
        with self._lock:
            self.archive = archive
            self._tables.clear()

    def answer(self, request: Request) -> Answer:
        """Return the answer; raises Refused where it is an error."""
        try:
            match request.route:
                case "algorithms":
                    return _json(_algorithms())
                case "compute":
                    return self._profiled(request, self._value(request))
                case "computePixels":
                    return self._profiled(request, self._pixels(request, graph.evaluate(_graph(request), self.archive)))
                case "getPixels":
                    return self._pixels(request, self._load(request.asset))
                case "computeFeatures":
                    return self._profiled(request, self._features(request))
                case "asset":
                    return _json(self._asset(request.asset))
                case "listAssets":
                    return _json(self._list(request))
                case "operations":
                    return _json({"operations": []})
                case "maps":
                    return _json(self._maps.make(request.project, _graph(request)))
                case "tile":
                    return Answer(self._maps.tile(request.asset, self.archive), "image/png")
            raise Refused(501, f"stand-in: route '{request.route}' is not built")
        except EarthEngineError as error:
            raise Refused(400, str(error)) from None

    def _value(self, request: Request) -> Answer:
        expression = request.expression
        if expression.functions == ["Profile.getProfiles"]:
            ids = next(given["ids"] for _, given in expression.calls)
            return _json({"result": self._profile([str(name) for name in ids])})
        return _json({"result": graph.to_json(graph.evaluate(expression.graph, self.archive))})

    def _pixels(self, request: Request, image: Any) -> Answer:
        if not isinstance(image, Image):
            raise Refused(400, f"Expected an Image, got a {type(image).__name__}.")
        names = request.bands or list(image.bands)
        for name in names:
            if name not in image.bands:
                known = ", ".join(image.bands)
                raise Refused(400, f"Band pattern '{name}' did not match any bands. Available bands: [{known}]")
        if not request.grid:
            raise Refused(400, "stand-in: pixels are asked for with an explicit grid")
        width, height = request.size
        dtypes = [image.bands[name].dtype for name in names]
        self.limits.pixels(width, height, dtypes)
        affine = request.grid.get("affineTransform", {})
        a, b, c, d, e, f = (float(affine.get(key, 0.0)) for key in _POSITIONS)
        crs = str(request.grid.get("crsCode") or request.grid.get("crsWkt") or "EPSG:4326")
        grid = Grid(crs, (a, b, c, d, e, f), width, height)
        with self._cores:
            found = image.pixels(grid, names)
        # What is masked is 0 in these, and sent so in both formats (unverified; see Xee's unmask before it asks).
        bands = {name: values for name, (values, _) in found.items()}
        match request.body.get("fileFormat", "AUTO_JPEG_PNG"):
            case "NPY":
                return Answer(_npy(bands, height, width), "application/octet-stream")
            case "GEO_TIFF":
                return Answer(_tiff(bands, grid), "image/tiff")
            case other:
                raise Refused(400, f"stand-in: file format '{other}' is not built")

    def _load(self, asset: str) -> Any:
        if self.archive.image(asset) is None:
            raise Refused(404, NOT_FOUND.format(asset))
        call = {"functionName": "Image.load", "arguments": {"id": {"constantValue": asset}}}
        return graph.evaluate({"result": "0", "values": {"0": {"functionInvocationValue": call}}}, self.archive)

    def _features(self, request: Request) -> Answer:
        key = hashlib.sha256(json.dumps(request.expression.graph, sort_keys=True).encode()).hexdigest()
        with self._lock:
            features = self._tables.get(key)
        if features is None:
            features = _table(graph.evaluate(request.expression.graph, self.archive))
            with self._lock:
                # The pages of one table are asked for in a row; few tables at once.
                while len(self._tables) >= 8:
                    self._tables.pop(next(iter(self._tables)))
                self._tables[key] = features
        start = _token_start(str(request.body.get("pageToken", "")), key)
        end = start + (int(request.body.get("pageSize") or 0) or _PAGE)
        page: dict[str, Any] = {"type": "FeatureCollection", "features": features[start:end]}
        if end < len(features):
            page["nextPageToken"] = base64.urlsafe_b64encode(f"{key[:16]}:{end}".encode()).decode()
        return _json(page)

    def _asset(self, asset: str) -> dict[str, Any]:
        scene = self.archive.image(asset)
        if scene is not None:
            return describe(scene)
        scenes = self.archive.collection(asset)
        if scenes is None:
            raise Refused(404, NOT_FOUND.format(asset))
        return {"type": "IMAGE_COLLECTION", "name": PUBLIC + asset, "id": asset}

    def _list(self, request: Request) -> dict[str, Any]:
        scenes = self.archive.collection(request.asset)
        if scenes is None:
            raise Refused(404, NOT_FOUND.format(request.asset))
        start = _token_start(request.query.get("pageToken", ""), "")
        end = start + int(request.query.get("pageSize", _PAGE))
        basic = request.query.get("view") == "BASIC"
        page: dict[str, Any] = {"assets": [_named(s.id) if basic else describe(s) for s in scenes[start:end]]}
        if end < len(scenes):
            page["nextPageToken"] = base64.urlsafe_b64encode(f":{end}".encode()).decode()
        return page

    def _profiled(self, request: Request, answer: Answer) -> Answer:
        """Return the answer with the id of a profile, where one was asked for."""
        if "x-earth-engine-computation-profiling" not in request.headers:
            return answer
        name = f"profile-{request.number}"
        with self._lock:
            self._profiles[name] = request.work * self.eecu_rate / 1e6
        return Answer(answer.body, answer.content_type, {"x-earth-engine-computation-profile": name})

    def _profile(self, names: Sequence[str]) -> str:
        """Return a table as Earth Engine prints it: a header, then a line for each thing that took time.

        The form is that of https://geetools.readthedocs.io/en/v1.18.0/usage/profile.html; what the real service's rows
        add up to is not documented to be all that it counts.
        """
        with self._lock:
            total = sum(self._profiles.get(name, 0.0) for name in names)
        lines = [" EECU\N{MIDDLE DOT}s PeakMem Count  Description"]
        for share, memory, text in ((0.75, "559k", "Loading assets: (...)"), (0.25, "378k", "(plumbing)")):
            lines.append(f"{share * total:7.3f} {memory:>7} {len(names):>5}  {text}")
        return "\n".join(lines)


def _table(value: Any) -> list[Any]:
    """Return the features of a collection; images are their outlines and properties."""
    if not isinstance(value, Collection):
        raise Refused(400, f"stand-in: a table is made of a collection, not of a {type(value).__name__}")
    parts = (Feature(properties=item.properties, footprint=item.footprint, id=item.id) for item in value.items)
    return [graph.to_json(part) for part in parts]


def describe(scene: Scene) -> dict[str, Any]:
    """Return an image's entry in the catalogue.

    https://developers.google.com/earth-engine/reference/rest/v1/projects.assets#EarthEngineAsset
    """
    from shapely.geometry import mapping

    of = scene.properties
    entry: dict[str, Any] = _named(scene.id) | {"geometry": mapping(scene.footprint)}
    for key, name in (("startTime", "system:time_start"), ("endTime", "system:time_end")):
        if name in of:
            entry[key] = _time(of[name])
    entry["bands"] = [_band(band) for band in scene.bands]
    entry["properties"] = {key: value for key, value in of.items() if not key.startswith("system:")}
    if "system:version" in of:
        # The API says microseconds since 1970 in the image's ``version``, here they are the time of the last change.
        entry["updateTime"] = _time(int(of["system:version"]) // 1000)
    return entry


def _named(asset: str) -> dict[str, Any]:
    return {"type": "IMAGE", "name": PUBLIC + asset, "id": asset}


def _time(milliseconds: float) -> str:
    when = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _band(band: SceneBand) -> dict[str, Any]:
    dtype = np.dtype(band.dtype)
    kind: dict[str, Any] = {"precision": {4: "FLOAT", 8: "DOUBLE"}[dtype.itemsize] if dtype.kind == "f" else "INT"}
    if dtype.kind != "f":
        limit = np.iinfo(dtype)
        kind["range"] = {"min": int(limit.min), "max": int(limit.max)}
    affine = {key: value for key, value in zip(_POSITIONS, band.transform, strict=True) if value}
    size = {"width": band.shape[1], "height": band.shape[0]}
    grid = {"crsCode": band.crs, "affineTransform": affine, "dimensions": size}
    return {"id": band.name, "dataType": kind, "grid": grid}


def _graph(request: Request) -> Mapping[str, Any]:
    if not request.expression.graph:
        raise Refused(400, "Expression is required.")
    return request.expression.graph


def _npy(bands: Mapping[str, Any], height: int, width: int) -> bytes:
    array = np.empty((height, width), [(name, values.dtype) for name, values in bands.items()])
    for name, pixels in bands.items():
        array[name] = pixels
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _tiff(bands: Mapping[str, Any], grid: Grid) -> bytes:
    """Return a GeoTIFF, all bands in the one type that holds them."""
    import rasterio
    from affine import Affine

    dtype = np.result_type(*(pixels.dtype for pixels in bands.values()))
    shape = {"width": grid.width, "height": grid.height, "count": len(bands), "dtype": dtype}
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", crs=grid.crs, transform=Affine(*grid.transform), **shape) as file:
            for number, (name, pixels) in enumerate(bands.items(), 1):
                file.write(pixels.astype(dtype), number)
                file.set_band_description(number, name)
        return bytes(memory.read())


def _json(value: Any) -> Answer:
    return Answer(json.dumps(value).encode())


def _token_start(token: str, key: str) -> int:
    """Return the row with which a page begins."""
    if not token:
        return 0
    try:
        name, _, start = base64.urlsafe_b64decode(token).decode().partition(":")
        return int(start) if name == key[:16] else _bad_token()
    except ValueError:
        return _bad_token()


def _bad_token() -> int:
    raise Refused(400, "Invalid page token.")


@lru_cache(maxsize=1)
def _algorithms() -> Any:
    return json.loads(shipped("algorithms.json"))


def shipped(name: str) -> str:
    """Return a file that the installed client ships with its own tests."""
    from importlib.resources import files

    return (files("ee") / "tests" / name).read_text()


def discovery(url: str) -> Answer:
    """Return the document by which the client learns the API, with this server as its root."""
    document = json.loads(shipped("cloud_api_discovery_document.json").replace("v1alpha", "v1"))
    # The shipped one is older than the client, which tags maps by a parameter.
    maps = document["resources"]["projects"]["resources"]["maps"]["methods"]["create"]
    maps["parameters"]["workloadTag"] = {"location": "query", "type": "string"}
    return _json(document | {"rootUrl": f"{url}/", "baseUrl": f"{url}/", "version": "v1"})
