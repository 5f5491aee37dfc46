"""``ChipDataset(normalize=True)``: the statistics that a dataset ships, made from its train chips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from m3leo_prep.cli.statistics import run_stats
from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.recipe import SplitsModel
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.splitting.rewrite import add_policy
from m3leo_prep.runners.threads import Threads
from tests.pipeline.conftest import MINI, area, plan

torch = pytest.importorskip("torch")

from m3leo_prep.reader.learning.chips import ChipDataset  # noqa: E402  it imports torch

SPLITS = "splits: {policy: random, seed: 8}\n"
ELSEWHERE = (9.400, 57.100, 9.412, 57.104)
SEEN = {"s1": ["vv_desc", "vh_desc"]}
"""The bands that have pixels."""


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Return two datasets with splits, to the first of which the policy ``other`` was added, and one without."""
    folder = tmp_path_factory.mktemp("normalize")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        build(plan(MINI + SPLITS), folder / "a", runner=Threads(2))
        build(plan(MINI + SPLITS, area(ELSEWHERE, "there")), folder / "b", runner=Threads(2))
        build(plan(MINI), folder / "none", runner=Threads(2))
    add_policy(folder / "a", SplitsModel(policy="random", seed=10), name="other", base=folder)
    run_stats(str(folder / "a"), policy="other", layers=None, as_json=False)
    return folder


def pixels(chips, key):
    """Return the valid pixels by band of all samples together."""
    samples = [chips[row] for row in range(len(chips))]
    values = torch.stack([sample[key] for sample in samples])
    valid = torch.stack([sample[f"{key}_mask"] for sample in samples])
    n_bands = values.shape[-3]
    moved = [t.movedim(-3, 0).reshape(n_bands, -1) for t in (values, valid)]
    return [v[k].double() for v, k in zip(*moved, strict=True)]


@pytest.mark.parametrize("names", [["a"], ["a", "b"]], ids=["one root", "two roots"])
def test_train_becomes_mean_0_and_std_1_over_its_valid_pixels(roots: Path, names: list[str]) -> None:
    paths = [roots / name for name in names]
    layers = ["position", "degrees", "s1"]
    chips = ChipDataset(paths, layers=layers, split="train", bands=SEEN, normalize=True)
    assert len(chips) > 4 * len(names)
    for key in layers:
        for band in pixels(chips, key):
            assert band.mean().item() == pytest.approx(0, abs=1e-3)
            assert band.std(correction=0).item() == pytest.approx(1, abs=1e-3)


def test_test_chips_take_the_numbers_of_train(roots: Path) -> None:
    train, test = (
        pixels(ChipDataset(roots / "a", layers=["position"], split=split), "position")[0] for split in ("train", "test")
    )
    found = pixels(ChipDataset(roots / "a", layers=["position"], split="test", normalize=True), "position")[0]
    expected = (test - train.mean()) / train.std(correction=0)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert abs(found.mean()) > 0.01, "not by their own"


def test_bands_in_another_order_take_their_own_numbers(roots: Path) -> None:
    both = ChipDataset(roots / "a", layers=["position"], normalize=True)[2]["position"]
    turned = ChipDataset(roots / "a", layers=["position"], bands={"position": ["y", "x"]}, normalize=True)[2]
    alone = ChipDataset(roots / "a", layers=["position"], bands={"position": ["y"]}, normalize=True)[2]
    assert torch.equal(turned["position"], both[[1, 0]])
    assert torch.equal(alone["position"], both[[1]])


def test_classes_and_what_is_missing_are_not_touched(roots: Path) -> None:
    plain = ChipDataset(roots / "a", layers=["landcover", "s1"], bands=SEEN)
    scaled = ChipDataset(roots / "a", layers=["landcover", "s1"], bands=SEEN, normalize=True)
    for row in range(len(plain)):
        before, after = plain[row], scaled[row]
        assert torch.equal(before["landcover"], after["landcover"])
        assert torch.equal(before["s1_mask"], after["s1_mask"])
        assert (after["s1"][~after["s1_mask"]] == 0).all()


def test_an_added_policy_is_named(roots: Path) -> None:
    own, other = (
        ChipDataset(roots / "a", layers=["position"], normalize=given)[0]["position"] for given in (True, "other")
    )
    assert not torch.equal(own, other)
    document = json.loads((roots / "a/stats/position.other.json").read_text())
    about = document["variables"]["position"]["bands"]["x"]
    plain = ChipDataset(roots / "a", layers=["position"])[0]["position"]
    torch.testing.assert_close(other[0], (plain[0] - about["mean"]) / about["std"], atol=1e-3, rtol=0)


def test_without_splits_all_chips_count(roots: Path) -> None:
    chips = ChipDataset(roots / "none", layers=["position"], normalize=True)
    assert pixels(chips, "position")[0].std(correction=0).item() == pytest.approx(1, abs=1e-3)


def test_a_band_without_a_valid_pixel_is_named(roots: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)band 'vv_asc' of 's1' has no valid pixel.*bands="):
        ChipDataset(roots / "a", layers=["s1"], normalize=True)


def test_train_of_one_and_all_of_another_are_not_mixed(roots: Path) -> None:
    """Test chips of the one would count in the other's numbers (D64)."""
    with pytest.raises(ConfigError, match=r"(?s)from train .*from all chips"):
        ChipDataset([roots / "a", roots / "none"], layers=["position"], normalize=True)


# -- on written numbers ------------------------------------------------------------------------------------------------


def ship(made, layer, bands):
    """Write statistics (count, mean, std) by band of a layer's only variable into a dataset that a test wrote."""
    (variable,) = (a.variable.name for known in made.layers if known.name == layer for a in known.arrays)
    about = {band: dict(zip(("count", "mean", "std"), told, strict=True)) for band, told in bands.items()}
    path = made.path / "stats" / f"{layer}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"from": "train", "variables": {variable: {"bands": about}}}))
    made.edit_manifest(lambda manifest: manifest.setdefault("files", {}).update({f"stats/{layer}.json": ""}))


def test_a_constant_band_is_not_divided_by_0(made) -> None:
    bands = made.layers[0].arrays[0].variable.bands
    ship(made, "s1", {bands[0]: (10, -7.5, 0.0), bands[1]: (10, 1.0, 2.0)})
    plain = ChipDataset(made.path, layers=["s1"])[0]["s1"]
    scaled = ChipDataset(made.path, layers=["s1"], normalize=True)[0]["s1"]
    torch.testing.assert_close(scaled[:, 0], plain[:, 0] + 7.5)
    torch.testing.assert_close(scaled[:, 1], (plain[:, 1] - 1) / 2)


def test_datasets_count_by_their_pixels(tools, tmp_path: Path) -> None:
    """1 pixel of 0 and 3 of 4 have mean 3 and variance 3; a dataset without any adds nothing."""
    layer = next(layer for layer in tools.layers() if layer.name == "s1")
    first, second = layer.arrays[0].variable.bands
    told = [(1, 0.0, 0.0), (3, 4.0, 0.0), (0, None, None)]
    paths = []
    for place, numbers in enumerate(told):
        made = tools.write(tmp_path / str(place), [layer], prefix=f"p{place}")
        ship(made, "s1", {first: numbers, second: (5, 0.0, 1.0)})
        paths.append(made.path)
    chips = ChipDataset(paths, layers=["s1"], normalize=True)
    plain = ChipDataset(paths, layers=["s1"])
    mask = plain[0]["s1_mask"][:, 0]
    expected = ((plain[0]["s1"][:, 0] - 3) / np.sqrt(3))[mask]
    torch.testing.assert_close(chips[0]["s1"][:, 0][mask], expected)
    assert torch.equal(chips[0]["s1"][:, 1], plain[0]["s1"][:, 1])
