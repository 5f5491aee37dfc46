"""Terrain flattening against closed forms, an image simulated from facets, and sarsen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from m3leo_prep.ops.sar import _facets, flatten
from m3leo_prep.ops.sar.flatten import REACH, terrain
from m3leo_prep.ops.sar.geocode import sample

# odc-geo multiplies affines with the operator that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


def decibel(power):
    return 10 * np.log10(power)


def tan(degrees):
    return np.tan(np.radians(degrees))


def prism(top, fore, back):
    """Heights of a ridge across the beam, ``top`` metres high, of slopes in degrees; the radar is on the left."""

    def profile(g):
        return np.clip(np.minimum(top + g * tan(fore), top - g * tan(back)), 0, None)

    return profile


@pytest.mark.parametrize("pitch", [10.0, 20.0, 40.0])
def test_level_ground_is_sigma_over_cosine(passes, pitch):
    """D46: gamma0 = sigma0 / cos(theta); sigma0 = beta0 sin(theta), so the factor is 1 / tan(theta)."""
    found = terrain(passes.orbit, passes.grid, passes.geobox((40, 50), pitch), passes.heights(lambda g: 0 * g + 300))
    theta = np.radians(found.ellipsoid_incidence)
    beta = 0.2
    assert np.abs(decibel(beta / found.factor) - decibel(beta * np.sin(theta) / np.cos(theta))).max() < 0.01
    assert np.abs(found.incidence - found.ellipsoid_incidence).max() < 0.01
    assert found.ellipsoid_incidence[20, 25] == pytest.approx(passes.incidence, abs=0.1)
    assert not found.layover.any()
    assert not found.shadow.any()


@pytest.mark.parametrize("slope", [-25.0, -10.0, 10.0, 20.0])
def test_a_plane_has_the_factor_of_its_own_incidence(passes, slope):
    found = terrain(passes.orbit, passes.grid, passes.geobox((30, 30)), passes.heights(lambda g: 2000 + g * tan(slope)))
    local = found.ellipsoid_incidence - slope
    assert np.abs(found.incidence - local).max() < 0.05
    assert np.abs(decibel(found.factor * tan(local))).max() < 0.02


def simulated(scene, profile, size, fine):
    """The image that ground of gamma0 = 1 makes: areas of small facets across the beam, summed in radar pixels."""
    geobox = scene.geobox((int(size / fine), int(size / fine)), fine)
    point = scene.points(geobox, profile(scene.beam(geobox)))
    middle = (point[1:, 1:] + point[:-1, 1:] + point[1:, :-1] + point[:-1, :-1]) / 4
    area = np.cross(point[1:, :-1] - point[:-1, 1:], point[1:, 1:] - point[:-1, :-1]) / 2
    time, distance = scene.truth.seen(middle)
    look = (middle - scene.truth.position(time)) / distance[..., None]
    across = np.clip(np.abs((area * middle).sum(-1)) / (area * middle).sum(-1) * -(area * look).sum(-1), 0, None)
    line, column = scene.grid.place(time, distance)
    lines = np.arange(np.floor(line.min()), np.ceil(line.max()) + 1) - 0.5
    columns = np.arange(np.floor(column.min()), np.ceil(column.max()) + 1) - 0.5
    power = np.histogram2d(line.ravel(), column.ravel(), (lines, columns), weights=across.ravel())[0]
    # The response of a GRD pixel is 20 m wide at half power.
    power = gaussian_filter(power, 20 / 2.355 / scene.grid.sample_spacing)
    # A pixel's area in the slant plane: ground speed by interval, slant range per sample.
    ahead = scene.truth.ground(np.array([-0.01, 0.01]), float(distance.mean()), float(np.mean(profile(0 * time))))
    speed = np.linalg.norm(ahead[1] - ahead[0]) / 0.02
    slant = np.ptp(distance) / np.ptp(column)
    return power / (speed * scene.grid.line_interval * slant), lines[0] + 0.5, columns[0] + 0.5


def test_fore_and_back_slope_are_alike_after_flattening(scene):
    """D46: less than 0.3 dB apart after, more than 2 dB before."""
    profile = prism(120.0, 14.0, 14.0)
    power, line, column = simulated(scene, profile, 1600.0, 4.0)
    geobox = scene.geobox((60, 100))
    found = terrain(scene.orbit, scene.grid, geobox, scene.heights(profile))
    beta, ok = sample(power.astype(np.float32), power > 0, found.positions.line - line, found.positions.sample - column)
    g = scene.beam(geobox)
    fore, back = (g > -400) & (g < -80), (g > 80) & (g < 400)
    assert ok[fore | back].all()
    before = beta * tan(found.ellipsoid_incidence)
    after = beta / found.factor
    assert decibel(before[fore].mean() / before[back].mean()) > 2
    assert abs(decibel(after[fore].mean() / after[back].mean())) < 0.05
    assert abs(decibel(after[fore].mean())) < 0.1
    # At the crest and the feet too, where facets of two slopes share a radar pixel.
    assert np.abs(decibel(after[(np.abs(g) < 460)])).max() < 0.6


TOP, FORE, BACK = 200.0, 62.0, 66.0


@pytest.fixture(scope="module")
def masks(passes):
    geobox = passes.geobox((24, 160))
    found = terrain(passes.orbit, passes.grid, geobox, passes.heights(prism(TOP, FORE, BACK)))
    return found, passes.beam(geobox), np.radians(passes.incidence)


class TestMasks:
    """A ridge steeper than the beam, in closed form on level ground: range g sin - h cos, ray cot."""

    def test_layover(self, masks):
        found, g, theta = masks
        foot, h = -TOP / tan(FORE), prism(TOP, FORE, BACK)(g)
        ahead = g * np.sin(theta) - h * np.cos(theta)
        crest, base = -TOP * np.cos(theta), foot * np.sin(theta)
        expected = (ahead >= crest) & (ahead <= base)
        unsure = (np.abs(ahead - crest) < 12) | (np.abs(ahead - base) < 12)
        assert (found.layover == expected)[~unsure].all()
        assert unsure.mean() < 0.25
        assert expected[~unsure & (g > 0)].any()
        assert expected[~unsure & (g < foot)].any()

    def test_shadow(self, masks):
        found, g, theta = masks
        h = prism(TOP, FORE, BACK)(g)
        ray = TOP - g / np.tan(theta)
        unsure = (np.abs(g) < 12) | (np.abs(ray - h) < 12)
        assert (found.shadow == ((g > 0) & (h < ray)))[~unsure].all()
        assert found.shadow.sum() > 200

    def test_level_ground_far_from_it_is_clear(self, masks):
        found, g, _ = masks
        far = (g < -500) | (g > 300)
        assert not (found.layover | found.shadow)[far].any()
        assert np.abs(decibel(found.factor * tan(found.ellipsoid_incidence)))[far].max() < 0.01


def rugged(scene):
    """Steep hills in two directions, with layover and shadow; heights unknown in one corner of the world."""
    x0, y0 = scene.corner

    def heights(geobox):
        a = geobox.affine
        x = a.c + a.a * (np.arange(geobox.shape[1]) + 0.5) - x0
        y = (a.f + a.e * (np.arange(geobox.shape[0]) + 0.5) - y0)[:, None]
        relief = 700 * np.sin(x / 310) * np.cos(y / 400) + 300 * np.sin((x + 2 * y) / 170)
        return relief.astype(np.float32), ~((x > 350) & (y > 250))

    return heights


@pytest.fixture(scope="module")
def hills(scene):
    geobox = scene.geobox((70, 90), 20.0)
    return geobox, terrain(scene.orbit, scene.grid, geobox, rugged(scene))


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_no_pixel_depends_on_the_window(scene, hills, data):
    geobox, whole = hills
    rows, cols = geobox.shape
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    low, right = data.draw(st.integers(top + 1, rows)), data.draw(st.integers(left + 1, cols))
    part = np.s_[top:low, left:right]
    cut = terrain(scene.orbit, scene.grid, geobox[part], rugged(scene))
    assert np.array_equal(whole.positions.line[part], cut.positions.line, equal_nan=True)
    for name in ("factor", "incidence", "ellipsoid_incidence", "layover", "shadow"):
        assert np.array_equal(getattr(whole, name)[part], getattr(cut, name), equal_nan=True), name


def test_the_hills_have_all_that_can_go_wrong(hills):
    """Else the property above would say little."""
    _, whole = hills
    assert 0.02 < np.isnan(whole.factor).mean() < 0.4
    assert whole.layover.mean() > 0.1
    assert whole.shadow.mean() > 0.02


def test_a_narrower_margin_would_show(scene, hills, monkeypatch):
    """The property test can fail: without the margin, what lies beyond the window is missing."""
    geobox, whole = hills
    monkeypatch.setattr(flatten, "_margin", lambda *_: (20, 20))
    cut = terrain(scene.orbit, scene.grid, geobox[30:40, 30:40], rugged(scene))
    part = np.s_[30:40, 30:40]
    assert not np.array_equal(whole.factor[part], cut.factor, equal_nan=True)


def test_nor_where_layover_reaches_beyond_the_margin(scene, hills, monkeypatch):
    """With a reach shorter than the relief needs, ground is left out by its distance, not by the window."""
    geobox, longer = hills
    monkeypatch.setattr(flatten, "REACH", 300.0)
    whole = terrain(scene.orbit, scene.grid, geobox, rugged(scene))
    assert not np.array_equal(whole.factor, longer.factor, equal_nan=True)
    assert whole.layover.sum() < longer.layover.sum()
    part = np.s_[21:50, 33:47]
    cut = terrain(scene.orbit, scene.grid, geobox[part], rugged(scene))
    for name in ("factor", "incidence", "layover", "shadow"):
        assert np.array_equal(getattr(whole, name)[part], getattr(cut, name), equal_nan=True), name


def test_ground_that_rays_step_over_hides_nothing(scene, hills, monkeypatch):
    """The masks are those of walks that look at every pixel within reach."""
    geobox, whole = hills

    def anything(_, lows, highs):
        lows[:], highs[:] = -9000.0, 9000.0

    monkeypatch.setattr(_facets, "extremes", anything)
    every = terrain(scene.orbit, scene.grid, geobox, rugged(scene))
    assert np.array_equal(every.layover, whole.layover)
    assert np.array_equal(every.shadow, whole.shadow)


def test_unknown_heights_give_no_factor_beside_them(scene):
    geobox = scene.geobox((40, 40))

    def heights(box):
        x = box.affine.c + box.affine.a * (np.arange(box.shape[1]) + 0.5) - scene.corner[0]
        return np.zeros(box.shape, np.float32), np.broadcast_to(x < 0, box.shape)

    found = terrain(scene.orbit, scene.grid, geobox, heights)
    assert np.isnan(found.positions.line[:, 20:]).all()
    assert np.isnan(found.factor[:, 17:]).all()
    assert np.abs(decibel(found.factor * tan(found.ellipsoid_incidence)))[:, :10].max() < 0.01
    nothing = terrain(
        scene.orbit, scene.grid, geobox, lambda b: (np.zeros(b.shape, np.float32), np.zeros(b.shape, bool))
    )
    assert np.isnan(nothing.factor).all()
    assert not nothing.layover.any()


def test_sarsen_finds_the_same_places_and_areas(scene):
    """sarsen 0.9: its own geocoding of the same heights, and its gamma area on cells of about the same size."""
    pytest.importorskip("sarsen")
    xr = pytest.importorskip("xarray")
    from sarsen import geocoding, orbit, radiometry
    from sarsen import scene as sarsen_scene

    profile = prism(150.0, 16.0, 20.0)
    around, margin = scene.geobox((90, 160)), 35
    inner = np.s_[margin:-margin, margin:-margin]
    found = terrain(scene.orbit, scene.grid, around[inner], scene.heights(profile))

    height = scene.heights(profile)(around)[0]
    a = around.affine
    x, y = a.c + a.a * (np.arange(160) + 0.5), a.f + a.e * (np.arange(90) + 0.5)
    raster = xr.DataArray(height.astype(float), coords={"y": y, "x": x}, dims=("y", "x"), name="dem")
    ecef = sarsen_scene.convert_to_dem_ecef(raster.sortby("y"), source_crs="EPSG:32632")
    epoch = np.datetime64("2021-01-01T00:00:00", "ns")
    times = epoch + (scene.orbit.times * 1e9).astype("timedelta64[ns]")
    states = xr.DataArray(
        scene.orbit.positions, coords={"azimuth_time": times, "axis": [0, 1, 2]}, dims=("azimuth_time", "axis")
    )
    seen = geocoding.backward_geocode(ecef, orbit.OrbitPolyfitInterpolator.from_position(states, epoch=epoch))
    distance = (seen.dem_distance**2).sum("axis") ** 0.5
    seconds = (seen.azimuth_time - epoch) / np.timedelta64(1, "s")
    line, column = scene.grid.place(
        seconds.transpose("y", "x").sortby("y", ascending=False).values,
        distance.transpose("y", "x").sortby("y", ascending=False).values,
    )
    assert np.abs(line[inner] - found.positions.line).max() < 0.02
    assert np.abs(column[inner] - found.positions.sample).max() < 0.02

    seen["gamma_area"] = radiometry.compute_gamma_area(ecef, seen.dem_distance / distance)
    seen["slant_range_time"] = distance / 1e6
    slant = 15.0
    speed = 6_800.0
    areas = radiometry.gamma_weights_bilinear(
        seen[["gamma_area", "slant_range_time", "azimuth_time"]].chunk(),
        slant_range_time0=float(seen["slant_range_time"].min()),
        azimuth_time0=seen.azimuth_time.values.min(),
        slant_range_time_interval_s=slant / 1e6,
        azimuth_time_interval_s=30.0 / speed,
        slant_range_spacing_m=slant,
        azimuth_spacing_m=30.0,
    )
    theirs = areas.transpose("y", "x").sortby("y", ascending=False).values[inner]
    ratio = decibel(theirs / found.factor)
    # Its sums jump by up to 1 dB from cell to cell, even on planes, as facets and cells fall together or do not.
    g = scene.beam(around[inner])
    for slope in ((g > -430) & (g < -70), (g > 70) & (g < 330)):
        assert abs(np.median(ratio[slope])) < 0.15
        assert np.percentile(np.abs(ratio[slope]), 90) < 1.2


def test_the_reach_covers_the_steepest_relief_known():
    """1.6 km of relief at the nearest incidence of IW, 29 degrees."""
    assert REACH * tan(29.0) > 1600
