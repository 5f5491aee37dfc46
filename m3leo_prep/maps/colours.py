"""The colours of maps: readable with every kind of colour vision, and quiet behind the chips."""

from __future__ import annotations

import html

import numpy as np

from m3leo_prep.maps.drawing import Column

BACKGROUND = {"sea": "#dce6ec", "land": "#f7f5f0", "border": "#b4aea2", "outline": "#1d3557", "unknown": "#9a9a9a"}
SPLITS = {"train": "#4477aa", "val": "#ccbb44", "test": "#ee6677", "buffer": "#bbbbbb", "none": BACKGROUND["unknown"]}
WORDS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
"""Paul Tol's "bright": neighbours in a list differ."""
RAMP = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
"""Six steps of viridis."""


def palette(known: Column) -> tuple[list[str], list[str]]:
    """Return (words, their colours), or (nothing, 256 colours from low to high) of a column of numbers."""
    if not known.is_category:
        return [], [_ramp(k / 255) for k in range(256)]
    words = sorted(
        {str(word) for word in known.values},
        key=lambda word: (list(SPLITS).index(word) if word in SPLITS else 99, word),
    )
    return words, [SPLITS.get(word, WORDS[k % len(WORDS)]) for k, word in enumerate(words)]


def colours(known: Column) -> list[str]:
    """Return the colour of every shape."""
    words, scale = palette(known)
    if known.is_category:
        of = dict(zip(words, scale, strict=True))
        return [of[str(word)] for word in known.values]
    assert known.limits is not None, f"'{known.name}' has no colours"
    low, high = known.limits
    at = (np.asarray(known.values, float) - low) / (high - low)
    return [BACKGROUND["unknown"] if np.isnan(v) else scale[round(255 * min(1.0, max(0.0, v)))] for v in at.tolist()]


def legend(known: Column) -> str:
    """Return HTML that says what the colours mean."""
    if known.is_category:
        words, scale = palette(known)
        spots = (
            f'<span style="white-space: nowrap; margin-right: 10px"><span style="display: inline-block; width: 12px; '
            f'height: 12px; background: {colour}; margin-right: 4px"></span>{html.escape(word)}</span>'
            for word, colour in zip(words, scale, strict=True)
        )
        return f'<div style="max-height: 54px; overflow: auto; padding-top: 18px">{" ".join(spots)}</div>'
    assert known.limits is not None, f"'{known.name}' has no colours"
    low, high = (f"{limit:,g} {known.unit}" for limit in known.limits)
    ramp = ", ".join(RAMP)
    grey = (
        f'<span style="margin-left: 12px; color: white; background: {BACKGROUND["unknown"]}">&nbsp;unknown&nbsp;</span>'
    )
    unknown = grey if known.values.dtype.kind == "f" and np.isnan(known.values).any() else ""
    return (
        f'<div style="padding-top: 18px; white-space: nowrap">{low} <span style="display: inline-block; width: 160px; '
        f'height: 12px; margin: 0 4px; background: linear-gradient(to right, {ramp})"></span>{high}{unknown}</div>'
    )


def _ramp(at: float) -> str:
    """Return the colour at 0...1 of the ramp, by linear interpolation, as the legend's gradient does."""
    place = at * (len(RAMP) - 1)
    k = min(int(place), len(RAMP) - 2)
    pair = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in RAMP[k : k + 2]]
    return "#" + "".join(f"{round(a + (b - a) * (place - k)):02x}" for a, b in zip(*pair, strict=True))
