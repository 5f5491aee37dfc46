"""The stand-in's records against recorded ones: the client reads the same from both."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import shapely
import yaml

from m3leo_prep.testing.earthdata import Granule

asf_search = pytest.importorskip("asf_search")

OURS = {"url", "fileName", "bytes", "md5sum", "additionalUrls", "s3Urls", "browse"} | {
    "processingDate",
    "pgeVersion",
    "centerLon",
}
"""What depends on the host, on files, on how they were made, and on which of two polygons comes first."""


def _recorded(folder: Path, file: str, level: str = "") -> dict[str, Any]:
    """Return the first record of a file, of a level if one is given."""
    records = yaml.safe_load((folder / "api" / "asf" / file).read_text())
    if isinstance(records, dict):
        return records
    return next(record for record in records if record["properties"]["processingLevel"] == level)


def _same(recorded: dict[str, Any], dataset: str) -> Granule:
    """Return a granule that says what a recorded one does."""
    umm = recorded["umm"]
    extent = umm["TemporalExtent"]
    span = extent.get("RangeDateTime", {})
    start = datetime.fromisoformat(span.get("BeginningDateTime") or extent["SingleDateTime"])
    stop = datetime.fromisoformat(span["EndingDateTime"]) if span else start
    rings = umm["SpatialExtent"]["HorizontalSpatialDomain"]["Geometry"]["GPolygons"]
    footprint = shapely.union_all(
        [shapely.Polygon([(p["Longitude"], p["Latitude"]) for p in ring["Boundary"]["Points"]]) for ring in rings]
    )
    identifiers = umm.get("DataGranule", {}).get("Identifiers", [])
    names = [one["Identifier"] for one in identifiers if one["IdentifierType"] == "ProducerGranuleId"]
    attributes = {one["Name"]: one["Values"] for one in umm["AdditionalAttributes"]}
    orbits = [str(one["OrbitNumber"]) for one in umm["OrbitCalculatedSpatialDomains"]]
    name = names[0] if names else umm["GranuleUR"]
    short_name = umm["CollectionReference"]["ShortName"]
    inputs = umm.get("InputGranules", [])
    return Granule(
        name, dataset, footprint, start, stop, {**attributes, "ORBIT": orbits}, collection=short_name, inputs=inputs
    )


def _read(record: dict[str, Any]) -> Any:
    from asf_search.search.search_generator import as_ASFProduct

    return as_ASFProduct(json.loads(json.dumps(record)), asf_search.ASFSession())


@pytest.mark.parametrize(
    ("file", "level", "dataset"),
    [
        ("ARIAS1-GUNW_response.yml", "", "gunw"),
        ("OPERA_Products.yml", "RTC", "opera-rtc"),
        ("OPERA_Products.yml", "RTC-STATIC", "opera-rtc-static"),
        ("SLC_BURST.yml", "", "burst"),
        ("S1_response.yml", "", "grd"),
    ],
)
def test_the_client_reads_the_same_from_a_record_as_from_a_recorded_one(
    shared_data: Path, file: str, level: str, dataset: str
) -> None:
    recorded = _recorded(shared_data, file, level)
    granule = _same(recorded, dataset)
    # The recorded ones have no collection's id, by which the client knows OPERA's.
    recorded["meta"]["collection-concept-id"] = granule.concept
    if dataset == "burst":  # the client wants two addresses of bursts
        files = {f"{granule.name}.tiff": Path(__file__), f"{granule.name}.xml": Path(__file__)}
        granule = Granule(**{**_fields(granule), "files": files})
    theirs, ours = _read(recorded), _read(granule.record(0, "https://localhost:1"))
    assert type(ours) is type(theirs)
    assert ours.geometry["coordinates"]
    assert theirs.geometry["coordinates"]
    for key, value in theirs.properties.items():
        if value is not None and key not in OURS:
            assert ours.properties[key] == (pytest.approx(value) if key == "centerLat" else value), key
    for key in OURS & {"url", "fileName", "bytes"}:
        assert (ours.properties[key] is None) <= (theirs.properties[key] is None), key
    kept = {"UMM-G"} | set(recorded["umm"]) - {"ProviderDates", "PGEVersionClass", "Projects", "AccessConstraints"}
    assert kept - {"UMM-G"} <= set(granule.record(0, "")["umm"])


def _fields(granule: Granule) -> dict[str, Any]:
    return {name: getattr(granule, name) for name in Granule.__dataclass_fields__}


def test_a_record_tells_of_its_files_with_size_and_checksum(tmp_path: Path) -> None:
    file = tmp_path / "a.nc"
    file.write_bytes(b"123456789")
    start = datetime(2020, 1, 1, tzinfo=UTC)
    granule = Granule("a", "gunw", shapely.box(0, 0, 1, 1), start, start, files={"a.nc": file})
    record = granule.record(7, "https://localhost:1")
    product = _read(record)
    assert product.properties["bytes"] == 9
    # MD5 of "123456789", https://www.rfc-editor.org/rfc/rfc1321 has such tests
    assert product.properties["md5sum"] == "25f9e794323b453885f5181f1b624d0b"
    assert product.properties["url"] == "https://localhost:1/gunw/a.nc"
    assert record["meta"]["concept-id"] == "G3000000007-ASF"


def test_what_crosses_180_degrees_is_told_of_in_two_polygons() -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    footprint = shapely.MultiPolygon([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)])
    umm = Granule("a", "slc", footprint, start, start).record(0, "")["umm"]
    rings = umm["SpatialExtent"]["HorizontalSpatialDomain"]["Geometry"]["GPolygons"]
    assert len(rings) == 2
    for ring in rings:
        points = [(point["Longitude"], point["Latitude"]) for point in ring["Boundary"]["Points"]]
        assert points[0] == points[-1]
        assert shapely.LinearRing(points).is_ccw
