"""Sentinel-1 RTC of Planetary Computer: gamma nought of whole scenes, terrain corrected, 10 m, without a login."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Absent, Item, Kind, Raster, Slot, SourceInfo, Variable
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources._backscatter import BOTH, POLARISATIONS, Band, choose_bands, gaps
from m3leo_prep.sources._radar import tracks
from m3leo_prep.sources.stac.catalogues import PLANETARY_COMPUTER, Catalogue, catalogue
from m3leo_prep.sources.stac.source import Stac

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.cost import Cost
    from m3leo_prep.ports.source import Source
    from m3leo_prep.sources.stac.found import Found

VERSION = "1"
"""Bumped when the same scenes would give other pixels."""
WHERE = "source 'stac', product 's1-rtc'"
VARIABLE = "backscatter"
PITCH = 10.0
NODATA = (-32768.0, 0.0)
"""-32768 as the collection says (``raster:bands``). And 0, which linear power is not: scenes are filled with it where
the GRD has no data (microsoft/PlanetaryComputer#493), also along the borders of early ones (#307)."""
CLEAN_BORDERS = "2018-04-01"
"""ESA's processor masks the borders of GRD since March 2018 (https://doi.org/10.3390/s18103454); before, dark pixels
remain beside the zeros."""
CONCURRENT_READS = 4
LICENCE = "CC-BY-4.0"
CITATION = (
    "Sentinel-1 RTC, processed by Catalyst, hosted by Microsoft Planetary Computer. "
    "Contains modified Copernicus Sentinel data"
)
_NAME = re.compile(r"(S1[A-D])_IW_GRD[A-Z]_1S[A-Z]{2}_(?:\d{8}T\d{6}_){2}\d{6}_([0-9A-F]{6})_")


@dataclass(frozen=True, slots=True)
class S1Rtc(Stac):
    """Backscatter in linear power, float32, band by polarisation and orbit direction.

    Each scene lies on a grid of its own: UTM, pixels of 10 m, not shifted to any lattice.
    """

    product: str = "s1-rtc"
    _: KW_ONLY
    catalogue: str = PLANETARY_COMPUTER
    """``planetary-computer``, or the address of another STAC API with the same collection."""
    collection: str = ""
    """Its name in another catalogue; empty = the known one's."""
    bands: Sequence[str] = ()
    """``[vv, vh]``, or with the direction ``[vv_asc, vh_desc]``, in order; none = vv and vh."""
    orbits: Sequence[str] = BOTH
    """Directions; each is a set of bands."""
    relative_orbits: Any = "all"
    """Tracks: ``all``, or a list of numbers."""
    _bands: tuple[Band, ...] = field(init=False, repr=False, compare=False)
    _tracks: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _catalogue: Catalogue = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_bands", choose_bands(self.bands, self.orbits))
        chosen = tracks(self.relative_orbits)
        if chosen == "best":
            raise ConfigError(
                "relative_orbits: `best` is not known here", where=WHERE, hint="relative_orbits: [37, 110]"
            )
        object.__setattr__(self, "_tracks", chosen if isinstance(chosen, tuple) else ())
        found = catalogue(self.catalogue)
        if not self.collection:
            found.collection(self.product)
        object.__setattr__(self, "_catalogue", found)

    def describe(self) -> SourceInfo:
        """Return the one variable, ``backscatter``, and its radiometric identity."""
        variable = Variable(
            VARIABLE,
            Kind.POWER,
            tuple(band.name for band in self._bands),
            long_name="Backscatter, gamma nought, terrain corrected",
            attributes={
                "backscatter_convention": "gamma0_rtc",
                "noise_removed": "not documented",
                "dem": "PlanetDEM",
                "speckle_filter": "none",
                "discarded": ["no data", "exactly 0"],
            },
        )
        return SourceInfo(
            (variable,),
            version=VERSION,
            pitch=PITCH,
            concurrent_reads=CONCURRENT_READS,
            licence=LICENCE,
            citation=CITATION,
            attributes={"catalogue": self.catalogue, "collection": self._collection},
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the scenes that meet the area in any slot, of the directions and tracks asked for, by time and id.

        Raises:
            ConfigError: a slot without times, or no such collection.
            SourceError, TriedOut: from the catalogue.
        """
        from m3leo_prep.sources.stac.passes import dated, direction, track
        from m3leo_prep.sources.stac.search import search

        ways = {band.direction for band in self._bands}
        found = [one for span in dated(slots) for one in search(self._catalogue, [self._collection], area, *span)]
        for one in {scene.id: scene for scene in found}.values():
            is_wanted = direction(one) in ways and (not self._tracks or track(one) in self._tracks)
            is_wide = one.properties.get("sar:instrument_mode", "IW") == "IW"
            if is_wanted and is_wide and any(slot.contains(one.start) for slot in slots):
                yield self._item(one)

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002  items are dated
        """Yield the power of each scene around ``geobox``, on its own grid, and which polarisations it lacks.

        The bands of the other direction are there, and observed nowhere.

        Raises:
            CorruptError: a file is damaged, or not where the catalogue says.
            NoData, CredentialsError, TriedOut, RateLimited: from reading.
        """
        from m3leo_prep.sources._scenes import read_scene
        from m3leo_prep.sources.local.options import Band as Place
        from m3leo_prep.sources.local.quantities import Quantity
        from m3leo_prep.sources.local.reading import Layout
        from m3leo_prep.sources.local.values import Conversion

        access = self._catalogue.access()
        places = tuple(Place(band.name, asset=band.polarisation) for band in self._bands)
        layout = Layout((Quantity(VARIABLE, Conversion(Kind.POWER, nodata=NODATA), places),))
        for item in items:
            own = [band for band in self._bands if band.direction == item.properties["orbit_direction"]]
            files = {
                band.name: str(item.properties[f"url_{band.polarisation}"])
                for band in own
                if f"url_{band.polarisation}" in item.properties
            }
            missing = tuple(band.name for band in own if band.name not in files)
            if missing:
                yield Absent(item, VARIABLE, missing, Reason.BAND_NOT_IN_PRODUCT)
            if files:
                yield from read_scene(layout, files, {}, access, item, geobox)

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:
        """Return requests and bytes of reading windows of scenes, as float32 that does not compress."""
        from m3leo_prep.sources._reading_cost import reading

        here = [item for item in items if any(slot.contains(item.datetime) for slot in slots)]
        names = list(dict.fromkeys(band.polarisation for band in self._bands))
        return reading(windows, here, names, pitch=PITCH)

    def advise(self, items: Sequence[Item], slots: Sequence[Slot]) -> Sequence[str]:
        """Return what to know of the scenes that were found: directions and polarisations that are missing, borders."""
        if not items:
            return ["no scene at all: s1-rtc has interferometric wide swath scenes of land since 2014-10-10"]
        warnings = gaps(self._bands, items, slots, _polarisations, "scene")
        early = sum(item.datetime is not None and item.datetime.isoformat() < CLEAN_BORDERS for item in items)
        if early:
            told = f"{early:,} of {len(items):,} scenes are older than April 2018"
            warnings.append(f"{told}: dark pixels remain along their borders")
        return warnings

    def probe(self) -> str:
        """Return that the catalogue answers."""
        from m3leo_prep.sources.stac.search import answers

        return answers(self._catalogue)

    @property
    def _collection(self) -> str:
        return self.collection or self._catalogue.collection(self.product)

    def _item(self, found: Found) -> Item:
        from m3leo_prep.sources.stac.describing import about, open_href, version
        from m3leo_prep.sources.stac.passes import direction, track

        where = f"{WHERE}, item {found.id}"
        wanted = dict.fromkeys(band.polarisation for band in self._bands)
        assets = {pol: found.assets[pol.lower()] for pol in wanted if pol.lower() in found.assets}
        sizes = {pol: asset.properties.get("file:size") for pol, asset in assets.items()}
        return Item(
            found.id,
            found.footprint,
            version(found, assets.values()),
            found.start,
            _pass(found),
            {
                **about(found),
                "orbit_direction": direction(found),
                "relative_orbit": track(found),
                **{f"url_{pol}": self._catalogue.address(open_href(asset, where)) for pol, asset in assets.items()},
                **{f"size_{pol}": size for pol, size in sizes.items() if isinstance(size, int)},
            },
        )


def _polarisations(item: Item) -> list[str]:
    """Return those of the wanted polarisations that a scene has."""
    return [one.upper() for one in POLARISATIONS if f"url_{one.upper()}" in item.properties]


def _pass(found: Found) -> str:
    """Return what the scenes of one pass share: the satellite and its data take.

    From the name of the GRD that a scene was made from. Not its orbit: that changes at the equator, amid a pass.
    """
    match = _NAME.match(found.id)
    return f"{match[1]}-{match[2]}" if match else ""


if TYPE_CHECKING:
    _source: type[Source] = S1Rtc
