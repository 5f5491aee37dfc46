"""Which images a layer has: each acquisition once, whatever copies of it the archive holds; and what options say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.core.raster import Slot
from m3leo_prep.ports.heights import OnHeights
from m3leo_prep.sources._backscatter import BOTH, choose_bands
from m3leo_prep.sources.copernicus import Copernicus
from m3leo_prep.sources.copernicus.grd.files import Product
from m3leo_prep.sources.copernicus.grd.finding import described, images, once
from m3leo_prep.sources.copernicus.grd.heights import datum_of
from m3leo_prep.sources.http.auth import Auth
from m3leo_prep.sources.remote.access import Access, Keys
from m3leo_prep.sources.stac import Stac
from m3leo_prep.sources.stac.found import Asset, Found
from m3leo_prep.sources.stac.passes import dated, direction, track

# Both are real: the product, and the copy as COG that was made of it.
SAFE = "S1C_IW_GRDH_1SDV_20250421T053447_20250421T053516_001987_003FE6_9B29"
COG = "S1C_IW_GRDH_1SDV_20250421T053447_20250421T053516_001987_003FE6_9043_COG"
NEXT = "S1C_IW_GRDH_1SDV_20250421T053516_20250421T053541_001987_003FE6_11A2_COG"
ROOT = "https://zipper.dataspace.copernicus.eu/odata/v1/Products(853047a2-f4c8-4cf6-9d18-fc438e20e26d)"


def found(name: str, polarisations: str = "vv vh", *, made: str = "2025-04-21T09:00:00Z") -> Found:
    """Return an item as the Data Space tells of it."""
    kind = "IW_GRDH_1S-COG" if name.endswith("_COG") else "IW_GRDH_1S"
    folder = f"s3://eodata/Sentinel-1/SAR/{kind}/2025/04/21/{name}.SAFE"
    files = {"safe_manifest": "manifest.safe"}
    for one in polarisations.split():
        stem = f"s1c-iw-grd-{one}-20250421t053447-001-cog"
        files |= {
            f"schema-product-{one}": f"annotation/{stem}.xml",
            f"schema-calibration-{one}": f"annotation/calibration/calibration-{stem}.xml",
            f"schema-noise-{one}": f"annotation/calibration/noise-{stem}.xml",
            one: f"measurement/{stem}.tiff",
        }
    assets = {
        key: Asset(
            f"{folder}/{path}",
            properties={
                "file:size": 754069881 if key in ("vv", "vh") else 2_000_000,
                "file:checksum": f"1610{key}",
                "alternate": {"https": {"href": f"{ROOT}/Nodes({name}.SAFE)/Nodes({path})/$value"}},
            },
        )
        for key, path in files.items()
    }
    start = datetime.strptime(name[17:32], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    told = {"sat:orbit_state": "descending", "sat:relative_orbit": 8, "processing:datetime": made}
    return Found(name, "sentinel-1-grd", box(9, 47, 12, 49), start, start + timedelta(seconds=29), told, assets)


def test_of_the_product_and_its_copy_the_cog_is_taken_once():
    for order in ([SAFE, COG, NEXT], [NEXT, COG, SAFE]):
        kept = [(one.id, copies) for one, copies in once([found(name) for name in order])]
        assert kept == [(COG, 1), (NEXT, 0)]


def test_of_two_copies_the_last_one_made_is_taken():
    again = COG.replace("9043", "0001")
    kept = list(once([found(COG), found(again, made="2025-06-01T00:00:00Z")]))
    assert [one.id for one, _ in kept] == [again]


def test_without_a_copy_the_product_itself_is_taken():
    assert [one.id for one, _ in once([found(SAFE)])] == [SAFE]


@pytest.mark.parametrize("other", [("S1C", "S1A"), ("1SDV", "1SDH"), ("053447", "053446"), ("003FE6", "003FE7")])
def test_what_differs_in_more_than_its_content_is_another_image(other):
    assert len(list(once([found(COG), found(COG.replace(*other))]))) == 2


def test_other_modes_are_left_out():
    names = [
        COG.replace("IW_GRDH", "EW_GRDM"),
        COG.replace("IW_GRDH", "S3_GRDH"),
        COG.replace("IW_GRDH_1S", "IW_SLC__1S"),
    ]
    assert list(once([found(name) for name in names])) == []


def test_only_images_of_the_layer_are_items():
    day = datetime(2025, 4, 21, tzinfo=UTC)
    both, slots = choose_bands([], BOTH), [Slot("day", day, day + timedelta(1))]
    some = [found(COG), found(SAFE), found(NEXT)]
    (item, _) = images(some, both, (), slots)
    assert (item.id, item.properties["other_copies"]) == (COG, 1)
    # What began before the slot is not in it, though the catalogue finds it there.
    late = [Slot("late", day + timedelta(hours=5, minutes=35), day + timedelta(1))]
    assert [one.id for one in images(some, both, (), late)] == [NEXT]
    assert list(images(some, choose_bands(["vv_asc"], BOTH), (), slots)) == []
    assert list(images(some, both, (7, 9), slots)) == []
    assert len(list(images(some, both, (7, 8), slots))) == 2


def test_slices_of_one_pass_are_one_acquisition():
    first, second = (described(found(name), 0) for name in (COG, NEXT))
    assert first.acquisition == second.acquisition
    other = described(found(COG.replace("003FE6", "003FE7")), 0)
    assert other.acquisition != first.acquisition


def test_an_item_knows_its_files():
    item = described(found(COG), 1)
    told = item.properties
    assert told["polarisations"] == "VV VH"
    assert (told["relative_orbit"], told["orbit_direction"], told["size_VV"]) == (8, "descending", 754069881)
    assert told["other_copies"] == 1
    keyed = Product.of(item, Access("cdse", keys=Keys("a", "b")))
    path = told["path_noise_VV"]
    assert keyed.of_part("noise", "VV") == f"s3://eodata/Sentinel-1/SAR/IW_GRDH_1S-COG/2025/04/21/{COG}.SAFE/{path}"

    class Token(Auth):
        pass

    by_token = Product.of(item, Access("cdse", auth=Token()))
    steps = "".join(f"/Nodes({part})" for part in [f"{COG}.SAFE", *path.split("/")])
    assert by_token.of_part("noise", "VV") == f"{ROOT}{steps}/$value"


def test_the_version_follows_the_files_not_their_host():
    one = found(COG)
    moved = {key: Asset(a.href.replace("eodata", "other"), a.type, a.properties) for key, a in one.assets.items()}
    again = Found(one.id, one.collection, one.footprint, one.start, one.end, one.properties, moved)
    assert described(one, 0).version == described(again, 0).version
    changed = one.assets | {"vv": Asset(one.assets["vv"].href, properties={"file:checksum": "x"})}
    other = Found(one.id, one.collection, one.footprint, one.start, one.end, one.properties, changed)
    assert described(one, 0).version != described(other, 0).version


def test_an_item_without_files_is_told():
    one = found(COG)
    bare = Found(one.id, one.collection, one.footprint, one.start, one.end, one.properties, {})
    with pytest.raises(SourceError, match="where the files"):
        described(bare, 0)


def test_slots_need_times():
    with pytest.raises(ConfigError, match="of which time"):
        dated([Slot("static")])
    day = datetime(2025, 4, 1, tzinfo=UTC)
    months = [Slot("b", day + timedelta(30), day + timedelta(60)), Slot("a", day, day + timedelta(30))]
    assert dated(months) == [(day, day + timedelta(60))]


@pytest.mark.parametrize(("key", "tell"), [("sat:orbit_state", direction), ("sat:relative_orbit", track)])
def test_an_image_that_cannot_be_sorted_is_told_not_left_out(key, tell):
    one = found(COG)
    with pytest.raises(SourceError, match="the catalogue tells no"):
        tell(replace(one, properties={name: value for name, value in one.properties.items() if name != key}))


@pytest.mark.parametrize(
    ("said", "kept"), [("003.91", "3.91"), ("03.31", "3.31"), ("2.72", "2.72"), ("001.00", None), ("N/A", None)]
)
def test_the_version_of_the_processor_is_recorded_as_far_as_the_catalogue_tells_it(said, kept):
    one = found(COG)
    told = described(replace(one, properties={**one.properties, "processing:version": said}), 0).properties
    assert told.get("product_version") == kept


def test_product_and_copy_are_one_acquisition_even_if_searches_find_one_of_them_each():
    assert described(found(SAFE), 0).acquisition == described(found(COG), 0).acquisition == "S1C-003FE6"


def test_what_the_layer_is():
    source = Copernicus(product="s1-grd", bands=["vv_asc"], dem_datum="egm2008")
    (variable,) = source.describe().variables
    assert variable.bands == ("vv_asc",)
    assert variable.kernel == "bspline"
    assert variable.attributes["backscatter_convention"] == "gamma0_rtc"
    assert source.describe().on_heights == ("backscatter",)
    assert isinstance(source, OnHeights)
    flat = Copernicus(product="s1-grd", geocoding="ellipsoid", convention="sigma0_ellipsoid", noise=False)
    assert flat.describe().on_heights == ()
    told = flat.describe().variables[0].attributes
    assert (told["geolocation"], told["noise_removed"]) == ("gcp_ellipsoid", False)


@pytest.mark.parametrize("source", [partial(Copernicus, product="s1-grd"), partial(Stac, product="s1-rtc")])
@pytest.mark.parametrize(
    ("name", "product"),
    [("entropy", "s1-h-a-alpha-snap"), ("Alpha_asc", "s1-h-a-alpha-snap"), ("coherence", "s1-coherence-snap")],
)
def test_what_needs_the_phase_names_the_product_that_has_it(source, name, product):
    with pytest.raises(ConfigError, match="NEEDS_SLC") as told:
        source(bands=[name])
    assert f"source: copernicus, product: {product}" in told.value.hint


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"convention": "sigma0"}, "convention: 'sigma0' is not known"),
        ({"geocoding": "none"}, "geocoding: 'none'"),
        ({"geocoding": "ellipsoid"}, "cannot be had with"),
        ({"noise": "yes"}, "neither true nor false"),
        ({"dem_datum": "msl"}, "dem_datum: 'msl'"),
        ({"force": True}, "force: means nothing"),
        ({"geocoding": "ellipsoid", "convention": "beta0", "dem_datum": "egm96"}, "dem_datum: means nothing"),
        ({"relative_orbits": "best"}, "name the tracks"),
        ({"bands": ["vx"]}, "no band 'vx'"),
    ],
)
def test_options_that_do_not_go(said, message):
    with pytest.raises(ConfigError, match=message):
        Copernicus(product="s1-grd", **said)


def test_terrain_without_heights_is_told():
    source = Copernicus(product="s1-grd")
    with pytest.raises(ConfigError, match="needs heights"):
        list(source.read([], GeoBox.from_bbox((0, 0, 1, 1), "EPSG:4326", shape=(4, 4)), Slot("static")))


def test_a_datum_is_never_guessed():
    assert datum_of("egm96", "", "x") == "egm96"
    with pytest.raises(ConfigError, match="not known what"):
        datum_of("", "", "x")
    assert datum_of("", "EGM2008 (EPSG:3855)", "x") == "egm2008"
    with pytest.raises(ConfigError, match="but the heights are above egm2008"):
        datum_of("ellipsoid", "EGM2008 height", "x")
    with pytest.raises(ConfigError, match="not known what"):
        datum_of("", "mean sea level", "x")


def test_what_it_takes_and_what_to_know():
    source = Copernicus(product="s1-grd", orbits=["descending"])
    item = described(found(COG), 0)
    day = datetime(2025, 4, 1, tzinfo=UTC)
    slots = [Slot("april", day, day + timedelta(30)), Slot("may", day + timedelta(30), day + timedelta(60))]
    window = GeoBox.from_bbox((700_000, 5_300_000, 710_240, 5_310_240), "EPSG:32632", resolution=10)
    cost = source.estimate([window], slots, [item])
    assert 10 < cost.requests < 100
    assert 10e6 < cost.bytes < 50e6
    # Of one that is no COG, all of each line: 25,000 samples for 1,254 lines of it.
    lines = source.estimate([window], slots, [described(found(SAFE), 0)])
    assert lines.bytes == pytest.approx(2 * 754069881 * 1254 / 16_700, rel=0.07)
    half = described(found(NEXT, "vv"), 0)
    assert source.advise([item, half], slots) == [
        "no descending image in may",
        "1 of 2 descending images have no VH: they have VV",
    ]
    assert "no COG" in source.advise([described(found(SAFE), 0)], slots[:1])[0]
    assert source.advise([], slots)[0].startswith("no image at all")
