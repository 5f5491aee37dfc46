"""What says that a pixel is cloud or its shadow, and how far around it pixels are discarded too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import LegendClass
from m3leo_prep.core.text import near
from m3leo_prep.sources._sentinel2.bands import Level

Rule = Literal["none", "scl", "probability"]
RULES: dict[Level, tuple[Rule, ...]] = {"2A": ("scl", "probability", "none"), "1C": ("none",)}
"""By level; its own rule first."""
UNSEEN = 0
"""Class of the scene classification: no data."""
DISCARDED = (3, 8, 9, 10)
"""Classes that are discarded by default: shadow, cloud (medium, high), cirrus; as in ``gee``."""
PROBABILITY = 50.0
"""Percent; a pixel with more is discarded by default: it is more likely a cloud than not."""
FARTHEST = 5000.0
"""Metres of ``dilate:``."""
LEGEND = (
    LegendClass(1, "saturated_or_defective", "#ff0000"),
    LegendClass(2, "dark_area", "#2f2f2f"),
    LegendClass(3, "cloud_shadow", "#643200"),
    LegendClass(4, "vegetation", "#00a000"),
    LegendClass(5, "not_vegetated", "#ffe65a"),
    LegendClass(6, "water", "#0000ff"),
    LegendClass(7, "unclassified", "#808080"),
    LegendClass(8, "cloud_medium_probability", "#c0c0c0"),
    LegendClass(9, "cloud_high_probability", "#ffffff"),
    LegendClass(10, "thin_cirrus", "#64c8ff"),
    LegendClass(11, "snow_or_ice", "#ff96ff"),
)
"""Of the scene classification (https://custom-scripts.sentinel-hub.com/custom-scripts/sentinel-2/scene-classification/)."""
_CODES = tuple(entry.code for entry in LEGEND)


@dataclass(frozen=True, slots=True)
class Clouds:
    """A cloud rule with all that belongs to it."""

    rule: Rule = "none"
    classes: tuple[int, ...] = ()
    max_probability: float = PROBABILITY
    dilate: float = 0.0
    """Metres around a discarded pixel in which all others are discarded."""
    max_cloud: float | None = None

    @property
    def words(self) -> str:
        """Return the rule in words, for the attributes of a variable."""
        match self.rule:
            case "scl":
                said = "SCL classes " + ", ".join(map(str, self.classes)) + " are discarded"
            case "probability":
                said = f"a cloud probability above {self.max_probability:g} % is discarded"
            case _:
                said = "none"
        if self.dilate:
            said += f", and all within {self.dilate:g} m of it"
        return said if self.max_cloud is None else f"{said}; images of at most {self.max_cloud:g} % cloud"

    def discards(self, mask: NDArray[Any]) -> NDArray[np.bool_]:
        """Return True where the mask's own pixels are discarded, before ``dilate``; any shape.

        Args:
            mask: of the rule: classes, or percent.
        """
        return np.isin(mask, self.classes) if self.rule == "scl" else mask > self.max_probability


def choose_clouds(level: Level, rule: Any, classes: Any, max_probability: Any, dilate: Any, max_cloud: Any) -> Clouds:
    """Return the cloud rule of a layer.

    Raises:
        ConfigError: a rule that the level does not have; classes or limits that make no sense, or belong to another
            rule.
    """
    rules = RULES[level]
    chosen = rule or rules[0]
    if chosen not in rules:
        raise ConfigError(f"cloud: Level-{level} has no rule '{chosen}'", hint=near(str(chosen), rules))
    codes: Sequence[Any] = tuple(classes) if isinstance(classes, (list, tuple)) else (classes,)
    if codes and chosen != "scl":
        raise ConfigError(f"cloud_classes: is for `cloud: scl`, not `{chosen}`")
    if not all(type(code) is int and code in _CODES for code in codes):
        raise ConfigError(f"cloud_classes: {classes!r} are not classes of SCL", hint="numbers from 1 to 11")
    if chosen != "probability" and max_probability != PROBABILITY:
        raise ConfigError(f"max_probability: is for `cloud: probability`, not `{chosen}`")
    if chosen == "none" and dilate:
        raise ConfigError("dilate: nothing is discarded by `cloud: none`, so there is nothing to widen")
    _check("max_probability", max_probability, 0, 100, "a percentage")
    _check("dilate", dilate, 0, FARTHEST, f"metres from 0 to {FARTHEST:g}")
    if max_cloud is not None:
        _check("max_cloud", max_cloud, 0, 100, "a percentage")
    return Clouds(
        cast("Rule", chosen),
        tuple(sorted(set(codes or DISCARDED))) if chosen == "scl" else (),
        float(max_probability),
        float(dilate),
        None if max_cloud is None else float(max_cloud),
    )


def widened(discarded: NDArray[np.bool_], pitch: float, metres: float) -> NDArray[np.bool_]:
    """Return True in all pixels whose centre lies within ``metres`` of the centre of a discarded one.

    Exact where the array reaches ``reach(pitch, metres)`` pixels beyond what is asked.

    Args:
        discarded: (y, x).
        pitch: metres of a pixel.
        metres: how far.
    """
    n = reach(pitch, metres)
    if n == 0 or not discarded.any():
        return discarded
    # A disc is a stack of rows: for each row apart, the farthest column that is still within reach.
    rows, cols = discarded.shape
    wide = np.zeros((rows + 2 * n, cols + 2 * n), np.int32)
    wide[n:-n, n:-n] = discarded
    sums = np.pad(wide, ((0, 0), (1, 0))).cumsum(axis=1, dtype=np.int32)
    found = np.zeros_like(discarded)
    for apart in range(-n, n + 1):
        half = math.isqrt(_squared(pitch, metres) - apart * apart)
        own = sums[n + apart : n + apart + rows]
        found |= own[:, n + half + 1 : n + half + 1 + cols] > own[:, n - half : n - half + cols]
    return found


def reach(pitch: float, metres: float) -> int:
    """Return how many pixels ``metres`` reach."""
    return math.isqrt(_squared(pitch, metres))


def _squared(pitch: float, metres: float) -> int:
    """Return the largest square of a distance in pixels that is within reach."""
    return math.floor((metres / pitch) ** 2 + 1e-6)


def _check(key: str, value: Any, low: float, high: float, what: str) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and low <= value <= high):
        raise ConfigError(f"{key}: {value!r} is not {what}")
