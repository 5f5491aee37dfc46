"""What a GRD product's SAFE says of itself: its manifest, and the annotation of each polarisation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.ops.sar.orbit import Orbit
from m3leo_prep.ops.sar.rangedoppler import RadarGrid
from m3leo_prep.ops.sar.tiepoints import Geolocation, fitted
from m3leo_prep.sources.copernicus.grd import tags

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Ipf = tuple[int, int]
"""Version of ESA's processor; ``002.91`` is (2, 91)."""
PROCESSOR = "Sentinel-1 IPF"
_NOISE_REMOVED = "imageAnnotation/processingInformation/thermalNoiseCorrectionPerformed"


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """What the product annotation of one polarisation tells; times are seconds from its first line."""

    shape: tuple[int, int]
    """(lines, samples)."""
    start: datetime
    """Of the first line, UTC."""
    line_interval: float
    spacing: tuple[float, float]
    """Metres between lines and between samples."""
    orbit: Orbit
    grid: RadarGrid
    geolocation: Geolocation
    part: tuple[int, int]
    """Number of this slice of its data take, and how many there are; (1, 1) of a product that is no slice."""
    noise_removed: bool
    """Thermal noise was taken off when the product was made."""

    def line(self, when: datetime) -> float:
        """Return the line at an azimuth time; whole at the centres of lines."""
        return (when - self.start) / tags.SECOND / self.line_interval


def read_ipf(data: bytes, where: str) -> Ipf:
    """Return the version of the processor as ``manifest.safe`` says.

    The copy as COG was made by another program, which writes its own version above that of ESA's processor: only the
    latter decides what the pixels are.

    Raises:
        CorruptError: it is damaged, or names no version of the processor.
    """
    root = tags.parse(data, where)
    versions = [
        node.get("version", "") for node in root.iter() if _is(node, "software") and node.get("name") == PROCESSOR
    ]
    said = re.match(r"(\d+)\.(\d+)", next(iter(versions), ""))
    if said is None:
        raise CorruptError(f"names no version of {PROCESSOR}", where=where)
    return int(said[1]), int(said[2])


def read_annotation(data: bytes, where: str) -> Annotation:
    """Return what a product annotation says.

    Raises:
        CorruptError: it is damaged, or of no detected image in ground range.
    """
    root = tags.parse(data, where)
    image = "imageAnnotation/imageInformation"
    kind = tags.text(root, "adsHeader/productType", where)
    if kind != "GRD":
        raise CorruptError(f"is the annotation of a product of type {kind}, not GRD", where=where)
    start = tags.time(root, f"{image}/productFirstLineUtcTime", where)
    interval = tags.number(root, f"{image}/azimuthTimeInterval", where)
    shape = tuple(int(tags.number(root, f"{image}/numberOf{name}", where)) for name in ("Lines", "Samples"))
    spacing = tuple(tags.number(root, f"{image}/{name}PixelSpacing", where) for name in ("azimuth", "range"))
    if interval <= 0 or min(*shape, *spacing) <= 0:
        raise CorruptError("has an image without lines or without size", where=where)
    try:
        orbit, geolocation = _orbit(root, start, where), _geolocation(root, where)
        grid = _grid(root, (shape[0], shape[1]), start, interval, spacing[1], where)
        grid = fitted(grid, orbit, geolocation)
    except CorruptError as error:
        raise CorruptError(error.message, where=error.where or where, hint=error.hint) from None
    return Annotation(
        (shape[0], shape[1]),
        start,
        interval,
        (spacing[0], spacing[1]),
        orbit,
        grid,
        geolocation,
        _part(root, image, where),
        noise_removed=tags.text(root, _NOISE_REMOVED, where).lower() == "true",
    )


def _is(node: Element, name: str) -> bool:
    """Manifests put the same tag into several namespaces."""
    return node.tag.rpartition("}")[2] == name


def _orbit(root: Element, start: datetime, where: str) -> Orbit:
    vectors = tags.several(root, "generalAnnotation/orbitList/orbit", where)
    times = [(tags.time(one, "time", where) - start) / tags.SECOND for one in vectors]
    place, speed = (
        np.array([[tags.number(one, f"{what}/{axis}", where) for axis in "xyz"] for one in vectors])
        for what in ("position", "velocity")
    )
    return Orbit(np.array(times), place, speed)


def _grid(
    root: Element, shape: tuple[int, int], start: datetime, interval: float, spacing: float, where: str
) -> RadarGrid:
    found = tags.several(root, "coordinateConversion/coordinateConversionList/coordinateConversion", where)
    polynomials = [tags.numbers(one, "srgrCoefficients", where) for one in found]
    if len({len(one) for one in polynomials}) > 1:
        raise CorruptError("has <srgrCoefficients> of several lengths", where=where)
    times = np.array([(tags.time(one, "azimuthTime", where) - start) / tags.SECOND for one in found])
    order = np.argsort(times)
    origins = np.array([tags.number(one, "sr0", where) for one in found])
    return RadarGrid(
        shape=shape,
        first_time=0.0,
        line_interval=interval,
        sample_spacing=spacing,
        times=times[order],
        slant_origins=origins[order],
        coefficients=np.array(polynomials)[order],
    )


def _geolocation(root: Element, where: str) -> Geolocation:
    """Return the tie points; each line of them has the same samples."""
    points = tags.several(root, "geolocationGrid/geolocationGridPointList/geolocationGridPoint", where)
    names = ("line", "pixel", "longitude", "latitude", "height")
    told = np.array([[tags.number(point, name, where) for name in names] for point in points])
    told = told[np.lexsort((told[:, 1], told[:, 0]))]
    lines, samples = np.unique(told[:, 0]), np.unique(told[:, 1])
    if len(told) != len(lines) * len(samples):
        raise CorruptError("the points of <geolocationGrid> make no grid", where=where)
    lon, lat, height = (told[:, column].reshape(len(lines), len(samples)) for column in (2, 3, 4))
    return Geolocation(lines, samples, lon, lat, height)


def _part(root: Element, image: str, where: str) -> tuple[int, int]:
    if (root.findtext(f"{image}/productComposition") or "").strip() != "Slice":
        return 1, 1
    return int(tags.number(root, f"{image}/sliceNumber", where)), len(root.findall(f"{image}/sliceList/slice"))
