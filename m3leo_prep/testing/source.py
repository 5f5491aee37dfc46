"""What every source must do, as a test class: subclass it, give it your source, run pytest.

    class TestMine(SourceContract):
        @pytest.fixture
        def source(self):
            return Mine(folder="data")

Override ``area``, ``slots`` and ``geobox`` where your source has no data at the default place and time.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import Polygon, box

from m3leo_prep.core.raster import STATIC, Item, Kind, Raster, Slot
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.ports.source import READ_MARGIN, Source

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

_GRID_SLACK_PX = 1e-4
"""Two windows of one grid may differ by rounding, in pixels, not more."""


class SourceContract:
    """The port's rules, checked from outside on real pixels."""

    @pytest.fixture
    def source(self) -> Source:
        """Return the source to check."""
        raise NotImplementedError("give the source to check: override the `source` fixture")

    @pytest.fixture
    def area(self) -> BaseGeometry:
        """Return a lon/lat area where the source has something."""
        return box(8.9, 49.4, 9.3, 49.6)

    @pytest.fixture
    def slots(self, source: Source) -> Sequence[Slot]:
        """Return slots in which the source has something."""
        return (STATIC,) if source.describe().is_static else parse_slots({"periods": [["2020-06-01", "2020-07-31"]]})

    @pytest.fixture
    def geobox(self) -> GeoBox:
        """Return a target inside the area: a chip of 10 m."""
        return GeoBox((448, 448), Affine(10.0, 0.0, 506_000.0, 0.0, -10.0, 5_482_000.0), "EPSG:32632")

    @pytest.fixture
    def items(self, source: Source, area: BaseGeometry, slots: Sequence[Slot]) -> list[Item]:
        """Return what the source finds; at least one item, else nothing would be checked."""
        found = list(source.find(area, slots))
        assert found, "the source finds nothing here: override `area` and `slots`"
        return found

    @pytest.fixture
    def some(self, items: list[Item], geobox: GeoBox) -> list[Item]:
        """Return a few of the items that meet the target; reading all could take long."""
        outline = _lonlat_outline(geobox)
        near = [item for item in items if item.footprint.intersects(outline)]
        assert near, "no item meets the target: override `geobox`"
        return near[:3]

    def test_it_is_a_source(self, source: Source) -> None:
        """It has the methods."""
        assert isinstance(source, Source)

    def test_describe_is_stable_and_complete(self, source: Source) -> None:
        """The same answer each time; names are unique; what goes into metadata is JSON."""
        info = source.describe()
        assert info == source.describe()
        assert info.version, "a version is part of every digest"
        assert info.variables
        names = [variable.name for variable in info.variables]
        assert len(set(names)) == len(names)
        json.dumps(dict(info.attributes))
        for variable in info.variables:
            assert variable.bands
            assert len(set(variable.bands)) == len(variable.bands)
            json.dumps(dict(variable.attributes))
            codes = [entry.code for entry in variable.legend]
            assert len(set(codes)) == len(codes)
            assert codes or variable.kind is not Kind.CLASSES, "classes need a legend"

    def test_find_answers_twice_the_same(
        self, source: Source, area: BaseGeometry, slots: Sequence[Slot], items: list[Item]
    ) -> None:
        """Content and order."""
        assert list(source.find(area, slots)) == items

    def test_find_answers_the_same_in_other_processes(
        self, source: Source, area: BaseGeometry, slots: Sequence[Slot], items: list[Item]
    ) -> None:
        """The source pickles, and no order comes from a set or a hash, which differ between processes."""
        expected = [_identity(item) for item in items]
        for found in _find_elsewhere(source, area, slots):
            assert found == expected

    def test_no_item_comes_twice(self, items: list[Item]) -> None:
        """By id."""
        ids = [item.id for item in items]
        assert len(set(ids)) == len(ids)

    def test_items_meet_the_area_and_the_slots(
        self, area: BaseGeometry, slots: Sequence[Slot], items: list[Item]
    ) -> None:
        """The footprint itself meets the area, not only its box; times are in UTC and inside a slot."""
        for item in items:
            assert item.footprint.is_valid, item.id
            assert item.footprint.intersects(area), item.id
            assert any(slot.contains(item.datetime) for slot in slots), item.id
            if item.datetime is not None:
                offset = item.datetime.utcoffset()
                assert offset is not None, f"{item.id}: a time without zone"
                assert not offset, f"{item.id}: a time that is not UTC"

    def test_a_smaller_area_has_those_items_that_meet_it(
        self, source: Source, area: BaseGeometry, slots: Sequence[Slot], items: list[Item]
    ) -> None:
        """In the same order: what an item is never depends on the area that asks."""
        west, south, east, north = area.bounds
        inner = area.intersection(box(west, south, (west + east) / 2, (south + north) / 2))
        expected = [item for item in items if item.footprint.intersects(inner)]
        assert list(source.find(inner, slots)) == expected

    def test_one_slot_has_those_items_that_fall_into_it(
        self, source: Source, area: BaseGeometry, slots: Sequence[Slot], items: list[Item]
    ) -> None:
        """No item is lost or gained by asking for slots one by one."""
        for slot in slots:
            found = {item.id for item in source.find(area, [slot])}
            assert found == {item.id for item in items if slot.contains(item.datetime)}

    def test_rasters_are_what_was_described(
        self, source: Source, slots: Sequence[Slot], geobox: GeoBox, some: list[Item]
    ) -> None:
        """Known variables, all bands, masks that are boolean, items in the order asked."""
        variables = {variable.name: variable for variable in source.describe().variables}
        rasters = list(source.read(some, geobox, slots[0]))
        assert rasters, "none of the items has pixels here: override `geobox`"
        for raster in rasters:
            assert raster.variable in variables, f"'{raster.variable}' is not in describe()"
            assert raster.data.shape[0] == len(variables[raster.variable].bands)
            assert raster.valid.dtype == np.bool_
            assert raster.geobox.crs is not None
            if raster.masked is not None:
                assert raster.masked.dtype == np.bool_
                assert not (raster.masked & raster.valid).any(), "a masked pixel is not valid"
            if np.issubdtype(raster.data.dtype, np.floating):
                assert np.isfinite(raster.data[raster.valid]).all(), "a valid pixel is a number"
            if variables[raster.variable].kind is Kind.CLASSES:
                codes = {entry.code for entry in variables[raster.variable].legend}
                assert set(np.unique(raster.data[raster.valid]).tolist()) <= codes
        order = [some.index(raster.item) for raster in rasters]
        assert order == sorted(order)

    def test_rasters_reach_beyond_the_target(
        self, source: Source, slots: Sequence[Slot], geobox: GeoBox, some: list[Item]
    ) -> None:
        """Whatever a larger read shows within the margin of the target is there in the small one, too."""
        small = _by_item(source.read(some, geobox, slots[0]))
        large = _by_item(source.read(some, geobox.pad(8 * READ_MARGIN), slots[0]))
        for key, raster in large.items():
            needed = _near(raster.geobox, geobox) & raster.valid.any(axis=0)
            if not needed.any():
                continue
            assert key in small, f"{key}: nothing came, though there is data within the margin"
            top, left = _offset(small[key].geobox, raster.geobox)
            rows, cols = np.nonzero(needed)
            height, width = small[key].geobox.shape
            inside = (rows >= top) & (rows < top + height) & (cols >= left) & (cols < left + width)
            assert inside.all(), f"{key}: {READ_MARGIN} pixels of margin are not all there"

    def test_a_pixel_does_not_depend_on_the_window(
        self, source: Source, slots: Sequence[Slot], geobox: GeoBox, some: list[Item]
    ) -> None:
        """Overlapping windows lie on one grid and agree bit for bit."""
        first = _by_item(source.read(some, geobox, slots[0]))
        rows, cols = geobox.shape
        moved = geobox.translate_pix(math.ceil(cols / 7), math.ceil(rows / 5)).crop((rows - rows // 9, cols))
        second = _by_item(source.read(some, moved, slots[0]))
        shared = sorted(first.keys() & second.keys())
        assert shared, "no item has pixels in both windows: override `geobox`"
        for key in shared:
            _same_where_both(first[key], second[key])

    def test_rasters_stay_as_they_came(
        self, source: Source, slots: Sequence[Slot], geobox: GeoBox, some: list[Item]
    ) -> None:
        """A later read of another window does not write into them."""
        kept = list(source.read(some, geobox, slots[0]))
        before = [(raster.data.copy(), raster.valid.copy()) for raster in kept]
        list(source.read(some, geobox.translate_pix(64, 64), slots[0]))
        for raster, (data, valid) in zip(kept, before, strict=True):
            assert np.array_equal(raster.valid, valid), raster.item.id
            assert np.array_equal(raster.data[valid], data[valid]), raster.item.id

    def test_threads_do_not_disturb_each_other(
        self, source: Source, slots: Sequence[Slot], geobox: GeoBox, some: list[Item]
    ) -> None:
        """Four at once, some of other windows, get what one alone gets."""
        windows = [geobox, geobox.translate_pix(64, 0), geobox, geobox.translate_pix(0, 64)]
        alone = [_by_item(source.read(some, window, slots[0])) for window in windows]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda window: _by_item(source.read(some, window, slots[0])), windows))
        for one, other in zip(alone, together, strict=True):
            assert one.keys() == other.keys()
            for key, raster in one.items():
                assert _same(raster, other[key]), key

    def test_a_pickled_source_reads_the_same(
        self, source: Source, slots: Sequence[Slot], geobox: GeoBox, some: list[Item]
    ) -> None:
        """Sources go to worker processes."""
        copy = pickle.loads(pickle.dumps(source))  # noqa: S301  our own bytes
        assert copy.describe() == source.describe()
        one, other = (_by_item(each.read(some, geobox, slots[0])) for each in (source, copy))
        assert one.keys() == other.keys()
        assert all(_same(one[key], other[key]) for key in one)

    def test_an_item_elsewhere_yields_nothing(self, source: Source, slots: Sequence[Slot], items: list[Item]) -> None:
        """On the other side of the Earth there is none of an item that is not there."""
        centre = items[0].footprint.representative_point()
        lon, lat = (centre.x + 360.0) % 360.0 - 180.0, max(-80.0, min(80.0, -centre.y))
        epsg = (32700 if lat < 0 else 32600) + min(int((lon + 180) // 6) + 1, 60)
        x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
        away = GeoBox((64, 64), Affine(10.0, 0.0, x, 0.0, -10.0, y), f"EPSG:{epsg}")
        outline = _lonlat_outline(away)
        absent = [item for item in items[:3] if not item.footprint.intersects(outline)]
        if absent:  # an item that covers the Earth is absent nowhere
            assert list(source.read(absent, away, slots[0])) == []


def _identity(item: Item) -> tuple[str, str, str, str]:
    return item.id, item.version, str(item.datetime), item.footprint.wkt


_CHILD = """
import importlib, importlib.util, pickle, sys
name, path, pickled = pickle.load(sys.stdin.buffer)
try:
    importlib.import_module(name)
except ImportError:
    # A test module, or a source from a file: known by its path.
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
source, area, slots = pickle.loads(pickled)
found = [(i.id, i.version, str(i.datetime), i.footprint.wkt) for i in source.find(area, slots)]
sys.stdout.buffer.write(pickle.dumps(found))
"""


def _find_elsewhere(source: Source, area: BaseGeometry, slots: Sequence[Slot]) -> list[list[tuple[str, ...]]]:
    """Return what two fresh processes find, whose strings hash differently."""
    module = type(source).__module__
    path = getattr(sys.modules[module], "__file__", None) or ""
    given = pickle.dumps((module, str(Path(path).resolve()), pickle.dumps((source, area, tuple(slots)))))
    children = [
        subprocess.Popen(  # noqa: S603  this interpreter
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]
    answers = [child.communicate(given) for child in children]
    for child, (_, errors) in zip(children, answers, strict=True):
        assert child.returncode == 0, f"not usable in another process:\n{errors.decode()}"
    return [pickle.loads(out) for out, _ in answers]  # noqa: S301  our own bytes


def _by_item(rasters: Any) -> dict[tuple[str, str], Raster]:
    """Return the rasters by item and variable."""
    found: dict[tuple[str, str], Raster] = {}
    for raster in rasters:
        key = (raster.item.id, raster.variable)
        assert key not in found, f"{key} came twice"
        found[key] = raster
    return found


def _lonlat_outline(geobox: GeoBox) -> BaseGeometry:
    """Return the outline in lon/lat, 17 points an edge."""
    height, width = geobox.shape
    t = np.linspace(0.0, 1.0, 17)[:-1]
    zero, one = np.zeros_like(t), np.ones_like(t)
    cols = np.concatenate([t, one, 1.0 - t, zero]) * width
    rows = np.concatenate([zero, t, one, 1.0 - t]) * height
    x, y = _positions(geobox.transform, cols, rows)
    lon, lat = Transformer.from_crs(str(geobox.crs), 4326, always_xy=True).transform(x, y)
    return Polygon(np.stack([lon, lat], axis=1))


def _positions(transform: Affine, cols: Any, rows: Any) -> tuple[Any, Any]:
    a = transform
    return a.a * cols + a.b * rows + a.c, a.d * cols + a.e * rows + a.f


def _near(native: GeoBox, target: GeoBox) -> NDArray[np.bool_]:
    """Return which native pixels have their centre within the margin of the target, (y, x)."""
    height, width = native.shape
    cols, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = _positions(native.transform, cols, rows)
    x, y = Transformer.from_crs(str(native.crs), str(target.crs), always_xy=True).transform(x, y)
    u, v = _positions(~target.transform, x, y)
    # Size of a native pixel in target pixels, along either axis.
    step_u = np.median(np.hypot(np.diff(u, axis=1), np.diff(v, axis=1))) if width > 1 else 1.0
    step_v = np.median(np.hypot(np.diff(u, axis=0), np.diff(v, axis=0))) if height > 1 else 1.0
    reach = READ_MARGIN * max(1.0, min(step_u, step_v)) - 1e-6
    height, width = target.shape
    return np.asarray((u > -reach) & (u < width + reach) & (v > -reach) & (v < height + reach))


def _offset(inner: GeoBox, outer: GeoBox) -> tuple[int, int]:
    """Return the row and column of ``inner`` in ``outer``; both must lie on one grid."""
    a, b = inner.transform, outer.transform
    assert inner.crs == outer.crs, "an item's rasters have different CRS"
    assert np.allclose((a.a, a.b, a.d, a.e), (b.a, b.b, b.d, b.e), rtol=1e-9, atol=0), "an item's pixel size changes"
    col, row = _positions(~b, a.c, a.f)
    off_grid = max(abs(col - round(col)), abs(row - round(row)))
    assert off_grid < _GRID_SLACK_PX, f"windows of an item are {off_grid:.3g} px off one grid"
    return round(row), round(col)


def _same_where_both(one: Raster, other: Raster) -> None:
    """Assert that two rasters of an item agree where they overlap."""
    row, col = _offset(other.geobox, one.geobox)
    (h1, w1), (h2, w2) = one.geobox.shape, other.geobox.shape
    r0, r1, c0, c1 = max(row, 0), min(row + h2, h1), max(col, 0), min(col + w2, w1)
    assert r1 > r0, "overlapping windows do not overlap"
    assert c1 > c0, "overlapping windows do not overlap"
    here, there = np.s_[..., r0:r1, c0:c1], np.s_[..., r0 - row : r1 - row, c0 - col : c1 - col]
    valid = one.valid[here]
    where = f"{one.item.id}, {one.variable}"
    assert np.array_equal(valid, other.valid[there]), f"{where}: validity depends on the window"
    assert np.array_equal(one.data[here][valid], other.data[there][valid]), f"{where}: pixels depend on the window"
    assert (one.masked is None) == (other.masked is None), f"{where}: only one window has a mask"
    if one.masked is not None and other.masked is not None:
        assert np.array_equal(one.masked[here], other.masked[there]), f"{where}: the mask depends on the window"


def _same(one: Raster, other: Raster) -> bool:
    masks = (one.masked is None) == (other.masked is None)
    if one.masked is not None and other.masked is not None:
        masks = np.array_equal(one.masked, other.masked)
    return bool(
        masks
        and one.geobox == other.geobox
        and np.array_equal(one.valid, other.valid)
        and np.array_equal(one.data[one.valid], other.data[other.valid])
    )
