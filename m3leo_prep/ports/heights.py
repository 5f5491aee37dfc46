"""The optional ability of a source whose variables depend on the height of the ground."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.raster import Absent, Item, Raster, Slot

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox


class Heights(Protocol):
    """Heights of the ground, as the layer that ``dem:`` names has them."""

    @property
    def vertical_datum(self) -> str:
        """What they are above, as that layer tells: ``EGM2008 height``; empty if it tells nothing."""
        ...

    @property
    def missing_is_sea(self) -> bool:
        """Whether that layer tells that it has no heights of the sea (but may lack some land as well)."""
        ...

    def __call__(self, geobox: GeoBox, /) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return (y, x) metres at the pixel centres of any GeoBox, and where they are known."""
        ...


@runtime_checkable
class OnHeights(Protocol):
    """A source that needs heights for some variables (``SourceInfo.on_heights``), or for corrections."""

    def read_on_heights(
        self, items: Sequence[Item], geobox: GeoBox, slot: Slot, heights: Heights
    ) -> Iterable[Raster | Absent]:
        """Yield what ``read`` yields, and the variables on heights besides: those on ``geobox`` itself, all else alike.

        Raises:
            SourceError: as ``read`` does, and whatever reading the heights raises.
        """
        ...


@runtime_checkable
class OnDatum(Protocol):
    """A source that must know what heights are above; a plan asks it, before anything is read."""

    def check_datum(self, vertical_datum: str) -> None:
        """Raise ConfigError or MissingDependency if heights above this cannot be used."""
        ...
