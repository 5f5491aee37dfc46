"""Slots whose items are chosen for each chip: interferometric pairs and relative orbits, by named rules.

A rule looks at a chip's outline and at the properties of the items that reach it, never at pixels, and depends on
nothing else: not on other chips, nor on the order in which anything is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

import shapely

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.core.text import near

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

Pick = Literal["far", "near", "most_frequent", "all"]
PICKS: tuple[str, ...] = get_args(Pick)
Direction = Literal["any", "ascending", "descending", "ascending_first", "descending_first"]
DIRECTIONS: tuple[str, ...] = get_args(Direction)
FULL = 1 - 1e-9
"""Share of a chip from which it counts as covered: what a polygon's own rounding may take away."""
MAX_DAYS = 10_000
MAX_SLOTS = 1_000
Choose = Callable[["BaseGeometry"], list[list[Item]]]
"""Gives the items of each slot for the chip of an outline (lon/lat), each slot's in their given order."""


@dataclass(frozen=True, slots=True)
class PairRule:
    """Interferometric pairs by their temporal baseline: one slot for each window, or ``count`` of them.

    Items are pairs: their properties ``reference_time`` (the later date) and ``secondary_time`` are ISO 8601 in UTC,
    ``relative_orbit`` and ``orbit_direction`` say the track. Frames of one pair share ``acquisition`` and are chosen
    together, as far as the chip needs them: where one frame covers all of it, that one alone.
    """

    start: datetime
    end: datetime
    """Both dates of a pair lie in ``[start, end)``."""
    windows: tuple[tuple[str, int, int], ...]
    """Name, least and most days between the dates."""
    pick: Pick = "far"
    """Of the pairs in a window, in this order: ``far`` the longest baseline, ``near`` the shortest, ``all`` the oldest
    first, ``most_frequent`` those of the reference acquisition that most pairs share. Pairs that cover the chip come
    before those that cover a part of it, which come by that part; equals by the later reference date, then by id."""
    count: int = 1
    """Slots for each window."""
    direction: Direction = "any"
    """``ascending_first``: descending pairs only where no ascending one is in the window."""
    min_coverage: float = 0.0
    """Least share of the chip that a pair's frames cover."""

    def slots(self) -> tuple[Slot, ...]:
        """Return the slots, window by window."""
        return tuple(
            Slot(name if self.count == 1 else f"{name}_{n}", self.start, self.end, "pair")
            for name, _, _ in self.windows
            for n in range(1, self.count + 1)
        )

    def choose(self, outline: BaseGeometry, items: Sequence[Item]) -> list[list[Item]]:
        """Return the items of each slot for the chip of that outline (lon/lat), each in their given order."""
        return self.among(items)(outline)

    def among(self, items: Sequence[Item]) -> Choose:
        """Return what chooses among some items for one outline after the other: the items are put in order once."""
        pairs = [_Pair.of(frames) for frames in _grouped(items, lambda item: item.acquisition or item.id)]
        inside = [pair for pair in pairs if self.start <= pair.secondary < pair.reference < self.end]
        windows = []
        for _, least, most in self.windows:
            ways = self._ways([pair for pair in inside if least <= pair.days <= most])
            windows.append([sorted(one, key=self._order(one)) for one in ways])

        def choose(outline: BaseGeometry) -> list[list[Item]]:
            chosen: list[list[Item]] = []
            for ways in windows:
                taken = next(filter(None, (self._best(outline, pairs) for pairs in ways)), [])
                chosen += [_needed(outline, pair.frames) for pair in taken]
                chosen += [[] for _ in range(self.count - len(taken))]
            return chosen

        return choose

    def document(self) -> dict[str, Any]:
        """Return the rule as JSON values."""
        return {
            "pairs": {
                "start": self.start.isoformat(),
                "end": self.end.isoformat(),
                "windows": {name: [least, most] for name, least, most in self.windows},
                "pick": self.pick,
                "count": self.count,
                "direction": self.direction,
                "min_coverage": self.min_coverage,
            }
        }

    def _ways(self, pairs: Sequence[_Pair]) -> list[list[_Pair]]:
        """Return the pairs by direction; those of a later list count only where none of an earlier one does."""
        wanted, _, first = self.direction.partition("_")
        if wanted == "any":
            return [list(pairs)]
        other = "descending" if wanted == "ascending" else "ascending"
        return [[pair for pair in pairs if pair.direction == way] for way in ((wanted, other) if first else (wanted,))]

    def _best(self, outline: BaseGeometry, pairs: Sequence[_Pair]) -> list[_Pair]:
        """Return at most ``count`` of the pairs, which are in the order of the rule."""
        whole: list[_Pair] = []
        part: list[tuple[float, int, _Pair]] = []
        for place, pair in enumerate(pairs):
            share = covered(outline, pair.frames)
            if share >= FULL:
                whole.append(pair)
                if len(whole) == self.count:
                    return whole
            elif share > 0 and share >= self.min_coverage:
                part.append((-round(share, 6), place, pair))
        part.sort(key=lambda one: one[:2])
        return [*whole, *(pair for _, _, pair in part)][: self.count]

    def _order(self, pairs: Sequence[_Pair]) -> Callable[[_Pair], tuple[Any, ...]]:
        def newest(pair: _Pair) -> tuple[Any, ...]:
            return -pair.reference.timestamp(), -pair.secondary.timestamp(), pair.id

        match self.pick:
            case "far":
                return lambda pair: (-pair.days, *newest(pair))
            case "near":
                return lambda pair: (pair.days, *newest(pair))
            case "all":
                return lambda pair: (pair.reference, pair.secondary, pair.id)
            case "most_frequent":
                shared = _sharing(pairs)
                return lambda pair: (-shared[pair.id], *newest(pair))


@dataclass(frozen=True, slots=True)
class OrbitRule:
    """Relative orbits, each in a slot of its own: the ``count`` that cover most of the chip, ascending ones first.

    Items say ``relative_orbit`` and ``orbit_direction`` among their properties.
    """

    count: int

    def slots(self) -> tuple[Slot, ...]:
        """Return the slots."""
        return tuple(Slot(f"orbit_{n}", kind="orbit") for n in range(1, self.count + 1))

    def choose(self, outline: BaseGeometry, items: Sequence[Item]) -> list[list[Item]]:
        """Return the items of each slot for the chip of that outline (lon/lat), each in their given order."""
        return self.among(items)(outline)

    def among(self, items: Sequence[Item]) -> Choose:
        """Return what chooses among some items for one outline after the other."""
        orbits = {_orbit(tiles[0]): tiles for tiles in _grouped(items, _orbit)}

        def choose(outline: BaseGeometry) -> list[list[Item]]:
            share = {orbit: round(covered(outline, tiles), 6) for orbit, tiles in orbits.items()}
            most = sorted((orbit for orbit in orbits if share[orbit] > 0), key=lambda orbit: (-share[orbit], orbit))
            chosen = [list(orbits[orbit]) for orbit in sorted(most[: self.count])]
            return chosen + [[] for _ in range(self.count - len(chosen))]

        return choose

    def document(self) -> dict[str, Any]:
        """Return the rule as JSON values."""
        return {"orbits": self.count}


Rule = PairRule | OrbitRule


def parse_rule(value: Any) -> Rule | None:
    """Return the rule that a recipe's ``slots:`` asks for; None if they are periods.

    Forms: ``{orbits: 4}``; ``{pairs: {year: 2020, windows: {short: [0, 60]}, pick: far}}``, where ``period: [first day,
    last day]`` may stand for ``year``, and ``count``, ``direction`` and ``min_coverage`` may be said.

    Raises:
        ConfigError: a key or value that is not known.
    """
    if not isinstance(value, Mapping) or len(value) != 1:
        return None
    ((form, given),) = value.items()
    match form:
        case "pairs":
            return _pair_rule(given)
        case "orbits":
            return OrbitRule(_whole("orbits", given, 1, MAX_SLOTS))
        case _:
            return None


def rule_of(document: Mapping[str, Any]) -> Rule:
    """Return the rule that ``document`` wrote."""
    if "orbits" in document:
        return OrbitRule(document["orbits"])
    about = dict(document["pairs"])
    start, end = (datetime.fromisoformat(about.pop(name)) for name in ("start", "end"))
    windows = tuple((name, least, most) for name, (least, most) in about.pop("windows").items())
    return PairRule(start, end, windows, **about)


def covered(outline: BaseGeometry, items: Sequence[Item]) -> float:
    """Return the share of an outline that the footprints of some items cover together."""
    if any(item.footprint.covers(outline) for item in items):
        return 1.0
    there = shapely.union_all([item.footprint for item in items])
    return float(outline.intersection(there).area / outline.area)


def _needed(outline: BaseGeometry, frames: Sequence[Item]) -> list[Item]:
    """Return the frames of a pair that a chip is made of: the first that covers it alone, else all that lie on it.

    Another one could add nothing but a seam, and take away pixels of those that do not fit to it.
    """
    alone = next((frame for frame in frames if frame.footprint.covers(outline)), None)
    return [frame for frame in frames if frame.footprint.intersects(outline)] if alone is None else [alone]


@dataclass(frozen=True, slots=True)
class _Pair:
    frames: tuple[Item, ...]
    reference: datetime
    secondary: datetime

    @classmethod
    def of(cls, frames: Sequence[Item]) -> _Pair:
        try:
            times = [datetime.fromisoformat(str(frames[0].properties[f"{name}_time"])) for name in _DATES]
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"item '{frames[0].id}' does not say the dates of its pair: {error}",
                hint="`slots: {pairs: ...}` is for interferograms; others take months, seasons, years or dates",
            ) from None
        return cls(tuple(frames), *times)

    @property
    def id(self) -> str:
        return self.frames[0].acquisition or self.frames[0].id

    @property
    def days(self) -> int:
        # Not from date to date: passes at midnight are some seconds less than whole days apart, or more.
        return round((self.reference - self.secondary) / _DAY)

    @property
    def direction(self) -> str:
        return str(self.frames[0].properties.get("orbit_direction", ""))

    @property
    def track(self) -> int:
        return int(self.frames[0].properties.get("relative_orbit", -1))


def _sharing(pairs: Sequence[_Pair]) -> dict[str, int]:
    """Return by pair how many have its reference acquisition: the same track within half a day, at midnight too."""
    acquisitions: list[list[_Pair]] = []
    for pair in sorted(pairs, key=lambda pair: (pair.track, pair.reference)):
        before = acquisitions[-1][-1] if acquisitions else None
        if before is None or before.track != pair.track or pair.reference - before.reference > _DAY / 2:
            acquisitions.append([])
        acquisitions[-1].append(pair)
    return {pair.id: len(group) for group in acquisitions for pair in group}


_DAY = timedelta(days=1)
_DATES = ("reference", "secondary")


def _orbit(item: Item) -> tuple[str, int]:
    """Return direction and number; ascending sorts first."""
    return str(item.properties.get("orbit_direction", "")), int(item.properties.get("relative_orbit", -1))


def _grouped(items: Sequence[Item], key: Callable[[Item], Any]) -> list[list[Item]]:
    groups: dict[Any, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


_KEYS = ("year", "period", "windows", "pick", "count", "direction", "min_coverage")


def _pair_rule(given: Any) -> PairRule:
    if not isinstance(given, Mapping):
        raise ConfigError(f"pairs: {given!r} is not understood", hint=f"say {', '.join(_KEYS)}")
    for key in given:
        if key not in _KEYS:
            raise ConfigError(f"pairs: unknown key '{key}'", hint=near(str(key), _KEYS))
    if ("year" in given) == ("period" in given):
        raise ConfigError("pairs: say in which `year`, or `period: [first day, last day]`, both dates lie")
    when = {"years": given["year"]} if "year" in given else {"periods": [given["period"]]}
    try:
        span = parse_slots(when)
    except ConfigError as error:
        raise ConfigError(f"pairs: {error.message}", hint=error.hint) from None
    start, end = span[0].start, span[-1].end
    assert start is not None
    assert end is not None
    windows = given.get("windows", {"all": [0, MAX_DAYS]})
    if not isinstance(windows, Mapping) or not windows:
        raise ConfigError("pairs: windows: give each a name and its days", hint="windows: {short: [0, 60]}")
    count = _whole("pairs: count", given.get("count", 1), 1, MAX_SLOTS)
    share = given.get("min_coverage", 0.0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ConfigError(f"pairs: min_coverage: {share!r} is not a share from 0 to 1")
    if len(windows) * count > MAX_SLOTS:
        raise ConfigError(f"pairs: {len(windows)} windows x {count} are more than {MAX_SLOTS} slots")
    return PairRule(
        start,
        end,
        tuple(_window(str(name), days) for name, days in windows.items()),
        _word("pick", given.get("pick", "far"), PICKS),
        count,
        _word("direction", given.get("direction", "any"), DIRECTIONS),
        float(share),
    )


def _window(name: str, days: Any) -> tuple[str, int, int]:
    where = f"pairs: windows: {name}"
    if not isinstance(days, Sequence) or isinstance(days, str) or len(days) != 2:
        raise ConfigError(f"{where}: {days!r} is not [least days, most days]", hint="windows: {short: [0, 60]}")
    least, most = (_whole(where, value, 0, MAX_DAYS) for value in days)
    if most < least:
        raise ConfigError(f"{where}: {least} ... {most} days hold nothing")
    return name, least, most


def _whole(where: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{where}: {value!r} is not a whole number from {least} to {most:,}")
    return value


def _word(key: str, value: Any, words: Sequence[str]) -> Any:
    spelt = str(value).replace("-", "_").replace(" ", "_")
    if spelt not in words:
        raise ConfigError(f"pairs: {key}: '{value}' is not known", hint=near(str(value), words))
    return spelt
