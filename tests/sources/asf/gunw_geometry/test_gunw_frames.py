"""Several frames of one pair as one: real phase cut in two, chains, what must not be fitted, threads (D41)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import permutations
from math import pi
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.ops.cube import Plane
from m3leo_prep.sources.asf.gunw.corrections import IONOSPHERE as PATH
from m3leo_prep.sources.asf.gunw.corrections import subtracted
from m3leo_prep.sources.asf.gunw.frames import MIN_PIXELS, NOWHERE, fitted
from m3leo_prep.testing.earthdata.files.gunw import IONOSPHERE, PITCH
from tests.sources.asf.gunw_geometry.granules import granule

Floats = NDArray[np.float64]
PIXEL = 1 / 1200


@dataclass(eq=False)
class Frame:
    """A granule in memory, which counts how often its pixels are read."""

    phase: Floats
    components: NDArray[Any]
    row: float = 0.0
    """Its first row in the pixels of the world, its first column."""
    col: float = 0.0
    ionosphere: Floats | None = None
    reads: int = 0
    damaged: int = 0
    """How many reads fail."""
    lock: Any = field(default_factory=Lock)

    @property
    def geobox(self) -> GeoBox:
        corner = Affine(PIXEL, 0, -99 + self.col * PIXEL, 0, -PIXEL, 19 - self.row * PIXEL)
        return GeoBox(self.phase.shape, corner, "EPSG:4326")

    def window(self, name: str, rows: slice, cols: slice) -> NDArray[Any]:
        with self.lock:
            self.reads += 1
            if self.damaged:
                self.damaged -= 1
                raise CorruptError("torn")
        values = {"unwrappedPhase": np.nan_to_num(self.phase), "connectedComponents": self.components}[name]
        return values[rows, cols].astype(np.float32)

    def plane(self, path: str) -> Plane:
        assert path == PATH
        assert self.ionosphere is not None
        to, (rows, cols) = self.geobox.transform, self.phase.shape
        lats, lons = to.f + to.e * (np.arange(rows) + 0.5), to.c + to.a * (np.arange(cols) + 0.5)
        return Plane(self.ionosphere, lats, lons)


def joined(frames: list[Any], world: tuple[int, int], **how: bool) -> tuple[list[Floats], list[NDArray[Any]]]:
    """Return phase and components of each frame where it lies in the world, NaN and NOWHERE elsewhere."""
    phases, numbers = [], []
    for frame, fit in zip(frames, fitted(frames, **how), strict=True):
        phase, number, valid = fit.apply(frame.phase, frame.components)
        assert valid.dtype == bool
        assert number.dtype == np.int32
        rows, cols = phase.shape
        at = slice(int(frame.row), int(frame.row) + rows), slice(int(frame.col), int(frame.col) + cols)
        phases.append(np.full(world, np.nan))
        numbers.append(np.full(world, NOWHERE))
        phases[-1][at] = np.where(valid, phase, np.nan)
        numbers[-1][at] = number
    return phases, numbers


@pytest.fixture(scope="module")
def real(shared_data: Path) -> tuple[Floats, NDArray[Any]]:
    """Return (phase, components) of Mexico City: two components with a band of unreliable pixels between them."""
    folder = shared_data / "coherence" / "mexico_city_cropA"
    with rasterio.open(folder / "cropA_20180307-20180319_VV_8rlks_eqa_unw.tif") as file:
        phase = file.read(1)
    with rasterio.open(folder / "cropA_20180307-20180319_VV_8rlks_flat_eqa_cc.tif") as file:
        coherence = file.read(1)
    components = np.where(np.arange(100) < 45, 1, 2) * np.ones((60, 1), int)
    components[(coherence < 0.3) | (abs(np.arange(100) - 45) < 2)] = 0
    components[phase == 0] = -1
    return phase, components.astype(np.float32)


def test_real_phase_cut_in_two_granules_is_recovered(real: tuple[Floats, NDArray[Any]], tmp_path: Path) -> None:
    """The lower frame has its own constant, its own multiples of 2 pi, and numbers its components otherwise."""
    phase, components = real
    low, kinds = slice(25, 60), components[25:]
    moved = phase[low] + 3.217
    moved[kinds == 1] += 4 * pi
    moved[kinds == 2] -= 6 * pi
    renamed = np.select([kinds == 1, kinds == 2], [7, 3], kinds)
    moved[phase[low] == 0] = 0
    north = 19.4
    upper = granule(tmp_path, phase[:40], components[:40], west=-99.2, north=north, serial=1)
    lower = granule(tmp_path, moved, renamed, west=-99.2, north=north - 25 * PITCH, serial=2)
    first, second = fitted([upper, lower])
    made, numbers, valid = second.apply(moved, renamed)
    inside = kinds > 0
    assert valid[inside].all()
    assert made.dtype == np.float32
    assert np.abs(made - phase[low])[inside].max() < 1e-5, "rounding of float32"
    assert np.array_equal(numbers[inside], kinds[inside])
    assert np.array_equal(valid, kinds >= 0)
    assert (numbers[kinds == 0] == 0).all()
    assert (numbers[kinds < 0] == NOWHERE).all()
    kept, numbers, valid = first.apply(phase[:40], components[:40])
    assert kept.tobytes() == phase[:40].tobytes(), "the first frame stays as it is"
    assert np.array_equal(numbers, components[:40])
    assert np.array_equal(valid, components[:40] >= 0)


@given(st.data())
def test_any_constants_and_names_are_undone(data: st.DataObject) -> None:
    """Columns of components, two or three frames, any integers: the world comes back in each frame."""
    seed = data.draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    world = rng.normal(0, 0.2, (110, 60)) + np.linspace(0, 9, 60)
    kinds = np.repeat([1, 2, 3], 20) * np.ones((110, 1), int)
    frames = [Frame(world[:50], kinds[:50])]
    for top, bottom in ((30, 80), (60, 110)):
        phase, names = world[top:bottom].copy(), rng.permutation(np.arange(1, 9))[:3]
        for kind in (1, 2, 3):
            phase[kinds[top:bottom] == kind] += 2 * pi * int(rng.integers(-9, 10))
        phase += rng.uniform(-50, 50) + rng.normal(0, 0.1, phase.shape)
        frames.append(Frame(phase, names[kinds[top:bottom] - 1], row=top))
    phases, numbers = joined(frames, world.shape)
    for phase, number, frame in zip(phases, numbers, frames, strict=True):
        rows = slice(int(frame.row), int(frame.row) + 50)
        assert np.array_equal(number[rows], kinds[rows])
        for kind in (1, 2, 3):
            here = kinds[rows] == kind
            assert abs(np.median((phase - world)[rows][here])) < 0.06, "noise of 0.14 over 400 pixels, twice"


def test_a_third_frame_is_fitted_through_the_second_in_any_order() -> None:
    world = np.linspace(0, 30, 100)[:, None] + np.zeros(50)
    ones = np.ones((40, 50))
    second, third = Frame(world[30:70] + 11, 5 * ones, row=30), Frame(world[60:] - 7, 9 * ones, row=60)
    for later in permutations([second, third]):
        phases, numbers = joined([Frame(world[:40], 2 * ones), *later], world.shape)
        for phase, number in zip(phases, numbers, strict=True):
            there = np.isfinite(phase)
            assert there.sum() == 2000
            assert np.abs(phase - world)[there].max() < 1e-5
            assert (number[there] == 2).all()
    _, alone = fitted([Frame(world[:40], ones), third])
    assert not alone.apply(third.phase, third.components)[2].any(), "they do not meet"


@dataclass(frozen=True)
class Bad:
    """How the right half of the second frame fails to fit, within an overlap of 20 x 50 pixels."""

    shared: int = 1000
    jump: float = 0.0
    noise: float = 0.05


@pytest.mark.parametrize(
    ("case", "fits"),
    [
        (Bad(), True),
        (Bad(shared=MIN_PIXELS), True),
        (Bad(shared=MIN_PIXELS - 1), False),
        (Bad(shared=0), False),
        (Bad(jump=0.05), True),
        (Bad(jump=0.15), False),
        (Bad(jump=0.5), False),
        (Bad(noise=0.7), True),
        (Bad(noise=0.9), False),
    ],
    ids=str,
)
def test_what_cannot_be_relied_on_is_not_delivered(case: Bad, fits: bool) -> None:
    rng = np.random.default_rng(5)
    world = np.linspace(0, 12, 100) + np.zeros((60, 1))
    kinds = np.repeat([1, 2], 50) * np.ones((60, 1), int)
    upper, lower = Frame(world[:40], kinds[:40]), Frame(world[20:] + 9, kinds[20:].copy(), row=20)
    lower.phase[:20, 50:] += rng.normal(0, case.noise, (20, 50))
    lower.phase[:20, 50:][rng.permutation(1000).reshape(20, 50) < case.jump * 1000] += 2 * pi
    lower.components[:20, 50:][rng.permutation(1000).reshape(20, 50) >= case.shared] = -1
    phases, numbers = joined([upper, lower], world.shape)
    right = np.isfinite(phases[1][40:, 50:])
    assert right.all() if fits else not right.any()
    assert (numbers[1][40:, 50:] == (2 if fits else NOWHERE)).all()
    if fits:
        assert abs(np.median((phases[1] - world)[40:, 50:])) < 0.1, "a few jumps move no median"
    left = (slice(20, None), slice(50))
    assert np.abs(phases[1] - world)[left].max() < 1e-5, "the other component goes on"


def test_components_that_meet_share_a_number_and_others_never_do() -> None:
    """Two of the upper frame continue as one below: it takes the number of the one it shares more with."""
    world = np.linspace(0, 12, 100) + np.zeros((60, 1))
    above = np.where(np.arange(100) < 60, 4, 8) * np.ones((40, 1), int)
    below = np.ones((40, 100), int)
    below[:, 90:] = 2  # continues 8
    below[30:, :20] = 6  # lies below the overlap
    moved = world[20:] + np.where(below == 2, 1 - 2 * pi, 1.0)
    phases, numbers = joined([Frame(world[:40], above), Frame(moved, below, row=20)], world.shape)
    assert np.nanmax(np.abs(phases[1] - world)) < 1e-5
    assert set(np.unique(numbers[1][20:])) == {NOWHERE, 4, 8}
    assert (numbers[1][20:, 90:] == 8).all()
    assert (numbers[1][50:, :20] == NOWHERE).all()
    assert np.isnan(phases[1][50:, :20]).all()
    assert (numbers[1][20:, 20:90] == 4).all()


def test_pixels_without_phase_say_nothing() -> None:
    """The unwrapper leaves 0 inside a component: as phase it would be far from what the other frame has."""
    world = np.linspace(5, 12, 100) + np.zeros((60, 1))
    upper, lower = Frame(world[:40], np.ones((40, 100))), Frame(world[20:] + 9, np.ones((40, 100)), row=20)
    lower.phase[np.random.default_rng(0).random((40, 100)) < 0.4] = np.nan
    phases, _ = joined([upper, lower], world.shape)
    assert np.isfinite(phases[1]).sum() == np.isfinite(lower.phase).sum()
    assert np.nanmax(np.abs(phases[1] - world)) < 1e-5


def test_pixels_of_no_component_follow_the_surest_one() -> None:
    world = np.linspace(0, 12, 100) + np.zeros((60, 1))
    kinds = np.where(np.arange(100) < 70, 1, 2) * np.ones((60, 1), int)
    kinds[:, 66:74] = 0
    moved = world[20:] + np.where(kinds[20:] == 2, 5 + 2 * pi, 5.0)
    phases, numbers = joined([Frame(world[:40], kinds[:40]), Frame(moved, kinds[20:], row=20)], world.shape)
    assert np.abs(phases[1] - world)[20:].max() < 1e-5
    assert np.array_equal(numbers[1][20:], kinds[20:])
    nothing = Frame(moved, np.zeros_like(kinds[20:]), row=20)
    assert np.isnan(joined([Frame(world[:40], kinds[:40]), nothing], world.shape)[0][1]).all(), "0 is no component"


@pytest.mark.parametrize("shift", [0.0, 0.3, -0.45])
def test_grids_that_are_not_aligned_meet_at_the_nearest_pixel(shift: float) -> None:
    slope = 0.02

    def at(first: float) -> Floats:
        return (first + np.arange(60))[:, None] * slope + np.zeros(60)

    upper, lower = Frame(at(0), np.ones((60, 60))), Frame(at(40 + shift) + 8, np.ones((60, 60)), row=40 + shift)
    (part,) = (p for p in fitted([upper, lower])[1].parts or () if p.component == 1)
    assert part.offset == pytest.approx(-8 - slope * shift, abs=1e-5), "a third of a pixel apart is a third of a step"


def test_the_ionosphere_has_a_level_of_its_own_in_each_frame() -> None:
    """Fitted before it is subtracted, the frames would differ by the difference of its levels."""
    world = np.linspace(0, 12, 100)[:, None] + np.zeros(50)
    delay = np.linspace(-4, 4, 100)[:, None] + np.zeros(50)
    ones = np.ones((60, 50))
    upper = Frame(world[:60] + delay[:60], ones, ionosphere=delay[:60] + 1.5)
    lower = Frame(world[40:] + delay[40:] + 21, ones, row=40, ionosphere=delay[40:] - 2.5)
    for without, step in ((True, 0.0), (False, 4.0)):
        phases, _ = joined([upper, lower], world.shape, without_ionosphere=without)
        left = [phases[0][:60] - upper.ionosphere, phases[1][40:] - lower.ionosphere]
        assert np.allclose(left[1][:20] - left[0][40:], step, atol=1e-5)


def test_the_ionosphere_of_granules_on_disk_is_subtracted_alike(tmp_path: Path) -> None:
    def tilt(level: float) -> Mapping[str, Any]:
        return {IONOSPHERE: lambda h, lat, lon: level + 40 * (lat - 19) + 0.0 * (h + lon)}

    files = []
    for serial, (north, level, constant) in enumerate(((19.4, 0.5, 0.0), (19.4 - 40 * PITCH, -1.5, 33.0))):
        lat = north - PITCH * (np.arange(60) + 0.5)
        phase = np.broadcast_to(5 + constant + 40 * (lat - 19)[:, None], (60, 80)).astype(np.float32)
        files.append(granule(tmp_path, phase, west=-99.2, north=north, corrections=tilt(level), serial=serial))
    fits = fitted(files, without_ionosphere=True)
    made = []
    for file, fit in zip(files, fits, strict=True):
        phase = file.window("unwrappedPhase", slice(0, 60), slice(0, 80))
        phase, _, valid = fit.apply(phase, np.ones((60, 80)))
        less, known = subtracted(file, ["ionosphere"], file.geobox, None)
        assert (valid & known).all()
        made.append(phase - less)
    assert np.abs(made[1] - 4.5).max() < 1e-4
    assert np.abs(made[0] - 4.5).max() < 1e-4


def test_a_window_is_a_cut_of_the_whole() -> None:
    rng = np.random.default_rng(3)
    world = rng.normal(0, 0.3, (60, 100))
    frames = [Frame(world[:40], np.ones((40, 100))), Frame(world[20:] + 5, 3 * np.ones((40, 100)), row=20)]
    fit = fitted(frames)[1]
    whole = fit.apply(frames[1].phase, frames[1].components)
    for cut in ((slice(0, 5), slice(90, 100)), (slice(33, 40), slice(0, 1))):
        part = fitted(frames)[1].apply(frames[1].phase[cut], frames[1].components[cut])
        assert all(a.tobytes() == b[cut].tobytes() for a, b in zip(part, whole, strict=True))
    bands = fit.apply(np.stack([frames[1].phase] * 2), frames[1].components)
    assert bands[0].shape == (2, 40, 100)
    assert bands[2].shape == (2, 40, 100)


def test_an_overlap_is_measured_once_however_many_ask() -> None:
    world = np.linspace(0, 12, 60)[:, None] + np.zeros(50)
    frames = [Frame(world[:40], np.ones((40, 50))), Frame(world[20:] + 5, np.ones((40, 50)), row=20)]
    together = Barrier(8)

    def ask(_: int) -> Any:
        together.wait()
        return fitted(frames)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert [frame.reads for frame in frames] == [2, 2], "phase and components"


def test_damage_is_told_and_not_remembered() -> None:
    world = np.linspace(0, 12, 60)[:, None] + np.zeros(50)
    frames = [Frame(world[:40], np.ones((40, 50)), damaged=1), Frame(world[20:] + 5, np.ones((40, 50)), row=20)]
    with pytest.raises(CorruptError):
        fitted(frames)
    assert fitted(frames)[1].parts


def test_one_frame_is_left_alone() -> None:
    (fit,) = fitted([Frame(np.ones((9, 9)), np.ones((9, 9)))])
    assert fit.parts is None
    phase = np.array([[1.0, np.nan], [3.0, 4.0]], np.float32)
    made, numbers, valid = fit.apply(phase, np.array([[1, 2], [0, -1]], np.float32))
    assert made.tobytes() == phase.tobytes()
    assert numbers.tolist() == [[1, 2], [0, NOWHERE]]
    assert valid.tolist() == [[True, False], [True, False]]
