"""A user's own image, computed on the lattice; and what is checked of it, and of any collection, before a long run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.layer import Statistic
from m3leo_prep.core.raster import Item, Raster, Slot
from m3leo_prep.core.text import near
from m3leo_prep.sources.gee.choice import Choice, Kernel
from m3leo_prep.sources.gee.reading.composite import plain_stacks, plain_values, received
from m3leo_prep.sources.gee.reading.conversion import CODES
from m3leo_prep.sources.gee.reading.pixels import fetch
from m3leo_prep.sources.gee.reading.requests import finer
from m3leo_prep.sources.gee.reading.stacks import Stack, reduced, within
from m3leo_prep.sources.gee.scripts import call, name_of
from m3leo_prep.sources.gee.service.session import session

if TYPE_CHECKING:
    import ee
    from odc.geo.geobox import GeoBox

COMPOSITE_M = 100_000.0
"""Pixels above this are those of a composite: WGS 84, 1 degree, whatever it was made of; ``resample()`` would mix
those (https://developers.google.com/earth-engine/apidocs/ee-image-resample)."""
MOST_RAW = 1000
"""Images up to which a median of a collection is exact
(https://developers.google.com/earth-engine/apidocs/ee-reducer-median)."""


def find(choice: Choice, slots: Sequence[Slot]) -> Iterator[Item]:
    """Yield an item for each slot in which the script has something, after asking once which bands there are.

    Its version is the SHA-256 of what is sent: an edit of the script, or of what it imports, is built again.

    Raises:
        ConfigError, SourceError: see ``scripts.call``; a band is not there, or holds numbers of another kind.
    """
    import ee

    name = name_of(choice.script)
    given = [call(choice.script, choice.code, slot) for slot in slots]
    asked = ee.List([_about(one, choice.kernel) for one, _ in given])
    try:
        answers = session().run(partial(ee.data.computeValue, asked), what=f"bands of {name}")
    except ConfigError as error:
        if not slots[0].is_static:
            raise
        hint = f"{error.hint}; without `slots:` a function of two days is called with None twice"
        raise ConfigError(error.message, where=error.where, hint=hint) from None
    if any(len(answer) > 1 and answer[1] > COMPOSITE_M for answer in answers):
        raise ConfigError(
            f"it returns a composite, which cannot be resampled by `kernel: {choice.kernel}` any more",
            where=name,
            hint="return the ee.ImageCollection and let `statistic:` composite it; or resample() each image in the "
            "script and say `kernel: nearest`",
        )
    types = [answer[0] for answer in answers]
    if not any(types):
        raise ConfigError("it gives no image at all: its collection is empty", where=name, hint=_dates(slots))
    for slot, (_, version), there in zip(slots, given, types, strict=True):
        if there:
            check_bands(choice, there, f"{name}, slot {slot.label}")
            # Everywhere: an item that is frozen in a plan must reach chips that the area grows by.
            footprint = shapely.box(*choice.row.domain)
            yield Item(f"{name}/{slot.label}", footprint, version, slot.start)


def read(choice: Choice, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterator[Raster]:
    """Yield each variable of the script's image, on the window's lattice or on one that divides its pixels.

    Raises:
        ConfigError: the script gives another image than it gave when the build was planned.
        TooLarge, TriedOut, QuotaReached ...: see ``pixels.fetch``.
    """
    (item,) = items
    given, version = call(choice.script, choice.code, slot)
    if version != item.version:
        raise ConfigError(
            "the script gives another image than when the build was planned",
            where=item.id,
            hint="run the same `build` again with `--refresh`; a script must give the same each time: no `today()`",
        )
    stacks = plain_stacks(choice, ())
    bands = [band for stack in stacks for band in stack.bands]
    lattice = finer(geobox, choice.row.pitch)
    pixels = fetch(computed(given, stacks), bands, lattice, what=item.id)
    sent = received(pixels, lattice)
    for quantity in choice.quantities:
        data, valid, masked = plain_values(choice, quantity, sent)
        yield Raster(data, valid, lattice, item, quantity.variable.name, masked)


def computed(given: Any, stacks: Sequence[Stack]) -> ee.Image:
    """Return the image that is sent: each quantity's bands, of a collection by the statistic, in its type."""
    import ee

    parts = []
    for stack in stacks:
        is_image = isinstance(given, ee.Image)
        part = stack.look(given) if is_image else _reduced(given.map(stack.look), stack.statistic)
        parts.append(within(part, stack.bands).rename([band.name for band in stack.bands]))
    image: ee.Image = ee.Image.cat(parts)
    return image


def _reduced(collection: ee.ImageCollection, statistic: Statistic) -> ee.Image:
    """Return one image of a collection whose size is not known, and whose order is the script's."""
    import ee

    if statistic == "first":
        return collection.reduce(ee.Reducer.firstNonNull())
    return reduced(collection, statistic, MOST_RAW)


def check_collection(choice: Choice, image: str) -> None:
    """Raise ConfigError if an image of a user's collection lacks a band, or has one of another kind; one request."""
    import ee

    types = session().run(partial(ee.data.computeValue, ee.Image(image).bandTypes()), what=f"bands of {image}")
    check_bands(choice, types, image)


def check_bands(choice: Choice, types: Mapping[str, Mapping[str, Any]], where: str) -> None:
    """Raise ConfigError if a band is not there, or if one of classes or bits holds fractions or too large numbers.

    Args:
        choice: what the layer asks for.
        types: name of each band that there is -> Earth Engine's ``PixelType``.
        where: for messages.
    """
    for quantity in choice.quantities:
        for name in filter(None, quantity.names):
            if name not in types:
                hint = near(name, types)
                every = f"it has: {', '.join(types)}"
                raise ConfigError(
                    f"there is no band '{name}'", where=where, hint=f"{hint} {every}" if "did" in hint else every
                )
            if quantity.variable.kind in CODES:
                _check_codes(quantity.variable.name, quantity.dtype, name, types[name], where)


def _check_codes(variable: str, dtype: str, band: str, kind: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError unless codes are whole numbers that fit the type they are said to have."""
    if kind.get("precision") != "int":
        raise ConfigError(
            f"'{variable}' is of codes, but band '{band}' is {kind.get('precision', 'of an unknown type')}",
            where=where,
            hint="make it whole numbers: `.toByte()` or `.toInt16()`; or give the variable another `kind:`",
        )
    given = np.dtype(dtype)
    if given.kind in "iu":
        low, high = np.iinfo(given).min, np.iinfo(given).max
        least, most = kind.get("min", low), kind.get("max", high)
        if least < low or most > high:
            raise ConfigError(
                f"'{variable}' is said to be {dtype}, but band '{band}' holds {least:g} to {most:g}",
                where=where,
                hint="give it the type that it needs, or convert it in the script: `.toByte()`",
            )


def _about(given: Any, kernel: Kernel) -> list[Any]:
    """Return what is asked of an image: types by band; its pixel in metres too where it is to be resampled.

    A collection's mosaic has the types of its images, and no bands if there are none.
    """
    import ee

    if isinstance(given, ee.ImageCollection):
        return [given.mosaic().bandTypes()]
    types = given.bandTypes()
    return [types] if kernel == "nearest" else [types, given.select([0]).projection().nominalScale()]


def _dates(slots: Sequence[Slot]) -> str:
    first: datetime | None = slots[0].start
    return "check its filters" if first is None else f"check its filters, and that it has images from {first.date()} on"
