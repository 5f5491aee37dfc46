"""Batches: one buffer per key, handed on without a copy; datasets that lack a layer; columns that select."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.testing.layers import make_array, make_layer

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, default_collate  # noqa: E402  torch may be absent

import m3leo_prep as mp  # noqa: E402  see above
from m3leo_prep.reader.learning.chips import ChipDataset  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.collate import collate  # noqa: E402  it imports torch
from m3leo_prep.transforms import (  # noqa: E402  they need torch
    ChannelMask,
    ChipTarget,
    ModalityDropout,
    RandomCrop,
    SelectChannels,
)

LAYERS = {"layers": ["s1", "dem"], "labels": ["cover"]}
TENSORS = ("s1", "s1_mask", "dem", "dem_mask", "cover", "cover_mask")


def same(one, other):
    assert list(one) == list(other)
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == other[key].dtype
            assert torch.equal(value, other[key]), key
        else:
            assert value == other[key], key


def test_a_batch_is_the_buffer_that_was_read_into(shared_made):
    chips = ChipDataset(shared_made.path, **LAYERS)
    order = [7, 2, 7, -1, 0]
    samples = chips.__getitems__(order)
    batch = collate(samples)
    for key in TENSORS:
        assert batch[key].data_ptr() == samples[0][key].data_ptr()
        assert batch[key].shape == (5, *samples[0][key].shape)
    same(batch, default_collate([chips[place] for place in order]))
    assert batch["chip_id"] == ["c007", "c002", "c007", "c009", "c000"]
    assert batch["row"].tolist() == [7, 2, 7, 9, 0]


def test_a_sample_asked_for_twice_is_two_samples(shared_made):
    first, second = ChipDataset(shared_made.path, **LAYERS).__getitems__([3, 3])
    kept = second["s1"].clone()
    first["s1"].fill_(-1)
    assert torch.equal(second["s1"], kept)


def test_what_a_transform_made_is_stacked(shared_made):
    def half(sample):
        return sample | {"s1": sample["s1"][..., ::2], "extra": 0.5, "name": "n" + sample["chip_id"]}

    plain = ChipDataset(shared_made.path, **LAYERS).__getitems__([4, 5])
    samples = [half(sample) for sample in plain]
    batch = collate(samples)
    same(batch, default_collate(samples))
    assert batch["s1"].shape == (2, 5, 2, 6, 3)
    assert batch["s1"].data_ptr() != samples[0]["s1"].data_ptr()
    assert batch["dem"].data_ptr() == samples[0]["dem"].data_ptr()
    # The other way round, every second one, or of other batches: the views no longer follow each other.
    more = ChipDataset(shared_made.path, **LAYERS).__getitems__([0, 1, 2, 3])
    for chosen in (more[::-1], more[::2], [more[0], plain[1]], [more[1], more[1]]):
        same(collate(chosen), default_collate(chosen))
        assert collate(chosen)["s1"].data_ptr() not in {sample["s1"].data_ptr() for sample in chosen}


def test_one_tensor_of_its_own_is_copied():
    """A transform may give every sample the same tensor: a batch of one must not be it."""
    constant = torch.ones(3)
    batch = collate([{"weights": constant}])
    batch["weights"].zero_()
    assert constant.sum() == 3


def test_shapes_that_differ_are_named():
    with pytest.raises(ConfigError, match=r"'s1' differ in shape: \(2,\) and \(3,\)"):
        collate([{"s1": torch.zeros(2)}, {"s1": torch.zeros(3)}])


def shared(samples):
    """Return whether the batch's tensors lie in shared memory, and are the samples' own."""
    batch = collate(samples)
    views = {key: batch[key].data_ptr() == samples[0][key].data_ptr() for key in TENSORS}
    stacked = collate([{"x": sample["s1"] + 1} for sample in samples])
    return batch | {"checks": [batch[key].is_shared() and views[key] for key in TENSORS] + [stacked["x"].is_shared()]}


def test_a_worker_reads_into_shared_memory(shared_made):
    chips = ChipDataset(shared_made.path, **LAYERS)
    loader = DataLoader(chips, batch_size=4, num_workers=1, collate_fn=shared)
    batches = list(loader)
    assert all(all(batch.pop("checks")) for batch in batches)
    for n, batch in enumerate(batches):
        same(batch, collate(chips.__getitems__(range(10)[n * 4 : n * 4 + 4])))


def test_many_chips_pickle_to_a_few_bytes_each(shared_made):
    """A spawned worker gets ids and rows as two buffers: no list of strings."""
    chips = ChipDataset(shared_made.path, **LAYERS, ids=shared_made.ids * 20_000)
    few = ChipDataset(shared_made.path, **LAYERS)
    each = (len(pickle.dumps(chips)) - len(pickle.dumps(few))) / 200_000
    assert each < 8 + 4 + 4 + 0.5  # row, end of the id, the id
    again = pickle.loads(pickle.dumps(chips))
    assert again[199_999]["chip_id"] == "c009"
    assert ChipDataset(again.datasets[0], **LAYERS).ids == shared_made.ids


@pytest.fixture
def pair(tools, tmp_path):
    """Return a dataset with all layers, and one without ``cover`` and ``dem``."""
    layers = {layer.name: layer for layer in tools.layers()}
    one = tools.write(tmp_path / "one", [layers["s1"], layers["dem"], layers["cover"]], n_chips=3)
    two = tools.write(tmp_path / "two", [layers["s1"]], n_chips=2, prefix="d", seed=2)
    return [one.path, two.path]


def test_a_layer_that_a_dataset_lacks_is_filled_and_masked(pair):
    with pytest.raises(ConfigError, match=r"(?s)there is no layer 'dem'.*two|two.*there is no layer 'dem'"):
        ChipDataset(pair, **LAYERS)
    scale = {"s1": (-10.0, 5.0), "dem": (100.0, 9.0)}
    bands = {"dem": ["slope"]}
    chips = ChipDataset(pair, **LAYERS, bands=bands, normalize=scale, allow_missing_layers=True)
    assert len(chips) == 5
    assert "s1, dem, cover" in repr(chips)
    lacking, whole = chips.__getitems__([3, 1])
    assert lacking.keys() == whole.keys()
    assert (lacking["dem_present"], whole["dem_present"]) == (False, True)
    assert "s1_present" not in whole
    batch = collate([lacking, whole])
    assert batch["dem_present"].tolist() == batch["cover_present"].tolist() == [False, True]
    assert torch.equal(batch["dem"][1], whole["dem"])
    assert (batch["dem"][0] == 0).all()
    assert (batch["cover"][0] == 255).all()
    assert not batch["dem_mask"][0].any()
    assert not batch["cover_mask"][0].any()
    assert torch.equal(batch["dem_mask"][1], whole["dem_mask"])
    alone = ChipDataset(pair[0], **LAYERS, bands=bands, normalize=scale)[1]
    assert torch.equal(batch["dem"][1], alone["dem"])
    # Of a batch that none has it of as well: its keys and shapes are those of any batch.
    none, some = collate(chips.__getitems__([3, 4])), collate(chips.__getitems__([0, 1]))
    assert none["dem_present"].tolist() == [False, False]
    same({key: torch.zeros_like(none[key]) for key in TENSORS}, {key: torch.zeros_like(some[key]) for key in TENSORS})
    assert torch.equal(none["cover"], torch.full_like(some["cover"], 255))
    for key in ("dem", "dem_mask", "cover_mask"):
        assert not none[key].any()


def test_transforms_and_views_take_samples_of_a_dataset_that_lacks_a_layer(pair):
    chosen = [
        SelectChannels({"dem": ["slope"]}),
        ChipTarget("cover", "proportions", {"one": 1, "two": 2}),
        RandomCrop(4),
    ]
    for transform in (*chosen, ChannelMask({"dem": ["h"]}), ModalityDropout(0.5)):
        chips = ChipDataset(pair, **LAYERS, allow_missing_layers=True, transform=transform)
        batch = collate(chips.__getitems__(range(5)))
        assert batch["dem_present"][3:].tolist() == [False, False]
        assert not batch["dem_mask"][3:].any()
    chips = ChipDataset(pair, layers=["s1", "dem"], slots={"s1": [0]}, allow_missing_layers=True)
    image, plain = collate(chips.as_torchgeo().__getitems__([0, 4])), collate(chips.__getitems__([0, 4]))
    assert torch.equal(image["image"], torch.cat([plain["s1"][:, 0], plain["dem"]], dim=1))
    assert torch.equal(image["image_mask"], torch.cat([plain["s1_mask"][:, 0], plain["dem_mask"]], dim=1))
    assert image["dem_present"].tolist() == [True, False]


def test_what_is_beside_a_layer_that_a_dataset_lacks_is_unknown(pair):
    asked = {"allow_missing_layers": True, "layers": ["s1", "dem"]}
    for name in ("dem.height_valid", "height_valid"):
        chips = ChipDataset(pair, **asked, meta=[name])
        batch = collate(chips.__getitems__([4, 0]))
        assert batch["dem_height_valid_mask"].tolist() == [[False, False], [True, True]]
        assert batch["dem_height_valid"][0].tolist() == [0, 0]
        assert batch["dem_height_valid"].equal(collate(chips.__getitems__([4, 4, 0]))["dem_height_valid"][1:])
    for name in ("dem.heigth_valid", "heigth_valid", "den.height_valid"):
        for roots in (pair, pair[::-1]):
            with pytest.raises(ConfigError, match=r"there is no 'hei\w+_valid' beside"):
                ChipDataset(roots, **asked, meta=[name])


def test_rows_of_a_table_that_a_transform_keeps_are_copied(shared_made):
    """They follow each other in memory as samples do, but the batch must not be the table."""
    table = torch.arange(30.0).reshape(10, 3)
    chips = ChipDataset(shared_made.path, layers=["s1"], transform=lambda sample: sample | {"e": table[sample["row"]]})
    for rows in (range(10), [4, 5], [3]):
        batch = collate(chips.__getitems__(list(rows)))
        batch["e"].zero_()
    assert torch.equal(table, torch.arange(30.0).reshape(10, 3))


def test_layers_missing_everywhere_and_slips_are_still_refused(pair):
    with pytest.raises(ConfigError, match=r"(?s)no layer 'dme'.*did you mean 'dem'"):
        ChipDataset(pair, layers=["s1", "dme"], allow_missing_layers=True)
    with pytest.raises(ConfigError, match=r"two: this dataset has none of dem"):
        ChipDataset(pair, layers=["dem"], allow_missing_layers=True)
    with pytest.raises(ConfigError, match=r"`bands` names 's3'"):
        ChipDataset(pair, **LAYERS, bands={"s3": ["a"]}, allow_missing_layers=True)


def test_layers_that_are_there_must_still_agree(tools, tmp_path):
    array = make_array("height", Kind.CONTINUOUS, ("h",))
    s1 = make_layer(make_array(), name="s1", n_slots=1)
    paths = []
    for name, layers in (
        ("a", [s1]),
        ("b", [s1, make_layer(array, name="dem")]),
        ("c", [make_layer(array, name="dem", size=8)]),
    ):
        paths.append(tools.write(tmp_path / name, layers, n_chips=2).path)
    with pytest.raises(ConfigError, match=r"'pixels' of 'dem'"):
        ChipDataset(paths, layers=["s1", "dem"], allow_missing_layers=True, allow_mixed=True)


def test_chips_are_chosen_by_columns(shared_made, tools, tmp_path):
    split = {"layers": ["cover"], "split": "train"}
    rows = lambda chips: [sample["row"] for sample in chips]  # noqa: E731  short
    assert rows(ChipDataset(shared_made.path, **split, only={"row": [8, 5, 2]})) == [2, 5]
    assert rows(ChipDataset(shared_made.path, **split, without={"chip_id": ["c001", "c009"], "row": [0]})) == [
        2,
        3,
        4,
        5,
    ]
    assert rows(ChipDataset(shared_made.path, layers=["cover"], only={"split": ["val", "test"]})) == [6, 7, 8]
    # A null is no value: never kept by `only`, never left out by `without`.
    made = tools.write(tmp_path, [make_layer(make_array(), name="s1")], n_chips=3, split=["a", None, "b"])
    assert rows(ChipDataset(made.path, layers=["s1"], only={"split": ["a"]})) == [0]
    assert rows(ChipDataset(made.path, layers=["s1"], without={"split": ["a"]})) == [1, 2]
    # Of several datasets one is enough to have a value.
    both = ChipDataset([shared_made.path, shared_made.path], layers=["cover"], only={"chip_id": ["c003"]}, ids=["c003"])
    assert rows(both) == [3, 3]


def test_rows_are_counted_across_groups_of_the_table(shared_made, tmp_path):
    """Of a large dataset a group of rows is read at a time: here they are of three."""
    path = shutil.copytree(shared_made.path, tmp_path / "small")
    pq.write_table(pq.read_table(path / "chips.parquet"), path / "chips.parquet", row_group_size=3)
    for asked in ({}, {"split": "train"}, {"split": "val"}, {"only": {"row": [1, 3, 9]}}, {"ids": ["c008", "c002"]}):
        found, truth = (
            ChipDataset(root, layers=["cover"], columns=["lon"], **asked) for root in (path, shared_made.path)
        )
        assert found.ids == truth.ids
        same(collate(found.__getitems__(range(len(found)))), collate(truth.__getitems__(range(len(truth)))))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"only": {"admin_unit": ["IT25"]}}, "(?s)chips.parquet has no column 'admin_unit'"),
        ({"without": {"split": ["tset"]}}, "(?s)`without`: no chip has split 'tset'.*did you mean 'test'"),
        ({"without": {"split": "test"}}, r"(?s)`without` takes a list of values, not 'test'.*\['test'\]"),
        ({"only": {"epsg": ["here"]}}, "do not fit a column of int32"),
        ({"only": {"split": [3]}}, "do not fit a column of string"),
        ({"upsample": "cubic"}, "upsample must be 'nearest' or 'bilinear'"),
    ],
)
def test_a_slip_never_lets_held_out_chips_in(shared_made, asked, message):
    with pytest.raises(ConfigError, match=message):
        ChipDataset(shared_made.path, layers=["cover"], **asked)


def test_collate_is_exported():
    assert mp.collate is collate
    assert np.isin(["collate"], dir(mp)).all()
