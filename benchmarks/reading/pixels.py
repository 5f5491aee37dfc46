"""Chips that compress as satellite images do: multilooked speckle in dB, and reflectance of fields and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SEED = 20
FILL = -32768
SCALES = {"power": 0.01, "reflectance": 0.0001}
"""Of the codes: dB, and reflectance."""
LOOKS = 4.4
"""Of a Sentinel-1 GRD product."""


@dataclass(frozen=True, slots=True)
class Case:
    """Chips of one kind, all int16."""

    name: str
    kind: Literal["power", "reflectance"]
    bands: int
    size: int
    chips: int

    @property
    def raw_bytes(self) -> int:
        """Bytes of one chip's codes."""
        return 2 * self.bands * self.size**2


CASES = (
    Case("speckle 2 x 448 x 448", "power", 2, 448, 96),
    Case("speckle 12 x 128 x 128", "power", 12, 128, 192),
    Case("optical 12 x 128 x 128", "reflectance", 12, 128, 192),
)


def chips(case: Case, *, distinct: int = 32, seed: int = SEED) -> NDArray[np.int16]:
    """Return (chip, band, y, x) codes; one chip in eight has a corner without data.

    ``distinct`` chips are drawn; the others are these, turned and moved, as no codec looks beyond a chip.
    """
    rng = np.random.default_rng(seed)
    drawn = [_chip(case, rng) for _ in range(min(distinct, case.chips))]
    made = np.empty((case.chips, case.bands, case.size, case.size), np.int16)
    for i in range(case.chips):
        turn = i // len(drawn)
        made[i] = np.roll(np.rot90(drawn[i % len(drawn)], turn % 4, axes=(1, 2)), 37 * turn, axis=2)
        if i % 8 == 0:
            made[i][:, np.add.outer(np.arange(case.size), np.arange(case.size)) < case.size // 2] = FILL
    return made


def _chip(case: Case, rng: np.random.Generator) -> NDArray[np.int16]:
    ground, texture = _field(rng, case.size, 1.8), _field(rng, case.size, 1.3)
    cover = np.digitize(ground, np.quantile(ground, [0.1, 0.3, 0.5, 0.7, 0.9]))
    bands = [_band(case, band, cover, texture, rng) for band in range(case.bands)]
    return np.stack(bands).astype(np.int16)


def _band(case: Case, band: int, cover: NDArray[Any], texture: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    if case.kind == "reflectance":
        clean = 800 + 250 * (band % 6) + 120 * cover + 200 * texture
        return np.clip(np.rint(clean + rng.normal(0, 18, cover.shape)), 1, 10_000)
    speckle = rng.gamma(LOOKS, 1 / LOOKS, cover.shape)
    # Terrain correction resamples, so that speckle of neighbouring pixels is alike.
    speckle = 0.6 * speckle + 0.25 * np.roll(speckle, 1, 0) + 0.15 * np.roll(speckle, 1, 1)
    decibels = -10 - 6 * (band % 2) + 1.2 * texture + 0.9 * (cover - 3) + 10 * np.log10(speckle)
    return np.rint(100 * decibels)


def _field(rng: np.random.Generator, size: int, power: float) -> NDArray[Any]:
    """Return a random field whose spectrum falls as 1 / f**power, mean 0, deviation 1."""
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1
    made = np.fft.irfft2(spectrum / frequency**power, (size, size))
    return (made - made.mean()) / made.std()
