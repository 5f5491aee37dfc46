"""One window, one slot: tiles of a pass, several passes, zones, statistics. Small rasters worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box

from m3leo_prep.core.encoding import default_encoding
from m3leo_prep.core.errors import ConfigError, NoData
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.raster import STATIC, Item, Kind, LegendClass, Raster, SourceInfo, Variable
from m3leo_prep.pipeline.derive import Derived, derive, in_groups

WORLD = box(-180, -90, 180, 90)
CHIP = GeoBox((8, 8), Affine(10, 0, 690_000, 0, -10, 6_200_080), "EPSG:32632")


@dataclass(frozen=True)
class Shelf:
    """Gives the rasters it was handed."""

    rasters: tuple[Raster, ...]

    def describe(self) -> SourceInfo:
        return SourceInfo((), version="1")

    def find(self, area: Any, slots: Any) -> Iterator[Item]:
        raise NotImplementedError

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: object) -> Iterator[Raster]:
        yield from (raster for raster in self.rasters if raster.item in items)


def layer(statistic: str = "mean", kind: Kind = Kind.POWER, method: str = "nearest", size: int = 8) -> Layer:
    legend = (LegendClass(1, "one"), LegendClass(2, "two")) if kind is Kind.CLASSES else ()
    variable = Variable("v", kind, ("b",), legend=legend)
    array = Array(variable, default_encoding(variable), method, statistic, 1)  # type: ignore[arg-type]
    return Layer("a", "input", 10.0, size, (STATIC,), (array,), 64, 1, 1)


def tile(
    value: float,
    name: str,
    *,
    columns: slice = slice(0, 8),
    day: int | None = None,
    acquisition: str = "",
    epsg: int = 32632,
    dtype: str = "float32",
) -> Raster:
    """Return a tile that covers some columns of the chip, or, in another zone, all of it."""
    when = None if day is None else datetime(2020, 1, day, tzinfo=UTC)
    item = Item(name, WORLD, datetime=when, acquisition=acquisition)
    around = CHIP.pad(4)
    if epsg != 32632:
        x, y = Transformer.from_crs("EPSG:32632", f"EPSG:{epsg}", always_xy=True).transform(690_040, 6_200_040)
        shape = (60, 60)
        geobox = GeoBox(shape, Affine(10, 0, x // 10 * 10 - 300, 0, -10, y // 10 * 10 + 300), f"EPSG:{epsg}")
        data = np.full((1, *shape), value, dtype)
        return Raster(data, np.ones(data.shape, bool), geobox, item, "v")
    data = np.full((1, *around.shape), value, dtype)
    valid = np.zeros(data.shape, bool)
    valid[:, :, columns.start + (4 if columns.start else 0) : columns.stop + (8 if columns.stop == 8 else 4)] = True
    return Raster(data, valid, around, item, "v")


def made(rasters: Sequence[Raster], of: Layer, order: Sequence[int] | None = None) -> Derived:
    items = in_groups([rasters[i].item for i in (order or range(len(rasters)))])
    return derive(Shelf(tuple(rasters)), of, items, CHIP, STATIC)


def test_one_acquisition_counts_once_however_many_tiles_carry_it() -> None:
    """D104: two overlapping slices of one pass and one other pass: the mean weighs them 1 : 1."""
    rasters = [
        tile(2.0, "slice1", day=1, acquisition="pass", columns=slice(0, 6)),
        tile(2.0, "slice2", day=1, acquisition="pass", columns=slice(3, 8)),
        tile(4.0, "other", day=2),
    ]
    result = made(rasters, layer())
    look = result.looks["v"]
    assert look is not None
    assert (look.values == 3.0).all(), "2 + 2 + 4 over three would be 2.67 where the slices overlap"
    assert {item.acquisition or item.id for item, _ in result.used.values()} == {"pass", "other"}


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
@pytest.mark.parametrize("statistic", ["mean", "first"])
def test_own_zone_tiles_win_whatever_the_order(order: list[int], statistic: str) -> None:
    """D104: a neighbour-zone tile of the same pass only fills what the own zone does not cover."""
    own = tile(1.0, "own", day=1, acquisition="pass", columns=slice(0, 5))
    foreign = tile(9.0, "foreign", day=1, acquisition="pass", epsg=32633)
    look = made([own, foreign], layer(statistic), order).looks["v"]
    assert look is not None
    assert (look.values[0, :, :5] == 1).all()
    assert (look.values[0, :, 5:] == 9).all()
    assert look.valid.all()


def test_first_and_last_are_each_others_mirror() -> None:
    rasters = [tile(1.0, "new", day=3, columns=slice(0, 5)), tile(2.0, "old", day=1)]
    first = made(rasters, layer("first")).looks["v"]
    last = made(rasters, layer("last")).looks["v"]
    assert first is not None
    assert last is not None
    assert (first.values[0, :, :5] == 1).all()
    assert (first.values[0, :, 5:] == 2).all()
    assert (last.values == 2).all()


def test_no_code_appears_at_the_seam_of_two_class_tiles_in_two_zones() -> None:
    """D16: neither 0 nor a mean of codes."""
    left = tile(1, "left", columns=slice(0, 4), dtype="uint8")
    right = tile(2, "right", epsg=32633, dtype="uint8")
    look = made([left, right], layer("first", Kind.CLASSES)).looks["v"]
    assert look is not None
    assert look.valid.all()
    assert set(np.unique(look.values)) == {1, 2}
    assert (look.values[0, :, :4] == 1).all()


@pytest.mark.parametrize("statistic", ["min", "max", "median", "mean"])
def test_integer_and_float_scenes_may_meet(statistic: str) -> None:
    rasters = [tile(3, "a", day=1, dtype="int16"), tile(5.5, "b", day=2), tile(4, "c", day=3, epsg=32633)]
    look = made(rasters, layer(statistic, Kind.CONTINUOUS, "bilinear")).looks["v"]
    assert look is not None
    expected = {"min": 3, "max": 5.5, "median": 4, "mean": 12.5 / 3}[statistic]
    assert look.values == pytest.approx(expected)


def test_what_was_seen_but_masked_is_not_uncovered() -> None:
    """A kernel with too few valid neighbours beside a cloud leaves a hole, but the place was observed."""
    whole = tile(1.0, "a", day=1)
    cloud = np.zeros(whole.data.shape[1:], bool)
    cloud[:, 7] = True
    valid = whole.valid & ~cloud
    shifted = GeoBox(whole.geobox.shape, Affine.translation(4, 3) @ whole.geobox.affine, whole.geobox.crs)
    raster = Raster(whole.data, valid, shifted, whole.item, "v", cloud)
    look = derive(Shelf((raster,)), layer("mean", method="bspline"), [whole.item], CHIP, STATIC).looks["v"]
    assert look is not None
    assert not look.valid.all()
    assert look.observed.all()


def test_a_band_that_an_item_does_not_hold_was_not_observed() -> None:
    """Ascending passes have no descending bands, whatever lies in layover."""
    variable = Variable("v", Kind.POWER, ("asc", "desc"))
    array = Array(variable, default_encoding(variable), "nearest", "mean", 2)
    two = Layer("a", "input", 10.0, 8, (STATIC,), (array,), 64, 1, 1)
    one = tile(1.0, "a", day=1)
    data = np.concatenate([one.data] * 2)
    masked = np.zeros(data.shape, bool)
    masked[0, :, :9] = True
    valid = np.stack([one.valid[0] & ~masked[0], np.zeros_like(one.valid[0])])
    raster = Raster(data, valid, one.geobox, one.item, "v", masked)
    look = derive(Shelf((raster,)), two, [one.item], CHIP, STATIC).looks["v"]
    assert look is not None
    assert look.observed[0].all()
    assert not look.observed[1].any()


def test_a_source_may_say_that_there_is_nothing() -> None:
    class Empty(Shelf):
        def read(self, items: Sequence[Item], geobox: GeoBox, slot: object) -> Iterator[Raster]:
            raise NoData("beyond the swath")

    item = tile(1.0, "a").item
    result = derive(Empty(()), layer(), [item], CHIP, STATIC)
    assert result.looks == {"v": None}
    assert result.used == {}


def test_a_source_that_gives_what_it_did_not_describe_is_named() -> None:
    wrong = tile(1.0, "scene7")
    two = Raster(np.concatenate([wrong.data] * 2), np.concatenate([wrong.valid] * 2), wrong.geobox, wrong.item, "v")
    with pytest.raises(ConfigError, match=r"layer a, item scene7: source gave 2 bands of 'v', described 1"):
        made([two], layer())


def test_used_items_are_told_chip_by_chip() -> None:
    """Two chips side by side, each covered by its own tile."""
    rasters = [tile(1.0, "west", columns=slice(0, 4)), tile(2.0, "east", columns=slice(4, 8))]
    small = layer("first", size=4)
    result = derive(Shelf(tuple(rasters)), small, in_groups(r.item for r in rasters), CHIP, STATIC)
    chips = {name: grid.any(axis=0).tolist() for name, (_, grid) in result.used.items()}
    assert chips == {"west": [True, False], "east": [False, True]}
