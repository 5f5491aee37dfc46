"""From granules to rasters: nodata first, then frames fitted, corrections subtracted, units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.core.raster import Absent, Item, Raster, Variable
from m3leo_prep.core.reasons import Reason
from m3leo_prep.ports.heights import Heights
from m3leo_prep.sources._native import NativeGrid, Window
from m3leo_prep.sources.asf.gunw.file import GunwFile, open_gunw
from m3leo_prep.sources.asf.gunw.variables import (
    COMPONENTS,
    DISPLACEMENT,
    GEOMETRY,
    LOS,
    METRES_PER_RADIAN,
    PHASE,
    STORED,
)

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from m3leo_prep.sources.asf.gunw.frames import Fit

PHASES = (PHASE, DISPLACEMENT)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a layer asks of its granules."""

    variables: tuple[Variable, ...]
    corrections: tuple[str, ...]


def read(
    wanted: Wanted, items: Sequence[Item], geobox: GeoBox, heights: Heights | None = None
) -> Iterator[Raster | Absent]:
    """Yield the pixels of granules around ``geobox``: on their own grid, and with ``heights`` the geometry on it.

    Frames of one pair are fitted to each other by an offset for each component, see ``frames``.

    Raises:
        CorruptError: a granule is damaged, or is no pair whose reference is the later date.
        SourceError: it cannot be downloaded.
    """
    opened: list[tuple[Item, GunwFile]] = []
    for item in items:
        with _fetched_again([item]):
            opened.append((item, _opened(item)))
    # All frames that were chosen decide how one fits, whichever of them this window reaches.
    with _fetched_again(items):
        is_fitted = any(variable.name in (*PHASES, COMPONENTS) for variable in wanted.variables)
        fits = _fits(opened, wanted) if is_fitted else {}
    for item, file in opened:
        with _fetched_again([item]):
            yield from _absent(wanted, item, file)
            yield from _present(wanted, item, file, geobox, heights, fits.get(item.id))


def _opened(item: Item) -> GunwFile:
    from m3leo_prep.sources.asf.service.granules import granule

    about = item.properties
    try:
        path = granule(str(about["url"]), size=int(about["size"]), checksum=str(about["checksum"]), kind="netcdf")
    except CorruptError as error:  # told by the name of the file
        raise CorruptError(error.message, where=item.id, hint=error.hint) from error
    return open_gunw(path)


@contextmanager
def _fetched_again(items: Sequence[Item]) -> Iterator[None]:
    """Let damaged granules be downloaded once more by whoever asks next: once, since what lies there may be damaged."""
    from m3leo_prep.sources.asf.service.granules import forget

    try:
        yield
    except CorruptError as error:
        # Heights may be damaged too, which is no granule's fault.
        for url in {str(item.properties["url"]) for item in items if item.id == error.where} - _FORGOTTEN:
            _FORGOTTEN.add(url)
            forget(url)
        raise


_FORGOTTEN: set[str] = set()


def _around(file: GunwFile, geobox: GeoBox) -> Window | None:
    """Return the pixels of a granule that cover ``geobox`` and its margin; None if there are none."""
    grid, (rows, cols) = _grid(file), file.geobox.shape
    # Longitudes of a granule across the antimeridian go on beyond 180.
    middle = grid.x0 + grid.pitch * cols / 2
    window = grid.window(geobox, about=middle).within(Window(0, rows, 0, cols))
    return None if window.is_empty else window


def _grid(file: GunwFile) -> NativeGrid:
    affine = file.geobox.transform
    return NativeGrid("EPSG:4326", affine.a, affine.c, affine.f)


def _fits(opened: Sequence[tuple[Item, GunwFile]], wanted: Wanted) -> Mapping[str, Fit]:
    """Return by item how its frame fits the others of its pair; a frame that is alone needs none."""
    from m3leo_prep.sources.asf.gunw.corrections import lacking
    from m3leo_prep.sources.asf.gunw.frames import fitted

    pairs: dict[str, list[tuple[Item, GunwFile]]] = {}
    for item, file in opened:
        pairs.setdefault(item.acquisition, []).append((item, file))
    fits: dict[str, Fit] = {}
    for pair in pairs.values():
        # What lacks a correction gives no phase: it must not decide how the others fit.
        files = {item.id: file for item, file in pair if not lacking(file, wanted.corrections)}
        if len(files) > 1:
            found = fitted(list(files.values()), without_ionosphere="ionosphere" in wanted.corrections)
            fits |= dict(zip(files, found, strict=True))
    return fits


def _absent(wanted: Wanted, item: Item, file: GunwFile) -> Iterator[Absent]:
    """Yield what a granule does not hold, here or anywhere."""
    from m3leo_prep.sources.asf.gunw.corrections import lacking

    for variable in wanted.variables:
        name = variable.name
        # Phase without what the layer says was subtracted would be silently another quantity.
        lacks = lacking(file, wanted.corrections) if name in PHASES else name in STORED and not file.has(STORED[name])
        if lacks:
            yield Absent(item, name, variable.bands, Reason.LAYER_NOT_IN_VERSION)


def _present(
    wanted: Wanted, item: Item, file: GunwFile, geobox: GeoBox, heights: Heights | None, fit: Fit | None
) -> Iterator[Raster]:
    window = _around(file, geobox)
    if window is None:
        return
    for variable in wanted.variables:
        if variable.name in GEOMETRY and heights is not None:
            yield _geometry(variable, item, file, geobox, heights)
    rows, cols = slice(window.row0, window.row1), slice(window.col0, window.col1)
    stored = file.window(STORED[COMPONENTS], rows, cols)
    # -1 is where there is no interferogram (its amplitude is 0): isce_functions.get_conncomp of isce2_topsapp.
    seen = np.isfinite(stored) & (stored >= 0)
    if not seen.any():
        return
    where = _grid(file).geobox(window)
    labels = np.where(seen, np.rint(stored), -1).astype(np.int32)
    for variable in wanted.variables:
        name = variable.name
        if name in PHASES:
            phase, numbers, valid = _phase(file, rows, cols, seen, labels, fit)
            corrected = _corrected(wanted, file, where, heights, phase, valid)
            if corrected is None:
                continue
            values, valid = corrected
            # What fits to no other frame counts as never observed: the chip is partial, and says so.
            masked = seen & (numbers >= 0) & ~valid
            yield Raster(values[None], valid[None], where, item, name, masked=masked, components=numbers)
        elif name == COMPONENTS:
            numbers = labels if fit is None else fit.apply(np.zeros(labels.shape, np.float32), labels)[1]
            yield Raster(numbers[None], numbers[None] >= 0, where, item, name)
        elif name in STORED and file.has(STORED[name]):
            values = file.window(STORED[name], rows, cols)
            valid = seen & np.isfinite(values) & (values != 0)
            yield Raster(values[None], valid[None], where, item, name, masked=seen & ~valid)


def _phase(
    file: GunwFile, rows: slice, cols: slice, seen: NDArray[np.bool_], labels: NDArray[np.int32], fit: Fit | None
) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.bool_]]:
    """Return phase in radians, component and validity, (y, x), as fitted to the pair's other frames."""
    phase = file.window(STORED[PHASE], rows, cols)
    # Exactly 0 is the fill value that the file declares, and what the unwrapper leaves where the interferogram is 0.
    valid = seen & np.isfinite(phase) & (phase != 0)
    if fit is None:
        return phase, labels, valid
    phase, labels, fits = fit.apply(phase, labels)
    return phase, labels, valid & fits


def _corrected(
    wanted: Wanted,
    file: GunwFile,
    where: GeoBox,
    heights: Heights | None,
    phase: NDArray[Any],
    valid: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """Return phase, (y, x) rad or metres, with its corrections subtracted; None where those or heights are lacking."""
    if wanted.corrections:
        from m3leo_prep.sources.asf.gunw.corrections import CUBES, lacking, subtracted

        if lacking(file, wanted.corrections) or (heights is None and any(name in CUBES for name in wanted.corrections)):
            return None
        delay, known = subtracted(file, wanted.corrections, where, heights)
        phase, valid = phase - delay, valid & known
    if any(variable.name == DISPLACEMENT for variable in wanted.variables):
        phase = phase * np.float64(METRES_PER_RADIAN)
    return np.where(valid, phase, 0).astype(np.float32), valid


def _geometry(variable: Variable, item: Item, file: GunwFile, geobox: GeoBox, heights: Heights) -> Raster:
    """Return geometry on ``geobox`` itself, inside the granule's grid: its nodes reach beyond, its pixels do not."""
    from m3leo_prep.sources.asf.gunw.geometry import incidence, los, places

    if variable.name == LOS:
        values, known = los(file, geobox, heights)
    else:
        angle, known = incidence(file, geobox, heights)
        values = angle[None]
    box = file.geobox.boundingbox
    lat, lon = places(file, geobox, np.array([box.left, box.right]))
    inside = known & (lat <= box.top) & (lat >= box.bottom) & (lon >= box.left) & (lon <= box.right)
    return Raster(values, np.broadcast_to(inside, values.shape), geobox, item, variable.name)
