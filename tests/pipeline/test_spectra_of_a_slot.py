"""Composites that take whole spectra: bands that an image lacks, counts beside a medoid, and cloud across two zones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box

from m3leo_prep.core.encoding import default_encoding
from m3leo_prep.core.layer import Array, Layer, Statistic
from m3leo_prep.core.raster import STATIC, Item, Kind, Raster, SourceInfo, Variable
from m3leo_prep.pipeline.derive import Derived, derive, in_groups
from m3leo_prep.pipeline.explain.blend import Vote, blend

WORLD = box(-180, -90, 180, 90)
CHIP = GeoBox((4, 4), Affine(10, 0, 690_000, 0, -10, 6_200_080), "EPSG:32632")
BANDS = ("red", "nir")


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


def image(
    day: int,
    red: float | None,
    nir: float | None,
    *,
    cloud: float = 0.0,
    clouded: Sequence[str] = (),
    epsg: int = 32632,
    columns: slice = slice(0, 4),
) -> Raster:
    """Return an image of two bands: None is a band that it lacks, ``clouded`` names bands that are there but masked."""
    about = {"cloud_cover": cloud}
    item = Item(f"day{day}of{epsg}", WORLD, datetime=datetime(2020, 1, day, tzinfo=UTC), properties=about)
    item = replace(item, acquisition=f"day{day}")
    geobox = CHIP
    if epsg != 32632:
        x, y = Transformer.from_crs("EPSG:32632", f"EPSG:{epsg}", always_xy=True).transform(690_020, 6_200_060)
        geobox = GeoBox((40, 40), Affine(10, 0, x // 10 * 10 - 200, 0, -10, y // 10 * 10 + 200), f"EPSG:{epsg}")
    data = np.stack([np.full(geobox.shape, np.nan if v is None else v, np.float32) for v in (red, nir)])
    seen = np.zeros(data.shape, bool)
    seen[:, :, columns if epsg == 32632 else slice(None)] = True
    seen[[v is None for v in (red, nir)]] = False
    usable = seen & np.array([band not in clouded for band in BANDS])[:, None, None]
    return Raster(data, usable, geobox, item, "reflectance", masked=seen & ~usable)


def made(statistic: Statistic, images: Sequence[Raster]) -> Derived:
    of = Variable("reflectance", Kind.REFLECTANCE, BANDS)
    counts = Variable("reflectance_count", Kind.CONTINUOUS, BANDS)
    arrays = (
        Array(of, default_encoding(of), "nearest", statistic, 2),
        Array(counts, default_encoding(counts), "counted", "count", 2),
    )
    layer = Layer("a", "input", 10.0, 4, (STATIC,), arrays, 64, 1, 1)
    return derive(Shelf(tuple(images)), layer, in_groups([one.item for one in images]), CHIP, STATIC)


def numbers(of: Derived, name: str = "reflectance") -> tuple[list[float], list[bool]]:
    """Return the values and masks of the upper-left pixel, by band."""
    look = of.looks[name]
    assert look is not None
    return [round(float(v), 3) for v in look.values[:, 0, 0]], look.valid[:, 0, 0].tolist()


def test_counts_beside_a_medoid_are_of_images_that_could_be_it() -> None:
    images = [image(1, 0.1, 0.5), image(2, 0.2, 0.9, clouded=["nir"]), image(3, 0.3, 0.1)]
    assert numbers(made("medoid", images), "reflectance_count") == ([2, 2], [True, True])
    assert numbers(made("median", images), "reflectance_count") == ([3, 2], [True, True])


def test_no_pixel_that_a_medoid_leaves_empty_counts_anything() -> None:
    found = made("medoid", [image(1, 0.1, 0.5, clouded=["nir"])])
    assert numbers(found)[1] == [False, False]
    assert numbers(found, "reflectance_count") == ([0, 0], [True, True])


def test_a_band_that_no_image_has_does_not_hide_the_others() -> None:
    found = made("medoid", [image(1, 0.1, None), image(2, 0.2, None), image(3, 0.9, None)])
    values, valid = numbers(found)
    assert valid == [True, False], "it was no cloud that hid the red band"
    assert values[0] == 0.2
    look = found.looks["reflectance"]
    assert look is not None
    assert not look.observed[1].any(), "the band that no image has was never observed"
    assert numbers(found, "reflectance_count")[0] == [3, 0]


def test_an_image_that_lacks_a_band_which_others_have_is_not_the_medoid() -> None:
    found = made("medoid", [image(1, 0.1, 0.5), image(2, 0.2, None), image(3, 0.9, 0.5)])
    assert numbers(found)[1] == [True, True]
    assert numbers(found)[0] != [0.2, 0.0]
    assert numbers(found, "reflectance_count")[0] == [2, 2]


@pytest.mark.parametrize("order", [1, -1])
def test_least_cloud_decides_also_where_the_clearer_image_lies_in_the_neighbour_zone(order: int) -> None:
    clear, cloudy = image(1, 0.1, 0.5, cloud=1, epsg=32633), image(2, 0.2, 0.9, cloud=80)
    found = made("least_cloudy", [clear, cloudy][::order])
    assert numbers(found)[0] == [0.1, 0.5]


def test_of_one_pass_the_own_zone_is_shown_whichever_tile_says_less_cloud() -> None:
    pass1 = [image(1, 0.1, 0.5, cloud=5, epsg=32633), image(1, 0.11, 0.51, cloud=40, columns=slice(0, 2))]
    found = made("least_cloudy", [*pass1, image(2, 0.2, 0.9, cloud=20)])
    look = found.looks["reflectance"]
    assert look is not None
    assert look.values[0, 0].round(3).tolist() == pytest.approx([0.11, 0.11, 0.1, 0.1])
    assert numbers(found, "reflectance_count")[0] == [2, 2]


def test_explaining_least_cloud_names_the_tile_that_is_shown() -> None:
    foreign = Vote(0, ("foreign",), "valid", shown=True, value=0.1)
    later = Vote(1, ("own, cloudier",), "valid", shown=False, value=0.2)
    value, shares = blend([foreign, later], "least_cloudy")
    assert value == 0.1
    assert [weight for weight, _ in shares] == [1.0, 0.0]
