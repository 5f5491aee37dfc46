"""Which images a layer is made of: the items of its plan, and what a person should know of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import shapely

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.sources.gee.choice import Choice
from m3leo_prep.sources.gee.finding import catalogue, datatakes, orbits
from m3leo_prep.sources.gee.finding.listed import DATE, Listed, text, time_of
from m3leo_prep.sources.gee.finding.places import outline
from m3leo_prep.sources.gee.finding.windows import check, windows
from m3leo_prep.sources.gee.products import row

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

_NAMED = 6
"""Values of a property that are named one by one."""


def find(choice: Choice, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
    """Yield the images that meet an area in any slot, in order of time and id.

    Args:
        choice: what the layer asks for.
        area: lon/lat.
        slots: of the layer, in order of time.

    Raises:
        ConfigError: nothing can be there, said before anything is asked: no data of a slot or a year, or outside the
            product's domain; or nothing is there because of a filter, which is then named.
    """
    check(choice, area, slots)
    if choice.mode == "computed":
        from m3leo_prep.sources.gee import custom

        yield from custom.find(choice, slots)
        return
    static = slots[0].is_static
    if not choice.row.is_collection:
        yield from _image(choice, area)
        return
    filters = _filters(choice)
    spans = windows(choice, slots)
    found = catalogue.images(choice.row, area, spans, filters, _properties(choice))
    found = [image for image in found if any(slot.contains(image.time) for slot in slots)]
    if choice.row.family == "radar" and choice.relative_orbits == "best":
        found = orbits.best(found, area, slots)
    taken = datatakes.newest(found) if choice.row.family == "optical" else [(image, 0) for image in found]
    if not taken:
        _explain(choice, area, slots)
    elif not choice.row.name:  # what the recipe says of a collection, no table has been checked for
        from m3leo_prep.sources.gee import custom

        custom.check_collection(choice, taken[0][0].id)
    scored = _scored(choice, area, slots) if choice.cloud == "cloud_score" and taken else frozenset()
    for image, others in taken:
        item = Item(image.id, image.footprint, image.version, None if static else image.time)
        properties: dict[str, str | int | float] = {"crs": image.crs}
        dated = time_of(image.properties.get(DATE)) if static else None
        if dated:
            properties["date"] = dated.date().isoformat()
        match choice.row.family:
            case "radar":
                item = replace(item, acquisition=orbits.acquisition(image))
                properties |= orbits.described(image)
            case "optical":
                item = replace(item, acquisition=datatakes.datatake(image))
                properties |= {"tile": datatakes.tile(image), "baseline": datatakes.baseline(image)}
                if others:
                    properties["older_processings"] = others
                if choice.cloud == "cloud_score":
                    properties["has_score"] = int(image.index in scored)
        yield replace(item, properties=properties)


def _filters(choice: Choice) -> dict[str, Any]:
    """Return all that images must be."""
    filters = dict(choice.row.filters)
    if choice.row.family == "radar":
        filters |= orbits.filters(choice)
    if choice.max_cloud is not None:
        filters[datatakes.CLOUDS] = {"max": choice.max_cloud}
    return filters


def _properties(choice: Choice) -> tuple[str, ...]:
    match choice.row.family:
        case "radar":
            return orbits.PROPERTIES
        case "optical":
            return datatakes.PROPERTIES
        case "plain":
            # Of what is in no table it is not known whether images of any date may be mixed.
            return () if choice.row.name else (DATE,)


def _scored(choice: Choice, area: BaseGeometry, slots: Sequence[Slot]) -> frozenset[str]:
    """Return the names of the images that have a cloud score: where it is missing, nothing is known of clouds."""
    found = catalogue.images(choice.row, area, windows(choice, slots), {}, asset=datatakes.SCORES)
    return frozenset(image.index for image in found)


def _image(choice: Choice, area: BaseGeometry) -> Iterator[Item]:
    """Yield the one image of a product that is no collection."""
    import ee

    from m3leo_prep.sources.gee.service.session import session

    row = choice.row
    asset = session().run(lambda: ee.data.getAsset(row.asset), what=row.asset)
    footprint = outline(asset.get("geometry"), row.domain, row.reach_m)
    if footprint.intersects(area):
        bands: Sequence[Mapping[str, Any]] = asset.get("bands") or [{}]
        crs = str(bands[0].get("grid", {}).get("crsCode", ""))
        yield Item(row.asset, footprint, str(asset.get("updateTime", "")), properties={"crs": crs})


# -- what a person should know ---------------------------------------------------------------------------------------


def _explain(choice: Choice, area: BaseGeometry, slots: Sequence[Slot]) -> None:
    """Raise ConfigError if there are images that a filter of the recipe left out: names the filter and what exists.

    One more request, for one place of the area.
    """
    own = dict(row(choice.row.name).filters) if choice.row.name else {}
    asked = _filters(choice)
    if asked == own:
        return
    place = shapely.Point(area.representative_point()).buffer(0.05)
    spans = windows(choice, slots)
    whole = [(spans[0][0], spans[-1][1])] if spans else []
    there = catalogue.images(choice.row, place, whole, own, (*_properties(choice), *choice.row.filters))
    there = [image for image in there if any(slot.contains(image.time) for slot in slots)]
    if not there:
        return
    when = f"{slots[0].label} to {slots[-1].label}" if len(slots) > 1 else slots[0].label
    when = str(choice.year) if slots[0].is_static and choice.year else when
    hints = [_instead(choice, there), *_filtered(there, choice.row.filters.keys() - own.keys())]
    raise ConfigError(
        f"none of the {len(there):,} images here in {when} is what the layer asks for",
        where=choice.row.name or choice.row.title,
        hint="; ".join(filter(None, hints)),
    )


def _filtered(there: Sequence[Listed], filters: Iterable[str]) -> Iterator[str]:
    """Yield what the images have of each property that the recipe filters by."""
    for name in sorted(filters):
        values = sorted({text(image.properties[name]) for image in there if name in image.properties})
        more = ", ..." if len(values) > _NAMED else ""
        has = f"is {', '.join(values[:_NAMED])}{more}" if values else "is a property that none of them has"
        yield f"`filters:` {name} {has}"


def _instead(choice: Choice, there: Sequence[Listed]) -> str:
    """Return what could be asked for; nothing where only the recipe's own filters can be the reason."""
    match choice.row.family:
        case "radar":
            tracks = orbits.tracks_by_direction(there)
            exist = "; ".join(f"{way} tracks {', '.join(map(str, numbers))}" for way, numbers in tracks.items())
            kinds = sorted({" ".join(orbits.seen_polarisations(image)) for image in there})
            alone = set(choice.orbits).isdisjoint(tracks)
            trap = f" Many places are seen on {' and '.join(tracks)} passes only." if alone else ""
            return (
                f"there are: {exist}; with {' or '.join(kinds)}.{trap} "
                "Ask for these by `orbits:`, `relative_orbits:` and `bands:`"
            )
        case "optical" if choice.max_cloud is not None:
            clouds = [float(image.properties.get(datatakes.CLOUDS, 100)) for image in there]
            return f"the clearest has {min(clouds):.0f} % cloud; `max_cloud: {choice.max_cloud:g}` leaves it out"
        case _:
            return ""
