"""The four seasons that the archive holds, and the slots that can be made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Slot

YEAR = 2020
MONTHS = (
    "winter = December 2019 to February 2020, spring = March to May 2020, summer = June to August 2020, "
    "fall = September to November 2020, on both hemispheres"
)
"""The archive names the seasons as the northern hemisphere does, everywhere on Earth."""


@dataclass(frozen=True, slots=True)
class Season:
    """Three months, half-open in UTC."""

    name: str
    """As in the names of files."""
    start: datetime
    end: datetime

    @property
    def middle(self) -> datetime:
        """The instant that stands for the season."""
        return self.start + (self.end - self.start) / 2


def _season(name: str, start: tuple[int, int], end: tuple[int, int]) -> Season:
    return Season(name, datetime(*start, 1, tzinfo=UTC), datetime(*end, 1, tzinfo=UTC))


SEASONS = (
    _season("winter", (2019, 12), (2020, 3)),
    _season("spring", (2020, 3), (2020, 6)),
    _season("summer", (2020, 6), (2020, 9)),
    _season("fall", (2020, 9), (2020, 12)),
)


def seasons_of(slots: Sequence[Slot]) -> tuple[Season, ...]:
    """Return the seasons that fill the slots, in order of time.

    Raises:
        ConfigError: a slot holds no season, or a part of one: a mean of three months is none of January.
    """
    found: set[Season] = set()
    for slot in slots:
        if slot.start is None or slot.end is None:
            raise ConfigError("the layer says no slots, and the archive holds seasons", hint=_hint())
        met = [season for season in SEASONS if season.start < slot.end and slot.start < season.end]
        if not met:
            raise ConfigError(f"the archive has nothing of slot '{slot.label}'", hint=_hint())
        for season in met:
            if not (slot.start <= season.start and season.end <= slot.end):
                raise ConfigError(f"slot '{slot.label}' holds a part of {season.name} only", hint=_hint())
        found.update(met)
    return tuple(season for season in SEASONS if season in found)


def _hint() -> str:
    return f"say `slots: seasons`; there are {MONTHS}"
