"""Pieces of HTML: text that is safe, numbers for people, tables, bars, small charts."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

MINUS = "\N{MINUS SIGN}"
COLUMNS_PX = 500
"""Width of a chart of columns, of which a page has two side by side."""


def text(value: object) -> str:
    """Return anything as text that HTML does not read as its own."""
    return html.escape(str(value), quote=True)


def count(n: int, one: str = "", many: str = "") -> str:
    r"""Return a whole number for people, with what is counted.

    >>> count(12345), count(1, "chip"), count(2, "chip"), count(2, "class", "classes")
    ('12\u202f345', '1 chip', '2 chips', '2 classes')
    """
    word = one if n == 1 else many or (one and f"{one}s")
    return f"{n:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") + (f" {word}" if word else "")


def number(value: float | None, digits: int = 4) -> str:
    r"""Return a number with so many significant digits; an en dash where there is none.

    >>> number(3.14159), number(1234567.0), number(0.25)
    ('3.142', '1\u202f234\u202f567', '0.25')
    """
    if value is None:
        return "\N{EN DASH}"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", MINUS)
    return f"{value:.{digits}g}".replace("-", MINUS)


def percent(value: float | None) -> str:
    """Return a number of percent with one digit; an en dash where there is none.

    ``100 %`` is only all, and ``0 %`` only nothing.

    >>> percent(12.345), percent(100.0), percent(99.99), percent(0.0), percent(0.01)
    ('12.3 %', '100 %', '>99.9 %', '0 %', '<0.1 %')
    """
    if value is None:
        return "\N{EN DASH}"
    if value in {0.0, 100.0}:
        return f"{value:.0f} %"
    if round(value, 1) in {0.0, 100.0}:
        return "<0.1 %" if value < 1 else ">99.9 %"
    return f"{value:.1f} %"


def share(value: float | None) -> str:
    """Return a share of 0...1 in percent."""
    return percent(None if value is None else 100 * value)


def size(n_bytes: float) -> str:
    """Return a size for people.

    >>> size(999), size(1_234_567)
    ('999 B', '1.23 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = (), caption: str = ""
) -> str:
    """Return a table; the first cell of a row heads it.

    Args:
        heads: HTML of the columns' heads.
        rows: HTML of the cells.
        numbers: columns that are set to the right.
        caption: told to screen readers.
    """

    def cell(place: int, content: str, tag: str, extra: str = "") -> str:
        kind = ' class="n"' if place in numbers else ""
        return f"<{tag}{kind}{extra}>{content}</{tag}>"

    head = "".join(cell(place, content, "th", ' scope="col"') for place, content in enumerate(heads))
    body = "".join(
        "<tr>"
        + "".join(
            cell(place, content, "td" if place else "th", "" if place else ' scope="row"')
            for place, content in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    told = f' aria-label="{text(caption)}"' if caption else ""
    return f'<div class="wide"><table{told}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def bar(value: float | None, colour: str = "") -> str:
    """Return a bar of a share of 0...1."""
    width = 0.0 if value is None else 100 * min(1.0, max(0.0, value))
    fill = f"--fill:{colour};" if colour else ""
    return f'<div class="bar" style="{fill}" aria-hidden="true"><i style="width:{width:.2f}%"></i></div>'


def stack(parts: Sequence[tuple[str, str, float]], *, thin: bool = False, label: str = "") -> str:
    """Return a bar of several parts: (name, colour, amount)."""
    total = sum(amount for _, _, amount in parts) or 1.0
    pieces = "".join(
        f'<i style="--fill:{colour};width:{100 * amount / total:.3f}%" title="{text(name)}"></i>'
        for name, colour, amount in parts
        if amount
    )
    kind = "stack thin" if thin else "stack"
    return f'<div class="{kind}" role="img" aria-label="{text(label)}">{pieces}</div>'


def keys(items: Iterable[tuple[str, str, str, str]]) -> str:
    """Return a legend: (colour, name, what is told in bold, what is told quietly)."""
    made = "".join(
        f'<li><span class="swatch" style="--fill:{colour}"></span>{text(name)} <b>{strong}</b>'
        f'<span class="dim">{quiet}</span></li>'
        for colour, name, strong, quiet in items
    )
    return f'<ul class="keys">{made}</ul>'


def facts(items: Mapping[str, str]) -> str:
    """Return names and HTML values as a list; empty ones are left out."""
    return (
        "<dl>" + "".join(f"<dt>{text(name)}</dt><dd>{value}</dd>" for name, value in items.items() if value) + "</dl>"
    )


def histogram(
    counts: Sequence[float], low: str, high: str, label: str, *, high_px: int = 56, wide_px: int = 240
) -> str:
    """Return a histogram of equal bins, with what its ends are."""
    most = max(counts, default=0) or 1
    step = wide_px / max(1, len(counts))
    bars = "".join(
        f'<rect class="col" x="{k * step:.2f}" y="{high_px * (1 - n / most):.2f}" width="{step * 0.88:.2f}" '
        f'height="{high_px * n / most:.2f}"/>'
        for k, n in enumerate(counts)
        if n
    )
    return (
        f'<svg viewBox="0 0 {wide_px} {high_px + 16}" role="img" aria-label="{text(label)}">{bars}'
        f'<line class="axis" x1="0" x2="{wide_px}" y1="{high_px}.5" y2="{high_px}.5"/>'
        f'<text x="0" y="{high_px + 13}">{text(low)}</text>'
        f'<text x="{wide_px}" y="{high_px + 13}" text-anchor="end">{text(high)}</text></svg>'
    )


def columns(slots: Sequence[tuple[str, Sequence[tuple[str, str, float]]]], label: str, *, high_px: int = 110) -> str:
    """Return a column of parts per slot: (slot, ((name, colour, amount) ...)); every column is as high as another."""
    n = len(slots)
    wide = max(220, min(COLUMNS_PX, 74 * n))
    step = wide / max(1, n)
    made = []
    every = max(1, math.ceil(n / max(1, wide // 60)))
    for k, (slot, parts) in enumerate(slots):
        total, top = sum(amount for _, _, amount in parts) or 1.0, 0.0
        for name, colour, amount in parts:
            tall = high_px * amount / total
            if amount:
                made.append(
                    f'<rect x="{k * step:.2f}" y="{top:.2f}" width="{step * 0.9:.2f}" height="{tall:.2f}" '
                    f'style="fill:{colour}"><title>{text(slot)}: {text(name)} {count(int(amount))}</title></rect>'
                )
            top += tall
        if k % every == 0:
            made += _label(slot, k * step, high_px)
    return (
        f'<svg viewBox="0 0 {wide} {high_px + 32}" style="width:{wide}px" role="img" aria-label="{text(label)}">'
        f"{''.join(made)}</svg>"
    )


def _label(slot: str, x: float, y: float) -> list[str]:
    """Return a slot's name below its column; a period's start above its end."""
    lines = slot.split("_")[:2]
    return [f'<text x="{x:.1f}" y="{y + 13 + 13 * k:.1f}">{text(line)}</text>' for k, line in enumerate(lines)]


def curve(
    points: Sequence[tuple[float, float]],
    *,
    mark: float | None,
    x_unit: str,
    label: str,
    wide: int = 460,
    high: int = 170,
) -> str:
    """Return a curve through points, x from 0, y around 0, and a dashed line where ``mark`` is."""
    left, bottom = 40, 26
    most_x = max([x for x, _ in points] + ([mark] if mark else [])) or 1.0
    low, top = min(0.0, *(y for _, y in points)), max(0.1, *(y for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (wide - left - 8) * x / most_x, 8 + (high - bottom - 8) * (top - y) / (top - low)

    path = " ".join(f"{'M' if not k else 'L'}{a:.1f} {b:.1f}" for k, (a, b) in enumerate(place(*p) for p in points))
    dots = "".join(f'<circle class="dot" cx="{a:.1f}" cy="{b:.1f}" r="2.6"/>' for a, b in (place(*p) for p in points))
    zero = place(0, 0)[1]
    marked = ""
    if mark:
        at = place(mark, 0)[0]
        marked = f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="8" y2="{high - bottom}"/>'
    ticks = "".join(
        f'<text x="{place(most_x * k / 4, 0)[0]:.1f}" y="{high - 8}" text-anchor="{"end" if k == 4 else "middle"}">'
        f"{most_x * k / 4:.3g}{f' {x_unit}' if k == 4 else ''}</text>"
        for k in range(5)
    )
    sides = "".join(
        f'<text x="{left - 6}" y="{place(0, y)[1] + 4:.1f}" text-anchor="end">{y:.2g}</text>'
        for y in sorted({0.0, top, low})
    )
    return (
        f'<svg viewBox="0 0 {wide} {high}" style="width:{wide}px" role="img" aria-label="{text(label)}">'
        f'<line class="axis" x1="{left}" x2="{wide - 8}" y1="{zero:.1f}" y2="{zero:.1f}"/>{marked}'
        f'<path class="curve" d="{path}"/>{dots}{ticks}{sides}</svg>'
    )


def steps(edges: Sequence[float], counts: Sequence[float], label: str) -> str:
    """Return a histogram of bins with their own edges, drawn to scale as counts per width."""
    widths = [b - a for a, b in pairwise(edges)]
    heights = [n / wide if wide > 0 else 0.0 for n, wide in zip(counts, widths, strict=True)]
    most, span, high, across = max(heights, default=0.0) or 1.0, (edges[-1] - edges[0]) or 1.0, 64, 240
    path = [f"M0 {high}"]
    for left, right, tall in zip(edges[:-1], edges[1:], heights, strict=True):
        ends = (across * (edge - edges[0]) / span for edge in (left, right))
        path += [f"L{x:.1f} {high * (1 - tall / most):.1f}" for x in ends]
    bars = f'<path class="col" d="{" ".join(path)} L{across} {high}Z"/>'
    return (
        f'<svg viewBox="0 0 {across} {high + 16}" role="img" aria-label="{text(label)}">{bars}'
        f'<line class="axis" x1="0" x2="{across}" y1="{high}.5" y2="{high}.5"/>'
        f'<text x="0" y="{high + 13}">{number(edges[0], 3)}</text>'
        f'<text x="{across}" y="{high + 13}" text-anchor="end">{number(edges[-1], 3)}</text></svg>'
    )
