"""Two datasets compared: what only one has, how far values are apart, and that the figures are those of numpy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.pipeline import diff as diff_module
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.diff import Difference, VariableDifference, diff
from m3leo_prep.pipeline.tally import EDGES, Tally
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray
from m3leo_prep.runners.threads import Threads

from .conftest import LARGE, MINI, area, plan
from .tampering import change


def made(path: Path, recipe: str, bounds: tuple[float, float, float, float] | None = None) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        build(plan(recipe, area(bounds) if bounds else None), path, runner=Threads(2))
    return path


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "copy")
    return tmp_path / "copy"


def variable(found: Difference, layer: str) -> VariableDifference:
    (one,) = (v for v in found.variables if v.layer == layer)
    return one


def test_a_copy_is_identical(built: Path, copy: Path) -> None:
    found = diff(built, copy)
    assert found.identical
    assert not found.settings
    assert [v.layer for v in found.variables] == ["position", "degrees", "landcover", "s1"]
    assert all(v.equal and not v.worst for v in found.variables)
    s1 = variable(found, "s1")
    assert sum(band.both for band in s1.bands) == sum(
        int(Dataset(built).read(row, "s1")[1].sum()) for row in range(len(Dataset(built)))
    )


def test_a_grown_dataset_has_chips_of_its_own_and_equal_common_ones(built: Path, tmp_path: Path) -> None:
    found = diff(built, made(tmp_path / "large", MINI, LARGE), ["landcover"])
    n_small = len(Dataset(built))
    assert not found.identical
    assert not found.only_chips.a
    assert len(found.only_chips.b) == len(Dataset(tmp_path / "large")) - n_small > 0
    assert found.n_chips == n_small
    assert variable(found, "landcover").equal
    document = found.to_dict()
    assert document["only_chips"]["b"]["count"] == len(found.only_chips.b)
    assert len(document["only_chips"]["b"]["first"]) <= 5


def test_another_kernel_is_named_and_its_figures_are_numpys(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = made(tmp_path / "other", MINI.replace("product: s1,", "product: s1, resampling: bilinear,"))
    monkeypatch.setattr(diff_module, "READ_BYTES", 1)  # slot by slot
    found = diff(built, other)
    assert not found.identical
    assert ("s1", "backscatter", "method", "bspline", "bilinear") in {
        (s.layer, s.variable, s.name, str(s.a), str(s.b)) for s in found.settings
    }
    s1 = variable(found, "s1")
    assert s1.compared == "codes"
    a, b = (np.stack([Dataset(p).read(row, "s1")[0] for row in range(found.n_chips)]) for p in (built, other))
    apart = b.astype(np.float64) - a
    for k, band in enumerate(s1.bands):
        here = apart[:, :, k][np.isfinite(apart[:, :, k])]
        assert band.pixels == apart[:, :, k].size
        assert band.both == len(here)
        if not len(here):
            assert band.mean_abs is None
            continue
        assert band.max_abs == pytest.approx(np.abs(here).max(), abs=1e-5)
        assert band.mean_abs == pytest.approx(np.abs(here).mean(), rel=1e-4)
        assert band.rmse == pytest.approx(np.sqrt((here**2).mean()), rel=1e-4)
        assert band.bias == pytest.approx(here.mean(), abs=1e-6)
        exact = np.round(np.abs(here[np.abs(here) > 1e-4]), 2)
        assert band.differing == len(exact) == sum(band.histogram)
        expected = np.histogram(exact + 1e-6, [0, *EDGES, np.inf])[0]
        assert band.histogram == expected.tolist()
    largest = np.nanmax(np.abs(apart), axis=(1, 2, 3, 4))
    order = np.argsort(-largest)
    assert s1.worst[0].row == order[0]
    assert s1.worst[0].max_abs == pytest.approx(largest[order[0]], abs=1e-5)
    assert len(s1.worst) == min(10, found.n_chips)
    assert all(v.equal for v in found.variables if v.layer != "s1")
    json.dumps(found.to_dict(), allow_nan=False)


def test_one_changed_chip_is_found_with_its_difference(built: Path, copy: Path) -> None:
    before = Dataset(copy).read(2, "s1", slots=[0])[0]
    band = int(np.isfinite(before[0]).all(axis=(1, 2)).argmax())

    def edit(codes: NDArray[Any]) -> None:
        codes[0, band, 5, 6] += 250
        codes[0, band, 7, 8] = -32768

    change(copy, "s1", 2, edit)
    found = diff(built, copy)
    s1 = variable(found, "s1")
    (worst,) = s1.worst
    chip = Dataset(built).chips["chip_id"][2]
    assert (worst.chip, worst.row, worst.differing, worst.only_a, worst.only_b) == (chip, 2, 1, 1, 0)
    assert worst.max_abs == pytest.approx(2.5)
    tally = s1.bands[band]
    assert tally.histogram[EDGES.index(2) + 1] == 1
    assert sum(tally.histogram) == 1
    assert tally.only_a == 1
    assert not found.identical
    assert [other.equal for other in s1.bands].count(False) == 1


def test_a_swapped_class_is_a_confusion(built: Path, copy: Path) -> None:
    codes = Dataset(built).read(1, "landcover")[0]
    old = int(np.bincount(codes.reshape(-1)).argmax())
    new = 10 if old != 10 else 20

    def edit(codes: NDArray[Any]) -> None:
        codes[codes == old] = new

    change(copy, "landcover", 1, edit)
    landcover = variable(diff(built, copy), "landcover")
    n = int((codes == old).sum())
    (band,) = landcover.bands
    assert band.confusions == [(old, new, n)]
    assert band.agreement == pytest.approx(1 - n / band.both)
    assert band.mean_abs is None
    assert landcover.worst[0].row == 1


def test_what_cannot_be_compared_says_why(built: Path, tmp_path: Path) -> None:
    recipe = MINI.replace("{source: ramp}", "{source: ramp, resolution: 20}").replace(
        "  landcover: {role: label, source: synthetic, product: landcover}\n", ""
    )
    recipe = recipe.replace("[2020-07-07, 2020-07-12]", "[2020-07-08, 2020-07-12]")
    other = made(tmp_path / "other", recipe)
    found = diff(built, other)
    position = variable(found, "position")
    assert position.compared == "not compared: 32 x 32 px of 10 m and 16 x 16 px of 20 m are different lattices"
    assert not position.is_compared
    assert not position.bands
    assert found.only_layers.a == ("landcover",)
    assert found.only_slots["s1"].a == ("2020-07-07_2020-07-12",)
    assert found.only_slots["s1"].b == ("2020-07-08_2020-07-12",)
    assert all(band.equal for band in variable(found, "s1").bands)
    assert not found.identical


def test_other_encodings_are_compared_as_values() -> None:
    fine = StoredArray("v", "continuous", ("v",), "m", "int16", -32768, 0.01, 1)
    coarse = StoredArray("v", "continuous", ("v",), "m", "uint8", 255, 0.1, 1)
    tally = Tally(["v"], fine)
    tally.begin("chip", 0)
    a = np.array([[[[100, 120, -32768, 130]]]], np.int16)
    b = np.array([[[[10, 13, 7, 255]]]], np.uint8)
    tally.add(a, b, coarse, same_coding=False)
    tally.end()
    (band,) = tally.result()
    assert (band.both, band.only_a, band.only_b, band.differing) == (2, 1, 1, 1)
    assert band.max_abs == pytest.approx(0.1)
    assert band.bias == pytest.approx(0.05)


def test_codes_of_any_dtype_do_not_wrap() -> None:
    array = StoredArray("v", "angle", ("v",), "degree", "uint16", 65535, 0.01, 1)
    tally = Tally(["v"], array)
    tally.begin("chip", 0)
    tally.add(np.full((1, 1, 1, 1), 36000, np.uint16), np.zeros((1, 1, 1, 1), np.uint16), array, same_coding=True)
    tally.end()
    assert tally.result()[0].bias == pytest.approx(-360)


def test_a_wrong_layer_is_answered_with_a_near_one(built: Path) -> None:
    with pytest.raises(ConfigError, match="neither has a layer 'landcovr'") as caught:
        diff(built, built, ["landcovr"])
    assert caught.value.hint == "did you mean 'landcover'?"
