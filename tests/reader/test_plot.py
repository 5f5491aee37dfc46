"""Pictures of chips: what is drawn is what is stored, and what is missing never looks like data."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from m3leo_prep.core.encoding import default_encoding
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.layer import Array
from m3leo_prep.core.raster import Kind, LegendClass, Variable
from m3leo_prep.core.reasons import Reason
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.ids import closest
from m3leo_prep.reader.manifest import StoredArray
from m3leo_prep.reader.picture.layout import LABEL, PANEL
from m3leo_prep.reader.picture.legend import color_at, paint, shown_classes
from m3leo_prep.reader.picture.looks import CO_DB, CROSS_DB, MOST_PANELS, looks
from m3leo_prep.reader.picture.page import DPI, HATCH_FACE, HATCH_LINE, PIXELS, colour, scale_bar
from m3leo_prep.reader.picture.panels import chosen_slots, make_block
from m3leo_prep.reader.picture.plot import chosen_arrays, plot
from m3leo_prep.reader.picture.quality import WORDS, Quality, percent, read_quality
from m3leo_prep.testing.layers import make_layer


def variable(name, kind, bands, legend=(), unit="1"):
    made = Variable(name, kind, tuple(bands), unit=unit, legend=tuple(legend))
    return Array(made, default_encoding(made), "nearest", "first", len(bands) if len(bands) <= 4 else 1)


def stored(kind, bands, unit="1", name="v", legend=()):
    about = {"legend": [{"code": c.code, "name": c.name, "color": c.color} for c in legend]}
    return StoredArray(name, str(kind), tuple(bands), unit, "int16", -1, 0.01, 1, about)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def pixels(figure):
    """Return the picture, (rows, columns, 3) uint8."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def panel_at(figure, place):
    """Return the drawn pixels below the ``place``-th text that names a slot's valid share."""
    (axes,) = figure.axes
    label = [text for text in axes.texts if text.get_text().endswith(" valid")][place]
    right, top = label.get_position()
    rows = slice(round((top + LABEL) * DPI), round((top + LABEL + PANEL) * DPI))
    return pixels(figure)[rows, round((right - PANEL) * DPI) : round(right * DPI)]


@pytest.fixture(scope="module")
def small(shared_made):
    return Dataset(shared_made.path)


def test_every_variable_slot_and_its_share_is_there(small):
    figure = plot(small, 2)
    words = texts(figure)
    for layer in small.layers.values():
        assert any(word.startswith(layer.name) for word in words), layer.name
        assert f"{layer.size} x {layer.size} px of {layer.pitch:g} m" in " ".join(words)
        for slot in layer.slots:
            assert slot.label in words
    shares = read_quality(small, 2, small.layer("s2"), small.layer("s2").array()).valid
    assert words.count("0 % valid") >= (shares[:, :4] == 0).sum() > 0
    assert "c002" in words
    assert any("50.0500° N 2.0500° E" in word for word in words)
    assert "every panel: 120 m wide, north up" in words


@pytest.mark.parametrize("row", [0, 4, 9])
def test_no_chip_of_random_codes_crashes(small, row):
    assert small.plot(row).get_size_inches().min() > 1


def test_layers_choose_what_is_drawn(small):
    words = texts(small.plot("c003", ["insar.phase", "cover"]))
    assert "insar.phase in rad" in words
    assert not any("coherence" in word or word.startswith("s1") for word in words)
    assert [array.name for _, array in chosen_arrays(small, ["cover", "insar"])] == ["map", "coherence", "phase"]


@pytest.mark.parametrize(
    ("chip", "layers", "message"),
    [
        ("c0003", None, "c003"),
        ("somewhere else", None, "column chip_id"),
        (10, None, "rows are 0 ... 9"),
        (0, ["s11"], "did you mean 's1'"),
        (0, ["insar.phse"], "did you mean 'phase'"),
        (0, [], "choose from"),
    ],
)
def test_wrong_names_are_explained(small, chip, layers, message):
    with pytest.raises(ConfigError) as caught:
        small.plot(chip, layers)
    assert message in caught.value.hint


@pytest.fixture(scope="module")
def holed(tools, tmp_path_factory):
    """Grey backscatter and two classes, both missing in the right half; the second slot is missing altogether."""
    power = variable("backscatter", Kind.POWER, ["vv"])
    classes = variable("cover", Kind.CLASSES, ["map"], [LegendClass(1, "wet", "#123456"), LegendClass(2, "dry")])
    layers = [make_layer(power, name="s1", n_slots=2, size=48), make_layer(classes, name="cover", size=48)]
    codes = np.full((1, 2, 1, 48, 48), -32768, np.int16)
    codes[0, 0, 0, :, :24] = np.linspace(-2500, 0, 24).astype(np.int16)
    cover = np.full((1, 1, 48, 48), 255, np.uint8)
    cover[0, 0, :, :24] = 1
    cover[0, 0, :12, :24] = 2
    made = tools.write(
        tmp_path_factory.mktemp("holed") / "d",
        layers,
        n_chips=1,
        codes={("s1", "backscatter"): codes, ("cover", "cover"): cover},
    )
    return Dataset(made.path)


def test_missing_pixels_are_hatched_and_valid_ones_are_not(holed):
    figure = holed.plot(0)
    hatch = {tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in (HATCH_FACE, HATCH_LINE)}
    half, empty, classes = (panel_at(figure, place)[8:-8] for place in range(3))
    middle = half.shape[1] // 2
    for panel in (half, classes):
        missing = panel[:, middle + 6 : -6].reshape(-1, 3)
        assert hatch <= {tuple(pixel) for pixel in np.unique(missing, axis=0).tolist()}
        low, high = np.array(sorted(hatch))
        assert ((missing >= low) & (missing <= high)).all()  # the two and what antialiasing makes between them
        assert (missing[:, 2] > missing[:, 0]).all()  # tinted, so no grey of a map
    valid = half[:, 6 : middle - 6]
    assert (np.ptp(valid.astype(int), axis=2) == 0).all()  # grey, free of the hatch
    colours = {tuple(pixel) for pixel in np.unique(classes[:, 6 : middle - 6].reshape(-1, 3), axis=0).tolist()}
    dry = color_at(1)
    assert colours == {(0x12, 0x34, 0x56), tuple(int(dry[i : i + 2], 16) for i in (1, 3, 5))}
    assert hatch <= {tuple(pixel) for pixel in np.unique(empty.reshape(-1, 3), axis=0).tolist()}


def test_brightness_is_the_stretched_decibel(holed):
    panel = panel_at(holed.plot(0), 0)
    step = panel.shape[1] / 48
    for column in (0, 10, 23):
        level = np.clip((np.linspace(-25, 0, 24).astype(np.float32)[column] + 25) / 25, 0, 1)
        found = panel[panel.shape[0] // 2, int((column + 0.5) * step), 0]
        assert found == pytest.approx(255 * level, abs=2)


def test_relief_is_lit_from_the_upper_left(tools, tmp_path):
    ridge = 500 - 15 * np.abs(np.arange(-20, 21, dtype=np.float32))  # slopes of 15 m in a pixel of 20 m
    height = variable("height", Kind.CONTINUOUS, ["height"], unit="m")
    layer = make_layer(height, name="dem", size=41)
    codes = np.broadcast_to(ridge, (1, 1, 41, 41)).astype(np.float32)
    dataset = Dataset(tools.write(tmp_path / "d", [layer], n_chips=1, codes={("dem", "height"): codes}).path)
    stored_layer = dataset.layer("dem")
    block = make_block(dataset, 0, stored_layer, stored_layer.array(), max_slots=1, pixels=PIXELS, colour=colour)
    picture = block.strips[0].panels[0].picture
    west, east = picture[:, 2:19].mean(), picture[:, 22:39].mean()  # the same heights, so the same colours
    assert west > 1.5 * east


def test_shares_and_legend_are_counts(holed):
    words = texts(holed.plot(0))
    assert words.count("50 % valid") == 2
    assert words.count("0 % valid") == 1
    assert {"wet", "75 %", "dry", "25 %"} <= set(words)


def test_legend_shares_equal_a_bincount():
    rng = np.random.default_rng(3)
    codes, valid = rng.integers(0, 40, (2, 50, 50)), rng.random((2, 50, 50)) < 0.7
    array = stored(Kind.CLASSES, ["map"], legend=[LegendClass(i, f"class {i}") for i in range(30)])
    shown = shown_classes(array, codes, valid)
    counts = np.bincount(codes[valid], minlength=40)
    assert {s.code: s.share for s in shown} == pytest.approx(dict(enumerate(counts / counts.sum())))
    assert [s.share for s in shown] == sorted((s.share for s in shown), reverse=True)
    assert {s.name for s in shown if s.code >= 30} == {f"code {i}" for i in range(30, 40)}
    assert len({s.color for s in shown}) == 40
    assert np.isnan(paint(np.array([99]), shown)).all()


def test_a_class_keeps_its_colour_whatever_else_is_there():
    names = ["water", "lake", "broad-leaved forest", "crops", "strange", "mixed forest", "stranger"]
    array = stored(Kind.CLASSES, ["map"], legend=[LegendClass(i, name) for i, name in enumerate(names)])
    every = {s.code: s.color for s in shown_classes(array, np.arange(7), np.ones(7, bool))}
    alone = shown_classes(array, np.array([5]), np.ones(1, bool))[0]
    assert alone.color == every[5]
    assert len(set(every.values())) == 7


def test_flags_are_named_by_their_masks():
    array = stored(Kind.BITS, ["qa"], legend=[LegendClass(1, "cloud"), LegendClass(8, "snow")])
    shown = shown_classes(array, np.array([0, 1, 9, 16]), np.ones(4, bool))
    assert {s.code: s.name for s in shown} == {0: "no flag set", 1: "cloud", 9: "cloud + snow", 16: "bit 4"}


def test_backscatter_is_shown_by_orbit_with_fixed_limits():
    made = looks(stored(Kind.POWER, ["vv_asc", "vh_asc", "vv_desc", "vh_desc"], "dB"), n_slots=4)
    assert [look.title for look in made[:2]] == ["asc: VV, VH, VV/VH", "desc: VV, VH, VV/VH"]
    assert [look.bands for look in made] == [(0, 1), (2, 3), (0,), (1,), (2,), (3,)]
    assert [look.channels[0].limits for look in made[2:]] == [CO_DB, CROSS_DB] * 2
    db = {0: np.array([[-10.0]]), 1: np.array([[-17.0]])}
    assert [c.value(db).item() for c in made[0].channels] == [-10, -17, 7]
    assert (
        len(looks(stored(Kind.POWER, ["vv_asc", "vh_asc", "vv_desc", "vh_desc"], "dB"), n_slots=12)) * 12 == MOST_PANELS
    )


@pytest.mark.parametrize(
    ("bands", "titles"),
    [
        (["blue", "green", "red", "nir"], ["true colour: red, green, blue", "false colour: near infrared, red, green"]),
        (["B2", "B3", "B4"], ["true colour: red, green, blue"]),
        (["b03", "b04", "b08"], ["false colour: near infrared, red, green"]),
        (["b05", "b06", "b07", "b11", "b12"], ["b05", "b06", "b07", "b11"]),
    ],
)
def test_reflectance_takes_the_composites_that_its_bands_allow(bands, titles):
    assert [look.title for look in looks(stored(Kind.REFLECTANCE, bands))] == titles


@pytest.mark.parametrize(
    ("array", "form", "colours", "limits"),
    [
        (stored(Kind.COHERENCE, ["coh12"]), "ramp", "gray", (0.0, 1.0)),
        (stored(Kind.WRAPPED_PHASE, ["phase"], "rad"), "ramp", "twilight", (-np.pi, np.pi)),
        (stored(Kind.CONTINUOUS, ["height"], "m"), "relief", "relief", None),
        (stored(Kind.CONTINUOUS, ["canopy_height"], "m"), "ramp", "viridis", None),
        (stored(Kind.CONTINUOUS, ["tau"], "day"), "ramp", "viridis", None),
        (stored(Kind.CONTINUOUS, ["trees"], "percent"), "ramp", "viridis", (0.0, 100.0)),
        (stored(Kind.ANGLE, ["aspect"], "degree"), "ramp", "twilight", (0.0, 360.0)),
        (stored(Kind.ANGLE, ["inc"], "degree"), "ramp", "viridis", None),
    ],
)
def test_a_quantity_has_its_own_map(array, form, colours, limits):
    (look,) = looks(array)
    assert (look.form, look.colours, look.channels[0].limits) == (form, colours, limits)


def test_an_aspect_is_shown_by_component():
    about = {"attributes": {"computed_from": "height"}}
    aspect = StoredArray("aspect", "continuous", ("east", "north"), "1", "float32", None, 1.0, 2, about)
    assert [(look.title, look.channels[0].limits) for look in looks(aspect)] == [
        ("east", (-1.0, 1.0)),
        ("north", (-1.0, 1.0)),
    ]
    slope = StoredArray("slope", "continuous", ("slope",), "degree", "float32", None, 1.0, 1, about)
    assert looks(slope, layer="dem")[0].channels[0].limits is None


def test_limits_are_common_to_all_slots_and_unwrapped_phase_counts_from_each_slots_median():
    (look,) = looks(stored(Kind.UNWRAPPED_PHASE, ["unw"], "m"))
    ramp = np.linspace(-1, 1, 101, dtype=np.float32).reshape(1, 1, -1)
    values = {0: np.concatenate([ramp + 500, 3 * ramp - 40, np.full_like(ramp, np.nan)])}
    (channel,) = look.fitted(values).channels
    low, high = channel.limits
    assert high == -low
    assert 2 < high <= 3
    np.testing.assert_allclose(channel.value(values)[:2, 0, 50], 0, atol=1e-4)
    assert np.isnan(channel.value(values)[2]).all()


def test_slots_with_data_are_drawn_first():
    valid = np.zeros((24, 1), np.uint8)
    valid[[3, 9, 20]] = [[100], [1], [50]]
    quality = Quality(valid, np.full((24, 1), Reason.NO_ACQUISITION, np.uint8), is_optical=False)
    assert chosen_slots(quality, 3) == [3, 9, 20]
    assert set(chosen_slots(quality, 12)) > {3, 9, 20}
    assert len(chosen_slots(quality, 12)) == 12
    assert chosen_slots(quality, 24) == list(range(24))


def test_every_reason_has_words():
    assert WORDS.keys() == set(Reason)
    reason = np.array([list(Reason)], np.uint8)  # one band for each reason
    quality = Quality(np.zeros_like(reason), reason, is_optical=True)
    places = {reason: place for place, reason in enumerate(Reason)}
    assert quality.words(0, [places[Reason.NO_ACQUISITION]]) == "no acquisition"
    assert quality.words(0, [places[Reason.PARTIAL_COVERAGE], places[Reason.OK]]) == "masked, partly covered"
    assert quality.words(0, [places[Reason.ALL_CLOUD]]) == "all cloud"
    assert replace(quality, is_optical=False).words(0, [places[Reason.ALL_CLOUD]]) == "all masked"
    assert replace(quality, valid=np.full_like(reason, 100)).words(0, range(5)) == ""


def test_a_look_never_reads_what_it_does_not_show(small):
    layer = small.layer("s2")
    block = make_block(small, 0, layer, layer.array(), max_slots=2, pixels=PIXELS, colour=colour)
    assert block.bands_left == ["e", "f"]
    assert block.n_slots_left == 2
    assert [len(strip.panels) for strip in block.strips] == [2] * 4


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100 %"), (0.99999, ">99 %"), (0.5, "50 %"), (1e-6, "<1 %"), (0.0, "0 %")]
)
def test_only_all_is_100_percent_and_only_none_is_0(share, text):
    assert percent(share) == text


def test_colour_bars_show_the_quantitys_own_numbers(holed):
    assert {"\N{MINUS SIGN}25", "\N{MINUS SIGN}5", "0", "dB"} <= set(texts(holed.plot(0, ["s1"])))


@pytest.mark.parametrize(
    ("side", "length"), [(4480.0, (1000.0, "1 km")), (320.0, (100.0, "100 m")), (100_000.0, (20_000.0, "20 km"))]
)
def test_the_scale_bar_is_round(side, length):
    assert scale_bar(side) == length


def test_a_figure_shows_itself_and_leaves_matplotlib_as_it_was(holed):
    before = dict(mpl.rcParams)
    figure = holed.plot(0)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert dict(mpl.rcParams) == before
    code = (
        f"import sys; from m3leo_prep.reader.dataset import Dataset; Dataset({str(holed.path)!r}).plot(0);"
        "print([m for m in ('matplotlib.pyplot', 'xarray', 'pandas', 'zarr', 'rasterio') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_without_matplotlib_the_way_out_is_named(holed):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from m3leo_prep.core.errors import MissingDependency\n"
        "from m3leo_prep.reader.dataset import Dataset\n"
        f"try: Dataset({str(holed.path)!r}).plot(0)\n"
        "except MissingDependency as error: print(error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "pip install 'm3leo-prep[plot]'\n"


def test_a_mistyped_id_finds_its_neighbour_among_many():
    ids = [f"u1_4480_{z}N_E{c:03d}_{r:04d}" for z in (31, 32, 33) for c in range(60) for r in range(1000, 1400)]
    for typed in ("u1_4480_32N_E005_141", "u1_4480_32N_E05_1214", "U1_4480_32N_E005_1214", "u1_4480_32N_E005_12144"):
        wanted = "u1_4480_32N_E005_1214"
        found = closest(typed, ids)
        assert len(found) == 20
        assert wanted in found or typed.endswith("_141")
    assert closest("x", []) == []
