"""Does a split keep what its policy promises?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.splits.policy import Split, SplitPolicy
from m3leo_prep.pipeline.leakage.gaps import Gap, nearest, overlaps
from m3leo_prep.pipeline.leakage.ground import Ground

PAIRS = ((Split.TRAIN, Split.TEST), (Split.TRAIN, Split.VAL), (Split.VAL, Split.TEST))
TOLERANCE_M = 1.0
"""Edges of chips bend by as much between the corners that are measured."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a policy's buffer says of the distance between chips, and what was found."""

    metres: float
    """Buffer - half a chip diagonal: the buffer reaches to the other split's block, and a chip over its block's edge by
    half a diagonal (D61); by a whole one where chips belong to regions by overlap. 0 without a buffer."""
    measured: float | None
    """The least distance between chips of two splits; None where only one split has chips."""
    kept: bool
    """Whether chips are as far apart, to a metre, and none of different splits share ground."""


BY_OVERLAP = frozenset({"admin", "region"})
"""Policies under which a chip belongs to the region that covers most of it, and not to that of its centre."""


def promise(policy: SplitPolicy, ground: Ground, gaps: Mapping[str, Gap | None], n_overlaps: int) -> Promise:
    """Return what the policy promises and whether it is so.

    Args:
        policy: with its buffer.
        ground: of the chips.
        gaps: between splits.
        n_overlaps: pairs of chips of different splits on the same ground.
    """
    half = float(ground.radius.max()) if len(ground.radius) else 0.0
    # A chip of a block has its centre in it; one of a region may have no more than a corner there.
    beyond = 2 * half if policy.policy in BY_OVERLAP else half
    metres = max(0.0, policy.buffer_km * 1000 - beyond)
    measured = min((gap.metres for gap in gaps.values() if gap is not None), default=None)
    return Promise(metres, measured, n_overlaps == 0 and (measured is None or measured >= metres - TOLERANCE_M))


def gaps_between(ground: Ground, split: NDArray[np.uint8]) -> dict[str, Gap | None]:
    """Return the least distances between splits, by ``train-test``, ``train-val`` and ``val-test``."""
    return {f"{a.name.lower()}-{b.name.lower()}": nearest(ground, split, a, b) for a, b in PAIRS}


def split_problems(
    polygons: NDArray[np.object_],
    split: NDArray[np.uint8],
    *,
    ids: Sequence[str] | None = None,
    policy: SplitPolicy | None = None,
) -> list[str]:
    """Return what is wrong with a split: chips of different splits on the same ground, or nearer than promised.

    Args:
        polygons: (chip,) lon/lat outlines.
        split: (chip,) ``Split`` codes; chips of the buffer and of none may lie anywhere.
        ids: (chip,) names for messages; by default the rows.
        policy: whose buffer is to be kept; None = only shared ground is looked for.
    """
    ground = Ground.of(polygons)

    def named(row: int) -> str:
        return f"{Split(int(split[row])).name.lower()} chip {ids[row] if ids is not None else f'of row {row}'}"

    found = []
    shared = overlaps(ground, split)
    if len(shared.pairs):
        a, b = shared.pairs[0].tolist()
        pairs = "1 pair" if len(shared.pairs) == 1 else f"{len(shared.pairs):,} pairs"
        size = f"{shared.area_km2:,.0f}" if shared.area_km2 >= 100 else f"{shared.area_km2:.3g}"
        found.append(
            f"{pairs} of chips of different splits share {size} km2 of ground: "
            f"{named(a)} and {named(b)}{' first' if len(shared.pairs) > 1 else ''}"
        )
    if policy is not None:
        gaps = gaps_between(ground, split)
        kept = promise(policy, ground, gaps, 0)
        near = min((gap for gap in gaps.values() if gap is not None), key=lambda gap: gap.metres, default=None)
        if not kept.kept and near is not None:
            found.append(
                f"{named(near.row_a)} lies {near.metres:,.0f} m from {named(near.row_b)}, but a buffer of "
                f"{policy.buffer_km:g} km keeps {kept.metres:,.0f} m between chips"
            )
    return found
