"""Every stored pixel can be followed back: weights times source values give the scene, the scenes give the code."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.ops.warp import Method
from m3leo_prep.pipeline import origins
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.explain import explain
from m3leo_prep.pipeline.explain.blend import Vote, blend
from m3leo_prep.pipeline.explain.explanation import Explanation, Neighbour, PixelBand, Scene
from m3leo_prep.pipeline.explain.trace import adds_up
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.runners.threads import Threads

from .conftest import plan
from .tampering import change

SOURCE = """
from dataclasses import dataclass
from datetime import datetime, UTC
import numpy as np
from shapely.geometry import box
from m3leo_prep.core.raster import Item, Kind, LegendClass, Raster, SourceInfo, Variable
from m3leo_prep.sources._native import NativeGrid


@dataclass(frozen=True)
class Patchy:
    '''Numbers that follow from a pixel's place, with holes of both kinds, on a grid that fits no chip.'''

    kind: str = "continuous"
    pitch: float = 10.0
    holes: bool = True
    scenes: int = 1
    high: float = 1.0
    east_only: bool = False

    def describe(self):
        legend = tuple(LegendClass(k, f"class {k}") for k in range(4)) if self.kind == "classes" else ()
        about = {"correlation": 0.3} if self.kind == "uncertainty" else {}
        variable = Variable("v", Kind(self.kind), ("v",), legend=legend, attributes=about)
        return SourceInfo((variable,), version="1", pitch=self.pitch)

    def find(self, area, slots):
        for k in range(self.scenes):
            yield Item(f"scene{k}", box(-180, -90, 180, 90), version="1", datetime=datetime(2020, 1, 1 + k, tzinfo=UTC))

    def read(self, items, geobox, slot):
        grid = NativeGrid(str(geobox.crs), self.pitch, 3.3, 1.7)
        window = grid.window(geobox)
        row, col = np.mgrid[window.row0 : window.row1, window.col0 : window.col1]
        for item in items:
            k = int(item.id[-1])
            noise = (row * 7919 + col * 104729 + row * col * 31 + k * 577) % 1009
            dice = (row * 15485863 + col * 32452843 + k * 49979687) % 101
            missing, masked = (dice < 8, (dice >= 8) & (dice < 20)) if self.holes else (dice < 0, dice < 0)
            if self.east_only and k == 0:
                missing = missing | (col % 40 < 20)
            value = noise / 1009 * self.high
            if self.kind in {"wrapped_phase", "unwrapped_phase"}:
                value = (value - 0.5) * 2 * np.pi
            if self.kind == "angle":
                value = value * 360
            data = value.astype("float32")
            if self.kind in {"classes", "bits"}:
                data = (noise % 4 if self.kind == "classes" else 1 << (noise % 8)).astype("uint8")
            labels = ((row // 3 + col // 3) % 2).astype("int32") if self.kind == "unwrapped_phase" else None
            yield Raster(
                data[None], ~(missing | masked)[None], grid.geobox(window), item, "v", masked=masked, components=labels
            )
"""
YEAR = "slots: {periods: [[2020-01-01, 2020-02-01]]}"


def patchy(kind: str, method: str, pitch: float, more: str = "") -> str:
    return f'{{source: "./my_source.py:Patchy", kind: {kind}, pitch: {pitch}, resampling: {method}, {YEAR}, {more}}}'


METHODS = {
    "nearest": patchy("continuous", "nearest", 13),
    "bilinear": patchy("continuous", "bilinear", 13),
    "cubic": patchy("continuous", "cubic", 13),
    "bspline": patchy("coherence", "bspline", 13),
    "wide": patchy("power", "bspline", 4),
    "average": patchy("continuous", "average", 4),
    "nearest_class": patchy("classes", "nearest", 13),
    "mode": patchy("classes", "mode", 4),
    "bitor": patchy("bits", "bitor", 4),
    "sum": patchy("amount", "sum", 4),
    "phase": patchy("wrapped_phase", "complex", 13),
    "phase_coarse": patchy("wrapped_phase", "complex", 4),
    "angle": patchy("angle", "angle", 13),
    "angle_coarse": patchy("angle", "angle", 4),
    "component": patchy("unwrapped_phase", "component", 13),
    "component_coarse": patchy("unwrapped_phase", "component", 4),
    "deviation": patchy("uncertainty", "bilinear", 13),
    "deviation_coarse": patchy("uncertainty", "average", 4),
}
STATISTICS = ("mean", "median", "min", "max", "count", "first", "last")
OTHERS = {
    **{s: patchy("continuous", "bilinear", 13, f"scenes: 3, statistic: {s}") for s in STATISTICS},
    "beyond": patchy("coherence", "nearest", 13, "high: 1.5, holes: false"),
    "seam": patchy("continuous", "nearest", 13, "scenes: 2, statistic: first, east_only: true, holes: false"),
}
LINEAR = {"nearest", "bilinear", "cubic", "bspline", "wide", "average", "sum", "component", "component_coarse"}
PIXELS = [(0, 0), (5, 17), (16, 16), (31, 31), (30, 2), (9, 23), (21, 8), (13, 3)]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a layer for every method and every statistic."""
    base = tmp_path_factory.mktemp("kinds")
    (base / "my_source.py").write_text(dedent(SOURCE))
    layers = "\n".join(f"  {name}: {text}" for name, text in (METHODS | OTHERS).items())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        build(
            plan(f"name: kinds\ngrid: {{chip_px: 32, resolution: 10}}\nlayers:\n{layers}", base=base),
            base / "made",
            runner=Threads(2),
        )
    return base / "made"


def pixel(dataset: Path, layer: str, x: int, y: int, chip: str | int = 1, **more: Any) -> PixelBand:
    made = explain(dataset, chip, layer, x=x, y=y, **more)
    assert made.pixel is not None
    return made.pixel.bands[0]


def scenes(band: PixelBand) -> tuple[Scene, ...]:
    assert band.origin is not None
    return band.origin.scenes


@pytest.mark.parametrize("layer", METHODS)
def test_weights_times_values_give_the_stored_code(kinds: Path, layer: str) -> None:
    dataset = Dataset(kinds)
    n_values = 0
    for x, y in PIXELS:
        band = pixel(kinds, layer, x, y)
        assert band.reproduced, (layer, x, y, band)
        values, valid = dataset.read(1, layer)
        assert (band.value is None) == (not valid[0, 0, y, x])
        if band.value is None:
            assert band.missing in {"never observed", "masked"}
            continue
        n_values += 1
        assert band.value == pytest.approx(values[0, 0, y, x].item())
        (scene,) = scenes(band)
        assert scene.adds_up
        assert scene.neighbours
        total = sum(n.weight for n in scene.neighbours)
        if layer != "sum":
            assert total == pytest.approx(1, abs=1e-5)
        assert all(n.weight == 0 for n in scene.neighbours if n.missing)
        if layer in LINEAR:  # once more, without the code under test
            by_hand = sum(n.weight * n.value for n in scene.neighbours if n.value is not None)
            physical = 10 * np.log10(by_hand) if band.unit == "dB" else by_hand
            step = {"bspline": 0.004, "wide": 0.01, "component": 0.001, "component_coarse": 0.001}.get(layer, 0)
            assert band.value == pytest.approx(physical, abs=step / 2 + 2e-5)
    assert n_values >= 4


def test_phases_are_the_direction_of_weighted_unit_vectors(kinds: Path) -> None:
    _, valid = Dataset(kinds).read(1, "phase")
    y, x = np.argwhere(valid[0, 0])[40].tolist()
    band = pixel(kinds, "phase", x, y)
    (scene,) = scenes(band)
    vector = sum(n.weight * np.exp(1j * n.value) for n in scene.neighbours or () if n.value is not None)
    assert "bilinear of unit vectors" in scene.kernel
    assert band.value == pytest.approx(float(np.angle(vector)), abs=1e-4)
    assert "average of unit vectors" in scenes(pixel(kinds, "angle_coarse", 5, 17))[0].kernel


@pytest.mark.parametrize(
    ("method", "values", "result"),
    [
        (Method.bilinear, (2.0, 4.0), 2.5),
        (Method.mode, (2, 4), 2),
        (Method.bitor, (2, 4), 6),
        (Method.angle, (350.0, 10.0), 354.9615),
    ],
)
def test_a_value_that_is_not_what_the_weights_give_is_noticed(
    method: Method, values: tuple[float, float], result: float
) -> None:
    heavy, light = (
        Neighbour(k, 0, v, w, w, "", "a") for k, (v, w) in enumerate(zip(values, (0.75, 0.25), strict=True))
    )
    assert adds_up([heavy, light], method, result)
    assert not adds_up([heavy, light], method, result + 1)
    if method is not Method.bitor:
        swapped = [replace(heavy, weight=0.25), replace(light, weight=0.75)]
        assert not adds_up(swapped, method, result)


def test_the_number_of_neighbours_is_the_kernels(kinds: Path) -> None:
    most = {"nearest": 1, "bilinear": 4, "cubic": 16, "bspline": 16}
    for layer, n in most.items():
        (scene,) = scenes(pixel(kinds, layer, 16, 16))
        assert len(scene.neighbours or ()) == n, layer
    (wide,) = scenes(pixel(kinds, "wide", 16, 16))
    assert len(wide.neighbours or ()) > 16


def test_the_position_is_that_of_the_pixel_centre(kinds: Path) -> None:
    made = explain(kinds, 0, "bilinear", x=3, y=7)
    assert made.pixel is not None
    chips = Dataset(kinds).table("chips.parquet", ["x0", "y0"]).slice(0, 1).to_pylist()[0]
    assert (made.pixel.easting, made.pixel.northing) == (chips["x0"] + 35, chips["y0"] - 75)
    (scene,) = scenes(made.pixel.bands[0])
    assert (scene.map_x, scene.map_y) == pytest.approx((made.pixel.easting, made.pixel.northing), abs=1e-3)
    assert scene.col is not None
    assert {int(scene.col - 0.5), int(scene.col - 0.5) + 1} == {n.col for n in scene.neighbours or ()}
    assert 9 < made.pixel.lon < 10
    assert 57 < made.pixel.lat < 58


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_scenes_weights_give_the_composite(kinds: Path, statistic: str) -> None:
    for x, y in PIXELS:
        band = pixel(kinds, statistic, x, y)
        assert band.reproduced, (x, y, band)
        shown = [scene for scene in scenes(band) if scene.state == "valid"]
        if band.value is None:
            assert not shown
            continue
        if statistic == "count":
            assert band.value == len(shown)
            continue
        total = sum(scene.weight * scene.value for scene in shown if scene.value is not None)
        assert band.value == pytest.approx(total, abs=1e-6)
        assert sum(scene.weight for scene in scenes(band)) == pytest.approx(1)
        assert all(scene.why for scene in scenes(band))


def test_what_is_missing_says_how(kinds: Path) -> None:
    _, valid = Dataset(kinds).read(1, "nearest")
    kinds_of_missing = {}
    for y, x in np.argwhere(~valid[0, 0])[:60:3].tolist():
        band = pixel(kinds, "nearest", x, y)
        (scene,) = scenes(band)
        assert band.reproduced
        assert scene.state == {"never observed": "not observed", "masked": "masked"}[band.missing]
        assert [n.missing for n in scene.neighbours or ()] == [
            {"never observed": "no data", "masked": "masked"}[band.missing]
        ]
        kinds_of_missing[band.missing] = scene.why
    assert kinds_of_missing["never observed"] == "it has no data there"
    assert kinds_of_missing["masked"].startswith("masked there")


def test_out_of_range_shows_the_value_and_the_limits(kinds: Path) -> None:
    _, valid = Dataset(kinds).read(1, "beyond")
    y, x = np.argwhere(~valid[0, 0])[0].tolist()
    band = pixel(kinds, "beyond", x, y)
    (scene,) = scenes(band)
    assert band.missing == "out of range"
    assert band.reproduced
    assert scene.value is not None
    assert scene.value > 1
    assert band.origin is not None
    assert "outside 0 ... 1" in band.origin.steps


def test_in_a_mosaic_the_covered_scene_has_weight_zero_and_says_why(kinds: Path) -> None:
    seen = set()
    for x in range(0, 32, 3):
        band = pixel(kinds, "seam", x, 4)
        told = {scene.items[0]: (scene.weight, scene.why) for scene in scenes(band)}
        if told["scene0"][0] == 1:
            seen.add("first")
            assert told["scene1"] == (0, "already covered by scene0")
        else:
            seen.add("second")
            assert told == {
                "scene0": (0, "it has no data there"),
                "scene1": (1, "shown: the first that has this pixel"),
            }
    assert seen == {"first", "second"}, "32 columns hold both halves of a period of 40"


def test_a_tile_of_the_own_zone_replaces_one_of_another() -> None:
    votes = [Vote(0, ("foreign",), "valid", True, 1.0), Vote(0, ("own",), "valid", True, 2.0)]
    value, shares = blend(votes, "mean")
    assert value == 2.0
    assert shares[0] == (0.0, "replaced by own, which is in the chip's own zone")
    assert shares[1][0] == 1.0


def test_a_layer_is_told_without_its_source(kinds: Path) -> None:
    made = explain(kinds, 1, "mean")
    (slot,) = made.slots
    assert [item.id for item in slot.items] == ["scene0", "scene1", "scene2"]
    assert slot.items[1].time == "2020-01-02T00:00:00+00:00"
    assert slot.n_acquisitions == 3
    assert slot.bands[0].valid_share == pytest.approx(Dataset(kinds).read(1, "mean")[1].mean())
    assert made.native_pitch == 13
    assert made.variables[0]["statistic"] == "mean"
    assert not made.notes


def test_every_layer_of_the_synthetic_earth_is_reproduced(built: Path) -> None:
    for layer in Dataset(built).layers.values():
        made = explain(built, 0, layer.name, x=layer.size - 1, y=2)
        assert made.pixel is not None
        assert all(band.reproduced for band in made.pixel.bands), layer.name
        json.dumps(made.to_dict(), allow_nan=False)
    degrees = explain(built, 0, "degrees")
    assert list(degrees.operations) == ["EPSG:4326 -> EPSG:32632"]


def test_a_tampered_code_is_not_reproduced(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    before = pixel(copy, "landcover", 3, 4, 0)
    assert before.code is not None
    wrong = 10 if before.code != 10 else 20

    def edit(codes: NDArray[Any]) -> None:
        codes[..., 4, 3] = wrong

    change(copy, "landcover", 0, edit)
    after = pixel(copy, "landcover", 3, 4, 0)
    assert before.reproduced
    assert after.reproduced is False
    assert after.code == wrong
    assert after.origin is not None
    assert after.origin.code == before.code
    assert pixel(copy, "landcover", 5, 4, 0).reproduced


def test_without_the_build_state_what_is_stored_is_told(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(built, copy, ignore=shutil.ignore_patterns(".m3leo"))
    made = explain(copy, 0, "s1", x=1, y=2)
    assert made.notes == ("nothing can be derived again: this copy has no build state (.m3leo)",)
    assert made.pixel is not None
    whole = explain(built, 0, "s1", x=1, y=2)
    assert whole.pixel is not None
    for alone, derived in zip(made.pixel.bands, whole.pixel.bands, strict=True):
        assert (alone.code, alone.formula, alone.reason) == (derived.code, derived.formula, derived.reason)
        assert alone.origin is None
        assert alone.reproduced is None
    assert explain(copy, 0, "s1").slots[0].items


def test_without_the_source_one_line_says_so(tmp_path: Path) -> None:
    base = tmp_path / "moved"
    base.mkdir()
    (base / "my_source.py").write_text(dedent(SOURCE))
    text = f"name: k\ngrid: {{chip_px: 32, resolution: 10}}\nlayers:\n  a: {METHODS['nearest']}"
    build(plan(text, base=base), base / "made", runner=Threads(1))
    (base / "my_source.py").unlink()
    origins._open.cache_clear()  # as in a new process
    made = explain(base / "made", 0, "a", x=1, y=2)
    assert made.pixel is not None
    assert made.pixel.bands[0].reproduced is None
    assert len(made.notes) == 1
    assert made.notes[0].startswith("the scenes cannot be read here: ")
    assert "\n" not in made.notes[0]


@pytest.mark.parametrize(
    ("more", "message", "hint"),
    [
        ({"layer": "landcovr"}, "no layer 'landcovr'", "did you mean 'landcover'"),
        ({"layer": "s1.backscater"}, "no variable 'backscater'", "did you mean 'backscatter'"),
        ({"layer": "s1", "slot": "2020-06-01_2020-06-21"}, "no slot", "did you mean '2020-06-01_2020-06-12'"),
        ({"chip": 99}, "no row 99", "rows are 0 ..."),
        ({"x": 32, "y": 0}, "X = 32 is not in the chip", "0 ... 31"),
        ({"x": 1}, "needs both X and Y", "0 ... 31"),
    ],
)
def test_wrong_names_are_answered_with_near_ones(built: Path, more: dict[str, Any], message: str, hint: str) -> None:
    asked: dict[str, Any] = {"chip": 0, "layer": "landcover"} | more
    with pytest.raises(ConfigError) as caught:
        explain(built, asked.pop("chip"), asked.pop("layer"), **asked)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_near_chip_id_is_suggested(built: Path) -> None:
    chip = explain(built, 3, "landcover").chip
    wrong = f"{chip[:-1]}x"
    with pytest.raises(ConfigError, match="there is no chip") as caught:
        explain(built, wrong, "landcover")
    assert chip in caught.value.hint


def test_a_layer_name_may_carry_the_variable(built: Path) -> None:
    made = explain(built, 0, "s1.backscatter", slot="2020-07-07_2020-07-12")
    assert isinstance(made, Explanation)
    assert [slot.slot for slot in made.slots] == ["2020-07-07_2020-07-12"]
