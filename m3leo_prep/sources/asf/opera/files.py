"""The raster files of one granule: fetched once, opened, and checked against each other and the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, CorruptError, SourceError, TransientError
from m3leo_prep.core.raster import Item
from m3leo_prep.sources._native import Window, transformer
from m3leo_prep.sources.local import pixels
from m3leo_prep.sources.local.grids import same_grid
from m3leo_prep.sources.local.header import Header, read_header

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

LONLAT = "EPSG:4326"


@dataclass(frozen=True, slots=True)
class Layer:
    """One raster file of a granule: single-band GeoTIFF."""

    item: Item
    name: str
    path: Path
    head: Header

    def read(self, window: Window) -> NDArray[Any]:
        """Return the pixels of a window inside the raster, as stored, (y, x); read-only.

        Raises:
            CorruptError: the file is damaged there.
        """
        with _told(self.item, self.name, self.path):
            return pixels.read(self.head, self.head.bands[0].key, window)


def open_layers(item: Item, names: Sequence[str]) -> dict[str, Layer]:
    """Return some of a granule's files, all on one grid, fetched if they are not there yet.

    Raises:
        CorruptError: one is damaged, lies on another grid than its neighbours, or not where the catalogue says.
        TransientError, CredentialsError, NoData, StoreError: from fetching.
    """
    layers = {name: _open(item, name) for name in names}
    first = next(iter(layers.values()))
    for layer in layers.values():
        _check_place(layer)
        if not same_grid(layer.head.geobox, first.head.geobox):
            raise CorruptError(
                f"lies on another grid ({_grid(layer.head.geobox)}) than layer {first.name} "
                f"({_grid(first.head.geobox)})",
                where=_where(item, layer.name),
                hint=_AGAIN,
            )
    return layers


def has(item: Item, name: str) -> bool:
    """Return whether a granule has a layer."""
    return f"url_{name}" in item.properties


def _open(item: Item, name: str) -> Layer:
    from m3leo_prep.sources.asf.service.granules import granule

    about = item.properties
    path = granule(
        str(about[f"url_{name}"]),
        size=int(about[f"size_{name}"]),
        checksum=str(about[f"checksum_{name}"]),
        kind="tiff",
    )
    with _told(item, name, path):
        return Layer(item, name, path, read_header(path))


def _check_place(layer: Layer) -> None:
    """Raise CorruptError unless the middle of the catalogue's outline lies on the file's grid.

    A wrong CRS puts the pixels elsewhere, or nowhere on the Earth.
    """
    geobox = layer.head.geobox
    middle = layer.item.footprint.representative_point()
    x, y = transformer(LONLAT, str(geobox.crs)).transform(middle.x, middle.y)
    col, row = ~geobox.transform * (x, y)
    rows, cols = geobox.shape
    if not (0 <= col <= cols and 0 <= row <= rows):  # false of what is not finite, too
        raise CorruptError(
            f"its pixels ({_grid(geobox)}) do not lie where the catalogue says, "
            f"around lon {middle.x:.3f}, lat {middle.y:.3f}: its CRS is wrong",
            where=_where(layer.item, layer.name),
            hint=_AGAIN,
        )


@contextmanager
def _told(item: Item, name: str, path: Path) -> Iterator[None]:
    """Say which granule and layer cannot be read; a file that made room for others meanwhile is fetched again."""
    try:
        yield
    except (SourceError, ConfigError) as error:
        where = _where(item, name)
        if not path.exists():
            raise TransientError("made room in the folder of downloads while it was read", where=where) from error
        raise CorruptError(error.message, where=where, hint=_AGAIN) from error


_AGAIN = "clear the folder of downloads and build again; if it comes back so, tell ASF"


def _where(item: Item, name: str) -> str:
    return f"{item.id}, layer {name}"


def _grid(geobox: GeoBox) -> str:
    x, y = geobox.transform * (0, 0)
    return f"{geobox.crs}, {geobox.shape[0]} x {geobox.shape[1]} px from {x:.10g}, {y:.10g}"
