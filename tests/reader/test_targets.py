"""Labels of whole chips: counted by hand, and as the build counted them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely

from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.runners.threads import Threads

torch = pytest.importorskip("torch")

from m3leo_prep.reader.learning.chips import ChipDataset  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.sampler import ChipSampler  # noqa: E402  as above
from m3leo_prep.reader.learning.targets import proportions, stored_shares  # noqa: E402  as above
from m3leo_prep.reader.learning.transforms.info import KeyInfo  # noqa: E402  as above
from m3leo_prep.transforms import ChipTarget  # noqa: E402  as above

RECIPE = """
name: labels
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp}
  landcover: {role: label, source: synthetic, product: landcover}
  relief: {role: label, source: synthetic, product: relief, resolution: 20}
"""
CLASSES = [(1,), (2, 3)]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    path = tmp_path_factory.mktemp("targets") / "labels"
    area = Area.from_geometry(shapely.box(9.30, 57.10, 9.33, 57.11), name="here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        build(make_plan(parse_recipe(RECIPE), area, base=Path()), path, runner=Threads(2))
    return path


def label(*rows):
    values = torch.tensor([list(map(int, row)) for row in rows])[None]
    return values, values != 0


def info(kind=Kind.CLASSES, legend=((1, "water"), (2, "wood")), bands=("map",), **more):
    is_class = kind is Kind.CLASSES
    return KeyInfo(
        kind, "1", bands, 10.0, 4, is_class, True, "label", "none", legend=legend if is_class else (), **more
    )


def test_proportions_are_of_valid_pixels_of_the_classes():
    values, mask = label("1123", "0123", "9123", "1123")
    # Of 16 pixels one is not valid and one of no class; 6 are water.
    expected = [6 / 14, 8 / 14]
    np.testing.assert_allclose(proportions(values, mask, CLASSES, 0.5), expected, rtol=1e-7)
    assert proportions(values, mask, CLASSES, 0.9).isnan().all()
    np.testing.assert_allclose(proportions(values, mask, CLASSES, 14 / 16), expected, rtol=1e-7)
    assert proportions(values, values < 0, CLASSES, 0.0).isnan().all()


def test_a_time_axis_stays_and_several_bands_are_refused():
    values, mask = label("12", "12")
    series = torch.stack([values, torch.ones_like(values)])
    made = proportions(series, series > 0, CLASSES, 0.5)
    assert made.tolist() == [[0.5, 0.5], [1.0, 0.0]]
    with pytest.raises(ConfigError, match="of one band"):
        proportions(torch.cat([values, values]), torch.cat([mask, mask]), CLASSES, 0.5)


def test_the_majority_is_the_first_of_equals_and_255_where_too_little_is_valid():
    target = ChipTarget("cover", "majority").bind({"cover": info()})[0]
    for rows, expected in (
        (("1222", "2222"), 1),
        (("1111", "2222"), 0),
        (("1000", "0000"), 255),
        (("1122", "0000"), 0),
        (("2200", "2200"), 1),
    ):
        values, mask = label(*rows)
        assert target({"cover": values, "cover_mask": mask})["cover_target"].item() == expected
        assert target({"cover": values, "cover_mask": mask})["cover_target"].dtype == torch.int64


def test_means_and_sums_are_physical_also_of_normalised_labels():
    values = torch.tensor([[1.0, 2.0], [3.0, 9.0]])[None]
    mask = values < 9
    mean, std = (np.array([[[k]]], np.float32) for k in (10, 4))
    for what, expected in (("mean", 10 + 4 * 2.0), ("sum", 30 + 4 * 6.0)):
        target = ChipTarget("h", what).bind({"h": info(Kind.CONTINUOUS, mean=mean, std=std)})[0]
        made = target({"h": values, "h_mask": mask})["h_target"]
        assert (made.tolist(), made.dtype) == ([expected], torch.float32)
    strict = ChipTarget("h", "mean", min_valid=0.8).bind({"h": info(Kind.CONTINUOUS)})[0]
    assert strict({"h": values, "h_mask": mask})["h_target"].isnan().all()


@pytest.mark.parametrize(
    ("target", "key", "message"),
    [
        (ChipTarget("x", "mean"), info(), "not read"),
        (ChipTarget("cover", "median"), info(), "what='median'"),
        (ChipTarget("cover", "mean"), info(), "has no mean"),
        (ChipTarget("cover", "majority"), info(Kind.CONTINUOUS), "has no majority"),
        (ChipTarget("cover", "majority"), info(legend=()), "must be named"),
        (ChipTarget("cover", "majority", {"a": 1, "b": [1, 2]}), info(), "each in one class"),
        (ChipTarget("cover", "majority", min_valid=2), info(), "min_valid"),
    ],
)
def test_targets_that_cannot_be_are_refused(target, key, message):
    with pytest.raises(ConfigError, match=message):
        target.bind({"cover": key})


def test_targets_are_what_the_build_stored(labelled):
    """Counted from pixels here, from the ledger there."""
    chips = ChipDataset(
        labelled,
        layers=["position"],
        labels=["landcover"],
        transform=ChipTarget("landcover", "proportions", keep=False),
    )
    classes, shares = stored_shares(chips, "landcover")
    assert shares.shape == (len(chips), len(classes))
    found = np.stack([sample["landcover_target"].numpy() for sample in chips])
    np.testing.assert_array_equal(found, shares)
    assert np.isfinite(shares).all()
    assert np.count_nonzero(shares.sum(axis=0)) > 1
    assert "landcover" not in chips[0]
    relief = ChipDataset(labelled, layers=["position"], labels=["relief"], transform=ChipTarget("relief", "mean"))
    stored = relief.datasets[0].chips["mean_relief"].to_numpy()
    np.testing.assert_allclose([s["relief_target"].item() for s in relief], stored, rtol=1e-5)


def test_stored_shares_follow_the_samples(labelled):
    chips = ChipDataset(labelled, layers=["position"])
    _, shares = stored_shares(chips, "landcover")
    some = ChipDataset([labelled, labelled], layers=["position"], ids=[chips.ids[k] for k in (5, 2, 7)])
    np.testing.assert_array_equal(stored_shares(some, "landcover")[1], shares[[5, 2, 7] * 2])
    with pytest.raises(ConfigError, match="no proportions of 'land'"):
        stored_shares(chips, "land")


def test_classes_appear_equally_in_a_balanced_epoch(labelled, monkeypatch):
    """Chips of one class each: every class is drawn equally often, however rare it is."""
    chips = ChipDataset(labelled, layers=["position"])
    pure = np.zeros((len(chips), 3), np.float32)
    pure[:, 0] = 1
    pure[[3, 4]], pure[7], pure[0] = [0, 1, 0], [0, 0, 1], np.nan
    monkeypatch.setattr("m3leo_prep.reader.learning.sampler.stored_shares", lambda *_: (("a", "b", "c"), pure))
    sampler = ChipSampler.balanced(chips, layer="landcover", num_samples=300)
    drawn = np.bincount(sampler.order(0), minlength=len(chips))
    assert drawn[0] == 0
    np.testing.assert_allclose([drawn @ np.nan_to_num(pure)[:, k] for k in range(3)], 100, atol=2)


def test_a_balanced_epoch_of_real_shares_is_nearer_to_even(labelled):
    chips = ChipDataset(labelled, layers=["position"])
    _, shares = stored_shares(chips, "landcover")
    present = shares[:, shares.sum(axis=0) > 0]
    order = ChipSampler.balanced(chips, layer="landcover", seed=3).order(0)
    plain, balanced = present.mean(axis=0), present[order].mean(axis=0)
    assert balanced.min() > plain.min()
    assert balanced.std() < plain.std()
    with pytest.raises(ConfigError, match="no proportions of 'position'"):
        ChipSampler.balanced(chips, layer="position")
