"""Chips under the names that TorchGeo's trainers, models and plots expect. TorchGeo itself is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.reader.learning.tensors import Sample, TorchDataset, torch
from m3leo_prep.reader.learning.transforms.base import Transform, inputs, known
from m3leo_prep.reader.learning.transforms.cropping import CROP
from m3leo_prep.reader.learning.transforms.info import Keys, key_info
from m3leo_prep.reader.learning.upsample import upsample

if TYPE_CHECKING:
    from torch import Tensor

    from m3leo_prep.reader.learning.chips import ChipDataset

_PLACE = ("epsg", "x0", "y0")


class ToTorchGeo(Transform):
    """Gives a sample TorchGeo's keys: ``image`` and ``mask``, beside all that is no pixel.

    ``image`` is float32 (band, y, x), or (time, band, y, x) where a layer has several slots: the bands of ``image``
    one layer after the other, on the finest lattice of them (coarse pixels are repeated), static ones in every slot.
    ``image_mask`` is bool of its shape, True where valid. ``mask`` is what ``mask`` names: classes int64 (y, x), 255
    where there is none (``ignore_index``); quantities float32, NaN where missing; (band, y, x) where there are several.
    """

    def __init__(self, image: Sequence[str] | None = None, mask: str | None = None) -> None:
        """Choose what is stacked.

        Args:
            image: keys; None = all that are no labels.
            mask: key; None = the label, if there is one.
        """
        self.image, self.mask = image, mask

    def bind(self, keys: Keys) -> tuple[Self, Keys]:
        """Return it, with the keys it stacks.

        Raises:
            ConfigError: keys that cannot be stacked, or several labels.
        """
        labels = [name for name, info in keys.items() if info.role == "label"]
        mask = self.mask
        if mask is None and len(labels) > 1:
            raise ConfigError(f"there are several labels: {', '.join(labels)}", hint="say which: mask='...'")
        if mask is None and labels:
            mask = labels[0]
        if mask is not None:
            known(mask, keys, "mask")
        chosen = self.image
        if chosen is None:
            chosen = [name for name in inputs(keys, None, "image") if name != mask]
        names = inputs(keys, chosen, "image")
        classes = [name for name in names if keys[name].is_class]
        if classes:
            raise ConfigError(f"'{classes[0]}' holds classes, which are no band of an image", hint="leave it out")
        made = self._knowing(keys)
        made.image, made.mask = tuple(names), mask
        return made, keys

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample under TorchGeo's names.

        Raises:
            ConfigError: layers differ in slots, or their lattices do not fit into each other.
        """
        names = inputs(self.keys, self.image, "image")
        pixels = {name for key in self.keys for name in (key, f"{key}_mask")}
        made = {name: value for name, value in sample.items() if name not in pixels}
        made["image"], made["image_mask"] = _stacked(sample, names)
        if self.mask is not None:
            values = sample[self.mask]
            if not self.keys[self.mask].is_class:
                values = values.masked_fill(~sample[f"{self.mask}_mask"], torch.nan)
            made["mask"] = values.reshape([n for n in values.shape[:-2] if n > 1] + list(values.shape[-2:]))
        return made


class TorchGeoChips(TorchDataset[Sample]):
    """A ``ChipDataset`` in TorchGeo's terms: besides the keys of ``ToTorchGeo``, where the chip lies.

    ``crs`` is such as ``EPSG:32632``; ``bounds`` float64 (6,): left, right, bottom, top in metres, and the first and
    last second (UTC since 1970) of the slots of the image, NaN where it is static; ``bbox_xyxy`` float64 (4,): left,
    bottom, right, top. They are those of a crop where there is one. ``label`` is the chip's own, if ``label`` names a
    key such as ``landcover_target`` of a ``ChipTarget``.
    """

    def __init__(
        self,
        chips: ChipDataset,
        *,
        image: Sequence[str] | None = None,
        mask: str | None = None,
        label: str | None = None,
    ) -> None:
        """Look at a dataset in another way; its transform comes first.

        Args:
            chips: the samples.
            image: keys whose bands are the image; None = all that are no labels.
            mask: key of the mask; None = the label, if there is one.
            label: key of the sample that becomes ``label``.

        Raises:
            ConfigError: keys that cannot be stacked, or several labels.
        """
        self.chips = chips
        keys: Keys = key_info(chips)
        if isinstance(chips.transform, Transform):
            keys = chips.transform.bind(keys)[1]
        self._view, _ = ToTorchGeo(image, mask).bind(keys)
        self._label = label
        tables = [(dataset.table("chips.parquet", list(_PLACE)), rows) for dataset, rows in chips.parts]
        self._place = np.concatenate([np.stack([t[c].to_numpy()[rows] for c in _PLACE], 1) for t, rows in tables])
        self._starts = np.cumsum([0, *(len(rows) for _, rows in tables)])
        self._seconds = _seconds(chips, self._view.image or ())
        self._metres = max(info.metres for info in keys.values())

    def __len__(self) -> int:
        return len(self.chips)

    def __getitem__(self, index: int) -> Sample:
        """Return one sample."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """Return the samples of a batch."""
        samples = self.chips.__getitems__(indices)
        return [self._one(sample, index % len(self)) for sample, index in zip(samples, indices, strict=True)]

    def _one(self, sample: Sample, place: int) -> Sample:
        made = self._view(sample)
        part = int(np.searchsorted(self._starts, place, side="right")) - 1
        epsg, x0, y0 = self._place[place].tolist()
        left, top, side = made[CROP].tolist() if CROP in made else (0.0, 0.0, self._metres)
        x, y = x0 + left, y0 - top
        made["crs"] = f"EPSG:{epsg}"
        made["bounds"] = torch.tensor([x, x + side, y - side, y, *self._seconds[part]], dtype=torch.float64)
        made["bbox_xyxy"] = torch.tensor([x, y - side, x + side, y], dtype=torch.float64)
        if self._label is not None:
            if self._label not in made:
                hint = "there are: " + ", ".join(made)
                raise ConfigError(f"there is no '{self._label}' to be the label", hint=hint)
            made["label"] = made[self._label]
        return made


def as_torchgeo(
    chips: ChipDataset, *, image: Sequence[str] | None = None, mask: str | None = None, label: str | None = None
) -> TorchGeoChips:
    """Return the dataset under TorchGeo's names; see ``TorchGeoChips``."""
    return TorchGeoChips(chips, image=image, mask=mask, label=label)


def _stacked(sample: Sample, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return (values, valid) of all bands together, each [time,] band, y, x."""
    finest = max(sample[name].shape[-1] for name in names)
    n_slots = {sample[name].shape[0] for name in names if sample[name].ndim > 3}
    if len(n_slots) > 1:
        counts = ", ".join(f"{name}: {sample[name].shape[0]}" for name in names if sample[name].ndim > 3)
        raise ConfigError(f"layers with other numbers of slots do not make one image ({counts})", hint="slots={...}")
    steps = 0 if n_slots <= {1} else n_slots.pop()
    values: list[Tensor] = []
    valid: list[Tensor] = []
    for name in names:
        factor, rest = divmod(finest, sample[name].shape[-1])
        if rest:
            raise ConfigError(f"pixels of '{name}' are no multiple of the finest", hint="image=[...] without it")
        pair = upsample(sample[name], sample[f"{name}_mask"], factor, smooth=False)
        for one, into in zip(pair, (values, valid), strict=True):
            flat = one.squeeze(0) if one.ndim > 3 and not steps else one
            into.append(flat if flat.ndim > 3 or not steps else flat.expand(steps, *flat.shape))
    return torch.cat(values, dim=-3), torch.cat(valid, dim=-3)


def _seconds(chips: ChipDataset, names: Sequence[str]) -> list[tuple[float, float]]:
    """Return when the image begins and ends, by dataset; NaN where no slot of it has a time."""
    found = []
    for picks in chips.picks:
        slots = [picks[name].layer.slots[k] for name in names if name in picks for k in picks[name].slots]
        starts = [slot.start.timestamp() for slot in slots if slot.start is not None]
        ends = [slot.end.timestamp() for slot in slots if slot.end is not None]
        found.append((min(starts, default=float("nan")), max(ends, default=float("nan"))))
    return found
