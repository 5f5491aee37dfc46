"""The optional abilities of a source to say what a build will cost, before and by trying."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from m3leo_prep.core.raster import Item, Slot

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox


@dataclass(frozen=True, slots=True)
class Cost:
    """What reading takes from a provider."""

    requests: int = 0
    bytes: int = 0
    """Downloaded, before compression."""
    seconds: tuple[float, float] = (0.0, 0.0)
    """Least and most time that the provider needs, at the concurrency it allows."""
    units: Mapping[str, float] = field(default_factory=dict)
    """What the provider charges in, such as ``eecu_hours``; empty while nobody knows."""
    allowances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Of each unit that the provider charges in, known or not yet: what it gives a month, by name of its tiers."""
    notes: tuple[str, ...] = ()


@runtime_checkable
class Estimating(Protocol):
    """A source that knows beforehand what reading takes."""

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:
        """Return the cost of reading all windows in all slots; metadata only, no request.

        A source that ``fetches_once`` is asked once for all that a build needs of it: with every item once, and the
        windows, or none where they are too many to name, which means all of each item. One whose products are ordered
        tells what those cost that are not ordered yet; it may look once at what it has ordered.
        """
        ...


@runtime_checkable
class Measuring(Protocol):
    """A source that can tell what a read took."""

    def measure(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Cost:
        """Read once and return what that took, with what the provider charged."""
        ...
