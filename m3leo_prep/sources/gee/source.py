"""The source ``gee``: what a recipe may say, and who does what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.plan import digest_of
from m3leo_prep.core.raster import Item, Raster, Slot, SourceInfo
from m3leo_prep.sources.gee.choice import Choice
from m3leo_prep.sources.gee.options import choose

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.cost import Cost
    from m3leo_prep.ports.source import Source

VERSION = "1"
"""Bumped when the same images would give other pixels."""
CONCURRENT_READS = 16
"""Windows of a unit under way at once, where memory allows: each is one to four requests of the 40 there may be."""


@dataclass(frozen=True, slots=True)
class EarthEngine:
    """A product of Google Earth Engine, another collection of it, or an image that a user's function makes.

    Constructing checks the options; it imports no client and opens no connection.
    """

    product: str = ""
    """Name of a product of the table, see docs/reference/earth-engine-products.md."""
    _: KW_ONLY
    bands: Sequence[str] = ()
    """Bands to deliver, in order; none = the product's main ones."""
    variables: Any = None
    """Of a product: names of its quantities. Of ``collection`` and ``script``: name -> kind, bands, unit, scale ..."""
    year: int | None = None
    """The one year of a layer without slots."""
    orbits: Sequence[str] = ("ascending", "descending")
    """Of radar: directions; each is a set of bands."""
    relative_orbits: Any = "all"
    """Of radar: ``all``, ``best`` (the track that covers most) or a list of numbers."""
    cloud: str = ""
    """Of Sentinel-2: ``scl``, ``qa60``, ``cloud_score`` or ``none``; empty = the product's own."""
    cloud_classes: Sequence[int] = ()
    """Of ``scl``: classes that are discarded; none = 3, 8, 9, 10."""
    clear_from: float = 0.6
    """Of ``cloud_score``: least score (cs_cdf) of a clear pixel."""
    max_cloud: float | None = None
    """Images with more percent of cloud are left out."""
    kernel: str = ""
    """``nearest``, ``bilinear`` or ``bicubic``, on Earth Engine's side; empty = the product's own."""
    composite: str = ""
    """``server``: Earth Engine composites, on our lattice. ``local``: images come in their own pixels and are warped
    here, at many times the bytes. Empty = the product's own."""
    statistic: str = ""
    """How the images of a slot become one; a layer's own ``statistic:`` comes here."""
    collection: str = ""
    """Id of any image collection, instead of ``product``."""
    filters: Mapping[str, Any] = field(default_factory=dict)
    """Property -> value, list of values, or ``{min, max}``, for ``collection`` (and beside a product's own)."""
    pitch: float | None = None
    """Of ``collection`` and ``script``: native pixel size in metres."""
    script: str = ""
    """``file.py:function``, relative to the recipe: it returns an ``ee.Image`` or ``ee.ImageCollection``."""
    licence: str = ""
    citation: str = ""
    _choice: Choice = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_choice", choose(self))

    def describe(self) -> SourceInfo:
        """Return variables, native pitch, licence; the version holds the product's row and the user's script."""
        choice, row = self._choice, self._choice.row
        return SourceInfo(
            tuple(quantity.variable for quantity in choice.quantities),
            version=f"{VERSION}-{digest_of(_numbers(choice))[:12]}",
            pitch=row.pitch,
            is_static=bool(row.name) and row.first is None and not row.years,
            composites=choice.mode != "native",
            concurrent_reads=CONCURRENT_READS,
            licence=row.licence,
            citation=row.citation,
            attributes={"earth_engine": row.asset or row.title} | dict(row.attributes),
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the images that meet the area in any slot, in order of time and id."""
        from m3leo_prep.sources.gee.finding.listing import find

        yield from find(self._choice, area, slots)

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:
        """Yield what the images give: see ``Source.read`` and ``SourceInfo.composites``."""
        match self._choice.mode:
            case "native":
                from m3leo_prep.sources.gee.reading.native import read
            case "composite":
                from m3leo_prep.sources.gee.reading.composite import read
            case "computed":
                from m3leo_prep.sources.gee.custom import read
        yield from read(self._choice, items, geobox, slot)

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:
        """Return requests, bytes and time of reading all windows in all slots."""
        from m3leo_prep.sources.gee.cost import estimate

        return estimate(self._choice, windows, slots, items)

    def measure(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Cost:
        """Read one window and return what it took, in EECU hours too."""
        from m3leo_prep.sources.gee.cost import measure

        return measure(self._choice, items, geobox, slot)

    def advise(self, items: Sequence[Item], slots: Sequence[Slot]) -> Sequence[str]:
        """Return what to know of the images that were found: slots or directions without any."""
        from m3leo_prep.sources.gee.finding.advice import advise

        return advise(self._choice, items, slots)

    def probe(self) -> str:
        """Return which login was found and that the project answers; one tiny request."""
        from m3leo_prep.sources.gee.service.session import session

        return session().probe()


def _numbers(choice: Choice) -> list[Any]:
    """Return what of a product's row, and of a script, decides numbers: a title or a licence may be corrected."""
    row = choice.row
    read = [
        [q.variable.name, q.names, q.dtype, q.transform, q.scale, q.offset, q.nodata, q.flags, q.valid_range]
        for q in choice.quantities
    ]
    how = [choice.mode, choice.kernel, choice.statistic, choice.cloud, choice.cloud_classes, choice.clear_from]
    return [row.asset, row.family, dict(row.filters), read, how, choice.code]


if TYPE_CHECKING:
    _source: type[Source] = EarthEngine
