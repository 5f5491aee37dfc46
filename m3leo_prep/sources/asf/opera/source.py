"""OPERA RTC-S1: gamma nought of each Sentinel-1 burst, terrain corrected, 30 m."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

from m3leo_prep.core.raster import Absent, Item, Kind, Raster, Slot, SourceInfo, Variable
from m3leo_prep.sources._backscatter import BOTH, Band, choose_bands
from m3leo_prep.sources.asf.opera.bursts import VARIABLE, read_burst
from m3leo_prep.sources.asf.opera.options import DISCARDED, choose_discarded
from m3leo_prep.sources.asf.source import Asf

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.cost import Cost
    from m3leo_prep.ports.source import Source

VERSION = "1"
"""Bumped when the same granules would give other pixels."""
PITCH = 30.0
CONCURRENT_READS = 4
LICENCE = "NASA Earth science data policy"
CITATION = "OPERA L2 {} from Sentinel-1, Version 1, NASA JPL, ASF DAAC. Contains modified Copernicus Sentinel data"


@dataclass(frozen=True, slots=True)
class OperaRtc(Asf):
    """Backscatter in linear power, float32, band by polarisation and orbit direction.

    Each burst comes on its own grid: UTM of the burst's zone, or polar stereographic.
    """

    product: str = "opera-rtc"
    _: KW_ONLY
    bands: Sequence[str] = ()
    """``[vv, vh]``, or with the direction ``[vv_asc, vh_desc]``, in order; none = vv and vh."""
    orbits: Sequence[str] = BOTH
    """Directions; each is a set of bands."""
    mask: Sequence[str] = DISCARDED
    """What is discarded: ``shadow``, ``layover``; ``none`` = neither."""
    _bands: tuple[Band, ...] = field(init=False, repr=False, compare=False)
    _discarded: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_bands", choose_bands(self.bands, self.orbits))
        object.__setattr__(self, "_discarded", choose_discarded(self.mask))

    def describe(self) -> SourceInfo:
        """Return the one variable, ``backscatter``, and its radiometric identity."""
        variable = Variable(
            VARIABLE,
            Kind.POWER,
            tuple(band.name for band in self._bands),
            long_name="Backscatter, gamma nought, terrain corrected",
            attributes={
                "backscatter_convention": "gamma0_rtc",
                "noise_removed": True,
                "dem": "Copernicus GLO-30",
                "speckle_filter": "none",
                "discarded": list(self._discarded),
            },
        )
        return SourceInfo(
            (variable,),
            version=VERSION,
            pitch=PITCH,
            concurrent_reads=CONCURRENT_READS,
            fetches_once=True,
            licence=LICENCE,
            citation=CITATION.format("Radiometric Terrain Corrected SAR Backscatter (RTC-S1)"),
            attributes={"asf": "OPERA_L2_RTC-S1_V1"},
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the bursts that meet the area in any slot, in order of time and name."""
        from m3leo_prep.sources.asf.opera.finding import find_bursts

        yield from find_bursts(self._bands, area, slots)

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002  items are dated
        """Yield the power of each burst around ``geobox``, on its own grid.

        Raises:
            CorruptError: a file is damaged, or not where the catalogue says.
            TransientError, CredentialsError, NoData, StoreError: from fetching its files.
        """
        for item in items:
            yield from read_burst(item, self._bands, self._discarded, geobox)

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:  # noqa: ARG002  items know
        """Return requests and bytes of fetching the files of all items, each file once."""
        from m3leo_prep.sources.asf.fetching import fetching
        from m3leo_prep.sources.asf.opera.telling import files_of

        return fetching(files_of(items))

    def advise(self, items: Sequence[Item], slots: Sequence[Slot]) -> Sequence[str]:
        """Return what to know of the bursts that were found."""
        from m3leo_prep.sources.asf.opera.telling import advise

        return advise(self._bands, items, slots)


if TYPE_CHECKING:
    _source: type[Source] = OperaRtc
