"""Which chips a report shows: a handful, each for a reason that it tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.pipeline.report.labels import LabelFigures

if TYPE_CHECKING:
    import pandas as pd

MOST = 7
SEED = 0
"""Of the draw among chips that fit a reason equally well, so that the same dataset gives the same page."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A chip that is shown."""

    row: int
    chip_id: str
    why: str
    lon: float
    lat: float
    valid: float
    """Percent, mean of all layers."""
    split: str


def picks(chips: pd.DataFrame, labels: tuple[LabelFigures, ...]) -> tuple[Pick, ...]:
    """Return the chips to show: at the ends and the middle of what is valid, one of each split, one of each main class.

    Args:
        chips: the table of chips.
        labels: what is known of their labels.
    """
    columns = [name for name in chips.columns if name.startswith("valid_")]
    valid: NDArray[np.float64] = chips[columns].to_numpy(np.float64).mean(axis=1)
    lots = np.random.default_rng(SEED).permutation(len(chips))
    made: dict[int, Pick] = {}
    for row, why in _wanted(chips, valid, labels, lots):
        if row in made or len(made) == MOST:
            continue
        place = chips.iloc[row]
        split = place["split"]
        named = split if isinstance(split, str) else ""
        made[row] = Pick(
            row, str(place["chip_id"]), why, float(place["lon"]), float(place["lat"]), float(valid[row]), named
        )
    return tuple(made.values())


def _wanted(
    chips: pd.DataFrame, valid: NDArray[np.float64], labels: tuple[LabelFigures, ...], lots: NDArray[np.int64]
) -> Iterator[tuple[int, str]]:
    """Yield (row, why) in order of interest; ``lots`` decides between equals."""
    score = valid[lots]
    if score.max() > score.min():
        yield int(lots[score.argmax()]), "most complete"
        yield int(lots[score.argmin()]), "least complete"
    yield int(lots[np.abs(score - np.median(score)).argmin()]), "typical completeness"
    for label in labels[:1]:
        for one in sorted(label.classes, key=lambda found: -found.majority)[:4]:
            if one.majority:
                share = np.nan_to_num(chips[one.column].to_numpy(np.float64)[lots], nan=-1.0)
                yield int(lots[share.argmax()]), f"most {one.name}"
    splits = chips["split"].to_numpy(object)[lots]
    for name in ("train", "val", "test"):
        found = np.flatnonzero(splits == name)
        if found.size:
            yield int(lots[found[0]]), f"drawn by lot from {name}"
    for row in lots.tolist():
        yield int(row), "drawn by lot"
