"""Trying a source: each rule in another process with a time limit, so that no source can hang or end this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from m3leo_prep.core.errors import ConfigError, MissingDependency, PrepError
from m3leo_prep.core.raster import Slot

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.testing.source_place import Place
    from m3leo_prep.testing.source_rules import Case, Rule

State = Literal["ok", "broken", "skipped"]
MADE = "it can be loaded and made"
FOUND = "find() and read() give something to look at"
MEND = "mend it there; what your code cannot help is a TransientError (may pass) or a CorruptError (damaged item)"
ADVICE = {
    "its geobox": "data and valid are (band, y, x), y and x as in the geobox's shape",
    "must both be (band, y, x)": "data and valid are (band, y, x): add a band axis with data[None]",
    "offset-naive": "slots are in UTC: give items datetime(..., tzinfo=UTC)",
    "SystemExit": "raise an error instead of ending the program: see m3leo_prep.core.errors",
}
"""By a part of what was seen, what helps."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one rule."""

    rule: str
    state: State
    seen: str = ""
    """What was seen where the rule is broken; why it was not tried where it was skipped."""
    where: str = ""
    change: str = ""
    """What to change in the source."""


@dataclass(slots=True)
class Trial:
    """What came of all rules."""

    source: str
    """As a recipe says it, class included."""
    about: str = ""
    place: str = ""
    results: list[Result] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def count(self, state: State) -> int:
        """Return how many rules ended so."""
        return sum(result.state == state for result in self.results)


@dataclass(frozen=True, slots=True)
class Request:
    """Which source, and where and when to look."""

    name: str
    options: Mapping[str, Any]
    base: str
    area: BaseGeometry | None
    slots: tuple[Slot, ...] | None
    place: Place | None = None
    """As found by an earlier process."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a child says at the end of a step."""

    result: Result
    error: PrepError | None = None
    """Of usage: the source cannot be found or is given wrong options."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    printed: str = ""


def try_source(
    name: str,
    options: Mapping[str, Any],
    *,
    base: Path,
    area: BaseGeometry | None = None,
    slots: tuple[Slot, ...] | None = None,
    timeout: float = 60.0,
    on_result: Callable[[Result], None] = lambda _: None,
) -> Trial:
    """Return what came of trying every rule on a source.

    Args:
        name: ``./my_source.py``, ``./my_source.py:MySource`` or an installed source.
        options: that it is made with.
        base: folder that relative paths start from.
        area: lon/lat in which it has data; searched if None.
        slots: in which it has data; searched if None.
        timeout: seconds that one rule may take.
        on_result: told of each result as it comes.

    Raises:
        ConfigError: no such source, class or option.
        MissingDependency: it needs a package that is not installed.
    """
    trial = Trial(name)
    with _Child(Request(name, options, str(base), area, slots), timeout) as child:
        for result in _results(child, trial):
            trial.results.append(result)
            on_result(result)
    return trial


def _results(child: _Child, trial: Trial) -> Iterator[Result]:
    from m3leo_prep.testing.source_pixels import PIXEL_RULES
    from m3leo_prep.testing.source_rules import RULES

    stopped: dict[str, str] = {}
    for step in (MADE, FOUND):
        answer = child.ask(step)
        _note(trial, answer)
        if answer.error is not None:
            raise answer.error
        if answer.result.state == "broken":
            # Nothing was found: describe() can still be tried.
            stopped = dict.fromkeys(("describe", "find", "read") if step == MADE else ("find", "read"), step)
            yield answer.result
            break
        if step == MADE:
            yield answer.result
    gates = {rule.needs: rule for rule in reversed((*RULES, *PIXEL_RULES))}
    for number, rule in enumerate((*RULES, *PIXEL_RULES)):
        if rule.needs in stopped:
            yield Result(rule.sentence, "skipped", f"not tried, because of: {stopped[rule.needs]}")
            continue
        answer = child.ask(number)
        _note(trial, answer)
        yield answer.result
        if answer.result.state == "broken" and (gates[rule.needs] is rule or child.was_lost):
            levels = ("describe", "find", "read")
            stopped |= dict.fromkeys(levels[levels.index(rule.needs) :], rule.sentence)


def _note(trial: Trial, answer: _Answer) -> None:
    trial.source = answer.facts.get("source", trial.source)
    trial.about = answer.facts.get("about", trial.about)
    trial.place = answer.facts.get("place", trial.place)
    if answer.printed and not trial.warnings:
        trial.warnings.append(
            f"it prints to standard output ({answer.printed!r}), which belongs to --json: use logging, "
            "or print(..., file=sys.stderr)"
        )


class _Child:
    """The process in which the source lives; made anew after it was lost."""

    def __init__(self, request: Request, timeout: float) -> None:
        self._request = request
        self._timeout = timeout
        self._context = multiprocessing.get_context("spawn")
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self.was_lost = False
        """True if the last step ended the process, or had to be ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, step: int | str) -> _Answer:
        """Return what came of a step: ``MADE``, ``FOUND`` or the number of a rule."""
        name = step if isinstance(step, str) else _rules()[step].sentence
        if self._process is None:
            self._start()
            if step != MADE:
                again = self._step(MADE, MADE)
                if again.result.state != "ok":
                    return again
        answer = self._step(step, name)
        if "found" in answer.facts:
            self._request = Request(
                self._request.name,
                self._request.options,
                self._request.base,
                self._request.area,
                self._request.slots,
                answer.facts["found"],
            )
        return answer

    def _step(self, step: int | str, name: str) -> _Answer:
        assert self._connection is not None
        assert self._process is not None
        self.was_lost = False
        self._connection.send(step)
        end = time.monotonic() + self._timeout
        call = "loading it" if step == MADE else "the check"
        while self._connection.poll(max(0.0, end - time.monotonic())):
            try:
                said = self._connection.recv()
            except EOFError:
                self._process.join()
                code = self._process.exitcode or 0
                how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
                self._end()
                return _lost(
                    name,
                    f"{call} ended the whole process ({how})",
                    "no os._exit(); if it crashes, look at "
                    "the compiled library that it calls, and whether it may be used from threads",
                )
            if isinstance(said, _Answer):
                return said
            call = said
        self._end()
        return _lost(
            name,
            f"{call} did not return within {self._timeout:g} s",
            "give every request a timeout and raise TransientError; or allow more time with --timeout",
        )

    def _start(self) -> None:
        here, there = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(there, self._request), daemon=False)
        self._process.start()
        there.close()
        self._connection = here

    def _end(self) -> None:
        process, self._process = self._process, None
        if self._connection is not None:
            self._connection.close()
        if process is None:
            return
        self.was_lost = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # with what the source may have started
        process.kill()
        process.join()


def _lost(rule: str, seen: str, change: str) -> _Answer:
    return _Answer(Result(rule, "broken", seen, "", change))


# -- in the other process ----------------------------------------------------------------------------------------------


def _serve(connection: Connection, request: Request) -> None:
    """Answer one step after the other until nobody asks any more."""
    os.setsid()
    printed = _Printed()
    run = _Run(request, connection.send)
    while True:
        try:
            step = connection.recv()
        except EOFError:
            return
        answer = run.step(step)
        connection.send(_Answer(answer.result, answer.error, answer.facts, printed.new()))


class _Printed:
    """Standard output goes to a file that is looked at after each step."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        os.dup2(self._file.fileno(), 1)
        self._seen = 0

    def new(self) -> str:
        """Return the first line of what was printed since the last call."""
        sys.stdout.flush()
        text = os.pread(1, 500, self._seen).decode(errors="replace").strip()
        self._seen = os.fstat(1).st_size
        return text.splitlines()[0][:60] if text else ""


class _Run:
    """The source and the place at which it is tried."""

    def __init__(self, request: Request, note: Callable[[str], None]) -> None:
        self._request = request
        self._note = note
        self._name = request.name
        self._source: Any = None
        self._case: Case | None = None

    def step(self, step: int | str) -> _Answer:
        """Return what came of one step."""
        from m3leo_prep.testing.source_rules import Broken

        name = step if isinstance(step, str) else _rules()[step].sentence
        facts: Mapping[str, Any] = {}
        try:
            if step == MADE:
                facts = self._make()
            elif step == FOUND:
                facts = self._look()
            else:
                _rules()[int(step)].check(self._case or self._nowhere())
        except Broken as error:
            return _Answer(Result(name, "broken", error.seen, error.where, error.change))
        except (ConfigError, MissingDependency) as error:
            if step == MADE:
                return _Answer(Result(name, "broken"), error=error)
            return _Answer(self._failed(name, error))
        except PrepError as error:
            return _Answer(self._failed(name, error))
        except Exception as error:  # noqa: BLE001  what a source gives may break the check itself: told, not shown as a bug
            last = traceback.extract_tb(error.__traceback__)[-1]
            said = "".join(traceback.format_exception_only(error)).strip()
            place = f"{Path(last.filename).name}, line {last.lineno}"
            return _Answer(Result(name, "broken", f"what it gave cannot be checked: {said}", place))
        return _Answer(Result(name, "ok"), facts=facts)

    def _failed(self, rule: str, error: PrepError) -> Result:
        own = error.message.startswith(f"source '{self._name}' ")
        seen = error.message.removeprefix(f"source '{self._name}' ") if own else f"{type(error).__name__}: {error}"
        change = error.hint
        if error.hint.startswith("m3leo-prep check-source"):
            change = next((advice for sign, advice in ADVICE.items() if sign in seen), MEND)
        return Result(rule, "broken", seen, error.where, change if own else "")

    def _make(self) -> dict[str, Any]:
        from m3leo_prep.core.plan import SourceSpec
        from m3leo_prep.pipeline.origins import open_source
        from m3leo_prep.ports.guarded import Guarded, guard

        with guard(self._name, "its file"):
            self._name = _whole_name(self._name, Path(self._request.base))
        source = open_source(SourceSpec(self._name, self._request.options, self._request.base))
        self._source = source.source if isinstance(source, Guarded) else source
        if self._request.place is not None:
            self._case = self._at(self._request.place)
        return {"source": self._name}

    def _look(self) -> dict[str, Any]:
        from m3leo_prep.ports.guarded import Guarded
        from m3leo_prep.testing.source_place import find_place

        info = Guarded(self._name, self._source).describe()
        place = find_place(self._source, self._name, self._request.area, self._request.slots, self._note)
        self._case = self._at(place)
        centre = place.area.centroid
        variables = ", ".join(f"{v.name} ({v.kind}: {', '.join(v.bands)})" for v in info.variables)
        when = "" if place.slots[0].is_static else f", {place.slots[0].label} to {place.slots[-1].label}"
        return {
            "found": place,
            "about": f"version {info.version}; {variables}",
            "place": f"lon {centre.x:.3f}, lat {centre.y:.3f}{when}",
        }

    def _at(self, place: Place) -> Case:
        from m3leo_prep.testing.source_rules import Case

        return Case(self._source, place.area, place.slots, place.geobox, self._name, self._note)

    def _nowhere(self) -> Case:
        """Return a case for the rules that need no place."""
        from shapely.geometry import Point

        from m3leo_prep.core.raster import STATIC
        from m3leo_prep.testing._rasters import chip_at
        from m3leo_prep.testing.source_rules import Case

        return Case(self._source, Point(0, 0), (STATIC,), chip_at(0, 0, 10.0, 1), self._name, self._note)


def _rules() -> tuple[Rule, ...]:
    from m3leo_prep.testing.source_pixels import PIXEL_RULES
    from m3leo_prep.testing.source_rules import RULES

    return (*RULES, *PIXEL_RULES)


def _whole_name(name: str, base: Path) -> str:
    """Return ``./my_source.py:MySource`` for ``./my_source.py``, if it holds one source."""
    from m3leo_prep.ports.registry import classes_in

    if not name.endswith(".py"):
        return name
    found = classes_in(base / name)
    if len(found) == 1:
        return f"{name}:{found[0]}"
    if found:
        raise ConfigError(
            f"{name} holds several sources: {', '.join(found)}",
            hint=f"name one: m3leo-prep check-source {name}:{found[0]}",
        )
    raise ConfigError(
        f"{name} holds no class with describe(), find() and read()", hint="see docs/guides/add-a-source.md"
    )
