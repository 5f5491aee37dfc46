"""ESA WorldCover: land cover in 11 classes, 10 m, of 2020 (v100) and 2021 (v200)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.core.raster import Item
from m3leo_prep.sources.tiles.cells import Bounds, Cell
from m3leo_prep.sources.tiles.maps import Listed, Map

if TYPE_CHECKING:
    from m3leo_prep.ports.source import Source
    from m3leo_prep.sources.remote.access import Access

WHERE = "source 'tiles', product 'worldcover'"
BUCKET = "esa-worldcover"
"""https://registry.opendata.aws/esa-worldcover-vito/"""
YEARS = {2020: "v100", 2021: "v200"}
DEGREES = 3
PIXELS = 36_000
"""Along a tile: 1 / 12000 of a degree each."""
TYPICAL_BYTES = 45_000_000
"""Of a tile: 117 GB in 2651 tiles (https://worldcover2020.esa.int/download)."""
_FILE = re.compile(r"ESA_WorldCover_10m_\d{4}_v\d{3}_([NS]\d{2}[EW]\d{3})_Map\.tif")


@dataclass(frozen=True, slots=True)
class WorldCover(Map):
    """Classes of land cover, uint8; 3 x 3 degrees a file.

    The two years were made by two versions of the method: what differs between them is not all change
    (https://esa-worldcover.org/en/data-access).
    """

    product: str = "worldcover"
    _: KW_ONLY
    year: int | None = None
    """2020 or 2021; with ``product: worldcover`` it must be said."""

    def __post_init__(self) -> None:
        version = self.product.removeprefix("worldcover").removeprefix("-")
        known = {made: year for year, made in YEARS.items()}
        hint = "year: 2020 (v100) or year: 2021 (v200)"
        if self.year is None and not version:
            raise ConfigError("year: say of which year", where=WHERE, hint=hint)
        if self.year is not None and (self.year not in YEARS or (version and known[version] != self.year)):
            of = f" of {version}" if version else ""
            raise ConfigError(f"year: there is no map{of} of {self.year!r}", where=WHERE, hint=hint)

    @property
    def _version(self) -> str:
        return YEARS[self.year] if self.year is not None else self.product.removeprefix("worldcover-")

    @property
    def _name(self) -> str:
        return f"worldcover-{self._version}"

    @property
    def _bucket(self) -> str:
        return BUCKET

    @property
    def _attributes(self) -> Mapping[str, str]:
        return {}

    @property
    def _block(self) -> int:
        return 1024

    def _files(self) -> Mapping[Cell, Listed]:
        return _listed(self._version, self._access())

    def _bounds(self, cell: Cell) -> Bounds:
        return cell.west, cell.south, cell.west + DEGREES, cell.south + DEGREES

    def _pixel_bytes(self, items: Sequence[Item]) -> float:
        """Return the mean of the files in question, as the bucket tells their sizes."""
        sizes = [int(item.properties.get("size_map", TYPICAL_BYTES)) for item in items] or [TYPICAL_BYTES]
        return sum(sizes) / len(sizes) / PIXELS**2


@lru_cache(maxsize=4)
def _listed(version: str, access: Access) -> Mapping[Cell, Listed]:
    """Return the files of a version, as the bucket lists them.

    Raises:
        SourceError: it lists none.
        TriedOut, RateLimited: it does not answer.
    """
    from m3leo_prep.sources.remote.objects import listing

    year = {made: year for year, made in YEARS.items()}[version]
    folder = f"s3://{BUCKET}/{version}/{year}/map"
    found = {}
    for key, size, etag in listing(folder, access):
        match = _FILE.fullmatch(key.rpartition("/")[2])
        cell = Cell.named(match[1]) if match else None
        if cell is not None:
            found[cell] = Listed(key, size, etag)
    if not found:
        raise SourceError("the bucket lists no map here", where=folder, hint="it may have moved: report it")
    return found


if TYPE_CHECKING:
    _source: type[Source] = WorldCover
