"""Transforms keep pixels, masks, labels and directions together: pixels that tell where they are, and planes."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from m3leo_prep.core.encoding import Encoding
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind, Variable
from m3leo_prep.ops.terrain import horn
from m3leo_prep.sources.asf.gunw.source import Gunw
from m3leo_prep.testing.layers import make_array, make_layer

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402  torch may be absent

from m3leo_prep.reader.learning.chips import ChipDataset  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.transforms.cropping import crop  # noqa: E402  as above
from m3leo_prep.reader.learning.transforms.info import KeyInfo, key_info  # noqa: E402  as above
from m3leo_prep.reader.learning.transforms.turning import turn  # noqa: E402  as above
from m3leo_prep.transforms import (  # noqa: E402  as above
    ChannelDropout,
    ChannelMask,
    Compose,
    ModalityDropout,
    RandomCrop,
    RandomFlip,
    RandomRotate90,
    SelectChannels,
)

TURNS = list(itertools.product(range(4), (False, True)))


def info(kind=Kind.CONTINUOUS, bands=("h",), direction="none", role="input", size=8, **more):
    is_class = kind in {Kind.CLASSES, Kind.BITS}
    return KeyInfo(kind, "1", tuple(bands), 80.0 / size, size, is_class, True, role, direction, **more)


def positions(size=8, scale=1):
    """Return (1, y, x) values that say where their pixel lies: 100 rows + columns, of the finest lattice."""
    rows, cols = np.mgrid[:size, :size] * scale
    return torch.from_numpy((100.0 * rows + cols).astype(np.float32))[None]


def sample_of_positions():
    """Fine and coarse pixels, a label, a series, masks and the owned mask: all say where they are."""
    fine, coarse = positions(8), positions(4, 2)
    return {
        "fine": fine,
        "fine_mask": fine < 500,
        "coarse": coarse,
        "coarse_mask": coarse < 500,
        "series": torch.stack([fine, fine + 0.5]),
        "series_mask": torch.stack([fine < 500, fine >= 0]),
        "label": fine.long(),
        "label_mask": fine < 500,
        "owned_mask": fine[0] % 100 < 5,
        "chip_id": "here",
        "row": 3,
    }


KEYS = {
    "fine": info(),
    "coarse": info(size=4),
    "series": info(Kind.POWER),
    "label": info(Kind.CLASSES, role="label"),
}


def plane(east, north, size=12):
    """Return heights whose slope points to (-east, -north): row 0 is north."""
    rows, cols = np.mgrid[:size, :size].astype(float)
    return east * cols - north * rows


def aspect_of(height):
    """Return (2, y, x) and degrees clockwise from north, by the code that builds."""
    _, vector, _ = horn(height, np.ones(height.shape, bool), 1.0)
    return vector, np.degrees(np.arctan2(vector[0], vector[1])) % 360


def moved(array, quarters, mirror):
    """Turn an array by index arithmetic, one quarter at a time: (row, col) of the new image comes from there."""
    array = np.asarray(array)
    size = array.shape[-1]
    if mirror:
        array = array[..., :, [size - 1 - k for k in range(size)]]
    for _ in range(quarters):
        turned = np.empty_like(array)
        for row, col in itertools.product(range(size), repeat=2):
            turned[..., row, col] = array[..., col, size - 1 - row]
        array = turned
    return array


@pytest.mark.parametrize(("quarters", "mirror"), TURNS)
def test_everything_moves_together(quarters, mirror):
    before = sample_of_positions()
    after = turn(before, KEYS, quarters, mirror=mirror)
    for name, value in before.items():
        if not isinstance(value, torch.Tensor):
            assert after[name] == value
            continue
        np.testing.assert_array_equal(after[name], moved(value, quarters, mirror))
        assert after[name].is_contiguous()
    # Fine, coarse, label and owned mask still lie on the same ground.
    assert (after["label"] == after["fine"].long()).all()
    assert (after["coarse"] <= after["fine"].reshape(1, 4, 2, 4, 2).amax((2, 4))).all()
    assert (after["coarse"] == after["fine"].reshape(1, 4, 2, 4, 2).amin((2, 4))).all()
    assert (after["owned_mask"] == (after["fine"][0] % 100 < 5)).all()
    assert set(after) == {*before, "turned"}


@pytest.mark.parametrize(("quarters", "mirror"), TURNS)
@pytest.mark.parametrize("normalized", [False, True])
def test_aspects_are_those_of_the_turned_heights(quarters, mirror, normalized):
    """The plane is turned first and its aspect computed anew: both must agree."""
    height = plane(0.3, -0.7)
    (vector, degrees), (vector_after, degrees_after) = (
        aspect_of(height),
        aspect_of(np.ascontiguousarray(moved(height, quarters, mirror))),
    )
    mean, std = np.array([0.2, -0.1], np.float32)[:, None, None], np.array([0.5, 0.9], np.float32)[:, None, None]
    more = {"mean": mean, "std": std} if normalized else {}
    one = {"mean": mean[:1] + 150, "std": std[:1] + 80} if normalized else {}
    keys = {
        "dem.aspect": info(bands=("east", "north"), direction="vector", **more),
        "angle": info(Kind.ANGLE, direction="azimuth", **one),
    }

    def scaled(values, by):
        return values if not by else (values - by["mean"]) / by["std"]

    sample = {
        "dem.aspect": torch.from_numpy(scaled(vector, more)).float(),
        "dem.aspect_mask": torch.ones(vector.shape, dtype=torch.bool),
        "angle": torch.from_numpy(scaled(degrees[None], one)).float(),
        "angle_mask": torch.ones((1, *degrees.shape), dtype=torch.bool),
    }
    after = turn(sample, keys, quarters, mirror=mirror)
    np.testing.assert_allclose(after["dem.aspect"], scaled(vector_after, more), atol=1e-5)
    np.testing.assert_allclose(after["angle"], scaled(degrees_after[None], one), atol=2e-4)


@pytest.mark.parametrize(("quarters", "mirror"), TURNS)
def test_a_component_that_is_hidden_stays_so_where_it_goes(quarters, mirror):
    keys = {"wind": info(bands=("east", "north"), direction="vector")}
    sample = {"wind": torch.tensor([3.0, 5.0])[:, None, None].repeat(1, 2, 2)}
    hidden = ChannelMask({"wind": ["north"]}).bind(keys)[0](
        sample | {"wind_mask": torch.ones(2, 2, 2, dtype=torch.bool)}
    )
    after = turn(hidden, keys, quarters, mirror=mirror)
    valid = [True, False] if quarters % 2 == 0 else [False, True]
    assert after["wind_mask"].flatten(1).all(1).tolist() == after["wind_mask"].flatten(1).any(1).tolist() == valid
    assert after["wind"].flatten(1).abs().amax(1).tolist() == [3.0 * one for one in valid]
    assert hidden["wind_mask"].flatten(1).all(1).tolist() == [True, False]


def test_azimuths_stay_in_0_to_360_and_missing_pixels_stay_0():
    keys = {"angle": info(Kind.ANGLE, direction="azimuth")}
    angle = torch.tensor([0.0, 90.0, 359.99, 1e-7, 0.0, 270.0, 90.0, 45.0, 180.0]).reshape(1, 3, 3)
    mask = torch.ones(1, 3, 3, dtype=torch.bool)
    mask[0, 1, 1] = False
    for quarters, mirror in TURNS:
        after = turn({"angle": angle, "angle_mask": mask}, keys, quarters, mirror=mirror)
        assert (after["angle"] >= 0).all()
        assert (after["angle"] < 360).all()
        assert after["angle"][0, 1, 1] == 0


def test_what_a_sample_says_of_its_turns_is_true_of_any_chain():
    sample = {"fine": positions(), "fine_mask": positions() >= 0}
    for first, second in itertools.product(TURNS, repeat=2):
        chained = turn(turn(sample, KEYS, first[0], mirror=first[1]), KEYS, second[0], mirror=second[1])
        mirrored, quarters = divmod(int(chained["turned"]), 4)
        np.testing.assert_array_equal(chained["fine"], moved(sample["fine"], quarters, bool(mirrored)))


def test_random_turns_reach_all_and_are_those_of_torchs_seed():
    flip, rotate = (one.bind(KEYS)[0] for one in (RandomFlip(), RandomRotate90()))
    sample = sample_of_positions()

    def drawn(transform, n=60):
        torch.manual_seed(5)
        return [int(transform(sample)["turned"]) for _ in range(n)]

    assert set(drawn(flip)) == {0, 4, 2, 6}
    assert set(drawn(rotate)) == {0, 1, 2, 3}
    assert drawn(flip) == drawn(flip)
    assert set(drawn(RandomFlip(1.0, 0.0).bind(KEYS)[0])) == {4}
    upside_down = RandomFlip(0.0, 1.0).bind(KEYS)[0](sample)["fine"]
    np.testing.assert_array_equal(upside_down, sample["fine"].flip(-2))


@pytest.mark.parametrize(
    ("kind", "name", "bands", "unit", "attributes", "direction"),
    [
        (Kind.ANGLE, "incidence", ("inc",), "degree", {}, "none"),
        (Kind.ANGLE, "look_azimuth", ("azimuth",), "degree", {}, "unknown"),
        (Kind.ANGLE, "look_azimuth", ("azimuth",), "degree", {"direction": "azimuth"}, "azimuth"),
        (Kind.ANGLE, "angle", ("a",), "degree", {}, "unknown"),
        (Kind.CONTINUOUS, "aspect", ("east", "north"), "1", {"computed_from": "height"}, "vector"),
        (Kind.CONTINUOUS, "aspect", ("aspect",), "degree", {}, "unknown"),
        (Kind.CONTINUOUS, "los", ("los_e", "los_n", "los_u"), "1", {}, "unknown"),
        (Kind.CONTINUOUS, "wind", ("u_east", "v_north"), "m s-1", {}, "unknown"),
        (Kind.CONTINUOUS, "wind", ("east", "north"), "m s-1", {"direction": "vector"}, "vector"),
        (Kind.CONTINUOUS, "height", ("height",), "m", {}, "none"),
        (Kind.CONTINUOUS, "slope", ("slope",), "degree", {"computed_from": "height"}, "none"),
        (Kind.POWER, "backscatter", ("vv", "vh"), "dB", {}, "none"),
        (Kind.UNWRAPPED_PHASE, "phase", ("phase",), "rad", {}, "none"),
    ],
)
def test_directions_are_told_by_the_dataset_or_not_known(
    tools, tmp_path, kind, name, bands, unit, attributes, direction
):
    array = make_array(name, kind, bands)
    variable = dataclasses.replace(array.variable, unit=unit, attributes=dict(array.variable.attributes) | attributes)
    encoding = dataclasses.replace(array.encoding, unit=unit) if kind is Kind.CONTINUOUS else array.encoding
    layer = make_layer(dataclasses.replace(array, variable=variable, encoding=encoding), name="layer")
    chips = ChipDataset(tools.write(tmp_path / "d", [layer]).path, layers=["layer"], phase="raw")
    assert key_info(chips)["layer"].direction == direction
    if direction == "unknown":
        with pytest.raises(ConfigError, match="says something of directions"):
            ChipDataset(chips.datasets[0], layers=["layer"], transform=RandomFlip())
    else:
        assert "turned" in ChipDataset(chips.datasets[0], layers=["layer"], phase="raw", transform=RandomFlip())[0]


def test_who_knows_a_convention_may_say_it():
    keys = {"los": info(bands=("los_e", "los_n", "los_u"), direction="unknown")}
    with pytest.raises(ConfigError, match="by which convention"):
        RandomRotate90().bind(keys)
    told = RandomRotate90(directions={"los": "vector"}).bind(keys)[0]
    values = torch.zeros(3, 4, 4) + torch.tensor([-0.6, -0.1, 0.79])[:, None, None]
    sample = {"los": values, "los_mask": values != 0}
    torch.manual_seed(0)
    while (after := told(sample))["turned"] != 1:
        pass
    np.testing.assert_allclose(after["los"][:, 0, 0], [0.1, -0.6, 0.79], rtol=1e-6)


def test_half_a_vector_and_unknown_names_are_refused():
    keys = {"aspect": info(bands=("east",), direction="vector")}
    with pytest.raises(ConfigError, match="no bands east and north"):
        RandomFlip().bind(keys)
    with pytest.raises(ConfigError, match="which is not read"):
        RandomFlip(directions={"other": "none"}).bind(keys)
    with pytest.raises(ConfigError, match="direction 'down'"):
        RandomFlip(directions={"aspect": "down"}).bind(keys)


@pytest.mark.parametrize("name", ["s1_orbit_direction", "s1_relative_orbit", "gunw_frame"])
def test_inputs_that_tell_where_a_satellite_looks_from_are_refused(name):
    sample = sample_of_positions() | {name: torch.zeros(1)}
    with pytest.raises(ConfigError, match="untrue of a turned chip"):
        RandomFlip().bind(KEYS)[0](sample)


def test_a_transform_that_nobody_told_the_keys_says_so():
    with pytest.raises(ConfigError, match="does not know what the keys"):
        RandomFlip()(sample_of_positions())


def test_crops_cut_the_same_ground_out_of_every_lattice():
    sample = sample_of_positions()
    transform = RandomCrop(4).bind(KEYS)[0]
    torch.manual_seed(1)
    seen = set()
    for _ in range(60):
        cut = transform(sample)
        x, y, side = (int(v) for v in cut["crop"] // 10)
        seen.add((x, y))
        assert (side, cut["fine"].shape, cut["coarse"].shape) == (4, (1, 4, 4), (1, 2, 2))
        assert cut["fine"][0, 0, 0] == cut["coarse"][0, 0, 0] == 100 * y + x
        assert (cut["owned_mask"] == (cut["fine"][0] % 100 < 5)).all()
        assert (cut["label"] == cut["fine"].long()).all()
    assert seen == {(x, y) for x in (0, 2, 4) for y in (0, 2, 4)}


def test_a_crop_of_a_crop_knows_where_it_lies():
    sample = sample_of_positions()
    twice = crop(crop(sample, KEYS, 1, 2, 2, 4), KEYS, 1, 0, 1, 2)
    assert twice["crop"].tolist() == [40.0, 40.0, 20.0]
    assert twice["fine"][0, 0, 0] == 404


@pytest.mark.parametrize("pixels", [0, 3, 5, 10])
def test_crops_through_coarse_pixels_are_refused(pixels):
    with pytest.raises(ConfigError, match="cut through"):
        RandomCrop(pixels).bind(KEYS)[0](sample_of_positions())


def test_a_crop_comes_before_turns():
    both = Compose([RandomFlip(), RandomCrop(4)]).bind(KEYS)[0]
    with pytest.raises(ConfigError, match="before flips"):
        both(sample_of_positions())
    assert "turned" in Compose([RandomCrop(4), RandomFlip()]).bind(KEYS)[0](sample_of_positions())


BANDS = {
    "s1": info(Kind.POWER, ("vv", "vh")),
    "s2": info(Kind.REFLECTANCE, ("b2", "b3", "b4")),
    "cover": info(Kind.CLASSES, ("map",), role="label"),
}


def sample_of_bands():
    made = {}
    for name, one in BANDS.items():
        values = torch.arange(1, len(one.bands) + 1)[:, None, None].expand(-1, 4, 4).contiguous()
        made |= {name: values if one.is_class else values.float(), f"{name}_mask": torch.ones_like(values).bool()}
    return made


def test_bands_are_chosen_by_name_and_later_transforms_know():
    chain, after = Compose([SelectChannels({"s2": ["b4", "b2"]}), ChannelMask({"s2": ["b2"]})]).bind(BANDS)
    assert after["s2"].bands == ("b4", "b2")
    cut = chain(sample_of_bands())
    assert cut["s2"][:, 0, 0].tolist() == [3.0, 0.0]
    assert cut["s2_mask"][:, 0, 0].tolist() == [True, False]
    with pytest.raises(ConfigError, match="no band 'b3'"):
        Compose([SelectChannels({"s2": ["b4"]}), ChannelMask({"s2": ["b3"]})]).bind(BANDS)


def test_masked_bands_are_missing_and_the_sample_itself_is_not_touched():
    sample = sample_of_bands()
    masked = ChannelMask({"s1": ["vh"], "cover": ["map"]}).bind(BANDS)[0](sample)
    assert masked["s1"][:, 0, 0].tolist() == [1.0, 0.0]
    assert (masked["cover"] == 255).all()
    assert not masked["cover_mask"].any()
    assert sample["s1_mask"].all()
    assert (sample["cover"] == 1).all()


def test_bands_are_dropped_with_their_probability_and_one_stays():
    drop = ChannelDropout(0.5).bind(BANDS)[0]
    torch.manual_seed(2)
    masks = np.array([drop(sample_of_bands())["s2_mask"][:, 0, 0].tolist() for _ in range(2000)])
    # All three dropped (1/8) becomes one kept: each is kept with 1/2 + 1/24.
    np.testing.assert_allclose(masks.mean(axis=0), 1 / 2 + 1 / 24, atol=0.04)
    assert masks.any(axis=1).all()
    one = drop(sample_of_bands())
    assert ((one["s2"] != 0) == one["s2_mask"]).all()
    assert one["cover_mask"].all()


def test_modalities_are_dropped_and_their_presence_is_told():
    drop = ModalityDropout({"s1": 0.3, "s2": 0.0}).bind(BANDS)[0]
    torch.manual_seed(3)
    samples = [drop(sample_of_bands()) for _ in range(1500)]
    assert abs(np.mean([not one["s1_present"] for one in samples]) - 0.3) < 0.04
    for one in samples[:50]:
        assert one["s2_present"]
        assert one["s1_present"] == bool(one["s1_mask"].all()) == bool((one["s1"] != 0).all())
        assert "cover_present" not in one


def test_a_modality_that_is_absent_already_is_not_the_one_that_stays():
    drop = ModalityDropout(1.0).bind(BANDS)[0]
    sample = sample_of_bands()
    sample["s1_mask"][:] = False
    for _ in range(10):
        after = drop(sample)
        assert (after["s1_present"], after["s2_present"]) == (False, True)
    without = {name: value for name, value in sample.items() if not name.startswith("s1")}
    assert drop(without)["s1_present"] is False


@pytest.mark.parametrize("wrong", [ChannelDropout(1.2), ModalityDropout({"s3": 0.5}), ChannelDropout(0.1, only=["x"])])
def test_what_cannot_be_dropped_is_refused(wrong):
    with pytest.raises(ConfigError):
        wrong.bind(BANDS)


def test_transforms_go_into_workers_and_plain_functions_stand_among_them(shared_made):
    chips = ChipDataset(
        shared_made.path,
        layers=["s1", "dem"],
        labels=["cover"],
        transform=Compose([count, RandomCrop(4), RandomFlip(), RandomRotate90(), ModalityDropout(0.3)]),
    )
    assert pickle.loads(pickle.dumps(chips))[0]["s1"].shape == (5, 2, 4, 4)
    turned = [int(k) for batch in DataLoader(chips, batch_size=5, num_workers=2) for k in batch["turned"]]
    assert len(turned) == 10
    assert len(set(turned)) > 1


def count(sample):
    return sample | {"n": len(sample)}


def test_normalised_bands_of_a_dataset_are_turned_as_physical_ones(tools, tmp_path):
    """The dataset hands its own mean and std over to the transform."""
    about = {"computed_from": "height"}
    variable = Variable("aspect", Kind.CONTINUOUS, ("east", "north"), "1", attributes=about)
    array = dataclasses.replace(make_array(), variable=variable, encoding=Encoding("float32", None), band_chunk=2)
    vector = np.broadcast_to(np.array([0.6, -0.8], np.float32)[:, None, None], (10, 2, 6, 6)).copy()
    made = tools.write(tmp_path / "d", [make_layer(array, name="aspect")], codes={("aspect", "aspect"): vector})
    chips = ChipDataset(
        made.path,
        layers=["aspect"],
        normalize={"aspect": ([0.1, 0.2], [2.0, 4.0])},
        transform=RandomFlip(horizontal=1.0, vertical=0.0),
    )
    east, north = chips[0]["aspect"][:, 0, 0].tolist()
    np.testing.assert_allclose([east * 2 + 0.1, north * 4 + 0.2], [-0.6, -0.8], atol=1e-6)


def test_datasets_that_tell_other_conventions_are_not_known():
    picks = [{"angle": _pick(told)} for told in ("azimuth", "none")]
    from m3leo_prep.reader.learning.transforms.info import describe

    assert describe(picks, {})["angle"].direction == "unknown"
    assert describe(picks[:1], {})["angle"].direction == "azimuth"


def _pick(direction):
    array = SimpleNamespace(
        kind="angle",
        unit="degree",
        bands=("a",),
        name="a",
        is_class=False,
        about={},
        attributes={"direction": direction},
    )
    layer = SimpleNamespace(pitch=10.0, size=4, is_static=True, role="input")
    return SimpleNamespace(array=array, layer=layer, bands=(0,), slots=(0,))


@pytest.mark.parametrize(("quarters", "mirror"), TURNS)
def test_motion_seen_along_a_line_of_sight_is_the_same_after_a_turn(quarters, mirror):
    """What a satellite sees of a motion is the product of two vectors: one number, which only moves with its pixel."""
    rng = np.random.default_rng(3)
    sight = rng.normal(size=(3, 8, 8))
    sight = torch.from_numpy((sight / np.linalg.norm(sight, axis=0)).astype(np.float32))
    motion = torch.from_numpy(rng.normal(size=(3, 8, 8)).astype(np.float32))
    seen = (sight * motion).sum(dim=0, keepdim=True)
    of_gunw = {variable.name: variable for variable in Gunw(variables=["los"]).describe().variables}["los"]
    vector = info(of_gunw.kind, of_gunw.bands, of_gunw.attributes["direction"])
    keys = {"sight": vector, "motion": vector, "seen": info(Kind.UNWRAPPED_PHASE)}
    there = torch.ones(3, 8, 8, dtype=torch.bool)
    sample = {"sight": sight, "motion": motion, "seen": seen}
    masks = {"sight_mask": there, "motion_mask": there.clone(), "seen_mask": there[:1].clone()}
    turned = turn(sample | masks, keys, quarters, mirror=mirror)
    assert torch.allclose((turned["sight"] * turned["motion"]).sum(dim=0, keepdim=True), turned["seen"], atol=1e-6)
    assert torch.allclose(turned["sight"][2].sort().values.sum(), sight[2].sum(), atol=1e-5)  # up stays up
    if (quarters, mirror) == (1, False):  # counter-clockwise: what looked east looks north
        assert torch.equal(turned["sight"][1], torch.rot90(sight[0]))
