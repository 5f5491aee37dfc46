"""Samples together as a batch, without a copy where they already lie together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.reader.learning.tensors import IGNORE_INDEX, Sample, default_collate, empty, is_buffer, torch

_NO_MODALITY = ("_mask", "_present")
"""Ends of keys that go with another key."""


def collate(samples: Sequence[Sample]) -> Sample:
    """Return a batch of samples: tensors with one axis more, strings as lists, numbers as tensors.

    Give it to a loader: ``DataLoader(chips, batch_size=16, collate_fn=mp.collate)``. Samples of ``ChipDataset`` are
    views of one buffer per key; where a transform left them so, the batch is that buffer, and nothing is copied.

    What only some samples have, such as a layer that one of several datasets lacks, is filled in the others: 0, classes
    ``IGNORE_INDEX``, masks False, strings empty. ``<key>_present`` then is bool (sample,), True where it was there.

    Args:
        samples: dictionaries; not none.

    Raises:
        ConfigError: tensors of one key differ in shape.
    """
    batch: Sample = {}
    for key in dict.fromkeys(key for sample in samples for key in sample):
        values = [sample.get(key) for sample in samples]
        present = [key in sample for sample in samples]
        if not all(present):
            example = values[present.index(True)]
            values = [value if here else _absent(example) for value, here in zip(values, present, strict=True)]
            if isinstance(example, torch.Tensor) and not key.endswith(_NO_MODALITY):
                batch.setdefault(f"{key}_present", torch.tensor(present))
        batch[key] = _together(key, values)
    return batch


def _absent(example: Any) -> Any:
    """Return what stands for a value that a sample lacks."""
    if isinstance(example, torch.Tensor):
        return torch.full_like(example, IGNORE_INDEX if example.dtype == torch.int64 else 0)
    return type(example)()


def _together(key: str, values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, str):
        return values
    if not isinstance(first, torch.Tensor):
        return default_collate(values)
    shapes = sorted({tuple(value.shape) for value in values})
    if len(shapes) > 1:
        raise ConfigError(
            f"samples of '{key}' differ in shape: {' and '.join(map(str, shapes[:3]))}",
            hint="a transform must give every sample the same shape, or the loader another collate_fn",
        )
    if _is_run(values):
        return first.as_strided((len(values), *first.shape), (first.numel(), *first.stride()))
    plain = first.device.type == "cpu" and len({value.dtype for value in values}) == 1
    return torch.stack(values, out=empty((len(values), *first.shape), first.dtype) if plain else None)


def _is_run(values: list[Any]) -> bool:
    """Return True where the tensors are consecutive views of one buffer of ``ChipDataset``."""
    first, of = values[0], values[0]._base  # noqa: SLF001  it has no other name
    if not is_buffer(of):
        return False
    step, start = first.numel() * first.element_size(), first.data_ptr()
    return all(
        value._base is of  # noqa: SLF001  as above
        and value.data_ptr() == start + place * step
        and value.dtype == first.dtype
        and value.is_contiguous()
        for place, value in enumerate(values)
    )
