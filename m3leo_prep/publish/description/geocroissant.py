"""The properties of GeoCroissant 1.0 that tell of bands: their names, and what wavelengths they saw.

https://docs.mlcommons.org/croissant/docs/croissant-geo-spec.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m3leo_prep.core.raster import Kind

SENTINEL_1_CM = 5.5465763
"""Wavelength of Sentinel-1: c / 5.405 GHz."""
SENTINEL_2_NM = {
    "coastal": (442.7, 21), "blue": (492.4, 66), "green": (559.8, 36), "red": (664.6, 31), "rededge1": (704.1, 15),
    "rededge2": (740.5, 15), "rededge3": (782.8, 20), "nir": (832.8, 106), "nir08": (864.7, 21), "nir09": (945.1, 20),
    "cirrus": (1373.5, 31), "swir1": (1613.7, 91), "swir2": (2202.4, 175),
}  # fmt: skip
"""Centre and width of Sentinel-2A's bands, nm: https://sentiwiki.copernicus.eu/web/s2-mission, spectral bands."""
_POLARISED = re.compile(r"(?:^|_)(?:vv|vh|hh|hv)(?:_|$)")


def bands(names: Sequence[str]) -> dict[str, Any]:
    """Return how many bands there are, and their names in order."""
    # The text of GeoCroissant 1.0 calls the list bandNameList, its vocabulary file bandNamesList: both are there.
    return {
        "@type": "geocr:BandConfiguration",
        "geocr:totalBands": len(names),
        "geocr:bandNameList": list(names),
        "geocr:bandNamesList": list(names),
    }


def wavelengths(layer: Mapping[str, Any], array: Mapping[str, Any], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the wavelengths of bands, where the manifest tells that one of the Sentinels saw them."""
    about = f"{layer.get('licence', '')} {layer.get('citation', '')}".lower()
    if "copernicus sentinel data" not in about and "sentinel-1" not in about:
        return
    for band, name in zip(array["bands"], names, strict=True):
        if array["kind"] == Kind.REFLECTANCE and band in SENTINEL_2_NM:
            centre, width = SENTINEL_2_NM[band]
            yield {
                "@type": "geocr:SpectralBand",
                "name": name,
                "geocr:centerWavelength": quantity(centre, "nm"),
                "geocr:bandwidth": quantity(width, "nm"),
            }
        elif array["kind"] in {Kind.COHERENCE, Kind.WRAPPED_PHASE, Kind.UNWRAPPED_PHASE} or (
            array["kind"] == Kind.POWER and _POLARISED.search(band)
        ):
            yield {
                "@type": "geocr:SpectralBand",
                "name": name,
                "geocr:centerWavelength": quantity(SENTINEL_1_CM, "cm"),
            }


def quantity(value: float, unit: str) -> dict[str, Any]:
    """Return a number with its unit."""
    return {"@type": "sc:QuantitativeValue", "value": value, "unitText": unit}
