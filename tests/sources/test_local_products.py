"""Label layers of source local: products, several variables, flags, unknown codes, renumbering, bins, datums."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.encoding import default_encoding, encode
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.products import product
from m3leo_prep.core.raster import STATIC, Kind
from m3leo_prep.sources.local import Local
from m3leo_prep.testing.source import SourceContract

EARTH = box(-180, -90, 180, 90)
UTM = "EPSG:32632"
TARGET = GeoBox((20, 20), Affine(10, 0, 500_000, 0, -10, 5_000_000), UTM)


def write(path, data, *, names=(), tags=None, transform=None, crs=UTM, colours=None, **profile):
    data = np.asarray(data)
    data = data[None] if data.ndim == 2 else data
    shape = {"count": len(data), "height": data.shape[1], "width": data.shape[2], "dtype": data.dtype}
    place = {"crs": crs, "transform": transform or TARGET.transform}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place, **profile) as out:
        out.write(data)
        out.update_tags(**(tags or {}))
        for k, name in enumerate(names, 1):
            out.set_band_description(k, name)
        if colours:
            out.write_colormap(1, colours)
    return str(path)


def read(source, target=TARGET):
    """Return the rasters of the only item, by variable."""
    (item,) = source.find(EARTH, (STATIC,))
    return {raster.variable: raster for raster in source.read([item], target, STATIC)}


def codes(*rows):
    return np.array(rows, "uint8").repeat(20 // len(rows), axis=0).repeat(20 // len(rows[0]), axis=1)


# -- products ----------------------------------------------------------------------------------------------------------


def test_a_product_fills_what_is_not_said(tmp_path):
    path = write(tmp_path / "lc.tif", codes([1, 44], [48, 12]))
    info = Local(path=path, product="corine-2018").describe()
    (variable,) = info.variables
    corine = product("corine-2018")
    assert (variable.name, variable.kind, variable.legend) == ("classes", Kind.CLASSES, corine.variables[0].legend)
    assert (info.licence, info.citation) == (corine.licence, corine.reference)
    assert variable.attributes["product_version"] == "v2020_20u1"
    raster = read(Local(path=path, product="corine-2018"))["classes"]
    assert raster.valid[0].mean() == 0.75, "48 is no data"


def test_what_is_said_wins_over_the_product(tmp_path):
    path = write(tmp_path / "lc.tif", codes([1, 44], [48, 12]))
    said = {"legend": {1: "town", 12: "field", 44: "sea", 48: "?"}, "nodata": 44, "long_name": "mine", "licence": "MIT"}
    source = Local(path=path, product="corine-2018", variable="lc", **said)
    info = source.describe()
    assert (info.variables[0].name, info.variables[0].long_name, info.licence) == ("lc", "mine", "MIT")
    raster = read(source)["lc"]
    assert (raster.data[0] == 48)[~(raster.data[0] == 44)].any()
    assert np.array_equal(raster.valid[0], raster.data[0] != 44)


def test_units_datums_and_band_names_come_from_the_product(tmp_path):
    heights = np.linspace(-430, 8849, 400, dtype="float32").reshape(20, 20)
    path = write(tmp_path / "a.tif", heights)
    for name, datum in (("copernicus-dem", "EGM2008 height"), ("srtm", "EGM96 height")):
        (variable,) = Local(path=path, product=name).describe().variables
        assert (variable.bands, variable.unit, variable.attributes["vertical_datum"]) == (("height",), "m", datum)
    raster = read(Local(path=path, product="copernicus-dem"))["height"]
    assert raster.valid.all()
    np.testing.assert_array_equal(raster.data[0], heights), "the Dead Sea lies at -430 m"


def test_a_products_table_is_part_of_the_sources_version(tmp_path):
    path = write(tmp_path / "a.tif", codes([10, 20]))
    plain = Local(path=path, legend={10: "a", 20: "b"}).describe().version
    assert plain == "1"
    versions = {Local(path=path, product=f"worldcover-v{v}").describe().version for v in (100, 200)}
    assert len(versions | {plain}) == 3


def test_unknown_products_and_their_neighbours():
    with pytest.raises(ConfigError, match=r"no product 'corine'\s+hint: did you mean 'corine-2018'"):
        Local(path="x", product="corine")


@pytest.mark.parametrize("given", [{"legend": {10: "Tree cover"}}, {"product": "worldcover-v200"}])
def test_releases_of_worldcover_are_not_mixed_in_one_layer(tmp_path, given):
    tags = {"title": "ESA WorldCover product", "product_version": "V2.0.0"}
    write(tmp_path / "a.tif", codes([10]), tags=tags)
    write(tmp_path / "b.tif", codes([10]), tags=tags | {"product_version": "V1.0.0"})
    source = Local(path=str(tmp_path), **given)
    with pytest.raises(
        ConfigError, match=r"b\.tif: is worldcover-v100 .* worldcover-v200\s+hint: make a layer of each"
    ):
        list(source.find(EARTH, (STATIC,)))


def test_real_releases_of_worldcover_tell_themselves_by_tag_or_by_name(shared_data, tmp_path):
    labels = shared_data / "labels"
    old, new = (labels / f"esa_worldcover_{name}_sao_tome.tif" for name in ("2020_v100", "2021_v200"))
    found = [Local(path=str(path), kind="classes").describe().variables[0].attributes["product"] for path in (old, new)]
    assert found == ["worldcover-v100", "worldcover-v200"]
    with pytest.raises(ConfigError, match=r"2020_v100_sao_tome\.tif: is worldcover-v100"):
        list(Local(path=str(old), product="worldcover-v200").find(EARTH, (STATIC,)))
    with pytest.raises(ConfigError, match=r"2021_v200_sao_tome\.tif: is worldcover-v200"):
        list(Local(path=str(labels / "esa_worldcover_*_v?00_sao_tome.tif"), pattern="*", kind="classes", bands=["b1"],
                   legend=["?"]).find(EARTH, (STATIC,)))  # fmt: skip
    write(tmp_path / "ESA_WorldCover_10m_2020_v100_N00E006_Map.tif", codes([10]))
    with pytest.raises(ConfigError, match="is worldcover-v100"):
        list(Local(path=str(tmp_path), product="worldcover-v200").find(EARTH, (STATIC,)))


def test_colour_tables_that_clash_are_refused(tmp_path):
    for name, text in (("a", "1 Water\n2 Land"), ("b", "1 Water\n2 Forest")):
        write(tmp_path / f"{name}.tif", codes([1, 2]), tags={"legend": text})
    with pytest.raises(ConfigError, match=r"b\.tif: its class 2 is 'Forest', in .*a\.tif it is 'Land'\s+hint"):
        list(Local(path=str(tmp_path), kind="classes").find(EARTH, (STATIC,)))
    assert len(list(Local(path=str(tmp_path), legend={1: "w", 2: "l"}).find(EARTH, (STATIC,)))) == 2


# -- codes without a class ---------------------------------------------------------------------------------------------


def test_unknown_codes_are_named_and_counted(tmp_path):
    path = write(tmp_path / "a.tif", codes([1, 2], [7, 99]))
    source = Local(path=path, legend={1: "a", 2: "b"})
    with pytest.raises(
        ConfigError, match=r"a\.tif: holds class codes that the legend lacks: 7 \(100 px\), 99 \(100 px\)"
    ) as told:
        read(source)
    assert all(way in told.value.hint for way in ("legend:", "remap:", "nodata:", "unknown: ignore"))
    raster = read(Local(path=path, legend={1: "a", 2: "b"}, nodata=[7, 99]))["classes"]
    assert raster.valid.mean() == 0.5


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32"])
def test_ignored_codes_are_masked_and_counted_when_stored(tmp_path, dtype):
    path = write(tmp_path / "a.tif", codes([1, 2], [7, 99]).astype(dtype))
    source = Local(path=path, legend={1: "a", 2: "b"}, unknown="ignore")
    (variable,) = source.describe().variables
    raster = read(source)["classes"]
    stored = encode(raster.data, raster.valid, default_encoding(variable))
    assert stored.out_of_range.tolist() == [200]
    assert np.unique(stored.codes).tolist() == [1, 2, 255]
    assert raster.observed.all(), "seen, but discarded"
    assert variable.attributes["unknown_codes"] == "masked and counted"


def test_a_code_that_a_remap_leaves_unnamed_is_told_as_stored(tmp_path):
    path = write(tmp_path / "a.tif", codes([1, 2]))
    with pytest.raises(ConfigError, match=r"lacks: 2 \(200 px\)"):
        read(Local(path=path, legend={1: "a"}, remap={2: 9}))


def test_policies_are_checked():
    with pytest.raises(ConfigError, match=r"unknown: 'ignor' is no policy.*\s+hint: did you mean 'ignore'"):
        Local(path="x", legend=["a"], unknown="ignor")


# -- renumbering -------------------------------------------------------------------------------------------------------


def test_renumbering_is_one_to_one_and_written_down(tmp_path):
    path = write(tmp_path / "a.tif", codes([10, 20], [30, 40]))
    legend = {1: "a", 20: "b", 30: "c", 40: "d"}
    source = Local(path=path, legend=legend, remap={10: 1})
    assert source.describe().variables[0].attributes["remap"] == {"10": 1}
    assert np.unique(read(source)["classes"].data).tolist() == [1, 20, 30, 40]
    swapped = read(Local(path=path, legend={10: "a", 20: "b", 30: "c", 40: "d"}, remap={10: 20, 20: 10}))["classes"]
    assert (swapped.data[0, 0, ::10].tolist()) == [20, 10]


def test_renumbering_that_makes_one_class_of_two_must_be_meant(tmp_path):
    path = write(tmp_path / "a.tif", codes([10, 20], [30, 40]))
    legend = {10: "a", 30: "c", 40: "d"}
    with pytest.raises(ConfigError, match=r"remap: 10 and 20 would both become 1\s+hint: .*merge: true"):
        Local(path=path, legend={1: "x"}, remap={10: 1, 20: 1})
    with pytest.raises(ConfigError, match=r"a\.tif: remap: 20 would become 10, a class that the file has already"):
        read(Local(path=path, legend=legend, remap={20: 10}))
    with pytest.raises(ConfigError, match=r"remap: 20 would become 10, a class that is there already"):
        Local(path=path, product="worldcover-v200", remap={20: 10})
    merged = read(Local(path=path, legend=legend, remap={20: 10}, merge=True))["classes"]
    assert np.unique(merged.data).tolist() == [10, 30, 40]
    named = Local(path=path, product="worldcover-v200", remap={20: 10, 95: 11}, merge=True).describe().variables[0]
    assert [(c.code, c.name) for c in named.legend][:3] == [(10, "Tree cover"), (11, "Mangroves"), (30, "Grassland")]


# -- flags -------------------------------------------------------------------------------------------------------------


def test_flags_are_never_values_and_are_kept_apart(tmp_path):
    path = write(tmp_path / "vcf.tif", codes([0, 100], [200, 253]))
    source = Local(path=path, kind="continuous", unit="percent", nodata=253, flags={200: "water"})
    value, flag = source.describe().variables
    assert (flag.name, flag.kind, [(c.code, c.name) for c in flag.legend]) == (
        "continuous_flags", Kind.CLASSES, [(0, "none"), (1, "water")],
    )  # fmt: skip
    assert value.attributes["flag_codes"] == flag.attributes["flag_codes"] == {"200": "water"}
    rasters = read(source)
    main, flags = rasters["continuous"], rasters["continuous_flags"]
    assert np.array_equal(main.valid[0], codes([1, 1], [0, 0]) == 1), "0 is a value"
    assert np.array_equal(main.masked[0], codes([0, 0], [1, 0]) == 1)
    assert np.array_equal(flags.valid[0], codes([1, 1], [1, 0]) == 1), "nodata has no flag either"
    assert np.array_equal(flags.data[0][flags.valid[0]], codes([0, 0], [1, 0])[flags.valid[0]])


def test_modis_tree_cover_by_its_product(tmp_path):
    """D49: 200 is water, 253 is fill, and what is left sums to 100."""
    rng = np.random.default_rng(4)
    tree = rng.integers(0, 61, (20, 20))
    other = rng.integers(0, 100 - tree)
    bands = np.stack([tree, other, 100 - tree - other]).astype("uint8")
    bands[:, 5:8], bands[:, :, 15:] = 200, 253
    named = ["Percent_Tree_Cover", "Percent_NonTree_Vegetation", "Percent_NonVegetated"]
    for names in (named, ()):
        path = write(tmp_path / f"{len(names)}.tif", bands, names=names)
        rasters = read(Local(path=path, product="mod44b"))
        cover, flags = rasters["cover"], rasters["cover_flags"]
        assert (cover.data.sum(axis=0)[cover.valid.all(axis=0)] == 100).all()
        assert cover.valid[0].sum() == 17 * 15
        assert (flags.data[:, 5:8, :15] == 1).all()
        assert not flags.valid[:, :, 15:].any()
    shuffled = write(tmp_path / "s.tif", bands[::-1], names=named[::-1])
    np.testing.assert_array_equal(read(Local(path=shuffled, product="mod44b"))["cover"].data, cover.data)


def test_what_is_no_data_is_no_flag(tmp_path):
    path = write(tmp_path / "vcf.tif", codes([0, 100], [200, 253]))
    rasters = read(Local(path=path, product="mod44b", bands=["tree"], nodata=[200, 253]))
    assert np.array_equal(rasters["cover_flags"].valid, rasters["cover"].valid)
    assert not rasters["cover_flags"].data.any()


@pytest.mark.parametrize("layer", [
    {"legend": {7: "land"}},
    {"legend": {9: "land"}, "remap": {7: 9}},
    {"kind": "continuous", "flags": {0: "no land"}},
])  # fmt: skip
def test_what_the_files_own_mask_hides_is_no_code(tmp_path, layer):
    """Mask first: the 0, 9 and 255 below the mask are neither classes nor flags."""
    land = codes([7, 0], [9, 255])
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write(tmp_path / "lc.tif", land)
        with rasterio.open(path, "r+") as file:
            file.write_mask(land == 7)
    for raster in read(Local(path=path, **layer)).values():
        assert np.array_equal(raster.valid[0], land == 7)


def test_flags_are_for_quantities():
    with pytest.raises(ConfigError, match="flags: is for kinds amount, continuous, uncertainty, not classes"):
        Local(path="x", legend=["a"], flags={200: "water"})


# -- bins --------------------------------------------------------------------------------------------------------------


def test_bins_are_half_open_and_what_is_outside_is_counted(tmp_path):
    people = np.zeros((20, 20), "float32")
    people[0, :6] = [0, 0.999, 1, 10.999, 11, 21]
    people[1, 0] = -5
    path = write(tmp_path / "pop.tif", people)
    source = Local(path=path, kind="amount", unit="people", bins=[0, 1, 11, 21])
    (variable,) = source.describe().variables
    assert (variable.name, variable.kind) == ("classes", Kind.CLASSES)
    assert [(c.code, c.name) for c in variable.legend] == [(0, "0-1"), (1, "1-11"), (2, "11-21")]
    assert variable.attributes["bins"] == [0, 1, 11, 21]
    raster = read(source)["classes"]
    stored = encode(raster.data, raster.valid, default_encoding(variable))
    assert stored.codes[0, 0, :6].tolist() == [0, 0, 1, 1, 2, 255]
    assert stored.out_of_range.tolist() == [2]


def test_an_edge_with_a_fraction_lies_in_the_class_above_it(tmp_path):
    """0.7 in float32 is less than 0.7 in float64, 0.3 is more."""
    shares = np.full((20, 20), 0.5, "float32")
    shares[0, :4] = [0.3, 0.7, np.nextafter(np.float32(0.7), np.float32(0)), 0.1]
    path = write(tmp_path / "share.tif", shares)
    got = read(Local(path=path, kind="continuous", bins=[0, 0.1, 0.3, 0.7, 1]))["classes"].data
    assert got[0, 0, :4].tolist() == [2, 3, 2, 1]
    stored = write(tmp_path / "percent.tif", np.full((20, 20), 70, "uint8"))
    scaled = Local(path=stored, kind="continuous", scale=0.01, bins=[0, 0.7, 1])
    assert np.unique(read(scaled)["classes"].data).tolist() == [1]


def test_bins_may_be_open_and_named(tmp_path):
    path = write(tmp_path / "pop.tif", np.arange(400, dtype="float32").reshape(20, 20))
    source = Local(path=path, kind="amount", bins=[float("-inf"), 1, 11, float("inf")])
    assert [c.name for c in source.describe().variables[0].legend] == ["below 1", "1-11", "11+"]
    named = Local(path=path, kind="amount", bins=[0, 1, 500], legend=["nobody", "somebody"])
    assert [c.name for c in named.describe().variables[0].legend] == ["nobody", "somebody"]
    assert read(named)["classes"].data.sum() == 399
    for bad, why in (([1], "two or more"), ([0, 0, 1], "increasing"), ("x", "neither a number")):
        with pytest.raises(ConfigError, match=why):
            Local(path=path, kind="amount", bins=bad)
    with pytest.raises(ConfigError, match=r"the bins make the classes 0 \.\.\. 1, name each or none"):
        Local(path=path, kind="amount", bins=[0, 1, 2], legend=["a"])
    with pytest.raises(ConfigError, match="bins: is for kinds amount, continuous, not power"):
        Local(path=path, kind="power", bins=[0, 1])


# -- several variables -------------------------------------------------------------------------------------------------

AGB = {
    "agb": {"kind": "continuous", "unit": "Mg/ha", "bands": {"agb": "*_AGB_100m.tif"}},
    "agb_sd": {
        "kind": "uncertainty", "unit": "Mg/ha", "bands": {"sd": "*_CV_100m.tif"}, "relative_to": "agb",
        "correlation": 0,
    },
}  # fmt: skip


def test_biomass_and_its_standard_deviation_from_a_coefficient_of_variation(shared_data):
    """LiDAR biomass of Acre: nodata of -3.4e38 in both files, sd = value x CV, Mg/ha (D51)."""
    folder = shared_data / "labels/agb"
    source = Local(path=str(folder), variables=AGB)
    agb, sd = source.describe().variables
    assert (agb.bands, sd.bands, sd.kind, sd.unit) == (("agb",), ("sd",), Kind.UNCERTAINTY, "Mg/ha")
    assert sd.attributes["correlation"] == 0
    assert sd.attributes["relative_to"] == "agb"
    (item,) = source.find(EARTH, (STATIC,))
    target = GeoBox((35, 34), Affine(100, 0, 686_300, 0, -100, 8_909_700), "EPSG:32719")
    value, error = source.read([item], target, STATIC)
    with (
        rasterio.open(folder / "BON_A01_2018_AGB_100m.tif") as a,
        rasterio.open(folder / "BON_A01_2018_CV_100m.tif") as b,
    ):
        mass, cv = a.read(1, masked=True), b.read(1, masked=True)
    there = ~(np.ma.getmaskarray(mass) | np.ma.getmaskarray(cv))
    assert 500 < there.sum() < there.size
    assert np.array_equal(value.valid[0], ~np.ma.getmaskarray(mass))
    assert np.array_equal(error.valid[0], there)
    np.testing.assert_allclose(error.data[0][there], (mass.filled(0) * cv.filled(0))[there], rtol=1e-6)
    assert np.abs(error.data[error.valid]).max() < 1e4, "no 3.4e38 that pretends to be biomass"


class TestSeveralVariables(SourceContract):
    """A quantity with flags and its error, in a file each."""

    @pytest.fixture
    def source(self, tmp_path):
        rng = np.random.default_rng(3)
        place = Affine(30, 0, 503_010, 0, -30, 5_484_020)
        for name in ("value", "cv"):
            data = rng.integers(0, 200, (1, 300, 300)).astype("float32")
            data[0, ::17, ::5], data[0, ::23, ::7] = 255, 250
            write(tmp_path / f"x_{name}.tif", data, transform=place, nodata=255)
        variables = {
            "v": {"kind": "continuous", "bands": {"v": "*_value.tif"}, "flags": {250: "water"}},
            "sd": {"kind": "uncertainty", "bands": {"sd": "*_cv.tif"}, "relative_to": "v", "correlation": 0.5,
                   "scale": 0.01},
        }  # fmt: skip
        return Local(path=str(tmp_path), variables=variables)


def test_an_error_relative_to_nothing_is_nothing(tmp_path):
    """Where the value is missing or a flag, so is its standard deviation."""
    for name, data in (("a_AGB_100m", codes([10, 200], [0, 250])), ("a_CV_100m", codes([1, 1], [1, 1]))):
        write(tmp_path / f"{name}.tif", data.astype("float32"), nodata=250)
    variables = AGB | {"agb": AGB["agb"] | {"flags": {200: "water"}}}
    rasters = read(Local(path=str(tmp_path), variables=variables))
    assert np.array_equal(rasters["agb_sd"].valid[0], codes([1, 0], [1, 0]) == 1), "0 is certain, not missing"
    assert np.unique(rasters["agb_sd"].data[rasters["agb_sd"].valid]).tolist() == [0, 10]


@pytest.mark.parametrize("far", [{}, {"height": {"kind": "continuous", "bands": {"height": 3}}}])
def test_a_deviation_counts_where_its_quantity_is_known(tmp_path, far):
    """Else the error of a mean held errors of pixels that are not in the mean. Of two quantities, nobody knows."""
    known = np.full((20, 20), 100, "float32")
    known[:10] = np.nan
    error = np.full((20, 20), 10, "float32")
    error[:10], error[19] = 1000, np.nan
    path = write(tmp_path / "agb.tif", np.stack([known, error, known + error]))
    agb = {"kind": "continuous", "bands": {"agb": 1}}
    sd = {"kind": "uncertainty", "bands": {"sd": 2}, "correlation": 0}
    rasters = read(Local(path=path, variables={"agb": agb, "sd": sd, **far}))
    assert rasters["agb"].valid[0, :, 0].tolist() == [False] * 10 + [True] * 10
    first = 0 if far else 10
    assert rasters["sd"].valid[0, :, 0].tolist() == [False] * first + [True] * (19 - first) + [False]


def test_variables_of_one_file_by_band_number(tmp_path):
    path = write(tmp_path / "a.tif", np.stack([codes([0, 50]), codes([4, 8])]))
    variables = {
        "cover": {"kind": "continuous", "bands": {"tree": 1}, "unit": "percent"},
        "type": {"legend": {4: "oak", 8: "pine"}, "bands": {"type": 2}},
    }
    rasters = read(Local(path=path, variables=variables))
    assert list(rasters) == ["cover", "type"]
    assert rasters["cover"].data.max() == 50
    assert np.unique(rasters["type"].data).tolist() == [4, 8]


def test_a_scene_without_one_of_the_variables_has_the_others(tmp_path):
    for name in ("a_AGB_100m", "b_AGB_100m", "b_CV_100m"):
        write(tmp_path / f"{name}.tif", np.ones((20, 20), "float32"))
    source = Local(path=str(tmp_path), variables=AGB)
    found = {
        item.id: [r.variable for r in source.read([item], TARGET, STATIC)] for item in source.find(EARTH, (STATIC,))
    }
    assert sorted(found.values()) == [["agb"], ["agb", "agb_sd"]]


@pytest.mark.parametrize(("change", "message"), [
    ({"agb_sd": {"kind": "uncertainty", "bands": {"sd": "*c"}}}, "agb_sd: correlation: say how the errors"),
    ({"agb_sd": AGB["agb_sd"] | {"correlation": 1.5}}, "correlation: 1.5 is not between 0 and 1"),
    ({"agb_sd": AGB["agb_sd"] | {"relative_to": "abg"}}, r"no other variable 'abg'\s+hint: did you mean 'agb'"),
    ({"agb_sd": AGB["agb_sd"] | {"offset": 3}}, "offset: a standard deviation has none"),
    ({"agb": AGB["agb"] | {"colour": 1}}, "variables: agb: unknown key 'colour'"),
    ({"agb": AGB["agb"] | {"correlation": 1}}, "correlation: is for kind uncertainty, not continuous"),
    ({"agb": {"kind": "continuous"}}, "variables: agb: needs `bands`"),
    ({"agb": {"kind": "continuous", "bands": {"agb": 1}}}, "either all bands have a file"),
    ({"agb": {"legend": ["a"], "bands": {"agb": "*a"}}}, "'agb' holds no values to which an error could be relative"),
])  # fmt: skip
def test_what_variables_cannot_be(change, message):
    with pytest.raises(ConfigError, match=message):
        Local(path="x", variables=AGB | change)


def test_what_is_said_beside_variables_is_meant_for_one_of_them():
    with pytest.raises(ConfigError, match="unit: say it inside `variables:`"):
        Local(path="x", variables=AGB, unit="m")
    with pytest.raises(ConfigError, match=r"variables: .* is not understood"):
        Local(path="x", variables=["agb"])
    named = Local(path="x", product="cci-agb", variables={"agb": {}, "agb_sd": {"correlation": 0.3}})
    assert [one.unit for one in named._layout.quantities] == ["Mg/ha", "Mg/ha"]
    with pytest.raises(ConfigError, match=r"product 'cci-agb' has no variable 'agb_se'"):
        Local(path="x", product="cci-agb", variables={"agb_se": {"correlation": 0.3}})


# -- vertical datums ---------------------------------------------------------------------------------------------------

LONLAT = {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 9.0, 0, -1e-4, 45.1)}


def test_heights_change_their_datum_by_the_undulation(tmp_path):
    """A tilted geoid N = 48 + 2 (lon - 9): bilinear is exact."""
    heights = np.full((20, 20), -430, "float32")
    path = write(tmp_path / "dem.tif", heights)
    lon = 8.9 + 0.05 * (np.arange(8) + 0.5)
    grid = np.tile(48 + 2 * (lon - 9), (6, 1)).astype("float32")
    geoid = write(tmp_path / "n.tif", grid, crs="EPSG:4326", transform=Affine(0.05, 0, 8.9, 0, -0.05, 45.3))
    from pyproj import Transformer

    x, y = np.meshgrid(500_005 + 10 * np.arange(20), 4_999_995 - 10 * np.arange(20))
    n = 48 + 2 * (Transformer.from_crs(UTM, 4326, always_xy=True).transform(x, y)[0] - 9)
    for datum, sign in (("ellipsoid", 1), ("geoid", -1)):
        source = Local(path=path, kind="continuous", unit="m", geoid=geoid, datum=datum)
        raster = read(source)["continuous"]
        np.testing.assert_allclose(raster.data[0], -430 + sign * n, atol=1e-4)
        attributes = source.describe().variables[0].attributes
        assert attributes["geoid"] == "n.tif"
        assert attributes["vertical_datum"] == ("ellipsoid" if sign == 1 else "geoid of n.tif")


def test_a_geoid_that_counts_longitudes_to_360_serves_the_west_too(tmp_path):
    world = np.tile(0.1 * (np.arange(360) + 0.5), (180, 1)).astype("float32")
    geoid = write(tmp_path / "w.tif", world, crs="EPSG:4326", transform=Affine(1, 0, 0, 0, -1, 90))
    place = Affine(0.01, 0, -70.2, 0, -0.01, 10)
    path = write(tmp_path / "dem.tif", np.zeros((20, 20), "float32"), crs="EPSG:4326", transform=place)
    raster = read(
        Local(path=path, product="srtm", geoid=geoid, datum="ellipsoid"), GeoBox((20, 20), place, "EPSG:4326")
    )
    lon = -70.2 + 0.01 * (np.arange(20) + 0.5)
    np.testing.assert_allclose(raster["height"].data[0], np.tile(0.1 * (lon + 360), (20, 1)), atol=1e-4)


def test_another_geoid_makes_another_version_of_the_items(tmp_path):
    path = write(tmp_path / "dem.tif", np.zeros((20, 20), "float32"))
    versions = set()
    for side in (5, 6):
        place = Affine(1, 0, 7, 0, -1, 47)
        geoid = write(tmp_path / "n.tif", np.ones((side, side), "float32"), crs="EPSG:4326", transform=place)
        for datum in ("ellipsoid", "geoid"):
            (item,) = Local(path=path, kind="continuous", geoid=geoid, datum=datum).find(EARTH, (STATIC,))
            versions.add(item.version)
    assert len(versions) == 4


def test_no_undulation_no_height(tmp_path):
    path = write(tmp_path / "dem.tif", np.ones((20, 20), "float32"))
    geoid = write(
        tmp_path / "n.tif", np.ones((6, 8), "float32"), crs="EPSG:4326", transform=Affine(0.05, 0, 40, 0, -0.05, 45.3)
    )
    assert not read(Local(path=path, kind="continuous", geoid=geoid, datum="ellipsoid"))["continuous"].valid.any()


def test_datums_are_checked(tmp_path):
    path = write(tmp_path / "dem.tif", np.ones((20, 20), "float32"))
    with pytest.raises(ConfigError, match="geoid, datum: each needs the other"):
        Local(path=path, kind="continuous", geoid="n.tif")
    with pytest.raises(ConfigError, match=r"datum: 'elipsoid' is not known\s+hint: did you mean 'ellipsoid'"):
        Local(path=path, kind="continuous", geoid="n.tif", datum="elipsoid")
    with pytest.raises(ConfigError, match=r"datum: geoid, but its heights are that already .EGM2008 height"):
        Local(path=path, product="copernicus-dem", geoid="n.tif", datum="geoid").describe()
    with pytest.raises(ConfigError, match="geoid: is for one variable of heights"):
        Local(path=path, legend=["a"], geoid="n.tif", datum="geoid")


def test_los_angeles_on_the_ellipsoid_from_a_coarse_geoid(shared_data, tmp_path):
    """D52: the same DEM above geoid and ellipsoid, by an undulation known every 2.8 km only, within 0.5 m."""
    dem = shared_data / "dem"
    with (
        rasterio.open(dem / "los_angeles_glo30_ellipsoid.tif") as a,
        rasterio.open(dem / "los_angeles_glo30_geoid.tif") as b,
    ):
        ellipsoid, geoid, at = a.read(1), b.read(1), a.transform
    nodes = np.s_[::90, ::90]
    step = Affine(90 * at.a, 0, at.c - 44.5 * at.a, 0, 90 * at.e, at.f - 44.5 * at.e)
    undulation = write(tmp_path / "n.tif", (ellipsoid - geoid)[nodes], crs="EPSG:4326", transform=step)
    path = str(dem / "los_angeles_glo30_geoid.tif")
    source = Local(path=path, product="copernicus-dem", geoid=undulation, datum="ellipsoid")
    assert source.describe().variables[0].attributes["source_vertical_datum"] == "EGM2008 height"
    target = GeoBox((361, 361), at, "EPSG:4326")
    raster = read(source, target)["height"]
    rest = np.ones((361, 361), bool)
    rest[nodes] = False
    assert raster.valid.all()
    assert np.abs(raster.data[0] - ellipsoid)[rest].max() < 0.5
    assert np.abs(geoid - ellipsoid).min() > 34, "not just the same heights"
    back = Local(path=str(dem / "los_angeles_glo30_ellipsoid.tif"), kind="continuous", geoid=undulation, datum="geoid")
    assert np.abs(read(back, target)["continuous"].data[0] - geoid).max() < 0.5


class TestShiftedHeights(SourceContract):
    """Heights that a geoid moves: windows agree bit for bit."""

    @pytest.fixture
    def source(self, tmp_path):
        rng = np.random.default_rng(8)
        height = rng.normal(300, 50, (300, 300)).astype("float32")
        path = write(tmp_path / "dem.tif", height, transform=Affine(30, 0, 503_010, 0, -30, 5_484_020))
        place = Affine(0.1, 0, 8.5, 0, -0.1, 50)
        geoid = write(
            tmp_path / "n.tif", rng.normal(48, 1, (12, 15)).astype("float32"), crs="EPSG:4326", transform=place
        )
        return Local(path=path, product="copernicus-dem", geoid=geoid, datum="ellipsoid")
