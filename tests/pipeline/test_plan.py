"""From a recipe to a plan: what is refused and with which words, and what is asked of a source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.state import DatasetFolder

from .conftest import LARGE, MINI, SMALL, area, plan

WriteSource = Callable[[str], Path]

SOURCE = """
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
import shapely
from m3leo_prep.core.raster import Item, Kind, LegendClass, SourceInfo, Variable

WORLD = shapely.box(-180, -90, 180, 90)


@dataclass(frozen=True)
class Mine:
    '''Describes what it is told, and lists items from a file: id west version, or nothing.'''

    kind: str = "continuous"
    bands: Any = ("a",)
    legend: Any = ()
    pitch: Any = 10.0
    static: bool = True
    version: str = "1"
    listing: str = ""
    log: str = ""
    remap: Any = None

    def describe(self):
        legend = tuple(LegendClass(code, f"class {code}") for code in self.legend)
        variable = Variable("v", Kind(self.kind), tuple(self.bands), legend=legend)
        return SourceInfo((variable,), self.version, self.pitch, is_static=self.static)

    def find(self, area, slots):
        if self.log:
            with open(self.log, "a") as log:
                log.write(area.wkt + "\\n")
        if not self.listing:
            yield Item("all", WORLD)
            return
        for line in Path(self.listing).read_text().splitlines():
            if line == "raise":
                raise RuntimeError("the catalogue was asked")
            id, west, version = line.split()
            outline = shapely.box(float(west), -90, 180, 90)
            if outline.intersects(area):
                yield Item(id, outline, version)

    def read(self, items, geobox, slot):
        return ()
"""


def recipe(options: str = "", more: str = "", grid: str = "{chip_px: 32, resolution: 10}") -> str:
    return f'name: mine\ngrid: {grid}\nlayers:\n  a: {{source: "./my_source.py:Mine"{options}}}\n{more}'


def refused(text: str, base: Path | None = None, where: Area | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        plan(text, where, base)
    return str(caught.value)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("source: ramp}", "source: rmap}"), ["unknown source 'rmap'", "did you mean 'ramp'?"]),
        (("product: s1,", "product: s11,"), ["unknown product 's11'", "did you mean 's1'"]),
        (("product: landcover}", "product: landcver}"), ["unknown product 'landcver'", "did you mean 'landcover'?"]),
        (("product: landcover}", "prodct: landcover}"), ["source 'synthetic'", "unknown option 'prodct'", "'product'"]),
        (("product: landcover}", "seed: 1}"), ["source 'synthetic'", "needs product", "product, seed"]),
        (("product: landcover}", "product: landcover, cloud: 2}"), ["cloud is a share from 0 to 1"]),
        (("source: ramp}", "source: ramp, crs: EPSG:99}"), ["unknown crs 'EPSG:99'"]),
        (("source: ramp}", "source: ./absent.py:Mine}"), ["no source file", "absent.py"]),
    ],
)
def test_unknown_names_get_near_ones(change: tuple[str, str], says: list[str]) -> None:
    message = refused(MINI.replace(*change))
    for part in says:
        assert part in message


def test_a_pitch_that_does_not_divide_the_chip_is_refused_with_those_that_do() -> None:
    message = refused(MINI.replace("resolution: 20", "resolution: 30"))
    assert "layer degrees: a pitch of 30 m does not divide the chip of 320 m" in message
    assert "20 m, 32 m" in message


def test_the_tiling_of_geetiles_is_refused_by_name() -> None:
    message = refused(MINI.replace("resolution: 10}", "resolution: 10, tiling: geetiles}", 1))
    assert "the tiling 'geetiles'" in message
    assert "tiling: utm" in message


def test_an_area_without_items_is_refused(tmp_path: Path, write_source: WriteSource) -> None:
    (tmp_path / "listing").write_text("far 100 1\n")
    base = write_source(SOURCE)
    message = refused(recipe(f", listing: {tmp_path / 'listing'}"), base)
    assert message.startswith("layer a: ")
    assert "has nothing in 'here' for any time" in message
    timed = refused(MINI.replace("[2020-06-01, 2020-06-12], [2020-07-07, 2020-07-12]", "[1999-06-01, 1999-06-12]"))
    assert "layer s1: source 'synthetic' has nothing in 'here' for 1999-06-01_1999-06-12" in timed


def test_slots_of_a_source_without_times_are_refused() -> None:
    message = refused(MINI.replace("source: ramp}", "source: ramp, slots: {months: 2020}}", 1))
    assert "layer position: source 'ramp' has no times" in message
    assert "remove `slots:`" in message


@pytest.mark.parametrize(("codes", "bad"), [("[0, 255]", "[255]"), ("[10, 300, -1]", "[300, -1]")])
def test_a_legend_with_the_code_of_no_data_is_refused(codes: str, bad: str, write_source: WriteSource) -> None:
    message = refused(recipe(f", kind: classes, legend: {codes}"), write_source(SOURCE))
    assert f"layer a: class codes {bad} of 'v' do not fit uint8 beside the no-data code 255" in message
    assert "remap" in message


@pytest.mark.parametrize(
    ("kind", "encoding", "says"),
    [
        ("power", "{dtype: int16, scale: 0.001, valid_min: -50, valid_max: 60}", "cannot hold -50.0 ... 60.0"),
        ("continuous", "{dtype: uint8, valid_min: 0, valid_max: 300}", "cannot hold 0.0 ... 300.0"),
        ("continuous", "{dtype: uint8, fill: 7, valid_min: 0, valid_max: 9}", "fill code 7 is a legal value"),
        ("classes", "{dtype: float32}", "unscaled integers"),
        ("classes", "{dtype: uint8, scale: 2}", "unscaled integers"),
        ("continuous", "{dtype: uint8, fill: 300}", "300"),
    ],
)
def test_an_encoding_that_cannot_hold_its_values_is_refused(
    kind: str, encoding: str, says: str, write_source: WriteSource
) -> None:
    legend = ", legend: [1]" if kind == "classes" else ""
    message = refused(recipe(f", kind: {kind}{legend}, encoding: {encoding}"), write_source(SOURCE))
    assert message.startswith("layer a: ")
    assert says in message


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ", kind: classes, legend: [1], resampling: bilinear",
            "resampling 'bilinear' makes no sense for classes values",
        ),
        (", kind: classes, legend: [1], statistic: mean", "statistic 'mean' makes no sense for classes values"),
        (", kind: wrapped_phase, statistic: median", "statistic 'median' makes no sense"),
        (", bands: [a, b, c], band_chunk: 2", "band_chunk 2 does not divide 3 bands"),
        (", slots: {month: 2020}, static: false", "did you mean 'months'?"),
    ],
)
def test_settings_that_cannot_work_together_are_refused(options: str, says: str, write_source: WriteSource) -> None:
    assert says in refused(recipe(options), write_source(SOURCE))


def test_a_message_about_slots_names_the_layer(write_source: WriteSource) -> None:
    message = refused(recipe(", slots: {month: 2020}, static: false"), write_source(SOURCE))
    assert message.startswith("layer a: ")


# -- what is chosen ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "pitch", "size", "method", "statistic"),
    [
        ("", 10, 32, "bilinear", "first"),
        (", pitch: 20", 20, 16, "bilinear", "first"),
        (", pitch: 30", 20, 16, "bilinear", "first"),
        (", pitch: 92.7", 80, 4, "bilinear", "first"),
        (", resolution: 40", 40, 8, "average", "first"),
        (", kind: power, resolution: 40", 40, 8, "bspline", "mean"),
        (", kind: classes, legend: [1], resolution: 40", 40, 8, "mode", "first"),
        (", resampling: cubic, statistic: max", 10, 32, "cubic", "max"),
        (", static: false, slots: {months: 2020}", 10, 32, "bilinear", "mean"),
        (", pitch: null", 10, 32, "bilinear", "first"),
    ],
)
def test_choices(options: str, pitch: float, size: int, method: str, statistic: str, write_source: WriteSource) -> None:
    # Undated items are in no month, so the layer itself is looked at before items are.
    base = write_source(
        SOURCE.replace('Item("all", WORLD)', "Item('all', WORLD, datetime=DAY)").replace(
            "WORLD =", "from datetime import UTC, datetime\nDAY = datetime(2020, 1, 1, tzinfo=UTC)\nWORLD ="
        )
    )
    layer = plan(recipe(options), base=base).layers[0].layer
    assert (layer.pitch, layer.size) == (pitch, size)
    assert (layer.arrays[0].method, layer.arrays[0].statistic) == (method, statistic)


def test_a_count_is_stored_as_a_count(write_source: WriteSource) -> None:
    encoding = (
        plan(recipe(", kind: power, statistic: count"), base=write_source(SOURCE)).layers[0].layer.arrays[0].encoding
    )
    assert (encoding.dtype, encoding.transform, encoding.fill, encoding.scale) == ("uint16", "none", 65535, 1.0)


def test_an_encoding_of_the_recipe_is_taken(write_source: WriteSource) -> None:
    text = recipe(", kind: power, encoding: {dtype: int16, scale: 0.05}")
    encoding = plan(text, base=write_source(SOURCE)).layers[0].layer.arrays[0].encoding
    assert (encoding.scale, encoding.fill, encoding.transform) == (0.05, -32768, "db")
    assert (encoding.valid_min, encoding.valid_max) == (-50.0, 60.0)


def test_what_the_plan_says_it_is_made_of(write_source: WriteSource) -> None:
    from m3leo_prep.ops import composite, join, warp

    made = plan(recipe(", kind: power, version: '7'"), base=write_source(SOURCE)).layers[0]
    assert made.source_version == "7"
    assert made.op_versions == {
        "warp.bspline": warp.VERSIONS[warp.Method.bspline],
        "composite": composite.VERSION,
        "join": join.VERSION,
    }


def test_rows_are_the_cells_of_the_grid_in_its_order() -> None:
    made = plan()
    assert made.cells.ids() == Grid(32, 10).cells(area().geometry).ids()
    assert [layer.layer.name for layer in made.layers] == ["position", "degrees", "landcover", "s1"]


def test_progress_is_said() -> None:
    lines: list[str] = []
    make_plan(parse_recipe(MINI), area(), base=Path.cwd(), say=lines.append)
    assert lines[0] == "tiling here"
    assert "looking for items of s1" in lines


# -- the area that is searched -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def logging_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source that logs where it is asked to look."""
    folder = tmp_path_factory.mktemp("logging")
    (folder / "my_source.py").write_text(SOURCE)
    return folder


@given(west=st.floats(-179, 178), south=st.floats(-79.5, 83), wide=st.floats(0.001, 0.3), high=st.floats(0.001, 0.3))
def test_items_are_searched_wherever_a_chip_reaches(
    west: float, south: float, wide: float, high: float, logging_source: Path
) -> None:
    """Chips reach over the area's edge, by up to a chip."""
    log = logging_source / "log"
    log.unlink(missing_ok=True)
    where = area((west, south, min(west + wide, 179.8), south + high))
    made = plan(recipe(f", log: {log}", grid="{}"), where, logging_source)
    assert shapely.contains(shapely.from_wkt(log.read_text()), shapely.union_all(made.cells.polygons()))


def test_large_chips_are_searched_to_their_edge(tmp_path: Path, write_source: WriteSource) -> None:
    """A chip may have a side of 100 km."""
    log = tmp_path / "log"
    made = plan(recipe(f", log: {log}", grid="{chip_px: 320, resolution: 250}"), base=write_source(SOURCE))
    searched = shapely.from_wkt(log.read_text())
    assert shapely.contains(searched, shapely.union_all(made.cells.polygons()))


def test_items_beyond_the_antimeridian_are_searched(tmp_path: Path, write_source: WriteSource) -> None:
    log = tmp_path / "log"
    edge = area((179.90, 65.0, 179.999, 65.05), "edge")
    made = plan(recipe(f", log: {log}", grid="{}"), edge, write_source(SOURCE))
    chips = shapely.union_all(made.cells.polygons())
    assert chips.bounds[0] == -180, "a chip reaches over the antimeridian"
    assert shapely.contains(shapely.from_wkt(log.read_text()), chips)


# -- going on ----------------------------------------------------------------------------------------------------------


def _frozen(made: Any, folder: Path) -> Any:
    DatasetFolder(folder).freeze(made)
    return DatasetFolder(folder).frozen()


@pytest.fixture
def listing(tmp_path: Path, write_source: WriteSource) -> Path:
    """A source's catalogue, as a file."""
    write_source(SOURCE)
    path = tmp_path / "listing"
    path.write_text("one -180 1\n")
    return path


@pytest.mark.parametrize(
    "options",
    [
        "",
        ", kind: power",
        ", kind: angle, bands: [x, y]",
        ", encoding: {dtype: int16, scale: 0.5}",
        ", kind: classes, legend: [10, 80]",
        ", kind: bits",
        ", statistic: count",
        ", remap: {10: 1}",
        ", remap: {9: 1, 10: 2}",
    ],
)
def test_a_catalogue_that_was_asked_is_not_asked_again(options: str, listing: Path, tmp_path: Path) -> None:
    text = recipe(f"{options}, listing: {listing}")
    first = plan(text, base=tmp_path)
    listing.write_text("raise")
    second = plan(text, base=tmp_path, previous=_frozen(first, tmp_path / "d"))
    assert [item.id for item in second.layers[0].items] == ["one"]
    assert second.cells is not first.cells
    assert second.cells.ids() == first.cells.ids()


def test_refresh_asks_again(listing: Path, tmp_path: Path) -> None:
    text = recipe(f", listing: {listing}")
    first = _frozen(plan(text, base=tmp_path), tmp_path / "d")
    listing.write_text("one -180 2\ntwo -180 1\n")

    def again(*, refresh: bool) -> list[tuple[str, str]]:
        made = make_plan(parse_recipe(text), area(), base=tmp_path, previous=first, refresh=refresh)
        return [(item.id, item.version) for item in made.layers[0].items]

    assert again(refresh=False) == [("one", "1")]
    assert again(refresh=True) == [("one", "2"), ("two", "1")]


@pytest.mark.parametrize("change", [", kind: power", ", version: '2'", ", pitch: 20", ", resampling: nearest"])
def test_a_layer_that_has_changed_asks_again(change: str, listing: Path, tmp_path: Path) -> None:
    first = _frozen(plan(recipe(f", listing: {listing}"), base=tmp_path), tmp_path / "d")
    listing.write_text("two -180 1\n")
    second = plan(recipe(f"{change}, listing: {listing}"), base=tmp_path, previous=first)
    assert [item.id for item in second.layers[0].items] == ["two"]


def test_growth_asks_and_keeps_the_old_items_as_they_were(listing: Path, tmp_path: Path) -> None:
    text = recipe(f", listing: {listing}")
    first = _frozen(plan(text, base=tmp_path), tmp_path / "d")
    listing.write_text("one -180 2\neast 9.32 1\n")
    second = plan(text, area(LARGE, "more"), tmp_path, first)
    assert {item.id: item.version for item in second.layers[0].items} == {"one": "1", "east": "1"}
    assert second.cells.ids()[: len(first.cells)] == first.cells.ids()


def test_growth_keeps_the_order_of_the_source(listing: Path, tmp_path: Path) -> None:
    """``first`` takes the first: a grown dataset must hold what one built at once holds."""
    wide = (SMALL[0], SMALL[1], SMALL[2] + 0.6, SMALL[3])
    listing.write_text("new 9.8 1\nold -180 1\n")
    text = recipe(f", listing: {listing}")
    first = _frozen(plan(text, base=tmp_path), tmp_path / "d")
    assert [item.id for item in first.layers[0].items] == ["old"]
    at_once = plan(text, area(wide), tmp_path)
    grown = plan(text, area(wide), tmp_path, first)
    assert [item.id for item in at_once.layers[0].items] == ["new", "old"]
    assert [item.id for item in grown.layers[0].items] == ["new", "old"]


def test_an_area_that_is_not_larger_is_refused(listing: Path, tmp_path: Path) -> None:
    text = recipe(f", listing: {listing}")
    first = _frozen(plan(text, area(LARGE, "more"), tmp_path), tmp_path / "d")
    with pytest.raises(ConfigError, match=r"holds 'more' with \d+ chips outside 'here'[\s\S]*only grows"):
        plan(text, previous=first, base=tmp_path)


def test_shards_stay_as_they_were_when_the_rule_would_choose_others(
    listing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from m3leo_prep.core import layer as layer_module

    text = recipe(f", listing: {listing}")
    first = _frozen(plan(text, base=tmp_path), tmp_path / "d")
    monkeypatch.setattr(layer_module, "SHARD_CHIPS", (16,))
    assert plan(text, base=tmp_path).layers[0].layer.shard_chips == 16
    assert plan(text, base=tmp_path, previous=first).layers[0].layer.shard_chips == 4
