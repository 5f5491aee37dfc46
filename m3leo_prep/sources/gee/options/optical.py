"""Options of Sentinel-2: what says that a pixel is cloud."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.sources.gee.choice import Row

Rule = Literal["none", "scl", "qa60", "cloud_score"]
SCL = (3, 8, 9, 10)
"""Classes of the scene classification that are discarded by default: shadow, cloud (medium, high), cirrus."""
CLEAR_FROM = 0.6
"""Least score of a clear pixel by default, from the middle of the range that its makers recommend
(https://developers.google.com/earth-engine/datasets/catalog/GOOGLE_CLOUD_SCORE_PLUS_V1_S2_HARMONIZED)."""
_SCL_CODES = range(1, 12)
"""Classes of the scene classification but 0, which is no data anyway."""


@dataclass(frozen=True, slots=True)
class Clouds:
    """A cloud rule with all that belongs to it."""

    rule: Rule = "none"
    classes: tuple[int, ...] = ()
    clear_from: float = CLEAR_FROM
    max_cloud: float | None = None

    @property
    def words(self) -> str:
        """Return the rule in words, for the attributes of a variable."""
        match self.rule:
            case "scl":
                said = "SCL classes " + ", ".join(map(str, self.classes)) + " are discarded"
            case "qa60":
                said = "QA60 bits 10 (cloud) and 11 (cirrus) must be 0"
            case "cloud_score":
                said = f"Cloud Score+ cs_cdf must be {self.clear_from:g} or more"
            case _:
                said = "none"
        return said if self.max_cloud is None else f"{said}; images of at most {self.max_cloud:g} % cloud"


def clouds(row: Row, rule: str, classes: Sequence[int], clear_from: Any, max_cloud: Any) -> Clouds:
    """Return the cloud rule of a layer.

    Raises:
        ConfigError: a rule that the product does not have; classes or limits that make no sense, or belong to another
            rule.
    """
    chosen = rule or row.clouds[0]
    if chosen not in row.clouds:
        raise ConfigError(f"cloud: {row.name} has no rule '{chosen}'", hint=near(str(chosen), row.clouds))
    codes = tuple(classes) if isinstance(classes, (list, tuple)) else (classes,)
    if codes and chosen != "scl":
        raise ConfigError(f"cloud_classes: is for `cloud: scl`, not `{chosen}`")
    if not all(type(code) is int and code in _SCL_CODES for code in codes):
        raise ConfigError(f"cloud_classes: {classes!r} are not classes of SCL", hint="numbers from 1 to 11")
    if chosen != "cloud_score" and clear_from != CLEAR_FROM:
        raise ConfigError(f"clear_from: is for `cloud: cloud_score`, not `{chosen}`")
    if not _is_between(clear_from, 0, 1):
        raise ConfigError(f"clear_from: {clear_from!r} is not between 0 and 1")
    if max_cloud is not None and not _is_between(max_cloud, 0, 100):
        raise ConfigError(f"max_cloud: {max_cloud!r} is not a percentage")
    return Clouds(
        cast("Rule", chosen),
        tuple(sorted(set(codes or SCL))) if chosen == "scl" else (),
        float(clear_from),
        None if max_cloud is None else float(max_cloud),
    )


def _is_between(value: Any, low: float, high: float) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and low <= value <= high
