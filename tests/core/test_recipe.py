"""Recipes: what is read, and what is said of one that cannot be."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.recipe import POLICIES, EncodingModel, Recipe, parse_recipe
from m3leo_prep.core.slots import parse_slots

SMALL = """\
name: small
layers:
  a: {source: ramp}
"""
# Section 8 of the design.
LARGE = """\
name: m3leo
grid: {chip_px: 448, resolution: 10}
layers:
  s1grd:          {source: gee, product: s1-grd, slots: {seasons: 2020}, bands: [vv, vh],
                   orbits: [ascending, descending], statistic: mean}
  gssic:          {source: asf, product: gssic, slots: seasons,
                   variables: {coherence: [coh12, coh24], decay: [rho, tau, rmse]}}
  gunw:           {source: asf, product: gunw, slots: {pairs: {year: 2020, windows: {short: [0, 60]}, pick: far}}}
  s2:             {source: [copernicus, gee], product: s2-l2a, slots: {months: 2020}, bands: [red, green, blue],
                   cloud: scl, statistic: median}
  worldcover:     {role: label, source: gee, product: worldcover, year: 2020}
splits: {policy: blocks, block_km: auto, shares: {train: 0.6, val: 0.2, test: 0.2},
         buffer_km: auto, buffer_side: train, seed: 42}
"""


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_recipe(text, where="my.yaml")
    return str(caught.value)


def test_the_smallest_recipe_gets_the_safe_defaults() -> None:
    recipe = parse_recipe(SMALL)
    layer = recipe.layers["a"]
    assert (recipe.grid.chip_px, recipe.grid.resolution, recipe.grid.tiling) == (448, 10.0, "utm")
    assert (layer.role, layer.slots, layer.options) == ("input", "static", {})
    assert (layer.statistic, layer.resampling, layer.resolution, layer.encoding) == (None, None, None, None)
    assert recipe.splits.policy == "none"


def test_own_keys_are_ours_and_all_others_go_to_the_source() -> None:
    layers = parse_recipe(LARGE).layers
    assert list(layers) == ["s1grd", "gssic", "gunw", "s2", "worldcover"]
    s1 = layers["s1grd"]
    assert (s1.source, s1.statistic, s1.slots) == ("gee", "mean", {"seasons": 2020})
    assert s1.options == {"product": "s1-grd", "bands": ["vv", "vh"], "orbits": ["ascending", "descending"]}
    assert layers["worldcover"].role == "label"
    assert layers["worldcover"].options == {"product": "worldcover", "year": 2020}


def test_a_whole_block_of_splits_is_read() -> None:
    splits = parse_recipe(LARGE).splits
    assert (splits.policy, splits.block_km, splits.buffer_km, splits.buffer_side) == ("blocks", "auto", "auto", "train")
    assert splits.shares == {"train": 0.6, "val": 0.2, "test": 0.2}
    assert splits.seed == 42
    numbers = parse_recipe(SMALL + "splits: {policy: bands, block_km: 48, buffer_km: 6.5, angle: 30, n_bands: 12}")
    assert (numbers.splits.block_km, numbers.splits.buffer_km) == (48.0, 6.5)
    assert (numbers.splits.angle, numbers.splits.n_bands) == (30.0, 12)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_has_a_name_that_is_read(policy: str) -> None:
    assert parse_recipe(f"{SMALL}splits: {{policy: {policy}}}").splits.policy == policy


def test_dates_stay_dates() -> None:
    recipe = parse_recipe("name: a\nlayers:\n  a: {source: ramp, slots: {dates: [2020-02-29]}}\n")
    assert recipe.layers["a"].slots == {"dates": [date(2020, 2, 29)]}


# -- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where", "says", "hint"),
    [
        (SMALL + "spilts: {policy: none}\n", "line 4", "unknown key 'spilts'", "did you mean 'splits'?"),
        (SMALL + "zzz: 1\n", "line 4", "unknown key 'zzz'", "description, grid, layers, name, proportions, splits"),
        (SMALL + "grid: {chippx: 64}\n", "line 4", "unknown key 'grid.chippx'", "did you mean 'chip_px'?"),
        (SMALL + "grid:\n  chip_px: 0\n", "line 5", "grid.chip_px", "0"),
        (SMALL + "grid: {tiling: utmm}\n", "line 4", "'utmm'", "'utm'"),
        (SMALL + "splits:\n  policy: block\n", "line 5", "'block'", "'blocks'"),
        (SMALL + "splits: {shares: {trian: 1}}\n", "line 4", "'trian'", "'train'"),
        (SMALL + "splits:\n  seed: no number\n", "line 5", "splits.seed", "no number"),
        (SMALL.replace("ramp}", "ramp, statistic: maen}"), "line 3", "layers.a.statistic: 'maen'", "'mean'"),
        (SMALL.replace("ramp}", "ramp, resampling: bilinaer}"), "line 3", "'bilinaer'", "'bilinear'"),
        (SMALL.replace("ramp}", "ramp, role: lable}"), "line 3", "'lable'", "'label'"),
        (SMALL.replace("ramp}", "ramp, resolution: -10}"), "line 3", "layers.a.resolution", "-10"),
        (SMALL.replace("ramp}", "ramp, band_chunk: 0}"), "line 3", "layers.a.band_chunk", "0"),
        (SMALL.replace("ramp}", "ramp, encoding: {dtype: int8}}"), "line 3", "encoding.dtype", "'uint8'"),
        (SMALL.replace("ramp}", "ramp, encoding: {dtype: int16, scle: 1}}"), "line 3", "scle", "'scale'"),
        (SMALL.replace("ramp}", "ramp, encoding: {scale: 2}}"), "line 3", "layers.a.encoding.dtype", "missing"),
        (SMALL.replace("source", "product"), "line 3", "'layers.a.source'", "missing"),
        (SMALL.replace("{source: ramp}", "ramp"), "line 3", "layers.a", "ramp"),
        (SMALL.replace("  a:", "  S1-grd:"), "line 3", "'S1-grd'", "lower-case letters, digits and _"),
        (SMALL.replace("small", "My recipe"), "line 1", "name", "My recipe"),
        (SMALL + "  b: {source: ramp}\n  a: {source: ramp}\n", "line 5", "'a' stands twice", "line 3"),
        (SMALL + "name: again\n", "line 4", "'name' stands twice", "line 1"),
        (SMALL.replace("ramp}", "ramp, pitch: 1, pitch: 2}"), "line 3", "'pitch' stands twice", "line 3"),
        (SMALL.replace("ramp}", "[{x: 1, x: 2}]}"), "line 3", "'x' stands twice", "line 3"),
        (SMALL + "  b: [\n", "line", "not valid YAML", "my.yaml"),
        (SMALL + "\tb: 1\n", "line 4", "not valid YAML", "my.yaml"),
    ],
)
def test_messages_name_line_key_and_choices(text: str, where: str, says: str, hint: str) -> None:
    message = refused(text)
    assert message.startswith("my.yaml, line ")
    assert message.startswith(f"my.yaml, {where}")
    assert says in message
    assert hint in message
    assert "pydantic" not in message


@pytest.mark.parametrize("missing", ["name", "layers"])
def test_what_is_missing_altogether_is_named(missing: str) -> None:
    kept = yaml.safe_load(SMALL)
    del kept[missing]
    assert f"the key '{missing}' is missing" in refused(yaml.safe_dump(kept))


def test_no_layer_at_all_is_refused() -> None:
    assert refused("name: a\nlayers: {}\n").startswith("my.yaml, line 2: layers")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "42", "# nothing\n"])
def test_what_is_no_mapping_is_told_what_a_recipe_is(text: str) -> None:
    message = refused(text)
    assert "a recipe is a mapping with `name:` and `layers:`" in message
    assert "recipes/demo.yaml" in message


def test_the_same_key_in_two_layers_is_not_twice() -> None:
    layers = parse_recipe(SMALL + "  b: {source: ramp}\n").layers
    assert list(layers) == ["a", "b"]


def test_an_anchor_may_be_used_twice() -> None:
    text = "name: a\nlayers:\n  a: {source: ramp, slots: &when {months: 2020}}\n  b: {source: ramp, slots: *when}\n"
    assert parse_recipe(text).layers["b"].slots == {"months": 2020}


@pytest.mark.parametrize("text", ["name: a\x00b\n", "name: \x07\n"])
def test_a_binary_file_is_no_recipe(text: str) -> None:
    assert "not a text file" in refused(text)


def test_a_date_that_is_none_is_refused_with_its_line() -> None:
    message = refused("name: a\nlayers:\n  a:\n    source: ramp\n    slots: {dates: [2020-02-30]}\n")
    assert message.startswith("my.yaml")
    assert "day is out of range for month" in message


def test_a_document_that_contains_itself_is_refused() -> None:
    assert refused("name: a\nlayers: &all\n  a: *all\n").startswith("my.yaml")


# -- round trips -------------------------------------------------------------------------------------------------------


def _again(recipe: Recipe) -> Recipe:
    return parse_recipe(yaml.safe_dump(recipe.resolved(), sort_keys=False))


@pytest.mark.parametrize("text", [SMALL, LARGE])
def test_the_resolved_recipe_is_the_same_recipe(text: str) -> None:
    recipe = parse_recipe(text)
    again = _again(recipe)
    assert again.resolved() == recipe.resolved()
    assert again == recipe or any(layer.alternatives for layer in recipe.layers.values()), "it names the one source"
    assert list(_again(recipe).layers) == list(recipe.layers)


def test_every_default_is_written_into_the_resolved_recipe() -> None:
    resolved = parse_recipe(SMALL).resolved()
    assert resolved["grid"] == {"chip_px": 448, "resolution": 10.0, "tiling": "utm"}
    assert resolved["splits"]["shares"] == {"train": 0.6, "val": 0.2, "test": 0.2}
    assert resolved["layers"]["a"]["role"] == "input"


def test_a_layers_codec_is_its_own_or_that_of_the_storage() -> None:
    text = "name: a\nstorage: {codec: lz4}\nlayers:\n  a: {source: ramp}\n  b: {source: ramp, codec: none}\n"
    recipe = parse_recipe(text)
    assert (recipe.codec("a"), recipe.codec("b"), parse_recipe(SMALL).codec("a")) == ("lz4", "none", "zstd")
    assert recipe.layers["b"].options == {}, "no option of the source"
    assert _again(recipe) == recipe


def test_units_have_a_licence_and_without_one_a_recipe_reads_as_before() -> None:
    plain = parse_recipe(f"{SMALL}admin: {{path: a.gpkg, id: code}}\n")
    assert plain.resolved()["admin"] == {"path": "a.gpkg", "id": "code", "name": "unit"}
    told = parse_recipe(f"{SMALL}admin: {{path: a.gpkg, id: code, licence: CC-BY-4.0, citation: We (2020)}}\n")
    assert told.resolved()["admin"] == plain.resolved()["admin"] | {"licence": "CC-BY-4.0", "citation": "We (2020)"}
    assert _again(told) == told


@pytest.mark.parametrize("text", [SMALL, f"{SMALL}storage: {{codec: zstd}}\n"])
def test_a_recipe_without_codecs_reads_as_before_there_were_any(text: str) -> None:
    resolved = parse_recipe(text).resolved()
    assert "storage" not in resolved
    assert "codec" not in resolved["layers"]["a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"{SMALL}storage: {{codec: gzip}}\n",
            "line 4: storage.codec: 'gzip' is not known\n  hint: choose from: lz4, none, zstd",
        ),
        (
            "name: a\nlayers:\n  a: {source: ramp, codec: lz}\n",
            "line 3: layers.a.codec: 'lz' is not known\n  hint: did you mean 'lz4'?",
        ),
        (
            f"{SMALL}storage:\n  codec: null\n",
            "line 5: storage.codec: None is not known\n  hint: did you mean 'none'?",
        ),
        (f"{SMALL}storage: {{code: lz4}}\n", "line 4: unknown key 'storage.code'\n  hint: did you mean 'codec'?"),
    ],
)
def test_a_codec_that_is_none_of_ours_is_refused(text: str, said: str) -> None:
    assert refused(text) == f"my.yaml, {said}"


def test_dates_mean_the_same_after_the_round_trip() -> None:
    periods = "{periods: [[2020-01-01, 2020-02-29], [2020-03-01, 2020-03-01]]}"
    recipe = parse_recipe(f"name: a\nlayers:\n  a: {{source: ramp, slots: {periods}}}\n")
    slots = parse_slots(recipe.layers["a"].slots)
    assert parse_slots(_again(recipe).layers["a"].slots) == slots
    assert [slot.label for slot in slots] == ["2020-01-01_2020-02-29", "2020-03-01_2020-03-01"]


_words = st.text("abcdefghij_0123456789", min_size=1, max_size=8).map(lambda word: f"x{word}")
_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=5,
)
_own = st.fixed_dictionaries(
    {"source": _words},
    optional={
        "role": st.sampled_from(["input", "label"]),
        "resolution": st.floats(1, 500),
        "statistic": st.sampled_from(["first", "mean", "median", "count"]),
        "band_chunk": st.integers(1, 4),
        "codec": st.sampled_from(["zstd", "lz4", "none"]),
        "encoding": st.builds(EncodingModel, dtype=st.just("int16"), scale=st.floats(1e-4, 10)).map(
            lambda model: model.model_dump()
        ),
    },
)


@given(
    layers=st.dictionaries(
        _words, st.tuples(_own, st.dictionaries(_words, _values, max_size=3)), min_size=1, max_size=3
    )
)
def test_any_recipe_survives_the_round_trip(layers: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> None:
    document = {"name": "any", "layers": {name: options | own for name, (own, options) in layers.items()}}
    recipe = parse_recipe(yaml.safe_dump(document))
    assert _again(recipe) == recipe
    assert recipe.layers.keys() == layers.keys()
    for name, (own, options) in layers.items():
        assert recipe.layers[name].options == {key: value for key, value in options.items() if key not in own}


SEVERAL = """\
name: several
layers:
  s2: {source: [copernicus, {gee: {product: s2-sr, max_cloud: 20, resolution: 20}}], product: s2-l2a, bands: [red]}
"""


def test_a_layer_that_lists_sources_comes_from_the_first() -> None:
    layer = parse_recipe(SEVERAL).layers["s2"]
    assert (layer.source, layer.resolution) == ("copernicus", None)
    assert layer.options == {"product": "s2-l2a", "bands": ["red"]}, "what only another source takes is not its option"
    assert list(layer.alternatives) == ["copernicus", "gee"]


def test_another_listed_source_brings_its_own_keys() -> None:
    recipe = parse_recipe(SEVERAL)
    other = recipe.with_source("s2", "gee")
    layer = other.layers["s2"]
    assert (layer.source, layer.resolution) == ("gee", 20)
    assert layer.options == {"product": "s2-sr", "bands": ["red"], "max_cloud": 20}
    assert other.with_source("s2", "copernicus") == recipe
    assert recipe.with_source("s2", "copernicus") is recipe


def test_the_resolved_recipe_names_the_one_source_that_it_is_built_from() -> None:
    document = parse_recipe(SEVERAL).with_source("s2", "gee").resolved()["layers"]["s2"]
    assert document["source"] == "gee"
    assert "alternatives" not in document
    again = parse_recipe(yaml.safe_dump({"name": "again", "layers": {"s2": document}})).layers["s2"]
    assert again.options == {"product": "s2-sr", "bands": ["red"], "max_cloud": 20}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("[gee, gee]", "'gee' twice"),
        ("[]", "names no source"),
        ("[{gee: {}, asf: {}}]", "a source is a name"),
        ("[{gee: {source: asf}}]", "a source is a name"),
        ("[3]", "a source is a name"),
    ],
)
def test_lists_of_sources_that_say_nothing_clear_are_refused(source: str, said: str) -> None:
    text = refused(f"name: x\nlayers:\n  a: {{source: {source}}}\n")
    assert said in text
    assert "my.yaml, line 3" in text


def test_only_what_is_listed_can_be_chosen() -> None:
    recipe = parse_recipe(SEVERAL)
    with pytest.raises(ConfigError, match="does not list source 'asf'"):
        recipe.with_source("s2", "asf")
    with pytest.raises(ConfigError, match="has no layer 's1'"):
        recipe.with_source("s1", "gee")
    with pytest.raises(ConfigError, match="does not list source 'gee'"):
        parse_recipe(SMALL).with_source("a", "gee")
