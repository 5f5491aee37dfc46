"""Interferograms from the archive to a dataset: real phase and coherence in granules of both versions, on real heights.

The archive is the stand-in, the client the real one. The reference for pixels knows nothing of our kernels: pyproj for
every pixel centre, scipy for the values.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pyproj import Transformer
from scipy.ndimage import map_coordinates

import m3leo_prep as mp
from m3leo_prep.blobs import http
from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.reasons import Reason
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads
from m3leo_prep.testing.earthdata import EarthdataStandIn
from m3leo_prep.testing.earthdata.files.gunw import PITCH, Layers, plain_incidence
from tests.sources.asf.gunw.pairs import LONG, NEAR, NORTH, SHAPE, WEST, granule, name, real

from .conftest import area

RECIPE = """
name: mexico
grid: {chip_px: 32, resolution: 40}
layers:
  ground: {source: local, path: HEIGHTS, kind: continuous, unit: m, resolution: 80}
  gunw:
    source: asf
    product: gunw
    dem: ground
    resolution: 80
    variables: [unwrapped_phase, coherence_filtered, coherence_unfiltered, amplitude, los, incidence]
    slots: {pairs: {year: 2018, windows: {short: [0, 48], long: [60, 216]}, pick: far}}
"""
PART = ("20180319", "20180307")
CUT = 80
"""Column where the longer of the two short pairs ends."""
SEAM = 48
"""Row in the middle of what both frames of the long pair show."""
SHARED = 3
"""Rows on both sides of it that both show: fewer than a chip has, so that some chips lie in neither whole."""
BOUNDS = (WEST + 0.02, NORTH - 0.05, WEST + 0.1, NORTH - 0.033)


def some(layers: Layers, rows: slice, cols: slice) -> Layers:
    """Return a part of an interferogram."""
    names = ("phase", "coherence", "components", "amplitude", "unfiltered")
    return Layers(*(getattr(layers, each)[rows, cols].copy() for each in names))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, shared_data: Any) -> Any:
    """Build once; the archive goes on answering while the dataset is looked at."""
    folder = tmp_path_factory.mktemp("gunw")
    whole = slice(0, SHAPE[0])
    near, short, long = (real(shared_data, dates) for dates in (NEAR, PART, LONG))
    with EarthdataStandIn() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        for key, value in server.environment.items():
            patch.setenv(key, value)
        patch.setenv("M3LEO_PREP_CACHE", str(folder / "cache"))
        http._pool.cache_clear()  # connections that were made to trust another stand-in
        server.add(granule(folder, some(near, whole, slice(0, CUT))))
        server.add(granule(folder, replace(short, unfiltered=None), name(PART, version="v2_0_6"), frame=None))
        upper, lower = (
            some(long, slice(0, SEAM + SHARED), slice(None)),
            some(long, slice(SEAM - SHARED, None), slice(None)),
        )
        lower = replace(lower, phase=np.where(lower.phase == 0, 0, lower.phase + np.float32(6 * np.pi)))
        server.add(granule(folder, upper, name(LONG)))
        called = name(LONG, clock="004325", digest="aaaa")
        server.add(granule(folder, lower, called, frame=21_006, north=NORTH - (SEAM - SHARED) * PITCH))
        heights = shared_data / "coherence/mexico_city_cropA/cropA_T005A_dem.tif"
        plan = mp.plan(area(BOUNDS), RECIPE.replace("HEIGHTS", str(heights)))
        build(plan, folder / "d", runner=Threads(2))
        yield mp.Dataset(folder / "d"), near, short, long, server


def where_of(dataset: mp.Dataset, row: int) -> tuple[Any, Any]:
    """Return row and column in the granules' whole grid of every pixel of a chip."""
    chip = dataset.chip(row, "gunw", "unwrapped_phase")
    x, y = np.meshgrid(chip.x.values, chip.y.values)
    lon, lat = Transformer.from_crs("EPSG:32614", "EPSG:4326", always_xy=True).transform(x, y)
    return (NORTH - lat) / PITCH - 0.5, (lon - WEST) / PITCH - 0.5


def days_of(layer: Any) -> Any:
    return (layer.reference_time - layer.secondary_time).values / np.timedelta64(1, "D")


def test_each_chip_has_the_longest_pair_that_covers_it(made: Any) -> None:
    dataset, *_ = made
    layer = mp.open_dataset(dataset.path)["gunw"]
    days = days_of(layer)
    assert len(dataset) >= 12
    for row in range(len(dataset)):
        _, cols = where_of(dataset, row)
        assert days[row, 0] == (24 if cols.max() < CUT - 1 else 12)
    assert set(days[:, 0]) == {12, 24}
    assert set(days[:, 1]) == {96}
    assert layer.product_version.values[:, 0].tolist() == [30_001 if d == 24 else 20_006 for d in days[:, 0]]
    assert (layer.relative_orbit.values == 5).all()
    assert (layer.orbit_direction.values == 1).all()
    assert np.unique(layer.perp_baseline.values).tolist() == [-47.25]
    assert set(layer.frame.values[:, 0].tolist()) == {21_001, -1}


def test_reasons_say_what_a_version_lacks(made: Any) -> None:
    dataset, *_ = made
    layer = mp.open_dataset(dataset.path)["gunw"]
    old = days_of(layer)[:, 0] == 12
    reasons = layer.coherence_unfiltered_reason.values[:, 0, 0]
    assert set(reasons[old].tolist()) == {Reason.LAYER_NOT_IN_VERSION}
    assert Reason.LAYER_NOT_IN_VERSION not in reasons[~old]
    assert set(layer.coherence_filtered_reason.values[:, :, 0].ravel().tolist()) <= {Reason.OK, Reason.PARTIAL_COVERAGE}


def test_phase_is_that_of_the_granule_inside_a_component(made: Any) -> None:
    dataset, near, short, _, _ = made
    layer = mp.open_dataset(dataset.path)["gunw"]
    compared = 0
    for row in range(len(dataset)):
        source = near if days_of(layer)[row, 0] == 24 else short
        rows, cols = where_of(dataset, row)
        got = dataset.chip(row, "gunw", "unwrapped_phase").values[0, 0]
        label = dataset.chip(row, "gunw", "components").values[0, 0]
        around = [
            source.components[np.floor(rows).astype(int) + i, np.floor(cols).astype(int) + j]
            for i in (0, 1)
            for j in (0, 1)
        ]
        inside = np.all([part == 1 for part in around], axis=0) & (label == 1)
        expected = map_coordinates(source.phase.astype(float), [rows, cols], order=1)
        assert np.abs(got - expected)[inside].max() < 2e-3  # of which half a step of 0.001 rad
        compared += np.count_nonzero(inside)
    assert compared > 1000


def test_two_frames_go_on_over_their_seam(made: Any) -> None:
    dataset, _, _, long, _ = made
    layer = mp.open_dataset(dataset.path)["gunw"]
    both = 0
    for row in range(len(dataset)):
        rows, cols = where_of(dataset, row)
        got = dataset.chip(row, "gunw", "unwrapped_phase").values[1, 0]
        expected = map_coordinates(long.phase.astype(float), [rows, cols], order=1)
        label = dataset.chip(row, "gunw", "components").values[1, 0]
        steps = (got - expected)[(label == 1)]
        steps = steps[np.isfinite(steps)]
        cycles = np.unique(np.rint(np.median(steps) / (2 * np.pi)))
        assert np.percentile(np.abs(steps - np.median(steps)), 90) < 0.3
        assert cycles[0] in (0, 3)
        both += layer.frame.values[row, 1] == -1
    assert both > 0


def test_the_reference_is_the_median_of_the_largest_component(made: Any) -> None:
    dataset, *_ = made
    layer = mp.open_dataset(dataset.path)["gunw"]
    for row in range(len(dataset)):
        phase, parts = (dataset.chip(row, "gunw", each).values[0, 0] for each in ("unwrapped_phase", "components"))
        largest = phase[(parts == 1) & np.isfinite(phase)]
        assert layer.phase_reference.values[row, 0] == pytest.approx(np.median(largest), abs=2e-3)


def test_the_geometry_is_that_at_the_heights(made: Any) -> None:
    dataset, *_ = made
    layers = mp.open_dataset(dataset.path)
    (height,) = (each for each in layers["ground"].data_vars.values() if each.attrs.get("units") == "m")
    assert np.abs(np.linalg.norm(layers["gunw"].los.values[:, 0], axis=1) - 1).max() < 1e-6
    for row in range(len(dataset)):
        _, cols = where_of(dataset, row)
        lon = WEST + (cols + 0.5) * PITCH
        expected = plain_incidence(height.values[row, 0], 0 * lon, lon)  # what the nodes were made of
        assert np.abs(layers["gunw"].incidence.values[row, 0, 0] - expected).max() < 1e-3


def test_it_verifies_and_each_granule_is_downloaded_once(made: Any) -> None:
    dataset, *_, server = made
    report = verify(dataset.path)
    assert report.ok, report
    files = [one.path for one in server.requests if one.route == "signed"]
    assert len(files) == len(set(files)) == 4


def test_a_chip_outside_every_granule_is_not_in_the_dataset(earthdata: Any, tmp_path: Any, shared_data: Any) -> None:
    near = some(real(shared_data), slice(None), slice(0, 60))
    earthdata.add(granule(tmp_path, near))
    heights = shared_data / "coherence/mexico_city_cropA/cropA_T005A_dem.tif"
    text = RECIPE.replace("HEIGHTS", os.fspath(heights))
    build(
        mp.plan(area((WEST + 0.03, NORTH - 0.04, WEST + 0.075, NORTH - 0.03)), text), tmp_path / "d", runner=Threads(1)
    )
    layer = mp.open_dataset(tmp_path / "d")["gunw"]
    assert set(layer.unwrapped_phase_reason.values[:, 1, 0].tolist()) == {Reason.NOT_IN_DATASET}
    found = set(layer.unwrapped_phase_reason.values[:, 0, 0].tolist())
    assert found == {Reason.OK, Reason.PARTIAL_COVERAGE, Reason.NOT_IN_DATASET}
