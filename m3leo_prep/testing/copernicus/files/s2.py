"""Sentinel-2 products written from reflectances: SAFE folders of JPEG 2000 as the archive has them.

Names, elements and their order are those of recorded products (baselines 02.14 and 05.09); what nobody reads is left
out. https://sentinels.copernicus.eu/documents/247904/685211/Sentinel-2-Products-Specification-Document
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.testing._rasters import lonlat_outline
from m3leo_prep.testing.copernicus.files.s2_metadata import granule_metadata, manifest, product_metadata
from m3leo_prep.testing.copernicus.products import Product

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

PITCHES: Mapping[str, int] = MappingProxyType(
    {"B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20}
    | {"B09": 60, "B10": 60, "B11": 20, "B12": 20, "SCL": 20}
)
"""Metres, of each band's own pixels."""
SATURATED = 65_535
_BLOCK = 256
"""Pixels of a block of JPEG 2000; the archive has 1024, of images of 10 980."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One tile of one datatake in one processing."""

    tile: str
    """``32UKV``."""
    epsg: int
    left: float
    """Metres, of the western edge of the images; a small part of the tile, on its pixels."""
    top: float
    bands: Mapping[str, NDArray[np.float64]]
    """By name (``B02``), each with its own pixels (y, x), reflectances; NaN where there is none."""
    scl: NDArray[np.uint8]
    """(y, x) scene classification, 20 m."""
    start: datetime
    """Of the datatake, UTC."""
    baseline: str = "05.09"
    processed: datetime | None = None
    """The last part of the name; None = some hours after ``start``."""
    platform: str = "S2A"
    relative_orbit: int = 108
    orbit_number: int = 26_000
    """Absolute."""
    level: str = "L2A"
    offset: int | None = None
    """Added to digital numbers; None = -1000 from baseline 04.00 on, else 0. Another one contradicts the baseline."""
    leave_out: frozenset[str] = field(default=frozenset())
    """Bands whose file is missing."""

    @property
    def add_offset(self) -> int:
        """Reflectance is (digital number + this) / 10 000."""
        if self.offset is not None:
            return self.offset
        return -1000 if self.baseline >= "04.00" else 0

    @property
    def generated(self) -> datetime:
        """When it was processed."""
        return self.processed or self.start + timedelta(hours=4)

    @property
    def stem(self) -> str:
        """Of the product's name, without ``.SAFE``."""
        baseline = self.baseline.replace(".", "")
        what = f"{self.platform}_MSI{self.level}_{self.start:%Y%m%dT%H%M%S}_N{baseline}"
        return f"{what}_R{self.relative_orbit:03d}_T{self.tile}_{self.generated:%Y%m%dT%H%M%S}"

    @property
    def datatake(self) -> str:
        """Its identifier, which names the baseline."""
        return f"G{self.platform}_{self.start:%Y%m%dT%H%M%S}_{self.orbit_number:06d}_N{self.baseline}"

    @property
    def granule(self) -> str:
        """Name of the granule's folder."""
        return f"{self.level}_T{self.tile}_A{self.orbit_number:06d}_{self.start:%Y%m%dT%H%M%S}"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in metres."""
        name, pixels = next(iter(self.bands.items()))
        return pixels.shape[0] * PITCHES[name], pixels.shape[1] * PITCHES[name]

    @property
    def names(self) -> list[str]:
        """Of the bands whose files there are, the classification included."""
        every = [*self.bands, *(["SCL"] if self.level == "L2A" else [])]
        return [name for name in every if name not in self.leave_out]

    def path(self, name: str) -> str:
        """Return a band's file in the folder of the product."""
        image = f"GRANULE/{self.granule}/IMG_DATA"
        stem = f"T{self.tile}_{self.start:%Y%m%dT%H%M%S}_{name}"
        return (
            f"{image}/R{PITCHES[name]}m/{stem}_{PITCHES[name]}m.jp2" if self.level == "L2A" else f"{image}/{stem}.jp2"
        )

    def geobox(self, name: str = "B02") -> GeoBox:
        """Return a band's grid."""
        from affine import Affine
        from odc.geo.geobox import GeoBox

        pitch = PITCHES[name]
        shape = (self.scl if name == "SCL" else self.bands[name]).shape
        return GeoBox(shape, Affine(pitch, 0, self.left, 0, -pitch, self.top), f"EPSG:{self.epsg}")

    def digital(self, name: str, offset: int | None = None) -> NDArray[Any]:
        """Return (y, x) what is stored of a band: uint16, 0 where there is nothing; the classification as it is."""
        if name == "SCL":
            return self.scl
        added = self.add_offset if offset is None else offset
        values = np.clip(np.rint(self.bands[name] * 10_000) - added, 1, SATURATED)
        return np.where(np.isnan(self.bands[name]), 0, values).astype(np.uint16)

    def share(self, *classes: int) -> float:
        """Return percent of the classified pixels that are of some classes."""
        known = self.scl > 0
        return 100.0 * float(np.isin(self.scl[known], classes).mean()) if known.any() else 0.0


def write(folder: Path, scene: Scene, **more: Any) -> Product:
    """Return a product of a scene; its folder is made in ``folder``.

    Args:
        folder: where to write.
        scene: bands, and what is said of them.
        more: further fields of ``Product``, such as ``is_online``.
    """
    from m3leo_prep.testing.copernicus.files.items_s2 import cdse

    safe = folder / f"{scene.stem}.SAFE"
    for name in scene.names:
        write_jp2(safe / scene.path(name), scene.digital(name), scene.geobox(name))
    kind = scene.level[1:]
    for path, data in (
        (f"MTD_MSI{scene.level}.xml", product_metadata(scene)),
        (f"GRANULE/{scene.granule}/MTD_TL.xml", granule_metadata(scene)),
    ):
        (safe / path).parent.mkdir(parents=True, exist_ok=True)
        (safe / path).write_bytes(data)
    (safe / "manifest.safe").write_bytes(manifest(scene, safe))
    folder_name = f"{scene.level}_N0500" if scene.baseline >= "05.00" else scene.level
    product = Product(
        safe,
        f"Sentinel-2/MSI/{folder_name}/{scene.start:%Y/%m/%d}",
        scene.start,
        scene.start,
        lonlat_outline(scene.geobox(next(iter(scene.bands)))),
        "SENTINEL-2",
        {
            "productType": f"S2MSI{kind}",
            "tileId": scene.tile,
            "cloudCover": scene.share(8, 9, 10),
            "processorVersion": scene.baseline,
            "relativeOrbitNumber": scene.relative_orbit,
            "orbitNumber": scene.orbit_number,
            "orbitDirection": "DESCENDING",
        },
        None,
        **more,
    )
    return cdse(product, scene)


def write_jp2(path: Path, pixels: NDArray[Any], geobox: GeoBox, *, block: int = _BLOCK, **options: Any) -> None:
    """Write an image as the archive does: without loss, in blocks, with its place in a GML box.

    Args:
        path: of the file.
        pixels: (y, x).
        geobox: its grid.
        block: pixels of a block, each way.
        options: of GDAL's JP2OpenJPEG, such as ``TLM="YES"``.
    """
    import rasterio

    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = (min(block, size) for size in pixels.shape)
    levels = min(6, min(height, width).bit_length())  # no more than halve a block down to one pixel
    how: dict[str, Any] = {"QUALITY": 100, "REVERSIBLE": "YES", "RESOLUTIONS": levels}
    how |= {"BLOCKXSIZE": max(32, width), "BLOCKYSIZE": max(32, height)} | options  # GDAL makes none smaller
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG",
        height=pixels.shape[0],
        width=pixels.shape[1],
        count=1,
        dtype=pixels.dtype,
        crs=str(geobox.crs),
        transform=geobox.affine,
        **how,
    ) as file:
        file.write(pixels, 1)


def write_cog(path: Path, pixels: NDArray[Any], geobox: GeoBox, *, nodata: float = 0, block: int = _BLOCK) -> None:
    """Write an image as a GeoTIFF in tiles, with overviews after the image."""
    import rasterio

    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=pixels.shape[0],
        width=pixels.shape[1],
        count=1,
        dtype=pixels.dtype,
        crs=str(geobox.crs),
        transform=geobox.affine,
        nodata=nodata,
        tiled=True,
        blockxsize=block,
        blockysize=block,
        compress="deflate",
        zlevel=1,
        predictor=2,
    ) as file:
        file.write(pixels, 1)
