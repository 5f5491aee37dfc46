"""One granule as the catalogue tells of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import SourceError
from m3leo_prep.sources.asf.service.outlines import both_readings

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

_FILES = frozenset({"GET DATA", "USE SERVICE API"})
"""Types of addresses where files are; bursts are cut out by a service."""
_LONG = frozenset({"additionalUrls", "browse", "s3Urls"})
"""Of the client's properties: of OPERA's bursts some kilobytes each, and of no use here."""
_HALF_TURN = 180.0


@dataclass(frozen=True, slots=True)
class Found:
    """One granule."""

    name: str
    """The scene's."""
    urls: tuple[str, ...]
    """Of its files, by https."""
    footprint: BaseGeometry
    """Valid lon/lat polygons, inside -180...180: all that is inside by either reading of edges, see ``outlines``."""
    start: datetime
    """UTC."""
    stop: datetime
    size: Mapping[str, int]
    """Bytes by address, where the catalogue says."""
    checksum: Mapping[str, str]
    """``md5:HEX`` or ``sha256:HEX`` by address, where the catalogue says."""
    properties: Mapping[str, Any]
    """As ``asf_search`` names them, such as ``pathNumber``; and the record's additional attributes by their own names,
    such as ``TEMPORAL_BASELINE_DAYS``, several values as a list."""

    def said(self, key: str) -> Any:
        """Return one of its properties, which the catalogue must tell.

        Raises:
            SourceError: it does not.
        """
        value = self.properties.get(key)
        if value is None:
            raise SourceError(f"the catalogue does not say its {key}", where=self.name, hint="report it to ASF")
        return value


def told(umm: Mapping[str, Any], properties: Mapping[str, Any]) -> Found:
    """Return a granule from its record.

    Args:
        umm: the record, UMM-G 1.6 (https://cdn.earthdata.nasa.gov/umm/granule/v1.6.6).
        properties: what ``asf_search`` made of it.

    Raises:
        SourceError: the record does not say where or when, or not so that it can be read.
    """
    name = str(properties.get("sceneName") or umm.get("GranuleUR") or "a granule without a name")
    try:
        return _told(name, umm, properties)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        text = f"the catalogue's record cannot be read: {type(error).__name__}: {error}"
        raise SourceError(text, where=name, hint="report it to ASF") from error


def _told(name: str, umm: Mapping[str, Any], properties: Mapping[str, Any]) -> Found:
    start, stop = _times(umm, name)
    attributes = {one["Name"]: one.get("Values", []) for one in umm.get("AdditionalAttributes", ())}
    given = {key: values[0] if len(values) == 1 else values for key, values in attributes.items()}
    links = [one["URL"] for one in umm.get("RelatedUrls", ()) if one.get("Type") in _FILES]
    urls = tuple(dict.fromkeys(url for url in links if url.startswith("https://")))
    size, checksum = _files(umm, urls, given)
    kept = {key: value for key, value in properties.items() if key not in _LONG}
    return Found(name, urls, _footprint(umm, name), start, stop, size, checksum, given | kept)


def _times(umm: Mapping[str, Any], name: str) -> tuple[datetime, datetime]:
    extent = umm.get("TemporalExtent", {})
    span = extent.get("RangeDateTime", {})
    start = span.get("BeginningDateTime") or extent.get("SingleDateTime")
    if start is None:
        raise SourceError("the catalogue does not say when it was acquired", where=name, hint="report it to ASF")
    return _time(start), _time(span.get("EndingDateTime") or start)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _files(
    umm: Mapping[str, Any], urls: Sequence[str], attributes: Mapping[str, Any]
) -> tuple[dict[str, int], dict[str, str]]:
    """Return bytes and checksums by address: of older records, those of the only file are additional attributes."""
    told = {one["Name"]: one for one in umm.get("DataGranule", {}).get("ArchiveAndDistributionInformation", ())}
    size: dict[str, int] = {}
    checksum: dict[str, str] = {}
    for url in urls:
        one = told.get(url.rpartition("/")[2], {})
        if count := int(one.get("SizeInBytes") or 0):
            size[url] = count
        kind, value = (one.get("Checksum", {}).get(key, "") for key in ("Algorithm", "Value"))
        if kind in {"MD5", "SHA-256"}:
            checksum[url] = f"{kind.replace('-', '').lower()}:{value.lower()}"
    if len(urls) == 1:
        if urls[0] not in size and str(attributes.get("BYTES", "")).isdigit():
            size[urls[0]] = int(attributes["BYTES"])
        if urls[0] not in checksum and attributes.get("MD5SUM"):
            checksum[urls[0]] = f"md5:{attributes['MD5SUM'].lower()}"
    return size, checksum


def _footprint(umm: Mapping[str, Any], name: str) -> BaseGeometry:
    """Return all polygons of the record: ``asf_search`` takes the first, which is half of what crosses 180 degrees."""
    import shapely

    from m3leo_prep.core.polygons import clean

    shape = umm.get("SpatialExtent", {}).get("HorizontalSpatialDomain", {}).get("Geometry", {})
    parts = list(_polygons(shape))
    boxes = list(_boxes(shape))
    if not parts + boxes:
        raise SourceError("the catalogue does not say where it lies", where=name, hint="report it to ASF")
    jumps = any(part.bounds[2] - part.bounds[0] > _HALF_TURN for part in parts)
    if jumps or not all(part.is_valid for part in parts):
        whole = clean(shapely.MultiPolygon(parts), where=name)[0]
        parts = list(getattr(whole, "geoms", [whole]))
    return shapely.union_all([*map(both_readings, parts), *boxes])


def _polygons(shape: Mapping[str, Any]) -> Iterator[Any]:
    from shapely import Polygon

    for one in shape.get("GPolygons", ()):
        yield Polygon([(point["Longitude"], point["Latitude"]) for point in one["Boundary"]["Points"]])


def _boxes(shape: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what is said as rectangles, whose edges follow the parallels."""
    from shapely import box

    for one in shape.get("BoundingRectangles", ()):
        sides = (one[f"{side}BoundingCoordinate"] for side in ("West", "South", "East", "North"))
        west, south, east, north = sides
        yield from (
            [box(west, south, east, north)]
            if west <= east
            else [
                box(west, south, _HALF_TURN, north),
                box(-_HALF_TURN, south, east, north),
            ]
        )
