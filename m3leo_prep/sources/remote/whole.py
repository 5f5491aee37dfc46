"""A file that cannot be read by its blocks from afar: it is fetched whole, and GDAL reads it here."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from m3leo_prep.sources.remote.files import Span
from m3leo_prep.sources.remote.layout import Header, Place, Run, header_of
from m3leo_prep.sources.remote.memory import opened_file


class Whole:
    """Blocks of a file on this machine.

    Args:
        path: of the file, held as long as this lives.
        driver: of GDAL.
        address: where it came from.
    """

    planes = 1
    cuts = False

    def __init__(self, path: Path, driver: str, address: str) -> None:
        self._path, self._driver, self.address = path, driver, address

    @cached_property
    def header(self) -> Header:
        """See ``Layout``."""
        with opened_file(str(self._path), self._driver, self.address) as data:
            return header_of(data)

    @cached_property
    def block(self) -> tuple[int, int]:
        """See ``Layout``."""
        with opened_file(str(self._path), self._driver, self.address) as data:
            rows, columns = data.block_shapes[0]
            return int(rows), int(columns)

    def span(self, place: Place) -> Span | None:
        """See ``Layout``."""
        del place
        return None

    def plan(self, places: Collection[Place], attempt: int) -> list[Run]:
        """See ``Layout``."""
        del attempt
        return [Run((0, 0), tuple(places))]

    def decode(self, run: Run, data: bytes) -> Iterator[tuple[Place, NDArray[Any]]]:
        """See ``Layout``."""
        from rasterio.windows import Window

        del data
        with opened_file(str(self._path), self._driver, self.address) as image:
            for place in run.places:
                _, row, col, _ = place
                r0, c0 = row * self.block[0], col * self.block[1]
                r1, c1 = min(r0 + self.block[0], image.height), min(c0 + self.block[1], image.width)
                yield place, image.read(window=Window(c0, r0, c1 - c0, r1 - r0))
