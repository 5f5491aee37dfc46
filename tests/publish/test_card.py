"""The card: what the Hub reads of its head, that its text is the dataset's, and that its code runs."""

from __future__ import annotations

import copy
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import markdown
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from m3leo_prep.cli.main import app
from m3leo_prep.pipeline.report.figures import figures
from m3leo_prep.publish.description.card import head as head_module
from m3leo_prep.publish.description.card.about import About
from m3leo_prep.publish.description.card.page import card
from m3leo_prep.publish.description.card.using import bibtex
from m3leo_prep.publish.description.card.words import escaped, number, share, size, table
from m3leo_prep.publish.description.describe import core_of
from m3leo_prep.publish.description.licences import decide
from m3leo_prep.publish.publishing import publish
from m3leo_prep.reader.dataset import Dataset


@pytest.fixture(scope="module")
def text(rich_described: Path) -> str:
    return (rich_described / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def about(rich_described: Path) -> About:
    dataset = Dataset(rich_described)
    core = core_of(dataset.manifest)
    return About(core, figures(dataset), decide(core, "cc-by-4.0"), "hf://datasets/a/b", "0" * 64, 1)


def test_the_hub_understands_its_head(text: str) -> None:
    data = huggingface_hub.DatasetCard(text).data.to_dict()
    assert data["license"] == "cc-by-4.0"
    assert data["pretty_name"] == "rich, here"
    assert data["size_categories"] == ["n<1K"]
    assert data["task_categories"] == ["image-segmentation"]
    assert {"remote-sensing", "sar", "optical", "time-series", "synthetic"} <= set(data["tags"])
    assert "insar" not in data["tags"]


def test_its_configurations_name_files_that_are_there(text: str, rich_described: Path) -> None:
    configs = {one["config_name"]: one for one in yaml.safe_load(text.split("---\n")[1])["configs"]}
    assert list(configs) == ["previews", "chips", "units"]
    assert configs["previews"]["default"] is True
    for one in configs.values():
        for files in one["data_files"]:
            assert re.fullmatch(r"\w+", files["split"])
            assert list(rich_described.glob(files["path"]))


def test_counts_are_those_of_the_tables(text: str, rich_described: Path) -> None:
    chips = pq.read_table(rich_described / "chips.parquet").to_pandas()
    assert f"**{len(chips)} chips**" in text
    for name, n in chips["split"].value_counts().items():
        assert re.search(rf"^\| {name} \| {n} \| {share(n / len(chips))} \|", text, re.MULTILINE)
    for column in (name for name in chips if name.startswith("prop_landcover_")):
        assert f"| {share(float(chips[column].mean()))} |" in text
    for layer in ("dem", "s1", "s2", "landcover"):
        assert re.search(
            rf"^\| `{layer}` \| {re.escape(share(chips[f'valid_{layer}'].mean() / 100))} \|", text, re.MULTILINE
        )


def test_every_layer_tells_its_bands_unit_and_error(text: str) -> None:
    assert "| `dem.height` | input | height | m | 40 m, 8 px | static | float32 | exact |" in text
    assert r"| `s1` | input | vv\_asc, vh\_asc, vv\_desc, vh\_desc | dB | 10 m, 32 px | 2 | int16 | 0.005 dB |" in text
    assert "backscatter convention gamma0" in text


def test_it_tells_what_is_missing_and_what_leaks(text: str, rich_described: Path) -> None:
    assert "no acquisition" in text
    assert "the nearest chips are 0 m apart" in text  # a random split: that is what the report is for
    assert "2 administrative units (commune)" in text
    assert len(Dataset(rich_described)) > 10


def test_days_of_slots_are_told_as_they_are(about: About) -> None:
    assert "from 2020-06-01 to 2020-07-12" in card(about)  # what the manifest writes as until 2020-07-13
    manifest = copy.deepcopy(dict(about.manifest))
    manifest["layers"]["s2"]["slots"][0]["label"] = "early_june"
    page = card(replace(about, manifest=manifest))
    assert r"- `s1`: 2020-06-01\_2020-06-12, 2020-07-07\_2020-07-12" in page
    assert r"- `s2`: early\_june (2020-06-01 to 2020-06-02)" in page


def test_tables_and_code_survive_rendering(text: str) -> None:
    html = markdown.markdown(text.split("---\n", 2)[2], extensions=["tables", "fenced_code", "sane_lists"])
    tables = re.findall(r"<table>.*?</table>", html, re.DOTALL)
    assert len(tables) == text.count("\n| ---") >= 6
    for one in tables:
        rows = [len(re.findall(r"<t[hd]", row)) for row in re.findall(r"<tr>.*?</tr>", one, re.DOTALL)]
        assert len(set(rows)) == 1
    assert "<em>" not in html
    assert html.count("<pre>") == text.count("\n```") // 2


def test_python_in_it_is_python_and_points_to_the_target(text: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        compile(block, "README.md", "exec")
    assert 'root = "hf://datasets/someone/rich"' in blocks[0]
    assert 'split="train"' in blocks[0]
    assert 'load_dataset("someone/rich", "chips")' in blocks[2]
    assert len(blocks[0].strip().splitlines()) <= 5


def test_its_code_runs_as_it_stands_once_it_is_published(
    hub: Any, rich_described: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a user copies from the page: every line of Python, against the stand-in of the Hub."""
    pytest.importorskip("torch")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.endpoint)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setenv("M3LEO_PREP_CACHE", str(tmp_path / "cache"))
    made = shutil.copytree(rich_described, tmp_path / "rich")
    publish(made, "me/rich", licence="cc-by-4.0", allow_holes=True)
    page = hub.read("me/rich", "README.md").decode()
    training, arrays, tables = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(training, names)
    dataset = Dataset(made)
    row = int(np.flatnonzero(dataset.chips["split"] == "train")[0])
    expected, valid = dataset.read(row, "dem", "height")
    np.testing.assert_array_equal(names["valid"], valid)
    np.testing.assert_array_equal(np.where(valid, names["values"], 0), np.where(valid, expected, 0))
    for text, n in ((arrays, "sizes['chip']"), (tables, "num_rows['chips']")):
        head, _, last = text.partition("\n\n")
        exec(head, names)
        assert eval(f"({last.strip()}\n).{n}", names) == len(dataset)
    (shell,) = re.findall(r"```shell\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path / "cache")
    assert CliRunner().invoke(app, shlex.split(shell)[1:]).exit_code == 0
    row = int(np.flatnonzero(dataset.chips["split"] == "test")[0])
    np.testing.assert_array_equal(Dataset("rich").read(row, "dem", "height")[0], dataset.read(row, "dem", "height")[0])


HOSTILE = (
    "---\nlicense: mit\n--- # head | <script>alert(1)</script> **b** ~~s~~ $x$ `c` [l](http://a) ![i](b) &lt; 1. \\ 🌍",
    "- item",
    "1. one",
    "> quote",
    "# title",
    "```\ncode",
    "a\n\n| t |\n| - |",
    "\\| {{x}} %s \u2028\u202e",
    "=",
)


def shown_as_html(page: str) -> str:
    """Return what a reader of CommonMark and of the tables and strikes of GitHub makes of a card's text."""
    return str(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(page.split("---\n", 2)[2]))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_shown_as_they_are_and_change_nothing_else(text: str, about: About) -> None:
    calm = shown_as_html(card(replaced(about, "calm")))
    page = card(replaced(about, text))
    data = huggingface_hub.DatasetCard(page).data.to_dict()
    assert data["license"] == "cc-by-4.0"
    assert data["pretty_name"] == f"rich, {' '.join(text.split())}"
    shown = shown_as_html(page)
    for tag in (
        "<h1>",
        "<h2>",
        "<table>",
        "<td",
        "<ul>",
        "<ol",
        "<pre>",
        "<hr",
        "<script",
        "<s>",
        "<em>",
        "<img",
        "<a ",
    ):
        assert shown.count(tag) == calm.count(tag), tag
    as_html = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f"<p>{as_html}</p>" in shown


def replaced(about: About, text: str) -> About:
    """Return the same with a text wherever a person writes one."""
    manifest = copy.deepcopy(dict(about.manifest))
    manifest["area"] |= {"name": text, "licence": "CC0-1.0", "source": text}
    manifest["layers"]["s1"] |= {"citation": text, "licence": "CC-BY-4.0"}
    manifest["layers"]["dem"] |= {"licence": text}
    found = replace(
        about.figures,
        overview=replace(about.figures.overview, description=text, area=text),
        layers=tuple(replace(one, citation=text) for one in about.figures.layers),
    )
    return replace(about, manifest=manifest, figures=found, licence=decide(manifest, "cc-by-4.0"))


@given(st.text(max_size=30))
def test_escaped_texts_are_shown_as_they_are(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(f"{escaped(text)} end")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    (inline,) = (token for token in tokens if token.children)
    assert {child.type for child in inline.children or ()} <= {"text", "text_special"}
    assert "".join(child.content for child in inline.children or ()) == " ".join([*text.split(), "end"]).replace(
        "\0", "\ufffd"
    )


def test_bibtex_can_be_set_by_latex_and_names_the_place(about: About) -> None:
    manifest = dict(about.manifest) | {"name": "my_set", "area": {"name": "50 % of {R&D} #1\\x"}}
    about = replace(about, manifest=manifest, target="")
    assert r"title = {{my\_set, 50 \% of \{R\&D\} \#1\textbackslash{}x}}" in bibtex(about)
    assert "howpublished" not in bibtex(about)
    assert r"howpublished = {\url{s3://b/my_set}}" in bibtex(replace(about, target="s3://b/my_set"))


def test_a_branch_is_named_wherever_the_hub_would_take_the_main_one(about: About) -> None:
    page = card(replace(about, target="hf://datasets/a/b@v2"))
    assert 'root = "hf://datasets/a/b@v2"' in page
    assert 'load_dataset("a/b", "chips", revision="v2")' in page


def test_nothing_of_this_machine_and_no_time_is_told(text: str, rich_described: Path) -> None:
    assert str(rich_described.parent) not in text
    assert "/tmp" not in text
    assert not re.search(r"\d\d:\d\d:\d\d", text)


def manifest_of(licence: str, kind: str, bands: list[str], n_chips: int = 5) -> dict[str, Any]:
    array = {"name": "a", "kind": kind, "bands": bands}
    layer = {"role": "input", "source": "gee", "licence": licence, "citation": "", "arrays": [array]}
    slots = [{"label": "static", "start": None, "end": None}]
    area = {"name": "here", "source": "", "licence": ""}
    return {"name": "x", "n_chips": n_chips, "layers": {"x": layer | {"slots": slots}}, "area": area, "files": {}}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("power", {"sar", "sentinel-1"}),
        ("coherence", {"sar", "insar", "sentinel-1"}),
        ("reflectance", {"sentinel-2", "optical"}),
        ("continuous", set()),
    ],
)
def test_tags_follow_from_kinds_and_who_saw_it(kind: str, expected: set[str]) -> None:
    found = head_module.tags(manifest_of("Copernicus Sentinel data terms (free, full and open)", kind, ["vv"]))
    assert set(found) - set(head_module.ALWAYS) == expected


def test_other_licences_have_a_name_and_a_link() -> None:
    manifest = manifest_of("CC-BY-4.0", "continuous", ["a"])
    page = "https://huggingface.co/datasets/a/b"
    made = yaml.safe_load(head_module.head(manifest, decide(manifest, "other"), page).strip("-\n"))
    assert (made["license"], made["license_name"]) == ("other", "terms-of-the-inputs")
    assert made["license_link"] == f"{page}#licence"  # the Hub takes an address, or a file called LICENSE
    assert "license_link" not in head_module.head(manifest, decide(manifest, "other"), "")
    assert made["task_categories"] == ["image-feature-extraction"]


def test_sizes_are_written_as_the_hub_does() -> None:
    found = [head_module.size_category(n) for n in (999, 1000, 99_999, 10**6, 10**9 - 1)]
    assert found == ["n<1K", "1K<n<10K", "10K<n<100K", "1M<n<10M", "100M<n<1B"]


def test_words() -> None:
    assert [number(v) for v in (0.005, 1234567.0, 10.5, -3.0)] == ["0.005", "1,234,567", "10.5", "-3"]
    assert [number(v) for v in (999.4, 999.7, -999.96)] == ["999", "1,000", "-1,000"]
    assert [share(v) for v in (None, 1.0, 0.0005, 0.123)] == ["unknown", "100 %", "<0.1 %", "12.3 %"]
    assert [size(n) for n in (0, 1500, 999_700, 2 * 10**12)] == ["0 B", "1.5 kB", "1 MB", "2 TB"]
    assert escaped("a|b_c\nd") == r"a\|b\_c d"
    assert table(("a", "b"), [("1", "2")], numbers=(1,)) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
    assert copy.copy(number(None)) == "unknown"
