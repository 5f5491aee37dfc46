"""Under which licence a dataset may be published: the truth is the Creative Commons compatibility chart."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import yaml

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.products import product, product_names
from m3leo_prep.pipeline.shipped import list_areas, shipped
from m3leo_prep.publish.description.licences import decide, outputs, terms_of

BY, SA, NC, NC_SA, FREE = "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC0-1.0"
SENTINEL = "Copernicus Sentinel data terms (free, full and open)"
DEM = "Copernicus DEM licence (free; DLR e.V. 2010-2014, Airbus Defence and Space GmbH 2014-2018)"
CIAT = "no commercial use, resale or redistribution without permission from CIAT"
STATIC = [{"label": "static", "start": None, "end": None}]


def manifest(
    *licences: str, citation: str = "Somebody (2020): Something", slots: Any = STATIC, **more: Any
) -> dict[str, Any]:
    layers = {
        f"layer{k}": {"licence": licence, "citation": citation, "slots": slots} for k, licence in enumerate(licences)
    }
    return {"layers": layers, "area": {"name": "here", "source": "", "licence": ""}} | more


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([FREE], "cc0-1.0"),
        (["public domain (Natural Earth)"], "cc0-1.0"),
        ([FREE, BY], "cc-by-4.0"),
        ([SENTINEL], "cc-by-4.0"),
        ([BY, SA], "cc-by-sa-4.0"),
        ([BY, NC], "cc-by-nc-4.0"),
        ([NC, NC_SA], "cc-by-nc-sa-4.0"),
        ([FREE, BY, NC_SA, SENTINEL], "cc-by-nc-sa-4.0"),
        (["ODbL-1.0", BY], "odbl"),
    ],
)
def test_inputs_decide_the_licence_of_the_whole(inputs: list[str], expected: str) -> None:
    for order in itertools.permutations(inputs):
        made = decide(manifest(*order))
        assert made.hub_id == expected
        assert not made.is_stated


@pytest.mark.parametrize("inputs", [[SA, NC], [SA, NC_SA], [SA, "ODbL"], [NC, "ODbL"]])
def test_terms_that_contradict_each_other_are_refused_with_a_way_out(inputs: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"no licence allows these together: layer layer0") as caught:
        decide(manifest(*inputs))
    assert "one repository per licence" in caught.value.hint
    with pytest.raises(ConfigError):
        decide(manifest(*inputs), "other")


def test_what_may_not_be_redistributed_is_refused_whatever_is_said() -> None:
    for licence in (None, "other", "cc-by-nc-4.0"):
        with pytest.raises(ConfigError, match="CIAT") as caught:
            decide(manifest(FREE, CIAT), licence)
        assert caught.value.where == "layer layer1"


@pytest.mark.parametrize("says", ["", "unknown", "my own terms"])
def test_unknown_licences_need_a_word_of_the_publisher(says: str) -> None:
    with pytest.raises(ConfigError, match="layer layer1") as caught:
        decide(manifest(BY, says))
    assert "`licence:`" in caught.value.hint
    assert "--license" in caught.value.hint
    made = decide(manifest(BY, says), "CC-BY-4.0")
    assert (made.hub_id, made.is_stated) == ("cc-by-4.0", True)
    assert [one.name for one in made.attributions][1] == ""


@pytest.mark.parametrize(
    ("said", "inputs"), [("cc-by-4.0", [NC]), ("cc0-1.0", [BY]), ("cc-by-4.0", [SA]), ("cc-by-nc-4.0", [BY, NC_SA])]
)
def test_a_licence_that_an_input_forbids_is_refused(said: str, inputs: list[str]) -> None:
    with pytest.raises(ConfigError, match=f"{said} may not be the licence") as caught:
        decide(manifest(*inputs), said)
    assert "its inputs allow" in caught.value.hint


def test_a_stricter_licence_may_be_chosen_and_an_unknown_one_not() -> None:
    assert decide(manifest(BY), "cc-by-nc-sa-4.0").hub_id == "cc-by-nc-sa-4.0"
    with pytest.raises(ConfigError, match="no licence 'cc-by-4' for data is known"):
        decide(manifest(BY), "cc-by-4")


def test_notices_name_the_years_of_the_slots_whose_ends_are_excluded() -> None:
    slots = [{"label": "a", "start": "2019-12-01T00:00:00+00:00", "end": "2020-03-01T00:00:00+00:00"}]
    assert decide(manifest(SENTINEL, slots=slots)).notices == ("Contains modified Copernicus Sentinel data 2019-2020.",)
    slots = [{"label": "b", "start": "2020-01-01T00:00:00+00:00", "end": "2021-01-01T00:00:00+00:00"}]
    assert decide(manifest(SENTINEL, slots=slots)).notices == ("Contains modified Copernicus Sentinel data 2020.",)


def test_notices_carry_the_wording_that_producers_ask_for() -> None:
    assert "produced using Copernicus WorldDEM-30 © DLR e.V. 2010-2014" in decide(manifest(DEM)).notices[0]
    worldcover = decide(manifest(BY, BY, citation="Zanaga et al. (2022): ESA WorldCover 10 m 2021 v200"))
    assert len(worldcover.notices) == 2  # once, not once a layer
    assert "Zanaga et al. (2022)" in worldcover.notices[0]
    assert worldcover.notices[1] == (
        "© ESA WorldCover project 2021 / Contains modified Copernicus Sentinel data (2021) processed by ESA WorldCover "
        "consortium"
    )


def test_credits_are_found_by_the_citations_that_this_package_writes() -> None:
    years = [{"label": "a", "start": "2020-01-01T00:00:00+00:00", "end": "2022-01-01T00:00:00+00:00"}]

    def credit(name: str) -> str:
        return decide(manifest(BY, citation=product(name).citation, slots=years)).notices[-1]

    assert credit("dynamic-world").endswith("Contains modified Copernicus Sentinel data 2020-2021.")
    assert credit("worldcover-v100").startswith("© ESA WorldCover project 2020 /")
    for name in product_names():
        if "GHS-" in product(name).citation:
            assert "International Journal of Digital Earth" in credit(name)


def test_every_wording_says_where_it_was_read_or_that_it_is_ours() -> None:
    table = yaml.safe_load((shipped("aoi").parent / "m3leo_prep/publish/description/licences.yaml").read_text("utf-8"))
    ours = ("Creative Commons", "Open Data Commons", "Etalab")
    rows = [row for row in table["inputs"] if row.get("notice") and not row["name"].startswith(ours)]
    assert [row["name"] for row in rows if not row.get("verified")] == []
    assert all(row["verified"] for row in table["credits"])


def test_area_and_units_count_where_they_have_a_licence_to_keep() -> None:
    area = {"name": "here", "source": "OpenStreetMap", "licence": "ODbL"}
    assert decide(manifest(FREE) | {"area": area}).hub_id == "odbl"
    units = {"name": "commune", "file": "communes.gpkg", "id": "code"}
    with pytest.raises(ConfigError, match=r"communes\.gpkg"):
        decide(manifest(FREE, admin=units))
    assert decide(manifest(FREE, admin=units | {"licence": BY})).hub_id == "cc-by-4.0"


def test_layers_of_one_licence_and_source_are_told_together() -> None:
    found = decide(manifest(FREE, FREE, BY)).attributions
    assert [one.what for one in found] == ["layers layer0, layer1", "layer layer2"]


def test_every_licence_that_this_package_can_write_is_known() -> None:
    package = shipped("aoi").parent / "m3leo_prep"
    said = {area.licence for area in list_areas()} | {product(name).licence for name in product_names()}
    said |= {"public domain (Natural Earth)", "CC0-1.0 (synthetic)"}
    for file in (package / "sources/gee/products.yaml", package / "core/products.yaml"):
        table = yaml.safe_load(file.read_text(encoding="utf-8"))
        rows = table.get("products", table)
        said |= {row["licence"] for row in rows.values() if "licence" in row}
    for file in (package / "sources").rglob("*.py"):
        said |= set(re.findall(r'licence="([^"]+)"', file.read_text(encoding="utf-8")))
    assert len(said) > 12
    assert [one for one in said if terms_of(one) is None] == []


def test_outputs_ask_for_all_that_the_terms_of_the_same_name_ask() -> None:
    """What is published here may be an input there: the two halves of the table agree."""
    for hub_id, output in outputs().items():
        terms = terms_of(hub_id)
        if terms is not None and not terms.forbids:
            assert output.allowed_by(terms), hub_id
            assert ("share-alike" in output.gives) == bool(terms.only), hub_id
