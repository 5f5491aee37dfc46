"""Sources that deliver several products: one class for each, found by the name that a recipe says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Absent, Item, Raster, Slot, SourceInfo
from m3leo_prep.core.text import near

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry


class ByProduct(ABC):
    """Base of such a source, and of its products.

    The source is a subclass that says ``NAME`` and ``PRODUCTS``; calling it gives an instance of a product's class:
    ``Asf(product="gunw", ...)``. Each product is a subclass of the source, a frozen dataclass whose fields are the
    options a recipe may say. Constructing checks them; it imports no client and opens no connection.
    """

    __slots__ = ()
    NAME: ClassVar[str]
    """Of the source, as a recipe says it."""
    PRODUCTS: ClassVar[Mapping[str, str]]
    """By the name that a recipe says, ``module:Class``; imported when asked for. An empty name is what a layer without
    ``product:`` means."""

    def __new__(cls, product: str = "", **options: Any) -> Self:
        """Return an instance of the product's class.

        Raises:
            ConfigError: no such product, or an option that it does not have.
        """
        if "PRODUCTS" not in vars(cls):
            return super().__new__(cls)
        made = cls.product_class(product)
        known = [field.name for field in fields(cast("Any", made)) if field.init and field.name != "product"]
        for option in options:
            if option not in known:
                of = f"product '{product}'" if product else "a layer without `product:`"
                raise ConfigError(
                    f"{of} has no option '{option}'", where=f"source '{cls.NAME}'", hint=near(option, known)
                )
        return super().__new__(made)

    @classmethod
    def product_class(cls, product: str) -> type[Self]:
        """Return the class of a product by its name in a recipe.

        Raises:
            ConfigError: no such product.
        """
        named = cls.PRODUCTS.get(str(product or ""))
        if named is None:
            said = f"has no product '{product}'" if product else "needs a `product:`"
            hint = near(str(product or ""), [name for name in cls.PRODUCTS if name])
            raise ConfigError(f"source '{cls.NAME}' {said}", hint=hint)
        module, _, name = named.partition(":")
        return cast("type[Self]", getattr(import_module(module), name))

    @abstractmethod
    def describe(self) -> SourceInfo:
        """Return variables, version and limits; see ``Source``."""

    @abstractmethod
    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the items that meet the area; see ``Source``."""

    @abstractmethod
    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:
        """Yield the pixels around ``geobox``; see ``Source``."""
