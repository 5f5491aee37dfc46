"""Ask Earthdata, ASF, HyP3 and the bucket of GSSIC, by a few small requests, what no stand-in can show.

Prints a report to paste into an issue; nothing in it is secret, and nothing is ordered. Needs an Earthdata login:
``m3leo-prep login earthdata``. Run it with ``make live-asf``.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import shapely

from m3leo_prep.core.errors import PrepError
from m3leo_prep.sources.asf.gssic import bucket
from m3leo_prep.sources.asf.hyp3.client import Client
from m3leo_prep.sources.asf.service.earthdata import login, probe
from m3leo_prep.sources.asf.service.search import DATASETS, search
from m3leo_prep.sources.http.download import download

BAY = shapely.box(-122.45, 37.75, -122.40, 37.80)
"""San Francisco, in the GUNW whose record is known."""
GUNW = "S1-GUNW-A-R-035-tops-20240816_20230717-020815-00124W_00037N-PP-cf9c-v3_0_1"
FAIRBANKS = shapely.box(-148.10, 64.90, -148.00, 64.95)
RTC = "OPERA_L2_RTC-S1_T131-279916-IW1_20231202T162856Z_20231202T232622Z_S1A_30_v1.0"
TILE = "data/tiles/N38W123/"
Answer = tuple[bool | None, str]
"""Whether it is as m3leo-prep takes for granted (None: only told), and what was seen."""


def main() -> int:
    """Print the report; return how many answers differ from what is taken for granted."""
    print(f"# Earthdata and ASF, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n")
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


def _day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def _login() -> Answer:
    return True, probe().partition(",")[0]  # without the user's name


def _gunw() -> Answer:
    found = search("gunw", BAY, _day(2024, 8, 16), _day(2024, 8, 17))
    one = next((one for one in found if one.name == GUNW), None)
    if one is None:
        return False, f"{len(found)} granules, without it"
    (url,) = one.urls
    return bool(one.size.get(url) and one.checksum.get(url)), f"{one.size.get(url, 0):,} bytes, {url.split('/')[2]}"


def _versions() -> Answer:
    seen: Counter[str] = Counter()
    for concept in DATASETS["gunw"]["collections"]:
        found = search("gunw", BAY, _day(2020, 1, 1), _day(2020, 3, 1), collections=[concept])
        seen.update(f"{concept} v{one.name.rpartition('-v')[2].replace('_', '.')}" for one in found)
    return None, "; ".join(f"{text}: {count}" for text, count in sorted(seen.items())) or "nothing"


def _rtc() -> Answer:
    found = search("opera-rtc", FAIRBANKS, _day(2023, 12, 2), _day(2023, 12, 3))
    return RTC in {one.name for one in found}, f"{len(found)} bursts"


def _static() -> Answer:
    found = search("opera-rtc-static", FAIRBANKS, None, None)
    days = sorted({f"{one.start:%Y-%m-%d}" for one in found})
    return bool(found) and days == ["2014-04-03"], f"{len(found)} of {', '.join(days)}"


def _scenes() -> Answer:
    span = _day(2023, 12, 1), _day(2023, 12, 14)
    counts = {dataset: len(search(dataset, FAIRBANKS, *span)) for dataset in ("slc", "grd", "burst")}
    return all(counts.values()), ", ".join(f"{count} {dataset}" for dataset, count in counts.items())


def _file() -> Answer:
    found = search("opera-rtc", FAIRBANKS, _day(2023, 12, 2), _day(2023, 12, 3))
    one = next(one for one in found if one.name == RTC)
    url = next(url for url in one.urls if url.endswith("_mask.tif"))
    with TemporaryDirectory() as folder:
        target = Path(folder) / "mask.tif"
        download(url, target, auth=login(), size=one.size[url], checksum=one.checksum[url], where=url)
        return target.read_bytes()[:2] in {b"II", b"MM"}, f"{target.stat().st_size:,} bytes, its checksum is right"


def _objects() -> Answer:
    found = bucket.listing(TILE)
    metrics = sorted({key.rpartition("_")[2].removesuffix(".tif") for key, _, _ in found})
    return bool(found), f"{len(found)} objects: {', '.join(metrics)}"


def _object() -> Answer:
    key, size, _ = bucket.listing(TILE)[0]
    data, whole = bucket.head(key, 1024)
    return whole == size and data[:2] in {b"II", b"MM"}, f"{key.rpartition('/')[2]}, {size:,} bytes"


def _missing() -> Answer:
    try:
        bucket.head(f"{TILE}there-is-none.tif", 16)
    except bucket.Refused:
        return True, "refused"
    return False, "answered"


def _credits() -> Answer:
    left = Client().credits()
    return left is None or left >= 0, "without limit" if left is None else f"{left:g} credits are left"


QUESTIONS: tuple[tuple[str, str, Callable[[], Any]], ...] = (
    ("The Earthdata login", "holds", _login),
    (f"GUNW: {GUNW}", "one file with size and checksum", _gunw),
    ("GUNW: which collection holds which version?", "only told", _versions),
    (f"OPERA RTC: {RTC}", "is found", _rtc),
    ("OPERA RTC: static layers without dates", "dated 2014-04-03", _static),
    ("SLC, GRD and bursts of 13 days", "some of each", _scenes),
    ("OPERA RTC: the mask of that burst is fetched", "a TIFF with the right checksum", _file),
    (f"GSSIC: the objects of {TILE}", "can be listed by anybody", _objects),
    ("GSSIC: one object's beginning", "a TIFF of the listed size", _object),
    ("GSSIC: an object that is not there", "403 or 404", _missing),
    ("HyP3: the credits", "can be read", _credits),
)


if __name__ == "__main__":
    sys.exit(main())
