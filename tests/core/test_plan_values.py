"""Plans: what a digest depends on, and that units cover everything once."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core import plan as plan_module
from m3leo_prep.core.area import Area
from m3leo_prep.core.encoding import default_encoding
from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.core.layer import Array
from m3leo_prep.core.plan import LayerPlan, Plan, SourceSpec, chip_digests, digest_of
from m3leo_prep.core.raster import Item, Kind, Slot
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.testing.layers import make_array, make_layer

WORLD = shapely.box(-180, -90, 180, 90)
ITEM = Item("S1A_1", WORLD, "etag-1", datetime(2020, 1, 5, tzinfo=UTC), properties={"path": "a.tif"})


def make_plan(**options: Any) -> LayerPlan:
    layer = make_layer(make_array(), make_array("cover", Kind.CLASSES, ("class",)), n_slots=12, shard_slots=5)
    spec = SourceSpec("local", {"path": "/data", "kind": "power", "scale": 2} | options, base="/home/me")
    return LayerPlan(layer, spec, "1", {"warp.bspline": 1, "composite": 1}, (ITEM,), licence="CC0", pitch=10.0)


def with_array(plan: LayerPlan, **changes: Any) -> LayerPlan:
    first, *others = plan.layer.arrays
    return replace(plan, layer=replace(plan.layer, arrays=(replace(first, **changes), *others)))


def digest(plan: LayerPlan) -> str:
    return digest_of(plan.settings())


# -- what does not decide a pixel --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        make_plan(path="/elsewhere"),
        replace(make_plan(), source=replace(make_plan().source, base="/home/you")),
        replace(make_plan(), licence="other", citation="a paper", pitch=12.0, items=()),
        replace(make_plan(), op_versions={"composite": 1, "warp.bspline": 1}),
        replace(make_plan(), layer=replace(make_plan().layer, attributes={"title": "other"}, role="label")),
        replace(make_plan(), source=SourceSpec("local", {"scale": 2, "kind": "power", "path": "/data"})),
    ],
    ids=["path", "base", "licence", "order of ops", "attributes", "order of options"],
)
def test_the_digest_is_blind_to(other: LayerPlan) -> None:
    assert digest(other) == digest(make_plan())


def test_the_digest_is_blind_to_the_package_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(make_plan())
    monkeypatch.setattr("m3leo_prep.__version__", "99.0")
    assert digest(make_plan()) == before


# -- what does ---------------------------------------------------------------------------------------------------------

POWER = default_encoding(make_array().variable)
CHANGES = {
    "shape of shards": replace(make_plan(), layer=replace(make_plan().layer, shard_chips=256, shard_slots=1)),
    "option": make_plan(scale=3),
    "new option": make_plan(nodata=0),
    "source": replace(make_plan(), source=replace(make_plan().source, name="gee")),
    "source version": replace(make_plan(), source_version="2"),
    "operation version": replace(make_plan(), op_versions={"warp.bspline": 2, "composite": 1}),
    "operation": replace(make_plan(), op_versions={"warp.nearest": 1, "composite": 1}),
    "band": with_array(make_plan(), variable=replace(make_array().variable, bands=("vv", "hv"))),
    "order of bands": with_array(make_plan(), variable=replace(make_array().variable, bands=("vh", "vv"))),
    "kind": with_array(make_plan(), variable=replace(make_array().variable, kind=Kind.CONTINUOUS)),
    "name": with_array(make_plan(), variable=replace(make_array().variable, name="other")),
    "method": with_array(make_plan(), method="nearest"),
    "statistic": with_array(make_plan(), statistic="median"),
    "band chunk": with_array(make_plan(), band_chunk=1),
    "codec": with_array(make_plan(), codec="lz4"),
    "no codec": with_array(make_plan(), codec="none"),
    "scale": with_array(make_plan(), encoding=replace(POWER, scale=0.05)),
    "fill": with_array(make_plan(), encoding=replace(POWER, fill=32767)),
    "transform": with_array(make_plan(), encoding=replace(POWER, transform="none")),
    "dtype": with_array(make_plan(), encoding=replace(POWER, dtype="int32")),
    "lower limit": with_array(make_plan(), encoding=replace(POWER, valid_min=-40.0)),
    "upper limit": with_array(make_plan(), encoding=replace(POWER, valid_max=40.0)),
    "pitch": replace(make_plan(), layer=replace(make_plan().layer, pitch=40.0)),
    "size": replace(make_plan(), layer=replace(make_plan().layer, size=8)),
    "layer": replace(make_plan(), layer=replace(make_plan().layer, name="other")),
    "slots a chunk": replace(make_plan(), layer=replace(make_plan().layer, chunk_slots=12)),
    "fewer arrays": replace(make_plan(), layer=replace(make_plan().layer, arrays=make_plan().layer.arrays[:1])),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_digest_sees(what: str) -> None:
    assert digest(CHANGES[what]) != digest(make_plan())


def test_no_two_changes_look_alike() -> None:
    assert len({digest(plan) for plan in CHANGES.values()}) == len(CHANGES)


@pytest.mark.parametrize("name", ["FORMAT_VERSION", "GRID_VERSION"])
def test_the_digest_sees_the_versions_of_format_and_grid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(make_plan())
    monkeypatch.setattr(plan_module, name, "99")
    assert digest(make_plan()) != before


def test_the_digest_is_the_same_after_json() -> None:
    """What is frozen on disk must be recognised again."""
    assert digest_of(json.loads(json.dumps(make_plan().settings()))) == digest(make_plan())


# -- chips -------------------------------------------------------------------------------------------------------------

SLOTS = make_plan().layer.slots[:2]


def chips(
    items: list[list[list[Item]]] | None = None,
    slots: tuple[Slot, ...] = SLOTS,
    settings: str = "s",
    ids: Any = ("a", "b"),
) -> list[bytes]:
    found = chip_digests(list(ids), settings, slots, items or [[[ITEM], []], [[ITEM], []]])
    assert found.shape == (len(ids), len(slots), 16)
    assert found.dtype == np.uint8
    return [row.tobytes() for row in found]


def test_a_chips_digest_is_its_own() -> None:
    first, second = chips()
    assert first != second
    assert chips(items=[[[ITEM], []]], ids=("a",)) == [first], "the neighbours do not matter"


@pytest.mark.parametrize(
    "change",
    [
        {"settings": "t"},
        {"slots": (replace(SLOTS[0], label="other"), SLOTS[1])},
        {"slots": (replace(SLOTS[0], start=SLOTS[0].start - timedelta(microseconds=1)), SLOTS[1])},
        {"slots": (SLOTS[0], replace(SLOTS[1], end=SLOTS[1].end + timedelta(microseconds=1)))},
    ],
    ids=["settings", "label", "start", "end"],
)
def test_settings_and_slots_change_every_chip(change: dict[str, Any]) -> None:
    assert not set(chips(**change)) & set(chips())


def test_a_slot_and_its_items_change_that_slot_alone() -> None:
    """A longer series keeps the slots it had."""

    def of(slots: tuple[Slot, ...], items: list[Item]) -> Any:
        return chip_digests(["a"], "s", slots, [[items, *[[] for _ in slots[1:]]]])[0]

    before = of(SLOTS, [ITEM])
    later = of((SLOTS[0], replace(SLOTS[1], label="other")), [ITEM])
    assert (later[0] == before[0]).all()
    assert (later[1] != before[1]).any()
    fewer = of(SLOTS, [])
    assert (fewer[0] != before[0]).any()
    assert (fewer[1] == before[1]).all()
    assert (of(SLOTS[:1], [ITEM])[0] == before[0]).all()


@pytest.mark.parametrize(
    "mine",
    [
        [[replace(ITEM, version="etag-2")], []],
        [[replace(ITEM, id="S1A_2")], []],
        [[], [ITEM]],
        [[], []],
        [[ITEM, replace(ITEM, id="S1A_2")], []],
        [[ITEM], [ITEM]],
    ],
    ids=["version", "id", "other slot", "none", "one more", "both slots"],
)
def test_items_change_the_chips_that_they_reach_and_no_other(mine: list[list[Item]]) -> None:
    first, second = chips(items=[mine, [[ITEM], []]])
    assert first != chips()[0]
    assert second == chips()[1]


def test_the_order_of_items_counts() -> None:
    """``first`` takes the first."""
    other = replace(ITEM, id="S1A_2")
    assert chips([[[ITEM, other], []]] * 2)[0] != chips([[[other, ITEM], []]] * 2)[0]


def test_where_an_item_lies_is_not_what_it_holds() -> None:
    moved = replace(ITEM, properties={"path": "b.tif", "href": "https://x?sig=1"}, footprint=shapely.box(0, 0, 1, 1))
    assert chips([[[moved], []]] * 2) == chips()


# -- units -------------------------------------------------------------------------------------------------------------


@given(
    n_chips=st.integers(1, 60),
    n_slots=st.integers(0, 12),
    shard_chips=st.integers(1, 20),
    shard_slots=st.integers(1, 12),
)
def test_units_cover_every_chip_and_slot_once(n_chips: int, n_slots: int, shard_chips: int, shard_slots: int) -> None:
    layer = make_layer(
        make_array(), n_slots=n_slots, shard_chips=shard_chips, shard_slots=min(shard_slots, n_slots or 1)
    )
    units = list(replace(make_plan(), layer=layer).units(n_chips))
    seen = Counter(
        (row, slot)
        for unit in units
        for row in range(unit.first_row, unit.last_row)
        for slot in range(unit.first_slot, unit.last_slot)
    )
    assert seen == Counter((row, slot) for row in range(n_chips) for slot in range(max(1, n_slots)))
    assert len({unit.id for unit in units}) == len(units)
    for unit in units:
        assert unit.first_row == unit.chip_shard * layer.shard_chips
        assert unit.first_slot == unit.slot_shard * layer.shard_slots
        assert 0 < unit.last_row - unit.first_row <= layer.shard_chips
        assert 0 < unit.last_slot - unit.first_slot <= layer.shard_slots
    assert units == sorted(units, key=lambda u: (u.slot_shard, u.chip_shard)), "neighbours of one slot run together"


def whole_plan() -> Plan:
    recipe = parse_recipe("name: a\nlayers:\n  layer: {source: ramp}\n  other: {source: ramp}\n")
    area = Area.from_geometry(shapely.box(9.30, 57.10, 9.312, 57.104), name="here")
    grid = Grid(32, 10)
    one = make_plan()
    other = replace(one, layer=make_layer(make_array("b", Kind.CLASSES, ("c",)), name="other", size=32))
    numbers = np.arange(10, dtype=np.int32)
    cells = Cells(grid, np.full(10, 32632, np.int32), numbers, numbers)
    return Plan(recipe, area, grid, cells, (one, other))


def test_a_plan_has_the_units_of_its_layers() -> None:
    plan = whole_plan()
    ids = [unit.id for unit in plan.units()]
    # 10 chips in shards of 4; 12 slots in shards of 5: 3 x 3, and 3 of the static layer.
    assert len(ids) == len(set(ids)) == 12
    assert {unit.layer for unit in plan.units(frozenset({"other"}))} == {"other"}
    assert list(plan.units(frozenset())) == []
    assert plan.layer("other").layer.name == "other"
    with pytest.raises(KeyError):
        plan.layer("nothing")


def test_the_estimate_is_a_sum_worked_by_hand() -> None:
    estimate = whole_plan().estimate()
    assert estimate.chips == 10
    first, second = estimate.layers
    # 6 x 6 pixels x (2 bands x 2 bytes + 1 band x 1 byte) x 12 slots x 10 chips; 9 units x 2 arrays
    assert (first.raw_bytes, first.files, first.items, first.slots, first.size) == (36 * 5 * 12 * 10, 18, 1, 12, 6)
    assert (second.raw_bytes, second.files, second.slots) == (32 * 32 * 10, 3, 1)
    assert estimate.raw_bytes == first.raw_bytes + second.raw_bytes
    assert estimate.files == 21


def test_every_kind_has_a_digest_that_survives_json() -> None:
    for kind in Kind:
        array: Array = make_array(kind=kind)
        plan = replace(make_plan(), layer=make_layer(array))
        assert digest_of(json.loads(json.dumps(plan.settings()))) == digest(plan)
