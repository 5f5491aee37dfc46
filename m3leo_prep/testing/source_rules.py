"""The rules that every source keeps, as plain functions: run by ``SourceContract`` and by ``check-source``."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.defaults import check_correlation
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item, Kind, Raster, Slot, SourceInfo
from m3leo_prep.ports.faults import Fault, item_fault
from m3leo_prep.ports.guarded import Guarded, guard
from m3leo_prep.ports.source import Source
from m3leo_prep.testing._rasters import lonlat_outline

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

Needs = Literal["describe", "find", "read"]
"""The call that must work before a rule can be tried."""
SOME = 3
"""Items that are read: reading all could take long."""


class Broken(AssertionError):
    """A rule is not kept: what was seen, where, and what to change in the source."""

    def __init__(self, seen: str, where: str = "", change: str = "") -> None:
        super().__init__(seen)
        self.seen, self.where, self.change = seen, where, change

    def __str__(self) -> str:
        parts = (f"{self.where}: {self.seen}" if self.where else self.seen, self.change and f"change: {self.change}")
        return "\n".join(part for part in parts if part)


@dataclass(frozen=True)
class Case:
    """A source, and a place and time where it has something."""

    source: Source
    area: BaseGeometry
    slots: Sequence[Slot]
    geobox: GeoBox
    name: str = "it"
    """Of the source, for messages."""
    note: Callable[[str], None] = field(default=lambda _: None)
    """Told of each call into the source before it is made."""

    def describe(self, source: Source | None = None) -> SourceInfo:
        """Return what the source says, or a copy of it."""
        self.note("describe()")
        return Guarded(self.name, source or self.source).describe()

    def find(self, area: BaseGeometry | None = None, slots: Sequence[Slot] | None = None) -> list[Item]:
        """Return what the source finds."""
        self.note("find()")
        with guard(self.name, "find()"):
            return list(self.source.find(self.area if area is None else area, self.slots if slots is None else slots))

    def read(self, items: Sequence[Item], geobox: GeoBox | None = None, source: Source | None = None) -> list[Raster]:
        """Return what the source reads of some items around a target, in the slot of the first of them."""
        self.note(f"read() of item {', '.join(item.id for item in items)}")
        slot = next((slot for slot in self.slots if slot.contains(items[0].datetime)), self.slots[0])
        given = Guarded(self.name, source or self.source).read(items, geobox or self.geobox, slot)
        return [one for one in given if isinstance(one, Raster)]

    @cached_property
    def items(self) -> list[Item]:
        """What the source finds here; at least one item, else nothing would be checked."""
        found = self.find()
        if not found:
            broken("find() found nothing here", change="give an area and slots in which the source has something")
        return found

    @cached_property
    def some(self) -> list[Item]:
        """A few of the items that meet the target."""
        outline = lonlat_outline(self.geobox)
        near = [item for item in self.items if item.footprint.intersects(outline)]
        if not near:
            broken("no item's footprint meets the target", change="give a target (or an area) where the items are")
        return near[:SOME]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: a sentence, and how it is tried."""

    sentence: str
    needs: Needs
    check: Callable[[Case], None]
    """Raises ``Broken`` (or what the source raises) if the rule is not kept."""


def broken(seen: str, where: str = "", change: str = "") -> NoReturn:
    """Raise that a rule is not kept."""
    raise Broken(seen, where, change)


def none_of(fault: Fault | None, where: str = "") -> None:
    """Raise if there is a fault."""
    if fault is not None:
        broken(fault.seen, where, fault.change)


def answers_describe(case: Case) -> None:
    """The gate to all else: it has the methods, and says the same each time."""
    if not isinstance(case.source, Source):
        broken("it lacks a method", change="a source has describe(), find() and read()")
    if case.describe() != case.describe():
        broken("two calls gave different answers", "describe()", "compute nothing there that changes")


def describes_completely(case: Case) -> None:
    """Version, variables, bands, legends; what goes into metadata is JSON."""
    info = case.describe()
    if not info.version or not isinstance(info.version, str):
        broken(
            f"the version is {info.version!r}",
            "describe()",
            'say SourceInfo(..., version="1") and raise it when pixels change: it is part of every digest',
        )
    if not info.variables:
        broken("there are no variables", "describe()", "list at least one Variable")
    _unique([variable.name for variable in info.variables], "variables", "describe()")
    _json(dict(info.attributes), "attributes of SourceInfo")
    for variable in info.variables:
        where = f"variable {variable.name}"
        if not variable.bands:
            broken("it has no bands", where, "name at least one band")
        _unique(list(variable.bands), "bands", where)
        _unique([str(entry.code) for entry in variable.legend], "codes of the legend", where)
        _json(dict(variable.attributes), f"attributes of {variable.name}")
        if variable.kind is Kind.CLASSES and not variable.legend:
            broken("classes without a legend", where, "list every code: legend=(LegendClass(1, 'forest'), ...)")
        if variable.kind is Kind.UNCERTAINTY:
            try:
                check_correlation(variable, where=where)
            except ConfigError as error:
                broken(error.message, where, error.hint)


def _unique(names: list[str], what: str, where: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        broken(f"{what} stand twice: {', '.join(twice)}", where, "give each its own")


def _json(value: dict[str, object], what: str) -> None:
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        broken(f"{what} are no JSON values: {error}", "describe()", "use text, numbers, lists and mappings")


def finds_good_items(case: Case) -> None:
    """The gate to items: each has its own id, a lon/lat footprint, and a time in UTC or none."""
    known: set[str] = set()
    for item in case.items:
        if not isinstance(item, Item):
            broken(f"find() gave a {type(item).__name__}", change="yield Item(id, footprint, version, datetime)")
        none_of(item_fault(item, known))
        known.add(item.id)


def finds_the_same_again(case: Case) -> None:
    """Content and order."""
    _same_items(case.items, case.find(), "a second call of find()")


def finds_the_same_elsewhere(case: Case) -> None:
    """The source pickles, and no order comes from a set or a hash, which differ between processes."""
    case.note("find() in two other processes")
    for found in _find_elsewhere(case.source, case.area, case.slots):
        mine = [_identity(item) for item in case.items]
        if found != mine:
            place = next((n for n, pair in enumerate(zip(mine, found, strict=False)) if pair[0] != pair[1]), -1)
            seen = (
                f"item {place} is '{found[place][0]}' there and '{mine[place][0]}' here"
                if place >= 0
                else f"{len(found)} items there, {len(mine)} here"
            )
            broken(seen, "find() in another process", "sort what you yield, e.g. by id: sets have no order")


def finds_what_meets_area_and_slots(case: Case) -> None:
    """The footprint itself meets the area, not only its box; times are inside a slot."""
    for item in case.items:
        if not item.footprint.intersects(case.area):
            broken(
                "its footprint does not meet the area",
                f"item {item.id}",
                "yield only items with item.footprint.intersects(area)",
            )
        if not any(slot.contains(item.datetime) for slot in case.slots):
            when = "no time" if item.datetime is None else item.datetime.isoformat()
            broken(
                f"it has {when}, which is in none of the slots",
                f"item {item.id}",
                "yield only items with slot.contains(item.datetime); a source without times says is_static=True",
            )


def finds_less_in_less(case: Case) -> None:
    """A smaller area has those items that meet it, in the same order: what an item is never depends on who asks."""
    west, south, east, north = case.area.bounds
    inner = case.area.intersection(box(west, south, (west + east) / 2, (south + north) / 2))
    expected = [item for item in case.items if item.footprint.intersects(inner)]
    _same_items(expected, case.find(inner), "a smaller area")


def finds_slot_by_slot(case: Case) -> None:
    """No item is lost or gained by asking for slots one by one."""
    for slot in case.slots:
        found = {item.id for item in case.find(slots=[slot])}
        expected = {item.id for item in case.items if slot.contains(item.datetime)}
        if found != expected:
            odd = min(found ^ expected)
            broken(
                f"'{odd}' is {'only' if odd in found else 'not'} found when it is asked for alone",
                f"slot {slot.label}",
                "an item belongs to every slot that contains its datetime, and to no other",
            )


def _same_items(expected: list[Item], found: list[Item], what: str) -> None:
    if found == expected:
        return
    for n, (one, other) in enumerate(zip(expected, found, strict=False)):
        if one.id != other.id:
            broken(f"item {n} is '{other.id}', not '{one.id}'", what, "sort what you yield, e.g. by id")
        if one != other:
            odd = next(name for name in one.__dataclass_fields__ if getattr(one, name) != getattr(other, name))
            broken(f"its {odd} differs", f"{what}, item {one.id}", "what an item is depends on nothing but the item")
    broken(f"{len(found)} items, not {len(expected)}", what, "yield each item whose footprint meets the area")


def _identity(item: Item) -> tuple[str, str, str, str]:
    return item.id, item.version, str(item.datetime), item.footprint.wkt


_CHILD = """
import gc, importlib, importlib.util, os, pickle, sys
gc.disable()  # a short life
name, path, pickled = pickle.load(sys.stdin.buffer)
answer = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # what the source prints is no answer
try:
    importlib.import_module(name)
except ImportError:
    # A test module, or a source from a file: known by its path.
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
source, area, slots = pickle.loads(pickled)
found = [(i.id, i.version, str(i.datetime), i.footprint.wkt) for i in source.find(area, slots)]
answer.write(pickle.dumps(found))
answer.close()
gc.freeze()  # else all that was imported is searched for garbage
"""


def _find_elsewhere(
    source: Source, area: BaseGeometry, slots: Sequence[Slot]
) -> Iterable[list[tuple[str, str, str, str]]]:
    """Return what two fresh processes find, whose strings hash differently."""
    module = type(source).__module__
    path = getattr(sys.modules[module], "__file__", None) or ""
    given = pickle.dumps((module, str(Path(path).resolve()), pickled(source, area, tuple(slots))))
    children = [
        subprocess.Popen(  # noqa: S603  this interpreter
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]
    answers = [child.communicate(given) for child in children]
    for child, (_, errors) in zip(children, answers, strict=True):
        if child.returncode:
            last = errors.decode(errors="replace").strip().splitlines() or [f"exit code {child.returncode}"]
            broken(
                f"not usable there: {last[-1]}",
                "find() in another process",
                "the class stands at the top of its module, and its module does not depend on what ran before",
            )
    return [pickle.loads(out) for out, _ in answers]  # noqa: S301  our own bytes


def pickled(*values: object) -> bytes:
    """Return values as bytes, or raise ``Broken``."""
    try:
        return pickle.dumps(values if len(values) > 1 else values[0])
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        broken(
            f"it does not pickle: {error}",
            change="open files, connections and locks in read(), not in the constructor; no lambdas as attributes",
        )


RULES: tuple[Rule, ...] = (
    Rule("describe() gives the same answer each time", "describe", answers_describe),
    Rule("describe() is complete: version, variables, bands, legends", "describe", describes_completely),
    Rule("find() gives items with ids, times in UTC and footprints", "find", finds_good_items),
    Rule("find() gives the same items in the same order again", "find", finds_the_same_again),
    Rule("find() gives the same in other processes", "find", finds_the_same_elsewhere),
    Rule("items meet the area and the slots", "find", finds_what_meets_area_and_slots),
    Rule("a smaller area has the items that meet it", "find", finds_less_in_less),
    Rule("slots asked for one by one give the same items", "find", finds_slot_by_slot),
)
"""Those of ``describe`` and ``find``; ``source_pixels.PIXEL_RULES`` are those of ``read``."""
