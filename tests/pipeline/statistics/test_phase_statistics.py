"""Statistics of unwrapped phase: counted from the reference while building, copying, growing and reading again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from m3leo_prep.core.area import Area
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.statistics.bins import Bins
from m3leo_prep.pipeline.statistics.numbers import percentiles
from m3leo_prep.pipeline.statistics.second_pass import ask, from_pixels
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.runners.threads import Threads
from tests.interferograms import Pairs, made, planned

RECIPE = """
name: interferograms
grid: {chip_px: 32, resolution: 40}
layers:
  insar: {source: pairs, resolution: 40, slots: {pairs: {year: 2020, windows: {short: [0, 60], long: [61, 216]}}}}
"""
FEW = Area.from_geometry(box(9.300, 57.100, 9.320, 57.120), name="here")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("statistics") / "d", RECIPE)


def written(path: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((path / "stats" / "insar.json").read_text())["variables"]
    return about


def test_they_are_those_of_phase_minus_the_median_of_the_largest_reliable_component(path: Path) -> None:
    """An independent way: pixels and components read back, medians by NumPy."""
    dataset, every = Dataset(path), []
    for row in range(len(dataset)):
        phase, valid = dataset.read(row, "insar", "phase")
        parts, _ = dataset.read(row, "insar", "parts")
        for values, usable, labels in zip(phase[:, 0], valid[:, 0], parts[:, 0], strict=True):
            inside = usable & (labels > 0) & (labels < 255)
            numbers, sizes = np.unique(labels[inside if inside.any() else usable], return_counts=True)
            largest = usable & (labels == numbers[np.argmax(sizes)])
            every.append(values[usable].astype(np.float64) - np.median(values[largest].astype(np.float64)))
    found = np.concatenate(every)
    band = written(path)["phase"]["bands"]["phase"]
    assert band["count"] == len(found)
    assert band["mean"] == pytest.approx(found.mean(), abs=1e-3)
    assert band["std"] == pytest.approx(found.std(), abs=1e-3)
    assert (band["min"], band["max"]) == pytest.approx((found.min(), found.max()), abs=2e-3)
    assert written(path)["phase"]["counted_from"] == "phase_reference"
    assert "counted_from" not in written(path)["coherence"]


def test_a_pass_over_the_pixels_gives_the_same_numbers(path: Path) -> None:
    again = from_pixels(ask(path), ["insar"], lambda _: None)["insar"]["variables"]
    assert json.loads(json.dumps(again)) == written(path)


def test_growth_counts_copied_chips_as_new_ones(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "grown"
    build(planned(RECIPE, where=FEW), out, runner=Threads(1))
    assert len(Dataset(out)) < len(Dataset(path))
    build(planned(RECIPE, out=out), out, runner=Threads(1))
    assert len(Dataset(out)) == len(Dataset(path))
    assert written(out) == written(path)
    again = from_pixels(ask(out), ["insar"], lambda _: None)["insar"]["variables"]
    assert json.loads(json.dumps(again)) == written(out)


def test_another_constant_changes_no_number(path: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "d", RECIPE, source=Pairs(by=8.0))
    mine, theirs = (written(one)["phase"]["bands"]["phase"] for one in (path, other))
    assert theirs["mean"] == pytest.approx(mine["mean"], abs=1e-3)
    assert theirs["std"] == pytest.approx(mine["std"], abs=1e-3)


def test_the_median_of_mostly_zeros_is_zero() -> None:
    """Rereferenced codes are 0 more often than anything else; their bin reaches to numbers below 1e-38."""
    bins = Bins.of("int32", 0.001, -1e5, 1e5)
    counts = np.zeros(bins.n, np.int64)
    zero = 2**31 >> 16
    assert bins.lowest(np.array([zero])) == 0 < bins.highest(np.array([zero]))
    counts[zero], counts[zero + 17_000] = 100, 1
    values, _ = percentiles(counts, bins, 0.0, 1e4)
    assert values[:7] == [0.0] * 7
