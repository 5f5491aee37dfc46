"""The product ``gssic``: seasonal coherence, backscatter and the decay of coherence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.plan import digest_of
from m3leo_prep.core.raster import Absent, Item, Raster, Slot, SourceInfo
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources.asf.gssic.metrics import Stack, seasonal
from m3leo_prep.sources.asf.gssic.seasons import MONTHS, SEASONS, YEAR, seasons_of
from m3leo_prep.sources.asf.source import Asf

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.cost import Cost
    from m3leo_prep.ports.source import Source
    from m3leo_prep.sources.asf.gssic.catalogue import Listed

VERSION = "1"
"""Bumped when the same files would give other pixels."""
PITCH = 92.7
"""Metres: 3 arc seconds."""
CONCURRENT_READS = 4
"""Windows of a unit under way at once, each of which fetches its files side by side."""
LICENCE = "CC-BY-4.0"
CITATION = (
    "Kellndorfer et al. (2022): Global seasonal Sentinel-1 interferometric coherence and backscatter data set. "
    "Sci Data 9, 73. https://doi.org/10.1038/s41597-022-01189-6"
)
ATTRIBUTES: Mapping[str, Any] = MappingProxyType({"period": "2019-12-01 to 2020-11-30", "seasons": MONTHS})


@dataclass(frozen=True, slots=True)
class Gssic(Asf):
    """Medians of coherence, mean backscatter and decay of coherence, of four seasons, on 3 arc seconds."""

    product: str = "gssic"
    _: KW_ONLY
    variables: Any = None
    """``coherence``, ``backscatter``, ``decay``: names, or name -> bands; none = all three with their main bands."""
    polarisation: str = "vv"
    """Of coherence and decay: ``vv``, or ``hh`` (mostly polar). Backscatter names its own as bands."""
    tile_list: str = ""
    """A CSV of the archive's files, with a column FILENAME or LINK; none = the bucket is asked."""
    _stacks: tuple[Stack, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stacks", seasonal(self.variables, self.polarisation))

    def describe(self) -> SourceInfo:
        """Return the variables; the only year is 2020."""
        return SourceInfo(
            tuple(stack.variable for stack in self._stacks),
            VERSION,
            PITCH,
            year=YEAR,
            nothing=Reason.NOT_IN_DATASET,
            concurrent_reads=CONCURRENT_READS,
            fetches_once=True,
            licence=LICENCE,
            citation=CITATION,
            attributes=ATTRIBUTES,
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the tiles that meet the area, each once a season.

        Raises:
            ConfigError: a slot is not made of whole seasons of 2020.
        """
        from m3leo_prep.sources.asf.gssic.catalogue import available

        seasons = seasons_of(slots)
        for tile, files in available(area, self.tile_list):
            if not any(name.startswith(f"{season.name}_") for season in SEASONS for name in files):
                continue
            folder = next(iter(files.values())).key.split("/")[-2]
            for season in seasons:
                own = chosen(files, f"{season.name}_", self._stacks)
                yield Item(
                    f"{folder}_{season.name}",
                    tile.footprint,
                    version_of(own),
                    season.middle,
                    f"{season.name}_{YEAR}",
                    {"tile": folder, "season": season.name, **{name: file.size for name, file in own.items()}},
                )

    def read(
        self,
        items: Sequence[Item],
        geobox: GeoBox,
        slot: Slot,  # noqa: ARG002  an item knows its season
    ) -> Iterable[Raster | Absent]:
        """Yield the pixels around ``geobox``; see ``Source``."""
        from m3leo_prep.sources.asf.gssic.reading import read

        return read(self._stacks, items, geobox, "season", self.tile_list)

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:  # noqa: ARG002  items know theirs
        """Return requests and bytes of fetching what the windows want of all items."""
        from m3leo_prep.sources.asf.gssic.cost import fetching

        return fetching(items, [name for stack in self._stacks for name in stack.files], windows)

    def probe(self) -> str:
        """Return that the bucket answers; one request."""
        return told()


def chosen(files: Mapping[str, Listed], prefix: str, stacks: Sequence[Stack]) -> dict[str, Listed]:
    """Return those files that the stacks are made of, by metric, in their order."""
    names = [name for stack in stacks for name in stack.files]
    return {name: files[prefix + name] for name in names if prefix + name in files}


def version_of(files: Mapping[str, Listed]) -> str:
    """Return what changes with the content of any of some files, as far as the archive tells."""
    return digest_of([[name, file.size, file.etag] for name, file in files.items()])[:16]


def told() -> str:
    """Return one line on the bucket, from the listing of one tile."""
    from m3leo_prep.sources.asf.gssic.bucket import BUCKET, Refused, listing

    tile = "N48W090"
    try:
        files = len(listing(f"data/tiles/{tile}"))
    except Refused:
        return f"{BUCKET} answers, and does not let itself be listed: give `tile_list:`"
    return f"{BUCKET} answers: {files} files of tile {tile}"


if TYPE_CHECKING:
    _source: type[Source] = Gssic
