"""Taking the rasters out of a product's archive, which is not trusted."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from m3leo_prep.sources._archives import Limits, extract

MOST_BYTES = 24 * 2**30
"""Of all rasters of a product together: an RTC product of 10 m has about 25 000 x 20 000 pixels of 4 bytes a raster."""
MOST_RATIO = 200
"""Bytes a compressed one may become: a GeoTIFF is compressed in itself, so that an archive saves little; ..."""
SMALL = 64 * 2**20
"""... of more than this, where even zeros do no harm."""
_AGAIN = "look at the job in ASF Vertex (On Demand products); it is fetched again by the next build"
_ROOM = "free some space, or name a larger disk in M3LEO_PREP_ORDERS"


def unpack(archive: Path, folder: Path, suffixes: Collection[str]) -> None:
    """Write the files of an archive whose names end in ``_SUFFIX.tif`` as ``folder/SUFFIX.tif``, and its ``NAME.txt``.

    Names of the archive are never used as paths. The folder appears whole or not at all.

    Raises:
        CorruptError: no archive, damaged, with names that lead out of it, or far larger than a product is.
        StoreError: the disk is full or cannot be written.
    """

    def name_of(path: PurePosixPath) -> str:
        """Return what a file of the archive is called here; nothing if it is not needed."""
        if path.name == f"{path.parent.name}.txt":
            return "product.txt"
        return next((f"{suffix}.tif" for suffix in suffixes if path.name.endswith(f"_{suffix}.tif")), "")

    limits = Limits(MOST_BYTES, MOST_RATIO, SMALL)
    extract(archive, folder, name_of, _missing, limits, again=_AGAIN, room=_ROOM)


def _missing(names: Collection[str]) -> str:
    has_raster = any(name.endswith(".tif") for name in names)
    return "" if has_raster else "the archive holds no raster of the product"
