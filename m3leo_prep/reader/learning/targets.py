"""What a whole chip is labelled with: means, proportions of classes, the majority; from pixels, or as stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import CLASS_FILL
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.reader.learning.transforms.base import Sample, Transform, known
from m3leo_prep.reader.learning.transforms.info import KeyInfo, Keys

if TYPE_CHECKING:
    from torch import Tensor

    from m3leo_prep.reader.learning.chips import ChipDataset

What = Literal["mean", "sum", "proportions", "majority"]
_OF_CLASSES = {"proportions", "majority"}
ROUNDING = 1e-6
"""Of the share that must be valid, by which it may fall short, as in the columns of a build."""


class ChipTarget(Transform):
    """Adds what a whole chip holds of a label, from its valid pixels, as the key ``<key>_target``.

    ``mean`` and ``sum`` give one number a band (float32, in physical units also where the label is normalised), NaN
    where less than ``min_valid`` of the pixels is valid; ``proportions`` one share a class (float32, they sum to 1; NaN
    likewise), in the order of ``classes``; ``majority`` the place in ``classes`` of the most frequent (int64; the first
    of equals; 255 where too little is valid, the ``ignore_index``). A time axis stays in front. Pixels of no class of
    ``classes`` do not count as valid. Put it before transforms that hide or cut, if the whole chip is meant.
    """

    def __init__(
        self,
        key: str,
        what: What,
        classes: Mapping[str, int | Sequence[int]] | None = None,
        *,
        min_valid: float = 0.5,
        keep: bool = True,
    ) -> None:
        """Choose what is told.

        Args:
            key: of the label.
            what: ``mean``, ``sum``, ``proportions`` or ``majority``.
            classes: codes by name of a class or group; None = the legend of the layer, in its order.
            min_valid: share of pixels that must be valid; 0.5 in a build's own columns, unless the recipe says else.
            keep: False = the sample loses the pixels of the label.
        """
        self.key, self.what, self.classes, self.min_valid, self.keep = key, what, classes, min_valid, keep
        self.codes: tuple[tuple[int, ...], ...] = ()
        """Codes of each class, known when bound."""

    def bind(self, keys: Keys) -> tuple[Self, Keys]:
        """Return it, knowing the classes.

        Raises:
            ConfigError: the key is not read, or its kind does not have such a target.
        """
        info = known(self.key, keys, "ChipTarget")
        if self.what not in {"mean", "sum", *_OF_CLASSES}:
            raise ConfigError(f"what='{self.what}'", hint="choose from: mean, sum, proportions, majority")
        if info.is_class is not (self.what in _OF_CLASSES):
            hint = "proportions, majority" if info.is_class else "mean, sum"
            raise ConfigError(f"'{self.key}' ({info.kind}) has no {self.what}", hint=f"it has {hint}")
        if not 0 <= self.min_valid <= 1:
            raise ConfigError(f"min_valid must be a share of 0 to 1, not {self.min_valid}")
        made = self._knowing(keys)
        if info.is_class:
            made.codes = tuple(self._classes(info).values())
        return made, keys if self.keep else {name: one for name, one in keys.items() if name != self.key}

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample with the target."""
        info = self.keys[self.key]
        values, mask = sample[self.key], sample[f"{self.key}_mask"]
        made = dict(sample)
        if not info.is_class:
            made[f"{self.key}_target"] = _number(values, mask, info, self.what, self.min_valid)
        else:
            shares = proportions(values, mask, self.codes, self.min_valid)
            made[f"{self.key}_target"] = shares if self.what == "proportions" else _majority(shares)
        if not self.keep:
            del made[self.key], made[f"{self.key}_mask"]
        return made

    def _classes(self, info: KeyInfo) -> dict[str, tuple[int, ...]]:
        if self.classes is not None:
            given = {name: (one,) if isinstance(one, int) else tuple(one) for name, one in self.classes.items()}
            listed = [code for codes in given.values() for code in codes]
            if not listed or len(set(listed)) < len(listed):
                raise ConfigError(f"classes of '{self.key}' need codes, each in one class", hint="{'forest': [23, 24]}")
            return given
        if not info.legend:
            hint = "classes={'water': 80, 'forest': [23, 24]}"
            raise ConfigError(f"'{self.key}' has no legend, so its classes must be named", hint=hint)
        return {name: (code,) for code, name in info.legend}


def proportions(values: Tensor, mask: Tensor, classes: Sequence[Sequence[int]], min_valid: float) -> Tensor:
    """Return (..., class) the share of each class among the valid pixels of these classes, of (..., band, y, x).

    The band axis must have length 1 and goes away. NaN where less than ``min_valid`` of all pixels is valid, or none.

    Raises:
        ConfigError: there are several bands.
    """
    import torch

    if values.shape[-3] != 1:
        raise ConfigError(f"proportions are of one band, not of {values.shape[-3]}", hint="choose one with `bands=`")
    counts = torch.stack(
        [(torch.isin(values, torch.tensor(list(codes))) & mask).sum(dim=(-3, -2, -1)) for codes in classes], dim=-1
    )
    valid = counts.sum(dim=-1, keepdim=True)
    enough = (valid > 0) & (valid >= min_valid * (1 - ROUNDING) * values.shape[-1] * values.shape[-2])
    # float64 first, as the columns of a build: float32 would round twice.
    return (counts.double() / valid).float().masked_fill(~enough, torch.nan)


def stored_shares(chips: ChipDataset, layer: str) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Return the classes and (sample, class) proportions of a label, as ``chips.parquet`` has them; NaN where none.

    Raises:
        ConfigError: a dataset has no such proportions, or datasets have other classes.
    """
    classes: tuple[str, ...] | None = None
    found: list[NDArray[np.float32]] = []
    for dataset, rows in chips.parts:
        told = (dataset.manifest.get("proportions") or {}).get("columns", {})
        known_layers = {name: about for name, about in told.items() if about["what"] == "prop"}
        if layer not in known_layers:
            hint = near(layer, known_layers) or "give the recipe a label layer whose classes have names"
            raise ConfigError(f"there are no proportions of '{layer}'", where=dataset.url, hint=hint)
        own = tuple(known_layers[layer]["classes"])
        if classes is not None and own != classes:
            message = f"its classes are {', '.join(own)}, those of the first dataset {', '.join(classes)}"
            raise ConfigError(message, where=dataset.url, hint="group both in the same way in their recipes")
        classes = own
        names = [f"prop_{layer}_{name}" for name in own]
        table = dataset.table("chips.parquet", names)
        columns = [np.asarray(table[name].to_numpy(zero_copy_only=False), np.float32)[rows] for name in names]
        found.append(np.stack(columns, axis=1))
    assert classes is not None
    return classes, np.concatenate(found)


def _number(values: Tensor, mask: Tensor, info: KeyInfo, what: str, min_valid: float) -> Any:
    """Return (..., band) the mean or the sum of the valid pixels, in physical units."""
    import torch

    physical = values.double()
    if info.mean is not None and info.std is not None:
        physical = physical * torch.from_numpy(info.std) + torch.from_numpy(info.mean)
    n = mask.sum(dim=(-2, -1))
    total = physical.masked_fill(~mask, 0).sum(dim=(-2, -1))
    enough = (n > 0) & (n >= min_valid * (1 - ROUNDING) * values.shape[-1] * values.shape[-2])
    return (total if what == "sum" else total / n).float().masked_fill(~enough, torch.nan)


def _majority(shares: Tensor) -> Any:
    """Return the place of the largest share, the first of equals; 255 where shares are NaN."""
    none = shares.isnan().any(dim=-1)
    return shares.nan_to_num(0).argmax(dim=-1).masked_fill(none, CLASS_FILL)
