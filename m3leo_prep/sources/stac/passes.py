"""What catalogues tell of a pass of Sentinel-1, and when passes are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.sources._backscatter import BOTH
from m3leo_prep.sources.stac.question import spans

if TYPE_CHECKING:
    from m3leo_prep.core.raster import Slot
    from m3leo_prep.sources.stac.found import Found


def direction(found: Found) -> str:
    """Return ``ascending`` or ``descending``.

    Raises:
        SourceError: the catalogue does not tell it.
    """
    said = str(found.properties.get("sat:orbit_state", "")).lower()
    if said not in BOTH:
        raise SourceError("the catalogue tells no direction of the orbit of this image", where=found.id)
    return said


def track(found: Found) -> int:
    """Return the relative orbit.

    Raises:
        SourceError: the catalogue does not tell it.
    """
    number = found.properties.get("sat:relative_orbit")
    if not isinstance(number, (int, float)):
        raise SourceError("the catalogue tells no relative orbit of this image", where=found.id)
    return int(number)


def dated(slots: Sequence[Slot]) -> list[tuple[datetime | None, datetime | None]]:
    """Return the times that slots cover, in order, those that touch as one.

    Raises:
        ConfigError: a slot without times.
    """
    if any(slot.start is None or slot.end is None for slot in slots):
        raise ConfigError("Sentinel-1 has images every few days: say of which time", hint="slots: {months: 2020}")
    return spans(slots)
