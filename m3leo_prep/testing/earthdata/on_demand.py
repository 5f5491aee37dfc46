"""Scenes and bursts around 6.1 E, 49.6 N, and what HyP3 makes of them when it is asked to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from shapely.geometry import box

from m3leo_prep.testing.earthdata.files.hyp3 import write_burst_pair, write_rtc
from m3leo_prep.testing.earthdata.granules import Granule
from m3leo_prep.testing.earthdata.holdings import Job

OUTLINE = box(5.9, 49.4, 6.45, 49.8)
FIRST = datetime(2020, 6, 3, 17, 16, 20, tzinfo=UTC)
CYCLES = 5
"""Passes, 12 days apart."""
BURST = 188_500
LEFT, TOP, WIDTH, HEIGHT = 285_120.0, 5_516_160.0, 24_000.0, 31_200.0
"""Of the products, in metres of UTM zone 32."""


def granules() -> Iterator[Granule]:
    """Yield a scene and a burst of each pass of track 88."""
    for n in range(CYCLES):
        start = FIRST + timedelta(days=12 * n)
        stop = start + timedelta(seconds=25)
        about: dict[str, str | float] = {"PATH_NUMBER": "88", "ASCENDING_DESCENDING": "ASCENDING"}
        name = f"S1A_IW_GRDH_1SDV_{start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}_{32_855 + 175 * n:06}_03CE5F_00A{n}"
        yield Granule(name, "grd", OUTLINE, start, stop, about | {"FRAME_NUMBER": "164"})
        name = f"S1_{BURST}_IW2_{start:%Y%m%dT%H%M%S}_VV_0{n}0B-BURST"
        about |= {
            "POLARIZATION": "VV",
            "BURST_ID_ABSOLUTE": "70000000",
            "BURST_ID_FULL": f"088_{BURST}_IW2",
            "BURST_ID_RELATIVE": str(BURST),
            "BURST_INDEX": "5",
            "SUBSWATH_NAME": "IW2",
            "SAMPLES_PER_BURST": "24229",
            "AZIMUTH_TIME": f"{start:%Y-%m-%dT%H:%M:%S.%f}",
            "AZIMUTH_ANX_TIME": "2026.218343215",
        }
        # The client takes the address of a second file for granted; nobody asks for either.
        files = {f"{name}.tiff": Path(__file__), f"{name}.xml": Path(__file__)}
        yield Granule(name, "burst", OUTLINE, start, start + timedelta(seconds=3), about, files)


def product(folder: Path, job: Job) -> Path:
    """Return the product of a job: backscatter that grows eastwards, or phase of a sinking bowl."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    names = [str(name) for name in job.parameters["granules"]]
    is_rtc = job.type == "RTC_GAMMA"
    pitch = (
        float(job.parameters["resolution"])
        if is_rtc
        else {"20x4": 80.0, "10x2": 40.0, "5x1": 20.0}[job.parameters["looks"]]
    )
    shape = round(HEIGHT / pitch), round(WIDTH / pitch)
    grid = GeoBox(shape, Affine(pitch, 0, LEFT, 0, -pitch, TOP), "EPSG:32632")
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    if is_rtc:
        power = 0.05 + 0.02 * (x + 1)
        return write_rtc(folder, names[0], {"VV": power, "VH": power / 5, "inc_map": np.full(shape, 0.7)}, grid)
    earlier, later = (datetime.fromisoformat(name[14:22]) for name in names)
    phase = 0.1 * (later - earlier).days * np.exp(-4 * (x**2 + y**2)) + 0.5
    rasters = {
        "unw_phase": phase,
        "wrapped_phase": np.angle(np.exp(1j * phase)),
        "corr": np.full(shape, 0.7),
        "conncomp": np.ones(shape),
        "lv_theta": np.full(shape, 0.9),
        "lv_phi": np.full(shape, -2.9),
    }
    return write_burst_pair(folder, names[0], names[1], rasters, grid)
