"""What each scene counts for in the composite at one pixel, and why: the rules of ``ops.composite``, told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from m3leo_prep.core.layer import Statistic


@dataclass(frozen=True, slots=True)
class Vote:
    """What one raster brings to a pixel."""

    group: int
    """Of its acquisition."""
    items: tuple[str, ...]
    state: str
    """``valid``, ``masked`` or ``not observed``."""
    shown: bool
    """It covered the pixel when it was laid."""
    value: Any


Share = tuple[float, str]
"""Weight, and why; no reason where the scene has nothing there."""


def blend(votes: Sequence[Vote], statistic: Statistic) -> tuple[float | None, list[Share]]:
    """Return the composite's value (None = missing) and each vote's share, in the order in which they were laid."""
    is_mosaic = statistic in {"first", "last"}
    shown: dict[int, int] = {}
    for place, vote in enumerate(votes):
        if vote.state == "valid" and vote.shown:
            shown[0 if is_mosaic else vote.group] = place  # what is laid later and shows has replaced it
    looks = list(shown.values())
    value, weights, why = _combine([votes[place].value for place in looks], statistic)
    if statistic == "count" and any(vote.state != "not observed" for vote in votes):
        value = float(len(looks))  # none is a count, where somebody looked
    shares: list[Share] = []
    for vote in votes:
        top = shown.get(0 if is_mosaic else vote.group)
        if vote.state != "valid" or top is None:
            shares.append((0.0, ""))
        elif votes[top] is vote:
            k = looks.index(top)
            shares.append((weights[k], why[k]))
        elif vote.shown:
            shares.append((0.0, f"replaced by {_names(votes[top])}, which is in the chip's own zone"))
        else:
            shares.append((0.0, f"already covered by {_names(votes[top])}"))
    return value, shares


def _names(vote: Vote) -> str:
    return ", ".join(vote.items)


def _combine(values: list[Any], statistic: Statistic) -> tuple[float | None, list[float], list[str]]:
    """Return the value, the weights and the reasons of looks that all have a value."""
    n = len(values)
    if n == 0:
        return None, [], []
    numbers = np.array(values)
    if n == 1 and statistic not in {"first", "last", "count"}:
        return float(numbers[0]), [1.0], ["the only one with a value here"]
    match statistic:
        case "first" | "last":
            return values[0], [1.0], [f"shown: the {statistic} that has this pixel"]
        case "mean":
            return float(numbers.astype(np.float64).mean()), [1 / n] * n, [f"one of {n} in the mean"] * n
        case "count":
            return float(n), [1.0] * n, ["counted"] * n
        case "median":
            order = np.argsort(numbers, kind="stable").tolist()
            middle = {order[(n - 1) // 2], order[n // 2]}
            value = float(numbers[list(middle)].astype(np.float64).mean())
            weights = [1 / len(middle) if k in middle else 0.0 for k in range(n)]
            ranks = [f"value {order.index(k) + 1} of {n} in order of size" for k in range(n)]
            place = "the middle" if len(middle) == 1 else "one of the two in the middle"
            told = [f"{rank}: {place}" if k in middle else rank for k, rank in enumerate(ranks)]
            return value, weights, told
        case "min" | "max":
            best = int(numbers.argmin() if statistic == "min" else numbers.argmax())
            name = "smallest" if statistic == "min" else "largest"
            reasons = [f"the {name}" if k == best else f"not the {name}" for k in range(n)]
            return values[best], [float(k == best) for k in range(n)], reasons
