"""Statistics of small datasets against numpy on their pixels, however they came about."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.splits.policy import Split
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.finalize import finalize
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.statistics.counts import SPLITS, histogram_name
from m3leo_prep.pipeline.statistics.numbers import PERCENTILES
from m3leo_prep.pipeline.statistics.second_pass import ask, from_pixels
from m3leo_prep.pipeline.todo import task_of
from m3leo_prep.pipeline.unit import build_unit
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.runners.processes import Processes
from m3leo_prep.runners.threads import Threads
from m3leo_prep.store.ledger import Record
from tests.pipeline.conftest import LARGE, MINI, SMALL, area, plan, tree
from tests.pipeline.tampering import change

SPLIT = MINI + "splits: {policy: random, seed: 8}\n"
"""A seed by which no unit of four chips lies in one split."""
TWO = """
name: mini
grid: {chip_px: 32, resolution: 10}
layers:
  landcover: {role: label, source: synthetic, product: landcover}
  s1: {source: synthetic, product: s1, slots: {periods: [[2020-06-01, 2020-06-12], [2020-07-07, 2020-07-12]]}}
splits: {policy: random, seed: 8}
"""
"""A static layer of classes, a timed one of quantities."""


def planned(folder: Path, bounds: tuple[float, float, float, float] = SMALL, recipe: str = SPLIT) -> Plan:
    """Return a plan that goes on from the dataset in ``folder/d`` if there is one."""
    previous = DatasetFolder(folder / "d").frozen()
    return plan(recipe, area(bounds), base=folder, previous=previous)


@pytest.fixture(scope="session")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the dataset ``d``; whoever changes it copies it first."""
    folder = tmp_path_factory.mktemp("split")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        build(planned(folder), folder / "d", runner=Threads(2))
    return folder


@pytest.fixture
def copy(split: Path, tmp_path: Path) -> Path:
    shutil.copytree(split, tmp_path / "c")
    return tmp_path / "c"


def stats(path: Path, layer: str, policy: str = "") -> dict[str, Any]:
    made: dict[str, Any] = json.loads((path / "stats" / f"{layer}{policy}.json").read_text())
    return made


def numbers(path: Path) -> dict[str, Any]:
    """Return what is told of the pixels, without digests, which depend on the order of the rows."""
    return {file.stem: stats(path, file.stem)["variables"] for file in sorted((path / "stats").iterdir())}


def train_rows(folder: Path) -> np.ndarray:
    frozen = DatasetFolder(folder / "d").frozen()
    assert frozen is not None
    assert frozen.split is not None
    return np.flatnonzero(frozen.split == Split.TRAIN)


# -- what they say -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["position", "degrees", "s1"])
def test_quantities_are_those_of_numpy_on_the_train_pixels(split: Path, layer: str) -> None:
    dataset, rows = Dataset(split / "d"), train_rows(split)
    assert 0 < len(rows) < len(dataset)
    document = stats(split / "d", layer)
    assert (document["policy"], document["from"], document["chips"]) == ("random", "train", len(rows))
    (variable,) = document["variables"].values()
    for place, about in enumerate(variable["bands"].values()):
        parts = [dataset.read(int(row), layer) for row in rows]
        pixels = np.concatenate([values[..., place, :, :][valid[..., place, :, :]] for values, valid in parts])
        pixels = pixels.astype(np.float64)
        assert about["count"] == len(pixels)
        if not len(pixels):
            assert about["mean"] is about["std"] is about["percentiles"] is about["histogram"] is None
            continue
        assert about["mean"] == pytest.approx(pixels.mean(), rel=1e-6)
        assert about["std"] == pytest.approx(pixels.std(), rel=1e-6)
        assert (about["min"], about["max"]) == pytest.approx((pixels.min(), pixels.max()), rel=1e-6)
        exact = np.percentile(pixels, PERCENTILES, method="inverted_cdf")
        off = about["percentile_resolution"] + 1e-6 * np.abs(pixels).max()
        assert list(about["percentiles"].values()) == pytest.approx(exact.tolist(), abs=off)
        assert sum(about["histogram"]["counts"]) == len(pixels)


def test_classes_are_counted_by_code(split: Path) -> None:
    dataset = Dataset(split / "d")
    codes = np.concatenate([dataset.read(int(row), "landcover")[0].ravel() for row in train_rows(split)])
    (variable,) = stats(split / "d", "landcover")["variables"].values()
    (about,) = variable["bands"].values()
    found, n = np.unique(codes[codes != 255], return_counts=True)
    assert about == {"count": int(n.sum()), "classes": dict(zip(map(str, found.tolist()), n.tolist(), strict=True))}


def test_without_splits_all_chips_count_and_that_is_said(built: Path) -> None:
    document = stats(built, "position")
    assert (document["policy"], document["from"]) == ("none", "all chips")
    assert document["chips"] == len(Dataset(built))
    assert document["variables"]["position"]["bands"]["x"]["count"] == document["chips"] * 32**2


def test_they_are_small_files_of_the_manifest(split: Path) -> None:
    assert {name for name in Dataset(split / "d").manifest["files"] if name.startswith("stats/")} == {
        f"stats/{layer}.json" for layer in ("position", "degrees", "landcover", "s1")
    }
    assert verify(split / "d").ok


# -- however they came about -------------------------------------------------------------------------------------------


def test_workers_and_order_change_nothing(split: Path, tmp_path: Path) -> None:
    build(planned(tmp_path), tmp_path / "d", runner=Processes(2))
    assert tree(tmp_path / "d") == tree(split / "d")


@pytest.mark.parametrize("chips", [4, 5], ids=["whole shards", "part-filled shards"])
def test_growth_gives_the_numbers_of_a_fresh_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chips: int) -> None:
    monkeypatch.setattr(layer_module, "SHARD_CHIPS", (chips,))
    for name in ("grown", "fresh"):
        (tmp_path / name).mkdir()
    build(planned(tmp_path / "grown", recipe=TWO), tmp_path / "grown" / "d", runner=Threads(1))
    for name in ("grown", "fresh"):
        build(planned(tmp_path / name, LARGE, TWO), tmp_path / name / "d", runner=Threads(2))
    assert numbers(tmp_path / "grown" / "d") == numbers(tmp_path / "fresh" / "d")


def records(folder: Path) -> tuple[Plan, dict[str, Record]]:
    dataset = DatasetFolder(folder / "d")
    frozen = dataset.frozen()
    assert frozen is not None
    return frozen, dataset.ledger.records()


def copied(folder: Path, layer: str, edit: Callable[[dict[str, Any]], None], **task: Any) -> tuple[Record, Record]:
    """Return (what is built anew, what is built from the unit's record after ``edit`` changed that one's arrays)."""
    frozen, made = records(folder)
    unit = next(iter(frozen.layer(layer).units(len(frozen.cells))))
    arrays = dict(made[unit.id].arrays)
    edit(arrays)
    prior = dataclasses.replace(made[unit.id], arrays=arrays)
    with_prior = dataclasses.replace(task_of(frozen, unit, prior), **task)
    assert pickle.loads(pickle.dumps(with_prior)).splits.tolist() == with_prior.splits.tolist()
    blobs = LocalBlobs(folder / "d")
    taken = build_unit(with_prior, blobs)
    return build_unit(dataclasses.replace(with_prior, prior=None), blobs), taken


def same(one: Record, other: Record) -> None:
    assert one.arrays.keys() == other.arrays.keys()
    for name, values in one.arrays.items():
        np.testing.assert_array_equal(values, other.arrays[name], err_msg=name)


def of_another_chip(arrays: dict[str, Any]) -> None:
    """Make it seem that the second chip was made of something else."""
    arrays["digests"] = arrays["digests"].copy()
    arrays["digests"][1] ^= 1


@pytest.mark.parametrize("layer", ["position", "s1"])
def test_chips_that_are_copied_beside_new_ones_are_counted(copy: Path, layer: str) -> None:
    same(*copied(copy, layer, of_another_chip))


@pytest.mark.parametrize(
    ("series", "codec"),
    [(0, "zstd"), (2**16, "none")],
    ids=["a chunk a slot", "a chunk a series, not compressed"],
)
def test_chips_that_are_copied_are_counted_in_their_present_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, series: int, codec: str
) -> None:
    monkeypatch.setattr(layer_module, "SERIES_CHUNK_BYTES", series)
    recipe = SPLIT.replace("product: s1,", f"product: s1, band_chunk: 1, codec: {codec},")
    build(planned(tmp_path, recipe=recipe), tmp_path / "d", runner=Threads(1), layers=["s1"])
    now = np.array([3, 0, 1, 2], np.uint8)
    fresh, taken = copied(tmp_path, "s1", lambda arrays: None, splits=now)
    same(fresh, taken)
    assert set(fresh.arrays[histogram_name("backscatter")][0]) == {0, 1, 2, 3}


def test_a_record_without_histograms_is_counted_when_it_is_copied(copy: Path) -> None:
    """Its sums of squares are plain ones."""

    def old(arrays: dict[str, Any]) -> None:
        arrays.pop(SPLITS)
        arrays.pop(histogram_name("backscatter"))
        n, total, squares = np.moveaxis(arrays["moments.backscatter"][..., :3], -1, 0)
        arrays["moments.backscatter"][..., 2] = squares + total**2 / np.maximum(n, 1)

    fresh, taken = copied(copy, "s1", old)
    for name in (SPLITS, histogram_name("backscatter")):
        np.testing.assert_array_equal(fresh.arrays[name], taken.arrays[name])
    np.testing.assert_allclose(taken.arrays["moments.backscatter"], fresh.arrays["moments.backscatter"], rtol=1e-6)


def test_the_histogram_that_holds_is_taken_over_unread(copy: Path) -> None:
    """A wrong count shows: nothing was counted anew."""

    def mark(arrays: dict[str, Any]) -> None:
        arrays[histogram_name("backscatter")] = arrays[histogram_name("backscatter")] * np.array([[1], [1], [1], [2]])

    fresh, taken = copied(copy, "s1", mark)
    name = histogram_name("backscatter")
    assert np.array_equal(taken.arrays[name][3], 2 * fresh.arrays[name][3])


def test_other_splits_leave_no_unit_to_build_and_percentiles_are_said_to_be_missing(copy: Path) -> None:
    """Means come from each chip's moments, so they follow at once."""
    before = stats(copy / "d", "s1")
    folder = DatasetFolder(copy / "d")
    frozen = folder.frozen()
    assert frozen is not None
    now = dataclasses.replace(frozen, split=np.roll(frozen.split, 1))
    assert all(task_of(now, u, None).digest == task_of(frozen, u, None).digest for u in frozen.units())
    finalize(folder, now)
    document = stats(copy / "d", "s1")
    assert "3 of 3 shards were counted for other splits" in document["percentiles_missing"]
    about = document["variables"]["backscatter"]["bands"]["vv_desc"]
    assert about["percentiles"] is about["histogram"] is None
    assert about["mean"] != before["variables"]["backscatter"]["bands"]["vv_desc"]["mean"]
    rows = np.flatnonzero(now.split == Split.TRAIN)
    dataset = Dataset(copy / "d")
    pixels = np.concatenate([v[..., 2, :, :][k[..., 2, :, :]] for v, k in (dataset.read(int(r), "s1") for r in rows)])
    assert about["mean"] == pytest.approx(pixels.mean(dtype=np.float64), rel=1e-6)


def test_a_layer_that_goes_takes_its_statistics_along(copy: Path) -> None:
    (copy / "d" / "stats" / "gone.json").write_text("{}")
    folder = DatasetFolder(copy / "d")
    frozen = folder.frozen()
    assert frozen is not None
    finalize(folder, dataclasses.replace(frozen, layers=frozen.layers[1:]))
    gone = f"{frozen.layers[0].layer.name}.json"
    left = {file.name for file in (copy / "d" / "stats").iterdir()}
    assert left == {"position.json", "degrees.json", "landcover.json", "s1.json"} - {gone}


# -- D64 ---------------------------------------------------------------------------------------------------------------

SPIKE = """
    from dataclasses import dataclass
    import numpy as np
    from m3leo_prep.core.raster import Raster
    from m3leo_prep.sources.ramp import Ramp


    @dataclass(frozen=True)
    class Spike(Ramp):
        '''The ramp, with a million added inside one chip.'''

        left: float = 0.0
        top: float = 0.0

        def read(self, items, geobox, slot):
            for raster in super().read(items, geobox, slot):
                x, y = raster.data
                inside = (x > self.left) & (x < self.left + 320) & (y < self.top) & (y > self.top - 320)
                yield Raster(raster.data + 1e6 * inside, raster.valid, raster.geobox, raster.item, raster.variable)
    """


@pytest.mark.parametrize(("where", "shows"), [("train", True), ("test", False), ("val", False)])
def test_an_outlier_shows_if_it_lies_in_train_and_only_then(
    split: Path, tmp_path: Path, write_source: Callable[[str], Path], where: str, *, shows: bool
) -> None:
    write_source(SPIKE)
    frozen, _ = records(split)
    row = int(np.flatnonzero(frozen.split == Split[where.upper()])[0])
    left, top = (float(v[row]) for v in frozen.cells.upper_left())
    recipe = f"""
        name: mini
        grid: {{chip_px: 32, resolution: 10}}
        layers: {{position: {{source: "./my_source.py:Spike", left: {left}, top: {top}}}}}
        splits: {{policy: random, seed: 8}}
        """
    build(planned(tmp_path, recipe=recipe), tmp_path / "d", runner=Threads(1))
    assert Dataset(tmp_path / "d").read(row, "position")[0].min() > 1e6, "it is there"
    found, clean = (stats(path, "position")["variables"] for path in (tmp_path / "d", split / "d"))
    assert (found != clean) == shows


# -- from the pixels ---------------------------------------------------------------------------------------------------


def test_a_pass_over_the_pixels_gives_the_very_same(split: Path) -> None:
    asked = ask(split / "d")
    written = asked.written()
    assert set(written) == {"position", "degrees", "landcover", "s1"}
    seen: list[str] = []
    assert from_pixels(asked, list(written), seen.append) == written
    assert seen.count("s1") == len(train_rows(split))


@pytest.mark.parametrize(("where", "shows"), [("train", True), ("test", False)])
def test_a_pass_reads_train_alone(copy: Path, where: str, *, shows: bool) -> None:
    frozen, _ = records(copy)
    row = int(np.flatnonzero(frozen.split == Split[where.upper()])[0])
    before = stats(copy / "d", "position")["variables"]
    change(copy / "d", "position", row, lambda codes: codes.__setitem__((0, 5, 5), 1e9))
    found = from_pixels(ask(copy / "d"), ["position"], lambda name: None)["position"]["variables"]
    assert (found != before) == shows


def test_names_that_are_not_there_are_refused_with_the_way_out(split: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)no split policy 'nroth'.*m3leo-prep split"):
        ask(split / "d", "nroth")
    with pytest.raises(ConfigError, match=r"(?s)no layer 's2'.*choose from: degrees"):
        ask(split / "d", None, ["s2"])
