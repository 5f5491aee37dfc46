"""From catalogues' items to images: data takes, processings, files."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from shapely.geometry import box

from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.core.raster import STATIC, Item, Slot
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources._sentinel2.choice import choose
from m3leo_prep.sources._sentinel2.granules import items_of, spans
from m3leo_prep.sources._sentinel2.radiometry import address
from m3leo_prep.sources._sentinel2.telling import advise, estimate
from m3leo_prep.sources.remote.access import Access, Keys
from m3leo_prep.sources.stac.found import Asset, Found
from m3leo_prep.sources.stac.items import told

EVER = (Slot("ever", datetime(2015, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)),)
CHOICE = choose("2A", bands=["red", "swir1"])


def found(feature: dict[str, Any]) -> Found:
    """Return a recorded item as the catalogue's client gives it."""
    return told(feature, "a recorded catalogue")


def image(name: str, baseline: str = "05.09", *, made: str = "2023", strip: str = "1", **more: Any) -> Found:
    said = {
        "processing:version": baseline,
        "eopf:datatake_id": f"GS2A_20230821T105629_042640_N{baseline}",
        "eopf:datastrip_id": f"S2A_OPER_MSI_L2A_DS_2APS_20230822T021825_S2023082{strip}T105638_N{baseline}",
        "grid:code": "MGRS-31UFS",
        "processing:datetime": made,
    }
    more = {"eo:cloud_cover" if key == "clouds" else key: value for key, value in more.items()}
    when = more.pop("when", datetime(2023, 8, 21, 10, 56, 29, tzinfo=UTC))
    assets = {
        "B04_10m": Asset(f"s3://eodata/{name}.SAFE/B04.jp2"),
        "B11_20m": Asset(f"s3://eodata/{name}.SAFE/B11.jp2"),
    }
    return Found(name, "sentinel-2-l2a", box(4, 50, 5, 51), when, when, {**said, **more}, assets)


def test_the_highest_baseline_of_a_data_take_is_kept_and_the_others_told() -> None:
    older = [image("c", "05.00"), image("b", "02.14"), image("a", "04.00")]
    (item,) = items_of(older, CHOICE, EVER)
    assert (item.id, item.properties["older_versions"]) == ("c", 2)
    (warning,) = [line for line in advise(CHOICE, [item], EVER) if "older" in line]
    assert warning.startswith("2 older processings")


def test_of_one_baseline_the_last_made_is_kept() -> None:
    (item,) = items_of([image("a", made="2024"), image("b", made="2023")], CHOICE, EVER)
    assert (item.id, item.properties["older_versions"]) == ("a", 1)


def test_two_parts_of_a_tile_are_both_kept() -> None:
    items = list(items_of([image("a", strip="1"), image("b", strip="2"), image("c", "04.00")], CHOICE, EVER))
    assert [(item.id, item.properties.get("older_versions", 0)) for item in items] == [("a", 1), ("b", 0)]


def test_other_tiles_and_passes_are_other_images() -> None:
    other_tile = image("b", **{"grid:code": "MGRS-31UGS"})
    other_pass = image("c", **{"eopf:datatake_id": "GS2B_20230821T105629_042640_N05.09"})
    items = list(items_of([image("a"), other_tile, other_pass], CHOICE, EVER))
    assert [item.acquisition for item in items] == ["S2A_20230821T105629", "S2A_20230821T105629", "S2B_20230821T105629"]


def test_a_tile_is_dated_by_its_data_take() -> None:
    # Earth Search dates a tile by when it was seen: the tiles of one pass must not fall into two months.
    taken = {"eopf:datatake_id": "GS2A_20230831T235500_042640_N05.09"}
    late = image("a", when=datetime(2023, 9, 1, 0, 10, tzinfo=UTC), **taken)
    august, september = parse_slots({"periods": [["2023-08-01", "2023-08-31"], ["2023-09-01", "2023-09-30"]]})
    assert not list(items_of([late], CHOICE, [september]))
    (item,) = items_of([late], CHOICE, [august])
    assert item.datetime == datetime(2023, 8, 31, 23, 55, tzinfo=UTC)
    ((_, end),) = spans([august], "s2-l2a")
    assert late.start is not None
    assert late.start < end
    with pytest.raises(ConfigError, match="say of which time"):
        spans([STATIC], "s2-l2a")


def test_cloudy_images_are_left_out_and_do_not_bring_older_processings_back() -> None:
    least = choose("2A", bands=["red"], max_cloud=20)
    listed = [image("new", clouds=30.0), image("old", "04.00", clouds=10.0)]
    assert not list(items_of(listed, least, EVER))
    assert [item.id for item in items_of([image("unknown")], least, EVER)] == ["unknown"]


def test_an_image_without_a_baseline_is_an_error() -> None:
    nameless = image("x", **{"processing:version": "", "eopf:datatake_id": ""})
    with pytest.raises(SourceError, match="nothing says"):
        list(items_of([nameless], CHOICE, EVER))


def test_an_image_of_planetary_computer(shared_data: Path) -> None:
    name = "S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531"
    record = json.loads((shared_data / "api" / "stac_items" / f"{name}.json").read_text())
    (item,) = items_of([found(record)], choose("2A", bands=["B04", "B01"], variables=["reflectance", "aot"]), EVER)
    said = dict(item.properties)
    assert {key: said[key] for key in ("processing_baseline", "tile", "datatake", "relative_orbit", "cloud_cover")} == {
        "processing_baseline": "02.12",
        "tile": "06VVN",
        "datatake": "S2B_20190629T212529",
        "relative_orbit": 43,
        "cloud_cover": 0.314306,
    }
    assert str(said["url_B01"]).endswith("_B01_60m.tif")
    assert str(said["url_SCL"]).endswith("_SCL_20m.tif")
    assert str(said["url_MTD"]).endswith("MTD_MSIL2A.xml")
    assert "stated_offset" not in said


def test_an_image_of_earth_search(shared_data: Path) -> None:
    import yaml

    cassette = yaml.safe_load((shared_data / "api" / "stac_cassettes" / "test_multiple_collections.yaml").read_text())
    pages = [json.loads(one["response"]["body"]["string"]) for one in cassette["interactions"]]
    records = [one for page in pages for one in page.get("features", []) if one["collection"] == "sentinel-2-l2a"]
    item = next(items_of([found(one) for one in records], CHOICE, EVER))
    assert item.properties["processing_baseline"] == "05.09"
    assert item.properties["stated_offset"] == "-1000"
    assert item.properties["offset_taken_away"] == 1
    assert str(item.properties["url_B11"]).endswith("B11.tif")
    assert "offset_doubtful" not in item.properties


def test_what_earth_search_says_of_its_offset_is_doubted_only_where_it_may_be_wrong() -> None:
    def doubtful(baseline: str, *, applied: bool, collection: str = "sentinel-2-l2a") -> Item:
        said: dict[str, Any] = {"earthsearch:boa_offset_applied": applied}
        one = image("a", baseline, **said)
        assets = {**one.assets, "coastal": Asset("https://example.org/B01.tif")}
        again = Found(one.id, collection, one.footprint, one.start, one.end, one.properties, assets)
        return next(items_of([again], CHOICE, EVER))

    assert doubtful("05.09", applied=False).properties["url_B01"] == "https://example.org/B01.tif"
    for item in (
        doubtful("05.09", applied=True),
        doubtful("02.14", applied=False),
        doubtful("05.09", applied=False, collection="sentinel-2-c1-l2a"),
    ):
        assert "offset_doubtful" not in item.properties
    lines = advise(CHOICE, [doubtful("05.09", applied=False)], EVER, way_out=": take another")
    assert any(line.endswith("against its pixels: take another") for line in lines)


GRANULE = "s3://eodata/Sentinel-2/MSI/L2A/2020/03/22/X.SAFE/GRANULE/L2A_T36NYH_A015891"
ROOT = "https://zipper.dataspace.copernicus.eu/odata/v1/Products(e7f0819d)"


def of_the_data_space() -> Found:
    # In the layout of https://stac.dataspace.copernicus.eu/v1, collection sentinel-2-l2a, STAC 1.1.0.
    path = (
        "Nodes(X.SAFE)/Nodes(GRANULE)/Nodes(L2A_T36NYH_A015891)/Nodes(IMG_DATA)/Nodes(R10m)/Nodes(T_B04_10m.jp2)/$value"
    )
    other = {"alternate": {"https": {"href": f"{ROOT}/{path}"}}}
    band = {"raster:offset": -0.1, "raster:scale": 0.0001, "file:size": 120_000_000, "file:checksum": "1620ff", **other}
    assets = {
        "B04_10m": Asset(f"{GRANULE}/IMG_DATA/R10m/T_B04_10m.jp2", "image/jp2", band),
        "SCL_20m": Asset(f"{GRANULE}/IMG_DATA/R20m/T_SCL_20m.jp2", "image/jp2", {"file:size": 1_000_000}),
        "product_metadata": Asset("s3://eodata/Sentinel-2/MSI/L2A/2020/03/22/X.SAFE/MTD_MSIL2A.xml"),
    }
    one = image("X")
    return Found(one.id, one.collection, one.footprint, one.start, one.end, one.properties, assets)


def test_the_cloud_probability_lies_beside_what_the_data_space_lists() -> None:
    choice = choose("2A", bands=["red"], cloud="probability")
    (item,) = items_of([of_the_data_space()], choice, EVER)
    assert item.properties["url_CLDPRB"] == f"{GRANULE}/QI_DATA/MSK_CLDPRB_20m.jp2"
    assert "url_SCL" not in item.properties
    (elsewhere,) = items_of([image("a")], choice, EVER)
    assert any("have no CLDPRB: none of their pixels can be used" in line for line in advise(choice, [elsewhere], EVER))


def test_files_are_read_by_https_without_keys() -> None:
    (item,) = items_of([of_the_data_space()], CHOICE, EVER)
    with_keys = Access("cdse", keys=Keys("a", "b"))
    assert address(item, "B04", with_keys) == f"{GRANULE}/IMG_DATA/R10m/T_B04_10m.jp2"
    assert address(item, "B11", with_keys) == ""

    class Token:
        hint = ""

        def headers(self, host: str) -> dict[str, str]:
            return {}

    by_token = Access("cdse", auth=cast("Any", Token()))
    inside = "Nodes(GRANULE)/Nodes(L2A_T36NYH_A015891)/Nodes(IMG_DATA)/Nodes(R10m)/Nodes(T_B04_10m.jp2)"
    assert address(item, "B04", by_token) == f"{ROOT}/Nodes(X.SAFE)/{inside}/$value"
    assert address(item, "MTD", by_token) == f"{ROOT}/Nodes(X.SAFE)/Nodes(MTD_MSIL2A.xml)/$value"


def test_a_bucket_that_is_named_by_its_host_is_read_as_a_bucket() -> None:
    one = image("a")
    href = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/tiles/B04.tif"
    again = Found(one.id, "", one.footprint, one.start, one.end, one.properties, {"red": Asset(href)})
    (item,) = items_of([again], CHOICE, EVER)
    assert address(item, "B04", Access("a", region="us-west-2")) == "s3://sentinel-cogs/tiles/B04.tif"
    assert address(item, "B04", Access("a")) == href  # another region's: nobody asks there for it


def test_another_host_is_no_other_version_and_another_file_is() -> None:
    def version(found: Found) -> str:
        return next(items_of([found], CHOICE, EVER)).version

    one = of_the_data_space()
    moved = {name: Asset(f"https://mirror/{name}", a.type, a.properties) for name, a in one.assets.items()}
    assert version(Found(one.id, "", one.footprint, one.start, one.end, one.properties, moved)) == version(one)
    said = {**one.assets["B04_10m"].properties, "file:checksum": "other"}
    changed = {**one.assets, "B04_10m": Asset(one.assets["B04_10m"].href, properties=said)}
    assert version(Found(one.id, "", one.footprint, one.start, one.end, one.properties, changed)) != version(one)


def test_bytes_are_those_of_the_blocks_that_windows_touch() -> None:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    choice = choose("2A", bands=["red"], cloud="none")
    (item,) = items_of([of_the_data_space()], choice, EVER)
    chip = GeoBox((448, 448), Affine(10, 0, 604_480, 0, -10, 5_600_000), "EPSG:32631")
    cost = estimate(choice, [chip], EVER, [item])
    blocks = (457 / 1024 + 1) ** 2  # of a window that is 5 px longer on each side
    assert cost.bytes == pytest.approx(120e6 * blocks / 10.72**2 + 32_768 + 55_000, rel=1e-3)
    assert cost.requests == round(1 + blocks + 1)
    assert any("no index" in note for note in cost.notes)
    everywhere = estimate(choice, [chip] * 1000, EVER, [item])
    assert everywhere.bytes < 1.31 * 120e6
    assert estimate(choice, [chip], parse_slots({"months": 2020}), [item]).bytes == 0
    # A file that the image lacks is not fetched.
    assert estimate(choose("2A", bands=["red", "blue"], cloud="none"), [chip], EVER, [item]) == cost


def test_bytes_of_copies_are_those_of_their_larger_blocks() -> None:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    choice = choose("2A", bands=["red", "swir1"], cloud="none")
    chip = GeoBox((448, 448), Affine(10, 0, 604_480, 0, -10, 5_600_000), "EPSG:32631")

    def cost(**said: Any) -> float:
        one = image("a", **said)
        names = {"red": "B04", "swir16": "B11", "coastal": "B01", "scl": "SCL"}
        assets = {name: Asset(f"https://example.org/{file}.tif") for name, file in names.items()}
        items = items_of(
            [Found(one.id, one.collection, one.footprint, one.start, one.end, one.properties, assets)], choice, EVER
        )
        return estimate(choice, [chip], EVER, list(items)).bytes

    # 10-m and 20-m blocks of 1024 px of 1.43 MB each: no smaller ones of 640 px.
    blocks = (457 / 1024 + 1) ** 2 + (233 / 1024 + 1) ** 2
    assert cost() == pytest.approx(blocks * 1.43e6 + 2 * 32_768, rel=5e-3)
    # Where the offset is doubted, two files are read as a whole.
    doubted = cost(**{"earthsearch:boa_offset_applied": False})
    assert doubted == pytest.approx(cost() + 4.6e6 + 2e6)


def test_images_whose_cloud_nobody_tells_are_named() -> None:
    choice = choose("2A", bands=["red"], max_cloud=20)
    listed = [image("a", clouds=10.0), image("b", clouds=math.nan, **{"grid:code": "MGRS-31UGS"})]
    clear, unknown = items_of(listed, choice, EVER)
    assert (clear.properties["cloud_cover"], "cloud_cover" in unknown.properties) == (10.0, False)
    lines = advise(
        choice, [clear, unknown], parse_slots({"periods": [["2023-08-01", "2023-08-31"], ["2024-01-01", "2024-01-31"]]})
    )
    assert any(line.startswith("of 1 of 2 images nobody tells the cloud") for line in lines)
    assert any(line.startswith("no image of at most 20 % cloud in 2024-01") for line in lines)


def test_bands_that_a_catalogue_states_differently_are_kept_apart() -> None:
    one = image("a")
    assets = {
        "B04": Asset("B04.tif", properties={"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}),
        "B11": Asset("B11.tif", properties={"bands": [{"raster:scale": 0.0001, "raster:offset": 0}]}),
    }
    (item,) = items_of([Found("a", "", one.footprint, one.start, one.end, one.properties, assets)], CHOICE, EVER)
    assert item.properties["stated_offset"] == "-1000 0"


def test_a_real_tile_across_180_degrees(shared_data: Path) -> None:
    folder = shared_data / "s2" / "metadata" / "S2A_MSIL2A_20230821T221941_N0509_R029_T01KAB_20230822T021825.SAFE"
    one = found(json.loads((folder / "expected_output.json").read_text()))
    (item,) = items_of([one], CHOICE, EVER)
    assert {key: item.properties[key] for key in ("tile", "datatake", "relative_orbit", "stated_offset")} == {
        "tile": "01KAB",
        "datatake": "S2A_20230821T221941",
        "relative_orbit": 29,
        "stated_offset": "-1000",
    }
    assert item.footprint.intersects(box(179.9, -16.8, 180, -16.7))
    assert item.footprint.intersects(box(-180, -16.8, -179.9, -16.7))
    assert not item.footprint.intersects(box(-170, -17, 170, -16))
