"""What the product of a burst pair holds: phase, components, coherence, and look vectors as unit vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.core.raster import Item, Raster
from m3leo_prep.sources.asf.hyp3.pairs import number_of
from m3leo_prep.sources.asf.hyp3.raster import cut

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

WAVELENGTH_M = 0.05546576
METRES_PER_RADIAN = WAVELENGTH_M / (4 * math.pi)
"""Of line of sight: the way there and back is two wavelengths for 4 pi."""
MAX_COMPONENTS = 20
"""Of one burst: ``maxComponents`` in ``isceobj/TopsProc/runUnwrapSnaphu.py`` of isce-framework/isce2."""
_FILES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "unwrapped_phase": ("unw_phase",),
        "components": ("conncomp",),
        "coherence_filtered": ("corr",),
        "wrapped_phase": ("wrapped_phase",),
        "los": ("lv_theta", "lv_phi"),
        "incidence": ("lv_theta",),
    }
)
"""Ends of file names (docs/guides/burst_insar_product_guide.md of ASFHyP3/hyp3-docs@0d86d88)."""


def rasters(item: Item, product: Path, names: Sequence[str], geobox: GeoBox, *, displacement: bool) -> Iterator[Raster]:
    """Yield the variables of those names around ``geobox``.

    In every raster 0 is no data (ASFHyP3/hyp3-isce2, ``packaging.py``: ``noData=0``). A pixel with coherence was seen;
    one of them without unwrapped phase was masked as water, or not unwrapped.

    Raises:
        CorruptError: a raster cannot be read, or holds what the product does not define.
    """
    needed = list(dict.fromkeys(["corr", "conncomp", *(file for name in names for file in _FILES[name])]))
    found = cut(product, needed, geobox)
    if found is None:
        return
    planes = dict(zip(needed, found.data, strict=True))
    seen = _number(planes["corr"])
    labels = _labels(item, planes["conncomp"])
    for name in names:
        data, valid, components = _values(name, planes, seen, labels)
        masked = seen & ~valid[0] if name in {"unwrapped_phase", "wrapped_phase"} else None
        if name == "unwrapped_phase" and displacement:
            # Positive phase is away from the sensor in this product; displacement is told towards it, as of GUNW.
            name, data = "displacement", data * -METRES_PER_RADIAN  # noqa: PLW2901  its other name
        yield Raster(data, valid, found.geobox, item, name, masked, components)


def _values(
    name: str, planes: Mapping[str, NDArray[Any]], seen: NDArray[np.bool_], labels: NDArray[np.int32]
) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.int32] | None]:
    """Return values and validity (band, y, x), and the components of unwrapped phase."""
    match name:
        case "components":
            return labels[None], (seen | (labels > 0))[None], None
        case "los":
            vector, valid = unit_vector(planes["lv_theta"], planes["lv_phi"])
            return vector, np.broadcast_to(valid, vector.shape), None
        case "incidence":
            theta = planes["lv_theta"]
            return np.degrees(np.pi / 2 - theta)[None].astype(np.float32), _number(theta)[None], None
    plane = planes[_FILES[name][0]]
    return plane[None], _number(plane)[None], labels if name == "unwrapped_phase" else None


def unit_vector(theta: NDArray[Any], phi: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the unit vector from the ground to the satellite, (east, north, up) x y x x, and where there is one.

    Args:
        theta: (y, x) rad above the horizon.
        phi: (y, x) rad from east towards north.
    """
    theta, phi = theta.astype(np.float64), phi.astype(np.float64)
    flat = np.cos(theta)
    vector = np.stack([flat * np.cos(phi), flat * np.sin(phi), np.sin(theta)])
    return vector.astype(np.float32), _number(theta) & np.isfinite(phi)


def _labels(item: Item, stored: NDArray[Any]) -> NDArray[np.int32]:
    """Return component numbers, other ones for each of the bursts that a chip may touch; 0 stays 0.

    Neighbours differ in swath, or by one in the burst map: two phases that count from different constants never share
    a number.
    """
    if stored.max(initial=0) > MAX_COMPONENTS:
        raise CorruptError(
            f"component {int(stored.max())}, of at most {MAX_COMPONENTS}",
            where=f"{item.id}, conncomp",
            hint="the product may have changed: update m3leo-prep, or report it",
        )
    number, swath = number_of(item)
    first = (3 * (number % 2) + swath - 1) * MAX_COMPONENTS
    return np.where(stored > 0, stored.astype(np.int32) + first, 0).astype(np.int32)


def _number(plane: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(plane) & (plane != 0))
