"""Warping against closed forms: truth comes from PROJ, shapely and numpy, never from the kernels."""

import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from m3leo_prep.core.errors import ConfigError, TooLarge
from m3leo_prep.ops import warp as module
from m3leo_prep.ops.warp import BSPLINE_NOISE_GAIN, QUADRATURE, VERSIONS, Method, coordinate_operation, warp

# odc-geo multiplies affines with the operator that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM32, UTM33, LONLAT = "EPSG:32632", "EPSG:32633", "EPSG:4326"
SINUSOIDAL = "+proj=sinu +lon_0=0 +R=6371007.181 +units=m +type=crs"
MOLLWEIDE = "ESRI:54009"


def grid(crs, x, y, pitch, shape):
    return GeoBox(shape, Affine(pitch, 0, x, 0, -pitch, y), crs)


def points(affine, cols, rows):
    """Map coordinates of pixel positions."""
    return affine.a * cols + affine.b * rows + affine.c, affine.d * cols + affine.e * rows + affine.f


def chip(x=680_000.0, y=5_600_000.0, pitch=10.0, size=448, crs=UTM32):
    return grid(crs, x, y, pitch, (size, size))


def around(dst, crs, pitch_x, pitch_y=None, *, margin=12, shift=0.0):
    """A source grid in ``crs`` that covers ``dst``, on multiples of its pitch plus ``shift`` pixels."""
    pitch_y = pitch_y or pitch_x
    cols, rows = np.meshgrid(np.linspace(0, dst.shape[1], 30), np.linspace(0, dst.shape[0], 30))
    x, y = Transformer.from_crs(dst.crs, crs, always_xy=True).transform(*points(dst.affine, cols, rows))
    left, top = np.floor(x.min() / pitch_x) - margin, np.ceil(y.max() / pitch_y) + margin
    shape = int(np.ptp(y) / pitch_y) + 2 * margin + 2, int(np.ptp(x) / pitch_x) + 2 * margin + 2
    return GeoBox(shape, Affine(pitch_x, 0, (left + shift) * pitch_x, 0, -pitch_y, (top + shift) * pitch_y), crs)


def exact(src, dst):
    """Source column and row of every target centre, (2, Y, X)."""
    cols, rows = np.meshgrid(np.arange(dst.shape[1]) + 0.5, np.arange(dst.shape[0]) + 0.5)
    x, y = Transformer.from_crs(dst.crs, src.crs, always_xy=True).transform(*points(dst.affine, cols, rows))
    return np.stack(points(~src.affine, x, y))


def ramps(src):
    rows, cols = np.mgrid[: src.shape[0], : src.shape[1]] + 0.5
    return np.stack([cols, rows])


def sure(data):
    return np.ones(data.shape, bool)


def noise(src, bands=1, seed=0):
    return np.random.default_rng(seed).normal(5, 1, (bands, *src.shape)).astype(np.float32)


def case(method, src, seed=0):
    """Data, validity with holes, and keywords that suit ``method``."""
    rng = np.random.default_rng(seed)
    valid = rng.random((2, *src.shape)) > 0.1
    rows, cols = np.mgrid[: src.shape[0], : src.shape[1]]
    if method in {Method.mode, Method.bitor, Method.nearest}:
        data = rng.integers(0, 7, valid.shape).astype(np.uint8)
    elif method is Method.complex:
        data = np.angle(np.exp(1j * rng.normal(0.05 * cols, 0.3, valid.shape))).astype(np.float32)
    elif method is Method.angle:
        data = (rng.normal(0, 20, valid.shape) % 360).astype(np.float32)
    else:
        data = rng.gamma(4, 1, valid.shape).astype(np.float32)
    keywords = {"components": (cols // 20 + rows // 30)} if method is Method.component else {}
    if method in QUADRATURE:
        keywords["correlation"] = 0.3
    return data, valid, keywords


def needed(method, shape):
    """Keywords without which ``method`` refuses."""
    if method in QUADRATURE:
        return {"correlation": 0.3}
    return {"components": np.ones(shape, int)} if method is Method.component else {}


def check_equal(a, b):
    assert a[0].dtype == b[0].dtype
    assert a[0].tobytes() == b[0].tobytes()
    assert np.array_equal(a[1], b[1])


# --- position --------------------------------------------------------------------------------------------

SECOND = 1 / 3600
POSITIONS = {
    "utm from its neighbour": (chip(), UTM33, 10.0, 10.0),
    "utm at the zone's edge, 80 N": (chip(545_000, 8_880_000), UTM33, 10.0, 10.0),
    "0.3 arcsec, equator": (chip(832_000, 4480), LONLAT, 0.3 * SECOND, 0.3 * SECOND),
    "0.3 arcsec, 45 N": (chip(734_720, 4_990_000), LONLAT, 0.3 * SECOND, 0.3 * SECOND),
    "0.3 arcsec, 84 N": (chip(530_000, 9_320_000), LONLAT, 0.3 * SECOND, 0.3 * SECOND),
    "1 arcsec, 60 N, wide pixels": (chip(660_000, 6_660_000, 20, 224), LONLAT, 2 * SECOND, SECOND),
    "3 arcsec, 80 N": (chip(540_000, 8_880_000, 80, 448), LONLAT, 3 * SECOND, 3 * SECOND),
    "3 arcsec, 84 N": (chip(530_000, 9_320_000, 80, 224), LONLAT, 3 * SECOND, 3 * SECOND),
    "sinusoidal": (chip(690_000, 7_000_000, 140, 128), SINUSOIDAL, 231.656358, 231.656358),
    "mollweide": (chip(690_000, 7_000_000, 10), MOLLWEIDE, 100.0, 100.0),
    "southern zone": (chip(700_000, 6_500_000, crs="EPSG:32733"), "EPSG:32734", 10.0, 10.0),
}


@pytest.mark.parametrize("name", POSITIONS)
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_a_ramp_lands_where_proj_says(name, shift):
    dst, crs, pitch_x, pitch_y = POSITIONS[name]
    src = around(dst, crs, pitch_x, pitch_y, shift=shift)
    data = ramps(src)
    out, valid = warp(data, sure(data), src, dst, Method.bilinear)
    assert valid.all()
    assert np.abs(out - exact(src, dst)).max() < 1e-4


def test_row_direction_and_rotation_do_not_move_anything():
    dst = chip(size=100)
    north = around(dst, UTM33, 10.0)
    south = GeoBox(
        north.shape,
        Affine(10, 0, north.affine.c, 0, 10, north.affine.f - 10 * north.shape[0]),
        north.crs,
    )
    turned = GeoBox(
        (400, 400),
        Affine(
            10 * np.cos(0.5),
            10 * np.sin(0.5),
            north.affine.c - 500,
            10 * np.sin(0.5),
            -10 * np.cos(0.5),
            north.affine.f - 1000,
        ),
        UTM33,
    )
    for src in (north, south, turned):
        data = ramps(src)
        out, valid = warp(data, sure(data), src, dst, Method.bilinear)
        truth = exact(src, dst)
        inside = ((truth > 1) & (truth < np.array(src.shape)[::-1, None, None] - 1)).all(0)
        assert inside.mean() > 0.3
        assert valid[:, inside].all()
        assert np.abs(out - truth)[:, inside].max() < 1e-4


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("down", [-1, 1])
def test_a_delta_lands_at_its_pixel_centre(shift, down):
    """Corner- and centre-registered, ascending and descending: the centroid of one bright pixel (D12)."""
    pitch = 3 * SECOND
    src = GeoBox((40, 40), Affine(pitch, 0, 10.0 + shift * pitch, 0, down * pitch, 50.0 + shift * pitch), LONLAT)
    data = np.zeros((1, 40, 40), np.float32)
    data[0, 21, 17] = 1
    lon, lat = points(src.affine, 17.5, 21.5)
    x, y = Transformer.from_crs(LONLAT, UTM32, always_xy=True).transform(lon, lat)
    dst = grid(UTM32, np.round(x, -1) - 600, np.round(y, -1) + 600, 4.0, (300, 300))
    out, _ = warp(data, sure(data), src, dst, Method.bspline)
    rows, cols = np.mgrid[:300, :300] + 0.5
    centre = np.array([(out[0] * cols).sum(), (out[0] * rows).sum()]) / out[0].sum()
    assert np.abs(centre - np.array(points(~dst.affine, x, y))).max() * 4.0 / 92 < 0.01


def test_a_source_across_the_antimeridian():
    dst = grid("EPSG:32701", 180_000, 8_100_000, 80.0, (100, 400))
    lon, _ = Transformer.from_crs(dst.crs, LONLAT, always_xy=True).transform(*points(dst.affine, np.r_[0, 400], 50))
    assert lon.prod() < 0
    for left in (179.0, -181.0):
        src = GeoBox((500, 2400), Affine(SECOND * 3, 0, left, 0, -SECOND * 3, -17.0), LONLAT)
        data = ramps(src)
        out, valid = warp(data, sure(data), src, dst, Method.bilinear)
        truth = exact(src, dst)
        truth[0] = (truth[0] + 180 * 1200) % (360 * 1200) - 180 * 1200
        assert valid.all()
        assert np.abs(out - truth).max() < 1e-4


def test_what_lies_elsewhere_is_missing_not_zero():
    src = grid(UTM32, 300_000, 5_000_000, 10.0, (50, 50))
    data = np.ones((1, 50, 50), np.float32)
    out, valid = warp(data, sure(data), src, chip(), Method.bilinear)
    assert not valid.any()
    assert np.isnan(out).all()
    out, valid = warp(data.astype(np.uint8), sure(data), src, chip(), Method.nearest)
    assert not valid.any()


def test_the_operation_is_named_and_needs_no_grid():
    assert coordinate_operation(UTM33, UTM32).endswith("zone=33 ellps=WGS84")
    assert "grids" not in coordinate_operation("EPSG:4267", "EPSG:32618")
    assert coordinate_operation(UTM32, UTM32).startswith("identity")


# --- the same bits ---------------------------------------------------------------------------------------

PAIRS = {
    "utm": (chip(size=200), UTM33, 10.0),
    "lonlat": (chip(540_000, 8_880_000, 80.0, 120), LONLAT, 3 * SECOND),
    "coarser": (chip(pitch=40.0, size=90), UTM33, 10.0),
    "finer": (chip(size=150), LONLAT, 3 * SECOND),
}


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("pair", PAIRS)
def test_blocks_crops_and_threads_give_the_same_bits(method, pair):
    dst, crs, pitch = PAIRS[pair]
    src = around(dst, crs, pitch, margin=40)
    data, valid, keywords = case(method, src)
    whole = warp(data, valid, src, dst, method, **keywords)
    assert whole[1].mean() > 0.05

    def part(rows, cols):
        return warp(data, valid, src, dst[rows, cols], method, **keywords)

    cuts = [0, 37, 64, 65, dst.shape[0]]
    pieces = [slice(a, b) for a, b in itertools.pairwise(cuts)]
    with ThreadPoolExecutor(4) as pool:
        futures = {(r.start, c.start): pool.submit(part, r, c) for r in pieces for c in pieces}
        joined = [
            np.concatenate(
                [np.concatenate([futures[r.start, c.start].result()[k] for c in pieces], 2) for r in pieces], 1
            )
            for k in (0, 1)
        ]
    check_equal(whole, joined)

    top, left, low, right = 19, 23, 21, 17
    crop = np.s_[top : src.shape[0] - low, left : src.shape[1] - right]
    cropped = {k: v[crop] if k == "components" else v for k, v in keywords.items()}
    check_equal(whole, warp(data[:, *crop], valid[:, *crop], src[crop], dst, method, **cropped))


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_identity_keeps_every_bit(method, dtype):
    if np.dtype(dtype).kind == "f" and method in {Method.mode, Method.bitor}:
        pytest.skip("codes are integers")
    src = chip(size=60)
    rng = np.random.default_rng(1)
    data = rng.integers(0, 200, (2, 60, 60)).astype(dtype) + np.array(0.3 if dtype == np.float32 else 0).astype(dtype)
    valid = rng.random(data.shape) > 0.2
    keywords = needed(method, (60, 60))
    for dst, rows, cols in (
        (src, slice(0, 60), slice(0, 60)),
        (src[7:40, 3:50], slice(7, 40), slice(3, 50)),
        (src.pad(5), slice(0, 60), slice(0, 60)),
    ):
        out, ok = warp(data, valid, src, dst, method, **keywords)
        assert out.dtype == data.dtype
        if dst.shape != src.shape and dst.shape[0] > 60:
            assert ok.sum() == valid.sum()
            out, ok = out[:, 5:-5, 5:-5], ok[:, 5:-5, 5:-5]
        assert np.array_equal(ok, valid[:, rows, cols])
        assert np.array_equal(out[ok], data[:, rows, cols][ok])
    south = GeoBox((60, 60), Affine(10, 0, src.affine.c, 0, 10, src.affine.f - 600), UTM32)
    out, ok = warp(data[:, ::-1], valid[:, ::-1], south, src, method, **keywords)
    assert np.array_equal(ok, valid)
    assert np.array_equal(out[ok], data[ok])


@pytest.mark.parametrize("crs", [UTM32, LONLAT])
def test_nearest_at_a_whole_multiple_is_replication(crs):
    pitch, x, y = (100.0, 680_000.0, 5_600_000.0) if crs == UTM32 else (SECOND, 9.5, 50.25)
    src = grid(crs, x, y, pitch, (30, 40))
    data = np.arange(1200, dtype=np.uint16).reshape(1, 30, 40)
    for factor in (2, 5, 10):
        dst = grid(crs, x, y, pitch / factor, (30 * factor, 40 * factor))
        out, valid = warp(data, sure(data), src, dst, Method.nearest)
        assert valid.all()
        assert np.array_equal(out[0], np.kron(data[0], np.ones((factor, factor), np.uint16)))


GOLDEN = {
    Method.nearest: (1, "0251f148b4abdd74"),
    Method.bilinear: (1, "6b955f41a240b151"),
    Method.cubic: (1, "a84bce78066b2945"),
    Method.bspline: (1, "55f465b910ac8f10"),
    Method.average: (1, "a5762df2bb462ca0"),
    Method.mode: (1, "d27c41a8688f97a6"),
    Method.sum: (1, "3bc417093b8f3c6f"),
    Method.complex: (1, "894b8ad72de31392"),
    Method.component: (1, "be2a97a61ecac865"),
    Method.angle: (1, "279a9155b0409cf9"),
    Method.bitor: (1, "414977e0e28ff04a"),
    Method.quadrature_bilinear: (1, "30b03cb4d0f6d840"),
    Method.quadrature_average: (1, "776c3e13bbdfe0f6"),
}


def golden(method):
    dst, crs, pitch = PAIRS["utm"]
    src = around(dst, crs, pitch)
    data, valid, keywords = case(method, src)
    digest = hashlib.sha256()
    targets = [dst[10:90, 20:90], chip(pitch=40.0, size=40), chip(pitch=4.0, size=40)]
    for target in targets:
        out, ok = warp(data, valid, src, target, method, **keywords)
        digest.update(np.where(ok, out, 0).tobytes() + ok.tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("method", Method)
def test_output_changes_only_with_a_new_version(method):
    """On failure: if the change is meant, raise the method's entry in VERSIONS and put the new hash here."""
    assert (VERSIONS[method], golden(method)) == GOLDEN[method]


# --- masks -----------------------------------------------------------------------------------------------

FLOATS = [m for m in Method if m not in {Method.mode, Method.bitor}]


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("pitch", [4.0, 10.0, 40.0])
def test_what_invalid_pixels_hold_does_not_matter(method, pitch):
    dst = chip(pitch=pitch, size=60)
    src = around(dst, UTM33, 10.0)
    data, valid, keywords = case(method, src)
    reference = warp(data, valid, src, dst, method, **keywords)
    poisons = [0, 255] if data.dtype == np.uint8 else [np.nan, np.inf, -np.inf, -9999, 0, 3e38]
    for poison in poisons:
        poisoned = np.where(valid, data, np.array(poison, data.dtype))
        check_equal(reference, warp(poisoned, valid, src, dst, method, **keywords))
    if data.dtype != np.uint8:
        out, ok = warp(np.where(valid, data, np.nan), sure(data), src, dst, method, **keywords)
        if method is not Method.nearest:
            assert np.array_equal(ok, reference[1])
            assert np.array_equal(out[ok], reference[0][ok])


@pytest.mark.parametrize("method", [Method.bilinear, Method.cubic, Method.bspline, Method.average, Method.component])
def test_nodata_beside_ten_gives_ten_or_nothing(method):
    dst = chip(size=80)
    src = around(dst, UTM33, 10.0)
    valid = np.random.default_rng(3).random((1, *src.shape)) > 0.4
    data = np.where(valid, 10, 0).astype(np.int16)
    keywords = {"components": np.ones(src.shape, int)} if method is Method.component else {}
    out, ok = warp(data, valid, src, dst, method, **keywords)
    assert 0.2 < ok.mean() < 0.99
    assert np.allclose(out[ok], 10, atol=1e-5)
    assert np.isnan(out[~ok]).all()
    more = warp(data, valid, src, dst, method, min_weight=0.05, **keywords)[1]
    assert more[ok].all()
    assert method is Method.component or more.sum() > ok.sum()


def test_the_least_weight_is_the_bilinear_weight_of_valid_neighbours():
    src = grid(UTM32, 0, 20, 10.0, (2, 2))
    data, valid = np.full((1, 2, 2), 7.0), np.array([[[True, False], [False, False]]])
    # Target centres at fractions 1/8, 3/8 ... of the way from the valid centre to its neighbours.
    dst = grid(UTM32, 5, 15, 2.5, (4, 4))
    weight = (1 - np.arange(0.125, 1, 0.25))[:, None] * (1 - np.arange(0.125, 1, 0.25))
    _, ok = warp(data, valid, src, dst, Method.bilinear)
    assert np.array_equal(ok[0], weight >= 0.5)
    assert 0 < ok.sum() < 16


# --- kernels ---------------------------------------------------------------------------------------------


def test_interpolators_reproduce_what_they_must():
    dst = chip(size=100)
    src = around(dst, UTM33, 10.0, margin=20)
    u, v = exact(src, dst)
    x, y = ramps(src)
    line, square = (x * 0.3 - y)[None], (x * x / 100)[None]
    for method in (Method.bilinear, Method.cubic, Method.bspline, Method.average):
        out, ok = warp(line, sure(line), src, dst, method)
        assert ok.all()
        # An average is of whole source pixels cut by a turned quadrilateral: a line only nearly.
        assert np.abs(out[0] - (0.3 * u - v)).max() < (3e-3 if method is Method.average else 1e-4)
    out, _ = warp(square, sure(square), src, dst, Method.cubic)
    assert np.abs(out[0] - u * u / 100).max() < 1e-3
    # The B-spline smooths: a parabola rises by its second moment, 1/3 of a square pixel.
    out, _ = warp(square, sure(square), src, dst, Method.bspline)
    assert np.abs(out[0] - (u * u + 1 / 3) / 100).max() < 1e-3


@pytest.mark.parametrize("pitch", [10.0, 40.0])
def test_agrees_with_gdal_within_its_own_error(pitch):
    """GDAL places pixels to 1/8 px; on an image of slope <= 0.1 per pixel that is 0.0125."""
    from rasterio.enums import Resampling
    from rasterio.warp import reproject

    dst = chip(pitch=pitch, size=100)
    src = around(dst, UTM33, 10.0)
    rows, cols = np.mgrid[: src.shape[0], : src.shape[1]]
    image = (np.sin(cols / 15) + np.cos(rows / 20)).astype(np.float32)
    method, resampling = (Method.bilinear, Resampling.bilinear) if pitch == 10 else (Method.average, Resampling.average)
    theirs = np.empty(dst.shape, np.float32)
    reproject(
        image,
        theirs,
        src_transform=src.affine,
        src_crs=UTM33,
        dst_transform=dst.affine,
        dst_crs=UTM32,
        resampling=resampling,
        XSCALE=1,
        YSCALE=1,
    )
    ours, ok = warp(image[None], sure(image[None]), src, dst, method)
    assert ok.all()
    assert np.abs(ours[0] - theirs).max() < 0.0125


def test_round_trip_of_a_smooth_image():
    dst = chip(size=200)
    middle = around(dst, LONLAT, 0.3 * SECOND, margin=20)
    outer = around(middle, UTM32, 10.0, margin=20)
    rows, cols = np.mgrid[: outer.shape[0], : outer.shape[1]]
    image = (np.sin(cols / 7) * np.cos(rows / 9))[None]
    there, valid = warp(image, sure(image), outer, middle, Method.cubic)
    back, ok = warp(there, valid, middle, dst, Method.cubic)
    truth, _ = warp(image, sure(image), outer, dst, Method.nearest)
    assert ok.all()
    assert np.sqrt(np.mean((back - truth) ** 2)) < 0.01 * truth.std()


def flatness(method):
    """Largest relative deviation of local variance over a chip whose lattice drifts one pixel against the source."""
    pitch = 10 * (1 + 1 / 448)
    src, dst = grid(UTM32, 0, 5000, 10.0, (500, 500)), grid(UTM32, 123, 4877, pitch, (448, 448))
    total = 0
    for draw in range(24):
        data = np.random.default_rng(draw).gamma(4.4, 1 / 4.4, (1, 500, 500)).astype(np.float32)
        out, ok = warp(data, sure(data), src, dst, method)
        assert ok.all()
        total = total + out.reshape(14, 32, 14, 32).var((1, 3)) / data.var() / 24
    return np.abs(total / total.mean() - 1).max(), total.mean()


def test_white_noise_keeps_a_flat_variance_under_bspline_only():
    """D104: bilinear prints the drift of the lattice as a moire, which a model learns."""
    deviation, gain = flatness(Method.bspline)
    assert deviation < 0.15
    assert BSPLINE_NOISE_GAIN[0] < gain < BSPLINE_NOISE_GAIN[1]
    assert flatness(Method.bilinear)[0] > 0.5


def test_bspline_noise_gain_by_lattice_phase():
    """The gain itself, without sampling noise: the sum of squared weights of deltas."""
    src = grid(UTM32, 0, 640, 10.0, (64, 64))
    phases = np.linspace(0, 0.5, 6)
    gains = []
    for phase in phases:
        dst = grid(UTM32, 200 + 10 * phase, 400 - 10 * phase, 10.0, (1, 1))
        deltas = np.eye(64 * 64, dtype=np.float32).reshape(-1, 64, 64)[64 * 20 : 64 * 30]
        out, _ = warp(deltas, sure(deltas), src, dst, Method.bspline)
        if phase == 0:
            continue
        gains.append(float((out.astype(float) ** 2).sum()))
    assert BSPLINE_NOISE_GAIN[0] - 1e-4 < min(gains)
    assert max(gains) < BSPLINE_NOISE_GAIN[1]
    assert max(gains) / min(gains) < 1.2
    assert gains[-1] == pytest.approx(BSPLINE_NOISE_GAIN[0], abs=1e-5)


def test_bspline_is_widened_to_a_coarser_target():
    src = grid(UTM32, 0, 6400, 10.0, (640, 640))
    data = np.random.default_rng(0).normal(0, 1, (1, 640, 640)).astype(np.float32)
    dst = grid(UTM32, 1000, 5400, 40.0, (100, 100))
    out, ok = warp(data, sure(data), src, dst, Method.bspline)
    assert ok.all()
    # Samples of a kernel of scale 4: its sum of squares is (151/315 / 4)**2.
    assert out.var() == pytest.approx((151 / 315 / 4) ** 2, rel=0.1)


# --- areas -----------------------------------------------------------------------------------------------


def polygon_weights(src, dst, row, col):
    """Overlap of one target pixel with every source pixel by shapely, in source pixels."""
    corners = [(col, row), (col + 1, row), (col + 1, row + 1), (col, row + 1)]
    xy = points(dst.affine, *np.array(corners, float).T)
    x, y = Transformer.from_crs(dst.crs, src.crs, always_xy=True).transform(*xy)
    quad = shapely.Polygon(np.stack(points(~src.affine, x, y), 1))
    rows, cols = np.mgrid[: src.shape[0], : src.shape[1]]
    return shapely.area(shapely.intersection(shapely.box(cols, rows, cols + 1, rows + 1), quad))


@pytest.mark.parametrize(
    ("crs", "pitch_src", "pitch"), [(UTM33, 10.0, 47.0), (UTM33, 40.0, 10.0), (LONLAT, SECOND, 80.0)]
)
def test_area_methods_against_polygons(crs, pitch_src, pitch):
    dst = chip(x=680_000 // pitch * pitch, y=5_600_000 // pitch * pitch, pitch=pitch, size=5)
    src = around(dst, crs, pitch_src, margin=3)
    rng = np.random.default_rng(2)
    data = rng.gamma(3, 1, (1, *src.shape))
    codes = rng.integers(0, 4, data.shape).astype(np.int16) - 1
    valid = rng.random(data.shape) > 0.3
    mean, ok = warp(data, valid, src, dst, Method.average)
    total, ok_sum = warp(data, valid, src, dst, Method.sum)
    mode, ok_mode = warp(codes, valid, src, dst, Method.mode)
    bits, _ = warp(codes.astype(np.uint16), valid, src, dst, Method.bitor)
    assert np.array_equal(ok, ok_mode)
    assert ok.any()
    for row, col in np.ndindex(5, 5):
        w = polygon_weights(src, dst, row, col)
        there = w * valid[0]
        assert ok[0, row, col] == (there.sum() >= 0.5 * w.sum())
        # An amount counts however little of the pixel is known.
        assert ok_sum[0, row, col] == (there.sum() > 0)
        if ok_sum[0, row, col]:
            assert total[0, row, col] == pytest.approx((there * data[0]).sum(), abs=2e-5)
        if not ok[0, row, col]:
            continue
        assert mean[0, row, col] == pytest.approx((there * data[0]).sum() / there.sum(), abs=1e-5)
        shares = [there[codes[0] == c].sum() for c in range(-1, 3)]
        assert shares[mode[0, row, col] + 1] == pytest.approx(max(shares), abs=1e-6)
        touched = codes.astype(np.uint16)[0][there > 2e-3 * w.sum()]
        assert np.bitwise_or.reduce(touched) & ~bits[0, row, col] == 0


@pytest.mark.parametrize("down", [-1, 1])
@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-4, 0.3, np.pi / 4, 1.2, np.pi / 2, 2.5, -1.0])
def test_weights_are_exact_at_any_angle(angle, down):
    """Edges that are nearly vertical or horizontal, or run backwards: each weight to 1e-6 of a source pixel."""
    cos, sin = 10 * np.cos(angle), 10 * np.sin(angle)
    turned = Affine(cos, -sin * down, 0, sin, cos * down, 0) @ Affine.translation(-6, -6)
    src, dst = GeoBox((12, 12), turned, UTM32), grid(UTM32, -33, 33, 33.0, (2, 2))
    # One band per source pixel: the sum of a delta is its weight.
    deltas = np.eye(144).reshape(144, 12, 12)
    total, _ = warp(deltas, sure(deltas), src, dst, Method.sum)
    for row, col in np.ndindex(2, 2):
        truth = polygon_weights(src, dst, row, col)
        assert np.abs(np.nan_to_num(total[:, row, col]) - truth.ravel()).max() < 1e-6


def test_blocks_of_pixels_have_their_plain_mean():
    """Same CRS, whole multiple: no rounding but that of the mean itself."""
    src, dst = grid(UTM32, 0, 640, 10.0, (64, 64)), grid(UTM32, 0, 640, 40.0, (16, 16))
    data = np.random.default_rng(0).integers(0, 1000, (1, 64, 64)).astype(np.float32)
    out, ok = warp(data, sure(data), src, dst, Method.average)
    assert ok.all()
    assert np.array_equal(out[0], data[0].reshape(16, 4, 16, 4).mean((1, 3)))


@pytest.mark.parametrize("pitch", [10.0, 40.0, 100.0, 250.0])
def test_amounts_are_conserved(pitch):
    """D22: total before = total after, to finer and coarser pixels, and back."""
    src = grid(UTM33, 300_000, 5_600_000, 100.0, (30, 30))
    data = np.random.default_rng(0).gamma(1, 1000, (1, 30, 30)).astype(np.float32)
    # Nothing near the border, where less than half of a cell would come back.
    data[:, :5] = data[:, -5:] = data[:, :, :5] = data[:, :, -5:] = 0
    dst = around(src, UTM32, pitch, margin=4)
    out, ok = warp(data, sure(data), src, dst, Method.sum, min_weight=1e-6)
    assert np.nansum(out, dtype=float) == pytest.approx(data.sum(dtype=float), rel=1e-5)
    back, _ = warp(out, ok, dst, src, Method.sum)
    assert np.nansum(back, dtype=float) == pytest.approx(data.sum(dtype=float), rel=5e-3)


def test_mode_breaks_ties_downward_and_keeps_areas():
    src = grid(UTM32, 0, 40, 10.0, (4, 4))
    codes = np.tile(np.array([[9, 3], [3, 9]], np.uint8), (2, 2))[None]
    out, _ = warp(codes, sure(codes), src, grid(UTM32, 0, 40, 20.0, (2, 2)), Method.mode)
    assert (out == 3).all()

    dst = chip(pitch=40.0, size=100)
    fine = around(dst, UTM33, 10.0)
    rows, cols = np.mgrid[: fine.shape[0], : fine.shape[1]]
    classes = (1 + (np.hypot(rows - 200, cols - 230) // 60 % 3)).astype(np.uint8)[None]
    out, ok = warp(classes, sure(classes), fine, dst, Method.mode)
    truth, _ = warp(classes, sure(classes), fine, chip(pitch=5.0, size=800), Method.nearest)
    assert ok.all()
    for code in (1, 2, 3):
        assert (out == code).mean() == pytest.approx((truth == code).mean(), rel=5e-3)


def test_bits_survive_and_are_never_mixed():
    src = grid(UTM32, 0, 40, 10.0, (4, 4))
    flags = np.zeros((1, 4, 4), np.uint16)
    flags[0, 0, 0], flags[0, 1, 1], flags[0, 3, 3] = 1 << 10, 1 << 11, 1 << 15
    out, _ = warp(flags, sure(flags), src, grid(UTM32, 0, 40, 20.0, (2, 2)), Method.bitor)
    assert out.tolist() == [[[(1 << 10) | (1 << 11), 0], [0, 1 << 15]]]


# --- phases and angles -----------------------------------------------------------------------------------


def test_wrapped_phase_keeps_its_fringes():
    """D17: five fringes, three times coarser; the arithmetic mean fails where the phase wraps."""
    src = grid(UTM32, 0, 3000, 10.0, (300, 300))
    ramp = np.broadcast_to((np.arange(300) + 0.5) / 300 * 10 * np.pi, (1, 300, 300))
    wrapped = np.angle(np.exp(1j * ramp)).astype(np.float32)
    dst = grid(UTM32, 0, 3000, 30.0, (100, 100))
    truth = (np.arange(100) * 3 + 1.5) / 300 * 10 * np.pi

    def error(phase):
        return np.abs(np.angle(np.exp(1j * (phase - truth)))).max()

    out, ok = warp(wrapped, sure(wrapped), src, dst, Method.complex)
    assert ok.all()
    assert error(out) < 0.05
    shifted = grid(UTM32, 10, 3000, 30.0, (100, 99))
    naive, _ = warp(wrapped, sure(wrapped), src, shifted, Method.average)
    out, _ = warp(wrapped, sure(wrapped), src, shifted, Method.complex)
    assert np.abs(np.angle(np.exp(1j * (naive - out)))).max() > 1
    fine = grid(UTM32, 100, 2900, 4.0, (50, 50))
    out, _ = warp(wrapped, sure(wrapped), src, fine, Method.complex)
    truth = (10 + (np.arange(50) + 0.5) * 0.4) / 300 * 10 * np.pi
    assert error(out) < 0.05


@pytest.mark.parametrize("pitch", [4.0, 10.0, 40.0])
def test_components_are_never_mixed(pitch):
    """D18: two plateaus that differ by 6 pi."""
    dst = chip(pitch=pitch, size=60)
    src = around(dst, UTM33, 10.0)
    labels = (np.add.outer(np.arange(src.shape[0]), np.arange(src.shape[1])) > sum(src.shape) / 2).astype(np.int16)
    phase = np.where(labels, 6 * np.pi, 0.0).astype(np.float32)[None]
    out, ok = warp(phase, sure(phase), src, dst, Method.component, components=labels)
    low, high = np.isclose(out[ok], 0, atol=1e-4), np.isclose(out[ok], 6 * np.pi, atol=1e-4)
    assert (low | high).all()
    assert low.any()
    assert high.any()
    mixed, _ = warp(phase, sure(phase), src, dst, Method.bilinear)
    assert (~np.isclose(mixed, 0, atol=1e-4) & ~np.isclose(mixed, 6 * np.pi, atol=1e-4)).any()


@pytest.mark.parametrize("pitch", [5.0, 20.0])
def test_north_is_between_359_and_1(pitch):
    src = grid(UTM32, 5, 400, 10.0, (40, 40))
    data = np.tile(np.array([359.0, 1.0], np.float32), (1, 40, 20))
    # Targets centred midway between two columns.
    dst = grid(UTM32, 95 + (15 - pitch) / 2 + 2.5 if pitch == 5 else 105 - 10, 300, pitch, (4, 1))
    out, ok = warp(data, sure(data), src, dst, Method.angle)
    assert ok.all()
    assert ((out >= 0) & (out < 360)).all()
    assert np.abs((out + 180) % 360 - 180).max() < 0.1


def test_opposite_directions_have_no_mean():
    src = grid(UTM32, 0, 20, 10.0, (2, 2))
    data = np.array([[[0, 180], [180, 0]]], np.float32)
    out, ok = warp(data, sure(data), src, grid(UTM32, 0, 20, 20.0, (1, 1)), Method.angle)
    assert not ok.any()
    assert np.isnan(out).all()


# --- the door --------------------------------------------------------------------------------------------


def test_dtypes():
    dst = chip(size=30)
    src = around(dst, UTM33, 10.0)
    data = np.full((1, *src.shape), 40_000, np.int32)
    for method in FLOATS:
        keywords = needed(method, src.shape)
        out, _ = warp(data, sure(data), src, dst, method, **keywords)
        assert out.dtype == (np.int32 if method is Method.nearest else np.float32)
        assert warp(data.astype(float), sure(data), src, dst, method, **keywords)[0].dtype == np.float64
    for dtype in (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64):
        for method in (Method.nearest, Method.mode, Method.bitor):
            codes = np.full((1, *src.shape), 77, dtype)
            out, ok = warp(codes, sure(codes), src, dst, method)
            assert out.dtype == dtype
            assert (out[ok] == 77).all()


def test_refusals():
    src, dst = chip(size=30), chip(size=30, crs=UTM33)
    data = np.ones((1, 30, 30), np.float32)
    with pytest.raises(ConfigError, match="integer codes"):
        warp(data, sure(data), src, dst, Method.mode)
    with pytest.raises(ConfigError, match="do not fit"):
        warp(data[0], sure(data[0]), src, dst, Method.nearest)
    with pytest.raises(ConfigError, match="components"):
        warp(data, sure(data), src, dst, Method.component)
    with pytest.raises(ConfigError, match="cannot warp"):
        warp(data.astype(complex), sure(data), src, dst, Method.bilinear)
    with pytest.raises(ConfigError, match="CRS"):
        warp(data, sure(data), GeoBox((30, 30), src.affine, None), dst, Method.bilinear)
    long = GeoBox((1, 200_000), src.affine, UTM32)
    with pytest.raises(TooLarge):
        warp(np.ones((1, 1, 200_000), np.uint8), np.ones((1, 1, 200_000), bool), long, dst, Method.nearest)


def test_data_need_not_be_contiguous_or_writable():
    dst = chip(size=40)
    src = around(dst, UTM33, 10.0)
    data = noise(src)
    reference = warp(data, sure(data), src, dst, Method.nearest)
    odd = np.asfortranarray(data)
    odd.flags.writeable = False
    check_equal(reference, warp(odd, sure(data), src, dst, Method.nearest))


@settings(max_examples=25, deadline=None)
@given(
    x=st.integers(20_000, 80_000),
    y=st.integers(100, 930_000),
    method=st.sampled_from([Method.bilinear, Method.bspline, Method.average]),
    pitch=st.sampled_from([10.0, 20.0, 80.0]),
)
def test_a_mean_stays_within_its_neighbourhood_anywhere(x, y, method, pitch):
    """Positive kernels never overshoot, wherever the chip lies."""
    dst = grid(UTM32, 10.0 * x // pitch * pitch, 10.0 * y // pitch * pitch, pitch, (24, 24))
    src = around(dst, UTM33, pitch, margin=16)
    data = noise(src, seed=x)
    out, ok = warp(data, sure(data), src, dst, method)
    assert ok.all()
    assert data.min() <= out.min()
    assert out.max() <= data.max()


def test_versions_name_every_method():
    assert set(VERSIONS) == set(Method)
    assert module.VERSIONS is VERSIONS
