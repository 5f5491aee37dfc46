"""What the name of a granule says, and the name that says it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Literal

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.sources._radar import TRACKS

Direction = Literal["ascending", "descending"]

_NAME = re.compile(
    r"S1-GUNW(?P<custom>_CUSTOM)?-(?P<direction>[AD])-(?P<look>[RL])-(?P<track>\d{3})-tops"
    r"-(?P<reference>\d{8})_(?P<secondary>\d{8})-(?P<time>\d{6})"
    r"-(?P<place>\d{5}[NSEW]_\d{5}[NSEW])-PP-(?P<hash>[0-9a-f]{4})-v(?P<version>\d+_\d+_\d+)"
)
_DIRECTIONS: dict[str, Direction] = {"A": "ascending", "D": "descending"}


@dataclass(frozen=True, slots=True)
class GunwName:
    """One granule's name in its parts, as ``isce2_topsapp.packaging.get_gunw_id`` puts them together."""

    direction: Direction
    look: str
    """``R`` or ``L``: where the radar looks, seen along the flight."""
    track: int
    """Relative orbit."""
    reference: date
    """The later date: the opposite of what other products of ASF call reference."""
    secondary: date
    """The earlier date."""
    time: time
    """UTC of the middle of the reference acquisition."""
    place: str
    """West and south edge in whole degrees (``00119W_00033N``); up to 2.0.4 north and south in 0.001 degree."""
    hash: str
    """Of the names of the scenes that went in."""
    version: tuple[int, int, int]
    custom: bool = False
    """Processed with other settings than the standard ones."""

    def __str__(self) -> str:
        version = "_".join(map(str, self.version))
        return (
            f"S1-GUNW{'_CUSTOM' if self.custom else ''}-{self.direction[0].upper()}-{self.look}-{self.track:03}-tops"
            f"-{self.reference:%Y%m%d}_{self.secondary:%Y%m%d}-{self.time:%H%M%S}-{self.place}-PP-{self.hash}-v{version}"
        )

    @property
    def days(self) -> int:
        """Temporal baseline."""
        return (self.reference - self.secondary).days

    @property
    def reference_time(self) -> datetime:
        """Middle of the reference acquisition, UTC."""
        return datetime.combine(self.reference, self.time, UTC)


def parse(name: str, *, any_order: bool = False) -> GunwName:
    """Return the parts of a granule's name; ``.nc`` at its end does not matter.

    Args:
        name: of a granule or its file.
        any_order: also if its reference date is not after the secondary one, against what the product is.

    Raises:
        CorruptError: no such name, or dates in the wrong order.
    """
    found = _NAME.fullmatch(name.removesuffix(".nc"))
    if found is None:
        raise CorruptError("is no name of a GUNW granule", where=name)
    try:
        reference, secondary = (datetime.strptime(found[part], "%Y%m%d").date() for part in ("reference", "secondary"))  # noqa: DTZ007 - a date
        clock = datetime.strptime(found["time"], "%H%M%S").time()  # noqa: DTZ007 - a time of day, UTC
    except ValueError as error:
        raise CorruptError(f"is no name of a GUNW granule: {error}", where=name) from None
    track = int(found["track"])
    if not 1 <= track <= TRACKS:
        raise CorruptError(f"is no name of a GUNW granule: relative orbit {track} is not 1 ... {TRACKS}", where=name)
    if reference <= secondary and not any_order:
        raise CorruptError(
            f"its reference date {reference} is not later than its secondary date {secondary}: the sign of its phase "
            "would be the other one",
            where=name,
        )
    major, minor, patch = map(int, found["version"].split("_"))
    return GunwName(
        direction=_DIRECTIONS[found["direction"]],
        look=found["look"],
        track=track,
        reference=reference,
        secondary=secondary,
        time=clock,
        place=found["place"],
        hash=found["hash"],
        version=(major, minor, patch),
        custom=found["custom"] is not None,
    )
