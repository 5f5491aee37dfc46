"""The optional ability of a source whose variables depend on the height of the ground."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.raster import Absent, Item, Raster, Slot

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Heights = Callable[["GeoBox"], tuple[NDArray[np.float32], NDArray[np.bool_]]]
"""Gives (y, x) metres at the pixel centres of any GeoBox, as the layer's ``dem`` says, and where they are known."""


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
