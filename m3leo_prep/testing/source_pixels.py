"""The rules of ``read``: what rasters hold, where they lie, and that nothing depends on how they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.raster import Kind, Raster, Variable
from m3leo_prep.ports.faults import CODES, content_fault, number_fault, place_fault
from m3leo_prep.ports.source import READ_MARGIN
from m3leo_prep.testing._rasters import chip_at, lonlat_outline, offset, same, within_margin
from m3leo_prep.testing.source_rules import Case, Rule, broken, none_of, pickled

SHARE = 0.05
"""Of the valid pixels that may lie beyond what is possible: noise, single outliers."""
LIMITS: dict[Kind, tuple[float, float]] = {
    Kind.COHERENCE: (0.0, 1.0),
    Kind.REFLECTANCE: (-0.5, 3.0),
    Kind.WRAPPED_PHASE: (-math.tau, math.tau),
    Kind.ANGLE: (-360.0, 360.0),
    Kind.UNCERTAINTY: (0.0, math.inf),
}
"""Beyond these, values of a kind cannot be; generous, to tell mistakes of unit and scale."""
DECIBELS = (-60.0, -1.0)
"""Where backscatter in dB lies; in linear power, so far below 0 is nothing but rare noise."""


def reads_what_was_described(case: Case) -> None:
    """The gate to pixels: known variables, all bands, right types, of the items asked for, in their order."""
    rasters = case.read(case.some)
    if not rasters:
        broken("no item gave a raster here", "read()", "give a target (--aoi) in which the items have pixels")
    variables = case.describe().variables
    ids = [item.id for item in case.some]
    for raster in rasters:
        none_of(content_fault(raster, variables, ids), place(raster))
    order = [ids.index(raster.item.id) for raster in rasters]
    if order != sorted(order):
        broken("rasters do not come in the order of the items", "read()", "loop over `items` as they are given")
    by_item(rasters)


def lies_where_it_was_asked(case: Case) -> None:
    """A CRS that is there and right: pixels lie near the target and on the item's footprint."""
    for raster in case.read(case.some):
        none_of(place_fault(raster, case.geobox), place(raster))
        if raster.valid.any() and not lonlat_outline(raster.geobox).intersects(raster.item.footprint):
            broken(
                "its pixels lie outside the item's footprint",
                place(raster),
                "the footprint is lon/lat, x first; check it and the CRS of the GeoBox",
            )


def holds_numbers(case: Case) -> None:
    """A valid pixel is a number."""
    for raster in case.read(case.some):
        none_of(number_fault(raster), place(raster))


def says_masks_rightly(case: Case) -> None:
    """True in ``valid`` means usable; a masked pixel was seen and is not valid."""
    for raster in case.read(case.some):
        if raster.masked is not None and (raster.masked & raster.valid).any():
            n = int((raster.masked & raster.valid).sum())
            broken(
                f"{n:,} pixels are both masked and valid",
                place(raster),
                "masked is True where the pixel was discarded: valid &= ~masked",
            )
        used, unused = raster.data[raster.valid], raster.data[~raster.valid]
        if len(used) and len(unused) and len(np.unique(used)) == 1 and len(np.unique(unused)) >= 10:
            broken(
                f"every valid pixel is {used[0]}, while those that are not valid differ",
                place(raster),
                "`valid` looks inverted: True means usable, as in data != nodata",
            )


def holds_possible_values(case: Case) -> None:
    """Codes of the legend; quantities in the unit of their kind."""
    variables = {variable.name: variable for variable in case.describe().variables}
    for raster in case.read(case.some):
        variable = variables[raster.variable]
        if not raster.valid.any():
            continue
        if variable.kind is Kind.CLASSES:
            _in_legend(raster, variable)
        elif variable.kind not in CODES:
            values = raster.data[raster.valid].astype(np.float64)
            _possible(values[np.isfinite(values)], variable.kind, place(raster))


def _in_legend(raster: Raster, variable: Variable) -> None:
    codes = {entry.code for entry in variable.legend}
    strange = sorted(set(np.unique(raster.data[raster.valid]).tolist()) - codes)
    if strange:
        broken(
            f"valid pixels hold codes that the legend lacks: {', '.join(map(str, strange[:5]))}",
            place(raster),
            "add them to the legend, or make them invalid if they mean no data",
        )


def _possible(values: NDArray[np.float64], kind: Kind, where: str) -> None:
    if len(values) == 0:
        return
    span = f"values {values.min():g} ... {values.max():g}"
    if kind is Kind.POWER:
        low, high = DECIBELS
        if ((values > low) & (values < high)).mean() > 0.5:
            broken(f"{span}: these look like dB", where, "give linear power: 10 ** (dB / 10)")
        if np.median(values) > 100:
            broken(
                f"{span}: these look like digital numbers or amplitudes",
                where,
                "give calibrated linear power, about 0.001 ... 10",
            )
        return
    low, high = LIMITS.get(kind, (-np.inf, np.inf))
    if ((values < low) | (values > high)).mean() <= SHARE:
        return
    change = f"{kind} lies in {low:g} ... {high:g}"
    if kind is Kind.REFLECTANCE and values.max() > 100:
        broken(f"{span}: this looks like scaled integers", where, "give fractions: data * 1e-4, and undo any offset")
    if kind is Kind.COHERENCE and values.max() > 1 and values.min() >= 0:
        change = f"{change}: divide by its scale (100, 255 or 10000?)"
    if kind is Kind.WRAPPED_PHASE:
        change = "wrapped phase is in rad, not degrees: np.deg2rad(data); unwrapped phase is another kind"
    broken(f"{span}: impossible for {kind}", where, change)


def reaches_beyond(case: Case) -> None:
    """Whatever a larger read shows within the margin of the target is there in the small one, too."""
    small = by_item(case.read(case.some))
    large = by_item(case.read(case.some, case.geobox.pad(8 * READ_MARGIN)))
    change = f"read geobox.pad({READ_MARGIN}), and {READ_MARGIN} pixels of your own grid more"
    for key, raster in large.items():
        needed = within_margin(raster.geobox, case.geobox) & raster.valid.any(axis=0)
        if not needed.any():
            continue
        if key not in small:
            broken("nothing came, though a larger read has data within the margin", _label(key), change)
        top, left = _on_one_grid(small[key], raster)
        rows, cols = np.nonzero(needed)
        height, width = small[key].geobox.shape
        inside = (rows >= top) & (rows < top + height) & (cols >= left) & (cols < left + width)
        if not inside.all():
            broken(f"{READ_MARGIN} pixels of margin are not all there", _label(key), change)


def ignores_the_window(case: Case) -> None:
    """Overlapping windows lie on one grid and agree bit for bit."""
    first = by_item(case.read(case.some))
    rows, cols = case.geobox.shape
    moved = case.geobox.translate_pix(math.ceil(cols / 7), math.ceil(rows / 5)).crop((rows - rows // 9, cols))
    second = by_item(case.read(case.some, moved))
    shared = sorted(first.keys() & second.keys())
    if not shared:
        broken("no item has pixels in two overlapping windows", "read()", "give a target inside the data")
    for key in shared:
        _same_where_both(first[key], second[key])


def leaves_rasters_alone(case: Case) -> None:
    """A later read of another window does not write into them."""
    kept = case.read(case.some)
    before = [(raster.data.copy(), raster.valid.copy()) for raster in kept]
    case.read(case.some, case.geobox.translate_pix(64, 64))
    for raster, (data, valid) in zip(kept, before, strict=True):
        if not (np.array_equal(raster.valid, valid) and np.array_equal(raster.data[valid], data[valid])):
            broken("a later read changed it", place(raster), "give each raster arrays of its own: no shared buffer")


def is_safe_in_threads(case: Case) -> None:
    """Four at once, some of other windows, get what one alone gets."""
    box = case.geobox
    windows = [box, box.translate_pix(64, 0), box, box.translate_pix(0, 64)]
    alone = [by_item(case.read(case.some, window)) for window in windows]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda window: by_item(case.read(case.some, window)), windows))
    for one, other in zip(alone, together, strict=True):
        _all_same(one, other, "reads in four threads differ", "keep nothing on self that read() changes, or lock it")


def reads_the_same_unpickled(case: Case) -> None:
    """Sources go to worker processes."""
    import pickle

    copy = pickle.loads(pickled(case.source))  # noqa: S301  our own bytes
    if case.describe(copy) != case.describe():
        broken("a copy describes itself otherwise", "describe()", "options must survive pickling")
    one, other = by_item(case.read(case.some)), by_item(case.read(case.some, source=copy))
    _all_same(one, other, "a pickled copy reads other pixels", "options must survive pickling")


def gives_nothing_elsewhere(case: Case) -> None:
    """On the other side of the Earth there is none of an item that is not there."""
    centre = case.items[0].footprint.representative_point()
    lon, lat = (centre.x + 360.0) % 360.0 - 180.0, max(-80.0, min(80.0, -centre.y))
    away = chip_at(lon, lat, 10.0, 64)
    outline = lonlat_outline(away)
    # An item that covers the Earth is absent nowhere.
    absent = [item for item in case.items[:3] if not item.footprint.intersects(outline)]
    if absent and case.read(absent, away):
        broken(
            "read() gave rasters of items that are not there",
            f"at lon {lon:.2f}, lat {lat:.2f}",
            "yield nothing for an item without data around the target",
        )


def by_item(rasters: Iterable[Raster]) -> dict[tuple[str, str], Raster]:
    """Return the rasters by item and variable; each comes once."""
    found: dict[tuple[str, str], Raster] = {}
    for raster in rasters:
        key = (raster.item.id, raster.variable)
        if key in found:
            broken("it came twice in one read", _label(key), "yield one raster per item and variable")
        found[key] = raster
    return found


def place(raster: Raster) -> str:
    """Return what a message says a raster is."""
    return _label((raster.item.id, raster.variable))


def _label(key: tuple[str, str]) -> str:
    return f"item {key[0]}, variable {key[1]}"


def _all_same(one: dict[Any, Raster], other: dict[Any, Raster], seen: str, change: str) -> None:
    for key in sorted(one.keys() | other.keys()):
        if key not in one or key not in other or not same(one[key], other[key]):
            broken(seen, _label(key), change)


def _on_one_grid(inner: Raster, outer: Raster) -> tuple[int, int]:
    found = offset(inner.geobox, outer.geobox)
    if isinstance(found, str):
        broken(
            found,
            place(inner),
            "cut every window from the item's one grid: whole pixel numbers from a fixed origin, never the target's",
        )
    return found


def _same_where_both(one: Raster, other: Raster) -> None:
    """Raise if two rasters of an item differ where they overlap."""
    row, col = _on_one_grid(other, one)
    (h1, w1), (h2, w2) = one.geobox.shape, other.geobox.shape
    r0, r1, c0, c1 = max(row, 0), min(row + h2, h1), max(col, 0), min(col + w2, w1)
    if r1 <= r0 or c1 <= c0:
        broken("overlapping windows do not overlap", place(one), "return the pixels around the target")
    here, there = np.s_[..., r0:r1, c0:c1], np.s_[..., r0 - row : r1 - row, c0 - col : c1 - col]
    valid = one.valid[here]
    change = "compute pixels from the item's own grid alone, not from the window"
    if not np.array_equal(valid, other.valid[there]):
        broken("validity depends on the window", place(one), change)
    if not np.array_equal(one.data[here][valid], other.data[there][valid]):
        broken("pixels depend on the window", place(one), change)
    if (one.masked is None) != (other.masked is None):
        broken("only one of two windows has a mask", place(one), change)
    masks = [mask[part] for mask, part in ((one.masked, here), (other.masked, there)) if mask is not None]
    if len(masks) == 2 and not np.array_equal(masks[0], masks[1]):
        broken("the mask depends on the window", place(one), change)


PIXEL_RULES: tuple[Rule, ...] = (
    Rule("read() gives the variables, bands and types described", "read", reads_what_was_described),
    Rule("rasters lie where they were asked for, with a CRS", "read", lies_where_it_was_asked),
    Rule("valid pixels are numbers", "read", holds_numbers),
    Rule("valid and masked say what they mean", "read", says_masks_rightly),
    Rule("values are possible for their kind", "read", holds_possible_values),
    Rule("rasters reach 4 pixels beyond the target", "read", reaches_beyond),
    Rule("pixels do not depend on the window", "read", ignores_the_window),
    Rule("a later read leaves rasters alone", "read", leaves_rasters_alone),
    Rule("threads do not disturb each other", "read", is_safe_in_threads),
    Rule("a pickled copy reads the same", "read", reads_the_same_unpickled),
    Rule("read() gives nothing where an item is not", "read", gives_nothing_elsewhere),
)
