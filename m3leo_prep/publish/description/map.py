"""The map of a card: the chips by split over the land around them, and where on Earth that is."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.errors import MissingDependency
from m3leo_prep.maps.colours import BACKGROUND, SPLITS
from m3leo_prep.maps.drawing import Drawing, draw
from m3leo_prep.maps.page import land
from m3leo_prep.reader.dataset import Dataset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from shapely.geometry.base import BaseGeometry

MOST_SHAPES = 40_000
"""More chips than this are drawn as squares of several, in the colour of the split that most of them have."""
ALONE = "#4477aa"
"""Of chips where there are no splits."""
WIDTH, SIDE = 9.0, 2.1
"""Inches: of the picture, of the column beside its map."""
WIDE, TALLEST = WIDTH - SIDE - 0.75, 4.8
"""Inches: of the map itself, and how tall it may be."""
WORLD_LAND, LEAST_LAND = "#b9b4a6", 0.3
"""Of the small map of the Earth: colour, and square degrees of the least island that can be seen there."""
DPI = 110
MARGIN = 0.06
"""Around the chips, share of their extent."""
LEAST_DEG = 0.02


def draw_map(dataset: Dataset) -> bytes:
    """Return the map as PNG.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingDependency("the map needs matplotlib", hint="pip install 'm3leo-prep[plot]'") from error
    drawing = draw(dataset, MOST_SHAPES)
    view = _view(drawing)
    west, south, east, north = view
    tall = WIDE * (north - south) / ((east - west) * _squeeze(view))
    figure = Figure(figsize=(WIDTH, tall + 0.6), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    high = tall + 0.6
    axes = figure.add_axes((0.65 / WIDTH, 0.4 / high, WIDE / WIDTH, tall / high))
    counts, world = _counts(dataset), list(land(drawing))
    _chips(axes, drawing, view, world, has_splits=bool(counts))
    _beside(figure, axes, drawing, world, counts)
    made = io.BytesIO()
    figure.savefig(made, format="png", metadata={"Software": None})
    return made.getvalue()


def _counts(dataset: Dataset) -> dict[str, int]:
    """Return the chips of each split, in the order of the colours; empty where no chip has one."""
    found = Counter(dataset.table("chips.parquet", ["split"])["split"].to_pylist())
    if set(found) == {None}:
        return {}
    named = {"none" if name is None else str(name): n for name, n in found.items()}
    order = list(SPLITS)
    return {name: named[name] for name in sorted(named, key=lambda name: (order.index(name), name))}


def _view(drawing: Drawing) -> tuple[float, float, float, float]:
    """Return west, south, east, north of the map: the chips and a margin, neither tall nor flat."""
    west, south, east, north = drawing.bounds
    squeeze = _squeeze(drawing.bounds)
    middle_x, middle_y = (west + east) / 2, (south + north) / 2
    half_x = max(east - west, LEAST_DEG) * (0.5 + MARGIN) * squeeze
    half_y = max(north - south, LEAST_DEG) * (0.5 + MARGIN)
    half_x = max(half_x, half_y * WIDE / TALLEST)
    half_y = max(half_y, half_x * 0.5)
    return middle_x - half_x / squeeze, middle_y - half_y, middle_x + half_x / squeeze, middle_y + half_y


def _squeeze(bounds: tuple[float, float, float, float]) -> float:
    """Return the length of a degree of longitude in degrees of latitude, in the middle of a map."""
    return max(0.1, float(np.cos(np.radians((bounds[1] + bounds[3]) / 2))))


def _chips(
    axes: Axes,
    drawing: Drawing,
    view: tuple[float, float, float, float],
    world: Sequence[BaseGeometry],
    *,
    has_splits: bool,
) -> None:
    from matplotlib.collections import PolyCollection

    axes.set_facecolor(BACKGROUND["sea"])
    near = shapely.box(*view)
    _land(axes, (part for part in world if part.intersects(near)), BACKGROUND["land"], BACKGROUND["border"])
    colours = _colours(drawing) if has_splits else ALONE
    corners = np.stack([drawing.lon, drawing.lat], axis=-1)
    many = len(drawing) > 2_000
    edges: dict[str, Any] = {"edgecolors": "face", "linewidths": 0.1} if many else {"edgecolors": "white"}
    axes.add_collection(PolyCollection(list(corners), facecolors=colours, alpha=0.85, **({"linewidths": 0.4} | edges)))
    if drawing.outline is not None:
        for ring in _rings([drawing.outline]):
            axes.plot(ring[:, 0], ring[:, 1], color=BACKGROUND["outline"], linewidth=1.1)
    axes.set(xlim=(view[0], view[2]), ylim=(view[1], view[3]), aspect=1 / _squeeze(view))
    axes.tick_params(labelsize=8, colors="#555555", length=3)
    axes.locator_params(nbins=6)
    axes.xaxis.set_major_formatter(lambda value, _: _degrees((value + 180) % 360 - 180, "EW"))
    axes.yaxis.set_major_formatter(lambda value, _: _degrees(value, "NS"))
    for spine in axes.spines.values():
        spine.set(color="#999999", linewidth=0.6)


def _colours(drawing: Drawing) -> list[str]:
    """Return the colour of every shape: of its split, or of the split that most of its chips have."""
    columns = {column.name: column for column in drawing.columns}
    if "split" in columns:
        return [SPLITS[str(name)] for name in columns["split"].values]
    names = [name for name in SPLITS if f"split {name}" in columns]
    shares: NDArray[np.float64] = np.stack([columns[f"split {name}"].values for name in names])
    return [SPLITS[names[place]] for place in shares.argmax(axis=0).tolist()]


def _beside(
    figure: Figure, axes: Axes, drawing: Drawing, world: Sequence[BaseGeometry], counts: dict[str, int]
) -> None:
    """Draw what the colours mean, and where on Earth the map is."""
    from matplotlib.patches import Patch

    high = figure.get_size_inches()[1]
    left = (WIDTH - SIDE) / WIDTH
    entries = counts or {"chips": sum(_number(drawing))}
    patches = [
        Patch(facecolor=SPLITS[name] if counts else ALONE, alpha=0.85, label=f"{name}  {n:,}")
        for name, n in entries.items()
    ]
    if drawing.outline is not None:
        patches.append(Patch(facecolor="none", edgecolor=BACKGROUND["outline"], label="area"))
    top = axes.get_position().y1
    figure.legend(
        handles=patches,
        loc="upper left",
        bbox_to_anchor=(left, top),
        borderaxespad=0,
        frameon=False,
        fontsize=10,
        title=_title(drawing) if counts else None,
        title_fontsize=10,
        alignment="left",
    )
    west, south, east, north = drawing.bounds
    globe = figure.add_axes((left, 0.4 / high, (SIDE - 0.15) / WIDTH, (SIDE - 0.15) / 2 / high))
    globe.set_facecolor(BACKGROUND["sea"])
    _land(globe, (part for part in world if part.area > LEAST_LAND), WORLD_LAND, "none")
    centre = ((west + east) / 2 + 180) % 360 - 180
    globe.plot([centre], [(south + north) / 2], marker="s", color="#c0392b", markersize=4)
    globe.set(xlim=(-180, 180), ylim=(-90, 90), xticks=[], yticks=[])
    for spine in globe.spines.values():
        spine.set(color="#999999", linewidth=0.6)


def _title(drawing: Drawing) -> str:
    """Return what the colours mean."""
    if drawing.side == 1:
        return "chips by split"
    return f"chips by split; squares of\n{drawing.side} x {drawing.side} chips by the most"


def _number(drawing: Drawing) -> list[int]:
    chips = next((column.values for column in drawing.columns if column.name == "chips"), np.ones(len(drawing), int))
    return [int(n) for n in chips]


def _land(axes: Axes, parts: Iterable[BaseGeometry], colour: str, border: str) -> None:
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    paths = []
    for part in parts:
        rings = list(_rings([part]))
        if rings:
            paths.append(Path.make_compound_path(*(Path(ring, closed=True) for ring in rings)))
    axes.add_collection(PathCollection(paths, facecolors=colour, edgecolors=border, linewidths=0.6, zorder=0))


def _rings(shapes: list[BaseGeometry]) -> Iterator[NDArray[np.float64]]:
    """Yield (point, 2) the rings of polygons."""
    for part in shapely.get_parts(shapes):
        for polygon in shapely.get_parts(part):
            if polygon.geom_type == "Polygon" and not polygon.is_empty:
                yield from (shapely.get_coordinates(ring) for ring in (polygon.exterior, *polygon.interiors))


def _degrees(value: float, sides: str) -> str:
    return f"{abs(value):.6g}°{sides[int(value < 0)]}" if value else "0°"
