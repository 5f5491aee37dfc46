"""Coarse layers on the finest lattice that is read, so that all of a sample has the same pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.reader.learning.tensors import buffer, torch
from m3leo_prep.reader.learning.transforms.info import KeyInfo
from m3leo_prep.reader.selection import Pick

SMOOTH = frozenset({Kind.POWER, Kind.COHERENCE, Kind.REFLECTANCE, Kind.CONTINUOUS})
"""Kinds between whose values one may interpolate as they are stored; phases, directions and codes are repeated."""
METHODS = ("nearest", "bilinear")


def is_smooth(info: KeyInfo) -> bool:
    """Return whether one may interpolate between values of a key: not if they are, or might be, directions."""
    return info.kind in SMOOTH and info.direction == "none"


def factors(picks: Iterable[Mapping[str, Pick]]) -> dict[str, int]:
    """Return by key how many pixels of the finest lattice lie along one pixel of its own.

    Raises:
        ConfigError: not a whole number of them; an amount per pixel, whose sum would not be kept.
    """
    every = {key: pick for of_dataset in picks for key, pick in of_dataset.items()}
    size = max(pick.layer.size for pick in every.values())
    made = {}
    for key, pick in every.items():
        made[key], rest = divmod(size, pick.layer.size)
        if rest:
            sizes = f"{pick.layer.size} pixels do not divide {size}"
            raise ConfigError(f"'{key}' cannot be upsampled: {sizes}", hint="read it with a ChipDataset of its own")
        if made[key] > 1 and pick.array.kind == Kind.AMOUNT:
            raise ConfigError(
                f"'{key}' is an amount per pixel: repeated in smaller pixels, its sum would grow",
                hint="read it with a ChipDataset of its own, without `upsample`",
            )
    return made


def upsample(
    values: torch.Tensor, valid: torch.Tensor, factor: int, *, smooth: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (values, valid) with ``factor`` pixels for each, along both axes.

    A fine pixel is valid where the coarse one around it is. Pixels are repeated, or with ``smooth`` interpolated
    bilinearly between centres of coarse pixels, those at the edge going on outward; missing ones have no weight. Values
    are as they are read: backscatter in dB.

    Args:
        values: (..., y, x), 0 or another finite number where missing.
        valid: bool of the same shape.
        factor: 1 or more.
        smooth: interpolate.
    """
    if factor == 1:
        return values, valid
    if smooth:
        return _bilinear(values, valid, factor), _repeated(valid, factor)
    return _repeated(values, factor), _repeated(valid, factor)


def _repeated(tensor: torch.Tensor, factor: int) -> torch.Tensor:
    *lead, height, width = tensor.shape
    made = buffer((*lead, height * factor, width * factor), tensor.dtype)
    made.view(*lead, height, factor, width, factor).copy_(tensor[..., :, None, :, None])
    return made


def _bilinear(values: torch.Tensor, valid: torch.Tensor, factor: int) -> torch.Tensor:
    *lead, height, width = values.shape
    made = buffer((*lead, height * factor, width * factor), values.dtype)
    weights = valid.to(values.dtype)
    shape = (math.prod(lead), 1, height, width)
    total = _between(weights.reshape(shape), factor)
    sums = _between((values * weights).reshape(shape), factor)
    # Without any weight the pixel is missing: 0, not 0 / 0.
    made.view(sums.shape).copy_(sums / torch.where(total > 0, total, 1))
    return made.mul_(_repeated(valid, factor))


def _between(tensor: torch.Tensor, factor: int) -> torch.Tensor:
    size = (tensor.shape[-2] * factor, tensor.shape[-1] * factor)
    # align_corners=False aligns the areas of pixels: centres lie half a pixel from the edge.
    return torch.nn.functional.interpolate(tensor, size, mode="bilinear", align_corners=False)
