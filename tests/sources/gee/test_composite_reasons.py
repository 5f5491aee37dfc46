"""A build of composites, end to end: what is written where there is cloud, where there is nothing, and who counts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import xarray as xr

from m3leo_prep.core.area import Area
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.runners.threads import Threads
from m3leo_prep.testing.earth_engine.archive import Scene
from tests.sources.gee.scenes import X0, Y0, Shelf, band

RECIPE = """
name: composites
grid: {chip_px: 32, resolution: 10}
layers:
  s2: {source: gee, product: s2-sr, bands: [red], slots: {months: 2020}, statistic: median}
  s1: {source: gee, product: s1-grd, slots: {months: 2020}}
splits: {policy: none}
"""
HERE = shapely.box(3.0005, 45.149, 3.0045, 45.1515)


def optical(when: str, red: int, scl: int) -> Scene:
    """Return a tile that covers the area; ``when`` is such as 2020-02-29T23:59:59."""
    moment = datetime.fromisoformat(when).replace(tzinfo=UTC)
    index = f"{moment:%Y%m%dT%H%M%S}_{moment:%Y%m%dT%H%M%S}_T31TDL"
    corner = (X0 - 2000, Y0 + 3000)
    bands = (
        band("B4", np.full((600, 600), red), dtype="uint16", corner=corner),
        band("SCL", np.full((300, 300), scl), dtype="uint8", corner=corner, pitch=20),
    )
    properties = {
        "system:index": index,
        "system:time_start": round(moment.timestamp() * 1000),
        "system:version": 1,
        "MGRS_TILE": "31TDL",
        "DATATAKE_IDENTIFIER": f"GS2A_{moment:%Y%m%dT%H%M%S}_025000_N02.14",
        "PROCESSING_BASELINE": "02.14",
        "CLOUDY_PIXEL_PERCENTAGE": 5.0,
    }
    return Scene(f"COPERNICUS/S2_SR_HARMONIZED/{index}", HERE.buffer(0.02), bands, properties)


def radar(when: str, power: float, segment: str, *, down: float = 0.0, mode: str = "IW") -> Scene:
    """Return a slice of an ascending pass with VV and VH; ``segment`` is when the pass began."""
    moment, begun = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (when, segment))
    index = f"S1A_{mode}_GRDH_1SDV_{moment:%Y%m%dT%H%M%S}_{down:.0f}"
    corner = (X0 - 2000, Y0 + 3000 - down)
    bands = tuple(
        band(name, np.full((400, 600), power * share), corner=corner) for name, share in (("VV", 1), ("VH", 0.1))
    )
    bands += (band("angle", np.full((4, 4), 38.0), corner=(X0 - 40_000, Y0 + 40_000), pitch=20_000),)
    properties = {
        "system:index": index,
        "system:time_start": round(moment.timestamp() * 1000),
        "system:version": 1,
        "instrumentMode": mode,
        "resolution_meters": 10,
        "orbitProperties_pass": "ASCENDING",
        "relativeOrbitNumber_start": 37,
        "transmitterReceiverPolarisation": ["VV", "VH"],
        "platform_number": "A",
        "segmentStartTime": round(begun.timestamp() * 1000),
        "GRD_Post_Processing_software_version": "003.10",
    }
    return Scene(f"COPERNICUS/S1_GRD_FLOAT/{index}", HERE.buffer(0.02), bands, properties)


def test_cloud_nothing_and_data_are_told_apart(earth_engine: Any, tmp_path: Path) -> None:
    """D54, D55, D56, D57: the last second of a month, the leap day, a pass over midnight, two slices, an EW scene."""
    midnight = "2020-05-15T23:59:50"
    earth_engine.archive = Shelf(
        [
            optical("2020-01-10T10:40:00", 9000, 9),
            optical("2020-02-29T23:59:59", 1000, 4),
            optical("2020-04-10T10:40:00", 2000, 4),
            optical("2020-04-20T10:40:00", 9000, 8),
            radar("2020-05-15T23:59:55", 0.1, midnight),
            radar("2020-05-16T00:00:20", 0.4, midnight, down=3000),
            radar("2020-05-27T23:59:55", 0.3, "2020-05-27T23:59:50"),
            radar("2020-05-20T06:00:00", 50.0, "2020-05-20T06:00:00", mode="EW"),
        ]
    )
    area = Area.from_geometry(HERE, name="here")
    build(make_plan(parse_recipe(RECIPE), area, base=tmp_path), tmp_path / "built", runner=Threads(1))
    months = {name: number for number, name in enumerate(["jan", "feb", "mar", "apr", "may"])}

    s2 = xr.open_zarr(tmp_path / "built" / "chips.zarr", group="s2", chunks=None)
    reasons = s2["reflectance_reason"].values[:, :, 0]
    assert (reasons[:, months["jan"]] == Reason.ALL_CLOUD).all()
    assert (reasons[:, months["feb"]] == Reason.OK).all()
    assert (reasons[:, months["mar"]] == Reason.NO_ACQUISITION).all()
    assert (reasons[:, months["apr"]] == Reason.OK).all()
    red = s2["reflectance"].values[:, :, 0]
    np.testing.assert_allclose(red[:, months["feb"]], 0.1, rtol=1e-6)
    np.testing.assert_allclose(red[:, months["apr"]], 0.2, rtol=1e-6)
    assert np.isnan(red[:, [months["jan"], months["mar"]]]).all()

    s1 = xr.open_zarr(tmp_path / "built" / "chips.zarr", group="s1", chunks=None)
    reasons = s1["backscatter_reason"].values
    assert (reasons[:, months["may"], :2] == Reason.OK).all()
    assert (reasons[:, months["may"], 2:] == Reason.NO_ACQUISITION).all()
    assert (reasons[:, months["apr"]] == Reason.NO_ACQUISITION).all()
    power = s1["backscatter"].values[:, months["may"], 0]
    np.testing.assert_allclose(power, 10 * np.log10(0.2), atol=0.006)
    assert (s1["count"].values[:, months["may"]] == 2).all()
