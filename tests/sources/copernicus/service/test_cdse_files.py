"""Parts of files by https with the account's token: what readers do that have no keys; and the front of STAC."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from m3leo_prep.blobs.http import answer
from m3leo_prep.core.errors import CorruptError, CredentialsError, NoData
from m3leo_prep.sources.copernicus.grd.files import Product
from m3leo_prep.sources.copernicus.service.access import access
from m3leo_prep.sources.http.patience import Tries
from m3leo_prep.sources.remote.files import ranges
from m3leo_prep.testing.answers import to_json
from m3leo_prep.testing.copernicus.app import CopernicusApp
from m3leo_prep.testing.earthdata import faults

Hold = Callable[..., dict[str, Any]]
CONTENT = bytes(range(250)) * 1200
FILE = "measurement/vv.tiff"


def test_parts_of_a_file(cdse: CopernicusApp, hold: Hold) -> None:
    url = cdse.node_url(hold(), FILE)
    assert ranges(url, [(10, 20), (250_000, 250_100)], access()) == [CONTENT[10:20], CONTENT[250_000:250_100]]
    assert {request.range for request in cdse.asked("node")} == {"bytes=10-19", "bytes=250000-250099"}
    assert cdse.identity.logins == 1
    with pytest.raises(NoData):
        ranges(cdse.node_url(hold(), "measurement/vh.tiff"), [(0, 1)], access())


def test_a_server_that_sends_no_parts(cdse: CopernicusApp, hold: Hold) -> None:
    cdse.ranges = False
    assert ranges(cdse.node_url(hold("WHOLE.SAFE"), FILE), [(299_000, 299_010)], access()) == [CONTENT[299_000:299_010]]


def test_four_connections_whoever_reads(cdse: CopernicusApp, hold: Hold) -> None:
    url = cdse.node_url(hold(), FILE)
    cdse.latency = 0.01
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda k: ranges(url, [(1000 * k, 1000 * k + 7)], access())[0], range(40)))
    assert found == [CONTENT[1000 * k : 1000 * k + 7] for k in range(40)]
    assert 2 <= cdse.most_at_once <= 4
    assert cdse.refused == 0


def _read(url: str, barrier: Any, out: Any) -> None:
    barrier.wait(10)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda k: ranges(url, [(1000 * k, 1000 * k + 7)], access())[0], range(12)))
    out.put(found == [CONTENT[1000 * k : 1000 * k + 7] for k in range(12)])


def test_four_connections_of_all_processes_together(cdse: CopernicusApp, hold: Hold) -> None:
    url = cdse.node_url(hold(), FILE)
    cdse.latency = 0.01
    context = multiprocessing.get_context("fork")
    barrier, out = context.Barrier(3), context.Queue()
    workers = [context.Process(target=_read, args=(url, barrier, out)) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert [out.get(timeout=20) for _ in workers] == [True] * 3
    for worker in workers:
        worker.join(10)
    assert 2 <= cdse.most_at_once <= 4
    assert cdse.refused == 0
    assert cdse.identity.logins == 1


def test_a_token_that_ends_between_parts(cdse: CopernicusApp, hold: Hold) -> None:
    url = cdse.node_url(hold(), FILE)
    for first in range(0, 3000, 1000):
        assert ranges(url, [(first, first + 5)], access()) == [CONTENT[first : first + 5]]
        cdse.identity.forget()
    assert (cdse.identity.logins, cdse.identity.renewals) == (1, 2)
    cdse.faults(faults.error(401), "node", times=None)
    with pytest.raises(CredentialsError):
        ranges(url, [(0, 5)], access())


def test_a_file_that_is_not_there_since_its_product_is_offline(cdse: CopernicusApp, hold: Hold) -> None:
    row = hold("S1A_LATE.SAFE", Online=False)
    nodes = cdse.node_url(row, "manifest.safe").partition("/Nodes(")[0]
    image = Product("S1A_LATE", f"s3://eodata/{row['Name']}", nodes, (), access())
    with pytest.raises(CorruptError, match="the product is offline") as caught:
        image.ipf()
    assert caught.value.where == "S1A_LATE.SAFE"


def test_what_is_in_a_folder_is_told_to_everybody(cdse: CopernicusApp, hold: Hold) -> None:
    row = hold()
    root = cdse.node_url(row, FILE).removesuffix("/$value").rpartition("/Nodes")[0].rpartition("/Nodes")[0]

    def names(url: str) -> list[str]:
        with answer("GET", f"{url}/Nodes", {}, Tries("test")) as response:
            return [one["Name"] for one in json.loads(response.read())["result"]]

    assert names(root.rpartition("/Nodes")[0]) == [row["Name"]]
    assert names(root) == ["manifest.safe", "measurement"]
    assert names(f"{root}/Nodes(measurement)") == ["vv.tiff"]
    assert names(f"{root}/Nodes(manifest.safe)") == []


def test_the_front_of_stac(cdse: CopernicusApp) -> None:
    seen = []

    def stac(method: str, target: str, body: bytes) -> Any:
        seen.append((method, target, body))
        return to_json({"type": "FeatureCollection", "features": [1, 2, 3]})

    def features() -> tuple[int, Any]:
        address = f"https://{cdse.host}/v1/search?limit=3"
        with answer("POST", address, {"Content-Type": "application/json"}, Tries("test"), body=b"{}") as response:
            return response.status, json.loads(response.read())["features"]

    cdse.stac = stac
    try:
        assert features() == (200, [1, 2, 3])
        assert seen == [("POST", "/search?limit=3", b"{}")]
        cdse.faults(faults.short_page(2), "stac")
        assert features() == (200, [1])
        for fault in (faults.gateway_page(), faults.rate_limited(0), faults.reset()):
            cdse.faults(fault, "stac")
        assert features() == (200, [1, 2, 3])
        assert cdse.counts["stac"] == 6
    finally:
        cdse.stac = ""
