"""Pictures of interferograms: fringes, components, lines of sight, and which pair or orbit a panel shows."""

from __future__ import annotations

import numpy as np
import pytest

from m3leo_prep.core.raster import Kind
from m3leo_prep.reader.chosen import chosen, words
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray
from m3leo_prep.reader.picture.legend import UNRELIABLE
from m3leo_prep.reader.picture.looks import looks
from m3leo_prep.reader.picture.panels import Block, make_block
from tests.interferograms import made

page = pytest.importorskip("m3leo_prep.reader.picture.page")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset(made(tmp_path_factory.mktemp("pictures") / "d"))


def block(dataset: Dataset, row: int, layer: str, variable: str | None = None) -> Block:
    stored = dataset.layer(layer)
    return make_block(
        dataset, row, stored, stored.array(variable), max_slots=12, pixels=page.PIXELS, colour=page.colour
    )


def test_values_a_turn_apart_have_one_colour_and_the_span_tells_them_apart() -> None:
    array = StoredArray("phase", Kind.UNWRAPPED_PHASE, ("phase",), "rad", "int32", -(2**31), 0.001, 1)
    (look,) = looks(array)
    steps = np.array([[-1.0, 0.0, 1.0], [0.0, 0.0, 1.0 + 4 * np.pi], [0.0, -1.0 - 2 * np.pi, np.nan]])
    values = {0: (steps + 1000)[None]}
    level = look.channels[0].level(look.channels[0].value(values))[0]
    assert level[0, 0] == pytest.approx(level[2, 1], abs=1e-6)
    assert level[0, 2] == pytest.approx(level[1, 2], abs=1e-6)
    assert level[1, 1] == pytest.approx(0.5)
    assert np.isnan(level[2, 2])
    assert look.channels[0].span(values) == pytest.approx((-1 - 2 * np.pi, 1 + 4 * np.pi))
    assert "one fringe" in look.note
    assert not look.is_smooth


def test_displacement_that_is_stored_in_metres_is_no_fringe() -> None:
    array = StoredArray("phase", Kind.UNWRAPPED_PHASE, ("phase",), "m", "int32", -(2**31), 1e-5, 1)
    (look,) = looks(array)
    assert (look.colours, look.note, look.channels[0].span({0: np.ones((1, 2, 2))})) == ("RdBu", "", None)


def test_each_panel_says_its_pair_and_its_span(dataset: Dataset) -> None:
    (strip,) = block(dataset, 0, "insar", "phase").strips
    assert [panel.about for panel in strip.panels] == ["20200715 to 20200901", "20200528 to 20200901", ""]
    assert strip.panels[0].span is not None
    assert strip.panels[0].span[0] == pytest.approx(-2 * np.pi, abs=0.05), "the component a turn below"
    assert strip.panels[2].span is None
    assert "2.8 cm" in strip.look.note
    (strip,) = block(dataset, 0, "geometry").strips
    assert [panel.about for panel in strip.panels] == ["ascending 44", "descending 139"]


def test_components_are_distinct_and_what_is_unreliable_is_grey(dataset: Dataset) -> None:
    found = {
        shown.code: shown
        for row in range(len(dataset))
        for shown in block(dataset, row, "insar", "parts").strips[0].classes
    }
    assert found.keys() == {0, 1, 2}
    assert found[0].color == UNRELIABLE
    assert len({shown.color for shown in found.values()}) == 3
    assert found[0].name == "0: not unwrapped reliably"


def test_the_line_of_sight_is_one_picture_of_three_parts(dataset: Dataset) -> None:
    made = block(dataset, 0, "insar", "los")
    (strip,) = made.strips
    assert strip.look.names == ("east", "north", "up")
    red, green, blue = strip.panels[0].picture[5, 5]
    np.testing.assert_allclose((red, green, blue), ((0.62 + 0.8) / 1.6, 0.14 / 0.5, 0.1762 / 0.4), atol=0.01)
    assert made.bands_left == []


def test_a_page_is_drawn_of_all_of_it(dataset: Dataset) -> None:
    figure = dataset.plot(1)
    told = " | ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    for said in (
        "short | 20200820 to 20200901",
        "one turn of colours: one fringe",
        "rad from the panel's median",
        "red: east",
    ):
        assert said in told


def test_what_a_slot_is_can_be_told_in_words_and_facts(dataset: Dataset) -> None:
    short, _, none = chosen(dataset, 1, dataset.layer("insar"))
    assert short["reference_time"] == "2020-09-01T05:30:00+00:00"
    assert (short["product_version"], short["orbit_direction"], short["perp_baseline"]) == ("2.0.6", "ascending", -18)
    assert short["phase_reference"] == pytest.approx(30, abs=8)
    assert none == {}
    assert words(none) == ""
    assert chosen(dataset, 1, dataset.layer("geometry"))[1] == {}


def test_rounding_of_a_constant_is_not_drawn_as_a_pattern() -> None:
    array = StoredArray("inc", "continuous", ("inc",), "degree", "float32", None, 1.0, 1)
    values = np.float32(38.6) + np.random.default_rng(0).uniform(-1e-5, 1e-5, (1, 8, 8)).astype(np.float32)
    (look,) = looks(array)
    level = look.fitted({0: values}).channels[0].level(values)
    assert np.ptp(level) < 0.01
    assert level.mean() == pytest.approx(0.5, abs=0.01)
    sloping = values + np.arange(8, dtype=np.float32)
    assert np.ptp(look.fitted({0: sloping}).channels[0].level(sloping)) == pytest.approx(1)


def test_bands_of_one_variable_may_have_units_of_their_own() -> None:
    about = {"attributes": {"band_units": {"rho": "1", "tau": "day"}}}
    array = StoredArray("decay", "continuous", ("rho", "tau"), "mixed", "float32", None, 1.0, 2, about)
    assert [array.unit_of(band) for band in array.bands] == ["1", "day"]
    assert [look.unit for look in looks(array)] == ["", "day"]
