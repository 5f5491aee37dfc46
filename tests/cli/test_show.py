"""``show``: the picture, the table beside it, and what it says when something is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from m3leo_prep.cli.main import main

RECIPE = """\
name: looking
grid: {chip_px: 32, resolution: 10}
layers:
  s1: {source: synthetic, product: s1, slots: {periods: [[2020-06-01, 2020-06-03], [2020-07-07, 2020-07-18]]}}
  s2: {source: synthetic, product: s2, slots: {periods: [[2020-06-01, 2020-06-10], [2020-07-01, 2020-07-10]]}}
  dem: {source: synthetic, product: relief}
  landcover: {role: label, source: synthetic, product: landcover}
"""
BOX = "9.300,57.100,9.306,57.103"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a function that runs a command in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["m3leo-prep", *map(str, words)])
        with pytest.raises(SystemExit) as done:
            main()
        out, err = capsys.readouterr()
        return int(done.value.code or 0), out, err

    return command


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from m3leo_prep.core.recipe import parse_recipe
    from m3leo_prep.pipeline.areas import load_area
    from m3leo_prep.pipeline.build import build
    from m3leo_prep.pipeline.plan import make_plan
    from m3leo_prep.runners.threads import Threads

    folder = tmp_path_factory.mktemp("looking")
    build(make_plan(parse_recipe(RECIPE), load_area(BOX), base=folder), folder / "made", runner=Threads(2))
    return folder / "made"


def ids(dataset: Path) -> list[str]:
    from m3leo_prep.reader.dataset import Dataset

    return [str(chip) for chip in Dataset(dataset).chips["chip_id"]]


def test_a_picture_named_by_the_chip_and_a_table(run: Run, dataset: Path, tmp_path: Path) -> None:
    chip = ids(dataset)[1]
    code, out, _ = run("show", dataset, "1")
    assert code == 0
    assert f"chip {chip}, row 1" in out
    assert f"picture: {chip}.png" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["dem", "static", "100", "%"] in lines
    assert sum(line[:1] == ["s2"] for line in lines) == 2
    assert "no acquisition" in out  # three days of a radar with a repeat of twelve
    picture = Image.open(tmp_path / f"{chip}.png")
    assert min(picture.size) > 500
    assert len(np.unique(np.asarray(picture.convert("L")))) > 200


def test_the_same_chip_by_its_id(run: Run, dataset: Path, tmp_path: Path) -> None:
    chip = ids(dataset)[1]
    assert run("show", dataset, "1", "-o", "row.png")[0] == 0
    assert run("show", dataset, chip, "-o", "id.png")[0] == 0
    assert (tmp_path / "row.png").read_bytes() == (tmp_path / "id.png").read_bytes()


def test_json_says_where_and_what(run: Run, dataset: Path, tmp_path: Path) -> None:
    code, out, _ = run("show", dataset, "0", "--layers", "s2,dem", "-o", "x.png", "--json")
    made = json.loads(out)
    assert (code, made["path"], made["chip_id"], made["row"]) == (0, "x.png", ids(dataset)[0], 0)
    assert list(made["layers"]) == ["s2", "dem"]
    slots = made["layers"]["s2"]["reflectance"]
    assert [slot["slot"] for slot in slots] == ["2020-06-01_2020-06-10", "2020-07-01_2020-07-10"]
    for slot in slots:
        assert slot["valid_percent"].keys() == {"blue", "green", "red", "nir", "swir1", "swir2"}
        assert slot["missing"].keys() == {band for band, share in slot["valid_percent"].items() if share < 100}
    assert (tmp_path / "x.png").exists()


@pytest.mark.parametrize(("name", "magic"), [("x.pdf", b"%PDF"), ("x.svg", b"<?xml")])
def test_other_formats(run: Run, dataset: Path, tmp_path: Path, name: str, magic: bytes) -> None:
    assert run("show", dataset, "0", "--layers", "dem", "--out", name)[0] == 0
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_a_folder_gets_the_chips_name(run: Run, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    assert run("show", dataset, "0", "--layers", "dem", "-o", "pictures")[0] == 0
    assert (tmp_path / "pictures" / f"{ids(dataset)[0]}.png").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["0", "-o", "nowhere/x.png"], 2, "there is no folder nowhere"),
        (["0", "-o", "nowhere/x.png"], 2, "mkdir -p nowhere"),
        (["0", "-o", "x.doc"], 2, "no name of a picture"),
        (["99999"], 2, "rows are 0 ..."),
        (["0", "--layers", "landcovr"], 2, "did you mean 'landcover'"),
        (["0", "--layers", ","], 2, "no layer is given"),
    ],
)
def test_wrong_arguments_are_explained(run: Run, dataset: Path, words: list[str], code: int, said: str) -> None:
    found, out, err = run("show", dataset, *words)
    assert (found, out) == (code, "")
    assert said in err


def test_a_mistyped_id_is_recognised(run: Run, dataset: Path) -> None:
    chip = ids(dataset)[2]
    code, _, err = run("show", dataset, chip.replace("N_", "M_"))
    assert code == 2
    assert chip in err


def test_what_is_no_dataset_is_said(run: Run, dataset: Path, tmp_path: Path) -> None:
    code, _, err = run("show", tmp_path, "0")
    assert code == 5
    assert "no finished dataset here" in err
    code, _, err = run("show", tmp_path / "nothing", "0")
    assert (code, "no finished dataset here" in err) == (5, True)


def test_a_half_copied_dataset_is_an_error_not_a_hole(run: Run, dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    shutil.rmtree(copy / "chips.zarr/landcover/landcover/c")
    code, _, err = run("show", copy, "0")
    assert code == 5
    assert "this shard is not here" in err
    assert not list(tmp_path.glob("*.png"))
