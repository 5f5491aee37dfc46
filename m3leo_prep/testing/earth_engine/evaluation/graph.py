"""The evaluator: an expression as the client serialises it becomes a value, over the images of an archive.

The form of expressions: https://developers.google.com/earth-engine/reference/rest/Shared.Types/Expression. Nothing of
an image is computed before somebody asks for its pixels.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from m3leo_prep.testing.earth_engine.archive import Archive

# Their functions register themselves.
from m3leo_prep.testing.earth_engine.evaluation import (
    filters,
    functions_bands,
    functions_collection,
    functions_dates,
    functions_display,
    functions_image,
    functions_masks,
    functions_projection,
    functions_values,
    geometries,
    reducing,
)
from m3leo_prep.testing.earth_engine.evaluation.image import Image, Node, of_scene
from m3leo_prep.testing.earth_engine.evaluation.registry import call
from m3leo_prep.testing.earth_engine.evaluation.values import (
    Collection,
    Date,
    DateRange,
    EarthEngineError,
    Element,
    Feature,
    Geometry,
    PixelType,
    Projection,
)

__all__ = ["EarthEngineError", "evaluate", "to_json"]
MODULES = (
    filters,
    functions_bands,
    functions_collection,
    functions_dates,
    functions_display,
    functions_image,
    functions_masks,
    functions_projection,
    functions_values,
    geometries,
    reducing,
)
_MISSING = "not found (does not exist or caller does not have access)."
_UNSET = object()


def evaluate(expression: Mapping[str, Any], archive: Archive) -> Any:
    """Return the value of an expression: a number, text, list, dictionary, or one of ``values`` or ``image``.

    Args:
        expression: ``{"result": name, "values": {name: ...}}``.
        archive: what there is.

    Raises:
        EarthEngineError: what the server would answer; "stand-in" in it where the stand-in knows less.
    """
    return _Evaluator(expression, archive).result()


class _Scope:
    """The arguments of a function that is being run, and what was computed with them."""

    def __init__(self, arguments: Mapping[str, Any], outer: _Scope | None) -> None:
        self.arguments = arguments
        self.outer = outer
        self.known: dict[str, Any] = {}

    def look_up(self, name: str) -> Any:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.arguments:
                return scope.arguments[name]
            scope = scope.outer
        raise EarthEngineError(f"Expression: Unbound argument reference '{name}'.")

    def of(self, free: frozenset[str]) -> _Scope:
        """Return the innermost scope that binds one of the names, the outermost where there is none."""
        scope = self
        while scope.outer is not None and not free & scope.arguments.keys():
            scope = scope.outer
        return scope


class _Evaluator:
    def __init__(self, expression: Mapping[str, Any], archive: Archive) -> None:
        self._values: Mapping[str, Any] = expression["values"]
        self._name: str = expression["result"]
        self._archive = archive
        self._free: dict[str, frozenset[str]] = {}
        self._images: dict[str, Image] = {}

    def result(self) -> Any:
        return self._named(self._name, _Scope({}, None))

    def _named(self, name: str, scope: _Scope) -> Any:
        """Return a named value, computed once per set of the arguments that it depends on."""
        scope = scope.of(self._names_in(name))
        value = scope.known.get(name, _UNSET)
        if value is _UNSET:
            value = scope.known[name] = self._value(self._values[name], scope)
        return value

    def _names_in(self, name: str) -> frozenset[str]:
        """Return the arguments on which a named value depends."""
        if name not in self._free:
            self._free[name] = frozenset()  # no value refers to itself
            self._free[name] = self._free_in(self._values[name])
        return self._free[name]

    def _free_in(self, node: Any) -> frozenset[str]:
        match node:
            case {"argumentReference": name}:
                return frozenset([name])
            case {"valueReference": name}:
                return self._names_in(name)
            case {"functionDefinitionValue": {"body": body}}:
                return self._names_in(str(body)) - frozenset(
                    map(str, node["functionDefinitionValue"].get("argumentNames", ()))
                )
            case {"functionInvocationValue": invocation}:
                parts = [self._free_in(each) for each in invocation.get("arguments", {}).values()]
                if "functionReference" in invocation:
                    parts.append(self._names_in(invocation["functionReference"]))
                return frozenset().union(*parts)
            case {"arrayValue": {"values": values}}:
                return frozenset().union(*map(self._free_in, values))
            case {"dictionaryValue": {"values": values}}:
                return frozenset().union(*map(self._free_in, values.values()))
            case _:
                return frozenset()

    def _value(self, node: Any, scope: _Scope) -> Any:
        match node:
            case {"constantValue": value}:
                return value
            case {"integerValue": value}:
                return int(value)
            case {"bytesValue": value}:
                return base64.b64decode(value)
            case {"valueReference": name}:
                return self._named(name, scope)
            case {"argumentReference": name}:
                return scope.look_up(name)
            case {"arrayValue": array}:
                return [self._value(each, scope) for each in array.get("values", ())]
            case {"dictionaryValue": dictionary}:
                return {name: self._value(each, scope) for name, each in dictionary.get("values", {}).items()}
            case {"functionDefinitionValue": definition}:
                return self._defined(definition, scope)
            case {"functionInvocationValue": invocation}:
                return self._called(invocation, scope)
        raise EarthEngineError(f"stand-in: an expression holds a value of an unknown kind: {sorted(node)}")

    def _defined(self, definition: Mapping[str, Any], scope: _Scope) -> Callable[..., Any]:
        names = definition.get("argumentNames", [])

        def run(*values: Any, **named: Any) -> Any:
            arguments = dict(zip(names, values, strict=False)) | named
            return self._named(definition["body"], _Scope(arguments, scope))

        return run

    def _called(self, invocation: Mapping[str, Any], scope: _Scope) -> Any:
        arguments = {name: self._value(each, scope) for name, each in invocation.get("arguments", {}).items()}
        if "functionReference" in invocation:
            return self._named(invocation["functionReference"], scope)(**arguments)
        name = invocation["functionName"]
        if name == "Image.load":
            return self._image(str(arguments["id"]))
        if name in {"ImageCollection.load", "Collection.loadTable"}:
            return self._collection(str(arguments.get("id", arguments.get("tableId"))), name)
        return call(name, arguments)

    def _image(self, name: str) -> Image:
        if name not in self._images:
            scene = self._archive.image(name)
            if scene is None:
                raise EarthEngineError(f"Image.load: Image asset '{name}' {_MISSING}")
            self._images[name] = of_scene(scene)
        return self._images[name]

    def _collection(self, name: str, function: str) -> Collection:
        scenes = self._archive.collection(name) if function == "ImageCollection.load" else None
        if scenes is None:
            kind = "ImageCollection" if function == "ImageCollection.load" else "Collection"
            raise EarthEngineError(f"{function}: {kind} asset '{name}' {_MISSING}")
        for scene in scenes:
            if scene.id not in self._images:
                self._images[scene.id] = of_scene(scene)
        return Collection(tuple(self._images[scene.id] for scene in scenes), of_images=True, id=name)


def to_json(value: Any) -> Any:
    """Return a value as ``value:compute`` answers it and ``getInfo()`` gives it.

    Raises:
        EarthEngineError: a value has no such form.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.generic():
            return value.item()
        case list() | tuple():
            return [to_json(each) for each in value]
        case dict():
            return {name: to_json(each) for name, each in value.items()}
        case Date():
            return {"type": "Date", "value": value.millis}
        case DateRange():
            return {"type": "DateRange", "dates": [value.start, value.end]}
        case Geometry():
            return geometries.geojson(value.shape)
        case Projection():
            return {"type": "Projection", "crs": value.crs, "transform": list(value.transform)}
        case PixelType():
            return _pixel_type(value.dtype)
        case Image():
            return _image_json(value)
        case Feature():
            outline = None if value.footprint is None else geometries.geojson(value.footprint)
            return {"type": "Feature", "geometry": outline, **_id_of(value), "properties": to_json(_properties(value))}
        case Collection():
            kind = "ImageCollection" if value.of_images else "FeatureCollection"
            head: dict[str, Any] = (
                {"type": kind}
                | ({"id": value.id} if value.id else {})
                | ({"bands": []} if value.of_images else {"columns": {}})
            )
            return head | {"features": [to_json(item) for item in value.items]}
        case _:
            raise EarthEngineError(f"stand-in: a {type(value).__name__} has no form as JSON here")


def _id_of(element: Element) -> dict[str, Any]:
    name = element.id or element.get("system:index")
    return {"id": name} if name else {}


def _properties(element: Element) -> dict[str, Any]:
    hidden = {"system:version"} if isinstance(element, Image) else {"system:index"}
    return {name: value for name, value in element.properties.items() if name not in hidden}


def _image_json(image: Image) -> dict[str, Any]:
    bands = [_band_json(name, node) for name, node in image.bands.items()]
    properties = _properties(image)
    if image.footprint is not None:
        properties["system:footprint"] = Geometry(image.footprint)
    found: dict[str, Any] = {"type": "Image", "bands": bands}
    if image.id:
        found["id"] = image.id
    version = image.properties.get("system:version")
    if version is not None:
        found["version"] = version
    return found | {"properties": to_json(properties)}


def _band_json(name: str, node: Node) -> dict[str, Any]:
    projection = node.projection or Projection()
    return {
        "id": name,
        "data_type": _pixel_type(node.dtype),
        "crs": projection.crs,
        "crs_transform": list(projection.transform),
    }


def _pixel_type(dtype: str) -> dict[str, Any]:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return {"type": "PixelType", "precision": "float" if kind.itemsize == 4 else "double"}
    limits = np.iinfo(np.uint8 if kind.kind == "b" else kind)
    return {"type": "PixelType", "precision": "int", "min": int(limits.min), "max": int(limits.max)}
