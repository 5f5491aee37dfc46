"""Chips under TorchGeo's names: what is stacked, where it lies, and how they are collated."""

from __future__ import annotations

import numpy as np
import pytest

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.testing.layers import make_array, make_layer

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402  torch may be absent

from m3leo_prep.reader.learning.chips import ChipDataset  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.collate import collate  # noqa: E402  as above
from m3leo_prep.transforms import ChipTarget, Compose, RandomCrop  # noqa: E402  as above


@pytest.fixture(scope="module")
def layered(tools, tmp_path_factory):
    """Return a dataset of a series, a coarse static layer, a second series of other slots, and classes."""
    import dataclasses

    layers = [
        make_layer(make_array(), name="s1", n_slots=3, size=8, shard_slots=3),
        dataclasses.replace(make_layer(make_array("height", Kind.CONTINUOUS, ("h",)), name="dem", size=4), pitch=40.0),
        make_layer(make_array("coherence", Kind.COHERENCE, ("c",)), name="coh", n_slots=2, size=8, shard_slots=2),
        dataclasses.replace(make_layer(make_array("map", Kind.CLASSES, ("map",)), name="cover", size=8), role="label"),
    ]
    return tools.write(tmp_path_factory.mktemp("view") / "d", layers).path


def test_bands_are_stacked_on_the_finest_lattice_in_every_slot(layered):
    chips = ChipDataset(layered, layers=["s1", "dem"], labels=["cover"])
    view = chips.as_torchgeo()
    assert len(view) == len(chips)
    for n in range(3):
        plain, sample = chips[n], view[n]
        assert sample["image"].shape == sample["image_mask"].shape == (3, 3, 8, 8)
        np.testing.assert_array_equal(sample["image"][:, :2], plain["s1"])
        np.testing.assert_array_equal(sample["image_mask"][:, :2], plain["s1_mask"])
        repeated = plain["dem"].numpy().repeat(2, -1).repeat(2, -2)
        for slot in range(3):
            np.testing.assert_array_equal(sample["image"][slot, 2:], repeated)
        np.testing.assert_array_equal(sample["mask"], plain["cover"][0])
        assert sample["mask"].dtype == torch.int64
        assert set(sample) == {"image", "image_mask", "mask", "crs", "bounds", "bbox_xyxy", "chip_id", "row"}


def test_one_slot_is_not_shown_in_all_of_another_layer(layered):
    chips = ChipDataset(layered, layers=["s1", "coh"], slots={"coh": [1]})
    with pytest.raises(ConfigError, match=r"other numbers of slots .*s1: 3, coh: 1"):
        chips.as_torchgeo()[0]


def test_static_layers_and_single_slots_have_no_time_axis(layered):
    static = ChipDataset(layered, layers=["dem", "s1"], slots={"s1": [1]}).as_torchgeo()[0]
    assert static["image"].shape == (3, 8, 8)
    assert "mask" not in static


def test_where_and_when_a_chip_lies(layered):
    view = ChipDataset(layered, layers=["s1"]).as_torchgeo()
    sample = view[3]
    x, y = 500_000 + 4480 * 3, 5_600_000
    assert sample["crs"] == "EPSG:32631"
    assert sample["bbox_xyxy"].tolist() == [x, y - 160, x + 160, y]
    start, end = (np.datetime64(day, "s").astype(int) for day in ("2020-01-01", "2020-04-01"))
    assert sample["bounds"].tolist() == [x, x + 160, y - 160, y, start, end]
    assert view[-7]["chip_id"] == sample["chip_id"]
    static = ChipDataset(layered, layers=["dem"]).as_torchgeo()[0]["bounds"]
    assert static[4:].isnan().all()


def test_the_place_of_a_crop_is_that_of_its_pixels(layered):
    view = ChipDataset(layered, layers=["s1", "dem"], transform=RandomCrop(4)).as_torchgeo()
    torch.manual_seed(0)
    seen = {tuple(view[0]["bbox_xyxy"].tolist()) for _ in range(40)}
    steps = (0, 40, 80)
    assert seen == {(500_000 + x, 5_600_000 - y - 80, 500_000 + x + 80, 5_600_000 - y) for x in steps for y in steps}


def test_a_target_becomes_the_label_and_batches_collate(layered):
    chips = ChipDataset(
        layered, layers=["s1"], labels=["cover"], transform=Compose([ChipTarget("cover", "majority", min_valid=0)])
    )
    view = chips.as_torchgeo(label="cover_target")
    for how in (None, collate):
        batch = next(iter(DataLoader(view, batch_size=4, collate_fn=how)))
        assert batch["image"].shape == (4, 3, 2, 8, 8)
        assert batch["label"].shape == (4,)
        assert batch["crs"] == ["EPSG:32631"] * 4
    with pytest.raises(ConfigError, match="no 'other' to be the label"):
        chips.as_torchgeo(label="other")[0]


def test_regression_masks_are_nan_where_missing(layered):
    sample = ChipDataset(layered, layers=["s1", "dem"]).as_torchgeo(image=["s1"], mask="dem")[0]
    plain = ChipDataset(layered, layers=["dem"])[0]
    np.testing.assert_array_equal(sample["mask"].isnan(), ~plain["dem_mask"][0])
    assert sample["mask"].shape == (4, 4)


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        (["s1", "coh"], {}, "other numbers of slots"),
        (["s1"], {"image": ["cover"]}, "which is not read"),
        (["s1", "cover"], {"image": ["s1", "cover"]}, "holds classes"),
        (["s1"], {"mask": "cover"}, "which is not read"),
    ],
)
def test_what_makes_no_image_is_refused(layered, layers, options, message):
    with pytest.raises(ConfigError, match=message):
        ChipDataset(layered, layers=layers).as_torchgeo(**options)[0]
