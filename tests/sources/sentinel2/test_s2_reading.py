"""Pixels of Sentinel-2 from files: numbers, masks, pixels of three sizes, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.core.raster import Absent, Item, Raster
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources._sentinel2.choice import Choice, choose
from m3leo_prep.sources._sentinel2.granules import items_of
from m3leo_prep.sources._sentinel2.reading import read_image
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.sources.stac.found import Found
from tests.sources.sentinel2.conftest import X0, Y0, Scene, clear, flat
from tests.sources.sentinel2.test_s2_granules import EVER

HERE = Access("here")
TARGET = GeoBox((30, 30), Affine(10, 0, X0 + 400, 0, -10, Y0 - 400), "EPSG:32631")
"""In the tile, off the grid of 60 m."""


def image(found: Found, choice: Choice) -> Item:
    (item,) = items_of([found], choice, EVER)
    return item


def read(found: Found, choice: Choice, target: GeoBox = TARGET) -> list[Raster | Absent]:
    return list(read_image(image(found, choice), choice, HERE, target))


def one(given: Iterable[Raster | Absent]) -> Raster:
    (raster,) = given
    assert isinstance(raster, Raster)
    return raster


def on(raster: Raster, values: NDArray[Any], target: GeoBox = TARGET) -> NDArray[Any]:
    """Return the pixels of a target in the same grid."""
    row = round((raster.geobox.transform.f - target.transform.f) / 10)
    col = round((target.transform.c - raster.geobox.transform.c) / 10)
    return values[..., row : row + target.shape[0], col : col + target.shape[1]]


@pytest.mark.parametrize(
    ("baseline", "offset", "start", "number", "expected"),
    [
        ("03.01", None, "20210821T105629", 1000, 0.1),
        ("04.00", -1000, "20220821T105629", 2000, 0.1),
        ("05.09", -1000, "20230821T105629", 2000, 0.1),
        ("05.00", -1000, "20180821T105629", 2000, 0.1),
        ("05.00", -1000, "20180821T105629", 500, -0.05),
    ],
)
@pytest.mark.parametrize("metadata", [True, False])
def test_the_offset_is_added_once_whatever_the_date(
    scene: Scene, baseline: str, offset: float | None, start: str, number: int, expected: float, *, metadata: bool
) -> None:
    found = scene({"B04": flat("B04", number)}, baseline=baseline, offset=offset, start=start, metadata=metadata)
    raster = one(read(found, choose("2A", bands=["red"], cloud="none")))
    assert raster.valid.all()
    assert np.unique(raster.data).tolist() == [np.float32(expected)]


def test_no_data_saturation_and_clouds_are_told_apart(scene: Scene) -> None:
    red, scl = flat("B04", 2000), clear()
    red[50, 50], red[52, 52], red[46, 46] = 0, 65535, 64536  # the last is -1000, wrapped around
    scl[28, 28], scl[30, 30], scl[32, 32] = 0, 9, 3
    raster = one(read(scene({"B04": red, "SCL": scl}), choose("2A", bands=["red"])))
    assert raster.masked is not None
    valid, masked, seen = (on(raster, a)[0] for a in (raster.valid, raster.masked, raster.observed))
    assert np.argwhere(~seen).tolist() == [[10, 10], [16, 16], [16, 17], [17, 16], [17, 17]]
    assert np.argwhere(masked[:, :20]).tolist() == [[6, 6], [12, 12]]
    assert masked[20:22, 20:22].all()
    assert masked[24:26, 24:26].all()
    assert masked.sum() == 10
    assert np.array_equal(valid, seen & ~masked)


def test_classes_that_are_discarded_may_be_chosen(scene: Scene) -> None:
    scl = clear()
    scl[30, 30], scl[32, 32] = 9, 11
    found = scene({"B04": flat("B04", 2000), "SCL": scl})
    raster = one(read(found, choose("2A", bands=["red"], cloud_classes=[11])))
    assert np.argwhere(~on(raster, raster.valid)[0]).tolist() == [[24, 24], [24, 25], [25, 24], [25, 25]]
    assert one(read(found, choose("2A", bands=["red"], cloud="none"))).valid.all()


def test_an_image_full_of_cloud_was_seen(scene: Scene) -> None:
    raster = one(read(scene({"B04": flat("B04", 2000), "SCL": flat("SCL", 9, "uint8")}), choose("2A", bands=["red"])))
    assert not raster.valid.any()
    assert raster.observed.all()


def test_an_image_without_data_there_gives_nothing(scene: Scene) -> None:
    found = scene({"B04": flat("B04", 0), "SCL": flat("SCL", 0, "uint8")})
    assert not read(found, choose("2A", bands=["red"]))
    seen = scene({"B04": flat("B04", 1)})
    assert not read(seen, choose("2A", bands=["red"], cloud="none"), TARGET.translate_pix(500, 0))


def test_the_cloud_probability_may_decide(scene: Scene) -> None:
    percent = flat("CLDPRB", 10, "uint8")
    percent[30, 30], percent[32, 32] = 40, 41
    found = scene({"B04": flat("B04", 2000), "CLDPRB_20m": percent})
    choice = choose("2A", bands=["red"], cloud="probability", max_probability=40)
    raster = one(read(found, choice))
    assert np.argwhere(~on(raster, raster.valid)[0]).tolist() == [[24, 24], [24, 25], [25, 24], [25, 25]]


def test_clouds_that_nobody_can_tell_are_not_taken_for_ground(scene: Scene) -> None:
    absent = read(scene({"B04": flat("B04", 2000)}), choose("2A", bands=["red"]))
    assert [(a.bands, a.reason) for a in absent if isinstance(a, Absent)] == [(("red",), Reason.BAND_NOT_IN_PRODUCT)]
    assert len(absent) == 1


def test_a_cloud_outside_the_window_reaches_into_it(scene: Scene) -> None:
    scl = clear()
    scl[18, 30] = 9  # 30 m above the target
    choice = choose("2A", bands=["red"], dilate=60)
    found = scene({"B04": flat("B04", 2000), "SCL": scl})
    small = one(read(found, choice))
    whole = one(read(found, choice, TARGET.pad(35)))
    assert not on(small, small.valid)[0].all()
    assert np.array_equal(on(small, small.valid), on(whole, whole.valid))


def test_coarse_bands_are_repeated_exactly(scene: Scene) -> None:
    rng = np.random.default_rng(1)
    numbers = {name: rng.integers(1001, 9000, flat(name, 0).shape, np.uint16) for name in ("B04", "B11", "B01")}
    raster = one(read(scene({**numbers, "SCL": clear()}), choose("2A", bands=["red", "swir1", "coastal"])))
    assert raster.geobox.transform.a == 10
    for k, (name, ratio) in enumerate({"B04": 1, "B11": 2, "B01": 6}.items()):
        expected = ((numbers[name].astype(float) - 1000) / 10_000).repeat(ratio, 0).repeat(ratio, 1)[40:70, 40:70]
        assert np.array_equal(on(raster, raster.data)[k], expected.astype(np.float32))


def test_coarse_bands_may_be_interpolated(scene: Scene) -> None:
    swir = (np.arange(60, dtype=np.uint16) * 20 + 2000)[None].repeat(60, 0)  # 1 a metre
    files = {"B04": flat("B04", 2000), "B11": swir, "SCL": clear()}
    choice = choose("2A", bands=["red", "swir1"], coarse_bands="bilinear")
    raster = one(read(scene(files), choice))
    x = np.arange(40, 70) * 10 + 5.0
    assert on(raster, raster.data)[1] == pytest.approx(np.tile((x - 10 + 1000) / 10_000, (30, 1)), abs=1e-6)
    whole = one(read(scene(files), choice, TARGET.pad(35)))
    margin = raster.geobox.shape
    at = round((whole.geobox.transform.f - raster.geobox.transform.f) / 10)
    crop = np.s_[:, at : at + margin[0], at : at + margin[1]]
    assert np.array_equal(raster.data, whole.data[crop])
    assert np.array_equal(raster.valid, whole.valid[crop])


def test_bands_of_20_m_alone_stay_in_their_pixels(scene: Scene) -> None:
    scl = clear()
    scl[30, 30] = 9
    found = scene({"B11": flat("B11", 3000), "SCL": scl})
    raster = one(read(found, choose("2A", bands=["swir1"])))
    assert raster.geobox.transform.a == 20
    assert (~raster.valid).sum() == 1


def test_a_pixel_of_60_m_is_cloud_if_any_part_is(scene: Scene) -> None:
    scl = clear()
    scl[30, 31] = 9
    scl[33:36, 33:36] = 0
    scl[36, 36] = 0
    raster = one(read(scene({"B09": flat("B09", 3000), "SCL": scl}), choose("2A", bands=["nir09"])))
    assert raster.masked is not None
    top = round((Y0 - raster.geobox.transform.f) / 60)
    left = round((raster.geobox.transform.c - X0) / 60)
    assert np.add(np.argwhere(raster.masked[0]), (top, left)).tolist() == [[10, 10]]
    assert np.add(np.argwhere(~raster.observed[0]), (top, left)).tolist() == [[11, 11]]


def test_a_product_without_a_band_gives_the_others(scene: Scene) -> None:
    found = scene({"B04": flat("B04", 2000), "SCL": clear()})
    absent, raster = read(found, choose("2A", bands=["swir1", "red"]))
    assert isinstance(absent, Absent)
    assert isinstance(raster, Raster)
    assert (absent.bands, absent.reason) == (("swir1",), Reason.BAND_NOT_IN_PRODUCT)
    assert (raster.valid.any(axis=(1, 2)).tolist(), raster.observed.any(axis=(1, 2)).tolist()) == ([False, True],) * 2


def test_a_band_that_is_listed_and_not_there_is_missing_too(scene: Scene) -> None:
    found = scene({"B04": flat("B04", 2000), "SCL": clear()})
    Path(found.assets["B04"].href).unlink()
    (absent,) = read(found, choose("2A", bands=["red"]))
    assert isinstance(absent, Absent)


def test_what_lies_beside_reflectance(scene: Scene) -> None:
    scl = clear()
    scl[30, 30], scl[32, 32] = 9, 0
    files = {"SCL": scl, "AOT": flat("AOT", 250), "WVP": flat("WVP", 1500), "CLDPRB_20m": flat("CLDPRB", 7, "uint8")}
    choice = choose("2A", bands=(), variables=["scl", "aot", "wvp", "cloud_probability"])
    rasters = {raster.variable: raster for raster in read(scene(files), choice) if isinstance(raster, Raster)}
    assert rasters["scl"].data.dtype == np.uint8
    assert set(np.unique(rasters["scl"].data[rasters["scl"].valid])) == {4, 9}
    assert (~rasters["scl"].observed).sum() == 1
    assert np.unique(rasters["aot"].data) == pytest.approx([0.25])
    assert np.unique(rasters["wvp"].data) == pytest.approx([1.5])
    assert (~rasters["aot"].valid).sum() == 2
    probable = rasters["cloud_probability"]
    assert np.unique(probable.data).tolist() == [7]
    # Stored as 0 % where there is no data; clouds stay in.
    assert np.array_equal(probable.observed, rasters["scl"].observed)
    assert np.array_equal(probable.valid, probable.observed)
    assert all(raster.geobox.transform.a == 20 for raster in rasters.values())


def test_classes_that_do_not_exist_are_damage(scene: Scene) -> None:
    found = scene({"SCL": flat("SCL", 17, "uint8")})
    with pytest.raises(CorruptError, match="17, which are no classes"):
        read(found, choose("2A", bands=(), variables=["scl"]))


def test_files_on_other_grids_are_damage(scene: Scene) -> None:
    files = {"B04": flat("B04", 2000), "SCL": clear()[:30]}
    with pytest.raises(CorruptError, match="lie on different grids"):
        read(scene(files), choose("2A", bands=["red"]))


def test_a_catalogue_is_not_believed_against_its_pixels(scene: Scene) -> None:
    def of_earth_search(darkest: int, code: int = 4, shadow: Any = np.s_[:0]) -> Found:
        coastal, scl = flat("B01", 3000), clear() * 0 + np.uint8(code)
        coastal[:2] = darkest
        scl[shadow] = 3
        files = {"B04": flat("B04", 2000), "B01": coastal, "SCL": scl}
        said = {"earthsearch:boa_offset_applied": False}
        return scene(files, metadata=False, **said, name=f"S2A_{darkest}_{code}_L2A")

    choice = choose("2A", bands=["red"])
    assert np.unique(one(read(of_earth_search(1100), choice)).data) == pytest.approx([0.1])
    with pytest.raises(CorruptError, match=r"their pixels say that it is not: .* 1 % of B01 is at 300"):
        read(of_earth_search(300), choice)
    # Sand, ice and cloud are bright: their numbers fit an offset that is there, and one that is not.
    for code in (5, 9, 11):
        with pytest.raises(CorruptError, match="no plants, water or shadow in it tell"):
            read(of_earth_search(1100, code), choice)
    # Shadow is dark, whatever lies around it.
    with pytest.raises(CorruptError, match="1 % of B01 is at 700"):
        read(of_earth_search(700, 5, np.s_[:30]), choice)


def test_a_catalogue_that_took_the_offset_away(scene: Scene) -> None:
    said = {"earthsearch:boa_offset_applied": True}
    found = scene({"B04": flat("B04", 1000), "SCL": clear()}, metadata=False, **said)
    assert np.unique(one(read(found, choose("2A", bands=["red"]))).data) == pytest.approx([0.1])
    same = scene({"B04": flat("B04", 1000), "SCL": clear()}, start="20230822T105629", **said)
    assert np.unique(one(read(same, choose("2A", bands=["red"]))).data) == pytest.approx([0.1])


def test_jpeg_2000_of_level_1c(scene: Scene) -> None:
    numbers = np.random.default_rng(3).integers(1, 9000, (20, 20), np.uint16)
    found = scene({"B10": numbers}, driver="JP2OpenJPEG", collection="sentinel-2-l1c")
    raster = one(read(found, choose("1C", bands=["B10"])))
    top = round((Y0 - raster.geobox.transform.f) / 60)
    left = round((raster.geobox.transform.c - X0) / 60)
    rows, cols = raster.data.shape[1:]
    expected = ((numbers.astype(float) - 1000) / 10_000).astype(np.float32)[top : top + rows, left : left + cols]
    assert np.array_equal(raster.data[0], expected)


def test_a_real_tile_of_level_1c(shared_data: Path) -> None:
    import rasterio
    from shapely.geometry import box

    from m3leo_prep.sources.stac.found import Asset

    product = next((shared_data / "s2").glob("S2A_MSIL1C_*"))
    path = next(product.rglob("*_B01.jp2"))
    assets = {"B01": Asset(str(path)), "product_metadata": Asset(str(product / "MTD_MSIL1C.xml"))}
    # The metadata names the baseline that it was made with, as its folder does.
    found = Found(product.name, "sentinel-2-l1c", box(1, 42, 3, 44), None, None, {}, assets)
    choice = choose("1C", bands=["coastal"])
    target = GeoBox((20, 20), Affine(60, 0, 399_960 + 60_000, 0, -60, 4_800_000 - 60_000), "EPSG:32631")
    raster = one(read(found, choice, target))
    with rasterio.open(path) as data:
        stored = data.read(1, window=((1000, 1020), (1000, 1020)))
    row = round((raster.geobox.transform.f - target.transform.f) / 60)
    col = round((target.transform.c - raster.geobox.transform.c) / 60)
    crop = raster.data[0, row : row + 20, col : col + 20]
    assert np.array_equal(crop, (stored / 10_000).astype(np.float32))
    assert 0.02 < np.median(crop) < 0.6


def stating(found: Found, **said: Any) -> Found:
    """Return the image as a catalogue lists it that says more of each band."""
    assets = {name: replace(one, properties={**one.properties, **said}) for name, one in found.assets.items()}
    return replace(found, assets=assets)


def test_a_catalogue_that_contradicts_the_metadata(scene: Scene) -> None:
    found = scene({"B04": flat("B04", 1000), "SCL": clear()})
    choice = choose("2A", bands=["red"])
    # Somebody took the offset away, and kept the product's metadata.
    with pytest.raises(CorruptError, match="states a radiometric offset of 0, the product's metadata has -1000"):
        read(stating(found, **{"raster:offset": 0, "raster:scale": 0.0001}), choice)
    assert not one(read(stating(found, **{"raster:offset": -0.1}), choice)).data.any()
    # The Data Space states -0.1 of all its images.
    old = scene({"B04": flat("B04", 1000), "SCL": clear()}, baseline="02.14", offset=None)
    assert np.unique(one(read(stating(old, **{"raster:offset": -0.1}), choice)).data) == pytest.approx([0.1])
    with pytest.raises(CorruptError, match="offset of -500, the product's metadata has 0"):
        read(stating(old, **{"raster:offset": -0.05}), choice)


def test_a_product_that_is_listed_and_gone_is_no_product_without_a_band(scene: Scene) -> None:
    found = scene({"B04": flat("B04", 2000), "SCL": clear()})
    for asset in found.assets.values():
        Path(asset.href).unlink()
    with pytest.raises(CorruptError, match="metadata cannot be read"):
        read(found, choose("2A", bands=["red"]))


def test_a_tile_across_180_degrees_is_read_from_both_sides(scene: Scene) -> None:
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32701", always_xy=True).transform(180.0, -16.7)
    corner = (x // 60 * 60 - 600, y // 60 * 60 + 600)
    found = scene({"B04": flat("B04", 2000), "SCL": clear()}, tile="01KAB", epsg=32701, corner=corner)
    assert found.footprint.bounds[0] == -180
    for epsg, lon in ((32701, -179.998), (32760, 179.998), (32760, 180.002)):
        x, y = Transformer.from_crs("EPSG:4326", f"EPSG:{epsg}", always_xy=True).transform(lon, -16.7)
        target = GeoBox((10, 10), Affine(10, 0, x, 0, -10, y), f"EPSG:{epsg}")
        raster = one(read(found, choose("2A", bands=["red"]), target))
        assert raster.valid.all()
        assert max(raster.data.shape) < 50


def test_a_product_whose_metadata_are_missing_is_damaged(scene: Scene) -> None:
    found = scene({"B04": flat("B04", 2000), "SCL": clear()})
    Path(found.assets["product_metadata"].href).unlink()
    with pytest.raises(CorruptError, match="metadata cannot be read"):
        read(found, choose("2A", bands=["red"]))
