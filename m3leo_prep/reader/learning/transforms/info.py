"""What each key of a sample is, as transforms need to know it: told by the dataset, never guessed from tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.raster import Kind

if TYPE_CHECKING:
    from m3leo_prep.reader.learning.chips import ChipDataset
    from m3leo_prep.reader.selection import Pick

Direction = Literal["none", "azimuth", "vector", "unknown"]
DIRECTIONS = ("none", "azimuth", "vector", "unknown")
_TILTS = {"inc", "incidence", "look", "lia", "zenith", "slope"}
"""Angles from the vertical: turning the ground about it leaves them as they are."""
_BEARINGS = {"azimuth", "heading", "bearing", "aspect", "track"}
_COMPONENTS = {"e", "n", "u", "east", "north", "up", "x", "y", "z"}


@dataclass(frozen=True, slots=True, eq=False)
class KeyInfo:
    """One key of a sample."""

    kind: str
    """As in ``core.raster.Kind``: what its numbers mean."""
    unit: str
    bands: tuple[str, ...]
    pitch: float
    """Metres from pixel to pixel, as stored."""
    size: int
    """Pixels a side, as stored."""
    is_class: bool
    is_static: bool
    role: str
    """``input`` or ``label``, as in the recipe."""
    direction: Direction
    """What it says of directions on the ground: nothing, degrees clockwise from north (``azimuth``), an east and a
    north component (``vector``), or something whose convention is not known."""
    legend: tuple[tuple[int, str], ...] = ()
    """(code, name) of each class."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    mean: NDArray[np.float32] | None = None
    """(band or 1, 1, 1): the sample holds (value - mean) / std; None = values are physical."""
    std: NDArray[np.float32] | None = None
    phase: Literal["", "raw", "rereferenced", "wrapped", "displacement"] = ""
    """What became of unwrapped phase: as stored, minus the chip's reference, (cos, sin), or metres towards the sensor;
    empty of what never was one."""

    @property
    def is_normalized(self) -> bool:
        """True where the sample does not hold physical values."""
        return self.mean is not None

    @property
    def metres(self) -> float:
        """Extent of a chip."""
        return self.pitch * self.size


Keys = Mapping[str, KeyInfo]


def key_info(chips: ChipDataset) -> dict[str, KeyInfo]:
    """Return what each key of the samples of a dataset is.

    Where several datasets differ (``allow_mixed``) in what a key says of directions, that is ``unknown``.
    """
    return dict(chips.keys)


def describe(
    picks: Sequence[Mapping[str, Pick]], statistics: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]
) -> dict[str, KeyInfo]:
    """Return what each key is, from what is read of each dataset and the (mean, std) by which keys are normalised."""
    made = {}
    for key, pick in {key: pick for of_dataset in reversed(picks) for key, pick in of_dataset.items()}.items():
        found = {direction_of(other[key]) for other in picks if key in other}
        mean, std = statistics.get(key, (None, None))
        made[key] = KeyInfo(
            kind=pick.array.kind,
            unit=pick.array.unit,
            bands=_bands(pick),
            pitch=pick.layer.pitch,
            size=pick.layer.size,
            is_class=pick.array.is_class,
            is_static=pick.layer.is_static,
            role=pick.layer.role,
            direction=found.pop() if len(found) == 1 else "unknown",
            legend=tuple((one["code"], one["name"]) for one in pick.array.about.get("legend") or ()),
            attributes=pick.array.attributes,
            mean=mean,
            std=std,
        )
    return made


def direction_of(pick: Pick) -> Direction:
    """Return what a variable says of directions on the ground.

    Its attribute ``direction`` (none, azimuth, vector) decides. Without one: the unit vector down the slope that
    ``terrain: [aspect]`` computes is a vector; angles are by their names tilts, which no turn changes, or else not
    known; so are components of vectors (LOS east, north) and continuous bands that are named as bearings.
    """
    told = pick.array.attributes.get("direction")
    if told in DIRECTIONS:
        return told  # type: ignore[no-any-return]  # it is one of the literals
    bands = _bands(pick)
    if "computed_from" in pick.array.attributes and set(pick.array.bands) == {"east", "north"}:
        return "vector"
    words = {word for name in (*bands, pick.array.name) for word in re.split(r"[^a-z0-9]+", name.lower())}
    if pick.array.kind == Kind.ANGLE:
        return "none" if words & _TILTS and not words & _BEARINGS else "unknown"
    if pick.array.kind not in {Kind.CONTINUOUS, Kind.UNCERTAINTY}:
        return "none"
    lettered = {re.sub(r"^(los|d|v|u)_?", "", band.lower()) for band in bands}
    is_components = len(bands) > 1 and {band.lower() for band in bands} | lettered >= {"east", "north"}
    is_bearing = bool(words & _BEARINGS) and pick.array.unit.startswith("deg")
    is_los = "los" in words and bool(lettered & _COMPONENTS)
    return "unknown" if is_components or is_bearing or is_los else "none"


def _bands(pick: Pick) -> tuple[str, ...]:
    return tuple(pick.array.bands[k] for k in pick.bands)
