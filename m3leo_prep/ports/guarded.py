"""Somebody else's source, guarded: whatever goes wrong in it is told as its fault, with the place in its code."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from m3leo_prep.core.errors import MissingDependency, PrepError, SourceError
from m3leo_prep.core.raster import Absent, Item, Raster, Slot, SourceInfo
from m3leo_prep.ports.faults import Fault, item_fault
from m3leo_prep.ports.heights import Heights, OnHeights
from m3leo_prep.ports.source import Probing, Source

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

OURS = frozenset({"m3leo_prep", "importlib", "contextlib"})
"""Packages through which calls come to a source."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Guarded:
    """A source whose exceptions become SourceErrors and whose items are looked at before they are used."""

    name: str
    """As the recipe says it, for messages."""
    source: Source

    def describe(self) -> SourceInfo:
        """Return what the source says."""
        with guard(self.name, "describe()"):
            info = self.source.describe()
        if not isinstance(info, SourceInfo):
            raise self._wrong("describe()", info, "SourceInfo")
        return info

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield what the source finds; its items have ids, times and footprints that can be worked with."""
        known: set[str] = set()
        for item in self._each("find()", lambda: self.source.find(area, slots), Item):
            fault = item_fault(item, known)
            if fault is not None:
                raise self.blame(fault, "find()")
            known.add(item.id)
            yield item

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterator[Raster | Absent]:
        """Yield what the source reads."""
        call = f"read() of {', '.join(item.id for item in items)}"
        yield from self._each(call, lambda: self.source.read(items, geobox, slot), Raster, Absent)

    def read_on_heights(
        self, items: Sequence[Item], geobox: GeoBox, slot: Slot, heights: Heights
    ) -> Iterator[Raster | Absent]:
        """Yield what the source reads; asked only of one that is ``OnHeights``."""
        call = f"read_on_heights() of {', '.join(item.id for item in items)}"
        source = cast("OnHeights", self.source)
        yield from self._each(call, lambda: source.read_on_heights(items, geobox, slot, heights), Raster, Absent)

    def blame(self, fault: Fault, where: str) -> SourceError:
        """Return the error that tells the source's author what to change."""
        return SourceError(f"source '{self.name}' gave {fault.seen}", where=where, hint=fault.change)

    def _each(self, call: str, answer: Callable[[], Iterable[T]], kind: type[Any], *others: type[Any]) -> Iterator[T]:
        name = kind.__name__
        with guard(self.name, call):
            given = answer()
            if not isinstance(given, Iterable):
                raise self._wrong(call, given, f"an iterable of {name}: use `yield`")
            for one in given:
                if not isinstance(one, (kind, *others)):
                    raise self._wrong(call, one, name)
                yield one

    def _wrong(self, call: str, given: object, wanted: str) -> SourceError:
        return self.blame(Fault(f"{type(given).__name__} from {call}, not {wanted}", _check(self.name)), "")


class ProbingSource(Source, Probing, Protocol):
    """A source that can tell at once whether it works."""


@dataclass(frozen=True, slots=True)
class GuardedProbing(Guarded):
    """The same for such a source."""

    source: ProbingSource

    def probe(self) -> str:
        """Return what the source tells."""
        with guard(self.name, "probe()"):
            return self.source.probe()


def guarded(name: str, source: Source) -> Guarded:
    """Return a source guarded, with the abilities it has."""
    if isinstance(source, Probing):
        return GuardedProbing(name, cast("ProbingSource", source))
    return Guarded(name, source)


@contextmanager
def guard(name: str, call: str) -> Iterator[None]:
    """Turn what a source raises into a SourceError that names the source, the call, and the line of its code.

    Errors of ours pass: a source raises them to say what is to be done. So do Ctrl-C and a lack of memory.
    """
    try:
        yield
    except (PrepError, MemoryError, KeyboardInterrupt, GeneratorExit):
        raise
    except ModuleNotFoundError as error:
        wanted = (error.name or str(error)).partition(".")[0]
        raise MissingDependency(
            f"source '{name}' needs '{wanted}' in {call}", hint=f"pip install {wanted}", where=_place(error)
        ) from error
    except BaseException as error:  # a stranger's code may raise anything
        said = "".join(traceback.format_exception_only(error)).strip()
        raise SourceError(
            f"source '{name}' failed in {call}: {said}", where=_place(error), hint=_check(name)
        ) from error


def is_ours(source: object) -> bool:
    """Return whether a source comes with m3leo-prep: what goes wrong in it is a bug of ours."""
    return type(source).__module__.partition(".")[0] == "m3leo_prep"


def _check(name: str) -> str:
    return f"m3leo-prep check-source {name}"


def _place(error: BaseException) -> str:
    """Return file and line of the innermost frame that is in the source's own package, or nothing."""
    frames = list(_frames(error.__traceback__))
    owner = next((package for package, _, _ in frames if package not in OURS), None)
    own = [(file, line) for package, file, line in frames if package == owner]
    return f"{Path(own[-1][0]).name}, line {own[-1][1]}" if own else ""


def _frames(at: TracebackType | None) -> Iterator[tuple[str, str, int]]:
    """Yield package, file and line of each frame, outermost first."""
    while at is not None:
        module = str(at.tb_frame.f_globals.get("__name__", ""))
        yield module.partition(".")[0], at.tb_frame.f_code.co_filename, at.tb_lineno
        at = at.tb_next
