"""Blocks of panels drawn on one page, with what explains them."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from m3leo_prep.reader.picture.layout import (
    BESIDE,
    CAPTION,
    COLUMNS,
    GAP,
    LINE,
    MARGIN,
    NOTE,
    PANEL,
    PlacedBlock,
    PlacedStrip,
    layout,
    page_width,
)
from m3leo_prep.reader.picture.legend import Shown
from m3leo_prep.reader.picture.looks import Look
from m3leo_prep.reader.picture.panels import Block, Panel
from m3leo_prep.reader.picture.quality import percent
from m3leo_prep.reader.picture.stretch import Floats

DPI = 140
PIXELS = int(PANEL * DPI)
"""Of a panel's side as saved; larger chips are averaged down to it."""
HATCH_FACE, HATCH_LINE = "#efeff1", "#b4b4bb"
"""Of missing pixels: greys with a tint that no grey of a map has."""
_RELIEF = LinearSegmentedColormap.from_list(
    "relief", ["#4f8a5b", "#86ad6c", "#cfc88a", "#d6b27a", "#b08560", "#9a8377", "#c9c5c2", "#fbfbfb"]
)


class ChipFigure(Figure):
    """A figure that notebooks show by themselves, whatever backend they use."""

    def _repr_png_(self) -> bytes:
        made = io.BytesIO()
        self.savefig(made, format="png")
        return made.getvalue()


@dataclass(frozen=True, slots=True)
class Header:
    """What stands above the blocks."""

    title: str
    subtitle: str
    side_m: float
    """Of the chip: every panel shows all of it."""


def colour(name: str, level: Floats) -> Floats:
    """Return levels of 0...1 with an axis of red, green, blue in a map's colours."""
    chosen = _RELIEF if name == _RELIEF.name else colormaps[name]
    return np.asarray(chosen(level), np.float32)[..., :3]


def draw(header: Header, blocks: Sequence[Block]) -> ChipFigure:
    """Return the page."""
    columns = min(COLUMNS, key=lambda n: (layout(blocks, n)[2], n))
    headings, placed, height = layout(blocks, columns)
    figure = ChipFigure(figsize=(page_width(columns), height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    page = _Page(figure)
    page.header(header, has_holes=any(panel.valid < 1 for p in placed for panel in p.strip.panels))
    for one in headings:
        page.heading(one)
    for strip in placed:
        page.strip(strip)
    return figure


class _Page:
    """Draws in inches from the upper-left corner: one axes over the whole figure, because each costs milliseconds."""

    def __init__(self, figure: Figure) -> None:
        self.width, self.height = (float(side) for side in figure.get_size_inches())
        self._axes = figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._axes.set(xlim=(0, self.width), ylim=(self.height, 0), autoscale_on=False)
        # Vector formats would else merge the panels into one coarse image.
        figure.suppressComposite = True

    def text(self, x: float, y: float, text: str, size: float = 7.5, *, va: str = "top", **style: Any) -> None:
        """Write with the upper-left corner at (x, y)."""
        self._axes.text(x, y, text, fontsize=size, va=va, **style)

    def box(self, x: float, y: float, wide: float, high: float, **style: Any) -> None:
        """Draw a rectangle whose upper-left corner is (x, y)."""
        self._axes.add_patch(Rectangle((x, y), wide, high, **style))

    def line(self, xs: Sequence[float], ys: Sequence[float], width: float = 1.2) -> None:
        """Draw a black line."""
        self._axes.add_line(Line2D(xs, ys, color="black", linewidth=width))

    def image(self, x: float, y: float, wide: float, high: float, picture: Floats) -> None:
        """Draw (rows, columns, 3 or 4) colours pixel by pixel, the upper-left corner at (x, y)."""
        place = (x, x + wide, y + high, y)
        self._axes.imshow(picture, extent=place, interpolation="nearest", aspect="auto", zorder=2)

    def header(self, header: Header, *, has_holes: bool) -> None:
        """Write the title, and draw the scale that holds for every panel."""
        self.text(MARGIN, MARGIN, header.title, 14, weight="bold")
        self.text(MARGIN, MARGIN + 0.3, header.subtitle, 8.5, color="#444444")
        length, text = scale_bar(header.side_m)
        wide, tick = PANEL * length / header.side_m, 0.05
        right, y = self.width - MARGIN, MARGIN + 0.42
        self.line([right - wide, right - wide, right, right], [y - tick, y, y, y - tick])
        self.text(right, MARGIN + 0.16, text, 8, ha="right")
        whole = f"{header.side_m / 1000:g} km" if header.side_m >= 1000 else f"{header.side_m:g} m"
        self.text(right, MARGIN - 0.04, f"every panel: {whole} wide, north up", 8, ha="right", color="#444444")
        if has_holes:
            self.box(right - wide - 0.9, MARGIN + 0.27, 0.22, 0.15, **HATCHED)
            self.text(right - wide - 0.62, MARGIN + 0.28, "missing", 8)

    def heading(self, one: PlacedBlock) -> None:
        """Write what a block shows, and what it leaves out."""
        self.line([one.x, one.x + one.wide], [one.y + 0.05, one.y + 0.05])
        self.text(one.x, one.y + 0.11, _fit(heading(one.block), one.wide, 10.5), 10, weight="bold")
        self.text(one.x, one.y + 0.29, _fit(details(one.block), one.wide, 8), 8, color="#444444")

    def strip(self, placed: PlacedStrip) -> None:
        """Draw a strip's panels and the key to their colours."""
        strip, x, y = placed.strip, placed.x, placed.y
        room = placed.columns * (PANEL + GAP) - GAP
        self.text(x, y, _fit(strip.look.title, room, 8), 8, style="italic")
        y += CAPTION
        for place, panel in enumerate(strip.panels):
            row, column = divmod(place, placed.columns)
            self.panel(x + column * (PANEL + GAP), y + row * (placed.label + PANEL + NOTE), panel, placed.label)
        bottom = y + math.ceil(len(strip.panels) / placed.columns) * (placed.label + PANEL + NOTE)
        if strip.classes and placed.legend_columns:
            self.legend(x + room + GAP, y + placed.label, BESIDE, strip.classes)
        elif strip.classes:
            self.legend(x, bottom, math.ceil(len(strip.classes) / placed.columns), strip.classes)
        elif any(panel.valid for panel in strip.panels):
            self.key(x, bottom, strip.look)

    def panel(self, x: float, y: float, panel: Panel, label: float) -> None:
        """Draw a panel below its slot and valid share, ``label`` inches high, and say why the rest is missing."""
        self.text(x, y, _fit(panel.label, PANEL - 0.7, 7.5))
        if panel.about:
            self.text(x, y + LINE, panel.about, color="#444444")
        self.text(x + PANEL, y, f"{percent(panel.valid)} valid", ha="right", color="#444444")
        top = y + label
        self.box(x, top, PANEL, PANEL, facecolor="none", edgecolor="#999999", linewidth=0.4, zorder=3)
        if panel.valid < 1:
            self.box(x, top, PANEL, PANEL, **HATCHED)
        if panel.valid == 0:
            style = {"boxstyle": "square,pad=0.4", "facecolor": "white", "edgecolor": HATCH_LINE}
            text = textwrap.fill(panel.why, 24)
            self.text(x + PANEL / 2, top + PANEL / 2, text, 9, ha="center", va="center", bbox=style)
            return
        room = PANEL
        if panel.span is not None:
            low, high = panel.span
            text = f"{low:.3g} to {high:.3g} rad".replace("-", "\N{MINUS SIGN}")
            self.text(x + PANEL, top + PANEL + 0.02, text, 7, ha="right", color="#444444")
            room -= 0.06 * len(text)
        missing = np.isnan(panel.picture[..., 0])
        self.image(x, top, PANEL, PANEL, np.dstack([np.nan_to_num(panel.picture), ~missing]).astype(np.float32))
        if panel.valid < 1:
            text = f"{percent(1 - panel.valid)} missing: {panel.why}"
            self.text(x, top + PANEL + 0.02, _fit(text, room, 7), 7, color="#444444")

    def key(self, x: float, y: float, look: Look) -> None:
        """Draw the colour bar of a quantity, or write the limits of a composite."""
        if look.form == "composite":
            unit = f" {look.unit}" if look.unit else ""
            for place, (name, channel) in enumerate(zip(look.names, look.channels, strict=True)):
                assert channel.limits is not None
                low, high = channel.limits
                text = f"{('red', 'green', 'blue')[place]}: {name} {low:g} ... {high:g}{unit}"
                self.text(x, y + place * 0.13, text.replace("-", "\N{MINUS SIGN}"), 6.5, color="#444444")
            return
        (channel,) = look.channels
        assert channel.limits is not None
        low, high = channel.limits
        left, wide = x + 0.15, PANEL - 0.3
        self.image(left, y + 0.02, wide, 0.09, colour(look.colours, np.linspace(0, 1, 256))[None])
        self.box(left, y + 0.02, wide, 0.09, facecolor="none", edgecolor="black", linewidth=0.6, zorder=3)
        ticks = [tick for tick in _ticks(low, high, is_log=channel.is_log) if low <= tick <= high]
        for tick in ticks:
            at = left + wide * float(channel.level(np.array([tick]))[0])
            self.line([at, at], [y + 0.11, y + 0.14], 0.6)
            self.text(at, y + 0.15, f"{tick:.6g}".replace("-", "\N{MINUS SIGN}"), 6.5, ha="center")
        self.text(left + wide / 2, y + 0.28, look.unit, 7, ha="center")
        self.text(left + wide / 2, y + 0.39, look.note, 7, ha="center")

    def legend(self, x: float, y: float, lines: int, classes: Sequence[Shown]) -> None:
        """List classes with their share of the valid pixels, in columns of so many lines."""
        for place, shown in enumerate(classes):
            column, row = divmod(place, lines)
            left, top = x + column * (PANEL + GAP), y + row * LINE
            self.box(left, top + 0.01, 0.18, 0.11, facecolor=shown.color, edgecolor="#888888", linewidth=0.4)
            self.text(left + 0.54, top, percent(shown.share), 7, ha="right")
            self.text(left + 0.61, top, _fit(shown.name, PANEL - 0.61, 7), 7)


HATCHED: dict[str, Any] = {"facecolor": HATCH_FACE, "edgecolor": HATCH_LINE, "hatch": "////", "linewidth": 0.0}


def heading(block: Block) -> str:
    """Return what a block shows."""
    name = block.layer.key(block.array)
    about = block.array.name.replace("_", " ")
    units = {block.array.unit_of(band) for band in block.array.bands}
    unit = "" if len(units) > 1 or units & {"1", "class"} else f" in {units.pop()}"
    return f"{name}{unit}" if name.endswith(block.array.name) else f"{name}: {about}{unit}"


def details(block: Block) -> str:
    """Return a block's pixel, and what of it is not drawn."""
    layer = block.layer
    parts = [f"{layer.size} x {layer.size} px of {layer.pitch:g} m"]
    parts += [str(value) for key, value in block.array.attributes.items() if key == "backscatter_convention"]
    if block.bands_left:
        parts.append("bands not drawn: " + _few(block.bands_left))
    if block.n_slots_left:
        parts.append(f"{len(layer.slots) - block.n_slots_left} of {len(layer.slots)} slots drawn")
    return "; ".join(parts)


def scale_bar(side_m: float) -> tuple[float, str]:
    """Return a round length in m of about a quarter of a side, and how to write it.

    >>> scale_bar(4480.0), scale_bar(320.0)
    ((1000.0, '1 km'), (100.0, '100 m'))
    """
    decade = 10.0 ** math.floor(math.log10(side_m / 3))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= side_m / 3)
    return length, f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"


def _ticks(low: float, high: float, *, is_log: bool) -> list[float]:
    """Return the numbers on a colour bar; some may lie outside."""
    if is_log:
        top = math.floor(math.log10(high))
        return [0.0, *(10.0**power for power in range(top - 2, top + 1))]
    return [float(tick) for tick in MaxNLocator(5).tick_values(low, high)]


def _few(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _fit(text: str, room: float, size: float) -> str:
    """Return the text, shortened if it would not fit into ``room`` inches at a font size in points."""
    most = int(room * 72 / (0.56 * size))
    return text if len(text) <= most else text[: most - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
