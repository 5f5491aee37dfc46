"""``m3leo-prep export``: a few chips for other tools, told in a table or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

import m3leo_prep as mp
from m3leo_prep.cli.main import main

Run = Callable[..., tuple[object, str, str]]
RECIPE = """
name: mini
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp}
  landcover: {role: label, source: synthetic, product: landcover}
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> mp.Dataset:
    return mp.build(mp.plan("9.300,57.100,9.312,57.104", RECIPE), tmp_path_factory.mktemp("export") / "mini")


@pytest.fixture
def run(
    dataset: mp.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Return a function that runs the command in an empty folder and returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def command(*args: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["m3leo-prep", "export", str(dataset.path), *args])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        told = capsys.readouterr()
        return caught.value.code or 0, told.out, told.err

    return command


def test_chips_by_row_and_by_id_become_files(dataset: mp.Dataset, run: Run) -> None:
    by_id = dataset.chips["chip_id"][3]
    code, out, err = run("--chips", f"0,{by_id}", "--out", "tifs", "--layers", "position")
    assert (code, err) == (0, "")
    assert "2 files" in out
    for row in (0, 3):
        path = Path("tifs") / dataset.chips["chip_id"][row] / "position.tif"
        assert str(path) in out
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(), dataset.read(row, "position")[0])


@pytest.mark.parametrize("form", ["geotiff", "png", "netcdf", "webdataset"])
def test_json_lists_the_files_and_nothing_else(run: Run, form: str) -> None:
    code, out, err = run("--chips", "1", "--format", form, "--json")
    assert (code, err) == (0, "")
    listed = json.loads(out)
    assert listed
    assert {row["path"] for row in listed} == {str(p) for p in Path("export").rglob("*") if p.is_file()}
    assert all(Path(row["path"]).stat().st_size == row["bytes"] for row in listed)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--chips", "0", "--format", "tiff"], "unknown format 'tiff'"),
        (["--chips", "0", "--layers", "positon"], "did you mean 'position'?"),
        (["--chips", "99"], "rows are 0 ... "),
        (["--chips", "u1_x"], "there is no chip 'u1_x'"),
    ],
)
def test_mistakes_end_with_code_2_and_the_way_out(run: Run, args: list[str], message: str) -> None:
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert message in err
    assert not Path("export").exists()


def test_a_second_run_overwrites_nothing(run: Run) -> None:
    assert run("--chips", "0", "--format", "netcdf")[0] == 0
    (made,) = Path("export").iterdir()
    made.write_text("mine")
    code, _, err = run("--chips", "0", "--format", "netcdf")
    assert code == 2
    assert "exists already" in err
    assert made.read_text() == "mine"
