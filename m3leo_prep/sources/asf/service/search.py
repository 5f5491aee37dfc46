"""What the archive holds over an area and time, by ``asf_search``: all of it, or an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from m3leo_prep.core.errors import MissingDependency, SourceError, TriedOut
from m3leo_prep.sources.asf.hosts import hosts
from m3leo_prep.sources.asf.service.boxes import Box, boxes
from m3leo_prep.sources.asf.service.found import Found, told

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

Dataset = Literal["gunw", "opera-rtc", "opera-rtc-static", "slc", "grd", "burst"]

DATASETS: Mapping[Dataset, Mapping[str, Any]] = MappingProxyType(
    {
        "gunw": {"collections": ["C2859376221-ASF", "C1595422627-ASF"]},
        "opera-rtc": {"collections": ["C2777436413-ASF"]},
        "opera-rtc-static": {"collections": ["C2795135174-ASF"]},
        "slc": {"dataset": ["SENTINEL-1"], "processingLevel": ["SLC"]},
        "grd": {"dataset": ["SENTINEL-1"], "processingLevel": ["GRD_HD", "GRD_HS"]},
        "burst": {"dataset": ["SLC-BURST"]},
    }
)
"""What is asked for; collections by their concept ids. Which of the two of GUNW holds which version is not documented:
both are asked, the newer first, and of granules in both the newer's record is taken."""
ATTEMPTS = 3
"""At pages that fit together: granules may be added while one turns them."""


def search(
    dataset: Dataset, area: BaseGeometry, start: datetime | None, end: datetime | None, **more: Any
) -> list[Found]:
    """Return the granules whose footprint meets ``area`` and whose acquisition meets [start, end), by start and name.

    Each name once. The question is wider than the area, see ``boxes``; what is returned is tested exactly against the
    footprint, of which neither reading of its edges loses anything, see ``outlines``.

    Args:
        dataset: what is looked for.
        area: valid lon/lat polygons, split at the antimeridian.
        start: UTC if it names no zone; None: from the beginning.
        end: exclusive; None: until now.
        more: other options of ``asf_search.ASFSearchOptions``, such as ``relativeOrbit=64``.

    Raises:
        TriedOut, RateLimited: the catalogue does not answer, or its pages do not fit together.
        SourceError: it refuses the question, or a record lacks what is needed.
    """
    import shapely

    shapely.prepare(area)
    first, last = _utc(start), _utc(end)
    if first is not None and last is not None and first >= last:
        return []  # the client would turn them round
    asked = {**DATASETS[dataset], **more}
    if first is not None:
        asked["start"] = first
    if last is not None:
        asked["end"] = last + timedelta(seconds=1)  # the client cuts off what is less than a second
    records = {record: one for box in boxes(area) for record, one in _complete(asked, box).items()}
    listed = DATASETS[dataset].get("collections", [])
    found: dict[str, Found] = {}
    for record in sorted(records, key=lambda record: record.rank(listed)):
        one = records[record]
        meets = (last is None or one.start < last) and (first is None or one.stop >= first)
        if meets and area.intersects(one.footprint):
            found.setdefault(one.name, one)
    return sorted(found.values(), key=lambda one: (one.start, one.name))


class _Record(NamedTuple):
    """What the catalogue knows a record by; one granule may have two."""

    concept: str
    collection: str

    def rank(self, listed: Sequence[str]) -> tuple[int, str]:
        """Return what orders the records of one granule: their collections as they are listed, then their ids."""
        known = self.collection in listed
        return listed.index(self.collection) if known else len(listed), self.concept


def _complete(asked: Mapping[str, Any], box: Box) -> dict[_Record, Found]:
    """Return all granules of a box.

    Raises:
        TriedOut: each time some were missing, or told of twice, which is the same.
    """
    for _ in range(ATTEMPTS):
        found, wrong = _pages(asked, box)
        if not wrong:
            return found
    raise TriedOut(
        f"the catalogue's pages do not fit together: {len(found)} granules came, {wrong} more or fewer than it counts",
        where="ASF's catalogue",
        hint="run the same command again; nothing is built from half an answer",
    )


def _pages(asked: Mapping[str, Any], box: Box) -> tuple[dict[_Record, Found], int]:
    """Return the granules of a box, each once, and by how many that differs from what the catalogue counts."""
    try:
        import asf_search

        from m3leo_prep.sources.asf.service.session import Session
    except ImportError as error:
        raise MissingDependency(f"searching needs {error.name}", hint="pip install 'm3leo-prep[asf]'") from error

    asf_search.REPORT_ERRORS = False  # it would send the question to ASF whenever a page is short
    session = Session()
    options = asf_search.ASFSearchOptions(host=hosts().cmr, session=session, bbox=list(box), **asked)
    found: dict[_Record, Found] = {}
    part: dict[_Record, Found] = {}  # of one question: the client asks several where an option has several values
    wrong = 0
    with session:
        for page in _readable(asf_search.search_generator(opts=options)):
            part |= {_record(product): told(product.umm, product.properties) for product in page}
            if page.searchComplete or not page:  # the client would turn empty pages for ever
                wrong += abs(session.hits - len(part))
                found |= part
                part = {}
                if not page.searchComplete:
                    break
    if part:  # the pages ended before all was told
        found |= part
        wrong += abs(session.hits - len(part))
    return found, wrong


def _readable(pages: Iterator[Any]) -> Iterator[Any]:
    """Yield the client's pages.

    Raises:
        SourceError: it cannot read an answer: it takes for granted what most records have.
    """
    while True:
        try:
            page = next(pages, None)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            told = f"asf_search cannot read the answer: {type(error).__name__}: {error}"
            raise SourceError(told, where="ASF's catalogue", hint="report it, with the recipe") from error
        if page is None:
            return
        yield page


def _record(product: Any) -> _Record:
    return _Record(*(str(product.meta.get(key)) for key in ("concept-id", "collection-concept-id")))


def _utc(time: datetime | None) -> datetime | None:
    """Return a time in UTC: the client writes any zone's time as if it were that."""
    if time is None:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
