"""The annotation of a GRD product: orbit, geometry, calibration and noise, as XML."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from m3leo_prep.testing.copernicus.files.radar_image import LIGHT, LINE_SECONDS, PITCH
from m3leo_prep.testing.copernicus.files.xml import Element, listed, node, written

if TYPE_CHECKING:
    from m3leo_prep.testing.copernicus.files.grd import Scene

GRID = (5, 8)
"""Points of the geolocation grid along lines and samples; a whole product has 10 times 21."""
_STEP = 40
"""Samples between the values of the tables."""
_VECTORS = 4
_STATE_SECONDS = 10.0


def annotation(scene: Scene, number: int) -> bytes:
    """Return ``annotation/NAME.xml`` of a polarisation."""
    return written(
        node(
            "product",
            _header(scene, number),
            node("qualityInformation", node("productQualityIndex", 0.0), node("qualityDataList", count=0)),
            _general(scene),
            _image(scene),
            node("dopplerCentroid", node("dcEstimateList", count=0)),
            node("antennaPattern", node("antennaPatternList", count=0)),
            node("swathTiming", node("linesPerBurst", 0), node("samplesPerBurst", 0), node("burstList", count=0)),
            _grid(scene),
            _conversion(scene),
            _merging(scene),
        )
    )


def calibration(scene: Scene, number: int) -> bytes:
    """Return ``annotation/calibration/calibration-NAME.xml``."""
    pixels = _pixels(scene)
    tables = {
        tag: scene.factor(quantity)[pixels]
        for tag, quantity in (("sigmaNought", "sigma"), ("betaNought", "beta"), ("gamma", "gamma"), ("dn", "beta"))
    }
    vectors = [
        node(
            "calibrationVector",
            node("azimuthTime", _at(scene, line)),
            node("line", int(line)),
            node("pixel", pixels),
            *(node(tag, values) for tag, values in tables.items()),
        )
        for line in _lines(scene)
    ]
    return written(
        node(
            "calibration",
            _header(scene, number),
            node("calibrationInformation", node("absoluteCalibrationConstant", 1.0)),
            listed("calibrationVectorList", vectors),
        )
    )


def noise(scene: Scene, number: int) -> bytes:
    """Return ``annotation/calibration/noise-NAME.xml``, of the processor's version."""
    pixels = _pixels(scene)
    tag, table = ("noiseRangeVector", "noiseRangeLut") if scene.is_new else ("noiseVector", "noiseLut")
    ranges = [
        node(
            tag,
            node("azimuthTime", _at(scene, line)),
            node("line", int(line)),
            node("pixel", pixels),
            node(table, scene.noise_range()[pixels]),
        )
        for line in _lines(scene)
    ]
    lists = [listed(f"{tag}List", ranges)]
    if scene.is_new:
        every = np.unique(np.append(np.arange(0, scene.shape[0], 10), scene.shape[0] - 1))
        azimuths = [
            node(
                "noiseAzimuthVector",
                node("swath", swath),
                node("firstAzimuthLine", 0),
                node("firstRangeSample", first),
                node("lastAzimuthLine", scene.shape[0] - 1),
                node("lastRangeSample", last),
                node("line", every),
                node("noiseAzimuthLut", scene.noise_azimuth(which)[every]),
            )
            for which, (swath, first, last) in enumerate(scene.swaths())
        ]
        lists.append(listed("noiseAzimuthVectorList", azimuths))
    return written(node("noise", _header(scene, number), *lists))


def _header(scene: Scene, number: int) -> Element:
    return node(
        "adsHeader",
        node("missionId", scene.platform),
        node("productType", "GRD"),
        node("polarisation", scene.polarisations[number]),
        node("mode", "IW"),
        node("swath", "IW"),
        node("startTime", scene.start),
        node("stopTime", scene.stop),
        node("absoluteOrbitNumber", scene.orbit_number),
        node("missionDataTakeId", scene.datatake),
        node("imageNumber", f"{number + 1:03d}"),
    )


def _general(scene: Scene) -> Element:
    orbit = scene.image.orbit
    seconds = np.arange(-8, 9, dtype=np.float64) * _STATE_SECONDS
    states = []
    for second, position, velocity in zip(seconds, orbit.position(seconds), orbit.velocity(seconds), strict=True):
        time = scene.epoch + timedelta(seconds=float(second))
        vectors = [
            node(tag, *(node(axis, float(one)) for axis, one in zip("xyz", values, strict=True)))
            for tag, values in (("position", position), ("velocity", velocity))
        ]
        states.append(node("orbit", node("time", time), node("frame", "Earth Fixed"), *vectors))
    height = node("terrainHeight", node("azimuthTime", scene.start), node("value", scene.image.height))
    return node(
        "generalAnnotation",
        node(
            "productInformation",
            node("pass", "Ascending" if orbit.ascending else "Descending"),
            node("timelinessCategory", "Fast-24h"),
            node("platformHeading", -12.0 if orbit.ascending else -168.0),
            node("projection", "Ground Range"),
            node("rangeSamplingRate", 6.434523812571428e07),
            node("radarFrequency", 5.405000454334350e09),
            node("azimuthSteeringRate", 1.590368784),
        ),
        node("downlinkInformationList", count=0),
        listed("orbitList", states),
        node("attitudeList", count=0),
        node("rawDataAnalysisList", count=0),
        node("replicaInformationList", count=0),
        node("noiseList", count=0),
        listed("terrainHeightList", [height]),
        node("azimuthFmRateList", count=0),
    )


def _image(scene: Scene) -> Element:
    lines, samples = scene.shape
    middle = scene.image.incidence(np.array([lines / 2]), np.array([samples / 2]))[0]
    return node(
        "imageAnnotation",
        node(
            "imageInformation",
            node("productFirstLineUtcTime", scene.start),
            node("productLastLineUtcTime", scene.stop),
            node("ascendingNodeTime", scene.start - timedelta(minutes=14)),
            node("anchorTime", scene.start - timedelta(seconds=30)),
            node("productComposition", "Slice"),
            node("sliceNumber", 1),
            node("sliceList", count=0),
            node("slantRangeTime", 2 * scene.image.near_range / LIGHT),
            node("pixelValue", "Detected"),
            node("outputPixels", "16 bit Unsigned Integer"),
            node("rangePixelSpacing", PITCH),
            node("azimuthPixelSpacing", PITCH),
            node("azimuthTimeInterval", LINE_SECONDS),
            node("azimuthFrequency", 4.864863102995529e02),
            node("numberOfSamples", samples),
            node("numberOfLines", lines),
            node("zeroDopMinusAcqTime", 0.0),
            node("incidenceAngleMidSwath", float(middle)),
        ),
        node(
            "processingInformation",
            node("orbitDataFileUsed", True),
            node("srgrConversionApplied", True),
            node("detectionPerformed", True),
            node("thermalNoiseCorrectionPerformed", False),
            node("swathProcParamsList", count=0),
            node("inputDimensionsList", count=0),
            node("referenceRange", 8.0e05),
            node("ellipsoidName", "WGS84"),
            node("ellipsoidSemiMajorAxis", 6.378137e06),
            node("ellipsoidSemiMinorAxis", 6.356752314245e06),
            node("orbitSource", "Auxiliary"),
            node("attitudeSource", "Downlink"),
        ),
    )


def _grid(scene: Scene) -> Element:
    lines, samples, places = scene.grid
    at = np.meshgrid(lines, samples, indexing="ij")
    incidence, (_, ranges) = scene.image.incidence(*at), scene.image.seen_at(*at)
    points = [
        node(
            "geolocationGridPoint",
            node("azimuthTime", _at(scene, line)),
            node("slantRangeTime", float(2 * ranges[i, j] / LIGHT)),
            node("line", int(line)),
            node("pixel", int(sample)),
            node("latitude", float(places[i, j, 1])),
            node("longitude", float(places[i, j, 0])),
            node("height", float(places[i, j, 2])),
            node("incidenceAngle", float(incidence[i, j])),
            node("elevationAngle", float(incidence[i, j]) - 4.0),
        )
        for i, line in enumerate(lines)
        for j, sample in enumerate(samples)
    ]
    return node("geolocationGrid", listed("geolocationGridPointList", points))


def _conversion(scene: Scene) -> Element:
    image = scene.image
    records = [
        node(
            "coordinateConversion",
            node("azimuthTime", scene.start + timedelta(seconds=second)),
            node("slantRangeTime", 2 * image.near_range / LIGHT),
            node("sr0", image.near_range),
            node("srgrCoefficients", image.to_ground),
            node("gr0", 0.0),
            node("grsrCoefficients", image.to_slant),
        )
        for second in (-1.0, 0.0, 1.0)
    ]
    return node("coordinateConversion", listed("coordinateConversionList", records))


def _merging(scene: Scene) -> Element:
    def bounds(first: int, last: int) -> Element:
        told: tuple[tuple[str, Any], ...] = (
            ("azimuthTime", scene.start),
            ("firstAzimuthLine", 0),
            ("firstRangeSample", first),
            ("lastAzimuthLine", scene.shape[0] - 1),
            ("lastRangeSample", last),
        )
        return node("swathBounds", *(node(tag, value) for tag, value in told))

    merged = [
        node("swathMerge", node("swath", swath), listed("swathBoundsList", [bounds(first, last)]))
        for swath, first, last in scene.swaths()
    ]
    return node("swathMerging", listed("swathMergeList", merged))


def _at(scene: Scene, line: float) -> datetime:
    return scene.start + timedelta(seconds=float(line) * LINE_SECONDS)


def _lines(scene: Scene) -> Any:
    return np.unique(np.rint(np.linspace(0, scene.shape[0] - 1, _VECTORS)).astype(int))


def _pixels(scene: Scene) -> Any:
    return np.unique(np.append(np.arange(0, scene.shape[1], _STEP), scene.shape[1] - 1))
