"""Which quantities and bands of a product a layer takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from m3leo_prep.core.defaults import check_correlation
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.core.text import near
from m3leo_prep.sources._lists import names_of
from m3leo_prep.sources.gee.choice import Quantity, Row
from m3leo_prep.sources.gee.products import also_in

_KEYS = ("bands", "correlation")
_FORMS = "variables: [agb], or {agb: {bands: [agb]}, agb_sd: {correlation: 1}}"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What ``variables:`` says of one quantity."""

    bands: tuple[str, ...] = ()
    correlation: float | None = None


def take(row: Row, variables: Any, bands: Any) -> tuple[Quantity, ...]:
    """Return the quantities that a layer delivers, with the bands asked for, each followed by its flags.

    Args:
        row: the product.
        variables: names of its quantities, or name -> ``{bands, correlation}``; None = those of the bands, or its own.
        bands: names of bands, in order, of any of these quantities.

    Raises:
        ConfigError: unknown names, with those that exist; a standard deviation without ``correlation``.
    """
    asked = _asked(row, variables)
    wanted = names_of("bands", bands)
    found = {q.variable.name: q for q in row.quantities if not q.flags_of}
    among = asked or dict.fromkeys(found, _Asked())
    owners = {band: name for name in among for band in found[name].variable.bands}
    for band in wanted:
        if band not in owners:
            raise unknown_band(row, band, owners)
    taken: dict[str, tuple[str, ...]] = {}
    for name in asked or dict.fromkeys(owners[band] for band in wanted) or row.main:
        own = among[name].bands or tuple(band for band in wanted if owners[band] == name)
        taken[name] = own or row.main.get(name) or found[name].variable.bands
    chosen: list[Quantity] = []
    for name, own in taken.items():
        quantity = correlated(only(found[name], own), among[name].correlation)
        chosen += [quantity, *(only(q, own) for q in row.quantities if q.flags_of == name)]
    return tuple(chosen)


def unknown_band(row: Row, band: str, valid: Iterable[str]) -> ConfigError:
    """Return the error for a band that the product does not have, naming those it has and who has the other."""
    ours = [
        ours for q in row.quantities for ours, theirs in zip(q.variable.bands, q.names, strict=True) if theirs == band
    ]
    if ours:
        hint = f"here it is called '{ours[0]}'"
    else:
        close = near(band, valid)
        others = [f"{other} has it" for other in also_in(row.name, band)]
        hint = "; ".join([close] * close.startswith("did") + others)
    return ConfigError(f"bands: {row.name} has no band '{band}'; it has {', '.join(valid)}", hint=hint)


def _asked(row: Row, given: Any) -> dict[str, _Asked]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        given = dict.fromkeys(names_of("variables", given))
    valid = [q.variable.name for q in row.quantities if not q.flags_of]
    for name in given:
        if name not in valid:
            raise ConfigError(f"variables: {row.name} has no variable '{name}'", hint=near(str(name), valid))
    return {str(name): _one(row, str(name), said) for name, said in given.items()}


def _one(row: Row, name: str, said: Any) -> _Asked:
    where = f"variables: {name}"
    if said is None or isinstance(said, (str, list, tuple)):
        said = {"bands": said or ()}
    if not isinstance(said, Mapping):
        raise ConfigError(f"{where}: {said!r} is not understood", hint=_FORMS)
    for key in said:
        if key not in _KEYS:
            raise ConfigError(f"{where}: unknown key '{key}'", hint=near(str(key), _KEYS))
    valid = next(q.variable.bands for q in row.quantities if q.variable.name == name)
    bands = names_of(f"{where}: bands", said.get("bands", ()))
    for band in bands:
        if band not in valid:
            raise unknown_band(row, band, valid)
    return _Asked(bands, said.get("correlation"))


def only(quantity: Quantity, bands: Sequence[str]) -> Quantity:
    """Return the quantity with these of its bands, in this order."""
    theirs = dict(zip(quantity.variable.bands, quantity.names, strict=True))
    return replace(
        quantity, variable=replace(quantity.variable, bands=tuple(bands)), names=tuple(theirs[band] for band in bands)
    )


def correlated(quantity: Quantity, correlation: Any) -> Quantity:
    """Return the quantity, a standard deviation with what the recipe says of its neighbours' errors.

    Raises:
        ConfigError: a standard deviation of which it says nothing, or a word about anything else.
    """
    variable = quantity.variable
    if variable.kind is not Kind.UNCERTAINTY:
        if correlation is not None:
            raise ConfigError(f"variables: {variable.name}: correlation is for standard deviations")
        return quantity
    if correlation is not None:
        variable = replace(variable, attributes={**variable.attributes, "correlation": correlation})
    try:
        check_correlation(variable, where="")
    except ConfigError as error:
        name = variable.name
        hint = (
            f"variables: {{..., {name}: {{correlation: 1}}}}: 1 = neighbouring pixels err alike (a mean is no more "
            "certain), 0 = independently. No default is safe: the product's validation report tells which is nearer"
        )
        raise ConfigError(error.message, hint=hint) from None
    return replace(quantity, variable=variable)
