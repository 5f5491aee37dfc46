"""What the chips on a report's map can be coloured by, and what each legend says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from m3leo_prep.maps.colours import BACKGROUND, palette
from m3leo_prep.maps.drawing import Column

BINS = 32
"""Of the histogram beside the map."""
NONE = "none"
"""The word of chips of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing that chips can be coloured by, with what its legend says."""

    name: str
    unit: str
    words: tuple[tuple[str, str, int], ...]
    """Word, colour, chips; empty for numbers."""
    limits: tuple[float, float]
    ramp: tuple[str, ...]
    histogram: tuple[int, ...]
    """Chips in equal bins between the limits, those outside in the first and last; empty for words."""
    known: int
    unknown: int
    mean: float | None

    @property
    def is_constant(self) -> bool:
        """True where one bin of the histogram holds every chip."""
        return sum(n > 0 for n in self.histogram) == 1


def make_choice(column: Column, colours: Mapping[str, str]) -> Choice:
    """Return a column as a choice.

    Args:
        column: with limits.
        colours: of words that have their own; empty for the usual ones.
    """
    words, scale = palette(column)
    assert column.limits is not None
    if column.is_category:
        found, counts = np.unique(column.values.astype(str), return_counts=True)
        of = dict(zip(words, scale, strict=True)) | {word: colours[word] for word in words if word in colours}
        of[NONE] = BACKGROUND["unknown"]
        n = dict(zip(found.tolist(), counts.tolist(), strict=True))
        order = sorted(words, key=lambda word: -n[word]) if colours else words
        listed = tuple((word, of[word], n[word]) for word in order)
        unknown = n.get(NONE, 0)
        return Choice(column.name, "", listed, (0, 1), (), (), len(column.values) - unknown, unknown, None)
    values = column.values.astype(np.float64)
    known = values[np.isfinite(values)]
    inside = np.clip(known, *column.limits)
    histogram = tuple(np.histogram(inside, BINS, column.limits)[0].tolist())
    mean = float(known.mean()) if known.size else None
    unknown = values.size - known.size
    return Choice(column.name, column.unit, (), column.limits, tuple(scale), histogram, known.size, unknown, mean)
