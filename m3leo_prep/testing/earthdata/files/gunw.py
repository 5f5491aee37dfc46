"""GUNW granules in the layout of their packaging: groups, names, types, fill values, coordinates, compression.

After ``isce2_topsapp`` (github.com/ACCESS-Cloud-Based-InSAR/DockerizedTopsApp): its template of groups for what all
versions have, ``additional_layers.json``, ``solid_earth_tides.py`` and ``packaging_utils`` for what version 3 adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Field = Callable[[Floats, Floats, Floats], Any]
"""Gives values at heights (m), latitudes and longitudes (degrees), which broadcast."""

PITCH = 0.000833333333
"""Pixel size in degrees, about 3 arcsec."""
NODE = 0.1
"""Degrees between the nodes of the geometry."""
HEIGHTS = (-1500.0, 0.0, 3000.0, 9000.0)
"""Metres of its nodes."""
IONOSPHERE_PITCH = 0.0091666666
WAVELENGTH = 0.05546576
IONOSPHERE = "derived/ionosphere/ionosphere"
TIDE = "external/tides/solidEarth/{}/solidEarthTide"
TROPOSPHERE = "external/troposphere/HRRR/{}/troposphere{}"
"""Paths below ``science/grids/corrections``: of which date (reference, secondary), and Wet or Hydrostatic."""
_CHUNK_BYTES = 16 << 20
"""Of netCDF-C from 4.9 on, where nobody says chunks."""
_CRS = {
    "grid_mapping_name": "latitude_longitude",
    "longitude_of_prime_meridian": 0.0,
    "semi_major_axis": 6378137.0,
    "inverse_flattening": 298.257223563,
}


def plain_incidence(heights: Floats, lats: Floats, lons: Floats) -> Floats:
    """Return 30 ... 44 degrees, linear in longitude between multiples of 10 degrees, and in height."""
    made: Floats = 44.0 - 14.0 * np.abs(lons / 10.0 % 2.0 - 1.0) + 1e-4 * heights + 0.0 * lats
    return made


PLAIN: Mapping[str, Field] = MappingProxyType(
    {
        "incidenceAngle": plain_incidence,
        "lookAngle": lambda h, lat, lon: 0.88 * plain_incidence(h, lat, lon),
        "azimuthAngle": lambda h, lat, lon: -168.0 + 0.01 * lat + 0.0 * (h + lon),
        "perpendicularBaseline": lambda h, lat, lon: 80.0 + 1e-3 * h + 0.0 * (lat + lon),
        "parallelBaseline": lambda h, lat, lon: -40.0 + 0.0 * (h + lat + lon),
    }
)
"""Geometry of a right-looking, ascending pass."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What a granule holds. Pixels are (y, x) float32 as stored, with 0 (-1 of components) where there is nothing."""

    phase: NDArray[Any]
    """Radians, towards the sensor."""
    coherence: NDArray[Any]
    """Of the filtered interferogram."""
    components: NDArray[Any]
    amplitude: NDArray[Any]
    unfiltered: NDArray[Any] | None = None
    """Coherence of the unfiltered interferogram: version 3."""
    geometry: Mapping[str, Field] = field(default_factory=lambda: PLAIN)
    """By name in ``imagingGeometry``."""
    corrections: Mapping[str, Field] = field(default_factory=dict)
    """By path below ``corrections``; the ionosphere has no height (it is given 0)."""


def write_gunw(
    path: Path,
    layers: Layers,
    *,
    west: float,
    north: float,
    pitch: float = PITCH,
    heights: Sequence[float] = HEIGHTS,
    chunks: tuple[int, int] | None = None,
    scenes: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write a granule and return its path.

    Args:
        path: of the file; its name says version, track and dates.
        layers: what is in it.
        west: longitude of the left edge of its first pixel.
        north: latitude of the upper edge of its first pixel.
        pitch: pixel size in degrees.
        heights: of the nodes of its geometry and corrections.
        chunks: of its pixels; None = as netCDF-C chooses.
        scenes: names of ``reference`` and ``secondary`` scenes.
    """
    import h5netcdf

    rows, cols = layers.phase.shape
    lats: Floats = north - pitch * (np.arange(rows) + 0.5)
    lons: Floats = west + pitch * (np.arange(cols) + 0.5)
    around = (lats[-1] - NODE, lats[0] + NODE, lons[0] - NODE, lons[-1] + NODE)
    with h5netcdf.File(path, "w") as file:
        file.attrs.update(
            product_type="UNW GEO IFG",
            Conventions="CF-1.6",
            title="ARIA standard product UNW GEO IFG",
            version="1c" if layers.unfiltered is not None else "1b",
            institution="Jet Propulsion Laboratory",
            references="https://aria.jpl.nasa.gov/",
        )
        _outline(file, west, north, west + cols * pitch, north - rows * pitch)
        data = _group(file, "science/grids/data", {"latitude": lats, "longitude": lons}, "crs")
        _pixels(data, "unwrappedPhase", layers.phase, 0, "rad", "Unwrapped phase", chunks)
        _pixels(data, "coherence", layers.coherence, 0, "unitless", "Coherence", chunks)
        _pixels(data, "connectedComponents", layers.components, -1, "unitless", "Snaphu connected components", chunks)
        _pixels(data, "amplitude", layers.amplitude, 0, "watt", "Amplitude", chunks)
        if layers.unfiltered is not None:
            text = "Coherence without filters applied"
            _pixels(data, "unfilteredCoherence", layers.unfiltered, np.nan, "unitless", text, chunks)
        nodes = {
            "heightsMeta": np.asarray(heights, float),
            "latitudeMeta": _nodes(around[1], around[0], NODE),
            "longitudeMeta": _nodes(around[2], around[3], NODE),
        }
        geometry = _group(file, "science/grids/imagingGeometry", nodes, "crsMeta")
        for name, values in layers.geometry.items():
            unit = "meter" if name.endswith("Baseline") else "degrees"
            _grid(geometry, name, _sampled(values, nodes), {"units": unit, "grid_mapping": "crsMeta"}, 0.0)
        _corrections(file, layers.corrections, around, heights)
        _radar(file, scenes or {})
    return path


def _corrections(
    file: Any, corrections: Mapping[str, Field], around: tuple[float, float, float, float], heights: Sequence[float]
) -> None:
    for path, values in corrections.items():
        place, _, name = path.rpartition("/")
        step = IONOSPHERE_PITCH if path == IONOSPHERE else NODE
        nodes = {"latitude": _nodes(around[1], around[0], step), "longitude": _nodes(around[2], around[3], step)}
        if path != IONOSPHERE:
            nodes = {"height": np.asarray(heights, float), **nodes}
        group = _group(file, f"science/grids/corrections/{place}", nodes, "crs")
        fill = 0.0 if "tides" in path else np.nan
        _grid(group, name, _sampled(values, nodes), {"units": "radians", "standard_name": name}, fill)
    # What the template puts where nothing was computed: a text.
    for place, name in (
        ("derived/ionosphere", "ionosphere"),
        ("external/troposphere", "troposphereHydrostatic"),
        ("external/troposphere", "troposphereWet"),
        ("external/tides", "solidEarthTide"),
    ):
        group = _group(file, f"science/grids/corrections/{place}", {}, "")
        if name not in group.variables:
            _text(group, name, ["placeholder dummy: [3D]"])


def _radar(file: Any, scenes: Mapping[str, Sequence[str]]) -> None:
    radar = _group(file, "science/radarMetaData", {}, "")
    for name, value, unit in (
        ("wavelength", WAVELENGTH, "meter"),
        ("centerFrequency", 5.405000454334350e09, "Hertz"),
        ("ESDthreshold", -1.0, "unitless"),
        ("azimuthTimeInterval", 0.002055556299999998, "seconds"),
        ("slantRangeSpacing", 2.329562114715323, "meter"),
    ):
        made = radar.create_variable(name, (), "f4" if name == "ESDthreshold" else "f8", data=value)
        made.attrs["units"] = unit
    for name, text in (("missionID", "Sentinel-1"), ("productType", "UNW GEO IFG"), ("unwrapMethod", "snaphu")):
        _text(radar, name, [text])
    for which in ("reference", "secondary"):
        group = _group(file, f"science/radarMetaData/inputSLC/{which}", {}, "")
        _text(group, "L1InputGranules", [f"{name}.zip" for name in scenes.get(which, ())] or [""])
        _text(group, "orbitType", ["precise"])


def _outline(file: Any, west: float, north: float, east: float, south: float) -> None:
    corners = ((west, north), (east, north), (east, south), (west, south), (west, north))
    wkt = f"POLYGON (({', '.join(f'{x} {y}' for x, y in corners)}))"
    file.dimensions.update(wkt_count=1, wkt_length=len(wkt))
    made = file.create_variable("productBoundingBox", ("wkt_count", "wkt_length"), "S1")
    made[0] = np.frombuffer(wkt.encode(), "S1")
    made.attrs["grid_mapping"] = "crs_polygon"


def _group(file: Any, path: str, axes: Mapping[str, Floats], crs: str) -> Any:
    """Return a group, made with its coordinates and CRS if it is new."""
    group = file[path] if path in file else file.create_group(path)
    for name, values in axes.items():
        if name in group.dimensions:
            continue
        group.dimensions[name] = len(values)
        made = group.create_variable(name, (name,), "f8", data=values)
        word = next(word for word in ("latitude", "longitude", "height") if name.startswith(word))
        unit = {"latitude": "degrees_north", "longitude": "degrees_east", "height": "meter"}[word]
        made.attrs.update(standard_name=word, long_name=word, units=unit)
    if crs and crs not in group.variables:
        group.create_variable(crs, (), "i4", data=0).attrs.update(_CRS)
    return group


def _pixels(
    group: Any, name: str, values: NDArray[Any], fill: float, unit: str, text: str, chunks: tuple[int, int] | None
) -> None:
    made = group.create_variable(
        name,
        ("latitude", "longitude"),
        "f4",
        data=np.asarray(values, np.float32),
        fillvalue=np.float32(fill),
        chunks=chunks or chosen_chunks(values.shape),
        compression="gzip",
        compression_opts=4,
        shuffle=True,
    )
    made.attrs.update(description=text, units=unit, grid_mapping="crs")


def _grid(group: Any, name: str, values: Floats, attributes: Mapping[str, str], fill: float) -> None:
    axes = [axis for axis in group.dimensions if axis != "matchup"]
    order = [next(axis for axis in axes if axis.startswith(word)) for word in _ORDER[-values.ndim :]]
    stored = np.where(np.isnan(values), fill, values).astype(np.float32)
    made = group.create_variable(name, tuple(order), "f4", data=stored, fillvalue=np.float32(fill), compression="gzip")
    made.attrs.update(description=name, **attributes)


_ORDER = ("height", "latitude", "longitude")


def _text(group: Any, name: str, lines: Sequence[str]) -> None:
    import h5py

    if "matchup" not in group.dimensions:
        group.dimensions["matchup"] = len(lines)
    made = group.create_variable(name, ("matchup",), h5py.string_dtype())
    made[: len(lines)] = np.array(lines, dtype=object)


def chosen_chunks(shape: tuple[int, ...], itemsize: int = 4) -> tuple[int, ...]:
    """Return the chunks that netCDF-C chooses for a variable of fixed dimensions (``nc4_find_default_chunksizes2``)."""
    share = min(1.0, (_CHUNK_BYTES / (float(np.prod(shape)) * itemsize)) ** (1 / len(shape)))
    if share == 1.0:
        return shape
    counts = [ceil(size / max(1, floor(share * size - 0.5))) for size in shape]
    return tuple(ceil(size / count) for size, count in zip(shape, counts, strict=True))


def _nodes(first: float, last: float, step: float) -> Floats:
    """Return multiples of a step from about ``first`` to beyond ``last``."""
    down = last < first
    low, high = floor(min(first, last) / step), ceil(max(first, last) / step)
    nodes: Floats = np.arange(low, high + 1) * step
    return nodes[::-1] if down else nodes


def _sampled(values: Field, nodes: Mapping[str, Floats]) -> Floats:
    *above, lats, lons = nodes.values()
    grid = np.meshgrid(*(above or [np.zeros(1)]), lats, lons, indexing="ij")
    made = np.broadcast_to(np.asarray(values(*grid), np.float64), grid[0].shape)
    return made if above else made[0]
