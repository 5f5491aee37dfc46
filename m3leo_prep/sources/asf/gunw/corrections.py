"""Delays and motions that a granule of version 3 holds beside its phase, to be subtracted from it.

All are in radians and have the sign of the phase, positive towards the satellite, so that what is subtracted is
reference minus secondary (the phase is later minus earlier, and the reference is the later one):

- ``ionosphere``: 33 arc seconds (1 km), already a difference, which "can be directly subtracted from the unwrappedPhase
  field" (ASFHyP3/hyp3-docs, docs/guides/gunw_product_guide.md). Not its ``ionosphereBurstRamps``.
- ``solid_earth_tide``: 0.1 degree, of each date: motion "towards satellite" times 4 pi / wavelength
  (``isce2_topsapp/solid_earth_tides.py`` of ACCESS-Cloud-Based-InSAR/DockerizedTopsApp).
- ``troposphere``: 0.05 degree, wet and hydrostatic delay of each date in metres times -4 pi / wavelength
  (``tools/RAiDER/aria/calcGUNW.py`` of dbekaert/RAiDER), by the weather model HRRR: United States only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ports.heights import Heights
from m3leo_prep.sources.asf.gunw.geometry import places

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from m3leo_prep.sources.asf.gunw.file import GunwFile

_TIDE = "corrections/external/tides/solidEarth"
_WEATHER = "corrections/external/troposphere/HRRR"
IONOSPHERE = "corrections/derived/ionosphere/ionosphere"
"""Below ``science/grids``, like the following."""
CUBES: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "solid_earth_tide": ((f"{_TIDE}/reference/solidEarthTide", f"{_TIDE}/secondary/solidEarthTide"),),
        "troposphere": tuple(
            (f"{_WEATHER}/reference/{part}", f"{_WEATHER}/secondary/{part}")
            for part in ("troposphereWet", "troposphereHydrostatic")
        ),
    }
)
"""By the name of a correction that changes with height, the paths of its (reference, secondary) cubes."""
NAMES = ("ionosphere", *CUBES)
"""All corrections there are."""


def lacking(file: GunwFile, names: Collection[str]) -> tuple[str, ...]:
    """Return those of ``names`` that the granule does not hold, as those of version 2 hold none."""

    def paths(name: str) -> list[str]:
        return [path for pair in CUBES[name] for path in pair] if name in CUBES else [IONOSPHERE]

    return tuple(name for name in names if not all(file.has(path) for path in paths(name)))


def subtracted(
    file: GunwFile, names: Collection[str], geobox: GeoBox, heights: Heights | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return what to subtract from unwrapped phase on ``geobox``, (y, x) radians, and where all of it is known.

    The sum of the corrections in ``names``, each interpolated linearly between its nodes. Nothing is extrapolated:
    within a node of the edge of the ionosphere's valid part, and outside the nodes, it is not known.

    Args:
        file: a granule that lacks none of them.
        names: of ``NAMES``.
        geobox: pixels, usually those of the product.
        heights: of the ground; needed for all but the ionosphere.

    Raises:
        ConfigError: heights are needed and there are none.
        CorruptError: the granule holds no such correction.
    """
    total = np.zeros(geobox.shape)
    if "ionosphere" in names:
        total += ionosphere(file, geobox)
    if deep := [name for name in CUBES if name in names]:
        if heights is None:
            raise ConfigError(
                f"{' and '.join(deep)} cannot be subtracted without heights: the product holds it at several heights",
                where="corrections",
                hint="name a layer of the recipe that holds heights in m: `dem: NAME`",
            )
        height, known = heights(geobox)
        height = np.where(known, height, np.nan)
        for reference, secondary in (pair for name in deep for pair in CUBES[name]):
            for path, sign in ((reference, 1.0), (secondary, -1.0)):
                cube = file.cube(path)
                total += sign * cube.at(height, *places(file, geobox, cube.lons))
    return total, np.isfinite(total)


def ionosphere(file: GunwFile, geobox: GeoBox) -> NDArray[np.float64]:
    """Return the differential phase of the ionosphere on ``geobox``, (y, x) radians, NaN where it is not known.

    Raises:
        CorruptError: the granule holds none.
    """
    plane = file.plane(IONOSPHERE)
    return plane.at(*places(file, geobox, plane.lons))
