"""A stand-in for SNAP's ``gpt``: it checks graphs as SNAP does, and writes what SNAP would, of an analytic field.

    snap = FakeSnap(tmp_path)
    os.environ.update(snap.environment)
    snap.misbehave("truncated")

It is a program like ``gpt``, run as a process. It knows the parameters of a release from the schema, lays its pixels
as SNAP's ``CRSGeoCodingHandler`` does, names bands as SNAP's operators do, and writes BEAM-DIMAP. Its bands are a known
function of easting and northing, so that a shift of the result can be seen. What SNAP computes of radar data it does
not.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

    from numpy.typing import NDArray

RELEASE = "13.0.4"
FAULTS = Literal[
    "", "killed", "no intersection", "truncated", "unaligned", "other zone", "no orbit", "restituted", "no memory",
    "no output", "another band",
]  # fmt: skip
_WAVE = 320.0, 260.0
"""Metres: periods of the field in easting and northing, many pixels of 10 m."""


class FakeSnap:
    """An installed stand-in.

    Attributes:
        home: its folder, as SNAP's: ``bin/gpt`` and ``VERSION.txt``.
    """

    def __init__(self, folder: Path, release: str = RELEASE) -> None:
        """Install it.

        Args:
            folder: an empty or a new one.
            release: which SNAP it stands for.
        """
        self.home = folder.resolve() / "esa-snap"
        self.gpt = self.home / "bin" / "gpt"
        self.gpt.parent.mkdir(parents=True)
        (self.home / "VERSION.txt").write_text(release)
        command = shlex.join([sys.executable, "-m", __name__, str(self.home)])
        self.gpt.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        self.gpt.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """What makes it found."""
        return {"M3LEO_PREP_GPT": str(self.gpt)}

    def misbehave(self, fault: FAULTS) -> None:
        """Have all further runs end so; nothing = well."""
        (self.home / "fault").write_text(fault)

    @property
    def runs(self) -> list[list[str]]:
        """The arguments of each graph that was run."""
        try:
            lines = (self.home / "runs").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]


def write_scene(folder: Path, name: str, footprint: Sequence[tuple[float, float]]) -> Path:
    """Write ``NAME.SAFE`` with no more than a manifest, and return it.

    Args:
        folder: where.
        name: without ``.SAFE``.
        footprint: longitude and latitude of the corners.
    """
    safe = folder / f"{name}.SAFE"
    safe.mkdir(parents=True)
    corners = " ".join(f"{lat:.9f},{lon:.9f}" for lon, lat in footprint)
    (safe / "manifest.safe").write_text(
        '<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:gml="http://www.opengis.net/gml">'
        f"<gml:coordinates>{corners}</gml:coordinates></xfdu:XFDU>"
    )
    return safe


def pack(safe: Path) -> Path:
    """Return an archive of a scene, beside it."""
    path = safe.with_name(f"{safe.name}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in safe.rglob("*"):
            archive.write(file, file.relative_to(safe.parent))
    return path


def field(x: NDArray[Any], y: NDArray[Any], band: str) -> NDArray[Any]:
    """Return what the stand-in's bands hold at easting ``x`` and northing ``y``: never 0, and other for each band."""
    import numpy as np

    wave = np.sin(2 * np.pi * x / _WAVE[0]) * np.cos(2 * np.pi * y / _WAVE[1])
    scale = {"Gamma0_VV": 0.1, "Gamma0_VH": 0.02, "coh": 0.5, "Entropy": 0.6, "Anisotropy": 0.4, "Alpha": 30.0}
    if band in {"i_ifg", "q_ifg"}:  # the phase is the wave
        return np.asarray(np.cos(wave) if band == "i_ifg" else np.sin(wave))
    if band == "layoverShadowMask":  # a corner of each square kilometre, one code after the other
        return np.asarray(np.where((x % 1000 < 100) & (y % 1000 < 100), (x // 1000) % 4, 0.0))
    made: NDArray[Any] = scale.get(band, 35.0) * (1.0 + 0.5 * wave)
    return made


# -- the program -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Step:
    operator: str
    values: Mapping[str, str]


def main(arguments: Sequence[str]) -> int:
    """Do what ``gpt`` does with some arguments; the first is the stand-in's folder."""
    home, *rest = arguments
    release = (Path(home) / "VERSION.txt").read_text()
    if "--diag" in rest:
        print(f"SNAP Release version {release}\nSNAP home: {home}")  # noqa: T201  a program's output
        return 0
    if "-h" in rest:
        print(_usage(next(one for one in rest if one != "-h"), int(release.split(".")[0])))  # noqa: T201
        return 0
    with (Path(home) / "runs").open("a") as runs:
        runs.write(json.dumps(rest) + "\n")
    print("INFO: org.esa.snap.core.gpf.operators.tooladapter.ToolAdapterIO: Initializing", file=sys.stderr)  # noqa: T201
    fault_file = Path(home) / "fault"
    fault = fault_file.read_text() if fault_file.exists() else ""
    ended = _misbehaved(fault)
    if ended is not None:
        return ended
    from m3leo_prep.core.errors import ConfigError
    from m3leo_prep.sources.snap.graph import check

    text = Path(rest[0]).read_text()
    try:
        check(text, int(release.split(".")[0]))
    except ConfigError as error:
        print(f"\nError: {error}", file=sys.stderr)  # noqa: T201
        return 1
    _process(text, fault)
    return 0


def _misbehaved(fault: str) -> int | None:
    """End as told, without looking at the graph; None = go on."""
    match fault:
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "no memory":
            print("Exception in thread 'x' java.lang.OutOfMemoryError: Java heap space", file=sys.stderr)  # noqa: T201
            return 0
        case "no intersection":
            said = "WARNING: org.esa.snap.core.gpf.common.SubsetOp: No intersection with source product boundary x"
            print(said, file=sys.stderr)  # noqa: T201
            return 0
        case "no orbit":
            print("\nError: [NodeId: Apply-Orbit-File] No valid orbit file found for 01-JAN-2021", file=sys.stderr)  # noqa: T201
            return 1
        case "no output":
            return 0
    return None


def _process(text: str, fault: str) -> None:
    """Write what a graph asks for."""
    import xml.etree.ElementTree as ET

    import numpy as np

    steps = [
        _Step(node.findtext("operator", ""), {one.tag: one.text or "" for one in node.find("parameters") or ()})
        for node in ET.fromstring(text).iter("node")  # noqa: S314  checked before
    ]
    placed = next(step.values for step in steps if step.operator == "Terrain-Correction")
    west, north, rows, columns = _grid(steps, placed)
    pitch = float(placed["pixelSpacingInMeter"])
    if fault == "unaligned":
        west += 0.3 * pitch
    x = west + np.arange(columns) * pitch
    y = north - np.arange(rows) * pitch
    header = Path(next(step.values["file"] for step in steps if step.operator == "Write"))
    data = header.with_suffix(".data")
    data.mkdir()
    names = _names(steps, placed)
    if fault == "another band":
        names = {f"x{name}": kind for name, kind in names.items()}
    for name, kind in names.items():
        dtype = "i1" if kind == "layoverShadowMask" else ">f4"
        values = field(x[None, :], y[:, None], kind).astype(dtype)
        values[:2] = 0  # no data
        (data / f"{name}.img").write_bytes(values.tobytes()[: -1000 if fault == "truncated" else None])
        (data / f"{name}.hdr").write_text("ENVI\n")
    zone = placed["mapProjection"]
    if fault == "other zone":
        zone = "EPSG:32631" if zone != "EPSG:32631" else "EPSG:32632"
    orbit = "RESORB" if fault == "restituted" else "POEORB"
    _write_header(header, names, (rows, columns), (pitch, west - pitch / 2, north + pitch / 2), zone, orbit)


def _grid(steps: Sequence[_Step], placed: Mapping[str, str]) -> tuple[float, float, int, int]:
    """Return the middle of the first pixel, and how many there are, as ``CRSGeoCodingHandler`` computes them."""
    import math

    from pyproj import Transformer

    lons, lats = [], []
    for step in steps:
        if step.operator == "Read":
            for pair in _corners(Path(step.values["file"])).split():
                lat, lon = (float(part) for part in pair.split(","))
                lons.append(lon)
                lats.append(lat)
    to_map = Transformer.from_crs(4326, placed["mapProjection"], always_xy=True)
    left, bottom, right, top = to_map.transform_bounds(min(lons), min(lats), max(lons), max(lats), densify_pts=200)
    pitch = float(placed["pixelSpacingInMeter"])
    x0, y0 = float(placed["standardGridOriginX"]), float(placed["standardGridOriginY"])
    west, north = left, top
    if placed["alignToStandardGrid"] == "true":
        west = math.floor((left - x0) / pitch) * pitch + x0
        north = math.ceil((top - y0) / pitch) * pitch + y0
    return west, north, math.ceil((north - bottom) / pitch), math.ceil((right - west) / pitch)


def _corners(archive: Path) -> str:
    import re

    with zipfile.ZipFile(archive) as product:
        name = next(one for one in product.namelist() if one.endswith("manifest.safe"))
        found = re.search(r"<gml:coordinates>(.*?)</gml:coordinates>", product.read(name).decode(), re.DOTALL)
    assert found is not None
    return found[1]


def _names(steps: Sequence[_Step], placed: Mapping[str, str]) -> dict[str, str]:
    """Return the bands' names, and which field each holds."""
    done = {step.operator: step.values for step in steps}
    dates = "VV_12Jan2021_24Jan2021"
    if "Terrain-Flattening" in done:
        # In the order of the product's files, whatever the graph says.
        bands = [f"Gamma0_{one}" for one in sorted(done["Calibration"]["selectedPolarisations"].split(","))]
        names = {band: band for band in bands}
    elif "Interferogram" in done:
        names = {f"{kind}_{dates}": kind for kind in ("i_ifg", "q_ifg", "coh")}
    elif "Coherence" in done:
        names = {f"coh_{dates}": "coh"}
    else:
        names = {band: band for band in ("Entropy", "Anisotropy", "Alpha")}
    for key, band in (
        ("saveLocalIncidenceAngle", "localIncidenceAngle"),
        ("saveLayoverShadowMask", "layoverShadowMask"),
    ):
        if placed[key] == "true":
            names[band] = band
    return names


def _write_header(
    header: Path,
    names: Mapping[str, str],
    shape: tuple[int, int],
    place: tuple[float, float, float],
    zone: str,
    orbit: str,
) -> None:
    """Write the header as ``DimapHeaderWriter`` of snap-engine does, of what is read of it."""
    import xml.etree.ElementTree as ET

    pitch, left, top = place
    root = ET.Element("Dimap_Document", name=header.name)
    _add(root, "Coordinate_Reference_System", {"WKT": _wkt(int(zone.removeprefix("EPSG:")))})
    _add(root, "Geoposition", {"IMAGE_TO_MODEL_TRANSFORM": f"{pitch},0.0,0.0,{-pitch},{left},{top}"})
    _add(root, "Raster_Dimensions", {"NCOLS": shape[1], "NROWS": shape[0], "NBANDS": len(names)})
    access = ET.SubElement(root, "Data_Access")
    interpretation = ET.SubElement(root, "Image_Interpretation")
    for index, (name, kind) in enumerate(names.items()):
        file = ET.SubElement(access, "Data_File")
        ET.SubElement(file, "DATA_FILE_PATH", href=f"{header.stem}.data/{name}.hdr")
        ET.SubElement(file, "BAND_INDEX").text = str(index)
        dtype = "int8" if kind == "layoverShadowMask" else "float32"
        _add(interpretation, "Spectral_Band_Info", {"BAND_INDEX": index, "BAND_NAME": name, "DATA_TYPE": dtype})
    virtual = {"BAND_INDEX": len(names), "BAND_NAME": "Phase_x", "DATA_TYPE": "float32", "VIRTUAL_BAND": "true"}
    _add(interpretation, "Spectral_Band_Info", virtual)
    sources = ET.SubElement(root, "Dataset_Sources")
    told = ET.SubElement(sources, "MDATTR", name="orbit_state_vector_file", type="ascii")
    told.text = f"Sentinel Precise S1A_OPER_AUX_{orbit}_OPOD_20210201T121212.EOF"
    header.write_text(ET.tostring(root, encoding="unicode"))


def _wkt(epsg: int) -> str:
    """Return a zone's coordinate system as GeoTools writes it, whose names are not those of others."""
    number, south = epsg % 100, epsg // 100 == 327
    return f"""
        PROJCS["WGS 84 / UTM zone {number}{"NS"[south]}",
          GEOGCS["WGS 84",
            DATUM["World Geodetic System 1984",
              SPHEROID["WGS 84", 6378137.0, 298.257223563, AUTHORITY["EPSG","7030"]],
              AUTHORITY["EPSG","6326"]],
            PRIMEM["Greenwich", 0.0, AUTHORITY["EPSG","8901"]],
            UNIT["degree", 0.017453292519943295],
            AXIS["Geodetic longitude", EAST],
            AXIS["Geodetic latitude", NORTH],
            AUTHORITY["EPSG","4326"]],
          PROJECTION["Transverse_Mercator", AUTHORITY["EPSG","9807"]],
          PARAMETER["central_meridian", {6.0 * number - 183.0}],
          PARAMETER["latitude_of_origin", 0.0],
          PARAMETER["scale_factor", 0.9996],
          PARAMETER["false_easting", 500000.0],
          PARAMETER["false_northing", {1e7 if south else 0.0}],
          UNIT["m", 1.0],
          AXIS["Easting", EAST],
          AXIS["Northing", NORTH],
          AUTHORITY["EPSG","{epsg}"]]
    """


def _add(parent: ET.Element, tag: str, children: Mapping[str, Any]) -> None:
    import xml.etree.ElementTree as ET

    element = ET.SubElement(parent, tag)
    for name, value in children.items():
        ET.SubElement(element, name).text = str(value)


def _usage(operator: str, release: int) -> str:
    """Return what ``gpt -h OPERATOR`` tells, as ``CommandLineUsage`` writes it, of what is read of it."""
    from m3leo_prep.sources.snap.schema import operators

    known = operators(release).get(operator)
    if known is None:
        return f"Unknown operator '{operator}'."
    lines = [f"Usage:\n  gpt {operator} [options]\n\nParameter Options:"]
    for parameter in known.parameters.values():
        lines.append(f"  -P{parameter.name}=<{parameter.type}>    Sets parameter '{parameter.name}'.")
        if parameter.values:
            lines.append("    Value must be one of " + ", ".join(f"'{value}'" for value in parameter.values) + ".")
    return "\n".join([*lines, "\nGraph XML Format:"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
