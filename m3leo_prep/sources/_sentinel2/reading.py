"""Pixels of one image around a target: reflectance without clouds, and the rasters beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError, NoData
from m3leo_prep.core.raster import Absent, Item, Raster
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources._native import Window
from m3leo_prep.sources._sentinel2.baselines import HIGHEST, NODATA, Radiometry
from m3leo_prep.sources._sentinel2.choice import BESIDE, MASKED, REFLECTANCE, SCL, Choice
from m3leo_prep.sources._sentinel2.clouds import LEGEND, UNSEEN, reach, widened
from m3leo_prep.sources._sentinel2.radiometry import address, radiometry_of
from m3leo_prep.sources.remote.rasters import RemoteRaster, open_many, open_remote, read_many

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from m3leo_prep.sources.remote.access import Access

KERNEL = 6
"""Pixels of a coarse band beyond those that are interpolated: the reach of ``ops.warp`` and its margin."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Pixels of one file that a result needs."""

    file: str
    raster: RemoteRaster
    window: Window

    @property
    def key(self) -> tuple[str, Window]:
        """What its pixels are kept under."""
        return self.file, self.window


_Pixels = Mapping[tuple[str, Window], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One raster of the result: where it lies, and what it is made of."""

    variable: str
    place: GeoBox
    window: Window
    """On the grid of its finest file."""
    pitch: float
    parts: tuple[_Part, ...]
    mask: _Part | None
    """Of the cloud rule, which reaches ``dilate`` metres further, or of no data."""


def read_image(item: Item, choice: Choice, access: Access, geobox: GeoBox) -> Iterator[Raster | Absent]:
    """Yield what an image has around ``geobox``: for each variable its pixels, or that it has none.

    All files that are needed are opened, and then read, at once.

    Raises:
        CorruptError: a file is damaged, or its metadata do not fit together.
        TransientError, CredentialsError: from reading.
    """
    opened = _open(item, choice.files, access)
    wanted: list[_Wanted] = []
    for variable in choice.variables:
        files = _files(choice, variable)
        missing = tuple(band for band, file in files.items() if file not in opened)
        mask = choice.mask_of(variable)
        if mask and mask not in opened:
            missing = tuple(files)  # clouds that nobody can tell are not taken for ground
        if missing:
            yield Absent(item, variable, missing, Reason.BAND_NOT_IN_PRODUCT)
        there = {file: opened[file] for band, file in files.items() if band not in missing}
        if there:
            wanted += _places(item, variable, there, opened.get(mask), choice, geobox)
    # Of a product that is not there at all the metadata cannot be read either: that is no band that it lacks.
    is_listed = any(address(item, file, access) for file in choice.files)
    radiometry = radiometry_of(item, choice.level, access) if wanted or (is_listed and not opened) else None
    parts = {part.key: part for one in wanted for part in (*one.parts, *([one.mask] if one.mask else []))}
    read = read_many([(part.raster, 1, part.window) for part in parts.values()])
    pixels = dict(zip(parts, read, strict=True))
    for one in wanted:
        assert radiometry is not None
        raster = _made(item, one, choice, radiometry, pixels)
        if raster.observed.any():
            yield raster


def _files(choice: Choice, variable: str) -> dict[str, str]:
    """Return band -> file of a variable."""
    if variable != REFLECTANCE:
        return {variable: BESIDE[variable]}
    return {band.name: band.code for band in choice.bands}


def _open(item: Item, files: Sequence[str], access: Access) -> dict[str, RemoteRaster]:
    """Return the files that an image has, opened; those that are not there are left out."""
    where = {file: address(item, file, access) for file in files}
    there = {file: place for file, place in where.items() if place}
    try:
        return dict(zip(there, open_many([(place, access) for place in there.values()]), strict=True))
    except NoData:
        pass  # one that is listed is not there: find out which
    found = {}
    for file, place in there.items():
        with suppress(NoData):
            found[file] = open_remote(place, access)
    return found


def _places(
    item: Item,
    variable: str,
    files: dict[str, RemoteRaster],
    mask: RemoteRaster | None,
    choice: Choice,
    geobox: GeoBox,
) -> Iterator[_Wanted]:
    """Yield what is to be read around ``geobox``, on the grid of the finest file."""
    from m3leo_prep.sources.local.outline import windows

    finest = min(files.values(), key=_pitch)
    pitch = _pitch(finest)
    every = [*files.values(), *([mask] if mask is not None else [])]
    for raster in every:
        _check_grid(item, finest, raster)
    step = lcm(*(max(1, round(_pitch(raster) / pitch)) for raster in every))
    assert finest.geobox is not None
    for asked, _ in windows(finest.geobox, geobox):
        window = _snapped(asked, step).within(Window(0, finest.shape[0], 0, finest.shape[1]))
        parts = []
        for file, raster in files.items():
            own = _scaled(window, pitch / _pitch(raster))
            more = KERNEL if choice.coarse == "bilinear" and raster.shape != finest.shape else 0
            parts.append(_Part(file, raster, _grown(own, more, raster)))
        hidden = None
        if mask is not None:
            own = _scaled(window, pitch / _pitch(mask))
            more = reach(_pitch(mask), choice.clouds.dilate) if variable in MASKED else 0
            hidden = _Part(choice.mask_of(variable), mask, _grown(own, more, mask))
        place = finest.geobox[window.row0 : window.row1, window.col0 : window.col1]
        yield _Wanted(variable, place, window, pitch, tuple(parts), hidden)


def _made(item: Item, one: _Wanted, choice: Choice, radiometry: Radiometry, pixels: _Pixels) -> Raster:
    """Return one raster of the result from the pixels of its files."""
    if one.variable != REFLECTANCE:
        return _beside(item, one, choice, radiometry, pixels)
    rows, cols = one.place.shape
    shape = (len(choice.bands), rows, cols)
    data, seen, saturated = np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, bool)
    parts = {part.file: part for part in one.parts}
    for k, band in enumerate(choice.bands):
        part = parts.get(band.code)
        if part is None:
            continue
        stored = pixels[part.key]
        values = (stored.astype(np.float32) + np.float32(radiometry.offset(band))) / np.float32(
            radiometry.quantification
        )
        there, full = stored != NODATA, stored > HIGHEST
        if choice.coarse == "bilinear" and part.raster.shape != _size(one):
            data[k], seen[k], saturated[k] = _interpolated(values, there, full, part, one)
        else:
            data[k], seen[k], saturated[k] = (_repeated(a, part, one) for a in (values, there, full))
    hidden, unseen = _hidden(one, choice, pixels)
    seen &= ~unseen
    masked = seen & (hidden | saturated)
    return Raster(data, seen & ~masked, one.place, item, one.variable, masked)


def _beside(item: Item, one: _Wanted, choice: Choice, radiometry: Radiometry, pixels: _Pixels) -> Raster:
    """Return a raster of one band that is no reflectance."""
    (part,) = one.parts
    stored = pixels[part.key]
    hidden, unseen = _hidden(one, choice, pixels)
    match one.variable:
        case "scl":
            strange = np.setdiff1d(stored, (UNSEEN, *(entry.code for entry in LEGEND)))
            if strange.size:
                found = ", ".join(map(str, strange[:5]))
                raise CorruptError(f"holds {found}, which are no classes (0 to 11)", where=f"{item.id}, file {SCL}")
            values, seen = stored, stored != UNSEEN
        case "aot":
            values, seen = stored.astype(np.float32) / np.float32(radiometry.aerosol), stored != NODATA
        case "wvp":
            values, seen = stored.astype(np.float32) / np.float32(radiometry.vapour), stored != NODATA
        case _:
            values, seen = stored.astype(np.float32), np.ones(stored.shape, bool)
    seen = (seen & ~unseen)[None]
    masked = seen & hidden
    return Raster(values[None], seen & ~masked, one.place, item, one.variable, masked if hidden.any() else None)


def _hidden(one: _Wanted, choice: Choice, pixels: _Pixels) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (y, x) of the result: discarded by the cloud rule; and no data by the scene classification."""
    shape = one.place.shape
    if one.mask is None:
        return np.zeros(shape, bool), np.zeros(shape, bool)
    codes, pitch = pixels[one.mask.key], _pitch(one.mask.raster)
    discarded = unseen = np.zeros(codes.shape, bool)
    if one.variable in MASKED:
        discarded = widened(choice.clouds.discards(codes), pitch, choice.clouds.dilate)
    if one.mask.file == SCL:
        unseen = codes == UNSEEN
    inner = _scaled(one.window, one.pitch / pitch)
    top, left = inner.row0 - one.mask.window.row0, inner.col0 - one.mask.window.col0
    crop = np.s_[top : top + inner.row1 - inner.row0, left : left + inner.col1 - inner.col0]
    ratio = round(one.pitch / pitch)
    if ratio > 1:
        # Of pixels coarser than the mask's: discarded if any part is, no data if all of it is.
        blocks = (shape[0], ratio, shape[1], ratio)
        some, every = discarded[crop].reshape(blocks).any(axis=(1, 3)), unseen[crop].reshape(blocks).all(axis=(1, 3))
        return np.asarray(some), np.asarray(every)
    return _fitted(discarded[crop], shape), _fitted(unseen[crop], shape)


def _repeated(values: NDArray[Any], part: _Part, one: _Wanted) -> NDArray[Any]:
    """Return a band on the finest grid: each pixel is repeated, nothing is computed."""
    own = _scaled(one.window, one.pitch / _pitch(part.raster))
    top, left = own.row0 - part.window.row0, own.col0 - part.window.col0
    return _fitted(values[top : top + own.row1 - own.row0, left : left + own.col1 - own.col0], one.place.shape)


def _fitted(values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    rows, cols = shape[0] // values.shape[0], shape[1] // values.shape[1]
    return values if rows == cols == 1 else np.repeat(np.repeat(values, rows, axis=0), cols, axis=1)


def _interpolated(
    values: NDArray[np.float32], there: NDArray[np.bool_], full: NDArray[np.bool_], part: _Part, one: _Wanted
) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return a coarse band on the finest grid by bilinear interpolation; a saturated pixel is not interpolated with."""
    from m3leo_prep.ops.warp import Method, warp

    w = part.window
    assert part.raster.geobox is not None
    source = part.raster.geobox[w.row0 : w.row1, w.col0 : w.col1]
    made, ok = warp(values[None], (there & ~full)[None], source, one.place, Method.bilinear)
    seen, saturated = _repeated(there, part, one), _repeated(full, part, one)
    return made[0], seen & (ok[0] | saturated), saturated | ~ok[0]


def _check_grid(item: Item, finest: RemoteRaster, raster: RemoteRaster) -> None:
    """Raise unless the files of an image lie on one grid, each pixel of one whole pixels of the other."""
    one, other = finest.geobox, raster.geobox
    if one is None or other is None:
        raise CorruptError(
            "does not say where its pixels lie", where=f"{item.id}, {(raster, finest)[one is None].address}"
        )
    ratio = other.transform.a / one.transform.a
    whole = ratio if ratio >= 1 else 1 / ratio
    corner = (one.transform.c, one.transform.f) == (other.transform.c, other.transform.f)
    covers = all(abs(a - b * ratio) < 1e-6 for a, b in zip(finest.shape, raster.shape, strict=True))
    if one.crs != other.crs or not corner or not covers or abs(whole - round(whole)) > 1e-9:
        raise CorruptError(
            f"{finest.address.rpartition('/')[2]} and {raster.address.rpartition('/')[2]} lie on different grids",
            where=item.id,
        )


def _pitch(raster: RemoteRaster) -> float:
    assert raster.geobox is not None
    return float(raster.geobox.transform.a)


def _size(one: _Wanted) -> tuple[int, int]:
    return min((part.raster for part in one.parts), key=_pitch).shape


def _snapped(window: Window, step: int) -> Window:
    """Return the window grown to whole multiples of ``step``."""
    return Window(
        window.row0 // step * step,
        -(-window.row1 // step) * step,
        window.col0 // step * step,
        -(-window.col1 // step) * step,
    )


def _scaled(window: Window, factor: float) -> Window:
    """Return a window on a grid with ``factor`` pixels for each of its own; whole by how it was snapped."""
    rows, cols = (window.row0, window.row1), (window.col0, window.col1)
    return Window(*(round(edge * factor) for edge in (*rows, *cols)))


def _grown(window: Window, more: int, raster: RemoteRaster) -> Window:
    grown = Window(window.row0 - more, window.row1 + more, window.col0 - more, window.col1 + more)
    return grown.within(Window(0, raster.shape[0], 0, raster.shape[1]))
