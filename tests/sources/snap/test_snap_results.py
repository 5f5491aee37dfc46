"""From a scene to pixels on the chips' grid: the stand-in for SNAP is run as a process, and misbehaves as told."""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import rasterio

from m3leo_prep.core.errors import CredentialsError, NoData, SourceError, StoreError, TriedOut
from m3leo_prep.sources.snap import dimap, shelf
from m3leo_prep.sources.snap.chains import Grid, rtc
from m3leo_prep.sources.snap.graph import Graph
from m3leo_prep.sources.snap.installed import find
from m3leo_prep.sources.snap.making import TAG, orbits
from m3leo_prep.testing.snap import FakeSnap, field, pack, write_scene
from m3leo_prep.testing.snap import main as snap_program

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
        about = json.loads(raster.tags()[TAG])
    assert (about["orbits"], about["snap"], about["scenes"]) == ("precise", "13.0.4", [NAME])
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


def looked_at(fake, folder, archive, fault="", change=lambda node: node, grid=GRID):
    """Return what the stand-in wrote, as it is taken; it runs in this process."""
    (fake.home / "fault").write_text(fault)
    graph = Graph(tuple(map(change, rtc(archive, folder / "output.dim", grid, ("VV", "VH")).nodes)))
    (folder / "graph.xml").write_text(graph.xml(13))
    assert snap_program([str(fake.home), str(folder / "graph.xml")]) == 0
    return dimap.read(graph.output(), grid, NAME)


def test_pixels_lie_on_the_grid_of_the_south_too(snap, tmp_path):
    """Northings count from 10 000 km below the equator there."""
    archive = pack(write_scene(tmp_path / "south", NAME, [(lon, -lat) for lon, lat in CORNERS]))
    written = looked_at(snap, tmp_path, archive, grid=Grid(32732, 40.0))
    assert (written.west % 40, written.north % 40) == (0, 0)
    assert 4_500_000 < written.north < 4_520_000


def test_an_origin_of_zero_would_shift_all_pixels_by_half_of_one(snap, archive, tmp_path):
    """SNAP aligns the middles of pixels: what looks right in the graph is not, and is not taken."""

    def zero(node):
        if node.operator.alias != "Terrain-Correction":
            return node
        return replace(node, operator=replace(node.operator, standard_grid_origin_x=0.0, standard_grid_origin_y=0.0))

    with pytest.raises(SourceError, match=r"0\.500 px off the chips' grid"):
        looked_at(snap, tmp_path, archive, change=zero)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("no output", TriedOut, "no whole product"),
        ("truncated", TriedOut, "bytes of"),
        ("unaligned", SourceError, "0.300 px off"),
        ("other zone", SourceError, "off those of EPSG:32632"),
    ],
)
def test_what_snap_wrote_is_looked_at_before_it_is_taken(snap, archive, tmp_path, fault, error, message):
    with pytest.raises(error, match=message):
        looked_at(snap, tmp_path, archive, fault)


def test_once_for_all_threads_and_nothing_is_left_but_the_result_its_graph_and_its_log(snap, archive, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: made(archive), range(4)))
    assert paths == {made(archive)}
    assert len(snap.runs) == 1
    folder = tmp_path / "results"
    files = [one for one in folder.rglob("*") if one.is_file() and one.name[0] != "."]
    assert sorted(one.suffix for one in files) == [".lock", ".log", ".tif", ".xml"]
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
        ("no intersection", NoData, "no intersection"),
        ("no output", TriedOut, "no whole product"),
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
    assert sorted(left) == [".failed", ".lock", ".log", ".xml"]


def attempt(archive):
    with pytest.raises(TriedOut, match="memory runs out"):
        made(archive)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (("Sentinel Precise S1A_OPER_AUX_POEORB_OPOD_20210208T121212.EOF",), "precise"),
        # SNAP leaves the word that it was asked with.
        (("Sentinel Precise S1A_OPER_AUX_RESORB_OPOD_20210119T064131.EOF",), "restituted"),
        (("Sentinel Precise S1A_OPER_AUX_POEORB_x.EOF", "Sentinel Precise S1A_OPER_AUX_RESORB_x.EOF"), "restituted"),
        (("",), "unknown"),
    ],
)
def test_orbits_are_told_by_the_files_that_were_used(files, told):
    """D102: ``ApplyOrbitFileOp`` takes restituted ones by itself where there is no precise one."""
    assert orbits(dimap.Written((1, 1), 0.0, 0.0, {}, files)) == told


def test_what_failed_is_tried_again_by_the_next_run_and_by_none_of_this_ones_processes(
    snap, archive, tmp_path, monkeypatch
):
    """Units are built by processes: eight of them must not wait for the same end, one after the other."""
    snap.misbehave("killed")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        pool.submit(attempt, archive).result()
    attempt(archive)
    assert len(snap.runs) == 1
    monkeypatch.setenv("M3LEO_PREP_SNAP_HOURS", "12")
    attempt(archive)
    assert len(snap.runs) == 2, "other bounds may end otherwise"
    (note,) = tmp_path.glob("results/logs/*.failed")
    noted = json.loads(note.read_text())
    note.write_text(json.dumps(noted | {"run": "another"}))
    snap.misbehave("")
    assert made(archive).is_file()
    assert not note.exists()


def test_what_a_person_mends_is_asked_for_again(snap, archive):
    """A notebook is one long run: after a login, or with room on the disk, the same call goes on."""
    asked = []

    def fetch(name):
        asked.append(name)
        if len(asked) == 1:
            raise CredentialsError("no login")
        return archive

    with pytest.raises(CredentialsError):
        shelf.result(task(), find(), fetch)
    assert shelf.result(task(), find(), fetch).is_file()


def test_a_folder_that_cannot_be_written_is_told_with_its_own_variable(snap, archive, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("M3LEO_PREP_SNAP", str(tmp_path / "file" / "below"))
    with pytest.raises(StoreError) as caught:
        made(archive)
    assert "M3LEO_PREP_SNAP names another folder" in caught.value.hint
