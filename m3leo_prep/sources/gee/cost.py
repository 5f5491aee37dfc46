"""What reading takes: requests and bytes as the reading code asks for them, and compute time as far as it was tried."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
import shapely

from m3leo_prep.core.errors import ConfigError, TriedOut
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.core.zones import unproject
from m3leo_prep.ports.cost import Cost
from m3leo_prep.ports.source import READ_MARGIN
from m3leo_prep.sources.gee.choice import Choice, Quantity
from m3leo_prep.sources.gee.reading.requests import Band, carrier, finer, pieces
from m3leo_prep.sources.gee.service.limiter import CAP, RATE

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

LEAST_SECONDS = 4.0
"""A request takes at least, assumed. Nobody has published it; ``make live-gee`` measures it."""
MOST_SECONDS = 10.0
"""10 MB of a request take at most, assumed."""
MOST_OF = 10e6
ALLOWANCES = {"eecu_hours": {"Community": 150.0, "Contributor": 1000.0, "Partner": 100_000.0}}
"""Of a project that is not commercial, a month:
https://developers.google.com/earth-engine/guides/noncommercial_tiers."""
NOTE = (
    f"time: {CAP} requests at once, each {LEAST_SECONDS:g} s (least) to {MOST_SECONDS:g} s for every 10 MB (most); "
    "assumed, not measured"
)
ATTEMPTS = 5
"""To get a profile, which may come later than the pixels."""
PAUSE_SECONDS = 1.0
_DEGREES = 111_000.0
"""Metres of one."""


def estimate(choice: Choice, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:
    """Return what reading all windows in all slots takes; no request is made.

    A composite is asked for once for each window and slot, in pieces of at most 48 MiB, with the bands that its images
    have. Images in their own pixels are asked for one by one; their grids are known only when they are read, so that
    those numbers are near ones. Requests that Earth Engine finds too much to compute, and that are halved, come on top.

    Args:
        choice: what the layer asks for.
        windows: on the layer's lattice.
        slots: those that are read.
        items: those that may reach the windows.

    Returns:
        Requests, bytes (without masks, which are not sent), and seconds; what is charged is not known.
    """
    asked = _native if choice.mode == "native" else _on_lattice
    requests, n_bytes, most = 0, 0, 0.0
    for slot in slots:
        here = [item for item in items if slot.contains(item.datetime)]
        for window in windows if here else ():
            for size in asked(choice, here, window):
                requests += 1
                n_bytes += size
                most += max(LEAST_SECONDS, MOST_SECONDS * size / MOST_OF)
    least = max(LEAST_SECONDS * requests / CAP, requests / RATE)
    return Cost(requests, n_bytes, (least, max(least, most / CAP)), {}, ALLOWANCES, (NOTE,))


def measure(choice: Choice, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Cost:
    """Return what reading one window in one slot took: it is read, and thrown away.

    Returns:
        Requests that were answered, bytes as predicted, seconds, and ``eecu_hours``, without which Earth Engine gave no
        profile of some request.

    Raises:
        PrepError: from reading.
    """
    from m3leo_prep.sources.gee.profiles import watching
    from m3leo_prep.sources.gee.service.session import session

    session()
    begin = time.monotonic()
    with watching() as profiles:
        for _ in _reader(choice)(choice, items, geobox, slot):
            pass
    seconds = time.monotonic() - begin
    expected = estimate(choice, [geobox], [slot], items)
    # How many requests images in their own pixels take is only nearly known: fewer profiles are no missing ones.
    least = min(expected.requests, 1) if choice.mode == "native" else expected.requests
    known = _charged(profiles) if len(profiles) >= least else None
    units = {} if known is None else {"eecu_hours": known / 3600}
    return Cost(len(profiles) or expected.requests, expected.bytes, (seconds, seconds), units, ALLOWANCES)


def _reader(choice: Choice) -> Callable[..., Iterator[object]]:
    match choice.mode:
        case "native":
            from m3leo_prep.sources.gee.reading.native import read
        case "composite":
            from m3leo_prep.sources.gee.reading.composite import read
        case "computed":
            from m3leo_prep.sources.gee.custom import read
    return read


def _charged(profiles: Sequence[str]) -> float | None:
    """Return the EECU-seconds of some profiles; None if they cannot be had."""
    import ee

    from m3leo_prep.sources.gee.profiles import eecu_seconds
    from m3leo_prep.sources.gee.service.session import session

    if not profiles:
        return 0.0
    # As the client does in ``ee.profilePrinting``: the function is there, but in no class.
    table = ee.ApiFunction.lookup("Profile.getProfiles").call(ids=list(profiles))
    for attempt in range(ATTEMPTS):
        try:
            return eecu_seconds(session().run(partial(ee.data.computeValue, table), what="profiles of what was read"))
        except (ConfigError, TriedOut):
            time.sleep(PAUSE_SECONDS * 2**attempt)
    return None


# -- what is asked for ---------------------------------------------------------------------------------------------


def _on_lattice(choice: Choice, items: Sequence[Item], window: GeoBox) -> list[int]:
    """Return the bytes of each request for a window whose pixels Earth Engine makes."""
    lattice = finer(window, choice.row.pitch)
    return list(_sizes(_bands(choice, items), (lattice.shape[0], lattice.shape[1])))


def _bands(choice: Choice, items: Sequence[Item]) -> tuple[Band, ...]:
    """Return the bands that are sent of a window: those that some image has."""
    from m3leo_prep.sources.gee.reading.composite import plain_stacks

    if choice.mode == "computed":
        return tuple(band for stack in plain_stacks(choice, ()) for band in stack.bands)
    match choice.row.family:
        case "radar":
            from m3leo_prep.sources.gee.reading.radar import stacks
        case "optical":
            from m3leo_prep.sources.gee.reading.optical import stacks
        case "plain":
            stacks = plain_stacks
    return tuple(band for stack in stacks(choice, items) if stack.items for band in stack.bands)


@lru_cache(maxsize=4096)
def _sizes(bands: tuple[Band, ...], shape: tuple[int, int]) -> tuple[int, ...]:
    """Return the bytes of each piece of a window of a shape, wherever it lies."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    sizes = []
    for piece in pieces(GeoBox(shape, Affine.identity(), None), bands):
        rows, cols = piece.shape
        sizes.append(rows * cols * sum(np.dtype(band.dtype).itemsize for band in bands[piece.band0 : piece.band1]))
    return tuple(sizes)


def _native(choice: Choice, items: Sequence[Item], window: GeoBox) -> list[int]:
    """Return the bytes of each request for what images hold of a window, at the product's finest pixels."""
    there = _on_ground(window)
    sizes: list[int] = []
    for item in items:
        part = item.footprint.intersection(there)
        if part.is_empty:
            continue
        # Of the window, only what the image holds is asked for.
        west, south, east, north = part.bounds
        # Pixels of a grid in degrees are narrower than high.
        narrow = 1.0 if item.properties.get("crs") == "EPSG:4326" else math.cos(math.radians((south + north) / 2))
        sides = ((north - south) * _DEGREES, (east - west) * _DEGREES * narrow)
        rows, cols = (math.ceil(side / choice.row.pitch) + 2 * READ_MARGIN for side in sides)
        sizes += _sizes(_native_bands(choice, item), (rows, cols))
    return sizes


def _native_bands(choice: Choice, item: Item) -> tuple[Band, ...]:
    """Return the bands that an image is asked for; what only the image tells, the product's table does here."""
    users: dict[str, Quantity] = {}
    for quantity in choice.quantities:
        for name, band in zip(quantity.names, quantity.variable.bands, strict=True):
            own = not choice.orbits or str(item.properties.get("orbit_direction", "")).startswith(
                band.rpartition("_")[2]
            )
            if name and own:
                users.setdefault(name, quantity)
    bands = {
        name: carrier(name, quantity.dtype, quantity.valid_range, quantity.flags, quantity.nodata)
        for name, quantity in users.items()
    }
    rules = {"scl": ("SCL", "uint8", (0.0,)), "qa60": ("QA60", "uint16", ()), "cloud_score": ("cs_cdf", "float32", ())}
    if choice.cloud in rules:
        name, dtype, nodata = rules[choice.cloud]
        bands.setdefault(name, carrier(name, dtype, nodata=nodata))
    return tuple(bands.values())


def _on_ground(window: GeoBox) -> BaseGeometry:
    """Return the lon/lat box of a window in a UTM zone; one across the antimeridian as both of its sides."""
    rows, cols = window.shape
    crs = window.crs
    assert crs is not None
    assert crs.epsg is not None
    corners = [window.transform * at for at in ((0, 0), (cols, 0), (cols, rows), (0, rows))]
    x, y = np.array(corners).T
    lon, lat = unproject(crs.epsg, x, y)
    lon = (lon + 180) % 360 - 180  # of a zone at the antimeridian they go on beyond it
    if np.ptp(lon) <= 180:
        sides = [(lon.min(), lon.max())]
    else:
        sides = [(lon[lon > 0].min(), 180.0), (-180.0, lon[lon < 0].max())]
    whole: BaseGeometry = shapely.union_all([shapely.box(west, lat.min(), east, lat.max()) for west, east in sides])
    return whole
