"""Items of Sentinel-1: GRD products of CDSE, and RTC images of Planetary Computer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.testing._rasters import lonlat_outline
from m3leo_prep.testing.copernicus.files.items import COG, cdse_file, cdse_item, extensions, moment

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from m3leo_prep.testing.copernicus.files.grd import Scene
    from m3leo_prep.testing.copernicus.products import Product

ACCOUNT, CONTAINER = "sentinel1euwestrtc", "sentinel1-grd-rtc"
RTC_NODATA = -32_768.0
_WAYS = {"V": "Vertical", "H": "Horizontal"}
_DESIGNATORS = {"S1A": "2014-016A", "S1B": "2016-025A", "S1C": "2024-235A"}


def grd_item(product: Product, scene: Scene, *, cog: bool) -> Product:
    """Return the product with its item in ``sentinel-1-grd``: files are named by polarisation."""
    assets = {"safe_manifest": cdse_file(product, "manifest.safe", type="application/xml", roles=["metadata"])}
    for number, band in enumerate(scene.polarisations):
        stem, xml = scene.file(number, cog=cog), {"type": "application/xml", "roles": ["metadata"]}
        for name, path in (
            ("product", f"annotation/{stem}.xml"),
            ("calibration", f"annotation/calibration/calibration-{stem}.xml"),
            ("noise", f"annotation/calibration/noise-{stem}.xml"),
        ):
            key = f"schema-{name}-{band.lower()}"
            title = f"{band} {name} Schema"
            assets[key] = cdse_file(product, path, **xml, title=title, **{"sar:polarizations": [band]})
        sent, received = (_WAYS[one] for one in band)
        about = {
            "type": COG if cog else "image/tiff; application=geotiff",
            "title": f"{band}: {sent} transmit, {received.lower()} receive",
            "roles": ["data"],
            "data_type": "uint16",
            "nodata": 0,
            "proj:code": None,
            "proj:shape": list(scene.shape),
            "sar:polarizations": [band],
        }
        assets[band.lower()] = cdse_file(product, f"measurement/{stem}.tiff", **about)
    properties = {
        "platform": f"sentinel-{scene.platform[1:].lower()}",
        "constellation": "sentinel-1",
        "instruments": ["sar"],
        "processing:level": "L1",
        "processing:version": scene.ipf[1:],
        "product:type": "IW_GRDH_1S",
        "product:timeliness_category": "Fast-24h",
        **_radar(scene),
        "sat:orbit_cycle": 200,
        "view:incidence_angle": float(scene.image.incidence_across.mean()),
        "eopf:datatake_id": str(scene.datatake),
    }
    return replace(product, item=cdse_item(product, "sentinel-1-grd", properties, assets))


def write_rtc(blobs: Path, scene: Scene, geobox: GeoBox, images: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """Return Planetary Computer's item of a scene whose RTC images are written among the blobs.

    Args:
        blobs: folder of the accounts.
        scene: what it was made of.
        geobox: of the images, in UTM.
        images: ``VV``, ``VH`` -> (y, x) gamma nought in linear power, NaN where there is none.
    """
    import rasterio
    from shapely.geometry import mapping

    folder = f"GRD/{scene.start.year}/{scene.start.month}/{scene.start.day}/IW/DV/{scene.name}/measurement"
    transform = [float(one) for one in tuple(geobox.affine)[:6]]
    outline = lonlat_outline(geobox)
    assets = {}
    for band, pixels in images.items():
        path = f"{CONTAINER}/{folder}/iw-{band.lower()}.rtc.tiff"
        file = blobs / ACCOUNT / path
        file.parent.mkdir(parents=True, exist_ok=True)
        how: dict[str, Any] = {"dtype": "float32", "nodata": RTC_NODATA, "compress": "deflate", "zlevel": 1}
        how |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "height": geobox.height, "width": geobox.width}
        with rasterio.open(file, "w", driver="GTiff", count=1, crs=geobox.crs, transform=geobox.affine, **how) as out:
            out.write(np.where(np.isnan(pixels), RTC_NODATA, pixels).astype(np.float32), 1)
        sent, received = (_WAYS[one].lower() for one in band)
        assets[band.lower()] = {
            "href": f"https://{ACCOUNT}.blob.core.windows.net/{path}",
            "type": COG,
            "title": f"{band}: {sent} transmit, {received} receive",
            "description": "Terrain-corrected gamma naught values.",
            "file:size": file.stat().st_size,
            "raster:bands": [{"nodata": RTC_NODATA, "data_type": "float32", "spatial_resolution": 10.0}],
            "roles": ["data"],
        }
    epsg = geobox.crs.epsg if geobox.crs is not None else None
    middle = scene.start + (scene.stop - scene.start) / 2
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": extensions(sar="1.0.0", sat="1.0.0", projection="1.1.0", raster="1.1.0", file="2.1.0"),
        "collection": "sentinel-1-rtc",
        "id": f"{scene.name.rpartition('_')[0]}_rtc",
        "bbox": list(outline.bounds),
        "geometry": mapping(outline),
        "properties": {
            "datetime": moment(middle),
            "start_datetime": moment(scene.start),
            "end_datetime": moment(scene.stop),
            "platform": f"SENTINEL-{scene.platform[1:]}",
            "constellation": "Sentinel-1",
            "proj:epsg": epsg,
            "proj:bbox": list(geobox.boundingbox.bbox),
            "proj:shape": [geobox.height, geobox.width],
            "proj:transform": transform,
            "s1:shape": [geobox.width, geobox.height],
            "s1:datatake_id": str(scene.datatake),
            "s1:resolution": "high",
            "s1:total_slices": "1",
            "s1:slice_number": "1",
            "s1:orbit_source": "RESORB",
            "s1:processing_level": "1",
            "s1:product_timeliness": "Fast-24h",
            "s1:processing_datetime": moment(scene.stop + timedelta(hours=5)),
            **_radar(scene),
            "sar:product_type": "GRD",
            "sar:resolution_range": 20,
            "sar:resolution_azimuth": 22,
            "sar:looks_range": 5,
            "sar:looks_azimuth": 1,
            "sar:looks_equivalent_number": 4.4,
        },
        "links": [],
        "assets": assets,
    }


def _radar(scene: Scene) -> dict[str, Any]:
    """Return the properties that both catalogues have."""
    return {
        "sar:frequency_band": "C",
        "sar:center_frequency": 5.405,
        "sar:observation_direction": "right",
        "sar:instrument_mode": "IW",
        "sar:polarizations": list(scene.polarisations),
        "sar:pixel_spacing_range": 10,
        "sar:pixel_spacing_azimuth": 10,
        "sat:orbit_state": "ascending" if scene.image.orbit.ascending else "descending",
        "sat:absolute_orbit": scene.orbit_number,
        "sat:relative_orbit": scene.relative_orbit,
        "sat:platform_international_designator": _DESIGNATORS[scene.platform],
    }
