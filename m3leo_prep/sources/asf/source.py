"""The source ``asf``: one class for each of its products, found by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, cast

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Absent, Item, Raster, Slot, SourceInfo
from m3leo_prep.core.text import near

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

PRODUCTS: Mapping[str, str] = MappingProxyType(
    {
        "gssic": "gssic.source:Gssic",
        "gssic-geometry": "gssic.geometry:GssicGeometry",
        "gunw": "gunw.source:Gunw",
        "opera-rtc": "opera.source:OperaRtc",
        "opera-rtc-static": "opera.static:OperaRtcStatic",
        "hyp3-rtc": "hyp3.rtc:Hyp3Rtc",
        "hyp3-insar": "hyp3.insar:Hyp3Insar",
    }
)
"""By the name that a recipe says, module and class below ``m3leo_prep.sources.asf``; imported when asked for."""


class Asf(ABC):
    """Coherence, interferograms and RTC backscatter of the Alaska Satellite Facility; each product has its own options.

    ``Asf(product="gunw", ...)``; see docs/reference/asf-products.md.

    Each product is a subclass, a frozen dataclass whose fields are the options a recipe may say. Constructing checks
    them; it imports no client and opens no connection.
    """

    __slots__ = ()

    def __new__(cls, product: str = "", **options: Any) -> Self:
        """Return an instance of the product's class.

        Raises:
            ConfigError: no such product, or an option that it does not have.
        """
        if cls is not Asf:
            return super().__new__(cls)
        made = product_class(product)
        known = [field.name for field in fields(cast("Any", made)) if field.init and field.name != "product"]
        for option in options:
            if option not in known:
                raise ConfigError(
                    f"product '{product}' has no option '{option}'", where="source 'asf'", hint=near(option, known)
                )
        return cast("Self", super().__new__(made))

    @abstractmethod
    def describe(self) -> SourceInfo:
        """Return variables, version and limits; see ``Source``."""

    @abstractmethod
    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the items that meet the area; see ``Source``."""

    @abstractmethod
    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:
        """Yield the pixels around ``geobox``; see ``Source``."""

    def probe(self) -> str:
        """Return which login was found and that it is taken, by one tiny request; what needs none says other things."""
        from m3leo_prep.sources.asf.service.earthdata import probe

        return probe()


def product_class(product: str) -> type[Asf]:
    """Return the class of a product by its name in a recipe.

    Raises:
        ConfigError: no such product.
    """
    if str(product) not in PRODUCTS:
        said = f"has no product '{product}'" if product else "needs a `product:`"
        raise ConfigError(f"source 'asf' {said}", hint=near(str(product or ""), PRODUCTS))
    module, _, name = PRODUCTS[product].partition(":")
    return cast("type[Asf]", getattr(import_module(f"m3leo_prep.sources.asf.{module}"), name))
