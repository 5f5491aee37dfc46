"""Images in their own pixels: where they lie, what they mean, what is seen and what is not."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind, LegendClass, Raster, Variable
from m3leo_prep.ports.source import READ_MARGIN
from m3leo_prep.sources.gee.choice import Choice, Quantity, Row
from m3leo_prep.sources.gee.reading.grids import MODIS, Grids, band_grids, windows
from m3leo_prep.sources.gee.reading.native import read
from m3leo_prep.sources.gee.reading.requests import Band, pieces
from m3leo_prep.testing.earth_engine.archive import SceneBand
from tests.sources.gee.scenes import SLOT, X0, Y0, Shelf, band, pair, window

if TYPE_CHECKING:
    from m3leo_prep.testing.earth_engine import StandIn

SIDE = 120
VERSIONS = itertools.count()
RNG = np.random.default_rng(5)


def quantity(name: str, kind: Kind, *names: str, **more: Any) -> Quantity:
    legend = more.pop("legend", ())
    return Quantity(Variable(name, kind, tuple(n.lower() for n in names), legend=legend), names, **more)


def choice(*quantities: Quantity, family: Any = "plain", pitch: float = 10.0, **more: Any) -> Choice:
    row = Row("a-product", "", "T", True, family, "native", pitch, "nearest", quantities, "", "", "")
    return Choice(row, quantities, "native", "nearest", "mean", **more)


def rasters(
    server: StandIn, made: Choice, bands: list[SceneBand], target: GeoBox, of: dict[str, Any] | None = None
) -> dict[str, Raster]:
    scene, item = pair("T", "one", bands, of=of)
    server.archive = Shelf([scene])
    item = replace(item, version=str(next(VERSIONS)))  # another image: its grids are asked for again
    return {raster.variable: raster for raster in read(made, [item], target, SLOT)}


def whole(values: Any, dtype: str, **more: Any) -> SceneBand:
    return band("B", values, dtype=dtype, **more)


def test_an_image_comes_in_its_own_pixels_with_the_margin(earth_engine: StandIn) -> None:
    stored = RNG.normal(size=(SIDE, SIDE)).astype("float32")
    made = choice(quantity("height", Kind.CONTINUOUS, "B"))
    corner = (X0 - 13.7, Y0 + 21.3)  # off the lattice, as scenes are
    target = window(30, 25, down=20, right=31)
    raster = rasters(earth_engine, made, [whole(stored, "float32", corner=corner)], target)["height"]
    a = raster.geobox.transform
    row, col = round((corner[1] - a.f) / 10), round((a.c - corner[0]) / 10)
    assert (a.c, a.f) == (corner[0] + 10 * col, corner[1] - 10 * row)
    rows, cols = raster.geobox.shape
    np.testing.assert_array_equal(raster.data[0], stored[row : row + rows, col : col + cols])
    assert raster.valid.all()
    box, wanted = raster.geobox.boundingbox, target.boundingbox
    assert box.left <= wanted.left - 10 * READ_MARGIN
    assert box.right >= wanted.right + 10 * READ_MARGIN
    assert box.bottom <= wanted.bottom - 10 * READ_MARGIN
    assert box.top >= wanted.top + 10 * READ_MARGIN
    assert rows * cols < 4 * 38 * 33


def test_an_image_elsewhere_or_masked_everywhere_yields_nothing(earth_engine: StandIn) -> None:
    made = choice(quantity("height", Kind.CONTINUOUS, "B"))
    stored = np.ones((SIDE, SIDE))
    assert not rasters(earth_engine, made, [whole(stored, "float32")], window(20, 20, down=500))
    assert not earth_engine.asked("computePixels")
    empty = whole(stored, "float32", valid=np.zeros((SIDE, SIDE), bool))
    assert not rasters(earth_engine, made, [empty], window(20, 20))


def test_vegetation_cover_keeps_water_as_a_flag_and_fill_as_nothing(earth_engine: StandIn) -> None:
    """D49: 200 is water, 253 is no data, 0 to 100 are values, in a band that may hold all of 0 to 255."""
    stored = np.full((40, 40), 50)
    stored[5, 5], stored[5, 6], stored[5, 7], stored[5, 8], stored[5, 9] = 200, 253, 0, 100, 140
    cover = quantity("cover", Kind.CONTINUOUS, "B", nodata=(253.0,), flags=(200,), valid_range=(0.0, 100.0))
    legend = (LegendClass(0, "none"), LegendClass(1, "water"))
    flags = quantity("cover_flags", Kind.CLASSES, "B", nodata=(253.0,), flags=(200,), flags_of="cover", legend=legend)
    found = rasters(earth_engine, choice(cover, flags), [whole(stored, "uint8")], window(40, 40))
    value, flag = found["cover"], found["cover_flags"]
    assert value.data.dtype == np.float32
    assert value.masked is not None
    assert value.valid[0, 5, 5:10].tolist() == [False, False, True, True, False]
    assert value.masked[0, 5, 5:10].tolist() == [True, False, False, False, False]
    assert value.data[0, 5, 7:9].tolist() == [0.0, 100.0]
    assert flag.valid[0, 5, 5:7].tolist() == [True, False]
    assert flag.data[0, 5, 5:9].tolist()[::3] == [1, 0]
    assert len(earth_engine.asked("computePixels")) == 1, "the same band was asked for twice"
    assert len(earth_engine.asked("asset")) == 1


def test_seasonal_backscatter_is_the_same_from_decibels_and_from_raw_numbers(earth_engine: StandIn) -> None:
    """D32, D30: 20 log10(DN) - 83 dB and DN^2 / 10^8.3 are one thing; DN 0 is no data."""
    numbers = RNG.integers(1, 14_125, (50, 50))
    numbers[3, 4] = 0
    raw = choice(quantity("power", Kind.POWER, "B", transform="squared", scale=10**-8.3, nodata=(0.0,)))
    first = rasters(earth_engine, raw, [whole(numbers, "uint16")], window(50, 50))["power"]
    decibels = 20 * np.log10(np.maximum(numbers, 1)) - 83
    scaled = choice(quantity("power", Kind.POWER, "B", transform="from_decibel"))
    there = numbers > 0
    second = rasters(earth_engine, scaled, [whole(decibels, "float32", valid=there)], window(50, 50))["power"]
    np.testing.assert_array_equal(first.valid, second.valid)
    np.testing.assert_allclose(first.data[first.valid], second.data[second.valid], rtol=2e-5)
    assert not first.valid[0, 3, 4]
    at = {1: -83, 100: -43, 1000: -23, 10_000: -3}
    for number, level in at.items():
        box = rasters(earth_engine, raw, [whole(np.full((9, 9), number), "uint16")], window(9, 9))["power"]
        assert 10 * np.log10(box.data[0, 0, 0]) == pytest.approx(level, abs=1e-3)


def test_scale_and_offset_are_applied_once_and_codes_stay_codes(earth_engine: StandIn) -> None:
    stored = RNG.integers(0, 256, (30, 30))
    stored[0, :3] = 0, 255, 7
    made = choice(
        quantity("share", Kind.COHERENCE, "B", scale=0.01, offset=0.5),
        quantity("code", Kind.CLASSES, "B"),
        quantity("known", Kind.CLASSES, "B", legend=(LegendClass(7, "seven"),)),
        quantity("bits", Kind.BITS, "B"),
    )
    found = rasters(earth_engine, made, [whole(stored, "uint8")], window(30, 30))
    np.testing.assert_array_equal(found["share"].data[0], (stored * 0.01 + 0.5).astype("float32"))
    for name in ("code", "bits"):
        assert found[name].data.dtype == np.uint8
        assert found[name].valid.all()
        np.testing.assert_array_equal(found[name].data[0], stored)
    np.testing.assert_array_equal(found["known"].data[0], np.where(stored == 7, 7, 255))


def test_coarser_bands_are_replicated_and_strange_grids_refused(earth_engine: StandIn) -> None:
    fine, coarse = RNG.integers(0, 9999, (60, 60)), RNG.integers(0, 9999, (20, 20))
    bands = [band("B", fine, dtype="uint16"), band("C", coarse, dtype="uint16", pitch=30.0)]
    made = choice(quantity("both", Kind.REFLECTANCE, "B", "C", scale=1e-4))
    raster = rasters(earth_engine, made, bands, window(60, 60))["both"]
    assert raster.geobox.shape == (60, 60)
    np.testing.assert_array_equal(raster.data[0], (fine * 1e-4).astype("float32"))
    np.testing.assert_array_equal(raster.data[1], (np.kron(coarse, np.ones((3, 3))) * 1e-4).astype("float32"))
    alone = choice(quantity("one", Kind.REFLECTANCE, "C"), quantity("two", Kind.REFLECTANCE, "B"))
    found = rasters(earth_engine, alone, bands, window(60, 60))
    assert (found["one"].geobox.shape, found["two"].geobox.shape) == ((20, 20), (60, 60))
    off = [bands[0], band("C", coarse, dtype="uint16", pitch=30.0, corner=(X0 + 5, Y0))]
    with pytest.raises(ConfigError, match="do not divide") as error:
        rasters(earth_engine, made, off, window(59, 59))
    assert "a layer of each grid" in error.value.hint


def test_a_band_that_the_image_lacks_is_named(earth_engine: StandIn) -> None:
    made = choice(quantity("height", Kind.CONTINUOUS, "DEMM"))
    with pytest.raises(ConfigError, match="no band DEMM") as error:
        rasters(earth_engine, made, [whole(np.ones((9, 9)), "float32")], window(9, 9))
    assert "it has: B" in error.value.hint


def test_radar_fills_the_bands_of_its_direction_only(earth_engine: StandIn) -> None:
    """D56: ascending and descending never share a band."""
    power = quantity("backscatter", Kind.POWER, "VV", "VH", "VV", "VH")
    made = choice(power, family="radar", orbits=("ascending", "descending"))
    vv, vh = RNG.gamma(4, 0.02, (2, 30, 30)).astype("float32")
    vv[2, 2] = -0.001  # noise removed: very dark, and valid
    bands = [band("VV", vv), band("VH", vh), band("angle", np.full((30, 30), 38.0))]
    of = {"orbit_direction": "descending", "polarisations": "VV VH", "ipf": "003.10"}
    raster = rasters(earth_engine, made, bands, window(30, 30), of)["backscatter"]
    assert raster.valid.any(axis=(1, 2)).tolist() == [False, False, True, True]
    np.testing.assert_array_equal(raster.data[2:], [vv, vh])
    assert raster.valid[2:].all()
    assert raster.masked is None
    one = rasters(earth_engine, made, bands[::2], window(30, 30), of | {"polarisations": "VV"})["backscatter"]
    assert one.valid.any(axis=(1, 2)).tolist() == [False, False, True, False]


def optical(rule: str, **more: Any) -> Choice:
    values = quantity("reflectance", Kind.REFLECTANCE, "B2", dtype="uint16", scale=1e-4, nodata=(0.0,))
    return choice(values, family="optical", cloud=rule, **more)


def test_clouds_are_seen_and_discarded_by_the_scene_classification(earth_engine: StandIn) -> None:
    numbers = np.full((40, 40), 1200)
    numbers[30, 30] = 0
    classes = np.full((20, 20), 4)
    classes[2, 3], classes[4, 5] = 9, 0
    bands = [band("B2", numbers, dtype="uint16"), band("SCL", classes, dtype="uint8", pitch=20.0)]
    made = optical("scl", cloud_classes=(3, 8, 9, 10))
    raster = rasters(earth_engine, made, bands, window(40, 40))["reflectance"]
    assert raster.masked is not None
    cloud = np.zeros((40, 40), bool)
    cloud[4:6, 6:8] = True
    unseen = np.zeros((40, 40), bool)
    unseen[8:10, 10:12] = unseen[30, 30] = True
    np.testing.assert_array_equal(raster.masked[0] if raster.masked.ndim == 3 else raster.masked, cloud)
    np.testing.assert_array_equal(raster.valid[0], ~cloud & ~unseen)
    assert raster.data[0, 0, 0] == np.float32(0.12)


def test_a_pixel_of_which_the_rule_says_nothing_is_not_clear(earth_engine: StandIn) -> None:
    bits = np.zeros((12, 12), int)
    bits[1, 1], bits[2, 2], bits[3, 3] = 1 << 10, 1 << 11, 1 << 5
    known = np.ones((12, 12), bool)
    known[4, 4] = False
    bands = [band("B2", np.full((12, 12), 900), dtype="uint16"), band("QA60", bits, known, dtype="uint16")]
    raster = rasters(earth_engine, optical("qa60"), bands, window(12, 12))["reflectance"]
    expected = np.ones((12, 12), bool)
    expected[[1, 2, 4], [1, 2, 4]] = False
    np.testing.assert_array_equal(raster.valid[0], expected)
    assert raster.observed.all()
    none = rasters(earth_engine, optical("cloud_score"), bands, window(12, 12), {"has_score": 0})["reflectance"]
    assert not none.valid.any()
    assert none.observed.all()


def test_grids_are_asked_for_once_by_many_threads_and_again_after_a_failure(earth_engine: StandIn) -> None:
    scene, item = pair("T", "one", [whole(np.ones((64, 64)), "float32")])
    earth_engine.archive = Shelf([scene])
    made = choice(quantity("height", Kind.CONTINUOUS, "B"))
    earth_engine.latency = 0.05

    def work() -> None:
        list(read(made, [item], window(20, 20), SLOT))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(earth_engine.asked("asset")) == 1
    assert len(earth_engine.asked("computePixels")) == 6

    kept = Grids(most=2)
    calls: list[str] = []

    def ask(name: str) -> Any:
        calls.append(name)
        if len(calls) == 1:
            raise OSError
        return {}

    with pytest.raises(OSError):
        kept.get(("a", ""), lambda: ask("a"))
    for name in "aabca":
        kept.get((name, ""), lambda name=name: ask(name))
    assert calls == ["a", "a", "b", "c", "a"], "the oldest one is forgotten, and asked for again"


# -- what an asset says of itself ----------------------------------------------------------------------------------


def asset(crs: dict[str, str], affine: dict[str, float], width: int, height: int, **kind: Any) -> dict[str, Any]:
    grid = {**crs, "affineTransform": affine, "dimensions": {"width": width, "height": height}}
    return {"type": "IMAGE", "bands": [{"id": "B", "grid": grid, "dataType": kind}]}


def test_modis_and_mollweide_grids_are_understood_and_sent_back() -> None:
    size = 231.65635826
    sinusoidal = {"scaleX": size, "scaleY": -size, "translateX": 0.0, "translateY": 5_559_752.6}
    found = band_grids(asset({"crsCode": "SR-ORG:6974"}, sinusoidal, 4800, 4800, precision="INT"), "")["B"]
    assert found.geobox.crs == MODIS
    (piece, place), *none = windows(found.geobox, window(32, 32, pitch=140.0))
    assert not none
    assert piece == place
    (request,) = pieces(piece, [Band("B", "uint8", 255)])
    said = request.grid(piece)
    assert CRS.from_wkt(said["crsWkt"]) == CRS(MODIS)
    assert said["affineTransform"]["translateX"] == piece.transform.c
    wkt = CRS("ESRI:54009").to_wkt("WKT1_GDAL")
    world = {"scaleX": 100.0, "scaleY": -100.0, "translateX": -18_041_000.0, "translateY": 9_000_000.0}
    built = band_grids(asset({"crsWkt": wkt}, world, 360_820, 180_000, precision="FLOAT"), "")["B"]
    target = window(448, 448)
    ((piece, _),) = windows(built.geobox, target)
    x, y = Transformer.from_crs(target.crs.proj, built.geobox.crs.proj, always_xy=True).transform(X0 + 2240, Y0 - 2240)
    box = piece.boundingbox
    assert box.left < x < box.right
    assert box.bottom < y < box.top
    assert max(piece.shape) < 100


def test_a_target_on_the_antimeridian_takes_both_ends_of_a_map_of_the_world() -> None:
    wkt = CRS("ESRI:54009").to_wkt("WKT1_GDAL")
    world = {"scaleX": 100.0, "scaleY": -100.0, "translateX": -18_041_000.0, "translateY": 9_000_000.0}
    grid = band_grids(asset({"crsWkt": wkt}, world, 360_820, 180_000, precision="FLOAT"), "")["B"].geobox
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32701", always_xy=True).transform(180.0, -17.0)
    target = GeoBox((448, 448), Affine(10, 0, round(x) - 2240, 0, -10, round(y) + 2240), "EPSG:32701")
    found = [piece for piece, _ in windows(grid, target)]
    assert len(found) == 2
    assert found[0].boundingbox.right < 0 < found[1].boundingbox.left
    assert max(max(piece.shape) for piece in found) < 120
    # Every pixel of the target, on either side, is in one of them.
    cols, rows = np.meshgrid(np.arange(0.5, 448, 7), np.arange(0.5, 448, 7))
    a = target.transform
    lon, lat = Transformer.from_crs("EPSG:32701", "EPSG:4326", always_xy=True).transform(
        a.a * cols + a.c, a.e * rows + a.f
    )
    east, north = Transformer.from_crs(CRS("EPSG:4326"), grid.crs.proj, always_xy=True).transform(lon, lat)
    inside = np.zeros(east.shape, bool)
    for piece in found:
        box = piece.boundingbox
        inside |= (east > box.left) & (east < box.right) & (north > box.bottom) & (north < box.top)
    assert inside.all()


@pytest.mark.parametrize(
    ("kind", "dtype", "legal"),
    [
        ({"precision": "INT", "range": {"max": 255}}, "uint8", (0, 255)),
        ({"precision": "INT", "range": {"min": -128, "max": 127}}, "int8", (-128, 127)),
        ({"precision": "INT", "range": {"max": 65_535}}, "uint16", (0, 65_535)),
        ({"precision": "INT", "range": {"min": -32_768, "max": 32_767}}, "int16", (-32_768, 32_767)),
        ({"precision": "INT", "range": {"min": -5, "max": 40_000}}, "int32", (-5, 40_000)),
        ({"precision": "INT", "range": {"max": 1e12}}, "int64", (0, 1e12)),
        ({"precision": "FLOAT"}, "float32", None),
        ({"precision": "DOUBLE"}, "float64", None),
        ({"precision": "INT"}, "int32", None),
    ],
)
def test_types_are_what_the_range_needs(kind: dict[str, Any], dtype: str, legal: tuple[float, float] | None) -> None:
    affine = {"scaleX": 1.0, "scaleY": -1.0}
    found = band_grids(asset({"crsCode": "EPSG:32631"}, affine, 2, 2, **kind), "")["B"]
    assert (found.dtype, found.legal) == (dtype, legal)


def test_south_up_is_turned_and_what_cannot_be_used_is_refused() -> None:
    up = {"scaleX": 1.0, "scaleY": 1.0, "translateY": -60.0, "translateX": -180.0}
    found = band_grids(asset({"crsCode": "EPSG:4326"}, up, 360, 120, precision="FLOAT"), "")["B"].geobox
    assert (found.transform.e, found.transform.f) == (-1.0, 60.0)
    for changed, text in (({"shearX": 0.5, "scaleX": 1.0, "scaleY": -1.0}, "rotated"), ({}, "no pixels of its own")):
        with pytest.raises(ConfigError, match=text) as error:
            band_grids(asset({"crsCode": "EPSG:4326"}, changed, 3, 3, precision="FLOAT"), "T/one")
        assert "T/one, band B" in str(error.value)
    with pytest.raises(ConfigError, match="not known here"):
        band_grids(asset({"crsCode": "SR-ORG:1"}, up, 3, 3, precision="FLOAT"), "T/one")
    with pytest.raises(ConfigError, match="no image, but: folder"):
        band_grids({"type": "FOLDER"}, "T")
