"""Samples of an area: which clusters of chips are drawn, and in which order.

The order is generalized random tessellation stratified (GRTS; Stevens and Olsen 2004, doi:10.1198/016214504000000250).
Clusters are the leaves of a quad tree that is anchored to the grid, the four children of every node are shuffled by a
hash, and a cluster's key is its path read backwards, finest step first. So the clusters below any threshold of the key
are spread like a grid with random offsets: a share of 1/4 takes one cluster of every aligned 2 x 2, a share of 1/16 one
of every 4 x 4. The key depends on place and seed alone, never on the area, so samples are nested.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core import footprint
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells, upper_left
from m3leo_prep.core.text import near
from m3leo_prep.core.zones import is_south, zone_number

BY = ("blocks", "landcover", "admin")
EDGE = 2
"""Cells along a cluster's side."""
DEAR_EDGE = 8
"""The same where a source decodes large blocks for every chip: neighbours then share what was decoded."""
LEVELS = 21
"""Of the quad tree: the finest grid has columns of +-2**20 and fewer rows."""
FIRST_STAGE = 256
"""Clusters that are looked at before the first is chosen by what it holds."""
CANDIDATES = 4
"""Clusters looked at for one that is kept: fewer could not find rare strata, more would read too much."""
NO_STRATUM = -1

_SHUFFLES = np.array(list(itertools.permutations(range(4))), np.uint64)
_LOW = np.uint64(2 ** (2 * LEVELS) - 1)


@dataclass(frozen=True, slots=True)
class Sample:
    """How an area is sampled: whole clusters, in an order that place and seed decide, until there are ``n`` chips."""

    n: int
    by: str = "blocks"
    """``blocks`` spreads over the ground; ``landcover`` and ``admin`` also take as much of each class or unit."""
    seed: int = 0
    edge: int | None = None
    """Cells along a cluster's side; None before it is drawn: the sources decide."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"a sample of {self.n} chips", hint="give a number from 1", where="--sample")
        if self.by not in BY:
            raise ConfigError(f"cannot sample by '{self.by}'", hint=near(self.by, BY), where="--by")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"the seed {self.seed} is no number from 0 to 2^63 - 1", where="--seed")

    def grows(self, old: Sample) -> bool:
        """Return whether this sample holds all chips that another one of the same area does."""
        same_edge = self.edge is None or self.edge == old.edge
        return (self.by, self.seed) == (old.by, old.seed) and same_edge and self.n >= old.n

    def document(self) -> dict[str, Any]:
        """Return the sample as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"--sample {self.n} --by {self.by} --seed {self.seed}"


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Aligned squares of cells of one zone, as arrays; ``col`` and ``row`` count squares."""

    edge: int
    epsg: NDArray[np.int32]
    col: NDArray[np.int64]
    row: NDArray[np.int64]
    member: NDArray[np.int64]
    """(cell,) cluster of each cell."""

    def __len__(self) -> int:
        return len(self.epsg)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(cluster,) cells that are there: all ``edge`` x ``edge`` but at the edge of the area."""
        return np.bincount(self.member, minlength=len(self))

    def centres(self, cell_m: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return longitude (-180...180) and latitude of the squares' centres in degrees; cells are ``cell_m`` wide."""
        side = self.edge * cell_m
        return footprint.centres(side, self.epsg, *upper_left(side, self.epsg, self.col, self.row))

    def names(self) -> list[str]:
        """Return names such as ``32N_E006_0617/2``: zone, column and row of the cluster, cells along its side."""
        return [
            f"{zone_number(epsg):02d}{'S' if is_south(epsg) else 'N'}_"
            f"{'W' if col < 0 else 'E'}{abs(col):03d}_{row:04d}/{self.edge}"
            for epsg, col, row in zip(self.epsg.tolist(), self.col.tolist(), self.row.tolist(), strict=True)
        ]

    def order(self, seed: int) -> NDArray[np.int64]:
        """Return the clusters in the order in which they are drawn."""
        keys = np.empty(len(self), np.uint64)
        for zone in np.unique(self.epsg).tolist():
            here = self.epsg == zone
            keys[here] = grts_key(zone, self.col[here], self.row[here], seed)
        # Within a zone no two keys are equal; across zones the code decides.
        return np.lexsort((self.epsg, keys))


def clusters_of(cells: Cells, edge: int) -> Clusters:
    """Return the clusters that the cells belong to, sorted by zone, column and row."""
    col, row = (axis.astype(np.int64) // edge for axis in (cells.col, cells.row))
    place = (cells.epsg.astype(np.int64) << 42) | ((col + 2**20) << 21) | row
    _, first, member = np.unique(place, return_index=True, return_inverse=True)
    return Clusters(edge, cells.epsg[first], col[first], row[first], member.reshape(-1))


def grts_key(epsg: int, col: NDArray[np.int64], row: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Return the keys of some clusters of one zone, each below 4**LEVELS and all different.

    Args:
        epsg: zone.
        col: columns in clusters, negative west of the central meridian.
        row: rows in clusters.
        seed: of the sample.
    """
    x, y = (col + 2**20).astype(np.uint64), row.astype(np.uint64)
    one = np.uint64(1)
    zone = mix(mix(np.array([seed], np.uint64)) ^ np.uint64(epsg))
    key = np.zeros(len(x), np.uint64)
    for level in range(LEVELS):
        child = ((y & one) << one) | (x & one)
        x, y = x >> one, y >> one
        node = mix(mix(zone ^ np.uint64(level + 1)) ^ ((x << np.uint64(32)) | y))
        digit = _SHUFFLES[node % np.uint64(len(_SHUFFLES)), child]
        key |= digit << np.uint64(2 * (LEVELS - 1 - level))  # the finest step decides first
    # Each zone starts elsewhere in its cycle, so that a small sample does not begin in all zones at once.
    return (key + mix(zone)) & _LOW


def mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a hash of each value: the output function of SplitMix64 (Steele, Lea and Flood 2014)."""
    value = value + np.uint64(0x9E3779B97F4A7C15)  # wraps, as it should
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def equal_strata(
    order: NDArray[np.int64],
    sizes: NDArray[np.int64],
    strata_of: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    *,
    first_stage: int = FIRST_STAGE,
) -> Iterator[int]:
    """Yield clusters so that all strata have as many chips as far as they reach, in an order that no N changes.

    The next cluster is the next one of the stratum that has the fewest chips so far; of several such strata, the one
    whose next cluster comes first, so that a sample too small for all strata is spread too.

    Strata are asked for in stages: the first ``first_stage`` clusters of the order, then a quarter more, and so on.
    Each stage goes on until a quarter of what has a stratum is chosen; when all were looked at, the rest follows.

    Args:
        order: clusters as ``Clusters.order`` gives them.
        sizes: chips of each cluster.
        strata_of: returns the strata of some clusters; those with ``NO_STRATUM`` are never yielded.
        first_stage: clusters of the first stage.
    """
    waiting: dict[int, deque[int]] = {}  # by stratum, places in the order
    chips: dict[int, int] = {}
    seen = known = chosen = 0
    stage = first_stage
    while seen < len(order):
        looked = order[seen:stage]
        for place, stratum in enumerate(strata_of(looked).tolist(), seen):
            if stratum != NO_STRATUM:
                waiting.setdefault(stratum, deque()).append(place)
                known += 1
        seen += len(looked)
        stage += max(1, stage // 4)
        limit = known if seen == len(order) else known // CANDIDATES
        poorest = [(chips.get(stratum, 0), places[0], stratum) for stratum, places in waiting.items() if places]
        heapq.heapify(poorest)
        while poorest and chosen < limit:
            count, place, stratum = heapq.heappop(poorest)
            cluster = int(order[place])
            yield cluster
            chosen += 1
            chips[stratum] = count + int(sizes[cluster])
            waiting[stratum].popleft()
            if waiting[stratum]:
                heapq.heappush(poorest, (chips[stratum], waiting[stratum][0], stratum))


def take(
    clusters: Clusters, order: Iterable[int] | NDArray[np.int64], n: int, known: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Return which cells are drawn: those known, and whole clusters in order until there are at least ``n``.

    Args:
        clusters: of the cells.
        order: clusters; asked for no more of them than needed.
        n: chips to reach. Where the order ends before, fewer are returned.
        known: (cell,) True for cells that an earlier sample holds.
    """
    drawn = np.zeros(len(clusters.member), bool) if known is None else known.copy()
    fresh = np.bincount(clusters.member[~drawn], minlength=len(clusters))
    total = int(drawn.sum())
    chosen = np.zeros(len(clusters), bool)
    following = iter(order)
    while total < n and (cluster := next(following, None)) is not None:
        chosen[cluster] = True
        total += int(fresh[cluster])
    return drawn | chosen[clusters.member]
