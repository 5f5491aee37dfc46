"""The page of a report in a real browser: it asks the network for nothing, and shows the numbers that were counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3leo_prep.core.errors import StoreError
from m3leo_prep.pipeline.report import map as map_module
from m3leo_prep.pipeline.report.map import chip_map
from m3leo_prep.pipeline.report.page import Report, make_report
from m3leo_prep.pipeline.report.picks import picks
from m3leo_prep.reader.dataset import Dataset


@pytest.fixture(scope="module")
def report(whole: Path) -> Report:
    return make_report(whole)


@pytest.fixture(scope="module")
def chips(whole: Path) -> pd.DataFrame:
    return pd.read_parquet(whole / "chips.parquet")


class Tab:
    """A report in a browser, with all it asked for and all it complained about."""

    def __init__(self, browser: Any, file: Path, width: int = 1400, **options: Any) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        self.asked: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", lambda line: self.said.append(line.text))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("#map-frame[data-ready=yes]")

    def legend(self) -> dict[str, str]:
        """Return word: number of chips, of the legend that is shown."""
        keys = self.page.locator(".legend:not([hidden]) button").all_inner_texts()
        rows = [[part.strip() for part in key.split("\n") if part.strip()] for key in keys]
        return {row[0]: row[-1] for row in rows}

    def pixels(self) -> str:
        """Return what the canvas shows, once it is drawn."""
        return self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() =>"
            "done(document.getElementById('map-canvas').toDataURL()))))"
        )


@pytest.fixture
def tab(browser: Any, report: Report, tmp_path: Path) -> Iterator[Tab]:
    report.save(tmp_path / "report.html")
    made = Tab(browser, tmp_path / "report.html")
    yield made
    urls = {url for url in made.asked if not url.startswith("data:")}
    assert urls == {(tmp_path / "report.html").as_uri()}, "nothing but the file itself"
    assert made.said == []
    made.page.close()


def test_colours_are_chosen_and_chips_told(tab: Tab, chips: pd.DataFrame) -> None:
    n = len(chips)
    of = Counter(chips["split"].fillna("none"))
    assert tab.legend() == {name: f"{of[name]}, {100 * of[name] / n:.1f} %" for name in ("train", "val", "test")}
    first = tab.pixels()
    tab.page.select_option("#map-colour", "admin block")
    assert {word: text.split(",")[0] for word, text in tab.legend().items()} == {
        str(name): str(k) for name, k in Counter(chips["admin_block"].fillna("none")).items()
    }
    second = tab.pixels()
    assert second != first
    tab.page.select_option("#map-colour", "majority of landcover")
    shares = chips[[name for name in chips if name.startswith("prop_landcover_")]]
    assert sum(int(text.split(",")[0]) for text in tab.legend().values()) == len(shares.dropna())
    # All words hidden: the chips are gone; shown again: as before.
    third = tab.pixels()
    for key in tab.page.locator(".legend:not([hidden]) button").all():
        key.click()
    empty = tab.pixels()
    assert empty not in {first, second, third}
    tab.page.select_option("#map-colour", "split")
    tab.page.mouse.move(0, 0)
    assert tab.pixels() == first


def test_a_chip_under_the_mouse_tells_what_its_table_says(tab: Tab, chips: pd.DataFrame) -> None:
    box = tab.page.locator("#map-canvas").bounding_box()
    seen = set()
    for fx in (0.42, 0.5, 0.58):
        tab.page.mouse.move(box["x"] + fx * box["width"], box["y"] + 0.5 * box["height"])
        rows = tab.page.locator("#map-tip div").all()
        told = {row.locator("span").inner_text(): row.locator("b").inner_text() for row in rows}
        row = chips[chips["chip_id"] == told["chip"]].iloc[0]
        seen.add(told["chip"])
        assert told["split"] == row["split"]
        assert told["row"] == str(row["row"])
        assert told["lon"] == f"{row['lon']:.4f}°"
        assert told["lat"] == f"{row['lat']:.4f}°"
        assert told["valid s1"] == f"{row['valid_s1']:.1f} %"
        assert told["admin block"] == (row["admin_block"] or "none")
        share = max((float(row[name]), name) for name in chips if name.startswith("prop_landcover_"))
        assert f"{100 * share[0]:.1f} %" in told.values()
    assert len(seen) > 1


def test_the_map_moves_and_comes_back(tab: Tab) -> None:
    start = tab.pixels()
    tab.page.click("#map-in")
    near = tab.pixels()
    tab.page.focus("#map-canvas")
    tab.page.keyboard.press("ArrowLeft")
    moved = tab.pixels()
    assert len({start, near, moved}) == 3
    tab.page.keyboard.press("0")
    assert tab.pixels() == start


def test_the_page_has_headings_and_every_picture_words(tab: Tab) -> None:
    names = tab.page.locator("h2").all_inner_texts()
    links = tab.page.locator("nav a").all_inner_texts()
    assert names == links
    assert len(names) == 10
    assert tab.page.locator("h1").count() == 1
    for href in tab.page.locator("a[href^='#']").all():
        assert tab.page.locator(href.get_attribute("href")).count() == 1
    pictures = tab.page.locator("img").all()
    assert pictures
    assert all(picture.get_attribute("alt") for picture in pictures)
    assert tab.page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert all(chart.get_attribute("aria-label") for chart in tab.page.locator("svg").all())
    assert tab.page.locator("header .lead").inner_text() == "Every part <b>there</b> & safe."
    paints = tab.page.evaluate("performance.getEntriesByType('paint').map((entry) => entry.name)")
    assert "first-contentful-paint" in paints


@pytest.mark.parametrize(("width", "scheme"), [(800, "dark"), (1400, "light"), (1400, "dark")])
def test_nothing_hangs_over_the_edge(browser: Any, report: Report, tmp_path: Path, width: int, scheme: str) -> None:
    report.save(tmp_path / "report.html")
    tab = Tab(browser, tmp_path / "report.html", width, color_scheme=scheme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    dark = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in re.findall(r"\d+", dark)[:3]) < 300) == (scheme == "dark")
    tab.page.close()


def test_a_dataset_without_splits_and_units_says_so(built: Path) -> None:
    page = make_report(built).html
    words = unescape(re.sub(r"<[^>]+>", " ", page[page.index('id="missing"') :]))
    assert "no split policy assigned the chips" in words
    assert "m3leo-prep split mini --policy blocks" in words
    assert "the recipe names no file of administrative units" in words


def test_the_same_dataset_gives_the_same_page(whole: Path, report: Report) -> None:
    assert make_report(whole).html == report.html


def test_chips_are_shown_for_a_reason_that_holds(whole: Path, report: Report, chips: pd.DataFrame) -> None:
    chosen = picks(chips, report.figures.labels)
    assert len({pick.row for pick in chosen}) == len(chosen) == 7
    valid = chips[["valid_position", "valid_landcover", "valid_s1"]].mean(axis=1)
    for pick in chosen:
        why = pick.why
        assert chips["chip_id"][pick.row] == pick.chip_id
        assert pick.valid == pytest.approx(valid[pick.row])
        if why.startswith("most "):
            label = report.figures.labels[0]
            column = next(one.column for one in label.classes if why == f"most {one.name}")
            assert chips[column][pick.row] == chips[column].max()
    varied = chips.assign(valid_s1=np.arange(len(chips), dtype=float))
    ends = {pick.why: pick.row for pick in picks(varied, ())}
    assert (ends["most complete"], ends["least complete"]) == (len(chips) - 1, 0)
    assert {"drawn by lot from train", "drawn by lot from val", "drawn by lot from test"} <= set(ends)


def test_many_chips_become_squares_and_rare_classes_are_named(
    whole: Path, chips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_module, "MOST_SHAPES", 10)
    monkeypatch.setattr(map_module, "MOST_SHARES", 20)
    made = chip_map(Dataset(whole), chips.drop(columns="geometry"))
    assert made.side > 1
    assert made.n_shapes <= 10
    assert "squares" in made.note or "square" in made.note
    shown = [choice.name for choice in made.choices if choice.name.startswith("landcover: ")]
    assert len(shown) == 2
    columns = [name for name in chips if name.startswith("prop_landcover_")]
    assert set(made.left_out) == set(chips[columns].mean().sort_values().index[: len(columns) - 2])


def test_a_page_that_cannot_be_written_is_told(report: Report, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the report cannot be written"):
        report.save(tmp_path / "no" / "report.html")
