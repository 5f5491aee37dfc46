"""A user's own image or collection: what is asked of it before a build, what it gives, what is told of its faults."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError, MissingDependency, SourceError
from m3leo_prep.core.plan import digest_of
from m3leo_prep.core.raster import STATIC, Item, Slot
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.sources.gee import EarthEngine

from .scenes import Shelf, band, pair, values, window

HERE = box(3, 45, 3.2, 45.2)
VALUE = {"v": {"kind": "continuous", "bands": ["B4"]}}
COLLECTION = """
import ee
def images(start, end):
    return ee.ImageCollection("me/mine").filterDate(start, end)
"""
MONTHS = parse_slots({"periods": [["2020-06-01", "2020-06-30"], ["2020-07-01", "2020-07-31"]]})
Write = Callable[[str], str]


@pytest.fixture
def script(tmp_path: Path) -> Write:
    """Return a function that writes the file and returns its path."""

    def write(body: str, name: str = "mine.py") -> str:
        (tmp_path / name).write_text(dedent(body))
        return str(tmp_path / name)

    return write


@pytest.fixture
def shelf(earth_engine: Any) -> Any:
    """Return the server with two images in June 2020: 1 and 5 in B4, of which the second is masked in a corner."""
    there = np.ones((8, 8), bool)
    there[0, 0] = False
    scenes = [
        pair(
            "me/mine",
            f"s{day}",
            [band("B4", np.full((8, 8), value), valid), band("SCL", np.full((8, 8), value), dtype="uint8")],
            when=datetime(2020, 6, day, tzinfo=UTC),
        )[0]
        for day, value, valid in ((5, 1, None), (30, 5, there))
    ]
    earth_engine.archive = Shelf(scenes)
    return earth_engine


def source(path: str, function: str = "images", **options: Any) -> EarthEngine:
    return EarthEngine(
        **({"script": f"{path}:{function}", "pitch": 10, "variables": VALUE, "kernel": "nearest"} | options)
    )


def find(of: EarthEngine, slots: tuple[Slot, ...] = MONTHS) -> list[Item]:
    return list(of.find(HERE, slots))


# -- before a build --------------------------------------------------------------------------------------------------


def test_a_collection_is_asked_once_which_bands_it_has_in_each_slot(shelf: Any, script: Write) -> None:
    (item,) = find(source(script(COLLECTION)))  # July has no image, and no item
    assert item.id == "mine.py:images/2020-06-01_2020-06-30"
    assert item.datetime == MONTHS[0].start
    assert len(item.version) == 64
    assert item.footprint.equals(box(-180, -90, 180, 90))
    (request,) = [request for request in shelf.requests if request.route != "algorithms"]
    assert sorted(request.expression.dates) == [("2020-06-01", "2020-07-01"), ("2020-07-01", "2020-08-01")]


def test_a_function_without_arguments_and_a_layer_without_slots(shelf: Any, script: Write) -> None:
    path = script(
        "import ee\ndef one(): return ee.Image('me/mine/s5')\ndef two(a, b): return ee.Image(f'me/mine/s{a or 5}')"
    )
    (first,) = find(source(path, "one"), (STATIC,))
    (second,) = find(source(path, "two"), (STATIC,))
    assert (first.id, first.datetime) == ("mine.py:one/static", None)
    assert first.version == second.version


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ("import ee\ndef images(start): ...", ConfigError, r"mine.py:images: it takes \(start\)"),
        ("import ee\ndef image(): ...", ConfigError, "(?s)no function 'images'.*did you mean 'image'"),
        ("def images(): return 1", ConfigError, r"images\(\) returned int, not an ee.Image"),
        ("def images(a, b):\n  return 1 / 0", SourceError, r"mine.py, line 2: .*images\(2020-06-01, 2020-07-01\): Z"),
        ("x = {}\ny = x['no']", SourceError, "mine.py, line 2: .*importing it: KeyError"),
        ("import ee\ndef images():\n  return ee.Image('a').nope()", SourceError, "line 3: .*no attribute 'nope'"),
        ("import nowhere_to_be_found", MissingDependency, "needs 'nowhere_to_be_found'"),
        ("def images(:", ConfigError, "mine.py: line 1"),
        ("import ee\ndef images(): return ee.Image('me/none')", ConfigError, "me/none.*not found"),
        (
            "import ee\ndef images(): return ee.ImageCollection('me/mine').filterDate('1999-01-01', '1999-02-01')",
            ConfigError,
            "(?s)no image at all.*from 2020-06-01 on",
        ),
    ],
)  # fmt: skip
def test_a_fault_of_the_script_is_told_before_a_build(
    shelf: Any, script: Write, body: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        find(source(script(body)))


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("continuous", "B44", "(?s)slot 2020-06.*no band 'B44'.*'B4'.*B4, SCL"),
        ("bits", "B4", "(?s)'v' is of codes, but band 'B4' is float.*toByte"),
        ("bits", "WIDE", "(?s)said to be uint8, but band 'WIDE' holds -32768 to 32767"),
    ],
)
def test_bands_are_checked_before_a_build(shelf: Any, script: Write, kind: str, name: str, words: str) -> None:
    if name == "WIDE":
        shelf.archive = Shelf([pair("me/mine", "s5", [band("WIDE", np.zeros((2, 2)), dtype="int16")])[0]])
    said = {"kind": kind, "bands": [name]} | ({"dtype": "uint8"} if kind == "bits" else {})
    with pytest.raises(ConfigError, match=words):
        find(source(script(COLLECTION), variables={"v": said}))


def test_a_composite_is_not_resampled(shelf: Any, script: Write) -> None:
    path = script("import ee\ndef images(): return ee.ImageCollection('me/mine').median()")
    with pytest.raises(ConfigError, match=r"(?s)returns a composite.*kernel: bilinear.*kernel: nearest"):
        find(source(path, kernel="bilinear"))
    # Said or not: without a word about a kernel, nothing is resampled.
    assert find(source(path))
    assert find(source(path, kernel=""))
    single = script("import ee\ndef images(): return ee.Image('me/mine/s5')", "single.py")
    assert find(source(single, kernel="bilinear"))


def test_a_year_and_days_that_are_not_there_are_refused(shelf: Any, script: Write) -> None:
    path = script(COLLECTION)
    with pytest.raises(ConfigError, match=r"(?s)year: a script is given.*slots: \{years: \[2020\]\}"):
        source(path, year=2020)
    with pytest.raises(ConfigError, match=r"(?s)may not be null.*without `slots:`.*None twice"):
        find(source(path), (STATIC,))


# -- pixels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statistic", "plain", "corner"),
    [("mean", 3, 1), ("median", 3, 1), ("min", 1, 1), ("max", 5, 1), ("count", 2, 1)],
)
def test_a_collection_is_composited_by_the_statistic(
    shelf: Any, script: Write, statistic: str, plain: float, corner: float
) -> None:
    of = source(script(COLLECTION), statistic=statistic)
    items = find(of)
    (raster,) = of.read(items, window(8, 8), MONTHS[0])
    got = values(raster)
    assert got[0, 0] == corner
    assert (got.reshape(-1)[1:] == plain).all()
    assert raster.item is items[0]


def test_an_image_is_given_as_it_is_with_its_mask(shelf: Any, script: Write) -> None:
    of = source(
        script("import ee\ndef images(): return ee.Image('me/mine/s30')"),
        variables=VALUE | {"w": {"kind": "continuous", "bands": ["SCL"], "scale": 0.5, "offset": 1}},
    )
    by_name = {raster.variable: raster for raster in of.read(find(of, (STATIC,)), window(8, 9), STATIC)}
    v = values(by_name["v"])
    assert np.isnan(v[0, 0])
    assert np.isnan(v[:, 8]).all()  # beyond the image
    assert (v[1:, :8] == 5).all()
    assert values(by_name["w"])[0, 0] == 3.5


def test_a_coarse_layer_is_read_on_a_finer_lattice(shelf: Any, script: Write) -> None:
    of = source(script("import ee\ndef images(): return ee.Image('me/mine/s5')"))
    (raster,) = of.read(find(of, (STATIC,)), window(2, 2, pitch=40), STATIC)
    assert abs(raster.geobox.transform.a) == 10
    assert raster.valid.sum() == 64


def test_a_script_that_changes_its_mind_is_refused(shelf: Any, script: Write) -> None:
    path = script("""
        import ee, itertools
        calls = itertools.count()
        def images(start, end): return ee.Image("me/mine/s5").add(next(calls))
    """)
    of = source(path)
    items = find(of)
    other = [Item(items[0].id, items[0].footprint, "another", items[0].datetime)]
    with pytest.raises(ConfigError, match=r"(?s)another image than when the build was planned.*--refresh"):
        list(of.read(other, window(8, 8), MONTHS[0]))


# -- digests ---------------------------------------------------------------------------------------------------------

RECIPE = """
name: mini
grid: {chip_px: 32, resolution: 10}
layers:
  mine:
    source: gee
    script: "./mine.py:images"
    pitch: 10
    kernel: nearest
    variables: {v: {kind: continuous, bands: [B4]}}
    slots: {periods: [[2020-06-01, 2020-06-30]]}
"""
WHERE = Area.from_geometry(box(9.300, 57.100, 9.303, 57.102), name="here")


def digest(folder: Path) -> str:
    plan = make_plan(parse_recipe(RECIPE), WHERE, base=folder).layers[0]
    return digest_of([plan.settings(), [(item.id, item.version) for item in plan.items]])


def test_an_edit_of_the_script_changes_the_digest_and_its_place_does_not(shelf: Any, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "mine.py").write_text(COLLECTION)
    before = digest(one)
    assert digest(two) == before
    # In the same process: the source is made again for another content of the file.
    (one / "mine.py").write_text(COLLECTION.replace("(start, end)\n", "(start, end).limit(1)\n"))
    edited = digest(one)
    assert edited != before
    (one / "mine.py").write_text(COLLECTION)
    assert digest(one) == before


def test_what_a_script_imports_is_in_the_version_of_its_items(shelf: Any, script: Write) -> None:
    text = "import ee, os\ndef images(): return ee.Image('me/mine/' + os.environ['WHICH'])"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHICH", "s5")
        (first,) = find(source(script(text, "a.py")), (STATIC,))
        patch.setenv("WHICH", "s30")
        (second,) = find(source(script(text + "\n", "a.py")), (STATIC,))
    assert first.id == second.id
    assert first.version != second.version


def test_a_worker_with_another_script_is_refused(shelf: Any, tmp_path: Path) -> None:
    from m3leo_prep.pipeline.origins import open_source

    (tmp_path / "mine.py").write_text(COLLECTION)
    plan = make_plan(parse_recipe(RECIPE), WHERE, base=tmp_path)
    (tmp_path / "mine.py").write_text(COLLECTION + "\n# edited\n")
    with pytest.raises(ConfigError, match=r"mine\.py here is not the one the build was planned with"):
        open_source(plan.layers[0].source)
