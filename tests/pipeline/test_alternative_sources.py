"""Layers that list several sources: which is taken, how another is, and what each would take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from m3leo_prep.cli.main import app
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.areas import load_area
from m3leo_prep.pipeline.costing.comparison import compare
from m3leo_prep.pipeline.doctor import examine
from m3leo_prep.pipeline.plan import make_plan, with_sources_of

RECIPE = """\
name: two
grid: {chip_px: 56, resolution: 80}
layers:
  height:
    source: [ramp, {local: {path: nowhere, kind: continuous}}, {synthetic: {product: relief}}]
"""
AREA = "6.0,49.6,6.2,49.7"


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "two.yaml"
    path.write_text(RECIPE)
    return str(path)


def test_comparing_tells_items_pitch_and_what_stands_in_the_way(tmp_path: Path) -> None:
    offers = compare(parse_recipe(RECIPE), load_area(AREA), base=tmp_path, work_bytes=2**28)
    assert [(o.layer, o.source, o.is_chosen) for o in offers] == [
        ("height", "ramp", True),
        ("height", "local", False),
        ("height", "synthetic", False),
    ]
    ramp, local, synthetic = offers
    assert ramp.items is not None
    assert ramp.items > 0
    assert synthetic.items
    assert synthetic.pitch == 20
    assert local.items is None
    assert "does not exist" in local.obstacle


def test_what_is_wrong_with_the_area_is_an_error_and_not_told_of_every_source(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE + "splits: {}\n")
    assert compare(recipe, load_area(AREA), base=tmp_path, work_bytes=2**28), "too small for blocks, which says nothing"
    with pytest.raises(ConfigError, match="too small for blocks"):
        compare(recipe, load_area(AREA), base=tmp_path, work_bytes=2**28, skip_buffer=True)


def test_a_recipe_without_alternatives_has_nothing_to_compare(tmp_path: Path) -> None:
    plain = parse_recipe("name: one\nlayers:\n  a: {source: ramp}\n")
    with pytest.raises(ConfigError, match="lists several sources"):
        compare(plain, load_area(AREA), base=tmp_path, work_bytes=2**28)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{source: ramp, alternatives: [local]}", "write them as source: "),
        ("{source: [ramp, {synthetic: {resolution: -1}}]}", "layers.a: from synthetic: resolution: "),
        ("{source: [ramp, ramp]}", "names 'ramp' twice"),
        ("{source: []}", "names no source"),
        ("{source: [ramp, {local: 3}]}", "a source is a name"),
    ],
)
def test_a_list_that_cannot_be_meant_is_told_with_its_line(said: str, told: str) -> None:
    with pytest.raises(ConfigError, match=f"line 3: .*{told}"):
        parse_recipe(f"name: one\nlayers:\n  a: {said}\n")


def test_a_dataset_stays_with_the_source_that_it_was_begun_with(tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE)
    begun = make_plan(recipe.with_source("height", "synthetic"), load_area(AREA), base=tmp_path)
    assert with_sources_of(recipe, begun).layers["height"].source == "synthetic"
    assert recipe.layers["height"].source == "ramp"


def test_the_command_builds_from_the_chosen_source_and_goes_on_with_it(recipe: str, tmp_path: Path) -> None:
    run = CliRunner().invoke
    line = ["build", "--aoi", AREA, "--recipe", recipe, "--out", str(tmp_path / "out"), "--yes"]
    done = run(app, [*line, "--source", "height=synthetic"])
    assert done.exit_code == 0, done.output
    assert "source: synthetic" in (tmp_path / "out" / "recipe.yaml").read_text()
    again = json.loads(run(app, [*line, "--json"]).stdout)
    assert again["units_built"] == 0, "nothing is built again"
    assert again["units_done_before"] > 0
    refused = run(app, [*line, "--source", "height=gee"])
    assert refused.exit_code != 0
    assert "does not list source 'gee'" in str(refused.exception or refused.output)


def test_the_comparison_is_shown_and_told_as_json(recipe: str) -> None:
    line = ["plan", "--aoi", AREA, "--recipe", recipe, "--compare"]
    shown = CliRunner().invoke(app, line)
    assert shown.exit_code == 0, shown.output
    assert "ramp *" in shown.stdout
    refused = CliRunner().invoke(app, [*line, "--measure", "2"])
    assert "--compare measures nothing" in str(refused.exception)
    told = json.loads(CliRunner().invoke(app, [*line, "--json"]).stdout)
    assert [offer["source"] for offer in told["offers"]] == ["ramp", "local", "synthetic"]


def test_doctor_names_the_other_sources_of_a_layer_that_cannot_be_had(tmp_path: Path) -> None:
    listed = "[{local: {path: nowhere, kind: continuous}}, ramp]"
    recipe = parse_recipe(f"name: one\nlayers:\n  height: {{source: {listed}}}\n")
    failed = next(one for one in examine(recipe, tmp_path) if one.name == "layer height")
    assert failed.state == "fail"
    assert failed.seen.endswith("other sources: --source height=ramp")
