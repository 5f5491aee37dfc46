"""Sentinel-1 IW GRD products written from an image of known truth: SAFE folders in the layout of the archive.

Names, elements and their order are those of recorded products (IPF 003.31 and 002.72); what nobody reads is left out.
https://sentinel.esa.int/documents/247904/1877131/Sentinel-1-Product-Specification
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.testing.copernicus.files.grd_annotation import GRID, annotation, calibration, noise
from m3leo_prep.testing.copernicus.files.grd_manifest import manifest
from m3leo_prep.testing.copernicus.files.orbit import Floats, geodetic
from m3leo_prep.testing.copernicus.files.radar_image import LINE_SECONDS, Image
from m3leo_prep.testing.copernicus.products import Product

BETA = 474.0
"""Square root of the factor between beta nought and squared digital numbers (recorded: ``betaNought``)."""
NOISE = 10.0**-2.3
"""Sigma nought of the thermal noise: -23 dB, a little worse than Sentinel-1's."""
LOOKS = 4.4
"""Equivalent number of an IW GRD-H product (ESA, Sentinel-1 product definition)."""
_FIRST_ORBIT = {"S1A": 73, "S1B": 27, "S1C": 172}
"""Absolute orbits less relative ones, by satellite (https://sentiwiki.copernicus.eu/web/s1-products)."""


@dataclass(frozen=True)
class Scene:
    """What is said of an image, and how it is stored."""

    image: Image
    epoch: datetime
    """UTC, of the orbit's time 0."""
    orbit_number: int = 33_000
    """Absolute."""
    datatake: int = 0x3D2B0
    platform: str = "S1A"
    polarisations: tuple[str, ...] = ("VV", "VH")
    ipf: str = "003.31"
    """Version of the processor; before 002.90 noise has no azimuth vectors, and borders are not exactly 0."""
    seed: int | None = None
    """Of the speckle; None = there is none."""
    has_noise: bool = True
    border: int = 0
    """Samples without data at both ends of each line."""

    @property
    def start(self) -> datetime:
        """Of the first line."""
        return self.epoch + timedelta(seconds=self.image.first_time)

    @property
    def stop(self) -> datetime:
        """Of the last line."""
        return self.start + timedelta(seconds=(self.shape[0] - 1) * LINE_SECONDS)

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and samples."""
        lines, samples = self.image.beta.shape[1:]
        return lines, samples

    @property
    def is_new(self) -> bool:
        """Noise has azimuth vectors too."""
        return self.ipf >= "002.90"

    @property
    def relative_orbit(self) -> int:
        """1 ... 175."""
        return (self.orbit_number - _FIRST_ORBIT[self.platform]) % 175 + 1

    @property
    def name(self) -> str:
        """Of the product, without ``_COG`` and ``.SAFE``."""
        times = f"{self.start:%Y%m%dT%H%M%S}_{self.stop:%Y%m%dT%H%M%S}"
        kind = "1SDV" if len(self.polarisations) > 1 else f"1SS{self.polarisations[0][0]}"
        stem = f"{self.platform}_IW_GRDH_{kind}_{times}_{self.orbit_number:06d}_{self.datatake:06X}"
        return f"{stem}_{hashlib.md5(stem.encode(), usedforsecurity=False).hexdigest()[:4].upper()}"

    def file(self, number: int, *, cog: bool) -> str:
        """Return the name that the files of a polarisation have in common."""
        times = f"{self.start:%Y%m%dt%H%M%S}-{self.stop:%Y%m%dt%H%M%S}"
        band = self.polarisations[number].lower()
        orbit = f"{self.orbit_number:06d}-{self.datatake:06x}-{number + 1:03d}"
        return f"{self.platform.lower()}-iw-grd-{band}-{times}-{orbit}{'-cog' if cog else ''}"

    def factor(self, quantity: str) -> Floats:
        """Return (sample) the factors A of ``quantity = DN^2 / A^2``: ``beta``, ``sigma`` or ``gamma``."""
        incidence = np.radians(self.image.incidence_across)
        squared = {
            "beta": np.ones(incidence.size),
            "sigma": 1 / np.sin(incidence),
            "gamma": 1 / np.tan(incidence),
        }[quantity]
        return np.asarray(BETA * np.sqrt(squared))

    def swaths(self) -> list[tuple[str, int, int]]:
        """Return name, first and last sample of the parts that were merged."""
        half = self.shape[1] // 2
        return [("IW1", 0, half - 1), ("IW2", half, self.shape[1] - 1)]

    def noise_range(self) -> Floats:
        """Return (sample) what noise adds to squared digital numbers, by its place in the beam."""
        found = NOISE * self.factor("sigma") ** 2 * float(self.has_noise)
        for _, first, last in self.swaths():
            beam = np.linspace(-1, 1, last - first + 1)
            found[first : last + 1] *= 1 + 0.3 * beam**2
        return np.asarray(found)

    def noise_azimuth(self, number: int) -> Floats:
        """Return (line) the factor of a swath by its place in a burst; 1 before IPF 2.90."""
        lines = np.arange(self.shape[0], dtype=float)
        return np.asarray(1 + 0.04 * self.is_new * np.cos(2 * np.pi * lines / 400.0 + number))

    @cached_property
    def noise(self) -> Floats:
        """(line, sample) the mean of what noise adds to squared digital numbers."""
        by_line = np.empty(self.shape)
        for number, (_, first, last) in enumerate(self.swaths()):
            by_line[:, first : last + 1] = self.noise_azimuth(number)[:, None]
        return np.asarray(by_line * self.noise_range())

    @cached_property
    def digital(self) -> list[NDArray[np.uint16]]:
        """Of each polarisation, (line, sample) what is stored; 0 where there is no data."""
        return [self._digital(number) for number in range(len(self.polarisations))]

    def _digital(self, number: int) -> NDArray[np.uint16]:
        power = self.image.beta[number] * BETA**2 + self.noise
        if self.seed is not None:
            power *= np.random.default_rng([self.seed, number]).gamma(LOOKS, 1 / LOOKS, power.shape)
        found: NDArray[np.uint16] = np.clip(np.rint(np.sqrt(power)), 1, 65_535).astype(np.uint16)
        if self.border:
            margin = np.zeros(self.shape, bool)
            margin[:, : self.border] = margin[:, -self.border :] = True
            leak = np.random.default_rng([number, self.border]).integers(1, 20, self.shape).astype(np.uint16)
            found[margin] = 0 if self.is_new else leak[margin]
        return found

    @cached_property
    def grid(self) -> tuple[Floats, Floats, Floats]:
        """Lines, samples and (row, column, 3) lon, lat and height of the geolocation grid."""
        lines = np.rint(np.linspace(0, self.shape[0] - 1, GRID[0]))
        samples = np.rint(np.linspace(0, self.shape[1] - 1, GRID[1]))
        points = self.image.ground(*np.meshgrid(lines, samples, indexing="ij"))
        return lines, samples, np.stack(geodetic(points), axis=-1)


def write(folder: Path, scene: Scene, *, cog: bool = False, **more: Any) -> Product:
    """Return a product of a scene; its folder is made in ``folder``.

    Args:
        folder: where to write.
        scene: the image and what is said of it.
        cog: as CloudFerro's copy: the same pixels in tiles, with overviews, and ``_COG`` in the name.
        more: further fields of ``Product``, such as ``is_online``.
    """
    from shapely.geometry import Polygon

    from m3leo_prep.testing.copernicus.files.items_s1 import grd_item

    name = f"{scene.name}{'_COG' if cog else ''}.SAFE"
    safe = folder / name
    files: dict[str, bytes] = {}
    for number in range(len(scene.polarisations)):
        stem = scene.file(number, cog=cog)
        files[f"annotation/{stem}.xml"] = annotation(scene, number)
        files[f"annotation/calibration/calibration-{stem}.xml"] = calibration(scene, number)
        files[f"annotation/calibration/noise-{stem}.xml"] = noise(scene, number)
        _write_tiff(safe / "measurement" / f"{stem}.tiff", scene, number, cog=cog)
    places = scene.grid[2]
    corners = [places[i, j, :2] for i, j in ((0, 0), (0, -1), (-1, -1), (-1, 0))]
    for path, data in files.items():
        (safe / path).parent.mkdir(parents=True, exist_ok=True)
        (safe / path).write_bytes(data)
    (safe / "manifest.safe").write_bytes(manifest(scene, safe, corners))
    kind = f"IW_GRDH_1S{'-COG' if cog else ''}"
    product = Product(
        safe,
        f"Sentinel-1/SAR/{kind}/{scene.start:%Y/%m/%d}",
        scene.start,
        scene.stop,
        Polygon(corners),
        "SENTINEL-1",
        {
            "productType": kind,
            "operationalMode": "IW",
            "orbitDirection": "ASCENDING" if scene.image.orbit.ascending else "DESCENDING",
            "relativeOrbitNumber": scene.relative_orbit,
            "orbitNumber": scene.orbit_number,
            "polarisationChannels": "&".join(scene.polarisations),
            "processorVersion": scene.ipf[1:],
        },
        None,
        **more,
    )
    return grd_item(product, scene, cog=cog)


def _write_tiff(path: Path, scene: Scene, number: int, *, cog: bool) -> None:
    import rasterio
    from rasterio.control import GroundControlPoint

    lines, samples, places = scene.grid
    points = [
        GroundControlPoint(row=float(line), col=float(sample), x=lon, y=lat, z=height)
        for i, line in enumerate(lines)
        for j, sample in enumerate(samples)
        for lon, lat, height in [map(float, places[i, j])]
    ]
    how: dict[str, Any] = {"height": scene.shape[0], "width": scene.shape[1], "count": 1, "dtype": "uint16"}
    if cog:
        how |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "predictor": 2, "zlevel": 1}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", gcps=points, crs="EPSG:4326", **how) as file:
        file.write(scene.digital[number], 1)
