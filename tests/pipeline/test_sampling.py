"""Sampled datasets: what is drawn and read, how they grow, and what is refused."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from shapely.geometry import box, mapping

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells, owned_mask
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.raster import Item, Raster, Slot, SourceInfo
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.core.sample import Sample, clusters_of
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.sampling.admin import NO_UNIT, locate, read_units
from m3leo_prep.pipeline.state import PLAN, DatasetFolder
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.ports.source import Source
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.runners.threads import Threads
from m3leo_prep.sources.ramp import Ramp

from .conftest import MINI, area, tree

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

BOX = (9.300, 57.100, 9.400, 57.150)
WIDER = (9.300, 57.100, 9.460, 57.150)
RAMP = """
name: mini
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp}
"""
CLASSES = RAMP + "  landcover: {role: label, source: synthetic, product: landcover}\n"
VECTORS = Path(__file__).parents[3] / "shared/data/vector"


def sampled(
    n: int | None,
    by: str = "blocks",
    *,
    seed: int = 0,
    recipe: str = RAMP,
    where: Area | None = None,
    base: Path | None = None,
    previous: Plan | None = None,
    said: list[str] | None = None,
    sources: dict[str, Source] | None = None,
) -> Plan:
    return make_plan(
        parse_recipe(recipe),
        where or area(BOX),
        base=base or Path.cwd(),
        previous=previous,
        sample=None if n is None else Sample(n, by, seed),
        sources=sources,
        say=(said if said is not None else []).append,
    )


def ids(plan: Plan) -> list[str]:
    return plan.cells.ids()


def names(cells: Cells, edge: int = 2) -> set[str]:
    return set(clusters_of(cells, edge).names())


# -- what is recorded --------------------------------------------------------------------------------------------------


def test_a_sampled_dataset_says_how_it_was_drawn(tmp_path: Path) -> None:
    plan = sampled(30, seed=5)
    assert 30 <= len(plan.cells) <= 33
    assert plan.sample == Sample(30, "blocks", 5, 2)
    build(plan, tmp_path / "d", runner=Threads(2))
    manifest = json.loads((tmp_path / "d/manifest.json").read_text())
    assert manifest["sample"] == {"n": 30, "by": "blocks", "seed": 5, "edge": 2}
    chips = pq.read_table(tmp_path / "d/chips.parquet")
    clusters = clusters_of(plan.cells, 2)
    assert chips["cluster"].to_pylist() == [clusters.names()[k] for k in clusters.member]
    frozen = DatasetFolder(tmp_path / "d").frozen()
    assert frozen is not None
    assert (frozen.sample, ids(frozen)) == (plan.sample, ids(plan))
    assert verify(tmp_path / "d").ok


def test_a_dataset_that_is_no_sample_says_so(built: Path) -> None:
    assert json.loads((built / "manifest.json").read_text())["sample"] is None
    assert "cluster" not in pq.read_table(built / "chips.parquet").column_names


def test_plans_of_before_samples_load(tmp_path: Path, built: Path) -> None:
    """They have neither `sample` nor `admin`."""
    import shutil

    shutil.copytree(built, tmp_path / "d")
    document = json.loads((tmp_path / "d" / PLAN).read_text())
    del document["sample"], document["recipe"]["admin"]
    (tmp_path / "d" / PLAN).write_text(json.dumps(document))
    frozen = DatasetFolder(tmp_path / "d").frozen()
    assert frozen is not None
    assert frozen.sample is None
    assert frozen.recipe.admin is None


def test_a_chip_is_the_same_in_a_sample_and_in_the_whole(tmp_path: Path) -> None:
    """Bit for bit, with items that come in acquisitions."""
    where = area((9.300, 57.100, 9.330, 57.115))
    whole, some = (sampled(n, recipe=MINI, where=where) for n in (None, 8))
    for plan, name in ((whole, "whole"), (some, "some")):
        build(plan, tmp_path / name, runner=Threads(2))
    tables = [
        pq.read_table(tmp_path / name / "provenance/s1/part-00000.parquet").to_pylist() for name in ("whole", "some")
    ]
    kept = set(ids(some))
    assert [row for row in tables[0] if row["chip_id"] in kept] == tables[1]
    one, other = Dataset(tmp_path / "whole"), Dataset(tmp_path / "some")
    for name in sorted(kept):
        for layer in ("position", "degrees", "landcover", "s1"):
            assert one.chip(name, layer).identical(other.chip(name, layer))


# -- which items and pixels --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tiles:
    """A ramp cut into items of 0.01 degrees, which notes what it is asked for and what it gives."""

    pitch: float = 10.0
    crs: str = "utm"
    dear: bool = False
    tile: float = 0.01
    name: str = "tiles"
    noted: ClassVar[defaultdict[tuple[str, str], float]] = defaultdict(float)

    def describe(self) -> SourceInfo:
        return replace(self._ramp.describe(), dear_blocks=self.dear, version=self.name)

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        if self.tile == 0:
            yield from self._ramp.find(area, slots)
            return
        west, south, east, north = (round(v / self.tile) for v in area.bounds)
        for col in range(west - 1, east + 1):
            for row in range(south - 1, north + 1):
                outline = box(col * self.tile, row * self.tile, (col + 1) * self.tile, (row + 1) * self.tile)
                if outline.intersects(area):
                    yield Item(f"{col}/{row}", outline, version="1")

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:
        self.noted[self.name, "asked"] += math.prod(geobox.shape)
        for raster in self._ramp.read(items, geobox, slot):
            native = abs(raster.geobox.transform.a * raster.geobox.transform.e)
            if self.crs != "utm":
                outline = raster.geobox.extent.boundingbox
                native *= 111_320**2 * math.cos(math.radians((outline.bottom + outline.top) / 2))
            self.noted[self.name, "given m2"] += math.prod(raster.geobox.shape) * native
            yield raster

    @property
    def _ramp(self) -> Ramp:
        return Ramp(self.crs, self.pitch)


def test_only_items_that_reach_a_sampled_chip_are_kept(tmp_path: Path) -> None:
    recipe = RAMP.replace("source: ramp", "source: tiles")
    whole, some = (sampled(n, recipe=recipe, sources={"tiles": Tiles()}) for n in (None, 8))
    all_items, kept = whole.layers[0].items, some.layers[0].items
    assert len(kept) < len(all_items) / 3
    assert [item for item in all_items if item in kept] == list(kept), "in the order of the whole"
    chips = some.cells.polygons()
    reach = shapely.buffer(chips, 0.0005)  # 30 m and more
    for item in all_items:
        if shapely.intersects(reach, item.footprint).any() and shapely.intersects(chips, item.footprint).any():
            assert item in kept
    far = shapely.union_all(shapely.buffer(chips, 0.01))
    assert all(item.footprint.intersects(far) for item in kept)


def test_little_more_is_read_than_is_kept(tmp_path: Path) -> None:
    """Chips of 448 px, grids of the usual kinds, neither cluster nor area aligned to shards: 1.2 at most."""
    layers: dict[str, tuple[Tiles, float, str]] = {
        "radar": (Tiles(10.0, tile=0, name="radar"), 10, "bspline"),
        "worldcover": (Tiles(1 / 12000, "EPSG:4326", tile=0, name="worldcover"), 10, "bilinear"),
        "terrain": (Tiles(1 / 3600, "EPSG:4326", tile=0, name="terrain"), 20, "bilinear"),
    }
    recipe = "name: real\nlayers:\n" + "".join(
        f"  {name}: {{source: {name}, resolution: {pitch}, resampling: {method}}}\n"
        for name, (_, pitch, method) in layers.items()
    )
    Tiles.noted.clear()
    plan = sampled(
        36,
        recipe=recipe,
        where=area((8.0, 56.0, 9.4, 57.1)),
        sources={name: source for name, (source, _, _) in layers.items()},
    )
    build(plan, tmp_path / "d", runner=Threads(2))
    kept = asked = given = 0.0
    for layer in plan.layers:
        name = layer.layer.name
        size = layer.raw_bytes(len(plan.cells))
        pixels, ground = len(plan.cells) * layer.layer.size**2, len(plan.cells) * plan.grid.cell_m**2
        kept += size
        asked += size * Tiles.noted[name, "asked"] / pixels
        given += size * Tiles.noted[name, "given m2"] / ground
    assert 1 <= asked / kept <= 1.05
    assert 1 < given / kept <= 1.2


def test_where_blocks_are_dear_clusters_are_large() -> None:
    recipe = RAMP.replace("source: ramp", "source: tiles") + "  more: {source: ramp}\n"
    plan = sampled(150, recipe=recipe, sources={"tiles": Tiles(dear=True)})
    assert plan.sample == Sample(150, "blocks", 0, 8)
    assert 150 <= len(plan.cells) <= 150 + 63
    again = sampled(200, recipe=RAMP, previous=plan, sources={"tiles": Tiles()})
    assert again.sample == Sample(200, "blocks", 0, 8), "the dataset keeps the clusters it was drawn with"


# -- growth ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["blocks", "landcover"])
def test_a_larger_sample_keeps_the_rows(by: str) -> None:
    recipe = CLASSES if by == "landcover" else RAMP
    small = sampled(20, by, recipe=recipe)
    grown = sampled(60, by, recipe=recipe, previous=small)
    assert ids(grown)[: len(small.cells)] == ids(small)
    assert set(ids(grown)) == set(ids(sampled(60, by, recipe=recipe))), "as if drawn at once"
    assert grown.sample == Sample(60, by, 0, 2)


def test_a_larger_area_keeps_the_rows_and_fills_in_order() -> None:
    small = sampled(40)
    said: list[str] = []
    same = sampled(40, where=area(WIDER), previous=small, said=said)
    assert ids(same) == ids(small)
    assert any("give a larger --sample" in line for line in said)
    grown = sampled(64, where=area(WIDER), previous=small)
    assert ids(grown)[: len(small.cells)] == ids(small)
    assert 64 <= len(grown.cells) <= 67
    clusters = clusters_of(area_cells(WIDER), 2)
    order = np.array(clusters.names())[clusters.order(0)].tolist()
    new = names(grown.cells[len(small.cells) :])
    first = set(order[: max(order.index(name) for name in new) + 1])
    assert first <= names(grown.cells), "nothing before the last of the new is left out"
    assert any(bounds[0] > 9.4 for bounds in shapely.bounds(grown.cells.polygons()))


def area_cells(bounds: tuple[float, float, float, float]) -> Cells:
    return sampled(None, where=area(bounds)).cells


def test_a_sampled_dataset_goes_on_without_being_told(tmp_path: Path) -> None:
    small = sampled(20, seed=3)
    said: list[str] = []
    again = sampled(None, previous=small, said=said)
    assert ids(again) == ids(small)
    assert again.sample == small.sample
    assert any("--sample 20 --by blocks --seed 3" in line for line in said)


def test_growing_on_disk(tmp_path: Path) -> None:
    """What is there is taken over; the result is that of growing in memory and verifies."""
    out = tmp_path / "d"
    small, large = sampled(20), sampled(40)
    build(small, out, runner=Threads(2))
    before = tree(out)
    build(small, out, runner=Threads(2))
    assert tree(out) == before
    build(large, out, runner=Threads(2))  # planned without the dataset: it is continued all the same
    frozen = DatasetFolder(out).frozen()
    assert frozen is not None
    assert frozen.sample == large.sample
    assert ids(frozen)[: len(small.cells)] == ids(small)
    assert set(ids(frozen)) == set(ids(large))
    assert pq.read_table(out / "chips.parquet")["chip_id"].to_pylist() == ids(frozen)
    assert verify(out).ok
    with pytest.raises(ConfigError, match="which --sample 20 --by blocks --seed 0 does not continue"):
        build(small, out, runner=Threads(2))
    build(sampled(None), tmp_path / "whole", runner=Threads(2))
    with pytest.raises(ConfigError, match="no sample of it"):
        build(small, tmp_path / "whole", runner=Threads(2))


@pytest.mark.parametrize(
    ("n", "by", "seed"), [(19, "blocks", 0), (40, "blocks", 1), (40, "admin", 0), (40, "landcover", 0)]
)
def test_another_sample_does_not_continue(n: int, by: str, seed: int) -> None:
    with pytest.raises(ConfigError, match="drawn with --sample 20 --by blocks --seed 0") as caught:
        sampled(n, by, seed=seed, previous=sampled(20))
    assert "only grows" in caught.value.hint


def test_a_whole_dataset_is_no_sample() -> None:
    with pytest.raises(ConfigError, match="holds all of 'here'"):
        sampled(20, previous=sampled(None))


def test_a_sampled_area_that_shrinks_is_refused() -> None:
    with pytest.raises(ConfigError, match="outside"):
        sampled(30, where=area((9.300, 57.100, 9.340, 57.150)), previous=sampled(30))


def test_more_chips_than_there_are() -> None:
    n = len(area_cells(BOX))
    assert len(sampled(n).cells) == n
    with pytest.raises(ConfigError, match=f"{n + 1} chips was asked for, 'here' has {n}") as caught:
        sampled(n + 1)
    assert "leave --sample away" in caught.value.hint


# -- land cover --------------------------------------------------------------------------------------------------------


def majority(plan: Plan, cells: Cells) -> dict[str, int]:
    """Majority class per cluster, straight from the built pixels: an independent count."""
    from m3leo_prep.core.raster import STATIC
    from m3leo_prep.pipeline.derive import derive
    from m3leo_prep.pipeline.origins import open_source

    layer = plan.layer("landcover")
    clusters = clusters_of(cells, 2)
    found: dict[str, list[int]] = {}
    for k, name in enumerate(np.array(clusters.names())[clusters.member].tolist()):
        place = int(cells.epsg[k]), int(cells.col[k]), int(cells.row[k])
        derived = derive(open_source(layer.source), layer.layer, layer.items, cells.grid.geobox(*place), STATIC)
        look = next(iter(derived.looks.values()))
        assert look is not None
        codes = look.values[0][look.valid[0] & owned_mask(cells.grid, *place)]
        found.setdefault(name, []).extend(codes.tolist())
    counts = {name: Counter(codes) for name, codes in found.items()}
    return {name: min(code for code in c if c[code] == max(c.values())) for name, c in counts.items()}


def test_land_cover_classes_get_equal_shares() -> None:
    """All of the small area is looked at, so that rare classes are taken whole and the others share the rest."""
    where = area((9.300, 57.100, 9.360, 57.130))
    whole = sampled(None, recipe=CLASSES, where=where)
    plan = sampled(60, "landcover", recipe=CLASSES, where=where)
    classes = majority(whole, whole.cells)
    there = Counter(classes[name] for name in names(whole.cells))
    drawn = Counter(classes[name] for name in names(plan.cells))
    assert len(there) >= 3, "else nothing is shown"
    most = max(drawn.values())
    for code, n in there.items():
        assert drawn[code] == n or drawn[code] >= most - 2
    by_chance = Counter(classes[name] for name in names(sampled(60, recipe=CLASSES, where=where).cells))
    assert max(by_chance.values()) > most


def test_a_recipe_without_classes() -> None:
    with pytest.raises(ConfigError, match="no layer of classes") as caught:
        sampled(10, "landcover")
    assert "--by blocks" in caught.value.hint


# -- administrative units ----------------------------------------------------------------------------------------------

UNITS = {"B": box(9.30, 57.09, 9.34, 57.16), "A": box(9.34, 57.09, 9.36, 57.16), "C": box(9.36, 57.09, 9.37, 57.16)}


def write_units(path: Path, units: Iterable[tuple[Any, BaseGeometry]], **more: Any) -> None:
    features = [
        {"type": "Feature", "properties": {"code": name, "size": 1}, "geometry": mapping(shape)}
        for name, shape in units
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features} | more))


def with_admin(path: str, column: str = "code") -> str:
    return RAMP + f"admin: {{path: {path}, id: {column}}}\n"


def test_units_get_equal_shares_and_what_lies_in_none_is_not_drawn(tmp_path: Path) -> None:
    write_units(tmp_path / "units.geojson", UNITS.items())
    said: list[str] = []
    plan = sampled(90, "admin", recipe=with_admin("units.geojson"), base=tmp_path, said=said)
    clusters = clusters_of(plan.cells, 2)
    lon, lat = clusters.centres(plan.grid.cell_m)
    inside = {name: shapely.contains_xy(shape, lon, lat) for name, shape in UNITS.items()}
    assert np.sum(list(inside.values()), axis=0).tolist() == [1] * len(clusters)
    counts = [int(clusters.sizes[mask].sum()) for mask in inside.values()]
    assert sum(counts) == len(plan.cells) >= 90
    assert max(counts) - min(counts) <= 4
    assert any("in no unit of units.geojson: not drawn" in line for line in said)
    assert sampled(None, recipe=with_admin("units.geojson"), base=tmp_path, previous=plan).sample == plan.sample


def test_units_of_any_format_and_crs(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame({"code": list(UNITS)}, geometry=list(UNITS.values()), crs=4326)
    frame.to_crs(3035).to_file(tmp_path / "units.gpkg")
    frame.to_crs(32632).to_parquet(tmp_path / "units.parquet")
    write_units(tmp_path / "units.geojson", UNITS.items())
    plans = [
        sampled(60, "admin", recipe=with_admin(f"units.{end}"), base=tmp_path) for end in ("geojson", "gpkg", "parquet")
    ]
    assert ids(plans[0]) == ids(plans[1]) == ids(plans[2])


def test_features_of_one_id_are_parts_of_one_unit(tmp_path: Path) -> None:
    west, east = box(0, 0, 1, 1), box(2, 0, 3, 1)
    write_units(tmp_path / "u.geojson", [("x", west), (7, box(1, 0, 2, 1)), ("x", east)])
    units = read_units(tmp_path / "u.geojson", "code")
    assert list(units) == ["7", "x"]
    assert units["x"].equals(shapely.union_all([west, east]))
    lon = np.array([0.5, 1.5, 2.5, 1.0, 3.5])
    assert locate(units, lon, np.full(5, 0.5)).tolist() == [1, 0, 1, 0, NO_UNIT], "a border belongs to the first"


@pytest.mark.skipif(not VECTORS.is_dir(), reason="no shared vectors here")
def test_units_of_a_real_file() -> None:
    """Municipalities of North Jutland: every municipality gets its cluster before any gets a second."""
    file = VECTORS / "dk_nordjylland_kommuner.geojson"
    column = next(
        key
        for key, value in json.loads(file.read_text())["features"][0]["properties"].items()
        if isinstance(value, str) and value
    )
    recipe = "name: real\nlayers: {position: {source: ramp}}\n" + f"admin: {{path: {file}, id: {column}}}\n"
    n_units = len(read_units(file, column))
    plan = sampled(n_units * 8, "admin", recipe=recipe, where=area((8.0, 56.5, 11.2, 57.8)))
    clusters = clusters_of(plan.cells, 2)
    found = locate(read_units(file, column), *clusters.centres(plan.grid.cell_m))
    counts = np.bincount(found, clusters.sizes, minlength=n_units)
    assert found.min() >= 0
    assert counts.min() >= 1, counts
    assert counts.max() <= 12, counts


@pytest.mark.parametrize(
    ("column", "units", "words"),
    [
        ("cod", UNITS, "no column 'cod'"),
        ("code", {None: UNITS["A"]}, "None in the column 'code'"),
        ("code", {"": UNITS["A"]}, "'' in the column 'code'"),
        ("code", {}, "no feature with a geometry"),
        ("code", {"far": box(20, 20, 21, 21)}, "only 0 of 'here' are in clusters whose centre lies in a unit"),
    ],
)
def test_unit_files_that_do_not_serve(tmp_path: Path, column: str, units: dict[Any, BaseGeometry], words: str) -> None:
    write_units(tmp_path / "units.geojson", units.items())
    with pytest.raises(ConfigError) as caught:
        sampled(20, "admin", recipe=with_admin("units.geojson", column), base=tmp_path)
    assert words in str(caught.value)
    assert caught.value.hint or not units


def test_unit_files_that_are_not_there_or_name_no_crs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        sampled(20, "admin", recipe=with_admin("units.geojson"), base=tmp_path)
    geopandas.GeoDataFrame({"code": list(UNITS)}, geometry=list(UNITS.values()), crs=4326).to_file(
        tmp_path / "units.shp"
    )
    (tmp_path / "units.prj").unlink()
    with pytest.raises(ConfigError, match="no coordinate reference system"):
        sampled(20, "admin", recipe=with_admin("units.shp"), base=tmp_path)
    (tmp_path / "units.wkt").write_text("POLYGON ((9 57, 10 57, 10 58, 9 57))")
    with pytest.raises(ConfigError, match="have columns"):
        sampled(20, "admin", recipe=with_admin("units.wkt"), base=tmp_path)
    with pytest.raises(ConfigError, match="add `admin:"):
        sampled(20, "admin")


def test_the_recipe_s_key_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"admin\.id"):
        parse_recipe(RAMP + "admin: {path: units.geojson}\n")
    with pytest.raises(ConfigError, match="did you mean 'path'"):
        parse_recipe(RAMP + "admin: {paht: units.geojson, id: code}\n")
