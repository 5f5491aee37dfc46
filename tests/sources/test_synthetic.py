"""The synthetic Earth: the contract for every product, and its statistics against the truth it states."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import Point, box

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import STATIC, Item, Kind, Raster, Slot
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources.synthetic import Synthetic
from m3leo_prep.sources.synthetic import radar as radar
from m3leo_prep.sources.synthetic.items import CAMERA, RADAR
from m3leo_prep.sources.synthetic.noise import hashed, unit
from m3leo_prep.sources.synthetic.optics import cloudy, greenness
from m3leo_prep.testing.source import SourceContract

CHIP = GeoBox((448, 448), Affine(10.0, 0.0, 506_000.0, 0.0, -10.0, 5_482_000.0), "EPSG:32632")
AREA = box(9.08, 49.43, 9.16, 49.49)
SUMMER = parse_slots({"months": 2020})[5:8]
PRODUCTS = ("relief", "landcover", "s2", "s1", "coherence", "phase", "unwrapped")
STATICS = ("relief", "landcover")


@pytest.mark.parametrize("product", PRODUCTS)
class TestSynthetic(SourceContract):
    @pytest.fixture
    def source(self, product: str) -> Synthetic:
        return Synthetic(product)

    @pytest.fixture
    def geobox(self) -> GeoBox:
        return CHIP.crop((160, 200))


class TestAnEdgeOfTheSwath(SourceContract):
    """Where frames, tiles and UTM zones end."""

    @pytest.fixture
    def source(self) -> Synthetic:
        return Synthetic("s1", missing=0.0)

    @pytest.fixture
    def area(self) -> Any:
        return box(5.9, 49.4, 6.2, 49.6)

    @pytest.fixture
    def geobox(self) -> GeoBox:
        x, y = Transformer.from_crs(4326, 32631, always_xy=True).transform(6.05, 49.5)
        return GeoBox((448, 448), Affine(10.0, 0.0, round(x, -1), 0.0, -10.0, round(y, -1)), "EPSG:32631")


class TestAcrossTheAntimeridian(SourceContract):
    @pytest.fixture
    def source(self) -> Synthetic:
        return Synthetic("landcover")

    @pytest.fixture
    def area(self) -> Any:
        return box(-180.0, -17.3, -179.7, -16.9).union(box(179.7, -17.3, 180.0, -16.9))

    @pytest.fixture
    def geobox(self) -> GeoBox:
        x, y = Transformer.from_crs(4326, 32760, always_xy=True).transform(179.99, -17.0)
        return GeoBox((448, 448), Affine(10.0, 0.0, round(x, -1), 0.0, -10.0, round(y, -1)), "EPSG:32760")

    @pytest.fixture
    def items(self, source: Synthetic, area: Any, slots: Sequence[Slot]) -> list[Item]:
        found = list(source.find(area, slots))
        assert {item.id for item in found} == {"S18E177", "S18W180"}
        return found

    def test_both_sides_have_pixels(self, source: Synthetic, items: list[Item], geobox: GeoBox) -> None:
        rasters = list(source.read(items, geobox, STATIC))
        assert len(rasters) == 2
        assert all(raster.valid.any() for raster in rasters)

    @pytest.fixture
    def some(self, items: list[Item]) -> list[Item]:
        return items


def slots_of(product: str) -> Sequence[Slot]:
    return (STATIC,) if product in STATICS else SUMMER


def read(source: Synthetic, item: Item, geobox: GeoBox = CHIP) -> Raster:
    (raster,) = source.read([item], geobox, STATIC)
    return raster


def lonlat(geobox: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = geobox.shape
    x, y = geobox.transform * np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5)
    lon, lat = Transformer.from_crs(str(geobox.crs), 4326, always_xy=True).transform(x, y)
    return np.asarray(lon), np.asarray(lat)


@cache
def s1_passes() -> tuple[Raster, ...]:
    """Return a summer's passes over the chip, those that cover it all."""
    source = Synthetic("s1", missing=0.0)
    found = source.read(list(source.find(AREA, SUMMER)), CHIP, SUMMER[0])
    whole = tuple(raster for raster in found if raster.valid.any(axis=0).mean() > 0.99)
    assert len(whole) > 10
    return whole


def one_direction(raster: Raster) -> np.ndarray:
    """Return VV and VH of the pass, (2, y, x)."""
    present = raster.valid.any(axis=(1, 2))
    assert present.sum() == 2
    return raster.data[present].astype(float)


# Ground


def test_landcover_is_the_truth() -> None:
    source = Synthetic("landcover")
    raster = read(source, next(source.find(AREA, [STATIC])))
    truth = source.truth(*lonlat(raster.geobox))
    # Coordinates worked out twice differ in the last bit, which may flip a pixel on a border.
    assert (raster.data[0] == truth.classes).mean() > 0.9999
    assert len(np.unique(truth.classes)) > 2


def test_relief_is_the_truth_and_the_sea_is_flat() -> None:
    source = Synthetic("relief")
    raster = read(source, next(source.find(AREA, [STATIC])))
    assert raster.data[0] == pytest.approx(source.truth(*lonlat(raster.geobox)).height, abs=1e-2)
    lon, lat = np.meshgrid(np.linspace(5, 15, 400), np.linspace(45, 55, 400))
    world = source.truth(lon, lat)
    sea = world.height == 0
    assert 0.1 < sea.mean() < 0.6
    assert set(np.unique(world.classes[sea])) == {80}
    assert not world.slope_east[sea].any()
    assert world.height.min() == 0


def test_every_class_occurs() -> None:
    lon, lat = np.meshgrid(np.linspace(5, 15, 500), np.linspace(45, 55, 500))
    codes, counts = np.unique(Synthetic("landcover").truth(lon, lat).classes, return_counts=True)
    legend = [entry.code for entry in Synthetic("landcover").describe().variables[0].legend]
    assert codes.tolist() == legend
    assert counts.min() / counts.sum() > 0.002


def test_slopes_are_the_derivative_of_height() -> None:
    source, step = Synthetic("relief"), 1e-6
    lon, lat = np.meshgrid(np.linspace(8, 9, 60), np.linspace(48, 49, 60))
    here = source.truth(lon, lat)
    # Far enough apart for float32 heights, over a metre of ground, which is far below the finest cell.
    rise = (source.truth(lon + 8 * step, lat).height - source.truth(lon - 8 * step, lat).height).astype(float)
    metres = 16 * step * 111_320 * np.cos(np.radians(lat))
    land = (here.height > 1) & (here.height < 400)
    error = np.abs(rise / metres - here.slope_east)[land]
    assert np.quantile(error, 0.95) < 0.01
    assert here.slope_east[land].std() > 0.02


@given(st.floats(-180, 179.9), st.floats(-80, 80), st.integers(0, 2**31))
def test_ground_does_not_depend_on_company(lon: float, lat: float, seed: int) -> None:
    source = Synthetic("relief", seed=seed)
    lons, lats = np.meshgrid(lon + np.arange(5) * 1e-4, lat - np.arange(7) * 1e-4)
    many, one = source.truth(lons, lats), source.truth(lons[4, 3], lats[4, 3])
    for name in ("height", "slope_east", "slope_north", "classes", "variety"):
        assert getattr(many, name)[4, 3] == getattr(one, name)


def test_ground_runs_on_across_the_antimeridian() -> None:
    truth = Synthetic("relief").truth
    east, west = truth(180.0, 20.0), truth(-180.0, 20.0)
    assert east.height == west.height
    lat = np.linspace(-60, 60, 300)
    step = np.abs(truth(np.full(300, 179.99999), lat).height - truth(np.full(300, -179.99999), lat).height)
    assert step.max() < 1.0


def test_seed_makes_another_planet() -> None:
    lon, lat = lonlat(CHIP)
    one, other = (Synthetic("relief", seed=seed).truth(lon, lat).height for seed in (1, 2))
    assert not np.array_equal(one, other)


def test_hashes_of_seeds_and_rows_are_unrelated() -> None:
    # With the seed added to the row, one band's noise would be its neighbour's, shifted by a row.
    rows = np.array([[unit(row, col, seed) for col in range(64)] for seed in (5, 6) for row in range(64)])
    one, other = rows[:64], rows[64:]
    for shift in range(-2, 3):
        shifted = np.roll(other, shift, axis=0)
        assert abs(np.corrcoef(one.ravel(), shifted.ravel())[0, 1]) < 0.06
    assert abs(one.mean() - 0.5) < 0.02
    assert len({int(hashed(a, b, 0)) for a in range(-50, 50) for b in range(-50, 50)}) == 10_000


# Radar


def test_speckle_table_is_a_gamma_distribution() -> None:
    stats = pytest.importorskip("scipy.stats")
    chances = ((np.arange(radar._SPECKLE.size) + 0.5) / radar._SPECKLE.size)[::64]
    exact = stats.gamma(radar.ENL, scale=1 / radar.ENL).ppf(chances)
    assert radar._SPECKLE[::64] == pytest.approx(exact, rel=2e-4, abs=1e-4)
    assert radar._SPECKLE.mean() == pytest.approx(1.0)


def test_speckle_on_flat_ground_has_the_looks_it_states() -> None:
    source = Synthetic("s1")
    power = np.full((2, 400, 400), 0.2)
    seen = radar.speckled(power, 1000, -2000, 7).astype(float)
    # Thermal noise adds to the power before it is speckled.
    expected = radar.ENL * (0.2 / (0.2 + radar.NOISE_FLOOR)) ** 2
    for band in seen:
        assert band.mean() == pytest.approx(0.2, rel=0.005)
        assert band.mean() ** 2 / band.var() == pytest.approx(expected, rel=0.03)
    assert abs(np.corrcoef(seen[0].ravel(), seen[1].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(seen[0, 1:].ravel(), seen[1, :-1].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(seen[0, :, 1:].ravel(), seen[0, :, :-1].ravel())[0, 1]) < 0.01
    assert source.describe().variables[0].attributes["equivalent_looks"] == 4.4


def test_mean_of_a_pass_is_the_true_power_in_every_class() -> None:
    source = Synthetic("s1", missing=0.0)
    for raster in s1_passes()[:3]:
        lon, lat = lonlat(raster.geobox)
        truth, classes = source.true_power(raster.item, lon, lat), source.truth(lon, lat).classes
        seen = one_direction(raster)
        for code in np.unique(classes):
            where = classes == code
            if where.sum() > 3000:
                for band in range(2):
                    ratio = seen[band][where].mean() / truth[band][where].mean()
                    assert ratio == pytest.approx(1.0, abs=5 / np.sqrt(where.sum() * radar.ENL) + 0.002)


def test_dark_water_has_values_below_zero() -> None:
    vh = radar.speckled(np.full((1, 200, 200), 10**-2.8), 0, 0, 1)
    assert 0.05 < (vh <= 0).mean() < 0.6
    assert vh.mean() == pytest.approx(10**-2.8, rel=0.05)


def test_slopes_that_face_the_radar_are_brighter_in_one_direction() -> None:
    source = Synthetic("s1")
    lon, lat = np.meshgrid(np.linspace(8, 9, 300), np.linspace(48, 49, 300))
    ground = source.truth(lon, lat)
    # Looking east, a slope that rises to the east faces the radar; looking west it faces away.
    faces_west = (ground.slope_east > 0.1) & (ground.classes == 10)
    centre = np.zeros(lon.shape)
    going_up, _ = radar.mean_power(ground, centre, 0.5, ascending=True)
    going_down, _ = radar.mean_power(ground, centre, 0.5, ascending=False)
    assert faces_west.sum() > 500
    assert going_up[0][faces_west].mean() > 1.03 * going_down[0][faces_west].mean()


def test_orbits_are_bands_and_a_pass_fills_its_own() -> None:
    source = Synthetic("s1", missing=0.0)
    assert source.describe().variables[0].bands == ("vv_asc", "vh_asc", "vv_desc", "vh_desc")
    directions = set()
    for raster in s1_passes():
        filled = raster.valid.any(axis=(1, 2)).tolist()
        direction = raster.item.properties["orbit_direction"]
        assert filled == ([True, True, False, False] if direction == "ascending" else [False, False, True, True])
        directions.add(direction)
    assert directions == {"ascending", "descending"}


def test_bands_and_orbits_are_chosen() -> None:
    source = Synthetic("s1", bands=["vh"], orbits=["descending"], missing=0.0)
    assert source.describe().variables[0].bands == ("vh_desc",)
    items = list(source.find(AREA, SUMMER))
    assert {item.properties["orbit_direction"] for item in items} == {"descending"}
    full = {raster.item.id: raster for raster in s1_passes()}
    item = next(item for item in items if item.id in full)
    assert np.array_equal(read(source, item).data[0], full[item.id].data[3])
    two = Synthetic("s2", bands=["nir", "red"])
    assert two.describe().variables[0].bands == ("nir", "red")
    image = next(two.find(AREA, SUMMER))
    assert np.array_equal(read(two, image).data, read(Synthetic("s2"), image).data[[3, 2]])


def test_scene_grids_do_not_lie_on_the_chips_grid() -> None:
    offsets = {(raster.geobox.transform.c % 10, raster.geobox.transform.f % 10) for raster in s1_passes()}
    assert all(x and y for x, y in offsets)
    assert len(offsets) >= 2, "each orbit has its own"


def test_passes_differ_in_speckle_and_agree_in_mean() -> None:
    same_track: dict[Any, list[Raster]] = {}
    for raster in s1_passes():
        same_track.setdefault((raster.item.properties["relative_orbit"], raster.geobox), []).append(raster)
    one, other = next(rasters for rasters in same_track.values() if len(rasters) > 1)[:2]
    a, b = one_direction(one)[0], one_direction(other)[0]
    assert not np.array_equal(a, b)
    assert a.mean() == pytest.approx(b.mean(), rel=0.1)


# Coherence and phase


def test_coherence_falls_with_delay_and_is_what_the_truth_says() -> None:
    source = Synthetic("coherence", missing=0.0)
    # 3 arcsec: a tenth of a degree, to have enough pixels of each class.
    target = GeoBox((120, 120), Affine(80.0, 0.0, 506_000.0, 0.0, -80.0, 5_482_000.0), "EPSG:32632")
    raster = read(source, next(source.find(AREA, SUMMER)), target)
    lon, lat = lonlat(raster.geobox)
    truth, classes = source.true_coherence(raster.item, lon, lat), source.truth(lon, lat).classes
    assert (np.diff(truth, axis=0) <= 0).all()
    assert ((raster.data >= 0) & (raster.data <= 1)).all()
    checked = 0
    for code in np.unique(classes):
        where = classes == code
        if where.sum() < 400:
            continue
        checked += 1
        seen = raster.data[:, where].mean(axis=1)
        assert (np.diff(seen) < 0.01).all()
        # Biased up where there is little coherence, never down.
        bias = seen - truth[:, where].mean(axis=1)
        assert (bias > -0.01).all()
        assert (bias < np.sqrt(np.pi / (4 * radar.COHERENCE_LOOKS)) + 0.01).all()
    assert checked >= 2


def test_estimated_coherence_has_the_bias_and_spread_it_states() -> None:
    for gamma in (0.0, 0.3, 0.6, 0.9):
        seen = radar.estimated_coherence(np.full((1, 300, 300), gamma), 0, 0, 3).astype(float)
        floor = np.pi / (4 * radar.COHERENCE_LOOKS)
        assert seen.mean() == pytest.approx(np.sqrt(gamma**2 * (1 - floor) + floor), abs=0.005)
        if gamma:
            assert seen.std() == pytest.approx((1 - gamma**2) / np.sqrt(2 * radar.COHERENCE_LOOKS), rel=0.03)


def test_wrapped_phase_is_the_unwrapped_one_modulo_two_pi() -> None:
    wrapped, unwrapped = Synthetic("phase", missing=0.0), Synthetic("unwrapped", missing=0.0)
    target = GeoBox((120, 120), Affine(80.0, 0.0, 506_000.0, 0.0, -80.0, 5_482_000.0), "EPSG:32632")
    item = next(iter(wrapped.find(AREA, SUMMER)))
    assert item == next(iter(unwrapped.find(AREA, SUMMER)))
    one, other = (read(source, item, target) for source in (wrapped, unwrapped))
    assert (np.abs(one.data) <= np.float32(np.pi)).all()
    truth = wrapped.truth(*lonlat(one.geobox))
    exact = radar.phase(*lonlat(one.geobox), truth, float(item.properties["perp_baseline"]), 12, 0)
    # Over towns the noise is small, so phase and truth agree modulo 2 pi; noises of the two differ.
    coherent = (radar.true_coherence(truth, greenness(49.4, 170))[0] > 0.6) & one.valid[0]
    assert coherent.sum() > 20
    for raster in (one, other):
        error = np.angle(np.exp(1j * (raster.data[0].astype(float) - exact)))[coherent]
        assert np.abs(error).mean() < 0.15
    assert wrapped.describe().variables[0].kind is Kind.WRAPPED_PHASE
    assert unwrapped.describe().variables[0].kind is Kind.UNWRAPPED_PHASE


def test_bowls_have_their_depth_and_no_edges() -> None:
    flat = Synthetic("relief").truth(np.zeros(1), np.zeros(1))
    lon, lat = np.meshgrid(np.linspace(9, 9.5, 800), np.linspace(49, 49.5, 800))
    ground = type(flat)(*(np.zeros(lon.shape, a.dtype) for a in (flat.height,) * 3 + (flat.classes,) * 2))
    fringes = radar.phase(lon, lat, ground, 0.0, 365, 0)
    assert fringes.min() < -20
    assert fringes.max() <= 0
    assert np.abs(np.diff(fringes, axis=1)).max() < 20


# Optics


def test_clouds_hide_about_the_share_asked() -> None:
    lon, lat = np.meshgrid(np.linspace(0, 60, 300), np.linspace(-30, 30, 300))
    for share in (0.2, 0.35, 0.6):
        assert np.mean([cloudy(lon, lat, share, seed).mean() for seed in range(4)]) == pytest.approx(share, abs=0.07)
    assert not cloudy(lon, lat, 0.0, 1).any()
    assert cloudy(lon, lat, 1.0, 1).all()


def test_clouded_pixels_were_seen_but_are_not_valid() -> None:
    source = Synthetic("s2", missing=0.0, cloud=0.5)
    rasters = list(source.read(list(source.find(AREA, SUMMER)), CHIP.crop((64, 64)), SUMMER[0]))
    covered = 0.0
    for raster in rasters:
        assert raster.masked is not None
        assert not (raster.valid & raster.masked).any()
        covered += float(raster.masked.mean()) / len(rasters)
    assert 0.2 < covered < 0.8
    states = {bool(r.masked.all()) for r in rasters if r.masked is not None}
    assert states == {True, False}, "some passes are all cloud, some are not"


def test_green_land_reflects_near_infrared_and_seasons_swap() -> None:
    source = Synthetic("s2", cloud=0.0, missing=0.0)
    raster = read(source, next(iter(source.find(AREA, SUMMER))))
    classes = source.truth(*lonlat(raster.geobox)).classes
    red, nir = raster.data[2].astype(float), raster.data[3].astype(float)
    index = (nir - red) / (nir + red)
    trees, water = (classes == 10) & raster.valid[0], (classes == 80) & raster.valid[0]
    assert index[trees].mean() > 0.6
    if water.any():
        assert index[water].mean() < 0.0
    assert greenness(50, 200) > 0.95 > 0.05 > greenness(50, 20)
    assert greenness(-50, 20) > 0.95
    assert greenness(0, 20) == 1.0


# Passes


@pytest.mark.parametrize("product", PRODUCTS)
def test_golden(product: str) -> None:
    # A changed item or pixel needs another version in describe(), or old datasets mix with new ones unseen.
    source = Synthetic(product, cloud=0.0)
    item = next(iter(source.find(AREA, slots_of(product))))
    raster = read(source, item, CHIP.crop((8, 8)))
    present = raster.valid.any(axis=(1, 2))
    expected_id, values = GOLDEN[product]
    assert source.describe().version == "1"
    assert item.id == expected_id
    assert raster.data[present, 5, 7].astype(float) == pytest.approx(values, rel=1e-4)


GOLDEN: dict[str, tuple[str, list[float]]] = {
    "relief": ("N49E009", [617.8841]),
    "landcover": ("N48E009", [10.0]),
    "s2": ("S2_R071_20200601T104004_32N-04-54", [0.01854785, 0.03940378, 0.02768168, 0.3269549, 0.1351824, 0.06241292]),
    "s1": ("S1_A079_20200611T163742_F+32", [0.1220947, 0.04907209]),
    "coherence": ("N49E009_summer_2020", [0.1846127, 0.1183268, 0.000546545, 0.09152208]),
    "phase": ("IFG_A079_20200611_20200623_F+32", [-2.640115]),
    "unwrapped": ("IFG_A079_20200611_20200623_F+32", [-8.680658]),
}


def test_missing_passes_exist_in_about_their_share() -> None:
    year = [Slot("2020", datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))]
    for mission in (RADAR, CAMERA):
        every = sum(len(mission.dates(swath, year, 0.0, 0)) for swath in mission.swaths())
        some = sum(len(mission.dates(swath, year, 0.3, 0)) for swath in mission.swaths())
        never = sum(not mission.dates(swath, year, 0.3, 0) for swath in mission.swaths())
        assert some / every == pytest.approx(0.7 * 0.85, abs=0.06)
        assert never > 5
        assert not any(mission.dates(swath, year, 1.0, 0) for swath in mission.swaths())


def test_a_pass_repeats_after_its_days() -> None:
    year = [Slot("2020", datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))]
    for mission, days in ((RADAR, 12), (CAMERA, 5)):
        for swath in list(mission.swaths())[::40]:
            dates = mission.dates(swath, year, 0.0, 0)
            assert {(after - before).days for before, after in pairwise(dates)} == {days}
            assert len(dates) in {366 // days, 366 // days + 1}
            assert all(year[0].contains(date) for date in dates)


def test_months_have_gaps_and_edges() -> None:
    # So that NO_ACQUISITION and PARTIAL_COVERAGE occur in a demo without being asked for.
    source, area = Synthetic("s1"), box(8, 48, 12, 50)
    items = list(source.find(area, parse_slots({"months": 2020})[:3]))
    partial = [item for item in items if not item.footprint.contains(box(9, 49, 9.1, 49.1))]
    assert partial
    assert len(partial) < len(items)
    covers = [Point(8 + 0.25 * i, 49.0) for i in range(16)]
    by_day = parse_slots({"dates": [f"2020-03-{day:02d}" for day in range(1, 13)]})
    seen = [[any(i.footprint.contains(p) for i in source.find(area, [slot])) for p in covers] for slot in by_day]
    assert any(all(row) for row in seen) or any(any(row) and not all(row) for row in seen)
    assert any(not any(row) for row in seen)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("place", [(-179.9, 0.0), (179.9, -45.0), (0.0, 83.0), (-70.0, -79.0), (20.0, 0.0)])
def test_every_place_is_found(product: str, place: tuple[float, float]) -> None:
    if abs(place[1]) > 80 and product in {"s1", "phase", "unwrapped"}:
        pytest.skip("the radar does not look beyond 81 degrees")
    point = Point(*place).buffer(0.01)
    slots = slots_of(product)
    items = list(Synthetic(product, missing=0.0).find(point, slots))
    assert items
    for item in items:
        west, _, east, _ = item.footprint.bounds
        assert west >= -180
        assert east <= 180
        assert item.footprint.is_valid


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"product": "s3"}, "unknown product 's3'"),
        ({"product": "s1", "missing": 1.5}, "missing is a share from 0 to 1, not 1.5"),
        ({"product": "s1", "cloud": "many"}, "cloud is a share from 0 to 1, not 'many'"),
        ({"product": "s1", "bands": ["hh"]}, "unknown value 'hh' in bands"),
        ({"product": "s1", "bands": "vv"}, "bands is a list"),
        ({"product": "s1", "bands": ["vv", "vv"]}, "bands names one twice: vv, vv"),
        ({"product": "s1", "orbits": ["up"]}, "unknown value 'up' in orbits"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Synthetic(**options)
    assert message in str(caught.value)
    assert "source 'synthetic'" in str(caught.value)


def test_nothing_is_found_without_slots_or_before_the_archive() -> None:
    assert list(Synthetic("s1").find(AREA, [])) == []
    assert list(Synthetic("s2").find(AREA, parse_slots({"years": 2010}))) == []
