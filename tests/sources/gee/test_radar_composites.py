"""Sentinel-1 from Earth Engine: directions, polarisations, incidence, ratio, border noise."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from m3leo_prep.core.raster import Item
from m3leo_prep.sources.gee import EarthEngine
from m3leo_prep.testing.earth_engine.archive import Scene
from tests.sources.gee.scenes import X0, Y0, band, pair, read, values, window

Pair = tuple[Scene, Item]
ASC, DESC = "ascending", "descending"


def scene(
    number: int,
    powers: Mapping[str, ArrayLike],
    direction: str = ASC,
    *,
    ipf: str = "003.10",
    angle: float = 38.0,
    valid: ArrayLike | None = None,
) -> Pair:
    """Return a pass with some polarisations, 8 x 8 px, and its grid of angles of 20 km."""
    bands = [band(name, np.broadcast_to(power, (8, 8)), valid) for name, power in powers.items()]
    bands.append(band("angle", np.full((3, 3), angle), corner=(X0 - 31_000, Y0 + 29_000), pitch=20_000))
    of = {"orbit_direction": direction, "polarisations": " ".join(powers), "ipf": ipf}
    when = datetime(2020, 6, 1, 6, tzinfo=UTC) + timedelta(days=number)
    return pair("COPERNICUS/S1_GRD_FLOAT", f"S1A_{number:03d}", bands, acquisition=f"pass {number}", of=of, when=when)


def test_directions_never_share_a_band(earth_engine: Any) -> None:
    """D56, and reasons by band: the descending ones have nothing here, not even an observation."""
    source = EarthEngine("s1-grd")
    assert source.describe().variables[0].bands == ("vv_asc", "vh_asc", "vv_desc", "vh_desc")
    both = [
        scene(0, {"VV": 0.1, "VH": 0.01}),
        scene(1, {"VV": 0.5, "VH": 0.05}, DESC),
        scene(2, {"VV": 0.3, "VH": 0.03}),
    ]
    got = read(earth_engine, source, both, window(8, 8))["backscatter"]
    np.testing.assert_allclose(got.data[:, 0, 0], [0.2, 0.02, 0.5, 0.05], rtol=1e-6)
    alone = read(earth_engine, source, both[:1], window(8, 8))["backscatter"]
    assert alone.valid[:2].all()
    assert not alone.observed[2:].any()


def test_a_band_is_made_of_the_passes_that_have_its_polarisation(earth_engine: Any) -> None:
    """The pass with VV alone counts for VV, and is no 0 of VH."""
    passes = [scene(0, {"VV": 0.1, "VH": 0.01}), scene(1, {"VV": 0.3}), scene(2, {"VV": 0.2, "VH": 0.03})]
    source = EarthEngine("s1-grd", orbits=[ASC], statistic="count")
    count = read(earth_engine, source, passes, window(8, 8))["backscatter"]
    assert count.data[:, 0, 0].tolist() == [3, 2]
    mean = read(earth_engine, EarthEngine("s1-grd", orbits=[ASC]), passes, window(8, 8))["backscatter"]
    np.testing.assert_allclose(mean.data[:, 0, 0], [0.2, 0.02], rtol=1e-6)


def test_hh_and_hv_are_bands_like_others(earth_engine: Any) -> None:
    source = EarthEngine("s1-grd", bands=["hv", "hh"], orbits=[DESC])
    got = read(earth_engine, source, [scene(0, {"HH": 0.2, "HV": 0.02}, DESC)], window(8, 8))["backscatter"]
    np.testing.assert_allclose(got.data[:, 0, 0], [0.02, 0.2], rtol=1e-6)


def test_incidence_is_the_mean_over_the_passes_that_see_the_pixel(earth_engine: Any) -> None:
    """Also beside a median; where a pass has no power its angle does not count."""
    left = np.ones((8, 8), bool)
    left[:, 4:] = False
    passes = [
        scene(0, {"VV": 0.1, "VH": 0.01}, angle=30.0),
        scene(1, {"VV": 0.1, "VH": 0.01}, angle=45.0, valid=left),
        scene(2, {"VV": 0.1, "VH": 0.01}, angle=33.0),
    ]
    source = EarthEngine("s1-grd", variables=["incidence"], orbits=[ASC], statistic="median")
    got = read(earth_engine, source, passes, window(8, 8))["incidence"]
    np.testing.assert_allclose(got.data[0, :, :4], 36.0, rtol=1e-6)
    np.testing.assert_allclose(got.data[0, :, 4:], 31.5, rtol=1e-6)
    assert got.valid.all()


def test_the_ratio_is_that_of_the_composites_in_db(earth_engine: Any) -> None:
    """Not the mean of the passes' ratios; power below -50 dB counts as -50 dB, as it is stored."""
    vh = np.full((8, 8), 0.02)
    vh[0], vh[1] = -0.3, 1e-7
    passes = [scene(0, {"VV": 0.1, "VH": 0.01}), scene(1, {"VV": 0.4, "VH": vh})]
    source = EarthEngine("s1-grd", variables=["ratio"], orbits=[ASC, DESC])
    got = read(earth_engine, source, passes, window(8, 8))["ratio"]
    np.testing.assert_allclose(got.data[0, 2:], 10 * np.log10(0.25 / 0.015), rtol=1e-6)
    np.testing.assert_allclose(got.data[0, 0], 10 * np.log10(0.25) + 50, rtol=1e-6)
    np.testing.assert_allclose(got.data[0, 1], 10 * np.log10(0.25 / 0.00500005), rtol=1e-5)
    assert got.data.dtype == np.float32
    assert not got.observed[1].any()
    mean_of_ratios = 10 * np.log10(np.mean([0.1 / 0.01, 0.4 / 0.02]))
    assert abs(float(got.data[0, 5, 5]) - mean_of_ratios) > 0.1


@pytest.mark.parametrize(("ipf", "clean"), [("002.84", False), ("002.90", True), ("003.31", True), ("", False)])
def test_border_noise_of_old_products_is_masked(earth_engine: Any, ipf: str, clean: bool) -> None:
    """D45: before IPF 2.9, -30 dB and less of VV is border, in VH too; later products are never touched."""
    vv = np.full((8, 8), 0.1)
    vv[:, :2], vv[:, 2] = 9e-4, -1e-5
    passes = [scene(0, {"VV": vv, "VH": 1e-4}, ipf=ipf)]
    got = read(
        earth_engine, EarthEngine("s1-grd", orbits=[ASC], variables=["backscatter", "incidence"]), passes, window(8, 8)
    )
    power = got["backscatter"]
    assert (power.valid[:, :, :3] == clean).all()
    assert power.valid[:, :, 3:].all()
    np.testing.assert_allclose(values(power, 1)[:, 3:], 1e-4, rtol=1e-6)
    assert (got["incidence"].valid[0, :, :3] == clean).all()
    assert power.masked is None


def test_linear_power_is_loaded_by_id_and_each_image_is_resampled(earth_engine: Any) -> None:
    """What was asked: no filter, no dB, the kernel on the images, the sentinel of masked pixels, the outer corner."""
    passes = [scene(k, {"VV": 0.1 + k, "VH": 0.01}) for k in range(3)]
    read(earth_engine, EarthEngine("s1-grd", orbits=[ASC]), passes, window(8, 8, down=2, right=3))
    (asked,) = earth_engine.asked("computePixels")
    loaded = [given["id"] for name, given in asked.expression.calls if name == "Image.load"]
    assert sorted(loaded) == [item.id for _, item in passes]
    functions = asked.expression.functions
    assert "Image.resample" in functions
    assert not {"Collection.filter", "ImageCollection.load", "Image.log10"} & set(functions)
    affine = asked.grid["affineTransform"]
    assert (affine["translateX"], affine["translateY"]) == (X0 + 30, Y0 - 20)
    assert asked.body["fileFormat"] == "NPY"
