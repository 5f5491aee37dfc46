"""Layers of pairs: chosen chip by chip, on heights, with a reference of the phase; small analytic interferograms."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

import m3leo_prep as mp
from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.errors import ConfigError, CorruptError
from m3leo_prep.core.plan import Plan, Unit
from m3leo_prep.core.raster import Absent, Item, Kind, Raster, Slot, SourceInfo, Variable
from m3leo_prep.core.reasons import Reason
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.task import make_task, near_ground
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.ports.heights import Heights
from m3leo_prep.runners.threads import Threads
from m3leo_prep.sources._native import NativeGrid, Window

from .conftest import area, tree

RECIPE = """
name: pairs
grid: {chip_px: 32, resolution: 10}
layers:
  ground: {source: heights, resolution: 20}
  gunw: {source: pairs, dem: ground, resolution: 20, slots: {pairs: {year: 2020, windows: WINDOWS}}}
""".replace("WINDOWS", "{short: [0, 60], long: [61, 216]}")
GRID = NativeGrid("EPSG:4326", 0.0003, 0.0, 90.0)
SEAM = 9.3062
"""Longitude in the middle of the chips, where the frames of the far pair end."""
WHOLE, WEST, EAST = box(9.2, 57.0, 9.4, 57.2), box(9.2, 57.0, SEAM, 57.2), box(SEAM - 0.002, 57.0, 9.4, 57.2)


def pair(days: int, where: BaseGeometry, name: str, frame: int = 1) -> Item:
    later = datetime(2020, 9, 1, 5, 30, frame, tzinfo=UTC)
    earlier = later - timedelta(days=days)
    properties = {
        "reference_time": later.isoformat(),
        "secondary_time": earlier.isoformat(),
        "relative_orbit": 44,
        "orbit_direction": "ascending",
        "frame": frame,
        "perp_baseline": float(10 * frame),
        "product_version": "3.0.1" if days > 20 else "2.0.6",
        "days": days,
    }
    return Item(name, where, "1", later, f"44-{later:%Y%m%d}-{days}", properties)


ITEMS = (
    pair(48, WEST, "far-west"),
    pair(12, WHOLE, "near"),
    pair(96, WEST, "long-west", 1),
    pair(96, EAST, "long-east", 2),
)


@dataclass(frozen=True)
class Pairs:
    """Phase = days + 100 lon; component 2 in the north, 1 below; amplitude missing from version 2."""

    broken: str = ""
    items: tuple[Item, ...] = ITEMS
    asked: list[tuple[str, ...]] = field(default_factory=list, compare=False)

    def describe(self) -> SourceInfo:
        return SourceInfo(
            (
                Variable("phase", Kind.UNWRAPPED_PHASE, ("phase",), "rad", attributes={"components": "parts"}),
                Variable("parts", Kind.CLASSES, ("parts",)),
                Variable("amplitude", Kind.CONTINUOUS, ("amplitude",)),
                Variable("angle", Kind.CONTINUOUS, ("angle",), "degree"),
            ),
            version="1",
            pitch=33.0,
            joint=True,
            slot_kinds=("pair",),
            on_heights=("angle",),
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        yield from (item for item in self.items if item.footprint.intersects(area))

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterator[Raster | Absent]:
        self.asked.append(tuple(item.id for item in items))
        for item in items:
            if item.id == self.broken:
                raise CorruptError("damaged", where=item.id)
            west, _, east, _ = item.footprint.bounds
            around = GRID.window(geobox)
            columns = Window(around.row0, around.row1, int(west / 0.0003), int(east / 0.0003))
            window = around.within(columns)
            if window.is_empty:
                continue
            grid, (lon, lat) = GRID.geobox(window), GRID.centres(window)
            shape = (1, len(lat), len(lon))
            valid = np.ones(shape, bool)
            phase = np.broadcast_to(item.properties["days"] + 100 * (lon - 9.3), shape).astype(np.float32)
            parts = np.broadcast_to(np.where(lat > 57.1015, 2, 1)[:, None], shape[1:]).astype(np.int32)
            yield Raster(phase, valid, grid, item, "phase", components=parts)
            yield Raster(parts[None].astype(np.uint8), valid, grid, item, "parts")
            if item.properties["product_version"] == "2.0.6":
                yield Absent(item, "amplitude", ("amplitude",), Reason.LAYER_NOT_IN_VERSION)
            else:
                yield Raster(phase, valid, grid, item, "amplitude")

    def read_on_heights(
        self, items: Sequence[Item], geobox: GeoBox, slot: Slot, heights: Heights
    ) -> Iterator[Raster | Absent]:
        yield from self.read(items, geobox, slot)
        values, valid = heights(geobox)
        yield Raster((30 + values[None] / 100).astype(np.float32), valid[None], geobox, items[0], "angle")


@dataclass(frozen=True)
class Ground:
    """Heights that rise to the east."""

    rise: float = 1000.0
    tile: str = "1"

    def describe(self) -> SourceInfo:
        height = Variable("height", Kind.CONTINUOUS, ("height",), "m")
        return SourceInfo((height,), version=str(self.rise), pitch=33.0, is_static=True)

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        yield Item("ground", WHOLE, self.tile)

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterator[Raster]:
        window = GRID.window(geobox)
        lon, lat = GRID.centres(window)
        values = np.broadcast_to(self.rise * (lon - 9.3), (1, len(lat), len(lon))).astype(np.float32)
        yield Raster(values, np.ones(values.shape, bool), GRID.geobox(window), items[0], "height")


def planned(recipe: str = RECIPE, source: Any = None, ground: Any = None, out: Path | None = None) -> Plan:
    made = {"pairs": source or Pairs(), "heights": ground or Ground()}
    return mp.plan(area(), recipe, sources=made, out=out)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> mp.Dataset:
    path = tmp_path_factory.mktemp("pairs") / "d"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        build(planned(), path, runner=Threads(2))
    return mp.Dataset(path)


def lon_of(dataset: mp.Dataset, row: int) -> np.ndarray[Any, Any]:
    chip = dataset.chip(row, "gunw", "phase")
    from pyproj import Transformer

    x, y = np.meshgrid(chip.x.values, chip.y.values)
    back = Transformer.from_crs(chip.rio.crs if hasattr(chip, "rio") else "EPSG:32632", "EPSG:4326", always_xy=True)
    return back.transform(x, y)[0]


def test_each_chip_has_the_pair_that_its_rule_picks(made: mp.Dataset) -> None:
    """West of the seam the longer pair covers a chip, east of it only the shorter one: their constants tell."""
    days = []
    for row in range(len(made)):
        chip = made.chip(row, "gunw", "phase").values[0, 0]
        found = np.unique(np.round(chip - 100 * (lon_of(made, row) - 9.3)))
        assert len(found) == 1, "a chip holds one pair"
        days.append(int(found[0]))
    assert set(days) == {12, 48}
    layer = mp.open_dataset(made.path)["gunw"]
    span = (layer.reference_time - layer.secondary_time).values[:, 0] / np.timedelta64(1, "D")
    assert span.tolist() == days
    assert layer.product_version.values[:, 0].tolist() == [20006 if d == 12 else 30001 for d in days]
    assert layer.time.values.tolist() == [0, 1]
    assert layer.time.attrs["labels"] == ["short", "long"]


def test_frames_of_a_pair_make_one_chip_and_tell_what_they_share(made: mp.Dataset) -> None:
    layer = mp.open_dataset(made.path)["gunw"]
    frames, baselines = layer.frame.values[:, 1], layer.perp_baseline.values[:, 1]
    both = frames == -1
    assert both.any()
    np.testing.assert_allclose(baselines[both], 15.0)
    assert (layer.phase_valid.values[both, 1] == 100).all()
    assert (layer.relative_orbit.values == 44).all()


def test_what_a_version_lacks_is_said(made: mp.Dataset) -> None:
    layer = mp.open_dataset(made.path)["gunw"]
    lacks = layer.product_version.values[:, 0] == 20006
    assert (layer.amplitude_reason.values[lacks, 0] == Reason.LAYER_NOT_IN_VERSION).all()
    assert (layer.amplitude_reason.values[~lacks, 0] == Reason.OK).all()


def test_the_reference_is_the_median_of_the_largest_component(made: mp.Dataset) -> None:
    layer = mp.open_dataset(made.path)["gunw"]
    for row in range(len(made)):
        phase, parts = (made.chip(row, "gunw", name).values[0, 0] for name in ("phase", "parts"))
        labels, sizes = np.unique(parts, return_counts=True)
        largest = phase[parts == labels[np.argmax(sizes)]]
        assert layer.phase_reference.values[row, 0] == pytest.approx(np.median(largest), abs=1e-3)


def test_statistics_count_from_the_reference(made: mp.Dataset) -> None:
    """The pairs differ by 36 rad and more, the phase within a chip by less than 1."""
    document = json.loads((made.path / "stats" / "gunw.json").read_text())
    (band,) = document["variables"]["phase"]["bands"].values()
    assert abs(band["mean"]) < 0.5
    assert band["max"] - band["min"] < 3


def test_heights_are_those_of_the_layer_that_dem_names(made: mp.Dataset) -> None:
    layers = mp.open_dataset(made.path)
    np.testing.assert_allclose(
        layers["gunw"].angle.values[:, 0, 0], 30 + layers["ground"].height.values[:, 0] / 100, atol=1e-5
    )


def test_it_verifies_and_does_not_depend_on_how_the_work_is_cut(made: mp.Dataset, tmp_path: Path) -> None:
    report = verify(made.path)
    assert report.ok, report
    build(planned(), tmp_path / "one", runner=Threads(1), work_bytes=1)
    assert tree(tmp_path / "one") == tree(made.path)


def test_frames_of_one_pair_are_read_together(tmp_path: Path) -> None:
    source = Pairs()
    build(planned(source=source), tmp_path / "d", runner=Threads(1))
    assert ("long-west", "long-east") in source.asked


def test_a_damaged_frame_leaves_the_other_one(tmp_path: Path) -> None:
    build(planned(source=Pairs(broken="long-east")), tmp_path / "d", runner=Threads(1))
    layer = mp.open_dataset(tmp_path / "d")["gunw"]
    assert set(layer.phase_reason.values[:, 1].ravel().tolist()) == {Reason.OK, Reason.PARTIAL_COVERAGE, Reason.CORRUPT}
    assert (layer.phase_reason.values[:, 0] == Reason.OK).all()


@dataclass(frozen=True)
class Fitted(Pairs):
    """Frames count from constants of their own, and from the first one's where they are read together."""

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterator[Raster | Absent]:
        constant = np.float32(1000 * items[0].properties["frame"])
        for one in super().read(items, geobox, slot):
            is_phase = isinstance(one, Raster) and one.variable == "phase"
            yield replace(one, data=one.data + constant) if is_phase else one


def test_frames_beside_a_damaged_one_are_still_read_together(tmp_path: Path) -> None:
    """Read one by one they would count from constants of their own, with a step in every chip that has two of them."""
    middle = box(SEAM - 0.003, 57.0, SEAM + 0.003, 57.2)
    items = (pair(96, WEST, "west", 1), pair(96, middle, "broken", 2), pair(96, EAST, "east", 3))
    source = Fitted(broken="broken", items=items)
    build(planned(source=source), tmp_path / "d", runner=Threads(1))
    layer = mp.open_dataset(tmp_path / "d")["gunw"]
    assert ("west", "east") in source.asked
    both = layer.frame.values[:, 1] == -1
    assert both.any()
    phase = layer.phase.values[both, 1, 0]
    assert np.nanmax(phase, axis=(1, 2)) - np.nanmin(phase, axis=(1, 2)) == pytest.approx(0, abs=5)


def test_a_chip_is_the_same_in_any_company(tmp_path: Path) -> None:
    """In windows, in a sample, alone: which pair is chosen and how frames fit is each chip's own affair."""
    given = {"pairs": Fitted(), "heights": Ground()}
    build(planned(source=Fitted()), tmp_path / "all", runner=Threads(1))
    build(mp.plan(area(), RECIPE, sources=given, sample=3), tmp_path / "some", runner=Threads(1), work_bytes=1)
    whole, some = mp.Dataset(tmp_path / "all"), mp.Dataset(tmp_path / "some")
    assert 0 < len(some) < len(whole)
    places = {chip: row for row, chip in enumerate(whole.chips["chip_id"])}
    for row, chip in enumerate(some.chips["chip_id"]):
        for name in ("phase", "parts", "amplitude", "angle"):
            one, other = some.chip(row, "gunw", name), whole.chip(places[chip], "gunw", name)
            np.testing.assert_array_equal(one.values, other.values)
    report = verify(whole.path, sample=1000)
    assert report.ok, report


def test_heights_around_a_chip_belong_to_it() -> None:
    """A source asks for them on pixels as far over the chip's edge as its kernels reach: here 264 m, and 264 m more."""
    plan = planned()
    layer, cell = plan.layer("gunw"), plan.cells[:1]
    assert layer.heights is not None
    west, south, _, north = cell.polygons()[0].bounds

    def known(metres: float) -> bool:
        edge = west - metres / (111_320 * np.cos(np.radians(south)))
        items = (Item("beside", box(edge - 0.1, south, edge, north), "1"),)
        (near,) = near_ground(cell, replace(layer, heights=replace(layer.heights, items=items)))
        return bool(near)

    assert [known(metres) for metres in (100, 400, 700)] == [True, True, False]


def test_other_heights_are_another_unit() -> None:
    digests = []
    for ground in (Ground(), Ground(500.0)):
        plan = planned(ground=ground)
        layer = plan.layer("gunw")
        task = make_task(plan.cells[:1], layer, Unit("gunw", 0, 0, 0, 1, 0, 2), None)
        digests.append(task.digest)
    assert digests[0] != digests[1]


def test_another_version_of_a_height_tile_is_another_unit_of_the_same_settings() -> None:
    plans = [planned(ground=Ground(tile=tile)) for tile in ("1", "2")]
    layers = [plan.layer("gunw") for plan in plans]
    assert layers[0].settings() == layers[1].settings()
    unit = Unit("gunw", 0, 0, 0, 1, 0, 2)
    tasks = [make_task(plan.cells[:1], layer, unit, None) for plan, layer in zip(plans, layers, strict=True)]
    assert tasks[0].digest != tasks[1].digest


def test_a_build_resumes_from_what_is_frozen_and_other_heights_build_anew(tmp_path: Path) -> None:
    out = tmp_path / "d"
    first = build(planned(), out, runner=Threads(1))
    again = build(planned(out=out), out, runner=Threads(1))
    higher = build(planned(ground=Ground(2000.0), out=out), out, runner=Threads(1))
    assert (first.built > 0, again.built, higher.built) == (True, 0, first.built)
    layers = mp.open_dataset(out)
    np.testing.assert_allclose(
        layers["gunw"].angle.values[:, 0, 0], 30 + layers["ground"].height.values[:, 0] / 100, atol=1e-5
    )


def test_a_chip_outside_every_frame_is_not_in_the_dataset(tmp_path: Path) -> None:
    few = (replace(ITEMS[0], footprint=box(9.2, 57.0, 9.301, 57.2)),)
    build(planned(source=Pairs(items=few)), tmp_path / "d", runner=Threads(1))
    layer = mp.open_dataset(tmp_path / "d")["gunw"]
    reasons = layer.phase_reason.values[:, :, 0]
    assert set(reasons[:, 1].tolist()) == {Reason.NOT_IN_DATASET}
    assert {Reason.PARTIAL_COVERAGE, Reason.NOT_IN_DATASET} <= set(reasons[:, 0].tolist())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("dem: ground, ", ""), "angle cannot be given without heights"),
        (("dem: ground", "dem: grund"), "did you mean 'ground'"),
        (("dem: ground", "dem: gunw"), "no other layer 'gunw'"),
        (("{source: heights, resolution: 20}", "{source: ramp, resolution: 20}"), "is not one static height"),
        (("{source: heights, resolution: 20}", "{source: heights, dem: gunw}"), "uses no heights"),
        (
            ("slots: {pairs: {year: 2020, windows: {short: [0, 60], long: [61, 216]}}}", "slots: {months: 2020}"),
            "no items that fill periods",
        ),
    ],
)
def test_what_cannot_work_is_refused_when_planning(change: tuple[str, str], says: str) -> None:
    assert change[0] in RECIPE
    with pytest.raises(ConfigError) as caught:
        planned(RECIPE.replace(*change))
    assert says in str(caught.value)
    assert "layer" in str(caught.value)
