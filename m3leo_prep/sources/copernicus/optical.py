"""Sentinel-2 of the Copernicus Data Space: Level-2A and Level-1C, JPEG 2000 as ESA delivers it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

from m3leo_prep.core.raster import Absent, Item, Raster, Slot, SourceInfo
from m3leo_prep.sources._sentinel2.choice import Choice, choose
from m3leo_prep.sources._sentinel2.clouds import PROBABILITY
from m3leo_prep.sources.copernicus.source import Copernicus

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.cost import Cost
    from m3leo_prep.ports.source import Source

CONCURRENT_READS = 2
"""The Data Space allows 4 connections, which the files of one image fill; a second image is decoded meanwhile."""


class Optical(Copernicus):
    """What both levels do."""

    __slots__ = ()
    product: str
    _choice: Choice

    def describe(self) -> SourceInfo:
        """Return the variables that were chosen, on the finest grid of their bands."""
        return self._choice.describe(
            dear_blocks=True, concurrent_reads=CONCURRENT_READS, source=f"Copernicus Data Space, {self.product}"
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the images that meet the area in any slot, each tile of a data take in its newest processing."""
        from m3leo_prep.sources.stac.catalogues import CDSE, catalogue
        from m3leo_prep.sources.stac.optical import find_images

        where = catalogue(CDSE)
        yield from find_images(where, where.collection(self.product), self._choice, area, slots)

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002  items are dated
        """Yield what each image has around ``geobox``, on its own grid.

        Raises:
            CorruptError: a file is damaged, or what is said of its offset does not fit together; or it is offline.
            TransientError, CredentialsError: from reading.
        """
        from m3leo_prep.sources.copernicus.service.products import check_online
        from m3leo_prep.sources.stac.catalogues import CDSE, catalogue
        from m3leo_prep.sources.stac.optical import read_images

        for given in read_images(catalogue(CDSE), self._choice, items, geobox):
            if isinstance(given, Absent):
                check_online(given.item.id)
            yield given

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:
        """Return requests and bytes of the blocks that windows touch, and what they take of a month's volume."""
        from m3leo_prep.sources._sentinel2.telling import estimate
        from m3leo_prep.sources.copernicus.service.volume import estimated

        cost = estimate(self._choice, windows, slots, items)
        return estimated(cost.requests, cost.bytes, notes=cost.notes)

    def advise(self, items: Sequence[Item], slots: Sequence[Slot]) -> Sequence[str]:
        """Return what to know of the images that were found."""
        from m3leo_prep.sources._sentinel2.telling import advise

        return advise(self._choice, items, slots)


@dataclass(frozen=True, slots=True)
class S2L2A(Optical):
    """Surface reflectance, float32, without clouds; beside it, where asked for, the classes and what they rest on."""

    product: str = "s2-l2a"
    _: KW_ONLY
    bands: Sequence[str] = ()
    """``[red, green, blue]`` or ``[B04, B03, B02]``, in order; none = all 12."""
    variables: Sequence[str] = ()
    """``reflectance``, ``scl``, ``aot``, ``wvp``, ``cloud_probability``; none = reflectance."""
    cloud: str = ""
    """What says that a pixel is cloud: ``scl`` (where nothing is said), ``probability`` or ``none``."""
    cloud_classes: Sequence[int] = ()
    """Of ``scl``: classes that are discarded; none = 3, 8, 9, 10."""
    max_probability: float = PROBABILITY
    """Of ``probability``: percent above which a pixel is discarded."""
    dilate: float = 0.0
    """Metres around discarded pixels in which all are discarded."""
    max_cloud: float | None = None
    """Images with more cloud, in percent of the tile, are left out."""
    coarse_bands: str = "nearest"
    """How bands of 20 and 60 m come into a layer with finer ones: ``nearest`` repeats them, ``bilinear``."""
    _choice: Choice = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        choice = choose(
            "2A",
            bands=self.bands,
            variables=self.variables,
            cloud=self.cloud,
            cloud_classes=self.cloud_classes,
            max_probability=self.max_probability,
            dilate=self.dilate,
            max_cloud=self.max_cloud,
            coarse_bands=self.coarse_bands,
        )
        object.__setattr__(self, "_choice", choice)


@dataclass(frozen=True, slots=True)
class S2L1C(Optical):
    """Top-of-atmosphere reflectance, float32, 13 bands; the level has no scene classification, and clouds stay in."""

    product: str = "s2-l1c"
    _: KW_ONLY
    bands: Sequence[str] = ()
    """``[red, cirrus]`` or ``[B04, B10]``, in order; none = all 13."""
    cloud: str = ""
    """``none``: there is no rule."""
    max_cloud: float | None = None
    """Images with more cloud, in percent of the tile, are left out."""
    coarse_bands: str = "nearest"
    """How bands of 20 and 60 m come into a layer with finer ones: ``nearest`` repeats them, ``bilinear``."""
    _choice: Choice = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        choice = choose(
            "1C", bands=self.bands, cloud=self.cloud, max_cloud=self.max_cloud, coarse_bands=self.coarse_bands
        )
        object.__setattr__(self, "_choice", choice)


if TYPE_CHECKING:
    _products: list[type[Source]] = [S2L2A, S2L1C]
