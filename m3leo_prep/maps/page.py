"""A map as one HTML page that holds everything it shows: no tiles, no network."""

from __future__ import annotations

import gzip
import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import translate
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.errors import MissingDependency, StoreError
from m3leo_prep.maps.colours import BACKGROUND, legend, palette
from m3leo_prep.maps.drawing import Column, Drawing
from m3leo_prep.pipeline.shipped import shipped

if TYPE_CHECKING:
    from bokeh.models import CustomJSTickFormatter
    from bokeh.plotting import figure

HEIGHT = 560
"""Pixels of the frame in a notebook."""
EARTH_RADIUS = 6378137.0
DEGREE_M = EARTH_RADIUS * np.pi / 180
"""Of longitude in Web Mercator, everywhere."""
MAX_LATITUDE = 85.0
"""Web Mercator ends here; the Earth's grid ends at 84 N and 80 S."""
FINE_DEG, COARSE_DEG = 0.002, 0.15
"""How far a country's outline may move, near the chips and elsewhere."""
_TICKS = """
const degrees = %s;
const far = Math.abs(degrees) < 0.00005;
return far ? "0°" : Number(Math.abs(degrees).toFixed(4)) + "° " + (degrees > 0 ? "%s" : "%s");
"""
_LONGITUDE = "((tick / 6378137 * 180 / Math.PI + 540) % 360 + 360) % 360 - 180"
_LATITUDE = "(2 * Math.atan(Math.exp(tick / 6378137)) - Math.PI / 2) * 180 / Math.PI"
_CHOOSE = """
for (const glyph of [shapes.glyph, shapes.hover_glyph]) {
  glyph.fill_color = {field: this.value, transform: mappers[this.value]};
}
legend.text = legends[this.value];
"""
Rings = tuple[list[list[list[list[float]]]], list[list[list[list[float]]]]]


@dataclass(frozen=True, slots=True)
class Page:
    """A map as HTML: notebooks display it, ``save`` writes it."""

    html: str = field(repr=False)
    title: str

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, so that its scripts and a notebook's never meet."""
        inside = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{inside}" style="width: 100%; height: {HEIGHT}px; border: 0"></iframe>'

    def save(self, path: str | Path) -> None:
        """Write the page to a file, which any browser opens without a network.

        Raises:
            StoreError: it cannot be written.
        """
        try:
            Path(path).write_text(self.html, encoding="utf-8")
        except OSError as error:
            hint = "name a file in a folder that exists and may be written to"
            raise StoreError(f"the map cannot be written: {error.strerror}", where=str(path), hint=hint) from error


def make_page(drawing: Drawing) -> Page:
    """Return the page of a drawing.

    Raises:
        MissingDependency: bokeh is not installed.
    """
    try:
        from bokeh.embed import file_html
        from bokeh.layouts import column, row
        from bokeh.models import CustomJS
        from bokeh.models.widgets import Div, Select
        from bokeh.resources import INLINE
    except ImportError as error:
        raise MissingDependency("a map page needs bokeh", hint="pip install 'm3leo-prep[maps]'") from error
    plot, shapes = _plot(drawing)
    choices = drawing.colours
    mappers = {known.name: _mapper(known) for known in choices}
    legends = {known.name: legend(known) for known in choices}
    first = drawing.first_colour.name
    for glyph in (shapes.glyph, shapes.hover_glyph):
        glyph.fill_color = {"field": first, "transform": mappers[first]}
    name = html.escape(drawing.name)
    note = f"<div>{drawing.note}</div>" if drawing.note else ""
    about = f'<div style="font-size: 20px; font-weight: 600">{name}</div><div>{drawing.facts}</div>{note}'
    head = Div(text=about, sizing_mode="stretch_width", styles={"color": "#222"})
    key = Div(text=legends[first], name="legend", width=360, styles={"color": "#222"})
    options: list[str | tuple[Any, str]] = [*mappers]
    select = Select(title="Colour", value=first, options=options, name="colour", width=170)
    choose = CustomJS(args={"shapes": shapes, "legend": key, "mappers": mappers, "legends": legends}, code=_CHOOSE)
    select.js_on_change("value", choose)
    bar = row(head, select, key, sizing_mode="stretch_width", spacing=16, margin=(8, 12, 4, 12))
    whole = column(bar, plot, sizing_mode="stretch_both")
    return Page(file_html(whole, INLINE, title=drawing.name), drawing.name)


def _plot(drawing: Drawing) -> tuple[figure, Any]:
    """Return the figure, and the renderer of the chips in it."""
    from bokeh.models import AdaptiveTicker, DataRange1d, HoverTool, WheelZoomTool
    from bokeh.plotting import figure

    x_range, y_range = DataRange1d(range_padding=0.3), DataRange1d(range_padding=0.3)
    options: dict[str, Any] = {
        "name": "map",
        "x_axis_type": "mercator",
        "y_axis_type": "mercator",
        "x_range": x_range,
        "y_range": y_range,
        "sizing_mode": "stretch_both",
        "match_aspect": True,
        "tools": "pan,box_zoom,reset,save",
        "background_fill_color": BACKGROUND["sea"],
    }
    plot = figure(**options)
    plot.toolbar.logo = None
    plot.grid.grid_line_color = "white"
    plot.grid.level = "image"
    # Bokeh's own ticks of longitude end at 180 degrees.
    plot.xaxis.ticker = AdaptiveTicker(mantissas=[DEGREE_M / 1e5 * step for step in (1, 2, 5)], desired_num_ticks=7)
    plot.xaxis.formatter = _formatter(_LONGITUDE, "E", "W")
    plot.yaxis.formatter = _formatter(_LATITUDE, "N", "S")
    ground = _rings(land(drawing))
    plot.multi_polygons(*ground, fill_color=BACKGROUND["land"], line_color=BACKGROUND["border"], level="underlay")
    corners = {"xs": mercator_x(drawing.lon).tolist(), "ys": mercator_y(drawing.lat).tolist()}
    thin = 0.7 if len(drawing) <= 3000 else 0.2
    shapes = plot.patches(
        "xs",
        "ys",
        source=corners | {known.name: known.values.tolist() for known in drawing.columns},
        name="shapes",
        fill_alpha=0.75,
        line_color="white",
        line_width=thin,
        hover_line_color="black",
        hover_fill_alpha=1,
    )
    if drawing.outline is not None:
        area = _rings([drawing.outline.simplify(_step(drawing) / 50)])
        plot.multi_polygons(*area, name="outline", fill_color=None, line_color=BACKGROUND["outline"], line_width=1.5)
    wheel, tips = WheelZoomTool(), [(known.name, _tip(known)) for known in drawing.columns]
    plot.add_tools(HoverTool(renderers=[shapes], tooltips=tips, point_policy="follow_mouse"), wheel)
    plot.toolbar.active_scroll = wheel
    x_range.renderers = y_range.renderers = [shapes]
    return plot, shapes


def _tip(known: Column) -> str:
    """Return how hover shows a column."""
    if known.is_category or known.values.dtype.kind in "iu":
        return f"@{{{known.name}}}"
    digits = "0.0000" if known.unit == "°" else "0.0"
    return f"@{{{known.name}}}{{{digits}}} {known.unit}"


def _mapper(known: Column) -> Any:
    from bokeh.models import CategoricalColorMapper, LinearColorMapper

    words, colours = palette(known)
    if known.is_category:
        return CategoricalColorMapper(factors=words, palette=colours)
    assert known.limits is not None
    return LinearColorMapper(
        palette=colours, low=known.limits[0], high=known.limits[1], nan_color=BACKGROUND["unknown"]
    )


def _formatter(degrees: str, positive: str, negative: str) -> CustomJSTickFormatter:
    from bokeh.models import CustomJSTickFormatter

    return CustomJSTickFormatter(code=_TICKS % (degrees, positive, negative))


def _step(drawing: Drawing) -> float:
    """Return the height of a typical shape in degrees."""
    return float(np.median(drawing.lat.max(axis=1) - drawing.lat.min(axis=1)))


@cache
def _world() -> tuple[BaseGeometry, ...]:
    features = json.loads(gzip.decompress((shipped("aoi") / "countries.geojson.gz").read_bytes()))["features"]
    return tuple(part for feature in features for part in shapely.get_parts(shape(feature["geometry"])))


def land(drawing: Drawing) -> Iterator[BaseGeometry]:
    """Yield the land of the world on every turn of the Earth that comes into view, fine near the shapes."""
    west, south, east, north = drawing.bounds
    view = (2 * west - east - 1, 2 * south - north - 1, 2 * east - west + 1, 2 * north - south + 1)
    fine = min(COARSE_DEG, max(FINE_DEG, (north - south) / 1000))
    for turn in (-360, 0, 360):
        if (turn < 0 and view[0] > -180) or (turn > 0 and view[2] < 180):
            continue
        for part in _world():
            moved = translate(part, turn)
            yield moved.simplify(fine if moved.intersects(shapely.box(*view)) else COARSE_DEG)


def _rings(shapes: Sequence[BaseGeometry] | Iterator[BaseGeometry]) -> Rings:
    """Return (xs, ys) of polygons in Web Mercator, as bokeh nests them: shape, part, ring, point."""
    xs: list[list[list[list[float]]]] = []
    ys: list[list[list[list[float]]]] = []
    for polygons in shapes:
        rings = [
            [shapely.get_coordinates(ring) for ring in (part.exterior, *part.interiors)]
            for part in shapely.get_parts(polygons)
            if part.geom_type == "Polygon" and not part.is_empty
        ]
        xs.append([[mercator_x(ring[:, 0]).tolist() for ring in part] for part in rings])
        ys.append([[mercator_y(ring[:, 1]).tolist() for ring in part] for part in rings])
    return xs, ys


def mercator_x(lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Web Mercator's x of longitudes, m."""
    return np.round(EARTH_RADIUS * np.radians(lon), 1)


def mercator_y(lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Web Mercator's y of latitudes, m; beyond its ends, those."""
    phi = np.radians(np.clip(lat, -MAX_LATITUDE, MAX_LATITUDE))
    return np.round(EARTH_RADIUS * np.log(np.tan(np.pi / 4 + phi / 2)), 1)
