"""Scenes and bursts over 9 E, 49.5 N, and what HyP3 makes of them, in known numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources.asf.hyp3 import client, desk
from m3leo_prep.testing.earthdata import Granule
from m3leo_prep.testing.earthdata.files.hyp3 import write_burst_pair, write_rtc

HERE = box(9.0, 49.45, 9.04, 49.49)
WIDE = box(8.7, 49.2, 9.4, 49.8)
ZONE = "EPSG:32632"
GRID = GeoBox((260, 300), Affine(30.0, 0.0, 497_010.0, 0.0, -30.0, 5_485_020.0), ZONE)
GRID_80 = GeoBox((110, 120), Affine(80.0, 0.0, 496_960.0, 0.0, -80.0, 5_485_040.0), ZONE)
SUMMER = parse_slots({"periods": [["2020-06-01", "2020-07-31"]]})
PAIRS = parse_slots({"periods": [["2020-01-01", "2020-12-31"]]})
LOS = (0.8, -2.9)
"""lv_theta and lv_phi of the whole burst, rad."""


def hurry(monkeypatch):
    """Take the waits of a real provider away."""
    monkeypatch.setattr(desk, "SETTLE_SECONDS", 0.3)
    monkeypatch.setattr(desk, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(client, "BACKOFF_SECONDS", 0.001)


def scene(month=6, day=3, *, way="ASCENDING", track=15, orbit=32_855, held="DV", mark="00AA"):
    """Return a GRD scene."""
    start = datetime(2020, month, day, 17, 16, 20, tzinfo=UTC)
    stop = start + timedelta(seconds=25)
    name = f"S1A_IW_GRDH_1S{held}_{start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}_{orbit:06}_03CE5F_{mark}"
    about = {"PATH_NUMBER": str(track), "FRAME_NUMBER": "164", "ASCENDING_DESCENDING": way}
    return Granule(name, "grd", WIDE, start, stop, about | {"POLARIZATION": ["VV", "VH"]})


def burst(month=6, day=3, *, number=31_415, swath=2, pol="VV", footprint=WIDE):
    """Return a burst of an SLC scene."""
    start = datetime(2020, month, day, 17, 16, 20 + swath, tzinfo=UTC)
    mark = f"{month:02}{day:02}"
    name = f"S1_{number:06}_IW{swath}_{start:%Y%m%dT%H%M%S}_{pol}_{mark}-BURST"
    about = {
        "PATH_NUMBER": "15",
        "ASCENDING_DESCENDING": "ASCENDING",
        "POLARIZATION": pol,
        "BURST_ID_ABSOLUTE": "70000000",
        "BURST_ID_FULL": f"015_{number:06}_IW{swath}",
        "BURST_ID_RELATIVE": str(number),
        "BURST_INDEX": "5",
        "SUBSWATH_NAME": f"IW{swath}",
        "SAMPLES_PER_BURST": "24229",
        "AZIMUTH_TIME": f"{start:%Y-%m-%dT%H:%M:%S.%f}",
        "AZIMUTH_ANX_TIME": "2026.218343215",
    }
    # The client takes the address of the second file for granted; nothing here asks for either.
    files = {f"{name}.tiff": Path(__file__), f"{name}.xml": Path(__file__)}
    return Granule(name, "burst", footprint, start, start + timedelta(seconds=3), about, files)


def rtc_of(folder, name, vv=0.1):
    """Return the product of a scene: VV grows by column, VH is a tenth; shadow above, nothing on the left."""
    rows, cols = GRID.shape
    power = np.broadcast_to(vv + 0.001 * np.arange(cols, dtype=np.float32), (rows, cols)).copy()
    power[:, :5] = 0
    codes = np.ones((rows, cols), np.uint8)
    codes[:, :5] = 0
    codes[:4], power[:4] = 17, 0
    rasters = {"VV": power, "VH": power / 10, "ls_map": codes, "inc_map": np.full((rows, cols), 0.7)}
    return write_rtc(folder, name, rasters, GRID)


def pair_of(folder, earlier, later):
    """Return the product of two bursts: a ramp of phase in two components, water between them."""
    rows, cols = GRID_80.shape
    phase = np.broadcast_to(0.1 * np.arange(1, cols + 1, dtype=np.float32), (rows, cols)).copy()
    parts = np.ones((rows, cols), np.uint8)
    parts[:, 60:] = 2
    phase[:, 58:62], parts[:, 58:62] = 0, 0
    rasters = {
        "unw_phase": phase,
        "wrapped_phase": np.angle(np.exp(1j * phase)),
        "corr": np.full((rows, cols), 0.6),
        "conncomp": parts,
        "lv_theta": np.full((rows, cols), LOS[0]),
        "lv_phi": np.full((rows, cols), LOS[1]),
    }
    return write_burst_pair(folder, earlier, later, rasters, GRID_80)


def makes(folder):
    """Return what makes the product of a job, each once in a folder."""
    made = {}

    def make(job):
        granules = tuple(job.parameters["granules"])
        if granules not in made:
            day = int(granules[0][23:25])
            is_rtc = job.type == "RTC_GAMMA"
            made[granules] = rtc_of(folder, *granules, 0.1 * day / 3) if is_rtc else pair_of(folder, *granules)
        return made[granules]

    return make
