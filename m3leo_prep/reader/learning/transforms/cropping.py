"""Crops that cut the same ground out of every lattice."""

from __future__ import annotations

from math import gcd
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.reader.learning.transforms.base import Sample, Transform
from m3leo_prep.reader.learning.transforms.info import Keys
from m3leo_prep.reader.learning.transforms.turning import TURNED

CROP = "crop"
"""Key that says what part of a chip a sample is: metres from its left and upper edge, and metres a side."""


def crop(sample: Sample, keys: Keys, left: int, top: int, side: int, parts: int) -> Sample:
    """Return the part of a chip that begins ``left`` and ``top`` and is ``side`` wide, all in chip / ``parts``."""
    cut = dict(sample)
    for name in _spatial(sample, keys):
        pixels = sample[name].shape[-1] // parts
        rows, cols = (slice(k * pixels, (k + side) * pixels) for k in (top, left))
        cut[name] = sample[name][..., rows, cols].contiguous()
    cut[CROP] = _place(sample, keys, left, top, side, parts)
    return cut


class RandomCrop(Transform):
    """Cuts a square out of chips: ``pixels`` a side on the finest lattice, and the same ground on all others.

    It begins where pixels of all lattices begin, and is as wide as a whole number of each: with lattices of 10, 20 and
    80 m in steps of 80 m. It comes before flips and rotations.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels

    def __call__(self, sample: Sample) -> Sample:
        """Return a random part of the chip.

        Raises:
            ConfigError: lattices do not allow that size, or the sample is turned already.
        """
        import torch

        if TURNED in sample:
            raise ConfigError("a crop must come before flips and rotations", hint="Compose([RandomCrop(...), ...])")
        sizes = {sample[name].shape[-1] for name in _spatial(sample, self.keys)}
        parts, finest = gcd(*sizes), max(sizes)
        step = finest // parts
        if not 0 < self.pixels <= finest or self.pixels % step:
            raise ConfigError(
                f"a crop of {self.pixels} pixels would cut through pixels of another lattice, or is no part of a chip",
                hint=f"chips have {', '.join(map(str, sorted(sizes)))} px: a multiple of {step} px up to {finest}",
            )
        side = self.pixels // step
        left, top = torch.randint(parts - side + 1, (2,)).tolist()
        return crop(sample, self.keys, left, top, side, parts)


def _spatial(sample: Sample, keys: Keys) -> list[str]:
    names = [name for key in keys for name in (key, f"{key}_mask") if name in sample]
    return names + ["owned_mask"] * ("owned_mask" in sample)


def _place(sample: Sample, keys: Keys, left: int, top: int, side: int, parts: int) -> Any:
    import torch

    whole = next(iter(keys.values())).metres
    x, y, extent = sample[CROP].tolist() if CROP in sample else (0.0, 0.0, whole)
    unit = extent / parts
    return torch.tensor([x + left * unit, y + top * unit, side * unit], dtype=torch.float64)
