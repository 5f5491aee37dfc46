"""What a person, a log file and ``--notify`` get to see of a build."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from m3leo_prep.cli.render import ERR, Bar
from m3leo_prep.core.errors import EXIT_INTERRUPTED, PrepError
from m3leo_prep.core.plan import Unit
from m3leo_prep.pipeline.follow.notify import notify
from m3leo_prep.pipeline.follow.watch import Watch
from m3leo_prep.pipeline.todo import Forecast
from m3leo_prep.store.ledger import Record


class Notifier:
    """Runs the user's command, if there is one, when a build waits or ends; a context around the build."""

    def __init__(self, command: str | None, dataset: Path) -> None:
        self._command = command
        self._dataset = dataset
        self.code = 0
        """With which the command is going to end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        match error:
            case None:
                self.tell("finished", exit=self.code)
            case PrepError():
                self.tell("failed", exit=error.exit_code, message=str(error))
            case KeyboardInterrupt():
                self.tell("interrupted", exit=EXIT_INTERRUPTED)
            case _:
                self.tell("failed", exit=1, message=repr(error))

    def tell(self, event: str, **facts: object) -> None:
        """Run the command; its failure is a warning."""
        if self._command is None:
            return
        warning = notify(self._command, event, {"dataset": str(self._dataset)} | facts)
        if warning:
            ERR.print(f"warning: {warning}", soft_wrap=True)


class Units(Watch):
    """Shows how the labels of administrative units are read, which comes after all shards."""

    def reads_units(self, layer: str, done: int, of: int) -> None:
        """Print a line at the start and each time another tenth is done."""
        if done == 0:
            blocks = "block" if of == 1 else "blocks"
            ERR.print(f"units: reading {layer} over all of their land, {of:,} {blocks}", soft_wrap=True)
        elif done * 10 // of != (done - 1) * 10 // of:
            ERR.print(f"units: reading {layer}, {done:,} of {of:,} blocks are done", soft_wrap=True)


class Following(Units):
    """Shows a build as bars on a terminal, as lines in a log file."""

    def __init__(self, bar: Bar, news: Notifier, stop: threading.Event, *, is_continued: bool) -> None:
        """``stop`` asks to stop; ``is_continued``: the folder holds an earlier state, of which is told what stays."""
        self._bar = bar
        self._news = news
        self._stop = stop
        self._is_continued = is_continued

    def expects(self, forecasts: tuple[Forecast, ...]) -> None:
        """Print what stays, what is copied, what is made."""
        if self._is_continued:
            for forecast in forecasts:
                ERR.print(str(forecast), soft_wrap=True)

    def begins(self, unit: Unit) -> None:
        """Start the unit's clock."""
        self._bar.began(unit.id)

    def drops(self, unit: Unit) -> None:
        """Stop the unit's clock."""
        self._bar.dropped(unit.id)

    def done(self, unit: Unit, record: Record | None) -> None:
        """Move the layer's bar."""
        self._bar.step(unit.layer, skipped=record is None, unit_id=unit.id)

    def says(self, line: str) -> None:
        """Print a line."""
        ERR.print(line, style="dim")

    def warns(self, line: str) -> None:
        """Print a line."""
        ERR.print(f"warning: {line}", soft_wrap=True)

    def waits(self, source: str, until: datetime | None, message: str) -> None:
        """Say for what, and until when; tell the user's command."""
        when = f"until {until:%Y-%m-%d %H:%M} UTC" if until else "15 minutes, then it is asked again"
        self._bar.note(f"waiting for {source} {when}: {message}")
        self._news.tell("waiting", message=message, source=source, until=until)

    def goes_on(self) -> None:
        """Take the note away."""
        self._bar.note("")

    def stops(self) -> bool:
        """Return True once a signal came."""
        return self._stop.is_set()


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """A context in which Ctrl-C, or a scheduler's SIGTERM, sets the event; a second one ends the process at once.

    So the shards at work are finished and counted; and a source that hangs cannot keep the process for ever.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield stop
        return

    def handle(_number: int, _frame: Any) -> None:
        if stop.is_set():
            sys.stderr.write("interrupted: what is finished is kept; run the same command again to go on\n")
            sys.stderr.flush()
            os._exit(EXIT_INTERRUPTED)
        stop.set()
        sys.stderr.write("stopping when the shards at work are done; Ctrl-C again stops at once\n")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
