"""A dataset's tables, georeferenced chips and the xarray tree."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.views import open_dataset

SCALES = {"backscatter": 0.01, "reflectance": 0.0001, "coherence": 0.004, "angle": 0.01}


@pytest.fixture(scope="module")
def dataset(shared_made):
    return Dataset(shared_made.path)


def test_tables_and_length(dataset, shared_made):
    assert len(dataset) == 10
    assert list(dataset.chips["chip_id"]) == shared_made.ids
    assert set(dataset.shards) == {"path", "bytes", "sha256"}
    text = repr(dataset)
    assert "10 chips" in text
    assert "s1 (input): 6 x 6 px of 20 m, 5 slots" in text
    assert "backscatter [dB]: vv, vh" in text


@pytest.mark.parametrize(("layer", "variable"), [("s1", "backscatter"), ("s2", "reflectance"), ("insar", "coherence")])
def test_physical_values_from_their_definition(dataset, shared_made, layer, variable):
    """code x scale in exact arithmetic, rounded once to float32; NaN exactly where the fill code is."""
    codes = shared_made.codes[layer, variable][4]
    fill = dataset.layers[layer].arrays[variable].fill
    values, valid = dataset.read(4, layer, variable)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(valid, codes != fill)
    np.testing.assert_array_equal(np.isnan(values), codes == fill)
    exact = codes.astype(np.float64) * SCALES[variable]
    np.testing.assert_array_equal(values[valid], exact[valid].astype(np.float32))


def test_wide_codes_keep_their_precision(dataset, shared_made):
    """int32 codes do not fit float32: scaling them there would be off by up to three units in the last place."""
    codes = shared_made.codes["insar", "phase"][4]
    values, valid = dataset.read("c004", "insar", "phase")
    np.testing.assert_array_equal(values[valid], (codes[valid] * 0.001).astype(np.float32))


def test_a_chip_is_georeferenced_for_odc_and_rio(dataset, shared_made):
    pytest.importorskip("rioxarray")
    chip = dataset.chip("c003", "s1")
    assert chip.dims == ("time", "band", "y", "x")
    assert chip.shape == (5, 2, 6, 6)
    assert chip.dtype == np.float32
    left, top = 500_000 + 3 * 4480, 5_600_000
    np.testing.assert_array_equal(chip.x, left + 20 * (np.arange(6) + 0.5))
    np.testing.assert_array_equal(chip.y, top - 20 * (np.arange(6) + 0.5))
    assert chip.odc.crs.epsg == chip.rio.crs.to_epsg() == 32631
    assert chip.odc.geobox.affine == chip.rio.transform()
    assert chip.rio.bounds() == (left, top - 120, left + 120, top)
    assert list(chip.slot.values[:2]) == ["2020-01", "2020-02"]
    assert chip.time.values[1] == np.datetime64("2020-02-01")
    assert list(chip.band.values) == ["vv", "vh"]
    assert chip.attrs["units"] == "dB"
    assert chip.attrs["backscatter_convention"] == "sigma0_ellipsoid"


def test_a_class_chip_keeps_codes_and_says_what_no_data_is(dataset, shared_made):
    pytest.importorskip("rioxarray")
    chip = dataset.chip(2, "cover")
    assert chip.dims == ("band", "y", "x")
    assert chip.dtype == np.uint8
    assert chip.rio.nodata == chip.odc.nodata == 255
    np.testing.assert_array_equal(chip.values, shared_made.codes["cover", "map"][2])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (("c003", "s3"), "no layer 's3'[^?]*did you mean 's1'|no layer 's3'"),
        (("c999", "s1"), "no chip 'c999'"),
        ((10, "s1"), "no row 10"),
        ((-1, "s1"), "no row -1"),
        ((0, "insar"), "name one of the variables[^?]*coherence, phase"),
        ((0, "insar", "coherense"), "no variable 'coherense'[^?]*did you mean 'coherence'"),
    ],
)
def test_unknown_names_are_refused(dataset, ask, message):
    with pytest.raises(ConfigError, match=message):
        dataset.chip(*ask)


def test_what_is_no_dataset_is_refused(made, tmp_path):
    with pytest.raises(StoreError, match=r"(?s)no finished dataset here.*run `build`"):
        Dataset(tmp_path / "nothing")
    with pytest.raises(StoreError, match="no finished dataset here"):
        Dataset(made.path / "manifest.json")
    made.edit_manifest(lambda m: m.update(format_version="2.0"))
    with pytest.raises(StoreError, match=r"(?s)format version 2.0, newer than.*upgrade"):
        Dataset(made.path)
    made.edit_manifest(lambda m: m.update(format_version="1.9"))
    assert len(Dataset(made.path)) == 10
    for text in ("{", "[]", "{}"):
        (made.path / "manifest.json").write_text(text)
        with pytest.raises(StoreError, match="not a manifest"):
            Dataset(made.path)


def test_a_table_that_cannot_be_read_is_named(made):
    (made.path / "chips.parquet").write_bytes(b"no")
    with pytest.raises(StoreError, match=r"chips.parquet: this table cannot be read"):
        _ = Dataset(made.path).chips
    (made.path / "chips.parquet").unlink()
    with pytest.raises(StoreError, match=r"chips.parquet: this table cannot be read"):
        Dataset(made.path).row("c001")


def test_pickles(dataset):
    again = pickle.loads(pickle.dumps(dataset))
    assert repr(again) == repr(dataset)
    np.testing.assert_array_equal(again.chip(1, "dem"), dataset.chip(1, "dem"))


def test_the_tree_holds_the_values_of_plain_xarray(shared_made):
    """Bit-exact; wide integers, which xarray makes float64, rounded once more."""
    tree = open_dataset(shared_made.path)
    assert list(tree.children) == ["s1", "s2", "insar", "dem", "cover", "extra"]
    for name, node in tree.children.items():
        plain = xr.open_zarr(shared_made.path / "chips.zarr", group=name, chunks=None)
        assert set(node.variables) == set(plain.variables)
        for variable, expected in plain.variables.items():
            got = node[variable].variable
            assert got.dims == expected.dims
            values = (
                expected.values.astype(np.float32)
                if expected.dtype == np.float64 and "chip" in got.dims
                else expected.values
            )
            np.testing.assert_array_equal(got.values, values)
            assert got.dtype == values.dtype
    assert tree["insar/phase"].dtype == np.float32
    assert tree["cover/map"].dtype == np.uint8
    assert tree["s1/backscatter"].attrs["units"] == "dB"
    assert "scale_factor" not in tree["s1/backscatter"].attrs


@pytest.mark.parametrize("chunks", [None, "shard"])
def test_any_indexing_of_the_tree(shared_made, chunks):
    if chunks:
        pytest.importorskip("dask")
    tree = open_dataset(shared_made.path, chunks=chunks)
    lazy = tree["s1/backscatter"]
    whole = lazy.compute()
    for key in (
        {"chip": 3},
        {"chip": -1, "time": slice(1, 4, 2), "band": 0},
        {"chip": [7, 0, 7], "y": slice(None, None, -1), "x": 5},
        {"chip": slice(2, 5), "time": [4, 0], "band": [1], "y": [0, 5], "x": slice(1, 3)},
        {"chip": xr.DataArray([1, 2], dims="p"), "time": xr.DataArray([0, 3], dims="p")},
        {"chip": slice(0, 0)},
    ):
        xr.testing.assert_identical(lazy.isel(key).compute(), whole.isel(key))
    assert float(lazy.isel(chip=0).mean()) == pytest.approx(float(whole.isel(chip=0).mean()), rel=1e-6)
    if chunks:
        assert lazy.chunksizes["chip"] == (4, 4, 2)
        assert lazy.chunksizes["time"] == (2, 2, 1)


def test_opening_reads_no_pixel_and_an_absent_shard_is_an_error(made):
    made.shard("s1", "backscatter", 1, 0).unlink()
    tree = open_dataset(made.path)
    assert tree["s1/backscatter"].isel(chip=0).notnull().all()
    with pytest.raises(StoreError, match="not here"):
        tree["s1/backscatter"].isel(chip=4).load()


def test_other_chunks_are_refused(shared_made):
    with pytest.raises(ConfigError, match="None or 'shard'"):
        open_dataset(shared_made.path, chunks="auto")


def test_reading_needs_neither_gdal_nor_numba_nor_torch(shared_made):
    """Their import is made to fail; xarray looks for rasterio by itself, as a plugin, and does without."""
    code = f"""
import sys
for name in ("rasterio", "rioxarray", "numba", "geopandas", "torch", "osgeo", "ee"):
    sys.modules[name] = None
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.views import open_dataset
open_dataset({str(shared_made.path)!r})["s1/backscatter"].isel(chip=1).load()
print(Dataset({str(shared_made.path)!r}).chip(0, "s1").odc.crs.epsg)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "32631", done.stderr


def test_without_torch_the_loader_names_the_install_line():
    code = "import sys; sys.modules['torch'] = None; import m3leo_prep.reader.learning.chips"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingDependency: ChipDataset needs PyTorch" in done.stderr
    assert "pip install 'm3leo-prep[torch]'" in done.stderr
