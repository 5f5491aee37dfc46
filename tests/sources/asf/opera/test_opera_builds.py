"""A small dataset of OPERA RTC-S1 and its static layers, from plan to reader, against the stand-in."""

from __future__ import annotations

import json

import numpy as np
from pyproj import Transformer
from shapely.geometry import box

from m3leo_prep.core.area import Area
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.runners.threads import Threads
from m3leo_prep.testing.earthdata.files import opera
from tests.sources.asf.opera.scene import CHIP, MORNING, SECOND, TRACKS, UPPER, burst, clear

RECIPE = {
    "name": "rtc",
    "grid": {"chip_px": 64, "resolution": 20},
    "layers": {
        "rtc": {"source": "asf", "product": "opera-rtc", "slots": {"months": 2020}, "resampling": "nearest"},
        "geometry": {
            "source": "asf",
            "product": "opera-rtc-static",
            "variables": ["local_incidence", "layover_shadow"],
            "slots": {"orbits": 2},
            "resampling": "nearest",
        },
    },
    "splits": {"policy": "none"},
}


def area():
    x, y = CHIP.transform * (112, 112)
    lon, lat = Transformer.from_crs(str(CHIP.crs), 4326, always_xy=True).transform(x, y)
    return Area.from_geometry(box(lon, lat, lon + 2e-4, lat + 2e-4), name="here")


def flat(value):
    return np.full(tuple(UPPER.shape), value, np.float32)


def test_a_dataset_of_bursts_and_their_geometry(earthdata, tmp_path):
    shadow = clear(UPPER)
    shadow[::2] = 1
    vv = flat(0.2)
    vv[::2] = np.nan
    down = {"start": MORNING, "direction": "descending", "orbit": 32_926, "number": 140_000}
    for one in (
        burst(tmp_path, images={"VV": flat(0.1), "VH": flat(0.01)}),
        burst(tmp_path, start=SECOND, orbit=33_035, images={"VV": flat(0.3)}),
        burst(tmp_path, images={"VV": vv, "VH": vv / 10}, mask=shadow, **down),
    ):
        earthdata.add(one)
    for direction, number, angle in (("ascending", 31_415, 38.0), ("descending", 140_000, 43.0)):
        layers = {"local_incidence_angle": flat(angle), "mask": shadow if number == 140_000 else clear(UPPER)}
        name = f"T{TRACKS[direction]:03}-{number:06}-IW2"
        earthdata.add(opera.rtc_static(tmp_path, UPPER, layers, burst=name, direction=direction))
    plan = make_plan(parse_recipe(json.dumps(RECIPE)), area(), base=tmp_path)
    build(plan, tmp_path / "made", runner=Threads(2))
    assert verify(tmp_path / "made").ok
    made = Dataset(tmp_path / "made")
    power = made.chip(0, "rtc", "backscatter")
    assert power.attrs["backscatter_convention"] == "gamma0_rtc"
    june = power.isel(time=5)
    expected = {"vv_asc": 0.2, "vh_asc": 0.01, "vv_desc": 0.2, "vh_desc": 0.02}
    for band, value in expected.items():
        seen = june.sel(band=band).values
        assert np.allclose(seen[np.isfinite(seen)], 10 * np.log10(value), atol=0.006), band
        share = np.isfinite(seen).mean()
        assert share == 1 if band.endswith("asc") else 0.3 < share < 0.7, band
    assert np.isnan(power.isel(time=4)).all()
    angles = made.chip(0, "geometry", "local_incidence").values
    assert np.unique(angles[0]).tolist() == [38.0]
    assert np.unique(angles[1]).tolist() == [43.0]
    codes = made.chip(0, "geometry", "layover_shadow").values
    assert [sorted(np.unique(orbit).tolist()) for orbit in codes] == [[0], [0, 1]]
