"""What commands tell of chips whose pairs and orbits a rule chose: explain, exports, report, card and croissant."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from m3leo_prep.cli.explaining import run_explain
from m3leo_prep.pipeline.explain import explain
from m3leo_prep.pipeline.export.files import export
from m3leo_prep.pipeline.report.figures import figures
from m3leo_prep.pipeline.report.sections import layer_table
from m3leo_prep.pipeline.report.sections_learning import statistics
from m3leo_prep.publish.description.card.about import About
from m3leo_prep.publish.description.card.contents import layers as card_layers
from m3leo_prep.publish.description.croissant import _array
from m3leo_prep.publish.description.describe import core_of
from m3leo_prep.publish.description.licences import decide
from m3leo_prep.reader.dataset import Dataset
from tests.interferograms import made

ORBIT = """
name: one
grid: {chip_px: 32, resolution: 40}
layers: {geometry: {source: orbits, resolution: 80, resampling: nearest, slots: {orbits: 1}}}
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset(made(tmp_path_factory.mktemp("told") / "d"))


def test_explain_names_the_pair_and_the_orbit(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    found = explain(dataset.path, 1, "insar.phase", x=3, y=3).chosen
    assert found.keys() == {"short", "long"}
    assert found["long"]["secondary_time"] == "2020-05-28T05:30:00+00:00"
    assert explain(dataset.path, 1, "geometry").chosen == {
        "orbit_1": {"orbit_direction": "ascending", "relative_orbit": 44}
    }
    run_explain(str(dataset.path), "1", "insar.phase", x=None, y=None, slot=None, as_json=False)
    out = " ".join(capsys.readouterr().out.split())
    assert "short: secondary time 2020-08-20, reference time 2020-09-01, orbit direction ascending" in out
    assert re.search(r"perp baseline -18 m, .*phase reference [\d.]+ rad", out)


def test_exported_chips_say_which_pair_they_hold(dataset: Dataset, tmp_path: Path) -> None:
    (path,) = export(dataset, [1], "netcdf", tmp_path / "nc")
    with xr.open_datatree(path) as tree:
        insar, geometry = tree["insar"].load(), tree["geometry"].load()
    assert insar.time.values.tolist() == [0, 1, 2]
    days = (insar.reference_time - insar.secondary_time).values / np.timedelta64(1, "D")
    np.testing.assert_array_equal(days, [12, 96, np.nan])
    assert insar.phase_reference.values[0] == pytest.approx(30, abs=8)
    assert insar.product_version.values.tolist() == ["2.0.6", "3.0.1", ""]
    assert geometry.orbit_direction.values.tolist() == ["ascending", ""]
    (path,) = export(dataset, [1], "webdataset", tmp_path / "wds", ["insar.phase"])
    with tarfile.open(path) as tar:
        (name,) = [one for one in tar.getnames() if one.endswith(".json")]
        entry = tar.extractfile(name)
        assert entry is not None
        with entry:
            slots = json.load(entry)["layers"]["insar.phase"]["slots"]
    assert [slot.get("perp_baseline") for slot in slots] == [-18, -144, None]
    import rasterio

    files = export(dataset, [1], "geotiff", tmp_path / "tif", ["insar.phase"])
    (path,) = [file for file in files if file.name.endswith("phase_long.tif")]
    with rasterio.open(path) as file:
        assert file.tags()["secondary_time"].startswith("2020-05-28")
        assert float(file.tags()["phase_reference"]) == pytest.approx(240, abs=8)


def test_report_and_card_say_what_slots_are_and_what_phase_counts_from(dataset: Dataset) -> None:
    found = figures(dataset)
    table = layer_table(found)
    assert "3 pairs" in table
    assert "2 orbits" in table
    assert "None" not in table
    assert "rad from each chip&#x27;s reference" in statistics(found) or "chip's reference" in statistics(found)
    core = core_of(dataset.manifest)
    told = card_layers(About(core, found, decide(core, "cc-by-4.0"), "", "0" * 64, 1))
    assert "short 0 to 60 days; long 61 to 216 days" in told
    assert "the 2 relative orbits that cover most of the chip" in told
    assert "subtract `phase_reference`" in told
    assert "Slots in time" not in told


def test_croissant_gives_a_single_orbit_its_axis(tmp_path: Path) -> None:
    dataset = Dataset(made(tmp_path / "d", ORBIT))
    layer = dataset.manifest["layers"]["geometry"]
    about = _array("geometry", layer, layer["arrays"][0], len(dataset))
    assert "6,1,1,16,16" in json.dumps(about).replace(" ", "")
