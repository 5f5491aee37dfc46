"""The stand-in and its example, asked by the real clients: pystac-client, odc-stac, obstore."""

import json
import runpy
import ssl
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import obstore
import pystac_client
import pytest
import rasterio
from obstore.exceptions import PermissionDeniedError
from obstore.store import S3Store

from m3leo_prep.testing.copernicus.__main__ import _greeting
from m3leo_prep.testing.copernicus.example import BOUNDS
from m3leo_prep.testing.copernicus.files.items import collection
from m3leo_prep.testing.copernicus.files.s2 import PITCHES, Scene, write
from m3leo_prep.testing.earthdata.faults import gateway_page, rate_limited

SCRIPT = Path(__file__).parents[2] / "scripts" / "live_cdse.py"
pytestmark = pytest.mark.filterwarnings("ignore:Server does not conform to SORT")
"""pystac-client 0.9 knows version 1.0.0 of that extension; the server tells 1.1.0."""


def client(copernicus, name="cdse"):
    """Return a STAC client that asks once."""
    address = {
        "cdse": f"https://{copernicus.app.host}/v1",
        "earth-search": copernicus.environment["M3LEO_PREP_EARTH_SEARCH"],
        "planetary-computer": copernicus.environment["M3LEO_PREP_PLANETARY_COMPUTER"],
    }[name]
    return pystac_client.Client.open(address)


def store(copernicus, bucket, **keys):
    return S3Store(
        bucket,
        endpoint=copernicus.objects.endpoint,
        region="default",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
        **(keys or {"skip_signature": True}),
    )


def read(address, authorities):
    """Return status and body."""
    trusting = ssl.create_default_context(cafile=authorities)
    try:
        with urllib.request.urlopen(address, context=trusting) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_pages_filters_and_orders_are_the_real_servers(copernicus_example):
    catalogue = client(copernicus_example)
    asked = {"collections": ["sentinel-2-l2a"], "bbox": BOUNDS}
    found = list(catalogue.search(**asked, limit=2, sortby="-properties.datetime").items())
    assert len(found) == 12
    assert len({item.id for item in found}) == 12
    assert [item.datetime for item in found] == sorted((item.datetime for item in found), reverse=True)
    assert len(copernicus_example.app.asked("stac")) >= 6  # a page of two each
    clear = list(catalogue.search(**asked, query={"eo:cloud_cover": {"lt": 99}}).items())
    assert {item.properties["eo:cloud_cover"] < 99 for item in clear} == {True}
    wanted = {"op": "=", "args": [{"property": "grid:code"}, "MGRS-31UGR"]}
    assert len(list(catalogue.search(**asked, filter=wanted).items())) == 3
    june = list(catalogue.search(**asked, datetime="2020-06-01/2020-06-30").items())
    assert {item.datetime.month for item in june} == {6}


def test_the_example_has_what_it_says(copernicus_example):
    optical = list(client(copernicus_example).search(collections=["sentinel-2-l2a"]).items())
    twice = [item for item in optical if item.datetime.month == 7]
    assert {item.properties["processing:version"] for item in twice} == {"02.14", "05.00"}
    assert {item.properties["eo:cloud_cover"] for item in optical if item.datetime.month == 8} == {100.0}
    assert {item.assets["B02_10m"].extra_fields["proj:code"] for item in optical} == {"EPSG:32631", "EPSG:32632"}
    radar = list(client(copernicus_example).search(collections=["sentinel-1-grd"]).items())
    assert {item.properties["sat:orbit_state"] for item in radar} == {"ascending", "descending"}
    assert sum(item.id.endswith("_COG") for item in radar) * 2 == len(radar) == 8
    told = _greeting(copernicus_example, empty=False)
    assert "sentinel-1-rtc     4 items, 2020-06-05 to 2020-07-12" in told
    assert f"--aoi {BOUNDS[0]}" in told


def test_odc_stac_loads_what_the_copies_hold(copernicus_example):
    import odc.stac as odc_stac  # takes seconds

    found = list(client(copernicus_example, "earth-search").search(collections=["sentinel-2-l2a"]).items())
    item = next(item for item in found if item.id == "S2A_32UKA_20200604_0_L2A")
    loaded = odc_stac.load([item], bands=["red", "scl"], patch_url=copernicus_example.local, resolution=20)
    assert loaded.sizes == {"y": 210, "x": 210, "time": 1}
    with rasterio.open(copernicus_example.local(item.assets["scl"].href)) as file:
        np.testing.assert_array_equal(loaded.scl[0], file.read(1))


def test_overlapping_tiles_and_both_archives_show_the_same_ground(copernicus_example):
    """Tile KV begins 1.5 km before KA ends; of one datatake their pixels there are equal."""
    found = {
        item.id: item
        for item in client(copernicus_example, "earth-search").search(collections=["sentinel-2-l2a"]).items()
    }
    images = {}
    for tile in ("32UKA", "32UKV"):
        with rasterio.open(copernicus_example.local(found[f"S2A_{tile}_20200604_0_L2A"].assets["red"].href)) as file:
            images[tile] = file.read(1)
    np.testing.assert_array_equal(images["32UKA"][-150:], images["32UKV"][:150])
    keys = dict(zip(("access_key_id", "secret_access_key"), copernicus_example.keys, strict=True))
    search = client(copernicus_example).search(collections=["sentinel-2-l2a"], datetime="2020-06-24")
    jpeg = next(item for item in search.items() if "32UKA" in item.id).assets["B04_10m"]
    data = obstore.get(store(copernicus_example, "eodata", **keys), jpeg.href.removeprefix("s3://eodata/")).bytes()
    assert len(data) == jpeg.extra_fields["file:size"]
    with rasterio.MemoryFile(bytes(data)) as memory, memory.open() as file:
        stored = file.read(1).astype(int)
    with rasterio.open(copernicus_example.local(found["S2A_32UKA_20200624_0_L2A"].assets["red"].href)) as file:
        np.testing.assert_array_equal(np.maximum(stored - 1000, 1), file.read(1))


def test_keys_open_the_archive_and_nobody_writes(copernicus_example):
    right = dict(zip(("access_key_id", "secret_access_key"), copernicus_example.keys, strict=True))
    key = next(iter(obstore.list(store(copernicus_example, "eodata", **right))))[0]["path"]
    for keys in ({}, right | {"secret_access_key": "wrong"}):
        with pytest.raises(PermissionDeniedError):
            obstore.head(store(copernicus_example, "eodata", **keys), key)
    assert obstore.head(store(copernicus_example, "eodata", **right), key)["size"] > 0
    with pytest.raises(PermissionDeniedError):
        obstore.put(store(copernicus_example, "eodata", **right), "mine", b"")
    public = store(copernicus_example, "copernicus-dem-30m")
    assert b"N49_00_E006_00" in bytes(obstore.get(public, "tileList.txt").bytes())
    with pytest.raises(PermissionDeniedError):
        obstore.put(public, "mine", b"")


def test_maps_are_as_large_as_the_real_ones_and_filled_here_only(copernicus_example):
    place = copernicus_example.local("s3://esa-worldcover/v200/2021/map/ESA_WorldCover_10m_2021_v200_N48E006_Map.tif")
    with rasterio.open(place) as file:
        assert file.shape == (36_000, 36_000)
        assert file.bounds == (6, 48, 9, 51)
        assert next(file.sample([(6.02, 49.58)]))[0] in {10, 20, 30, 40, 50, 60, 80, 90}
        assert next(file.sample([(8.0, 49.58)]))[0] == 0
    name = "Copernicus_DSM_COG_10_N49_00_E005_00_DEM"
    with rasterio.open(copernicus_example.local(f"s3://copernicus-dem-30m/{name}/{name}.tif")) as file:
        assert file.shape == (3600, 3600)
        assert file.xy(0, 0) == pytest.approx((5, 50), abs=1e-9)  # a pixel's centre is its place
        assert 100 < next(file.sample([(5.99, 49.58)]))[0] < 900


def test_files_of_planetary_computer_open_with_a_token_only(copernicus_example):
    search = client(copernicus_example, "planetary-computer").search(collections=["sentinel-1-rtc"])
    href = next(iter(search.items())).assets["vv"].href
    account, rest = href.removeprefix("https://").split(".blob.core.windows.net/")
    root = f"https://{copernicus_example.open_services.host}"
    authorities = copernicus_example.environment["SSL_CERT_FILE"]
    place = f"{root}/blob/{account}/{rest}"
    assert read(place, authorities)[0] == 409
    token = f"{root}/api/sas/v1/token/{account}/{rest.partition('/')[0]}"
    opened = json.loads(read(token, authorities)[1])["token"]
    status, data = read(f"{place}?{opened}", authorities)
    assert (status, data[:2]) == (200, b"II")
    copernicus_example.open_services.token_seconds = -60
    expired = json.loads(read(token, authorities)[1])["token"]
    copernicus_example.open_services.token_seconds = 3600
    assert read(f"{place}?{expired}", authorities)[0] == 403
    assert read(f"{token}-other", authorities)[0] == 404
    assert {request.route for request in copernicus_example.requests} >= {"planetary-computer", "sas", "blob"}


def test_every_question_of_the_live_script_is_answered(copernicus_example, capsys):
    """scripts/live_cdse.py, asked here: each answer is as m3leo-prep takes for granted."""
    names = runpy.run_path(str(SCRIPT))
    assert names["main"]() == 0
    said = capsys.readouterr().out
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(names["QUESTIONS"])
    assert [row[0].split()[2:] for row in rows] == [[] if row[2] == "only told" else ["yes"] for row in rows]
    assert "02.14: -0.1" in rows[1][3]
    assert copernicus_example.app.identity.user not in said
    names["main"].__globals__["QUESTIONS"] = (("a question", "an answer", lambda: (False, "another")),)
    assert names["main"]() == 1
    assert "| 1 **NO** | a question | an answer | another |" in capsys.readouterr().out


def test_a_product_of_ones_own_is_found_everywhere_and_faults_meet_their_route(copernicus, tmp_path):
    bands = {name: np.full((60 // PITCHES[name],) * 2, 0.2) for name in ("B02", "B05", "B09")}
    start = datetime(2021, 3, 4, 10, 30, 31, tzinfo=UTC)
    scene = Scene("32UKA", 32632, 282_780.0, 5_500_200.0, bands, np.full((3, 3), 4, np.uint8), start)
    copernicus.publish("cdse", [collection("sentinel-2-l2a", "of one")], [])
    copernicus.add(write(tmp_path, scene))
    item = next(iter(client(copernicus).search(collections=["sentinel-2-l2a"]).items()))
    host = f"https://{copernicus.app.host}/"
    assert item.assets["B02_10m"].extra_fields["alternate"]["https"]["href"].startswith(host)
    authorities = copernicus.environment["SSL_CERT_FILE"]
    status, data = read(f"{host}odata/v1/Products?$filter=Name%20eq%20'{scene.stem}.SAFE'", authorities)
    (row,) = json.loads(data)["value"]
    assert (status, row["S3Path"].rpartition("/")[2]) == (200, f"{scene.stem}.SAFE")
    assert item.assets["Product"].href == f"{host}odata/v1/Products({row['Id']})/$value"
    copernicus.faults(rate_limited(3), "stac")
    copernicus.faults(gateway_page(), "earth-search")
    assert read(f"{host}v1/collections", authorities)[0] == 429
    assert read(f"{host}v1/collections", authorities)[0] == 200
    other = copernicus.environment["M3LEO_PREP_EARTH_SEARCH"]
    assert read(other, authorities) == (502, gateway_page().text.encode())
    assert list(client(copernicus, "earth-search").get_collections()) == []
