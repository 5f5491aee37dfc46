"""What a recipe may say, what is found, and that pixels mean what they are called."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import shapely
from shapely.geometry import box

from m3leo_prep.core.choice import parse_rule
from m3leo_prep.core.errors import ConfigError, CorruptError
from m3leo_prep.core.raster import STATIC, Absent
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.publish.description.licences import terms_of
from m3leo_prep.sources.asf import Asf
from m3leo_prep.sources.asf.hyp3 import shelf
from m3leo_prep.sources.asf.hyp3.phase import METRES_PER_RADIAN, unit_vector
from m3leo_prep.testing.source import SourceContract
from tests.sources.asf.hyp3.held import GRID, GRID_80, HERE, LOS, PAIRS, SUMMER, burst, hurry, scene

CHIP = GRID[100:140, 100:140]
CHIP_80 = GRID_80[40:60, 40:80]


@pytest.fixture(autouse=True)
def _quick(monkeypatch, earthdata, made_once):
    hurry(monkeypatch)
    earthdata.makes = made_once
    earthdata.looks = 1


def fetched(source, items):
    source.order(items)
    seen = source.watch(items)
    assert (seen.done, seen.open) == (len(items), 0)
    return items


def by_name(source, items, target, slot):
    return {one.variable: one for one in source.read(items, target, slot)}


# -- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("product", "options", "match"),
    [
        ("hyp3-rtc", {"resolution": 25}, "resolution: '25'"),
        ("hyp3-rtc", {"resolution": True}, "resolution"),
        ("hyp3-rtc", {"radiometry": "beta0"}, "gamma0"),
        ("hyp3-rtc", {"bands": ["vv", "vx"]}, "vx"),
        ("hyp3-rtc", {"orbits": ["up"]}, "ascending"),
        ("hyp3-rtc", {"scenes": "raw"}, "grd"),
        ("hyp3-rtc", {"speckle_filter": "yes"}, "true or false"),
        ("hyp3-rtc", {"relative_orbits": "best"}, "best"),
        ("hyp3-rtc", {"mask": ["water"]}, "layover"),
        ("hyp3-insar", {"looks": "4x20"}, "20x4"),
        ("hyp3-insar", {"variables": ["phase"]}, "unwrapped_phase"),
        ("hyp3-insar", {"max_days": 0}, "1 to 400"),
        ("hyp3-insar", {"polarisation": "vh"}, "vv"),
    ],
)
def test_options_are_checked(product, options, match):
    with pytest.raises(ConfigError, match=match):
        Asf(product, **options)


def test_what_is_described():
    info = Asf("hyp3-rtc", radiometry="sigma0", resolution=10, include_inc_map=True).describe()
    power, angle = info.variables
    assert info.pitch == 10
    assert power.bands == ("vv_asc", "vh_asc", "vv_desc", "vh_desc")
    assert power.attributes["backscatter_convention"] == "sigma0_rtc"
    assert (angle.unit, angle.bands) == ("degree", ("incidence_asc", "incidence_desc"))
    pair = Asf("hyp3-insar", looks="5x1").describe()
    assert (pair.pitch, pair.slot_kinds) == (20, ("pair",))
    assert [one.name for one in pair.variables] == ["unwrapped_phase", "components", "coherence_filtered"]
    assert pair.variables[0].attributes["sign"] == "positive away from the sensor"
    assert pair.pair_days == 60
    (vector,) = (one for one in Asf("hyp3-insar", variables=["los"]).describe().variables if one.name == "los")
    assert vector.attributes["direction"] == "vector"
    for one in (info, pair):
        assert terms_of(one.licence) is not None, "a dataset of it can be published"
        assert "ASF DAAC HyP3" in one.citation


# -- scenes --------------------------------------------------------------------------------------------------------


def test_scenes_in_order_each_once(earthdata):
    again = scene(6, 15, mark="FFFF")
    far = scene(6, 20)
    earthdata.add(scene(7, 2), again, scene(6, 15), scene(6, 3, way="DESCENDING", track=66), scene(9, 1))
    earthdata.add(type(far)(far.name, "grd", box(12, 49, 13, 50), far.start, far.stop, far.attributes))
    found = list(Asf("hyp3-rtc").find(HERE, SUMMER))
    assert [f"{item.datetime:%m%d}" for item in found] == ["0603", "0615", "0702"]
    assert found[1].id == again.name, "a scene made twice is paid for once"
    assert found[0].properties["orbit_direction"] == "descending"
    assert len(list(Asf("hyp3-rtc", orbits=["descending"]).find(HERE, SUMMER))) == 1
    assert len(list(Asf("hyp3-rtc", relative_orbits=[66]).find(HERE, SUMMER))) == 1


def test_scenes_without_a_wanted_band_are_not_paid_for(earthdata):
    earthdata.add(scene(6, 3, held="DH"), scene(6, 15, held="SV"))
    assert [item.id[12:16] for item in Asf("hyp3-rtc").find(HERE, SUMMER)] == ["1SSV"]
    assert [item.id[12:16] for item in Asf("hyp3-rtc", bands=["hh"]).find(HERE, SUMMER)] == ["1SDH"]


def test_no_time_no_order():
    with pytest.raises(ConfigError, match="months"):
        list(Asf("hyp3-rtc").find(HERE, [STATIC]))


def test_power_shadow_and_nothing(earthdata):
    earthdata.add(scene(6, 3))
    source = Asf("hyp3-rtc", bands=["vv_asc", "vh_asc", "vv_desc"], include_inc_map=True)
    items = fetched(source, list(source.find(HERE, SUMMER)))
    made = by_name(source, items, GRID[2:20, 0:30], SUMMER[0])
    power = made["backscatter"]
    assert power.geobox == GRID[0 : power.geobox.shape[0], 0 : power.geobox.shape[1]]
    cols = np.arange(power.geobox.shape[1])
    there = (cols >= 5) & (np.arange(power.geobox.shape[0]) >= 4)[:, None]
    assert np.array_equal(power.valid[0], there)
    assert np.array_equal(power.masked[0], np.broadcast_to((np.arange(there.shape[0]) < 4)[:, None], there.shape))
    assert np.allclose(power.data[0][there], np.broadcast_to(0.1 + 0.001 * cols, there.shape)[there])
    assert np.allclose(power.data[1][there] * 10, power.data[0][there])
    assert not power.observed[2].any(), "the other direction was not seen"
    angle = made["local_incidence"]
    assert np.allclose(angle.data[0][angle.valid[0]], math.degrees(0.7))
    assert not angle.valid[1].any()
    kept = by_name(Asf("hyp3-rtc", bands=["vv_asc"], mask="none", include_inc_map=True), items, CHIP, SUMMER[0])
    assert kept["backscatter"].valid.all()


def test_a_band_that_the_scene_lacks(earthdata):
    earthdata.add(scene(6, 3))
    source = Asf("hyp3-rtc", bands=["vv_asc", "vh_asc"])
    items = fetched(source, list(source.find(HERE, SUMMER)))
    (shelf.product(source.job(items[0])) / "VH.tif").unlink()
    absent, power = source.read(items, CHIP, SUMMER[0])
    assert absent == Absent(items[0], "backscatter", ("vh_asc",), Reason.BAND_NOT_IN_PRODUCT)
    assert power.valid[0].all()
    assert not power.valid[1].any()


def test_a_raster_that_is_damaged(earthdata):
    earthdata.add(scene(6, 3))
    source = Asf("hyp3-rtc", bands=["vv_asc"])
    items = fetched(source, list(source.find(HERE, SUMMER)))
    file = shelf.product(source.job(items[0])) / "VV.tif"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(CorruptError, match=r"VV.tif[\s\S]*fetched again"):
        list(source.read(items, CHIP, SUMMER[0]))


def test_far_away_yields_nothing(earthdata):
    earthdata.add(scene(6, 3))
    source = Asf("hyp3-rtc")
    items = fetched(source, list(source.find(HERE, SUMMER)))
    assert list(source.read(items, GRID.translate_pix(5000, 0), SUMMER[0])) == []


# -- pairs ---------------------------------------------------------------------------------------------------------


def stack(earthdata, days=((6, 3), (6, 15), (6, 27), (7, 9)), **more):
    earthdata.add(*(burst(month, day, **more) for month, day in days))


def days(item):
    later, earlier = (str(item.properties[f"{name}_time"])[5:10] for name in ("reference", "secondary"))
    return later, earlier


def test_pairs_within_the_days_and_of_one_burst(earthdata):
    stack(earthdata)
    stack(earthdata, number=31_416, days=((6, 3), (6, 15)))
    stack(earthdata, pol="VH")
    found = list(Asf("hyp3-insar", max_days=24).find(HERE, PAIRS))
    assert [days(item) for item in found] == [
        ("06-15", "06-03"), ("06-15", "06-03"), ("06-27", "06-03"), ("06-27", "06-15"),
        ("07-09", "06-15"), ("07-09", "06-27"),
    ]  # fmt: skip
    assert found[0].acquisition == found[1].acquisition
    assert len({item.id for item in found}) == 6
    assert list(Asf("hyp3-insar", max_days=24).find(HERE, PAIRS)) == found


def test_a_rule_orders_few_of_the_pairs_that_could_be(earthdata):
    """Never all against all: of six pairs a near and a far one."""
    stack(earthdata)
    found = list(Asf("hyp3-insar").find(HERE, PAIRS))
    assert len(found) == 6
    rule = parse_rule({"pairs": {"year": 2020, "windows": {"short": [6, 12], "long": [24, 48]}, "pick": "far"}})
    chosen = rule.choose(box(9.01, 49.46, 9.02, 49.47), found)
    assert [[days(item) for item in slot] for slot in chosen] == [[("07-09", "06-27")], [("07-09", "06-03")]]


def test_the_earlier_date_is_what_hyp3_calls_reference(earthdata):
    stack(earthdata, days=((6, 3), (6, 15)))
    source = Asf("hyp3-insar", looks="10x2")
    (item,) = source.find(HERE, PAIRS)
    source.order([item])
    (job,) = earthdata.jobs
    assert [name[14:22] for name in job.parameters["granules"]] == ["20200603", "20200615"]
    assert (job.type, job.parameters["looks"], job.cost) == ("INSAR_ISCE_BURST", "10x2", 1.0)


def test_phase_components_and_water(earthdata):
    stack(earthdata, days=((6, 3), (6, 15)))
    names = ["unwrapped_phase", "components", "coherence_filtered", "wrapped_phase", "los", "incidence"]
    source = Asf("hyp3-insar", variables=names)
    items = fetched(source, list(source.find(HERE, PAIRS)))
    made = by_name(source, items, CHIP_80, PAIRS[0])
    phase, parts = made["unwrapped_phase"], made["components"]
    left = round((phase.geobox.transform.c - GRID_80.transform.c) / 80)
    cols = left + np.arange(phase.data.shape[-1])
    water = (cols >= 58) & (cols < 62)
    assert np.array_equal(phase.valid[0, 0], ~water)
    assert np.array_equal(phase.masked[0], water), "seen, and not unwrapped"
    assert np.allclose(phase.data[0, 0][~water], (0.1 * (cols + 1))[~water])
    assert np.array_equal(phase.components, parts.data[0])
    first, second = sorted(set(np.unique(parts.data)) - {0})
    assert second == first + 1
    assert np.array_equal(np.unique(parts.data[0][:, water]), [0])
    assert np.allclose(made["coherence_filtered"].data, 0.6)
    wrapped = made["wrapped_phase"]
    off = np.angle(np.exp(1j * (wrapped.data - phase.data)))
    assert np.abs(off[phase.valid]).max() < 1e-5
    assert np.allclose(np.linalg.norm(made["los"].data, axis=0), 1)
    assert np.allclose(made["incidence"].data, 90 - math.degrees(LOS[0]))
    assert np.allclose(made["los"].data[2], np.cos(np.radians(made["incidence"].data[0])))


def test_displacement_is_told_towards_the_sensor(earthdata):
    """Positive phase is away (product guide): a fringe of it is 27.73 mm further away."""
    stack(earthdata, days=((6, 3), (6, 15)))
    plain, moved = Asf("hyp3-insar"), Asf("hyp3-insar", displacement=True)
    items = fetched(plain, list(plain.find(HERE, PAIRS)))
    phase = by_name(plain, items, CHIP_80, PAIRS[0])["unwrapped_phase"]
    metres = by_name(moved, items, CHIP_80, PAIRS[0])["displacement"]
    assert np.allclose(metres.data, -phase.data * METRES_PER_RADIAN)
    assert math.isclose(2 * math.pi * METRES_PER_RADIAN, 0.02773, abs_tol=1e-5)
    assert moved.describe().variables[0].attributes["sign"] == "positive towards the sensor"
    assert (moved.describe().variables[0].name, moved.describe().variables[0].unit) == ("displacement", "m")


def test_bursts_that_a_chip_touches_never_share_a_component(earthdata):
    """Each counts its phase from a constant of its own."""
    for number in (31_415, 31_416):
        for swath in (1, 2, 3):
            stack(earthdata, days=((6, 3), (6, 15)), number=number, swath=swath)
    source = Asf("hyp3-insar")
    items = fetched(source, list(source.find(HERE, PAIRS)))
    assert len(items) == 6
    rasters = [one for one in source.read(items, CHIP_80, PAIRS[0]) if one.variable == "components"]
    seen = [set(np.unique(one.data)) - {0} for one in rasters]
    assert all(len(one) == 2 for one in seen)
    assert len(set().union(*seen)) == 12
    codes = {one.code for one in source.describe().variables[1].legend}
    assert set().union(*seen) <= codes


@pytest.mark.parametrize(
    ("theta", "phi", "vector"),
    [
        (math.pi / 2, 1.0, (0, 0, 1)),
        (0.0001, 0.0, (1, 0, 0)),
        (0.0001, math.pi / 2, (0, 1, 0)),
        (math.radians(50), math.pi, (-math.cos(math.radians(50)), 0, math.sin(math.radians(50)))),
    ],
)
def test_look_vectors_by_hand(theta, phi, vector):
    """Theta from the horizon up, phi from east to north, towards the sensor (product guide)."""
    made, valid = unit_vector(np.full((1, 1), theta), np.full((1, 1), phi))
    assert np.allclose(made[:, 0, 0], vector, atol=2e-4)
    assert valid.all()
    assert not unit_vector(np.zeros((1, 1)), np.zeros((1, 1)))[1].any()


def test_a_burst_made_twice_is_paid_for_once(earthdata):
    stack(earthdata, days=((6, 3), (6, 15)))
    again = burst(6, 15)
    name = again.name.replace("0615-BURST", "FFFF-BURST")
    files = {file.replace(again.name, name): path for file, path in again.files.items()}
    earthdata.add(replace(again, name=name, files=files))
    (item,) = Asf("hyp3-insar").find(HERE, PAIRS)
    assert item.properties["later"] == name


def test_pairs_over_the_turn_of_the_year(earthdata):
    """Both dates lie in the slot."""
    stack(earthdata, days=((1, 5), (1, 17), (6, 3)))
    slots = parse_slots({"periods": [["2020-01-10", "2020-12-31"]]})
    assert [days(item) for item in Asf("hyp3-insar", max_days=200).find(HERE, slots)] == [("06-03", "01-17")]


def test_pairs_lie_where_both_bursts_do(earthdata):
    west, east = box(8.9, 49.4, 9.03, 49.6), box(9.0, 49.4, 9.2, 49.6)
    stack(earthdata, days=((6, 3),), footprint=west)
    stack(earthdata, days=((6, 15),), footprint=east)
    (item,) = Asf("hyp3-insar").find(HERE, PAIRS)
    assert shapely.equals_exact(item.footprint.normalize(), west.intersection(east).normalize(), 1e-6)


def test_it_pickles():
    for product in ("hyp3-rtc", "hyp3-insar"):
        source = Asf(product)
        assert pickle.loads(pickle.dumps(source)) == source


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    """Return a folder in which ordered products stay for several tests."""
    return tmp_path_factory.mktemp("orders")


class TestContract(SourceContract):
    """The rules of the port; products are fetched before, once for all of them."""

    @pytest.fixture
    def source(self, earthdata, orders, monkeypatch):
        monkeypatch.setenv(shelf.FOLDER, str(orders))
        earthdata.add(scene(6, 3), scene(6, 15, orbit=33_000))
        source = Asf("hyp3-rtc")
        fetched(source, list(source.find(box(8.9, 49.4, 9.3, 49.6), SUMMER)))
        return source

    @pytest.fixture
    def geobox(self):
        return CHIP
