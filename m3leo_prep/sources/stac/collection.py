"""Any collection of a STAC catalogue, read as a recipe says what its numbers mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Absent, Item, Kind, Raster, Slot, SourceInfo, Variable
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.text import near
from m3leo_prep.sources.local.describing import unit_of
from m3leo_prep.sources.local.options import WHOLE, parse_mask
from m3leo_prep.sources.local.quantities import KEYS, Quantity, parse_quantities
from m3leo_prep.sources.local.reading import Layout
from m3leo_prep.sources.stac.catalogues import CDSE, Catalogue, catalogue
from m3leo_prep.sources.stac.question import check_query, spans
from m3leo_prep.sources.stac.source import Stac

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.cost import Cost
    from m3leo_prep.ports.source import Source
    from m3leo_prep.sources.local.options import Band
    from m3leo_prep.sources.remote.access import Access
    from m3leo_prep.sources.stac.found import Found

VERSION = "1"
"""Bumped when the same items would give other pixels."""
WHERE = "source 'stac'"
CONCURRENT_READS = 4
_FORM = "bands: {height: dem}, where `dem` is an asset; or {red: {asset: visual, band: 1}}"


@dataclass(frozen=True, slots=True)
class Collection(Stac):
    """Rasters of one kind of quantity that the items of a collection link, newest first, then by id.

    So ``statistic: first`` makes a mosaic of the newest pixels. Files are GeoTIFF (as a rule COG) or JPEG 2000, at
    ``s3://`` (public buckets), ``https://``, or on this machine.
    """

    product: str = ""
    _: KW_ONLY
    catalogue: str
    """``earth-search``, ``planetary-computer``, ``cdse``, address of a STAC API, or address or path of a file of a
    static catalogue (JSON, GeoParquet)."""
    collection: str = ""
    """Its name there; may be left out where all items of a static catalogue are meant."""
    bands: Any = None
    """Name -> asset, or -> ``{asset, band}``; or a list of assets."""
    kind: str = ""
    """A ``Kind``; may be left out if there is a ``legend``."""
    variable: str = ""
    """Name of the array; empty = the kind."""
    unit: str = ""
    """Of the values after ``scale``."""
    long_name: str = ""
    scale: float | None = None
    offset: float | None = None
    """Value = stored number x scale + offset; None = as the item or the file declares."""
    nodata: Any = None
    """Stored numbers without data, in place of what the item or the file declares; NaN and infinity never count."""
    legend: Any = None
    """Class names from code 0, or code -> name or ``{name, color}``."""
    mask: Any = None
    """``{asset, values}``: pixels seen but discarded, such as clouds."""
    query: Mapping[str, Any] = field(default_factory=dict)
    """What items must say of themselves: ``{'eo:cloud_cover': {lt: 60}}``."""
    filter: Mapping[str, Any] = field(default_factory=dict)
    """The same as CQL2 JSON, for servers that know it."""
    pitch: float | None = None
    """Native pixel size in metres."""
    licence: str = "unknown"
    citation: str = ""
    _catalogue: Catalogue = field(init=False, repr=False, compare=False)
    _layout: Layout = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            self._check()
        except ConfigError as error:
            raise ConfigError(error.message, where=error.where or WHERE, hint=error.hint) from None

    def _check(self) -> None:
        object.__setattr__(self, "_catalogue", catalogue(self.catalogue))
        if not self.collection and not self._catalogue.is_file:
            raise ConfigError("collection: say which", hint="the catalogue's page lists its collections")
        if self.pitch is not None and not (isinstance(self.pitch, (int, float)) and self.pitch > 0):
            raise ConfigError(f"pitch: {self.pitch!r} is no size of a pixel in metres", hint="pitch: 10")
        check_query(self.query)
        if not isinstance(self.filter, Mapping):
            raise ConfigError(
                "filter: is no CQL2 JSON", hint="filter: {op: '<', args: [{property: 'eo:cloud_cover'}, 60]}"
            )
        said = {key: getattr(self, key) for key in KEYS if hasattr(self, key)}
        given = {key: value for key, value in said.items() if value is not None and value != ""}
        given["bands"] = _asset_bands(self.bands)
        (quantity,) = parse_quantities(given, self.variable, None, None)
        if quantity.kind is Kind.CLASSES and not quantity.legend:
            raise ConfigError("legend: classes need names", hint="legend: {0: land, 1: water}")
        mask = parse_mask(self.mask)
        if mask is not None and (not mask.band.asset or mask.band.file):
            raise ConfigError("mask: names no asset", hint="mask: {asset: scl, values: [3, 8, 9, 10]}")
        object.__setattr__(self, "_layout", Layout((quantity,), mask))

    def describe(self) -> SourceInfo:
        """Return the one variable, as the recipe says it."""
        quantity = self._quantity
        attributes: dict[str, Any] = {**quantity.attributes, "collection": self.collection, "catalogue": self.catalogue}
        for key in ("scale", "offset", "nodata"):
            if getattr(self, key) is not None:
                attributes[f"source_{key}"] = getattr(self, key)
        if self._layout.mask is not None:
            attributes["masked_values"] = list(self._layout.mask.values)
        variable = Variable(
            quantity.name,
            quantity.kind,
            tuple(band.name for band in self._bands),
            unit_of(quantity, ""),
            quantity.long_name,
            quantity.legend,
            attributes,
        )
        return SourceInfo(
            (variable,),
            version=VERSION,
            pitch=self.pitch,
            concurrent_reads=CONCURRENT_READS,
            licence=self.licence,
            citation=self.citation,
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the items that meet the area in any slot and have one of the bands, newest first, then by id.

        Raises:
            ConfigError: no item has any of the assets, or slots with times where items have none.
            SourceError, TriedOut: from the catalogue.
        """
        from m3leo_prep.sources.stac.search import search

        names = (self.collection,) if self.collection else ()
        asked = [
            search(self._catalogue, names, area, first, last, query=self.query, filter=self.filter)
            for first, last in spans(slots)
        ]
        found = list({one.id: one for some in asked for one in some}.values())
        with_some = [one for one in found if any(band.asset in one.assets for band in self._bands)]
        if found and not with_some:
            assets = sorted({name for one in found for name in one.assets})
            raise ConfigError(
                f"bands: none of {len(found):,} items has an asset {' or '.join(repr(b.asset) for b in self._bands)}",
                where=f"{WHERE}, catalogue '{self._catalogue.name}'",
                hint=near(self._bands[0].asset, assets),
            )
        chosen = [one for one in with_some if any(slot.contains(one.start) for slot in slots)]
        yield from map(self._item, sorted(chosen, key=lambda one: (-_stamp(one), one.id)))

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002  items are dated
        """Yield the pixels of each item around ``geobox``, on the files' own grid, and which bands it lacks.

        Raises:
            CorruptError: a file is damaged, not where the catalogue says, or contradicts it.
            ConfigError: the bands lie on several grids, or a code has no class.
            NoData, CredentialsError, TriedOut, RateLimited: from reading.
        """
        from m3leo_prep.sources._scenes import MASK, Declared, read_scene

        access = self._catalogue.access()
        for item in items:
            missing = tuple(band.name for band in self._bands if f"url_{band.name}" not in item.properties)
            if missing:
                yield Absent(item, self._quantity.name, missing, Reason.BAND_NOT_IN_PRODUCT)
            roles = [*(band.name for band in self._bands), MASK]
            files = {role: _address(item, role, access) for role in roles if f"url_{role}" in item.properties}
            numbers = {
                role: Declared(*(self._told(item, key, role) for key in ("scale", "offset", "nodata")))
                for role in files
            }
            yield from read_scene(self._layout, files, numbers, access, item, geobox)

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:
        """Return requests and bytes of reading windows, from what items say of their files."""
        from m3leo_prep.sources._reading_cost import reading

        files = [band.name for band in self._bands] + (["mask"] if self._layout.mask else [])
        here = [item for item in items if any(slot.contains(item.datetime) for slot in slots)]
        cost = reading(windows, here, files, pitch=self.pitch or 10.0)
        if self._catalogue.name != CDSE:
            return cost
        from m3leo_prep.sources.copernicus.service.volume import estimated

        return estimated(cost.requests, cost.bytes, notes=cost.notes)

    def probe(self) -> str:
        """Return that the catalogue answers."""
        from m3leo_prep.sources.stac.search import answers

        return answers(self._catalogue)

    @property
    def _quantity(self) -> Quantity:
        return self._layout.quantities[0]

    @property
    def _bands(self) -> tuple[Band, ...]:
        return self._quantity.bands or ()

    def _told(self, item: Item, key: str, role: str) -> float | None:
        """Return what the item says of a file's numbers, unless the recipe says something else."""
        said = item.properties.get(f"{key}_{role}")
        return None if said is None or getattr(self, key) is not None else float(said)

    def _item(self, found: Found) -> Item:
        from m3leo_prep.sources._scenes import MASK
        from m3leo_prep.sources.stac.describing import about, acquisition, declared, https, open_href, version

        mask = self._layout.mask
        where = f"{WHERE}, item {found.id}"
        wanted = {band.name: band for band in self._bands if band.asset in found.assets}
        if mask is not None:
            if mask.band.asset not in found.assets:
                raise ConfigError(
                    f"mask: the item has no asset '{mask.band.asset}'",
                    where=where,
                    hint=near(mask.band.asset, found.assets),
                )
            wanted[MASK] = mask.band
        properties = about(found)
        for role, band in wanted.items():
            asset = found.assets[band.asset]
            properties[f"url_{role}"] = self._catalogue.address(open_href(asset, where))
            properties |= {f"https_{role}": other} if (other := https(asset)) else {}
            numbers = declared(asset, band.key)
            values = {"scale": numbers.scale, "offset": numbers.offset, "nodata": numbers.nodata}
            size = asset.properties.get("file:size")
            properties |= {
                f"{key}_{role}": value for key, value in values.items() if value is not None and role != MASK
            }
            properties |= {f"size_{role}": size} if isinstance(size, int) else {}
        return Item(
            found.id,
            found.footprint,
            version(found, [found.assets[band.asset] for band in wanted.values()]),
            found.start,
            acquisition(found),
            properties,
        )


def _asset_bands(said: Any) -> dict[str, dict[str, Any]]:
    """Return bands as ``local`` takes them, where an asset is one of several places.

    Raises:
        ConfigError: not one of the forms.
    """
    if isinstance(said, str):
        said = [said]
    if isinstance(said, Mapping):
        bands = dict(said)
    elif isinstance(said, Sequence):
        bands = {str(one): str(one) for one in said}
        if len(bands) < len(said):
            raise ConfigError(f"bands: names one twice: {', '.join(map(str, said))}")
    else:
        bands = {}
    if not bands:
        raise ConfigError("bands: say which assets are read", hint=_FORM)
    found: dict[str, dict[str, Any]] = {}
    for name, where in bands.items():
        one = dict(where) if isinstance(where, Mapping) else {"asset": where}
        unknown = next((key for key in one if key not in {"asset", "band"}), None)
        if unknown is not None:
            raise ConfigError(f"bands: {name}: unknown key '{unknown}'", hint=_FORM)
        if not isinstance(one.get("asset"), str) or not one["asset"] or str(name) in {WHOLE, "mask"}:
            raise ConfigError(f"bands: {name}: {where!r} is not understood", hint=_FORM)
        found[str(name)] = one
    return found


def _address(item: Item, role: str, access: Access) -> str:
    """Return where a file is read: by https where the object store wants keys, and there is only a login."""
    url = str(item.properties[f"url_{role}"])
    by_login = url.startswith("s3://") and access.keys is None and access.auth is not None
    return str(item.properties.get(f"https_{role}", url)) if by_login else url


def _stamp(one: Found) -> float:
    return one.start.timestamp() if one.start else float("-inf")


if TYPE_CHECKING:
    _source: type[Source] = Collection
