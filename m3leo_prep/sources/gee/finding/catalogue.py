"""Asking Earth Engine which images there are: one kind of request, page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from shapely.geometry import mapping

from m3leo_prep.core.errors import SourceError
from m3leo_prep.sources.gee.finding.listed import Listed, time_of
from m3leo_prep.sources.gee.finding.orbits import POLARISATIONS
from m3leo_prep.sources.gee.finding.places import outline, outward, widened
from m3leo_prep.sources.gee.finding.windows import Window
from m3leo_prep.sources.gee.service.session import Session, session

if TYPE_CHECKING:
    import ee
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.sources.gee.choice import Row

PAGE = 1000
"""Images of one page, the most that Earth Engine gives
(https://developers.google.com/earth-engine/reference/rest/v1/projects.table/computeFeatures)."""
_ATTEMPTS = 2
"""At pages that fit together."""


def images(
    row: Row,
    area: BaseGeometry,
    windows: Sequence[Window],
    filters: Mapping[str, Any],
    properties: Sequence[str] = (),
    *,
    asset: str = "",
) -> list[Listed]:
    """Return the images of a collection that meet an area, each once, in order of time and id.

    Args:
        row: the product.
        area: lon/lat.
        windows: spans of time, each asked for by itself; none = images of any time, whose ``time`` is then None.
        filters: property -> value, list of values, or ``{min, max}``.
        properties: what is wanted of each image.
        asset: another collection than the product's.

    Raises:
        ConfigError: no such collection.
        SourceError: the pages do not fit together, twice.
    """
    service = session()
    asset = asset or row.asset
    # Pixels may lie outside an image's outline, by which Earth Engine filters.
    where = outward(widened(area, row.reach_m))
    asked: Sequence[Window | None] = windows or [None]
    tables = [
        _table(_filtered(asset, where, window, filters), properties, dated=window is not None) for window in asked
    ]
    what = f"list of {asset}"
    found: dict[str, Listed] = {}
    for features in service.map([partial(_features, service, table, what) for table in tables]):
        for feature in features:
            image = _listed(feature, asset, row)
            if image.footprint.intersects(area):
                found.setdefault(image.id, image)
    return sorted(found.values(), key=lambda image: (image.time.timestamp() if image.time else 0.0, image.id))


def _filtered(asset: str, area: BaseGeometry, window: Window | None, filters: Mapping[str, Any]) -> ee.ImageCollection:
    """Return the images of a span, half-open: "end (exclusive)", ``ee.Filter.date`` of the client's documentation."""
    import ee

    collection: ee.ImageCollection = ee.ImageCollection(asset)
    if window is not None:
        start, end = (time.strftime("%Y-%m-%dT%H:%M:%S") for time in window)
        collection = collection.filterDate(start, end)
    # Straight edges in lon/lat, as shapely has them; the default are great circles.
    collection = collection.filterBounds(ee.Geometry(mapping(area), geodesic=False))
    for condition in conditions(filters):
        collection = collection.filter(condition)
    return collection


def conditions(filters: Mapping[str, Any]) -> list[ee.Filter]:
    """Return filters as Earth Engine has them: all must hold."""
    import ee

    found: list[ee.Filter] = []
    for name, wanted in filters.items():
        if isinstance(wanted, Mapping):
            # The client says "at least" as "not less than", which is true of what is not there.
            found.append(ee.Filter.notNull([name]))
            found += [ee.Filter.gte(name, wanted["min"])] if "min" in wanted else []
            found += [ee.Filter.lte(name, wanted["max"])] if "max" in wanted else []
        elif name == POLARISATIONS:  # a list of each image: all wanted must be in it
            each = [wanted] if isinstance(wanted, str) else wanted
            found += [ee.Filter.listContains(name, one) for one in each]
        elif isinstance(wanted, list):
            found.append(ee.Filter.inList(name, wanted))
        else:
            found.append(ee.Filter.eq(name, wanted))
    return found


def _table(collection: ee.ImageCollection, properties: Sequence[str], *, dated: bool) -> ee.FeatureCollection:
    """Return the images as features: outline, projection of the first band, and properties.

    Properties that an image may lack are copied, which leaves out what is not there; setting them would fail.
    """
    import ee

    def feature(image: ee.Image) -> ee.Element:
        own = {"index": image.get("system:index"), "crs": image.select([0]).projection().crs()}
        if dated:
            own["time"] = image.get("system:time_start")
        told: ee.Element = ee.Feature(image.geometry(), own).copyProperties(image, ["system:version", *properties])
        return told

    table: ee.FeatureCollection = ee.FeatureCollection(collection.map(feature))
    return table


def _features(service: Session, table: ee.FeatureCollection, what: str) -> list[dict[str, Any]]:
    """Return all features of a table.

    Pages are computed one by one. More than one are checked against the number of features, so that a page that came
    short or twice is never taken for the whole.
    """
    import ee

    for _ in range(_ATTEMPTS):
        found: dict[str, dict[str, Any]] = {}
        token, n_pages = "", 0
        while token or not n_pages:
            request = {"expression": table, "pageSize": PAGE} | ({"pageToken": token} if token else {})
            page = service.run(partial(ee.data.computeFeatures, request), what=what)
            n_pages += 1
            features = page.get("features", [])
            found |= {str(feature["properties"]["index"]): feature for feature in features}
            following = page.get("nextPageToken", "")
            token = "" if following == token else following
        if n_pages == 1 or len(found) == service.run(partial(ee.data.computeValue, table.size()), what=what):
            return list(found.values())
    raise SourceError(
        f"the pages of a list do not hold all of its {what.removeprefix('list of ')} images",
        where=what,
        hint="images may just have been added: run it again",
    )


def _listed(feature: Mapping[str, Any], asset: str, row: Row) -> Listed:
    properties = dict(feature["properties"])
    index, crs, time = (properties.pop(name, None) for name in ("index", "crs", "time"))
    return Listed(
        id=f"{asset}/{index}",
        footprint=outline(feature.get("geometry"), row.domain, row.reach_m),
        crs=str(crs),
        time=time_of(time),
        properties=properties,
    )
