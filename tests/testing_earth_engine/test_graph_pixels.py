"""The evaluator's pixels against closed forms, from expressions that Earth Engine's own client serialises."""

import ee
import numpy as np
import pytest
from ee import apitestcase, serializer
from shapely import box

from m3leo_prep.core.authalic import areas_km2
from m3leo_prep.testing.earth_engine.archive import Scene, SceneBand
from m3leo_prep.testing.earth_engine.evaluation.graph import EarthEngineError, evaluate
from m3leo_prep.testing.earth_engine.evaluation.sampling import Grid, transform_points

UTM = "EPSG:32631"
NEXT = "EPSG:32632"
GRID = Grid(UTM, (10.0, 0.0, 699_960.0, 0.0, -10.0, 5_500_020.0), 48, 40)
DAY = 86_400_000


def ramp(x, y):
    """Return a plane over map coordinates; one pixel of 10 m is 0.3 across and 0.7 down."""
    return 0.03 * (x - 700_000) - 0.07 * (y - 5_500_000)


def band(
    name,
    values,
    *,
    crs=UTM,
    origin=(699_800.0 - 3.7, 5_500_200.0 + 4.1),
    size=10.0,
    shape=(80, 80),
    dtype="float32",
    hole=None,
):
    """Return a band whose values are a function of map coordinates; ``hole`` says where it is masked."""
    transform = (size, 0.0, origin[0], 0.0, -size, origin[1])

    def read(row0, row1, col0, col1):
        assert 0 <= row0 < row1 <= shape[0]
        assert 0 <= col0 < col1 <= shape[1]
        x = origin[0] + size * (np.arange(col0, col1) + 0.5)[None, :]
        y = origin[1] - size * (np.arange(row0, row1) + 0.5)[:, None]
        x, y = np.broadcast_arrays(x, y)
        valid = np.ones(x.shape, bool) if hole is None else ~hole(x, y)
        return np.where(valid, values(x, y), 0).astype(dtype), valid

    return SceneBand(name, dtype, crs, transform, shape, read)


def scene(name, *bands, day=0, **properties):
    """Return an image of a collection."""
    first = bands[0]
    left, top, size = first.transform[2], first.transform[5], first.transform[0]
    x = np.array([left, left + size * first.shape[1]])
    y = np.array([top, top - size * first.shape[0]])
    lon, lat = transform_points(first.crs, "EPSG:4326", x, y)
    index = name.rpartition("/")[2]
    own = {"system:index": index, "system:time_start": day * DAY}
    return Scene(name, box(lon.min(), lat.min(), lon.max(), lat.max()), bands, own | properties)


def number(value, name="VV", **options):
    return band(name, lambda x, y: np.full(x.shape, value), **options)


def west(x, y):
    return x < 700_200


class Shelf:
    """An archive of given scenes."""

    def __init__(self, *scenes):
        self.scenes = scenes

    def image(self, name):
        return next((each for each in self.scenes if each.id == name), None)

    def collection(self, name):
        found = [each for each in self.scenes if each.id.rpartition("/")[0] == name]
        return found or ([] if name == "EMPTY" else None)


@pytest.fixture(autouse=True, scope="module")
def _client():
    case = apitestcase.ApiTestCase()
    kept = ee.data.getAlgorithms, ee.data._install_cloud_api_resource, ee.deprecation._FetchDataCatalogStac
    names = ["computeValue", "getMapId", "getDownloadId", "getThumbId", "getTableDownloadId"]
    others = {name: getattr(ee.data, name) for name in names}
    case.InitializeApi()
    yield
    ee.data.getAlgorithms, ee.data._install_cloud_api_resource, ee.deprecation._FetchDataCatalogStac = kept
    for name, value in others.items():
        setattr(ee.data, name, value)
    ee.Reset()


def run(thing, *scenes):
    return evaluate(serializer.encode(thing, for_cloud_api=True), Shelf(*scenes))


def pixels(thing, *scenes, grid=GRID):
    return run(thing, *scenes).pixels(grid)


RAMP = scene("S/a", band("VV", ramp))
X, Y = GRID.places()
INNER = (slice(None), slice(None))


class TestSampling:
    def test_bilinear_is_exact_on_a_ramp(self):
        values, mask = pixels(ee.Image("S/a").resample("bilinear"), RAMP)["VV"]
        assert mask.all()
        np.testing.assert_allclose(values, ramp(X, Y), atol=1e-4)

    def test_bicubic_is_exact_on_a_ramp_and_a_parabola(self):
        bent = scene("S/a", band("VV", lambda x, y: ((x - 700_000) / 100) ** 2 + (y - 5_500_000) / 50, dtype="float64"))
        values, mask = pixels(ee.Image("S/a").resample("bicubic"), bent)["VV"]
        assert mask.all()
        np.testing.assert_allclose(values, ((X - 700_000) / 100) ** 2 + (Y - 5_500_000) / 50, atol=1e-7, rtol=0)
        rough = pixels(ee.Image("S/a").resample("bilinear"), bent)["VV"][0]
        assert abs(rough - values).max() > 1e-3

    def test_nearest_is_the_default_and_off_by_the_shift_of_the_scene(self):
        values, _ = pixels(ee.Image("S/a"), RAMP)["VV"]
        # The scene lies 3.7 m to the west and 4.1 m to the north of the grid's own pixels.
        np.testing.assert_allclose(values, ramp(X - 3.7, Y + 4.1), atol=1e-4)

    @pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
    def test_of_the_neighbouring_zone_positions_are_exact(self, mode):
        lon, lat = transform_points(UTM, NEXT, X[:1, :1].copy(), Y[:1, :1].copy())
        near = scene(
            "S/a",
            band(
                "VV",
                lambda x, y: 0.03 * (x - lon) - 0.07 * (y - lat),
                crs=NEXT,
                origin=(float(lon[0, 0]) - 203.7, float(lat[0, 0]) + 104.1),
                shape=(90, 90),
                dtype="float64",
            ),
        )
        image = ee.Image("S/a") if mode == "nearest" else ee.Image("S/a").resample(mode)
        values, mask = pixels(image, near)["VV"]
        x, y = transform_points(UTM, NEXT, X.copy(), Y.copy())
        truth = 0.03 * (x - lon) - 0.07 * (y - lat)
        assert mask.all()
        error = abs(values - truth).max()
        assert error < 1e-5 if mode != "nearest" else 0.3 < error < 0.51

    @pytest.mark.parametrize("mode", ["nearest", "bilinear"])
    def test_pieces_equal_the_whole_bit_for_bit(self, mode):
        degrees = Grid("EPSG:4326", (1 / 9000, 0.0, 5.771, 0.0, -1 / 9000, 49.622), 70, 60)
        source = scene(
            "S/a", band("VV", ramp, size=9.0, shape=(300, 300), dtype="float64", origin=(699_300.0, 5_500_900.0))
        )
        image = ee.Image("S/a") if mode == "nearest" else ee.Image("S/a").resample(mode)
        whole, _ = pixels(image, source, grid=degrees)["VV"]
        for row, col in ((0, 0), (13, 17), (31, 5)):
            a, _, c, _, e, f = degrees.transform
            part = Grid("EPSG:4326", (a, 0.0, c + a * col, 0.0, e, f + e * row), 20, 21)
            values, _ = pixels(image, source, grid=part)["VV"]
            np.testing.assert_array_equal(values, whole[row : row + 21, col : col + 20])
        assert len(np.unique(whole)) > 1000

    def test_strips_equal_the_whole(self, monkeypatch):
        image = ee.Image("S/a").resample("bilinear")
        whole, _ = pixels(image, RAMP)["VV"]
        monkeypatch.setattr("m3leo_prep.testing.earth_engine.evaluation.image._STRIP_PIXELS", 100)
        np.testing.assert_array_equal(pixels(image, RAMP)["VV"][0], whole)

    def test_arithmetic_before_resample_is_done_in_the_source_pixels(self):
        fine = scene("S/a", band("VV", ramp, dtype="float64"))
        square = ee.Image("S/a").multiply(ee.Image("S/a")).resample("bilinear")
        after = ee.Image("S/a").resample("bilinear").multiply(ee.Image("S/a").resample("bilinear"))
        one, two = (pixels(each, fine)["VV"][0] for each in (square, after))
        # Interpolated squares lie above the square of what is interpolated, by w (1 - w) step^2 along each axis.
        np.testing.assert_allclose(one - two, (0.37 * 0.63 * 0.3**2 + 0.41 * 0.59 * 0.7**2), atol=1e-4)

    def test_resample_survives_select_and_update_mask(self):
        image = (
            ee.Image("S/a").updateMask(ee.Image("S/a").gt(-1e6)).select("VV").resample("bilinear").rename("x").add(1)
        )
        np.testing.assert_allclose(pixels(image, RAMP)["x"][0], ramp(X, Y) + 1, atol=1e-4)

    def test_on_a_composite_resample_has_no_effect(self):
        late = ee.ImageCollection("S").mean().resample("bilinear")
        early = ee.ImageCollection("S").map(lambda image: image.resample("bilinear")).mean()
        np.testing.assert_array_equal(
            pixels(late, RAMP)["VV"][0], pixels(ee.ImageCollection("S").mean(), RAMP)["VV"][0]
        )
        np.testing.assert_allclose(pixels(late, RAMP)["VV"][0], ramp(X - 3.7, Y + 4.1), atol=1e-4)
        np.testing.assert_allclose(pixels(early, RAMP)["VV"][0], ramp(X, Y), atol=1e-4)

    def test_a_point_target_of_five_shifted_scenes_stays_in_place_only_with_bilinear(self):
        spot = (700_203.0, 5_499_817.0)

        def blob(x, y):
            return np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 15.0**2))

        shifts = [(0.9, 1.4), (2.3, 2.8), (3.7, 4.1), (4.4, 3.2), (1.2, 4.6)]
        scenes = [
            scene(f"S/{n}", band("VV", blob, origin=(699_800 - e, 5_500_200 + n_)), day=n)
            for n, (e, n_) in enumerate(shifts)
        ]
        off = {}
        for mode in ("nearest", "bilinear"):
            images = ee.ImageCollection("S")
            images = images.map(lambda image: image.resample("bilinear")) if mode == "bilinear" else images
            values, _ = pixels(images.mean(), *scenes)["VV"]
            centre = [(values * axis).sum() / values.sum() for axis in (X, Y)]
            off[mode] = max(abs(centre[0] - spot[0]), abs(centre[1] - spot[1])) / 10
        assert off["bilinear"] < 0.02
        assert off["nearest"] > 0.2

    def test_a_request_twice_as_coarse_is_refused_loudly(self):
        coarse = Grid(UTM, (20.0, 0.0, 699_960.0, 0.0, -20.0, 5_500_020.0), 10, 10)
        for image in (ee.Image("S/a"), ee.Image("S/a").resample("bilinear"), ee.ImageCollection("S").mean()):
            with pytest.raises(EarthEngineError, match=r"stand-in: .*2 times its own"):
                pixels(image, RAMP, grid=coarse)
        almost = Grid(UTM, (19.0, 0.0, 699_960.0, 0.0, -19.0, 5_500_020.0), 10, 10)
        assert pixels(ee.Image("S/a"), RAMP, grid=almost)["VV"][1].all()
        fine = Grid(UTM, (1.0, 0.0, 699_960.0, 0.0, -1.0, 5_500_020.0), 10, 10)
        assert pixels(ee.Image("S/a"), RAMP, grid=fine)["VV"][1].all()

    def test_reproject_gives_the_lattices_pixels(self):
        image = ee.Image("S/a").resample("bilinear").reproject(UTM, [10, 0, 699_965, 0, -10, 5_500_025])
        values, _ = pixels(image, RAMP)["VV"]
        np.testing.assert_allclose(values, ramp(X + 5, Y - 5), atol=1e-4)

    def test_outside_a_scene_all_is_masked_and_zero(self):
        far = Grid(UTM, (10.0, 0.0, 600_000.0, 0.0, -10.0, 5_500_020.0), 8, 6)
        for image in (ee.Image("S/a"), ee.Image("S/a").resample("bicubic")):
            values, mask = pixels(image, RAMP, grid=far)["VV"]
            assert values.shape == mask.shape == (6, 8)
            assert not mask.any()
            assert not values.any()


class TestMasks:
    def test_at_a_hole_a_bilinear_mask_is_the_weight_of_the_valid_neighbours(self):
        holed = scene("S/a", band("VV", ramp, hole=west))
        values, mask = pixels(ee.Image("S/a").resample("bilinear"), holed)["VV"]
        # The scene's pixels are centred on 699801.3 + 10 k: 700191.3 is the last masked, 700201.3 the first valid.
        column = int(np.flatnonzero(X[0] == 700_195.0)[0])
        np.testing.assert_allclose(mask[:, column], 0.37, atol=1e-6)
        assert (mask[:, column - 1] == 0).all()
        assert (mask[:, column + 1] == 1).all()
        np.testing.assert_allclose(values[:, column], ramp(700_201.3, Y[:, column]), atol=1e-4)
        assert (values[:, :column] == 0).all()

    def test_a_mean_weighs_by_the_mask(self):
        scenes = scene("S/a", number(10.0, hole=west)), scene("S/b", number(20.0), day=1)
        images = ee.ImageCollection("S").map(lambda image: image.resample("bilinear"))
        values, mask = pixels(images.mean(), *scenes)["VV"]
        column = int(np.flatnonzero(X[0] == 700_195.0)[0])
        np.testing.assert_allclose(values[0, column - 1 : column + 2], [20, (0.37 * 10 + 20) / 1.37, 15], atol=1e-5)
        assert (mask == 1).all()
        flat = pixels(images.reduce(ee.Reducer.mean().unweighted()), *scenes)["VV_mean"][0]
        np.testing.assert_allclose(flat[0, column - 1 : column + 2], [20, 15, 15], atol=1e-5)

    def test_masks_are_per_band_and_meet_in_arithmetic(self):
        both = scene("S/a", number(1.0, "A", hole=west), number(2.0, "B", hole=lambda x, y: ~west(x, y)))
        image = ee.Image("S/a")
        found = pixels(image.addBands(image.select("A").add(image.select("B")).rename("C")), both)
        assert (found["A"][1] ^ found["B"][1]).all()
        assert not found["C"][1].any()

    def test_update_mask_unmask_and_self_mask(self):
        one = scene("S/a", number(7.0, hole=west))
        shown = ee.Image("S/a").updateMask(ee.Image.pixelLonLat().select("latitude").gt(49.6185))
        lat = transform_points(UTM, "EPSG:4326", X.copy(), Y.copy())[1]
        values, mask = pixels(shown, one)["VV"]
        # Nearest: a centre belongs to the scene's pixel whose centre is 3.7 m to the west.
        expected = (lat > 49.6185) & (X - 3.7 >= 700_200)
        np.testing.assert_array_equal(mask > 0, expected)
        assert 0 < expected.sum() < expected.size
        values, mask = pixels(shown.unmask(-9999, False), one)["VV"]
        assert mask.all()
        np.testing.assert_array_equal(values, np.where(expected, 7, -9999))
        assert not pixels(ee.Image("S/a").subtract(7).selfMask(), one)["VV"][1].any()

    def test_unmask_reaches_beyond_the_footprint_only_when_told(self):
        small = scene("S/a", number(7.0, shape=(25, 30)))
        beyond, mask = pixels(ee.Image("S/a").unmask(-1, False), small)["VV"]
        assert mask.all()
        assert set(np.unique(beyond)) == {-1, 7}
        _, within = pixels(ee.Image("S/a").unmask(-1), small)["VV"]
        assert 0 < within.sum() < within.size
        assert not within[-1].any()

    def test_masked_values_come_as_zero(self):
        values, mask = pixels(ee.Image("S/a").updateMask(ee.Image("S/a").gt(0)), RAMP)["VV"]
        assert 0 < mask.sum() < mask.size
        assert (values[~mask] == 0).all()
        assert (values[mask] > 0).all()

    def test_a_fraction_and_a_whole_mask_meet_in_the_fraction(self):
        holed = scene("S/a", band("VV", ramp, hole=west))
        one = ee.Image("S/a").resample("bilinear")
        alone, met = (pixels(image, holed)["VV"][1] for image in (one, one.add(1)))
        np.testing.assert_array_equal(alone, met)
        assert 0 < alone[0, 23] < 1

    def test_mask_gives_the_masks_as_numbers(self):
        values, mask = pixels(ee.Image("S/a").mask(), scene("S/a", number(7.0, hole=west)))["VV"]
        assert mask.all()
        np.testing.assert_array_equal(values == 1, X - 3.7 >= 700_200)

    def test_clip_keeps_the_centres_inside(self):
        shape = ee.Geometry.Rectangle([700_000, 5_499_700, 700_100, 5_499_900], UTM, False)
        _, mask = pixels(ee.Image("S/a").clip(shape), RAMP)["VV"]
        np.testing.assert_array_equal(mask, (X > 700_000) & (X < 700_100) & (Y > 5_499_700) & (Y < 5_499_900))
        whole = pixels(ee.Image("S/a").clip(ee.Geometry.BBox(-180, -90, 180, 90)), RAMP)["VV"][1]
        assert whole.all()

    def test_where_leaves_what_is_masked(self):
        one = scene("S/a", number(7.0, hole=west))
        values, mask = pixels(ee.Image("S/a").where(ee.Image("S/a").eq(7), 3.5), one)["VV"]
        assert set(np.unique(values[mask])) == {3.5}
        np.testing.assert_array_equal(mask, X - 3.7 >= 700_200)


class TestComposites:
    def test_mosaic_has_the_last_on_top_and_fills_its_holes(self):
        scenes = scene("S/a", number(1.0)), scene("S/b", number(2.0, hole=west), day=1)
        values, mask = pixels(ee.ImageCollection("S").mosaic(), *scenes)["VV"]
        assert mask.all()
        np.testing.assert_array_equal(values, np.where(X - 3.7 < 700_200, 1, 2))
        turned = ee.ImageCollection("S").sort("system:time_start", False).mosaic()
        assert (pixels(turned, *scenes)["VV"][0] == 1).all()

    def test_statistics_of_three_with_a_hole(self):
        scenes = [
            scene("S/a", number(1.0)),
            scene("S/b", number(2.0, hole=west), day=1),
            scene("S/c", number(6.0), day=2),
        ]
        images = ee.ImageCollection("S")
        left, right = (0, 0), (0, -1)
        for made, expected in (
            (images.mean(), (3.5, 3.0)),
            (images.median(), (3.5, 2.0)),
            (images.min(), (1, 1)),
            (images.max(), (6, 6)),
            (images.sum(), (7, 9)),
            (images.count(), (2, 3)),
        ):
            values, mask = pixels(made, *scenes)["VV"]
            assert mask.all()
            assert (values[left], values[right]) == expected
        many = images.reduce(ee.Reducer.percentile([0, 25, 100]).combine(ee.Reducer.count(), sharedInputs=True))
        found = pixels(many, *scenes)
        assert list(found) == ["VV_p0", "VV_p25", "VV_p100", "VV_count"]
        assert [found[name][0][right] for name in found] == [1, 1.5, 6, 3]
        assert pixels(images.reduce(ee.Reducer.first()), *scenes)["VV_first"][0][right] == 1

    def test_where_no_image_has_data_a_composite_is_masked(self):
        scenes = scene("S/a", number(1.0, hole=west)), scene("S/b", number(2.0, hole=west), day=1)
        images = ee.ImageCollection("S")
        for made in (images.mean(), images.median(), images.mosaic(), images.count(), images.max()):
            values, mask = pixels(made, *scenes)["VV"]
            np.testing.assert_array_equal(mask > 0, X - 3.7 >= 700_200)
            assert not values[mask == 0].any()

    def test_slices_of_one_pass_count_once_when_mosaicked_first(self):
        scenes = [
            scene("S/a", number(1.0, shape=(45, 80))),
            scene("S/b", number(1.0)),
            scene("S/c", number(4.0), day=5),
        ]
        images = ee.ImageCollection("S")
        passes = [
            images.filterDate("1970-01-01", "1970-01-02").mosaic(),
            images.filterDate("1970-01-06", "1970-01-07").mosaic(),
        ]
        np.testing.assert_array_equal(pixels(ee.ImageCollection(passes).mean(), *scenes)["VV"][0], 2.5)
        assert pixels(images.mean(), *scenes)["VV"][0][0, 0] == 2.0

    def test_bands_are_matched_by_name(self):
        scenes = scene("S/a", number(1.0), number(5.0, "VH")), scene("S/b", number(3.0), day=1)
        found = pixels(ee.ImageCollection("S").mean(), *scenes)
        assert [found[name][0][0, 0] for name in ("VV", "VH")] == [2, 5]

    def test_an_empty_collection_has_no_bands(self):
        for made in (
            ee.ImageCollection("EMPTY").mean(),
            ee.ImageCollection("EMPTY").mosaic(),
            ee.ImageCollection("EMPTY").reduce(ee.Reducer.median()),
        ):
            assert run(made).bands == {}
            with pytest.raises(EarthEngineError) as raised:
                run(made.select("VV"))
            assert str(raised.value) == "Image.select: Band pattern 'VV' did not match any bands. Available bands: []"

    def test_a_shared_image_is_read_once(self):
        reads = []
        plain = number(3.0)

        def read(*window):
            reads.append(window)
            return plain.read(*window)

        counted = SceneBand(plain.name, plain.dtype, plain.crs, plain.transform, plain.shape, read)
        image = ee.Image("S/a")
        pixels(image.add(image).multiply(image).addBands(image.gt(1)), scene("S/a", counted))
        assert len(reads) == 1
        reads.clear()
        pixels(
            ee.ImageCollection("S").map(lambda each: each.updateMask(each.gt(0)).addBands(each.add(1))).mean(),
            scene("S/a", counted),
        )
        assert len(reads) == 1


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "kind", "expected"),
        [
            (300.7, "toUint8", 255),
            (-3.0, "toUint8", 0),
            (1.7, "toUint8", 1),
            (-1.7, "toInt16", -1),
            (70_000.0, "toInt16", 32767),
            (70_000.0, "toUint16", 65535),
            (-1e12, "toInt32", -(2**31)),
            (1e12, "int8", 127),
            (2.5, "toFloat", 2.5),
            (9.9, "short", 9),
            (9.9, "toByte", 9),
            (9.9, "toDouble", 9.9),
        ],
    )
    def test_casts_saturate_and_cut_decimals_off(self, value, kind, expected):
        one = scene("S/a", number(value, dtype="float64"))
        image = getattr(ee.Image("S/a"), kind)()
        values, _ = pixels(image, one)["VV"]
        assert values.dtype == run(image, one).bands["VV"].dtype
        assert values[0, 0] == expected

    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            (lambda i: i.add(2), 9),
            (lambda i: i.subtract(8), -1),
            (lambda i: i.multiply(0.5), 3.5),
            (lambda i: i.divide(2), 3.5),
            (lambda i: i.divide(0), 0),
            (lambda i: i.mod(4), 3),
            (lambda i: i.pow(2), 49),
            (lambda i: i.gt(6), 1),
            (lambda i: i.lte(6), 0),
            (lambda i: i.eq(7).And(i.neq(7)), 0),
            (lambda i: i.eq(7).Or(0), 1),
            (lambda i: i.Not(), 0),
            (lambda i: i.bitwiseAnd(1 << 2), 4),
            (lambda i: i.bitwiseOr(8), 15),
            (lambda i: i.rightShift(1), 3),
            (lambda i: i.leftShift(1), 14),
            (lambda i: i.max(9), 9),
            (lambda i: i.min(9), 7),
            (lambda i: i.multiply(-1).abs(), 7),
            (lambda i: i.log10(), np.log10(7)),
            (lambda i: i.log().exp(), 7),
            (lambda i: i.sqrt().pow(2), 7),
            (lambda i: i.divide(2).round(), 4),
            (lambda i: i.divide(2).floor(), 3),
            (lambda i: i.clamp(1, 5), 5),
            (lambda i: i.unitScale(5, 9), 0.5),
            (lambda i: i.remap([6, 7], [1, 42]), 42),
            (lambda i: i.remap([6], [1], 9), 9),
            (lambda i: i.metadata("orbit"), 88),
            (lambda i: i.multiply(65_535), 458_745),
        ],
    )
    def test_operators(self, expression, expected):
        one = scene("S/a", number(7, dtype="uint16"), orbit=88)
        ((values, mask),) = pixels(expression(ee.Image("S/a")), one).values()
        assert mask.all()
        np.testing.assert_allclose(values[0, 0], expected, rtol=1e-6)

    def test_a_log_of_nothing_is_masked(self):
        one = scene("S/a", number(0.0))
        for image in (ee.Image("S/a").log10(), ee.Image("S/a").subtract(1).sqrt(), ee.Image("S/a").pow(-1)):
            assert not pixels(image, one)["VV"][1].any()

    def test_normalised_difference(self):
        one = scene(
            "S/a", number(6, "B8", dtype="uint16"), number(2, "B4", dtype="uint16"), number(-1, "N", dtype="int16")
        )
        assert pixels(ee.Image("S/a").normalizedDifference(["B8", "B4"]), one)["nd"][0][0, 0] == 0.5
        assert not pixels(ee.Image("S/a").normalizedDifference(["B8", "N"]), one)["nd"][1].any()

    def test_image_reduce_is_over_bands(self):
        one = scene("S/a", number(6, "B8", dtype="uint16"), number(2, "B4", dtype="uint16", hole=west))
        values, _ = pixels(ee.Image("S/a").reduce(ee.Reducer.mean()), one)["mean"]
        assert (values[0, 0], values[0, -1]) == (6, 4)

    def test_pixel_lon_lat_and_area(self):
        lon, lat = transform_points(UTM, "EPSG:4326", X.copy(), Y.copy())
        found = pixels(ee.Image.pixelLonLat().addBands(ee.Image.pixelArea()))
        np.testing.assert_array_equal(found["longitude"][0], lon)
        np.testing.assert_array_equal(found["latitude"][0], lat)
        corners = np.array(
            [
                [X[0, 0] - 5, Y[0, 0] + 5],
                [X[0, 0] + 5, Y[0, 0] + 5],
                [X[0, 0] + 5, Y[0, 0] - 5],
                [X[0, 0] - 5, Y[0, 0] - 5],
            ]
        )
        ring = np.column_stack(transform_points(UTM, "EPSG:4326", corners[:, 0].copy(), corners[:, 1].copy()))
        from shapely import Polygon

        np.testing.assert_allclose(found["area"][0][0, 0], areas_km2([Polygon(ring)])[0] * 1e6, rtol=1e-7)
        assert 99 < found["area"][0][0, 0] < 101


class TestJoins:
    SCENES = (
        scene("S/a", number(1.0, "B4")),
        scene("S/b", number(2.0, "B4"), day=1),
        scene("C/a", number(0.9, "cs")),
    )

    def test_save_first_by_equality(self):
        same = ee.Filter.equals(leftField="system:index", rightField="system:index")
        joined = ee.ImageCollection(
            ee.Join.saveFirst("score").apply(ee.ImageCollection("S"), ee.ImageCollection("C"), same)
        )
        assert run(joined.aggregate_array("system:index"), *self.SCENES) == ["a"]
        masked = joined.map(lambda image: image.updateMask(ee.Image(image.get("score")).gte(0.95)))
        assert not pixels(masked.mean(), *self.SCENES)["B4"][1].any()
        kept = joined.map(lambda image: image.updateMask(ee.Image(image.get("score")).gte(0.6)))
        assert pixels(kept.mean(), *self.SCENES)["B4"][1].all()

    def test_link_collection_masks_what_has_no_match(self):
        linked = ee.ImageCollection("S").linkCollection(ee.ImageCollection("C"), ["cs"])
        first, second = run(linked, *self.SCENES).items
        assert list(first.bands) == list(second.bands) == ["B4", "cs"]
        assert first.pixels(GRID)["cs"][1].all()
        assert not second.pixels(GRID)["cs"][1].any()
        assert second.pixels(GRID)["B4"][1].all()
