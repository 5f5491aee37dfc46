"""The synthetic archive: ids and grids as Earth Engine has them, values of the synthetic truth, traps for filters."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray
from shapely import Point

from m3leo_prep.sources._native import transformer
from m3leo_prep.sources.synthetic import Synthetic
from m3leo_prep.testing.earth_engine import (
    ASCENDING_ONLY,
    JUTLAND,
    LUXEMBOURG,
    NO_SUMMER,
    Place,
    Scene,
    SceneBand,
    SyntheticArchive,
)
from m3leo_prep.testing.earth_engine.evaluation.sampling import proj_name
from m3leo_prep.testing.earth_engine.holdings.land import Blocks, Land, Lattice

RADAR, SURFACE = "COPERNICUS/S1_GRD_FLOAT", "COPERNICUS/S2_SR_HARMONIZED"
HERE = (6.02, 49.61)
"""In Luxembourg, just in zone 32."""


@pytest.fixture(scope="module")
def archive() -> SyntheticArchive:
    return SyntheticArchive(years=(2020, 2021))


def at(archive: SyntheticArchive, name: str, lon: float, lat: float) -> list[Scene]:
    return [scene for scene in archive.collection(name) or () if scene.footprint.contains(Point(lon, lat))]


def band(scene: Scene, name: str) -> SceneBand:
    return next(band for band in scene.bands if band.name == name)


def around(band: SceneBand, lon: float, lat: float, size: int = 24) -> tuple[int, int, int, int]:
    """Return a window of the band at a place."""
    x, y = transformer("EPSG:4326", proj_name(band.crs)).transform(lon, lat)
    a, _, c, _, e, f = band.transform
    row, col = int((y - f) / e), int((x - c) / a)
    return row, row + size, col, col + size


def truth(band: SceneBand, window: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Return the classes under the pixels' centres, by PROJ and the source itself."""
    a, _, c, _, e, f = band.transform
    rows, cols = np.mgrid[window[0] : window[1], window[2] : window[3]] + 0.5
    lon, lat = transformer(proj_name(band.crs), "EPSG:4326").transform(c + a * cols, f + e * rows)
    return Synthetic("landcover").truth(lon, lat).classes


def when(scene: Scene) -> datetime:
    return datetime.fromtimestamp(scene.properties["system:time_start"] / 1000, UTC)


def test_every_band_reads_as_its_type_and_shape(archive: SyntheticArchive) -> None:
    for name in archive.holdings:
        place = (-80.0, 45.0) if name in ("CSP/ERGo/1_0/US/landforms", "AAFC/ACI") else HERE
        scenes = at(archive, name, *place) if archive.collection(name) else [archive.image(name)]
        scene = scenes[0]
        assert scene is not None
        assert archive.image(scene.id) is scene
        for each in scene.bands:
            size = 2 if each.name == "angle" else 6
            values, valid = each.read(*around(each, *place, size))
            assert (values.dtype, values.shape) == (np.dtype(each.dtype), (size, size)), (scene.id, each.name)
            assert valid.dtype == bool
            assert valid.shape == values.shape


def test_unknown_names_are_none(archive: SyntheticArchive) -> None:
    assert archive.collection("COPERNICUS/S1_GRD") is None
    assert archive.image("COPERNICUS/S1_GRD/x") is None
    assert archive.image(f"{RADAR}/x") is None
    assert archive.collection("USGS/SRTMGL1_003") is None


@pytest.mark.parametrize(
    ("name", "of_band"),
    [
        ("ESA/WorldCover/v100", "Map"),
        (SURFACE, "SCL"),
        ("GOOGLE/DYNAMICWORLD/V1", "label"),
        ("COPERNICUS/DEM/GLO30", "WBM"),
    ],
)
def test_classes_are_those_of_the_truth_at_the_pixels_centres(
    archive: SyntheticArchive, name: str, of_band: str
) -> None:
    for place in ((5.80, 50.05), (6.20, 49.75)):
        each = band(at(archive, name, *place)[0], of_band)
        window = around(each, *place, 200)
        values, valid = each.read(*window)
        classes = truth(each, window)
        assert len(np.unique(classes)) > 1
        # One number of the product for one class of the truth, but where clouds and shadows are.
        plain = ~np.isin(values, (3, 8, 9)) if of_band == "SCL" else valid
        for code in np.unique(classes):
            assert len(np.unique(values[plain & (classes == code)])) <= 1, (name, code)


def test_radar_grids_begin_anywhere_and_in_the_zone_of_the_frame(archive: SyntheticArchive) -> None:
    scenes = [s for s in at(archive, RADAR, *HERE) if s.properties["resolution_meters"] == 10]
    assert {band(scene, "VV").crs for scene in scenes} == {"EPSG:32631", "EPSG:32632"}
    assert all(band(scene, "VV").transform[2] % 10 for scene in scenes)
    pattern = r"S1[AB]_IW_GRDH_1S(DV|SV)_\d{8}T\d{6}_\d{8}T\d{6}_\d{6}_[0-9A-F]{6}_[0-9A-F]{4}"
    assert all(re.fullmatch(pattern, scene.properties["system:index"]) for scene in scenes)


def test_radar_power_is_the_expected_one_on_average(archive: SyntheticArchive) -> None:
    source = Synthetic("s1")
    scenes = [
        scene
        for scene in at(archive, RADAR, *HERE)
        if scene.properties["resolution_meters"] == 10
        and scene.properties["orbitProperties_pass"] == "ASCENDING"
        and len(scene.bands) == 3
        and when(scene).month in (7, 8, 9)
    ]
    first = scenes[0]
    scenes = [s for s in scenes if band(s, "VV").transform[2] % 10 == band(first, "VV").transform[2] % 10]
    each = band(first, "VV")
    window = around(each, *HERE, 64)
    mean = np.mean([band(scene, "VV").read(*around(band(scene, "VV"), *HERE, 64))[0] for scene in scenes], axis=0)
    classes = truth(each, window)
    forest, crops = mean[classes == 10].mean(), mean[classes == 40].mean() if (classes == 40).any() else None
    assert 0.08 < forest < 0.3  # -8 dB
    assert crops is None or crops < forest
    vv, _ = each.read(*window)
    vh, _ = band(first, "VH").read(*window)
    assert 3 < vv.mean() / vh.mean() < 8  # 5 to 9 dB, by class
    assert source.describe().variables[0].bands[0] == "vv_asc"


def test_slices_of_a_datatake_agree_where_they_overlap(archive: SyntheticArchive) -> None:
    takes: dict[tuple[object, ...], list[Scene]] = defaultdict(list)
    for scene in archive.collection(RADAR) or ():
        if scene.properties["instrumentMode"] == "IW":
            takes[scene.properties["segmentStartTime"], scene.properties["missionDataTakeID"]].append(scene)
    pairs = [scenes for scenes in takes.values() if len(scenes) == 2]
    assert pairs
    first, second = next((a, b) for a, b in pairs if band(a, "VV").crs == band(b, "VV").crs)
    place = first.footprint.intersection(second.footprint).centroid
    (one, seen), (other, also) = (band(s, "VV").read(*around(band(s, "VV"), place.x, place.y)) for s in (first, second))
    assert seen.all()
    assert also.all()
    np.testing.assert_array_equal(one, other)
    assert first.properties["system:time_start"] != second.properties["system:time_start"]
    assert first.properties["sliceNumber"] != second.properties["sliceNumber"]


def test_there_are_scenes_that_a_careless_filter_would_take(archive: SyntheticArchive) -> None:
    kinds = {
        (
            s.properties["instrumentMode"],
            s.properties["resolution_meters"],
            tuple(s.properties["transmitterReceiverPolarisation"]),
        )
        for s in at(archive, RADAR, *HERE)
    }
    assert kinds == {("IW", 10, ("VV", "VH")), ("EW", 40, ("VV", "VH")), ("IW", 10, ("VV",))}


def test_a_direction_and_a_season_are_missing_somewhere(archive: SyntheticArchive) -> None:
    def passes(place: Place) -> list[Scene]:
        west, south, east, north = place.bounds
        return at(archive, RADAR, (west + east) / 2, (south + north) / 2)

    assert {s.properties["orbitProperties_pass"] for s in passes(ASCENDING_ONLY)} == {"ASCENDING"}
    assert {s.properties["orbitProperties_pass"] for s in passes(LUXEMBOURG)} == {"ASCENDING", "DESCENDING"}
    assert passes(JUTLAND)
    months = {(when(scene).year, when(scene).month) for scene in passes(NO_SUMMER)}
    assert not months & {(2020, 6), (2020, 7), (2020, 8)}
    assert {(2020, 5), (2020, 9), (2021, 7)} <= months


def test_optical_tiles_are_those_of_the_military_grid(archive: SyntheticArchive) -> None:
    scenes = at(archive, SURFACE, *HERE)
    tiles = {scene.properties["MGRS_TILE"]: scene for scene in scenes}
    # The corners are those of the real tiles: multiples of 60 m.
    assert band(tiles["31UGR"], "B2").transform[2::3] == (699_960.0, 5_600_040.0)
    assert {band(scene, "B2").crs for scene in scenes} == {"EPSG:32631", "EPSG:32632"}
    pixels = {each.name: (each.transform[0], each.shape[0]) for each in scenes[0].bands}
    assert (pixels["B2"], pixels["B5"], pixels["B1"]) == ((10.0, 10_980), (20.0, 5490), (60.0, 1830))
    assert "B10" not in pixels
    assert len(pixels) == 14
    assert "B10" in {each.name for each in at(archive, "COPERNICUS/S2_HARMONIZED", *HERE)[0].bands}


def test_flags_of_clouds_agree_with_each_other(archive: SyntheticArchive) -> None:
    scores = {
        scene.properties["system:index"]: scene
        for scene in at(archive, "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED", *HERE)
    }
    scenes = at(archive, SURFACE, *HERE)
    assert 0 < sum(scene.properties["system:index"] not in scores for scene in scenes) < len(scenes) / 4
    mixed = 0
    for scene in scenes[:40]:
        # 60 m pixels, and the 20 m and 10 m pixels in them.
        row, _, col, _ = around(band(scene, "QA60"), *HERE)
        qa60, _ = band(scene, "QA60").read(row, row + 60, col, col + 60)
        scl, seen = band(scene, "SCL").read(3 * row, 3 * row + 180, 3 * col, 3 * col + 180)
        cloud = np.isin(scl, (8, 9))
        np.testing.assert_array_equal(cloud, np.kron(qa60 > 0, np.ones((3, 3), bool)))
        mixed += int(cloud.any() and not cloud.all())
        if scene.properties["system:index"] in scores:
            each = band(scores[scene.properties["system:index"]], "cs")
            cs, _ = each.read(6 * row, 6 * row + 360, 6 * col, 6 * col + 360)
            np.testing.assert_array_equal((cs[::2, ::2] < 0.42) & seen, cloud & seen)
    assert mixed


def test_a_datatake_comes_in_two_baselines(archive: SyntheticArchive) -> None:
    baselines: dict[str, set[str]] = defaultdict(set)
    for scene in at(archive, SURFACE, *HERE):
        datatake, _, _ = scene.properties["DATATAKE_IDENTIFIER"].rpartition("_N")
        baselines[datatake].add(scene.properties["PROCESSING_BASELINE"])
    assert {len(found) for found in baselines.values()} == {1, 2}


def test_qa60_is_empty_in_its_gap() -> None:
    archive = SyntheticArchive(places=(JUTLAND,), years=(2022, 2022))
    for scene in archive.collection(SURFACE) or ():
        each = band(scene, "QA60")
        _, valid = each.read(900, 910, 900, 910)
        _, seen = band(scene, "SCL").read(2700, 2710, 2700, 2710)
        assert valid.any() == (seen.any() and when(scene) < datetime(2022, 1, 25, tzinfo=UTC))


def test_raw_gssic_is_the_scaled_one() -> None:
    archive = SyntheticArchive()
    base = "Earth_Big_Data/GLOBAL_SEASONAL_S1/V2019"
    rules = {
        "BACKSCATTER": lambda n: 20 * np.log10(n) - 83,
        "COHERENCE": lambda n: n / 100,
        "DECAY_MODEL_PARAMETERS": lambda n: n / 1000,
    }
    for kind, rule in rules.items():
        (scaled,), (raw,) = at(archive, f"{base}/{kind}", *HERE), at(archive, f"{base}/{kind}_RAW", *HERE)
        for one, other in zip(scaled.bands, raw.bands, strict=True):
            window = around(one, *HERE, 8)
            (values, valid), (numbers, also) = one.read(*window), other.read(*window)
            assert one.name == other.name
            np.testing.assert_array_equal(valid, also)
            np.testing.assert_allclose(values[valid], rule(numbers[valid].astype(float)), atol=1e-4)


def test_amounts_of_finer_cells_add_up_to_those_of_coarser_ones(archive: SyntheticArchive) -> None:
    (coarse,) = (s for s in archive.collection("JRC/GHSL/P2023A/GHS_BUILT_S") or () if s.id.endswith("/2020"))
    (fine,) = archive.collection("JRC/GHSL/P2023A/GHS_BUILT_S_10m") or ()
    row, _, col, _ = around(band(coarse, "built_surface"), *HERE)
    large, _ = band(coarse, "built_surface").read(row, row + 40, col, col + 40)
    small, _ = band(fine, "built_surface").read(10 * row, 10 * row + 400, 10 * col, 10 * col + 400)
    assert large.max() <= 10_000
    assert small.max() <= 100
    sums = small.reshape(40, 10, 40, 10).sum(axis=(1, 3), dtype=float)
    assert np.corrcoef(sums.ravel(), large.ravel())[0, 1] > 0.9


def test_vegetation_has_its_codes_and_adds_up(archive: SyntheticArchive) -> None:
    scene = (archive.collection("MODIS/061/MOD44B") or ())[0]
    assert when(scene).timetuple().tm_yday == 65
    names = ("Percent_Tree_Cover", "Percent_NonTree_Vegetation", "Percent_NonVegetated")
    parts = [band(scene, name).read(*around(band(scene, name), *HERE, 60))[0].astype(int) for name in names]
    plain = parts[0] <= 100
    assert 0 < (parts[0] == 253).sum() < 60
    assert np.abs(sum(parts)[plain] - 100).max() <= 2


def test_pixels_are_the_same_in_any_window_from_any_thread() -> None:
    archives = [SyntheticArchive(places=(JUTLAND,), years=(2020, 2020), memory=memory) for memory in (1, 2**27)]
    lon, lat = 9.3, 57.1
    jobs = [(name, of) for name, of in ((RADAR, "VH"), (SURFACE, "B3")) for _ in range(4)]

    def read(job: tuple[int, tuple[str, str]]) -> Iterator[NDArray[np.generic]]:
        number, (name, of) = job
        wholes = []
        for archive in archives:
            each = band(at(archive, name, lon, lat)[number % 4], of)
            row, _, col, _ = around(each, lon, lat)
            whole, _ = each.read(row, row + 300, col, col + 20)
            part, _ = each.read(row + 130, row + 150, col + 7, col + 11)
            np.testing.assert_array_equal(part, whole[130:150, 7:11])
            wholes.append(whole)
        np.testing.assert_array_equal(*wholes)
        return iter(wholes)

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(read, enumerate(jobs)))) == 8


def test_blocks_are_computed_once_and_forgotten_by_size() -> None:
    blocks = Blocks(3 * 256 * 256)
    made: list[tuple[int, ...]] = []
    gate = threading.Lock()

    def compute(window: tuple[int, int, int, int]) -> tuple[NDArray[np.uint8]]:
        with gate:
            made.append(window)
        rows, cols = np.mgrid[window[0] : window[1], window[2] : window[3]]
        return (((rows * 3 + cols) % 251).astype(np.uint8),)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: blocks.window("key", (-10, 20, 250, 260), compute)[0], range(16)))
    rows, cols = np.mgrid[-10:20, 250:260]
    for each in found:
        np.testing.assert_array_equal(each, (rows * 3 + cols) % 251)
    # Four blocks, of which three are kept.
    assert len(set(made)) == 4
    assert blocks._size <= 3 * 256 * 256


def test_coordinates_of_a_block_are_exact() -> None:
    lattice = Lattice("EPSG:32631", 10.0, 10.0, 3.27, 8.11)
    window = (-551_000, -550_744, 71_000, 71_256)
    lon, lat = lattice.lonlat(window)
    rows, cols = np.mgrid[window[0] : window[1], window[2] : window[3]] + 0.5
    x, y = transformer("EPSG:4326", "EPSG:32631").transform(lon, lat)
    np.testing.assert_allclose(x, 3.27 + 10 * cols, atol=2e-3)
    np.testing.assert_allclose(y, 8.11 - 10 * rows, atol=2e-3)
    assert Land(0, 1000).seed == 0
