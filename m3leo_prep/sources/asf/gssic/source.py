"""The product ``gssic``: seasonal coherence, backscatter and the decay of coherence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from m3leo_prep.core.raster import Item, Slot, SourceInfo
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources.asf.gssic.metrics import Stack, seasonal
from m3leo_prep.sources.asf.gssic.seasons import MONTHS, SEASONS, YEAR, seasons_of
from m3leo_prep.sources.asf.gssic.tiled import (
    CITATION,
    CONCURRENT_READS,
    LICENCE,
    PITCH,
    VERSION,
    Tiled,
    chosen,
    version_of,
)

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.source import Source

ATTRIBUTES: Mapping[str, Any] = MappingProxyType({"period": "2019-12-01 to 2020-11-30", "seasons": MONTHS})


@dataclass(frozen=True, slots=True)
class Gssic(Tiled):
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
    _by: ClassVar[Literal["season", "orbit"]] = "season"

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


if TYPE_CHECKING:
    _source: type[Source] = Gssic
