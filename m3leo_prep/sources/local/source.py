"""Rasters on this machine: a folder, a file, a glob or a catalogue of GeoTIFF, COG, NetCDF or JPEG 2000."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.core.raster import Item, Kind, LegendClass, Raster, Slot, SourceInfo, Variable
from m3leo_prep.core.text import near
from m3leo_prep.sources._native import Window
from m3leo_prep.sources.local import dates, gdal, pixels
from m3leo_prep.sources.local.catalogue import read_catalogue
from m3leo_prep.sources.local.grids import is_dear, nearest, same_grid
from m3leo_prep.sources.local.header import BandHeader, Header, horizontal, read_header
from m3leo_prep.sources.local.options import (
    WHOLE,
    Band,
    Mask,
    numbers,
    palette_legend,
    parse_bands,
    parse_legend,
    parse_mask,
    parse_remap,
    resolve,
)
from m3leo_prep.sources.local.outline import footprint, windows
from m3leo_prep.sources.local.scenes import CATALOGUES, Scene, group, list_files, root_of
from m3leo_prep.sources.local.values import CODES, Conversion

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.source import Source

_WHERE = "source 'local'"
_UNITS = {Kind.ANGLE: "degree", Kind.WRAPPED_PHASE: "rad", Kind.UNWRAPPED_PHASE: "rad"}
_FRACTIONS = frozenset({Kind.POWER, Kind.COHERENCE, Kind.REFLECTANCE, Kind.CLASSES, Kind.BITS})


@dataclass(frozen=True, slots=True)
class Local:
    """Rasters of one kind of quantity, in any CRS and resolution; each scene is an item, newest first, then by name.

    So ``statistic: first`` makes a mosaic of the newest pixels. Constructing checks the options and touches no disk.
    """

    path: str
    """Folder, file, glob, or catalogue (STAC JSON, GeoParquet of items)."""
    _: KW_ONLY
    kind: str = ""
    """A ``Kind``; may be left out if there is a ``legend``."""
    pattern: str = "*"
    """Names of the files inside the folder and its folders."""
    variable: str = ""
    """Name of the array; empty = the kind."""
    long_name: str = ""
    unit: str = ""
    """Of the values after ``scale``; empty = as the file says."""
    bands: Any = None
    """Names, or name -> number, name in the file, pattern of its own file, or ``{file, asset, band}``."""
    scale: float | None = None
    offset: float | None = None
    """Value = stored number x scale + offset; None = as the file declares."""
    decibel: bool = False
    """The files hold dB; converted to linear power."""
    amplitude: bool = False
    """The files hold (scaled) amplitudes; squared to linear power."""
    nodata: Any = None
    """Stored numbers without data, in place of what the file declares; NaN and infinity never count as data."""
    mask: Any = None
    """``{band or file or asset, values}``: pixels seen but discarded, such as clouds."""
    date: str = ""
    """strftime pattern or regular expression for the file's name."""
    crs: str = ""
    """In place of the files' own."""
    legend: Any = None
    """Class names from code 0, or code -> name or ``{name, color}``."""
    remap: Mapping[int, int] | None = None
    """Class codes to change, old -> new."""
    properties: Mapping[str, str | int | float] = field(default_factory=dict)
    """Added to every item, such as ``orbit_direction: ascending``."""
    licence: str = "unknown"
    citation: str = ""
    _bands: tuple[Band, ...] | None = field(init=False, repr=False, compare=False)
    _mask: Mask | None = field(init=False, repr=False, compare=False)
    _legend: tuple[LegendClass, ...] = field(init=False, repr=False, compare=False)
    _conversion: Conversion = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            self._check()
        except ConfigError as error:
            raise ConfigError(error.message, where=error.where or _WHERE, hint=error.hint) from None

    def _check(self) -> None:
        if not self.path or not isinstance(self.path, str):
            raise ConfigError(f"path: {self.path!r} is not a path")
        legend = parse_legend(self.legend)
        kinds = [kind.value for kind in Kind]
        if not self.kind and not legend:
            raise ConfigError("kind: say what the numbers mean", hint=near("", kinds))
        if self.kind and self.kind not in kinds:
            raise ConfigError(f"kind: '{self.kind}' is not known", hint=near(self.kind, kinds))
        kind = Kind(self.kind) if self.kind else Kind.CLASSES
        if legend and kind != Kind.CLASSES:
            raise ConfigError(f"legend: a {kind} has no classes", hint="kind: classes")
        for key, given in (("decibel", self.decibel), ("amplitude", self.amplitude)):
            if given and kind != Kind.POWER:
                raise ConfigError(f"{key}: is for kind power, not {kind}")
        if self.decibel and self.amplitude:
            raise ConfigError("decibel, amplitude: the files hold one or the other")
        if kind in CODES and (self.scale is not None or self.offset is not None):
            raise ConfigError(f"scale, offset: codes of kind {kind} are not scaled", hint="remap: {old: new}")
        remap = parse_remap(self.remap)
        if remap and kind != Kind.CLASSES:
            raise ConfigError(f"remap: is for kind classes, not {kind}")
        scale, offset = _number("scale", self.scale), _number("offset", self.offset)
        if scale == 0:
            raise ConfigError("scale: 0 would erase the data")
        if self.date:
            dates.check_pattern(self.date)
        if self.crs:
            horizontal(self.crs, _WHERE)
        nodata = numbers("nodata", self.nodata)
        object.__setattr__(self, "_legend", legend)
        object.__setattr__(self, "_bands", parse_bands(self.bands))
        object.__setattr__(self, "_mask", parse_mask(self.mask))
        object.__setattr__(
            self,
            "_conversion",
            Conversion(kind, scale, offset, bool(self.decibel), bool(self.amplitude), nodata, remap),
        )

    def describe(self) -> SourceInfo:
        """Return one variable; its grid, dtype and legend are those of the first scene by name.

        Raises:
            ConfigError: nothing there, or not what the options say.
        """
        scene = self._scenes()[0]
        bands = self._bands_of(scene)
        head, first = self._first(scene), next(iter(bands.values()))
        kind = self._conversion.kind
        legend = self._legend
        if kind == Kind.CLASSES and not legend:
            legend = palette_legend(*first, self._conversion.remap or {})
            if not legend:
                hint = "legend: {0: land, 1: water}"
                raise ConfigError("has no colour table that names its classes", where=first[0].path, hint=hint)
        unit = self.unit or _UNITS.get(kind) or ("1" if kind in _FRACTIONS else first[1].unit or "1")
        variable = Variable(
            name=self.variable or str(kind),
            kind=kind,
            bands=tuple(bands),
            unit=unit,
            long_name=self.long_name,
            legend=legend,
            attributes=self._attributes(head, first[1]),
        )
        return SourceInfo(
            (variable,),
            version="1",
            pitch=head.pitch,
            dear_blocks=is_dear(head),
            is_static=not head.times and self._when(scene, head) is None,
            licence=self.licence,
            citation=self.citation,
        )

    def probe(self) -> str:
        """Return how many scenes there are, after a look into the first.

        Raises:
            ConfigError: nothing there, or not what the options say.
        """
        self.describe()
        return f"{len(self._scenes()):,} scenes in {self.path}"

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the scenes (time steps of a NetCDF file each) that meet ``area``, newest first, then by name.

        Raises:
            ConfigError: scenes that do not fit together, a footprint that contradicts the catalogue's, or no date
                where the slots need one.
            CorruptError: a file that cannot be opened.
        """
        import shapely

        shapely.prepare(area)
        scenes = self._scenes()
        names = tuple(self._bands_of(scenes[0])) if self._bands is None else None
        items = []
        undated = []
        for scene in scenes:
            head = self._first(scene)
            self._check_scene(scene, head, names)
            outline = footprint(head.geobox, head.path)
            if scene.footprint is not None and not outline.intersects(scene.footprint):
                raise ConfigError(
                    f"the data lie at {_bounds(outline)}, the catalogue's footprint at {_bounds(scene.footprint)}",
                    where=head.path,
                    hint="the file's CRS tag or the catalogue is wrong: name the true CRS with `crs:`",
                )
            times: Sequence[datetime | None] = head.times or (self._when(scene, head),)
            undated += [scene.id] * (times[0] is None)
            if outline.intersects(area):
                items += [
                    self._item(scene, step if head.times else None, when, outline)
                    for step, when in enumerate(times)
                    if any(slot.contains(when) for slot in slots)
                ]
        if undated and not all(slot.is_static for slot in slots):
            raise ConfigError(
                f"{len(undated)} of {len(scenes)} scenes have no date, such as {', '.join(undated[:3])}",
                where=self.path,
                hint="say how their names tell it, such as `date: %Y%m%d`, or make the layer static",
            )
        yield from sorted(items, key=lambda item: (-item.datetime.timestamp() if item.datetime else math.inf, item.id))

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:  # noqa: ARG002  items are dated
        """Yield the pixels of each item around ``geobox``, at full resolution, on the file's own grid.

        Raises:
            CorruptError: an item's file is damaged, there or wholly.
        """
        for item in items:
            heads = self._heads(item)
            if item.version != _version(heads):
                hint = "plan again with --refresh"
                raise SourceError(f"item '{item.id}' has changed since the plan", where=self.path, hint=hint)
            grid = next(iter(heads.values()))
            for window, place in windows(grid.geobox, geobox):
                yield self._raster(item, heads, window, place)

    def _scenes(self) -> list[Scene]:
        mask = self._mask.band if self._mask else None
        if Path(self.path).suffix.lower() in CATALOGUES:
            path = Path(self.path)
            if not path.is_file():
                raise ConfigError("does not exist", where=self.path)
            return read_catalogue(path, self._bands, mask)
        asset = next((b.asset for b in (*(self._bands or ()), *([mask] if mask else ())) if b.asset), "")
        if asset:
            raise ConfigError(f"asset '{asset}' needs a catalogue as `path`", where=self.path)
        return group(self.path, list_files(self.path, self.pattern), self._bands, mask)

    def _head(self, relative: str) -> Header:
        return read_header(root_of(self.path) / relative, self.crs)

    def _first(self, scene: Scene) -> Header:
        """Return the header of the file that gives a scene its grid."""
        return self._head(next(path for role, path in scene.files.items() if role != "mask"))

    def _bands_of(self, scene: Scene) -> dict[str, tuple[Header, BandHeader]]:
        """Return each band's file and header, in order; without the bands that the scene lacks."""
        return self._resolve({role: self._head(path) for role, path in scene.files.items()})

    def _resolve(self, heads: Mapping[str, Header]) -> dict[str, tuple[Header, BandHeader]]:
        return resolve(heads, self._bands, self._mask, by_order=not isinstance(self.bands, Mapping))

    def _check_scene(self, scene: Scene, head: Header, names: tuple[str, ...] | None) -> None:
        """Refuse a scene whose bands differ from the others' or lie on several grids."""
        bands = self._bands_of(scene)
        if names is not None and tuple(bands) != names:
            hint = "say which with `bands:`, or leave it out by `pattern:`"
            raise ConfigError(
                f"has bands {', '.join(bands)}, others have {', '.join(names)}", where=head.path, hint=hint
            )
        for name, (other, _) in bands.items():
            if not same_grid(other.geobox, head.geobox):
                raise ConfigError(
                    f"band {name} lies on another grid ({other.pitch:.6g} m) than {head.path} ({head.pitch:.6g} m)",
                    where=other.path,
                    hint="make it a layer of its own",
                )
        if self._mask is not None:
            if self._mask.band.is_apart and "mask" not in scene.files:
                raise ConfigError(
                    "the mask of this scene is missing", where=head.path, hint="leave it out by `pattern:`"
                )
            mask = self._head(scene.files.get("mask", scene.files.get(WHOLE, "")))
            mask.band(self._mask.band.key)
            if mask.geobox.crs != head.geobox.crs:
                raise ConfigError(f"the mask is in {mask.geobox.crs}, the bands in {head.geobox.crs}", where=mask.path)

    def _when(self, scene: Scene, head: Header) -> datetime | None:
        """Return the date by `date:`, catalogue, acquisition tag, name, and only then by when it was written."""
        name = next(path for role, path in scene.files.items() if role != "mask")
        if self.date:
            return dates.from_name(name, self.date)
        return (
            scene.datetime
            or dates.from_tags(head.tags)
            or dates.from_name(name)
            or dates.from_tags(head.tags, written=True)
        )

    def _item(self, scene: Scene, step: int | None, when: datetime | None, outline: BaseGeometry) -> Item:
        files = {f"path_{role}" if role else "path": path for role, path in scene.files.items()}
        steps = {} if step is None else {"step": step}
        return Item(
            id=scene.id if step is None else f"{scene.id}#{step}",
            footprint=outline,
            version=_version({role: self._head(path) for role, path in scene.files.items()}),
            datetime=when,
            acquisition=scene.acquisition,
            properties={**self.properties, **scene.properties, **files, **steps},
        )

    def _heads(self, item: Item) -> dict[str, Header]:
        """Return the headers of an item's files by role, the one with the grid first."""
        found = {}
        for key, path in item.properties.items():
            if key == "path" or key.startswith("path_"):
                found[key.removeprefix("path").removeprefix("_")] = self._head(str(path))
        if not found:
            raise ConfigError(f"item '{item.id}' has no path: it is not of source 'local'", where=self.path)
        return dict(sorted(found.items(), key=lambda pair: pair[0] == "mask"))

    def _raster(self, item: Item, heads: Mapping[str, Header], window: Window, place: GeoBox) -> Raster:
        bands = self._resolve(heads)
        names = list(bands) if self._bands is None else [band.name for band in self._bands]
        step = int(item.properties.get("step", 0))
        layers = [self._band(*bands[name], window, step) if name in bands else None for name in names]
        dtype = np.result_type(*(layer[0].dtype for layer in layers if layer is not None))
        data = np.zeros((len(names), *place.shape), dtype)
        valid = np.zeros(data.shape, bool)
        for k, layer in enumerate(layers):
            if layer is not None:
                data[k], valid[k] = layer
        masked = None
        if self._mask is not None:
            masked = self._discarded(heads, next(iter(heads.values())), window, step) & valid.any(axis=0)
            valid &= ~masked
        return Raster(data, valid, place, item, self.variable or str(self._conversion.kind), masked)

    def _band(
        self, head: Header, band: BandHeader, window: Window, step: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        stored = pixels.read(head, band.key, window, step)
        data, valid = self._conversion.apply(stored, band, head.path)
        if band.has_mask:
            valid = valid & pixels.read(head, f"{gdal.MASK}{band.key}", window)
        return data, valid

    def _discarded(self, heads: Mapping[str, Header], grid: Header, window: Window, step: int) -> NDArray[np.bool_]:
        """Return True (y, x) where the mask band has one of the values; a coarser mask by its nearest pixel."""
        assert self._mask is not None
        head = heads.get("mask") or heads[WHOLE]
        key = head.band(self._mask.band.key).key
        if same_grid(head.geobox, grid.geobox):
            return np.isin(pixels.read(head, key, window, step), self._mask.values)
        rows, row_in = nearest(grid.geobox, head.geobox, window, axis=0)
        cols, col_in = nearest(grid.geobox, head.geobox, window, axis=1)
        box = Window(int(rows.min()), int(rows.max()) + 1, int(cols.min()), int(cols.max()) + 1)
        coarse = np.isin(pixels.read(head, key, box, step), self._mask.values)
        return coarse[np.ix_(rows - box.row0, cols - box.col0)] & row_in[:, None] & col_in[None, :]

    def _attributes(self, head: Header, band: BandHeader) -> dict[str, Any]:
        """Return what a user must know about how the numbers were made."""
        how = self._conversion
        out: dict[str, Any] = {
            "source_crs": str(head.geobox.crs),
            "source_nodata": [number for number in how.missing(band) if math.isfinite(number)],
        }
        if head.vertical:
            out["vertical_datum"] = head.vertical
        if how.decibel:
            out["converted_from"] = "dB"
        if how.amplitude:
            out["converted_from"] = "amplitude"
        if how.kind not in CODES:
            out["source_scale"] = band.scale if how.scale is None else how.scale
            out["source_offset"] = band.offset if how.offset is None else how.offset
        if how.remap:
            out["remapped"] = {str(old): new for old, new in sorted(how.remap.items())}
        if self._mask is not None:
            out["masked_values"] = list(self._mask.values)
        return out


def _version(heads: Mapping[str, Header]) -> str:
    """Return a hash of the sizes and modification times of an item's files."""
    stamps = [(role, heads[role].stamp) for role in sorted(heads)]
    return hashlib.sha256(repr(stamps).encode()).hexdigest()[:16]


def _number(key: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"{key}: {value!r} is not a number")
    return float(value)


def _bounds(geometry: BaseGeometry) -> str:
    return "({})".format(", ".join(f"{v:.4f}" for v in geometry.bounds))


if TYPE_CHECKING:
    _source: type[Source] = Local
