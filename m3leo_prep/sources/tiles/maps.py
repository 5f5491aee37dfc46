"""What the maps of this source share: files of one product in a bucket, each an item, read in windows."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from m3leo_prep.core.errors import ConfigError, CorruptError
from m3leo_prep.core.products import Product, product
from m3leo_prep.core.raster import Absent, Item, Raster, Slot, SourceInfo, Variable
from m3leo_prep.sources.tiles.cells import Bounds, Cell, that_meet
from m3leo_prep.sources.tiles.source import Tiles

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.cost import Cost
    from m3leo_prep.sources.local.quantities import Quantity
    from m3leo_prep.sources.remote.access import Access

VERSION = "1"
"""Bumped when the same files would give other pixels."""
REGION = "eu-central-1"
CONCURRENT_READS = 4


class Listed(NamedTuple):
    """A file of the bucket."""

    key: str
    size: int = 0
    """In bytes; 0 = the list does not say."""
    etag: str = ""


class Map(Tiles):
    """A product whose items are files on a grid of whole degrees."""

    __slots__ = ()

    def describe(self) -> SourceInfo:
        """Return the one variable, as the table of products has it."""
        table, quantity = self._table, self._quantity
        variable = Variable(
            quantity.name,
            quantity.kind,
            tuple(band.name for band in quantity.bands or ()),
            quantity.unit or "1",
            quantity.long_name,
            quantity.legend,
            {**quantity.attributes, "source_crs": "EPSG:4326", **self._attributes},
        )
        return SourceInfo(
            (variable,),
            version=VERSION,
            pitch=table.pitch,
            is_static=True,
            year=table.year,
            concurrent_reads=CONCURRENT_READS,
            licence=table.licence,
            citation=table.reference,
            attributes={"bucket": f"s3://{self._bucket}"},
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:  # noqa: ARG002  maps have no times
        """Yield the files that meet ``area``, north first; where the bucket has none is sea, or not in the data set.

        Raises:
            TriedOut, RateLimited: the bucket does not answer.
            SourceError: its list is not what it was.
        """
        files = self._files()
        for cell, outline in that_meet({cell: self._bounds(cell) for cell in files}, area):
            file = files[cell]
            yield Item(
                file.key.rpartition("/")[2].removesuffix(".tif"),
                outline,
                file.etag,
                properties={
                    "cell": cell.name,
                    "url_map": f"s3://{self._bucket}/{file.key}",
                    **({"size_map": file.size} if file.size else {}),
                },
            )

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002  maps have no times
        """Yield the pixels of each file around ``geobox``, on its own grid in degrees.

        Raises:
            CorruptError: a file is damaged, not where its name says, or holds what the product has not.
            NoData, CredentialsError, TriedOut, RateLimited: from reading.
        """
        from m3leo_prep.sources._scenes import read_scene
        from m3leo_prep.sources.local.options import WHOLE
        from m3leo_prep.sources.local.reading import Layout

        layout, access = Layout((self._quantity,)), self._access()
        for item in items:
            try:
                yield from read_scene(layout, {WHOLE: str(item.properties["url_map"])}, {}, access, item, geobox)
            except ConfigError as error:  # nothing that a recipe says of the file
                hint = "tell the provider; this file is left out"
                raise CorruptError(error.message, where=error.where, hint=hint) from None

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:  # noqa: ARG002  maps have no times
        """Return requests and bytes of reading windows."""
        from m3leo_prep.sources._reading_cost import reading

        return reading(
            windows, items, ["map"], pitch=self._table.pitch, block=self._block, pixel_bytes=self._pixel_bytes(items)
        )

    def probe(self) -> str:
        """Return that the bucket answers, from its list of files."""
        return f"{self._bucket} answers: {len(self._files()):,} files, without a login"

    @property
    def _table(self) -> Product:
        return product(self._name)

    @property
    def _quantity(self) -> Quantity:
        from m3leo_prep.sources.local.quantities import parse_quantities

        (quantity,) = parse_quantities({}, "", None, self._table)
        return quantity

    def _access(self) -> Access:
        from m3leo_prep.sources.remote.access import Access

        return Access(self._bucket, os.environ.get("M3LEO_PREP_OPEN_S3", "").rstrip("/"), REGION)

    @property
    @abstractmethod
    def _name(self) -> str:
        """In the table of products."""

    @property
    @abstractmethod
    def _bucket(self) -> str: ...

    @property
    @abstractmethod
    def _attributes(self) -> Mapping[str, Any]:
        """What else a user must know of the numbers."""

    @property
    @abstractmethod
    def _block(self) -> int:
        """Pixels along what is compressed together."""

    @abstractmethod
    def _files(self) -> Mapping[Cell, Listed]:
        """Return the files that there are."""

    @abstractmethod
    def _bounds(self, cell: Cell) -> Bounds:
        """Return the outer edges of a file's pixels."""

    @abstractmethod
    def _pixel_bytes(self, items: Sequence[Item]) -> float:
        """Return the bytes of a compressed pixel."""
