"""Which tiles and files there are: from the bucket's listing, or from a list of files."""

import numpy as np
import pytest
from shapely.geometry import box

from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.sources.asf.gssic.bucket import _store
from m3leo_prep.sources.asf.gssic.geometry import GssicGeometry
from m3leo_prep.sources.asf.gssic.source import Gssic
from m3leo_prep.testing.earthdata import BUCKET
from m3leo_prep.testing.earthdata.files.gssic import FOLDER

SEASONS = parse_slots("seasons", year=2020)
AREA = box(-99.5, 19.2, -99.1, 19.6)
SUMMER = ["summer_vv_COH12", "summer_vv_AMP", "summer_vh_AMP", "fall_vv_COH12", "12A_inc", "12A_lsmap", "143D_inc"]


def put(bucket, tile, names):
    """Write empty objects: finding looks at names only."""
    folder = bucket / FOLDER / tile
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{folder.name}_{name}.tif").write_bytes(b"x" * (len(name) + 1))


@pytest.fixture
def archive(earthdata):
    put(earthdata.bucket, "N20W100", SUMMER)
    put(earthdata.bucket, "N20W099", SUMMER[:1])
    return earthdata


def test_items_are_tiles_by_season_with_what_they_hold(archive):
    found = list(Gssic().find(box(-99.5, 19.2, -98.6, 19.6), SEASONS))
    assert [item.id for item in found] == [
        f"{tile}_{season}" for tile in ("N20W100", "N20W099") for season in ("winter", "spring", "summer", "fall")
    ]
    summer = found[2]
    assert summer.acquisition == found[6].acquisition == "summer_2020"
    assert summer.properties == {
        "tile": "N20W100",
        "season": "summer",
        "vv_COH12": 16,
        "vv_AMP": 14,
        "vh_AMP": 14,
    }
    assert summer.footprint.bounds == (-100, 19, -99, 20)
    assert summer.version != found[3].version
    assert SEASONS[2].contains(summer.datetime)


def test_one_season_is_asked_for_alone(archive):
    assert [item.id for item in Gssic().find(AREA, SEASONS[3:])] == ["N20W100_fall"]


def test_a_version_changes_with_the_files_that_are_used(archive):
    def version(**options):
        return next(iter(Gssic(**options).find(AREA, SEASONS[2:3]))).version

    before, coherence = version(), version(variables=["coherence"])
    (archive.bucket / FOLDER / "N20W100" / "N20W100_summer_vh_AMP.tif").write_bytes(b"another")
    assert version() != before
    assert version(variables=["coherence"]) == coherence


def test_geometry_is_an_item_for_each_orbit_and_direction(archive):
    put(archive.bucket, "N20W100", ["12D_inc"])
    found = list(GssicGeometry().find(AREA, ()))
    assert [item.id for item in found] == ["N20W100_12A", "N20W100_12D", "N20W100_143D"]
    assert [(item.properties["relative_orbit"], item.properties["orbit_direction"]) for item in found] == [
        (12, "ascending"),
        (12, "descending"),
        (143, "descending"),
    ]
    assert [item.acquisition for item in found] == ["012A", "012D", "143D"]
    assert "lsmap" in found[0].properties
    assert "lsmap" not in found[2].properties
    assert [item.id for item in GssicGeometry(bands=["lsmap"]).find(AREA, ())] == ["N20W100_12A"]


def test_what_is_not_in_the_archive_is_not_found(archive):
    assert list(Gssic().find(box(0.2, 0.2, 0.4, 0.4), SEASONS)) == []
    put(archive.bucket, "N21W100", ["12A_inc"])
    assert list(Gssic().find(box(-99.5, 20.2, -99.1, 20.6), SEASONS)) == []


def test_strange_objects_in_a_tile_are_left_alone(archive):
    """The archive holds duplicates below N71E028, which ASF's own catalogue leaves out (asf-stac issue 116)."""
    put(archive.bucket, "N20W100/N20W100", ["summer_hh_AMP"])
    strange = archive.bucket / FOLDER / "N20W100"
    (strange / "N20W099_summer_vv_COH24.tif").write_bytes(b"x")
    (strange / "N20W100_summer_vv_COH24.tif.aux.xml").write_bytes(b"x")
    found = list(Gssic(variables={"coherence": ["coh12", "coh24"], "backscatter": ["hh"]}).find(AREA, SEASONS[2:3]))
    assert set(found[0].properties) == {"tile", "season", "vv_COH12"}


def test_a_tile_at_the_equator_is_found_by_either_name(earthdata):
    put(earthdata.bucket, "N00E010", ["summer_vv_COH12"])
    put(earthdata.bucket, "S00E011", ["summer_vv_COH12"])
    found = list(Gssic().find(box(10.2, -0.8, 11.8, -0.2), SEASONS[2:3]))
    assert [item.properties["tile"] for item in found] == ["N00E010", "S00E011"]
    assert found[1].footprint.bounds == (11, -1, 12, 0)


def test_a_listing_of_several_pages_is_complete(earthdata):
    names = [f"{orbit}{way}_{metric}" for orbit in range(1, 176) for way in "AD" for metric in ("inc", "lsmap")]
    put(earthdata.bucket, "N20W100", [*names, *(f"{n}X_other" for n in range(400))])
    assert len(list(GssicGeometry().find(AREA, ()))) == 350
    assert len([one for one in earthdata.requests if one.route == "listing"]) == 2


def test_a_bucket_that_may_not_be_listed_is_told_with_the_way_out(archive):
    archive.lists = False
    with pytest.raises(SourceError, match=r"(?s)does not let itself be listed.*tile_list: files.csv"):
        list(Gssic().find(AREA, SEASONS))


@pytest.mark.parametrize("columns", ["TILE,FILENAME,LINK", "tile,filename", "LINK"])
def test_a_list_of_files_stands_for_the_listing(archive, tmp_path, columns):
    archive.lists = False
    lines = [columns]
    for name in SUMMER:
        about = {"TILE": "N20W100", "FILENAME": f"N20W100_{name}.tif"}
        about["LINK"] = f"https://{BUCKET}.s3.us-west-2.amazonaws.com/data/tiles/N20W100/N20W100_{name}.tif"
        lines.append(",".join(about[column.upper()] for column in columns.split(",")))
    table = tmp_path / "files.csv"
    table.write_text("\n".join(lines))
    (summer,) = Gssic(tile_list=str(table)).find(AREA, SEASONS[2:3])
    assert summer.properties == {"tile": "N20W100", "season": "summer", "vv_COH12": 0, "vv_AMP": 0, "vh_AMP": 0}
    assert len(list(GssicGeometry(tile_list=str(table)).find(AREA, ()))) == 2
    assert archive.requests == []


@pytest.mark.parametrize("text", [None, "A,B\n1,2\n", "FILENAME\nnothing.tif\n", b"\xff\xfe\x00"])
def test_a_list_that_is_none_is_told(earthdata, tmp_path, text):
    table = tmp_path / "files.csv"
    if text is not None:
        table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=r"files\.csv"):
        list(Gssic(tile_list=str(table)).find(AREA, SEASONS))


OWN = {"AWS_ACCESS_KEY_ID": "me", "AWS_ENDPOINT_URL": "https://localhost:9", "AWS_REGION": "eu-central-1"}
"""As somebody has whose datasets lie in a store of their own."""


def test_without_an_address_it_is_amazons_bucket_without_a_login(monkeypatch):
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    _store.cache_clear()
    store = _store("")
    assert store.config["endpoint"] == "https://s3.us-west-2.amazonaws.com"
    assert store.config["region"] == "us-west-2"
    assert str(store.config["skip_signature"]).lower() == "true"


def test_a_store_of_ones_own_in_the_environment_changes_nothing(archive, monkeypatch):
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    _store.cache_clear()
    assert len(list(Gssic().find(AREA, SEASONS))) == 4
    assert not any(one.authorized for one in archive.requests)


def test_probe_tells_what_the_bucket_holds(archive):
    put(archive.bucket, "N48W090", SUMMER)
    assert Gssic().probe().endswith("answers: 7 files of tile N48W090")
    archive.lists = False
    assert "give `tile_list:`" in GssicGeometry().probe()


def test_order_and_content_do_not_depend_on_the_area(earthdata):
    rng = np.random.default_rng(0)
    for lon, lat in zip(rng.integers(1, 9, 20), rng.integers(1, 9, 20), strict=True):
        put(earthdata.bucket, f"N{lat:02d}E{lon:03d}", ["summer_vv_COH12"])
    all_of_it = [item.id for item in Gssic().find(box(0, 0, 10, 10), SEASONS[2:3])]
    some = [item.id for item in Gssic().find(box(2.5, 2.5, 6.5, 6.5), SEASONS[2:3])]
    assert some == [name for name in all_of_it if name in some]
    assert some
