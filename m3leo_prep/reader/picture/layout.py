"""Where everything lies on the page of a chip, in inches from the upper-left corner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from m3leo_prep.reader.picture.panels import Block, Strip

PANEL, GAP, MARGIN = 2.4, 0.16, 0.35
HEADER, HEADING, CAPTION, LABEL, NOTE, KEY, LINE = 0.65, 0.52, 0.18, 0.16, 0.2, 0.52, 0.155
"""Heights: of the page's title, of a block's; above panels; below them; of a legend's line."""
BESIDE = int(PANEL / LINE)
"""Lines of a legend beside a panel."""
COLUMNS = (3, 4, 5, 6)
"""Of panels on a page: the fewest that make it no taller than more would."""


@dataclass(frozen=True, slots=True)
class PlacedBlock:
    """A block, the upper-left corner of its heading, and its width."""

    block: Block
    x: float
    y: float
    wide: float


@dataclass(frozen=True, slots=True)
class PlacedStrip:
    """A strip and its upper-left corner."""

    strip: Strip
    x: float
    y: float
    columns: int
    """Panels in one row."""
    legend_columns: int
    """Columns beside them that the legend takes."""

    @property
    def label(self) -> float:
        """Height of what stands above each panel."""
        return _label(self.strip)


def page_width(columns: int) -> float:
    """Return the width of a page of so many columns of panels."""
    return 2 * MARGIN + columns * (PANEL + GAP) - GAP


def layout(blocks: Sequence[Block], columns: int) -> tuple[list[PlacedBlock], list[PlacedStrip], float]:
    """Return the places of headings and strips, and the height of the page.

    Strips of a block share rows, and so do blocks that need one row or less.
    """
    headings: list[PlacedBlock] = []
    placed: list[PlacedStrip] = []
    y, left, row_height = MARGIN + HEADER, 0, 0.0
    for block in blocks:
        rows = _rows(block, columns)
        wide = max(sum(_wide(strip, columns) for strip in row) for row in rows)
        if left and (len(rows) > 1 or left + wide > columns):
            y, left, row_height = y + row_height, 0, 0.0
        x, top = MARGIN + left * (PANEL + GAP), y + HEADING
        headings.append(PlacedBlock(block, x, y, min(wide, columns) * (PANEL + GAP) - GAP))
        for row in rows:
            used = 0
            for strip in row:
                across, beside = min(columns, len(strip.panels)), _legend_columns(strip, columns)
                placed.append(PlacedStrip(strip, x + used * (PANEL + GAP), top, across, beside))
                used += _wide(strip, columns)
            top += max(_strip_height(strip, columns) for strip in row)
        row_height = max(row_height, top - y)
        left = columns if len(rows) > 1 else left + wide
    return headings, placed, y + row_height + MARGIN / 2


def _rows(block: Block, columns: int) -> list[list[Strip]]:
    """Return a block's strips by rows of the page."""
    rows: list[list[Strip]] = []
    used = columns
    for strip in block.strips:
        wide = _wide(strip, columns)
        if used + wide > columns:
            rows.append([])
            used = 0
        rows[-1].append(strip)
        used += wide
    return rows


def _wide(strip: Strip, columns: int) -> int:
    """Return the columns that a strip takes, its legend included."""
    return min(columns, len(strip.panels)) + _legend_columns(strip, columns)


def _strip_height(strip: Strip, columns: int) -> float:
    rows = math.ceil(len(strip.panels) / columns)
    if not strip.classes:
        below = KEY
    elif _legend_columns(strip, columns):
        below = NOTE
    else:
        below = LINE * math.ceil(len(strip.classes) / min(columns, len(strip.panels))) + NOTE
    return CAPTION + rows * (_label(strip) + PANEL + NOTE) + below


def _label(strip: Strip) -> float:
    """Return the height above each panel: a second line, where a rule chose what some panel shows."""
    return LABEL + (LINE if any(panel.about for panel in strip.panels) else 0.0)


def _legend_columns(strip: Strip, columns: int) -> int:
    """Return the columns beside a strip that its legend takes; 0 if it stands below, or there is none."""
    needed = math.ceil(len(strip.classes) / BESIDE)
    return needed if len(strip.panels) + needed <= columns else 0
