"""What a recipe may say of OPERA RTC-S1, and what is refused."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.sources.asf import Asf


@pytest.mark.parametrize(
    ("said", "bands"),
    [
        ({}, ("vv_asc", "vh_asc", "vv_desc", "vh_desc")),
        ({"orbits": ["descending"]}, ("vv_desc", "vh_desc")),
        ({"bands": ["hh", "hv"], "orbits": ["ascending"]}, ("hh_asc", "hv_asc")),
        ({"bands": ["vh_desc", "vv_asc"]}, ("vh_desc", "vv_asc")),
        ({"bands": "vv"}, ("vv_asc", "vv_desc")),
    ],
)
def test_bands_are_polarisations_by_direction(said, bands):
    source = Asf(product="opera-rtc", **said)
    (variable,) = source.describe().variables
    assert (variable.bands, variable.kind) == (bands, Kind.POWER)
    assert variable.attributes["backscatter_convention"] == "gamma0_rtc"
    assert pickle.loads(pickle.dumps(source)) == source


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"bands": ["VV"]}, "no band 'VV'"),
        ({"bands": ["vx_asc"]}, "no band 'vx'"),
        ({"bands": ["vv", "vh_asc"]}, "without a direction"),
        ({"bands": ["vv_asc"], "orbits": ["ascending"]}, "already"),
        ({"orbits": []}, "lists nothing"),
        ({"orbits": ["up"]}, "no direction"),
        ({"mask": ["cloud"]}, "not in the mask"),
        ({"mask": []}, "lists nothing"),
        ({"cloud": "scl"}, "no option 'cloud'"),
    ],
)
def test_what_cannot_be_is_refused(said, message):
    with pytest.raises(ConfigError, match=message):
        Asf(product="opera-rtc", **said)


def test_static_variables_are_chosen_by_name():
    names = ["gamma0_to_sigma0", "layover_shadow"]
    described = Asf(product="opera-rtc-static", variables=names).describe().variables
    assert [variable.name for variable in described] == names
    assert [entry.code for entry in described[1].legend] == [0, 1, 2, 3]
    with pytest.raises(ConfigError, match="local_incidence"):
        Asf(product="opera-rtc-static", variables=["local_incidense"])


def test_making_a_source_imports_no_client():
    code = (
        "import sys; from m3leo_prep.sources.asf import Asf\n"
        "for product in ('opera-rtc', 'opera-rtc-static'): Asf(product=product).describe()\n"
        "print(*[name for name in ('asf_search', 'rasterio', 'requests', 'urllib3', 'ee') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
