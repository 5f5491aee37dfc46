"""Products and probes by keys of the object store, at a real S3 server."""

from __future__ import annotations

import random
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.core.errors import CorruptError, CredentialsError, NoData, TriedOut
from m3leo_prep.sources.copernicus.service import products
from m3leo_prep.sources.copernicus.service.access import access
from m3leo_prep.sources.copernicus.service.login import probe
from m3leo_prep.sources.remote import files
from m3leo_prep.testing.copernicus.app import CopernicusApp
from m3leo_prep.testing.copernicus.catalogue_odata import row_of
from m3leo_prep.testing.objects import KEY, SECRET
from m3leo_prep.testing.proxy import Cut, FaultProxy
from tests.sources.copernicus.service.conftest import START

obstore = pytest.importorskip("obstore")

FOLDER = "Sentinel-1/SAR/A.SAFE"
FILES = {"manifest.safe": b"<xml/>", "measurement/vv.tiff": random.Random(0).randbytes(25_001), "empty.txt": b""}

Put = Callable[..., None]


@pytest.fixture
def put(cdse: CopernicusApp, s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Return a function that puts files of a product into ``eodata``, where the user has keys and no password."""
    monkeypatch.setenv("M3LEO_PREP_CDSE_S3", s3_server.endpoint)
    monkeypatch.setenv("CDSE_S3_ACCESS_KEY", KEY)
    monkeypatch.setenv("CDSE_S3_SECRET_KEY", SECRET)
    monkeypatch.delenv("CDSE_USERNAME")
    monkeypatch.delenv("CDSE_PASSWORD")

    bucket = obstore.store.S3Store(
        "eodata",
        endpoint=s3_server.endpoint,
        region="default",
        access_key_id=KEY,
        secret_access_key=SECRET,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    # Of somebody's session at Amazon: joined to keys of others it makes them worthless.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "amazons")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    def puts(folder: str = FOLDER, *names: str) -> None:
        for name in names or FILES:
            obstore.put(bucket, f"{folder}/{name}", FILES[name])

    return puts


def test_a_folder_becomes_an_archive(
    cdse: CopernicusApp, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIECE_BYTES", 4000)
    put()
    put(f"{FOLDER}_OTHER", "manifest.safe")
    cdse.add(row_of("A.SAFE", START, S3Path=f"/eodata/{FOLDER}"))
    path = products.product("A")
    with zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            f"A.SAFE/{name}": data for name, data in FILES.items()
        }
    kept = [file for file in (tmp_path / "cache").rglob("*") if file.is_file() and not file.name.startswith(".")]
    assert kept == [path], "once on this machine"
    opened = products.unpack(path, tmp_path)
    assert opened.joinpath("measurement/vv.tiff").read_bytes() == FILES["measurement/vv.tiff"]
    assert cdse.counts.keys() == {"products"}, "no token is needed"


def test_a_fetch_that_was_stopped_goes_on(
    cdse: CopernicusApp, put: Put, s3_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("later/A.SAFE")
    cdse.add(row_of("A.SAFE", START, S3Path="/eodata/later/A.SAFE"))
    with FaultProxy("127.0.0.1", int(s3_server.endpoint.rpartition(":")[2])) as line:
        monkeypatch.setenv("M3LEO_PREP_CDSE_S3", f"http://127.0.0.1:{line.port}")
        line.cuts.extend([Cut(after=20_000)] * 6)
        with pytest.raises(TriedOut):
            products.product("A")
        assert not line.cuts
        before = files.usage(access())
        with zipfile.ZipFile(products.product("A")) as archive:
            assert archive.read("A.SAFE/measurement/vv.tiff") == FILES["measurement/vv.tiff"]
        requests, count = (now - then for now, then in zip(files.usage(access()), before, strict=True))
    assert count == len(FILES["measurement/vv.tiff"]), "the small files were here"
    assert requests == 3, "the list, and one file"


def test_folders_that_are_not_whole_or_not_there(cdse: CopernicusApp, put: Put) -> None:
    put("other/B.SAFE", "measurement/vv.tiff")
    cdse.add(row_of("B.SAFE", START, S3Path="/eodata/other/B.SAFE"))
    with pytest.raises(CorruptError, match=r"no manifest\.safe"):
        products.product("B")
    cdse.add(row_of("C.SAFE", START, S3Path="/eodata/other/C.SAFE"))
    with pytest.raises(NoData, match="no such folder"):
        products.product("C")


def test_keys_are_probed(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put()
    assert probe() == "Copernicus Data Space, keys of the object store by $CDSE_S3_ACCESS_KEY"
    monkeypatch.setenv("CDSE_S3_SECRET_KEY", "wrong-sesame")
    with pytest.raises(CredentialsError, match="refuses to show") as caught:
        probe()
    assert "keys of $CDSE_S3_ACCESS_KEY" in str(caught.value)
    assert "make new ones at https://eodata-s3keysmanager" in caught.value.hint
    assert "sesame" not in "".join(traceback.format_exception(caught.value))
