"""Sentinel-2 from Earth Engine: numbers, clouds, and what was seen behind them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from m3leo_prep.core.encoding import default_encoding, encode
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item, Raster
from m3leo_prep.sources.gee import EarthEngine
from m3leo_prep.testing.earth_engine.archive import Scene
from tests.sources.gee.scenes import NEIGHBOUR, SLOT, X0, Y0, ZONE, Shelf, band, pair, read, window

SR = "COPERNICUS/S2_SR_HARMONIZED"
SCORES = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
Pair = tuple[Scene, Item]


def granule(
    number: int,
    red: ArrayLike,
    scl: ArrayLike = 4,
    *,
    qa60: ArrayLike = 0,
    baseline: str = "02.14",
    crs: str = ZONE,
    scored: bool = True,
) -> Pair:
    """Return a tile of 16 x 16 px of 10 m with bands of 10, 20 and 60 m."""
    kept = np.broadcast_to(np.asarray(red), (16, 16))
    bands = [
        band("B4", kept, dtype="uint16", crs=crs),
        band("B11", np.full((8, 8), 2500), dtype="uint16", pitch=20, crs=crs),
        band("B1", np.full((4, 4), 600), dtype="uint16", pitch=60, corner=(X0 - 40, Y0 + 40), crs=crs),
        band("SCL", np.broadcast_to(np.asarray(scl), (8, 8)), dtype="uint8", pitch=20, crs=crs),
        band("QA60", np.broadcast_to(np.asarray(qa60), (4, 4)), dtype="uint16", pitch=60, crs=crs),
    ]
    when = datetime(2020, 6, 1, 10, tzinfo=UTC) + timedelta(days=number)
    of = {"tile": "31TEM", "baseline": baseline, "has_score": int(scored)}
    return pair(SR, f"202006{number:02d}_{crs[-2:]}", bands, acquisition=f"take {number}", of=of, when=when)


def one(server: Any, pairs: list[Pair], **options: Any) -> Raster:
    return read(server, EarthEngine("s2-sr", **{"bands": ["red"]} | options), pairs, window(16, 16))["reflectance"]


def test_reflectance_is_the_number_by_ten_thousand_whatever_the_baseline(earth_engine: Any) -> None:
    """D25: harmonised numbers have no offset; it is not applied again."""
    for baseline in ("02.14", "03.01", "04.00", "05.10"):
        got = one(earth_engine, [granule(1, 1000, baseline=baseline)])
        np.testing.assert_allclose(got.data, 0.1, rtol=1e-6)
        assert got.valid.all()
    (asked,) = earth_engine.asked("computePixels")[-1:]
    assert asked.bands == ["reflectance_red", "observed"]


def test_no_data_is_not_observed_and_too_bright_is_out_of_range(earth_engine: Any) -> None:
    red = np.full((16, 16), 1000)
    red[0], red[1], red[2] = 0, 65_535, 32_767
    red[3], red[4] = 32_766, 1
    got = one(earth_engine, [granule(1, red)])
    assert not got.observed[0, 0].any()
    assert got.observed[0, 1:].all()
    encoded = encode(got.data, got.valid, default_encoding(EarthEngine("s2-sr", bands=["red"]).describe().variables[0]))
    assert encoded.out_of_range.tolist() == [32]
    assert encoded.codes[0, :5, 0].tolist() == [-32768, -32768, -32768, 32_766, 1]


def test_medians_are_of_clear_pixels_and_rounded_to_the_nearest_number(earth_engine: Any) -> None:
    cloud = np.full((8, 8), 4)
    cloud[:, :4] = 9
    pairs = [granule(k, number) for k, number in enumerate((1000, 3000, 1100))] + [granule(3, 8000, cloud)]
    got = one(earth_engine, pairs, statistic="median")
    np.testing.assert_allclose(got.data[0, :, :8], 0.11, rtol=1e-5)
    np.testing.assert_allclose(got.data[0, :, 8:], 0.205, rtol=1e-5)


def test_scl_hides_what_it_says_on_its_own_20_metres(earth_engine: Any) -> None:
    """D28: 3, 8, 9, 10 by default; each class is 2 x 2 px of 10 m; 0 is no data."""
    scl = np.arange(12).repeat(6)[:64].reshape(8, 8)
    got = one(earth_engine, [granule(1, 1000, scl)])
    fine = scl.repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(got.valid[0], ~np.isin(fine, [0, 3, 8, 9, 10]))
    np.testing.assert_array_equal(got.observed[0], fine != 0)
    other = one(earth_engine, [granule(1, 1000, scl)], cloud_classes=[11, 6])
    np.testing.assert_array_equal(other.valid[0], ~np.isin(fine, [0, 6, 11]))
    none = one(earth_engine, [granule(1, 1000, scl)], cloud="none")
    assert none.valid.all()
    assert none.masked is None


def test_all_cloud_is_seen_and_nothing_of_it_is_valid(earth_engine: Any) -> None:
    got = one(earth_engine, [granule(k, 9000, 9) for k in range(3)])
    assert not got.valid.any()
    assert got.observed.all()


def test_qa60_bits_ten_and_eleven(earth_engine: Any) -> None:
    bits = np.array([[0, 1 << 10, 1 << 11, 3 << 10]]).repeat(4, 0)
    got = one(earth_engine, [granule(1, 1000, 9, qa60=bits)], cloud="qa60")
    assert got.valid[0, :, :6].all()
    assert not got.valid[0, :, 6:].any()
    assert got.observed.all()


def test_cloud_score_joins_by_index_and_a_missing_score_is_not_clear(earth_engine: Any) -> None:
    score = np.full((16, 16), 0.59)
    score[:, 4:] = 0.6
    there = np.ones((16, 16), bool)
    there[:, 12:] = False
    scored, bare = granule(1, 1000, 9), granule(2, 5000, 4, scored=False)
    index = scored[0].id.rpartition("/")[2]
    scores, _ = pair(SCORES, index, [band("cs_cdf", score, there, dtype="float64")])
    earth_engine.archive = Shelf([scored[0], bare[0], scores])
    source = EarthEngine("s2-sr", bands=["red"], cloud="cloud_score")
    items = [scored[1], bare[1]]
    (got,) = source.read(items, window(16, 16), SLOT)
    assert not got.valid[0, :, :4].any()
    assert got.valid[0, :, 4:12].all()
    assert not got.valid[0, :, 12:].any()
    np.testing.assert_allclose(got.data[0, :, 4:12], 0.1, rtol=1e-6)
    assert got.observed.all()
    lenient = EarthEngine("s2-sr", bands=["red"], cloud="cloud_score", clear_from=0)
    (got,) = lenient.read(items[1:], window(16, 16), SLOT)
    assert not got.valid.any()


def test_bands_of_20_and_60_metres_lie_on_the_same_lattice(earth_engine: Any) -> None:
    """Clouds are decided on the lattice: the 60-m band asks for no coarse classes, bilinear or not."""
    scl = np.full((8, 8), 4)
    scl[:2] = 8
    for kernel in ("nearest", "bilinear"):
        source = EarthEngine("s2-sr", bands=["coastal", "red", "swir1"], kernel=kernel)
        got = read(earth_engine, source, [granule(1, 1000, scl)], window(16, 16))["reflectance"]
        assert not got.valid[:, :4].any()
        assert got.valid[:, 4:12].all()
        np.testing.assert_allclose(got.data[:, 8, 8], [0.06, 0.1, 0.25], rtol=1e-6)


def test_a_cloudy_own_zone_is_filled_by_the_neighbour(earth_engine: Any) -> None:
    """Its tile is of the same pass, in its own pixels; where the own zone is clear it changes nothing."""
    from pyproj import Transformer

    x, y = Transformer.from_crs(ZONE, NEIGHBOUR, always_xy=True).transform(X0 + 80, Y0 - 80)
    corner = (round(x - 200, -1), round(y + 200, -1))
    names = {"B4": 1500, "SCL": 4}
    bands = [
        band(name, np.full((40, 40), number), dtype="uint16", crs=NEIGHBOUR, corner=corner)
        for name, number in names.items()
    ]
    other = pair(SR, "neighbour", bands, acquisition="take 1", of={"has_score": 1})
    scl = np.full((8, 8), 4)
    scl[:3] = 9
    got = one(earth_engine, [granule(1, 1000, scl), other])
    np.testing.assert_allclose(got.data[0, :6], 0.15, rtol=1e-6)
    np.testing.assert_allclose(got.data[0, 6:], 0.1, rtol=1e-6)
    assert got.valid.all()


def test_count_is_of_clear_looks_and_zero_where_all_were_cloudy(earth_engine: Any) -> None:
    left = np.full((8, 8), 4)
    left[:, 4:] = 9
    red = np.full((16, 16), 900)
    red[0] = 0
    got = one(earth_engine, [granule(1, red, left), granule(2, red, left)], statistic="count")
    assert (got.data[0, 1:, :8] == 2).all()
    assert (got.data[0, 1:, 8:] == 0).all()
    assert got.valid[0, 1:].all()
    assert not got.valid[0, 0].any()


def test_a_band_that_the_product_does_not_have_is_refused() -> None:
    """D29: B10 is no band of surface reflectance."""
    with pytest.raises(ConfigError, match="cirrus"):
        EarthEngine("s2-sr", bands=["cirrus"])
