"""Rasters on this machine: a folder, a file, a glob or a catalogue of GeoTIFF, COG, NetCDF or JPEG 2000."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.core.products import Product, product
from m3leo_prep.core.raster import Item, Kind, Raster, Slot, SourceInfo
from m3leo_prep.sources.local import dates
from m3leo_prep.sources.local.catalogue import read_catalogue
from m3leo_prep.sources.local.describing import check_legend, check_product, variables, vertical_datum
from m3leo_prep.sources.local.geoid import Geoid
from m3leo_prep.sources.local.grids import is_dear, same_grid
from m3leo_prep.sources.local.header import Header, horizontal, read_header
from m3leo_prep.sources.local.options import WHOLE, parse_mask
from m3leo_prep.sources.local.outline import footprint, windows
from m3leo_prep.sources.local.quantities import KEYS, Quantity, parse_quantities
from m3leo_prep.sources.local.reading import Bands, Layout, rasters
from m3leo_prep.sources.local.scenes import CATALOGUES, Scene, group, list_files, root_of

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.source import Source

_WHERE = "source 'local'"


@dataclass(frozen=True, slots=True)
class Local:
    """Rasters of one kind of quantity, in any CRS and resolution; each scene is an item, newest first, then by name.

    So ``statistic: first`` makes a mosaic of the newest pixels. Constructing checks the options and touches no disk.
    """

    path: str
    """Folder, file, glob, or catalogue (STAC JSON, GeoParquet of items)."""
    _: KW_ONLY
    product: str = ""
    """Name of a published product, whose table fills what is not said: kind, unit, classes, nodata, licence ..."""
    kind: str = ""
    """A ``Kind``; may be left out if there is a ``legend`` or a ``product``."""
    pattern: str = "*"
    """Names of the files inside the folder and its folders."""
    variable: str = ""
    """Name of the array; empty = the product's, else the kind."""
    variables: Any = None
    """Several arrays in one layer: name -> what else is said here of the only one, and ``relative_to``."""
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
    flags: Any = None
    """Stored numbers that are no values but mean something, such as ``{200: water}``: masked, and kept in a second
    array of classes, ``<variable>_flags``."""
    mask: Any = None
    """``{band or file or asset, values}``: pixels seen but discarded, such as clouds."""
    date: str = ""
    """strftime pattern or regular expression for the file's name."""
    crs: str = ""
    """In place of the files' own."""
    legend: Any = None
    """Class names from code 0, or code -> name or ``{name, color}``."""
    remap: Mapping[int, int] | None = None
    """Class codes to change, old -> new; each class keeps a number of its own, unless ``merge``."""
    merge: bool = False
    """``remap`` may make one class of several."""
    unknown: str = "error"
    """Codes that the legend lacks: ``error``, or ``ignore`` = masked, and counted as out of range."""
    bins: Any = None
    """Edges that cut continuous values or amounts into classes ``low <= value < high``; what lies outside is masked,
    and counted as out of range."""
    correlation: float | None = None
    """Of kind uncertainty: how the errors of neighbouring pixels go together, 0 ... 1."""
    geoid: str = ""
    """Raster of geoid undulations in metres, by which heights are brought to ``datum``."""
    datum: str = ""
    """``ellipsoid`` or ``geoid``: what heights are to count from."""
    properties: Mapping[str, str | int | float] = field(default_factory=dict)
    """Added to every item, such as ``orbit_direction: ascending``."""
    licence: str = ""
    """Empty = the product's, else unknown."""
    citation: str = ""
    _product: Product | None = field(init=False, repr=False, compare=False)
    _layout: Layout = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            self._check()
        except ConfigError as error:
            raise ConfigError(error.message, where=error.where or _WHERE, hint=error.hint) from None

    def _check(self) -> None:
        if not self.path or not isinstance(self.path, str):
            raise ConfigError(f"path: {self.path!r} is not a path")
        table = product(self.product) if self.product else None
        said = {key: getattr(self, key) for key in KEYS}
        unset = {key: type(self).__dataclass_fields__[key].default for key in KEYS}
        given = {key: value for key, value in said.items() if value is not None and value != unset[key]}
        quantities = parse_quantities(given, self.variable, self.variables, table)
        geoid = Geoid.parse(self.geoid, self.datum)
        if geoid and [one.kind for one in quantities] != [Kind.CONTINUOUS]:
            raise ConfigError("geoid: is for one variable of heights, of kind continuous")
        if self.date:
            dates.check_pattern(self.date)
        if self.crs:
            horizontal(self.crs, _WHERE)
        object.__setattr__(self, "_product", table)
        object.__setattr__(self, "_layout", Layout(quantities, parse_mask(self.mask), geoid))

    def describe(self) -> SourceInfo:
        """Return the variables; grid, dtype and legend are those of the first scene by name that has them.

        Raises:
            ConfigError: nothing there, or not what the options say.
        """
        scenes = self._scenes()
        head = self._first(scenes[0])
        found = []
        for one in self._layout.quantities:
            bands = next((have for scene in scenes if (have := self._bands_of(scene, one))), None)
            if bands is None:
                raise ConfigError(f"no scene has a band of '{one.name}'", where=self.path)
            found += list(variables(self._layout, one, bands))
            if self._layout.geoid is not None:
                self._layout.geoid.check(vertical_datum(one, head), head.path)
        table = self._product
        return SourceInfo(
            tuple(found),
            version="1" if table is None else f"1-{hashlib.sha256(repr(table).encode()).hexdigest()[:8]}",
            pitch=head.pitch,
            dear_blocks=is_dear(head),
            is_static=not head.times and self._when(scenes[0], head) is None,
            licence=self.licence or (table.licence if table else "unknown"),
            citation=self.citation or (table.reference if table else ""),
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
        first = self._first(scenes[0])
        like = {one.name: self._bands_of(scenes[0], one) for one in self._layout.quantities}
        items = []
        undated = []
        for scene in scenes:
            head = self._first(scene)
            check_product(head, self._product, first)
            self._check_scene(scene, head, like)
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
            if item.version != self._version(heads):
                hint = "plan again with --refresh"
                raise SourceError(f"item '{item.id}' has changed since the plan", where=self.path, hint=hint)
            grid = next(iter(heads.values()))
            for window, place in windows(grid.geobox, geobox):
                yield from rasters(self._layout, heads, item, window, place)

    def _scenes(self) -> list[Scene]:
        layout = self._layout
        mask = layout.mask.band if layout.mask else None
        named = [one.bands for one in layout.quantities if one.bands is not None]
        bands = [band for several in named for band in several] if named else None
        if Path(self.path).suffix.lower() in CATALOGUES:
            path = Path(self.path)
            if not path.is_file():
                raise ConfigError("does not exist", where=self.path)
            return read_catalogue(path, bands, mask)
        asset = next((b.asset for b in (*(bands or ()), *([mask] if mask else ())) if b.asset), "")
        if asset:
            raise ConfigError(f"asset '{asset}' needs a catalogue as `path`", where=self.path)
        return group(self.path, list_files(self.path, self.pattern), bands, mask)

    def _head(self, relative: str) -> Header:
        return read_header(root_of(self.path) / relative, self.crs)

    def _first(self, scene: Scene) -> Header:
        """Return the header of the file that gives a scene its grid."""
        return self._head(next(path for role, path in scene.files.items() if role != "mask"))

    def _bands_of(self, scene: Scene, quantity: Quantity) -> Bands:
        return self._layout.bands(quantity, {role: self._head(path) for role, path in scene.files.items()})

    def _check_scene(self, scene: Scene, head: Header, first: Mapping[str, Bands]) -> None:
        """Refuse a scene whose bands or classes differ from the first's, or lie on several grids."""
        for quantity in self._layout.quantities:
            bands, like = self._bands_of(scene, quantity), first[quantity.name]
            if quantity.bands is None and bands.keys() != like.keys():
                hint = "say which with `bands:`, or leave it out by `pattern:`"
                raise ConfigError(
                    f"has bands {', '.join(bands)}, others have {', '.join(like)}", where=head.path, hint=hint
                )
            for name, (other, _) in bands.items():
                if not same_grid(other.geobox, head.geobox):
                    raise ConfigError(
                        f"band {name} lies on another grid ({other.pitch:.6g} m) than {head.path} ({head.pitch:.6g} m)",
                        where=other.path,
                        hint="make it a layer of its own",
                    )
            check_legend(quantity, bands, like)
        self._check_mask(scene, head)

    def _check_mask(self, scene: Scene, head: Header) -> None:
        mask = self._layout.mask
        if mask is None:
            return
        if mask.band.is_apart and "mask" not in scene.files:
            raise ConfigError("the mask of this scene is missing", where=head.path, hint="leave it out by `pattern:`")
        file = self._head(scene.files.get("mask", scene.files.get(WHOLE, "")))
        file.band(mask.band.key)
        if file.geobox.crs != head.geobox.crs:
            raise ConfigError(f"the mask is in {file.geobox.crs}, the bands in {head.geobox.crs}", where=file.path)

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
            version=self._version({role: self._head(path) for role, path in scene.files.items()}),
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

    def _version(self, heads: Mapping[str, Header]) -> str:
        """Return a hash of the sizes and modification times of an item's files, and of the geoid's."""
        stamps = [(role, heads[role].stamp) for role in sorted(heads)]
        geoid = self._layout.geoid
        if geoid is not None:
            stamps.append((f"geoid to {geoid.datum}", geoid.header().stamp))
        return hashlib.sha256(repr(stamps).encode()).hexdigest()[:16]


def _bounds(geometry: BaseGeometry) -> str:
    return "({})".format(", ".join(f"{v:.4f}" for v in geometry.bounds))


if TYPE_CHECKING:
    _source: type[Source] = Local
