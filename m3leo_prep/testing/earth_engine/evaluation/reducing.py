"""Several images become one, pixel by pixel: mosaics, means, medians, percentiles.

Bands "are matched by name" (https://developers.google.com/earth-engine/apidocs/ee-imagecollection-mean). Reducers
"weight the inputs according to the mask value" (https://developers.google.com/earth-engine/guides/reducers_weighting):
so do mean and sum here; the other statistics take what has a mask above 0. The result's mask is the largest of its
inputs (unverified), hence masked where no image has data, also for counts (unverified).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.testing.earth_engine.evaluation import kernels
from m3leo_prep.testing.earth_engine.evaluation.arithmetic import wide
from m3leo_prep.testing.earth_engine.evaluation.image import Image, Node, Request, is_nothing, union_of
from m3leo_prep.testing.earth_engine.evaluation.registry import function
from m3leo_prep.testing.earth_engine.evaluation.sampling import Pixels
from m3leo_prep.testing.earth_engine.evaluation.values import Collection, EarthEngineError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Output:
    """One number that a reducer gives."""

    name: str
    statistic: str
    percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Reducer:
    """What a reducer gives of one input."""

    outputs: tuple[Output, ...]
    weighted: bool = True


def reduce_nodes(nodes: Sequence[Node], output: Output, *, weighted: bool = True) -> Node:
    """Return the band that a statistic makes of bands: a composite, without a default projection."""
    union = union_of(*(node.dtype for node in nodes))
    types = {"mean": "float64", "median": "float64", "percentile": "float64", "count": "int32", "sum": wide(union)}

    def compute(request: Request) -> Pixels:
        return _STATISTICS[output.statistic](request, nodes, output, weighted)

    return Node(types.get(output.statistic, union), compute, tuple(nodes))


def _there(request: Request, nodes: Sequence[Node]) -> Iterator[Pixels]:
    """Yield the pixels of each band that has any, one after the other."""
    for node in nodes:
        values, mask = request.pull(node)
        if not is_nothing(mask):
            yield values, mask


def _widest(mask: Array | None, other: Array) -> Array:
    if mask is None:
        return other
    return mask | other if mask.dtype == bool and other.dtype == bool else np.maximum(mask, other)


def _sum(request: Request, nodes: Sequence[Node], output: Output, weighted: bool) -> Pixels:  # noqa: FBT001  # one signature for all statistics
    whole = output.statistic == "sum" and all(np.dtype(node.dtype).kind != "f" for node in nodes)
    total = np.zeros((request.grid.height, request.grid.width), np.int64 if whole else np.float64)
    weight = np.zeros(total.shape, np.float64)
    seen: Array | None = None
    for values, mask in _there(request, nodes):
        valid = mask > 0
        if mask.dtype == bool or not weighted:
            kernels.add(total.ravel(), weight.ravel(), values.ravel(), valid.ravel())
        else:
            np.add(total, values * mask.astype(np.float64), out=total, where=valid, casting="unsafe")
            weight += mask
        seen = _widest(seen, mask)
    if seen is None:
        return request.nothing("float64")
    if output.statistic == "mean":
        np.divide(total, weight, out=total, where=weight > 0)
    return total, seen


def _count(request: Request, nodes: Sequence[Node], _: Output, __: bool) -> Pixels:  # noqa: FBT001  # as above
    number = np.zeros((request.grid.height, request.grid.width), np.int32)
    for _values, mask in _there(request, nodes):
        number += mask > 0
    return number, number > 0


def _extreme(request: Request, nodes: Sequence[Node], output: Output, _: bool) -> Pixels:  # noqa: FBT001  # as above
    pick = np.minimum if output.statistic == "min" else np.maximum
    best: Array | None = None
    seen: Array | None = None
    for values, mask in _there(request, nodes):
        if best is None or seen is None:
            best, seen = values, mask
            continue
        best = np.where(seen > 0, np.where(mask > 0, pick(best, values), best), values)
        seen = _widest(seen, mask)
    return (best, seen) if best is not None and seen is not None else request.nothing("float64")


def _top(request: Request, nodes: Sequence[Node], output: Output, _: bool) -> Pixels:  # noqa: FBT001  # as above
    """Return the last image's pixel that is not masked (``last``), or the first's.

    ``mosaic``: "composites all the images in a collection, using the mask", last on top
    (https://developers.google.com/earth-engine/apidocs/ee-imagecollection-mosaic). Fractions do not blend (unverified).
    """
    ordered = list(reversed(nodes)) if output.statistic == "last" else list(nodes)
    best: Array | None = None
    seen: Array | None = None
    for values, mask in _there(request, ordered):
        if best is None or seen is None:
            best, seen = values, mask
        else:
            free = seen == 0
            best, seen = np.where(free, values, best), np.where(free, mask, seen)
    return (best, seen) if best is not None and seen is not None else request.nothing("float64")


def _percentile(request: Request, nodes: Sequence[Node], output: Output, _: bool) -> Pixels:  # noqa: FBT001  # as above
    """Return a percentile, linear between the two nearest values (unverified; a median of 2 is their mean)."""
    there = list(_there(request, nodes))
    if not there:
        return request.nothing("float64")
    small = all(np.dtype(node.dtype).itemsize <= 2 or node.dtype == "float32" for node in nodes)
    stack = np.empty((len(there), request.grid.height, request.grid.width), np.float32 if small else np.float64)
    seen: Array | None = None
    for layer, (values, mask) in zip(stack, there, strict=True):
        layer[:] = values
        np.copyto(layer, np.nan, where=mask == 0)
        seen = _widest(seen, mask)
    assert seen is not None
    return kernels.percentile(stack, output.percent), seen


_STATISTICS: dict[str, Callable[[Request, Sequence[Node], Output, bool], Pixels]] = {
    "mean": _sum,
    "sum": _sum,
    "count": _count,
    "min": _extreme,
    "max": _extreme,
    "first": _top,
    "last": _top,
    "median": _percentile,
    "percentile": _percentile,
}


def _outputs(statistic: str) -> tuple[Output, ...]:
    return (Output(statistic, statistic, 50.0),)


def _plain_reducer(name: str) -> None:
    statistic = {"firstNonNull": "first", "lastNonNull": "last"}.get(name, name)

    @function(f"Reducer.{name}", "numInputs?")
    def make(_: Any) -> Reducer:
        return Reducer(_outputs(statistic))

    if name not in {"first", "last", "firstNonNull", "lastNonNull"}:

        @function(f"reduce.{name}", "collection")
        def run(collection: Collection) -> Image:
            return composite(collection, Reducer(_outputs(statistic)), named=False)


for _name in ("mean", "sum", "count", "min", "max", "median", "first", "last", "firstNonNull", "lastNonNull"):
    _plain_reducer(_name)


@function("Reducer.percentile", "percentiles outputNames?")
def percentile(percents: list[float], names: list[str] | None) -> Reducer:
    """Return a reducer with one output per percentile, p10, p50 ..."""
    names = names or [f"p{percent:g}" for percent in percents]
    return Reducer(tuple(Output(name, "percentile", each) for name, each in zip(names, percents, strict=True)))


@function("Reducer.combine", "reducer1 reducer2 outputPrefix? sharedInputs?")
def combine(one: Reducer, two: Reducer, prefix: str | None, shared: bool | None) -> Reducer:  # noqa: FBT001  # Earth Engine's order
    """Return both reducers' outputs of the same input."""
    if not shared:
        raise EarthEngineError("stand-in: Reducer.combine is known here with sharedInputs only")
    return Reducer(
        one.outputs + tuple(replace(each, name=(prefix or "") + each.name) for each in two.outputs), one.weighted
    )


@function("Reducer.unweighted", "reducer")
def unweighted(reducer: Reducer) -> Reducer:
    """Return a reducer for which every valid input counts the same."""
    return replace(reducer, weighted=False)


def composite(collection: Collection, reducer: Reducer, *, named: bool = True) -> Image:
    """Return an image of a collection, each band by itself; ``named`` appends the output's name: ``VV_mean``.

    An empty collection gives an image without bands.
    """
    images = _images(collection)
    bands: dict[str, list[Node]] = {}
    for image in images:
        for name, node in image.bands.items():
            bands.setdefault(name, []).append(node)
    made = {
        (f"{name}_{output.name}" if named else name): reduce_nodes(nodes, output, weighted=reducer.weighted)
        for name, nodes in bands.items()
        for output in reducer.outputs
    }
    return Image(made, footprint=_around(images))


def _images(collection: Collection) -> list[Image]:
    for item in collection.items:
        if not isinstance(item, Image):
            raise EarthEngineError(f"ImageCollection.reduce: Expected images, found {type(item).__name__}.")
    return list(collection.items)


def _around(images: Sequence[Image]) -> Any:
    """Return the footprints together; None where one is everywhere."""
    if not images or any(image.footprint is None for image in images):
        return None
    import shapely

    return shapely.union_all([image.footprint for image in images])


@function("ImageCollection.mosaic", "collection")
def mosaic(collection: Collection) -> Image:
    """Return the last image's pixels, and under its masked ones those of the images before."""
    return composite(collection, Reducer((Output("last", "last"),)), named=False)


@function("ImageCollection.reduce", "collection reducer")
def reduce_collection(collection: Collection, reducer: Reducer) -> Image:
    """Return a statistic of each band: https://developers.google.com/earth-engine/apidocs/ee-imagecollection-reduce."""
    return composite(collection, reducer)


@function("Image.reduce", "image reducer")
def reduce_image(image: Image, reducer: Reducer) -> Image:
    """Return a statistic of all bands, named like the reducer's output."""
    nodes = list(image.bands.values())
    first = next((node.projection for node in nodes if node.projection), None)
    bands = {}
    for output in reducer.outputs:
        made = reduce_nodes(nodes, output, weighted=reducer.weighted)
        bands[output.name] = Node(made.dtype, made.compute, made.inputs, first)
    return image.having_bands(bands)
