"""Functions of elements and collections."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from m3leo_prep.testing.earth_engine.evaluation.filters import Filter
from m3leo_prep.testing.earth_engine.evaluation.geometries import shape_of
from m3leo_prep.testing.earth_engine.evaluation.image import Image, Node
from m3leo_prep.testing.earth_engine.evaluation.making import image_of
from m3leo_prep.testing.earth_engine.evaluation.registry import function
from m3leo_prep.testing.earth_engine.evaluation.values import Collection, Date, EarthEngineError, Element, Feature

_MOST_BANDS = 5000
"""Of ``toBands``: https://developers.google.com/earth-engine/apidocs/ee-imagecollection-tobands."""


@function("Feature", "geometry? metadata? geometryKey?")
def feature(geometry: Any, properties: Mapping[str, Any] | None, _: Any) -> Feature:
    """Return a feature."""
    if isinstance(geometry, Feature) and properties is None:
        return geometry
    shape = None if geometry is None else shape_of(geometry, "Feature")
    return Feature(
        properties={name: value for name, value in (properties or {}).items() if value is not None}, footprint=shape
    )


@function("Feature.setGeometry", "feature geometry?")
def set_geometry(element: Feature, geometry: Any) -> Feature:
    """Return the feature at another place."""
    return replace(element, footprint=None if geometry is None else shape_of(geometry, "Feature.setGeometry"))


@function("Element.get Element.getNumber Element.getString", "object property")
def get(element: Element, name: str) -> Any:
    """Return a property; null if it is not there."""
    return element.get(name)


@function("Element.set", "object key value?")
def set_one(element: Element, key: str, value: Any) -> Element:
    """Return the element with a property; null takes it away (unverified)."""
    changed: Element = element.having({key: value})
    return changed


@function("Element.setMulti", "object properties")
def set_many(element: Element, properties: Mapping[str, Any]) -> Element:
    """Return the element with properties."""
    changed: Element = element.having(properties)
    return changed


@function("Element.propertyNames", "element")
def property_names(element: Element) -> list[str]:
    """Return the names of all properties."""
    return list(element.properties)


@function("Element.toDictionary", "element properties?")
def to_dictionary(element: Element, names: list[str] | None) -> dict[str, Any]:
    """Return the properties; without names not those of the system."""
    if names is not None:
        return {name: element.get(name) for name in names}
    return {name: value for name, value in element.properties.items() if not name.startswith("system:")}


@function("Element.copyProperties Image.copyProperties", "destination source? properties? exclude?")
def copy_properties(
    element: Element, source: Element | None, names: list[str] | None, exclude: list[str] | None
) -> Element:
    """Return the element with another's properties; those of the system only by name."""
    taken = {} if source is None else to_dictionary(source, names)
    changed: Element = element.having({name: value for name, value in taken.items() if name not in (exclude or ())})
    return changed


@function("Feature.id Image.id", "element")
def element_id(element: Element) -> str:
    """Return the id."""
    return element.id


@function("Feature.select", "input propertySelectors newProperties? retainGeometry?")
def select_properties(element: Element, selectors: list[str], names: list[str] | None, retain: bool | None) -> Element:  # noqa: FBT001  # Earth Engine's order
    """Return the element with some of its properties, chosen by regular expressions."""
    kept = [name for each in selectors for name in element.properties if re.fullmatch(each, name)]
    properties = {new: element.properties[old] for new, old in zip(names or kept, kept, strict=True)}
    return replace(element, properties=properties, footprint=None if retain is False else element.footprint)


@function("ImageCollection.fromImages", "images")
def from_images(images: Any) -> Collection:
    """Return a collection of images."""
    images = images if isinstance(images, list) else [images]
    return Collection(
        tuple(_indexed([image_of(each, "ImageCollection.fromImages") for each in images])), of_images=True
    )


def _indexed(items: Iterable[Element]) -> list[Any]:
    """Return elements of which each has an index, by default its number (unverified where it has one already)."""
    return [
        item if item.get("system:index") is not None else item.having({"system:index": str(number)})
        for number, item in enumerate(items)
    ]


@function("Collection", "features")
def from_features(features: Any) -> Collection:
    """Return a collection of features."""
    if isinstance(features, Collection):
        return features
    features = features if isinstance(features, list) else [features]
    return Collection(
        tuple(_indexed(each if isinstance(each, Element) else feature(each, None, None) for each in features)),
        of_images=False,
    )


@function("Collection.filter", "collection filter")
def filter_collection(collection: Collection, condition: Filter) -> Collection:
    """Return the elements that match."""
    return collection.having(item for item in collection.items if condition.test(item, item))


@function("Collection.map", "collection baseAlgorithm dropNulls?")
def map_collection(collection: Collection, run: Callable[[Any], Any], drop: bool | None) -> Collection:  # noqa: FBT001  # Earth Engine's order
    """Return what a function makes of each element, under the element's index."""
    out: list[Any] = []
    for item in collection.items:
        made = run(item)
        if made is None and drop:
            continue
        if not isinstance(made, Element):
            raise EarthEngineError("Collection.map: A mapped algorithm must return a Feature or Image.")
        index = item.get("system:index")
        out.append(made.having({"system:index": index}) if index is not None else made)
    return Collection(
        tuple(out), of_images=all(isinstance(item, Image) for item in out) if out else collection.of_images
    )


@function("Collection.merge ImageCollection.merge", "collection1 collection2")
def merge(one: Collection, two: Collection) -> Collection:
    """Return both, with indices 1_... and 2_...: https://developers.google.com/earth-engine/apidocs/ee-imagecollection-merge."""
    items = [
        item.having({"system:index": f"{number}_{item.get('system:index')}"})
        for number, collection in ((1, one), (2, two))
        for item in collection.items
    ]
    return one.having(items)


@function("Collection.flatten", "collection")
def flatten(collection: Collection) -> Collection:
    """Return the elements of collections in a collection."""
    return collection.having(item for inner in collection.items for item in getattr(inner, "items", [inner]))


@function("Collection.first", "collection")
def first(collection: Collection) -> Any:
    """Return the first element, null if there is none."""
    return collection.items[0] if collection.items else None


@function("Collection.size", "collection")
def size(collection: Collection) -> int:
    """Return how many elements there are."""
    return len(collection.items)


@function("Collection.toList", "collection count offset?")
def to_list(collection: Collection, count: int, offset: int | None) -> list[Any]:
    """Return elements as a list."""
    start = int(offset or 0)
    return list(collection.items[start : start + int(count)])


@function("Collection.limit", "collection limit? key? ascending?")
def limit(collection: Collection, most: int | None, key: str | None, ascending: bool | None) -> Collection:  # noqa: FBT001  # Earth Engine's order
    """Return the elements sorted by a property, those without it first (unverified), and at most so many."""
    items = list(collection.items)
    if key is not None:

        def order(item: Element) -> tuple[Any, ...]:
            value = item.get(key)
            value = value.millis if isinstance(value, Date) else value
            return (0,) if value is None else (1, value)

        items.sort(key=order, reverse=ascending is False)
    return collection.having(items if most is None else items[: int(most)])


@function("Collection.distinct", "collection properties")
def distinct(collection: Collection, names: Any) -> Collection:
    """Return the first element of each set of equal properties."""
    names = names if isinstance(names, list) else [names]
    found: dict[str, Element] = {}
    for item in collection.items:
        found.setdefault(repr([item.get(name) for name in names]), item)
    return collection.having(found.values())


@function("Collection.iterate", "collection function first?")
def iterate(collection: Collection, run: Callable[[Any, Any], Any], start: Any) -> Any:
    """Return the last result of a function of each element and the result before."""
    for item in collection.items:
        start = run(item, start)
    return start


def _aggregate(name: str, run: Callable[[list[Any]], Any]) -> None:
    @function(f"AggregateFeatureCollection.{name}", "collection property")
    def aggregate(collection: Collection, name: str) -> Any:
        """Return a statistic of a property; elements without it are passed over."""
        return run([value for item in collection.items if (value := item.get(name)) is not None])


def _distribution(values: list[Any]) -> dict[str, int]:
    return {str(value): values.count(value) for value in dict.fromkeys(values)}


_aggregate("array", lambda values: values)
_aggregate("first", lambda values: values[0] if values else None)
_aggregate("count", len)
_aggregate("count_distinct", lambda values: len({repr(value) for value in values}))
_aggregate("histogram", _distribution)
_aggregate("min", lambda values: min(values, default=None))
_aggregate("max", lambda values: max(values, default=None))
_aggregate("sum", sum)
_aggregate("mean", lambda values: float(np.mean(values)) if values else None)


@function("ImageCollection.toBands", "collection")
def to_bands(collection: Collection) -> Image:
    """Return all bands of all images as one image, named by image: ``<index>_<band>``."""
    bands: dict[str, Node] = {}
    for item in collection.items:
        for name, node in item.bands.items():
            bands[f"{item.get('system:index')}_{name}"] = node
    if len(bands) > _MOST_BANDS:
        raise EarthEngineError(
            f"ImageCollection.toBands: Too many bands: {len(bands)}. The maximum number is {_MOST_BANDS}."
        )
    return Image(bands)


@function("Image.linkCollection", "input imageCollection linkedBands? linkedProperties? matchPropertyName?")
def link_collection(image: Image, collection: Collection, bands: Any, properties: Any, key: str | None) -> Image:
    """Return the image with bands and properties of its match, masked and null where there is none.

    https://developers.google.com/earth-engine/apidocs/ee-image-linkcollection.
    """
    name = key or "system:index"
    wanted = image.get(name)
    match = next((item for item in collection.items if wanted is not None and item.get(name) == wanted), None)
    pick = match or first(collection)
    new: dict[str, Node] = {}
    for selector in [] if bands is None else bands if isinstance(bands, list) else [bands]:
        found = [band for band in (pick.bands if pick else ()) if re.fullmatch(selector, band)] or [selector]
        for band in found:
            if match is not None and band not in match.bands:
                raise EarthEngineError(f"Image.linkCollection: Band '{band}' is not in the linked image.")
            new[band] = match.bands[band] if match is not None else _masked(pick, band)
    names = [] if properties is None else properties if isinstance(properties, list) else [properties]
    linked: Image = image.having({each: match.get(each) if match is not None else None for each in names})
    return linked.having_bands({**image.bands, **new})


def _masked(like: Image | None, band: str) -> Node:
    dtype = like.bands[band].dtype if like is not None and band in like.bands else "float64"
    return Node(dtype, lambda request: request.nothing(dtype))
