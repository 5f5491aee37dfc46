"""The port through which pixels come in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from m3leo_prep.core.raster import Absent, Item, Raster, Slot, SourceInfo

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry


@runtime_checkable
class Source(Protocol):
    """One configured origin of pixels; built with the keyword options of a recipe's layer.

    Constructing touches neither network nor pixels. All methods may be called from many threads at once,
    and a source pickles (it may be sent to worker processes).
    """

    def describe(self) -> SourceInfo:
        """Return variables, version and limits. Cheap, always the same answer."""
        ...

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the items whose footprint meets ``area`` (lon/lat) in any of the slots.

        Metadata only. Order and content are deterministic; no item comes twice.
        """
        ...

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:
        """Yield for each item (in order) and variable the pixels needed to cover ``geobox``, or that it has none.

        A raster is on the item's own grid and reaches at least ``READ_MARGIN`` pixels (its own, or of ``geobox``
        where those are coarser) beyond ``geobox`` wherever the item has data, so that kernels see their whole
        neighbourhood and no pixel depends on how the work is cut. An item without data there yields nothing.

        A source whose items are ``joint`` is asked for all items of one acquisition together. One that composites
        (``SourceInfo.composites``) is asked for all items of the slot that may reach ``geobox``, and yields one raster
        for each variable: what they make together, with the first of the items. It has resampled already where the
        variable names a ``kernel``, and needs no margin then.

        Raises:
            TransientError: worth another try.
            TriedOut, RateLimited: not worth another try in this run.
            TooLarge: may work for a smaller ``geobox``.
            CorruptError: this item is damaged.
        """
        ...


@runtime_checkable
class Probing(Protocol):
    """A source that can tell at once whether it works: an optional ability, asked for by ``doctor``."""

    def probe(self) -> str:
        """Return one line for a person, such as ``logged in as jane`` or ``12 files in rasters/``.

        At most one tiny request: enough to see that the login holds and the provider answers. No secret is told.

        Raises:
            CredentialsError: no or refused login; the hint is the step.
            MissingDependency: a package is missing; the hint is the install line.
            SourceError: the provider does not answer, or the files are not there.
        """
        ...


READ_MARGIN = 4
"""Pixels of margin that ``Source.read`` returns around the target, enough for every kernel."""
