"""A made scene whose geometry is known without our own code: the orbit, and positions in it, are the stand-in's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from m3leo_prep.ops.sar.orbit import Orbit
from m3leo_prep.ops.sar.rangedoppler import RadarGrid
from m3leo_prep.testing.copernicus.files import orbit as truth

CRS = "EPSG:32632"
LINE_INTERVAL, SPACING = 1.4989e-3, 10.0


@dataclass(frozen=True)
class Scene:
    """A pass over the middle of a UTM zone."""

    truth: truth.Orbit
    orbit: Orbit
    grid: RadarGrid
    corner: tuple[float, float]
    """Easting and northing of the point at time 0, in the middle of the image."""
    along_beam: tuple[float, float]
    """Unit vector of easting and northing away from the radar, on level ground."""
    incidence: float
    """Degrees in the middle."""

    def geobox(self, shape, pitch=10.0, row=0, col=0):
        """A lattice whose middle is the middle of the scene, its first pixel moved by whole pixels."""
        x = self.corner[0] + (col - shape[1] // 2) * pitch
        y = self.corner[1] - (row - shape[0] // 2) * pitch
        return GeoBox(shape, Affine(pitch, 0, x, 0, -pitch, y), CRS)

    def beam(self, geobox):
        """(y, x) metres from the middle away from the radar, at pixel centres."""
        a = geobox.affine
        rows, cols = np.mgrid[: geobox.shape[0], : geobox.shape[1]] + 0.5
        x, y = a.c + a.a * cols - self.corner[0], a.f + a.e * rows - self.corner[1]
        return x * self.along_beam[0] + y * self.along_beam[1]

    def heights(self, profile):
        """Heights as a function of the distance along the beam, for any geobox."""

        def given(geobox):
            return profile(self.beam(geobox)).astype(np.float32), np.ones(geobox.shape, bool)

        return given

    def points(self, geobox, height):
        """(y, x, 3) metres in space, by PROJ."""
        a = geobox.affine
        rows, cols = np.mgrid[: geobox.shape[0], : geobox.shape[1]] + 0.5
        lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(a.c + a.a * cols, a.f + a.e * rows)
        x, y, z = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True).transform(
            lon, lat, np.broadcast_to(height, lon.shape)
        )
        return np.stack([x, y, z], axis=-1)


def made(lon, lat, *, ascending):
    """The scene of a pass."""
    sky = truth.Orbit(lon, lat, ascending)
    times = np.arange(-60.0, 61.0, 10.0)
    middle = float(sky.seen(truth.geocentric(lon, lat, 0.0))[1])
    ranges = np.linspace(middle - 60e3, middle + 60e3, 601)
    ground = sky.ground(0.0, ranges, 0.0)
    metres = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(ground, axis=0), axis=1))])
    series = np.polynomial.Polynomial.fit(ranges - ranges[0], metres, 8).convert().coef
    grid = RadarGrid(
        (10_000, 20_000), -5_000 * LINE_INTERVAL, LINE_INTERVAL, SPACING,
        np.array([-5.0, 5.0]), np.full(2, ranges[0]), np.tile(series, (2, 1)),
    )  # fmt: skip
    to_map = Transformer.from_crs("EPSG:4978", CRS, always_xy=True)
    near, here, far = sky.ground(0.0, middle + np.array([-500.0, 0.0, 500.0]), 0.0)
    x0, y0, _ = to_map.transform(*near)
    x1, y1, _ = to_map.transform(*far)
    length = np.hypot(x1 - x0, y1 - y0)
    x, y, _ = to_map.transform(*here)
    beam = (here - sky.position(np.array(0.0))) / middle
    incidence = float(np.degrees(np.arccos(-(beam @ truth.upward(here)))))
    return Scene(
        sky,
        Orbit(times, sky.position(times), sky.velocity(times)),
        grid,
        (round(float(x), -1), round(float(y), -1)),
        (float((x1 - x0) / length), float((y1 - y0) / length)),
        incidence,
    )


@pytest.fixture(scope="session")
def scene():
    """An ascending pass over the Alps."""
    return made(10.0, 47.0, ascending=True)


@pytest.fixture(scope="session", params=[True, False], ids=["ascending", "descending"])
def passes(request):
    """Both directions: one looks east, one west."""
    return made(10.0, 47.0, ascending=request.param)
