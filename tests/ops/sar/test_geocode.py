"""Geocoding against the real annotation's own geolocation grid, the stand-in's geometry, PROJ and closed forms."""

import dataclasses
import zipfile
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3leo_prep.core.errors import ConfigError, CorruptError
from m3leo_prep.ops.sar import geocode
from m3leo_prep.ops.sar.ellipsoid import ground
from m3leo_prep.ops.sar.geocode import Positions, positions, sample
from m3leo_prep.ops.sar.orbit import Orbit
from m3leo_prep.ops.sar.rangedoppler import SPEED_OF_LIGHT, RadarGrid, locate
from m3leo_prep.ops.sar.tiepoints import Geolocation, fitted, gcp_locate
from m3leo_prep.ops.warp import BSPLINE_NOISE_GAIN

# odc-geo multiplies affines with the operator that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

GRD = [
    ("s1_grd", "S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_ECC8.SAFE", "-iw-grd-vv-"),
    ("s1_grd", "S1A_IW_GRDH_1SDV_20210119T031653_20210119T031718_036201_043ED0_8255.zip", "-iw-grd-vh-"),
]
SLC = [
    ("s1_slc", "S1A_IW_SLC__1SDV_20200511T135117_20200511T135144_032518_03C421_7768.zip", "-iw1-slc-vv-"),
    ("s1_slc", "S1A_IW_SLC__1SDV_20200511T135117_20200511T135144_032518_03C421_7768.zip", "-iw3-slc-vv-"),
    ("s1_slc", "S1B_IW_SLC__1SDV_20210401T052622_20210401T052650_026269_032297_EFA4.zip", "-iw2-slc-vh-"),
]


def annotation(folder, name, which):
    """The annotation of one image of a real product."""
    if name.endswith(".SAFE"):
        found = [p for p in (folder / name / "annotation").glob("*.xml") if which in p.name]
        return ET.parse(found[0]).getroot()
    with zipfile.ZipFile(folder / name) as archive:
        found = [m for m in archive.namelist() if "/annotation/s1" in m and which in m]
        return ET.fromstring(archive.read(found[0]))


def called(products):
    return [f"{name[:10]}{which}" for _, name, which in products]


@pytest.fixture(scope="module", params=GRD + SLC, ids=called(GRD + SLC))
def product(shared_data, request):
    """Orbit, grid (None of an SLC), tie points, and what these say of lines, samples, times and ranges."""
    return read(shared_data, *request.param)


@pytest.fixture(scope="module", params=GRD, ids=called(GRD))
def grd(shared_data, request):
    return read(shared_data, *request.param)


def read(shared_data, folder, name, which):
    root = annotation(shared_data / folder, name, which)
    vectors = root.findall("generalAnnotation/orbitList/orbit")
    epoch = np.datetime64(vectors[0].findtext("time"))

    def seconds(node, tag):
        return (np.datetime64(node.findtext(tag)) - epoch) / np.timedelta64(1, "us") * 1e-6

    orbit = Orbit(
        np.array([seconds(v, "time") for v in vectors]),
        *(
            np.array([[float(v.findtext(f"{part}/{axis}")) for axis in "xyz"] for v in vectors])
            for part in ("position", "velocity")
        ),
    )
    points = root.findall("geolocationGrid/geolocationGridPointList/geolocationGridPoint")
    lines, samples = (np.unique([float(p.findtext(tag)) for p in points]) for tag in ("line", "pixel"))
    told = {
        tag: np.array([float(p.findtext(tag)) for p in points]).reshape(lines.size, samples.size)
        for tag in ("line", "pixel", "longitude", "latitude", "height", "slantRangeTime")
    }
    told["time"] = np.array([seconds(p, "azimuthTime") for p in points]).reshape(lines.size, samples.size)
    ties = Geolocation(lines, samples, told["longitude"], told["latitude"], told["height"])
    image = root.find("imageAnnotation/imageInformation")
    told["interval"] = float(image.findtext("azimuthTimeInterval"))
    told["rate"] = float(root.findtext("generalAnnotation/productInformation/rangeSamplingRate"))
    records = root.findall("coordinateConversion/coordinateConversionList/coordinateConversion")
    if not records:
        return orbit, None, ties, told
    grid = RadarGrid(
        (int(image.findtext("numberOfLines")), int(image.findtext("numberOfSamples"))),
        seconds(image, "productFirstLineUtcTime"),
        told["interval"],
        float(image.findtext("rangePixelSpacing")),
        np.array([seconds(r, "azimuthTime") for r in records]),
        np.array([float(r.findtext("sr0")) for r in records]),
        np.array([[float(c) for c in r.findtext("srgrCoefficients").split()] for r in records]),
    )
    return orbit, grid, ties, told


class TestRealAnnotation:
    """ESA's processor made the tie points from the same orbit: they must come back."""

    def test_time_and_range_of_the_tie_points(self, product):
        orbit, _, ties, told = product
        time, distance = locate(orbit, ties.lon, ties.lat, ties.height)
        assert np.abs(time - told["time"]).max() / told["interval"] < 0.05
        two_way = 2 * distance / SPEED_OF_LIGHT
        assert np.abs(two_way - told["slantRangeTime"]).max() * told["rate"] < 0.01

    def test_lines_and_samples_of_the_tie_points(self, grd):
        orbit, grid, ties, told = grd
        line, column = fitted(grid, orbit, ties).place(*locate(orbit, ties.lon, ties.lat, ties.height))
        assert np.abs(line - told["line"]).max() < 0.02
        assert np.abs(column - told["pixel"]).max() < 0.06

    def test_the_annotation_alone_misses_them(self, grd):
        """What the fit is for: bistatic delay in lines, and the time of the polynomials."""
        orbit, grid, ties, told = grd
        line, column = grid.place(*locate(orbit, ties.lon, ties.lat, ties.height))
        assert np.abs(line - told["line"]).max() > 0.15
        assert np.abs(column - told["pixel"]).max() > 0.3

    def test_tie_points_alone_give_themselves(self, product):
        _, _, ties, told = product
        line, column = gcp_locate(ties, ties.lon + 360.0, ties.lat)
        assert np.abs(line - told["line"]).max() < 1e-3
        assert np.abs(column - told["pixel"]).max() < 1e-3

    def test_an_orbit_of_another_time_is_refused(self, grd):
        orbit, grid, ties, _ = grd
        moved = dataclasses.replace(orbit, positions=orbit.positions * (1 + 2e-4))
        with pytest.raises(CorruptError, match="miss the product's own tie points"):
            fitted(grid, moved, ties)


class TestLocate:
    def test_points_are_where_the_stand_in_says(self, passes):
        lon, lat = np.meshgrid(np.linspace(9.6, 10.4, 9), np.linspace(46.8, 47.2, 7))
        height = np.linspace(-400, 8800, lon.size).reshape(lon.shape)
        time, distance = locate(passes.orbit, lon, lat, height)
        points = np.moveaxis(np.asarray(_ecef(lon, lat, height)), 0, -1)
        true_time, true_distance = passes.truth.seen(points)
        # 10 s between state vectors: positions are off by less than a millimetre, times by 0.001 line.
        assert np.abs(time - true_time).max() < 1.5e-6
        assert np.abs(distance - true_distance).max() < 1e-3

    def test_nothing_beyond_the_orbit_nor_on_the_left(self, scene):
        x, y = scene.truth.position(np.array([0.0]))[0][:2]
        left = 2 * np.degrees(np.arctan2(y, x)) - 10.0
        time, distance = locate(scene.orbit, np.array([10.0, left]), np.array([60.0, 47.0]), np.zeros(2))
        assert np.isnan(time).all()
        assert np.isnan(distance).all()

    @pytest.mark.parametrize("change", ["one", "order", "nan", "shape"])
    def test_a_damaged_orbit_is_refused(self, scene, change):
        times, places, speeds = scene.orbit.times, scene.orbit.positions.copy(), scene.orbit.velocities
        if change == "one":
            times, places, speeds = times[:1], places[:1], speeds[:1]
        elif change == "order":
            times = times[::-1]
        elif change == "nan":
            places[3, 1] = np.nan
        else:
            speeds = speeds[1:]
        with pytest.raises(CorruptError):
            Orbit(times, places, speeds)

    def test_a_damaged_grid_is_refused(self, scene):
        for wrong in ({"line_interval": 0.0}, {"times": scene.grid.times[::-1]}, {"slant_origins": np.zeros(3)}):
            with pytest.raises(CorruptError):
                dataclasses.replace(scene.grid, **wrong)


class TestPositions:
    def test_pixels_are_where_the_stand_in_says(self, passes):
        geobox = passes.geobox((70, 150), 20.0)
        height = 1500 + 800 * np.sin(passes.beam(geobox) / 700)
        found = positions(
            passes.orbit, passes.grid, geobox, lambda g: (height.astype(np.float32), np.ones(g.shape, bool))
        )
        time, distance = passes.truth.seen(passes.points(geobox, height.astype(np.float32)))
        line, column = passes.grid.place(time, distance)
        assert np.abs(found.line - line).max() < 1e-3
        assert np.abs(found.sample - column).max() < 1e-3

    def test_ground_between_nodes_is_exact(self, scene):
        geobox = scene.geobox((100, 100), 40.0)
        vectors = np.empty((2, 100, 100, 3))
        found = geocode.view(scene.orbit, ground(geobox), np.full(geobox.shape, 4000.0), vectors)
        assert np.abs(vectors[0] - scene.points(geobox, 4000.0)).max() < 1e-4
        assert np.isfinite(found).all()

    def test_unknown_heights_are_nowhere(self, scene):
        geobox = scene.geobox((6, 7))

        def heights(g):
            known = np.ones(g.shape, bool)
            known[2, 3] = False
            return np.zeros(g.shape, np.float32), known

        found = positions(scene.orbit, scene.grid, geobox, heights)
        assert np.isnan(found.line).sum() == np.isnan(found.sample).sum() == 1
        with pytest.raises(ConfigError, match="do not fit"):
            positions(scene.orbit, scene.grid, geobox, lambda _: heights(scene.geobox((5, 5))))

    def test_the_window_holds_what_is_read(self):
        found = Positions(np.array([[10.2, 14.9]]), np.array([[-1.5, 3.0]]))
        assert found.window((100, 100)) == (slice(8, 18), slice(0, 6))
        assert found.window((100, 100), (2.0, 1.0)) == (slice(6, 20), slice(0, 6))
        assert found.window((8, 100)) is None
        assert Positions(np.full((2, 2), np.nan), np.zeros((2, 2))).window((9, 9)) is None


class TestSample:
    def test_a_position_does_not_know_of_the_others(self):
        """A window whose only positions are whole numbers is no other lattice: 1/6, 2/3, 1/6 per axis, as elsewhere."""
        power = np.zeros((9, 9), np.float32)
        power[4, 4] = 36
        rows, cols = np.mgrid[3:6, 3:6].astype(float)
        alone, _ = sample(power, power >= 0, rows, cols)
        np.testing.assert_allclose(alone, np.outer([1, 4, 1], [1, 4, 1]), rtol=1e-6)
        among, _ = sample(power, power >= 0, np.append(rows, 4.3), np.append(cols, 4.3))
        np.testing.assert_array_equal(among[:9], alone.ravel())

    def test_noise_has_a_flat_variance(self):
        """D104: 15 %; bilinear sampling varies by a factor of four."""
        rng = np.random.default_rng(1)
        power = rng.normal(0, 1, (40, 350, 350)).astype(np.float32)
        rows, cols = np.mgrid[0:300, 0:300] * 1.013 + 10.3
        turned = rows + 0.02 * cols, cols - 0.02 * rows + 8
        known = np.ones(power.shape[1:], bool)
        values = np.stack([sample(one, known, *turned)[0] for one in power])
        local = values.var(axis=0).reshape(10, 30, 10, 30).mean(axis=(1, 3))
        assert np.abs(local / local.mean() - 1).max() < 0.15
        low, high = BSPLINE_NOISE_GAIN
        assert 0.97 * low < local.min()
        assert local.max() < 1.03 * high

    def test_a_plane_comes_back_and_masks_are_kept_out(self):
        rows, cols = np.mgrid[0:50, 0:60]
        plane = (0.5 * rows - 0.25 * cols).astype(np.float32)
        y, x = np.random.default_rng(2).uniform(4, 44, (2, 20, 20))
        out, ok = sample(plane, np.ones(plane.shape, bool), y, x)
        assert ok.all()
        assert np.allclose(out, 0.5 * y - 0.25 * x, atol=1e-5)
        hole = np.ones(plane.shape, bool)
        hole[20:, :] = False
        spoiled = np.where(hole, np.float32(3), np.float32(1e9))
        out, ok = sample(spoiled, hole, y, x)
        assert np.allclose(out[ok], 3)
        assert (ok == (y < 19.5)).mean() > 0.99

    def test_coarser_targets_widen_the_kernel(self):
        rng = np.random.default_rng(3)
        power = rng.normal(0, 1, (300, 300)).astype(np.float32)
        rows, cols = np.mgrid[0:140, 0:140] * 2.0 + 8.37
        out, _ = sample(power, np.ones(power.shape, bool), rows, cols, scale=(2.0, 2.0))
        # The B-spline's gain per axis is 151/315 / 2 at twice the width, wherever it falls.
        assert out.var() == pytest.approx((151 / 315 / 2) ** 2, rel=0.1)

    def test_nowhere_and_far_away_is_missing(self):
        power = np.ones((5, 5), np.float32)
        _, ok = sample(power, power > 0, np.array([[np.nan, 1e12, 2.5]]), np.array([[2.0, 2.0, -3e7]]))
        assert not ok.any()
        with pytest.raises(ConfigError, match="do not fit"):
            sample(power, power[1:] > 0, np.zeros((1, 1)), np.zeros((1, 1)))


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_no_pixel_depends_on_how_the_target_is_cut(scene, data):
    """Positions and values, bit for bit, for any part of a lattice."""
    rows, cols = 150, 170
    top, left = data.draw(st.integers(0, rows - 2)), data.draw(st.integers(0, cols - 2))
    low, right = data.draw(st.integers(top + 1, rows)), data.draw(st.integers(left + 1, cols))
    part = np.s_[top:low, left:right]
    whole_box = scene.geobox((rows, cols), row=13, col=29)
    relief = scene.heights(lambda g: 900 + 500 * np.sin(g / 350))
    whole, cut = (positions(scene.orbit, scene.grid, box, relief) for box in (whole_box, whole_box[part]))
    assert np.array_equal(whole.line[part], cut.line)
    assert np.array_equal(whole.sample[part], cut.sample)
    power = np.random.default_rng(4).gamma(4.4, size=(600, 600)).astype(np.float32)
    origin = (int(whole.line.min()) - 9, int(whole.sample.min()) - 9)
    window = (slice(origin[0], origin[0] + 600), slice(origin[1], origin[1] + 600))
    shifted = Positions(whole.line - origin[0], whole.sample - origin[1])
    image = power
    expected, ok = sample(image, image > 1, shifted.line, shifted.sample)
    mine = cut.inside(window)
    inside = mine.window(image.shape)
    got, got_ok = sample(image[inside], image[inside] > 1, mine.line - inside[0].start, mine.sample - inside[1].start)
    assert np.array_equal(expected[part], got, equal_nan=True)
    assert np.array_equal(ok[part], got_ok)


def tie_points(scene, lines, columns):
    """Tie points of level ground, from the stand-in's geometry."""
    time = scene.grid.first_time + lines * scene.grid.line_interval
    ranges = scene.grid.slant_origins[0] + np.linspace(0, 120e3, 2001)
    _, at = scene.grid.place(np.zeros(ranges.size), ranges)
    t, r = np.meshgrid(time, np.interp(columns, at, ranges), indexing="ij")
    lon, lat, _ = _geodetic(*np.moveaxis(scene.truth.ground(t, r, 0.0), -1, 0))
    return Geolocation(lines, columns, lon, lat, np.zeros(lon.shape))


@pytest.fixture(scope="module")
def ties(scene):
    return tie_points(scene, np.linspace(0, 9000, 7), np.linspace(1000, 19_000, 11))


class TestTiePoints:
    def test_between_them_level_ground_is_found(self, scene, ties):
        lines, columns = np.linspace(200, 8800, 23), np.linspace(1200, 18_800, 31)
        truth = tie_points(scene, lines, columns)
        line, column = gcp_locate(ties, truth.lon, truth.lat)
        rows, cols = np.meshgrid(lines, columns, indexing="ij")
        assert np.abs(line - rows).max() < 0.05
        assert np.abs(column - cols).max() < 0.05

    def test_outside_there_is_nothing(self, ties):
        line, column = gcp_locate(ties, np.array([ties.lon.max() + 1, -170.0, np.nan]), np.array([47.0, 0.0, 47.0]))
        assert np.isnan(line).all()
        assert np.isnan(column).all()

    def test_across_the_antimeridian(self, ties):
        there = dataclasses.replace(ties, lon=(ties.lon + 170.0 + 180) % 360 - 180)
        assert np.ptp(there.lon) > 300
        line, column = gcp_locate(there, there.lon, there.lat)
        assert np.allclose(line, ties.lines[:, None], atol=1e-3)
        assert np.allclose(column, ties.samples, atol=1e-3)

    def test_relief_is_not_seen(self, scene, ties):
        """D47: why this is refused in relief: 500 m high, the pixel is sought 500 m / tan(incidence) aside."""
        t, r = scene.truth.seen(scene.points(scene.geobox((1, 1)), 500.0))
        true = scene.grid.place(t, r)[1].item()
        x, y, z = scene.points(scene.geobox((1, 1)), 0.0).reshape(3)
        lon, lat, _ = _geodetic(x, y, z)
        _, found = gcp_locate(ties, np.array([lon]), np.array([lat]))
        aside = (found[0] - true) * scene.grid.sample_spacing
        assert aside == pytest.approx(500 / np.tan(np.radians(scene.incidence)), rel=0.02)

    def test_too_few_are_refused(self, ties):
        with pytest.raises(CorruptError, match="tie points of 3 lines"):
            Geolocation(ties.lines[:3], ties.samples, ties.lon[:3], ties.lat[:3], ties.height[:3])


def _ecef(lon, lat, height):
    from pyproj import Transformer

    return Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True).transform(lon, lat, height)


def _geodetic(x, y, z):
    from pyproj import Transformer

    return Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True).transform(x, y, z)
