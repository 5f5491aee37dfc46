"""The card: what the Hub reads of its head, and that its text is the dataset's."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import huggingface_hub
import markdown
import pyarrow.parquet as pq
import pytest
import yaml

from m3leo_prep.publish.description.card import head as head_module
from m3leo_prep.publish.description.card.words import escaped, number, share, size, table
from m3leo_prep.publish.description.licences import decide
from m3leo_prep.reader.dataset import Dataset


@pytest.fixture(scope="module")
def text(rich_described: Path) -> str:
    return (rich_described / "README.md").read_text(encoding="utf-8")


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
    made = yaml.safe_load(head_module.head(manifest, decide(manifest, "other")).strip("-\n"))
    assert (made["license"], made["license_name"]) == ("other", "terms-of-the-inputs")
    assert made["license_link"]
    assert made["task_categories"] == ["image-feature-extraction"]


def test_sizes_are_written_as_the_hub_does() -> None:
    found = [head_module.size_category(n) for n in (999, 1000, 99_999, 10**6, 10**9 - 1)]
    assert found == ["n<1K", "1K<n<10K", "10K<n<100K", "1M<n<10M", "100M<n<1B"]


def test_words() -> None:
    assert [number(v) for v in (0.005, 1234567.0, 10.5, -3.0)] == ["0.005", "1,234,567", "10.5", "-3"]
    assert [share(v) for v in (None, 1.0, 0.0005, 0.123)] == ["unknown", "100 %", "<0.1 %", "12.3 %"]
    assert [size(n) for n in (0, 1500, 2 * 10**12)] == ["0 B", "1.5 kB", "2 TB"]
    assert escaped("a|b_c\nd") == r"a\|b\_c d"
    assert table(("a", "b"), [("1", "2")], numbers=(1,)) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
    assert copy.copy(number(None)) == "unknown"
