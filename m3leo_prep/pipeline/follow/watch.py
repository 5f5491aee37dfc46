"""Following a build while it runs."""

from __future__ import annotations

from datetime import datetime

from m3leo_prep.core.plan import Unit
from m3leo_prep.pipeline.todo import Forecast
from m3leo_prep.store.ledger import Record


class Watch:
    """What can be followed of a build: override what you want to see. Called from the thread that builds."""

    def expects(self, forecasts: tuple[Forecast, ...]) -> None:
        """Before the first byte: what stays, what is copied, what is made."""

    def begins(self, unit: Unit) -> None:
        """A unit is handed to a worker."""

    def drops(self, unit: Unit) -> None:
        """A unit that began is not made: its provider refused it."""

    def done(self, unit: Unit, record: Record | None) -> None:
        """A unit is done: with its new record, or with None if it was done before."""

    def reads_units(self, layer: str, done: int, of: int) -> None:
        """The label of whole administrative units is read: so many blocks of ground are done."""

    def says(self, line: str) -> None:
        """Something is done before the first shard is begun, such as measuring what a read takes."""

    def warns(self, line: str) -> None:
        """Something is not as it should be, but the build goes on."""

    def waits(self, source: str, until: datetime | None, message: str) -> None:
        """Nothing can be done until a provider allows more; ``until`` (UTC) may be unknown."""

    def goes_on(self) -> None:
        """The waiting is over."""

    def stops(self) -> bool:
        """Return True to hand out nothing more: what is at work is finished, then the build is interrupted."""
        return False
