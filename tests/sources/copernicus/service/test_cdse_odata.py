"""The catalogue by OData: all products of a filter, each once, or an error; what is offline; real records."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.core.errors import SourceError, TriedOut
from m3leo_prep.sources.copernicus.service import odata
from m3leo_prep.testing.copernicus import catalogue_odata
from m3leo_prep.testing.copernicus.app import CopernicusApp
from m3leo_prep.testing.copernicus.catalogue_odata import row_of
from m3leo_prep.testing.copernicus.filters import parsed
from m3leo_prep.testing.earthdata import faults

Hold = Callable[..., dict[str, Any]]
DAY = datetime(2023, 4, 1, tzinfo=UTC)
ALL = "Collection/Name eq 'SENTINEL-1'"


def many(app: CopernicusApp, count: int, *, per_moment: int = 1) -> list[str]:
    """Hold products in a random order, so many of them at each moment, and return their ids by time and id."""
    rows = [row_of(f"S1A_{k:05d}.SAFE", DAY + timedelta(seconds=k // per_moment)) for k in range(count)]
    random.Random(1).shuffle(rows)
    for row in rows:
        app.add(row)
    return [row["Id"] for row in sorted(rows, key=lambda row: (row["ContentDate"]["Start"], row["Id"]))]


@pytest.mark.parametrize("per_moment", [1, 7, 1700])
def test_2501_products_come_in_order_each_once(cdse: CopernicusApp, per_moment: int) -> None:
    wanted = many(cdse, 2501, per_moment=per_moment)
    found = odata.products(ALL)
    assert [product.id for product in found] == wanted
    assert cdse.counts["products"] == 3
    assert all(request.query["$orderby"] == ["ContentDate/Start asc"] for request in cdse.requests)


def test_more_than_can_be_skipped(cdse: CopernicusApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """``$skip`` ends at 10 000, here at 300."""
    monkeypatch.setattr(odata, "PAGE", 100)
    monkeypatch.setattr(catalogue_odata, "MOST_SKIP", 300)
    wanted = many(cdse, 503)
    assert [product.id for product in odata.products(ALL)] == wanted
    assert max(int(request.query["$skip"][0]) for request in cdse.requests) == 1


def test_without_an_order_pages_lose_products(cdse: CopernicusApp) -> None:
    """What the order is asked for against: the stand-in, as the real one, has none of its own."""
    from m3leo_prep.sources.copernicus.service.odata import _ask

    many(cdse, 200)
    found = [row["Id"] for skip in range(0, 200, 50) for row in _ask({"$top": 50, "$skip": skip})["value"]]
    assert len(found) == 200
    assert len(set(found)) < 200


@pytest.mark.parametrize(
    "fault",
    [faults.short_page(3), faults.repeated_page(), faults.twice(), faults.reordered_page()],
    ids=lambda fault: str(fault.kind),
)
@pytest.mark.parametrize("page", [0, 1, 2])
def test_a_page_that_is_wrong_once(
    cdse: CopernicusApp, fault: faults.Fault, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(odata, "PAGE", 100)
    wanted = many(cdse, 251)
    cdse.faults(fault, "products", skip=page)
    assert [product.id for product in odata.products(ALL)] == wanted


def test_a_list_that_never_comes_whole_is_an_error(cdse: CopernicusApp) -> None:
    many(cdse, 30)
    cdse.faults(faults.short_page(2), "products", times=None)
    with pytest.raises(TriedOut, match="30 products are counted, 28 are listed"):
        odata.products(ALL)


def test_none_found_is_no_error(cdse: CopernicusApp) -> None:
    many(cdse, 5)
    assert odata.products("Collection/Name eq 'SENTINEL-2'") == []
    assert odata.named(["S2A_NO.SAFE"]) == {}


def test_names_are_asked_for_in_few_requests(cdse: CopernicusApp) -> None:
    many(cdse, 60)
    names = [f"S1A_{k:05d}.SAFE" for k in range(45)]
    assert odata.named([*names, names[0], "S1A_NO.SAFE", "it's.SAFE"]).keys() == set(names)
    assert cdse.counts["products"] == 3


def test_what_is_offline_or_gone_cannot_be_fetched(cdse: CopernicusApp) -> None:
    cdse.add(row_of("A.SAFE", DAY))
    cdse.add(row_of("B.SAFE", DAY, Online=False))
    assert odata.offline(["A", "B", "C.SAFE", "A.SAFE"]) == ["B", "C.SAFE"]
    # One that was processed again under its name, and is there.
    cdse.add(row_of("B.SAFE", DAY, Id="00000000-0000-0000-0000-000000000000"))
    assert odata.offline(["B"]) == []


def test_attributes_size_and_checksum(cdse: CopernicusApp, hold: Hold) -> None:
    row = hold("A.SAFE", attributes={"relativeOrbitNumber": 88, "productType": "IW_GRDH_1S"})
    found = odata.named(["A.SAFE"], attributes=True)["A.SAFE"]
    assert found.attributes == {"relativeOrbitNumber": 88, "productType": "IW_GRDH_1S"}
    assert (found.size, found.checksum) == (row["ContentLength"], f"md5:{row['Checksum'][0]['Value']}")
    assert found.path == "A.SAFE"
    assert odata.named(["A.SAFE"])["A.SAFE"].attributes == {}
    # Both are unknown of many products: https://github.com/sentinelsat/sentinelsat/issues/583
    cdse.add(row_of("B.SAFE", DAY))
    bare = odata.named(["B.SAFE"])["B.SAFE"]
    assert (bare.size, bare.checksum) == (0, "")


@pytest.mark.parametrize(
    "fault", [faults.reset(), faults.gateway_page(), faults.rate_limited(0), faults.cut(100)], ids=lambda one: one.kind
)
def test_what_passes_is_asked_again(cdse: CopernicusApp, fault: faults.Fault) -> None:
    wanted = many(cdse, 3)
    cdse.faults(fault, "products")
    assert [product.id for product in odata.products(ALL)] == wanted
    assert cdse.counts["products"] == 2


def test_what_does_not_pass_is_told(cdse: CopernicusApp) -> None:
    with pytest.raises(SourceError, match="Invalid filter"):
        odata.products("Nonsense is nothing")
    assert cdse.counts["products"] == 1
    cdse.faults(faults.login_page(), "products")
    with pytest.raises(SourceError, match="no JSON"):
        odata.products(ALL)
    cdse.add({**row_of("A.SAFE", DAY), "ContentDate": {"Start": "yesterday"}})
    cdse.faults(faults.error(200, '{"value": [{"Id": "1"}], "@odata.count": 1}'), "products")
    with pytest.raises(SourceError, match="cannot be read"):
        odata.products(ALL)


def test_recorded_products_are_read(cdse: CopernicusApp, shared_data: Path) -> None:
    rows = [
        row
        for page in (1, 2, 5)
        for row in json.loads((shared_data / f"api/cdse_odata/odata_page_{page}.json").read_text())["value"]
    ]
    for row in rows:
        cdse.add({**row, "Collection": {"Name": "SENTINEL-1"}})
    found = odata.products(ALL, attributes=True)
    assert len(found) == len(rows) == 27
    first = next(product for product in found if product.name.startswith("S1A_AUX_INS_V20140406T010000_G20140409"))
    assert first.checksum == "md5:23383d85c5231487ce13d1c10aeb8e7b"
    assert (first.size, first.is_online) == (728976, True)
    assert first.path.startswith("Sentinel-1/AUX/AUX_INS/2014/04/06/")
    assert first.attributes["origin"] == "ESA"
    grd = [one for one in found if "relativeOrbitNumber" in one.attributes]
    assert all(isinstance(one.attributes["relativeOrbitNumber"], int) for one in grd)


def test_the_stand_ins_filters() -> None:
    square = {"type": "Polygon", "coordinates": [[[8, 44], [10, 44], [10, 46], [8, 46], [8, 44]]]}
    row = row_of("S1A_X.SAFE", DAY, attributes={"cloudCover": 12.5, "orbit": 5}, footprint=square)
    area = "OData.CSC.Intersects(area=geography'SRID=4326;POINT({} 45)')"
    kind = "OData.CSC.DoubleAttribute"
    cloud = f"Attributes/{kind}/any(att:att/Name eq 'cloudCover' and att/{kind}/Value {{}} 12.5)"
    for text, holds in {
        "": True,
        "contains(Name,'1A') and startswith(Name,'S1') and endswith(Name, '.SAFE')": True,
        "not contains(Name,'1A')": False,
        "Name eq 'a' or Name eq 'S1A_X.SAFE'": True,
        "(Name eq 'a' or Name eq 'b') and Online eq true": False,
        "ContentDate/Start ge 2023-04-01T00:00:00.000Z and ContentDate/Start lt 2023-04-01T00:00:00.001Z": True,
        "ContentDate/Start gt 2023-04-01T00:00:00.000Z": False,
        area.format(9): True,
        area.format(11): False,
        cloud.format("le"): True,
        cloud.format("lt"): False,
    }.items():
        assert parsed(text)(row) is holds, text
    for text in ("Name", "Name eq", "(Name eq 'a'", "Name eq 'a' Name", "Name is 'a'"):
        with pytest.raises((ValueError, KeyError)):
            parsed(text)(row)
