"""A dataset of ASF's products, made by commands against the stand-in: coherence, interferograms, RTC backscatter."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pyproj import Transformer

import m3leo_prep as mp
from m3leo_prep.cli.main import main
from m3leo_prep.core.reasons import Reason
from m3leo_prep.pipeline.explain import explain
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.sources.synthetic import radar
from m3leo_prep.sources.synthetic.earth import ground
from m3leo_prep.testing.earthdata import example

RECIPE = """
name: radar
grid: {chip_px: 448, resolution: 10}
layers:
  heights: {source: synthetic, product: relief, resolution: 40}
  gssic:
    {source: asf, product: gssic, slots: {seasons: 2020}, variables: {coherence: [coh12, coh48], backscatter: [vv]}}
  geometry: {source: asf, product: gssic-geometry, slots: {orbits: 4}}
  gunw:
    source: asf
    product: gunw
    dem: heights
    variables: [unwrapped_phase, components, coherence_filtered, coherence_unfiltered, los, incidence]
    slots: {pairs: {year: 2020, windows: {short: [0, 60], long: [72, 216]}, pick: far}}
  rtc: {source: asf, product: opera-rtc, slots: {periods: [[2020-06-01, 2020-08-31]]}, bands: [vv]}
"""
AREA = "6.13,49.64,6.17,49.70"
"""Chips in one frame, and chips in two."""


@pytest.fixture(scope="module")
def built(earthdata_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the dataset, built by the commands a person types."""
    folder = tmp_path_factory.mktemp("asf")
    example.fill(earthdata_server)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in earthdata_server.environment.items():
            patch.setenv(name, value)
        patch.setenv("M3LEO_PREP_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        Path("radar.yaml").write_text(RECIPE)
        command(patch, "doctor --recipe radar.yaml")
        command(patch, f"build --aoi {AREA} --recipe radar.yaml --out radar --yes")
        yield folder / "radar"


def command(patch: pytest.MonkeyPatch, line: str) -> None:
    patch.setattr(sys, "argv", ["m3leo-prep", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0, line


@pytest.fixture
def layers(built: Path) -> xr.DataTree:
    return mp.open_dataset(built)


def places(built: Path, row: int, layer: str, variable: str) -> tuple[Any, Any]:
    """Return longitude and latitude of a chip's pixel centres."""
    chip = mp.Dataset(built).chip(row, layer, variable)
    x, y = np.meshgrid(chip.x.values, chip.y.values)
    return Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform(x, y)


def test_it_verifies_and_makes_a_report(built: Path) -> None:
    assert verify(built).ok
    with pytest.MonkeyPatch.context() as patch:
        command(patch, f"report {built}")
        command(patch, f"publish {built} {built.parent / 'published'} --dry-run")


def test_a_pixel_of_the_line_of_sight_names_its_height(built: Path) -> None:
    """Told by ``explain``: the height of the ground that the source was given, and the frames."""
    found = explain(built, 0, "gunw.los", x=20, y=30, slot="long")
    height = float(mp.Dataset(built).chip(0, "heights").values[0, 60:62, 40:42].mean())
    (note,) = found.notes
    assert "by layer heights" in note
    assert float(re.search(r"at (-?[0-9.]+) m", note)[1]) == pytest.approx(height, abs=2)
    assert found.pixel is not None
    assert all(band.reproduced for band in found.pixel.bands)


def test_coherence_and_backscatter_are_those_of_the_ground(built: Path, layers: xr.DataTree) -> None:
    """D30, D31, D33: within what an 80-m pixel of a smooth kernel can differ from the ground at its centre."""
    gssic = layers["gssic"]
    assert gssic.time.attrs["months"][0] == "2019-12 to 2020-02"
    lon, lat = places(built, 0, "gssic", "coherence")
    seen = ground(lon, lat, example.SEED)
    truth = radar.true_coherence(seen, example.SEASONS["summer"])
    found = gssic.coherence.values[0, 2]
    for band, delay in enumerate((0, 3)):
        assert np.mean(found[band]) == pytest.approx(np.mean(truth[delay]), abs=0.01)
        assert np.corrcoef(found[band].ravel(), truth[delay].ravel())[0, 1] > 0.7
    power, _ = radar.mean_power(seen, np.zeros(lon.shape), example.SEASONS["summer"], ascending=True)
    mean = np.mean(10 ** (gssic.backscatter.values[0, 2, 0] / 10))
    assert 10 * np.log10(mean / np.mean(power[0])) == pytest.approx(0, abs=0.2)


def test_geometry_keeps_orbits_apart(layers: xr.DataTree) -> None:
    """D34: ascending orbits first; the fourth slot has none."""
    geometry = layers["geometry"]
    assert geometry.relative_orbit.values[0].tolist() == [88, 161, 37, -1]
    assert geometry.orbit_direction.values[0].tolist() == [0, 0, 1, 255]
    means = np.nanmean(geometry.inc.values[0, :3], axis=(1, 2, 3))
    assert means == pytest.approx([37, 42, 33], abs=3)
    assert (geometry.inc_reason.values[:, 3] == Reason.NOT_IN_DATASET).all()


def test_phase_is_that_of_the_ground_in_every_chip_and_pair(built: Path, layers: xr.DataTree) -> None:
    """D41: frames differ by 11 rad, and where two make a chip no seam is left."""
    gunw = layers["gunw"]
    frames = gunw.frame.values[:, 0]
    assert (frames == -1).any()
    for row in range(len(frames)):
        lon, lat = places(built, row, "gunw", "unwrapped_phase")
        for slot, days in enumerate((48, 144)):
            phase = gunw.unwrapped_phase.values[row, slot, 0]
            truth = example.true_phase(lon, lat, days)
            difference = (phase - truth)[np.isfinite(phase)]
            assert np.ptp(difference) < 0.3, (row, slot)
            near = gunw.phase_reference.values[row, slot]
            assert near == pytest.approx(np.nanmedian(phase), abs=0.3)
    days = (gunw.reference_time - gunw.secondary_time).values[0] / np.timedelta64(1, "D")
    assert days.tolist() == [48, 144]
    assert gunw.product_version.values[0].tolist() == [30001, 20006]


def test_the_two_coherences_are_never_mixed(layers: xr.DataTree) -> None:
    """D36: version 2 has only the filtered one."""
    gunw = layers["gunw"]
    assert (gunw.coherence_unfiltered_reason.values[:, 1] == Reason.LAYER_NOT_IN_VERSION).all()
    assert np.isnan(gunw.coherence_unfiltered.values[:, 1]).all()
    short = gunw.coherence_filtered.values[:, 0] - gunw.coherence_unfiltered.values[:, 0]
    assert np.nanmedian(short) == pytest.approx(0.15, abs=0.02)


def test_the_line_of_sight_points_to_the_satellite(layers: xr.DataTree) -> None:
    """D38, D39: a unit vector, looking west from an ascending orbit; its upward part is the incidence's cosine."""
    gunw = layers["gunw"]
    east, north, up = np.moveaxis(gunw.los.values, 2, 0)
    assert np.sqrt(east**2 + north**2 + up**2) == pytest.approx(1, abs=2e-4)
    assert (east < 0).all()
    assert up == pytest.approx(np.cos(np.radians(gunw.incidence.values[:, :, 0])), abs=2e-4)


def test_backscatter_of_both_directions_counts_its_passes(layers: xr.DataTree) -> None:
    rtc = layers["rtc"]
    assert rtc.band.values.tolist() == ["vv_asc", "vv_desc"]
    assert (rtc["count"].values == 4).all()
    assert np.isfinite(rtc.backscatter.values).mean() > 0.95


def test_statistics_and_training_count_phase_from_the_reference(built: Path) -> None:
    document = json.loads((built / "stats" / "gunw.json").read_text())
    (band,) = document["variables"]["unwrapped_phase"]["bands"].values()
    assert abs(band["mean"]) < 2
    chips = mp.ChipDataset(built, layers=["gunw.unwrapped_phase"], normalize=True)
    means = [float(chips[row]["gunw.unwrapped_phase"].mean()) for row in range(len(chips))]
    assert max(map(abs, means)) < 2
