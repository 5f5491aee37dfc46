"""Ask the Copernicus Data Space, Earth Search, Planetary Computer and public buckets what no stand-in can show.

Some forty small requests, about a megabyte. Prints a report to paste into an issue; nothing in it is secret, and
nothing is ordered. Four questions need a login at the Data Space: ``m3leo-prep login copernicus``. Run it with
``make live-cdse``.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import shapely

from m3leo_prep.core.errors import PrepError
from m3leo_prep.sources.copernicus.service import odata
from m3leo_prep.sources.copernicus.service.access import access, address
from m3leo_prep.sources.copernicus.service.login import probe
from m3leo_prep.sources.remote import files, objects
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.sources.remote.rasters import open_remote
from m3leo_prep.sources.stac.catalogues import catalogue
from m3leo_prep.sources.stac.found import Found
from m3leo_prep.sources.stac.search import search

AREA = shapely.box(6.005, 49.585, 6.03, 49.6)
"""Luxembourg, where the UTM zones 31 and 32 meet."""
JUNE = datetime(2020, 6, 1, tzinfo=UTC), datetime(2020, 7, 1, tzinfo=UTC)
JP2 = b"\x00\x00\x00\x0cjP  "
MAP = "s3://esa-worldcover/v200/2021/map"
LIMIT = 2**22
"""Bytes of a text file, at most."""
Answer = tuple[bool | None, str]
"""Whether it is as m3leo-prep takes for granted (None: only told), and what was seen."""


def main() -> int:
    """Print the report; return how many answers differ from what is taken for granted."""
    print(f"# Copernicus Data Space and open catalogues, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n")
    print("| | question | taken for granted | seen |\n|---|---|---|---|")
    wrong = 0
    for number, (question, expected, ask) in enumerate(QUESTIONS, 1):
        try:
            fine, seen = ask()
        except PrepError as error:
            fine, seen = False, f"failed: {error.message}"
        wrong += fine is False
        print(f"| {number} {'' if fine is None else 'yes' if fine else '**NO**'} | {question} | {expected} | {seen} |")
    print(f"\n{wrong} of {len(QUESTIONS)} are not as expected." if wrong else "\nAll as expected.")
    return wrong


@cache
def _found(name: str, product: str) -> list[Found]:
    where = catalogue(name)
    return search(where, [where.collection(product)], AREA, *JUNE)


def _open(region: str) -> Access:
    return Access("public", os.environ.get("M3LEO_PREP_OPEN_S3", "").rstrip("/"), region)


def _optical() -> Answer:
    found = _found("cdse", "s2-l2a")
    tiles = sorted({str(one.properties.get("grid:code")) for one in found})
    wanted = {"B02_10m", "B05_20m", "SCL_20m", "product_metadata"}
    fine = bool(found) and all(wanted <= set(one.assets) for one in found)
    return fine, f"{len(found)} items of {', '.join(tiles)}"


def _offsets() -> Answer:
    told = Counter(
        f"{one.properties.get('processing:version')}: {one.assets['B02_10m'].properties.get('raster:offset')}"
        for one in _found("cdse", "s2-l2a")
    )
    return None, "; ".join(f"{text} ({count})" for text, count in sorted(told.items()))


def _radar() -> Answer:
    found = _found("cdse", "s1-grd")
    copies = sum(one.id.endswith("_COG") for one in found)
    fine = bool(found) and all({"vv", "schema-product-vv", "schema-noise-vv"} <= set(one.assets) for one in found)
    return fine, f"{len(found)} items, {copies} of them copies in COG"


def _login() -> Answer:
    return True, probe().partition(",")[0]  # without the user's name


def _band() -> Answer:
    way, asset = access(), _found("cdse", "s2-l2a")[0].assets["B02_10m"]
    head, size = files.head(address(asset, way), 64, way)
    opened = open_remote(address(asset, way), way)
    by = "the object store" if way.keys is not None else "https"
    return head.startswith(JP2) and size == asset.properties.get("file:size"), f"{size:,} B, {opened.shape}, by {by}"


def _metadata() -> Answer:
    way, one = access(), _found("cdse", "s2-l2a")[0]
    text = files.whole(address(one.assets["product_metadata"], way), way, limit=LIMIT)
    return b"<PROCESSING_BASELINE>" in text, f"{len(text):,} B, BOA_ADD_OFFSET {b'BOA_ADD_OFFSET' in text}"


def _grd() -> Answer:
    way = access()
    one = next(one for one in _found("cdse", "s1-grd") if one.id.endswith("_COG"))
    opened = open_remote(address(one.assets["vv"], way), way)
    return len(opened.gcps) > 0, f"{opened.shape}, {len(opened.gcps)} control points"


def _odata() -> Answer:
    name = f"{_found('cdse', 's2-l2a')[0].id}.SAFE"
    one = odata.named([name]).get(name)
    if one is None:
        return False, "OData does not have the item that STAC has"
    return bool(one.path), f"online: {one.is_online}, {one.size:,} B, {one.checksum[:3] or 'no checksum'}"


def _earth_search() -> Answer:
    where, found = catalogue("earth-search"), _found("earth-search", "s2-l2a")
    applied = Counter(
        f"{one.properties.get('s2:processing_baseline')}: {one.properties.get('earthsearch:boa_offset_applied')}"
        for one in found
    )
    opened = open_remote(where.address(found[0].assets["red"].href), where.access())
    seen = "; ".join(f"{text} ({count})" for text, count in sorted(applied.items()))
    return opened.dtype == "uint16", f"{len(found)} items; offset taken away by baseline {seen}"


def _planetary_computer() -> Answer:
    where, found = catalogue("planetary-computer"), _found("planetary-computer", "s1-rtc")
    opened = open_remote(found[0].assets["vv"].href, where.access())
    states = sorted({str(one.properties.get("sat:orbit_state")) for one in found})
    return opened.dtype == "float32", f"{len(found)} items, {', '.join(states)}; no data is {opened.nodata}"


def _worldcover() -> Answer:
    found = objects.listing(MAP, _open("eu-central-1"))
    return any(key.endswith("_N48E006_Map.tif") for key, _, _ in found), f"{len(found)} tiles"


def _glo30() -> Answer:
    text = files.whole("s3://copernicus-dem-30m/tileList.txt", _open("eu-central-1"), limit=LIMIT).decode()
    return "_N49_00_E006_00_DEM" in text, f"{len(text.split())} tiles"


QUESTIONS: tuple[tuple[str, str, Callable[[], Any]], ...] = (
    ("Data Space, STAC: Sentinel-2 L2A of June 2020, without a login", "items with bands and metadata", _optical),
    ("Data Space, STAC: which offset is told with which baseline?", "only told", _offsets),
    ("Data Space, STAC: Sentinel-1 GRD of June 2020", "items with annotation, noise and calibration", _radar),
    ("Data Space: the login", "holds", _login),
    ("Data Space: the beginning of a band", "JPEG 2000 of the size told", _band),
    ("Data Space: the metadata of a product", "names the baseline", _metadata),
    ("Data Space: an image of GRD in COG", "has control points", _grd),
    ("Data Space, OData: a product that STAC has", "has it too, with its place", _odata),
    ("Earth Search: Sentinel-2 L2A of June 2020", "COGs that anybody reads", _earth_search),
    ("Planetary Computer: Sentinel-1 RTC of June 2020", "COGs with a token that anybody gets", _planetary_computer),
    ("WorldCover 2021: the bucket's list", "has tile N48E006", _worldcover),
    ("GLO-30: the bucket's list", "has tile N49E006", _glo30),
)


if __name__ == "__main__":
    sys.exit(main())
