"""A build made in parts: which units each part owns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.plan import Plan, Unit


@dataclass(frozen=True, slots=True)
class Part:
    """The ``number``-th of ``of`` parts, counted from 1."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ConfigError(
                f"there is no part {self.number} of {self.of}", hint=f"parts are 1/{self.of} ... {self.of}/{self.of}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the part written as ``3/8``.

        Raises:
            ConfigError: not of that form, or no such part.
        """
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if found is None:
            raise ConfigError(f"'{text}' is not a part", hint="write the third of eight parts as --part 3/8")
        number, of = int(found[1]), int(found[2])
        if of < 1:
            raise ConfigError("a build cannot be made in 0 parts", hint="write the third of eight parts as --part 3/8")
        return cls(number, of)

    @property
    def name(self) -> str:
        """Of its lock: ``3-of-8``."""
        return f"{self.number}-of-{self.of}"

    @property
    def writer(self) -> str:
        """Of its ledger segments and its log: ``part-3-of-8``."""
        return f"part-{self.name}"


def share(plan: Plan, layers: frozenset[str], part: Part | None) -> Iterator[Unit]:
    """Yield the units of some layers that a part owns; all of them if ``part`` is None.

    A part owns a run of neighbouring units of each layer, because neighbours share the source's blocks. The run's
    place turns from layer to layer, so that layers of few units do not all fall to the first part.
    """
    for turn, layer in enumerate(plan.layers):
        if layer.layer.name not in layers:
            continue
        units = list(layer.units(len(plan.cells)))
        for position, unit in enumerate(units):
            if part is None or (position * part.of // len(units) + turn) % part.of == part.number - 1:
                yield unit
