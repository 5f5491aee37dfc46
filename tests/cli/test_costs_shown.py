"""What ``plan`` and ``build`` print of costs, and what ``--budget`` does at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from m3leo_prep.cli.costing import print_costs
from m3leo_prep.cli.main import app
from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.errors import ConfigError, QuotaReached
from m3leo_prep.pipeline.costing.projection import Charge, LayerCost
from m3leo_prep.ports.cost import Cost
from tests.pipeline.test_costing import RECIPE, SOURCE

AOI = "9.300,57.100,9.324,57.108"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(layer_module, "SHARD_CHIPS", (4,))
    (tmp_path / "my_source.py").write_text(SOURCE)
    (tmp_path / "r.yaml").write_text(RECIPE.replace("LOG", str(tmp_path / "log")) + "splits: {policy: none}\n")
    return str(tmp_path / "r.yaml")


def run(*args: str):
    return CliRunner().invoke(app, [*args])


def plain(text: str) -> str:
    return " ".join(text.split())


def test_plan_shows_requests_bytes_and_time(recipe: str) -> None:
    done = run("plan", "--aoi", AOI, "--recipe", recipe)
    assert done.exit_code == 0, done.output
    text = plain(done.output)
    assert "layer provider requests download time" in text
    assert "a Charging" in text
    assert "a second each" in text
    assert "fuel of a: not known before a few windows are read, which `m3leo-prep plan --measure 4` does" in text
    assert "warning: a: 6 images in 12 slots" in text


def test_the_same_is_in_the_json(recipe: str) -> None:
    told = json.loads(run("plan", "--aoi", AOI, "--recipe", recipe, "--measure", "3", "--json").stdout)
    (row,) = told["costs"]
    assert (row["layer"], row["measured"]) == ("a", 3)
    assert row["cost"]["requests"] > 10
    assert row["cost"]["units"]["fuel"] == row["charges"]["fuel"]["expected"] > 0
    assert row["charges"]["fuel"]["low"] <= row["charges"]["fuel"]["expected"] <= row["charges"]["fuel"]["high"]
    assert told["warnings"] == ["a: 6 images in 12 slots"]


def test_measuring_tells_what_it_took_and_what_a_month_gives(recipe: str) -> None:
    text = plain(run("plan", "--aoi", AOI, "--recipe", recipe, "--measure", "3").output)
    assert "measuring a: window 3 of 3" in text
    assert "measured a: reading 3 windows took 3 requests" in text
    assert "all of a: about" in text
    assert "of what a month gives:" in text
    assert "of Small (150)" in text


def test_nothing_to_measure_is_told(recipe: str) -> None:
    done = run("plan", "--aoi", AOI, "--recipe", recipe, "--layers", "free", "--measure", "3")
    assert isinstance(done.exception, ConfigError)
    assert "can tell what a read takes" in str(done.exception)


def test_a_plan_without_providers_shows_no_costs(recipe: str) -> None:
    assert "provider" not in run("plan", "--aoi", AOI, "--recipe", recipe, "--layers", "free").output


def test_a_dry_run_shows_what_is_left(recipe: str, tmp_path: Path) -> None:
    out = str(tmp_path / "d")
    assert run("build", "--aoi", AOI, "--recipe", recipe, "--out", out, "--layers", "a", "--yes").exit_code == 0
    told = json.loads(run("build", "--aoi", AOI, "--recipe", recipe, "--out", out, "--dry-run", "--json").stdout)
    assert told["costs"][0]["cost"]["requests"] == 0


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_budget_that_is_too_small_is_refused(recipe: str, tmp_path: Path, dry: list[str]) -> None:
    done = run("build", "--aoi", AOI, "--recipe", recipe, "--out", str(tmp_path / "d"), "--budget", "requests=3", *dry)
    assert isinstance(done.exception, ConfigError)
    assert done.exception.exit_code == 2
    assert "the budget is 3" in str(done.exception)


def test_budgets_may_be_several(recipe: str, tmp_path: Path) -> None:
    args = ["build", "--aoi", AOI, "--recipe", recipe, "--out", str(tmp_path / "d"), "--yes"]
    done = run(*args, "--budget", "requests=1000", "--budget", "gigabytes=0.000001")
    assert "gigabytes are needed" in str(done.exception)
    assert run(*args, "--budget", "requests=1000", "--budget", "gigabytes=1").exit_code == 0


def test_a_reached_budget_ends_with_75(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m3leo_prep.pipeline.costing.budget.Budget.check", lambda *_: None)
    done = run(
        "build", "--aoi", AOI, "--recipe", recipe, "--out", str(tmp_path / "d"), "--budget", "requests=7", "--yes"
    )
    assert isinstance(done.exception, QuotaReached)
    assert done.exception.exit_code == 75
    assert "run the same command again" in str(done.exception)


def test_costs_fit_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m3leo_prep.cli.render.OUT.width", 80, raising=False)
    allowances = {"eecu_hours": {"Community": 150.0, "Contributor": 1000.0, "Partner": 100_000.0}}
    charge = Charge(812.3, 640.1, 984.5, 1e-9)
    cost = Cost(1_204_380, 61 * 10**12, (120_438.0, 1_530_000.0), {"eecu_hours": 812.3}, allowances, ("assumed",))
    spent = Cost(4, 88_000_000, (9.0, 9.0), {"eecu_hours": 0.0213})
    rows = [LayerCost(name, "gee", cost, 4, spent, {"eecu_hours": charge}) for name in ("s1grd", "gssic_geometry")]
    print_costs(rows)
    text = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "1,204,380  61 TB" in text
    assert "33 h 27 min to 17 d 17 h" in text
    assert "1.62" not in plain(text)  # hours are told in whole numbers
    assert "eecu-hours: about 1,625 together; of what a month gives: 1,083 % of Community (150)" in plain(text)
