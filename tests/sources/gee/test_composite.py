"""Composites made on Earth Engine's side: closed forms against the stand-in, and what is asked of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import center_of_mass

from m3leo_prep.core.encoding import default_encoding, encode
from m3leo_prep.core.raster import Item, Kind, LegendClass, Variable
from m3leo_prep.ops.composite import Composite, Look
from m3leo_prep.sources.gee import EarthEngine
from m3leo_prep.sources.gee.choice import Choice, Quantity
from m3leo_prep.sources.gee.reading import composite, radar, stacks
from m3leo_prep.sources.gee.service.session import session
from m3leo_prep.testing.earth_engine.archive import Scene
from tests.sources.gee.scenes import NEIGHBOUR, SLOT, X0, Y0, ZONE, Shelf, band, pair, read, values, window

S1 = "COPERNICUS/S1_GRD_FLOAT"
Pair = tuple[Scene, Item]


def look(
    number: int,
    power: ArrayLike,
    valid: ArrayLike | None = None,
    *,
    acquisition: str | None = None,
    corner: tuple[float, float] = (X0, Y0),
    crs: str = ZONE,
) -> Pair:
    """Return one clean ascending pass with VV."""
    own = "VV"
    when = datetime(2020, 6, 1, 6, tzinfo=UTC) + timedelta(days=number)
    of = {"orbit_direction": "ascending", "polarisations": own, "ipf": "003.10"}
    return pair(
        S1,
        f"S1A_{number:03d}_{crs[-2:]}_{corner[1]:.0f}",
        [band(own, power, valid, corner=corner, crs=crs)],
        acquisition=f"pass {number}" if acquisition is None else acquisition,
        of=of,
        when=when,
    )


def source(**options: Any) -> EarthEngine:
    return EarthEngine("s1-grd", **{"bands": ["vv"], "orbits": ["ascending"], "kernel": "nearest"} | options)


def powers(n: int, seed: int = 1) -> NDArray[np.float32]:
    """Return speckled power of several dates, some of it below 0 as noise removal leaves it."""
    random = np.random.default_rng(seed)
    return (random.gamma(4.4, 0.02, (n, 24, 24)) - 0.08).astype(np.float32)


@pytest.mark.parametrize("statistic", ["mean", "median", "min", "max", "count"])
def test_statistics_are_those_of_our_own_composites(earth_engine: Any, statistic: Any) -> None:
    """D55: in linear power, power <= 0 included; medians of an even number are the mean of the middle two."""
    for n in (1, 2, 3, 4, 5):
        power = powers(n)
        valid = np.random.default_rng(2).random(power.shape) < 0.7
        ours = Composite(statistic)
        for one, there in zip(power, valid, strict=True):
            ours.add(Look(one[None], there[None], there[None]))
        expected = ours.result()
        assert expected is not None
        pairs = [look(k, *both) for k, both in enumerate(zip(power, valid, strict=True))]
        got = read(earth_engine, source(statistic=statistic), pairs, window(24, 24))["backscatter"]
        np.testing.assert_array_equal(got.valid[0], expected.valid[0])
        np.testing.assert_allclose(values(got), np.where(expected.valid[0], expected.values[0], np.nan), rtol=1e-6)
        assert statistic == "count" or (got.data[0][got.valid[0]] <= 0).any()
        assert got.masked is None
        assert got.item.id == pairs[0][1].id


def test_a_pixel_seen_on_three_of_five_dates_counts_three(earth_engine: Any) -> None:
    seen = np.ones((5, 8, 8), bool)
    seen[1, 2, 3] = seen[4, 2, 3] = False
    seen[:, 5, 5] = False
    pairs = [look(k, np.full((8, 8), 0.1), seen[k]) for k in range(5)]
    got = read(earth_engine, source(statistic="count"), pairs, window(8, 8))["backscatter"]
    assert got.data[0, 2, 3] == 3
    assert got.data[0, 0, 0] == 5
    assert not got.valid[0, 5, 5]
    assert np.count_nonzero(~got.valid) == 1


@pytest.mark.parametrize("n", [2, 4])
def test_median_of_even_numbers_is_exact_in_power_and_would_not_be_in_db(earth_engine: Any, n: int) -> None:
    power = np.abs(powers(n)) + 0.001
    got = read(earth_engine, source(statistic="median"), [look(k, one) for k, one in enumerate(power)], window(24, 24))
    exact = np.median(power.astype(np.float64), axis=0).astype(np.float32)
    in_db = 10 ** (np.median(10 * np.log10(power), axis=0) / 10)
    np.testing.assert_allclose(got["backscatter"].data[0], exact, rtol=2e-7)
    assert np.abs(in_db / exact - 1).max() > 0.01


def test_slices_of_one_pass_count_once_and_the_first_keeps_its_place(earth_engine: Any) -> None:
    """D57: the two slices of the pass overlap in rows 8 to 15; another pass is 0.3 everywhere."""
    upper, lower = np.full((16, 16), 0.1), np.full((16, 16), 0.2)
    pairs = [
        look(0, upper, acquisition="one"),
        look(1, lower, acquisition="one", corner=(X0, Y0 - 80)),
        look(2, np.full((24, 16), 0.3)),
    ]
    got = read(earth_engine, source(), pairs, window(24, 16))["backscatter"].data[0]
    np.testing.assert_allclose(got[:16], 0.2, rtol=1e-6)
    np.testing.assert_allclose(got[16:], 0.25, rtol=1e-6)
    count = read(earth_engine, source(statistic="count"), pairs, window(24, 16))["backscatter"].data[0]
    assert (count == 2).all()


def test_the_own_zone_wins_and_neighbours_only_fill(earth_engine: Any) -> None:
    """Two passes of the own zone, one of them with a hole; three of the neighbour zone, ten times as bright."""
    from pyproj import Transformer

    x, y = Transformer.from_crs(ZONE, NEIGHBOUR, always_xy=True).transform(X0 + 80, Y0 - 80)
    far = (round(x - 300, -1), round(y + 300, -1))
    hole = np.ones((16, 16), bool)
    hole[:, 12:] = False
    pairs = [look(k, np.full((60, 60), 1.0), corner=far, crs=NEIGHBOUR) for k in range(3)]
    pairs += [look(3, np.full((16, 16), 0.1), hole), look(4, np.full((16, 16), 0.2), hole)]
    got = read(earth_engine, source(kernel="bilinear"), pairs, window(16, 16))["backscatter"]
    assert got.valid.all()
    np.testing.assert_allclose(got.data[0, :, :12], 0.15, rtol=1e-6)
    np.testing.assert_allclose(got.data[0, :, 12:], 1.0, rtol=1e-6)
    count = read(earth_engine, source(statistic="count"), pairs, window(16, 16))["backscatter"].data[0]
    assert (count[:, :12] == 2).all()
    assert (count[:, 12:] == 3).all()


def test_a_window_alone_is_the_same_as_in_a_larger_one(earth_engine: Any) -> None:
    """Bit for bit, though the larger one sees more slices and more passes."""
    random = np.random.default_rng(3)
    pairs = []
    for k in range(4):
        corner = (X0 - 37.3 + 3.1 * k, Y0 + 41.7 - 2.3 * k)
        pairs.append(look(k, random.gamma(4.4, 0.02, (60, 80)), corner=corner, acquisition=f"pass {k}"))
        lower = (corner[0], corner[1] - 500)
        pairs.append(look(k, random.gamma(4.4, 0.02, (60, 80)), corner=lower, acquisition=f"pass {k}"))
    for statistic in ("mean", "median"):
        wanted = source(kernel="bilinear", statistic=statistic)
        whole = read(earth_engine, wanted, pairs, window(64, 64))["backscatter"]
        for down in (0, 8, 40):
            geobox = window(8, 8, down=down, right=16)
            top, low = Y0 - down * 10, Y0 - down * 10 - 80
            reach = [
                one
                for one in pairs
                if one[0].bands[0].transform[5] > low - 20 and one[0].bands[0].transform[5] - 600 < top + 20
            ]
            alone = read(earth_engine, wanted, reach, geobox, first=False)["backscatter"]
            assert down != 0 or len(reach) < len(pairs)
            np.testing.assert_array_equal(alone.data, whole.data[:, down : down + 8, 16:24])
            np.testing.assert_array_equal(alone.valid, whole.valid[:, down : down + 8, 16:24])


def spot(number: int, corner: tuple[float, float], at: tuple[float, float]) -> Pair:
    """Return a scene with a smooth point target at easting and northing ``at``, sampled at the scene's own centres."""
    x = corner[0] + 10 * (np.arange(64) + 0.5)
    y = corner[1] - 10 * (np.arange(64) + 0.5)
    away = (x[None, :] - at[0]) ** 2 + (y[:, None] - at[1]) ** 2
    return look(number, 100 * np.exp(-away / (2 * 15.0**2)), corner=corner)


def offset(got: NDArray[np.float32], at: tuple[float, float]) -> float:
    """Return how many pixels the target's centre of mass lies from where it is."""
    row, col = center_of_mass(got.astype(np.float64))
    return float(np.hypot(col + 0.5 - (at[0] - X0) / 10, row + 0.5 - (Y0 - at[1]) / 10))


def test_a_point_target_through_five_scenes_off_the_grid_keeps_its_place(earth_engine: Any) -> None:
    """Bilinear on each image: within 0.05 px. Nearest is off by the scenes' own shifts."""
    at = (X0 + 163.7, Y0 - 158.2)
    corners = [
        (X0 - 150 + dx, Y0 + 150 - dy) for dx, dy in ((3.1, 4.4), (4.2, 3.7), (2.8, 4.9), (3.9, 2.6), (4.6, 4.1))
    ]
    pairs = [spot(k, corner, at) for k, corner in enumerate(corners)]
    smooth = read(earth_engine, source(kernel="bilinear"), pairs, window(32, 32))["backscatter"]
    nearest = read(earth_engine, source(kernel="nearest"), pairs, window(32, 32))["backscatter"]
    assert offset(smooth.data[0], at) < 0.05
    assert offset(nearest.data[0], at) > 0.3


def test_resampling_the_composite_would_not_help(earth_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule that makes us resample each image first: a composite has no pixels of its own."""
    at = (X0 + 163.7, Y0 - 158.2)
    pairs = [spot(k, (X0 - 146.2, Y0 + 145.8), at) for k in range(2)]
    late = stacks.reduced
    monkeypatch.setattr(stacks, "reduced", lambda *given: late(*given).resample("bilinear"))
    got = read(earth_engine, source(kernel="nearest"), pairs, window(32, 32))["backscatter"]
    assert offset(got.data[0], at) > 0.3


def test_an_edge_between_pixels_is_a_yes_or_a_no(earth_engine: Any) -> None:
    """A scene that ends between our pixels: valid where half of the kernel's weight is, and unmixed there."""
    for shift, first in ((4.0, 0), (6.0, 1)):
        one = look(0, np.full((20, 20), 0.5), corner=(X0 + shift, Y0))
        other = look(1, np.full((20, 40), 0.1), corner=(X0 - 100, Y0))
        got = read(earth_engine, source(kernel="bilinear"), [one], window(16, 16))["backscatter"]
        assert not got.valid[0, :, :first].any()
        assert got.valid[0, :, first:].all()
        np.testing.assert_allclose(got.data[0, :, first:], 0.5, rtol=1e-6)
        both = read(earth_engine, source(kernel="bilinear"), [one, other], window(16, 16))["backscatter"]
        np.testing.assert_allclose(both.data[0, :, first:], 0.3, rtol=1e-6)
        np.testing.assert_allclose(both.data[0, :, :first], 0.1, rtol=1e-6)


def test_a_coarse_lattice_is_asked_for_finer_and_averaged_here(earth_engine: Any) -> None:
    """`resolution: 30` of a 10-m product: no pixel is skipped."""
    power = np.abs(powers(1, seed=5)[0]).repeat(4, 0).repeat(4, 1) + np.random.default_rng(6).random((96, 96)) / 100
    pairs = [look(0, power, corner=(X0 - 300, Y0 + 300))]
    geobox = window(8, 8, pitch=30.0)
    got = read(earth_engine, source(kernel="bilinear"), pairs, geobox)["backscatter"]
    assert got.geobox.resolution.x == 10
    assert got.geobox.boundingbox.left <= X0 - 120
    assert got.valid[0, 12:36, 12:36].all()
    np.testing.assert_allclose(got.data[0, 12:36, 12:36], power[30:54, 30:54], rtol=1e-6)


def test_what_no_image_has_is_not_asked_for(earth_engine: Any) -> None:
    pairs = [look(0, np.full((8, 8), 0.1))]
    got = read(earth_engine, EarthEngine("s1-grd", bands=["vv", "vh"]), pairs, window(8, 8))["backscatter"]
    assert got.valid[0].all()
    assert not got.valid[1:].any()
    assert got.masked is None
    (asked,) = earth_engine.asked("computePixels")
    assert asked.bands == ["VV_asc"]


def test_three_hundred_images_fit_a_request(earth_engine: Any) -> None:
    """10 MiB is the limit; one function is mapped over all images, and what is alike is said once."""
    import ee

    session()
    wanted = EarthEngine("s1-grd", variables=["backscatter", "incidence", "ratio"], statistic="median")
    items = []
    for k in range(300):
        of = {"orbit_direction": ("ascending", "descending")[k % 2], "polarisations": "VV VH", "ipf": "002.84"}
        name = f"{S1}/S1A_IW_GRDH_1SDV_20200105T{k:06d}_20200105T172345_030660_03837D_{k:04X}"
        _, item = look(k, np.zeros((1, 1)))
        items.append(replace(item, id=name, acquisition=f"{k // 4}", properties={**item.properties, **of}))
    image = stacks.together(radar.stacks(wanted._choice, items), window(8, 8))
    expression = ee.serializer.encode(image, for_cloud_api=True)
    assert len(json.dumps(expression)) < 1.5 * 2**20


# -- numbers as they are -------------------------------------------------------------------------------------------


def plain(*quantities: Quantity, statistic: Any = "mean", kernel: Any = "bilinear") -> Choice:
    """Return a choice of some collection's numbers."""
    row = replace(EarthEngine("s1-grd")._choice.row, family="plain", asset="some/where", quantities=quantities)
    return Choice(row, quantities, "composite", kernel, statistic)


def raw(number: int, numbers: ArrayLike, valid: ArrayLike | None = None, **options: Any) -> Pair:
    when = datetime(2020, 6, 1, tzinfo=UTC) + timedelta(days=number)
    return pair("some/where", f"{number}", [band("b", numbers, valid, **options)], when=when)


def composited(server: Any, choice: Choice, pairs: list[Pair], rows: int, cols: int) -> Any:
    server.archive = Shelf([scene for scene, _ in pairs])
    (got,) = composite.read(choice, [item for _, item in pairs], window(rows, cols), SLOT)
    return got


def test_numbers_become_values_by_scale_and_offset(earth_engine: Any) -> None:
    height = Quantity(Variable("t", Kind.CONTINUOUS, ("t",), "K"), ("b",), dtype="uint16", scale=0.02, offset=-273.15)
    pairs = [raw(k, np.full((4, 4), number), dtype="uint16") for k, number in enumerate((14_000, 15_000))]
    got = composited(earth_engine, plain(height), pairs, 4, 4)
    np.testing.assert_allclose(got.data, 14_500 * 0.02 - 273.15, rtol=1e-6)
    assert got.data.dtype == np.float32


def test_no_data_is_masked_before_anything_is_interpolated(earth_engine: Any) -> None:
    """D20: nodata 0 beside 10 gives 10 or nothing, off the grid too."""
    numbers = np.full((12, 12), 10)
    numbers[:, :5] = 0
    value = Quantity(Variable("v", Kind.CONTINUOUS, ("v",)), ("b",), dtype="uint8", nodata=(0.0,))
    got = composited(earth_engine, plain(value), [raw(0, numbers, dtype="uint8", corner=(X0 - 14, Y0 + 14))], 8, 8)
    assert set(np.unique(got.data[got.valid])) == {10.0}
    assert 0 < np.count_nonzero(~got.valid) < 64
    assert got.masked is None


@pytest.mark.parametrize(("transform", "numbers"), [("squared", (100, 200)), ("from_decibel", (-10.0, -20.0))])
def test_amplitude_and_decibels_become_power_before_they_are_averaged(
    earth_engine: Any, transform: Any, numbers: tuple[float, float]
) -> None:
    power = Quantity(Variable("p", Kind.POWER, ("p",)), ("b",), transform=transform)
    got = composited(earth_engine, plain(power), [raw(k, np.full((4, 4), n)) for k, n in enumerate(numbers)], 4, 4)
    each = np.square(numbers) if transform == "squared" else 10 ** (np.array(numbers) / 10)
    np.testing.assert_allclose(got.data, np.mean(each), rtol=1e-6)


def test_flags_are_seen_but_are_no_values(earth_engine: Any) -> None:
    """200 = water, 253 = fill, 150 is impossible: water was observed, the others were not; 40 does not change."""
    numbers = np.full((6, 6), 40)
    numbers[0], numbers[4], numbers[5] = 200, 150, 253
    cover = Quantity(
        Variable("c", Kind.CONTINUOUS, ("c",)),
        ("b",),
        dtype="uint8",
        nodata=(253.0,),
        flags=(200,),
        valid_range=(0.0, 100.0),
    )
    water = replace(cover, variable=Variable("w", Kind.CLASSES, ("w",)), flags_of="c")
    choice = plain(cover, water, kernel="nearest")
    pairs = [raw(0, numbers, dtype="uint8")]
    earth_engine.archive = Shelf([pairs[0][0]])
    got, flags = composite.read(choice, [pairs[0][1]], window(6, 6), SLOT)
    assert flags.data[0, :, 0].tolist()[:4] == [1, 0, 0, 0]
    assert not flags.valid[0, 5].any()
    assert got.masked is not None
    assert got.masked[0, 0].all()
    assert not got.masked[0, 1:].any()
    assert (got.data[got.valid] == 40).all()
    assert not got.valid[0, 4:].any()


def test_classes_stay_codes_and_the_first_image_keeps_its_place(earth_engine: Any) -> None:
    first = np.arange(16).reshape(4, 4)
    there = first % 3 > 0
    codes = Quantity(Variable("k", Kind.CLASSES, ("k",)), ("b",), dtype="uint8", valid_range=(0.0, 100.0))
    pairs = [raw(0, first, there, dtype="uint8"), raw(1, np.full((4, 4), 99), dtype="uint8")]
    got = composited(earth_engine, plain(codes, statistic="first", kernel="bilinear"), pairs, 4, 4)
    assert got.data.dtype == np.uint8
    np.testing.assert_array_equal(got.data[0], np.where(there, first, 99))


def test_a_class_without_a_legend_is_out_of_range(earth_engine: Any) -> None:
    legend = (LegendClass(10, "trees"), LegendClass(20, "shrubs"))
    codes = Quantity(Variable("k", Kind.CLASSES, ("k",), legend=legend), ("b",), dtype="uint8")
    got = composited(earth_engine, plain(codes, statistic="first"), [raw(0, [[10, 20], [30, 10]], dtype="uint8")], 2, 2)
    encoded = encode(got.data, got.valid, default_encoding(codes.variable))
    assert encoded.codes[0].tolist() == [[10, 20], [255, 10]]
    assert encoded.out_of_range.tolist() == [1]


def test_no_data_is_compared_as_the_band_stores_it(earth_engine: Any) -> None:
    """-3.4e38 of a table is another number in float32."""
    numbers = np.array([[1.5, -3.4e38], [2.5, 3.5]], np.float32)
    value = Quantity(Variable("v", Kind.CONTINUOUS, ("v",)), ("b",), nodata=(-3.4e38,))
    got = composited(earth_engine, plain(value, kernel="nearest"), [raw(0, numbers)], 2, 2)
    assert got.valid[0].tolist() == [[True, False], [True, True]]


def test_values_of_many_bands_are_never_all_in_double_precision() -> None:
    """What a window of int16 bands takes while it is converted: 4 bytes and 3 of masks a number, not 8 more."""
    import tracemalloc

    bands, side = 24, 256
    quantity = Quantity(
        Variable("r", Kind.REFLECTANCE, tuple(f"b{k}" for k in range(bands))), ("B",) * bands, scale=1e-4
    )
    numbers, there = np.full((side, side), 1234, np.int16), np.ones((side, side), bool)
    tracemalloc.start()
    try:
        data, valid, masked = composite.plain_values(plain(quantity), quantity, lambda _: (numbers, there))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * bands * side**2
    assert data.dtype == np.float32
    np.testing.assert_array_equal(data, np.float32(0.1234))
    assert valid.all()
    assert masked is not None
    assert not masked.any()
