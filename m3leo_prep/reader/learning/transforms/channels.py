"""Bands and whole modalities that are chosen, hidden, or dropped at random, so that a model learns to do without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from m3leo_prep.core.encoding import CLASS_FILL
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.reader.learning.transforms.base import Sample, Transform, choices, inputs
from m3leo_prep.reader.learning.transforms.info import KeyInfo, Keys


def hide(sample: Sample, key: str, info: KeyInfo, bands: Sequence[int] | slice) -> None:
    """Make bands of a key missing, in place of the dictionary: 0 (no class: 255), and the mask False."""
    if key not in sample:
        return
    values, mask = sample[key].clone(), sample[f"{key}_mask"].clone()
    values[..., bands, :, :] = CLASS_FILL if info.is_class else 0
    mask[..., bands, :, :] = False
    sample[key], sample[f"{key}_mask"] = values, mask


class SelectChannels(Transform):
    """Keeps bands of some keys, by name, in the order given. ``ChipDataset(bands=...)`` does not even read others."""

    def __init__(self, bands: Mapping[str, Sequence[str]]) -> None:
        self.bands = {name: tuple(some) if not isinstance(some, str) else some for name, some in bands.items()}

    def bind(self, keys: Keys) -> tuple[Self, Keys]:
        """Return it, and the keys with the bands that are left.

        Raises:
            ConfigError: a key or a band is not read.
        """
        after = dict(keys)
        for name, places in choices(self.bands, keys, "SelectChannels").items():
            after[name] = replace(
                keys[name],
                bands=tuple(self.bands[name]),
                mean=_chosen(keys[name].mean, places),
                std=_chosen(keys[name].std, places),
            )
        return self._knowing(keys), after

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample with these bands."""
        made = dict(sample)
        for name, places in choices(self.bands, self.keys, "SelectChannels").items():
            for key in (name, f"{name}_mask"):
                made[key] = sample[key][..., places, :, :]
        return made


class ChannelMask(Transform):
    """Hides bands of some keys, always the same: their shape stays, they are missing. To see what a model needs."""

    def __init__(self, bands: Mapping[str, Sequence[str]]) -> None:
        self.bands = {name: tuple(some) if not isinstance(some, str) else some for name, some in bands.items()}

    def bind(self, keys: Keys) -> tuple[Self, Keys]:
        """Return it.

        Raises:
            ConfigError: a key or a band is not read.
        """
        choices(self.bands, keys, "ChannelMask")
        return self._knowing(keys), keys

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample without these bands."""
        made = dict(sample)
        for name, places in choices(self.bands, self.keys, "ChannelMask").items():
            hide(made, name, self.keys[name], places)
        return made


class ChannelDropout(Transform):
    """Hides each band with probability ``p``, in all its slots; of each key at least one band stays."""

    def __init__(self, p: float, only: Sequence[str] | None = None) -> None:
        """Choose how often.

        Args:
            p: probability of each band.
            only: keys; None = all that are no labels.
        """
        self.p, self.only = p, only

    def bind(self, keys: Keys) -> tuple[Self, Keys]:
        """Return it.

        Raises:
            ConfigError: a key is not read, or ``p`` is no probability.
        """
        _check(self.p)
        inputs(keys, self.only, "ChannelDropout")
        return self._knowing(keys), keys

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample without some bands."""
        made = dict(sample)
        for name in inputs(self.keys, self.only, "ChannelDropout"):
            dropped = _dropped([self.p] * len(self.keys[name].bands))
            if any(dropped):
                hide(made, name, self.keys[name], [k for k, is_dropped in enumerate(dropped) if is_dropped])
        return made


class ModalityDropout(Transform):
    """Hides whole keys with probability ``p``, and says in ``<key>_present`` (bool) which are there.

    A key that holds no valid pixel at all counts as absent from the start. At least one stays of those that are there.
    """

    def __init__(self, p: float | Mapping[str, float], only: Sequence[str] | None = None) -> None:
        """Choose how often.

        Args:
            p: one probability for all, or by key.
            only: keys; None = those of ``p``, or all that are no labels.
        """
        self.p, self.only = p, only

    def bind(self, keys: Keys) -> tuple[Self, Keys]:
        """Return it.

        Raises:
            ConfigError: a key is not read, or ``p`` is no probability.
        """
        for name in self._names(keys):
            _check(self._p(name))
        return self._knowing(keys), keys

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample without some keys' values."""
        made = dict(sample)
        names = self._names(self.keys)
        there = [name for name in names if name in sample and bool(sample[f"{name}_mask"].any())]
        dropped = dict(zip(there, _dropped([self._p(name) for name in there]), strict=True))
        for name in names:
            if dropped.get(name):
                hide(made, name, self.keys[name], slice(None))
            made[f"{name}_present"] = name in there and not dropped[name]
        return made

    def _names(self, keys: Keys) -> list[str]:
        chosen = list(self.p) if self.only is None and isinstance(self.p, Mapping) else self.only
        return inputs(keys, chosen, "ModalityDropout")

    def _p(self, name: str) -> float:
        return self.p.get(name, 0.0) if isinstance(self.p, Mapping) else self.p


def _check(p: float) -> None:
    if not 0 <= p <= 1:
        raise ConfigError(f"{p} is no probability")


def _dropped(p: Sequence[float]) -> list[bool]:
    """Return which are dropped; where all would be, one stays that is drawn among them."""
    import torch

    dropped: list[bool] = (torch.rand(len(p)) < torch.tensor(p)).tolist()
    if dropped and all(dropped):
        dropped[int(torch.randint(len(p), ()))] = False
    return dropped


def _chosen(values: Any, places: Sequence[int]) -> Any:
    """Return means or stds of some bands; one for all stays."""
    return values if values is None or len(values) == 1 else np.ascontiguousarray(values[list(places)])
