"""What a Sentinel-2 product says of itself, as XML."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from m3leo_prep.testing.copernicus.files.xml import Element, node, written

if TYPE_CHECKING:
    from m3leo_prep.testing.copernicus.files.s2 import Scene

BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
"""By ``band_id``, as ``physicalBand`` names them."""
_CLASSES = {
    "NODATA_PIXEL": 0,
    "SATURATED_DEFECTIVE_PIXEL": 1,
    "DARK_FEATURES": 2,
    "CLOUD_SHADOW": 3,
    "VEGETATION": 4,
    "NOT_VEGETATED": 5,
    "WATER": 6,
    "UNCLASSIFIED": 7,
    "MEDIUM_PROBA_CLOUDS": 8,
    "HIGH_PROBA_CLOUDS": 9,
    "THIN_CIRRUS": 10,
    "SNOW_ICE": 11,
}


def product_metadata(scene: Scene) -> bytes:
    """Return ``MTD_MSIL2A.xml`` or ``MTD_MSIL1C.xml``."""
    level = f"Level-{scene.level[1:]}"
    space = f"https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_{level}.xsd"
    ET.register_namespace("n1", space)
    kind = "Level-2A" if scene.level == "L2A" else "Level-1C"
    datatake = node(
        "Datatake",
        node("SPACECRAFT_NAME", f"Sentinel-{scene.platform[1:]}"),
        node("DATATAKE_TYPE", "INS-NOBS"),
        node("DATATAKE_SENSING_START", _moment(scene)),
        node("SENSING_ORBIT_NUMBER", scene.relative_orbit),
        node("SENSING_ORBIT_DIRECTION", "DESCENDING"),
        datatakeIdentifier=scene.datatake,
    )
    granule = node(
        "Granule",
        *(node("IMAGE_FILE", scene.path(name).removesuffix(".jp2")) for name in scene.names),
        datastripIdentifier=_datastrip(scene),
        granuleIdentifier=_granule(scene),
        imageFormat="JPEG2000",
    )
    info = node(
        "Product_Info",
        node("PRODUCT_START_TIME", _moment(scene)),
        node("PRODUCT_STOP_TIME", _moment(scene)),
        node("PRODUCT_URI", f"{scene.stem}.SAFE"),
        node("PROCESSING_LEVEL", kind),
        node("PRODUCT_TYPE", f"S2MSI{scene.level[1:]}"),
        node("PROCESSING_BASELINE", scene.baseline),
        node("GENERATION_TIME", f"{scene.generated:%Y-%m-%dT%H:%M:%S.%f}Z"),
        datatake,
        node("Product_Organisation", node("Granule_List", granule)),
    )
    cloud = node("Cloud_Coverage_Assessment", f"{scene.share(8, 9, 10):.6f}")
    root = node(
        f"{{{space}}}{level}_User_Product",
        node(f"{{{space}}}General_Info", info, _image(scene)),
        node(f"{{{space}}}Quality_Indicators_Info", cloud),
    )
    return written(root)


def granule_metadata(scene: Scene) -> bytes:
    """Return ``MTD_TL.xml``: the tile's place, and shares of the classes."""
    space = f"https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-{scene.level[1:]}_Tile_Metadata.xsd"
    ET.register_namespace("n1", space)
    height, width = scene.size
    sizes = [
        node("Size", node("NROWS", height // pitch), node("NCOLS", width // pitch), resolution=pitch)
        for pitch in (10, 20, 60)
    ]
    places = [
        node(
            "Geoposition",
            node("ULX", int(scene.left)),
            node("ULY", int(scene.top)),
            node("XDIM", pitch),
            node("YDIM", -pitch),
            resolution=pitch,
        )
        for pitch in (10, 20, 60)
    ]
    zone = f"WGS84 / UTM zone {scene.epsg % 100}{'N' if scene.epsg < 32700 else 'S'}"
    geocoding = node(
        "Tile_Geocoding",
        node("HORIZONTAL_CS_NAME", zone),
        node("HORIZONTAL_CS_CODE", f"EPSG:{scene.epsg}"),
        *sizes,
        *places,
        metadataLevel="Brief",
    )
    shares = [node("CLOUDY_PIXEL_PERCENTAGE", f"{scene.share(8, 9, 10):.6f}")]
    if scene.level == "L2A":
        empty = float((scene.scl == 0).mean()) * 100
        shares += [
            node(f"{name}_PERCENTAGE", f"{empty if code == 0 else scene.share(code):.6f}")
            for name, code in _CLASSES.items()
        ]
    root = node(
        f"{{{space}}}Level-{scene.level[1:]}_Tile_ID",
        node(f"{{{space}}}General_Info", node("TILE_ID", _granule(scene)), node("SENSING_TIME", _moment(scene))),
        node(f"{{{space}}}Geometric_Info", geocoding),
        node(f"{{{space}}}Quality_Indicators_Info", node("Image_Content_QI", *shares)),
    )
    return written(root)


def manifest(scene: Scene, safe: Path) -> bytes:
    """Return ``manifest.safe``: the list of a folder's files, complete but for this one."""
    space = "urn:ccsds:schema:xfdu:1"
    ET.register_namespace("xfdu", space)
    objects = []
    for file in sorted(file for file in safe.rglob("*") if file.is_file()):
        data = file.read_bytes()
        checksum = node("checksum", hashlib.md5(data, usedforsecurity=False).hexdigest(), checksumName="MD5")
        place = node("fileLocation", locatorType="URL", href=f"./{file.relative_to(safe)}")
        mime = "application/octet-stream" if file.suffix == ".jp2" else "text/xml"
        stem = file.stem.replace(f"T{scene.tile}_", "IMG_DATA_")
        objects.append(node("dataObject", node("byteStream", place, checksum, mimeType=mime, size=len(data)), ID=stem))
    return written(node(f"{{{space}}}XFDU", node("dataObjectSection", *objects)))


def _image(scene: Scene) -> Element:
    """Return how digital numbers become reflectances; offsets only where the product has some."""
    values = [
        node("Special_Values", node("SPECIAL_VALUE_TEXT", text), node("SPECIAL_VALUE_INDEX", index))
        for text, index in (("NODATA", 0), ("SATURATED", 65_535))
    ]
    boa = scene.level == "L2A"
    if boa:
        factor = node("QUANTIFICATION_VALUES_LIST", node("BOA_QUANTIFICATION_VALUE", 10_000, unit="none"))
    else:
        factor = node("QUANTIFICATION_VALUE", 10_000, unit="none")
    found = [*values, factor]
    if scene.add_offset:
        tag = "BOA_ADD_OFFSET" if boa else "RADIO_ADD_OFFSET"
        offsets = [node(tag, scene.add_offset, band_id=number) for number in range(len(BANDS))]
        found.append(node("BOA_ADD_OFFSET_VALUES_LIST" if boa else "Radiometric_Offset_List", *offsets))
    spectral = [node("Spectral_Information", bandId=number, physicalBand=name) for number, name in enumerate(BANDS)]
    return node("Product_Image_Characteristics", *found, node("Spectral_Information_List", *spectral))


def _moment(scene: Scene) -> str:
    return f"{scene.start:%Y-%m-%dT%H:%M:%S}.024Z"


def _datastrip(scene: Scene) -> str:
    times = f"{scene.generated:%Y%m%dT%H%M%S}_S{scene.start:%Y%m%dT%H%M%S}"
    return f"{scene.platform}_OPER_MSI_{scene.level}_DS_2APS_{times}_N{scene.baseline}"


def _granule(scene: Scene) -> str:
    orbit = f"A{scene.orbit_number:06d}_T{scene.tile}_N{scene.baseline}"
    return f"{scene.platform}_OPER_MSI_{scene.level}_TL_2APS_{scene.generated:%Y%m%dT%H%M%S}_{orbit}"
