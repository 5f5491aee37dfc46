"""``explain`` and ``diff`` on a screen of 80 columns, as JSON, and when asked for what is not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import shapely

from m3leo_prep.cli import lines
from m3leo_prep.cli.explaining import run_diff, run_explain
from m3leo_prep.cli.render import OUT
from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.runners.threads import Threads

RECIPE = """
name: mini
grid: {chip_px: 32, resolution: 10}
layers:
  degrees: {source: ramp, crs: "EPSG:4326", pitch: 0.00031, resampling: bilinear, resolution: 20}
  landcover: {role: label, source: synthetic, product: landcover}
  s1: {source: synthetic, product: s1, slots: {periods: [[2020-06-01, 2020-06-12], [2020-07-07, 2020-07-12]]}}
"""


def made(path: Path, recipe: str) -> Path:
    area = Area.from_geometry(shapely.box(9.300, 57.100, 9.308, 57.103), name="here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        build(make_plan(parse_recipe(recipe), area, base=Path.cwd()), path, runner=Threads(2))
    return path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two datasets, one with another kernel."""
    base = tmp_path_factory.mktemp("two")
    return made(base / "a", RECIPE), made(
        base / "b", RECIPE.replace("product: s1,", "product: s1, resampling: bilinear,")
    )


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OUT, "width", 80)


def explained(capsys: pytest.CaptureFixture[str], dataset: Path, layer: str, **more: Any) -> str:
    run_explain(str(dataset), "0", layer, **({"x": None, "y": None, "slot": None, "as_json": False} | more))
    return capsys.readouterr().out


def test_a_layer_is_explained_in_80_columns(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    text = explained(capsys, two[0], "s1")
    assert max(map(len, text.splitlines())) <= 80
    assert "kernel   bspline; several scenes of a slot: mean" in text
    assert "value = code x 0.01 dB, of 10 log10 of the power" in text
    assert "100 % valid  OK: every pixel was observed" in text
    assert "from 2020-06-0" in text
    assert "EPSG:4326 -> EPSG:32632 by" in explained(capsys, two[0], "degrees")


def test_a_pixel_is_explained_in_80_columns(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    text = explained(capsys, two[0], "s1", x=3, y=4, slot="2020-06-01_2020-06-12")
    assert max(map(len, text.splitlines())) <= 80
    for part in ("its centre is at E ", "lon 9.", " x 0.01 = -", "10 log10 = ", "in the mean", "row "):
        assert part in text, part
    assert text.count("reproduced: the source gives") == 4
    assert "NOT REPRODUCED" not in text
    assert "dB: the weights add up to it" in text


def test_what_cannot_be_derived_again_is_a_note(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(two[0], tmp_path / "copy", ignore=shutil.ignore_patterns(".m3leo"))
    text = explained(capsys, tmp_path / "copy", "landcover", x=1, y=2)
    assert "note: nothing can be derived again: this copy has no build state (.m3leo)" in text
    assert "reproduced" not in text


def test_explain_as_json_is_one_document(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(explained(capsys, two[0], "landcover", x=1, y=2, as_json=True))
    (band,) = document["pixel"]["bands"]
    assert band["reproduced"] is True
    assert band["origin"]["scenes"][0]["neighbours"][0]["weight"] == 1
    assert band["formula"].startswith(f"{band['code']} = ")


def test_a_difference_is_told_in_80_columns(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    a, b = two
    run_diff(str(a), str(b), layers=None, as_json=False)
    text = capsys.readouterr().out
    told = [line for line in text.splitlines() if str(a.parent) not in line]
    assert max(map(len, told)) <= 80
    assert "s1.backscatter: method bspline in A, bilinear in B" in text
    assert "landcover.landcover: equal" in text
    assert "|B - A| in dB" in text
    assert "#" * 28 in text
    assert f"m3leo-prep show {a} u1_" in text
    assert text.rstrip().endswith("different: 2 of 3 common variables are equal")


def test_identical_datasets_end_with_that_word(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    run_diff(str(two[0]), str(two[0]), layers=["landcover"], as_json=False)
    assert "identical: " in capsys.readouterr().out.splitlines()[-1]
    run_diff(str(two[0]), str(two[0]), layers=None, as_json=True)
    assert json.loads(capsys.readouterr().out)["identical"] is True


def test_a_difference_as_json(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    run_diff(str(two[0]), str(two[1]), layers=None, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["identical"] is False
    s1 = next(variable for variable in document["variables"] if variable["layer"] == "s1")
    assert len(s1["bands"][0]["histogram"]) == len(document["edges"]) + 1
    assert {"mean_abs", "rmse", "bias", "agreement", "equal"} <= s1["bands"][0].keys()


def test_a_wrong_slot_is_answered_with_a_near_one(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        explained(capsys, two[0], "s1", slot="2020-06-01")
    assert "2020-06-01_2020-06-12" in caught.value.hint


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0"), (9_999, "9,999"), (10_000, "10 k"), (1_234_567, "1.23 M"), (2_500_000_000, "2.5 G")]
)
def test_counts_are_short(n: int, text: str) -> None:
    assert lines.count(n) == text


@pytest.mark.parametrize(
    ("share", "text"), [(None, "-"), (0.0, "0 %"), (1.0, "100 %"), (1e-9, "0.01 %"), (1 - 1e-9, "99.99 %")]
)
def test_only_all_is_100_percent_and_only_none_is_0(share: float | None, text: str) -> None:
    assert lines.share(share) == text
