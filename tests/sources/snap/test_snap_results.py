"""From a scene to pixels on the chips' grid: the stand-in for SNAP is run as a process, and misbehaves as told."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from m3leo_prep.core.errors import NoData, SourceError, TriedOut
from m3leo_prep.sources.snap import shelf
from m3leo_prep.sources.snap.chains import Grid, rtc
from m3leo_prep.sources.snap.graph import Graph
from m3leo_prep.sources.snap.installed import find
from m3leo_prep.sources.snap.making import TAG
from m3leo_prep.testing.snap import FakeSnap, field, pack, write_scene

NAME = "S1A_IW_GRDH_1SDV_20210119T031653_20210119T031718_036201_043ED0_8255"
CORNERS = [(9.000123, 49.500321), (9.0412, 49.5023), (9.0399, 49.5266), (8.9991, 49.5251)]
GRID = Grid(32632, 10.0)
BANDS = {"vv": "Gamma0_VV", "vh": "Gamma0_VH", "mask": "layoverShadowMask"}


@pytest.fixture
def snap(tmp_path, monkeypatch):
    fake = FakeSnap(tmp_path)
    monkeypatch.setenv("M3LEO_PREP_GPT", str(fake.gpt))
    monkeypatch.setenv("M3LEO_PREP_SNAP", str(tmp_path / "results"))
    monkeypatch.delenv("M3LEO_PREP_SNAPPY", raising=False)
    return fake


@pytest.fixture
def archive(tmp_path):
    return pack(write_scene(tmp_path / "scenes", NAME, CORNERS))


def task(grid=GRID, graph=rtc):
    return shelf.Task(NAME, (NAME,), grid, lambda inputs, output: graph(inputs[0], output, grid, ("VV", "VH")), BANDS)


def made(archive, grid=GRID, graph=rtc):
    return shelf.result(task(grid, graph), find(), lambda _: archive)


def test_pixels_lie_exactly_on_the_chips_grid(snap, archive):
    """D103. The field is known everywhere: what the result holds at a chip's pixel is what belongs there."""
    grid = Grid(32632, 20.0)
    with rasterio.open(made(archive, grid)) as raster:
        at, data = raster.transform, raster.read()
        assert raster.crs.to_epsg() == 32632
        assert raster.descriptions == tuple(BANDS), "in our order and by our names, whatever the order of the files"
        assert json.loads(raster.tags()[TAG])["orbits"] == "precise"
    assert (at.a, at.e) == (20.0, -20.0)
    assert at.c % 20 == 0, "pixel edges, not middles, on whole multiples of the pitch"
    assert at.f % 20 == 0
    x = at.c + (np.arange(data.shape[2]) + 0.5) * 20.0
    y = at.f - (np.arange(data.shape[1]) + 0.5) * 20.0
    for plane, name in zip(data[:2], ("Gamma0_VV", "Gamma0_VH"), strict=True):
        truth = field(x[None], y[:, None], name)
        assert np.abs(shift(plane[2:], truth[2:])).max() < 0.05
        np.testing.assert_allclose(plane[2:], truth[2:], rtol=1e-6)


def shift(seen, truth):
    """Return by how many pixels, down and right, one image is off another, from their gradients."""
    down, right = np.gradient(truth)
    matrix = np.stack([down.ravel(), right.ravel()], axis=1)
    found, *_ = np.linalg.lstsq(matrix, (truth - seen).ravel(), rcond=None)
    return found


def test_the_measure_of_shift_sees_half_a_pixel():
    x, y = np.meshgrid(np.arange(200) * 10.0, -np.arange(200) * 10.0)
    off = shift(field(x - 5, y, "Gamma0_VV"), field(x, y, "Gamma0_VV"))
    np.testing.assert_allclose(off, [0, 0.5], atol=0.02)


def test_an_origin_of_zero_would_shift_all_pixels_by_half_of_one(snap, archive):
    """SNAP aligns the middles of pixels: what looks right in the graph is not, and is not taken."""

    def zero(*arguments):
        graph = rtc(*arguments)
        nodes = [
            replace(node, operator=replace(node.operator, standard_grid_origin_x=0.0, standard_grid_origin_y=0.0))
            if node.operator.alias == "Terrain-Correction"
            else node
            for node in graph.nodes
        ]
        return Graph(tuple(nodes))

    with pytest.raises(SourceError, match=r"0\.500 px off the chips' grid"):
        made(archive, graph=zero)


def test_once_for_all_threads_and_kept(snap, archive):
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: made(archive), range(4)))
    assert len(paths) == 1
    assert len(snap.runs) == 1
    assert made(archive) in paths
    assert len(snap.runs) == 1


def test_nothing_is_left_but_the_result_its_graph_and_its_log(snap, archive, tmp_path):
    path = made(archive)
    folder = tmp_path / "results"
    seen = sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file() and one.name[0] != ".")
    kinds = [Path(one).suffix for one in seen]
    assert sorted(kinds) == [".lock", ".log", ".tif", ".xml"]
    assert path.suffix == ".tif"
    assert "INFO" in next(folder.glob("logs/*.log")).read_text()
    assert str(archive) in next(folder.glob("logs/*.xml")).read_text()


def test_another_release_another_graph_and_another_scene_are_other_results(snap):
    key = task().key(find())
    assert task(Grid(32632, 20.0)).key(find()) != key
    assert task(graph=lambda *given: rtc(*given, filtered=True)).key(find()) != key
    assert replace(task(), scenes=(f"{NAME}_COG",)).key(find()) != key
    (snap.home / "VERSION.txt").write_text("13.0.5")
    assert task().key(find()) != key


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("killed", TriedOut, "memory runs out"),
        ("no memory", TriedOut, "ran out of memory"),
        ("no intersection", NoData, "no intersection"),
        ("no orbit", TriedOut, "neither a precise nor a restituted"),
        ("no output", TriedOut, "no whole product"),
        ("truncated", TriedOut, "bytes of"),
        ("unaligned", SourceError, "0.300 px off"),
        ("other zone", SourceError, "off those of EPSG:32632"),
        ("another band", SourceError, "0 bands 'Gamma0_VV'"),
    ],
)
def test_a_run_that_fails_leaves_its_log_and_no_output(snap, archive, tmp_path, fault, error, message):
    """D101; what failed is told again at once, and SNAP is not run anew for each window."""
    snap.misbehave(fault)
    for _ in range(2):
        with pytest.raises(error, match=message):
            made(archive)
    assert len(snap.runs) == 1
    left = [one.suffix for one in (tmp_path / "results").rglob("*") if one.is_file() and one.name[0] != "."]
    assert sorted(left) == [".lock", ".log", ".xml"]


def test_which_orbits_were_used_is_recorded(snap, archive):
    """D102: SNAP takes restituted ones by itself where there is no precise one, and says so in the product."""
    snap.misbehave("restituted")
    with rasterio.open(made(archive)) as raster:
        about = json.loads(raster.tags()[TAG])
    assert about["orbits"] == "restituted"
    assert about["snap"] == "13.0.4"
    assert about["scenes"] == [NAME]
