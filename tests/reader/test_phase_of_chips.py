"""Unwrapped phase as ``ChipDataset`` gives it: counted from the stored reference, raw, wrapped, or in metres."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import m3leo_prep as mp
from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.reader.copies.pulling import pull
from tests.interferograms import RECIPE, SENTINEL_1, Pairs, made

torch = pytest.importorskip("torch")

from m3leo_prep.reader.learning.chips import ChipDataset  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.collate import collate  # noqa: E402  as above
from m3leo_prep.reader.learning.transforms.info import key_info  # noqa: E402  as above
from m3leo_prep.transforms import PhaseView  # noqa: E402  as above

KEY = "insar.phase"
METRES = 0.05546576 / (4 * np.pi)
ONE = """
name: one
grid: {chip_px: 32, resolution: 40}
layers: {insar: {source: pairs, resolution: 40, slots: {pairs: {year: 2020, windows: {short: [0, 60]}}}}}
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        return made(tmp_path_factory.mktemp("phase") / "d")


def stored(path: Path, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return codes times scale in double precision, valid, and the reference by slot, as plain Zarr has them."""
    import zarr

    group = zarr.open_group(str(path / "chips.zarr" / "insar"), mode="r")
    codes = np.asarray(group["phase"][row])
    return codes * 0.001, codes != -(2**31), np.asarray(group["phase_reference"][row])


def test_by_default_each_chip_and_slot_counts_from_its_own_reference(path: Path) -> None:
    chips = ChipDataset(path, layers=[KEY])
    seen = 0
    for row, sample in enumerate(chips):
        values, valid, reference = stored(path, row)
        expected = np.where(valid, values - np.nan_to_num(reference)[:, None, None, None], 0)
        # float32 holds 240 rad to 8e-6.
        np.testing.assert_allclose(sample[KEY], expected, atol=4e-5)
        np.testing.assert_array_equal(sample[f"{KEY}_mask"], valid)
        assert abs(reference[1]) > 200
        assert np.isnan(reference[2])
        seen += int(valid.sum())
    assert seen > 10_000
    assert key_info(chips)[KEY].phase == "rereferenced"


def test_raw_is_what_is_stored(path: Path) -> None:
    for row, sample in enumerate(ChipDataset(path, layers=[KEY], phase="raw")):
        values, valid, _ = stored(path, row)
        np.testing.assert_array_equal(sample[KEY], np.where(valid, values, 0).astype(np.float32))


def test_wrapped_has_cosine_and_sine_and_is_never_normalised(path: Path) -> None:
    chips = ChipDataset(path, layers=[KEY, "insar.coherence"], phase="wrapped", normalize=True)
    info = key_info(chips)[KEY]
    assert (info.bands, info.unit, info.kind) == (("phase_cos", "phase_sin"), "1", "continuous")
    assert not info.is_normalized
    assert key_info(chips)["insar.coherence"].is_normalized
    for row, sample in enumerate(chips):
        values, valid, _ = stored(path, row)
        expected = np.concatenate([np.cos(values), np.sin(values)], axis=1) * valid
        np.testing.assert_allclose(sample[KEY], expected, atol=3e-5)
        np.testing.assert_array_equal(sample[f"{KEY}_mask"], np.repeat(valid, 2, axis=1))


def test_displacement_is_metres_towards_the_sensor_from_the_reference(path: Path) -> None:
    chips, rad = (ChipDataset(path, layers=[KEY], phase=view) for view in ("displacement", "rereferenced"))
    info = key_info(chips)[KEY]
    assert (info.unit, info.kind) == ("m", "continuous")
    for metres, sample in zip(chips, rad, strict=True):
        np.testing.assert_allclose(metres[KEY], sample[KEY] * METRES, rtol=1e-5, atol=1e-9)
        np.testing.assert_array_equal(metres[f"{KEY}_mask"], sample[f"{KEY}_mask"])


def test_displacement_turns_round_where_phase_counts_away(tmp_path: Path) -> None:
    about = SENTINEL_1 | {"sign": "positive away from the sensor"}
    made(tmp_path / "d", ONE, source=Pairs(attributes=tuple(about.items())))
    metres, rad = (ChipDataset(tmp_path / "d", layers=[KEY], phase=view)[0][KEY] for view in ("displacement", "raw"))
    valid = rad != 0
    assert float(torch.corrcoef(torch.stack([metres[valid], rad[valid]]))[0, 1]) < -0.999


@pytest.mark.parametrize("missing", ["wavelength_m", "sign"])
def test_displacement_is_refused_where_a_layer_does_not_say_what_its_numbers_mean(tmp_path: Path, missing: str) -> None:
    about = {key: value for key, value in SENTINEL_1.items() if key != missing}
    made(tmp_path / "d", ONE, source=Pairs(attributes=tuple(about.items())))
    with pytest.raises(ConfigError, match="not known"):
        ChipDataset(tmp_path / "d", layers=[KEY], phase="displacement")


def test_normalising_takes_off_reference_and_mean_and_divides(path: Path) -> None:
    """Over all pixels the mean is 0 and the spread 1: the shipped statistics count from the same references."""
    chips, rad = (ChipDataset(path, layers=[KEY], normalize=how) for how in (True, None))
    about = json.loads((path / "stats" / "insar.json").read_text())["variables"]["phase"]["bands"]["phase"]
    pooled = []
    for sample, plain in zip(chips, rad, strict=True):
        mask = sample[f"{KEY}_mask"]
        expected = (plain[KEY] - about["mean"]) / about["std"]
        np.testing.assert_allclose(sample[KEY][mask], expected[mask], atol=5e-4)
        assert (sample[KEY][~mask] == 0).all()
        pooled.append(sample[KEY][mask])
    every = torch.cat(pooled).double()
    assert float(every.mean()) == pytest.approx(0, abs=1e-4)
    assert float(every.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_displacement_is_normalised_by_the_same_statistics_in_metres(path: Path) -> None:
    chips = ChipDataset(path, layers=[KEY], normalize=True, phase="displacement")
    rad = ChipDataset(path, layers=[KEY], normalize=True)
    info, other = key_info(chips)[KEY], key_info(rad)[KEY]
    np.testing.assert_allclose(info.std, other.std * METRES, rtol=1e-6)
    np.testing.assert_allclose(info.mean, other.mean * METRES, rtol=1e-6)
    np.testing.assert_allclose(chips[1][KEY], rad[1][KEY], atol=1e-5)


def test_ones_own_mean_and_std_are_in_the_unit_of_the_view(path: Path) -> None:
    plain = ChipDataset(path, layers=[KEY], phase="displacement")[1]
    own = ChipDataset(path, layers=[KEY], phase="displacement", normalize={KEY: (0.01, 0.002)})[1]
    expected = torch.where(plain[f"{KEY}_mask"], (plain[KEY] - 0.01) / 0.002, 0)
    np.testing.assert_allclose(own[KEY], expected, atol=2e-3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"phase": "raw", "normalize": True}, "from each chip's reference"),
        ({"phase": "wrapped", "normalize": {KEY: (0.0, 1.0)}}, "are not normalised"),
        ({"phase": "rerefrenced"}, "did you mean 'rereferenced'"),
        ({"transform": PhaseView(KEY, "raw")}, "phase='raw'"),
        ({"normalize": True, "transform": PhaseView(KEY, "wrapped")}, "phase='wrapped'"),
    ],
)
def test_what_does_not_go_together_is_refused(path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ChipDataset(path, layers=[KEY], **options)
    assert says in str(caught.value)


def test_the_transform_gives_what_the_dataset_gives(path: Path) -> None:
    for view, start in (("wrapped", "raw"), ("displacement", "rereferenced")):
        given = ChipDataset(path, layers=[KEY], phase=view)
        transformed = ChipDataset(path, layers=[KEY], phase=start, transform=PhaseView(KEY, view))
        for one, other in zip(given, transformed, strict=True):
            np.testing.assert_allclose(one[KEY], other[KEY], atol=1e-6)
            np.testing.assert_array_equal(one[f"{KEY}_mask"], other[f"{KEY}_mask"])


def test_batches_slots_and_repeats_agree_with_single_samples(path: Path) -> None:
    for view in ("rereferenced", "wrapped", "displacement"):
        chips = ChipDataset(path, layers=[KEY], slots={"insar": ["none", "long"]}, phase=view)
        indices = [3, 0, 3, 5, -1]
        batch = collate(chips.__getitems__(indices))
        assert batch[KEY].is_contiguous()
        for place, index in enumerate(indices):
            assert torch.equal(batch[KEY][place], chips[index][KEY])
        every = ChipDataset(path, layers=[KEY], phase=view)[3][KEY]
        assert torch.equal(batch[KEY][0], every[[2, 1]])
        again = pickle.loads(pickle.dumps(chips))
        assert torch.equal(again[3][KEY], chips[3][KEY])


def test_finer_lattices_repeat_what_was_made_of_phase(path: Path) -> None:
    chips = ChipDataset(path, layers=["geometry", KEY], phase="wrapped", upsample="bilinear")
    assert chips[0][KEY].shape == (3, 2, 32, 32)
    assert chips[0]["geometry"].shape[-1] == 32


def test_copies_bring_the_references_along(path: Path, tmp_path: Path) -> None:
    expected = ChipDataset(path, layers=[KEY])[2]
    pull(path, tmp_path / "pulled", layers=[KEY], rows=[2])
    staged = ChipDataset(path, layers=[KEY], stage=tmp_path / "stage")
    for chips, row in ((ChipDataset(tmp_path / "pulled", layers=[KEY]), 2), (staged, 2)):
        assert torch.equal(chips[row][KEY], expected[KEY])


def test_several_datasets_have_their_own_references(path: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "other", ONE, source=Pairs(by=64.0))
    chips = ChipDataset([path, other], layers=[KEY], slots={"insar": ["short"]}, allow_mixed=True)
    n = len(chips) // 2
    for index in range(n):
        np.testing.assert_allclose(chips[index][KEY], chips[n + index][KEY], atol=1.5e-3)


def test_a_dataset_without_the_layer_needs_no_reference(path: Path, tmp_path: Path) -> None:
    without = made(tmp_path / "g", RECIPE[: RECIPE.index("  insar")] + RECIPE[RECIPE.index("  geometry") :])
    for view, bands in (("rereferenced", 1), ("wrapped", 2)):
        chips = ChipDataset(
            [path, without], layers=[KEY, "geometry"], allow_missing_layers=True, phase=view, normalize=None
        )
        lacking = chips[-1]
        assert not lacking[f"{KEY}_present"]
        assert lacking[KEY].shape == (3, bands, 32, 32)
        assert not lacking[f"{KEY}_mask"].any()
        assert (lacking[KEY] == 0).all()


def test_a_dataset_of_before_references_can_be_read_raw_only(path: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(path, old)
    shutil.rmtree(old / "chips.zarr" / "insar" / "phase_reference")
    group = old / "chips.zarr" / "insar" / "zarr.json"
    about = json.loads(group.read_text())
    del about["consolidated_metadata"]["metadata"]["phase_reference"]
    group.write_text(json.dumps(about))
    with pytest.raises(ConfigError, match="is counted from"):
        ChipDataset(old, layers=[KEY])
    assert len(ChipDataset(old, layers=[KEY], phase="raw")[0]) > 0
    assert ChipDataset(old, layers=["insar.coherence"])[0]["insar.coherence"].ndim == 4


def test_a_companion_without_a_value_masks_what_it_cannot_count(path: Path) -> None:
    chips = ChipDataset(path, layers=[KEY])
    chips._phase.references[0][KEY][1, 0] = np.nan
    sample = chips[1]
    assert not sample[f"{KEY}_mask"][0].any()
    assert (sample[KEY][0] == 0).all()
    assert sample[f"{KEY}_mask"][1].any()


def test_views_pass_through_torchgeo(path: Path) -> None:
    image = ChipDataset(path, layers=[KEY, "insar.coherence"], phase="wrapped").as_torchgeo()[1]["image"]
    assert image.shape == (3, 3, 32, 32)
    assert float(image[0, :2].abs().max()) <= 1


def test_what_a_pair_is_can_be_read_beside_it(path: Path) -> None:
    names = ("reference_time", "secondary_time", "frame", "perp_baseline", "product_version", "relative_orbit")
    chips = ChipDataset(path, layers=[KEY, "geometry"], meta=[*names, "insar.phase_reference", "orbit_direction"])
    west, east = chips[0], chips[1]
    days = [one["insar_reference_time"] - one["insar_secondary_time"] for one in (west, east)]
    assert [one.tolist() for one in days] == [[48, 96, 0], [12, 96, 0]]
    assert west["insar_reference_time_mask"].tolist() == [True, True, False]
    assert east["insar_product_version"].tolist() == [20006, 30001, 0]
    assert west["insar_perp_baseline"].tolist() == [-72, -144, 0]
    assert west["insar_phase_reference"][0] == pytest.approx(120, abs=10)
    assert west["geometry_relative_orbit"].tolist() == [44, 139]
    assert west["geometry_orbit_direction"].tolist() == [0, 1]
    assert east["geometry_orbit_direction_mask"].tolist() == [True, False]
    assert not west["insar_orbit_direction_mask"][2]


def test_xarray_opens_pairs_and_orbits_without_a_warning(path: Path, recwarn: pytest.WarningsRecorder) -> None:
    tree = mp.open_dataset(path)
    assert tree["insar"].time.values.tolist() == [0, 1, 2]
    assert tree["insar"].time.attrs["labels"] == ["short", "long", "none"]
    assert tree["geometry"].time.attrs["labels"] == ["orbit_1", "orbit_2"]
    assert np.isnat(tree["insar"].reference_time.values[:, 2]).all()
    assert mp.Dataset(path).chip(0, "insar", "phase").slot.values.tolist() == ["short", "long", "none"]
    assert not [str(one.message) for one in recwarn]
