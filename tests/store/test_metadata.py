"""What xarray sees: no warning, physical values, NaN for quantities, integers for classes (D91)."""

from __future__ import annotations

import hashlib
import json
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.encoding import Encoding, decode
from m3leo_prep.core.raster import Kind
from m3leo_prep.core.reasons import Reason
from m3leo_prep.store.metadata import (
    COMPANION_CHIPS,
    ChipColumns,
    Companion,
    array_document,
    array_grid,
    band_axis,
    chunk_shape,
    consolidate,
    group_document,
    quality,
    shard_shape,
    time_attributes,
    write_array,
    write_hierarchy,
)
from m3leo_prep.store.shard import ChunkCodec, is_missing, shard_name, write_shard
from m3leo_prep.testing.layers import make_array, make_layer, random_codes

N_CHIPS = 9
FLOAT = Encoding("float32", None, unit="m")
CHIPS = ChipColumns(
    np.full(N_CHIPS, 32630, np.int32),
    (500_000 + 4480 * np.arange(N_CHIPS)).astype(np.int32),
    np.full(N_CHIPS, 4_480_000, np.int32),
)
LAYERS = {
    "s1": make_layer(make_array(), name="s1", n_slots=3, shard_slots=2),
    "coherence": make_layer(
        make_array("coherence", Kind.COHERENCE, ("coh12", "coh24", "coh36")),
        make_array("model", Kind.CONTINUOUS, ("rho", "tau"), encoding=FLOAT),
        name="coherence",
        n_slots=4,
        shard_slots=4,
        chunk_slots=4,
    ),
    "worldcover": make_layer(make_array("map", Kind.CLASSES, ("map",)), name="worldcover"),
    "dem": make_layer(make_array("height", Kind.CONTINUOUS, ("height",), encoding=FLOAT), name="dem"),
    "flags": make_layer(make_array("qa", Kind.BITS, ("qa",)), name="flags"),
    "phase": make_layer(make_array("phase", Kind.UNWRAPPED_PHASE, ("phase",)), name="phase", n_slots=1),
}


def write_codes(blobs, layer, array, values):
    codec, grid = ChunkCodec(array.encoding.dtype), array_grid(layer, array)
    shard, chunk = shard_shape(layer, array), chunk_shape(layer, array)
    for place in np.ndindex(*[-(-n // s) for n, s in zip(values.shape, shard, strict=True)]):
        chunks = {}
        for key in np.ndindex(*grid):
            start = [p * s + k * c for p, s, k, c in zip(place, shard, key, chunk, strict=True)]
            piece = values[tuple(slice(a, a + c) for a, c in zip(start, chunk, strict=True))]
            if piece.shape == chunk and not is_missing(piece, array.encoding.fill_value):
                chunks[key] = codec.encode(piece)
        write_shard(blobs, shard_name(layer.name, array.variable.name, place), chunks, grid)


def quality_of(layer, array, rng):
    slots = () if layer.is_static else (len(layer.slots),)
    shape = (N_CHIPS, *slots, array.n_bands)
    reason = rng.choice([0, 1, 4, 255], shape).astype(np.uint8)
    return quality(layer, array, reason, np.where(reason == 255, 255, 80).astype(np.uint8))


def make_dataset(root):
    blobs, rng = LocalBlobs(root), np.random.default_rng(11)
    codes, companions = {}, {}
    for layer in LAYERS.values():
        companions[layer.name] = {}
        for array in layer.arrays:
            codes[layer.name, array.variable.name] = values = random_codes(layer, array, N_CHIPS, rng)
            write_codes(blobs, layer, array, values)
            companions[layer.name] |= quality_of(layer, array, rng)
    first = np.full((N_CHIPS, 3), 1_577_836_800, np.int64)
    first[0, 0] = -(2**63)
    companions["s1"]["first_time"] = Companion(first, ("chip", "time"), time_attributes("first"), -(2**63))
    write_hierarchy(blobs, LAYERS.values(), CHIPS, companions, attributes={"format": "m3leo-prep", "format_version": 1})
    return codes, companions


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("dataset")
    codes, companions = make_dataset(root)
    return root, codes, companions


@pytest.fixture(autouse=True)
def _strict():
    """A warning is a failure here, also under another configuration."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def open_layer(root, name):
    return xr.open_zarr(root / "chips.zarr", group=name, chunks=None)


@pytest.mark.parametrize("name", LAYERS)
def test_xarray_gives_physical_values(dataset, name):
    root, codes, _ = dataset
    ds = open_layer(root, name)
    for array in LAYERS[name].arrays:
        stored = codes[name, array.variable.name]
        got = ds[array.variable.name]
        if array.encoding.unit == "class":
            assert got.dtype == stored.dtype
            np.testing.assert_array_equal(got.values, stored)
            continue
        expected, valid = decode(stored, array.encoding)
        assert got.dtype.kind == "f"
        np.testing.assert_array_equal(np.isnan(got.values), ~valid)
        np.testing.assert_allclose(got.values, expected, rtol=3e-7)
        assert got.attrs["units"] == array.encoding.unit


@pytest.mark.parametrize("name", LAYERS)
def test_axes_and_coordinates(dataset, name):
    root, _, _ = dataset
    layer, ds = LAYERS[name], open_layer(root, name)
    for array in layer.arrays:
        axis = band_axis(layer, array)
        time = () if layer.is_static else ("time",)
        assert ds[array.variable.name].dims == ("chip", *time, axis, "y", "x")
        assert [str(b) for b in ds[axis].values] == list(array.variable.bands)
        assert ds[array.variable.name].sel({axis: array.variable.bands[-1]}).shape[0] == N_CHIPS
    np.testing.assert_array_equal(ds.x, [10, 30, 50, 70, 90, 110])
    np.testing.assert_array_equal(ds.y, [-10, -30, -50, -70, -90, -110])
    np.testing.assert_array_equal(ds.x0, CHIPS.x0)
    np.testing.assert_array_equal(ds.epsg, CHIPS.epsg)
    assert ds.y0.dtype == np.int32
    assert {"epsg", "x0", "y0"} <= set(ds.coords)
    assert "chip" not in ds.coords


def test_times_are_half_open_months(dataset):
    ds = open_layer(dataset[0], "s1")
    months = np.array(["2020-01", "2020-02", "2020-03", "2020-04"], "datetime64[ns]")
    assert ds.time.dtype.kind == "M"
    np.testing.assert_array_equal(ds.time.values, months[:3])
    np.testing.assert_array_equal(ds.time_bounds.values, np.stack([months[:3], months[1:]], axis=1))
    assert "time_bounds" in ds.coords
    assert ds.time.attrs["labels"] == ["2020-01", "2020-02", "2020-03"]
    assert np.isnat(ds.first_time.values[0, 0])
    assert ds.first_time.values[1, 1] == months[0]


def test_bands_are_named_per_variable_only_where_there_are_several(dataset):
    assert {"coherence_band", "model_band"} <= set(open_layer(dataset[0], "coherence").coords)
    assert "band" in open_layer(dataset[0], "s1").coords


def test_quality_arrays(dataset):
    root, _, companions = dataset
    ds = open_layer(root, "s1")
    reason = companions["s1"]["backscatter_reason"].values
    assert ds.backscatter_reason.dtype == np.uint8
    np.testing.assert_array_equal(ds.backscatter_reason, reason)
    assert ds.backscatter_reason.dims == ("chip", "time", "band")
    np.testing.assert_array_equal(np.isnan(ds.backscatter_valid), reason == Reason.NOT_BUILT)
    values = ds.backscatter_reason.attrs["flag_values"]
    meanings = ds.backscatter_reason.attrs["flag_meanings"].split()
    assert dict(zip(meanings, values, strict=True)) == {r.name.lower(): int(r) for r in Reason}
    assert zarr.open_array(root / "chips.zarr/s1/backscatter_reason", mode="r").chunks[0] == COMPANION_CHIPS == 65_536
    assert zarr.open_array(root / "chips.zarr/s1/backscatter_valid", mode="r").fill_value == 255
    assert open_layer(root, "dem").height_reason.dims == ("chip", "band")


def test_datatree_opens_all_layers(dataset):
    root, codes, _ = dataset
    with xr.open_datatree(root / "chips.zarr", engine="zarr", chunks=None) as tree:
        assert set(tree.children) == set(LAYERS)
        np.testing.assert_array_equal(tree["worldcover/map"].values, codes["worldcover", "map"])
        assert tree.attrs["format"] == "m3leo-prep"
        assert not tree.to_dataset().data_vars


def test_attributes_describe_the_array(dataset):
    root, _, _ = dataset
    power = zarr.open_array(root / "chips.zarr/s1/backscatter", mode="r").attrs
    assert power["_FillValue"] == -32768
    assert power["scale_factor"] == 0.01
    assert power["units"] == "dB"
    assert power["max_error"] == 0.005
    assert power["valid_range"] == [-5000, 6000]
    assert (power["kernel"], power["statistic"], power["pitch"]) == ("cubic", "mean", 20.0)
    assert power["backscatter_convention"] == "sigma0_ellipsoid"
    assert "add_offset" not in power
    classes = zarr.open_array(root / "chips.zarr/worldcover/map", mode="r").attrs
    assert "_FillValue" not in classes
    assert classes["flag_values"] == [10, 80, 255]
    assert classes["flag_meanings"] == "tree_cover permanent_water no_data"
    assert len(classes["flag_colors"].split()) == 3
    height = zarr.open_array(root / "chips.zarr/dem/height", mode="r")
    assert "_FillValue" not in height.attrs
    assert np.isnan(height.fill_value)


def test_a_fill_value_attribute_on_floats_is_why_there_is_none(dataset, tmp_path):
    """The trap that the metadata avoids is real: with it, xarray cannot open the layer."""
    layer = LAYERS["dem"]
    blobs = LocalBlobs(tmp_path)
    document = array_document(layer, layer.arrays[0], 1)
    document["attributes"]["_FillValue"] = "NaN"
    blobs.put("chips.zarr/dem/height/zarr.json", json.dumps(document).encode())
    blobs.put("chips.zarr/dem/zarr.json", json.dumps(group_document(layer, 1)).encode())
    consolidate(blobs, "chips.zarr", {})
    with pytest.raises(Exception):  # noqa: B017  (whatever numpy or base64 says)
        open_layer(tmp_path, "dem").height.load()


def test_consolidated_metadata_is_complete_and_like_zarr_pythons(dataset, tmp_path):
    """Our document lists the same nodes as zarr-python's own consolidation, which we never call."""
    root, _, _ = dataset
    ours = json.loads((root / "chips.zarr/zarr.json").read_text())["consolidated_metadata"]
    assert ours["kind"] == "inline"
    assert ours["must_understand"] is False
    on_disk = {str(p.parent.relative_to(root / "chips.zarr")) for p in (root / "chips.zarr").rglob("zarr.json")} - {"."}
    assert set(ours["metadata"]) == on_disk
    group = zarr.open_consolidated(root / "chips.zarr", zarr_format=3)
    for path, _node in group.members(max_depth=None):
        assert path in on_disk
    own = zarr.open_array(root / "chips.zarr/s1/backscatter", mode="r").metadata.to_dict()
    theirs = group["s1/backscatter"].metadata.to_dict()
    assert own == theirs
    layer = json.loads((root / "chips.zarr/s1/zarr.json").read_text())["consolidated_metadata"]["metadata"]
    assert {f"s1/{name}" for name in layer} == {name for name in on_disk if name.startswith("s1/")}


def test_the_same_dataset_twice_is_the_same_bytes(dataset, tmp_path):
    make_dataset(tmp_path)

    def digests(root):
        return {
            str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).digest() for p in root.rglob("*") if p.is_file()
        }

    assert digests(tmp_path) == digests(dataset[0])


def test_consolidating_again_changes_nothing(dataset):
    root, _, _ = dataset
    before = {p: p.read_bytes() for p in (root / "chips.zarr").rglob("zarr.json")}
    consolidate(LocalBlobs(root), "chips.zarr")
    assert {p: p.read_bytes() for p in (root / "chips.zarr").rglob("zarr.json")} == before


def test_growth_is_visible_all_at_once(tmp_path):
    """Stopped after any write, a growing dataset opens without a warning, with its old or its new length."""
    layer = LAYERS["dem"]
    two = ChipColumns(CHIPS.epsg[:2], CHIPS.x0[:2], CHIPS.y0[:2])
    write_hierarchy(LocalBlobs(tmp_path), [layer], two, {}, attributes={})
    lengths = []

    class Watched(LocalBlobs):
        def put(self, name, data, *, if_absent=False):
            super().put(name, data, if_absent=if_absent)
            ds = open_layer(tmp_path, "dem")
            np.testing.assert_array_equal(ds.x0, CHIPS.x0[: ds.sizes["chip"]])
            assert set(ds.coords) == {"band", "x", "y", "x0", "y0", "epsg"}
            with xr.open_datatree(tmp_path / "chips.zarr", engine="zarr", chunks=None) as tree:
                lengths.append((name, ds.sizes["chip"], tree["dem"].sizes["chip"]))

    write_hierarchy(Watched(tmp_path), [layer], CHIPS, {}, attributes={})
    assert {seen[1:] for seen in lengths[:-2]} == {(2, 2)}
    # Which document opening one layer looks at, its own or the root's, is xarray's affair.
    assert lengths[-2] in {("chips.zarr/dem/zarr.json", 9, 2), ("chips.zarr/dem/zarr.json", 2, 2)}
    assert lengths[-1] == ("chips.zarr/zarr.json", 9, 9)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "uint16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5,), (7, 3), (4, 2, 5), (0, 2)])
def test_plain_arrays_are_read_by_zarr_python(tmp_path, dtype, shape):
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    chunks = (3, *shape[1:])
    write_array(
        LocalBlobs(tmp_path), "a/v", values, dims=["chip", "t", "b"][: len(shape)], attributes={"k": 1}, chunks=chunks,
        fill_value=0,
    )  # fmt: skip
    got = zarr.open_array(tmp_path / "a/v", mode="r")
    np.testing.assert_array_equal(got[...], values)
    assert (got.dtype, got.chunks, dict(got.attrs)) == (values.dtype, chunks, {"k": 1})


def test_plain_arrays_are_read_by_tensorstore(tmp_path):
    ts = pytest.importorskip("tensorstore")
    values = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    values[2] = np.nan
    write_array(
        LocalBlobs(tmp_path), "v", values, dims=["a", "b"], attributes={}, chunks=(4, 3), fill_value=float("nan")
    )
    store = ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": str(tmp_path / "v")}}).result()
    np.testing.assert_array_equal(store.read().result(), values)


@pytest.mark.parametrize("kind", [object, str, np.dtypes.StringDType()])
def test_strings_of_any_script(tmp_path, kind):
    words = ["vv", "", "Übersee", "日本", "a" * 300]
    write_array(
        LocalBlobs(tmp_path), "s", np.array(words, kind), dims=["band"], attributes={}, chunks=(2,), fill_value=""
    )
    assert list(zarr.open_array(tmp_path / "s", mode="r")[...]) == words


def test_nan_in_attributes_is_refused(tmp_path):
    """JSON has no NaN; other readers would choke on it."""
    with pytest.raises(ValueError, match="JSON"):
        write_array(
            LocalBlobs(tmp_path), "v", np.zeros(2), dims=["a"], attributes={"x": float("nan")}, chunks=(2,),
            fill_value=0,
        )  # fmt: skip
    assert LocalBlobs(tmp_path).size("v/zarr.json") is None
