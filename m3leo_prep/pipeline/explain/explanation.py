"""What an explanation says: values only, down to the source pixels under a kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One source pixel under the kernel."""

    col: int
    row: int
    value: float | int | None
    """In the source's unit; None where missing."""
    weight: float
    """What it counted for."""
    whole: float
    """What it would count for if nothing were missing."""
    missing: str
    """Empty, ``masked``, ``no data`` or ``outside``."""
    item: str
    """Of which tile."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What one raster (a scene, or tiles of one pass joined) had to give at the pixel."""

    items: tuple[str, ...]
    versions: tuple[str, ...]
    acquisition: str
    time: str | None
    orbit: str
    crs: str
    operation: str
    """Coordinate operation from the chip to the source; empty where the CRSs are the same."""
    pixel_size: tuple[float, float]
    """Of the source, in units of its CRS."""
    map_x: float | None
    """The pixel's centre in the source's CRS."""
    map_y: float | None
    col: float | None
    """The same in pixels of the source, as far as it was read: 0 = the left edge of that window."""
    row: float | None
    kernel: str
    neighbours: tuple[Neighbour, ...] | None
    """Row by row; None if there are too many to list."""
    valid_share: float | None
    """Of the kernel's weight."""
    state: str
    """``valid``, ``masked`` or ``not observed``."""
    value: float | int | None
    """Before compositing, in the source's unit."""
    stored_value: float | None
    """The same in the stored unit, where that is another (dB)."""
    adds_up: bool | None
    """Whether weights times values give ``value``; None where there is nothing to add."""
    weight: float
    """In the composite."""
    why: str
    """Of that weight."""


@dataclass(frozen=True, slots=True)
class UsedItem:
    """One item that gave pixels to a chip."""

    id: str
    time: str | None
    version: str
    orbit: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one band of the pixel comes from."""

    code: float | int | None
    """What the source gives now; None = missing."""
    missing: str
    """Empty, ``never observed``, ``masked`` or ``out of range``."""
    steps: str
    """From the scenes' values to the code, with the numbers."""
    scenes: tuple[Scene, ...]
    elsewhere: int
    """Items of the slot that do not reach the pixel."""
    adds_up: bool
    """Whether weights and values give what building gives."""
    damaged: tuple[str, ...]
    composited: tuple[UsedItem, ...] = ()
    """Where the source composites by itself: what it was given; ``scenes`` is then what it made of them."""


@dataclass(frozen=True, slots=True)
class BandState:
    """One band of one slot of a chip."""

    variable: str
    band: str
    reason: str
    why: str
    """The reason in words."""
    valid_share: float
    n_out_of_range: int
    n_floored: int


@dataclass(frozen=True, slots=True)
class SlotState:
    """One slot of a chip."""

    slot: str
    n_acquisitions: int
    items: tuple[UsedItem, ...]
    bands: tuple[BandState, ...]


@dataclass(frozen=True, slots=True)
class PixelBand:
    """One pixel of one band in one slot."""

    slot: str
    variable: str
    band: str
    code: float | int | None
    """As stored; None where it is the code of a missing pixel."""
    value: float | int | None
    """In the stored unit; None = missing."""
    unit: str
    formula: str
    """From code to value, with the numbers, or the name of the class."""
    reason: str
    why: str
    missing: str
    """Empty where there is a value; else ``never observed``, ``masked``, ``out of range`` or what is known."""
    origin: Origin | None
    """None where the pixel could not be derived again."""
    reproduced: bool | None
    """Whether the source gives the stored code now, by the weights shown."""


@dataclass(frozen=True, slots=True)
class Pixel:
    """A pixel's place, and its bands."""

    x: int
    y: int
    easting: float
    """Of its centre, m."""
    northing: float
    lon: float
    lat: float
    bands: tuple[PixelBand, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where the pixels of a layer of a chip came from."""

    dataset: str
    chip: str
    row: int
    epsg: int
    layer: str
    role: str
    pitch: float
    """m"""
    size: int
    source: str
    source_version: str
    native_pitch: float | None
    """m; None = unknown."""
    licence: str
    citation: str
    operations: Mapping[str, str]
    """Coordinate operation by ``source CRS -> chip CRS``."""
    variables: tuple[Mapping[str, Any], ...]
    """As the manifest has them: kernel, statistic, dtype, scale, fill, transform, unit ..."""
    slots: tuple[SlotState, ...]
    """What is stored of the chip; empty where one pixel is explained."""
    chosen: Mapping[str, Mapping[str, Any]]
    """By slot, which pair or orbit a rule chose, and what phase is counted from; empty where slots are periods."""
    pixel: Pixel | None
    notes: tuple[str, ...]
    """What could not be told, and why."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; numbers that are not finite become None."""
        made: dict[str, Any] = _plain(asdict(self))
        return made


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def orbit_text(direction: object, track: object, files: object) -> str:
    """Return an orbit for people; ``files`` as an item's ``orbit_files``."""
    known = (direction, track, f"({files} orbits)" if files else None)
    return " ".join(str(part) for part in known if part not in {None, ""})
