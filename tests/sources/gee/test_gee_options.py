"""What a recipe may say of a layer from Earth Engine: each choice, and each mistake with its key and the way out."""

import hashlib
import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import run

import pytest

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.raster import Kind
from m3leo_prep.pipeline.recipes import load_recipe, recipe_names
from m3leo_prep.pipeline.resolve import resolve_layer
from m3leo_prep.sources.asf import Asf
from m3leo_prep.sources.gee import EarthEngine
from m3leo_prep.sources.gee.options import choose
from m3leo_prep.sources.gee.products import row_names

ROOT = Path(__file__).parents[3]
NDVI = {"ndvi": {"kind": "continuous", "bands": {"ndvi": "NDVI"}, "scale": 0.0001, "nodata": -3000}}


def choice(*product, **options):
    return choose(EarthEngine(*product, **options))


def bands(found):
    return {one.variable.name: one.variable.bands for one in found.quantities}


def refusal(*product, **options):
    with pytest.raises(ConfigError) as caught:
        EarthEngine(*product, **options)
    assert "source 'gee'" in str(caught.value)
    return caught.value


# -- products ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", row_names())
def test_every_product_needs_no_more_than_its_name(name):
    if name == "cci-agb":
        assert bands(choice(name)) == {"agb": ("agb",)}
    found = choice(name)
    assert found.row.name == name
    assert found.quantities
    kernels = {one.variable.kernel for one in found.quantities}
    assert ("" in kernels) == (found.mode == "native"), "what is resampled there says by which kernel, and only that"


def test_nothing_of_earth_engine_is_imported_to_choose():
    code = (
        "import sys; from m3leo_prep.sources.gee import EarthEngine as E; E('s1-grd'); assert 'ee' not in sys.modules"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_source_is_a_value():
    one = EarthEngine("s2-sr", bands=["red"], max_cloud=20)
    assert pickle.loads(pickle.dumps(one)) == one
    assert choose(one) == choose(pickle.loads(pickle.dumps(one)))


def test_sentinel_1_has_a_set_of_bands_for_each_direction():
    found = choice("s1-grd", bands=["vv", "vh", "angle", "ratio"])
    assert bands(found) == {
        "backscatter": ("vv_asc", "vh_asc", "vv_desc", "vh_desc"),
        "incidence": ("angle_asc", "angle_desc"),
        "ratio": ("ratio_asc", "ratio_desc"),
    }
    assert [one.names for one in found.quantities] == [("VV", "VH", "VV", "VH"), ("angle", "angle"), ("", "")]
    assert (found.mode, found.kernel, found.statistic, found.orbits) == (
        "composite",
        "bilinear",
        "mean",
        ("ascending", "descending"),
    )
    attributes = found.quantities[0].variable.attributes
    assert attributes["backscatter_convention"] == "sigma0_ellipsoid"
    assert (attributes["provider_kernel"], attributes["kernel_noise_gain"]) == ("bilinear", [0.25, 1.0])
    assert bands(choice("s1-grd", orbits=["descending"])) == {"backscatter": ("vv_desc", "vh_desc")}


def test_bands_of_sentinel_1_may_name_their_direction_in_any_order():
    found = choice("s1-grd", bands=["vv_asc", "vv_desc", "vh_asc"])
    assert bands(found) == {"backscatter": ("vv_asc", "vv_desc", "vh_asc")}
    assert found.quantities[0].names == ("VV", "VV", "VH")
    assert choice("s1-grd", bands=["vh_desc"]).orbits == ("descending",)
    assert "without a direction" in str(refusal("s1-grd", bands=["vv_asc", "vh"]))
    assert "orbits" in str(refusal("s1-grd", bands=["vv_asc"], orbits=["descending"]))


def test_tracks():
    assert choice("s1-grd").relative_orbits == "all"
    assert choice("s1-grd", relative_orbits="best").relative_orbits == "best"
    assert choice("s1-grd", relative_orbits=[110, 37]).relative_orbits == (37, 110)
    for wrong in ([0], [176], [], "some", [1.5], [True]):
        assert "from 1 to 175" in str(refusal("s1-grd", relative_orbits=wrong))


def test_kernels_have_our_names_in_the_variables():
    assert choice("s1-grd", kernel="nearest").quantities[0].variable.kernel == "nearest"
    found = choice("s2-sr", kernel="bicubic").quantities[0].variable
    assert (found.kernel, found.attributes["provider_kernel"]) == ("cubic", "bicubic")
    assert "power" in str(refusal("s1-grd", kernel="bicubic")), "it makes negative power"
    assert "bicubic" in str(refusal("s2-sr", kernel="cubic"))
    assert "resampling:" in refusal("glo30", kernel="bilinear").hint


def test_images_may_come_in_their_own_pixels():
    found = choice("s1-grd", composite="local")
    assert (found.mode, found.quantities[0].variable.kernel) == ("native", "")
    assert "provider_kernel" not in found.quantities[0].variable.attributes
    assert "ratio" in str(refusal("s1-grd", composite="local", bands=["ratio"]))
    assert "composite" in str(refusal("glo30", composite="server"))
    assert "server" in str(refusal("s1-grd", composite="there"))


def test_sentinel_2_takes_clouds_away_by_its_own_rule():
    found = choice("s2-sr")
    assert (found.cloud, found.cloud_classes, found.statistic, found.kernel) == (
        "scl",
        (3, 8, 9, 10),
        "median",
        "nearest",
    )
    assert "3, 8, 9, 10" in found.quantities[0].variable.attributes["cloud_rule"]
    assert choice("s2-sr", cloud_classes=[9, 8]).cloud_classes == (8, 9)
    assert choice("s2-l1c").cloud == "cloud_score"
    assert choice("s2-sr", cloud="cloud_score", clear_from=0.7).clear_from == 0.7
    assert choice("s2-sr", max_cloud=20).max_cloud == 20
    assert "clear_from" in str(refusal("s2-l1c", clear_from=2))
    assert "scl" in refusal("s2-sr", cloud="sc1").hint
    assert "qa60" in refusal("s2-l1c", cloud="scl").hint
    assert "cloud_classes" in str(refusal("s2-sr", cloud="qa60", cloud_classes=[3]))
    for options in ({"cloud_classes": [0]}, {"cloud_classes": [12]}, {"clear_from": 0.5}, {"max_cloud": 101}):
        assert next(iter(options)) in str(refusal("s2-sr", **options))


def test_the_hole_of_qa60_matters_only_to_qa60():
    assert choice("s2-sr").row.gaps == ()
    assert [gap[0].isoformat() for gap in choice("s2-sr", cloud="qa60").row.gaps] == ["2022-01-25"]
    choice("s2-sr", cloud="qa60", year=2021)
    for year in (2022, 2023, 2024):
        assert "2022-01-25 to 2024-02-27" in str(refusal("s2-sr", cloud="qa60", year=year))


def test_thirteen_bands_of_surface_reflectance_do_not_exist():
    error = refusal("s2-sr", bands=["coastal", "cirrus"])
    assert "no band 'cirrus'" in str(error)
    assert "nir09" in str(error)
    assert "s2-l1c has it" in error.hint
    assert "'red'" in refusal("s2-sr", bands=["B4"]).hint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"product": "s1grd"}, "s1-grd"),
        ({"product": "worldcover-v100", "year": 2019}, "it has 2020"),
        ({"product": "worldcover-v100", "year": 2021}, "worldcover-v200 has 2021"),
        ({"product": "worldcover"}, "say which release"),
        ({"product": "worldcover", "year": 2019}, "no release has 2019"),
        ({"product": "cci-agb", "year": 2012}, "2007, 2010, 2015 to 2022"),
        ({"product": "ghs-built-s", "year": 2018}, "2015, 2020"),
        ({"product": "glo30", "year": 2020}, "has no years"),
        ({"product": "s1-grd", "year": 2013}, "2014 and later"),
        ({"product": "s1-grd", "year": "2020"}, "not a year"),
        ({"product": "worldcover", "year": "2020"}, "not a year"),
        ({"product": "s1-grd", "bands": ["vw"]}, "it has vv, vh, hh, hv, angle, ratio"),
        ({"product": "s1-grd", "bands": ["vv", "vv"]}, "names one twice"),
        ({"product": "s1-grd", "variables": ["backscater"]}, "did you mean 'backscatter'"),
        ({"product": "s1-grd", "variables": ["incidence"], "bands": ["vv"]}, "no band 'vv'"),
        ({"product": "s1-grd", "orbits": ["asc"]}, "ascending"),
        ({"product": "s1-grd", "orbits": []}, "lists nothing"),
        ({"product": "s1-grd", "statistic": "avg"}, "median"),
        ({"product": "s1-grd", "statistic": "max", "bands": ["ratio"]}, "a mean or a median"),
        ({"product": "s1-grd", "cloud": "scl"}, "cloud: is for Sentinel-2"),
        ({"product": "s2-sr", "orbits": ["ascending"]}, "orbits: is for radar"),
        ({"product": "s2-sr", "relative_orbits": "best"}, "relative_orbits: is for radar"),
        ({"product": "s2-sr", "pitch": 20}, "pitch"),
        ({"product": "s1-grd", "filters": {"instrumentMode": "EW"}}, "instrumentMode = IW"),
        ({"product": "s1-grd", "filters": {"platform_number": {"from": 1}}}, "platform_number"),
        ({"product": "cci-agb", "variables": ["agb_sd"]}, "correlation"),
        ({"product": "cci-agb", "variables": {"agb_sd": {"correlation": 2}}}, "correlation"),
        ({"product": "cci-agb", "variables": {"agb": {"correlation": 1}}}, "standard deviations"),
        ({"product": "cci-agb", "variables": {"agb": {"scale": 1}}}, "unknown key 'scale'"),
        ({}, "one of product, collection and script"),
        ({"product": "s1-grd", "collection": "A/B"}, "product and collection"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_key_and_way_out(options, words):
    assert words in str(refusal(**options))


def test_the_names_of_other_sources_and_of_the_release_by_year_work():
    assert choice("s2-l2a").row.name == "s2-sr"
    assert choice("worldcover", year=2021).row.name == "worldcover-v200"


def test_filters_come_beside_those_of_the_product():
    found = choice("s1-grd", filters={"platform_number": "A", "sliceNumber": {"max": 9}})
    assert found.row.filters == {
        "instrumentMode": "IW",
        "resolution_meters": 10,
        "platform_number": "A",
        "sliceNumber": {"max": 9},
    }
    assert "platform_number" not in choice("s1-grd").row.filters


def test_flags_follow_their_quantity():
    found = choice("mod44b", bands=["bare", "tree"])
    assert bands(found) == {"cover": ("bare", "tree"), "cover_flags": ("bare", "tree")}
    assert found.quantities[0].names == found.quantities[1].names == ("Percent_NonVegetated", "Percent_Tree_Cover")
    assert found.quantities[1].variable.attributes["flag_codes"] == {"200": "Water"}
    assert "cover_flags" not in bands(choice("mod44b", variables=["quality"]))


def test_a_standard_deviation_says_how_errors_go_together():
    found = choice("cci-agb", variables={"agb": None, "agb_sd": {"correlation": 0.5}})
    assert [one.variable.kind for one in found.quantities] == [Kind.CONTINUOUS, Kind.UNCERTAINTY]
    assert found.quantities[1].variable.attributes["correlation"] == 0.5


def test_variables_may_say_their_bands():
    found = choice("gssic-decay", variables={"rho": ["summer_vv_rho"], "tau": None})
    assert bands(found)["rho"] == ("summer_vv_rho",)
    assert len(bands(found)["tau"]) == 4


# -- collections and scripts -------------------------------------------------------------------------------------------


OWN = {"collection": "A/B", "pitch": 10}


def test_a_collection_with_a_reducer_is_composited_there():
    found = choice(collection="MODIS/061/MOD13Q1", variables=NDVI, pitch=250, statistic="max", filters={"a": [1, 2]})
    assert (found.mode, found.kernel, found.statistic, found.row.filters) == (
        "composite",
        "bilinear",
        "max",
        {"a": [1, 2]},
    )
    one = found.quantities[0]
    assert (one.names, one.scale, one.nodata, one.variable.kernel) == (("NDVI",), 0.0001, (-3000.0,), "bilinear")
    assert (found.row.asset, found.row.pitch, found.row.licence) == ("MODIS/061/MOD13Q1", 250.0, "unknown")


def test_a_collection_without_a_reducer_comes_in_its_own_pixels():
    assert choice(collection="A/B", variables=NDVI, pitch=250).mode == "native"
    assert choice(collection="A/B", variables=NDVI, pitch=250, composite="server").mode == "composite"
    assert choice(collection="A/B", variables=NDVI, pitch=250, statistic="mean", composite="local").mode == "native"


def test_classes_are_never_interpolated():
    variables = {"cover": {"bands": ["b1"], "legend": {"1": "Land", 2: {"name": "Water", "color": "#0000ff"}}}}
    found = choice(collection="A/B", variables=variables, pitch=30, composite="server")
    assert (found.kernel, found.statistic, found.quantities[0].dtype) == ("nearest", "first", "uint8")
    assert [(one.code, one.name) for one in found.quantities[0].variable.legend] == [(1, "Land"), (2, "Water")]
    assert "classes" in str(refusal(collection="A/B", variables=variables, pitch=30, statistic="mean"))
    assert "kernel" in str(
        refusal(collection="A/B", variables=variables, pitch=30, statistic="first", kernel="bilinear")
    )


def test_codes_beside_values_keep_their_own_kernel_and_statistic():
    variables = NDVI | {"quality": {"kind": "bits", "bands": ["QA"], "dtype": "uint16"}}
    found = choice(collection="A/B", variables=variables, pitch=250, statistic="mean", kernel="bilinear")
    ndvi, quality = (one.variable for one in found.quantities)
    assert (ndvi.kernel, ndvi.attributes["provider_statistic"]) == ("bilinear", "mean")
    assert (quality.kernel, quality.attributes["provider_statistic"]) == ("nearest", "first")


def test_a_script_is_known_by_its_content_and_not_by_its_place(tmp_path):
    file = tmp_path / "ndvi.py"
    file.write_text("def image(start, end): ...\n")
    found = choice(script=f"{file}:image", variables=NDVI, pitch=10)
    assert (found.mode, found.code) == ("computed", hashlib.sha256(file.read_bytes()).hexdigest())
    assert found.row.title == "ndvi.py:image"
    assert str(tmp_path) not in repr(found.row), "the row is part of the version, which must not depend on the machine"
    before = EarthEngine(script=f"{file}:image", variables=NDVI, pitch=10).describe().version
    file.write_text("def image(start, end): return None\n")
    assert EarthEngine(script=f"{file}:image", variables=NDVI, pitch=10).describe().version != before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"collection": "A/B", "variables": NDVI}, "pitch: is missing"),
        ({"collection": "A/B", "variables": NDVI, "pitch": -1}, "pitch"),
        ({"collection": "A/B", "pitch": 10}, "variables: say what the bands mean"),
        ({"collection": "A/B", "pitch": 10, "variables": NDVI, "bands": ["a"]}, "bands: is for products"),
        (OWN | {"variables": {"a": {"bands": ["B"]}}}, "kind: say what the numbers mean"),
        (OWN | {"variables": {"a": {"kind": "power"}}}, "bands: name at least one"),
        (OWN | {"variables": {"a": {"kind": "powr", "bands": ["B"]}}}, "did you mean 'power'"),
        (OWN | {"variables": {"a": {"knd": "power"}}}, "unknown key 'knd'"),
        (OWN | {"variables": {"A b": {"kind": "power", "bands": ["B"]}}}, "lower-case"),
        (OWN | {"variables": {"a": {"kind": "classes", "bands": ["B"]}}}, "need names"),
        (OWN | {"variables": {"a": {"kind": "bits", "bands": ["B"], "scale": 2}}}, "not scaled"),
        (OWN | {"variables": {"a": {"kind": "power", "bands": ["B"], "scale": 0}}}, "erase"),
        (OWN | {"variables": {"a": {"kind": "power", "bands": ["B"], "scale": "x"}}}, "scale"),
        (OWN | {"variables": {"a": {"kind": "uncertainty", "bands": ["B"]}}}, "correlation"),
        ({"script": "ndvi.py", "variables": NDVI, "pitch": 10}, "file.py:function"),
        ({"script": "absent.py:image", "variables": NDVI, "pitch": 10}, "no file absent.py"),
        ({"script": "a.py:image", "variables": NDVI, "pitch": 10, "filters": {"a": 1}}, "filters"),
    ],
)  # fmt: skip
def test_mistakes_of_own_collections_and_scripts(options, words):
    assert words in str(refusal(**options))


# -- recipes -----------------------------------------------------------------------------------------------------------


def layers():
    for name in recipe_names():
        recipe, _ = load_recipe(name)
        yield from ((name, layer, model, recipe) for layer, model in recipe.layers.items() if model.source == "gee")


@pytest.mark.parametrize(
    ("name", "layer", "model", "recipe"), [pytest.param(*one, id=f"{one[0]}-{one[1]}") for one in layers()]
)
def test_every_layer_of_a_shipped_recipe_resolves(name, layer, model, recipe):
    options = model.options | ({"statistic": model.statistic} if model.statistic else {})
    source = EarthEngine(**options)
    made = resolve_layer(
        layer, model, source.describe(), Grid(recipe.grid.chip_px, recipe.grid.resolution), n_chips=100
    )
    found = choose(source)
    for array, one in zip(made.arrays, found.quantities, strict=False):
        assert array.variable == one.variable
        assert not one.variable.kernel or array.method == one.variable.kernel
        assert found.mode == "native" or array.statistic == found.statistic
    if made.is_static and (found.row.first is not None or found.row.years):
        assert found.year or found.row.first.year == found.row.last.year, "a layer of one map says of which year"


def test_the_statistics_of_the_first_tool_are_kept():
    recipe, _ = load_recipe("m3leo-faithful")
    s1, s2 = recipe.layers["s1grd"], recipe.layers["s2rgbm"]
    assert (s1.statistic, s1.options["bands"]) == ("median", ["vv_asc", "vv_desc", "vh_asc", "vh_desc"])
    assert (s2.statistic, s2.options["cloud"], s2.options["max_cloud"]) == ("median", "qa60", 20)
    assert recipe.splits.policy == "none"


def test_the_recipe_of_m3leo_asks_for_all_its_layers():
    recipe, _ = load_recipe("m3leo-gee")
    assert {model.options["product"] for model in recipe.layers.values()} == {
        "s1-grd", "s2-sr", "worldcover-v100", "ghs-built-s", "cci-agb", "mod44b", "glo30", "gssic-coherence",
        "gssic-backscatter-raw",
    }  # fmt: skip
    assert {name for name, model in recipe.layers.items() if model.role == "label"} == {
        "worldcover", "ghsbuilts", "biomass", "modis44b",
    }  # fmt: skip


def test_a_choice_keeps_the_table_as_it_is():
    found = choice("s1-grd", filters={"platform_number": "A"})
    assert choice("s1-grd").row == replace(found.row, filters={"instrumentMode": "IW", "resolution_meters": 10})


def test_the_page_for_users_of_the_first_tool_names_what_exists():
    page = (ROOT / "docs/reference/first-tool.md").read_text(encoding="utf-8")
    known = {*row_names(), *Asf.PRODUCTS}
    assert {name.rstrip(",") for name in re.findall(r"product: ([a-z0-9-]+)", page)} <= known
    recipe, _ = load_recipe("m3leo-faithful")
    told = set(re.findall(r"`([a-z0-9_]+)`(?:,|:| )", page)) | set(re.findall(r"\| `([a-z0-9_]+)`", page))
    assert set(recipe.layers) - told == {"esaworldcover_2021"}, "written `_2021` there"
