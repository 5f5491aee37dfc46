"""A small archive around 6.1 E, 49.6 N, so that everything can be tried without an account.

One tile of GSSIC with three orbits of geometry, interferograms of one track in two frames, bursts of RTC from both
directions, and scenes and bursts of which HyP3 makes products when they are ordered. The ground is that of the source
``synthetic``; the layout of the files is the archive's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.sources.synthetic.facts import DELAYS_DAYS, WAVELENGTH_M
from m3leo_prep.testing.earthdata import on_demand
from m3leo_prep.testing.earthdata.files.gssic import PIXELS, stored, write_tile
from m3leo_prep.testing.earthdata.files.gunw import PITCH, Layers, write_gunw
from m3leo_prep.testing.earthdata.files.opera import rtc
from m3leo_prep.testing.earthdata.granules import Granule

if TYPE_CHECKING:
    from m3leo_prep.sources.synthetic.earth import Ground
    from m3leo_prep.testing.earthdata.server import EarthdataStandIn

TILE = "N50E006"
ROWS, COLS = (264, 600), (0, 348)
"""Of the tile, what has data: 49.5 to 49.78 N, 6.0 to 6.29 E. Small: tests write all of it."""
SEASONS = {"winter": 0.1, "spring": 0.6, "summer": 1.0, "fall": 0.5}
"""How green each season is, 0 ... 1."""
ORBITS = {"088A": 37.0, "161A": 42.0, "037D": 33.0}
"""Of the tile's geometry, with an incidence in degrees."""
REFERENCE = datetime(2020, 9, 2, 17, 24, 3, tzinfo=UTC)
DAYS = (12, 48, 96, 144)
"""From the earlier date of each pair to ``REFERENCE``."""
FRAMES = {"a": (49.5, 204), "b": (49.64, 168)}
"""Southern edge in degrees and rows of each; they overlap by 0.03 degrees, less than a chip is high."""
WEST, COLUMNS = 5.95, 408
TOWN = (6.13, 49.61)
"""Longitude and latitude of what sinks."""
PASSES = (("T088-188500-IW2", "ascending", 20), ("T037-078300-IW1", "descending", 5))
SEED = 3
"""Of the ground: dry land, with hills and a town."""


def fill(earthdata: EarthdataStandIn) -> None:
    """Put the archive into a stand-in, in place of whatever it holds."""
    earthdata.reset()
    folder = Path(tempfile.mkdtemp(dir=earthdata.bucket.parent))
    _tile(earthdata.bucket)
    earthdata.add(*_interferograms(folder), *_bursts(folder), *on_demand.granules())
    earthdata.makes = partial(on_demand.product, folder / "made")


def _tile(bucket: Path) -> None:
    """Write the tile of GSSIC: seasonal coherence, backscatter and decay, and geometry by orbit."""
    from m3leo_prep.sources.synthetic import radar

    lon = 6.0 + (np.arange(*COLS) + 0.5) / PIXELS
    lat = 50.0 - (np.arange(*ROWS) + 0.5) / PIXELS
    ground = _ground(lon[None, :], lat[:, None])

    def write(name: str, values: NDArray[Any]) -> None:
        inner = stored(name.rpartition("_")[2], values)
        pixels = np.zeros((PIXELS, PIXELS), inner.dtype)
        pixels[slice(*ROWS), slice(*COLS)] = inner
        write_tile(bucket, f"{TILE}_{name}", pixels)

    across = np.zeros(ground.classes.shape)
    for season, green in SEASONS.items():
        coherence = radar.true_coherence(ground, green)
        power, hidden = radar.mean_power(ground, across, green, ascending=True)
        floor = np.minimum(coherence[3], 0.9)
        tau = 24.0 / np.log(np.maximum((coherence[0] - floor) / np.maximum(coherence[2] - floor, 1e-3), 1.05))
        metrics = {f"vv_COH{days}": coherence[n] for n, days in enumerate((12, 24, 36, 48))}
        metrics |= {"vv_AMP": power[0], "vh_AMP": power[1]}
        metrics |= {"vv_rho": floor, "vv_tau": np.clip(tau, 1, 60), "vv_rmse": np.full(floor.shape, 0.04)}
        for name, values in metrics.items():
            write(f"{season}_{name}", np.where(hidden, np.nan, values))
    for orbit, incidence in ORBITS.items():
        looks_east = -1.0 if orbit.endswith("A") else 1.0
        angle = incidence + np.degrees(np.arctan(looks_east * ground.slope_east))
        write(f"{orbit}_inc", np.clip(angle, 1, 89))
        write(f"{orbit}_lsmap", np.where(angle > 70, 17, np.where(angle < 8, 5, 1)))


def _interferograms(folder: Path) -> Iterator[Granule]:
    """Yield the frames of each pair: the ground sinks in a town, and each frame has a constant of its own."""
    from shapely.geometry import box

    for n, (frame, (south, rows)) in enumerate(FRAMES.items()):
        north = south + rows * PITCH
        lon = WEST + (np.arange(COLUMNS) + 0.5) * PITCH
        lat = north - (np.arange(rows) + 0.5) * PITCH
        ground = _ground(lon[None, :], lat[:, None])
        for days in DAYS:
            earlier = REFERENCE - timedelta(days=days)
            version = "v2_0_6" if days > 100 else "v3_0_1"
            name = (
                f"S1-GUNW-A-R-088-tops-{REFERENCE:%Y%m%d}_{earlier:%Y%m%d}-172{400 + 25 * n}"
                f"-00005E_000{int(north)}N-PP-{days:03x}{frame}-{version}"
            )
            path = write_gunw(folder / f"{name}.nc", _frame(lon, lat, ground, days, n, version), west=WEST, north=north)
            start = REFERENCE + timedelta(seconds=25 * n)
            about = {
                "ASCENDING_DESCENDING": "ascending",
                "FRAME_NUMBER": str(24_000 + n),
                "PATH_NUMBER": "88",
                "PERPENDICULAR_BASELINE": f"{20.0 + days / 3:.4f}",
                "TEMPORAL_BASELINE_DAYS": str(days),
                "VERSION": version[1:].replace("_", "."),
            }
            outline = box(WEST, south, WEST + COLUMNS * PITCH, north)
            scenes = [
                f"S1A_IW_SLC__1SDV_{t:%Y%m%dT%H%M%S}_{t:%Y%m%dT%H%M%S}_034190_03F8D3_0B1C" for t in (start, earlier)
            ]
            yield Granule(
                name, "gunw", outline, start, start + timedelta(seconds=27), about, {path.name: path}, inputs=scenes
            )


def _frame(lon: NDArray[Any], lat: NDArray[Any], ground: Ground, days: int, number: int, version: str) -> Layers:
    from m3leo_prep.sources.synthetic import radar

    coherence = np.interp(days, DELAYS_DAYS, np.arange(4))
    below = int(coherence)
    truth = radar.true_coherence(ground, 0.7)
    seen = radar.estimated_coherence(truth[below : below + 1], 0, 0, SEED + days)[0]
    is_water = ground.classes == 80
    unreliable = seen < 0.12
    phase = true_phase(lon[None, :], lat[:, None], days) + 11.0 * number - 2.0
    return Layers(
        phase=np.where(is_water, 0, phase).astype(np.float32),
        coherence=np.where(is_water, 0, np.clip(seen + 0.15, 0.02, 1)).astype(np.float32),
        components=np.where(is_water, -1, np.where(unreliable, 0, 1)).astype(np.float32),
        amplitude=np.where(is_water, 0, 40.0 + 300.0 * seen).astype(np.float32),
        unfiltered=np.where(is_water, 0, np.clip(seen, 0.02, 1)).astype(np.float32) if version[1] == "3" else None,
    )


def true_phase(lon: NDArray[np.float64], lat: NDArray[np.float64], days: int) -> NDArray[np.float64]:
    """Return the phase in rad of a pair at places in degrees, towards the sensor, but for the constant of a frame."""
    kilometres = np.hypot((lon - TOWN[0]) * 72.0, (lat - TOWN[1]) * 111.2)
    sinking = -0.12 * days / 365 * np.exp(-((kilometres / 2.5) ** 2)) * 4 * np.pi / WAVELENGTH_M
    air = 1.5 * np.sin(9 * lon) * np.cos(7 * lat)
    return np.asarray(sinking + air)


def _bursts(folder: Path) -> Iterator[Granule]:
    """Yield bursts of RTC backscatter: two passes of each direction in the summer of 2020."""
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from pyproj import Transformer

    from m3leo_prep.sources.synthetic import radar

    left, top, rows, columns = 285_000.0, 5_516_000.0, 700, 512
    grid = GeoBox((rows, columns), Affine(30.0, 0, left, 0, -30.0, top), "EPSG:32632")
    x, y = np.meshgrid(left + 15 + 30.0 * np.arange(columns), top - 15 - 30.0 * np.arange(rows))
    lon, lat = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform(x, y)
    ground = _ground(np.asarray(lon), np.asarray(lat))
    for burst, direction, hour in PASSES:
        is_ascending = direction == "ascending"
        power, hidden = radar.mean_power(ground, np.zeros(lon.shape), 1.0, ascending=is_ascending)
        for cycle in range(2):
            start = datetime(2020, 7, 4, hour, 30, tzinfo=UTC) + timedelta(days=12 * cycle)
            seen = radar.speckled(power, 0, 0, SEED + 10 * cycle + is_ascending)
            mask = np.where(hidden, 2, 0).astype(np.uint8)
            yield rtc(
                folder,
                grid,
                {"VV": seen[0], "VH": seen[1]},
                mask,
                burst=burst,
                start=start,
                processed=start + timedelta(days=30),
                direction=direction,
                orbit=33_300 + 175 * cycle + (0 if is_ascending else 7),
            )


def _ground(lon: NDArray[Any], lat: NDArray[Any]) -> Ground:
    from m3leo_prep.sources.synthetic.earth import ground

    return ground(lon, lat, SEED)
