"""COPERNICUS/S1_GRD_FLOAT of the synthetic Earth: linear power on grids that begin anywhere.

Ids, bands and properties: https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S1_GRD. That the
unfiltered values are linear and not clipped is *unverified*, as are the exact times of slices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely import get_coordinates

from m3leo_prep.sources._native import transformer
from m3leo_prep.sources.synthetic import radar
from m3leo_prep.sources.synthetic.optics import greenness
from m3leo_prep.sources.synthetic.passes import Frame, number
from m3leo_prep.testing.earth_engine.archive import Scene, SceneBand
from m3leo_prep.testing.earth_engine.holdings.land import Arrays, Land, Lattice, Window
from m3leo_prep.testing.earth_engine.holdings.schedule import Place, When, is_unusual, millis

COLLECTION = "COPERNICUS/S1_GRD_FLOAT"
_SLICE = timedelta(seconds=25)
_BORDER = 0.985
"""Before software version 2.90 (13 March 2018) edges of a swath hold noise near 0 that was not removed:
https://sentinels.copernicus.eu/web/sentinel/-/sentinel-1-grd-border-noise"""
_VERSIONS = (
    (datetime(2018, 3, 13, tzinfo=UTC), "002.84"),
    (datetime(2019, 7, 1, tzinfo=UTC), "002.91"),
    (datetime(2021, 1, 1, tzinfo=UTC), "003.20"),
    (datetime(9999, 1, 1, tzinfo=UTC), "003.31"),
)
"""First day without, and the version until then."""


@dataclass(frozen=True, slots=True)
class _Look:
    """One scene: a frame at a time, in a mode."""

    frame: Frame
    when: datetime
    mode: str
    pitch: float
    polarisations: tuple[str, ...]

    @property
    def is_ascending(self) -> bool:
        return self.frame.swath.direction == "ascending"

    @property
    def lattice(self) -> Lattice:
        """The grid of the track in its zone: no multiple of 10 m."""
        key = ("origin", self.frame.swath.direction, self.frame.swath.relative_orbit, self.frame.epsg)
        x0, y0 = (number(axis, *key) % 1000 / 100.0 for axis in "xy")
        return Lattice(f"EPSG:{self.frame.epsg}", self.pitch, self.pitch, x0, y0)

    @property
    def begun(self) -> datetime:
        """When the slice begins; the pass as a whole began at the time of frame 0."""
        return self.when + _SLICE * (self.frame.number if self.is_ascending else -self.frame.number)

    @property
    def version(self) -> str:
        return next(version for end, version in _VERSIONS if self.when < end)

    @property
    def acquisition(self) -> tuple[object, ...]:
        """What all slices of one datatake share."""
        return self.mode, self.frame.swath.direction, self.frame.swath.relative_orbit, self.when


def radar_scenes(land: Land, when: When, places: Sequence[Place]) -> Iterator[Scene]:
    """Yield the scenes of all passes, and beside some passes one of another mode or polarisation a day later."""
    for frame, time in when.looks(places):
        usual = _Look(frame, time, "IW", 10.0, ("VV", "VH"))
        yield _scene(land, usual)
        key = (frame.swath.direction, frame.swath.relative_orbit, time)
        if is_unusual(("wide", *key)):
            yield _scene(land, _Look(frame, time + timedelta(days=1), "EW", 40.0, ("VV", "VH")))
        if is_unusual(("single", *key)):
            yield _scene(land, _Look(frame, time + timedelta(days=2), "IW", 10.0, ("VV",)))


def _scene(land: Land, look: _Look) -> Scene:
    lattice, frame = look.lattice, look.frame
    extent = _extent(frame, lattice)
    angles = Lattice(lattice.crs, 20_000.0, 20_000.0, lattice.x0, lattice.y0)
    bands = [
        _band(name, lattice, extent, partial(_power, land, look, name, extent[0], extent[2]))
        for name in look.polarisations
    ]
    coarse = _extent(frame, angles)
    bands.append(_band("angle", angles, coarse, partial(_angle, look, angles, coarse[0], coarse[2])))
    index = _name(look)
    return Scene(f"{COLLECTION}/{index}", frame.footprint, tuple(bands), _properties(look, index))


def _band(name: str, lattice: Lattice, extent: Window, read: Any) -> SceneBand:
    row0, row1, col0, col1 = extent
    return SceneBand(name, "float32", lattice.crs, lattice.transform(row0, col0), (row1 - row0, col1 - col0), read)


def _extent(frame: Frame, lattice: Lattice) -> Window:
    x, y = get_coordinates(frame.footprint.segmentize(0.1)).T
    east, north = transformer("EPSG:4326", lattice.crs).transform(x, y)
    return lattice.window(min(east), min(north), max(east), max(north))


def _name(look: _Look) -> str:
    begin, end = look.begun, look.begun + _SLICE
    kind = "GRDH" if look.pitch == 10 else "GRDM"
    pol = "1SDV" if len(look.polarisations) == 2 else "1SSV"
    orbit, take, check = _orbit(look), number("take", *look.acquisition) % 2**20, number("check", look) % 2**16
    letter = _platform(look)
    times = f"{begin:%Y%m%dT%H%M%S}_{end:%Y%m%dT%H%M%S}"
    return f"S1{letter}_{look.mode}_{kind}_{pol}_{times}_{orbit:06d}_{take:06X}_{check:04X}"


def _platform(look: _Look) -> str:
    return "AB"[number("platform", *look.acquisition[1:]) % 2]


def _orbit(look: _Look) -> int:
    """Return an absolute orbit number: 175 orbits in 12 days."""
    return int((look.when - datetime(2014, 4, 3, tzinfo=UTC)) / timedelta(days=12) * 175)


def _properties(look: _Look, index: str) -> dict[str, Any]:
    return {
        "system:index": index,
        "system:time_start": millis(look.begun),
        "system:time_end": millis(look.begun + _SLICE),
        "system:version": millis(look.begun) * 1000 + number("version", index) % 1_000_000,
        "instrument": "Synthetic Aperture Radar",
        "instrumentMode": look.mode,
        "instrumentSwath": look.mode,
        "familyName": "SENTINEL-1",
        "platform_number": _platform(look),
        "productType": "GRD",
        "productClass": "S",
        "resolution": "H" if look.pitch == 10 else "M",
        "resolution_meters": int(look.pitch),
        "transmitterReceiverPolarisation": list(look.polarisations),
        "orbitProperties_pass": look.frame.swath.direction.upper(),
        "orbitNumber_start": _orbit(look),
        "orbitNumber_stop": _orbit(look),
        "relativeOrbitNumber_start": look.frame.swath.relative_orbit,
        "relativeOrbitNumber_stop": look.frame.swath.relative_orbit,
        "missionDataTakeID": number("take", *look.acquisition) % 2**20,
        "segmentStartTime": millis(look.when),
        "sliceNumber": look.frame.number + 60,
        "sliceProductFlag": "true",
        "totalSlices": 120,
        "GRD_Post_Processing_software_name": "Sentinel-1 IPF",
        "GRD_Post_Processing_software_version": look.version,
    }


def _power(
    land: Land, look: _Look, name: str, row0: int, col0: int, r0: int, r1: int, c0: int, c1: int
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return power with speckle, and where the scene has pixels."""
    lattice, swath = look.lattice, look.frame.swath
    window = row0 + r0, row0 + r1, col0 + c0, col0 + c1
    # The season is that of the quarter of the year, so that its passes share what they would see without noise.
    quarter = (look.when.month - 1) // 3
    middle = look.frame.centre[1]

    def compute(block: Window) -> Arrays:
        lon, lat = lattice.lonlat(block)
        green = greenness(middle, 46 + 91 * quarter)
        seen = land.ground(lattice, block)
        across = swath.across(lon, lat)
        power, _ = radar.mean_power(seen, across, green, ascending=look.is_ascending)
        return *power.astype(np.float32), np.abs(across).astype(np.float32), lat.astype(np.float32)

    key = ("power", lattice, swath.relative_orbit, swath.direction, quarter, round(middle))
    band = ("VV", "VH").index(name)
    power, away, lat = land.blocks.window(key, window, compute, (band, 2, 3))
    seed = number(land.seed, *look.acquisition) >> 16
    values = radar.speckled(power[None], window[0], window[2], seed + band)[0]
    if look.mode == "EW":
        # As if of another calibration: who takes it for one of the others will see it.
        values *= np.float32(2.0)
    if look.version < "002.90":
        values[away > _BORDER] *= np.float32(1e-4)
    south, north = look.frame.latitudes
    return values, (away <= 1.0) & (lat >= south) & (lat <= north)


def _angle(
    look: _Look, lattice: Lattice, row0: int, col0: int, r0: int, r1: int, c0: int, c1: int
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the incidence angle of the ellipsoid in degrees, as radar.mean_power has it."""
    lon, lat = lattice.lonlat((row0 + r0, row0 + r1, col0 + c0, col0 + c1))
    across = look.frame.swath.across(lon, lat)
    far = across if look.is_ascending else -across
    return (38.5 + 7.5 * np.clip(far, -1.2, 1.2)).astype(np.float32), np.abs(across) <= 1.2
