"""Codes of classes: which are known, what may be renumbered, and numbers cut into classes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import CLASS_FILL
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import LegendClass
from m3leo_prep.sources.local.header import BandHeader, Header
from m3leo_prep.sources.local.options import numbers

NO_CLASS = CLASS_FILL
"""Code of a pixel that was seen and belongs to no class of the legend: no legend may hold it, so that encoding masks
and counts it as out of range."""
_SHOWN = 8
"""Codes that a message lists."""


def parse_bins(value: Any) -> tuple[float, ...] | None:
    """Return the edges of ``bins:``, increasing; the first and last may be infinite.

    Raises:
        ConfigError: they are anything else, or make more classes than there are codes.
    """
    edges = numbers("bins", value)
    if edges is None:
        return None
    hint = "bins: [0, 1, 11, 21, .inf] makes the classes 0-1, 1-11, 11-21 and 21+"
    if len(edges) < 2 or not all(a < b for a, b in pairwise(edges)):
        raise ConfigError(f"bins: {value!r} are not two or more increasing numbers", hint=hint)
    if len(edges) - 1 > NO_CLASS:
        raise ConfigError(f"bins: {len(edges) - 1} classes do not fit one byte", hint=f"at most {NO_CLASS}")
    return edges


def bin_legend(edges: Sequence[float]) -> tuple[LegendClass, ...]:
    """Return the classes between edges: codes from 0, named by their half-open intervals."""
    return tuple(LegendClass(code, _interval(low, high)) for code, (low, high) in enumerate(pairwise(edges)))


def bin_codes(values: NDArray[Any], edges: Sequence[float]) -> NDArray[np.uint8]:
    """Return the class of each value, uint8: ``low <= value < high``; outside all bins ``NO_CLASS``.

    Fractions are compared as the values store them: 0.7 of a file in float32 lies on the edge 0.7, and not below it.
    """
    work = np.float32 if values.dtype == np.float32 else np.float64
    inner = np.searchsorted(np.asarray(edges, work), values.astype(work, copy=False), side="right") - 1
    outside = (inner < 0) | (inner >= len(edges) - 1)
    return np.where(outside, NO_CLASS, inner).astype(np.uint8)


def check_remap(remap: Mapping[int, int], codes: Iterable[int]) -> None:
    """Raise ConfigError if renumbering would make one class of two.

    It does if two codes get the same number, or if one gets the number of a class that keeps its own.

    Args:
        remap: old code -> new code.
        codes: those that the files are known to use.
    """
    hint = "give each class a number of its own, or say `merge: true` if they are to become one"
    taken: dict[int, int] = {}
    for old, new in sorted(remap.items()):
        if new in taken:
            raise ConfigError(f"remap: {taken[new]} and {old} would both become {new}", hint=hint)
        taken[new] = old
    for code in sorted(set(codes) - remap.keys()):
        if code in taken:
            raise ConfigError(f"remap: {taken[code]} would become {code}, a class that is there already", hint=hint)


def remap_legend(legend: Iterable[LegendClass], remap: Mapping[int, int]) -> tuple[LegendClass, ...]:
    """Return the legend after renumbering, by code; of classes that become one, the lowest old code gives the name."""
    made: dict[int, LegendClass] = {}
    for one in sorted(legend, key=lambda one: one.code):
        code = remap.get(one.code, one.code)
        made.setdefault(code, LegendClass(code, one.name, one.color))
    return tuple(made[code] for code in sorted(made))


def palette_legend(
    head: Header, band: BandHeader, remap: Mapping[int, int], *, merge: bool = False
) -> tuple[LegendClass, ...]:
    """Return the classes of a colour table, with names where the tag ``legend`` lists them (ESA WorldCover).

    Codes that ``remap`` changes are listed as they become.

    Raises:
        ConfigError: without ``merge``, ``remap`` makes one class of two.
    """
    listed = re.findall(r"^\s*(\d+)\s+(\S.*?)\s*$", head.tags.get("legend", ""), re.MULTILINE)
    names = {int(code): name for code, name in listed}
    codes = names.keys() | band.palette.keys()
    if remap and not merge:
        check_remap(remap, codes)
    classes = (LegendClass(code, names.get(code, f"class_{code}"), band.palette.get(code, "")) for code in codes)
    return remap_legend(classes, remap)


def remapped(
    stored: NDArray[Any], valid: NDArray[np.bool_], remap: Mapping[int, int], where: str, *, merge: bool
) -> NDArray[Any]:
    """Return renumbered codes.

    Raises:
        ConfigError: without ``merge``, a valid pixel has a number that another class is to get.
    """
    if not merge:
        taken = np.array(sorted(set(remap.values()) - remap.keys()), np.int64)
        present = np.unique(stored[valid & np.isin(stored, taken)])
        if len(present):
            old = next(old for old, new in remap.items() if new == present[0])
            raise ConfigError(
                f"remap: {old} would become {present[0]}, a class that the file has already",
                where=where,
                hint="choose another number, or say `merge: true` if they are to become one",
            )
    out = stored.astype(np.result_type(stored.dtype, *(np.min_scalar_type(new) for new in remap.values())))
    for old, new in remap.items():
        out[stored == old] = new
    return out


def unknown(codes: NDArray[Any], valid: NDArray[np.bool_], legend: Iterable[int]) -> NDArray[np.bool_]:
    """Return True where a valid pixel has a code that the legend lacks."""
    listed = np.array(sorted(legend), np.int64)
    if codes.dtype.itemsize > 2:
        return np.asarray(valid & ~np.isin(codes, listed))
    # One look-up a pixel by its bits: ten times as fast, and every pixel of every land cover map comes by here.
    info, bits = np.iinfo(codes.dtype), np.dtype(f"u{codes.dtype.itemsize}")
    strange = np.ones(2 ** (8 * bits.itemsize), bool)
    strange[listed[(listed >= info.min) & (listed <= info.max)].astype(codes.dtype).view(bits)] = False
    return np.asarray(valid & strange[codes.view(bits)])


def refuse(stored: NDArray[Any], where: str) -> ConfigError:
    """Return the error about codes that the legend lacks, each with its number of pixels.

    Args:
        stored: the pixels in question, as stored.
        where: the file.
    """
    codes, counts = np.unique(stored, return_counts=True)
    listed = ", ".join(f"{code} ({n:,} px)" for code, n in zip(codes[:_SHOWN], counts[:_SHOWN], strict=True))
    more = f" and {len(codes) - _SHOWN} more" if len(codes) > _SHOWN else ""
    return ConfigError(
        f"holds class codes that the legend lacks: {listed}{more}",
        where=where,
        hint="name them in `legend:`, renumber them by `remap:`, list them in `nodata:` if they mean no data, or say "
        "`unknown: ignore` to mask and count them",
    )


def _interval(low: float, high: float) -> str:
    if math.isinf(high):
        return f"{low:g}+" if math.isfinite(low) else "all"
    return f"{low:g}-{high:g}" if math.isfinite(low) else f"below {high:g}"
