"""What a recipe may say of a layer from Earth Engine, checked before anything is asked: see ``choose``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.layer import Statistic
from m3leo_prep.core.text import near
from m3leo_prep.sources._lists import names_of
from m3leo_prep.sources._radar import directions, split_names, tracks
from m3leo_prep.sources.gee.choice import Choice, Kernel, Mode, Quantity, Row
from m3leo_prep.sources.gee.options.common import check_year, kernel_of, refuse, statistic_of, told
from m3leo_prep.sources.gee.options.custom import of_collection, of_script, parse_filters
from m3leo_prep.sources.gee.options.optical import Clouds, clouds
from m3leo_prep.sources.gee.options.radar import by_direction
from m3leo_prep.sources.gee.options.variables import take
from m3leo_prep.sources.gee.products import other_releases, resolve_row, with_year, years_in_words

if TYPE_CHECKING:
    from m3leo_prep.sources.gee.source import EarthEngine

WHERE = "source 'gee'"
_WAYS = ("product", "collection", "script")
_OF_OWN = ("pitch", "licence", "citation")
_OF_RADAR = ("orbits", "relative_orbits")
_OF_OPTICAL = ("cloud", "cloud_classes", "clear_from", "max_cloud")
_PLACES = ("server", "local")
_ANGLES = "incidence"
_ANGLES_BY: tuple[Kernel, Statistic] = ("bilinear", "mean")
"""How angles, a smooth grid of 20 km, become one whatever is said of the pixels."""


def choose(source: EarthEngine) -> Choice:
    """Return what a layer asks of Earth Engine, with every choice made.

    Raises:
        ConfigError: an option is unknown, contradicts another one, or asks for what does not exist; names the key and
            what is valid.
    """
    try:
        return _one_way(source)
    except ConfigError as error:
        where = f"{WHERE}: {error.where}" if error.where else WHERE
        raise ConfigError(error.message, where=where, hint=error.hint) from None


def _one_way(source: EarthEngine) -> Choice:
    said = [way for way in _WAYS if getattr(source, way)]
    if len(said) != 1:
        found = " and ".join(said) or "none"
        hint = "product: s1-grd, or collection: MODIS/061/MOD13Q1, or script: ./ndvi.py:image"
        raise ConfigError(f"say one of product, collection and script; found {found}", hint=hint)
    return {"product": _of_product, "collection": of_collection, "script": of_script}[said[0]](source)


def _of_product(source: EarthEngine) -> Choice:
    check_year(source.year)
    row = resolve_row(source.product, source.year)
    refuse(source, _OF_OWN, "is for `collection` and `script`; the product's table has it")
    if row.family != "radar":
        refuse(source, _OF_RADAR, f"is for radar, not {row.name}")
    if row.family != "optical":
        refuse(source, _OF_OPTICAL, f"is for Sentinel-2, not {row.name}")
    names = names_of("bands", source.bands)
    bands, orbits = split_names(names) if row.family == "radar" else (names, ())
    quantities = take(row, source.variables, bands)
    mode = _mode(row, source.composite)
    statistic = statistic_of(source.statistic, quantities, mode)
    _check_ratio(quantities, mode, statistic)
    kernel = kernel_of(source.kernel, row.kernel, quantities, mode)
    row = replace(row, filters=_filters(row, source.filters))
    choice = Choice(row, quantities, mode, kernel, statistic, year=_year(row, source.year))
    about: dict[str, Any] = {}
    if row.family == "radar":
        choice = _of_radar(choice, source, names, orbits)
    elif row.family == "optical":
        rule = clouds(row, source.cloud, source.cloud_classes, source.clear_from, source.max_cloud)
        choice = _of_optical(choice, rule)
        about = {"cloud_rule": rule.words}
    return replace(choice, quantities=_told(choice, about))


def _told(choice: Choice, about: Mapping[str, Any]) -> tuple[Quantity, ...]:
    """Return the quantities that say how they come about; radar's angles have a way of their own."""
    if choice.row.family != "radar":
        return told(choice.quantities, choice.mode, choice.kernel, choice.statistic, about)
    ready: list[Quantity] = []
    for one in choice.quantities:
        is_angle = one.variable.name == _ANGLES
        ready += told([one], choice.mode, *_ANGLES_BY if is_angle else (choice.kernel, choice.statistic), about)
    return tuple(ready)


def _of_radar(choice: Choice, source: EarthEngine, names: Sequence[str], named: Sequence[str]) -> Choice:
    """Return the choice with its directions: those that its bands name, or those of ``orbits``."""
    if named:
        refuse(source, ("orbits",), "`bands:` names the directions already")
    orbits = tuple(named) or directions(source.orbits)
    return replace(
        choice,
        quantities=by_direction(choice.quantities, orbits, names if named else ()),
        orbits=orbits,
        relative_orbits=tracks(source.relative_orbits),
    )


def _of_optical(choice: Choice, rule: Clouds) -> Choice:
    """Return the choice with its cloud rule, and with the row's gaps only where they are gaps of that rule."""
    gaps = choice.row.gaps if rule.rule == "qa60" else ()
    for first, last, what in gaps:
        if choice.year is not None and first.year <= choice.year <= last.year:
            others = " or ".join(f"`cloud: {other}`" for other in choice.row.clouds if other not in {"qa60", "none"})
            raise ConfigError(
                f"year: {choice.year} lies in a gap of `cloud: qa60` ({first} to {last}): {what}", hint=f"say {others}"
            )
    return replace(
        choice,
        row=replace(choice.row, gaps=gaps),
        cloud=rule.rule,
        cloud_classes=rule.classes,
        clear_from=rule.clear_from,
        max_cloud=rule.max_cloud,
    )


def _mode(row: Row, place: str) -> Mode:
    if place and place not in _PLACES:
        raise ConfigError(f"composite: '{place}' is not known", hint=near(place, _PLACES))
    if place == "server" and row.mode != "composite":
        raise ConfigError(
            f"composite: images of {row.name} come in their own pixels and are composited here",
            hint="remove `composite:`",
        )
    return "native" if place == "local" else row.mode


def _check_ratio(quantities: Sequence[Quantity], mode: Mode, statistic: str) -> None:
    """Raise ConfigError if what is made of the composite has none, or none of a meaning."""
    made = [one.variable.name for one in quantities if not all(one.names)]
    if made and mode == "native":
        raise ConfigError(
            f"composite: '{made[0]}' is made of Earth Engine's composite", hint="remove `composite: local`"
        )
    if made and statistic not in {"mean", "median"}:
        raise ConfigError(f"statistic: '{made[0]}' is made of a mean or a median, not of the {statistic}")


def _year(row: Row, year: int | None) -> int | None:
    if year is None:
        return None
    if not row.years and row.first is None:
        raise ConfigError(f"year: {row.name} has no years", hint="remove `year:`")
    if not with_year(row, year):
        others = [f"{other} has {year}" for other in other_releases(row, year)]
        hint = "; ".join([f"it has {years_in_words(row)}", *others])
        raise ConfigError(f"year: {row.name} has no data of {year}", hint=hint)
    return year


def _filters(row: Row, given: Any) -> dict[str, Any]:
    """Return the product's filters and the recipe's."""
    filters = parse_filters(given)
    for key in filters:
        if key in row.filters:
            raise ConfigError(
                f"filters: {row.name} is {key} = {row.filters[key]} and nothing else",
                hint=f"take the collection as it is: `collection: {row.asset}`",
            )
    return {**row.filters, **filters}
