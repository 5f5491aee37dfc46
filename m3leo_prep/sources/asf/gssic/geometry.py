"""The product ``gssic-geometry``: local incidence, layover and shadow, for each relative orbit and direction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item, Slot, SourceInfo
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources.asf.gssic.metrics import GEOMETRY, Stack, geometric
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

_ORBIT = re.compile(r"(\d{1,3})([AD])_\w+")
"""``124D_inc``: N00E005_124D_inc.tif is in the tests of ASF's own STAC catalogue (github.com/ASFHyP3/asf-stac)."""
_DIRECTIONS = {"A": "ascending", "D": "descending"}


@dataclass(frozen=True, slots=True)
class GssicGeometry(Tiled):
    """Local incidence angle and layover and shadow, which belong to no season; orbits are never merged."""

    product: str = "gssic-geometry"
    _: KW_ONLY
    bands: Sequence[str] = GEOMETRY
    tile_list: str = ""
    """A CSV of the archive's files, with a column FILENAME or LINK; none = the bucket is asked."""
    _stacks: tuple[Stack, ...] = field(init=False, repr=False, compare=False)
    _by: ClassVar[Literal["season", "orbit"]] = "orbit"

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stacks", geometric(self.bands))

    def describe(self) -> SourceInfo:
        """Return the variables, a band each; the slots are orbits."""
        return SourceInfo(
            tuple(stack.variable for stack in self._stacks),
            VERSION,
            PITCH,
            slot_kinds=("orbit",),
            nothing=Reason.NOT_IN_DATASET,
            concurrent_reads=CONCURRENT_READS,
            fetches_once=True,
            licence=LICENCE,
            citation=CITATION,
            attributes={"period": "2019-12-01 to 2020-11-30"},
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the tiles that meet the area, each once an orbit.

        Raises:
            ConfigError: the slots are not orbits.
        """
        from m3leo_prep.sources.asf.gssic.catalogue import available

        if any(slot.kind != "orbit" for slot in slots):
            raise ConfigError("incidence, layover and shadow belong to an orbit", hint="say `slots: {orbits: 4}`")
        for tile, files in available(area, self.tile_list):
            for number, direction, said in _orbits(files):
                own = chosen(files, f"{said}_", self._stacks)
                if not own:
                    continue
                folder = next(iter(own.values())).key.split("/")[-2]
                about: dict[str, str | int | float] = {"tile": folder, "orbit": said, "relative_orbit": number}
                about |= {"orbit_direction": _DIRECTIONS[direction], **{name: file.size for name, file in own.items()}}
                yield Item(
                    f"{folder}_{said}",
                    tile.footprint,
                    version_of(own),
                    acquisition=f"{number:03d}{direction}",
                    properties=about,
                )


def _orbits(names: Iterable[str]) -> list[tuple[int, str, str]]:
    """Return number, direction and text (``124D``) of the orbits that files are of, in order."""
    found = [(_ORBIT.fullmatch(name), name) for name in names]
    return sorted({(int(match[1]), match[2], name.partition("_")[0]) for match, name in found if match})


if TYPE_CHECKING:
    _source: type[Source] = GssicGeometry
