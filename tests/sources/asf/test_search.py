"""Searching with the real client against the stand-in: complete or an error, exact, each granule once."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import shapely

from m3leo_prep.core.errors import RateLimited, SourceError, TriedOut
from m3leo_prep.testing.earthdata import (
    EarthdataStandIn,
    Fault,
    Granule,
    cut,
    error,
    gateway_page,
    rate_limited,
    reordered_page,
    repeated_page,
    reset,
    short_page,
    twice,
)

asf_search = pytest.importorskip("asf_search")

from m3leo_prep.sources.asf.service.search import search  # noqa: E402  (after the skip)

SQUARE = shapely.box(8, 44, 10, 46)
AREA = shapely.box(9, 45, 9.05, 45.05)
PAGE = 5
"""Granules on a page: few are quicker."""


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client ask for small pages."""
    import asf_search.CMR.translate as translate
    from asf_search.constants import INTERNAL

    monkeypatch.setattr(translate, "CMR_PAGE_SIZE", PAGE)
    monkeypatch.setattr(INTERNAL, "CMR_PAGE_SIZE", PAGE)


def _scene(number: int, footprint: shapely.Geometry = SQUARE, dataset: Any = "gunw", **more: Any) -> Granule:
    start = datetime(2024, 1, 1, 5, tzinfo=UTC) + timedelta(days=12 * (number % 20))
    attributes = {"PATH_NUMBER": 35 + number % 2, "ASCENDING_DESCENDING": "ascending"}
    name = more.pop("name", f"scene-{number:05}")
    return Granule(name, dataset, footprint, start, start + timedelta(seconds=30), attributes, **more)


@pytest.mark.usefixtures("small_pages")
def test_all_of_many_pages_in_order_and_one_granule_on_the_last(earthdata: EarthdataStandIn) -> None:
    earthdata.add(*[_scene(number) for number in range(51)])
    found = search("gunw", AREA, None, None)
    assert len({one.name for one in found}) == 51
    assert found == sorted(found, key=lambda one: (one.start, one.name))
    assert earthdata.counts == {"search": 11}


@pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") != "nightly", reason="the client reads 1,000 a second")
@pytest.mark.parametrize("count", [2501, 10_001])
def test_all_of_very_many(earthdata: EarthdataStandIn, count: int) -> None:
    earthdata.add(*[_scene(number) for number in range(count)])
    assert len({one.name for one in search("gunw", AREA, None, None)}) == count


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("fault", [short_page(), short_page(PAGE), repeated_page(), twice(), reordered_page()])
@pytest.mark.parametrize("page", [0, 2, 4])
def test_pages_that_do_not_fit_together_are_asked_for_again(
    earthdata: EarthdataStandIn, fault: Fault, page: int
) -> None:
    earthdata.add(*[_scene(number) for number in range(23)])
    earthdata.faults(fault, "search", skip=page)
    assert [one.name for one in search("gunw", AREA, None, None)] == sorted(
        (f"scene-{number:05}" for number in range(23)), key=lambda name: (int(name[-5:]) % 20, name)
    )


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("fault", [short_page(), short_page(PAGE), repeated_page(), twice()])
def test_pages_that_never_fit_together_are_an_error(earthdata: EarthdataStandIn, fault: Fault) -> None:
    earthdata.add(*[_scene(number) for number in range(23)])
    earthdata.faults(fault, "search", times=None, when=lambda request: len(earthdata.requests) % 5 == 3)
    earthdata.faults(fault, "search", times=None)
    with pytest.raises(TriedOut, match="do not fit together"):
        search("gunw", AREA, None, None)


def test_nothing_is_an_answer(earthdata: EarthdataStandIn) -> None:
    assert search("gunw", AREA, None, None) == []
    assert search("gunw", shapely.Polygon(), None, None) == []
    assert earthdata.counts == {"search": 1}


def test_footprints_are_tested_exactly(earthdata: EarthdataStandIn) -> None:
    """The catalogue is asked about a box; of an area with a corner missing, what lies in the corner is no answer."""
    corner = shapely.box(0.8, 0.8, 1, 1)
    area = shapely.box(0, 0, 1, 1).difference(shapely.box(0.7, 0.7, 1, 1))
    earthdata.add(_scene(1, corner), _scene(2, shapely.box(0.6, 0.6, 0.9, 0.9)), _scene(3, shapely.box(5, 5, 6, 6)))
    assert [one.name for one in search("gunw", area, None, None)] == ["scene-00002"]
    west, south, east, north = (float(side) for side in earthdata.requests[0].query["bounding_box"][0].split(","))
    assert shapely.box(west, south, east, north).covers(area)


def test_an_area_of_many_vertices_finds_what_touches_its_tips(earthdata: EarthdataStandIn) -> None:
    """The client would cut such tips off: D78."""
    teeth = [(x / 1000, 0.02 * (x % 2)) for x in range(1501)]
    area = shapely.Polygon([*teeth, (1.5, -1.0), (0.0, -1.0)])
    tip = shapely.box(0.7509, 0.0195, 0.7511, 0.03)
    earthdata.add(_scene(1, tip), _scene(2, shapely.box(0.7509, 0.0205, 0.7511, 0.03)))
    assert len(area.exterior.coords) > 1000
    assert [one.name for one in search("gunw", area, None, None)] == ["scene-00001"]


def test_a_granule_in_both_collections_is_found_once_as_the_newer_tells_of_it(earthdata: EarthdataStandIn) -> None:
    old = _scene(1, name="same", collection="SENTINEL-1_INTERFEROGRAMS")
    earthdata.add(old, _scene(1, name="same"), _scene(2, collection="SENTINEL-1_INTERFEROGRAMS"))
    found = {one.name: one for one in search("gunw", AREA, None, None)}
    assert sorted(found) == ["same", "scene-00002"]
    # The records of the older collection say what level they are of.
    assert found["same"].properties["processingLevel"] is None
    assert found["scene-00002"].properties["processingLevel"] == "GUNW_STD"


def test_static_layers_are_found_without_dates_only(earthdata: EarthdataStandIn) -> None:
    """They are dated years before any acquisition: D43."""
    day = datetime(2014, 4, 3, tzinfo=UTC)
    earthdata.add(Granule("static", "opera-rtc-static", SQUARE, day, day), _scene(1, dataset="opera-rtc"))
    found = search("opera-rtc-static", AREA, None, None)
    assert [(one.name, one.start, one.stop) for one in found] == [("static", day, day)]
    assert search("opera-rtc-static", AREA, datetime(2020, 1, 1), datetime(2021, 1, 1)) == []
    assert [one.name for one in search("opera-rtc", AREA, None, None)] == ["scene-00001"]


def test_times_are_utc_and_the_end_is_exclusive(earthdata: EarthdataStandIn) -> None:
    earthdata.add(*[_scene(number) for number in range(3)])  # days 1, 13 and 25 of January, at 05:00
    first = datetime(2024, 1, 13, 5, tzinfo=UTC)
    assert [one.name for one in search("gunw", AREA, first, first)] == []
    assert [one.name for one in search("gunw", AREA, first, first + timedelta(microseconds=1))] == ["scene-00001"]
    tokyo = timezone(timedelta(hours=9))
    start, end = datetime(2024, 1, 13, 14, tzinfo=tokyo), datetime(2024, 1, 13, 14, 1, tzinfo=tokyo)
    assert [one.name for one in search("gunw", AREA, start, end)] == ["scene-00001"]
    assert [one.name for one in search("gunw", AREA, start + timedelta(minutes=1), None)] == ["scene-00002"]


def test_other_options_of_the_client(earthdata: EarthdataStandIn) -> None:
    earthdata.add(*[_scene(number) for number in range(6)])
    assert len(search("gunw", AREA, None, None, relativeOrbit=36)) == 3
    # The client asks for each number on its own.
    assert len(search("gunw", AREA, None, None, relativeOrbit=[35, 36, 37])) == 6
    assert len(search("gunw", AREA, None, None, flightDirection="DESCENDING")) == 0


@pytest.mark.parametrize("dataset", ["slc", "grd", "burst"])
def test_what_hyp3_works_from(earthdata: EarthdataStandIn, dataset: Any, tmp_path: Path) -> None:
    end = {"slc": ".zip", "grd": ".zip", "burst": ".tiff"}[dataset]
    files = {f"S1A_1{end}": tmp_path / "a", **({"S1A_1.xml": tmp_path / "a"} if dataset == "burst" else {})}
    (tmp_path / "a").write_bytes(b"123")
    earthdata.add(_scene(1, dataset=dataset, name="S1A_1", files=files), _scene(2))
    (found,) = search(dataset, AREA, None, None)
    assert found.name == "S1A_1"
    assert [url.rpartition("/")[2] for url in found.urls] == list(files)
    assert set(found.size.values()) == {3}
    assert set(found.checksum.values()) == {"md5:202cb962ac59075b964b07152d234b70"}


@pytest.mark.parametrize(
    "fault", [rate_limited(), rate_limited(0), gateway_page(), gateway_page(504), error(503), reset(), cut(100)]
)
def test_what_may_pass_is_tried_again(earthdata: EarthdataStandIn, fault: Fault) -> None:
    earthdata.add(_scene(1))
    earthdata.faults(fault, "search", times=2)
    assert len(search("gunw", AREA, None, None)) == 1
    assert earthdata.counts == {"search": 3}


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (rate_limited(), RateLimited, "429 Too Many Requests"),
        (gateway_page(), TriedOut, "502 Bad Gateway"),
        (error(400, '{"errors": ["Parameter [x] was not recognized."]}'), SourceError, r"Parameter \[x\]"),
        (gateway_page(403), SourceError, "403 Forbidden"),
        (Fault("error", 200, "<html>"), SourceError, "cannot read"),
        (
            Fault("error", 200, '{"hits": 1, "items": [{"meta": {}, "umm": {}}]}', headers=(("CMR-Hits", "1"),)),
            SourceError,
            "does not say when",
        ),
        (Fault("error", 200, '{"hits": 1, "items": [{"meta": {}}]}'), SourceError, "cannot read"),
    ],
)
def test_what_does_not_pass_is_told(
    earthdata: EarthdataStandIn, fault: Fault, kind: type[Exception], text: str
) -> None:
    earthdata.faults(fault, "search", times=None)
    with pytest.raises(kind, match=text) as caught:
        search("gunw", AREA, None, None)
    assert type(caught.value) is kind
    assert earthdata.counts["search"] == (1 if kind is SourceError else 6)


def test_a_password_of_netrc_stays_at_home(
    earthdata: EarthdataStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    search("gunw", AREA, None, None)
    assert [request.authorized for request in earthdata.requests] == [False]


def test_a_certificate_that_is_not_trusted_is_final(
    earthdata: EarthdataStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    assert search("gunw", AREA, None, None) == []  # by SSL_CERT_FILE
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(SourceError, match="certificate is not trusted"):
        search("gunw", AREA, None, None)
    assert earthdata.counts == {"search": 1}


def test_a_connection_that_ends_while_it_is_encrypted_is_tried_again(
    earthdata: EarthdataStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's library calls both a certificate and this an error of TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = []

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                asked.append(connection.recv(2**16))
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        monkeypatch.setenv("M3LEO_PREP_EARTHDATA", f"localhost:{listener.getsockname()[1]}")
        with pytest.raises(TriedOut, match="6 times in a row"):
            search("gunw", AREA, None, None)
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert len(asked) == 6


@pytest.mark.usefixtures("small_pages")
def test_no_report_is_sent_to_anybody(earthdata: EarthdataStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    sent: list[Any] = []
    monkeypatch.setattr(requests, "post", lambda *given, **more: sent.append(given))
    earthdata.add(*[_scene(number) for number in range(12)])
    earthdata.faults(short_page(), "search")
    assert len(search("gunw", AREA, None, None)) == 12
    assert sent == []


def test_a_footprint_across_180_degrees_is_found_from_both_sides(earthdata: EarthdataStandIn) -> None:
    both = shapely.MultiPolygon([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)])
    earthdata.add(_scene(1, both))
    for area in (shapely.box(179.5, 0.2, 179.6, 0.3), shapely.box(-179.6, 0.2, -179.5, 0.3), both):
        (found,) = search("gunw", area, None, None)
        assert found.footprint.covers(both)
        assert found.footprint.symmetric_difference(both).area < 0.001


@pytest.mark.parametrize(
    ("lost", "text"), [("SpatialExtent", "where it lies"), ("TemporalExtent", "when it was acquired")]
)
def test_a_record_that_lacks_what_is_needed_is_told(lost: str, text: str) -> None:
    from m3leo_prep.sources.asf.service.found import told

    umm = _scene(1).record(1, "https://localhost")["umm"]
    with pytest.raises(SourceError, match=text):
        told({key: value for key, value in umm.items() if key != lost}, {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"TemporalExtent": {"SingleDateTime": "yesterday"}},
        {"RelatedUrls": [{"Type": "GET DATA"}]},
        {"AdditionalAttributes": None},
        {
            "SpatialExtent": {
                "HorizontalSpatialDomain": {"Geometry": {"GPolygons": [{"Boundary": {"Points": [{"Longitude": 1}]}}]}}
            }
        },
    ],
)
def test_a_record_that_cannot_be_read_is_told(wrong: dict[str, Any]) -> None:
    from m3leo_prep.sources.asf.service.found import told

    with pytest.raises(SourceError, match="cannot be read") as caught:
        told(_scene(1).record(1, "https://localhost")["umm"] | wrong, {})
    assert caught.value.where == "scene-00001"


Reader = Callable[[str], Any]


@pytest.fixture
def recorded(shared_data: Path) -> Reader:
    """Return what reads a file of recorded records."""
    import yaml

    return lambda file: yaml.safe_load((shared_data / "api" / "asf" / file).read_text())


def test_recorded_gunw(recorded: Reader) -> None:
    from m3leo_prep.sources.asf.service.found import told

    record = recorded("ARIAS1-GUNW_response.yml")
    found = told(record["umm"], record["properties"])
    name = "S1-GUNW-A-R-035-tops-20240816_20230717-020815-00124W_00037N-PP-cf9c-v3_0_1"
    url = f"https://grfn.asf.alaska.edu/door/download/{name}.nc"
    assert (found.name, found.urls) == (name, (url,))
    assert found.size == {url: 136887876}
    assert found.checksum == {url: "md5:1da292d57037f6a3aabcbe2f0e513a5b"}
    assert (found.start, found.stop) == (
        datetime(2024, 8, 16, 2, 7, 49, tzinfo=UTC),
        datetime(2024, 8, 16, 2, 8, 41, tzinfo=UTC),
    )
    assert found.properties["TEMPORAL_BASELINE_DAYS"] == "396"
    assert found.properties["pathNumber"] == 35
    assert found.footprint.is_valid
    corners = record["umm"]["SpatialExtent"]["HorizontalSpatialDomain"]["Geometry"]["GPolygons"][0]["Boundary"][
        "Points"
    ]
    outline = shapely.Polygon([(one["Longitude"], one["Latitude"]) for one in corners])
    assert found.footprint.covers(outline)
    assert found.footprint.area == pytest.approx(outline.area, rel=0.001)


def test_recorded_opera(recorded: Reader) -> None:
    from m3leo_prep.sources.asf.service.found import told

    records = {record["properties"]["processingLevel"]: record for record in recorded("OPERA_Products.yml")}
    images = told(records["RTC"]["umm"], records["RTC"]["properties"])
    ends = sorted(url.rpartition("_")[2] for url in images.urls)
    assert [end for end in ends if end.endswith(".tif")] == ["VH.tif", "VV.tif", "mask.tif"]
    assert set(images.checksum) == set(images.size) == set(images.urls)
    assert all(url.startswith("https://") for url in images.urls)
    static = told(records["RTC-STATIC"]["umm"], records["RTC-STATIC"]["properties"])
    assert static.start == static.stop == datetime(2014, 4, 3, tzinfo=UTC)
    # This record's polygons are wrong: each goes from 180 degrees nearly around half of the world. We keep them: what
    # they say too much costs a question, what they said too little would cost data.
    assert len(static.footprint.geoms) == 2


def test_recorded_scene_of_sentinel_1(recorded: Reader) -> None:
    from m3leo_prep.sources.asf.service.found import told

    record = recorded("S1_response.yml")
    found = told(record["umm"], record["properties"])
    assert list(found.size.values()) == [885840896]
    assert list(found.checksum.values()) == ["md5:ae94d5f09bb00118e2c1429de067fad4"]
