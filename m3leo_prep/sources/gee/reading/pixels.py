"""Pixels of an image on a lattice: prepared on Earth Engine's side, sent in pieces, put together here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import TooLarge, TriedOut
from m3leo_prep.sources.gee.reading.decode import Places, decode
from m3leo_prep.sources.gee.reading.requests import Band, Request, pieces
from m3leo_prep.sources.gee.service.session import Session, session

if TYPE_CHECKING:
    import ee
    from odc.geo.geobox import GeoBox

WORKLOAD_TAG = "m3leo-prep"
"""By which a project's owner finds what we used: https://developers.google.com/earth-engine/guides/computation_usage."""
_CASTS = {"uint8": "toUint8", "uint16": "toUint16", "int16": "toInt16", "int32": "toInt32", "float32": "toFloat"}


@dataclass(frozen=True, slots=True)
class Pixels:
    """All bands of a window, as they came: masked pixels hold their band's ``missing``."""

    bands: tuple[Band, ...]
    arrays: Mapping[str, NDArray[Any]]
    """By dtype, the bands of that type in order: (band, y, x)."""

    @classmethod
    def empty(cls, bands: Sequence[Band], shape: tuple[int, int]) -> Pixels:
        """Return room for bands of ``shape`` (rows, columns)."""
        kinds = [band.dtype for band in bands]
        return cls(tuple(bands), {kind: np.empty((kinds.count(kind), *shape), kind) for kind in dict.fromkeys(kinds)})

    def places(self, piece: Request) -> Places:
        """Return where the bands of a piece lie, in order: views to write to, in one array if all are of one type."""
        bands, rows, cols = piece.window
        if len(self.arrays) == 1:
            (array,) = self.arrays.values()
            return array[bands, rows, cols]
        taken = dict.fromkeys(self.arrays, 0)
        found = []
        for band in self.bands:
            found.append(self.arrays[band.dtype][taken[band.dtype], rows, cols])
            taken[band.dtype] += 1
        return found[bands]

    def stack(self, names: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return values and valid of some bands of one dtype, both (band, y, x), in the order of ``names``.

        Valid is what Earth Engine did not mask, without NaN and infinity. Values are a view where the bands came in
        this order.
        """
        index = {band.name: k for k, band in enumerate(self.bands)}
        wanted = [self.bands[index[name]] for name in names]
        (dtype,) = {band.dtype for band in wanted}
        alike = [band.name for band in self.bands if band.dtype == dtype]
        first = alike.index(names[0])
        if alike[first : first + len(names)] == list(names):
            values = self.arrays[dtype][first : first + len(names)]
        else:
            values = self.arrays[dtype][[alike.index(name) for name in names]]
        missing = np.array([band.missing for band in wanted], dtype)
        valid = values != missing[:, None, None]
        if values.dtype.kind == "f":
            valid &= np.isfinite(values)
        return values, valid


def fetch(image: ee.Image, bands: Sequence[Band], geobox: GeoBox, *, what: str) -> Pixels:
    """Return some bands of an image on a lattice.

    Requests that are refused as too much to compute are halved, in space and then by bands, and never sent again as
    they were: a pixel depends on its place alone, so that the pieces are the whole, bit for bit. All pieces are written
    straight into one array per dtype; beside it, there are only the pieces under way.

    Args:
        image: any image that has ``bands``; what it masks comes as a band's ``missing``.
        bands: names, and the types they are cast to on the server.
        geobox: the lattice: nothing else is resampled than what the image says of itself.
        what: what is read, for messages: ``layer s2, slot 2020-05``.

    Raises:
        TriedOut: even the smallest piece is too much, or the service is away.
        ConfigError, CredentialsError, QuotaReached: see ``Session.run``.
    """
    pixels = Pixels.empty(bands, (geobox.shape[0], geobox.shape[1]))
    ready = prepared(image, bands)
    service = session()
    todo = pieces(geobox, bands)
    while todo:
        asked = [partial(_ask, service, ready, pixels, geobox, piece, what) for piece in todo]
        todo = [half for halves in service.map(asked) for half in halves]
    return pixels


def prepared(image: ee.Image, bands: Sequence[Band]) -> ee.Image:
    """Return the image as it travels: the bands in order, masked pixels as numbers, each band in its type.

    NPY has no mask, and a masked pixel would come as 0; hence ``unmask(missing, False)``, where False keeps it from
    being cut to the image's outline (https://developers.google.com/earth-engine/apidocs/ee-image-unmask). The cast
    comes last, since unmasking widens a type to that of the number.
    """
    import ee

    alike: dict[tuple[str, float], list[str]] = {}
    for band in bands:
        alike.setdefault((band.dtype, band.missing), []).append(band.name)
    parts: list[ee.Image] = [
        getattr(image.select(names).unmask(missing, sameFootprint=False), _CASTS[dtype])()
        for (dtype, missing), names in alike.items()
    ]
    together: ee.Image = ee.Image.cat(*parts)
    return parts[0] if len(parts) == 1 else together.select([band.name for band in bands])


def _ask(
    service: Session,
    image: ee.Image,
    pixels: Pixels,
    geobox: GeoBox,
    piece: Request,
    what: str,
) -> tuple[Request, ...]:
    """Put one piece in its place, or return its halves if it was too much to compute."""
    import ee

    from m3leo_prep.sources.gee.service.transport import read_by

    chosen = pixels.bands[piece.band0 : piece.band1]
    request = {
        "expression": image,
        "fileFormat": "NPY",
        "bandIds": [band.name for band in chosen],
        "grid": piece.grid(geobox),
        "workloadTag": WORKLOAD_TAG,
    }
    places = pixels.places(piece)

    def once() -> None:
        with read_by(lambda body: decode(body, chosen, places)):
            ee.data.computePixels(request)

    try:
        service.run(once, what=what)
    except TooLarge as error:
        halves = piece.halves()
        if halves is None:
            height, width = piece.shape
            raise TriedOut(
                f"even {width} x {height} px of one band are too much for one request: {error.message}",
                hint="fewer images in a slot: shorter slots, `max_cloud:`, one of `orbits:`, `relative_orbits: best`",
                where=what,
            ) from error
        return halves
    return ()
