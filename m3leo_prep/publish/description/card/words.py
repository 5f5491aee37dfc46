"""Numbers and tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits; thousands are grouped, whole numbers are whole.

    >>> number(1234.5), number(999.7), number(0.00451), number(12.0), number(None)
    ('1,234', '1,000', '0.00451', '12', 'unknown')
    """
    if value is None:
        return "unknown"
    if abs(value) >= 10**digits - 0.5 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def share(value: float | None) -> str:
    """Return a share of 0...1 in percent; 0 % and 100 % only if none and all.

    >>> share(0.5), share(0.9999), share(0.00001), share(0.0)
    ('50 %', '>99.9 %', '<0.1 %', '0 %')
    """
    if value is None:
        return "unknown"
    percent = 100 * value
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.3g} %" if percent < 10 else f"{percent:.1f} %".replace(".0 %", " %")


def size(n: int) -> str:
    """Return a number of bytes.

    >>> size(999), size(999_900), size(64_879_712)
    ('999 B', '1 MB', '64.9 MB')
    """
    value = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{number(value)} TB"


def several(n: int, one: str, many: str = "") -> str:
    """Return a number and its noun.

    >>> several(1, "chip"), several(16, "chip")
    ('1 chip', '16 chips')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


_SIGNS = re.compile(r"[\\`*_\[\]<>|~&$#]|^[-+=]|(?<=^\d)[.)]|(?<=^\d\d)[.)]")
"""What Markdown, HTML or the Hub's formulas would read as theirs: anywhere, or at the beginning as a list or a rule."""


def escaped(text: str) -> str:
    r"""Return text that Markdown shows as it is, also inside a table, in one line.

    >>> print(escaped("1. a_b $x$ <b>"), escaped("- 2 - 1"))
    1\. a\_b \$x\$ \<b\> \- 2 - 1
    """
    return _SIGNS.sub(r"\\\g<0>", " ".join(text.split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Return a table; cells are Markdown already.

    Args:
        head: of the columns.
        rows: cells.
        numbers: columns that are aligned to the right.
    """
    rule = ["---:" if place in numbers else "---" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
