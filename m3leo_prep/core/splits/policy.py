"""A split policy with every choice made, and what it assigns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Split(IntEnum):
    """Numbers of the splits in arrays; the names in tables are the lower-case ones, ``NONE`` is null."""

    TRAIN = 0
    VAL = 1
    TEST = 2
    BUFFER = 3
    """Too near to another split: belongs to none."""
    NONE = 255


LEARNED = (Split.TRAIN, Split.VAL, Split.TEST)
"""The splits that a model sees."""
SHARE_TOLERANCE = 1e-6
"""By which shares may miss 1."""


@dataclass(frozen=True, slots=True)
class SplitPolicy:
    """How chips are assigned; frozen in the plan and told in the manifest, so that growth changes nothing."""

    policy: str
    """One of ``core.recipe.POLICIES`` but ``none``."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """By name: train, val, test. Empty where something else decides (``region``, ``file``)."""
    seed: int = 42
    block_km: float | None = None
    """Side of a block, or width of a band, in the plane of EPSG:6933."""
    buffer_km: float = 0.0
    buffer_side: str = "train"
    """The split that yields first."""
    angle: float | None = None
    """Of ``bands``, in degrees counter-clockwise from east, along which they follow each other; of ``geetiles``, in
    radians, as it was published."""
    n_bands: int | None = None
    """Of ``geetiles``."""
    origin: str = ""
    """What the assignment was read from: name and SHA-256 of a file, or the areas of a ``region`` policy."""
    stratify: str = ""
    """Label layer whose majority class stratifies the label budgets; empty = not stratified."""

    def document(self) -> dict[str, Any]:
        """Return the policy as JSON values."""
        return asdict(self) | {"shares": dict(self.shares)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> SplitPolicy:
        """Return the policy that ``document`` tells."""
        return cls(**document)

    @property
    def yields(self) -> tuple[Split, ...]:
        """The splits in the order in which they yield: the first to both others, the last to none."""
        first = Split[self.buffer_side.upper()]
        return (first, *(split for split in LEARNED if split is not first))


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Ground that is given to splits whole: the areas of a ``region`` policy, the units of an ``admin`` one."""

    names: tuple[str, ...]
    homes: NDArray[np.uint8]
    """(region,) ``Split``."""
    polygons: NDArray[np.object_]
    """(region,) shapely polygons in lon/lat."""


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """What a policy gives to chips."""

    home: NDArray[np.uint8]
    """(chip,) ``Split`` of the block, unit or region that the chip belongs to, before anything yields."""
    split: NDArray[np.uint8]
    """(chip,) the same, ``BUFFER`` where the chip yields."""
    group: NDArray[np.int64]
    """(chip,) number of that block, band, unit or region, equal for its chips alone; -1 where there is none."""


def names_of(codes: NDArray[np.uint8]) -> NDArray[np.object_]:
    """Return (chip,) names of splits, None for ``NONE``."""
    table = np.full(256, None, object)
    for split in Split:
        table[split] = None if split is Split.NONE else split.name.lower()
    return np.asarray(table[codes], object)


def codes_of(names: Iterable[str | None]) -> NDArray[np.uint8]:
    """Return the numbers of splits by name (KeyError if there is none), ``NONE`` for None."""
    return np.array([Split.NONE if name is None else Split[name.upper()] for name in names], np.uint8)


def yields_to(yields: tuple[Split, ...], mine: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return True where ``mine`` comes before ``theirs`` among the splits that yield; never for buffer and none."""
    place = np.full(256, -1)
    place[list(yields)] = np.arange(len(yields))
    return np.asarray((place[mine] >= 0) & (place[mine] < place[theirs]))
