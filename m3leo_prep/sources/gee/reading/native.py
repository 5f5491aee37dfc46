"""Images in their own pixels: nothing is resampled on Earth Engine's side; warp and composite are ours.

A request on an image's own grid, at its own scale, is answered with its pixels as they are stored
(https://developers.google.com/earth-engine/guides/scale). Bands of coarser grids are asked for on the finest one, where
the nearest pixel is an exact replica.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item, Kind, Raster, Slot
from m3leo_prep.sources.gee.choice import Choice, Quantity
from m3leo_prep.sources.gee.reading.conversion import CODES, Values, values_of
from m3leo_prep.sources.gee.reading.grids import BandGrid, Grids, band_grids, finest, windows
from m3leo_prep.sources.gee.reading.pixels import Pixels, fetch
from m3leo_prep.sources.gee.reading.requests import Band, carrier
from m3leo_prep.sources.gee.service.session import Session, session

if TYPE_CHECKING:
    import ee
    from odc.geo.geobox import GeoBox

Bands = Mapping[str, BandGrid]
Mask = NDArray[np.bool_]
_SCL = "SCL"
_QA60 = "QA60"
_TEN_METRES = "B2"
"""A band of Sentinel-2 on the grid on which Cloud Score+ lies too."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Quantities that an image holds on one grid, which come with the same requests."""

    geobox: GeoBox
    quantities: tuple[Quantity, ...]
    bands: tuple[Band, ...]
    """As they are sent, those of the cloud rule among them."""


def read(choice: Choice, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterator[Raster]:  # noqa: ARG001  (all reads take it)
    """Yield the variables of each image, on the image's own grid, with the margin of the Source port.

    An image without data there, or without the bands of a variable, yields nothing.

    Raises:
        ConfigError: bands of one variable lie on grids that do not divide each other; or the image has none of them.
        TriedOut, QuotaReached ...: see ``pixels.fetch``.
    """
    for item in items:
        found: dict[str, list[Raster]] = {quantity.variable.name: [] for quantity in choice.quantities}
        where = f"{choice.row.name}, image {item.id}"
        grids = _known(session()).get((item.id, item.version), _asking(item, where))
        for part in _parts(choice, item, grids, where):
            for piece, place in windows(part.geobox, geobox):
                pixels = fetch(_load(choice, item), part.bands, piece, what=where)
                for raster in _rasters(choice, item, grids, part, pixels, place):
                    found[raster.variable].append(raster)
        for rasters in found.values():
            yield from rasters


_grids: WeakKeyDictionary[Session, Grids] = WeakKeyDictionary()
_lock = threading.Lock()


def _known(service: Session) -> Grids:
    """Return the grids that a session has asked for."""
    with _lock:
        return _grids.setdefault(service, Grids())


def _asking(item: Item, where: str) -> Callable[[], dict[str, BandGrid]]:
    """Return what asks for an image's grids."""

    def ask() -> dict[str, BandGrid]:
        import ee

        return band_grids(session().run(lambda: ee.data.getAsset(item.id), what=where), where)

    return ask


def _load(choice: Choice, item: Item) -> ee.Image:
    """Return the image of an item with all bands that decide what of it is used."""
    import ee

    from m3leo_prep.sources.gee.reading import optical, radar

    session()  # the client builds no expression before it knows the server's functions
    if choice.row.family == "radar":
        return radar.load(item)
    image: ee.Image = ee.Image(item.id)
    if choice.cloud == "cloud_score" and item.properties.get("has_score"):
        image = image.addBands(ee.Image(f"{optical.SCORES}/{item.id.rpartition('/')[2]}").select(optical.SCORE))
    return image


# -- what is asked for ---------------------------------------------------------------------------------------------


def _parts(choice: Choice, item: Item, grids: Bands, where: str) -> list[_Part]:
    """Return the quantities by the grid on which they are asked for; one without bands in this image is left out."""
    groups: dict[GeoBox, list[Quantity]] = {}
    for quantity in choice.quantities:
        names = [name for name in _names(choice, quantity, item, grids) if name]
        if not names:
            continue
        rule = _rule(choice, item, grids) if _is_masked(choice, quantity) else {}
        geobox = finest([*(grids[name] for name in names), *(grids[name] for name in rule.values())])
        if geobox is None:
            raise ConfigError(
                f"the bands {', '.join(names)} lie on grids that do not divide each other",
                where=where,
                hint="make a layer of each grid: `bands:` chooses",
            )
        groups.setdefault(geobox, []).append(quantity)
    if not groups and choice.row.family != "radar":
        wanted = ", ".join(dict.fromkeys(name for quantity in choice.quantities for name in quantity.names))
        raise ConfigError(f"it has no band {wanted}", where=where, hint=f"it has: {', '.join(grids)}")
    return [
        _Part(geobox, tuple(quantities), tuple(_sent(choice, quantities, item, grids)))
        for geobox, quantities in groups.items()
    ]


def _names(choice: Choice, quantity: Quantity, item: Item, grids: Bands) -> list[str]:
    """Return Earth Engine's band for each of a variable's, empty where this image has none.

    Bands of radar come in sets, one for each of ``orbits``; an image fills that of its direction.
    """
    names = [name if name in grids else "" for name in quantity.names]
    if not choice.orbits:
        return names
    size = len(names) // len(choice.orbits)
    own = item.properties.get("orbit_direction")
    return [name if choice.orbits[k // size] == own else "" for k, name in enumerate(names)]


def _is_masked(choice: Choice, quantity: Quantity) -> bool:
    """Return whether clouds are discarded of a quantity: not of codes, such as the scene classification itself."""
    return choice.cloud != "none" and quantity.variable.kind not in CODES


def _rule(choice: Choice, item: Item, grids: Bands) -> dict[str, str]:
    """Return the band of the cloud rule, and the one in whose grid it lies; nothing where the image has no rule."""
    from m3leo_prep.sources.gee.reading import optical

    if choice.cloud == "cloud_score":
        return {optical.SCORE: _TEN_METRES} if item.properties.get("has_score") else {}
    name = {"scl": _SCL, "qa60": _QA60}[choice.cloud]
    return {name: name} if name in grids else {}


def _sent(choice: Choice, quantities: Sequence[Quantity], item: Item, grids: Bands) -> Iterator[Band]:
    """Yield each band once, with a number for "masked" that none of its users takes for a value."""
    users: dict[str, list[Quantity]] = {}
    for quantity in quantities:
        for name in _names(choice, quantity, item, grids):
            if name:
                users.setdefault(name, []).append(quantity)
    rule = _rule(choice, item, grids) if any(_is_masked(choice, one) for one in quantities) else {}
    for name, own in users.items():
        kept = {flag for quantity in own for flag in quantity.flags}
        nodata = set.intersection(*(set(quantity.nodata) for quantity in own)) - kept
        yield carrier(name, grids[name].dtype, _legal(grids[name], own), kept, sorted(nodata))
    for name in rule.keys() - users.keys():
        # SCL says 0 where there are no data; scores are no whole numbers, and not in the image itself.
        dtype = grids[name].dtype if name in grids else "float32"
        yield carrier(name, dtype, nodata=(0.0,) if name == _SCL else ())


def _legal(grid: BandGrid, users: Iterable[Quantity]) -> tuple[float, float] | None:
    """Return the range of what may be a value: the asset's own, narrowed where all users say a range."""
    ranges = [quantity.valid_range for quantity in users if not quantity.flags_of]
    said = [limits for limits in ranges if limits is not None]
    if not said or len(said) < len(ranges):
        return grid.legal
    low, high = min(limits[0] for limits in said), max(limits[1] for limits in said)
    return (low, high) if grid.legal is None else (max(low, grid.legal[0]), min(high, grid.legal[1]))


# -- what came -----------------------------------------------------------------------------------------------------


def _rasters(choice: Choice, item: Item, grids: Bands, part: _Part, pixels: Pixels, place: GeoBox) -> Iterator[Raster]:
    """Yield the quantities of a part that have any pixel that was seen."""
    stacks = {one.variable.name: _stack(choice, one, item, grids, pixels) for one in part.quantities}
    clear, seen = _clear(choice, item, grids, pixels, (place.shape[0], place.shape[1]))
    for quantity in part.quantities:
        name = quantity.variable.name
        data, valid, flagged = stacks[name]
        if quantity.variable.kind is Kind.UNCERTAINTY:
            # The error of a pixel that has no value must not count in the error of a mean over those that have one.
            values = [q.variable.name for q in part.quantities if q.variable.kind not in {Kind.UNCERTAINTY, *CODES}]
            if len(values) == 1 and stacks[values[0]][1].shape == valid.shape:
                valid &= stacks[values[0]][1]
        masked = flagged if quantity.flags and not quantity.flags_of else None
        if _is_masked(choice, quantity):
            there = (valid | flagged).any(axis=0) & seen
            masked = (there & ~clear) | (flagged & seen)
            valid = valid & clear & seen
        if valid.any() or (masked is not None and masked.any()):
            yield Raster(data, valid, place, item, name, masked)


def _stack(
    choice: Choice, quantity: Quantity, item: Item, grids: Bands, pixels: Pixels
) -> tuple[NDArray[np.generic], Mask, Mask]:
    """Return values, valid and flagged, each (band, y, x); a band that the image lacks is all invalid."""
    names = _names(choice, quantity, item, grids)
    parts: list[Values | None] = []
    for name in names:
        numbers, there = pixels.stack([name]) if name else (None, None)
        if numbers is None or there is None:
            parts.append(None)
        else:
            parts.append(values_of(quantity, grids[name].dtype, numbers[0], there[0]))
    have = [part for part in parts if part is not None]
    shape = (len(names), *have[0].data.shape)
    data = np.zeros(shape, np.result_type(*(part.data.dtype for part in have)))
    valid, flagged = np.zeros(shape, bool), np.zeros(shape, bool)
    for k, part in enumerate(parts):
        if part is not None:
            data[k], valid[k], flagged[k] = part.data, part.valid, part.flagged
    return data, valid, flagged


def _clear(choice: Choice, item: Item, grids: Bands, pixels: Pixels, shape: tuple[int, int]) -> tuple[Mask, Mask]:
    """Return (y, x) where no cloud is by the layer's rule, and where the rule says that anything was seen.

    Where a rule says nothing, nobody knows that a pixel is clear: it was seen and is discarded.
    """
    from m3leo_prep.sources.gee.reading import optical

    everywhere = np.ones(shape, bool)
    names = list(_rule(choice, item, grids)) if choice.cloud != "none" else []
    if not names or names[0] not in {band.name for band in pixels.bands}:
        return (everywhere if choice.cloud == "none" else ~everywhere), everywhere
    (number,), (known,) = pixels.stack(names)
    match choice.cloud:
        case "scl":
            return known & ~np.isin(number, choice.cloud_classes), known & (number != 0)
        case "qa60":
            return known & (number & optical.CLOUD_BITS == 0), everywhere
        case _:
            return known & (number >= choice.clear_from), everywhere
