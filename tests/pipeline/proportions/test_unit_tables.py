"""Tables of units and label columns of chips, of builds whose every area is known (D58-D60)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import shapely
from affine import Affine

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.errors import ConfigError, PrepError
from m3leo_prep.core.recipe import SplitsModel
from m3leo_prep.core.zones import areal_scale, unproject
from m3leo_prep.pipeline.build import build, close
from m3leo_prep.pipeline.follow.watch import Watch
from m3leo_prep.pipeline.manifest import rewrite
from m3leo_prep.pipeline.proportions import measure as measure_module
from m3leo_prep.pipeline.splitting.rewrite import add_policy
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads
from m3leo_prep.store.tables import read_table, write_table
from tests.pipeline.conftest import tree
from tests.pipeline.proportions.conftest import geodesic, made, planned, write_raster, write_units

STEP = 0.0002
WEST, NORTH = 9.294, 57.12
BOX = (9.30, 57.10, 9.312, 57.104)
RECIPE = """
name: t
grid: {chip_px: 32, resolution: 10}
admin: {path: units.geojson, id: id}
layers:
  cover: {role: label, source: local, path: cover.tif, kind: classes, nodata: 0, resolution: 20,
          legend: {1: Tree cover, 2: Water, 3: Rock}}
  people: {role: label, source: local, path: people.tif, kind: amount, unit: people, nodata: -1, resolution: 20}
  height: {role: label, source: local, path: height.tif, kind: continuous, unit: m, resolution: 20}
"""
UNITS = {
    "b": shapely.box(9.306, 57.099, 9.322, 57.1055),
    "a": shapely.box(9.2999, 57.1002, 9.306, 57.1035),
    "far": shapely.box(9.40, 57.10, 9.41, 57.11),
}


def rasters(folder: Path) -> None:
    """West of 9.306 E trees, east of it water; no data north of 57.108 N; 2 people a pixel; height = 100 lat."""
    shape = (150, 200)
    lat = NORTH - (np.arange(150)[:, None] + 0.5) * STEP + np.zeros(shape)
    lon = WEST + (np.arange(200) + 0.5) * STEP + np.zeros(shape)
    cover = np.where(lat > 57.108, 0, np.where(lon < 9.306, 1, 2)).astype(np.uint8)
    to = Affine(STEP, 0, WEST, 0, -STEP, NORTH)
    write_raster(folder / "cover.tif", cover, to, "EPSG:4326")
    write_raster(folder / "people.tif", np.full(shape, 2, np.float32), to, "EPSG:4326")
    write_raster(folder / "height.tif", (100 * lat).astype(np.float32), to, "EPSG:4326")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("units")
    rasters(path)
    write_units(path / "units.geojson", UNITS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))  # as in tests
        made(RECIPE, BOX, path)
    return path


@pytest.fixture(scope="module")
def tables(folder: Path) -> dict[str, pd.DataFrame]:
    return {name: pd.read_parquet(folder / "out" / f"{name}.parquet") for name in ("chips", "units", "chip_units")}


def test_chips_have_their_classes_and_sums(tables: dict[str, pd.DataFrame]) -> None:
    chips = tables["chips"]
    shares = chips[[f"prop_cover_{name}" for name in ("tree_cover", "water", "rock")]]
    assert (shares.dtypes == np.float32).all()
    assert (shares.sum(axis=1) - 1).abs().max() < 1e-6
    assert (shares.prop_cover_rock == 0).all(), "a class that is nowhere is 0, not missing"
    boxes = shapely.from_wkb(chips.geometry)
    west = [geodesic(box & shapely.box(9, 57, 9.306, 58)) / geodesic(box) for box in boxes]
    np.testing.assert_allclose(shares.prop_cover_tree_cover, west, atol=0.5 * 20 / 320)
    assert 0.2 < shares.prop_cover_tree_cover.mean() < 0.8
    people = 2 * geodesic(shapely.box(9.3, 57.1, 9.3 + STEP, 57.1 + STEP)) ** -1
    np.testing.assert_allclose(chips.sum_people, people * chips.area_km2, rtol=3e-4)
    np.testing.assert_allclose(chips.mean_height, 100 * chips.lat, atol=100 * STEP)


def test_pixels_of_a_chip_have_one_area() -> None:
    """Why chips count pixels: within 4480 m areas differ by 1e-4 at most, even where scale changes fastest."""
    for epsg, x0, lat in ((32631, 833_978 - 4480, 0.1), (32631, 740_000, 45), (32631, 560_000, 75)):
        y = lat * 110_600
        lon, lats = unproject(epsg, np.array([x0, x0 + 4480.0]), np.array([y, y]))
        low, high = areal_scale(epsg, lon, lats)
        assert abs(high / low - 1) < 1.2e-4


def test_a_chip_belongs_to_the_unit_that_covers_most_of_it(tables: dict[str, pd.DataFrame]) -> None:
    """D60."""
    found = 0
    for chip in tables["chips"].itertuples():
        shared = {name: geodesic(shapely.from_wkb(chip.geometry) & unit) for name, unit in UNITS.items()}
        best = max(shared, key=lambda name: shared[name])
        assert chip.admin_unit == best if shared[best] > 0 else pd.isna(chip.admin_unit)
        found += shared[best] > 0
    assert found > 10


def test_overlaps_have_their_areas_and_fill_units(tables: dict[str, pd.DataFrame]) -> None:
    chips, pairs = tables["chips"].set_index("chip_id"), tables["chip_units"]
    for pair in pairs.itertuples():
        box = shapely.from_wkb(chips.geometry[pair.chip_id])
        assert pair.area_km2 == pytest.approx(geodesic(box & UNITS[pair.unit]), rel=1e-5)
        assert pair.share_of_chip == pytest.approx(pair.area_km2 / chips.area_km2[pair.chip_id], rel=1e-5)
        assert chips.row[pair.chip_id] == pair.row
    units = tables["units"].set_index("unit")
    assert list(units.index) == ["a", "b"], "in the order of ids; no chip meets 'far'"
    total = pairs.groupby("unit").area_km2.sum()
    assert total["a"] == pytest.approx(geodesic(UNITS["a"]), rel=1e-5), "D4: chips cover all of it, none twice"
    assert units.coverage["a"] == pytest.approx(1, abs=1e-5)
    assert units.coverage["b"] == pytest.approx(total["b"] / geodesic(UNITS["b"]), rel=1e-5)
    assert 0.3 < units.coverage["b"] < 0.95, "half outside the area"
    assert units.n_chips.sum() == chips.admin_unit.notna().sum()


def test_units_hold_what_the_raster_says_also_outside_the_chips(tables: dict[str, pd.DataFrame]) -> None:
    units = tables["units"].set_index("unit")
    np.testing.assert_allclose(units.area_km2, [geodesic(UNITS[name]) for name in units.index], rtol=1e-6)
    np.testing.assert_allclose(units.prop_cover_tree_cover, [1, 0], atol=1e-6)
    np.testing.assert_allclose(units.prop_cover_water, [0, 1], atol=1e-6)
    pixel = geodesic(shapely.box(9.3, 57.1, 9.3 + STEP, 57.1 + STEP))
    np.testing.assert_allclose(units.sum_people, 2 * units.area_km2 / pixel, rtol=1e-4)
    for name, unit in UNITS.items():
        if name != "far":
            assert units.mean_height[name] == pytest.approx(100 * unit.centroid.y, abs=1e-3)
    assert units[[c for c in units if c.startswith("reason")]].isna().all(axis=None)


def test_built_proportions_are_those_of_the_bag(tables: dict[str, pd.DataFrame]) -> None:
    chips, units = tables["chips"], tables["units"].set_index("unit")
    for name, bag in chips.groupby("admin_unit"):
        for column in ("prop_cover_tree_cover", "prop_cover_water", "prop_cover_rock", "mean_height"):
            share = np.average(bag[column], weights=bag.area_km2)
            word, _, rest = column.partition("_")
            assert units[f"{word}_built_{rest}"][name] == pytest.approx(share, rel=1e-5, abs=1e-6)
        assert units.sum_built_people[name] == pytest.approx(bag.sum_people.sum(), rel=1e-5)
    assert units.prop_built_cover_water["a"] > 0.02, "its chips reach over its border: a bag is not its unit"


def test_the_dataset_verifies_and_tells_its_groups(folder: Path) -> None:
    assert verify(folder / "out", quick=True).problems == []
    manifest = json.loads((folder / "out/manifest.json").read_text())
    assert manifest["admin"] == {"name": "unit", "file": "units.geojson", "id": "id", "n_units": 2, "slivers": 0}
    assert manifest["proportions"]["min_valid"] == 0.5
    assert manifest["proportions"]["columns"]["cover"]["classes"] == {"tree_cover": [1], "water": [2], "rock": [3]}
    assert {"units.parquet", "chip_units.parquet"} <= manifest["files"].keys()


def test_too_little_valid_ground_has_no_proportions_but_a_reason(tmp_path: Path) -> None:
    rasters(tmp_path)
    units = {
        "most": shapely.box(9.301, 57.103, 9.303, 57.1095),
        "none": shapely.box(9.301, 57.1095, 9.303, 57.112),
        "some": shapely.box(9.303, 57.107, 9.305, 57.112),
    }
    write_units(tmp_path / "units.geojson", units)
    out = made(RECIPE, (9.301, 57.103, 9.305, 57.1118), tmp_path)
    found = pd.read_parquet(out / "units.parquet").set_index("unit")
    assert found.prop_cover_tree_cover["most"] == 1
    assert found.prop_cover_tree_cover[["none", "some"]].isna().all()
    assert found.valid_cover["most"] == pytest.approx(50 / 65, abs=1e-4)
    assert found.reason_cover.dropna().to_dict() == {
        "none": "the label has no data here",
        "some": "labels are valid on 20.0% of the unit, below min_valid 0.5",
    }
    chips = pd.read_parquet(out / "chips.parquet")
    shares = chips[[c for c in chips if c.startswith("prop_cover")]]
    assert (shares.isna().any(axis=1) == (chips.valid_cover < 50)).all()
    assert set(shares.isna().sum(axis=1)) == {0, 3}, "all or none"


SEAM = """
name: t
grid: {chip_px: 128, resolution: 10}
admin: {path: units.geojson, id: id}
layers:
  cover: {role: label, source: local, path: cover.tif, legend: {1: seam, 2: rest}, kind: classes, resolution: 40}
"""


def test_ground_of_two_zones_counts_once(tmp_path: Path) -> None:
    """Chips of both zones lie over the seam at 12 E; class 1 is a strip there, which they hold twice."""
    lon = 11.9 + (np.arange(1000) + 0.5) * 0.0002 + np.zeros((500, 1))
    codes = np.where(np.abs(lon - 12) < 0.01, 1, 2).astype(np.uint8)
    write_raster(tmp_path / "cover.tif", codes, Affine(0.0002, 0, 11.9, 0, -0.0002, 50.07), "EPSG:4326")
    write_units(tmp_path / "units.geojson", {"u": shapely.box(11.93, 50.0, 12.07, 50.04)})
    out = made(SEAM, (11.93, 50.0, 12.07, 50.04), tmp_path)
    units = pd.read_parquet(out / "units.parquet")
    pairs, chips = pd.read_parquet(out / "chip_units.parquet"), pd.read_parquet(out / "chips.parquet")
    assert chips.epsg.nunique() == 2
    assert (chips.owned_fraction < 1).sum() > 5
    assert pairs.area_km2.sum() == pytest.approx(units.area_km2[0], rel=1e-3)
    bag = chips[chips.admin_unit.notna()]
    owned = bag.area_km2 * bag.owned_fraction
    ground = shapely.union_all(shapely.from_wkb(bag.geometry))
    truth = geodesic(ground & shapely.box(11.99, 49, 12.01, 51)) / geodesic(ground)
    assert units.prop_built_cover_seam[0] == pytest.approx(truth, abs=0.004)
    counted_twice = np.average(bag.prop_cover_seam, weights=bag.area_km2)
    assert counted_twice > truth + 0.01, "all pixels of the chips must fail this test"
    assert owned.sum() == pytest.approx(geodesic(ground), rel=2e-3)
    assert units.prop_cover_seam[0] == pytest.approx(1 / 7, abs=1e-4)


def test_pixels_are_read_once_and_a_failing_source_still_closes_the_dataset(tmp_path: Path) -> None:
    rasters(tmp_path)
    write_units(tmp_path / "units.geojson", UNITS)
    out = made(RECIPE, BOX, tmp_path)
    units = (out / "units.parquet").read_bytes()
    hidden = (tmp_path / "cover.tif").rename(tmp_path / "hidden.tif")
    close(out)
    assert (out / "units.parquet").read_bytes() == units, "nothing was read again"
    for kept in (out / ".m3leo/units").glob("units-cover-*"):
        kept.unlink()
    with pytest.raises(PrepError, match=r"built and closed; units\.parquet lacks"):
        close(out)
    found = pd.read_parquet(out / "units.parquet")
    assert found.prop_cover_water.isna().all()
    assert found.reason_cover.str.contains("run the same build again").all()
    assert found.prop_built_cover_water.notna().all()
    assert found.mean_height.notna().all(), "another layer's source works"
    assert verify(out, quick=True, sample=0).problems == []
    hidden.rename(tmp_path / "cover.tif")
    close(out)
    assert (out / "units.parquet").read_bytes() == units


TILES = """
name: t
grid: {chip_px: 32, resolution: 10}
admin: {path: units.geojson, id: id}
layers: {cover: {role: label, source: local, path: ., pattern: "tile*.tif", kind: classes, legend: {1: a, 2: b}}}
"""


def test_growth_reads_only_units_of_which_the_plan_knows_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile a unit; of the second only the growth knows."""
    for k in range(3):
        codes = np.full((60, 100), 1 + k % 2, np.uint8)
        write_raster(tmp_path / f"tile{k}.tif", codes, Affine(STEP, 0, 9.30 + 0.02 * k, 0, -STEP, 57.11), "EPSG:4326")
    boxes = {str(k): shapely.box(9.301 + 0.02 * k, 57.1, 9.319 + 0.02 * k, 57.104) for k in range(3)}
    write_units(tmp_path / "units.geojson", boxes)
    read: list[int] = []

    class Count(Watch):
        def reads_units(self, layer: str, done: int, of: int) -> None:
            read.append(done)

    def grow(east: float, out: str = "out") -> pd.DataFrame:
        read.clear()
        box = (9.30, 57.10, east, 57.104)
        build(planned(TILES, box, tmp_path), tmp_path / out, runner=Threads(2), watch=Count())
        return pd.read_parquet(tmp_path / out / "units.parquet").set_index("unit")

    covered: list[int] = []
    real = measure_module.cover
    monkeypatch.setattr(measure_module, "cover", lambda *args: covered.append(len(args[2])) or real(*args))
    first = grow(9.312)
    assert (list(first.index), covered) == (["0"], [1])
    assert read
    grown = grow(9.345)
    assert (list(grown.index), covered) == (["0", "1", "2"], [1, 2])
    np.testing.assert_allclose(grown.prop_cover_a, [1, 0, 1], atol=1e-6)
    assert first.prop_cover_a["0"] == grown.prop_cover_a["0"]
    grow(9.345)
    assert covered == [1, 2]
    assert read == []


def test_a_layer_that_waits_for_its_build_is_not_read(folder: Path, tmp_path: Path) -> None:
    """Its stored pixels are of other settings than the plan's."""
    out = shutil.copytree(folder / "out", tmp_path / "out")
    kept = sorted(path.name for path in (out / ".m3leo/units").iterdir())
    changed = RECIPE.replace("nodata: 0, resolution: 20", "nodata: 0, resolution: 40")
    build(planned(changed, BOX, folder), out, runner=Threads(2), layers=["people"])
    assert sorted(path.name for path in (out / ".m3leo/units").iterdir()) == kept
    assert not [name for name in pd.read_parquet(out / "units.parquet") if "cover_" in name]


def test_columns_of_one_name_are_refused(folder: Path) -> None:
    """What chips hold of ``cover`` in units, and what units hold of ``built_cover``."""
    both = RECIPE + RECIPE[RECIPE.index("  cover:") : RECIPE.index("  people:")].replace("cover:", "built_cover:", 1)
    with pytest.raises(ConfigError, match="2 label columns would have the name 'prop_built_cover_tree_cover'"):
        planned(both, BOX, folder)


def test_the_manifest_says_why_units_have_no_values_of_their_own(tmp_path: Path) -> None:
    recipe = """
        name: t
        grid: {chip_px: 32, resolution: 10}
        admin: {path: units.geojson, id: id}
        layers:
          mean: {role: label, source: ramp, statistic: mean}
          first: {role: label, source: ramp, statistic: first}
    """
    write_units(tmp_path / "units.geojson", UNITS)
    out = made(recipe, BOX, tmp_path)
    names, told = list(pd.read_parquet(out / "units.parquet")), json.loads((out / "manifest.json").read_text())
    columns, lacking = told["proportions"]["columns"], told["proportions"]["not_of_units"]
    assert {about["layer"] for about in columns.values()} == {"mean", "first"}
    assert {columns[name]["layer"] for name in lacking} == {"mean"}
    assert set(lacking.values()) == {"it is the mean of several acquisitions, made chip by chip"}
    assert {name for name in columns if f"valid_{name}" not in names} == set(lacking)
    assert verify(out, quick=True, sample=0).problems == []


def test_closing_after_a_split_was_added_changes_no_byte(folder: Path, tmp_path: Path) -> None:
    out = shutil.copytree(folder / "out", tmp_path / "out")
    for name in ("z", "a"):
        add_policy(out, SplitsModel(policy="random"), name=name, base=tmp_path)
    before = tree(out)
    close(out)
    assert tree(out) == before


def edited(table: pa.Table, column: str, row: int, value: object) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    return table.set_column(table.column_names.index(column), column, pa.array(values, table[column].type))


@pytest.mark.parametrize(
    ("name", "column", "value", "said"),
    [
        ("chips", "prop_cover_water", 0.999, "prop_cover_tree_cover and the other classes are no shares"),
        ("chips", "prop_cover_water", float("nan"), "no shares that sum to 1 in row 0"),
        ("chips", "admin_unit", "x", "'x' is no unit"),
        ("units", "prop_cover_rock", 2e-6, "no shares that sum to 1"),
        ("units", "prop_built_cover_rock", 0.5, "prop_built_cover_tree_cover and"),
        ("units", "unit", "b", "an id stands twice"),
        ("units", "area_km2", 0.01, "the unit in row 0 shares"),
        ("chip_units", "area_km2", 0.2, "km2, of 0.1"),
        ("chip_units", "unit", "x", "'x' is no unit"),
        ("chip_units", "row", 3, "is not that of its row"),
        ("chip_units", "row", 10**6, "is not that of its row"),
    ],
)
def test_verify_sees_tables_that_cannot_be_true(
    folder: Path, tmp_path: Path, name: str, column: str, value: object, said: str
) -> None:
    """Also where every digest was made to fit."""
    out = shutil.copytree(folder / "out", tmp_path / "out")
    blobs, file = LocalBlobs(out), f"{name}.parquet"
    write_table(blobs, file, edited(read_table(blobs, file), column, 0, value))
    rewrite(blobs, json.loads((out / "manifest.json").read_text()), [file])
    assert any(
        where.endswith(".parquet") and said in what for where, what in verify(out, quick=True, sample=0).problems
    )


def test_new_groups_and_no_units_change_the_tables_alone(folder: Path, tmp_path: Path) -> None:
    out = shutil.copytree(folder / "out", tmp_path / "out")
    grouped = RECIPE + "proportions: {groups: {cover: {land: [1, 3], sea: [2]}}, layers: [cover]}\n"
    result = build(planned(grouped, BOX, folder), out, runner=Threads(2))
    assert (result.built, result.skipped > 0) == (0, True)
    chips, units = pd.read_parquet(out / "chips.parquet"), pd.read_parquet(out / "units.parquet")
    for table in (chips, units):
        assert [c for c in table if c.startswith("prop_cover")] == ["prop_cover_land", "prop_cover_sea"]
        assert not [c for c in table if "people" in c and not c.startswith("valid")]
    build(planned(grouped.replace("admin: {path: units.geojson, id: id}", ""), BOX, folder), out, runner=Threads(2))
    assert not (out / "units.parquet").exists()
    assert not (out / "chip_units.parquet").exists()
    assert "admin_unit" not in pd.read_parquet(out / "chips.parquet")
    assert verify(out, quick=True).problems == []


@pytest.fixture
def wrong(tmp_path: Path) -> Callable[..., str]:
    def refused(units: object, recipe: str = RECIPE) -> str:
        rasters(tmp_path)
        write_units(tmp_path / "units.geojson", units)  # type: ignore[arg-type]  # of a test
        with pytest.raises(ConfigError) as caught:
            planned(recipe, BOX, tmp_path)
        return str(caught.value)

    return refused


def test_files_of_units_that_cannot_be_used_are_refused_by_the_plan(wrong: Callable[..., str]) -> None:
    over = {"a": shapely.box(9.3, 57.1, 9.31, 57.11), "b": shapely.box(9.309, 57.1, 9.32, 57.11)}
    said = wrong(over)
    assert "'a' (0.67" in said
    assert "'b' (0.74" in said
    assert "share 0.067" in said
    elsewhere = {name: shapely.transform(shape, lambda points: points + 3) for name, shape in over.items()}
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        wrong(UNITS | {f"{name}2": shape for name, shape in elsewhere.items()})
    assert "feature 1 has no column 'ids'" in wrong(UNITS, RECIPE.replace("id: id", "id: ids"))
    assert "no feature" in wrong({})


def test_slivers_between_units_are_counted_and_parts_of_a_unit_are_one(tmp_path: Path) -> None:
    rasters(tmp_path)
    bow_tie = shapely.Polygon([(9.310, 57.100), (9.311, 57.101), (9.311, 57.100), (9.310, 57.101)])
    units = [
        ("a", shapely.box(9.300, 57.10, 9.303, 57.104)),
        ("b", shapely.box(9.3029999, 57.10, 9.306, 57.104)),
        ("a", shapely.box(9.307, 57.10, 9.309, 57.104)),
        ("tie", bow_tie),
    ]
    write_units(tmp_path / "units.geojson", units)
    out = made(RECIPE, BOX, tmp_path)
    found = pd.read_parquet(out / "units.parquet").set_index("unit")
    assert json.loads((out / "manifest.json").read_text())["admin"]["slivers"] == 1
    assert found.area_km2["a"] == pytest.approx(geodesic(units[0][1]) + geodesic(units[2][1]), rel=1e-6)
    assert found.prop_cover_water["a"] == pytest.approx(2 / 5, abs=1e-4)
    assert found.area_km2["tie"] == pytest.approx(geodesic(shapely.box(9.310, 57.100, 9.311, 57.101)) / 2, rel=1e-3)


def test_no_unit_near_gives_empty_tables_and_chips_of_none(tmp_path: Path) -> None:
    rasters(tmp_path)
    write_units(tmp_path / "units.geojson", {"far": UNITS["far"]})
    out = made(RECIPE, BOX, tmp_path)
    assert len(pd.read_parquet(out / "units.parquet")) == len(pd.read_parquet(out / "chip_units.parquet")) == 0
    assert pd.read_parquet(out / "chips.parquet").admin_unit.isna().all()
    assert verify(out, quick=True).problems == []


def test_units_in_another_crs_are_the_same_units(tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    rasters(tmp_path)
    frame = geopandas.GeoDataFrame({"id": list(UNITS)}, geometry=list(UNITS.values()), crs=4326)
    frame.geometry = frame.geometry.segmentize(0.001)
    frame.to_crs(25832).to_file(tmp_path / "units.gpkg")
    write_units(tmp_path / "units.geojson", UNITS)
    one = pd.read_parquet(made(RECIPE, BOX, tmp_path) / "units.parquet").drop(columns="geometry")
    build(planned(RECIPE.replace("geojson", "gpkg"), BOX, tmp_path), tmp_path / "gpkg", runner=Threads(2))
    other = pd.read_parquet(tmp_path / "gpkg/units.parquet").drop(columns="geometry")
    pd.testing.assert_frame_equal(one, other, rtol=1e-4, atol=1e-5)
