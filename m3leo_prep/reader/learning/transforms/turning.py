"""Flips and quarter turns that move everything of a chip together, and turn what it says of directions.

Turning the ground turns the satellites that look at it: backscatter, coherence, phases (a change of range is one
number, and its sign stays) and shadows are as they would be for a sensor that looks from the turned side. What tells
that side must turn with them: bearings and vectors are turned here, those of unknown convention are refused, and so are
orbit directions and tracks among the inputs, which would be untrue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.reader.learning.transforms.base import Sample, Transform, known
from m3leo_prep.reader.learning.transforms.info import DIRECTIONS, Direction, KeyInfo, Keys

if TYPE_CHECKING:
    from torch import Tensor

TURNED = "turned"
"""Key that says how a sample was turned: quarter turns counter-clockwise, and 4 more where it was mirrored before."""
_UNTRUE = re.compile(r"(^|[._])(orbit_direction|relative_orbit|frame|track|heading)([._]|$)")
"""Names of inputs that tell from where a satellite looks."""


def turn(sample: Sample, keys: Keys, quarters: int, *, mirror: bool) -> Sample:
    """Return a sample mirrored left to right where ``mirror``, then turned counter-clockwise by quarters.

    Values, masks and ``owned_mask`` move alike; azimuths (degrees clockwise from north) become ``-a`` when mirrored and
    ``a - 90 quarters``; of vectors the east component changes sign, and both are rotated.

    Raises:
        ConfigError: a key says something of directions whose convention is not known.
    """
    turned = dict(sample)
    quarters %= 4
    for name in _spatial(sample, keys):
        turned[name] = _move(sample[name], quarters, mirror=mirror)
    for name, info in keys.items():
        if name in sample and info.direction != "none":
            values = _directed(name, info, turned[name], quarters, mirror=mirror)
            mask = turned[f"{name}_mask"]
            if info.direction == "vector" and quarters % 2:
                # What was east is north now; one of them may be missing, or hidden.
                east, north = _components(info)
                mask[..., [east, north], :, :] = mask[..., [north, east], :, :]
            turned[name] = values.masked_fill(~mask, 0)
    turned[TURNED] = _combined(int(sample.get(TURNED, 0)), quarters, mirror=mirror)
    return turned


class _Turning(Transform):
    def __init__(self, directions: Mapping[str, Direction] | None) -> None:
        self.directions = dict(directions or {})

    def bind(self, keys: Keys) -> tuple[Self, Keys]:
        """Return it, knowing the keys.

        Raises:
            ConfigError: a key says something of directions whose convention is not known.
        """
        told = dict(keys)
        for name, direction in self.directions.items():
            info = known(name, keys, "directions")
            if direction not in DIRECTIONS:
                raise ConfigError(f"direction '{direction}' of '{name}'", hint=f"choose from: {', '.join(DIRECTIONS)}")
            told[name] = replace(info, direction=direction)
        for name, info in told.items():
            _check(name, info)
        return self._knowing(told), keys

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample, turned at random.

        Raises:
            ConfigError: it holds an input that says from where a satellite looks.
        """
        untrue = next((name for name in sample if name not in self.keys and _UNTRUE.search(name)), None)
        if untrue is not None:
            raise ConfigError(
                f"'{untrue}' would be untrue of a turned chip",
                hint="leave it out of the inputs, or do without flips and rotations",
            )
        quarters, mirror = self.draw()
        return turn(sample, self.keys, quarters, mirror=mirror)

    def draw(self) -> tuple[int, bool]:
        """Return quarter turns, and whether to mirror before, by torch's random numbers: other ones in each worker."""
        raise NotImplementedError


class RandomFlip(_Turning):
    """Mirrors chips left to right and upside down, each with its probability."""

    def __init__(
        self,
        horizontal: float = 0.5,
        vertical: float = 0.5,
        *,
        directions: Mapping[str, Direction] | None = None,
    ) -> None:
        """Choose how often.

        Args:
            horizontal: probability of left to right.
            vertical: of upside down.
            directions: what keys say of directions, where the dataset does not tell: ``azimuth`` (degrees clockwise
                from north), ``vector`` (bands east and north) or ``none``.
        """
        super().__init__(directions)
        self.horizontal, self.vertical = horizontal, vertical

    def draw(self) -> tuple[int, bool]:
        """Return a flip as a mirroring and a half turn: upside down is both."""
        import torch

        across, down = (torch.rand(2) < torch.tensor([self.horizontal, self.vertical])).tolist()
        return 2 * down, across != down


class RandomRotate90(_Turning):
    """Turns chips by 0, 90, 180 or 270 degrees, all alike; ``directions`` as of ``RandomFlip``."""

    def __init__(self, *, directions: Mapping[str, Direction] | None = None) -> None:
        super().__init__(directions)

    def draw(self) -> tuple[int, bool]:
        """Return quarter turns."""
        import torch

        return int(torch.randint(4, ())), False


def _spatial(sample: Sample, keys: Keys) -> list[str]:
    names = [name for key in keys for name in (key, f"{key}_mask") if name in sample]
    return names + ["owned_mask"] * ("owned_mask" in sample)


def _move(values: Tensor, quarters: int, *, mirror: bool) -> Tensor:
    import torch

    return torch.rot90(values.flip(-1) if mirror else values, quarters, (-2, -1)).contiguous()


def _check(name: str, info: KeyInfo) -> None:
    if info.direction == "unknown":
        raise ConfigError(
            f"'{name}' says something of directions, and by which convention is not known: turned, it would be false",
            hint=f"directions={{'{name}': 'azimuth'}} if it is in degrees clockwise from north, 'vector' if its bands "
            "are east and north, 'none' if it does not change with them; or leave it out",
        )
    if info.direction == "vector" and not {"east", "north"} <= {_component(band) for band in info.bands}:
        raise ConfigError(f"'{name}' has no bands east and north: {', '.join(info.bands)}", hint="read both components")


def _component(band: str) -> str:
    return {"e": "east", "n": "north"}.get(word := re.split(r"[^a-z]+", band.lower())[-1], word)


def _components(info: KeyInfo) -> tuple[int, int]:
    """Return the places of the bands east and north."""
    parts = [_component(band) for band in info.bands]
    return parts.index("east"), parts.index("north")


def _directed(name: str, info: KeyInfo, values: Tensor, quarters: int, *, mirror: bool) -> Tensor:
    """Return values of directions for a turned chip; normalised ones are made physical in between."""
    import torch

    _check(name, info)
    mean, std = (
        (torch.from_numpy(np.asarray(info.mean)), torch.from_numpy(np.asarray(info.std)))
        if (info.is_normalized)
        else (0.0, 1.0)
    )
    physical = values * std + mean
    if info.direction == "azimuth":
        physical = torch.remainder((-physical if mirror else physical) - 90.0 * quarters, 360.0)
        # A tiny negative angle is rounded to 360, which is 0.
        physical = physical.masked_fill(physical >= 360.0, 0.0)
    else:
        e, n = _components(info)
        east, north = physical[..., e, :, :], physical[..., n, :, :]
        east = -east if mirror else east
        for _ in range(quarters):
            east, north = -north, east
        physical = physical.clone()
        physical[..., e, :, :], physical[..., n, :, :] = east, north
    return (physical - mean) / std


def _combined(before: int, quarters: int, *, mirror: bool) -> Any:
    """Return one turn after another as a tensor: mirrored, a turn goes the other way."""
    import torch

    mirrored, turns = divmod(before, 4)
    return torch.tensor((mirrored ^ mirror) * 4 + ((-turns if mirror else turns) + quarters) % 4)
