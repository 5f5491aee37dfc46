"""Copernicus DEM GLO-30: heights of the surface, 1 arc second."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import SourceError
from m3leo_prep.core.raster import Item
from m3leo_prep.sources.tiles.cells import Bounds, Cell
from m3leo_prep.sources.tiles.maps import Listed, Map

if TYPE_CHECKING:
    from m3leo_prep.ports.source import Source
    from m3leo_prep.sources.remote.access import Access

BUCKET = "copernicus-dem-30m"
"""https://registry.opendata.aws/copernicus-dem/"""
ROWS = 3600
WIDTHS = ((50, 3600), (60, 2400), (70, 1800), (80, 1200), (85, 720), (90, 360))
"""Columns of a file that begins below a degree of latitude (https://copernicus-dem-30m.s3.amazonaws.com/readme.html)."""
NOTICE = (
    "produced using Copernicus WorldDEM-30 (c) DLR e.V. 2010-2014 and (c) Airbus Defence and Space GmbH 2014-2018 "
    "provided under COPERNICUS by the European Union and ESA; all rights reserved"
)
"""That the licence asks for."""
LIST_BYTES = 16 * 2**20
PIXEL_BYTES = 3.0
"""Of float32, deflated: heights of a surface hardly compress."""
_FOLDER = re.compile(r"Copernicus_DSM_COG_10_([NS]\d{2})_00_([EW]\d{3})_00_DEM")


@dataclass(frozen=True, slots=True)
class Glo30(Map):
    """Height of the surface (trees and buildings included) above EGM2008 in metres, float32; 1 x 1 degree a file.

    Centres of pixels lie on whole degrees. A file begins at the centre of its north-western pixel, and the row and the
    column that neighbours share were removed from its south and east. Where there is no file is sea, or one of few
    countries that are not released: not in the data set, never 0 m.
    """

    product: str = "glo30"

    @property
    def _name(self) -> str:
        return "copernicus-dem"

    @property
    def _bucket(self) -> str:
        return BUCKET

    @property
    def _attributes(self) -> Mapping[str, Any]:
        return {"surface": "top of trees and buildings", "missing_is_sea": True, "notice": NOTICE}

    @property
    def _block(self) -> int:
        return 1024

    def _files(self) -> Mapping[Cell, Listed]:
        return _listed(self._access())

    def _bounds(self, cell: Cell) -> Bounds:
        half_x, half_y = 0.5 / width(cell), 0.5 / ROWS
        return cell.west - half_x, cell.south + half_y, cell.west + 1 - half_x, cell.south + 1 + half_y

    def _pixel_bytes(self, items: Sequence[Item]) -> float:
        del items  # the list does not tell their sizes
        return PIXEL_BYTES


def width(cell: Cell) -> int:
    """Return the columns of a cell's file: fewer toward the poles."""
    nearest = cell.south if cell.south >= 0 else -(cell.south + 1)
    return next(columns for limit, columns in WIDTHS if nearest < limit)


@lru_cache(maxsize=4)
def _listed(access: Access) -> Mapping[Cell, Listed]:
    """Return the files that the bucket's own list names.

    Raises:
        SourceError: it names none.
        TriedOut, RateLimited: the bucket does not answer.
    """
    from m3leo_prep.sources.remote.files import whole

    address = f"s3://{BUCKET}/tileList.txt"
    found = {}
    for name in whole(address, access, limit=LIST_BYTES).decode("ascii", "replace").split():
        match = _FOLDER.fullmatch(name.rstrip("/"))
        cell = Cell.named(match[1] + match[2]) if match else None
        if cell is not None:
            folder = name.rstrip("/")
            found[cell] = Listed(f"{folder}/{folder}.tif")
    if not found:
        raise SourceError("the list names no file", where=address, hint="it may have moved: report it")
    return found


if TYPE_CHECKING:
    _source: type[Source] = Glo30
