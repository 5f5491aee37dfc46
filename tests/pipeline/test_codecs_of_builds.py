"""A recipe's codec, from the recipe to the pixels: the same values, said in the manifest, made anew when changed."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import yaml
import zarr

from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.space import check_space
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.runners.threads import Threads
from tests.pipeline.conftest import plan, tree

RECIPE = """
name: mini
grid: {chip_px: 32, resolution: 10}
layers:
  s1: {source: synthetic, product: s1, slots: {periods: [[2020-06-01, 2020-06-12], [2020-07-07, 2020-07-12]]}}
  landcover: {role: label, source: synthetic, product: landcover}
"""
CHOSEN = dedent(RECIPE) + "  again: {source: ramp, codec: lz4}\nstorage: {codec: none}\n"


def entries(path: Path) -> dict[str, dict[str, Any]]:
    layers = json.loads((path / "manifest.json").read_text())["layers"]
    return {name: layer["arrays"][0] for name, layer in layers.items()}


def pixels(path: Path, layer: str) -> Any:
    (name,) = (array["name"] for array in [entries(path)[layer]])
    return zarr.open_array(path / "chips.zarr" / layer / name, mode="r")[...]


def variables(path: Path) -> Any:
    """Return the statistics of a layer's pixels."""
    return json.loads((path / "stats" / "s1.json").read_text())["variables"]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same pixels by zstd and uncompressed."""
    folder = tmp_path_factory.mktemp("codecs")
    build(plan(RECIPE), folder / "zstd", runner=Threads(2))
    build(plan(CHOSEN), folder / "none", runner=Threads(2))
    return folder / "zstd", folder / "none"


def test_the_manifest_names_a_codec_that_is_not_the_default(both: tuple[Path, Path]) -> None:
    zstd, none = both
    assert all("codec" not in entry for entry in entries(zstd).values())
    assert {name: entry["codec"] for name, entry in entries(none).items()} == {
        "s1": "none",
        "landcover": "none",
        "again": "lz4",
    }
    written = yaml.safe_load((none / "recipe.yaml").read_text())
    assert (written["storage"], written["layers"]["again"]["codec"]) == ({"codec": "none"}, "lz4")
    assert "codec" not in (zstd / "recipe.yaml").read_text()


def test_pixels_are_the_same_to_ours_and_to_zarr_python(both: tuple[Path, Path]) -> None:
    zstd, none = both
    for layer in ("s1", "landcover"):
        expected = pixels(zstd, layer)
        np.testing.assert_array_equal(pixels(none, layer), expected)
        dataset = Dataset(none)
        stored = dataset.layer(layer)
        for row in range(len(expected)):
            np.testing.assert_array_equal(dataset.reader.read(stored, stored.array(), row), expected[row])


def test_statistics_and_verify_hold_of_any_codec(both: tuple[Path, Path]) -> None:
    zstd, none = both
    assert variables(zstd) == variables(none)
    assert verify(none, sample=2).ok


def test_another_codec_makes_the_layer_anew_and_the_same_codec_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    build(plan(RECIPE), folder, runner=Threads(2))
    before, expected = tree(folder), pixels(folder, "s1")
    previous = DatasetFolder(folder).frozen()
    other = plan(dedent(RECIPE) + "storage: {codec: lz4}\n", previous=previous)
    build(other, folder, runner=Threads(2))
    after = tree(folder)
    shards = [name for name in before if name.startswith("chips.zarr/s1/backscatter/c/")]
    assert shards
    assert any(before[name] != after[name] for name in shards)
    assert entries(folder)["s1"]["codec"] == "lz4"
    np.testing.assert_array_equal(pixels(folder, "s1"), expected)
    build(plan(RECIPE, previous=DatasetFolder(folder).frozen()), folder, runner=Threads(2))
    assert tree(folder) == before, "back to zstd: to the byte what it was"


def test_space_is_asked_for_by_the_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from m3leo_prep.core.errors import StoreError
    from m3leo_prep.pipeline import space

    def needed(text: str) -> float:
        made = plan(text)
        return sum(space._bytes(made, unit) for unit in made.units())

    raw = plan(RECIPE).estimate().raw_bytes
    sizes = [needed(f"{dedent(RECIPE)}storage: {{codec: {codec}}}\n") for codec in ("zstd", "lz4", "none")]
    assert sizes[0] < sizes[1] < sizes[2] == raw
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: type("Disk", (), {"free": int(raw)})())
    check_space(plan(RECIPE), list(plan(RECIPE).units()), tmp_path)
    made = plan(f"{dedent(RECIPE)}storage: {{codec: none}}\n")
    with pytest.raises(StoreError, match="are needed"):
        check_space(made, list(made.units()), tmp_path)
