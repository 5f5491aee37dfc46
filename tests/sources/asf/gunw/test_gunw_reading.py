"""Pixels of granules: nodata and reliability (D37), versions (D36), metres (D40), frames (D41), corrections (D42)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.choice import parse_rule
from m3leo_prep.core.errors import ConfigError, CorruptError
from m3leo_prep.core.raster import Absent, Kind, Raster
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources.asf import Asf
from m3leo_prep.sources.asf.gunw import corrections, reading
from m3leo_prep.sources.asf.gunw.source import CORRECTIONS, DEEP, Gunw
from m3leo_prep.testing.earthdata.files.gunw import IONOSPHERE, PITCH, TIDE, Layers
from tests.sources.asf.gunw.pairs import HERE, LONG, NORTH, SHAPE, WEST, granule, name, real

SLOT = parse_rule({"pairs": {"year": 2018}}).slots()[0]
WHOLE = GeoBox(SHAPE, Affine(PITCH, 0, WEST, 0, -PITCH, NORTH), "EPSG:4326")
CHIP = GeoBox((32, 32), Affine(80.0, 0.0, 487_500.0, 0.0, -80.0, 2_147_600.0), "EPSG:32614")


def patterned(shape=SHAPE, seed=0):
    """Return layers of smooth phase that is 0 nowhere, all one component, valid everywhere."""
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    noise = np.random.default_rng(seed).uniform(0.2, 0.9, shape).astype(np.float32)
    return Layers(0.5 + rows * 0.01 + cols * 0.02, noise, np.ones(shape, np.float32), noise * 1e5, noise / 2)


def read(earthdata, *granules, where=WHOLE, heights=None, items=None, **options):
    """Return by variable what one read of all granules gives."""
    for one in granules:
        earthdata.add(one)
    source = Gunw(**options)
    items = items or list(source.find(HERE, [SLOT]))
    given = source.read(items, where, SLOT) if heights is None else source.read_on_heights(items, where, SLOT, heights)
    made: dict[str, list] = {}
    for one in given:
        made.setdefault(one.variable, []).append(one)
    return made


def only(made, variable):
    (one,) = made[variable]
    assert isinstance(one, Raster)
    return one


def flat(metres=1000.0):
    return lambda where: (np.full(where.shape, metres, np.float32), np.ones(where.shape, bool))


def test_real_pixels_come_as_they_are_stored(earthdata, tmp_path, shared_data):
    layers = real(shared_data)
    made = read(earthdata, granule(tmp_path, layers))
    seen = layers.components >= 0
    assert 0.005 < 1 - seen.mean() < 0.1  # the real crop has a few pixels of nothing
    for variable, stored in (
        ("unwrapped_phase", layers.phase),
        ("coherence_filtered", layers.coherence),
        ("coherence_unfiltered", layers.unfiltered),
        ("amplitude", layers.amplitude),
    ):
        raster = only(made, variable)
        assert raster.geobox.shape == SHAPE
        assert np.array_equal(raster.valid[0], seen & (stored != 0))
        assert np.array_equal(raster.data[raster.valid], stored.astype(np.float32)[raster.valid[0]])
    components = only(made, "components")
    assert components.data.dtype.kind == "i"
    assert np.array_equal(components.valid[0], seen)
    assert set(np.unique(components.data[components.valid])) == {0, 1}  # 0 is data: unwrapped, not reliably
    assert np.array_equal(only(made, "unwrapped_phase").components[seen], layers.components[seen].astype(int))


def test_nothing_unreliable_and_zero_are_told_apart(earthdata, tmp_path):
    layers = patterned()
    layers.components[:10] = -1  # no interferogram: 0 in all other layers
    for values in (layers.phase, layers.coherence, layers.amplitude, layers.unfiltered):
        values[:10] = 0
    layers.components[10:20] = 0
    layers.phase[30, 40:43] = 0  # where it was seen and coherence is valid: the fill value that the file declares
    made = read(earthdata, granule(tmp_path, layers))
    phase, components = only(made, "unwrapped_phase"), only(made, "components")
    assert not phase.valid[0, :10].any()
    assert not phase.observed[0, :10].any()
    assert phase.valid[0, 10:20].all()
    assert (components.data[0, 10:20] == 0).all()
    assert components.valid[0, 10:].all()
    assert not components.valid[0, :10].any()
    assert np.count_nonzero(~phase.valid[0, 10:]) == 3
    assert phase.masked[30, 40:43].all()
    assert only(made, "coherence_filtered").valid[0, 30].all()
    assert (phase.components[10:20] == 0).all()


def test_nan_and_infinity_are_no_data(earthdata, tmp_path):
    layers = patterned()
    layers.phase[5, 5], layers.coherence[6, 6], layers.unfiltered[7, 7] = np.nan, np.inf, np.nan
    made = read(earthdata, granule(tmp_path, layers))
    for variable, at in (("unwrapped_phase", 5), ("coherence_filtered", 6), ("coherence_unfiltered", 7)):
        raster = only(made, variable)
        assert not raster.valid[0, at, at]
        assert np.count_nonzero(~raster.valid) == 1


def test_both_versions_are_read_alike_and_what_one_lacks_is_said(earthdata, tmp_path):
    layers = patterned()
    older = name(LONG, version="v2_0_6")
    new = read(earthdata, granule(tmp_path, layers), versions=[3])
    old = read(earthdata, granule(tmp_path, replace(layers, unfiltered=None), older, frame=None), versions=[2])
    assert new.keys() == old.keys()
    (absent,) = old["coherence_unfiltered"]
    assert isinstance(absent, Absent)
    assert absent.reason is Reason.LAYER_NOT_IN_VERSION
    assert absent.bands == ("coherence_unfiltered",)
    for variable in old.keys() - {"coherence_unfiltered"}:
        assert np.array_equal(only(old, variable).data, only(new, variable).data)
    filtered, unfiltered = only(new, "coherence_filtered"), only(new, "coherence_unfiltered")
    assert np.array_equal(unfiltered.data, filtered.data / 2)  # never one in place of the other


def test_a_radian_is_4_4138_mm_towards_the_sensor(earthdata, tmp_path):
    layers = patterned()
    phase = only(read(earthdata, granule(tmp_path, layers)), "unwrapped_phase")
    made = read(earthdata, displacement=True)
    assert "unwrapped_phase" not in made
    moved = only(made, "displacement")
    assert moved.data / phase.data == pytest.approx(4.4138e-3, abs=5e-8)
    (variable,) = (one for one in Gunw(displacement=True).describe().variables if one.name == "displacement")
    assert (variable.kind, variable.unit) == (Kind.UNWRAPPED_PHASE, "m")
    assert variable.attributes["sign"] == "positive towards the sensor"


def test_corrections_are_interpolated_and_subtracted(earthdata, tmp_path):
    # Linear fields: what is subtracted is known in every pixel (D42).
    given = {
        IONOSPHERE: lambda h, lat, lon: 3.0 + 2.0 * (lat - 19) + h,
        TIDE.format("reference"): lambda h, lat, lon: 1.0 + (lon + 99) + 1e-3 * h,
        TIDE.format("secondary"): lambda h, lat, lon: 0.25 + 0.0 * (h + lat + lon),
    }
    layers = replace(patterned(), corrections=given)
    earthdata.add(granule(tmp_path, layers))
    chosen = {"variables": ["unwrapped_phase"], "corrections": ["ionosphere", "solid_earth_tide"]}
    made = read(earthdata, heights=flat(500.0), **chosen)
    phase = only(made, "unwrapped_phase")
    lon, lat = (axis.ravel() for axis in _centres())
    tide = 1.0 + (lon[None] + 99) + 0.5 - 0.25
    expected = layers.phase - (3.0 + 2.0 * (lat[:, None] - 19)) - tide
    assert phase.valid.all()
    assert np.abs(phase.data[0] - expected).max() < 1e-5
    assert "unwrapped_phase" not in read(earthdata, **chosen)  # not without heights
    variable = Gunw(**chosen).describe()
    assert variable.on_heights == ("unwrapped_phase",)
    assert variable.variables[0].attributes["corrections"] == ["ionosphere", "solid_earth_tide"]


def _centres():
    return WEST + PITCH * (np.arange(SHAPE[1]) + 0.5), NORTH - PITCH * (np.arange(SHAPE[0]) + 0.5)


def test_phase_is_never_left_uncorrected_in_silence(earthdata, tmp_path):
    made = read(earthdata, granule(tmp_path, patterned()), corrections=["ionosphere"])
    (absent,) = made["unwrapped_phase"]
    assert isinstance(absent, Absent)
    assert absent.reason is Reason.LAYER_NOT_IN_VERSION
    assert only(made, "components").valid.all()


def test_geometry_comes_on_the_target_at_its_heights(earthdata, tmp_path):
    given = granule(tmp_path, patterned())
    chosen = {"variables": ["los", "incidence", "components"]}
    made = read(earthdata, given, where=CHIP, heights=flat(), **chosen)
    los, incidence = only(made, "los"), only(made, "incidence")
    assert los.geobox == incidence.geobox == CHIP
    assert los.data.shape == (3, 32, 32)
    assert np.abs(np.linalg.norm(los.data, axis=0) - 1).max() < 1e-6
    assert np.abs(los.data[2] - np.cos(np.radians(incidence.data[0]))).max() < 1e-3
    assert los.valid.all()
    assert Gunw(**chosen).describe().on_heights == ("los", "incidence")
    assert set(read(earthdata, where=CHIP, **chosen)) == {"components"}


def test_geometry_ends_where_the_granule_does_however_the_target_is_cut(earthdata, tmp_path):
    layers = patterned()
    layers.components[:] = -1  # geometry is there without an interferogram
    chosen = {"variables": ["incidence"]}
    over = CHIP.translate_pix(0, -54)
    whole = only(read(earthdata, granule(tmp_path, layers), where=over, heights=flat(), **chosen), "incidence")
    assert 0.1 < whole.valid.mean() < 0.9
    part = only(read(earthdata, where=over[:, :16], heights=flat(), **chosen), "incidence")
    assert np.array_equal(part.valid, whole.valid[:, :, :16])
    assert np.array_equal(part.data[part.valid], whole.data[:, :, :16][part.valid])


def test_two_frames_of_a_pair_go_on_over_the_seam(earthdata, tmp_path):
    whole = patterned()
    half = SHAPE[0] // 2
    cut = {"north": slice(0, half + 15), "south": slice(half - 15, None)}
    parts = {
        key: Layers(*(getattr(whole, n)[rows] for n in ("phase", "coherence", "components", "amplitude", "unfiltered")))
        for key, rows in cut.items()
    }
    south = replace(parts["south"], phase=parts["south"].phase + np.float32(4 * np.pi))
    made = read(
        earthdata,
        granule(tmp_path, parts["north"]),
        granule(tmp_path, south, name(clock="004325", digest="aaaa"), frame=21_006, north=NORTH - (half - 15) * PITCH),
    )
    upper, lower = made["unwrapped_phase"]
    assert upper.geobox.shape[0] == lower.geobox.shape[0] == half + 15
    assert np.array_equal(upper.data[0], whole.phase[cut["north"]])
    assert np.abs(lower.data[0] - whole.phase[cut["south"]]).max() < 1e-4
    numbers = [np.unique(one.data).tolist() for one in made["components"]]
    assert numbers == [[1], [1]]


def test_a_frame_that_does_not_fit_counts_as_never_seen_so_that_the_chip_is_partial(earthdata, tmp_path):
    whole = patterned()
    noise = np.random.default_rng(1).normal(0, 5, whole.phase.shape).astype(np.float32)
    south = granule(
        tmp_path, replace(whole, phase=whole.phase + noise), name(clock="004325", digest="aaaa"), frame=21_006
    )
    made = read(earthdata, granule(tmp_path, whole), south)
    first, second = made["unwrapped_phase"]
    assert first.valid.all()
    assert not second.valid.any()
    assert not second.observed.any()
    assert not made["components"][1].observed.any()
    assert made["coherence_filtered"][1].valid.all()


def test_a_granule_across_the_antimeridian_is_found_on_both_sides(earthdata, tmp_path):
    layers = patterned((60, 120))
    east = 180 - 60 * PITCH
    footprint = box(east, -18.05, 180, -18).union(box(-180, -18.05, -180 + 60 * PITCH, -18))
    earthdata.add(granule(tmp_path, layers, west=east, north=-18.0, footprint=footprint))
    source = Gunw(variables=["coherence_filtered"])
    for west, cols in ((east, slice(0, 30)), (-180 + 30 * PITCH, slice(90, 120))):
        where = GeoBox((60, 30), Affine(PITCH, 0, west, 0, -PITCH, -18.0), "EPSG:4326")
        (item,) = source.find(footprint, [SLOT])
        (raster,) = source.read([item], where, SLOT)
        found = raster.geobox.transform
        start = round((found.c - east) / PITCH)
        assert start <= cols.start
        assert start + raster.geobox.shape[1] >= cols.stop
        part = raster.data[0, :, cols.start - start : cols.stop - start]
        assert np.array_equal(part, layers.coherence[:, cols])


def test_a_granule_elsewhere_gives_nothing(earthdata, tmp_path):
    earthdata.add(granule(tmp_path, patterned()))
    away = GeoBox((20, 20), Affine(PITCH, 0, WEST + 3, 0, -PITCH, NORTH), "EPSG:4326")
    assert read(earthdata, where=away) == {}


def test_how_frames_fit_does_not_depend_on_the_window(earthdata, tmp_path):
    whole = patterned()
    north = granule(tmp_path, Layers(*(_part(whole, slice(0, 60)))))
    shifted = replace(Layers(*_part(whole, slice(30, None))), phase=whole.phase[30:] + np.float32(4 * np.pi))
    south = granule(tmp_path, shifted, name(clock="004325", digest="aaaa"), frame=21_006, north=NORTH - 30 * PITCH)
    made = read(earthdata, north, south)
    low = WHOLE[80:, :]  # the northern frame does not reach it
    (alone,) = read(earthdata, where=low)["unwrapped_phase"]
    both = made["unwrapped_phase"][1]
    assert alone.geobox.shape[0] < 40
    assert np.array_equal(alone.data[0], both.data[0, -alone.geobox.shape[0] :])


def _part(layers, rows):
    return [getattr(layers, each)[rows] for each in ("phase", "coherence", "components", "amplitude", "unfiltered")]


def test_a_damaged_granule_is_named_and_fetched_once_more(earthdata, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_FORGOTTEN", set())
    given = granule(tmp_path, patterned())
    (path,) = given.files.values()
    path.write_bytes(path.read_bytes()[:40_000])
    earthdata.add(given)
    (item,) = Gunw().find(HERE, [SLOT])

    def downloads():
        return sum(one.route == "signed" for one in earthdata.requests)

    before = downloads()
    for times in (1, 2, 2):
        with pytest.raises(CorruptError, match="cannot be read") as caught:
            read(earthdata, items=[item])
        assert caught.value.where == item.id
        assert downloads() - before == times


def test_a_pair_the_wrong_way_round_is_an_error(earthdata, tmp_path):
    called = name((LONG[1], LONG[0]))
    earthdata.add(granule(tmp_path, patterned(), called))
    with pytest.raises(CorruptError, match="not later"):
        read(earthdata)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"variables": ["unwraped_phase"]}, "did you mean 'unwrapped_phase'"),
        ({"variables": "unwrapped_phase"}, "no list"),
        ({"variables": ["displacement"]}, "variables: 'displacement' is not known"),
        ({"variables": ["components", "components"]}, "twice"),
        ({"corrections": ["tide"]}, "ionosphere"),
        ({"corrections": ["ionosphere"], "variables": ["amplitude"]}, "delivers no phase"),
        ({"displacement": True, "variables": ["amplitude"]}, "delivers no phase"),
        ({"displacement": "yes"}, "neither true nor false"),
        ({"versions": [4]}, "choose from: 2, 3"),
        ({"versions": []}, "none may be used"),
        ({"tracks": [176]}, "numbers from 1 to 175"),
        ({"frame": 3}, "has no option 'frame'"),
    ],
)
def test_options_are_checked(options, told):
    with pytest.raises(ConfigError) as caught:
        Asf(product="gunw", **options)
    assert told in str(caught.value)


def test_what_is_delivered_follows_the_options():
    def names(**options):
        return tuple(variable.name for variable in Gunw(**options).describe().variables)

    assert names() == ("unwrapped_phase", "components", "coherence_filtered", "coherence_unfiltered", "amplitude")
    assert names(variables=["unwrapped_phase"]) == ("unwrapped_phase", "components")
    assert names(variables=["coherence_filtered"]) == ("coherence_filtered",)
    assert names(variables=["displacement"], displacement=True) == ("displacement", "components")
    assert names(variables=["los", "amplitude"]) == ("amplitude", "los")


def test_the_names_of_corrections_are_said_once():
    assert corrections.NAMES == CORRECTIONS
    assert tuple(corrections.CUBES) == DEEP
