"""The optional ability of a source whose products are made on demand: ordered, waited for, then read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from m3leo_prep.core.raster import Item


@dataclass(frozen=True, slots=True)
class Orders:
    """How far the products of some items are."""

    waiting: int = 0
    """Ordered, and not begun."""
    running: int = 0
    done: int = 0
    """Made, and lying here."""
    failed: tuple[str, ...] = ()
    """One line for each that the provider could not make."""
    absent: frozenset[str] = frozenset()
    """Ids of items that nobody has ordered: the account allowed no more."""

    @property
    def open(self) -> int:
        """How many are still to come."""
        return self.waiting + self.running


@runtime_checkable
class Ordering(Protocol):
    """A source whose items are ordered from a provider, which may take hours and cost something."""

    def order(self, items: Sequence[Item]) -> int:
        """Order what is neither here, nor made, nor ordered yet; return how many orders were placed.

        Called again, in any process and after any interruption, it never orders the same twice.

        Raises:
            QuotaReached: the account allows no more.
            CredentialsError, SourceError: the provider takes no orders.
        """
        ...

    def watch(self, items: Sequence[Item]) -> Orders:
        """Ask once how far they are, and fetch what is ready, so that nothing expires while others are made.

        Raises:
            CredentialsError, SourceError: the provider does not answer, or a product could not be fetched.
        """
        ...

    @property
    def poll_seconds(self) -> float:
        """Seconds between two calls of ``watch``."""
        ...
