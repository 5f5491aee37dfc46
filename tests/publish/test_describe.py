"""Describing a dataset: what is written, when nothing is, and when a description goes."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.maps.colours import SPLITS
from m3leo_prep.pipeline.manifest import rewrite
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.publish.description.describe import core_of, describe, public_address
from m3leo_prep.publish.description.licences import decide
from m3leo_prep.publish.description.map import draw_map
from m3leo_prep.reader.dataset import Dataset
from tests.publish.conftest import LARGE, PLAIN, SMALL, TARGET, build_at


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and ".m3leo" not in path.parts]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_described_dataset_verifies_and_is_told_in_its_manifest(rich_described: Path) -> None:
    manifest = json.loads((rich_described / "manifest.json").read_text(encoding="utf-8"))
    assert {"README.md", "croissant.json", "previews/map.png", "previews/part-00000.parquet"} <= set(manifest["files"])
    assert manifest["licence"]["id"] == "cc-by-4.0"
    assert manifest["card"]["target"] == TARGET
    units = [one for one in manifest["licence"]["inputs"] if one["what"].startswith("administrative units")]
    assert [(one["says"], one["citation"]) for one in units] == [("CC-BY-4.0", "A map of nowhere")]
    assert decide(manifest).hub_id == "cc-by-4.0"  # also if nobody states it
    report = verify(rich_described, sample=1)
    assert report.problems == []


def test_a_second_call_writes_nothing_and_a_copy_gets_the_same_bytes(rich_described: Path, tmp_path: Path) -> None:
    before = tree(rich_described)
    again = describe(rich_described, target=TARGET, licence="cc-by-4.0")
    assert not again.is_new
    assert describe(rich_described).licence.hub_id == "cc-by-4.0"  # what was stated stays
    assert tree(rich_described) == before
    copy = Path(shutil.copytree(rich_described, tmp_path / "copy"))
    (copy / "README.md").unlink()
    assert describe(copy, target=TARGET, licence="cc-by-4.0").is_new
    assert {name: data for name, (_, data) in tree(copy).items()} == {name: data for name, (_, data) in before.items()}


def test_another_target_or_licence_is_told_anew(plain: Path) -> None:
    assert describe(plain).licence.hub_id == "cc0-1.0"
    assert "PATH/TO/plain" in (plain / "README.md").read_text(encoding="utf-8")
    core = core_of(Dataset(plain).manifest)
    assert describe(plain, target="s3://key:secret@bucket/plain?token=1").is_new
    text = (plain / "README.md").read_text(encoding="utf-8")
    assert "s3://bucket/plain/chips.zarr" in text
    assert "secret" not in text
    assert describe(plain, licence="cc-by-4.0").licence.is_stated
    assert "s3://bucket/plain" in (plain / "README.md").read_text(encoding="utf-8")  # as before
    assert "license: cc-by-4.0" in (plain / "README.md").read_text(encoding="utf-8")
    assert core_of(Dataset(plain).manifest) == core


def test_growth_and_other_changes_take_the_description_away(tmp_path: Path) -> None:
    grown = build_at(tmp_path / "plain", PLAIN, SMALL)
    describe(grown)
    build_at(grown, PLAIN, LARGE)
    assert not [name for name in ("README.md", "croissant.json") if (grown / name).exists()]
    assert not list(grown.glob("previews/*"))
    assert verify(grown, quick=True).problems == []
    describe(grown)
    dataset = Dataset(grown)
    rewrite(dataset.root, dataset.manifest, (), note="something else")
    assert not (grown / "README.md").exists()
    assert "card" not in Dataset(grown).manifest
    assert verify(grown, quick=True).problems == []


def test_somebodys_own_page_is_never_overwritten(plain: Path) -> None:
    (plain / "README.md").write_text("# My notes\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="somebody's own page"):
        describe(plain)
    assert (plain / "README.md").read_text(encoding="utf-8") == "# My notes\n"
    assert not (plain / "previews").exists()


def test_a_licence_that_is_refused_leaves_the_dataset_as_it_was(plain: Path) -> None:
    before = tree(plain)
    with pytest.raises(ConfigError):
        describe(plain, licence="no-such")
    assert tree(plain) == before


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("hf://datasets/a/b@main", "hf://datasets/a/b@main"),
        ("https://user:pass@host:8080/x/?sig=1#f", "https://host:8080/x"),
        ("out/demo", ""),
        ("/home/me/demo", ""),
    ],
)
def test_addresses_in_public_hold_no_secret_and_no_folder(target: str, expected: str) -> None:
    assert public_address(target) == expected


def test_the_map_has_the_colours_of_the_splits_that_there_are(rich_described: Path, plain_built: Path) -> None:
    def colours(folder: Path) -> set[tuple[int, ...]]:
        picture = np.asarray(Image.open(io.BytesIO(draw_map(Dataset(folder)))).convert("RGB")).astype(int)
        found, counts = np.unique(picture @ [65536, 256, 1], return_counts=True)
        return {(colour >> 16, colour >> 8 & 255, colour & 255) for colour in found[counts > 300].tolist()}

    def near(one: str, found: set[tuple[int, ...]]) -> bool:
        # Drawn with some of the land showing through.
        wanted = np.array([int(one[k : k + 2], 16) for k in (1, 3, 5)])
        return any(np.abs(np.array(colour) - (0.85 * wanted + 0.15 * 245)).max() < 12 for colour in found)

    splits, rich = set(Dataset(rich_described).chips["split"]), colours(rich_described)
    assert {"train", "test"} <= splits
    assert all(near(SPLITS[name], rich) for name in splits)
    assert not near(SPLITS["test"], colours(plain_built))
