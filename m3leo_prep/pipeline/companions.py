"""The arrays per chip beside a layer's pixels: reasons, valid shares, times, counts, orbits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.pipeline.rows import NO_TIME, LayerRows
from m3leo_prep.store.metadata import (
    TIME_FILL,
    Companion,
    band_axis,
    quality,
    time_attributes,
)

NO_ORBIT = NO_FRAME = NO_VERSION = -1
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
    return made | _orbits(rows, axes) | _pairs(rows, axes) | _references(rows, axes)


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


def _pairs(rows: LayerRows, axes: tuple[str, ...]) -> dict[str, Companion]:
    """Return what items say of their pair, frame and version: numbers that a model can be fed."""
    items = rows.plan.items
    made: dict[str, Companion] = {}

    def put(name: str, values: NDArray[Any], attributes: dict[str, Any], fill: float) -> None:
        if any(name in item.properties for item in items):
            made[name] = Companion(values if len(axes) > 1 else values[:, 0], axes, attributes, fill)

    for name, word in (("reference_time", "later"), ("secondary_time", "earlier")):
        # The frames of a pair begin within seconds of each other: the first of them tells.
        times = _per_slot(rows, [_seconds(item.properties.get(name)) for item in items], min, TIME_FILL)
        put(name, times.astype(np.int64), time_attributes(f"{word} acquisition of the pair (UTC)"), TIME_FILL)
    frames = _agreed(rows, [int(item.properties.get("frame", NO_FRAME)) for item in items], NO_FRAME)
    put("frame", frames.astype(np.int32), {"long_name": "frame of all items used", "no_single_frame": NO_FRAME}, -1)
    of_item = [float(item.properties.get("perp_baseline", np.nan)) for item in items]
    baselines = _per_slot(rows, of_item, lambda found: float(np.mean(found)), np.nan)
    text = {"long_name": "perpendicular baseline, mean of the items used", "units": "m"}
    put("perp_baseline", baselines.astype(np.float32), text, np.nan)
    codes = [version_code(str(item.properties.get("product_version", ""))) for item in items]
    known = sorted(set(codes) - {NO_VERSION})
    about = {
        "long_name": "product version of all items used: major x 10 000 + minor x 100 + patch",
        "flag_values": [*known, NO_VERSION],
        "flag_meanings": " ".join([*(version_name(code) for code in known), "mixed_or_none"]),
    }
    put("product_version", _agreed(rows, codes, NO_VERSION).astype(np.int32), about, NO_VERSION)
    return made


def _references(rows: LayerRows, axes: tuple[str, ...]) -> dict[str, Companion]:
    """Return what the layer's unwrapped phase is counted from, in its physical unit."""
    for array in rows.plan.layer.arrays:
        codes = rows.arrays.get(f"reference.{array.variable.name}")
        if codes is None:
            continue
        values = (codes * array.encoding.scale).astype(np.float64)
        values = values if len(axes) > 1 else values[:, 0]
        is_one = array.n_bands == 1
        text = {
            "long_name": "median of the largest connected component of the chip: what statistics count phase from",
            "units": array.encoding.unit,
            "of_variable": array.variable.name,
        }
        of_bands = (*axes, band_axis(rows.plan.layer, array))
        return {
            "phase_reference": Companion(
                values[..., 0] if is_one else values, axes if is_one else of_bands, text, np.nan
            )
        }
    return {}


def version_code(text: str) -> int:
    """Return a version as one number, ``NO_VERSION`` for what is none.

    >>> version_code("3.0.1"), version_code("2_0_6"), version_code("")
    (30001, 20006, -1)
    """
    parts = text.lstrip("v").replace("_", ".").split(".")
    if not text or not all(part.isdigit() and int(part) < 100 for part in parts) or len(parts) > 3:
        return NO_VERSION
    major, minor, patch = (*map(int, parts), 0, 0)[:3]
    return major * 10_000 + minor * 100 + patch


def version_name(code: int) -> str:
    """Return the version that a code stands for, as one word."""
    return f"v{code // 10_000}_{code // 100 % 100}_{code % 100}"


def _seconds(text: Any) -> int:
    return TIME_FILL if text is None else int(datetime.fromisoformat(str(text)).timestamp())


def _per_slot(rows: LayerRows, of_item: Sequence[Any], join: Callable[[list[Any]], Any], nothing: Any) -> NDArray[Any]:
    """Return (chip, slot) what the used items make together; ``nothing`` where none says anything."""

    def one(used: Sequence[int]) -> Any:
        known = [of_item[i] for i in used if of_item[i] == of_item[i] and of_item[i] != nothing]
        return join(known) if known else nothing

    return np.array([[one(used) for used in chip] for chip in rows.items])


def _agreed(rows: LayerRows, of_item: list[int], otherwise: int) -> NDArray[np.int64]:
    """Return (chip, slot) the one value that all used items share."""
    shared = [[{of_item[i] for i in used} for used in chip] for chip in rows.items]
    return np.array([[values.pop() if len(values) == 1 else otherwise for values in chip] for chip in shared], np.int64)
