"""What a recipe says of the variables of a layer: each a quantity with bands, a conversion and a meaning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.products import Product, ProductVariable
from m3leo_prep.core.raster import Kind, LegendClass
from m3leo_prep.core.text import near
from m3leo_prep.sources.local.classes import bin_legend, check_remap, parse_bins, remap_legend
from m3leo_prep.sources.local.options import Band, numbers, parse_bands, parse_legend, parse_remap
from m3leo_prep.sources.local.values import CODES, Conversion

KEYS = (
    "kind", "long_name", "unit", "bands", "scale", "offset", "decibel", "amplitude", "nodata", "legend", "remap",
    "merge", "unknown", "flags", "bins", "correlation",
)  # fmt: skip
"""What may be said of each variable."""
RELATIVE = "relative_to"
"""Said only inside ``variables:``, where there is another one."""
FLAGS = "_flags"
"""Behind the name of a variable: the variable that says which flag a pixel has."""
_NO_FLAG = "none"
_POLICIES = ("error", "ignore")
_CUT = frozenset({Kind.CONTINUOUS, Kind.AMOUNT})
"""Kinds whose values can be put into bins."""
_FLAGGED = frozenset({Kind.CONTINUOUS, Kind.AMOUNT, Kind.UNCERTAINTY})


@dataclass(frozen=True, slots=True)
class Quantity:
    """One variable of the layer."""

    name: str
    conversion: Conversion
    bands: tuple[Band, ...] | None = None
    """None = all that the file has. Where there are several variables, ``variable.band``."""
    by_order: bool = False
    """The bands' names are given to bands without names in the file, in order."""
    unit: str = ""
    long_name: str = ""
    legend: tuple[LegendClass, ...] = ()
    """Empty for classes = as the file's colour table says."""
    flags: tuple[LegendClass, ...] = ()
    """The classes of the variable of flags: 0 = none, then each flag; empty without flags."""
    relative_to: str = ""
    """The variable of which the file holds the coefficient of variation."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Product and correlation."""

    @property
    def kind(self) -> Kind:
        """What the delivered numbers mean: classes, if they are put into bins."""
        return Kind.CLASSES if self.conversion.bins else self.conversion.kind

    def short(self, band: str) -> str:
        """Return the name that a band has inside its variable."""
        return band.removeprefix(f"{self.name}.")


def parse_quantities(
    given: Mapping[str, Any], name: str, variables: Any, product: Product | None
) -> tuple[Quantity, ...]:
    """Return the variables of a layer.

    Args:
        given: what the recipe says beside ``variables:``, without what it leaves out.
        name: of the only variable, or empty.
        variables: name -> the same keys for each of several variables, or None.
        product: whose table fills what is not said.

    Raises:
        ConfigError: unknown keys, or what contradicts itself.
    """
    if variables is None:
        table = product.variable() if product else None
        called = name or (table.name if table else "")
        return (_quantity(called, given, table, product),)
    hint = "variables: {agb: {kind: continuous, bands: {agb: '*_AGB_*.tif'}}, agb_sd: {kind: uncertainty, ...}}"
    if (
        not isinstance(variables, Mapping)
        or not variables
        or not all(isinstance(v, Mapping) for v in variables.values())
    ):
        raise ConfigError(f"variables: {variables!r} is not understood", hint=hint)
    if given or name:
        said = next(iter(given), "variable")
        raise ConfigError(f"{said}: say it inside `variables:`, of the variable that it is meant for", hint=hint)
    found = tuple(_one_of(str(key), value, product) for key, value in variables.items())
    _check_together(found)
    return found


def _one_of(name: str, given: Mapping[str, Any], product: Product | None) -> Quantity:
    where = f"variables: {name}"
    for key in given:
        if key not in {*KEYS, RELATIVE}:
            raise ConfigError(f"{where}: unknown key '{key}'", hint=near(str(key), (*KEYS, RELATIVE)))
    try:
        quantity = _quantity(name, given, product.variable(name) if product else None, product)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", hint=error.hint) from None
    if quantity.bands is None:
        raise ConfigError(f"{where}: needs `bands`, as one of several variables", hint="bands: {agb: '*_AGB_*.tif'}")
    bands = tuple(Band(f"{name}.{b.name}", b.file, b.asset, b.key) for b in quantity.bands)
    return replace(quantity, bands=bands)


def _check_together(found: Sequence[Quantity]) -> None:
    if len({band.is_apart for one in found for band in one.bands or ()}) > 1:
        raise ConfigError("variables: either all bands have a file (or asset) of their own, or none")
    by_name = {one.name: one for one in found}
    for one in found:
        if one.flags and one.name + FLAGS in by_name:
            raise ConfigError(f"variables: {one.name + FLAGS} is the name of the flags of {one.name}")
        if not one.relative_to:
            continue
        where = f"variables: {one.name}: {RELATIVE}"
        base = by_name.get(one.relative_to)
        if base is None or base is one:
            others = [name for name in by_name if name != one.name]
            raise ConfigError(
                f"{where}: there is no other variable '{one.relative_to}'", hint=near(one.relative_to, others)
            )
        if base.kind in CODES or base.relative_to:
            raise ConfigError(f"{where}: '{base.name}' holds no values to which an error could be relative")
        if len(one.bands or ()) not in {1, len(base.bands or ())}:
            raise ConfigError(f"{where}: give one band, or as many as '{base.name}' has")


def _quantity(name: str, given: Mapping[str, Any], table: ProductVariable | None, product: Product | None) -> Quantity:
    bins = parse_bins(given.get("bins"))
    own_legend = parse_legend(given.get("legend"))
    kind = _kind(given, table, is_class=bool(own_legend) and bins is None)
    remap = parse_remap(given.get("remap"))
    merge = bool(given.get("merge", False))
    conversion = Conversion(
        kind,
        _number("scale", given.get("scale")),
        _number("offset", given.get("offset")),
        bool(given.get("decibel", False)),
        bool(given.get("amplitude", False)),
        numbers("nodata", given["nodata"]) if "nodata" in given else (table.nodata if table else None),
        remap,
        merge,
        bins=bins,
        ignore_unknown=_policy(given) == "ignore",
    )
    _check(conversion, own_legend)
    legend = own_legend
    if table is not None and kind is Kind.CLASSES and not legend:
        if remap and not merge:
            check_remap(remap, [one.code for one in table.legend])
        legend = remap_legend(table.legend, remap or {})
    elif remap and not merge:
        check_remap(remap, ())
    if bins is not None:
        legend = _bin_names(bin_legend(bins), own_legend)
    flags = parse_legend(given.get("flags"))
    if flags and kind not in _FLAGGED:
        raise ConfigError(
            f"flags: is for kinds {', '.join(sorted(_FLAGGED))}, not {kind}", hint="legend: name the code"
        )
    if table is not None and kind in _FLAGGED and "flags" not in given:
        flags = table.flags
    conversion = replace(conversion, flags=tuple(flag.code for flag in flags))
    bands, by_order = _bands(given, table)
    return Quantity(
        name or str(Kind.CLASSES if bins else kind),
        conversion,
        bands,
        by_order,
        unit=str(given.get("unit", "") or (table.unit if table and not bins else "")),
        long_name=str(given.get("long_name", "") or (table.long_name if table else "")),
        legend=legend,
        flags=(LegendClass(0, _NO_FLAG), *(LegendClass(n, f.name, f.color) for n, f in enumerate(flags, 1)))
        if flags
        else (),
        relative_to=str(given.get(RELATIVE, "")),
        attributes={
            **(table.attributes if table else {}),
            **(product.attributes if product else {}),
            **_correlation(given, kind),
        },
    )


def _kind(given: Mapping[str, Any], table: ProductVariable | None, *, is_class: bool) -> Kind:
    kinds = [kind.value for kind in Kind]
    said = given.get("kind", "")
    if not said and table is not None:
        return table.kind
    if not said and not is_class:
        raise ConfigError("kind: say what the numbers mean", hint=near("", kinds))
    if said and said not in kinds:
        raise ConfigError(f"kind: '{said}' is not known", hint=near(str(said), kinds))
    return Kind(said) if said else Kind.CLASSES


def _check(how: Conversion, legend: Sequence[LegendClass]) -> None:
    kind = how.kind
    if legend and kind != Kind.CLASSES and how.bins is None:
        raise ConfigError(f"legend: a {kind} has no classes", hint="kind: classes")
    for key, is_given in (("decibel", how.decibel), ("amplitude", how.amplitude)):
        if is_given and kind != Kind.POWER:
            raise ConfigError(f"{key}: is for kind power, not {kind}")
    if how.decibel and how.amplitude:
        raise ConfigError("decibel, amplitude: the files hold one or the other")
    if kind in CODES and (how.scale is not None or how.offset is not None):
        raise ConfigError(f"scale, offset: codes of kind {kind} are not scaled", hint="remap: {old: new}")
    if kind is Kind.UNCERTAINTY and how.offset:
        raise ConfigError("offset: a standard deviation has none")
    if how.remap and kind != Kind.CLASSES:
        raise ConfigError(f"remap: is for kind classes, not {kind}")
    if how.bins is not None and kind not in _CUT:
        raise ConfigError(f"bins: is for kinds {', '.join(sorted(_CUT))}, not {kind}")
    if how.scale == 0:
        raise ConfigError("scale: 0 would erase the data")


def _policy(given: Mapping[str, Any]) -> str:
    policy = given.get("unknown", _POLICIES[0])
    if policy not in _POLICIES:
        raise ConfigError(
            f"unknown: {policy!r} is no policy for codes without a class", hint=near(str(policy), _POLICIES)
        )
    return str(policy)


def _bin_names(made: tuple[LegendClass, ...], named: tuple[LegendClass, ...]) -> tuple[LegendClass, ...]:
    """Return the classes of bins under the names that the recipe gives them, if it does."""
    if named and [one.code for one in named] != [one.code for one in made]:
        raise ConfigError(f"legend: the bins make the classes 0 ... {len(made) - 1}, name each or none")
    return named or made


def _bands(given: Mapping[str, Any], table: ProductVariable | None) -> tuple[tuple[Band, ...] | None, bool]:
    """Return the bands, and if they may be taken by order; a product's are."""
    said = given.get("bands")
    if said is None and table is not None:
        return tuple(Band(name, key=own or None) for name, own in table.bands.items()), True
    return parse_bands(said), not isinstance(said, Mapping)


def _correlation(given: Mapping[str, Any], kind: Kind) -> dict[str, float]:
    """Return how strongly errors of neighbouring pixels go together, which nobody but the user can know."""
    value = given.get("correlation")
    if kind is not Kind.UNCERTAINTY:
        if value is not None:
            raise ConfigError(f"correlation: is for kind {Kind.UNCERTAINTY}, not {kind}")
        return {}
    hint = (
        "correlation: 0 if the errors of neighbouring pixels are independent (a mean over n pixels is then sqrt(n) "
        "times more certain), 1 if they are the same (no more certain). There is no safe default: the product's "
        "validation report tells which is nearer"
    )
    if value is None:
        raise ConfigError("correlation: say how the errors of neighbouring pixels go together", hint=hint)
    number = _number("correlation", value)
    if number is None or not 0 <= number <= 1:
        raise ConfigError(f"correlation: {value!r} is not between 0 and 1", hint=hint)
    return {"correlation": number}


def _number(key: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"{key}: {value!r} is not a number")
    return float(value)
