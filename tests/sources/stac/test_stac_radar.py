"""Sentinel-1 RTC of Planetary Computer: scenes by direction and track, power, zeros, and files behind tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from shapely.geometry import box

from m3leo_prep.blobs import http
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Absent, Kind
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources.local.outline import footprint
from m3leo_prep.sources.stac import Stac
from m3leo_prep.testing.answers import to_json
from m3leo_prep.testing.source_rules import Case
from tests.sources.rules import keep_all
from tests.sources.stac.rasters import CHIP, SCENE, at, write
from tests.sources.stac.stac_server import StacApi, item

JUNE = parse_slots({"periods": [["2020-06-01", "2020-06-30"]]})
OUTLINE = footprint(SCENE)
ACCOUNT = "sentinel1euwestrtc/sentinel1-grd-rtc"


def power(seed):
    """Return speckle, with pixels that hold no power."""
    data = np.random.default_rng(seed).gamma(4, 0.02, tuple(SCENE.shape)).astype(np.float32)
    data[120:130, 120:180] = 0
    data[140:150, 120:180] = -32768
    data[160, 160] = np.nan
    return data


def scene(folder, start, direction="ascending", track=15, take="03E61B", pols=("vv", "vh"), seed=0, slice_=0, **more):
    """Write a scene's files as Planetary Computer names them, and return its item."""
    begin = datetime.fromisoformat(start) + timedelta(seconds=25 * slice_)
    name = f"S1A_IW_GRDH_1SDV_{begin:%Y%m%dT%H%M%S}_{begin + timedelta(seconds=25):%Y%m%dT%H%M%S}_033640_{take}"
    assets = {}
    for k, pol in enumerate(pols):
        key = f"GRD/2020/{name}/iw-{pol}.rtc.tiff"
        write(folder / ACCOUNT / key, power(seed + k), nodata=-32768)
        account, container = ACCOUNT.split("/")
        assets[pol] = {
            "href": f"https://{account}.blob.core.windows.net/{container}/{key}",
            "raster:bands": [{"nodata": -32768, "data_type": "float32"}],
        }
    said = {"sat:orbit_state": direction, "sat:relative_orbit": track, "sar:instrument_mode": "IW"}
    said |= {"platform": "SENTINEL-1A", "start_datetime": f"{begin:%Y-%m-%dT%H:%M:%SZ}"}
    said |= {"end_datetime": f"{begin + timedelta(seconds=25):%Y-%m-%dT%H:%M:%SZ}"}
    when = f"{begin + timedelta(seconds=12):%Y-%m-%dT%H:%M:%SZ}"
    return item(f"{name}_rtc", OUTLINE, when, "sentinel-1-rtc", assets, **said, **more)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Return a folder of files and their items."""
    folder = tmp_path_factory.mktemp("scenes")
    return folder, [
        scene(folder, "2020-06-03T17:16:20"),
        scene(folder, "2020-06-03T17:16:20", slice_=1, seed=5),
        scene(folder, "2020-06-08T05:42:07", "descending", 66, "03E8AA", ("vv",), seed=9),
        scene(folder, "2020-07-03T17:16:20", take="03F000"),
    ]


@pytest.fixture
def api(scenes, monkeypatch):
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.0005)
    with StacApi(folder=scenes[0], items=scenes[1]) as server:
        monkeypatch.setenv("M3LEO_PREP_PLANETARY_COMPUTER", server.url)
        until = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        server.token_answer = lambda _path: to_json({"msft:expiry": until, "token": "se=1&sig=s3cr3t"})
        yield server


def test_it_keeps_the_rules_of_every_source(api):
    keep_all(Case(Stac(product="s1-rtc", bands=["vv"]), box(9.09, 49.46, 9.13, 49.49), JUNE, CHIP))


def test_scenes_by_direction_track_and_time(api):
    source = Stac(product="s1-rtc")
    other = {**api.items[0], "id": "S1A_EW", "properties": {**api.items[0]["properties"], "sar:instrument_mode": "EW"}}
    api.items.append(other)
    found = list(source.find(OUTLINE, JUNE))
    assert [one.properties["orbit_direction"] for one in found] == ["ascending", "ascending", "descending"]
    # Slices of one data take count once.
    assert [one.acquisition for one in found] == ["S1A-03E61B", "S1A-03E61B", "S1A-03E8AA"]
    assert {one.datetime.tzinfo for one in found} == {UTC}
    assert "s3cr3t" not in repr(found)
    assert [one.id for one in Stac(product="s1-rtc", relative_orbits=[66]).find(OUTLINE, JUNE)] == [found[2].id]
    assert len(list(Stac(product="s1-rtc", orbits=["ascending"]).find(OUTLINE, JUNE))) == 2


def test_power_is_that_of_the_files_and_zero_is_none(api):
    source = Stac(product="s1-rtc")
    found = list(source.find(OUTLINE, JUNE))
    (raster,) = source.read(found[:1], CHIP, JUNE[0])
    (variable,) = source.describe().variables
    assert (variable.kind, variable.bands) == (Kind.POWER, ("vv_asc", "vh_asc", "vv_desc", "vh_desc"))
    for k in range(2):
        stored = at(power(k), raster)
        there = np.isfinite(stored) & (stored > 0)
        assert 0 < np.count_nonzero(~there) < there.size
        np.testing.assert_array_equal(raster.valid[k], there)
        np.testing.assert_array_equal(raster.data[k][there], stored[there])
    assert not raster.valid[2:].any()
    assert raster.masked is None


def test_a_missing_polarisation_is_told_and_the_other_read(api):
    source = Stac(product="s1-rtc", bands=["vh_desc", "vv_desc"])
    (found,) = source.find(OUTLINE, JUNE)
    absent, raster = source.read([found], CHIP, JUNE[0])
    assert isinstance(absent, Absent)
    assert absent.bands == ("vh_desc",)
    assert not raster.valid[0].any()
    assert raster.valid[1].mean() > 0.7
    assert source.advise([found], JUNE) == ["1 of 1 descending scenes have no VH: they have VV"]


def test_one_token_opens_all_files(api):
    source = Stac(product="s1-rtc")
    found = list(source.find(OUTLINE, JUNE))
    for one in found:
        list(source.read([one], CHIP, JUNE[0]))
    assert sum("/sas/" in path for _, path, _ in api.requests) == 1
    assert all("sig=" in query["_raw"] for _, path, query in api.requests if path.startswith("/blob/"))
    assert source.probe() == "Test answers, without a login"


def test_what_to_know_of_scenes(api):
    source = Stac(product="s1-rtc")
    assert "no scene at all" in source.advise([], JUNE)[0]
    ascending = [one for one in source.find(OUTLINE, JUNE) if one.properties["relative_orbit"] == 15]
    assert source.advise(ascending, JUNE) == ["no descending scene at all: `orbits: [ascending]` drops its bands"]
    cost = source.estimate([CHIP], JUNE, ascending)
    assert cost.bytes >= 2 * 2 * 64 * 64 * 4
    assert source.estimate([], JUNE, ascending).requests == 0


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"bands": ["vw"]}, "no band 'vw'"),
        ({"relative_orbits": "best"}, "`best` is not known here"),
        ({"relative_orbits": [200]}, "1 to 175"),
        ({"catalogue": "earth-search"}, "not known to hold 's1-rtc'"),
        ({"mask": "layover"}, "has no option 'mask'"),
    ],
)
def test_what_is_refused_at_once(said, why):
    with pytest.raises(ConfigError, match=why):
        Stac(product="s1-rtc", **said)


def test_a_layer_without_times_is_refused():
    with pytest.raises(ConfigError, match="say of which time"):
        list(Stac(product="s1-rtc").find(OUTLINE, parse_slots(None)))
