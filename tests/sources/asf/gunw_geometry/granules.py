"""Granules on disk for these tests, in the public layout, and heights to read them at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.ports.heights import Heights
from m3leo_prep.sources.asf.gunw.file import GunwFile, open_gunw
from m3leo_prep.testing.earthdata.files.gunw import PITCH, Field, Layers
from tests.sources.asf.gunw.pairs import written

WEST, NORTH = -119.4, 34.6


def granule(
    folder: Path,
    phase: NDArray[Any] | None = None,
    components: NDArray[Any] | None = None,
    *,
    west: float = WEST,
    north: float = NORTH,
    pitch: float = PITCH,
    geometry: Mapping[str, Field] | None = None,
    corrections: Mapping[str, Field] | None = None,
    serial: int = 0x6267,
) -> GunwFile:
    """Return an open granule; 400 x 500 pixels of 1 rad where nothing is said."""
    phase = np.ones((400, 500), np.float32) if phase is None else phase
    plain = np.ones(phase.shape, np.float32)
    layers = Layers(phase, plain, plain if components is None else components, plain, corrections=corrections or {})
    if geometry is not None:
        layers = Layers(phase, plain, layers.components, plain, geometry=geometry, corrections=corrections or {})
    name = f"S1-GUNW-A-R-064-tops-20210723_20210711-015000-00119W_00033N-PP-{serial:04x}-v3_0_1.nc"
    return open_gunw(written(folder / name, layers, west=west, north=north, pitch=pitch))


def chip(size: int = 56, pitch: float = 80.0) -> GeoBox:
    """Return an UTM lattice inside the plain granule, across several nodes of its geometry if it is large enough."""
    return GeoBox((size, size), Affine(pitch, 0, 287_360, 0, -pitch, 3_826_000), "EPSG:32611")


def hills(geobox: GeoBox) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return heights of 0 ... 2000 m that are the same for a place in every cut of a lattice."""
    to = geobox.transform
    x, y = np.meshgrid(
        to.c + to.a * (np.arange(geobox.shape[1]) + 0.5), to.f + to.e * (np.arange(geobox.shape[0]) + 0.5)
    )
    scale = 3000.0 if geobox.crs.projected else 0.03
    height = (1000 + 1000 * np.sin(x / scale) * np.cos(y / scale)).astype(np.float32)
    return height, np.ones(height.shape, bool)


def level(metres: float) -> Heights:
    """Return a plain of one height."""
    return lambda geobox: (np.full(geobox.shape, metres, np.float32), np.ones(geobox.shape, bool))
