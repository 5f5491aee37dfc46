"""Maps: what is drawn, and that the page works in a real browser without asking the network for anything."""

from __future__ import annotations

import html
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from pyproj import Transformer

import m3leo_prep as mp
from m3leo_prep import maps
from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError, MissingDependency, StoreError
from m3leo_prep.core.grid import Grid
from m3leo_prep.maps import page as page_module
from m3leo_prep.maps.colours import colours, legend, palette
from m3leo_prep.maps.drawing import Column, Drawing, draw
from m3leo_prep.maps.page import Page, make_page

RECIPE = """
name: mini
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp}
  s1: {source: synthetic, product: s1, slots: {periods: [[2020-06-01, 2020-06-12]]}}
"""
BOX = "9.300,57.100,9.312,57.104"


def area(west: float, south: float, east: float, north: float, name: str = "here") -> Area:
    return Area.from_geometry(shapely.segmentize(shapely.box(west, south, east, north), 20), name=name)


def column(drawing: Drawing, name: str) -> np.ndarray:
    return next(known.values for known in drawing.columns if known.name == name)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> mp.Dataset:
    return mp.build(mp.plan(BOX, RECIPE), tmp_path_factory.mktemp("maps") / "mini")


@pytest.fixture(scope="module")
def split_dataset(dataset: mp.Dataset, tmp_path_factory: pytest.TempPathFactory) -> mp.Dataset:
    """The same with a split, and a layer that nobody knows the share of in one chip."""
    folder = tmp_path_factory.mktemp("maps") / "split"
    shutil.copytree(dataset.path, folder)
    table = pq.read_table(folder / "chips.parquet")
    n = len(table)
    split = pa.array(["train"] * (n - 3) + ["val", "test", None])
    share = pa.array([float("nan"), *table["valid_s1"].to_pylist()[1:]], pa.float32())
    table = table.set_column(table.column_names.index("split"), "split", split)
    table = table.set_column(table.column_names.index("valid_s1"), "valid_s1", share)
    pq.write_table(table, folder / "chips.parquet")
    return mp.Dataset(folder)


def test_every_chip_of_a_dataset_is_drawn_where_its_footprint_is(dataset: mp.Dataset) -> None:
    drawing = draw(dataset, 100)
    assert (len(drawing), drawing.side, drawing.note) == (len(dataset), 1, "")
    squares = shapely.polygons(np.stack([drawing.lon, drawing.lat], axis=-1))
    footprints = shapely.from_wkb(dataset.chips["geometry"].to_list())
    assert shapely.equals_exact(squares, footprints, tolerance=1e-9, normalize=True).all()
    assert list(column(drawing, "chip")) == list(dataset.chips["chip_id"])
    assert list(column(drawing, "row")) == list(dataset.chips["row"])
    np.testing.assert_allclose(column(drawing, "lon"), dataset.chips["lon"])
    np.testing.assert_array_equal(column(drawing, "valid s1"), dataset.chips["valid_s1"])
    assert set(column(drawing, "zone")) == {"32N"}
    assert "split" not in [known.name for known in drawing.columns]
    assert drawing.outline is not None
    assert drawing.outline.equals(area(9.300, 57.100, 9.312, 57.104).geometry)
    assert drawing.facts.startswith(f"{len(dataset)} chips of 0.32 km, 1 km²")


def test_the_same_is_drawn_however_it_is_named(dataset: mp.Dataset) -> None:
    plan = mp.plan(BOX, RECIPE)
    drawings = [draw(what, 100) for what in (dataset, dataset.path, str(dataset.path), plan)]
    assert len({drawing.lon.tobytes() for drawing in drawings}) == 1
    ids = [
        list(column(draw(what, 999), "chip"))
        for what in ("luxembourg", mp.Area.from_geometry(_of("luxembourg"), name="l"))
    ]
    assert ids[0] == ids[1] == Grid().cells(_of("luxembourg")).ids()


def _of(name: str) -> Any:
    from m3leo_prep.pipeline.areas import load_area

    return load_area(name).geometry


def test_a_half_built_dataset_shows_its_plan(dataset: mp.Dataset, tmp_path: Path) -> None:
    shutil.copytree(dataset.path / ".m3leo", tmp_path / "half" / ".m3leo")
    assert list(column(draw(tmp_path / "half", 100), "chip")) == list(dataset.chips["chip_id"])


def test_a_moved_dataset_without_its_state_has_no_outline(dataset: mp.Dataset, tmp_path: Path) -> None:
    shutil.copytree(dataset.path, tmp_path / "bare", ignore=shutil.ignore_patterns(".m3leo"))
    drawing = draw(tmp_path / "bare", 100)
    assert drawing.outline is None
    assert len(drawing) == len(dataset)


def test_a_folder_called_like_an_area_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "luxembourg").mkdir()
    assert len(draw("luxembourg", 1_000)) == 188
    for folder in (Path("luxembourg"), "./luxembourg"):
        with pytest.raises(StoreError, match="no finished dataset here"):
            draw(folder, 1_000)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'luxembourg'"):
        maps.show("luxemburg")
    with pytest.raises(StoreError, match="no finished dataset here"):
        maps.show(tmp_path)
    with pytest.raises(StoreError, match="the map cannot be written"):
        maps.show(BOX, path=tmp_path / "no" / "folder.html")


@pytest.mark.parametrize("most", [30, 100, 400])
def test_many_chips_become_squares_with_their_number_and_means(most: int) -> None:
    box = area(8.0, 50.0, 9.5, 51.0)
    cells = Grid().cells(box.geometry)
    drawing = draw(box, most)
    assert len(drawing) <= most < len(cells)
    assert drawing.side in {2, 4, 8, 16}
    assert column(drawing, "chips").sum() == len(cells)
    assert column(drawing, "chips").max() == drawing.side**2
    assert f"{drawing.side} x {drawing.side} chips" in drawing.note
    # One square, by hand.
    blocks = np.stack([cells.epsg, cells.col // drawing.side, cells.row // drawing.side], axis=1)
    first = (blocks == blocks[0]).all(axis=1)
    mean = cells.lon_lat()[1][first].mean()
    at = int(
        np.argmin(
            np.abs(column(drawing, "lat") - mean) + np.abs(column(drawing, "lon") - cells.lon_lat()[0][first].mean())
        )
    )
    assert column(drawing, "chips")[at] == first.sum()
    assert column(drawing, "lat")[at] == pytest.approx(mean)
    inside = shapely.polygons(np.stack([drawing.lon[at], drawing.lat[at]], axis=-1))
    assert shapely.contains(shapely.buffer(inside, 0.003), cells.polygons()[first]).all()
    assert shapely.area(inside) == pytest.approx(shapely.union_all(cells.polygons()[first]).area, rel=0.01)


def test_squares_tell_shares_of_words_and_means_of_what_is_known(split_dataset: mp.Dataset) -> None:
    one = draw(split_dataset, 1)
    n = len(split_dataset)
    assert len(one) == 1
    assert column(one, "chips").tolist() == [n]
    assert column(one, "split train").tolist() == [100 * (n - 3) / n]
    assert column(one, "split none").tolist() == [100 / n]
    known = split_dataset.chips["valid_s1"].to_numpy()[1:]
    np.testing.assert_allclose(column(one, "valid s1"), known.mean(), rtol=1e-6)


def test_an_area_across_the_antimeridian_is_one_piece() -> None:
    drawing = draw(area(177, -19, 181, -16), 100_000)
    assert drawing.outline is not None
    assert (drawing.outline.geom_type, drawing.outline.bounds) == ("Polygon", (177, -19, 181, -16))
    west, _, east, _ = drawing.bounds
    np.testing.assert_allclose([west, east], [177, 181], atol=0.05)
    assert np.ptp(drawing.lon, axis=1).max() < 0.1
    assert np.abs(column(drawing, "lon")).max() <= 180
    squares = draw(area(177, -19, 181, -16), 500)
    np.testing.assert_allclose([squares.bounds[0], squares.bounds[2]], [177, 181], atol=0.1)
    near = np.abs((squares.lon.mean(axis=1) - column(squares, "lon") + 180) % 360 - 180)
    assert near.max() < 0.6


def test_the_whole_earth_is_cut_at_180_degrees() -> None:
    drawing = draw(area(-180, -0.2, 180, 0.2), 5_000)
    assert drawing.outline is not None
    assert list(drawing.outline.bounds) == [-180, -0.2, 180, 0.2]
    assert np.abs(drawing.lon).max() < 183


def test_near_the_poles_nothing_is_lost() -> None:
    drawing = draw(area(10, 83.5, 20, 84), 20_000)
    assert drawing.bounds[3] > 84
    mercator = [np.array(page_module.mercator_y(lat)) for lat in (drawing.lat, np.array([-90.0, 90.0]))]
    assert all(np.isfinite(y).all() for y in mercator)
    np.testing.assert_allclose(mercator[1], [-19971868.9, 19971868.9])
    _, expected = Transformer.from_crs(4326, 3857, always_xy=True).transform(0, 84)
    assert page_module.mercator_y(np.array([84.0]))[0] == pytest.approx(expected, abs=0.1)


def test_colours_are_those_of_the_legend() -> None:
    share = Column("valid s1", np.array([0.0, 50.0, 100.0, np.nan]), "%", (0, 100))
    assert colours(share)[0] == "#440154"
    assert colours(share)[2:] == ["#fde725", "#9a9a9a"]
    assert ("100 %" in legend(share), "unknown" in legend(share)) == (True, True)
    whole = Column("valid s1", np.array([1.0]), "%", (0, 100))
    assert "unknown" not in legend(whole)
    split = Column("split", np.array(["test", "train", "<b>"]), limits=(0, 1))
    words, scale = palette(split)
    assert words == ["train", "test", "<b>"]
    assert colours(split) == [scale[1], scale[0], scale[2]]
    assert "<b>" not in legend(split)


def test_names_cannot_break_the_page() -> None:
    name = "</script><script>alert(1)</script>"
    page = make_page(draw(area(9.3, 57.1, 9.35, 57.12, name=name), 100))
    assert "<script>alert(1)" not in page.html


def test_a_notebook_shows_the_page_in_a_frame() -> None:
    page = maps.show(BOX)
    assert isinstance(page, Page)
    frame = re.fullmatch(r'<iframe srcdoc="([^"]*)" style="[^"]*"></iframe>', page._repr_html_())
    assert frame is not None
    assert html.unescape(frame[1]) == page.html
    assert len(repr(page)) < 200


def test_without_bokeh_the_message_has_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bokeh.embed", None)
    with pytest.raises(MissingDependency, match=r"pip install 'm3leo-prep\[maps\]'"):
        maps.show(BOX)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_notebook_with_ipyleaflet_gets_a_widget(
    split_dataset: mp.Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ipyleaflet = pytest.importorskip("ipyleaflet")
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    assert isinstance(maps.show(split_dataset, path=tmp_path / "page.html"), Page)
    shown = maps.show(split_dataset)
    assert isinstance(shown, ipyleaflet.Map)
    chips, outline = shown.layers[1:]
    assert (chips.name, outline.name) == ("chips", "outline")
    assert len(chips.data["features"]) == len(split_dataset)
    feature = chips.data["features"][-1]
    footprint = shapely.from_wkb(split_dataset.chips["geometry"].iloc[-1])
    assert shapely.geometry.shape(feature["geometry"]).normalize().equals_exact(footprint.normalize(), 1e-9)
    about, choice, key = shown.controls[-1].widget.children
    assert choice.value == "split"
    choice.value = "zone"
    assert "32N" in key.value
    choice.value = "split"
    painted = [feature["properties"]["style"]["fillColor"] for feature in chips.data["features"]]
    assert painted == colours(next(known for known in draw(split_dataset, 100).columns if known.name == "split"))
    assert "train" in key.value
    chips._handle_mouse_events(
        None, {"event": "mouseover", "feature": feature, "id": feature["id"], "properties": {}}, []
    )
    assert f"chip: {split_dataset.chips['chip_id'].iloc[-1]}" in about.value
    west, south, east, north = draw(split_dataset, 100).bounds
    assert shown.center == [pytest.approx((south + north) / 2), pytest.approx((west + east) / 2)]
    # The closest zoom at which 400 pixels still hold the height.
    assert (north - south) * 2**shown.zoom * 256 / 360 <= 400 or shown.zoom == 1


class Tab:
    """A page of a map in a browser, with all it asked for and all it complained about."""

    def __init__(self, browser: Any, file: Path) -> None:
        self.page = browser.new_page(viewport={"width": 1100, "height": 700})
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self.page.goto(file.as_uri())
        self.page.wait_for_function("window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle")

    def plot(self, expression: str) -> Any:
        """Return the value of an expression of ``plot``, ``shapes`` and ``view``."""
        return self.page.evaluate(
            "() => { const plot = Bokeh.documents[0].get_model_by_name('map');"
            "const shapes = plot.renderers.find((r) => r.name == 'shapes');"
            f"const view = Bokeh.index.find_one(plot); return {expression}; }}"
        )

    def hover(self, k: int) -> None:
        """Move the mouse to the middle of a shape."""
        x, y = self.plot(
            "(() => { const d = shapes.data_source.data; const mean = (v) => v.reduce((a, b) => a + b) / v.length;"
            "const box = view.el.getBoundingClientRect();"
            "const canvas = view.canvas_view.el.getBoundingClientRect();"
            f"return [view.frame.x_scale.compute(mean(Array.from(d.xs[{k}]))) + canvas.x,"
            f"view.frame.y_scale.compute(mean(Array.from(d.ys[{k}]))) + canvas.y]; }})()"
        )
        self.page.mouse.move(x - 3, y)
        self.page.mouse.move(x, y)


def test_the_page_works_in_a_browser_without_a_network(split_dataset: mp.Dataset, browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "map.html"
    maps.show(split_dataset, path=file)
    tab = Tab(browser, file)
    assert tab.plot("shapes.data_source.data.xs.length") == len(split_dataset)
    # Hover tells which chip it is.
    chip = split_dataset.chips["chip_id"][4]
    tab.hover(4)
    tab.page.get_by_text(chip).wait_for(timeout=5000)
    tab.page.get_by_text("32N").first.wait_for(timeout=5000)
    # Another colour is another field of the glyph, another legend, and other pixels.
    assert tab.plot("shapes.glyph.fill_color.field") == "split"
    tab.page.get_by_label("Colour").select_option("zone")
    tab.page.mouse.move(5, 5)
    assert tab.plot("shapes.glyph.fill_color.field") == "zone"
    before = tab.page.screenshot()
    tab.page.get_by_label("Colour").select_option("split")
    tab.page.mouse.move(5, 5)
    tab.page.get_by_text("train", exact=True).wait_for(timeout=5000)
    assert tab.plot("shapes.glyph.fill_color.field") == "split"
    assert tab.plot("shapes.hover_glyph.fill_color.field") == "split"
    drawn = tab.plot("shapes.glyph.fill_color.transform.factors")
    assert drawn == ["train", "val", "test", "none"]
    tab.page.wait_for_timeout(200)
    assert tab.page.screenshot() != before
    tab.page.get_by_label("Colour").select_option("valid s1")
    tab.page.get_by_text("unknown").wait_for(timeout=5000)
    # A degree is as wide as it is high in metres of the projection.
    x, y = tab.plot(
        "[(plot.x_range.end - plot.x_range.start) / plot.inner_width,"
        "(plot.y_range.end - plot.y_range.start) / plot.inner_height]"
    )
    assert x == pytest.approx(y, rel=0.01)
    # The wheel zooms in.
    tab.page.mouse.move(550, 400)
    tab.page.mouse.wheel(0, -300)
    tab.page.wait_for_function(
        f"Bokeh.documents[0].get_model_by_name('map').x_range.end - "
        f"Bokeh.documents[0].get_model_by_name('map').x_range.start < {0.95 * x} * 1000"
    )
    assert tab.asked == [file.as_uri()]
    assert tab.errors == []


def test_a_continent_opens_as_squares_and_says_so(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "europe.html"
    maps.show("europe", path=file)
    assert file.stat().st_size < 10e6
    tab = Tab(browser, file)
    assert tab.plot("shapes.data_source.data.xs.length") <= maps.PAGE_SHAPES
    assert tab.plot("Array.from(shapes.data_source.data.chips).reduce((a, b) => a + b)") > 400_000
    assert "8 x 8 chips" in tab.page.get_by_text("one square = up to").inner_text()
    assert (tab.asked, tab.errors) == ([file.as_uri()], [])
