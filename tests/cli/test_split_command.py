"""``split``, and splits on the screens of ``plan`` and ``build``: 80 columns, JSON, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.cli.main import main
from m3leo_prep.cli.render import ERR, OUT
from m3leo_prep.pipeline.manifest import rewrite
from m3leo_prep.store.tables import write_table

BOX = "9.3,57.1,9.5,57.15"
RECIPE = """
name: mini
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp, resolution: 320}
splits: {block_km: 3, buffer_km: 0.5, seed: 0}
"""


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OUT, "width", 80)
    monkeypatch.setattr(ERR, "width", 80)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command in this process."""

    def command(*args: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["m3leo-prep", *(str(arg) for arg in args)])
        with pytest.raises(SystemExit) as caught:
            main()
        told = capsys.readouterr()
        return Done(int(caught.value.code or 0), told.out, told.err)

    return command


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("split-command")
    (path / "mini.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["m3leo-prep", "build", "--aoi", BOX, "--recipe", f"{path}/mini.yaml"])
        sys.argv += ["--out", f"{path}/data"]
        with pytest.raises(SystemExit) as caught:
            main()
    assert not caught.value.code
    return path


@pytest.fixture
def data(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built / "data", tmp_path / "data"))


def test_a_plan_shows_chips_shares_and_losses(run: Run, built: Path) -> None:
    done = run("plan", "--aoi", BOX, "--recipe", built / "mini.yaml")
    assert done.code == 0
    lines = [line.rstrip() for line in done.out.splitlines()]
    start = lines.index("splits: blocks of 3 km, buffer 0.5 km, seed 0")
    assert lines[start + 1].split() == ["split", "chips", "share", "lost", "to", "the", "buffer"]
    told = json.loads(run("plan", "--aoi", BOX, "--recipe", built / "mini.yaml", "--json").out)
    for line in lines[start + 2 : start + 6]:
        name, chips, share, percent = line.split()[:4]
        n = told["splits"]["chips"][name]
        assert int(chips.replace(",", "")) == n
        assert percent == "%"
        assert float(share) == pytest.approx(100 * n / told["chips"], abs=0.5)
    assert sum(told["splits"]["chips"].values()) == told["chips"]
    loss = told["splits"]["buffer_loss"]
    assert loss["test"] == 0 < loss["train"]
    assert loss["all"] == pytest.approx(told["splits"]["chips"]["buffer"] / told["chips"])
    assert f"the buffer takes {100 * loss['all']:.0f} % of the chips" in " ".join(done.err.split())
    assert max(map(len, done.out.splitlines())) <= 80


def test_skip_buffer_plans_fewer_chips(run: Run, built: Path) -> None:
    whole, lean = (
        json.loads(run("plan", "--aoi", BOX, "--recipe", built / "mini.yaml", "--json", *more).out)
        for more in ((), ("--skip-buffer",))
    )
    assert lean["chips"] == whole["chips"] - whole["splits"]["chips"]["buffer"]
    assert (lean["skip_buffer"], whole["skip_buffer"]) == (True, False)
    assert "buffer" not in lean["splits"]["chips"]


def test_the_first_screen_of_a_build_tells_the_splits(run: Run, built: Path, tmp_path: Path) -> None:
    args = ("--aoi", BOX, "--recipe", built / "mini.yaml", "--out", tmp_path / "lean", "--skip-buffer")
    done = run("build", *args)
    assert done.code == 0
    assert "splits: blocks of 3 km, buffer 0.5 km, seed 0" in done.err
    assert " losing " in done.err
    again = run("build", *(arg for arg in args if arg != "--skip-buffer"))
    assert again.code == 0
    assert "as the dataset was begun with --skip-buffer" in " ".join(again.err.split())


def test_a_policy_is_added_and_shown(run: Run, data: Path) -> None:
    done = run("split", data, "--policy", "region", "--region", "test=9.2,57,9.4,58", "--name", "west")
    assert done.code == 0, done.err
    assert done.out.startswith("split_west: region, buffer 0.453 km\n")
    assert re.search(r"^train to test: \d+ m apart at least$", done.out, re.MULTILINE)
    assert "pixels were not touched" in done.out
    assert "split_west" in pq.read_schema(data / "chips.parquet").names
    shown = run("split", data)
    assert shown.code == 0
    assert "split: blocks of 3 km" in shown.out
    assert "split_west: region" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    again = run("split", data, "--policy", "region", "--region", "test=9.2,57,9.4,58", "--name", "west")
    assert "nothing was written" in again.out


def test_json_is_one_document(run: Run, data: Path) -> None:
    done = run("split", data, "--policy", "random", "--shares", "80/20", "--seed", "3", "--json")
    told = json.loads(done.out)
    assert (told["column"], told["is_new"]) == ("split_random", True)
    assert told["policy"]["shares"] == {"train": 0.8, "test": 0.2}
    assert told["policy"]["seed"] == 3
    assert set(told["chips"]) == {"train", "test"}
    assert told["metres"] == {"train-test": 0.0}
    assert "random puts neighbours into different splits" in " ".join(done.err.split())
    shown = json.loads(run("split", data, "--json").out)
    assert list(shown["splits"]) == ["split", "split_random"]
    assert shown["problems"] == []


def test_splits_that_were_tampered_with_are_an_error(run: Run, data: Path) -> None:
    table = pq.read_table(data / "chips.parquet")
    values = table["split"].to_pylist()
    values[values.index("train")] = "test"
    blobs = LocalBlobs(data)
    place = table.column_names.index("split")
    write_table(blobs, "chips.parquet", table.set_column(place, "split", pa.array(values, pa.string())))
    rewrite(blobs, json.loads((data / "manifest.json").read_text()), ["chips.parquet"])
    for args in (("split", data), ("verify", data, "--quick")):
        done = run(*args)
        assert done.code == 6
        assert "differ from the policy" in done.err + done.out


def test_a_dataset_without_splits_says_how_to_get_some(run: Run, built: Path, tmp_path: Path) -> None:
    (tmp_path / "bare.yaml").write_text(RECIPE.partition("splits:")[0])
    run("build", "--aoi", "9.3,57.1,9.31,57.105", "--recipe", tmp_path / "bare.yaml", "--out", tmp_path / "bare")
    done = run("split", tmp_path / "bare")
    assert done.code == 0
    assert "has no splits. Add some: m3leo-prep split" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--policy", "blox"), "--policy: 'blox' is not known hint: did you mean 'blocks'?"),
        (("--policy", "none"), "the policy none adds nothing"),
        (("--seed", "3"), "settings of a policy without --policy"),
        (("--policy", "random", "--shares", "60,20,20"), "--shares: the shares '60,20,20' are no percentages"),
        (
            ("--policy", "random", "--shares", "60/20/10"),
            "--shares: the shares '60/20/10' sum to 90 %, not to 100 % hint: such as 70/20/10",
        ),
        (("--policy", "random", "--seed", "-1"), "--seed: Input should be greater than or equal to 0 (found -1)"),
        (("--policy", "blocks", "--angle", "3"), "splits.angle: the policy blocks has no angle"),
        (("--policy", "bands", "--buffer-side", "tset"), "--buffer-side: 'tset' is not known"),
        (("--policy", "region", "--region", "italy"), "--region: 'italy' is no region hint: SPLIT=AREA"),
        (("--policy", "region", "--region", "tst=italy"), "--region: 'tst=italy' is no region"),
        (("--policy", "region", "--region", "test=italy"), "the split test is empty"),
        (("--policy", "file", "--file", "nothing.csv"), "nothing.csv: no such file"),
        (("--policy", "admin", "--admin", "units.geojson"), "--admin and --admin-id go together"),
        (("--policy", "admin"), "the policy admin needs administrative units"),
        (("--policy", "random", "--name", "Big"), "--name: the name 'Big' is no column"),
        (("--policy", "random", "--stratify", "position"), "no label proportions of 'position'"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, built: Path, args: tuple[str, ...], message: str) -> None:
    before = (built / "data/manifest.json").read_bytes()
    done = run("split", built / "data", *args)
    assert done.code == 2
    assert message in " ".join(done.err.split())
    assert (built / "data/manifest.json").read_bytes() == before


def test_no_dataset(run: Run, tmp_path: Path) -> None:
    for args in ((), ("--policy", "random")):
        done = run("split", tmp_path / "nothing", *args)
        assert done.code == 5
        assert "no finished dataset" in done.err
