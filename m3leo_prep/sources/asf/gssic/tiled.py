"""What the two products of GSSIC share: tiles of one archive, read in one way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from m3leo_prep.core.plan import digest_of
from m3leo_prep.core.raster import Absent, Item, Raster, Slot
from m3leo_prep.sources.asf.gssic.metrics import Stack
from m3leo_prep.sources.asf.source import Asf

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from m3leo_prep.ports.cost import Cost
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


class Tiled(Asf):
    """A product whose items are tiles, each of one season or one orbit."""

    __slots__ = ()
    tile_list: str
    _stacks: tuple[Stack, ...]
    _by: ClassVar[Literal["season", "orbit"]]
    """Property of an item with which the names of its files begin."""

    def read(
        self,
        items: Sequence[Item],
        geobox: GeoBox,
        slot: Slot,  # noqa: ARG002  an item knows its season or orbit
    ) -> Iterable[Raster | Absent]:
        """Yield the pixels around ``geobox``; see ``Source``."""
        from m3leo_prep.sources.asf.gssic.reading import read

        return read(self._stacks, items, geobox, self._by, self.tile_list)

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:  # noqa: ARG002  items know theirs
        """Return requests and bytes of fetching what the windows want of all items."""
        from m3leo_prep.sources.asf.gssic.cost import fetching

        return fetching(items, [name for stack in self._stacks for name in stack.files], windows)

    def probe(self) -> str:
        """Return that the bucket answers, from the listing of one tile."""
        from m3leo_prep.sources.asf.gssic.bucket import BUCKET, Refused, listing

        tile = "N48W090"
        try:
            files = len(listing(f"data/tiles/{tile}"))
        except Refused:
            return f"{BUCKET} answers, and does not let itself be listed: give `tile_list:`"
        return f"{BUCKET} answers: {files} files of tile {tile}"


def chosen(files: Mapping[str, Listed], prefix: str, stacks: Sequence[Stack]) -> dict[str, Listed]:
    """Return those files that the stacks are made of, by metric, in their order."""
    names = [name for stack in stacks for name in stack.files]
    return {name: files[prefix + name] for name in names if prefix + name in files}


def version_of(files: Mapping[str, Listed]) -> str:
    """Return what changes with the content of any of some files, as far as the archive tells."""
    return digest_of([[name, file.size, file.etag] for name, file in files.items()])[:16]
