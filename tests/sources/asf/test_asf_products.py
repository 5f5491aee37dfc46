"""The source ``asf``: its products by name, their options, and what ``doctor`` is told of each."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.core.errors import ConfigError, CredentialsError
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.doctor import _layer
from m3leo_prep.sources.asf.source import Asf
from m3leo_prep.testing.earthdata import EarthdataStandIn

LOGGED_IN = ["gunw", "opera-rtc", "opera-rtc-static"]


@pytest.mark.parametrize("product", Asf.PRODUCTS)
def test_each_product_is_made_by_its_name_and_travels(product: str) -> None:
    made = Asf(product=product)
    assert type(made) is not Asf
    assert made.product == product
    assert pickle.loads(pickle.dumps(made)) == made
    assert Asf(product) == made


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ({}, "needs a `product:`", "gunw"),
        ({"product": None}, "needs a `product:`", "gunw"),
        ({"product": "gunv"}, "no product 'gunv'", "did you mean 'gunw'"),
        ({"product": 7}, "no product '7'", "gunw"),
        ({"product": ["gunw"]}, "no product", "gunw"),
        ({"product": "opera-rtc", "orbit": 3}, "'opera-rtc' has no option 'orbit'", ""),
    ],
)
def test_what_no_product_is_or_has(given: dict[str, Any], said: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        Asf(**given)
    assert hint in caught.value.hint


@pytest.mark.parametrize("product", LOGGED_IN)
def test_what_needs_a_login_says_which_was_found(
    earthdata: EarthdataStandIn, monkeypatch: pytest.MonkeyPatch, product: str
) -> None:
    assert Asf(product=product).probe() == "Earthdata, user me, by $EARTHDATA_TOKEN"
    monkeypatch.setenv("EARTHDATA_TOKEN", "0ld")
    with pytest.raises(CredentialsError, match="invalid_token"):
        Asf(product=product).probe()


def test_doctor_tells_the_login_of_a_recipe(earthdata: EarthdataStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = "{periods: [[2020-06-01, 2020-08-31]]}"
    recipe = parse_recipe(f"name: r\nlayers:\n  rtc: {{source: asf, product: opera-rtc, slots: {slots}}}\n")
    found = _layer("rtc", recipe.layers["rtc"], Grid(), Path())
    assert (found.state, found.seen) == ("ok", "asf: Earthdata, user me, by $EARTHDATA_TOKEN")
    monkeypatch.setenv("EARTHDATA_TOKEN", "0ld")
    found = _layer("rtc", recipe.layers["rtc"], Grid(), Path())
    assert (found.state, found.is_login) == ("fail", True)


def test_making_a_product_imports_no_client() -> None:
    code = (
        "import sys; from m3leo_prep.sources.asf.source import Asf; [Asf(product=p) for p in Asf.PRODUCTS]; "
        "print(sorted({'asf_search', 'hyp3_sdk', 'obstore', 'rasterio', 'h5py', 'urllib3'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
