"""Small layers and arbitrary codes, for tests of whatever reads or writes a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import Encoding, default_encoding
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.raster import STATIC, Kind, LegendClass, Variable
from m3leo_prep.core.slots import parse_slots

LEGEND = (LegendClass(10, "Tree cover", "#006400"), LegendClass(80, "Permanent water", "#0064c8"))


def make_array(
    name: str = "backscatter",
    kind: Kind = Kind.POWER,
    bands: Sequence[str] = ("vv", "vh"),
    *,
    band_chunk: int | None = None,
    encoding: Encoding | None = None,
) -> Array:
    """Return a variable in its kind's default encoding; classes get a legend of two."""
    legend = LEGEND if kind is Kind.CLASSES else ()
    known: dict[Kind, dict[str, Any]] = {
        Kind.POWER: {"backscatter_convention": "sigma0_ellipsoid"},
        Kind.UNCERTAINTY: {"correlation": 0.5},
    }
    attributes = known.get(kind, {})
    variable = Variable(name, kind, tuple(bands), long_name=f"the {name}", legend=legend, attributes=attributes)
    return Array(variable, encoding or default_encoding(variable), "cubic", "mean", band_chunk or len(bands))


def make_layer(
    *arrays: Array,
    name: str = "layer",
    n_slots: int = 0,
    size: int = 6,
    shard_chips: int = 4,
    shard_slots: int = 1,
    chunk_slots: int = 1,
) -> Layer:
    """Return a layer of 20 m pixels with ``n_slots`` months of 2020, static if 0."""
    slots = parse_slots({"months": 2020})[:n_slots] if n_slots else (STATIC,)
    attributes = {"source": "ramp"}
    return Layer(name, "input", 20.0, size, slots, arrays, shard_chips, shard_slots, chunk_slots, attributes=attributes)


def random_codes(
    layer: Layer, array: Array, n_chips: int, rng: np.random.Generator, missing: float = 0.3
) -> NDArray[Any]:
    """Return codes of a whole array over all of its dtype, a share of the chips x slots being all fill."""
    slots = () if layer.is_static else (len(layer.slots),)
    shape = (n_chips, *slots, array.n_bands, layer.size, layer.size)
    dtype = np.dtype(array.encoding.dtype)
    values: NDArray[Any]
    if dtype.kind == "f":
        values = rng.normal(0, 1e3, shape).astype(dtype)
        values[rng.random(shape) < 0.1] = np.nan
    else:
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    values[rng.random(shape[:-3]) < missing] = array.encoding.fill_value
    return values
