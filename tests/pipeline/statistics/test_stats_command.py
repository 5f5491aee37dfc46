"""``m3leo-prep stats``: what it prints, what it makes and keeps, and what it says before it reads pixels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3leo_prep.cli.statistics import run_stats
from m3leo_prep.core.recipe import SplitsModel
from m3leo_prep.pipeline.build import build, close
from m3leo_prep.pipeline.manifest import rewrite
from m3leo_prep.pipeline.splitting.rewrite import add_policy
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.runners.threads import Threads
from tests.pipeline.conftest import LARGE, MINI, area, plan, tree

SPLIT = MINI + "splits: {policy: random, seed: 8}\n"
SPLITS = SplitsModel(policy="random", seed=8)
ADDED = "north"
ANNOUNCED = "a pass over the pixels"


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A dataset of a recipe without splits, to which the policy ``north`` was added."""
    shutil.copytree(built, tmp_path / "d")
    add_policy(tmp_path / "d", SPLITS, name=ADDED, base=tmp_path)
    return tmp_path / "d"


def told(path: Path, capsys: pytest.CaptureFixture[str], **given: Any) -> tuple[str, str]:
    run_stats(str(path), policy=given.get("policy"), layers=given.get("layers"), as_json=given.get("as_json", False))
    out, err = capsys.readouterr()
    return out, err


def of_policy(path: Path) -> dict[str, Any]:
    found = {}
    for file in (path / "stats").iterdir():
        if file.stem.endswith(f".{ADDED}"):
            found[file.stem.removesuffix(f".{ADDED}")] = json.loads(file.read_text())["variables"]
    return found


def test_what_is_there_is_shown_and_nothing_is_written(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(built)
    out, err = told(built, capsys)
    assert err == ""
    assert "from all 12 chips" in out
    assert "10 Tree cover" in out
    assert "vv_desc" in out
    assert tree(built) == before


def test_an_added_policy_reads_the_pixels_once_and_says_so(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = Dataset(copy).chips
    n = int((frame[f"split_{ADDED}"] == "train").sum())
    out, err = told(copy, capsys, policy=ADDED)
    assert f"a pass over the pixels of the train {n} chips" in err
    assert f"the train chips of the policy '{ADDED}': {n} chips" in out
    assert set(of_policy(copy)) == {"position", "degrees", "landcover", "s1"}
    assert verify(copy).ok, "the manifest knows them"
    again, err = told(copy, capsys, policy=ADDED)
    assert (again, err) == (out, "")


def test_an_added_policy_gives_what_a_build_by_it_gives(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(copy, capsys, policy=ADDED)
    build(plan(SPLIT), tmp_path / "by", runner=Threads(2))
    by_build = {file.stem: json.loads(file.read_text())["variables"] for file in (tmp_path / "by/stats").iterdir()}
    assert of_policy(copy) == by_build


def test_a_copy_without_its_build_state_is_enough(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(copy, capsys, policy=ADDED, layers=["s1"])
    with_state = of_policy(copy)
    (copy / "stats" / f"s1.{ADDED}.json").unlink()
    shutil.rmtree(copy / ".m3leo")
    blobs_manifest = Dataset(copy).manifest
    rewrite(DatasetFolder(copy).blobs, blobs_manifest, [f"stats/s1.{ADDED}.json"])
    _, err = told(copy, capsys, policy=ADDED, layers=["s1"])
    assert ANNOUNCED in err
    assert of_policy(copy) == with_state


def test_json_stands_alone(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = told(copy, capsys, policy=ADDED, layers=["landcover"], as_json=True)
    assert ANNOUNCED in err
    document = json.loads(out)
    assert list(document) == ["landcover"]
    assert document["landcover"]["policy"] == ADDED


def test_closing_again_keeps_them_and_growth_takes_them_away(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The chips of the policy are others then: nothing old may be taken for them."""
    told(copy, capsys, policy=ADDED)
    before = of_policy(copy)
    close(copy)
    assert of_policy(copy) == before
    assert set(before) == {"position", "degrees", "landcover", "s1"}
    frozen = DatasetFolder(copy).frozen()
    build(plan(where=area(LARGE), previous=frozen), copy, runner=Threads(2))
    assert of_policy(copy) == {}
    _, err = told(copy, capsys, policy=ADDED, layers=["position"])
    assert ANNOUNCED in err


def test_a_dataset_of_before_statistics_gets_them(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((copy / "stats/s1.json").read_text())
    shutil.rmtree(copy / "stats")
    folder = DatasetFolder(copy)
    assert folder.manifest is not None
    rewrite(folder.blobs, folder.manifest, [name for name in folder.manifest["files"] if name.startswith("stats/")])
    assert verify(copy).ok
    _, err = told(copy, capsys)
    assert "position, degrees, landcover, s1: a pass over the pixels of all 12 chips" in err
    assert json.loads((copy / "stats/s1.json").read_text()) == before


def test_percentiles_that_hold_no_longer_are_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built without splits, then closed with some: the ledger's histograms are of all chips."""
    build(plan(), tmp_path / "d", runner=Threads(2))
    build(plan(SPLIT), tmp_path / "d", runner=Threads(2))
    document = json.loads((tmp_path / "d/stats/s1.json").read_text())
    assert document["from"] == "train"
    assert document["percentiles_missing"]
    _, err = told(tmp_path / "d", capsys)
    assert ANNOUNCED in err
    build(plan(SPLIT), tmp_path / "by", runner=Threads(2))
    before = tree(tmp_path / "d")
    close(tmp_path / "d")
    assert tree(tmp_path / "d") == before, "closing again keeps what the pass made"
    for name in ("s1", "position", "landcover"):
        found, fresh = ((tmp_path / d / f"stats/{name}.json").read_bytes() for d in ("d", "by"))
        assert found == fresh


@pytest.mark.parametrize("policy", [None, ADDED])
def test_a_terminal_of_80_columns_is_wide_enough(
    copy: Path, capsys: pytest.CaptureFixture[str], policy: str | None
) -> None:
    out, _ = told(copy, capsys, policy=policy)
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    assert np.all([word not in out for word in ("nan", "None", "e+0")])
