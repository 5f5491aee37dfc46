"""What each scene counts for in the composite at one pixel, and why: the rules of ``ops.composite``, told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from m3leo_prep.core.defaults import ONE_ITEM
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


def blend(votes: Sequence[Vote], statistic: Statistic, medoid: int | None = None) -> tuple[float | None, list[Share]]:
    """Return the composite's value (None = missing) and each vote's share, in the order in which they were laid.

    Args:
        votes: of one band.
        statistic: of the layer.
        medoid: the acquisition that the medoid took, by its group; all bands decide that.
    """
    is_mosaic = statistic in ONE_ITEM
    shown: dict[int, int] = {}
    for place, vote in enumerate(votes):
        if vote.state == "valid" and vote.shown:
            shown[0 if is_mosaic else vote.group] = place  # what is laid later and shows has replaced it
    looks = list(shown.values())
    value, weights, why = _combine([votes[place] for place in looks], statistic, medoid)
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


def _nearest(looks: Sequence[Vote], medoid: int | None) -> tuple[float | None, list[float], list[str]]:
    """Return the same for a medoid."""
    chosen = [vote.group == medoid for vote in looks]
    value = next((vote.value for vote, is_it in zip(looks, chosen, strict=True) if is_it), None)
    told = ["nearest to all others in all bands" if is_it else "farther from the others" for is_it in chosen]
    return value, [float(is_it) for is_it in chosen], told


def _combine(
    looks: Sequence[Vote], statistic: Statistic, medoid: int | None
) -> tuple[float | None, list[float], list[str]]:
    """Return the value, the weights and the reasons of looks that all have a value."""
    values = [vote.value for vote in looks]
    n = len(values)
    if n == 0:
        return None, [], []
    numbers = np.array(values)
    if n == 1 and statistic not in {*ONE_ITEM, "count", "medoid"}:
        return float(numbers[0]), [1.0], ["the only one with a value here"]
    match statistic:
        case "first" | "last" | "least_cloudy":
            return values[0], [1.0], [f"shown: the {statistic.replace('_', ' ')} that has this pixel"]
        case "mean":
            return float(numbers.astype(np.float64).mean()), [1 / n] * n, [f"one of {n} in the mean"] * n
        case "count":
            return float(n), [1.0] * n, ["counted"] * n
        case "medoid":
            return _nearest(looks, medoid)
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
