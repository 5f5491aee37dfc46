"""The source ``tiles``: one class for each of its products, found by name."""

from __future__ import annotations

from types import MappingProxyType

from m3leo_prep.sources._by_product import ByProduct

_HERE = "m3leo_prep.sources.tiles"


class Tiles(ByProduct):
    """Maps of the Earth from public buckets, without a login; a product's name is that which ``gee`` uses.

    ``Tiles(product="worldcover", year=2021)``, ``Tiles(product="glo30")``.
    """

    __slots__ = ()
    NAME = "tiles"
    PRODUCTS = MappingProxyType(
        {
            "worldcover": f"{_HERE}.worldcover:WorldCover",
            "worldcover-v100": f"{_HERE}.worldcover:WorldCover",
            "worldcover-v200": f"{_HERE}.worldcover:WorldCover",
            "glo30": f"{_HERE}.glo30:Glo30",
        }
    )
