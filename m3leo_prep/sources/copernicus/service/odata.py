"""The catalogue by OData: what STAC does not tell of a product, such as whether it can be fetched at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from m3leo_prep.core.errors import SourceError, TriedOut
from m3leo_prep.sources.copernicus.service.hosts import hosts

WHERE = "the catalogue of the Copernicus Data Space"
PAGE = 1000
"""Products of one answer, at most: ``$top`` of https://documentation.dataspace.copernicus.eu/APIs/OData.html."""
NAMES = 20
"""Asked for at once: an address of about 2 kB."""
LOOKS = 3
"""At a list that comes incomplete, as where products are published meanwhile."""


@dataclass(frozen=True, slots=True)
class Product:
    """One product: a folder ``.SAFE``."""

    id: str
    name: str
    start: datetime
    """UTC."""
    is_online: bool
    """It can be fetched; another one lies in an archive and must be ordered in the Data Workspace first."""
    size: int = 0
    """Bytes of the archive that is downloaded; 0 = the catalogue does not know, which is no fault."""
    checksum: str = ""
    """``md5:HEX`` of the same, or nothing."""
    path: str = ""
    """Of the folder in the bucket ``eodata``."""
    attributes: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """By name, such as ``relativeOrbitNumber``; only of a list that asked for them."""


def products(where: str, *, attributes: bool = False) -> list[Product]:
    """Return all products of a filter, by time and then id, each once.

    Args:
        where: a filter in the catalogue's language, such as ``Collection/Name eq 'SENTINEL-1' and ...``.
        attributes: ask for these, too.

    Raises:
        SourceError: the catalogue refuses the filter, or answers nonsense.
        TriedOut, RateLimited: it does not answer, or never with all that it counts.
    """
    for _ in range(LOOKS):
        found, total = _all(where, attributes=attributes)
        if len(found) == total:
            return sorted(found, key=lambda product: (product.start, product.id))
    raise TriedOut(
        f"{total} products are counted, {len(found)} are listed", where=WHERE, hint="run the same command again later"
    )


def named(names: Iterable[str], *, attributes: bool = False) -> dict[str, Product]:
    """Return products by name; those that the catalogue does not have are left out. Errors are those of ``products``.

    Of two with one name it is one that can be fetched, else the last one by id.
    """
    wanted = list(dict.fromkeys(names))
    found: list[Product] = []
    for first in range(0, len(wanted), NAMES):
        where = " or ".join(f"Name eq {text(name)}" for name in wanted[first : first + NAMES])
        found += products(f"({where})", attributes=attributes)
    return {product.name: product for product in sorted(found, key=lambda one: (one.is_online, one.id))}


def offline(names: Iterable[str]) -> list[str]:
    """Return which of these products cannot be fetched, in their order. Errors are those of ``products``.

    A name without ``.SAFE`` is that of a STAC item; one that the catalogue does not have cannot be fetched either.
    """
    asked = {name: name if name.endswith(".SAFE") else f"{name}.SAFE" for name in names}
    found = named(asked.values())
    return [name for name, full in asked.items() if full not in found or not found[full].is_online]


def text(value: str) -> str:
    """Return a value as the filter language writes it."""
    return "'" + value.replace("'", "''") + "'"


def _all(where: str, *, attributes: bool) -> tuple[list[Product], int]:
    """Return the products of all pages, and how many the catalogue counts.

    Each page begins where the one before ended in time: ``$skip`` goes to 10 000 only, and its pages are in no order
    unless one is asked for. Products of one instant are in the order of their ids.
    """
    found: dict[str, Product] = {}
    since, skip, total = "", 0, -1
    while True:
        query: dict[str, Any] = {
            "$filter": f"({where}) and ContentDate/Start ge {since}" if since else where,
            "$orderby": "ContentDate/Start asc",
            "$top": PAGE,
            "$skip": skip,
        }
        query |= {"$expand": "Attributes"} if attributes else {}
        page = _ask(query if since else {**query, "$count": "True"})
        rows, before = [_product(row) for row in page.get("value", ())], len(found)
        total = int(page.get("@odata.count", -1)) if total < 0 else total
        found |= {row.id: row for row in rows}
        if "@odata.nextLink" not in page or len(found) == before:
            return list(found.values()), total
        last = max(row.start for row in rows)
        since = f"{last:%Y-%m-%dT%H:%M:%S.%fZ}"
        skip = sum(row.start == last for row in found.values())


def _ask(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer's JSON."""
    from m3leo_prep.sources.http.hops import follow
    from m3leo_prep.sources.http.patience import Tries
    from urllib3.exceptions import HTTPError  # isort: skip  (the first import explains its absence)

    tries = Tries(WHERE)
    address = f"{hosts().odata_url}/Products?{urlencode(query, quote_via=quote)}"
    while True:
        cut = False
        found = None
        with follow(address, {"Accept": "application/json"}, tries, None) as landing:
            status = landing.response.status
            try:
                found = json.loads(landing.response.read())
            except HTTPError:
                cut = True
            except ValueError:
                pass
        if cut:
            tries.failed("the connection was cut")
            continue
        if status != HTTPStatus.OK:
            detail = found.get("detail") if isinstance(found, dict) else None
            raise SourceError(f"the server answers {status}{f': {detail}' if detail else ''}", where=WHERE)
        if not isinstance(found, dict):
            raise SourceError("the answer is no JSON object", where=WHERE)
        return found


def _product(row: Mapping[str, Any]) -> Product:
    """Return a product as the catalogue tells of it."""
    try:
        sums: Sequence[Mapping[str, str]] = row.get("Checksum") or ()
        md5 = next((one["Value"].lower() for one in sums if one.get("Algorithm") == "MD5" and one.get("Value")), "")
        return Product(
            str(row["Id"]),
            str(row["Name"]),
            datetime.fromisoformat(row["ContentDate"]["Start"]).astimezone(UTC),
            bool(row["Online"]),
            int(row.get("ContentLength") or 0),
            f"md5:{md5}" if md5 else "",
            str(row.get("S3Path") or "").strip("/").removeprefix("eodata/"),
            {one["Name"]: one["Value"] for one in row.get("Attributes") or ()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"a product cannot be read ({type(error).__name__}: {error})", where=WHERE) from None
