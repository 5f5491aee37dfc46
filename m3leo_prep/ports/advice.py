"""The optional ability of a source to warn of what a plan asks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from m3leo_prep.core.raster import Item, Slot


@runtime_checkable
class Advising(Protocol):
    """A source that sees in the items it found what somebody may not expect."""

    def advise(self, items: Sequence[Item], slots: Sequence[Slot]) -> Sequence[str]:
        """Return warnings, a sentence each, such as ``summer has no descending pass: ask for ascending``.

        Metadata only, no request; the same items give the same warnings.
        """
        ...
