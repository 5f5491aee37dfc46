"""Files on servers as scenes of ``local``: the same conversion, masks and classes, pixels read in windows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, CorruptError
from m3leo_prep.core.raster import Item, Raster
from m3leo_prep.sources._native import Window, transformer
from m3leo_prep.sources.local.gdal import MASK as MASK_OF
from m3leo_prep.sources.local.grids import same_grid
from m3leo_prep.sources.local.header import BandHeader, Header, place
from m3leo_prep.sources.local.options import WHOLE
from m3leo_prep.sources.local.outline import LONLAT, windows
from m3leo_prep.sources.local.reading import Layout, rasters
from m3leo_prep.sources.remote.rasters import RemoteRaster, open_many, read_many

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from m3leo_prep.sources.remote.access import Access

MASK = "mask"
"""Role of the file that says what is discarded."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a catalogue says of a file's numbers; None = nothing."""

    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None


NOTHING = Declared()


def read_scene(
    layout: Layout,
    files: Mapping[str, str],
    declared: Mapping[str, Declared],
    access: Access,
    item: Item,
    geobox: GeoBox,
) -> Iterator[Raster]:
    """Yield the variables of a scene around ``geobox``, on its own grid; the bands of a window are fetched at once.

    Args:
        layout: what is made of the files.
        files: their addresses by role, as in ``local``: ``WHOLE``, names of bands, ``mask``.
        declared: by role, what the catalogue says of them.
        access: how they are opened.
        item: the scene.
        geobox: the target.

    Raises:
        CorruptError: a file is damaged, not where the catalogue says, or contradicts it.
        ConfigError: bands on several grids, no such band, or codes without a class.
        NoData, CredentialsError, TriedOut, RateLimited: from reading.
    """
    came = open_many([(address, access) for address in files.values()])
    opened = dict(zip(files, came, strict=True))
    asked = {(files[b.name], b.key) for one in layout.quantities for b in one.bands or () if b.name in files}
    heads = {
        # A band that is asked for holds data, whatever the file calls it: infrared is often marked as alpha.
        role: _header(raster, declared.get(role, NOTHING), item, masked=(raster.address, raster.mask) not in asked)
        for role, raster in opened.items()
    }
    heads = dict(sorted(heads.items(), key=lambda pair: pair[0] == MASK))  # the one that gives the grid first
    grid = next(iter(heads.values()))
    _check_place(grid, item)
    by_path = {raster.address: raster for raster in opened.values()}
    wanted = [pair for one in layout.quantities for pair in layout.bands(one, heads).values()]
    if layout.mask is not None:
        head = heads.get(MASK) or heads[WHOLE]
        wanted.append((head, head.band(layout.mask.band.key)))
    for head, band in wanted:
        if not same_grid(head.geobox, grid.geobox) and head is not heads.get(MASK):
            raise ConfigError(
                f"band {band.name or band.key} has pixels of {head.pitch:.6g} m, {grid.path} has {grid.pitch:.6g} m",
                where=head.path,
                hint="make a layer of the bands of each grid",
            )
    for window, where in windows(grid.geobox, geobox):
        read = _Fetched(by_path, {})
        read.fetch([pair for pair in wanted if same_grid(pair[0].geobox, grid.geobox)], window)
        yield from rasters(replace(layout, read=read), heads, item, window, where)


@dataclass(frozen=True, slots=True)
class _Fetched:
    """Pixels that were fetched together; others are fetched as they are asked for."""

    rasters: Mapping[str, RemoteRaster]
    known: dict[tuple[str, int, Window], NDArray[Any]]

    def fetch(self, bands: Sequence[tuple[Header, BandHeader]], window: Window) -> None:
        """Fetch a window of several bands and their masks, each once."""
        keys = list(dict.fromkeys((head.path, int(band.key)) for head, band in bands))
        keys += [(path, self._mask(path)) for path in dict.fromkeys(head.path for head, band in bands if band.has_mask)]
        stored = {head.path: _stored(head, window) for head, _ in bands}
        came = read_many([(self.rasters[path], key, stored[path]) for path, key in keys])
        self.known.update({(path, key, stored[path]): data for (path, key), data in zip(keys, came, strict=True)})

    def __call__(self, head: Header, key: int | str, window: Window, step: int) -> NDArray[Any]:
        """Return the pixels of a window on ``head.geobox`` as stored, (y, x)."""
        del step  # no file here has a time axis
        number = self._mask(head.path) if str(key).startswith(MASK_OF) else int(key)
        inside = _stored(head, window)
        data = self.known.get((head.path, number, inside))
        if data is None:
            data = self.rasters[head.path].read(inside, number)
        return data[:: -1 if head.flip_rows else 1, :: -1 if head.flip_cols else 1]

    def _mask(self, path: str) -> int:
        number = self.rasters[path].mask
        assert number is not None
        return number


def _stored(head: Header, window: Window) -> Window:
    """Return a window as the file counts rows and columns."""
    (rows, cols), w = head.geobox.shape, window
    r0, r1 = (rows - w.row1, rows - w.row0) if head.flip_rows else (w.row0, w.row1)
    c0, c1 = (cols - w.col1, cols - w.col0) if head.flip_cols else (w.col0, w.col1)
    return Window(r0, r1, c0, c1)


def _header(raster: RemoteRaster, declared: Declared, item: Item, *, masked: bool) -> Header:
    """Return a file's header as ``local`` has it, with what the catalogue says of the numbers.

    If it is ``masked``, its mask or alpha band says where there are data, and is no band of its own.

    Raises:
        CorruptError: it has no place on the Earth, or the catalogue contradicts it.
    """
    where = _where(item, raster)
    if raster.geobox is None:
        raise CorruptError("has no grid on a map", where=where, hint="files with ground control points are not read")
    try:
        grid = place(raster.address, raster.shape, raster.geobox.transform, str(raster.geobox.crs))
    except ConfigError as error:
        raise CorruptError(error.message, where=where, hint="tell who keeps the catalogue") from error
    bands = tuple(
        BandHeader(
            key=number,
            name=band.name,
            dtype=raster.dtype.name,
            nodata=_agreed("nodata", declared.nodata, raster.nodata, None, where),
            scale=_agreed("scale", declared.scale, band.scale, 1.0, where),
            offset=_agreed("offset", declared.offset, band.offset, 0.0, where),
            unit=band.unit,
            has_mask=masked and raster.mask is not None,
        )
        for number, band in enumerate(raster.bands, 1)
        if not (masked and number == raster.mask)
    )
    return Header(path=raster.address, stamp=(0, 0), driver="GTiff", bands=bands, block=raster.block, **grid)


@overload
def _agreed(name: str, said: float | None, own: float, silent: float, where: str) -> float: ...
@overload
def _agreed(name: str, said: float | None, own: float | None, silent: None, where: str) -> float | None: ...
def _agreed(name: str, said: float | None, own: float | None, silent: float | None, where: str) -> float | None:
    """Return what the catalogue says, else what the file says; one that says nothing reads as ``silent``.

    Raises:
        CorruptError: they say different things; nobody can know which is meant.
    """
    if said is None:
        return own
    # Files often hold what was rounded to float32.
    if own is None or own == silent or math.isclose(own, said, rel_tol=1e-6) or (math.isnan(own) and math.isnan(said)):
        return said
    raise CorruptError(
        f"the file says {name} {own:g}, the catalogue {said:g}",
        where=where,
        hint=f"say which is right: `{name}:`",
    )


def _check_place(head: Header, item: Item) -> None:
    """Raise CorruptError unless the middle of the catalogue's outline lies on the file's grid.

    A wrong CRS puts the pixels elsewhere, or nowhere on the Earth.
    """
    geobox = head.geobox
    middle = item.footprint.representative_point()
    x, y = transformer(LONLAT, str(geobox.crs)).transform(middle.x, middle.y)
    inside = ~geobox.transform
    rows, cols = geobox.shape
    turns = (0.0, 360.0, -360.0) if geobox.crs is not None and geobox.crs.geographic else (0.0,)
    spots = [inside * (x + turn, y) for turn in turns]
    if not any(0 <= col <= cols and 0 <= row <= rows for col, row in spots):  # false of what is not finite, too
        raise CorruptError(
            f"its pixels ({geobox.crs}, {rows} x {cols}) do not lie where the catalogue says, around "
            f"lon {middle.x:.3f}, lat {middle.y:.3f}: its CRS is wrong",
            where=f"{item.id}, {head.path}",
            hint="tell who keeps the catalogue; this item is left out",
        )


def _where(item: Item, raster: RemoteRaster) -> str:
    return f"{item.id}, {raster.address.partition('?')[0]}"
