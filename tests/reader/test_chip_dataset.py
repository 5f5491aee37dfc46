"""Chips as tensors: values, masks, selection, several datasets, workers."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest

from m3leo_prep.core.encoding import Encoding
from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.core.raster import Kind
from m3leo_prep.testing.layers import make_array, make_layer

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402  torch may be absent

from m3leo_prep.reader.dataset import Dataset  # noqa: E402
from m3leo_prep.reader.learning.chips import IGNORE_INDEX, ChipDataset  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.collate import collate  # noqa: E402  it imports torch
from m3leo_prep.transforms import ChannelMask  # noqa: E402


def test_samples_are_physical_values_and_masks(shared_made):
    chips = ChipDataset(shared_made.path, layers=["s1", "insar", "dem"], labels=["cover"], phase="raw")
    dataset = Dataset(shared_made.path)
    assert len(chips) == 10
    keys = {
        "s1": ("s1", None),
        "insar.coherence": ("insar", "coherence"),
        "insar.phase": ("insar", "phase"),
        "dem": ("dem", None),
    }
    for row in range(10):
        sample = chips[row]
        assert set(sample) == {*keys, *(f"{k}_mask" for k in keys), "cover", "cover_mask", "chip_id", "row"}
        assert (sample["chip_id"], sample["row"]) == (f"c{row:03d}", row)
        for key, (layer, variable) in keys.items():
            values, valid = dataset.read(row, layer, variable)
            assert sample[key].dtype == torch.float32
            assert sample[f"{key}_mask"].dtype == torch.bool
            np.testing.assert_array_equal(sample[f"{key}_mask"], valid)
            np.testing.assert_array_equal(sample[key], np.where(valid, values, 0))
        codes = shared_made.codes["cover", "map"][row]
        assert sample["cover"].dtype == torch.int64
        np.testing.assert_array_equal(sample["cover"], codes)
        np.testing.assert_array_equal(sample["cover_mask"], codes != 255)
    assert chips[0]["s1"].shape == (5, 2, 6, 6)
    assert chips[0]["dem"].shape == (2, 6, 6)


def test_missing_flags_become_the_ignore_index(shared_made):
    """uint16 flags have another fill code on disk."""
    sample = ChipDataset(shared_made.path, layers=["extra.flags"])[0]
    codes = shared_made.codes["extra", "flags"][0].astype(np.int64)
    np.testing.assert_array_equal(sample["extra.flags"], np.where(codes == 65535, IGNORE_INDEX, codes))


def test_a_selection_is_that_part_of_the_whole_in_its_order(shared_made):
    whole = ChipDataset(shared_made.path, layers=["s1", "s2", "insar.coherence"])[3]
    part = ChipDataset(
        shared_made.path,
        layers=["s2", "s1", "insar.coherence"],
        bands={"s2": ["f", "a"], "insar.coherence": ["coh24"]},
        slots={"s1": ["2020-04", "2020-01"], "s2": [2], "insar": [1]},
    )[3]
    assert torch.equal(part["s1"], whole["s1"][[3, 0]])
    assert torch.equal(part["s2"], whole["s2"][[2]][:, [5, 0]])
    assert torch.equal(part["s2_mask"], whole["s2_mask"][[2]][:, [5, 0]])
    assert torch.equal(part["insar.coherence"], whole["insar.coherence"][[1]][:, [1]])
    assert "insar.phase" not in part


def test_normalisation_comes_before_the_zeros(shared_made):
    plain = ChipDataset(shared_made.path, layers=["s1", "dem"])
    scaled = ChipDataset(
        shared_made.path, layers=["s1", "dem"], normalize={"s1": ((-12.0, -18.0), (5.0, 4.0)), "dem": (300, 100)}
    )
    for row in range(10):
        before, after = plain[row], scaled[row]
        mask = after["s1_mask"]
        mean, std = (torch.tensor(v).reshape(2, 1, 1) for v in ((-12.0, -18.0), (5.0, 4.0)))
        torch.testing.assert_close(after["s1"][mask], ((before["s1"] - mean) / std)[mask])
        torch.testing.assert_close(after["dem"][after["dem_mask"]], ((before["dem"] - 300) / 100)[before["dem_mask"]])
        assert (after["s1"][~mask] == 0).all()
        assert (after["dem"][~after["dem_mask"]] == 0).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (True, "(?s)no statistics of 's1'.*m3leo-prep stats"),
        ("north", "(?s)no statistics of 's1' by the policy 'north'.*stats .* --policy north"),
        (5, "normalize takes True, the name"),
        ({"s3": (0, 1)}, "(?s)`normalize` names 's3'.*can be named: s1"),
        ({"cover": (0, 1)}, "`normalize` names 'cover'"),
        ({"s1": ([1, 2, 3], 1)}, "s1: 3 means and 1 stds do not fit 2 bands"),
        ({"s1": (0, 0)}, "stds finite and above 0"),
        ({"s1": (np.nan, 1)}, "means must be finite"),
    ],
)
def test_statistics_that_fit_nothing_are_refused(shared_made, given, message):
    with pytest.raises(ConfigError, match=message):
        ChipDataset(shared_made.path, layers=["s1", "cover"], normalize=given)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layers": ["s1x"]}, "(?s)no layer 's1x'.*did you mean 's1'"),
        ({"layers": []}, "(?s)no layer is asked for.*choose from: cover, dem"),
        ({"layers": ["insar.coherance"]}, "(?s)no variable 'coherance'.*did you mean 'coherence'"),
        ({"layers": ["s1"], "bands": {"s1": ["vvv"]}}, "(?s)no band 'vvv'.*did you mean 'vv'"),
        ({"layers": ["s1"], "bands": {"s1": "vv"}}, "(?s)give a list of bands, not 'vv'"),
        ({"layers": ["s1"], "bands": {"s1": []}}, "(?s)give a list of bands"),
        ({"layers": ["s1"], "bands": {"s2": ["a"]}}, "(?s)`bands` names 's2', which is not read"),
        (
            {"layers": ["insar"], "bands": {"insar": ["coh12"]}},
            "(?s)`bands` names 'insar'.*can be named: insar.coherence, insar.phase",
        ),
        ({"layers": ["s1"], "slots": {"s1": ["2020-06"]}}, "(?s)no slot '2020-06'.*2020-0"),
        ({"layers": ["s1"], "slots": {"s1": [5]}}, "no slot 5"),
        ({"layers": ["s1"], "slots": {"s1": [-1]}}, "no slot -1"),
        ({"layers": ["dem"], "slots": {"dem": [0]}}, "static layer has no slots"),
        ({"layers": ["s1"], "split": "trian"}, "(?s)no split 'trian'.*did you mean 'train'"),
        ({"layers": ["s1"], "missing": "skip"}, "missing must be 'mask' or 'drop'"),
        ({"layers": ["s1"], "ids": ["c001", "c999", "c998"]}, "(?s)2 of the ids are not here, the first is 'c999'"),
    ],
)
def test_unknown_names_are_refused_with_near_ones(shared_made, asked, message):
    with pytest.raises(ConfigError, match=message):
        ChipDataset(shared_made.path, **asked)


def test_no_dataset_and_no_splits(made, tmp_path):
    with pytest.raises(StoreError, match=r"no finished dataset here"):
        ChipDataset(tmp_path, layers=["s1"])
    with pytest.raises(ConfigError, match=r"no dataset is given"):
        ChipDataset([], layers=["s1"])
    with pytest.raises(ConfigError, match=r"(?s)no split 'train'.*has no splits"):
        ChipDataset(made.path, layers=["s1"], split="train")


def test_splits_and_ids(shared_made):
    chips = ChipDataset(shared_made.path, layers=["cover"], split="val")
    assert chips.ids == ["c006", "c007"]
    assert [chips[i]["row"] for i in (0, 1, -1)] == [6, 7, 7]
    chips = ChipDataset(shared_made.path, layers=["cover"], ids=["c004", "c001"])
    assert [sample["row"] for sample in chips] == [4, 1]
    with pytest.raises(IndexError):
        chips[2]
    with pytest.raises(IndexError):
        chips[-3]
    with pytest.raises(ConfigError, match=r"only those of the split count"):
        ChipDataset(shared_made.path, layers=["cover"], split="val", ids=["c001"])


def test_drop_keeps_chips_with_a_valid_pixel_of_everything_read(tools, tmp_path):
    layers = [layer for layer in tools.layers() if layer.name in {"s1", "cover"}]
    made = tools.write(tmp_path, layers, missing=0.5, n_chips=30, seed=3)
    s1, cover = (made.codes[key] for key in (("s1", "backscatter"), ("cover", "map")))
    for slots, bands in ((range(5), (0, 1)), ([2], (0, 1)), ([2, 4], (1,))):
        chips = ChipDataset(
            made.path,
            layers=["s1"],
            labels=["cover"],
            slots={"s1": list(slots)},
            bands={"s1": [["vv", "vh"][b] for b in bands]},
            missing="drop",
        )
        part = s1[:, list(slots)][:, :, list(bands)]
        expected = [row for row in range(30) if (part[row] != -32768).any() and (cover[row] != 255).any()]
        assert [sample["row"] for sample in chips] == expected
        assert 0 < len(expected) < 30
    assert len(ChipDataset(made.path, layers=["s1"], missing="mask")) == 30
    shutil.rmtree(made.path / "chips.zarr/s1/backscatter_valid")
    with pytest.raises(StoreError, match="backscatter_valid: this array is not here"):
        ChipDataset(made.path, layers=["s1"], missing="drop")


def double(sample):
    return sample | {"s1": sample["s1"] * 2}


def test_batches_and_transforms(shared_made):
    chips = ChipDataset(shared_made.path, layers=["s1"])
    twice = ChipDataset(shared_made.path, layers=["s1"], transform=double)
    batch = twice.__getitems__([7, 2, 7, -1])
    assert [sample["row"] for sample in batch] == [7, 2, 7, 9]
    assert batch[0] is not batch[2]
    assert torch.equal(batch[1]["s1"], chips[2]["s1"] * 2)


@pytest.mark.parametrize(("method", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_give_what_one_process_gives(shared_made, method, workers):
    """Opened before the workers start, so that forked ones inherit open files and indexes."""
    # Nothing of this file, which a spawned worker would have to import with all that it tests with.
    masked = ChannelMask({"s1": ["vh"]})
    chips = ChipDataset(shared_made.path, layers=["s1", "s2", "insar"], labels=["cover"], phase="raw", transform=masked)
    alone = [chips[i] for i in range(len(chips))]
    options = {"multiprocessing_context": method, "persistent_workers": True, "collate_fn": collate}
    loader = DataLoader(chips, batch_size=3, num_workers=workers, **options)
    for _ in range(2):
        batches = list(loader)
        assert [row for batch in batches for row in batch["row"].tolist()] == list(range(10))
        assert [chip for batch in batches for chip in batch["chip_id"]] == shared_made.ids
        for key in ("s1", "s1_mask", "s2", "insar.phase", "cover", "cover_mask"):
            assert torch.equal(torch.cat([b[key] for b in batches]), torch.stack([s[key] for s in alone]))
    del loader


def test_a_worker_hands_the_error_over(made):
    made.shard("s1", "backscatter", 2, 0).unlink()
    chips = ChipDataset(made.path, layers=["s1"])
    with pytest.raises(StoreError, match=r"c/2/0/0/0/0"):
        list(DataLoader(chips, batch_size=2, num_workers=2))


def test_pickled_datasets_read_the_same(shared_made):
    chips = ChipDataset(shared_made.path, layers=["s1"], labels=["cover"], split="train")
    first = chips[1]
    again = pickle.loads(pickle.dumps(chips))
    assert again.ids == chips.ids
    assert torch.equal(again[1]["s1"], first["s1"])
    assert "6 chips: s1, cover" in repr(again)


def layer_of(convention="sigma0_ellipsoid", *, bands=("vv", "vh"), n_slots=2, size=6, legend=None):
    array = make_array("backscatter", Kind.POWER, bands)
    array.variable.attributes["backscatter_convention"] = convention
    return make_layer(array, name="s1", n_slots=n_slots, size=size)


def test_several_datasets_follow_each_other(tools, tmp_path):
    one = tools.write(tmp_path / "one", [layer_of()], seed=1, n_chips=3)
    two = tools.write(tmp_path / "two", [layer_of(bands=("vh", "vv"))], seed=2, n_chips=5, prefix="d")
    asked = {"layers": ["s1"], "bands": {"s1": ["vv"]}}
    chips = ChipDataset([one.path, str(two.path)], **asked)
    assert len(chips) == 8
    assert chips.ids == one.ids + two.ids
    assert torch.equal(chips[4]["s1"], ChipDataset(two.path, **asked)[1]["s1"])
    # The second holds its bands the other way round: each is found by its name.
    codes = two.codes["s1", "backscatter"][1][:, [1]]
    np.testing.assert_array_equal(chips[4]["s1_mask"], codes != -32768)
    chips = ChipDataset([one.path, two.path], **asked, ids=["d004", "c001"])
    assert chips.ids == ["c001", "d004"]


def test_differing_radiometry_is_refused_and_named(tools, tmp_path):
    one = tools.write(tmp_path / "one", [layer_of()], n_chips=2)
    two = tools.write(tmp_path / "two", [layer_of("gamma0_rtc")], n_chips=2)
    with pytest.raises(
        ConfigError,
        match=r"(?s)'backscatter_convention' of 's1' is 'sigma0_ellipsoid' in .*, but 'gamma0_rtc' .*allow_mixed",
    ):
        ChipDataset([one.path, two.path], layers=["s1"])
    assert len(ChipDataset([one.path, two.path], layers=["s1"], allow_mixed=True)) == 4
    two.edit_manifest(lambda m: m["layers"]["s1"]["arrays"][0]["attributes"].clear())
    with pytest.raises(ConfigError, match=r"'backscatter_convention' of 's1' is .* but None"):
        ChipDataset([one.path, two.path], layers=["s1"])


def test_a_legend_that_differs_is_another_meaning(tools, tmp_path):
    cover = make_layer(make_array("map", Kind.CLASSES, ("map",)), name="cover")
    one = tools.write(tmp_path / "one", [cover], n_chips=2)
    two = tools.write(tmp_path / "two", [cover], n_chips=2)
    two.edit_manifest(lambda m: m["layers"]["cover"]["arrays"][0]["legend"][0].update(name="Water"))
    with pytest.raises(ConfigError, match=r"'legend' of 'cover'"):
        ChipDataset([one.path, two.path], layers=["cover"])


@pytest.mark.parametrize(
    ("other", "what"),
    [({"size": 8}, "pixels"), ({"n_slots": 3}, "number of slots"), ({"bands": ("vv", "hh")}, "bands")],
)
def test_tensors_of_other_shapes_never_mix(tools, tmp_path, other, what):
    one = tools.write(tmp_path / "one", [layer_of()], n_chips=2)
    two = tools.write(tmp_path / "two", [layer_of(**other)], n_chips=2)
    with pytest.raises(ConfigError, match=f"'{what}' of 's1'"):
        ChipDataset([one.path, two.path], layers=["s1"], allow_mixed=True)


def test_other_slots_need_allow_mixed(tools, tmp_path):
    one = tools.write(tmp_path / "one", [layer_of(n_slots=3)], n_chips=2)
    asked = {"layers": ["s1"], "slots": {"s1": [0, 1]}}
    two = tools.write(tmp_path / "two", [layer_of(n_slots=3)], n_chips=2)
    assert len(ChipDataset([one.path, two.path], **asked)) == 4
    two.edit_manifest(lambda m: m["layers"]["s1"]["slots"][1].update(label="2021-02"))
    with pytest.raises(ConfigError, match=r"'slots' of 's1'"):
        ChipDataset([one.path, two.path], **asked)
    assert len(ChipDataset([one.path, two.path], **asked, allow_mixed=True)) == 4


def test_float_arrays_hold_no_nan(tools, tmp_path):
    array = make_array("height", Kind.CONTINUOUS, ("h",), encoding=Encoding("float32", None, unit="m"))
    values = np.full((2, 1, 6, 6), np.nan, np.float32)
    values[0, 0, 1, 2] = 7.5
    made = tools.write(tmp_path, [make_layer(array, name="dem")], n_chips=2, codes={("dem", "height"): values})
    chips = ChipDataset(made.path, layers=["dem"])
    assert chips[0]["dem"].sum() == 7.5
    assert chips[0]["dem_mask"].sum() == 1
    assert not chips[1]["dem_mask"].any()
    assert (chips[1]["dem"] == 0).all()
    assert ChipDataset(made.path, layers=["dem"], missing="drop").ids == ["c000"]
