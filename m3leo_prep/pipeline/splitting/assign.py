"""From a policy to the splits of chips."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core import geetiles
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.splits.bands import assign_bands
from m3leo_prep.core.splits.blocks import assign_blocks
from m3leo_prep.core.splits.policy import LEARNED, Assignment, Split, SplitPolicy
from m3leo_prep.core.splits.regions import assign_regions
from m3leo_prep.core.splits.scattered import assign_random
from m3leo_prep.core.splits.seams import yield_overlaps
from m3leo_prep.pipeline.splitting.files import codes_by_id
from m3leo_prep.pipeline.splitting.resolve import Resolved

OF_PLACE = frozenset({"blocks", "bands", "admin", "region", "random"})
"""Policies under which neither the home nor the buffer of a chip depends on which others are there."""
TRIES = (2.0, 4.0, 8.0)
"""Times the present size: blocks that are tried where a buffer leaves no chip of a split."""


def assign(resolved: Resolved, cells: Cells) -> Assignment:
    """Return what a policy gives to some cells; no two of different splits share ground.

    Raises:
        ConfigError: the policy cannot be applied.
    """
    policy, regions = resolved.policy, resolved.regions
    match policy.policy:
        case "blocks":
            return assign_blocks(
                cells,
                block_km=_given(policy.block_km),
                buffer_km=policy.buffer_km,
                shares=policy.shares,
                seed=policy.seed,
                yields=policy.yields,
            )
        case "bands":
            return assign_bands(
                cells,
                band_km=_given(policy.block_km),
                angle_deg=_given(policy.angle),
                buffer_km=policy.buffer_km,
                shares=policy.shares,
                seed=policy.seed,
                yields=policy.yields,
            )
        case "admin" | "region":
            assert regions is not None, "resolved with its regions"
            return assign_regions(
                cells,
                regions.polygons.tolist(),
                [Split(home) for home in regions.homes.tolist()],
                rest=Split.NONE if policy.policy == "admin" else Split.TRAIN,
                buffer_km=policy.buffer_km,
                yields=policy.yields,
            )
        case "random":
            return assign_random(cells, shares=policy.shares, seed=policy.seed, yields=policy.yields)
        case "geetiles":
            assert policy.n_bands is not None, "resolved with its bands"
            boxes = np.array(shapely.box(*shapely.bounds(cells.polygons()).T), object)
            codes, _ = geetiles.split(boxes, n_bands=policy.n_bands, angle=_given(policy.angle), shares=policy.shares)
            made = _alone(codes)
        case _:
            made = _alone(codes_by_id(resolved.listed, cells.ids()))
    return yield_overlaps(cells, made, policy.yields)


def check_filled(resolved: Resolved, cells: Cells, made: Assignment, area: str) -> None:
    """Raise ConfigError if a split that is wanted holds no chip, saying what took them and what would help."""
    policy = resolved.policy
    for split in _wanted(resolved):
        if (made.split == split).any():
            continue
        name = split.name.lower()
        n_home = int((made.home == split).sum())
        if n_home == 0:
            raise ConfigError(
                f"the split {name} is empty: no chip of '{area}' falls to it under the policy {policy.policy}",
                where="splits",
                hint=_WAYS.get(policy.policy, "give a larger area or another policy, or no share to it"),
            )
        raise ConfigError(
            f"the buffer of {policy.buffer_km:g} km takes all {n_home:,} chips of {name} in '{area}'",
            where="splits",
            hint=_way_out(resolved, cells),
        )


_WAYS: Mapping[str, str] = {
    "blocks": "a smaller block_km, a larger area, another seed, or the policy bands",
    "bands": "a smaller block_km, a larger area, or another angle or seed",
    "admin": "give a file of the units of this area alone, or another seed",
    "region": "its areas do not meet this area, or cover all of it",
}


def _wanted(resolved: Resolved) -> list[Split]:
    policy = resolved.policy
    if policy.policy == "file":
        return []
    if policy.policy == "region":
        assert resolved.regions is not None, "resolved with its regions"
        named = {Split(int(home)) for home in resolved.regions.homes}
        return sorted(named | {Split.TRAIN})
    return [split for split in LEARNED if policy.shares.get(split.name.lower(), 0) > 0]


def _way_out(resolved: Resolved, cells: Cells) -> str:
    """Return which size of blocks leaves chips in each split, if one does."""
    policy = resolved.policy
    if policy.block_km is None:
        return f"a smaller buffer_km (0 for none), or {_WAYS.get(policy.policy, 'another policy')}"
    for times in TRIES:
        wider = Resolved(_with_block(policy, times * policy.block_km))
        found = assign(wider, cells).split
        if all((found == split).any() for split in _wanted(wider)):
            return f"block_km: {wider.policy.block_km:g} would work; or a smaller buffer_km"
    return "no larger block_km works in so small an area: a smaller buffer_km, a larger area, or the policy none"


def _with_block(policy: SplitPolicy, block_km: float) -> SplitPolicy:
    return SplitPolicy.of(policy.document() | {"block_km": block_km})


def _alone(codes: NDArray[np.uint8]) -> Assignment:
    """Return splits in which each chip stands for itself."""
    home = np.where(codes == Split.BUFFER, Split.NONE, codes).astype(np.uint8)
    return Assignment(home, codes, np.full(len(codes), -1, np.int64))


def _given(value: float | None) -> float:
    assert value is not None, "resolved"
    return value
