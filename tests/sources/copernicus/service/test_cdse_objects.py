"""Products and probes by keys of the object store, at a real S3 server."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from m3leo_prep.core.errors import CorruptError, CredentialsError, NoData
from m3leo_prep.sources.copernicus.service import products
from m3leo_prep.sources.copernicus.service.login import keys, probe
from m3leo_prep.sources.copernicus.service.objects import store
from m3leo_prep.testing.copernicus.app import CopernicusApp
from m3leo_prep.testing.copernicus.catalogue_odata import row_of
from tests.sources.copernicus.service.conftest import START

obstore = pytest.importorskip("obstore")
FOLDER = "Sentinel-1/SAR/A.SAFE"
FILES = {"manifest.safe": b"<xml/>", "measurement/vv.tiff": random.Random(0).randbytes(25_001), "empty.txt": b""}

Put = Callable[..., None]


@pytest.fixture
def put(cdse: CopernicusApp, s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Return a function that puts files of a product into ``eodata``, where the user has keys and no password."""
    monkeypatch.setenv("M3LEO_PREP_CDSE_S3", s3_server.endpoint)
    monkeypatch.setenv("CDSE_S3_ACCESS_KEY", "test")
    monkeypatch.setenv("CDSE_S3_SECRET_KEY", "testtest")
    monkeypatch.delenv("CDSE_USERNAME")
    monkeypatch.delenv("CDSE_PASSWORD")

    def puts(folder: str = FOLDER, *names: str) -> None:
        found = keys()
        assert found is not None
        for name in names or FILES:
            obstore.put(store(found), f"{folder}/{name}", FILES[name])

    return puts


def test_a_folder_becomes_an_archive(cdse: CopernicusApp, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "PIECE", 4000)
    put()
    put(f"{FOLDER}_OTHER", "manifest.safe")
    cdse.add(row_of("A.SAFE", START, S3Path=f"/eodata/{FOLDER}"))
    path = products.product("A")
    with zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            f"A.SAFE/{name}": data for name, data in FILES.items()
        }
    assert (
        products.unpack(path, path.parent).joinpath("measurement/vv.tiff").read_bytes() == FILES["measurement/vv.tiff"]
    )
    assert cdse.counts.keys() == {"products"}, "no token is needed"


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
    with pytest.raises(CredentialsError, match="refuses these keys") as caught:
        probe()
    assert "sesame" not in str(caught.value) + repr(caught.value.__context__)
