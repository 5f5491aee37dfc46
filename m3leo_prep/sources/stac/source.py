"""The source ``stac``: products with a fixed meaning by name, and any other collection."""

from __future__ import annotations

from types import MappingProxyType

from m3leo_prep.sources._by_product import ByProduct

_HERE = "m3leo_prep.sources.stac"


class Stac(ByProduct):
    """Rasters of any STAC API or static catalogue; products whose numbers are known need only their name.

    ``Stac(product="s2-l2a", catalogue="earth-search")``, or without a product
    ``Stac(catalogue="https://example.org/stac", collection="heights", kind="continuous", bands={"height": "dem"})``.
    """

    __slots__ = ()
    NAME = "stac"
    PRODUCTS = MappingProxyType(
        {
            "": f"{_HERE}.collection:Collection",
            "s2-l2a": f"{_HERE}.optical:S2L2A",
            "s1-rtc": f"{_HERE}.radar:S1Rtc",
        }
    )
