"""Items of Sentinel-2: products of CDSE, and the copies of Earth Search and Planetary Computer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3leo_prep.testing.copernicus.files.items import COG, cdse_file, cdse_item, extensions, moment
from m3leo_prep.testing.copernicus.files.s2 import PITCHES, write_cog

if TYPE_CHECKING:
    from m3leo_prep.testing.copernicus.files.s2 import Scene
    from m3leo_prep.testing.copernicus.products import Product

ACCOUNT, CONTAINER = "sentinel2l2a01", "sentinel2-l2"
_COMMON = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge1",
    "B06": "rededge2",
    "B07": "rededge3",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B10": "cirrus",
    "B11": "swir16",
    "B12": "swir22",
    "SCL": "scl",
}
"""By band, the name of Earth Search's asset."""
_STATISTICS = {
    "dark_area": 2,
    "cloud_shadow": 3,
    "vegetation": 4,
    "not_vegetated": 5,
    "water": 6,
    "unclassified": 7,
    "medium_proba_clouds": 8,
    "high_proba_clouds": 9,
    "thin_cirrus": 10,
}


def cdse(product: Product, scene: Scene) -> Product:
    """Return the product with its item in ``sentinel-2-l2a`` or ``sentinel-2-l1c``.

    ``raster:offset`` is -0.1 whatever the baseline is: the generator of the real items writes it so
    (github.com/eu-cdse/eometadatatool, ``stac/sentinel-2-l2a/template/stac_s2l2a.py``).
    """
    xml = {"type": "application/xml", "roles": ["metadata"]}
    metadata = f"MTD_MSI{scene.level}.xml"
    assets = {
        "safe_manifest": cdse_file(product, "manifest.safe", title="manifest.safe", **xml),
        "product_metadata": cdse_file(product, metadata, title=metadata, **xml),
        "granule_metadata": cdse_file(product, f"GRANULE/{scene.granule}/MTD_TL.xml", title="MTD_TL.xml", **xml),
    }
    for name in scene.names:
        pitch, is_class = PITCHES[name], name == "SCL"
        about: dict[str, Any] = {
            "type": "image/jp2",
            "title": f"{name} - {pitch}m",
            "roles": ["data", *([] if is_class else ["reflectance"]), "sampling:original", f"gsd:{pitch}m"],
            "data_type": "uint8" if is_class else "uint16",
            "nodata": 0,
            "gsd": pitch,
            **_placed(scene, name, code=True),
        }
        if not is_class:
            about |= {"bands": [{"name": name, "eo:common_name": _COMMON[name]}]}
            about |= {"raster:scale": 0.0001, "raster:offset": -0.1}
        key = f"{name}_{pitch}m" if scene.level == "L2A" else name
        assets[key] = cdse_file(product, scene.path(name), **about)
    properties = {
        "platform": _platform(scene),
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "gsd": 10,
        "processing:level": scene.level[:2],
        "processing:version": scene.baseline,
        "processing:datetime": moment(scene.generated),
        "product:type": f"S2MSI{scene.level[1:]}",
        "product:timeliness_category": "NRT",
        "eo:cloud_cover": round(scene.share(8, 9, 10), 6),
        "eo:snow_cover": round(scene.share(11), 6),
        "sat:orbit_state": "descending",
        "sat:relative_orbit": scene.relative_orbit,
        "sat:absolute_orbit": scene.orbit_number,
        "grid:code": f"MGRS-{scene.tile}",
        "eopf:datatake_id": scene.datatake,
        "eopf:instrument_mode": "INS-NOBS",
        "statistics": {name: scene.share(code) for name, code in _STATISTICS.items()},
    }
    return replace(product, item=cdse_item(product, f"sentinel-2-{scene.level.lower()}", properties, assets))


def earth_search(scene: Scene, files: Path, sequence: int = 0) -> dict[str, Any]:
    """Return Earth Search's item of a scene whose copies are written below a folder: the bucket ``sentinel-cogs``.

    From baseline 04.00 on the copies have the offset taken away, and ``raster:bands`` still names it
    (https://github.com/Element84/earth-search/issues/9): ``earthsearch:boa_offset_applied`` says which holds.
    """
    zone, band, square = scene.tile[:2], scene.tile[2], scene.tile[3:]
    name = f"{scene.platform}_{scene.tile}_{scene.start:%Y%m%d}_{sequence}_L2A"
    day = f"{scene.start.year}/{scene.start.month}"
    folder = f"sentinel-s2-l2a-cogs/{int(zone)}/{band}/{square}/{day}/{name}"
    assets = {}
    for one in scene.names:
        is_class = one == "SCL"
        write_cog(files / f"{folder}/{one}.tif", scene.digital(one, 0), scene.geobox(one))
        said = {} if is_class else {"scale": 0.0001, "offset": scene.add_offset / 10_000}
        kind = {"data_type": "uint8"} if is_class else {"data_type": "uint16", "bits_per_sample": 15}
        assets[_COMMON[one]] = {
            "href": f"https://sentinel-cogs.s3.us-west-2.amazonaws.com/{folder}/{one}.tif",
            "type": COG,
            "title": f"{_COMMON[one]} - {PITCHES[one]}m",
            "gsd": PITCHES[one],
            **_placed(scene, one, code=False),
            "raster:bands": [{"nodata": 0, **kind, "spatial_resolution": PITCHES[one], **said}],
            "roles": ["data", "reflectance"],
        }
    properties = {
        "mgrs:utm_zone": int(zone),
        "mgrs:latitude_band": band,
        "mgrs:grid_square": square,
        "grid:code": f"MGRS-{scene.tile}",
        "s2:sequence": str(sequence),
        "earthsearch:s3_path": f"s3://sentinel-cogs/{folder}",
        "earthsearch:boa_offset_applied": scene.add_offset != 0,
    }
    return _item(scene, name, properties, assets)


def planetary_computer(scene: Scene, blobs: Path) -> dict[str, Any]:
    """Return Planetary Computer's item of a scene whose copies, numbers as in the product, are written as blobs."""
    zone, band, square = scene.tile[:2], scene.tile[2], scene.tile[3:]
    folder = f"{zone}/{band}/{square}/{scene.start:%Y/%m/%d}/{scene.stem}.SAFE"
    assets = {}
    for one in scene.names:
        path = f"{CONTAINER}/{folder}/{scene.path(one).removesuffix('.jp2')}.tif"
        write_cog(blobs / ACCOUNT / path, scene.digital(one), scene.geobox(one))
        assets[one] = {
            "href": f"https://{ACCOUNT}.blob.core.windows.net/{path}",
            "type": COG,
            "title": one,
            "gsd": PITCHES[one],
            **_placed(scene, one, code=False),
            "roles": ["data"],
        }
    baseline = f"N{scene.baseline.replace('.', '')}_"
    properties = {
        "s2:mgrs_tile": scene.tile,
        "sat:orbit_state": "descending",
        "sat:relative_orbit": scene.relative_orbit,
    }
    return _item(scene, scene.stem.replace(baseline, ""), properties, assets)


def _item(scene: Scene, name: str, properties: dict[str, Any], assets: dict[str, Any]) -> dict[str, Any]:
    """Return an item as both open catalogues tell it."""
    from shapely.geometry import mapping

    outline = lonlat(scene)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": extensions(eo="1.1.0", grid="1.0.0", projection="1.1.0", raster="1.1.0"),
        "collection": "sentinel-2-l2a",
        "id": name,
        "bbox": list(outline.bounds),
        "geometry": mapping(outline),
        "properties": {
            "datetime": moment(scene.start),
            "platform": _platform(scene),
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "eo:cloud_cover": round(scene.share(8, 9, 10), 6),
            "proj:epsg": scene.epsg,
            "s2:product_type": "S2MSI2A",
            "s2:processing_baseline": scene.baseline,
            "s2:product_uri": f"{scene.stem}.SAFE",
            "s2:generation_time": moment(scene.generated),
            "s2:datatake_id": scene.datatake,
            "s2:datatake_type": "INS-NOBS",
            **properties,
        },
        "links": [],
        "assets": assets,
    }


def lonlat(scene: Scene) -> Any:
    """Return the outline of a scene."""
    from m3leo_prep.testing._rasters import lonlat_outline

    return lonlat_outline(scene.geobox(next(iter(scene.bands))))


def _placed(scene: Scene, name: str, *, code: bool) -> dict[str, Any]:
    """Return where a band's pixels are; CDSE says the projection with each file, others with the item."""
    geobox = scene.geobox(name)
    said: dict[str, Any] = {"proj:shape": list(geobox.shape), "proj:transform": list(tuple(geobox.affine)[:6])}
    if code:
        said |= {"proj:code": f"EPSG:{scene.epsg}", "proj:bbox": list(geobox.boundingbox.bbox)}
    return said


def _platform(scene: Scene) -> str:
    return f"sentinel-{scene.platform[1:].lower()}"
