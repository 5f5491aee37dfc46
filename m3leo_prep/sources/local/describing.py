"""What a layer delivers, as far as headers tell: variables with units, legends, and how their numbers were made."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.products import Product, product, product_names
from m3leo_prep.core.raster import Kind, Variable
from m3leo_prep.sources.local.geoid import ELLIPSOID
from m3leo_prep.sources.local.header import BandHeader, Header
from m3leo_prep.sources.local.quantities import FLAGS, Quantity
from m3leo_prep.sources.local.reading import Bands, Layout, legend_of
from m3leo_prep.sources.local.values import CODES

_UNITS = {Kind.ANGLE: "degree", Kind.WRAPPED_PHASE: "rad", Kind.UNWRAPPED_PHASE: "rad"}
_FRACTIONS = frozenset({Kind.POWER, Kind.COHERENCE, Kind.REFLECTANCE, Kind.CLASSES, Kind.BITS})


def variables(layout: Layout, quantity: Quantity, bands: Bands) -> Iterator[Variable]:
    """Yield the variable that a quantity becomes, and that of its flags.

    Args:
        layout: of the layer.
        quantity: the quantity.
        bands: where its bands are, in a scene that has some.

    Raises:
        ConfigError: classes without names.
    """
    head, band = next(iter(bands.values()))
    kind = quantity.kind
    names = list(bands) if quantity.bands is None else [one.name for one in quantity.bands]
    short = tuple(quantity.short(name) for name in names)
    legend = legend_of(quantity, head, band)
    if kind == Kind.CLASSES and not legend:
        hint = "legend: {0: land, 1: water}"
        raise ConfigError("has no colour table that names its classes", where=head.path, hint=hint)
    yield Variable(
        name=quantity.name,
        kind=kind,
        bands=short,
        unit=unit_of(quantity, band.unit),
        long_name=quantity.long_name,
        legend=legend,
        attributes=_attributes(layout, quantity, head, band),
    )
    if quantity.flags:
        yield Variable(
            name=quantity.name + FLAGS,
            kind=Kind.CLASSES,
            bands=short,
            long_name=f"Why {quantity.name} has no value",
            legend=quantity.flags,
            attributes={"flag_codes": _flag_codes(quantity), **_origin(quantity, head)},
        )


def unit_of(quantity: Quantity, file_unit: str) -> str:
    """Return the unit of the values: as the recipe or the product says, by kind, or as the file says."""
    kind = quantity.kind
    return quantity.unit or _UNITS.get(kind) or ("1" if kind in _FRACTIONS else file_unit or "1")


def recognise(head: Header) -> Product | None:
    """Return the product that a file says it is, by its tags or its name; None if it says nothing known."""
    for marks, found in _marked():
        tags = {key: head.tags.get(key, "") for key in marks.tags}
        by_tags = bool(tags) and all(re.search(marks.tags[key], tag, re.IGNORECASE) for key, tag in tags.items())
        if by_tags or re.search(marks.name, Path(head.path).name, re.IGNORECASE):
            return found
    return None


def check_product(head: Header, said: Product | None, first: Header) -> None:
    """Raise ConfigError if a file says that it is another product than the recipe, or than the first file."""
    seen = recognise(head)
    if seen is None:
        return
    other = said or recognise(first)
    if other is not None and other != seen:
        here = "the recipe says" if said else f"{first.path} is"
        raise ConfigError(
            f"is {seen.name} ({seen.title}), {here} {other.name}",
            where=head.path,
            hint="make a layer of each: releases of a product differ in method and meaning",
        )


def check_legend(quantity: Quantity, bands: Bands, first: Bands) -> None:
    """Raise ConfigError if the colour table of a file names other classes than that of the first file."""
    if quantity.legend or quantity.kind is not Kind.CLASSES or not bands or not first:
        return
    here, there = (
        {one.code: one.name for one in legend_of(quantity, *next(iter(found.values())))} for found in (bands, first)
    )
    codes = [code for code in sorted(here.keys() | there.keys()) if here.get(code) != there.get(code)]
    if codes:
        code = codes[0]
        raise ConfigError(
            f"its class {code} is {_called(here.get(code))}, in {next(iter(first.values()))[0].path} it is "
            f"{_called(there.get(code))}" + (f" ({len(codes)} such classes)" if len(codes) > 1 else ""),
            where=next(iter(bands.values()))[0].path,
            hint="make a layer of each release, or say what the codes of all files mean with `legend:`",
        )


def vertical_datum(quantity: Quantity, head: Header) -> str:
    """Return the vertical datum of the stored heights, as the file or the product's table says; empty if neither."""
    return head.vertical or str(quantity.attributes.get("vertical_datum", ""))


def _called(name: str | None) -> str:
    return f"'{name}'" if name is not None else "not listed"


def _marked() -> Iterator[tuple[Any, Product]]:
    for name in product_names():
        one = product(name)
        if one.marks is not None:
            yield one.marks, one


def _origin(quantity: Quantity, head: Header) -> dict[str, Any]:
    """Return the source's CRS and product, as the recipe or the file says."""
    seen = recognise(head)
    said = {key: value for key, value in quantity.attributes.items() if key.startswith("product")}
    return {"source_crs": str(head.geobox.crs), **(said or (seen.attributes if seen else {}))}


def _flag_codes(quantity: Quantity) -> dict[str, str]:
    """Return the names of the flags by their stored number."""
    named = quantity.flags[1:]
    return {str(code): one.name for code, one in zip(quantity.conversion.flags, named, strict=True)}


def _attributes(layout: Layout, quantity: Quantity, head: Header, band: BandHeader) -> dict[str, Any]:
    """Return what a user must know about how the numbers were made."""
    how = quantity.conversion
    out: dict[str, Any] = {
        **quantity.attributes,
        **_origin(quantity, head),
        "source_nodata": [number for number in how.missing(band) if math.isfinite(number)],
    }
    datum = vertical_datum(quantity, head)
    if datum:
        out["vertical_datum"] = datum
    if layout.geoid is not None:
        name = Path(layout.geoid.path).name
        out["vertical_datum"] = ELLIPSOID if layout.geoid.datum == ELLIPSOID else f"geoid of {name}"
        out["geoid"] = name
        if datum:
            out["source_vertical_datum"] = datum
    if how.decibel:
        out["converted_from"] = "dB"
    if how.amplitude:
        out["converted_from"] = "amplitude"
    if how.kind not in CODES:
        out["source_scale"] = band.scale if how.scale is None else how.scale
        out["source_offset"] = band.offset if how.offset is None else how.offset
    if how.remap:
        out["remap"] = {str(old): new for old, new in sorted(how.remap.items())}
    if how.bins:
        out["bins"] = [edge if math.isfinite(edge) else str(edge) for edge in how.bins]
        out["bins_of"] = str(how.kind)
    if how.flags:
        out["flag_codes"] = _flag_codes(quantity)
    if how.ignore_unknown:
        out["unknown_codes"] = "masked and counted"
    if quantity.relative_to:
        out["relative_to"] = quantity.relative_to
    if layout.mask is not None:
        out["masked_values"] = list(layout.mask.values)
    return out
