"""A composite of each variable: what is asked of Earth Engine, and what values its answer has.

Of products and collections whose numbers are what they are; radar and Sentinel-2 add their own in ``radar`` and
``optical``. How images become one is said in ``stacks``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.defaults import ONE_ITEM
from m3leo_prep.core.layer import Statistic
from m3leo_prep.core.raster import Item, Raster, Slot
from m3leo_prep.sources.gee.choice import Choice, Family, Kernel, Quantity
from m3leo_prep.sources.gee.reading.conversion import CODES, values_of
from m3leo_prep.sources.gee.reading.requests import Band, carrier
from m3leo_prep.sources.gee.reading.stacks import Stack, load, sampled, select, together

if TYPE_CHECKING:
    import ee
    from odc.geo.geobox import GeoBox

    from m3leo_prep.sources.gee.reading.pixels import Pixels

OBSERVED = "observed"
"""Name of the band that is 1 where any image looked, whether or not its pixel was kept."""
COUNTED = 65_535
"""A count that is none."""

Sent = Callable[[str], tuple[NDArray[Any], NDArray[np.bool_]]]
"""Name of a band -> numbers and valid, both (y, x); nothing valid where no image has the band."""
Read = tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_] | None]
"""Values in the variable's unit, valid, and what was seen and discarded, each (band, y, x)."""
Values = Callable[[Choice, Quantity, Sent], Read]
"""What a quantity is made of, from what was sent."""


Stacks = Callable[[Choice, Sequence[Item]], list[Stack]]
"""What is asked for, of the images of a slot."""


def read(choice: Choice, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterator[Raster]:
    """Yield the composite of each variable, on the window's lattice or on one that divides its pixels.

    A band that no image of the slot has is all invalid, and not asked for.

    Raises:
        TooLarge, TriedOut, QuotaReached ...: see ``pixels.fetch``.
    """
    from m3leo_prep.sources.gee.reading.pixels import fetch
    from m3leo_prep.sources.gee.reading.requests import finer
    from m3leo_prep.sources.gee.service.session import session

    stacks, values = _family(choice.row.family)
    session()  # the client builds no expression before it knows the server's functions
    lattice = finer(geobox, choice.row.pitch)
    found = [stack for stack in stacks(choice, items) if stack.items]
    bands = [band for stack in found for band in stack.bands]
    what = f"{choice.row.name or choice.row.asset}, {slot.label}"
    pixels = fetch(together(found, lattice), bands, lattice, what=what) if found else None
    sent = received(pixels, lattice)
    for quantity in choice.quantities:
        data, valid, masked = values(choice, quantity, sent)
        yield Raster(data, valid, lattice, items[0], quantity.variable.name, masked)


def received(pixels: Pixels | None, lattice: GeoBox) -> Sent:
    """Return what gives each band that was sent, and nothing valid for others."""
    names = {band.name for band in pixels.bands} if pixels else set()
    zero, never = np.zeros(lattice.shape, np.float32), np.zeros(lattice.shape, bool)

    def sent(name: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        if pixels is None or name not in names:
            return zero, never
        data, valid = pixels.stack([name])
        return data[0], valid[0]

    return sent


def _family(name: Family) -> tuple[Stacks, Values]:
    from m3leo_prep.sources.gee.reading import optical, radar

    match name:
        case "radar":
            return radar.stacks, radar.values
        case "optical":
            return optical.stacks, plain_values
        case "plain":
            return plain_stacks, plain_values


def data_of(bands: ee.Image, quantity: Quantity) -> ee.Image:
    """Return bands masked where they say no data: a number that means it, or one that is impossible and no flag."""
    for number in _as_stored(quantity.nodata, quantity.dtype):
        bands = bands.updateMask(bands.neq(number))
    if quantity.valid_range is not None and not quantity.flags_of:
        low, high = quantity.valid_range
        possible = bands.gte(low).And(bands.lte(high))
        for flag in quantity.flags:
            possible = possible.Or(bands.eq(flag))
        bands = bands.updateMask(possible)
    return bands


def _as_stored(numbers: Iterable[float], dtype: str) -> list[float]:
    """Return numbers as a band holds them: what a table declares in decimal is rounded in float32."""
    return [float(np.float32(number)) if dtype == "float32" else number for number in numbers]


# -- numbers as they are -------------------------------------------------------------------------------------------


def plain_stacks(choice: Choice, items: Sequence[Item]) -> list[Stack]:
    """Return a stack for each quantity, and one of what was observed where not all of that is a value."""
    found = [
        Stack(
            sent_bands(choice, quantity), tuple(items), load, _plain_look(choice, quantity), statistic(choice, quantity)
        )
        for quantity in choice.quantities
    ]
    flagged = [quantity for quantity in choice.quantities if quantity.flags and not quantity.flags_of]
    return [*found, observed(items, load, partial(first_band, flagged[0]))] if flagged else found


def first_band(quantity: Quantity, image: ee.Image) -> ee.Image:
    """Return the first band of a quantity in the image's own pixels, masked where it says no data."""
    return data_of(select(image, quantity.names[:1]), quantity)


def observed(items: Sequence[Item], load: Callable[[Item], ee.Image], seen: Callable[[ee.Image], ee.Image]) -> Stack:
    """Return the stack of the band that is 1 where any image looked; ``seen`` is masked elsewhere."""

    def look(image: ee.Image) -> ee.Image:
        import ee

        one: ee.Image = ee.Image.constant(1)
        return one.updateMask(sampled(seen(image), "nearest").mask())

    return Stack((Band(OBSERVED, "uint8", 0),), tuple(items), load, look, "max")


def sent_bands(choice: Choice, quantity: Quantity) -> tuple[Band, ...]:
    """Return how the bands of a quantity are sent: by names that say which, codes and counts as integers."""
    names = [sent_name(quantity, band) for band in quantity.variable.bands]
    if statistic(choice, quantity) == "count":
        return tuple(Band(name, "uint16", COUNTED) for name in names)
    if quantity.variable.kind in CODES:
        return tuple(carrier(name, quantity.dtype, quantity.valid_range, quantity.flags) for name in names)
    return tuple(carrier(name, "float32") for name in names)


def sent_name(quantity: Quantity, band: str) -> str:
    """Return the name by which a band is sent."""
    return f"{quantity.variable.name}_{band}"


def statistic(choice: Choice, quantity: Quantity) -> Statistic:
    """Return what makes one of several: flags beside a quantity are of the first image, as in ``pipeline.resolve``."""
    beside = quantity.variable.kind in CODES and any(q.variable.kind not in CODES for q in choice.quantities)
    return "first" if beside and choice.statistic not in ONE_ITEM else choice.statistic


def kernel(choice: Choice, quantity: Quantity) -> Kernel:
    """Return the kernel of a quantity: codes are never mixed."""
    return "nearest" if quantity.variable.kind in CODES else choice.kernel


def _plain_look(choice: Choice, quantity: Quantity) -> Callable[[ee.Image], ee.Image]:
    return lambda image: sampled(numbers(image, quantity), kernel(choice, quantity))


def numbers(image: ee.Image, quantity: Quantity) -> ee.Image:
    """Return the bands of a quantity in the image's own pixels, transformed, masked where they are no values.

    Masks come first: a number that means no data must not be mixed with its neighbours. In a variable of flags, 0 is a
    value and n the n-th flag, as in ``conversion``.
    """
    import ee

    bands = data_of(select(image, quantity.names), quantity)
    if quantity.flags_of:
        return bands.remap(list(quantity.flags), list(range(1, len(quantity.flags) + 1)), 0)
    for flag in quantity.flags:
        bands = bands.updateMask(bands.neq(flag))
    match quantity.transform:
        case "none":
            return bands
        case "squared":
            return bands.toDouble().multiply(bands)
        case "from_decibel":
            ten: ee.Image = ee.Image.constant(10)
            return ten.pow(bands.divide(10))


def plain_values(choice: Choice, quantity: Quantity, sent: Sent) -> Read:
    """Return values (band, y, x) in the variable's unit, valid, and what was seen and discarded."""
    parts = [sent(sent_name(quantity, band)) for band in quantity.variable.bands]
    valid = np.stack([there for _, there in parts])
    _, seen = sent(OBSERVED)
    is_code = quantity.variable.kind in CODES
    if statistic(choice, quantity) == "count":
        counted = [np.where(there, number, 0) for number, there in parts]
        return np.stack(counted).astype(np.uint16 if is_code else np.float32), valid | seen, None
    masked = seen & ~valid if seen.any() else None
    if not is_code:
        data = np.empty(valid.shape, np.float32)
        for place, (number, _) in zip(data, parts, strict=True):
            # Band by band: in double precision all of them would be the most that a window holds.
            place[:] = number * np.float64(quantity.scale) + quantity.offset
        return data, valid, masked
    if quantity.flags_of:
        return np.stack([number for number, _ in parts]), valid, masked
    # A class that the legend lacks is out of range.
    return np.stack([values_of(quantity, quantity.dtype, *part).data for part in parts]), valid, masked
