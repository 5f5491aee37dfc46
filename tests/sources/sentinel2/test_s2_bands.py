"""Names of Sentinel-2's bands, and options that make no sense."""

from __future__ import annotations

import pickle
from typing import Any, cast

import pytest

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.sources._sentinel2.bands import BANDS, choose_bands
from m3leo_prep.sources.copernicus import Copernicus as _Copernicus
from m3leo_prep.sources.gee.products import row
from m3leo_prep.sources.stac import Stac as _Stac

# Calling the source gives an instance of a product's class.
Copernicus, Stac = cast("Any", _Copernicus), cast("Any", _Stac)


def test_a_band_has_our_name_whatever_it_is_called() -> None:
    assert [band.name for band in choose_bands(["red", "B03", "B2", "b8a"], "2A")] == ["red", "green", "blue", "nir08"]
    codes = "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12"
    assert " ".join(band.code for band in choose_bands((), "2A")) == codes
    assert len(choose_bands((), "1C")) == 13


def test_names_are_those_of_earth_engine() -> None:
    of_gee = row("s2-l1c")
    (quantity,) = of_gee.quantities
    codes = {band.code.replace("B0", "B"): band.name for band in BANDS}
    assert dict(zip(quantity.names, quantity.variable.bands, strict=True)) == codes


def test_cirrus_is_only_in_level_1c() -> None:
    with pytest.raises(ConfigError, match="no band 'B10'") as error:
        Copernicus(product="s2-l2a", bands=["B04", "B10"])
    assert "s2-l1c has it" in error.value.hint
    assert "coastal, blue, green, red" in error.value.hint
    assert Copernicus(product="s2-l1c", bands=["B10"]).describe().variables[0].bands == ("cirrus",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bands": ["redd"]}, "no band 'redd'"),
        ({"bands": ["red", "B04"]}, "there already"),
        ({"cloud": "qa60"}, "no rule 'qa60'"),
        ({"cloud_classes": [12]}, "not classes"),
        ({"cloud_classes": [0]}, "not classes"),
        ({"cloud": "none", "cloud_classes": [3]}, "is for `cloud: scl`"),
        ({"max_probability": 30}, "is for `cloud: probability`"),
        ({"cloud": "probability", "max_probability": 101}, "not a percentage"),
        ({"cloud": "none", "dilate": 100}, "nothing to widen"),
        ({"dilate": -1}, "dilate"),
        ({"max_cloud": "some"}, "not a percentage"),
        ({"coarse_bands": "cubic"}, "no way"),
        ({"variables": ["snow"]}, "no variable 'snow'"),
        ({"variables": ["scl"], "bands": ["red"]}, "leaves out"),
        ({"resolution": 10}, "no option 'resolution'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Copernicus(product="s2-l2a", **options)


def test_level_1c_has_no_clouds_to_discard() -> None:
    with pytest.raises(ConfigError, match="Level-1C has no rule 'scl'"):
        Copernicus(product="s2-l1c", cloud="scl")


def test_the_description_tells_the_rules() -> None:
    source = Stac(product="s2-l2a", bands=["red", "swir1"], dilate=100, max_cloud=60, variables=["reflectance", "scl"])
    info = source.describe()
    reflectance, scl = info.variables
    assert reflectance.attributes["cloud_rule"] == (
        "SCL classes 3, 8, 9, 10 are discarded, and all within 100 m of it; images of at most 60 % cloud"
    )
    assert reflectance.attributes["coarse_bands"] == "nearest"
    assert "cloud_rule" not in scl.attributes
    assert reflectance.attributes["negative_reflectance"] == "unknown"
    for more in ({"catalogue": "planetary-computer"}, {"collection": "sentinel-2-c1-l2a"}):
        own = Stac(product="s2-l2a", **more).describe().variables[0]
        assert own.attributes["negative_reflectance"] == "kept"
    assert (info.pitch, info.dear_blocks) == (10, False)
    assert pickle.loads(pickle.dumps(source)) == source
    assert Copernicus(product="s2-l2a").describe().dear_blocks


@pytest.mark.parametrize(("bands", "pitch"), [(["B05", "B11"], 20), (["B01", "B09"], 60), (["B01", "B02"], 10)])
def test_the_pitch_is_that_of_the_finest_band(bands: list[str], pitch: float) -> None:
    assert Copernicus(product="s2-l2a", bands=bands).describe().pitch == pitch
