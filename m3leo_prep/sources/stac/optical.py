"""Sentinel-2 Level-2A of any STAC catalogue: Earth Search, Planetary Computer, the Data Space, or somebody's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

from m3leo_prep.core.raster import Absent, Item, Raster, Slot, SourceInfo
from m3leo_prep.sources._sentinel2.choice import Choice, choose
from m3leo_prep.sources._sentinel2.clouds import PROBABILITY
from m3leo_prep.sources.stac.catalogues import CDSE, EARTH_SEARCH, PLANETARY_COMPUTER, Catalogue, catalogue
from m3leo_prep.sources.stac.source import Stac

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.cost import Cost
    from m3leo_prep.ports.source import Source

CONCURRENT_READS = 4
WAY_OUT = ": `collection: sentinel-2-c1-l2a` keeps the product's own numbers"


@dataclass(frozen=True, slots=True)
class S2L2A(Stac):
    """Surface reflectance, float32, without clouds; beside it, where asked for, the classes and what they rest on."""

    product: str = "s2-l2a"
    _: KW_ONLY
    catalogue: str = EARTH_SEARCH
    """``earth-search``, ``planetary-computer``, ``cdse``, or the address of another one."""
    collection: str = ""
    """Empty: the catalogue's own of this product."""
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
    _collection: str = field(init=False, repr=False, compare=False)

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
        collection = self.collection or catalogue(self.catalogue).collection(self.product)
        object.__setattr__(self, "_choice", choice)
        object.__setattr__(self, "_collection", collection)

    def describe(self) -> SourceInfo:
        """Return the variables that were chosen, on the finest grid of their bands."""
        from m3leo_prep.sources._sentinel2.granules import HARMONISED

        name = catalogue(self.catalogue).name
        is_own = name in {CDSE, PLANETARY_COMPUTER} or self._collection != HARMONISED
        return self._choice.describe(
            dear_blocks=name == CDSE,
            concurrent_reads=CONCURRENT_READS,
            source=f"{name}, {self._collection}",
            # Where the offset was taken away, nobody says what became of numbers below it.
            negative="kept" if is_own else "unknown",
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the images that meet the area in any slot, each tile of a data take in its newest processing."""
        yield from find_images(catalogue(self.catalogue), self._collection, self._choice, area, slots)

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002  items are dated
        """Yield what each image has around ``geobox``, on its own grid.

        Raises:
            CorruptError: a file is damaged, or what is said of its offset does not fit together.
            TransientError, CredentialsError: from reading.
        """
        yield from read_images(catalogue(self.catalogue), self._choice, items, geobox)

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:
        """Return requests and bytes of the blocks that windows touch."""
        from m3leo_prep.sources._sentinel2.telling import estimate

        cost = estimate(self._choice, windows, slots, items)
        if catalogue(self.catalogue).name != CDSE:
            return cost
        from m3leo_prep.sources.copernicus.service.volume import estimated

        return estimated(cost.requests, cost.bytes, notes=cost.notes)

    def advise(self, items: Sequence[Item], slots: Sequence[Slot]) -> Sequence[str]:
        """Return what to know of the images that were found."""
        from m3leo_prep.sources._sentinel2.telling import advise

        return advise(self._choice, items, slots, way_out=WAY_OUT)


def find_images(
    where: Catalogue, collection: str, choice: Choice, area: BaseGeometry, slots: Sequence[Slot]
) -> Iterator[Item]:
    """Yield the images of a collection that meet an area in any slot; see ``granules.items_of``."""
    from m3leo_prep.sources._sentinel2.granules import items_of, spans
    from m3leo_prep.sources.stac.search import search

    times = spans(slots, collection)
    yield from items_of((one for span in times for one in search(where, [collection], area, *span)), choice, slots)


def read_images(where: Catalogue, choice: Choice, items: Sequence[Item], geobox: GeoBox) -> Iterator[Raster | Absent]:
    """Yield what images of a catalogue have around ``geobox``; see ``reading.read_image``."""
    from m3leo_prep.sources._sentinel2.reading import read_image

    access = where.access()
    for item in items:
        yield from read_image(item, choice, access, geobox)


if TYPE_CHECKING:
    _source: type[Source] = S2L2A
