"""``manifest.safe`` of a GRD product."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from m3leo_prep.testing.copernicus.files.xml import Element, node, written

if TYPE_CHECKING:
    from m3leo_prep.testing.copernicus.files.grd import Scene

_SPACES = {
    "gml": "http://www.opengis.net/gml",
    "xfdu": "urn:ccsds:schema:xfdu:1",
    "safe": "http://www.esa.int/safe/sentinel-1.0",
    "s1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1",
    "s1sarl1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-1",
}
_KINDS = {"calibration": "s1Level1CalibrationSchema", "noise": "s1Level1NoiseSchema"}


def manifest(scene: Scene, safe: Path, corners: Sequence[Any]) -> bytes:
    """Return the list of a folder's files, with what is said of all.

    Args:
        scene: what was written.
        safe: the folder, complete but for this file.
        corners: of the footprint: (lon, lat) in degrees.
    """
    for prefix, space in _SPACES.items():
        ET.register_namespace(prefix, space)
    ascending = scene.image.orbit.ascending
    software = node(_tag("safe:software"), name="Sentinel-1 IPF", version=scene.ipf)
    facility = node(
        _tag("safe:facility"), software, country="Germany", name="stand-in", organisation="none", site="none"
    )
    numbers = [
        node(_tag(f"safe:{tag}"), value, type=end)
        for tag, value in (("orbitNumber", scene.orbit_number), ("relativeOrbitNumber", scene.relative_orbit))
        for end in ("start", "stop")
    ]
    way = node(_tag("s1:pass"), "ASCENDING" if ascending else "DESCENDING")
    node_time = node(_tag("s1:ascendingNodeTime"), scene.start - timedelta(minutes=14))
    mode = node(_tag("s1sarl1:instrumentMode"), node(_tag("s1sarl1:mode"), "IW"), node(_tag("s1sarl1:swath"), "IW"))
    instrument = node(
        _tag("safe:instrument"),
        node(_tag("safe:familyName"), "Synthetic Aperture Radar", abbreviation="SAR"),
        node(_tag("safe:extension"), mode),
    )
    platform = node(
        _tag("safe:platform"),
        node(_tag("safe:nssdcIdentifier"), "2014-016A"),
        node(_tag("safe:familyName"), "SENTINEL-1"),
        node(_tag("safe:number"), scene.platform[-1]),
        instrument,
    )
    general = node(
        _tag("s1sarl1:standAloneProductInformation"),
        node(_tag("s1sarl1:missionDataTakeID"), scene.datatake),
        *(node(_tag("s1sarl1:transmitterReceiverPolarisation"), one) for one in scene.polarisations),
        node(_tag("s1sarl1:productClass"), "S"),
        node(_tag("s1sarl1:productComposition"), "Slice"),
        node(_tag("s1sarl1:productType"), "GRD"),
        node(_tag("s1sarl1:productTimelinessCategory"), "Fast-24h"),
    )
    period = node(
        _tag("safe:acquisitionPeriod"),
        node(_tag("safe:startTime"), scene.start),
        node(_tag("safe:stopTime"), scene.stop),
    )
    outline = " ".join(f"{lat:.6f},{lon:.6f}" for lon, lat in corners)
    where = node(_tag("safe:footPrint"), node(_tag("gml:coordinates"), outline))
    where.set("srsName", "http://www.opengis.net/gml/srs/epsg.xml#4326")
    orbit = node(
        _tag("safe:orbitReference"),
        *numbers,
        node(_tag("safe:cycleNumber"), 200),
        node(_tag("safe:extension"), node(_tag("s1:orbitProperties"), way, node_time)),
    )
    sections = {
        "processing": node(_tag("safe:processing"), facility, name="GRD Post Processing"),
        "platform": platform,
        "measurementOrbitReference": orbit,
        "generalProductInformation": general,
        "acquisitionPeriod": period,
        "measurementFrameSet": node(_tag("safe:frameSet"), node(_tag("safe:frame"), where)),
    }
    told = [_section(name, content) for name, content in sections.items()]
    files = [_object(safe, file) for file in sorted(safe.rglob("*")) if file.is_file()]
    root = node(_tag("xfdu:XFDU"), node("metadataSection", *told), node("dataObjectSection", *files))
    root.set("version", "esa/safe/sentinel-1.0/sentinel-1/sar/level-1/grd/standard/iwdp")
    return written(root)


def _section(name: str, content: Element) -> Element:
    wrap = node("metadataWrap", node("xmlData", content), mimeType="text/xml", vocabularyName="SAFE")
    return node("metadataObject", wrap, ID=name, classification="DESCRIPTION", category="DMD")


def _object(safe: Path, file: Path) -> Element:
    path, data = file.relative_to(safe), file.read_bytes()
    kind = _KINDS.get(path.name.partition("-")[0], "s1Level1ProductSchema")
    kind = "s1Level1MeasurementSchema" if path.suffix == ".tiff" else kind
    stem = "".join(part for part in path.stem if part.isalnum())
    checksum = node("checksum", hashlib.md5(data, usedforsecurity=False).hexdigest(), checksumName="MD5")
    location = node("fileLocation", locatorType="URL", href=f"./{path}")
    mime = "application/octet-stream" if path.suffix == ".tiff" else "text/xml"
    stream = node("byteStream", location, checksum, mimeType=mime, size=len(data))
    return node("dataObject", stream, ID=stem, repID=kind)


def _tag(name: str) -> str:
    prefix, _, tag = name.partition(":")
    return f"{{{_SPACES[prefix]}}}{tag}"
