"""A few chips in other formats: the same values, in the same place, with what one must know of them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr
from matplotlib.image import imread

from m3leo_prep.core.errors import ConfigError, MissingDependency, StoreError
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.export import export
from m3leo_prep.pipeline.export import files as export_module
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.runners.threads import Threads

from .conftest import MINI, plan

SOURCE = """
from dataclasses import dataclass
from datetime import UTC, datetime
import numpy as np
from shapely.geometry import box
from m3leo_prep.core.raster import Item, Kind, LegendClass, Raster, SourceInfo, Variable

VARIABLES = (
    Variable("phase", Kind.UNWRAPPED_PHASE, ("unw",), unit="rad", attributes={"reference": [1, 2], "is_signed": True}),
    Variable("coherence", Kind.COHERENCE, ("short", "long")),
    Variable("quality", Kind.BITS, ("flags",), legend=(LegendClass(1, "low tide"), LegendClass(4, "snow"))),
)


@dataclass(frozen=True)
class Mine:
    '''Several variables, some pixels of one band missing, and every pixel in the second month.'''

    def describe(self):
        return SourceInfo(VARIABLES, version="1", pitch=10.0, licence="CC-BY-4.0", citation="Ünal (2020)")

    def find(self, area, slots):
        yield Item("one", box(-180, -90, 180, 90), datetime=datetime(2020, 1, 5, tzinfo=UTC))

    def read(self, items, geobox, slot):
        around = geobox.pad(4)
        y, x = np.mgrid[: around.shape[0], : around.shape[1]]
        for variable in VARIABLES:
            data = np.stack([(x * 7 + y * 3 + k) % 20 / 20 for k in range(len(variable.bands))])
            if variable.kind is Kind.BITS:
                data = (data * 8).astype(np.uint16)
            valid = np.ones(data.shape, bool)
            valid[0] = (x // 8 + y // 8) % 3 > 0
            components = np.ones(data.shape[1:], np.int32) if variable.kind is Kind.UNWRAPPED_PHASE else None
            yield Raster(data, valid, around, items[0], variable.name, components=components)
"""
RECIPE = MINI + "  insar: {source: ./my_source.py:Mine, slots: {months: 2020}}\n"
KEYS = ("position", "degrees", "landcover", "s1", "insar.phase", "insar.coherence", "insar.quality")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("export")
    (folder / "my_source.py").write_text(SOURCE)
    recipe = RECIPE.replace("{months: 2020}", "{dates: [2020-01-05, 2020-02-05]}")
    build(plan(recipe, base=folder), folder / "made", runner=Threads(2))
    return Dataset(folder / "made")


def read(dataset: Dataset, row: int, key: str) -> tuple[np.ndarray, np.ndarray]:
    layer, _, variable = key.partition(".")
    return dataset.read(row, layer, variable or None)


def slot_labels(dataset: Dataset, key: str) -> list[str]:
    layer = dataset.layers[key.partition(".")[0]]
    return [""] if layer.is_static else [f"_{slot.label}" for slot in layer.slots]


def test_a_geotiff_holds_the_values_in_their_place(dataset: Dataset, tmp_path: Path) -> None:
    made = export(dataset, [1, str(dataset.chips["chip_id"][4])], "geotiff", tmp_path)
    expected = set()
    for row in (1, 4):
        chip = dataset.chips.iloc[row]
        for key in KEYS:
            layer, _, variable = key.partition(".")
            values, _ = read(dataset, row, key)
            for k, label in enumerate(slot_labels(dataset, key)):
                path = tmp_path / chip["chip_id"] / f"{key}{label}.tif"
                expected.add(path)
                with rasterio.open(path) as file:
                    np.testing.assert_array_equal(file.read(), values[k] if label else values)
                    pitch = dataset.layers[layer].pitch
                    assert file.transform == rasterio.Affine(pitch, 0, chip["x0"], 0, -pitch, chip["y0"])
                    assert file.crs.to_epsg() == chip["epsg"]
                    assert file.descriptions == dataset.layers[layer].array(variable or None).bands
                    assert file.tags()["chip_id"] == chip["chip_id"]
    assert {path for path in made if path.suffix == ".tif"} == expected
    assert sorted(made) == sorted(path for path in tmp_path.rglob("*") if path.is_file())


def test_missing_is_missing_for_gdal_too(dataset: Dataset, tmp_path: Path) -> None:
    export(dataset, [0], "geotiff", tmp_path)
    chip = tmp_path / dataset.chips["chip_id"][0]
    for key in KEYS:
        _, valid = read(dataset, 0, key)
        for k, label in enumerate(slot_labels(dataset, key)):
            with rasterio.open(chip / f"{key}{label}.tif") as file:
                np.testing.assert_array_equal(file.read_masks() > 0, valid[k] if label else valid)
    with rasterio.open(chip / "insar.coherence_2020-01-05.tif") as file:
        assert 0 < (file.read_masks(1) == 0).sum() < 32 * 32
        assert (file.read_masks(2) > 0).all()


def test_geotiff_tags_tell_what_the_values_are(dataset: Dataset, tmp_path: Path) -> None:
    export(dataset, [0], "geotiff", tmp_path, ["s1", "insar.phase", "insar.quality"])
    chip = tmp_path / dataset.chips["chip_id"][0]
    with rasterio.open(chip / "insar.phase_2020-01-05.tif") as file:
        tags = file.tags()
        assert file.units == ("rad",)
        assert (file.dtypes, np.isnan(file.nodata)) == (("float32",), True)
        assert (tags["licence"], tags["citation"]) == ("CC-BY-4.0", "Ünal (2020)")
        assert (tags["units"], tags["slot"], tags["slot_end"]) == ("rad", "2020-01-05", "2020-01-06T00:00:00+00:00")
        assert (tags["reference"], tags["is_signed"]) == ("[1, 2]", "true")
        assert file.tags(1)["reason"] == "PARTIAL_COVERAGE"
    with rasterio.open(chip / "insar.phase_2020-02-05.tif") as file:
        assert (file.tags(1)["reason"], file.tags(1)["valid_percent"]) == ("NO_ACQUISITION", "0")
    with rasterio.open(chip / "insar.quality_2020-01-05.tif") as file:
        assert (file.dtypes, file.nodata) == (("uint16",), 65535)
    with rasterio.open(chip / "s1_2020-06-01_2020-06-12.tif") as file:
        assert file.tags()["kernel"] == "bspline"
        assert file.tags()["backscatter_convention"] == "gamma0_rtc"


def test_a_legend_comes_with_colours_and_names_that_gdal_finds(dataset: Dataset, tmp_path: Path) -> None:
    export(dataset, [0], "geotiff", tmp_path, ["landcover"])
    path = tmp_path / dataset.chips["chip_id"][0] / "landcover.tif"
    legend = {entry["code"]: entry for entry in dataset.layers["landcover"].array().about["legend"]}
    with rasterio.open(path) as file:
        assert (file.dtypes, file.nodata) == (("uint8",), 255)
        colours = file.colormap(1)
        for code, entry in legend.items():
            assert "#{:02x}{:02x}{:02x}".format(*colours[code][:3]) == entry["color"].lower()
            assert file.tags(1)[f"class_{code}"] == entry["name"]
    # GDAL copies the names it knows into a VRT, which is text.
    vrt = tmp_path / "seen.vrt"
    rasterio.shutil.copy(path, vrt, driver="VRT")
    text = vrt.read_text()
    assert text.count("<Category>") + text.count("<Category />") + text.count("<Category/>") == max(legend) + 1
    assert "<Category>Built-up</Category>" in text


def test_netcdf_opens_by_cf_with_the_same_values(dataset: Dataset, tmp_path: Path) -> None:
    (path,) = export(dataset, [2], "netcdf", tmp_path)
    chip = dataset.chips.iloc[2]
    assert path.name == f"{chip['chip_id']}.nc"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xr.open_datatree(path, engine="h5netcdf", decode_coords="all")
        tree.load()
    for key in KEYS:
        layer, _, variable = key.partition(".")
        array = dataset.layers[layer].array(variable or None)
        found = tree[layer].dataset[array.name]
        values, _ = read(dataset, 2, key)
        np.testing.assert_array_equal(found, values)
        assert found.dtype == values.dtype
        assert "spatial_ref" in found.coords
        assert found.encoding["grid_mapping"] == "spatial_ref"
        assert found.attrs.get("units") == (None if array.is_class else array.unit)
        axis = "band" if len(dataset.layers[layer].arrays) == 1 else f"{array.name}_band"
        assert tuple(found[axis].values) == array.bands
        pitch = dataset.layers[layer].pitch
        assert float(found.x[0]) == chip["x0"] + pitch / 2
        assert float(found.y[-1]) == chip["y0"] - (len(found.y) - 0.5) * pitch
        assert found.spatial_ref.attrs["grid_mapping_name"] == "transverse_mercator"
    insar = tree["insar"].dataset
    assert [str(day)[:10] for day in insar.time_bounds.values.ravel()] == [
        "2020-01-05",
        "2020-01-06",
        "2020-02-05",
        "2020-02-06",
    ]
    assert list(insar.slot.values) == ["2020-01-05", "2020-02-05"]
    assert (insar.attrs["license"], insar.attrs["references"]) == ("CC-BY-4.0", "Ünal (2020)")
    assert list(insar.quality.attrs["flag_masks"]) == [1, 4]
    assert insar.quality.attrs["flag_meanings"] == "low_tide snow"
    cover = tree["landcover"].dataset.landcover
    assert len(cover.attrs["flag_values"]) == len(cover.attrs["flag_meanings"].split())
    assert cover.attrs["flag_values"].dtype == cover.dtype
    assert tree.attrs["Conventions"] == "CF-1.11"


def test_rioxarray_finds_the_place_of_a_netcdf(dataset: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("rioxarray")
    (path,) = export(dataset, [0], "netcdf", tmp_path, ["degrees"])
    with xr.open_dataset(path, group="degrees", engine="h5netcdf", decode_coords="all") as opened:
        assert opened.rio.crs.to_epsg() == dataset.chips["epsg"][0]
        assert opened.rio.transform() == rasterio.Affine(20, 0, dataset.chips["x0"][0], 0, -20, dataset.chips["y0"][0])


@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"
)  # left open there
def test_the_webdataset_library_reads_the_tar(dataset: Dataset, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    (path,) = export(dataset, [3, 0], "webdataset", tmp_path)
    assert path.name == "here-mini-000000.tar"
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == list(dataset.chips["chip_id"][[3, 0]])
    for row, sample in zip((3, 0), samples, strict=True):
        for key in KEYS:
            values, valid = read(dataset, row, key)
            np.testing.assert_array_equal(sample[f"{key}.npy"], values)
            assert sample[f"{key}.npy"].dtype == values.dtype
            np.testing.assert_array_equal(sample[f"{key}_mask.npy"], valid)
        about, chip = sample["json"], dataset.chips.iloc[row]
        assert {key: about[key] for key in ("epsg", "x0", "y0", "lon", "lat", "split")} == {
            "epsg": chip["epsg"],
            "x0": chip["x0"],
            "y0": chip["y0"],
            "lon": chip["lon"],
            "lat": chip["lat"],
            "split": None,
        }
        phase = about["layers"]["insar.phase"]
        assert (phase["bands"], phase["units"], phase["axes"]) == (["unw"], "rad", ["time", "band", "y", "x"])
        assert [slot["label"] for slot in phase["slots"]] == ["2020-01-05", "2020-02-05"]
        assert about["layers"]["landcover"]["legend"][0] == {"code": 10, "name": "Tree cover"}


def test_a_tar_has_the_same_bytes_every_time(dataset: Dataset, tmp_path: Path) -> None:
    one, two = (export(dataset, [0, 1], "webdataset", tmp_path / name)[0].read_bytes() for name in "ab")
    assert one == two


def test_a_picture_is_transparent_exactly_where_pixels_are_missing(dataset: Dataset, tmp_path: Path) -> None:
    made = export(dataset, [0], "png", tmp_path, ["insar.coherence", "landcover", "s1"])
    chip = tmp_path / dataset.chips["chip_id"][0]
    _, valid = dataset.read(0, "insar", "coherence")
    for slot, label in enumerate(("2020-01-05", "2020-02-05")):
        for band, name in enumerate(("short", "long")):
            picture = imread(chip / f"insar.coherence_{label}_{name}.png")
            assert picture.shape == (32, 32, 4)
            np.testing.assert_array_equal(picture[..., 3], valid[slot, band])
    codes, valid = dataset.read(0, "landcover")
    legend = {entry["code"]: entry["color"] for entry in dataset.layers["landcover"].array().about["legend"]}
    picture = imread(chip / "landcover.png")
    np.testing.assert_array_equal(picture[..., 3], valid[0])
    for code in np.unique(codes[valid]):
        colour = [int(legend[code][i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.rint(255 * picture[codes[0] == code][:, :3]) == colour).all()
    _, valid = dataset.read(0, "s1")
    for slot, label in enumerate(("2020-06-01_2020-06-12", "2020-07-07_2020-07-12")):
        for first, orbit in ((0, "asc"), (2, "desc")):
            picture = imread(chip / f"s1_{label}_{orbit}.png")
            np.testing.assert_array_equal(picture[..., 3], valid[slot, first : first + 2].all(axis=0))
    # The bands of s1 also one by one, as `show` has them.
    assert len(made) == 4 + 1 + (2 + 4) * 2


@pytest.mark.parametrize("form", export_module.FORMATS)
def test_what_is_there_is_never_overwritten(dataset: Dataset, tmp_path: Path, form: str) -> None:
    made = export(dataset, [0], form, tmp_path, ["position"])
    before = {path: path.read_bytes() for path in made}
    with pytest.raises(ConfigError, match=r"exists already[\s\S]*another --out"):
        export(dataset, [0, 1], form, tmp_path, ["position"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("chips", "form", "layers", "message"),
    [
        ([0], "geotif", None, r"unknown format 'geotif'[\s\S]*did you mean 'geotiff'"),
        ([0], "png", ["landcovr"], r"no layer 'landcovr'[\s\S]*did you mean 'landcover'"),
        ([0], "png", ["insar.phaze"], r"no variable 'phaze'[\s\S]*did you mean 'phase'"),
        ([10_000], "png", None, r"no row 10000"),
        (["u1_320_32N_E000_0000"], "png", None, r"no chip 'u1_320_32N_E000_0000'"),
        ([], "png", None, r"no chip to export"),
        ([0], "png", [], r"no layer is asked for"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    dataset: Dataset, tmp_path: Path, chips: list[str | int], form: str, layers: list[str] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        export(dataset, chips, form, tmp_path / "out", layers)
    assert not (tmp_path / "out").exists()


def test_more_than_a_few_chips_are_refused(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "MOST_CHIPS", 3)
    assert len(export(dataset, [0, 1, 2, 1, 0], "netcdf", tmp_path / "few", ["position"])) == 3
    with pytest.raises(ConfigError, match=r"4 chips[\s\S]*up to 3[\s\S]*ChipDataset"):
        export(dataset, [0, 1, 2, 3], "netcdf", tmp_path / "many", ["position"])


@pytest.mark.parametrize("form", export_module.FORMATS)
def test_a_file_is_whole_or_not_there(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """The disk fills up at the last step of the second chip."""

    def full(self: Path, target: Path) -> None:
        if dataset.chips["chip_id"][1] in str(target) or target.suffix == ".tar":
            raise OSError(28, "No space left on device")
        self.rename(target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match=r"No space left on device[\s\S]*--out"):
        export(dataset, [0, 1], form, tmp_path, ["landcover"])
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(dataset.chips["chip_id"][0] in str(path) for path in left)
    assert not [path for path in left if "unfinished" in path.name]


def test_the_folder_must_be_a_folder(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="cannot be written"):
        export(dataset, [0], "netcdf", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("form", "library", "extra"),
    [("geotiff", "rasterio", "build"), ("netcdf", "h5netcdf", "build"), ("png", "matplotlib.image", "plot")],
)
def test_a_missing_library_comes_with_its_install_line(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, library: str, extra: str
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDependency, match=rf"pip install 'm3leo-prep\[{extra}\]'"):
        export(dataset, [0], form, tmp_path, ["position"])


def test_json_of_a_sample_is_plain(dataset: Dataset, tmp_path: Path) -> None:
    import tarfile

    (path,) = export(dataset, [0], "webdataset", tmp_path, ["position"])
    with tarfile.open(path) as tar:
        (name,) = (name for name in tar.getnames() if name.endswith(".json"))
        file = tar.extractfile(name)
        assert file is not None
        assert json.loads(file.read(), parse_constant=pytest.fail)["row"] == 0
