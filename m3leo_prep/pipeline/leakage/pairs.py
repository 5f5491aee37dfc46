"""Which pairs of many chips can be the near ones: two octrees descended together, a million chips in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

_EDGE = -6.4e6
"""Lower corner of the cube around the Earth, metres."""
_SIDE = 1.28e7


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """The cubes of one level that hold something, in Morton order."""

    cube: NDArray[np.int32]
    """(node, 3) place on the level's lattice."""
    first: Rows
    """(node + 1,) where its children begin in the level below; on the lowest level, its members."""
    sample: Rows
    """(node,) one of its members."""


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """Spheres in nested cubes; levels run from the chips' size up to the whole Earth."""

    centre: Floats
    radius: float
    """Of the largest sphere."""
    order: Rows
    """Members as the lowest level counts them."""
    levels: tuple[Nodes, ...]
    """From the finest to the root."""

    @classmethod
    def of(cls, centre: Floats, radius: float, n_levels: int) -> Tree:
        """Return the tree of spheres (member, 3) in geocentric metres, none larger than ``radius``."""
        fine = ((centre - _EDGE) * (2**n_levels / _SIDE)).astype(np.int32)
        code = np.zeros(len(centre), np.int64)
        for bit in range(n_levels):
            for axis in range(3):
                code |= ((fine[:, axis].astype(np.int64) >> bit) & 1) << (3 * bit + axis)
        order = np.argsort(code, kind="stable")
        below, sample = code[order], order
        levels = []
        for level in range(n_levels + 1):
            codes, first = np.unique(below if level == 0 else below >> 3, return_index=True)
            sample = sample[first]
            levels.append(Nodes(fine[sample] >> level, np.append(first, len(below)), sample))
            below = codes
        return cls(centre, radius, order, tuple(levels))


def levels_for(radius: float) -> int:
    """Return the levels of trees whose finest cubes are about as large as spheres of ``radius`` metres."""
    return min(20, max(1, math.floor(math.log2(_SIDE / (2 * max(radius, 1.0))))))


def candidates(a: Tree, b: Tree, reach: float | None = None) -> tuple[Rows, Rows, Floats]:
    """Return the pairs (i in a, j in b, distance of their centres in metres) that may be near.

    Args:
        a: one side.
        b: the other side, of as many levels.
        reach: all pairs whose spheres come as near as this; None = all that may be the nearest pair of chips, if every
            chip contains its centre.
    """
    top = len(a.levels) - 1
    i, j = np.zeros(1, np.int64), np.zeros(1, np.int64)
    most = math.inf if reach is None else reach
    both = a.radius + b.radius
    for level in range(top, -1, -1):
        nodes_a, nodes_b = a.levels[level], b.levels[level]
        if reach is None:
            apart = _distance(a.centre[nodes_a.sample[i]], b.centre[nodes_b.sample[j]])
            most = min(most, float(apart.min()))
        empty = np.maximum(np.abs(nodes_a.cube[i] - nodes_b.cube[j]) - 1, 0).astype(np.float64)
        near = np.sqrt((empty**2).sum(axis=1)) * (_SIDE / 2 ** (top - level)) <= most + both
        i, j = _children(nodes_a.first, nodes_b.first, i[near], j[near])
    i, j = a.order[i], b.order[j]
    apart = _distance(a.centre[i], b.centre[j])
    if reach is None:
        most = min(most, float(apart.min()))
    near = apart <= most + both
    return i[near], j[near], apart[near]


def _children(first_a: Rows, first_b: Rows, i: Rows, j: Rows) -> tuple[Rows, Rows]:
    """Return every child of node i with every child of node j, pair by pair."""
    n_a, n_b = first_a[i + 1] - first_a[i], first_b[j + 1] - first_b[j]
    each = n_a * n_b
    pair = np.repeat(np.arange(len(i)), each)
    k = np.arange(len(pair)) - np.repeat(np.cumsum(each) - each, each)
    return first_a[i][pair] + k // n_b[pair], first_b[j][pair] + k % n_b[pair]


def _distance(p: Floats, q: Floats) -> Floats:
    return np.asarray(np.linalg.norm(p - q, axis=1))
