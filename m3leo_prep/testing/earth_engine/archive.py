"""What the stand-in's images are: scenes with bands on grids of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

Read = Callable[[int, int, int, int], tuple[NDArray[Any], NDArray[np.bool_]]]
"""(row0, row1, col0, col1), inside the shape -> values and valid, both (y, x)."""


@dataclass(frozen=True, slots=True)
class SceneBand:
    """One band of a scene, in its own pixels."""

    name: str
    dtype: str
    """numpy's name of the type that Earth Engine says: uint8, uint16, int16, int32, float32, float64."""
    crs: str
    transform: tuple[float, float, float, float, float, float]
    """x = a col + b row + c, y = d col + e row + f of the pixels' outer corners."""
    shape: tuple[int, int]
    """Rows and columns."""
    read: Read


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Scene:
    """One image; another object is another image."""

    id: str
    """Full: ``COPERNICUS/S2_SR_HARMONIZED/20200105T104421_20200105T104420_T31UGR``."""
    footprint: BaseGeometry
    """Outline in lon/lat."""
    bands: tuple[SceneBand, ...]
    properties: Mapping[str, Any] = field(default_factory=dict)
    """``system:time_start`` (ms), ``system:index``, ``system:version`` ... as Earth Engine has them."""


class Archive(Protocol):
    """What the stand-in holds."""

    def image(self, name: str) -> Scene | None:
        """Return an image by its full id; None if there is none."""
        ...

    def collection(self, name: str) -> Sequence[Scene] | None:
        """Return the images of a collection in order of time and id; None if there is no such collection."""
        ...
