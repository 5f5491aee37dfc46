"""OData's answers of the stand-in: pages of products.

https://documentation.dataspace.copernicus.eu/APIs/OData.html: ``$top`` 0...1000 (20), ``$skip`` 0...10000 (0),
``$orderby`` of four times, ties by id; without it pages are in no order.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from m3leo_prep.testing.answers import Answer, to_json
from m3leo_prep.testing.copernicus.filters import parsed

MOST_ROWS, MOST_SKIP = 1000, 10_000
ORDERS = ("ContentDate/Start", "ContentDate/End", "PublicationDate", "ModificationDate")


def row_of(
    name: str,
    start: datetime,
    *,
    archive: Path | None = None,
    seconds: float = 25.0,
    collection: str = "SENTINEL-1",
    attributes: Mapping[str, Any] | None = None,
    footprint: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return a product as the catalogue tells of it, with the keys of the recorded ones.

    Args:
        name: of the product, with ``.SAFE``.
        start: begin of the acquisition, UTC.
        archive: what ``$value`` sends: its size and MD5 are told; None = the catalogue does not know them.
        seconds: that the acquisition lasts.
        collection: for ``Collection/Name``.
        attributes: by name.
        footprint: GeoJSON.
        more: in place of what is worked out, such as ``Online=False``.
    """
    data = b"" if archive is None else archive.read_bytes()
    kinds = {int: "Integer", float: "Double", str: "String"}
    checksum = {"Value": hashlib.md5(data, usedforsecurity=False).hexdigest(), "Algorithm": "MD5"}
    return {
        "@odata.mediaContentType": "application/octet-stream",
        "Id": str(more.get("Id") or _id(name)),
        "Name": name,
        "ContentType": "application/octet-stream",
        "ContentLength": len(data),
        "PublicationDate": _moment(start + timedelta(hours=6)),
        "ModificationDate": _moment(start + timedelta(hours=6)),
        "Online": True,
        "S3Path": f"/eodata/{name}",
        "Checksum": [checksum] if data else [],
        "ContentDate": {"Start": _moment(start), "End": _moment(start + timedelta(seconds=seconds))},
        "GeoFootprint": footprint,
        "Collection": {"Name": collection},
        "Attributes": [
            {"Name": key, "Value": value, "ValueType": kinds[type(value)]} for key, value in (attributes or {}).items()
        ],
    } | more


def page(rows: Sequence[Mapping[str, Any]], query: Mapping[str, Sequence[str]], base: str) -> Answer:
    """Return the page of products that is asked for.

    Args:
        rows: all that are held.
        query: of the address.
        base: address of the service, for the link to the next page.
    """
    asked = {key: values[0] for key, values in query.items()}
    top, skip = int(asked.get("$top", 20)), int(asked.get("$skip", 0))
    by, _, direction = asked.get("$orderby", "").partition(" ")
    for fault in (
        not 0 <= top <= MOST_ROWS and f"$top must be between 0 and {MOST_ROWS}",
        not 0 <= skip <= MOST_SKIP and f"$skip must be between 0 and {MOST_SKIP}",
        by and by not in ORDERS and f"$orderby {by} is not known",
        direction not in {"", "asc", "desc"} and f"$orderby {direction} is not known",
    ):
        if fault:
            return to_json({"detail": f"Value error, {fault}"}, 422)
    try:
        passes = parsed(asked.get("$filter", ""))
        found = [row for row in rows if passes(row)]
    except (ValueError, KeyError) as error:
        return to_json({"detail": f"Invalid filter: {error}"}, 400)
    if by:
        found.sort(key=lambda row: (_at(row, by), row["Id"]), reverse=direction == "desc")
    else:
        random.shuffle(found)
    hidden = {"Collection"} | (set() if "Attributes" in asked.get("$expand", "") else {"Attributes"})
    shown = [{key: value for key, value in row.items() if key not in hidden} for row in found[skip : skip + top]]
    answer: dict[str, Any] = {"@odata.context": "$metadata#Products", "value": shown}
    if asked.get("$count", "").lower() in {"true", "1"}:
        answer["@odata.count"] = len(found)
    if skip + top < len(found):
        following = {**asked, "$skip": str(skip + top), "$top": str(top)}
        following.pop("$count", None)
        answer["@odata.nextLink"] = f"{base}/odata/v1/Products?{urlencode(following, quote_via=quote)}"
    return to_json(answer)


def _at(row: Mapping[str, Any], path: str) -> str:
    value: Any = row
    for part in path.split("/"):
        value = value[part]
    return str(value)


def _moment(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _id(name: str) -> str:
    digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:]))
