"""Pixels of one burst: power by polarisation, and what its mask says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.core.raster import Absent, Item, Raster
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources._backscatter import Band
from m3leo_prep.sources.asf.opera.files import has, open_layers
from m3leo_prep.sources.asf.opera.finding import MASK
from m3leo_prep.sources.local.outline import windows

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

VARIABLE = "backscatter"
SHADOW, LAYOVER, SHADOW_AND_LAYOVER, FILL = 1, 2, 3, 255
"""Codes of the mask beside 0, "not masked" (opera-adt/RTC, ``layer_description_dict``)."""
_CODES = {"shadow": (SHADOW, SHADOW_AND_LAYOVER), "layover": (LAYOVER, SHADOW_AND_LAYOVER)}


def read_burst(
    item: Item, bands: Sequence[Band], discarded: Sequence[str], geobox: GeoBox
) -> Iterator[Raster | Absent]:
    """Yield the power of a burst around ``geobox``, or that it has none of a polarisation.

    The bands of the other direction are there, and observed nowhere.

    Args:
        item: the burst.
        bands: of the layer, in order.
        discarded: ``shadow``, ``layover``: seen, but not used.
        geobox: the target.
    """
    own = [band for band in bands if band.direction == item.properties["orbit_direction"]]
    missing = tuple(band.name for band in own if not has(item, band.polarisation))
    if missing:
        yield Absent(item, VARIABLE, missing, Reason.BAND_NOT_IN_PRODUCT)
    there = [band.polarisation for band in own if has(item, band.polarisation)]
    if not there:
        return
    layers = open_layers(item, [*there, MASK])
    for window, place in windows(layers[MASK].head.geobox, geobox):
        codes = layers[MASK].read(window)
        _check_codes(codes, item)
        shape = (len(bands), *codes.shape)
        data, valid, masked = np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, bool)
        for k, band in enumerate(bands):
            if band in own and band.polarisation in layers:
                data[k] = layers[band.polarisation].read(window)
                valid[k], masked[k] = sorted_out(data[k], codes, discarded)
        yield Raster(data, valid, place, item, VARIABLE, masked)


def sorted_out(
    power: NDArray[np.float32], codes: NDArray[Any], discarded: Sequence[str]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pixels may be used, and which were seen and discarded, both (y, x).

    Power of 0 and less, which noise removal leaves of dark ground, may be used. In shadow the product itself has no
    number (its code runs with ``apply_shadow_masking``): the pixel was seen all the same. What else has none, and what
    the mask calls fill, was not.

    Args:
        power: (y, x), NaN where there is none.
        codes: (y, x) of the mask.
        discarded: names of what is not used.
    """
    number = np.isfinite(power) & (codes != FILL)
    dropped = np.isin(codes, [code for name in discarded for code in _CODES[name]])
    shadow = np.isin(codes, _CODES["shadow"])
    return number & ~dropped, (number & dropped) | (shadow & ~number)


def _check_codes(codes: NDArray[Any], item: Item) -> None:
    strange = np.setdiff1d(codes, (0, SHADOW, LAYOVER, SHADOW_AND_LAYOVER, FILL))
    if strange.size:
        raise CorruptError(
            f"holds {', '.join(map(str, strange[:5]))}, which the product does not define (0, 1, 2, 3, 255)",
            where=f"{item.id}, layer {MASK}",
            hint="the product may have changed: update m3leo-prep, or report it",
        )
