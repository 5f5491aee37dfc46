"""Splits of plans: what is chosen, what growth keeps, what is refused, and what survives on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely.geometry import mapping

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.sample import Sample
from m3leo_prep.core.splits.policy import Split
from m3leo_prep.pipeline.splitting.losses import counts
from m3leo_prep.pipeline.state import PLAN, DatasetFolder

from .conftest import FOURFOLD, HERE, RECIPE, MakePlan, by_id, n_of

BLOCKS = "splits: {block_km: 4, buffer_km: 0.6}"
GROWING = {
    "blocks": BLOCKS,
    "bands": "splits: {policy: bands, block_km: 3, buffer_km: 0.6, angle: 30}",
    "region": "splits: {policy: region, buffer_km: 1, regions: {test: '11.9,57.1,11.95,58', val: '12.02,57,12.2,58'}}",
    "admin": "splits: {policy: admin, buffer_km: 0.5}\nadmin: {path: units.geojson, id: code}",
    "random": "splits: {policy: random}",
}


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Units of 0.05 x 0.04 degrees over the larger area and beyond; one place has none."""
    west, south = np.meshgrid(np.arange(11.6, 12.1, 0.05), np.arange(57.0, 57.2, 0.04))
    boxes = [shapely.box(w, s, w + 0.05, s + 0.04) for w, s in zip(west.ravel(), south.ravel(), strict=True)]
    features = [
        {"type": "Feature", "properties": {"code": f"u{n:02d}"}, "geometry": mapping(box)}
        for n, box in enumerate(boxes)
        if n != 27
    ]
    (tmp_path / "units.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return tmp_path


@pytest.mark.parametrize("policy", GROWING)
def test_fourfold_growth_changes_no_split_and_no_buffer(policy: str, planned: MakePlan, units: Path) -> None:
    small = planned(GROWING[policy], base=units)
    large = planned(GROWING[policy], FOURFOLD, base=units, previous=small)
    assert len(large.cells) > 3.5 * len(small.cells)
    before, after = by_id(small), by_id(large)
    assert {chip: after[chip] for chip in before} == before
    assert large.splits == small.splits
    assert set(before.values()) >= {Split.TRAIN, Split.VAL, Split.TEST, Split.BUFFER}
    # The same as if it had been that large from the start: nothing hangs on what was first.
    assert by_id(planned(GROWING[policy], FOURFOLD, base=units)) == after


def test_the_seam_is_in_the_area(planned: MakePlan) -> None:
    assert set(planned("").cells.epsg.tolist()) == {32632, 32633}


def test_geetiles_bands_are_refused_to_grow(planned: MakePlan) -> None:
    small = planned("splits: {policy: geetiles, n_bands: 20, angle: 0.9}")
    with pytest.raises(ConfigError, match=r"under the policy geetiles .* chips of 'here' would change their split"):
        planned("splits: {policy: geetiles, n_bands: 20, angle: 0.9}", FOURFOLD, previous=small)


def test_an_area_that_lacks_old_chips_is_refused_as_ever(planned: MakePlan) -> None:
    large = planned(BLOCKS, FOURFOLD)
    for box in (HERE, (12.5, 57.1, 12.9, 57.3)):
        with pytest.raises(ConfigError, match="a dataset only grows"):
            planned(BLOCKS, box, previous=large)


def test_policies_without_a_buffer_warn(planned: MakePlan) -> None:
    (random,) = planned("splits: {policy: random}").warnings
    assert "random puts neighbours into different splits" in random
    (tiles,) = planned("splits: {policy: geetiles}").warnings
    assert "keeps no distance" in tiles
    assert not any("buffer takes" in text for text in (random, tiles))


def test_automatic_sizes_are_frozen_when_the_area_grows(planned: MakePlan) -> None:
    here, larger = (11.6, 57, 12, 57.15), (11.0, 56.8, 12, 57.15)
    small = planned("splits: {}", here)
    assert small.splits is not None
    assert small.splits.policy == "blocks"
    assert small.splits.buffer_km == pytest.approx(0.320 * np.sqrt(2), abs=0.001)
    fresh, grown = planned("splits: {}", larger), planned("splits: {}", larger, previous=small)
    assert fresh.splits is not None
    assert fresh.splits.block_km == pytest.approx(8 * small.splits.buffer_km)
    assert small.splits.block_km == pytest.approx(4 * small.splits.buffer_km)
    assert grown.splits == small.splits


def test_the_coarsest_label_pixel_widens_the_buffer(planned: MakePlan) -> None:
    labels = RECIPE + "  coarse: {source: ramp, role: label, pitch: 250, resolution: 320}\n"
    fine = RECIPE + "  fine: {source: ramp, role: label, pitch: 10, resolution: 10}\n"
    native = RECIPE + "  native: {source: ramp, role: label, pitch: 1500, resolution: 320}\n"
    inputs = RECIPE + "  coarse: {source: ramp, pitch: 1500, resolution: 320}\n"
    diagonal = 0.320 * np.sqrt(2)
    for recipe, more in ((labels, 0.320), (fine, 0.010), (native, 1.5), (inputs, 0.0)):
        plan = planned("splits: {block_km: 8}", recipe=recipe)
        assert plan.splits is not None
        assert plan.splits.buffer_km == pytest.approx(diagonal + more, abs=0.001), recipe
    told = planned("splits: {block_km: 8, correlation_km: 0.9}", recipe=fine)
    assert told.splits is not None
    assert told.splits.buffer_km == pytest.approx(diagonal + 0.9, abs=0.001)


def test_a_coarser_label_leaves_the_frozen_buffer_and_says_so(planned: MakePlan) -> None:
    first = planned("splits: {block_km: 8}")
    recipe = RECIPE + "  coarse: {source: ramp, role: label, pitch: 250, resolution: 320}\n"
    more = planned("splits: {block_km: 8}", recipe=recipe, previous=first)
    assert more.splits == first.splits
    assert by_id(more) == by_id(first)
    assert "the buffer stays at 0.453 km" in more.warnings[0]
    assert "ask for 0.773 km" in more.warnings[0]


def test_other_settings_split_anew_and_say_so(planned: MakePlan) -> None:
    first = planned(BLOCKS)
    again = planned("splits: {block_km: 4, buffer_km: 0.6, seed: 3}", previous=first)
    assert by_id(again) != by_id(first)
    assert "chips change their split, pixels stay" in again.warnings[0]
    assert [p.settings() for p in again.layers] == [p.settings() for p in first.layers]
    none = planned("", previous=first)
    assert none.splits is None
    assert none.split is None
    assert "removed" in none.warnings[0]
    assert by_id(planned(BLOCKS, previous=none)) == by_id(first)


def test_what_stratifies_budgets_leaves_all_splits_and_sizes(planned: MakePlan) -> None:
    labels = RECIPE + "  landcover: {role: label, source: synthetic, product: landcover, resolution: 320}\n"
    bands = "splits: {policy: bands, shares: {train: 0.5, test: 0.5}, buffer_km: 0.1, seed: 1%s}"
    first = planned(bands % "", HERE, recipe=labels, skip_buffer=True)
    fresh = planned(bands % "", FOURFOLD, recipe=labels)
    assert first.splits is not None
    assert fresh.splits is not None
    assert fresh.splits.block_km != first.splits.block_km
    again = planned(bands % ", stratify: landcover", FOURFOLD, recipe=labels, previous=first)
    assert again.splits is not None
    assert (again.splits.block_km, again.splits.stratify) == (first.splits.block_km, "landcover")
    before, now = by_id(first), by_id(again)
    assert all(now[chip] == code for chip, code in before.items())
    assert not any("change their split" in warning for warning in again.warnings)


def test_only_layers_with_proportions_stratify(planned: MakePlan) -> None:
    height = RECIPE + "  height: {role: label, source: ramp, resolution: 320}\n"
    with pytest.raises(ConfigError, match="no label proportions of 'height' to stratify by"):
        planned("splits: {block_km: 3, buffer_km: 0.4, seed: 3, stratify: height}", recipe=height)


def test_a_plan_of_some_layers_has_the_splits_of_all(planned: MakePlan) -> None:
    labels = RECIPE + "  landcover: {role: label, source: synthetic, product: landcover, resolution: 160}\n"
    splits = "splits: {block_km: 3, seed: 3, stratify: landcover}"
    whole, part = (planned(splits, recipe=labels, only=only) for only in (None, ["position"]))
    assert whole.splits == part.splits
    assert [layer.layer.name for layer in part.layers] == ["position"]


def test_a_plan_comes_back_from_disk_with_its_splits(planned: MakePlan, units: Path, tmp_path: Path) -> None:
    plan = planned(GROWING["admin"], base=units)
    folder = DatasetFolder(tmp_path / "dataset")
    folder.freeze(plan)
    back = folder.frozen()
    assert back is not None
    assert back.splits == plan.splits
    assert by_id(back) == by_id(plan)
    assert back.buffer_loss == plan.buffer_loss
    assert back.regions is not None
    assert plan.regions is not None
    assert back.regions.names == plan.regions.names
    assert (back.regions.homes == plan.regions.homes).all()
    assert shapely.equals_exact(back.regions.polygons, plan.regions.polygons).all()
    assert folder.holds(back)


def test_a_plan_of_before_splits_is_read(planned: MakePlan, tmp_path: Path) -> None:
    folder = DatasetFolder(tmp_path / "dataset")
    folder.freeze(planned(""))
    path = folder.path / PLAN
    document = json.loads(path.read_text())
    for key in ("splits", "buffer_loss", "skip_buffer"):
        del document[key]
    document["recipe"]["splits"] |= {"units": None}
    path.write_text(json.dumps(document))
    back = folder.frozen()
    assert back is not None
    assert (back.splits, back.split, back.skip_buffer) == (None, None, False)


def test_chips_of_the_buffer_are_left_out(planned: MakePlan) -> None:
    said: list[str] = []
    whole, lean = planned(BLOCKS), planned(BLOCKS, skip_buffer=True)
    kept = {chip: code for chip, code in by_id(whole).items() if code != Split.BUFFER}
    assert by_id(lean) == kept
    assert len(kept) < len(whole.cells)
    assert lean.buffer_loss == whole.buffer_loss
    grown = planned(BLOCKS, FOURFOLD, previous=lean, said=said)
    assert by_id(grown) == {c: s for c, s in by_id(planned(BLOCKS, FOURFOLD)).items() if s != Split.BUFFER}
    assert grown.cells.ids()[: len(lean.cells)] == lean.cells.ids()
    assert any("begun with --skip-buffer" in line for line in said)


def test_a_sample_of_what_is_not_in_the_buffer(planned: MakePlan) -> None:
    plan = planned(BLOCKS, skip_buffer=True, sample=Sample(300))
    assert len(plan.cells) >= 300
    assert n_of(plan, Split.BUFFER) == 0
    whole = by_id(planned(BLOCKS))
    assert by_id(plan) == {chip: whole[chip] for chip in plan.cells.ids()}
    again = planned(BLOCKS, previous=plan)
    assert again.cells.ids() == plan.cells.ids()
    larger = planned(BLOCKS, previous=plan, sample=Sample(500))
    assert larger.cells.ids()[: len(plan.cells)] == plan.cells.ids()
    assert n_of(larger, Split.BUFFER) == 0


def test_a_sample_that_misses_a_split_says_so(planned: MakePlan) -> None:
    assert any("the sample holds no chip of" in text for text in planned(BLOCKS, sample=Sample(4)).warnings)


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        ({"skip_buffer": False}, {"skip_buffer": True}, "was begun without --skip-buffer"),
        ({"skip_buffer": True}, {"splits": ""}, "the recipe has no splits now"),
        ({"skip_buffer": True}, {"splits": "splits: {block_km: 5, buffer_km: 0.6}"}, "cannot take others"),
    ],
)
def test_a_dataset_stays_with_or_without_its_buffer(
    planned: MakePlan, before: dict[str, bool], now: dict[str, object], message: str
) -> None:
    first = planned(BLOCKS, **before)
    with pytest.raises(ConfigError, match=message):
        planned(**({"splits": BLOCKS} | now), previous=first)  # type: ignore[arg-type]  # chosen by the case


def test_skipping_a_buffer_needs_splits(planned: MakePlan) -> None:
    with pytest.raises(ConfigError, match="--skip-buffer without splits"):
        planned("", skip_buffer=True)


def test_units_go_whole_to_splits_and_the_seed_decides(planned: MakePlan, units: Path) -> None:
    plan = planned(GROWING["admin"], FOURFOLD, base=units)
    assert plan.regions is not None
    shares = dict.fromkeys((Split.TRAIN, Split.VAL, Split.TEST), 0.0)
    for home, polygon in zip(plan.regions.homes.tolist(), plan.regions.polygons.tolist(), strict=True):
        shares[Split(home)] += polygon.area
    total = sum(shares.values())
    largest = 1 / len(plan.regions.names)
    for split, share in ((Split.TRAIN, 0.6), (Split.VAL, 0.2), (Split.TEST, 0.2)):
        assert abs(shares[split] / total - share) < largest * 1.05
    other = planned(GROWING["admin"].replace("admin,", "admin, seed: 3,"), FOURFOLD, base=units)
    assert other.regions is not None
    assert (other.regions.homes != plan.regions.homes).any()
    # A chip keeps the home of its unit or yields.
    lon, lat = plan.cells.lon_lat()
    tree = shapely.STRtree([box.buffer(-0.004) for box in plan.regions.polygons])
    chip, unit = tree.query(shapely.points(lon, lat), predicate="within")
    assert plan.split is not None
    assert np.isin(plan.split[chip] - plan.regions.homes[unit], [0, *(3 - np.arange(3))]).all()
    assert (plan.split[chip] == plan.regions.homes[unit]).mean() > 0.6
    n = n_of(plan, Split.NONE)
    assert n > 0
    assert any(f"{n:,} of {len(plan.cells):,} chips of 'here' lie in no unit" in text for text in plan.warnings)


def test_loss_is_counted_before_and_after_the_buffer(planned: MakePlan) -> None:
    plan = planned(BLOCKS)
    free = planned("splits: {block_km: 4, buffer_km: 0}")  # seam chips still yield
    assert plan.split is not None
    found = counts(plan.split)
    assert sum(found.values()) == len(plan.cells)
    assert plan.buffer_loss["all"] == pytest.approx(found["buffer"] / len(plan.cells))
    assert plan.buffer_loss["test"] == 0
    assert plan.buffer_loss["train"] > plan.buffer_loss["val"] > 0
    assert free.buffer_loss["all"] < plan.buffer_loss["all"]
    assert any("the buffer takes" in text for text in plan.warnings) == (plan.buffer_loss["all"] > 0.15)
