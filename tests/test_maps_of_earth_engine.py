"""Earth Engine layers on a map: what is laid is what would be built, below the chips, and what prevents it is told."""

from __future__ import annotations

import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import m3leo_prep as mp
from m3leo_prep import maps
from m3leo_prep.maps.earth_engine import picture
from m3leo_prep.sources.gee.reading.pixels import fetch
from m3leo_prep.sources.gee.reading.requests import Band
from m3leo_prep.sources.gee.service import session
from m3leo_prep.testing.earth_engine import StandIn, SyntheticArchive

BOX = "6.110,49.608,6.116,49.612"
RECIPE = """
name: mini
grid: {chip_px: 32, resolution: 10}
layers:
  s1:
    source: gee
    product: s1-grd
    orbits: [ascending]
    bands: [vv]
    slots: {periods: [[2020-06-01, 2020-06-12], [2020-06-13, 2020-06-24], [2021-02-01, 2021-02-01]]}
  s2:
    source: gee
    product: s2-sr
    bands: [blue, green, red]
    cloud: none
    slots: {periods: [[2020-06-01, 2020-06-14]]}
  cover: {role: label, source: gee, product: worldcover-v100}
  height: {source: gee, product: glo30}
  position: {source: ramp}
"""


@pytest.fixture(scope="module")
def earth_engine() -> Iterator[StandIn]:
    with StandIn(SyntheticArchive()) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("M3LEO_PREP_EE_URL", server.url)
        patch.setenv("M3LEO_PREP_EE_PROJECT", "stand-in")
        session.reset()
        yield server
        session.reset()


@pytest.fixture(scope="module")
def plan(earth_engine: StandIn) -> mp.Plan:
    return mp.plan(BOX, RECIPE)


@pytest.fixture(scope="module")
def dataset(plan: mp.Plan, tmp_path_factory: pytest.TempPathFactory) -> mp.Dataset:
    return mp.build(plan, tmp_path_factory.mktemp("gee") / "mini")


def values_on_a_chip(plan: mp.Plan, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Return values and valid (band, y, x) of what is laid of a layer's first slot, on the pixels of chip 0."""
    of = plan.layer(layer)
    made = picture(plan, of, of.layer.slots[0])
    assert made is not None
    names = made.image.bandNames().getInfo()
    chip = plan.grid.geobox(*(int(axis[0]) for axis in (plan.cells.epsg, plan.cells.col, plan.cells.row)))
    return fetch(made.image, [Band(name, "float32", -9999.0) for name in names], chip, what="test").stack(names)


def test_what_is_laid_has_the_values_of_the_chips(plan: mp.Plan, dataset: mp.Dataset) -> None:
    decibel, valid = values_on_a_chip(plan, "s1")
    stored, known = dataset.read(0, "s1", slots=[0])
    np.testing.assert_array_equal(valid, known[0])
    np.testing.assert_allclose(decibel, stored[0], atol=0.006)  # stored in steps of 0.01 dB
    numbers, valid = values_on_a_chip(plan, "s2")
    stored, known = dataset.read(0, "s2", bands=[2, 1, 0])  # red first
    np.testing.assert_array_equal(valid, known[0])
    np.testing.assert_allclose(numbers[valid] / 10_000, stored[0][valid], atol=1.1e-4)
    places, valid = values_on_a_chip(plan, "cover")
    legend = plan.layer("cover").layer.arrays[0].variable.legend
    assert valid.all()
    assert [legend[k].code for k in places.astype(int).ravel()] == dataset.read(0, "cover")[0].ravel().tolist()


def test_colours_suit_what_is_shown(plan: mp.Plan) -> None:
    made = {name: picture(plan, plan.layer(name), plan.layer(name).layer.slots[0]) for name in ("s1", "s2", "height")}
    s1, s2, height = (made[name] for name in ("s1", "s2", "height"))
    assert s1 is not None
    assert s2 is not None
    assert height is not None
    assert -30 < s1.look["min"] < s1.look["max"] < 10
    assert re.fullmatch(r"VV_asc, -?[0-9.]+ to -?[0-9.]+ dB", s1.note)
    assert re.fullmatch(r"red, green, blue, 0\.[0-9]+ to 0\.[0-9]+", s2.note)
    assert float(s2.note.split()[-1]) == pytest.approx(s2.look["max"] / 10_000, rel=0.01)
    assert height.note.endswith(" m")
    assert len(height.look["palette"]) > 2


def test_a_slot_without_images_has_no_picture(plan: mp.Plan) -> None:
    of = plan.layer("s1")
    assert picture(plan, of, of.layer.slots[2]) is None


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have IPython say that this process is a notebook's kernel."""
    pytest.importorskip("geemap")
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object())))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("notebook")
def test_a_notebook_with_geemap_has_the_layers_below_the_chips(plan: mp.Plan, earth_engine: StandIn) -> None:
    shown = maps.show(plan)
    names = ["s1", "s2", "cover", "height", "chips", "outline"]
    assert [layer.name for layer in shown.layers[1:]] == names
    s1, s2, cover, height = shown.controls[-1].widget.children[3:]
    choice, told = s1.children
    assert "dB" in told.value
    assert "red, green, blue" in s2.value
    assert all(word in cover.value for word in ("Tree cover", "background: #006400"))
    assert height.value.rstrip().endswith("m")
    first = shown.layers[1].url
    choice.value = choice.options[1]
    assert [layer.name for layer in shown.layers[1:]] == ["s2", "cover", "height", "s1", "chips", "outline"]
    assert shown.layers[4].url != first
    choice.value = choice.options[2]
    assert told.value == "<b>s1</b> no image "
    assert [layer.name for layer in shown.layers[1:]] == ["s2", "cover", "height", "chips", "outline"]
    # A browser, which has no login, gets the picture.
    lon, lat = 6.113, 49.61
    side = 2**14
    x = int((lon + 180) / 360 * side)
    y = int((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * side)
    with urllib.request.urlopen(shown.layers[2].url.format(z=14, x=x, y=y)) as answer:
        tile = answer.read()
    assert tile.startswith(b"\x89PNG")
    assert earth_engine.asked("tile")[-1].asset.endswith(f"tiles/14/{x}/{y}")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("notebook")
def test_without_a_login_the_chips_are_shown_and_the_rest_is_told(
    plan: mp.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.reset()
    monkeypatch.setenv("M3LEO_PREP_EE_SERVICE_ACCOUNT", "no/such/key.json")
    monkeypatch.delenv("M3LEO_PREP_EE_URL")
    shown = maps.show(plan)
    assert [layer.name for layer in shown.layers[1:]] == ["chips", "outline"]
    for told in shown.controls[-1].widget.children[4:]:
        assert "not shown: no/such/key.json" in told.value
    session.reset()


def test_nothing_but_the_map_of_a_plan_imports_geemap() -> None:
    package = Path(mp.__file__).parent
    users = [str(file.relative_to(package)) for file in package.rglob("*.py") if "import geemap" in file.read_text()]
    assert users == ["maps/widget.py"]
