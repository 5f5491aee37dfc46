"""A map as a widget of ipyleaflet, or of geemap, whose map is one: chips over a background from the network."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

import shapely

from m3leo_prep.maps.colours import colours, legend
from m3leo_prep.maps.drawing import Drawing
from m3leo_prep.maps.earth_engine import lay

if TYPE_CHECKING:
    from m3leo_prep.core.plan import Plan

MAX_ZOOM = 14


def widget(drawing: Drawing, library: str, plan: Plan | None = None) -> Any:
    """Return a map with the outline, the chips, what is known of the one under the mouse, and a choice of colours.

    Args:
        drawing: what to draw.
        library: ``geemap`` or ``ipyleaflet``, whichever is installed.
        plan: with ``geemap``, its Earth Engine layers are laid below the chips.
    """
    import ipyleaflet
    import ipywidgets

    west, south, east, north = drawing.bounds
    view = {"center": ((south + north) / 2, (west + east) / 2), "zoom": _zoom(east - west, north - south)}
    layers: list[Any] = []
    if library == "geemap":
        import geemap

        shown = geemap.Map(ee_initialize=False, **view)
        layers = lay(shown, plan) if plan is not None else []
    else:
        shown = ipyleaflet.Map(scroll_wheel_zoom=True, prefer_canvas=True, **view)
    choices = {known.name: known for known in drawing.colours}
    title = f"<b>{html.escape(drawing.name)}</b><br>{drawing.facts}<br>{drawing.note}"
    about = ipywidgets.HTML(title)
    choice = ipywidgets.Dropdown(options=list(choices), value=drawing.first_colour.name, description="Colour")
    key = ipywidgets.HTML(legend(choices[choice.value]))
    chips = ipyleaflet.GeoJSON(data=_features(drawing), hover_style={"weight": 3, "fillOpacity": 0.8}, name="chips")

    def paint(chosen: str) -> None:
        scale = colours(choices[chosen])
        chips.style_callback = lambda feature: {
            "color": "white",
            "weight": 0.7,
            "fillColor": scale[int(feature["id"])],
            "fillOpacity": 0.6,
        }
        key.value = legend(choices[chosen])

    def tell(feature: dict[str, Any], **_: Any) -> None:
        lines = (f"{html.escape(name)}: {html.escape(text)}" for name, text in feature["properties"]["known"].items())
        about.value = f"{title}<hr>{'<br>'.join(lines)}"

    paint(choice.value)
    choice.observe(lambda change: paint(change["new"]), names="value")
    chips.on_hover(tell)
    shown.add(chips)
    if drawing.outline is not None:
        line = {"color": "#1d3557", "weight": 2, "fill": False}
        shown.add(ipyleaflet.GeoJSON(data=_feature(0, drawing.outline.boundary, {}), style=line, name="outline"))
    panel = ipywidgets.VBox([about, choice, key, *layers])
    shown.add(ipyleaflet.WidgetControl(widget=panel, position="topright"))
    return shown


def _features(drawing: Drawing) -> dict[str, Any]:
    squares = shapely.polygons([list(zip(x, y, strict=True)) for x, y in zip(drawing.lon, drawing.lat, strict=True)])
    columns = [(known.name, known.values.tolist(), known.unit) for known in drawing.columns]
    return {
        "type": "FeatureCollection",
        "features": [
            _feature(k, square, {name: _text(values[k], unit) for name, values, unit in columns})
            for k, square in enumerate(squares)
        ],
    }


def _feature(number: int, geometry: Any, known: dict[str, str]) -> dict[str, Any]:
    properties = {"known": known}
    return {"type": "Feature", "id": str(number), "geometry": geometry.__geo_interface__, "properties": properties}


def _text(value: str | float, unit: str) -> str:
    """Return a value as the page shows it."""
    if not isinstance(value, float):
        return f"{value} {unit}".strip()
    return f"{value:.{4 if unit == '°' else 1}f} {unit}".strip()


def _zoom(width: float, height: float) -> int:
    """Return the closest zoom that shows so many degrees on a map of 600 x 400 pixels; zoom 0 has 360 on 256."""
    fits = min(600 / max(width, 1e-6), 400 / max(height, 1e-6)) * 360 / 256
    return max(1, min(MAX_ZOOM, int(math.log2(fits))))
