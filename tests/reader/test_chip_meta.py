"""What goes beside the pixels: times, orbits and baselines of slots, columns and proportions of chips."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.store.metadata import TIME_FILL, time_attributes
from m3leo_prep.store.zarr_array import consolidate, write_array
from m3leo_prep.testing.layers import make_array, make_layer

torch = pytest.importorskip("torch")

from m3leo_prep.reader.learning.chips import ChipDataset  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.collate import collate  # noqa: E402  it imports torch


def test_times_and_orbits_are_those_that_xarray_reads(seam):
    names = ["mean_time", "relative_orbit", "count", "orbit_direction"]
    chips = ChipDataset(seam, layers=["s1"], slots={"s1": [1, 0]}, meta=names, ids=None)
    store = xr.open_zarr(seam / "chips.zarr", group="s1", chunks=None)
    for place in (0, 5, 15):
        sample, truth = chips[place], store.isel(chip=place, time=[1, 0])
        days = (truth["mean_time"].to_numpy() - np.datetime64("1970-01-01")) / np.timedelta64(1, "D")
        np.testing.assert_allclose(sample["s1_mean_time"], days, atol=180 / 86_400)
        assert sample["s1_mean_time_mask"].all()
        assert sample["s1_count"].tolist() == truth["count"].to_numpy().tolist()
        assert sample["s1_count_mask"].all()
        for name in ("relative_orbit", "orbit_direction"):
            raw = xr.open_zarr(seam / "chips.zarr", group="s1", chunks=None, mask_and_scale=False)
            codes = raw[name].isel(chip=place, time=[1, 0]).to_numpy()
            known = codes != {"relative_orbit": -1, "orbit_direction": 255}[name]
            assert sample[f"s1_{name}_mask"].tolist() == known.tolist()
            assert sample[f"s1_{name}"].tolist() == np.where(known, codes, 0).tolist()
        assert sample["s1_mean_time"].dtype == torch.float32


def test_what_is_unknown_is_masked_and_rows_are_found_across_chunks(tools, tmp_path):
    made = tools.write(tmp_path, [make_layer(make_array(), name="s1", n_slots=3, shard_slots=3)], n_chips=10)
    blobs, rng = LocalBlobs(tmp_path), np.random.default_rng(0)
    baseline = rng.normal(0, 80, (10, 3)).astype(np.float32)
    baseline[4, 1] = np.nan
    seconds = rng.integers(1.5e9, 1.6e9, (10, 3))
    seconds[7, 0] = TIME_FILL
    count = rng.integers(0, 3, (10, 3)).astype(np.uint16)
    for name, values, fill, attributes in (
        ("count", count, 0, {}),
        ("perp_baseline", baseline, np.nan, {"units": "m"}),
        ("reference_time", seconds, TIME_FILL, time_attributes("reference")),
    ):
        where = f"chips.zarr/s1/{name}"
        about = {"dims": ("chip", "time"), "attributes": attributes, "chunks": (4, 3), "fill_value": fill}
        write_array(blobs, where, values, **about)
    consolidate(blobs)
    order = ["c007", "c004", "c009", "c000"]
    chips = ChipDataset(made.path, layers=["s1"], meta=["s1.perp_baseline", "reference_time", "count"], ids=order)
    batch = collate(chips.__getitems__([0, 1, 2, 3]))
    rows = [7, 4, 9, 0]
    assert batch["s1_perp_baseline_mask"].tolist() == np.isfinite(baseline[rows]).tolist()
    np.testing.assert_array_equal(batch["s1_perp_baseline"], np.nan_to_num(baseline[rows]))
    assert batch["s1_reference_time_mask"].tolist() == (seconds[rows] != TIME_FILL).tolist()
    assert batch["s1_reference_time"][0, 0] == 0
    assert batch["s1_count"].tolist() == count[rows].tolist()
    assert batch["s1_count_mask"].all()  # 0 acquisitions are known to be none
    assert 0 in count[rows]
    np.testing.assert_allclose(batch["s1_reference_time"][1:], seconds[rows[1:]] / 86_400, atol=180 / 86_400)


def test_shares_of_pixels_follow_the_bands_that_are_read(shared_made):
    bands = {"insar.coherence": ["coh24"]}
    chips = ChipDataset(shared_made.path, layers=["insar"], bands=bands, meta=["coherence_valid"], phase="raw")
    codes = shared_made.codes["insar", "coherence"][:, :, [1]]
    share = (codes != 255).mean(axis=(-1, -2)) * 100
    for place in range(10):
        assert chips[place]["insar_coherence_valid"].shape == (2, 1)
        np.testing.assert_allclose(chips[place]["insar_coherence_valid"], share[place], atol=1)


def test_columns_and_proportions_are_those_of_the_table(seam):
    table = pd.read_parquet(seam / "chips.parquet")
    shares = table.filter(like="prop_landcover_")
    chips = ChipDataset(seam, layers=["position"], columns=["lon", "epsg", "zone_shared", "prop_landcover_*"], ids=None)
    batch = collate(chips.__getitems__(range(16)))
    np.testing.assert_array_equal(batch["prop_landcover"], shares.to_numpy(np.float32))
    assert batch["prop_landcover_mask"].all()
    np.testing.assert_array_equal(batch["lon"], table["lon"].to_numpy(np.float32))
    assert batch["epsg"].tolist() == table["epsg"].tolist()
    assert batch["zone_shared"].tolist() == table["zone_shared"].tolist()
    one = ChipDataset(seam, layers=["position"], columns=["prop_landcover_grassland", "prop_landcover"])[3]
    assert one["prop_landcover_grassland"] == np.float32(shares["prop_landcover_grassland"][3])
    assert one["prop_landcover"].shape == (8,)


def test_each_dataset_has_columns_of_its_own(tools, tmp_path):
    layer = make_layer(make_array(), name="s1")
    paths = [tools.write(tmp_path / name, [layer], n_chips=n, prefix=name).path for name, n in (("a", 2), ("b", 5))]
    batch = collate(ChipDataset(paths, layers=["s1"], columns=["lon"]).__getitems__([6, 0, 2, 1]))
    assert batch["chip_id"] == ["b004", "a000", "b000", "a001"]
    np.testing.assert_allclose(batch["lon"], [4.05, 0.05, 0.05, 1.05], atol=1e-6)


def test_texts_and_nulls(shared_made, tools, tmp_path):
    chips = ChipDataset(shared_made.path, layers=["cover"], columns=["split"])
    assert collate(chips.__getitems__([0, 9]))["split"] == ["train", "buffer"]
    made = tools.write(tmp_path, [make_layer(make_array(), name="s1")], n_chips=1)
    assert ChipDataset(made.path, layers=["s1"], columns=["split"])[0]["split"] == ""


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"meta": ["relative_orbits"]}, r"(?s)no 'relative_orbits' beside s1, position.*did you mean 'relative_orbit'"),
        ({"meta": ["position.relative_orbit"]}, "no 'relative_orbit' beside position"),
        ({"meta": ["backscatter"]}, "no 'backscatter' beside"),
        ({"columns": ["longitude"]}, "(?s)no column 'longitude'.*choose from: .* lon, "),
        ({"columns": ["prop_landcovr"]}, "(?s)no column 'prop_landcovr'.*prop_landcover"),
        ({"columns": ["geometry"]}, "'geometry' holds binary"),
        ({"columns": ["chip_id"]}, "'chip_id' of `meta` or `columns` is a key of the samples already"),
    ],
)
def test_unknown_names_are_refused(seam, asked, message):
    with pytest.raises(ConfigError, match=message):
        ChipDataset(seam, layers=["s1", "position"], **asked)
