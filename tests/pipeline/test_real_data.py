"""Real rasters from recipe to xarray, compared with an independent warp of the same file.

The references know nothing of our kernels: pyproj for every single pixel centre, scipy (or the formula itself) for
the values, rasterio where GDAL can do the same. The recipes are those of ``tests/recipes``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from pyproj import Proj, Transformer
from rasterio.merge import merge
from rasterio.warp import Resampling, reproject
from scipy.ndimage import map_coordinates

from m3leo_prep.cli.main import app
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.areas import load_area
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.recipes import load_recipe
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
DATA = "../../../shared/data"
"""Where the recipes look, from their own folder."""
BOXES = {
    "jammerbugt": "9.8261,57.2167,9.8637,57.2371",
    "alicante": "-0.7819,38.0828,-0.7359,38.1288",
    "sao_miguel": "-25.9,37.6,-25.1,38.0",
    "antwerp": "5.0512,51.2157,5.0607,51.2216",
    "hesbaye": "5.3189,50.6287,5.3334,50.638",
    "opera": "-119.8498,34.7642,-119.8162,34.792",
    "sao_tome": "6.44,0.0,6.78,0.42",
    "acre": "-67.3011,-9.8907,-67.2699,-9.8589",
    "valparaiso": "-71.5235,-33.0949,-71.4578,-33.0396",
    "ghsl": "5.6858,32.9919,6.1645,33.2514",
    "rome": "12.4499,41.9501,12.5499,42.0501",
    "los_angeles": "-118.0529,33.9471,-117.9471,34.0529",
    "modis": "-93.1901,45.001,-91.927,45.4157",
}
COLOCATED = "colocated/"
WORLDCOVERS = [("worldcover", "esa_worldcover_2021_v200"), ("worldcover_2020", "esa_worldcover_2020_v100")]
DB_STEP = 0.01
SIGMA_LUT = 7.0794578e-05

Made = Callable[[str], Path]


@pytest.fixture(scope="session")
def recipe_file(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that writes a recipe of ``tests/recipes`` with the sample data's true place."""
    folder = tmp_path_factory.mktemp("recipes")

    def write(name: str) -> Path:
        path = folder / f"{name}.yaml"
        path.write_text((RECIPES / f"{name}.yaml").read_text().replace(DATA, str(shared_data)))
        return path

    return write


@pytest.fixture(scope="session")
def made(recipe_file: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a function that builds and verifies a set once and returns its folder."""
    folder = tmp_path_factory.mktemp("real")

    def make(name: str) -> Path:
        path = folder / name
        if not path.exists():
            recipe, base = load_recipe(str(recipe_file(name)))
            build(make_plan(recipe, load_area(BOXES[name]), base=base), path, runner=Threads(2))
        return path

    return make


def layer(path: Path, name: str, *, raw: bool = False) -> xr.Dataset:
    """Return a layer as plain xarray opens it; ``raw`` without scale and fill."""
    return xr.open_zarr(path / "chips.zarr", group=name, chunks=None, mask_and_scale=not raw)


def centres(ds: xr.Dataset, chip: int, parts: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return (x, y) of a chip's pixel centres in its zone, or of the centres of parts x parts pieces of each."""
    size, pitch = ds.sizes["x"] * parts, float(ds.pitch) / parts
    steps = (np.arange(size) + 0.5) * pitch
    return np.meshgrid(float(ds.x0[chip]) + steps, float(ds.y0[chip]) - steps)


def places(ds: xr.Dataset, chip: int, crs, transform, parts: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return exact (row, column) of pixel centres in a source raster, 0 = the centre of its first pixel."""
    to_source = Transformer.from_crs(int(ds.epsg[chip]), crs, always_xy=True)
    col, row = ~transform * to_source.transform(*centres(ds, chip, parts))
    return row - 0.5, col - 0.5


def inside(row: np.ndarray, col: np.ndarray, shape: tuple[int, int], margin: float = 0.0) -> np.ndarray:
    """Return where all kernel neighbours are pixels of the raster."""
    bottom, right = shape[0] - 1 - margin, shape[1] - 1 - margin
    return (row >= margin) & (col >= margin) & (row <= bottom) & (col <= right)


def masked_bilinear(data: np.ndarray, valid: np.ndarray, row: np.ndarray, col: np.ndarray) -> tuple:
    """Return bilinear values over valid pixels and the weight that they have."""
    weight = map_coordinates(valid.astype(float), [row, col], order=1, mode="grid-constant")
    total = map_coordinates(np.where(valid, data, 0.0), [row, col], order=1, mode="grid-constant")
    return total / np.maximum(weight, 1e-12), weight


def nearest(data: np.ndarray, row: np.ndarray, col: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixel under each place, if there is one, and if the place is clear of pixel borders."""
    r, c = np.floor(row + 0.5).astype(int), np.floor(col + 0.5).astype(int)
    there = (r >= 0) & (c >= 0) & (r < data.shape[0]) & (c < data.shape[1])
    clear = np.minimum(np.abs(row + 0.5 - np.rint(row + 0.5)), np.abs(col + 0.5 - np.rint(col + 0.5))) > 1e-3
    return data[np.clip(r, 0, data.shape[0] - 1), np.clip(c, 0, data.shape[1] - 1)], there, clear


def b_spline(data: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Return the cubic B-spline through no prefilter, so that pixels are its coefficients."""
    return map_coordinates(data, [row, col], order=3, prefilter=False)


def window(ds: xr.Dataset, left: float, top: float, shape: tuple[int, int], chip_values: np.ndarray) -> np.ndarray:
    """Return the pixels of one zone's chips (chip, ..., y, x) that a raster on their own lattice covers."""
    pitch, size = float(ds.pitch), ds.sizes["x"]
    west, north = int(ds.x0.min()), int(ds.y0.max())
    rows = (north - int(ds.y0.min())) // int(size * pitch) + 1
    cols = (int(ds.x0.max()) - west) // int(size * pitch) + 1
    whole = np.zeros((*chip_values.shape[1:-2], rows * size, cols * size), chip_values.dtype)
    for chip, values in enumerate(chip_values):
        r, c = round((north - int(ds.y0[chip])) / pitch), round((int(ds.x0[chip]) - west) / pitch)
        whole[..., r : r + size, c : c + size] = values
    r, c = round((north - top) / pitch), round((left - west) / pitch)
    return whole[..., r : r + shape[0], c : c + shape[1]]


def share_of_own_strip(ds: xr.Dataset, chip: int, parts: int = 16) -> np.ndarray:
    """Return the share of each pixel that lies in its zone's strip of longitude (no exceptions in these places)."""
    lon, _ = Transformer.from_crs(int(ds.epsg[chip]), 4326, always_xy=True).transform(*centres(ds, chip, parts))
    zone = int(ds.epsg[chip]) % 100
    own = (np.floor((lon + 180) / 6).astype(int) + 1) == zone
    size = ds.sizes["x"]
    return own.reshape(size, parts, size, parts).mean(axis=(1, 3))


# -- all sets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOXES)
def test_every_set_builds_and_verifies(made: Made, name: str) -> None:
    """Each byte checked, each layer made again from its files."""
    report = verify(made(name))
    assert report.problems == []
    assert report.notes == []
    assert {"shards", "chip slots derived again"} <= set(report.counts)


@pytest.mark.parametrize("name", BOXES)
def test_layers_lie_on_exactly_the_chips_ground(made: Made, name: str) -> None:
    """D1, D13: every lattice has the chip's corner and side, whatever its pitch."""
    tree = xr.open_datatree(made(name) / "chips.zarr", engine="zarr", chunks=None)
    grid = Grid()
    first = next(iter(tree.children.values()))
    for node in tree.children.values():
        ds = node.to_dataset()
        assert ds.sizes["x"] * float(ds.pitch) == ds.sizes["y"] * float(ds.pitch) == 4480
        assert ds.x.values[0] == float(ds.pitch) / 2
        assert ds.y.values[0] == -float(ds.pitch) / 2
        for key in ("epsg", "x0", "y0"):
            assert np.array_equal(ds[key], first[key])
        assert not ((ds.x0.values - 500_000) % 4480).any()
        equator = np.where(ds.epsg.values // 100 == 327, 10_000_000, 0)
        assert not ((ds.y0.values - equator) % 4480).any()
        for x0, y0, epsg in zip(ds.x0.values, ds.y0.values - equator, ds.epsg.values, strict=True):
            south = epsg // 100 == 327
            row = -int(y0) // 4480 if south else int(y0) // 4480 - 1
            box = grid.geobox(int(epsg), (int(x0) - 500_000) // 4480, row, float(ds.pitch))
            top = box.affine.f - 10_000_000 * south
            assert (box.affine.c, top, *box.shape) == (x0, y0, ds.sizes["y"], ds.sizes["x"])


@pytest.mark.parametrize("name", BOXES)
def test_valid_shares_and_reasons_are_those_of_the_pixels(made: Made, name: str) -> None:
    """D90: 100 only if all, 0 only if none, and no reason that the pixels contradict."""
    tree = xr.open_datatree(made(name) / "chips.zarr", engine="zarr", chunks=None)
    for node in tree.children.values():
        ds = node.to_dataset()
        variable = next(str(v) for v in ds.data_vars if ds[v].ndim >= 4)
        values = ds[variable].values
        share = (values != 255 if values.dtype.kind == "u" else np.isfinite(values)).mean(axis=(-1, -2))
        valid, reason = ds[f"{variable}_valid"].values, ds[f"{variable}_reason"].values
        assert np.array_equal(valid == 100, share == 1)
        assert np.array_equal(valid == 0, share == 0)
        assert np.abs(valid - 100 * share).max() <= 1
        assert np.isin(reason[share == 0], [Reason.NO_ACQUISITION, Reason.NOT_IN_DATASET, Reason.ALL_CLOUD]).all()
        assert np.isin(reason[share > 0], [Reason.OK, Reason.PARTIAL_COVERAGE]).all()
        assert (reason[share == 1] == Reason.OK).all()


def test_bands_keep_the_order_of_the_recipe(made: Made) -> None:
    """``{vv: ..., vh: ...}`` is VV before VH, not the alphabet's order."""
    for name, band in (("antwerp", ["vv", "vh"]), ("hesbaye", ["vv", "vh"]), ("opera", ["vv", "vh"])):
        assert list(layer(made(name), "s1").band.values) == band


# -- Jammerbugt: one zone, one pitch, off the lattice ------------------------------------------------------------------


@pytest.mark.parametrize("band", [1, 4, 8, 12])
def test_jammerbugt_reflectance_is_bilinear(made: Made, shared_data: Path, band: int) -> None:
    ds = layer(made("jammerbugt"), "s2", raw=True)
    with rasterio.open(shared_data / COLOCATED / "terramesh_dk_jammerbugt/S2L2A.tif") as file:
        stored, transform, crs = file.read(band), file.transform, file.crs
        assert transform.c % 10 > 1, "a raster on the lattice would be copied, not interpolated"
    compared = 0
    for chip in range(ds.sizes["chip"]):
        row, col = places(ds, chip, crs, transform)
        good = inside(row, col, stored.shape)
        expected = map_coordinates(stored.astype(float), [row, col], order=1)
        codes = ds.reflectance.values[chip, band - 1]
        assert np.abs(codes[good] - expected[good]).max() <= 0.5 + 1e-2, "half a code, and float32"
        compared += good.sum()
        gdal = np.zeros(row.shape, np.float32)
        target = rasterio.Affine(10, 0, float(ds.x0[chip]), 0, -10, float(ds.y0[chip]))
        reproject(
            stored.astype(np.float32), gdal, src_transform=transform, src_crs=crs, dst_transform=target, dst_crs=crs,
            resampling=Resampling.bilinear, XSCALE=1, YSCALE=1,
        )  # fmt: skip
        assert np.abs(codes[good] - gdal[good]).max() <= 0.6
    assert compared > 45_000


def test_jammerbugt_backscatter_is_a_b_spline_of_power(made: Made, shared_data: Path) -> None:
    ds = layer(made("jammerbugt"), "s1")
    assert str(ds.time.values[0])[:10] == "2017-10-30"
    assert int(ds["count"].sum()) == ds.sizes["chip"]
    for band in (0, 1):
        with rasterio.open(shared_data / COLOCATED / "terramesh_dk_jammerbugt/S1RTC.tif") as file:
            power, transform, crs = 10 ** (file.read(band + 1) / 10), file.transform, file.crs
        for chip in range(ds.sizes["chip"]):
            row, col = places(ds, chip, crs, transform)
            good = inside(row, col, power.shape, margin=2)
            stored = ds.power.values[chip, 0, band][good]
            expected = 10 * np.log10(b_spline(power, row[good], col[good]))
            assert np.abs(stored - expected).max() <= DB_STEP / 2 + 1e-3
            # A mean of decibels would be darker by far more than a step.
            naive = b_spline(10 * np.log10(power), row[good], col[good])
            assert (stored - naive).mean() > 10 * DB_STEP


def test_jammerbugt_height_and_land_cover(made: Made, shared_data: Path) -> None:
    folder = shared_data / COLOCATED / "terramesh_dk_jammerbugt"
    dem, cover = layer(made("jammerbugt"), "dem"), layer(made("jammerbugt"), "landcover")
    with rasterio.open(folder / "DEM.tif") as file:
        height, transform, crs = file.read(1), file.transform, file.crs
    with rasterio.open(folder / "LULC.tif") as file:
        codes = file.read(1)
    for chip in range(dem.sizes["chip"]):
        row, col = places(dem, chip, crs, transform)
        good = inside(row, col, height.shape)
        expected = map_coordinates(height.astype(float), [row, col], order=1)
        np.testing.assert_allclose(dem.continuous.values[chip, 0][good], expected[good], atol=1e-4)
        expected, there, clear = nearest(codes, row, col)
        stored = cover.classes.values[chip, 0]
        assert np.array_equal(stored[there & clear], expected[there & clear])
        assert (stored[~there & clear] == 255).all()
    assert set(np.unique(cover.classes)) <= {*np.unique(codes), 255}


def test_jammerbugt_from_the_command_line(
    recipe_file: Callable[[str], Path], made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command that a person gives, and the same bytes as from Python."""
    out = tmp_path / "jammerbugt"
    words = ["build", "--aoi", BOXES["jammerbugt"], "--recipe", str(recipe_file("jammerbugt")), "--out", str(out)]
    assert not app([*words, "--yes", "--json"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    assert (told["chips"], told["verified"]) == (2, True)
    assert not app(["verify", str(out)], standalone_mode=False)
    for path in sorted((made("jammerbugt") / "chips.zarr").rglob("c/*")):
        if path.is_file():
            assert (out / path.relative_to(made("jammerbugt"))).read_bytes() == path.read_bytes()


# -- Alicante: degrees, four chips, none whole -------------------------------------------------------------------------


def test_alicante_has_only_partial_chips(made: Made, shared_data: Path) -> None:
    """Mask, valid share and reason of a raster that fills no chip."""
    with rasterio.open(shared_data / COLOCATED / "sen1floods11_es_alicante/S2.tif") as file:
        shape, transform, crs = file.shape, file.transform, file.crs
    for name, variable in (("s1", "power"), ("s2", "reflectance"), ("flood", "classes")):
        ds = layer(made("alicante"), name)
        values = ds[variable].values
        assert values.shape[0] == 4
        assert (ds[f"{variable}_reason"] == Reason.PARTIAL_COVERAGE).all()
        assert ((ds[f"{variable}_valid"] > 0) & (ds[f"{variable}_valid"] < 100)).all()
        for chip in range(4):
            row, col = places(ds, chip, crs, transform)
            far = ~inside(row, col, shape, margin=-1.5)
            missing = values[chip] == 255 if variable == "classes" else np.isnan(values[chip])
            assert missing[:, far].all(), "nothing is made up outside the raster"
            assert not missing[:, inside(row, col, shape, margin=2)].all(axis=0).any() or variable == "classes"


def test_alicante_flood_label_is_the_nearest_pixel(made: Made, shared_data: Path) -> None:
    """D15, D20: nodata -1 stays missing, codes are those drawn, areas hold."""
    ds = layer(made("alicante"), "flood")
    with rasterio.open(shared_data / COLOCATED / "sen1floods11_es_alicante/LABEL.tif") as file:
        codes, transform, crs = file.read(1), file.transform, file.crs
    n = dict.fromkeys((0, 1), 0)
    for chip in range(4):
        expected, there, clear = nearest(codes, *places(ds, chip, crs, transform))
        stored = ds.classes.values[chip, 0]
        valid = there & (expected != -1)
        assert np.array_equal(stored[valid & clear], expected[valid & clear])
        assert (stored[~valid & clear] == 255).all()
        for code in n:
            n[code] += int((stored == code).sum())
    square = (transform.a * 111_320 * np.cos(np.radians(38.106))) * (-transform.e * 110_990)
    for code, count in n.items():
        truth = (codes == code).sum() * square / 100
        assert abs(count - truth) <= max(0.005 * truth, 4 * np.sqrt(truth)), code


def test_alicante_reflectance_at_exact_coordinates(made: Made, shared_data: Path) -> None:
    ds = layer(made("alicante"), "s2", raw=True)
    assert list(ds.band.values) == [f"B{k}" for k in (1, 2, 3, 4, 5, 6, 7, 8)] + ["B8A", "B9", "B10", "B11", "B12"]
    with rasterio.open(shared_data / COLOCATED / "sen1floods11_es_alicante/S2.tif") as file:
        transform, crs = file.transform, file.crs
        for band in (2, 8):
            stored = file.read(band)
            valid = stored != 0
            for chip in range(4):
                row, col = places(ds, chip, crs, transform)
                expected, weight = masked_bilinear(stored.astype(float), valid, row, col)
                codes = ds.reflectance.values[chip, band - 1]
                assert ((codes != -32768) == (weight >= 0.5))[np.abs(weight - 0.5) > 1e-3].all()
                both = (codes != -32768) & (weight >= 0.5)
                # 0.001 px across the steepest edge of the scene.
                slope = np.abs(np.diff(stored.astype(float), axis=0)).max()
                assert np.abs(codes - expected)[both].max() <= 0.5 + 1e-3 * slope


def test_alicante_backscatter_by_the_formula(made: Made, shared_data: Path) -> None:
    """The widened B-spline summed by hand at random pixels: 10 m of target over 7.9 m of source."""
    ds = layer(made("alicante"), "s1")
    with rasterio.open(shared_data / COLOCATED / "sen1floods11_es_alicante/S1.tif") as file:
        db, transform, crs = file.read(1).astype(float), file.transform, file.crs
    valid = np.isfinite(db)
    power = np.where(valid, 10 ** (db / 10), 0)
    rng = np.random.default_rng(5)
    worst, compared = 0.0, 0
    for chip in range(4):
        row, col = places(ds, chip, crs, transform)
        stretch = (np.abs(np.diff(row, axis=0)).mean(), np.abs(np.diff(col, axis=1)).mean())
        for i, j in rng.integers(0, 448, (200, 2)):
            if not inside(row[i, j], col[i, j], db.shape, margin=4):
                continue
            weights = np.outer(
                _b_spline((np.arange(db.shape[0]) - row[i, j]) / max(1, stretch[0])),
                _b_spline((np.arange(db.shape[1]) - col[i, j]) / max(1, stretch[1])),
            )
            expected = 10 * np.log10((weights * power).sum() / (weights * valid).sum())
            worst = max(worst, abs(float(ds.power[chip, 0, i, j]) - expected))
            compared += 1
    assert compared > 50
    assert worst < DB_STEP / 2 + 0.01


def _b_spline(t: np.ndarray) -> np.ndarray:
    t = np.abs(t)
    return np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.where(t < 2, (2 - t) ** 3 / 6, 0))


def test_alicante_from_the_command_line(recipe_file: Callable[[str], Path], tmp_path: Path, capsys) -> None:
    out = tmp_path / "alicante"
    words = ["build", f"--aoi={BOXES['alicante']}", "--recipe", str(recipe_file("alicante")), "--out", str(out)]
    assert not app([*words, "--yes", "--json"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    assert told["reasons"]["flood"] == {"PARTIAL_COVERAGE": 4}
    assert not app(["verify", str(out)], standalone_mode=False)


# -- rasters on the lattice itself -------------------------------------------------------------------------------------


def test_hesbaye_is_copied_bit_for_bit(made: Made, shared_data: Path) -> None:
    """D104: on the lattice the codes are the file's numbers; months without data are missing."""
    path = shared_data / COLOCATED / "worldcereal_be_hesbaye"
    s2, s1 = layer(made("hesbaye"), "s2", raw=True), layer(made("hesbaye"), "s1")
    with xr.open_dataset(path / "preprocessed_inputs.nc", engine="h5netcdf", mask_and_scale=False) as file:
        left, top, shape = float(file.x[0]) - 5, float(file.y[0]) + 5, (100, 100)
        months = file.t.values.astype("datetime64[M]")
        slots = s2.time.values.astype("datetime64[M]")
        codes = window(s2, left, top, shape, s2.reflectance.values)
        decibel = window(s1, left, top, shape, s1.power.values)
        n_missing = 0
        for k, month in enumerate(slots):
            if month not in months:
                assert (s2.reflectance_reason.values[:, k] == Reason.NO_ACQUISITION).all()
                assert (s1.power_reason.values[:, k] == Reason.NO_ACQUISITION).all()
                n_missing += 1
                continue
            step = int(np.flatnonzero(months == month)[0])
            for b, band in enumerate(("S2-L2A-B02", "S2-L2A-B03", "S2-L2A-B04", "S2-L2A-B08")):
                dn = file[band].values[step].view("uint16").astype(int)
                assert np.array_equal(codes[k, b], np.where(dn == 65535, -32768, dn))
            for b, band in enumerate(f"S1-SIGMA0-{name.upper()}" for name in s1.band.values):
                dn = file[band].values[step].view("uint16").astype(float)
                seen = (dn != 0) & (dn != 65535)
                expected = 20 * np.log10(np.where(seen, dn, 1)) - 83
                assert np.array_equal(np.isfinite(decibel[k, b]), seen)
                assert np.abs(decibel[k, b] - expected)[seen].max() <= DB_STEP / 2 + 1e-4
    assert n_missing == 12
    crops = layer(made("hesbaye"), "cropland")
    with rasterio.open(path / "cropland_croptype.tif") as file:
        label = file.read(1)
        assert np.array_equal(
            window(crops, file.transform.c, file.transform.f, label.shape, crops.classes.values)[0], label
        )


def test_antwerp_composites_are_medians_and_means_of_what_is_clear(made: Made, shared_data: Path) -> None:
    folder = shared_data / COLOCATED / "openeo_be_antwerp"
    s2, s1 = layer(made("antwerp"), "s2", raw=True), layer(made("antwerp"), "s1")
    with xr.open_dataset(folder / "s2_l2a_ts.nc", engine="h5netcdf", mask_and_scale=False) as file:
        left, top, shape = float(file.x[0]) - 5, float(file.y[0]) + 5, (file.sizes["y"], file.sizes["x"])
        clear = ~np.isin(file["S2-L2A-SCL"].values, [3, 8, 9, 10])
        codes = window(s2, left, top, shape, s2.reflectance.values)
        days = file.t.values
        for k, (start, end) in enumerate(s2.time_bounds.values):
            of_slot = (days >= start) & (days < end)
            for b, band in enumerate(("S2-L2A-B04", "S2-L2A-B08")):
                dn = file[band].values[of_slot].view("uint16").astype(float)
                stack = np.ma.masked_array(dn, ~clear[of_slot] | (dn == 65535))
                if len(stack) == 0:
                    assert (codes[k, b] == -32768).all()
                    continue
                median = np.ma.median(stack, axis=0)
                missing = np.ma.getmaskarray(median)
                assert np.array_equal(codes[k, b] == -32768, missing)
                assert np.abs(codes[k, b] - median.filled(-32768)).max() <= 0.5 + 1e-3
    with xr.open_dataset(folder / "s1_grd_sigma0_ts.nc", engine="h5netcdf", mask_and_scale=False) as file:
        decibel = window(s1, left, top, shape, s1.power.values)
        for b, band in enumerate(f"S1-SIGMA0-{name.upper()}" for name in s1.band.values):
            dn = file[band].values.view("uint16").astype(float)
            power = np.ma.masked_array((dn * SIGMA_LUT) ** 2, (dn == 0) | (dn == 65535)).mean(axis=0)
            assert np.abs(decibel[0, b] - 10 * np.log10(power)).max() <= DB_STEP / 2 + 1e-3
    assert (s1["count"].values == [[10, 0]] * s1.sizes["chip"]).all()
    assert (s1.power_reason.values[:, 1] == Reason.NO_ACQUISITION).all()


SMALL_CHIPS = """
name: antwerp_small
grid: {chip_px: 16, resolution: 10}
layers:
  s2:
    source: local
    path: DATA/colocated/openeo_be_antwerp/s2_l2a_ts.nc
    kind: reflectance
    scale: 0.0001
    nodata: 65535
    bands: {b04: S2-L2A-B04, b08: S2-L2A-B08}
    mask: {band: S2-L2A-SCL, values: [3, 8, 9, 10]}
    slots: {dates: DATES}
"""


def test_clouds_are_observed_but_masked(shared_data: Path, tmp_path: Path) -> None:
    """A chip inside the raster is OK even where clouds hide a part, and ALL_CLOUD where they hide it all."""
    path = shared_data / COLOCATED / "openeo_be_antwerp/s2_l2a_ts.nc"
    with xr.open_dataset(path, engine="h5netcdf", mask_and_scale=False) as file:
        days = [str(day)[:10] for day in file.t.values]
        left, top = float(file.x[0]) - 5, float(file.y[0]) + 5
        cloud = np.isin(file["S2-L2A-SCL"].values, [3, 8, 9, 10])
        seen = file["S2-L2A-B04"].values.view("uint16") != 65535
    text = SMALL_CHIPS.replace("DATA", str(shared_data)).replace("DATES", f"[{', '.join(days)}]")
    plan = make_plan(parse_recipe(text), load_area("5.0530,51.2170,5.0590,51.2200"), base=tmp_path)
    build(plan, tmp_path / "d", runner=Threads(2))
    assert verify(tmp_path / "d").ok
    ds = layer(tmp_path / "d", "s2")
    found = set()
    for chip in range(ds.sizes["chip"]):
        r, c = round((top - int(ds.y0[chip])) / 10), round((int(ds.x0[chip]) - left) / 10)
        if not (0 <= r <= cloud.shape[1] - 16 and 0 <= c <= cloud.shape[2] - 16):
            continue
        for k in range(len(days)):
            hidden, there = cloud[k, r : r + 16, c : c + 16], seen[k, r : r + 16, c : c + 16]
            valid = np.isfinite(ds.reflectance.values[chip, k, 0])
            reason = Reason(int(ds.reflectance_reason[chip, k, 0]))
            assert np.array_equal(valid, there & ~hidden)
            if there.all():
                assert reason == (Reason.ALL_CLOUD if hidden.all() else Reason.OK)
                found.add((reason, bool(hidden.any())))
    assert found == {(Reason.OK, False), (Reason.OK, True), (Reason.ALL_CLOUD, True)}


# -- OPERA: 30 m bursts by month ---------------------------------------------------------------------------------------


def test_opera_months_without_a_pass_say_so(made: Made) -> None:
    ds = layer(made("opera"), "s1")
    passes = {"2022-11": 3, "2022-12": 2, "2023-01": 1, "2023-10": 3, "2023-11": 2, "2023-12": 3}
    seen = ds.power_reason.values == Reason.PARTIAL_COVERAGE
    assert (seen | (ds.power_reason.values == Reason.NO_ACQUISITION)).all()
    chips = seen.any(axis=(1, 2))
    assert chips.any()
    for k, month in enumerate(ds.time.values.astype("datetime64[M]").astype(str)):
        assert (seen[chips, k] == (month in passes)).all(), month
        assert (ds["count"].values[chips, k] == passes.get(month, 0)).all()
    first = ds.first_time.values[chips][0]
    assert str(first[10])[:16] == "2022-11-02T01:59"
    assert np.isnat(first[0])


def test_opera_burst_is_the_mean_power_of_its_passes(made: Made, shared_data: Path) -> None:
    """30 m to 20 m in the burst's own zone."""
    ds = layer(made("opera"), "s1")
    for band in ("vv", "vh"):
        folder = shared_data / "s1_grd/opera_rtc_ts/T137-292321-IW2"
        files = sorted(folder.glob(f"*-IW2_202211*_{band.upper()}.tif"))
        assert len(files) == 3
        stack = []
        for name in files:
            with rasterio.open(name) as file:
                stack.append(file.read(1).astype(float))
                transform, crs = file.transform, file.crs
        compared = 0
        for chip in np.flatnonzero(ds["count"].values[:, 10]):
            row, col = places(ds, chip, crs, transform)
            good = inside(row, col, stack[0].shape, margin=2)
            power = np.mean([b_spline(a, row[good], col[good]) for a in stack], axis=0)
            stored = ds.power.sel(band=band).values[chip, 10][good]
            assert np.abs(stored - 10 * np.log10(power)).max(initial=0) <= DB_STEP / 2 + 1e-3
            compared += good.sum()
        assert compared > 15_000


def test_opera_burst_of_the_neighbour_zone(recipe_file: Callable[[str], Path], shared_data: Path, tmp_path) -> None:
    """D43 in part: IW1 is tagged zone 11 and lies in the strip of zone 10."""
    recipe, base = load_recipe(str(recipe_file("opera")))
    build(
        make_plan(recipe, load_area("-120.7388,34.5703,-120.7049,34.5983"), base=base),
        tmp_path / "d",
        runner=Threads(2),
    )
    ds = layer(tmp_path / "d", "s1")
    assert set(ds.epsg.values) == {32610}
    names = sorted((shared_data / "s1_grd/opera_rtc_ts/T137-292321-IW1").glob("*-IW1_202312*_VV.tif"))
    stack = []
    for name in names:
        with rasterio.open(name) as file:
            stack.append(file.read(1).astype(float))
            transform, crs = file.transform, file.crs
    compared = 0
    for chip in np.flatnonzero(ds["count"].values[:, 23]):
        row, col = places(ds, chip, crs, transform)
        good = inside(row, col, stack[0].shape, margin=2)
        expected = np.mean([b_spline(a, row[good], col[good]) for a in stack], axis=0)
        stored = ds.power.sel(band="vv").values[chip, 23][good]
        assert np.abs(stored - 10 * np.log10(expected)).max(initial=0) <= DB_STEP / 2 + 5e-3
        compared += good.sum()
    assert compared > 15_000


# -- classes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "file"), WORLDCOVERS)
def test_sao_tome_class_areas(made: Made, shared_data: Path, name: str, file: str) -> None:
    """D15, D16: areas of the whole island by class, on the ellipsoid, from source to chips; no code appears."""
    from pyproj import Geod

    ds = layer(made("sao_tome"), name)
    with rasterio.open(shared_data / f"labels/{file}_sao_tome.tif") as data:
        codes, transform = data.read(1), data.transform
    geod = Geod(ellps="WGS84")
    north = transform.f + transform.e * np.arange(codes.shape[0] + 1)
    rows = np.array([
        abs(geod.polygon_area_perimeter([0, transform.a, transform.a, 0], [a, a, b, b])[0])
        for a, b in pairwise(north.tolist())
    ])  # fmt: skip
    stored = ds.classes.values[:, 0]
    assert (ds.classes_reason.values == Reason.OK).sum() == 70
    assert set(np.unique(stored)) == {*np.unique(codes), 255}, "0 is no data here, and none was made"
    areas = np.zeros(256)
    to_lonlat = Transformer.from_crs(32632, 4326, always_xy=True)
    for chip in range(ds.sizes["chip"]):
        lon, lat = to_lonlat.transform(float(ds.x0[chip]) + 2240, float(ds.y0[chip]) - 2240)
        square = 100 / Proj(32632).get_factors(lon, lat).areal_scale
        areas += np.bincount(stored[chip].ravel(), minlength=256) * square
    for code in np.unique(codes):
        truth = ((codes == code).sum(axis=1) * rows).sum()
        n = truth / 100
        assert abs(areas[code] / 100 - n) <= max(0.005 * n, 4 * np.sqrt(n)), code


@pytest.mark.parametrize(("name", "file"), WORLDCOVERS)
def test_sao_tome_whole_chip_against_supersampled_truth(made: Made, shared_data: Path, name: str, file: str) -> None:
    """D15: the most varied whole chip, 8 x 8 points a pixel at exact coordinates (4 x 4 for the second release)."""
    parts = 8 if name == "worldcover" else 4
    ds = layer(made("sao_tome"), name)
    with rasterio.open(shared_data / f"labels/{file}_sao_tome.tif") as data:
        codes, transform, crs = data.read(1), data.transform, data.crs
    whole = np.flatnonzero(ds.classes_reason.values[:, 0] == Reason.OK)
    chip = max(whole, key=lambda k: (ds.classes.values[k] == 50).sum())
    truth, there, _ = nearest(codes, *places(ds, chip, crs, transform, parts))
    assert there.all()
    stored = ds.classes.values[chip, 0]
    assert len(np.unique(stored)) >= 4
    for code in np.unique(truth):
        n = (truth == code).sum() / parts**2
        assert abs((stored == code).sum() - n) <= max(0.005 * n, 4 * np.sqrt(n)), code
    expected, _, clear = nearest(codes, *places(ds, chip, crs, transform))
    assert np.array_equal(stored[clear], expected[clear])


def test_sao_tome_legend_and_colours_travel(made: Made) -> None:
    ds = layer(made("sao_tome"), "worldcover")
    attributes = ds.classes.attrs
    assert 95 in list(attributes["flag_values"])
    assert "_FillValue" not in attributes
    assert ds.classes.dtype == np.uint8
    old = layer(made("sao_tome"), "worldcover_2020").classes.attrs
    assert list(old["flag_values"]) == list(attributes["flag_values"])
    assert (attributes["product"], old["product"]) == ("worldcover-v200", "worldcover-v100")


# -- Sao Miguel: three resolutions -------------------------------------------------------------------------------------


def test_sao_miguel_lattices_are_honest(made: Made) -> None:
    pitch = {name: float(layer(made("sao_miguel"), name).pitch) for name in ("height", "people", "corine")}
    assert pitch == {"height": 140, "people": 560, "corine": 20}


def test_sao_miguel_heights_and_their_coast(made: Made, shared_data: Path) -> None:
    """D20 with a real nodata of -3.4e38: values, and where they end, as the formula says."""
    ds = layer(made("sao_miguel"), "height")
    with rasterio.open(shared_data / COLOCATED / "sao_miguel_azores/DEM_eudem_v11.tif") as file:
        height, transform, crs = file.read(1, masked=True), file.transform, file.crs
    valid = ~np.ma.getmaskarray(height)
    n_coast = n_land = 0
    for chip in range(ds.sizes["chip"]):
        row, col = places(ds, chip, crs, transform)
        expected, weight = masked_bilinear(height.filled(0).astype(float), valid, row, col)
        stored = ds.continuous.values[chip, 0]
        decided = np.abs(weight - 0.5) > 1e-3
        assert np.array_equal(np.isfinite(stored)[decided], (weight >= 0.5)[decided])
        both = np.isfinite(stored) & (weight >= 0.5)
        np.testing.assert_allclose(stored[both], expected[both], atol=0.3)
        np.testing.assert_allclose(stored[weight > 0.999], expected[weight > 0.999], atol=0.1)
        n_coast += int((both & (weight < 0.999)).sum())
        n_land += int(both.sum())
    assert n_land > 20_000
    assert n_coast > 500
    assert 1000 < float(ds.continuous.max()) <= float(height.max())
    assert float(ds.continuous.min()) >= float(height.min())


def test_sao_miguel_people_per_pixel(made: Made, shared_data: Path) -> None:
    """D22: each pixel that the census covers wholly holds its share of the cells, by area in the cells' own plane."""
    ds = layer(made("sao_miguel"), "people")
    with rasterio.open(shared_data / COLOCATED / "sao_miguel_azores/POP_gpw_v411_count.tif") as file:
        people, transform, crs = file.read(1, masked=True), file.transform, file.crs
    stored_total = expected_total = 0.0
    for chip in range(ds.sizes["chip"]):
        expected, cover = supersampled_amount(ds, chip, people, crs, transform)
        stored = ds.amount.values[chip, 0]
        whole = cover == 1
        assert np.isfinite(stored[whole]).all()
        stored_total += stored[whole].sum()
        expected_total += expected[whole].sum()
    assert expected_total > 50_000
    assert stored_total == pytest.approx(expected_total, rel=0.005)


def test_sao_miguel_keeps_its_people(made: Made, shared_data: Path) -> None:
    """D22 with a coast: pixels that the census covers in part hold that part, so nobody is lost."""
    with rasterio.open(shared_data / COLOCATED / "sao_miguel_azores/POP_gpw_v411_count.tif") as file:
        people = float(file.read(1, masked=True).astype(float).sum())
    stored = layer(made("sao_miguel"), "people").amount.values.astype(float)
    assert float(np.nansum(stored)) == pytest.approx(people, rel=0.005)


def supersampled_amount(ds: xr.Dataset, chip: int, amount: np.ma.MaskedArray, crs, transform, parts: int = 16):
    """Return per pixel the amount under parts x parts pieces, each by its own area, and the share that has data."""
    row, col = places(ds, chip, crs, transform, parts)
    # Area of a piece in source cells: the determinant of the map from target to source.
    piece = np.abs(
        np.gradient(row, axis=0) * np.gradient(col, axis=1) - np.gradient(row, axis=1) * np.gradient(col, axis=0)
    )
    values, there, _ = nearest(np.ma.filled(amount, 0).astype(float), row, col)
    has = there & ~nearest(np.ma.getmaskarray(amount), row, col)[0]
    size = ds.sizes["x"]
    shape = (size, parts, size, parts)
    return (values * has * piece).reshape(shape).sum(axis=(1, 3)), has.reshape(shape).mean(axis=(1, 3))


def test_sao_miguel_corine(made: Made, shared_data: Path) -> None:
    """D15, D16 with 44 classes: nearest at exact coordinates, areas on the ellipsoid."""
    ds = layer(made("sao_miguel"), "corine")
    with rasterio.open(shared_data / COLOCATED / "sao_miguel_azores/LULC_clc2018.tif") as file:
        codes, transform, crs = file.read(1), file.transform, file.crs
    n = np.zeros(256)
    for chip in range(ds.sizes["chip"]):
        row, col = places(ds, chip, crs, transform)
        expected, there, clear = nearest(codes, row, col)
        stored = ds.classes.values[chip, 0]
        assert np.array_equal(stored[there & clear], expected[there & clear])
        assert (stored[~there & clear] == 255).all()
        lon, lat = Transformer.from_crs(32626, 4326, always_xy=True).transform(
            float(ds.x0[chip]) + 2240, float(ds.y0[chip]) - 2240
        )
        n += np.bincount(stored.ravel(), minlength=256) / Proj(32626).get_factors(lon, lat).areal_scale
    latitude = np.radians(transform.f + transform.e * (np.arange(codes.shape[0]) + 0.5))
    radius, e2 = 6_378_137.0, 0.00669437999014
    rows = radius**2 * np.cos(latitude) * (1 - e2) / (1 - e2 * np.sin(latitude) ** 2) ** 2
    rows *= np.radians(transform.a) * np.radians(-transform.e) / ds.pitch**2
    for code in np.unique(codes):
        truth = float(((codes == code).sum(axis=1) * rows).sum())
        assert abs(n[code] - truth) <= max(0.005 * truth, 4 * np.sqrt(truth)), code
    assert len(ds.classes.attrs["flag_values"]) == 45, "44 classes and no data"


# -- other projections -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "file", "unit", "busy"), [("people", "POP", 1, 8), ("built", "BUILT", 10_000, 8)])
def test_amounts_in_mollweide_are_conserved(
    made: Made, shared_data: Path, name: str, file: str, unit: int, busy: int
) -> None:
    """D22 across the border of zones 31 and 32: per chip against cut-up pixels, and all people and m2 once."""
    ds = layer(made("ghsl"), name)
    assert set(ds.epsg.values) == {32631, 32632}
    (path,) = (shared_data / "labels/ghsl").glob(f"GHS_{file}_*")
    with rasterio.open(path) as data:
        people, transform, crs = data.read(1, masked=True) * unit, data.transform, data.crs.to_wkt()
    total, n_busy = 0.0, 0
    for chip in range(ds.sizes["chip"]):
        expected, cover = supersampled_amount(ds, chip, people, crs, transform)
        stored = ds.amount.values[chip, 0]
        if (cover == 1).all() and expected.sum() > people.sum() / 250:
            assert float(stored.sum()) == pytest.approx(expected.sum(), rel=0.005)
            n_busy += 1
        total += float(np.nansum(stored * share_of_own_strip(ds, chip)))
    assert n_busy >= busy
    assert total == pytest.approx(float(people.sum()), rel=0.005)


def test_settlements_in_mollweide_are_the_nearest_cell(made: Made, shared_data: Path) -> None:
    ds = layer(made("ghsl"), "settlement")
    (path,) = (shared_data / "labels/ghsl").glob("GHS_SMOD_*")
    with rasterio.open(path) as data:
        codes, transform, crs = data.read(1), data.transform, data.crs.to_wkt()
    for chip in range(ds.sizes["chip"]):
        expected, there, clear = nearest(codes, *places(ds, chip, crs, transform))
        stored = ds.classes.values[chip, 0]
        assert np.array_equal(stored[there & clear], expected[there & clear])
    assert set(np.unique(ds.classes)) <= {*np.unique(codes), 255}
    assert ds.classes.attrs["product"] == "ghs-smod"


# -- biomass and disturbance, UTM 19 S ---------------------------------------------------------------------------------


def test_acre_biomass_keeps_its_zeros_its_holes_and_its_uncertainty(made: Made, shared_data: Path) -> None:
    """D51: Mg/ha with a standard deviation; nodata of -3.4e38 spoils nothing."""
    ds = layer(made("acre"), "biomass")
    folder = shared_data / "labels/agb"
    with (
        rasterio.open(folder / "BON_A01_2018_AGB_100m.tif") as a,
        rasterio.open(folder / "BON_A01_2018_CV_100m.tif") as b,
    ):
        agb, cv, transform, crs = a.read(1, masked=True), b.read(1, masked=True), a.transform, a.crs
    assert (float(ds.pitch), ds.agb.attrs["units"], ds.agb_sd.attrs["units"]) == (80, "Mg/ha", "Mg/ha")
    assert ds.agb_sd.attrs["correlation"] == 0
    there = ~(np.ma.getmaskarray(agb) | np.ma.getmaskarray(cv))
    sd = np.where(there, agb.filled(0) * cv.filled(0), 0.0)
    n = n_inner = 0
    for chip in range(ds.sizes["chip"]):
        row, col = places(ds, chip, crs, transform)
        expected, weight = masked_bilinear(agb.filled(0).astype(float), ~np.ma.getmaskarray(agb), row, col)
        stored, error = ds.agb.values[chip, 0], ds.agb_sd.values[chip, 0]
        sure = np.abs(weight - 0.5) > 1e-3
        assert np.array_equal(np.isfinite(stored)[sure], (weight >= 0.5)[sure])
        np.testing.assert_allclose(stored[weight > 0.999], expected[weight > 0.999], rtol=1e-4)
        # Independent errors: the variance of a weighted mean is the sum of w2 sd2, by hand from the four neighbours.
        r, c = np.floor(row).astype(int), np.floor(col).astype(int)
        inner = (weight > 0.999) & (r >= 0) & (c >= 0) & (r < agb.shape[0] - 1) & (c < agb.shape[1] - 1)
        fy, fx = (row - r)[inner], (col - c)[inner]
        variance = np.zeros(inner.sum())
        whole = np.ones(inner.sum(), bool)
        for dy, wy in ((0, 1 - fy), (1, fy)):
            for dx, wx in ((0, 1 - fx), (1, fx)):
                variance += (wy * wx * sd[r[inner] + dy, c[inner] + dx]) ** 2
                whole &= there[r[inner] + dy, c[inner] + dx]
        np.testing.assert_allclose(error[inner][whole], np.sqrt(variance[whole]), rtol=1e-3)
        n, n_inner = n + np.isfinite(stored).sum(), n_inner + whole.sum()
    assert n > 800
    assert n_inner > 400
    assert float(ds.agb.max()) <= float(agb.max())


def test_valparaiso_alert_and_metric(made: Made, shared_data: Path) -> None:
    """Class 0 is no disturbance, not no data; the metric is bilinear."""
    alert, metric = layer(made("valparaiso"), "alert"), layer(made("valparaiso"), "metric")
    folder = shared_data / "labels/dist_alert_chile_fire"
    (status,), (measured,) = folder.glob("*STATUS.tif"), folder.glob("*METRIC.tif")
    with rasterio.open(status) as a, rasterio.open(measured) as b:
        codes, values, transform, crs = a.read(1), b.read(1).astype(float), a.transform, a.crs
    for chip in range(alert.sizes["chip"]):
        row, col = places(alert, chip, crs, transform)
        expected, there, clear = nearest(codes, row, col)
        stored = alert.classes.values[chip, 0]
        assert np.array_equal(stored[there & clear], expected[there & clear])
        assert (stored[~there & clear] == 255).all()
        good = inside(row, col, values.shape)
        smooth = map_coordinates(values, [row, col], order=1)
        np.testing.assert_allclose(metric.continuous.values[chip, 0][good], smooth[good], atol=1e-3)
    assert (alert.classes == 0).sum() > 10_000
    named = dict(zip(alert.classes.attrs["flag_values"], alert.classes.attrs["flag_meanings"].split(), strict=True))
    assert (named[0], named[6]) == ("none", "confirmed_high")


def test_modis_sinusoidal_ndvi(made: Made, shared_data: Path) -> None:
    ds = layer(made("modis"), "ndvi")
    with xr.open_dataset(
        shared_data / "labels/MODIS_ARRAY_sinusoidal.nc", engine="h5netcdf", mask_and_scale=False
    ) as file:
        stored = file["__xarray_dataarray_variable__"]
        crs, values = stored.attrs["crs"], stored.values
        step = float(file.x[1] - file.x[0])
        transform = rasterio.Affine(step, 0, float(file.x[0]) - step / 2, 0, -step, float(file.y[0]) + step / 2)
    valid = values != -28672
    compared = 0
    for chip in range(ds.sizes["chip"]):
        row, col = places(ds, chip, crs, transform)
        expected, weight = masked_bilinear(values.astype(float), valid, row, col)
        made_here = ds.continuous.values[chip, 0]
        decided = np.abs(weight - 0.5) > 2e-3
        assert np.array_equal(np.isfinite(made_here)[decided], (weight >= 0.5)[decided])
        inner = weight > 0.999
        assert np.abs(made_here - expected)[inner].max(initial=0) < 2
        compared += inner.sum()
    assert compared > 90_000


def test_rome_compound_crs(made: Made, shared_data: Path) -> None:
    ds = layer(made("rome"), "dem")
    assert ds.continuous.attrs["vertical_datum"] == "EGM96 height"
    with rasterio.open(shared_data / "dem/Rome-30m-DEM.tif") as file:
        height, transform = file.read(1), file.transform
    compared = 0
    for chip in range(ds.sizes["chip"]):
        row, col = places(ds, chip, 4326, transform)
        good = inside(row, col, height.shape)
        expected = map_coordinates(height.astype(float), [row, col], order=1)
        assert np.abs(ds.continuous.values[chip, 0] - expected)[good].max(initial=0) < 0.05
        compared += good.sum()
    assert compared > 180_000


def test_los_angeles_tiles_make_one_surface(made: Made, shared_data: Path) -> None:
    """No hole and no seam where tiles meet: everywhere the values of the four as one raster."""
    ds = layer(made("los_angeles"), "dem")
    files = sorted((shared_data / "dem/los_angeles_tiles").glob("*.tif"))
    joined, transform = merge(files)
    height = joined[0].astype(float)
    for chip in range(ds.sizes["chip"]):
        row, col = places(ds, chip, 4326, transform)
        good = inside(row, col, height.shape)
        stored = ds.continuous.values[chip, 0]
        assert np.isfinite(stored[good]).all()
        expected = map_coordinates(height, [row, col], order=1)
        assert np.abs(stored - expected)[good].max(initial=0) < 0.01


# -- the shipped example -----------------------------------------------------------------------------------------------


def test_local_example_builds_from_files_named_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the sample data: made-up rasters in the folders of ``recipes/local-example.yaml``."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    fine = rasterio.Affine(10, 0, 500_000, 0, -10, 5_330_000)
    coarse = rasterio.Affine(20, 0, 500_000, 0, -20, 5_330_000)

    def write(name: str, data: np.ndarray, transform: rasterio.Affine, **more) -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        data = np.atleast_3d(data) if data.ndim == 3 else data[None]
        size = {"count": data.shape[0], "height": data.shape[1], "width": data.shape[2], "dtype": data.dtype}
        with rasterio.open(name, "w", "GTiff", crs="EPSG:32632", transform=transform, **size, **more) as file:
            file.write(data)

    for day in ("20230405", "20230417"):
        write(f"rasters/s1/S1_{day}.tif", rng.normal(-10, 1, (2, 900, 900)).astype("float32"), fine)
        for band, dn in (("B02", 1300), ("B03", 1500), ("B04", 1400), ("B08", 4000)):
            write(f"rasters/s2/T32UNU_{day}_{band}.tif", np.full((900, 900), dn, "uint16"), fine)
        clouds = np.full((450, 450), 4, "uint8")
        clouds[:, :100] = 9
        write(f"rasters/s2/T32UNU_{day}_SCL.tif", clouds, coarse)
    write("rasters/dem/dem.tif", np.full((450, 450), 412, "float32"), coarse)
    write("rasters/landcover/map.tif", np.full((900, 900), 40, "uint8"), fine, nodata=0)
    recipe, base = load_recipe("local-example")
    plan = make_plan(recipe, load_area("9.02,48.07,9.03,48.08"), base=base)
    build(plan, tmp_path / "out", runner=Threads(2))
    assert verify(tmp_path / "out").ok
    s2 = layer(tmp_path / "out", "s2")
    april = s2.reflectance.isel(time=3)
    assert float(april.sel(band="red").max()) == pytest.approx(0.04)
    assert float(april.sel(band="nir").max()) == pytest.approx(0.3)
    assert (s2.reflectance_reason.values[:, 0] == Reason.NO_ACQUISITION).all()
    s1 = layer(tmp_path / "out", "s1")
    assert (s1["count"].values[:, 3] == 2).any()
    assert -11 < float(s1.power.isel(time=3).mean()) < -9
    assert float(layer(tmp_path / "out", "dem").continuous.max()) == 412
    assert set(np.unique(layer(tmp_path / "out", "landcover").classes)) <= {40, 255}


def test_recipes_name_files_that_are_there(shared_data: Path) -> None:
    """The recipes as they stand, beside the sample data."""
    if shared_data.resolve() != (RECIPES / DATA).resolve():
        pytest.skip(f"the sample data lie at {shared_data}, not where the recipes look")
    for path in sorted(RECIPES.glob("*.yaml")):
        recipe = load_recipe(str(path))[0]
        files = [model.options["path"] for model in recipe.layers.values() if model.source == "local"]
        for file in [*files, *([recipe.admin.path] if recipe.admin else [])]:
            assert (RECIPES / file).exists(), f"{path.name}: {file}"
    # Its labels are built by test_units_on_real_data; with images of the whole island it takes two minutes.
    assert {path.stem for path in RECIPES.glob("*.yaml")} == {*BOXES, "sao_miguel_llp"}
