"""The arrays per chip beside a layer's pixels: reasons, valid shares, times, counts, orbits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.pipeline.rows import NO_TIME, LayerRows
from m3leo_prep.store.metadata import (
    TIME_FILL,
    Companion,
    quality,
    time_attributes,
)

NO_ORBIT = -1
DIRECTIONS = {"ascending": 0, "descending": 1}
NO_DIRECTION = 255


def companions(rows: LayerRows) -> dict[str, Companion]:
    """Return a finished layer's arrays per chip, by name."""
    layer = rows.plan.layer
    made: dict[str, Companion] = {}
    squeeze = np.s_[:, 0] if layer.is_static else np.s_[:]
    axes = ("chip",) if layer.is_static else ("chip", "time")
    for array in layer.arrays:
        name = array.variable.name
        reason, valid = (rows.arrays[f"{part}.{name}"][squeeze] for part in ("reason", "valid"))
        made |= quality(layer, array, reason, valid)
    made["count"] = Companion(rows.arrays["acquisitions"][squeeze], axes, {"long_name": "acquisitions used"})
    times = rows.arrays["times"][squeeze]
    if (times != NO_TIME).any():
        seconds = np.where(times == NO_TIME, TIME_FILL, times // 10**9)
        for position, word in enumerate(("first", "mean", "last")):
            text = f"{word} acquisition used (UTC)"
            made[f"{word}_time"] = Companion(seconds[..., position], axes, time_attributes(text), TIME_FILL)
    return made | _orbits(rows, axes)


def _orbits(rows: LayerRows, axes: tuple[str, ...]) -> dict[str, Companion]:
    """Return orbit companions where the items know their orbit and a chip's acquisitions agree on it."""
    made: dict[str, Companion] = {}
    items = rows.plan.items
    if any("relative_orbit" in item.properties for item in items):
        orbit = [int(item.properties.get("relative_orbit", NO_ORBIT)) for item in items]
        values = _agreed(rows, orbit, NO_ORBIT).astype(np.int16)
        text = {"long_name": "relative orbit of all acquisitions used", "no_single_orbit": NO_ORBIT}
        made["relative_orbit"] = Companion(values if len(axes) > 1 else values[:, 0], axes, text, NO_ORBIT)
    if any("orbit_direction" in item.properties for item in items):
        codes = [DIRECTIONS.get(str(item.properties.get("orbit_direction")), NO_DIRECTION) for item in items]
        values = _agreed(rows, codes, NO_DIRECTION).astype(np.uint8)
        text = {
            "long_name": "orbit direction of all acquisitions used",
            "flag_values": [*DIRECTIONS.values(), NO_DIRECTION],
            "flag_meanings": " ".join([*DIRECTIONS, "mixed_or_none"]),
        }
        made["orbit_direction"] = Companion(values if len(axes) > 1 else values[:, 0], axes, text, NO_DIRECTION)
    return made


def _agreed(rows: LayerRows, of_item: list[int], otherwise: int) -> NDArray[np.int64]:
    """Return (chip, slot) the one value that all used items share."""
    shared = [[{of_item[i] for i in used} for used in chip] for chip in rows.items]
    return np.array([[values.pop() if len(values) == 1 else otherwise for values in chip] for chip in shared], np.int64)
