"""Orders are placed once, whatever happens, and followed over restarts; the provider is the stand-in."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from m3leo_prep.core.errors import CorruptError, CredentialsError, QuotaReached, SourceError, TriedOut
from m3leo_prep.sources.asf import Asf
from m3leo_prep.sources.asf.hyp3 import client, desk, shelf
from m3leo_prep.sources.asf.hyp3.jobs import next_month
from m3leo_prep.testing.earthdata import cut, error, expired, flipped, hyp3, reset, slow, unauthorized
from m3leo_prep.testing.earthdata.holdings import Job
from tests.sources.asf.hyp3.held import GRID, HERE, SUMMER, hurry, scene

CHIP = GRID[100:140, 100:140]


@pytest.fixture(autouse=True)
def _quick(monkeypatch, earthdata, made_once):
    hurry(monkeypatch)
    monkeypatch.delenv(shelf.REORDER, raising=False)
    earthdata.makes = made_once


@pytest.fixture(scope="module")
def found(earthdata_server):
    """Return three scenes, looked up once."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in earthdata_server.environment.items():
            patch.setenv(name, value)
        earthdata_server.reset()
        for day in (3, 15, 27):
            earthdata_server.add(scene(6, day, orbit=32_855 + day))
        return list(rtc().find(HERE, SUMMER))


@pytest.fixture
def items(found, earthdata):
    return found


def rtc(**options):
    return Asf("hyp3-rtc", **options)


def wait(source, items, looks=6):
    for _ in range(looks):
        seen = source.watch(items)
        if not seen.open:
            return seen
    raise AssertionError(seen)


def read(source, items):
    return list(source.read(items, CHIP, SUMMER[0]))


def test_ordered_followed_fetched_read(earthdata, items):
    source = rtc(bands=["vv_asc"])
    assert source.order(items) == 3
    assert earthdata.credits == 8000 - 3 * 5
    assert [source.watch(items).waiting, source.watch(items).done] == [0, 3]  # runs after one look, done after two
    assert len(read(source, items)) == 3
    assert earthdata.counts["product"] == 3
    wait(source, items)
    assert earthdata.counts["product"] == 3, "a product that is here is not fetched again"


def test_the_name_is_of_what_is_asked_for(items):
    """Another person, process or day asks for the same; other options ask for something else."""
    one, other = items[:2]
    assert rtc().job(one).name == rtc(bands=["vv_asc"], mask="none").job(one).name
    names = {
        source.job(item).name
        for item in (one, other)
        for source in (rtc(), rtc(resolution=20), rtc(radiometry="sigma0"), rtc(include_inc_map=True))
    }
    assert len(names) == 8
    assert max(map(len, names)) <= 100  # what HyP3 takes


def test_a_second_run_and_a_second_machine_pay_nothing(earthdata, items, monkeypatch, tmp_path):
    assert rtc().order(items) == 3
    assert rtc().order(items) == 0
    monkeypatch.setenv(shelf.FOLDER, str(tmp_path / "elsewhere"))
    assert rtc().order(items) == 0
    assert wait(rtc(), items).done == 3
    assert (len(earthdata.jobs), earthdata.counts["submit"]) == (3, 2), "one question for the price"


def test_all_pages_of_jobs_are_looked_at(earthdata, items):
    rtc().order(items)
    filler = earthdata.jobs[0]
    for number in range(230):
        earthdata.jobs.append(type(filler)(f"other-{number}", "RTC_GAMMA", filler.parameters, f"other {number}", 5.0))
    for note in shelf.folder().glob("*.json"):
        note.unlink()
    assert rtc().order(items) == 0
    assert earthdata.counts["submit"] == 2


@pytest.mark.parametrize("fault", [error(503, text='{"detail": "busy"}'), reset(), cut(10), error(502)])
def test_a_submission_without_an_answer_is_looked_for(earthdata, items, fault):
    """It may have been taken or not: of both no job comes twice."""
    earthdata.faults(fault, "submit", skip=1)
    assert rtc().order(items) == 3
    assert sorted(job.parameters["granules"][0] for job in earthdata.jobs) == sorted(item.id for item in items)


def test_a_submission_that_is_taken_by_half(earthdata, items):
    """HyP3 writes jobs in batches: what it took before it failed is not ordered again."""
    source = rtc()

    def takes_one(_):
        if earthdata.counts["submit"] == 2:  # the first asks for the price
            one = source.job(items[1])
            earthdata.jobs.append(Job("taken", one.kind, one.prepared()["job_parameters"], one.name, one.credits))
        return True

    earthdata.faults(error(502), "submit", skip=1, when=takes_one)
    assert source.order(items) == 3
    assert sorted(job.parameters["granules"][0] for job in earthdata.jobs) == sorted(item.id for item in items)


def test_a_list_that_forgets_orders_nothing_twice(earthdata, items, monkeypatch):
    """Such as another account's, or one that lags behind: a number that was noted is asked for."""
    rtc().order(items)
    monkeypatch.setattr(client.Client, "placed", lambda *_: {})
    assert rtc().estimate([], [], items).units == {"credits": 0.0}
    assert rtc().order(items) == 0
    assert len(earthdata.jobs) == 3


def test_prices_that_have_risen_order_nothing(earthdata, items, monkeypatch):
    """A plan and a budget count with the prices that we know."""
    dear = tuple(
        {"job_type": "RTC_GAMMA", "cost": 7.0} if row["job_type"] == "RTC_GAMMA" else row for row in hyp3.COSTS
    )
    monkeypatch.setattr(hyp3, "COSTS", dear)
    with pytest.raises(SourceError, match=r"asks for 21 credits, not 15[\s\S]*update m3leo-prep"):
        rtc().order(items)
    assert (earthdata.jobs, earthdata.credits) == ([], 8000.0)
    assert not list(shelf.folder().glob("*.json"))


def test_planning_writes_nothing(earthdata, items, monkeypatch, tmp_path):
    rtc().order(items[:1])
    monkeypatch.setenv(shelf.FOLDER, str(tmp_path / "elsewhere"))
    assert rtc().estimate([], [], items).units == {"credits": 10.0}
    assert "credits left" in rtc().probe()
    assert not (tmp_path / "elsewhere").exists()
    assert len(earthdata.jobs) == 1


def test_processes_at_once_order_once(earthdata, items):
    """Locks of files hold between processes as between threads."""
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: rtc().order(items), range(4))) == 3
    assert len(earthdata.jobs) == 3


def test_questions_are_repeated_when_the_api_is_away(earthdata, items):
    earthdata.faults(error(503), "jobs", times=2)
    earthdata.faults(error(503), "user", times=2)
    rtc().order(items)
    earthdata.faults(error(503), "job", times=2)
    assert wait(rtc(), items).done == 3


def test_an_api_that_stays_away_is_told(earthdata, items):
    earthdata.faults(error(503, text='{"detail": "maintenance until noon"}'), "jobs", times=None)
    with pytest.raises(TriedOut, match=r"maintenance until noon[\s\S]*nothing is ordered twice"):
        rtc().order(items)
    assert not earthdata.jobs


def test_jobs_submitted_once_over_kill_9(earthdata, items, monkeypatch, tmp_path):
    """D89: whatever ordering was doing when it was killed, the next one orders what is missing, and nothing else."""
    script = textwrap.dedent(
        """
        import os, pickle, sys
        import filelock, hyp3_sdk
        from m3leo_prep.sources.asf.hyp3 import desk
        desk.SETTLE_SECONDS, desk.LOOK_SECONDS = 0.3, 0.02
        source, items = pickle.load(open("orders", "rb"))
        for line in sys.stdin:
            child = os.fork()
            if child == 0:
                source.order(items)
                os._exit(0)
            print(child, flush=True)
            os.waitpid(child, 0)
            print("dead", flush=True)
        """
    )
    monkeypatch.setattr(desk, "SETTLE_SECONDS", 2.0)
    (tmp_path / "orders").write_bytes(pickle.dumps((rtc(), items)))
    command = [sys.executable, "-W", "ignore", "-c", script]
    taken = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as parent:
        for route, wait_for in (("jobs", 0.0), ("submit", 0.0), ("submit", 0.2), ("submit", 0.5)):
            earthdata.jobs.clear()
            shutil.rmtree(shelf.folder(), ignore_errors=True)
            only = int(route == "submit")  # after the question for the price
            earthdata.faults(slow(0.4), route, skip=only)
            before = len(earthdata.asked(route)) + only
            parent.stdin.write("\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            end = time.monotonic() + 20
            while len(earthdata.asked(route)) <= before and time.monotonic() < end:
                time.sleep(0.001)
            time.sleep(wait_for)  # before the request is answered, and after
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            assert parent.stdout.readline() == "dead\n"
            # At once: what the dead one asked for may come to be only while this one looks.
            taken.append(3 - rtc().order(items))
            assert sorted(job.parameters["granules"][0] for job in earthdata.jobs) == sorted(item.id for item in items)
        parent.stdin.close()
    assert set(taken) == {0, 3}, "it was killed before and after"
    assert wait(rtc(), items).done == 3


def test_no_more_is_ordered_than_the_credits_last_for(earthdata, items):
    earthdata.credits = 11.0
    with pytest.raises(QuotaReached, match="1 jobs of 5 credits are more") as caught:
        rtc().order(items)
    assert caught.value.exit_code == 75
    assert caught.value.until == next_month(datetime.now(UTC))
    assert (len(earthdata.jobs), earthdata.credits) == (2, 1.0)
    assert rtc().watch(items).absent == {items[2].id}
    earthdata.credits = 8000.0
    assert rtc().order(items) == 1


def test_an_account_without_limit(earthdata, items):
    earthdata.credits = None
    assert rtc().order(items) == 3
    assert "no limit" in rtc().probe()


def test_a_job_that_fails_is_told_and_not_paid_for_again(earthdata, items, monkeypatch):
    rtc().order(items)
    earthdata.jobs[0].fails = True
    bad = earthdata.jobs[0].parameters["granules"][0]
    (line,) = wait(rtc(), items).failed
    assert line.startswith(f"{bad}: HyP3 could not make it (job {earthdata.jobs[0].id}")
    item = next(item for item in items if item.id == bad)
    with pytest.raises(CorruptError, match=r"could not make it[\s\S]*M3LEO_PREP_REORDER=1"):
        read(rtc(), [item])
    assert rtc().order(items) == 0
    monkeypatch.setenv(shelf.REORDER, "1")
    assert rtc().order(items) == 1
    assert wait(rtc(), items).done == 3
    assert len(earthdata.jobs) == 4


def test_a_product_that_expired_before_it_was_fetched(earthdata, items, monkeypatch):
    rtc().order(items)
    for job in earthdata.jobs:
        job.looks, job.expired = 2, True
    seen = rtc().watch(items)
    assert (seen.done, seen.open, len(seen.failed)) == (0, 0, 3)
    with pytest.raises(CorruptError, match=r"has expired on \d{4}-\d\d-\d\d[\s\S]*for new credits"):
        read(rtc(), items)
    assert rtc().order(items) == 0
    assert rtc().estimate([], [], items).units == {"credits": 0.0}
    monkeypatch.setenv(shelf.REORDER, "1")
    assert rtc().estimate([], [], items).units == {"credits": 15.0}
    assert rtc().order(items) == 3
    assert wait(rtc(), items).done == 3


@pytest.mark.parametrize("fault", [expired(), unauthorized("expired token"), error(404)])
def test_a_product_that_is_refused_before_its_time_is_over_is_never_lost(earthdata, items, fault):
    """An expired token, a store in trouble: what was paid for is asked for again."""
    rtc().order(items)
    rtc().watch(items)
    earthdata.faults(fault, "product", times=None)
    with pytest.raises(TriedOut, match="cannot be had now"):
        rtc().watch(items)
    assert not list(shelf.folder().glob("*.lost"))
    earthdata.faults.planned.clear()
    seen = rtc().watch(items)
    assert (seen.done, seen.failed) == (3, ())


def test_a_clock_that_is_ahead_loses_nothing(earthdata, items, monkeypatch):
    """What counts as expired here is fetched all the same, while HyP3 has it."""
    monkeypatch.setattr(client.Placed, "expired", property(lambda _: True))
    rtc().order(items)
    assert wait(rtc(), items).done == 3


def test_a_product_that_does_not_come_ends_no_wait_for_others(earthdata, items):
    rtc().order(items)
    earthdata.jobs[0].looks = 2
    earthdata.faults(expired(), "product")
    seen = rtc().watch(items)
    assert (seen.done, seen.open, seen.failed) == (0, 3, ())
    assert wait(rtc(), items).done == 3


def test_an_archive_damaged_on_the_way_is_fetched_again(earthdata, items):
    rtc().order(items[:1])
    earthdata.faults(flipped(2000), "product")
    seen = wait(rtc(), items[:1])
    assert (seen.done, seen.failed) == (1, ())
    assert earthdata.counts["product"] == 2


def test_a_login_that_expires_while_waiting(earthdata, items, monkeypatch):
    rtc().order(items)
    with monkeypatch.context() as patch:
        patch.setenv("EARTHDATA_TOKEN", "of-yesterday")
        with pytest.raises(CredentialsError):
            rtc().watch(items)
    assert not list(shelf.folder().glob("*.lost"))
    assert wait(rtc(), items).done == 3


def test_a_product_cut_on_the_way_goes_on_where_it_was(earthdata, items):
    rtc().order(items)
    earthdata.faults(cut(3000), "product")
    assert wait(rtc(), items).done == 3


def test_a_product_that_is_no_archive_is_left_out(earthdata, items, tmp_path):
    rtc().order(items)
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"PK\x03\x04" + bytes(500))
    earthdata.jobs[1].looks, earthdata.jobs[1].file = 2, bad
    seen = wait(rtc(), items)
    assert (seen.done, len(seen.failed)) == (2, 1)
    assert "damaged" in seen.failed[0]


def test_a_scene_that_is_refused_spoils_no_other(earthdata, items):
    """HyP3 refuses a whole submission for one scene without heights."""
    name = items[1].id
    refusal = error(400, text='{"detail": "Some requested scenes do not have DEM coverage"}')
    earthdata.faults(refusal, "submit", times=2)  # all three, then the first alone
    assert rtc().order(items) == 2
    assert name in {job.parameters["granules"][0] for job in earthdata.jobs}
    assert "DEM coverage" in "".join(wait(rtc(), items).failed)


def test_without_a_login(earthdata, items, monkeypatch, tmp_path):
    monkeypatch.delenv("EARTHDATA_TOKEN")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(CredentialsError, match="m3leo-prep login earthdata"):
        rtc().order(items)
    told = rtc().estimate([], [], items)
    assert told.units == {"credits": 15.0}
    assert "all of it is counted" in told.notes[-1]


def test_a_login_that_is_refused(earthdata, items, monkeypatch):
    monkeypatch.setenv("EARTHDATA_TOKEN", "of-yesterday")
    with pytest.raises(CredentialsError) as caught:
        rtc().order(items)
    assert "of-yesterday" not in str(caught.value)


def test_a_netrc_file_serves_too(earthdata, items, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine localhost login {earthdata.held.user} password {earthdata.held.password}\n")
    netrc.chmod(0o600)
    monkeypatch.delenv("EARTHDATA_TOKEN")
    monkeypatch.setenv("NETRC", str(netrc))
    assert rtc().order(items) == 3


def test_what_is_not_here_may_come(items):
    with pytest.raises(TriedOut, match="build again"):
        read(rtc(), items)


def test_the_cost_is_of_what_is_not_ordered_yet(earthdata, items):
    source = rtc(resolution=10)
    assert source.estimate([], [], items).units == {"credits": 180.0}
    source.order(items[:1])
    assert source.estimate([], [], items).units == {"credits": 120.0}
    assert source.estimate([CHIP], SUMMER, items).units == {"credits": 120.0}, "reading is free"
    assert source.estimate([], [], []).allowances == {"credits": {"HyP3 Basic, free": 8000.0}}
    assert "7,940 credits left" in source.probe()


def test_a_folder_that_cannot_be_written(items, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv(shelf.FOLDER, str(blocked / "orders"))
    with pytest.raises(Exception, match=shelf.FOLDER) as caught:
        rtc().order(items)
    assert not isinstance(caught.value, SourceError)
    assert Path(blocked).is_file()
