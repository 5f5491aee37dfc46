"""The stand-in under the real clients: login, redirects, HyP3 and the public bucket."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import shapely

from m3leo_prep.testing.earthdata import (
    EarthdataStandIn,
    Granule,
    accepted,
    cut,
    error,
    flipped,
    login_page,
    rate_limited,
    reset,
    slow,
    truncated,
    unauthorized,
    unranged,
)
from m3leo_prep.testing.earthdata.__main__ import _holdings, main

asf_search = pytest.importorskip("asf_search")
requests = pytest.importorskip("requests")

START = datetime(2020, 6, 1, tzinfo=UTC)


@pytest.fixture
def granule(earthdata: EarthdataStandIn, tmp_path: Path) -> Granule:
    """Return a granule of 200 000 bytes that the stand-in holds."""
    file = tmp_path / "scene.nc"
    file.write_bytes(os.urandom(200_000))
    made = Granule("scene", "gunw", shapely.box(0, 0, 1, 1), START, START, files={"scene.nc": file})
    earthdata.add(made)
    return made


@pytest.fixture
def session(earthdata: EarthdataStandIn) -> Iterator[Any]:
    """Yield a session of asf_search at the stand-in."""
    host = earthdata.host
    with asf_search.ASFSession(edl_host=host, asf_auth_host=host, cmr_host=host, auth_domains=["localhost"]) as made:
        yield made


@pytest.fixture
def bearer(earthdata: EarthdataStandIn) -> Iterator[Any]:
    """Yield a plain session that shows the token to the first host."""
    with requests.Session() as made:
        made.headers["Authorization"] = f"Bearer {earthdata.held.token}"
        yield made


def test_a_token_leads_to_a_signed_address_on_another_host(
    earthdata: EarthdataStandIn, session: Any, granule: Granule
) -> None:
    session.auth_with_token(earthdata.held.token)
    answer = session.get(earthdata.url(granule))
    assert hashlib.md5(answer.content).hexdigest() == granule.sums["scene.nc"]
    hops = [(request.route, request.host, request.authorized) for request in earthdata.requests]
    assert hops == [
        ("token_user", "localhost", False),
        ("data", "localhost", True),
        ("signed", "127.0.0.1", False),
    ]


def test_a_password_ends_in_a_cookie_after_four_redirects(
    earthdata: EarthdataStandIn, session: Any, granule: Granule
) -> None:
    session.auth_with_creds(earthdata.held.user, earthdata.held.password)
    session.cookies.clear()
    earthdata.takes_tokens = False
    earthdata.requests.clear()
    assert session.get(earthdata.url(granule)).status_code == 200
    assert [request.route for request in earthdata.requests] == ["data", "authorize", "login", "data", "signed"]


def test_who_is_unknown_gets_no_token(earthdata: EarthdataStandIn, session: Any) -> None:
    with pytest.raises(asf_search.ASFAuthenticationError):
        session.auth_with_creds(earthdata.held.user, "wrong")
    with pytest.raises(asf_search.ASFAuthenticationError):
        session.auth_with_token("wrong")


def test_a_signed_address_refuses_a_login_besides_and_another_signature(
    earthdata: EarthdataStandIn, bearer: Any, granule: Granule
) -> None:
    place = bearer.get(earthdata.url(granule), allow_redirects=False).headers["Location"]
    assert requests.get(place).status_code == 200
    assert bearer.get(place).status_code == 400
    assert requests.get(place[:-1] + ("0" if place[-1] != "0" else "1")).status_code == 403
    assert bearer.get(earthdata.url(granule, "other.nc")).status_code == 404


def test_parts_of_a_file(earthdata: EarthdataStandIn, bearer: Any, granule: Granule) -> None:
    url, whole = earthdata.url(granule), granule.files["scene.nc"].read_bytes()
    part = bearer.get(url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole[100:200])
    assert part.headers["Content-Range"] == "bytes 100-199/200000"
    earthdata.faults(unranged(), "signed")
    assert bearer.get(url, headers={"Range": "bytes=100-199"}).content == whole


def test_faults_of_a_download(earthdata: EarthdataStandIn, bearer: Any, granule: Granule) -> None:
    url, whole = earthdata.url(granule), granule.files["scene.nc"].read_bytes()
    earthdata.faults(cut(1000), "signed")
    with pytest.raises(requests.RequestException):
        bearer.get(url)
    earthdata.faults(truncated(10), "signed")
    assert bearer.get(url).content == whole[:-10]
    earthdata.faults(flipped(5), "signed")
    got = bearer.get(url).content
    assert [at for at in range(len(whole)) if got[at] != whole[at]] == [5]
    earthdata.faults(login_page(), "data")
    page = bearer.get(url)
    assert page.status_code == 200
    assert b"<html" in page.content
    assert "html" in page.headers["Content-Type"]
    earthdata.faults(rate_limited(7), "data")
    assert bearer.get(url).headers["Retry-After"] == "7"
    earthdata.faults(accepted(), "data", times=2)
    assert [bearer.get(url).status_code for _ in range(3)] == [202, 202, 200]
    earthdata.faults(unauthorized("Accept the EULA", "https://urs/eula"), "data")
    refused = bearer.get(url)
    assert refused.status_code == 401
    assert refused.json()["error_msg"] == "Accept the EULA"
    earthdata.faults(reset(), "data")
    with pytest.raises(requests.ConnectionError):
        bearer.get(url)
    earthdata.faults(slow(0.01), "data")
    assert bearer.get(url).content == whole


def test_a_slow_line_gives_all_of_a_file(earthdata: EarthdataStandIn, bearer: Any, granule: Granule) -> None:
    earthdata.bandwidth = 2e6
    answer = bearer.get(earthdata.url(granule))
    assert len(answer.content) == 200_000
    assert earthdata.requests[-1].bytes == 200_000


@pytest.fixture
def hyp3(earthdata: EarthdataStandIn) -> Any:
    """Return the client of HyP3 at the stand-in, without its bars of progress."""
    hyp3_sdk = pytest.importorskip("hyp3_sdk")
    return hyp3_sdk.HyP3(f"https://{earthdata.host}", token=earthdata.held.token)


def test_jobs_are_paid_looked_at_and_fetched(earthdata: EarthdataStandIn, hyp3: Any, tmp_path: Path) -> None:
    product = tmp_path / "product.zip"
    with zipfile.ZipFile(product, "w") as made:
        made.writestr("product/README.md.txt", "made")
    earthdata.makes = lambda job: product
    batch = hyp3.submit_rtc_job("S1A_IW_GRDH", name="rtc-1", resolution=20)
    assert hyp3.check_credits() == 8000 - 15
    assert [job.name for job in hyp3.find_jobs(name="rtc-1")] == ["rtc-1"]
    assert not list(hyp3.find_jobs(name="other"))
    states = [hyp3.get_job_by_id(batch.jobs[0].job_id).status_code for _ in range(3)]
    assert states == ["RUNNING", "SUCCEEDED", "SUCCEEDED"]
    job = hyp3.get_job_by_id(batch.jobs[0].job_id)
    assert job.files[0]["size"] == product.stat().st_size
    assert requests.get(job.files[0]["url"]).content == product.read_bytes()
    earthdata.jobs[0].expired = True
    assert hyp3.get_job_by_id(job.job_id).expired()
    assert requests.get(job.files[0]["url"]).status_code == 403


def test_jobs_that_cost_too_much_are_all_refused(earthdata: EarthdataStandIn, hyp3: Any) -> None:
    from hyp3_sdk.exceptions import HyP3Error, ServiceUnavailableError

    earthdata.credits = 25
    jobs = [hyp3.prepare_rtc_job(f"S1A_{number}", resolution=20) for number in range(2)]
    with pytest.raises(HyP3Error, match=r"would cost 30.0 credits, but you have only 25 remaining"):
        hyp3.submit_prepared_jobs(jobs)
    assert (earthdata.jobs, earthdata.credits) == ([], 25)
    hyp3.submit_prepared_jobs(jobs[:1])
    assert earthdata.credits == 10
    earthdata.jobs[0].fails = True
    assert [hyp3.get_job_by_id(earthdata.jobs[0].id).status_code for _ in range(2)] == ["RUNNING", "FAILED"]
    earthdata.faults(error(503), "user")
    with pytest.raises(ServiceUnavailableError):
        hyp3.check_credits()


def test_many_jobs_are_listed_page_by_page(earthdata: EarthdataStandIn, hyp3: Any) -> None:
    jobs = [hyp3.prepare_rtc_job(f"S1A_{number}", name=f"job-{number % 2}") for number in range(180)]
    hyp3.submit_prepared_jobs(jobs)
    earthdata.credits = 10_000
    hyp3.submit_prepared_jobs(jobs)
    assert len(hyp3.find_jobs(name="job-1").jobs) == 180
    assert earthdata.counts["jobs"] == 2


def test_strangers_have_no_jobs(earthdata: EarthdataStandIn) -> None:
    assert requests.get(f"https://{earthdata.host}/user").status_code == 401
    assert requests.post(f"https://{earthdata.host}/jobs", json={"jobs": [{}]}).status_code == 401


def _store(earthdata: EarthdataStandIn) -> Any:
    obstore = pytest.importorskip("obstore")
    return obstore.store.S3Store(
        "sentinel-1-global-coherence-earthbigdata",
        endpoint=earthdata.bucket_url,
        region="us-west-2",
        skip_signature=True,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def test_the_public_bucket(earthdata: EarthdataStandIn) -> None:
    import obstore

    folder = earthdata.bucket / "data/tiles/N48W090"
    folder.mkdir(parents=True)
    for number in range(1003):  # more than one listing tells
        (folder / f"{number:04}.tif").write_bytes(b"0123456789")
    (folder / "name with spaces & more.tif").write_bytes(b"x")
    store = _store(earthdata)
    listed = [entry for page in obstore.list(store, "data/tiles") for entry in page]
    assert len(listed) == 1004
    assert earthdata.counts["listing"] == 2
    assert listed[0]["path"] == "data/tiles/N48W090/0000.tif"
    assert listed[0]["size"] == 10
    assert bytes(obstore.get_range(store, "data/tiles/N48W090/0007.tif", start=2, end=5)) == b"234"
    assert bytes(obstore.get(store, "data/tiles/N48W090/name with spaces & more.tif").bytes()) == b"x"
    assert obstore.head(store, "data/tiles/N48W090/0001.tif")["size"] == 10
    assert obstore.list_with_delimiter(store, "data/tiles/")["common_prefixes"] == ["data/tiles/N48W090"]
    with pytest.raises(obstore.exceptions.PermissionDeniedError):
        obstore.get(store, "data/tiles/N00E000/missing.tif")
    earthdata.missing = 404
    with pytest.raises(FileNotFoundError):
        obstore.get(store, "data/tiles/N00E000/missing.tif")
    earthdata.lists = False
    with pytest.raises(obstore.exceptions.GenericError, match="403 Forbidden"):
        list(obstore.list(store, "data/tiles"))


def test_paths_do_not_lead_out_of_the_bucket(earthdata: EarthdataStandIn) -> None:
    (earthdata.bucket.parent / "secret").write_text("x")
    answer = requests.get(f"{earthdata.bucket_url}/sentinel-1-global-coherence-earthbigdata/%2e%2e/secret")
    assert answer.status_code == 403


def test_a_stand_in_is_empty_again_after_reset(earthdata: EarthdataStandIn, granule: Granule) -> None:
    earthdata.faults(error(500), times=None)
    old = earthdata.held.token
    earthdata.reset()
    assert earthdata.held.granules == []
    assert earthdata.requests == []
    assert earthdata.held.token != old
    url = earthdata.url(granule)
    assert requests.get(url, headers={"Authorization": f"Bearer {old}"}).status_code == 401


def test_by_hand(tmp_path: Path) -> None:
    """It tells what to type, and leaves nothing behind when it is interrupted."""
    command = [sys.executable, "-m", "m3leo_prep.testing.earthdata", "below/stand-in", "--empty", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as started:
        try:
            assert started.stdout is not None
            lines = [started.stdout.readline() for _ in range(11)]
        finally:
            started.send_signal(signal.SIGINT)
        _, said = started.communicate()
    told = dict(line.removeprefix("export ").rstrip().split("=", 1) for line in lines if line.startswith("export "))
    assert {"M3LEO_PREP_EARTHDATA", "M3LEO_PREP_GSSIC_URL", "M3LEO_PREP_CACHE", "EARTHDATA_TOKEN"} <= set(told)
    assert told["SSL_CERT_FILE"].startswith(str(tmp_path / "below" / "stand-in")), "whole, for it is typed elsewhere"
    assert started.returncode == 0
    assert said == "\n0 requests, 0 failed; 0.0 MiB went out\n"
    assert list((tmp_path / "below" / "stand-in").iterdir()) == []


def test_what_it_holds_is_told(earthdata: EarthdataStandIn, granule: Granule) -> None:
    (earthdata.bucket / "data/tiles/N48W090").mkdir(parents=True)
    (earthdata.bucket / "data/tiles/N48W090/a.tif").write_bytes(b"")
    assert [line.split() for line in _holdings(earthdata)] == [
        ["gssic", "1", "tile:", "N48W090"],
        ["gunw", "1", "granules,", "2020-06-01,", "--aoi", "0.00,0.00,1.00,1.00"],
    ]


def test_a_port_that_is_taken_is_told(earthdata: EarthdataStandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--empty", "--port", earthdata.host.partition(":")[2]]) == 1
    assert "in use" in capsys.readouterr().err
