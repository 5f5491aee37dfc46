"""Builds that order what they need: cost first, paid once, waited for, and gone on with; HyP3's stand-in delivers."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import Transformer
from shapely.geometry import box

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError, CredentialsError, QuotaReached
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline import ordering
from m3leo_prep.pipeline.abilities import advice
from m3leo_prep.pipeline.build import build, close
from m3leo_prep.pipeline.costing.budget import Budget
from m3leo_prep.pipeline.costing.projection import costs
from m3leo_prep.pipeline.follow.watch import Watch
from m3leo_prep.pipeline.parts import Part
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.unit import WORK_BYTES
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads
from m3leo_prep.testing.earthdata import error
from tests.sources.asf.hyp3.held import burst, hurry, makes, scene

RTC = {"source": "asf", "product": "hyp3-rtc", "bands": ["vv_asc", "vh_asc"], "resampling": "nearest"}
MONTH = {"slots": {"periods": [["2020-06-01", "2020-06-30"]]}}
PAIRS = {"slots": {"pairs": {"year": 2020, "windows": {"short": [6, 12], "long": [20, 48]}, "pick": "far"}}}
PHASE = {"source": "asf", "product": "hyp3-insar", **PAIRS}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """Return what makes products, which all tests here share."""
    return makes(tmp_path_factory.mktemp("made"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch, earthdata, made_once):
    hurry(monkeypatch)
    monkeypatch.delenv("M3LEO_PREP_REORDER", raising=False)
    monkeypatch.setattr(ordering, "FIRST_PAUSE_SECONDS", 0.02)
    earthdata.makes = made_once
    earthdata.add(scene(6, 3), scene(6, 15, orbit=33_000))


def planned(size=2e-3, **layers):
    recipe = {
        "name": "ordered",
        "grid": {"chip_px": 64, "resolution": 20},
        "layers": layers or {"rtc": RTC | MONTH},
        "splits": {"policy": "none"},
    }
    lon, lat = Transformer.from_crs(32632, 4326, always_xy=True).transform(500_700, 5_481_900)
    return make_plan(
        parse_recipe(json.dumps(recipe)),
        Area.from_geometry(box(lon, lat, lon + size, lat + size), name="here"),
        base=Path.cwd(),
    )


class Notes(Watch):
    """Keeps what it is told; asks to stop once it was told ``until``."""

    def __init__(self, until="never"):
        self.until, self.said, self.warned = until, [], []

    def says(self, line):
        self.said.append(line)

    def warns(self, line):
        self.warned.append(line)

    def stops(self):
        return any(self.until in line for line in self.said)


def made(plan, out, **more):
    return build(plan, out, runner=Threads(2), **more)


def reasons(out, layer, variable):
    group = xr.open_zarr(out / "chips.zarr", group=layer, chunks=None)
    return set(np.unique(group[f"{variable}_reason"]))


def test_a_dataset_of_ordered_scenes_and_pairs(earthdata, tmp_path):
    earthdata.add(*(burst(6, day) for day in (3, 15, 27)))
    notes = Notes()
    plan = planned(rtc=RTC | MONTH, phase=PHASE)
    result = made(plan, tmp_path / "d", watch=notes)
    assert (result.retryable, result.damaged) == (0, ())
    assert verify(tmp_path / "d").ok
    # The mean of both scenes in linear power, of which one has 0.1 x day / 3 on its left side.
    rtc = xr.open_zarr(tmp_path / "d" / "chips.zarr", group="rtc", chunks=None)
    assert (rtc["backscatter_reason"] == Reason.OK).all()
    assert (rtc["count"] == 2).all()
    x = float(rtc.x0[0] + rtc.x[1])
    column = int((x - 497_010) // 30)
    expected = 0.001 * column + (0.1 + 0.5) / 2
    assert abs(float(rtc["backscatter"][0, 0, 0, 0, 1]) - 10 * np.log10(expected)) < 0.006
    phase = xr.open_zarr(tmp_path / "d" / "chips.zarr", group="phase", chunks=None)
    assert (phase["unwrapped_phase_reason"] == Reason.OK).all()
    days = (phase["reference_time"] - phase["secondary_time"]) / np.timedelta64(1, "D")
    assert np.array_equal(np.round(days), np.broadcast_to([12, 24], days.shape))
    step = np.diff(phase["unwrapped_phase"][0, 0, 0, 0].values[:10])
    assert np.isclose(np.median(step), 0.1, atol=0.02)
    # Of three pairs that could be, those that the rule took; each once.
    assert sorted(job.type for job in earthdata.jobs) == ["INSAR_ISCE_BURST"] * 2 + ["RTC_GAMMA"] * 2
    assert any("products are here" in line for line in notes.said)
    again = made(planned(rtc=RTC | MONTH, phase=PHASE), tmp_path / "d")
    assert (again.built, len(earthdata.jobs)) == (0, 4)


def test_the_cost_is_told_before_and_a_budget_refuses(earthdata, tmp_path):
    plan = planned(fine=RTC | MONTH | {"resolution": 20})
    (row,) = costs(plan, work_bytes=WORK_BYTES)
    assert row.cost.units == {"credits": 10.0}, "each scene once, however many windows it reaches"
    with pytest.raises(ConfigError, match="about 10 credits are needed"):
        made(plan, tmp_path / "d", budget=Budget.parse(["credits=9"]))
    assert not earthdata.asked("submit")
    made(plan, tmp_path / "d", budget=Budget.parse(["credits=10"]))
    assert earthdata.credits == 7990
    assert costs(plan, work_bytes=WORK_BYTES)[0].cost.units == {"credits": 0.0}


def test_windows_beyond_the_pairs_that_are_formed_are_told(earthdata):
    earthdata.add(burst(6, 3), burst(6, 15))
    (line,) = advice(planned(phase=PHASE | {"max_days": 30}).layers[0])
    assert line.startswith("phase: the source forms pairs of at most 30 days: pairs beyond are missing in window long")
    assert advice(planned(phase=PHASE).layers[0]) == ()
    assert not earthdata.jobs


def test_stopped_while_it_waits_and_gone_on(earthdata, tmp_path):
    earthdata.looks = 1000
    with pytest.raises(KeyboardInterrupt):
        made(planned(), tmp_path / "d", watch=Notes("running"))
    assert len(earthdata.jobs) == 2
    earthdata.looks = 2
    result = made(planned(), tmp_path / "d")
    assert (result.built, len(earthdata.jobs)) == (1, 2)
    assert reasons(tmp_path / "d", "rtc", "backscatter") == {Reason.OK}


def test_not_enough_credits(earthdata, tmp_path):
    """Other layers of the same source are built; the next run, with new credits, makes the rest."""
    earthdata.credits = 6.0
    first = RTC | {"slots": {"periods": [["2020-06-01", "2020-06-10"]]}}
    plan = planned(rtc=RTC | MONTH, early=first)
    with pytest.raises(QuotaReached, match="1 shards of rtc are left; everything else is built") as caught:
        made(plan, tmp_path / "d")
    assert caught.value.exit_code == 75
    assert caught.value.until is not None
    assert len(earthdata.jobs) == 1
    earthdata.credits = 8000.0
    made(planned(rtc=RTC | MONTH, early=first), tmp_path / "d")
    assert len(earthdata.jobs) == 2
    assert verify(tmp_path / "d").ok


def test_without_login_all_else_is_built(monkeypatch, tmp_path):
    plan = planned(rtc=RTC | MONTH, place={"source": "ramp"})
    monkeypatch.delenv("EARTHDATA_TOKEN")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(CredentialsError, match="1 shards of rtc are left; everything else is built"):
        made(plan, tmp_path / "d")


def test_a_token_that_expires_during_the_wait(earthdata, monkeypatch, tmp_path):
    """It ends that layer only: the other is built, and the next run goes on with what was paid for."""
    earthdata.looks = 1000

    class Expires(Notes):
        def says(self, line):
            super().says(line)
            if "running" in line:
                monkeypatch.setenv("EARTHDATA_TOKEN", "of-yesterday")

    token = earthdata.environment["EARTHDATA_TOKEN"]
    layers = {"rtc": RTC | MONTH, "place": {"source": "ramp"}}
    notes = Expires()
    with pytest.raises(CredentialsError, match="1 shards of rtc are left; everything else is built"):
        made(planned(**layers), tmp_path / "d", watch=notes)
    assert any("rtc: " in line and "login earthdata" in line for line in notes.warned)
    assert len(list((tmp_path / "d").rglob("place"))) > 0
    monkeypatch.setenv("EARTHDATA_TOKEN", token)
    earthdata.looks = 0
    result = made(planned(**layers), tmp_path / "d")
    assert (result.built, result.damaged, len(earthdata.jobs)) == (1, (), 2)
    assert reasons(tmp_path / "d", "rtc", "backscatter") == {Reason.OK}


def test_what_was_ordered_is_waited_for_where_no_more_can_be(earthdata, tmp_path):
    """The first run orders and stops; the second may not order, for the list is away, and fetches all the same."""
    earthdata.looks = 1000
    with pytest.raises(KeyboardInterrupt):
        made(planned(), tmp_path / "d", watch=Notes("running"))
    earthdata.looks = 2
    earthdata.faults(error(503, text='{"detail": "busy"}'), "jobs", times=5)  # one question, repeated
    notes = Notes()
    assert made(planned(), tmp_path / "d", watch=notes).retryable == 0
    assert any("not all could be ordered" in line for line in notes.warned)
    assert len(earthdata.jobs) == 2


def test_a_job_that_fails_is_a_hole_with_a_reason(earthdata, tmp_path):
    earthdata.looks = 1000
    with pytest.raises(KeyboardInterrupt):
        made(planned(), tmp_path / "d", watch=Notes("running"))
    for job in earthdata.jobs:
        job.fails = True
    earthdata.looks = 0
    notes = Notes()
    result = made(planned(), tmp_path / "d", watch=notes)
    assert len(result.damaged) == 2
    assert all("HyP3 could not make it" in line for line in (*result.damaged, *notes.warned))
    assert reasons(tmp_path / "d", "rtc", "backscatter") == {Reason.CORRUPT}
    assert verify(tmp_path / "d").ok
    assert made(planned(), tmp_path / "d").built == 0
    assert len(earthdata.jobs) == 2


def test_the_api_is_away_while_it_waits(earthdata, tmp_path):
    earthdata.faults(error(503, text='{"detail": "busy"}'), "job", times=12, skip=1)
    notes = Notes()
    assert made(planned(), tmp_path / "d", watch=notes).retryable == 0
    assert any("it is asked again" in line for line in notes.said)


def test_the_api_stays_away(earthdata, monkeypatch, tmp_path):
    """Holes that the next run fills, and nothing is lost."""
    monkeypatch.setattr(ordering, "MOST_FAILURES", 2)
    earthdata.faults(error(503, text='{"detail": "busy"}'), "job", times=None)
    result = made(planned(), tmp_path / "d")
    assert result.retryable > 0
    assert reasons(tmp_path / "d", "rtc", "backscatter") == {Reason.PROVIDER_ERROR}
    earthdata.faults.planned.clear()
    assert made(planned(), tmp_path / "d").retryable == 0
    assert (len(earthdata.jobs), reasons(tmp_path / "d", "rtc", "backscatter")) == (2, {Reason.OK})


def test_parts_at_once_order_each_scene_once(earthdata, monkeypatch, tmp_path):
    from m3leo_prep.core import layer as layer_module

    monkeypatch.setattr(layer_module, "SHARD_CHIPS", (1,))
    plan = planned(size=0.03)
    errors = []

    def work(number):
        try:
            made(plan, tmp_path / "d", part=Part(number, 3))
        except Exception as problem:  # noqa: BLE001  told by the test
            errors.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    close(tmp_path / "d")
    assert sorted(job.parameters["granules"][0] for job in earthdata.jobs) == sorted(
        granule.name for granule in earthdata.held.granules
    )
    assert earthdata.counts["product"] == 2
    assert verify(tmp_path / "d").ok


def test_only_what_unbuilt_units_need_is_ordered(earthdata, tmp_path):
    made(planned(), tmp_path / "d")
    earthdata.add(scene(7, 9, orbit=33_400))
    longer = RTC | {"slots": {"periods": [["2020-06-01", "2020-06-30"], ["2020-07-01", "2020-07-31"]]}}
    made(planned(rtc=longer), tmp_path / "d")
    assert len(earthdata.jobs) == 3
