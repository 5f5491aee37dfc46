"""The ramp passes the contract; the contract fails variants that are broken on purpose."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import STATIC, Item, Raster, Slot, SourceInfo
from m3leo_prep.ports.source import READ_MARGIN
from m3leo_prep.sources.ramp import Ramp
from m3leo_prep.testing.source import SourceContract
from m3leo_prep.testing.source_rules import Case

CHIP = GeoBox((448, 448), Affine(10.0, 0.0, 506_000.0, 0.0, -10.0, 5_482_000.0), "EPSG:32632")
AREA = box(8.9, 49.4, 9.3, 49.6)


class TestRampOnTheTargetsGrid(SourceContract):
    @pytest.fixture
    def source(self) -> Ramp:
        return Ramp()


class TestRampInDegrees(SourceContract):
    @pytest.fixture
    def source(self) -> Ramp:
        return Ramp(crs="EPSG:4326", pitch=0.0001)


class TestRampCoarserThanTheTarget(SourceContract):
    @pytest.fixture
    def source(self) -> Ramp:
        return Ramp(crs="EPSG:32631", pitch=90.0)


def read(ramp: Ramp, geobox: GeoBox) -> Raster:
    (raster,) = ramp.read(list(ramp.find(AREA, [STATIC])), geobox, STATIC)
    return raster


@pytest.mark.parametrize(("crs", "pitch"), [("utm", 10.0), ("utm", 7.0), ("EPSG:4326", 0.0001), ("EPSG:3035", 25.0)])
def test_values_are_the_coordinates_of_the_pixel_centres(crs: str, pitch: float) -> None:
    raster = read(Ramp(crs, pitch), CHIP)
    transform = raster.geobox.transform
    for row, col in [(0, 0), (3, 5), (raster.data.shape[1] - 1, raster.data.shape[2] - 1)]:
        x, y = transform * (col + 0.5, row + 0.5)
        assert raster.data[:, row, col] == pytest.approx([x, y], rel=1e-13)
    assert raster.valid.all()


def test_default_pixels_are_those_of_the_chip() -> None:
    raster = read(Ramp(), CHIP)
    assert (CHIP.transform.c - raster.geobox.transform.c) % 10 == 0
    assert (raster.geobox.transform.f - CHIP.transform.f) % 10 == 0


@pytest.mark.parametrize(("lon", "lat"), [(-180.0, 10.0), (179.99, -60.0), (3.0, 80.0), (0.0, 0.0)])
def test_lonlat_window_covers_the_chip_everywhere(lon: float, lat: float) -> None:
    # Also across the antimeridian, where longitudes run on beyond 180.
    epsg = (32600 if lat >= 0 else 32700) + min(int((lon + 180) // 6) + 1, 60)
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    chip = GeoBox((448, 448), Affine(10.0, 0.0, x - 2240, 0.0, -10.0, y + 2240), f"EPSG:{epsg}")
    raster = read(Ramp("EPSG:4326", 0.0005), chip)
    cols, rows = np.meshgrid(np.linspace(0, 448, 29), np.linspace(0, 448, 29))
    corner_lon, corner_lat = Transformer.from_crs(epsg, 4326, always_xy=True).transform(
        *(chip.transform * (cols, rows))
    )
    west, south, east, north = raster.geobox.boundingbox
    corner_lon = corner_lon + 360 * (corner_lon < west) - 360 * (corner_lon > east)
    assert east - west < 2, "one piece, not around the Earth"
    margin = READ_MARGIN * 0.0005
    assert west + margin <= corner_lon.min()
    assert corner_lon.max() <= east - margin
    assert south + margin <= corner_lat.min()
    assert corner_lat.max() <= north - margin


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pitch": 0}, "pitch must be a positive number, not 0"),
        ({"pitch": float("nan")}, "pitch must be a positive number, not nan"),
        ({"crs": "nowhere"}, "unknown crs 'nowhere'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Ramp(**options)


# Sources that are wrong in one way each. The contract must see every one.


@dataclass(frozen=True, slots=True)
class Good:
    """Tiles of the ramp, 0.1 degree wide; the start of all broken ones, and itself right."""

    def describe(self) -> SourceInfo:
        return Ramp().describe()

    def find(self, area: Any, slots: Sequence[Slot]) -> Iterator[Item]:
        for x in range(85, 95):
            for y in range(490, 500):
                item = Item(f"x{x}y{y}", box(x / 10, y / 10, x / 10 + 0.1, y / 10 + 0.1))
                if item.footprint.intersects(area):
                    yield item

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:
        raster = read(Ramp(), geobox)
        transform = raster.geobox.transform
        rows, cols = raster.geobox.shape
        x, y = transform * np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5)
        lon, lat = Transformer.from_crs(str(geobox.crs), 4326, always_xy=True).transform(x, y)
        for item in items:
            west, south, east, north = item.footprint.bounds
            inside = (lon >= west) & (lon < east) & (lat >= south) & (lat < north)
            if inside.any():
                yield replace(raster, item=item, valid=np.stack([inside, inside]))


class Shifted(Good):
    """Snaps to the window instead of to a grid."""

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:
        for raster in super().read(items, geobox, slot):
            step = int(geobox.transform.c) // 10 % 3
            yield replace(raster, data=np.roll(raster.data, step, axis=2))


class OffGrid(Good):
    """Begins its pixels at the window's corner, a fraction of a pixel that changes."""

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:
        for raster in super().read(items, geobox, slot):
            moved = raster.geobox.translate_pix(0.25 * (int(geobox.transform.c) // 10 % 3), 0)
            yield replace(raster, geobox=moved)


class BySet(Good):
    def find(self, area: Any, slots: Sequence[Slot]) -> Iterator[Item]:
        found = {item.id: item for item in super().find(area, slots)}
        return (found[name] for name in set(found))


class ByChance(Good):
    def find(self, area: Any, slots: Sequence[Slot]) -> Iterator[Item]:
        found = list(super().find(area, slots))
        random.shuffle(found)
        return iter(found)


class NoMargin(Good):
    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:
        for raster in super().read(items, geobox, slot):
            # The ramp gives more than it must: all but three pixels of it go.
            more = round((geobox.transform.c - raster.geobox.transform.c) / 10) - 3
            cut = np.s_[:, more:-more, more:-more]
            inner = raster.geobox.pad(-more)
            yield replace(raster, data=raster.data[cut], valid=raster.valid[cut], geobox=inner)


class Twice(Good):
    def find(self, area: Any, slots: Sequence[Slot]) -> Iterator[Item]:
        for item in super().find(area, slots):
            yield from (item, item)


class ByBox(Good):
    """Gives what meets the area's bounding box."""

    def find(self, area: Any, slots: Sequence[Slot]) -> Iterator[Item]:
        return super().find(area.envelope.buffer(0.15), slots)


class DependsOnTheArea(Good):
    """Cuts its footprints to the area that asks."""

    def find(self, area: Any, slots: Sequence[Slot]) -> Iterator[Item]:
        for item in super().find(area, slots):
            yield replace(item, footprint=item.footprint.intersection(area))


class NumericMask(Good):
    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:
        for raster in super().read(items, geobox, slot):
            yield replace(raster, valid=raster.valid.astype("uint8"))


class UnknownVariable(Good):
    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:
        return (replace(raster, variable="other") for raster in super().read(items, geobox, slot))


class OneBand(Good):
    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:
        for raster in super().read(items, geobox, slot):
            yield replace(raster, data=raster.data[:1], valid=raster.valid[:1])


class NanIsValid(Good):
    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:
        for raster in super().read(items, geobox, slot):
            yield replace(raster, data=np.where(raster.data == raster.data[0, 9, 9], np.nan, raster.data))


class Everywhere(Good):
    """Says something where it has nothing."""

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:
        raster = read(Ramp(), geobox)
        return (replace(raster, item=item) for item in items)


class SharedBuffer(Good):
    """Keeps its pixels in one array for all callers."""

    buffer: dict[tuple[int, ...], Any] = {}  # noqa: RUF012  the fault shown

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster]:
        for raster in super().read(items, geobox, slot):
            shared = self.buffer.setdefault(raster.data.shape, np.empty_like(raster.data))
            shared[:] = raster.data
            yield replace(raster, data=shared)


class NoPickle(Good):
    def __reduce__(self) -> Any:
        raise TypeError("holds an open file")


CHECKS = sorted(name.removeprefix("test_") for name in vars(SourceContract) if name.startswith("test_"))


def holds(source: Any, name: str) -> bool:
    """Return whether ``source`` passes one check of the contract."""
    check: Callable[[Case], None] = getattr(SourceContract(), f"test_{name}")
    try:
        check(Case(source, AREA, (STATIC,), CHIP))
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("check", CHECKS)
def test_the_good_one_passes(check: str) -> None:
    assert holds(Good(), check)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Shifted, "a_pixel_does_not_depend_on_the_window"),
        (OffGrid, "a_pixel_does_not_depend_on_the_window"),
        (BySet, "find_answers_the_same_in_other_processes"),
        (ByChance, "find_answers_twice_the_same"),
        (NoMargin, "rasters_reach_beyond_the_target"),
        (Twice, "no_item_comes_twice"),
        (ByBox, "items_meet_the_area_and_the_slots"),
        (DependsOnTheArea, "a_smaller_area_has_those_items_that_meet_it"),
        (NumericMask, "rasters_are_what_was_described"),
        (UnknownVariable, "rasters_are_what_was_described"),
        (OneBand, "rasters_are_what_was_described"),
        (NanIsValid, "valid_pixels_are_numbers"),
        (Everywhere, "an_item_elsewhere_yields_nothing"),
        (SharedBuffer, "rasters_stay_as_they_came"),
        (NoPickle, "a_pickled_source_reads_the_same"),
    ],
)
def test_the_contract_sees_a_broken_source(broken: type[Good], check: str) -> None:
    assert not holds(broken(), check)
