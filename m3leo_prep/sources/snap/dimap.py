"""What SNAP wrote: a header ``NAME.dim``, and beside it a folder ``NAME.data`` with a flat file for each band."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import SourceError, TriedOut
from m3leo_prep.sources.snap.chains import Grid

DTYPES = {"float32": ">f4", "float64": ">f8", "int8": "i1", "uint8": "u1", "int16": ">i2", "uint16": ">u2"}
"""By SNAP's name; its files have the high byte first (``EnviHeader`` of snap-engine)."""
_TOLERANCE_PX = 1e-4
_TOLERANCE_M = 1e-3
ORBIT = "orbit_state_vector_file"
"""Attribute that names the orbit file of each product that went in."""


@dataclass(frozen=True, slots=True)
class Band:
    """One band's file."""

    path: Path
    dtype: str


@dataclass(frozen=True, slots=True)
class Written:
    """A product that SNAP wrote."""

    shape: tuple[int, int]
    """(rows, columns)."""
    west: float
    """Easting of the left edge, metres."""
    north: float
    bands: Mapping[str, Band]
    orbits: tuple[str, ...]
    """Names of the orbit files that were applied."""

    def rows(self, name: str, first: int, stop: int) -> NDArray[np.generic]:
        """Return some rows of a band, (y, x), as stored."""
        band = self.bands[name]
        width = self.shape[1]
        count = (stop - first) * width
        offset = first * width * np.dtype(band.dtype).itemsize
        return np.fromfile(band.path, band.dtype, count, offset=offset).reshape(-1, width)


def read(header: Path, grid: Grid, where: str) -> Written:
    """Return what SNAP wrote, after a look at all of it: nothing is cut off, and its pixels are those of the grid.

    Raises:
        TriedOut: it is not whole.
        SourceError: its pixels lie elsewhere.
    """
    try:
        root = ET.parse(header).getroot()  # noqa: S314  written by the user's own SNAP
        shape = int(_text(root, "Raster_Dimensions/NROWS")), int(_text(root, "Raster_Dimensions/NCOLS"))
        matrix = [float(part) for part in _text(root, "Geoposition/IMAGE_TO_MODEL_TRANSFORM").split(",")]
        names = {
            _text(info, "BAND_INDEX"): (_text(info, "BAND_NAME"), DTYPES[_text(info, "DATA_TYPE")])
            for info in root.iterfind("Image_Interpretation/Spectral_Band_Info")
            if info.findtext("VIRTUAL_BAND") != "true"
        }
        bands = {}
        for file in root.iterfind("Data_Access/Data_File"):
            place = file.find("DATA_FILE_PATH")
            name, dtype = names[_text(file, "BAND_INDEX")]
            href = "" if place is None else place.get("href", "")
            bands[name] = Band((header.parent / href).with_suffix(".img"), dtype)
    except (OSError, ET.ParseError, KeyError, ValueError) as error:
        raise TriedOut(f"SNAP wrote no whole product: {type(error).__name__} {error}", where=where) from None
    for name, band in bands.items():
        size = shape[0] * shape[1] * np.dtype(band.dtype).itemsize
        found = band.path.stat().st_size if band.path.is_file() else 0
        if found != size:
            raise TriedOut(f"SNAP wrote {found:,} of {size:,} bytes of {name}", where=where)
    west, north = _placed(root, matrix, shape, grid, where)
    orbits = sorted({one.text or "" for one in root.iter("MDATTR") if one.get("name") == ORBIT})
    return Written(shape, west, north, bands, tuple(orbits))


def _text(element: ET.Element, path: str) -> str:
    found = element.findtext(path)
    if found is None:
        raise KeyError(path)
    return found.strip()


def _placed(
    root: ET.Element, matrix: list[float], shape: tuple[int, int], grid: Grid, where: str
) -> tuple[float, float]:
    """Return the upper left corner, on a whole number of pixels.

    Raises:
        SourceError: the pixels are not those of the grid.
    """
    # Of java.awt.geom.AffineTransform, column by column.
    a, d, b, e, x, y = matrix
    if (a, d, b, e) != (grid.pitch, 0.0, 0.0, -grid.pitch):
        raise SourceError(f"SNAP wrote pixels of {a:g} m x {-e:g} m, not {grid.pitch:g} m", where=where)
    west, north = round(x / grid.pitch), round(y / grid.pitch)
    shift = max(abs(x / grid.pitch - west), abs(y / grid.pitch - north))
    if shift > _TOLERANCE_PX:
        hint = "this SNAP aligns to another point of its standard grid: please report it with its release"
        raise SourceError(f"SNAP's pixels are {shift:.3f} px off the chips' grid", where=where, hint=hint)
    middle = x + a * shape[1] / 2, y + e * shape[0] / 2
    off = _off(_text(root, "Coordinate_Reference_System/WKT"), grid, middle)
    if not off < _TOLERANCE_M:
        raise SourceError(f"SNAP's coordinates are {off:g} m off those of EPSG:{grid.epsg}", where=where)
    return west * grid.pitch, north * grid.pitch


def _off(wkt: str, grid: Grid, point: tuple[float, float]) -> float:
    """Return how far a point of SNAP's coordinate system is from where it belongs, in metres."""
    from pyproj import CRS, Transformer

    theirs, ours = CRS.from_wkt(wkt), CRS.from_epsg(grid.epsg)
    x, y = Transformer.from_crs(theirs, ours, always_xy=True).transform(*point)
    return float(np.hypot(x - point[0], y - point[1]))
