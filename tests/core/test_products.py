"""The tables of products: whole, free of contradictions, and what the files of the producers say."""

import re

import pytest

from m3leo_prep.core.encoding import default_encoding
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.products import product, product_names
from m3leo_prep.core.raster import Kind, Variable

NAMES = product_names()


@pytest.mark.parametrize("name", NAMES)
def test_every_table_is_whole(name):
    one = product(name)
    assert one.name == name
    assert one.title
    assert one.version
    assert one.licence
    assert one.citation
    assert one.url.startswith("https://")
    assert one.pitch > 0
    assert not one.doi or re.fullmatch(r"10\.\d{4,5}/\S+", one.doi)
    assert one.reference.startswith(one.citation)
    for variable in one.variables:
        assert variable.bands
        assert variable.long_name
        assert bool(variable.legend) == (variable.kind is Kind.CLASSES)
        assert bool(variable.unit) == (variable.kind is not Kind.CLASSES)


@pytest.mark.parametrize("name", NAMES)
def test_every_legend_can_be_stored_beside_its_nodata(name):
    for variable in product(name).variables:
        codes = [one.code for one in variable.legend]
        names = [re.sub(r"[^a-z0-9]+", "_", one.name.lower()) for one in variable.legend]
        assert len(set(codes)) == len(codes)
        assert len(set(names)) == len(names), "names become columns"
        assert all(re.fullmatch("#[0-9a-f]{6}", one.color) for one in (*variable.legend, *variable.flags))
        assert not set(codes) & set(variable.nodata or ())
        assert not {one.code for one in variable.flags} & set(variable.nodata or ())
        if variable.legend:
            default_encoding(Variable(variable.name, variable.kind, ("a",), legend=variable.legend))


@pytest.mark.parametrize("name", NAMES)
def test_each_level_puts_each_class_into_one_group(name):
    one = product(name)
    codes = sorted(entry.code for entry in one.variables[0].legend)
    for groups in one.groups.values():
        assert sorted(code for members in groups.values() for code in members) == codes


def test_corine_has_its_three_levels():
    corine = product("corine-2018")
    legend = corine.variables[0].legend
    assert [one.code for one in legend] == list(range(1, 45))
    assert (legend[22].name, legend[22].color) == ("Broad-leaved forest", "#80ff00")
    assert [len(corine.groups[level]) for level in ("level1", "level2")] == [5, 15]
    inside = [set(codes) for codes in corine.groups["level1"].values()]
    assert all(any(set(codes) <= one for one in inside) for codes in corine.groups["level2"].values())


def test_corine_is_what_the_real_files_table_says(shared_data):
    import geopandas

    table = geopandas.read_file(shared_data / "colocated/sao_miguel_azores/LULC_clc2018.tif.vat.dbf")
    names = dict(zip(table["Value"], table["LABEL3"], strict=True))
    legend = product("corine-2018").variables[0].legend
    assert names.pop(48) == "NODATA"
    assert {one.code: one.name for one in legend} == names


def test_both_worldcovers_are_what_the_real_files_say(shared_data):
    import rasterio

    for name, file in (("worldcover-v100", "2020_v100"), ("worldcover-v200", "2021_v200")):
        with rasterio.open(shared_data / f"labels/esa_worldcover_{file}_sao_tome.tif") as data:
            lines = [line.split(None, 1) for line in data.tags()["legend"].split("\n") if line.strip()]
            colours = data.colormap(1)
            nodata, year = data.nodata, int(data.tags()["time_start"][:4])
        one = product(name)
        variable = one.variable("classes")
        assert {c.code: c.name for c in variable.legend} == {int(code): text.strip() for code, text in lines}
        assert all("#" + bytes(colours[c.code][:3]).hex() == c.color for c in variable.legend)
        assert (variable.nodata, one.year) == ((nodata,), year)


def test_near_names_are_proposed():
    with pytest.raises(ConfigError, match=r"no product 'worldcover'\s+hint: did you mean 'worldcover-v[12]00'"):
        product("worldcover")
    with pytest.raises(ConfigError, match=r"product 'cci-agb' has no variable 'agb_se'\s+hint: did you mean 'agb_sd'"):
        product("cci-agb").variable("agb_se")


def test_releases_differ_in_what_readers_compare():
    one, other = product("worldcover-v100").attributes, product("worldcover-v200").attributes
    assert one != other
    assert one.keys() == other.keys() == {"product", "product_version"}
