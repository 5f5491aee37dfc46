"""How many chips each split has, and how many the buffer takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.splits.policy import LEARNED, Assignment, Split, SplitPolicy

MUCH = 0.15
"""Loss to the buffer above which a plan warns."""


def counts(codes: NDArray[np.uint8]) -> dict[str, int]:
    """Return the chips of each split by name, those of the buffer and those of none (``none``) included."""
    found = np.bincount(codes, minlength=256)
    return {split.name.lower(): int(found[split]) for split in Split if found[split]}


def buffer_loss(made: Assignment) -> dict[str, float]:
    """Return the share of the chips of each split that the buffer takes; ``all``: of all that have a split."""
    taken = made.split == Split.BUFFER
    loss = {}
    for split in LEARNED:
        home = made.home == split
        if home.any():
            loss[split.name.lower()] = float(taken[home].mean())
    learned = np.isin(made.home, LEARNED)
    return loss | {"all": float(taken[learned].mean()) if learned.any() else 0.0}


def warnings(policy: SplitPolicy, loss: Mapping[str, float]) -> tuple[str, ...]:
    """Return what a person should know before building with a policy."""
    said = []
    if policy.policy == "random":
        said.append(
            "the policy random puts neighbours into different splits: scores on its test split tell little about new "
            "places (policy blocks keeps a distance)"
        )
    if policy.policy == "geetiles":
        said.append(
            "the policy geetiles keeps no distance between splits, and its bands move when the area grows: use it to "
            "compare with published splits"
        )
    if loss.get("all", 0.0) > MUCH:
        way = {
            "blocks": "a larger block_km or a smaller buffer_km",
            "bands": "a larger block_km or a smaller buffer_km",
            "admin": "larger units or a smaller buffer_km",
        }.get(policy.policy, "a smaller buffer_km")
        said.append(f"the buffer takes {100 * loss['all']:.0f} % of the chips: {way} takes less")
    return tuple(said)


def told(policy: SplitPolicy) -> str:
    """Return a policy in words.

    >>> told(SplitPolicy("blocks", block_km=102.4, buffer_km=6.4))
    'blocks of 102.4 km, buffer 6.4 km, seed 42'
    """
    words = policy.policy
    if policy.block_km is not None:
        words += f" of {policy.block_km:.4g} km"
    if policy.n_bands is not None:
        words += f" with {policy.n_bands} bands"
    if policy.angle:
        words += f" at {policy.angle:g} {'rad' if policy.policy == 'geetiles' else 'degrees'}"
    if policy.policy in {"blocks", "bands", "admin", "region"}:
        words += f", buffer {policy.buffer_km:.4g} km" if policy.buffer_km else ", no buffer"
    if policy.policy in {"blocks", "bands", "admin", "random"}:
        words += f", seed {policy.seed}"
    return words
