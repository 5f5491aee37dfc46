"""Which columns labels give: names, groups, and refusals before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from m3leo_prep.core.encoding import default_encoding
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.raster import STATIC, Kind, LegendClass, Slot, Variable
from m3leo_prep.core.recipe import ProportionsModel
from m3leo_prep.pipeline.proportions.groups import find_targets, snake_case
from tests.pipeline.proportions.conftest import planned

LEGEND = (LegendClass(1, "Água / mar"), LegendClass(2, "Tree cover"), LegendClass(9, "Built-up"))


def made(variable: Variable, name: str, slots: tuple[Slot, ...] = (STATIC,)) -> Layer:
    array = Array(variable, default_encoding(variable), "nearest", "first", 1)
    return Layer(name, "label", 20.0, 6, slots, (array,), 4, 1, 1)


def label(name: str = "cover", legend: tuple[LegendClass, ...] = LEGEND, about: dict[str, str] | None = None) -> Layer:
    return made(Variable("classes", Kind.CLASSES, ("map",), legend=legend, attributes=about or {}), name)


def names(layer: Layer, **model: object) -> list[str]:
    return [column for target in find_targets([layer], ProportionsModel(**model)) for column in target.columns]  # type: ignore[arg-type]  # of a test


def test_classes_become_columns_of_plain_names() -> None:
    assert names(label()) == ["prop_cover_agua_mar", "prop_cover_tree_cover", "prop_cover_built_up"]
    assert snake_case("Forest and semi-natural areas (3)") == "forest_and_semi_natural_areas_3"
    assert snake_case("森林") == ""
    assert names(label(legend=(LegendClass(7, "森林"),))) == ["prop_cover_class_7"]


def test_inputs_and_layers_not_listed_have_no_columns() -> None:
    assert names(label(), layers=[]) == []
    layers = [label("a"), label("b")]
    assert {t.layer for t in find_targets(layers, ProportionsModel(layers=["b"]))} == {"b"}


def test_slots_and_bands_are_told_apart_by_name() -> None:
    slots = tuple(Slot(year) for year in ("2020", "2021"))
    layer = made(Variable("cover", Kind.CONTINUOUS, ("tree", "bare"), unit="percent"), "modis", slots)
    assert names(layer) == [f"mean_modis_{band}_{year}" for band in ("tree", "bare") for year in (2020, 2021)]


def test_groups_put_every_code_somewhere_once() -> None:
    assert names(label(), groups={"cover": {"Nature": [1, 2], "town": [9]}}) == ["prop_cover_nature", "prop_cover_town"]
    wrong = {
        "no group has the code 9 (Built-up)": {"nature": [1, 2]},
        "the legend has no code 3": {"nature": [1, 2, 3], "town": [9]},
        "the code 2 (Tree cover) stands in 'nature' and in 'town'": {"nature": [1, 2], "town": [9, 2]},
        "names no group of its own": {"a b": [1, 2], "a-b": [9]},
    }
    for message, groups in wrong.items():
        with pytest.raises(ConfigError) as caught:
            names(label(), groups={"cover": groups})
        assert message in str(caught.value)
        assert "proportions.groups.cover" in str(caught.value)


def test_a_level_of_the_products_table_groups_corine() -> None:
    from m3leo_prep.core.products import product

    legend = product("corine-2018").variable().legend
    layer = label(legend=legend, about={"product": "corine-2018"})
    with pytest.raises(ConfigError, match=r"44 classes.*at most 32(?s:.*)group them"):
        names(layer)
    assert names(layer, groups={"cover": "level1"})[0] == "prop_cover_artificial_surfaces"
    assert len(names(layer, groups={"cover": "level1"})) == 5
    assert len(names(layer, groups={"cover": "level2"})) == 15
    with pytest.raises(ConfigError, match="level1"):
        names(layer, groups={"cover": "levle1"})
    with pytest.raises(ConfigError, match="names no product"):
        names(label(), groups={"cover": "level1"})


def test_names_that_clash_are_refused() -> None:
    with pytest.raises(ConfigError, match="'Built-up' and 'Built up'"):
        names(label(legend=(LegendClass(1, "Built-up"), LegendClass(2, "Built up"))))
    pair = [label("a", (LegendClass(1, "b c"),)), label("a_b", (LegendClass(1, "c"),))]
    with pytest.raises(ConfigError, match="2 label columns would have the name 'prop_a_b_c'"):
        find_targets(pair, ProportionsModel())


def test_layers_that_cannot_be_told_are_refused_when_named() -> None:
    with pytest.raises(ConfigError, match=r"'cver' is no label layer(?s:.*)did you mean 'cover'"):
        names(label(), layers=["cver"])
    assert names(label(legend=())) == [], "no legend, no names: left out"
    with pytest.raises(ConfigError, match="no names"):
        names(label(legend=()), layers=["cover"])
    height = made(Variable("h", Kind.CONTINUOUS, ("h",)), "dem")
    with pytest.raises(ConfigError, match="no classes to group"):
        names(height, groups={"dem": {"low": [1]}})


def test_a_plan_refuses_what_cannot_be_built(tmp_path: Path) -> None:
    recipe = """
        name: t
        grid: {chip_px: 32, resolution: 10}
        proportions: {groups: {landcover: {all: [10]}}}
        layers: {landcover: {role: label, source: synthetic, product: landcover}}
    """
    with pytest.raises(ConfigError, match="no group has the code"):
        planned(recipe, (9.3, 57.1, 9.301, 57.101), tmp_path)
