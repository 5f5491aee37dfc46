"""Whole products: by https with a token, checked, resumed, four at once; offline ones; no secret anywhere."""

from __future__ import annotations

import logging
import stat
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.core.errors import CorruptError, CredentialsError, NoData, PrepError, RateLimited
from m3leo_prep.sources.copernicus.service.products import check_online, product, unpack
from m3leo_prep.testing.copernicus.app import CopernicusApp
from m3leo_prep.testing.earthdata import faults

Hold = Callable[..., dict[str, Any]]


def test_a_product_comes_once_as_an_archive(cdse: CopernicusApp, hold: Hold) -> None:
    row = hold()
    path = product("S1A_IW_GRDH_A")
    assert path.name == "S1A_IW_GRDH_A.SAFE.zip"
    assert path.stat().st_size == row["ContentLength"]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert "S1A_IW_GRDH_A.SAFE/manifest.safe" in archive.namelist()
    assert product("S1A_IW_GRDH_A.SAFE") == path
    assert cdse.counts["value"] == 1


def test_a_redirect_to_another_host_keeps_the_token(cdse: CopernicusApp, hold: Hold, tmp_path: Path) -> None:
    """What ``curl --location-trusted`` is for in the documentation."""
    from m3leo_prep.sources.copernicus.service.tokens import tokens
    from m3leo_prep.sources.http.download import download

    row = hold()
    download(cdse.value_url(row), tmp_path / "x", auth=tokens(), size=row["ContentLength"], where="x")
    assert [request.host for request in cdse.asked("redirect")] == ["localhost"]
    assert [(request.host, request.authorized) for request in cdse.asked("value")] == [("127.0.0.1", True)]


def test_a_cut_download_goes_on_and_its_checksum_holds(cdse: CopernicusApp, hold: Hold) -> None:
    hold()
    cdse.faults(faults.cut(100_000), "value")
    assert product("S1A_IW_GRDH_A").is_file()
    assert [request.range for request in cdse.asked("value")] == ["", "bytes=100000-"]


@pytest.mark.parametrize("times", [1, 2])
def test_other_bytes_than_announced(cdse: CopernicusApp, hold: Hold, times: int) -> None:
    hold()
    cdse.faults(faults.flipped(5000), "value", times=times)
    if times == 1:
        assert product("S1A_IW_GRDH_A").is_file()
    else:
        with pytest.raises(CorruptError, match="checksum"):
            product("S1A_IW_GRDH_A")
    assert cdse.counts["value"] == 2


def test_no_size_and_no_checksum_is_no_fault(cdse: CopernicusApp, hold: Hold) -> None:
    hold(ContentLength=0, Checksum=[])
    assert product("S1A_IW_GRDH_A").is_file()
    hold("B.SAFE", ContentLength=0, Checksum=[], minutes=1)
    cdse.faults(faults.error(200, "no archive at all"), "value", times=None)
    with pytest.raises(CorruptError, match="begins with"):
        product("B")
    hold("C.SAFE", ContentLength=0, Checksum=[], minutes=2)
    cdse.faults.clear()
    cdse.faults(faults.login_page(), "value", times=None)
    with pytest.raises(CredentialsError):
        product("C")


def test_offline_and_unknown_products_are_told_and_not_asked_for(cdse: CopernicusApp, hold: Hold) -> None:
    hold("LATE.SAFE", Online=False)
    # Final, and of this product alone: noted as the reason of a hole that no later build asks for again.
    for asked in (product, check_online):
        with pytest.raises(CorruptError, match="offline") as caught:
            asked("LATE")
        assert "Data Workspace" in caught.value.hint
    n_asked = len(cdse.requests)
    for name in ("LATE.SAFE", "LATE"):
        with pytest.raises(CorruptError):
            check_online(name)
    assert len(cdse.requests) == n_asked, "once for each product"
    hold()
    check_online("S1A_IW_GRDH_A")
    check_online("S1A_UNKNOWN")
    with pytest.raises(NoData, match="no such product"):
        product("S1A_NO")
    assert cdse.counts.keys() == {"products"}


def test_no_more_than_four_files_at_once(cdse: CopernicusApp, hold: Hold) -> None:
    names = [hold(f"P{k}.SAFE", size=2000, minutes=k)["Name"] for k in range(12)]
    cdse.latency = 0.02
    with ThreadPoolExecutor(12) as pool:
        paths = list(pool.map(product, names))
    assert len(set(paths)) == 12
    assert 2 <= cdse.most_at_once <= 4
    assert cdse.refused == 0
    assert cdse.identity.most_at_once == 1


def test_a_service_that_is_full_is_waited_for(cdse: CopernicusApp, hold: Hold) -> None:
    hold()
    cdse.faults(faults.rate_limited(), "value", times=2)
    assert product("S1A_IW_GRDH_A").is_file()
    cdse.connections = 0
    hold("B.SAFE", minutes=1)
    with pytest.raises(RateLimited):
        product("B")


def test_secrets_are_found_nowhere(
    cdse: CopernicusApp, hold: Hold, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    hold()
    told: list[str] = []
    with caplog.at_level(logging.DEBUG):
        product("S1A_IW_GRDH_A")
        for fault in (faults.error(401), faults.error(403), faults.gateway_page(), faults.reset(), faults.flipped(9)):
            hold(f"{fault.kind}{fault.status}.SAFE", minutes=2)
            cdse.faults.clear()
            cdse.faults(fault, "value", times=None)
            with pytest.raises(PrepError) as caught:
                product(f"{fault.kind}{fault.status}")
            told += [
                str(caught.value),
                repr(caught.value),
                repr(caught.value.__cause__),
                repr(caught.value.__context__),
            ]
    shown = "\n".join([*told, caplog.text, *capfd.readouterr()])
    secrets = cdse.identity.secrets()
    assert len(secrets) > 2
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "logins"]
    for secret in secrets:
        assert secret not in shown
        assert not any(secret.encode() in path.read_bytes() for path in files)


def archive_of(folder: Path, *members: str | zipfile.ZipInfo) -> Path:
    path = folder / "A.SAFE.zip"
    with zipfile.ZipFile(path, "w") as file:
        for member in members:
            file.writestr(member, "x")
    return path


def test_an_archive_becomes_a_folder(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, "A.SAFE/", "A.SAFE/manifest.safe", "A.SAFE/measurement/vv.tiff", "readme.txt")
    folder = unpack(archive, tmp_path / "out")
    assert folder == tmp_path / "out" / "A.SAFE"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "manifest.safe",
        "measurement/vv.tiff",
    ]


@pytest.mark.parametrize("bad", ["../A.SAFE/x", "A.SAFE/../../x", "/etc/x", "C:/x", "A.SAFE/manifest.safe"])
def test_archives_that_are_not_trusted(tmp_path: Path, bad: str) -> None:
    with pytest.warns(UserWarning, match="Duplicate") if bad.endswith("manifest.safe") else nullcontext():
        archive = archive_of(tmp_path, "A.SAFE/manifest.safe", bad)
    with pytest.raises(CorruptError, match=r"leads out of it|two files"):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_links_and_other_products_in_an_archive(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("A.SAFE/passwd")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(CorruptError, match="a link"):
        unpack(archive_of(tmp_path, "A.SAFE/manifest.safe", link), tmp_path / "out")
    with pytest.raises(CorruptError, match=r"no A\.SAFE/manifest\.safe"):
        unpack(archive_of(tmp_path, "B.SAFE/manifest.safe"), tmp_path / "out")
    (tmp_path / "A.SAFE.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(CorruptError, match="no readable archive"):
        unpack(tmp_path / "A.SAFE.zip", tmp_path / "out")
