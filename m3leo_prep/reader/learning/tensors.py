"""PyTorch, which not every install has, and memory for tensors that leaves a worker without a copy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

from m3leo_prep.core.encoding import CLASS_FILL
from m3leo_prep.core.errors import MissingDependency

try:
    import torch
    from torch.utils.data import Dataset as TorchDataset
    from torch.utils.data import default_collate, get_worker_info
except ImportError as error:
    raise MissingDependency("ChipDataset needs PyTorch", hint="pip install 'm3leo-prep[torch]'") from error

__all__ = ["IGNORE_INDEX", "Sample", "TorchDataset", "buffer", "default_collate", "empty", "is_buffer", "torch"]

IGNORE_INDEX = CLASS_FILL
"""What class tensors hold where there is no class; the ``ignore_index`` to give to a loss."""
Sample = dict[str, Any]
_BUFFERS: WeakValueDictionary[int, torch.Tensor] = WeakValueDictionary()


def buffer(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Return an uninitialised tensor for the samples of one batch, each a view of it; see ``empty``."""
    made = empty(shape, dtype)
    _BUFFERS[id(made)] = made
    return made


def is_buffer(tensor: torch.Tensor | None) -> bool:
    """Return whether a tensor was made by ``buffer``, so that nobody else holds it: no table of a transform is."""
    return tensor is not None and _BUFFERS.get(id(tensor)) is tensor


def empty(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Return an uninitialised tensor; in a worker of a ``DataLoader``, one that the main process sees too.

    A tensor in ordinary memory would be copied into shared memory when the worker hands it over. Storage comes as in
    ``torch.utils.data._utils.collate.collate_tensor_fn``.
    """
    if get_worker_info() is None:
        return torch.empty(tuple(shape), dtype=dtype)
    made = torch.empty(0, dtype=dtype)
    n_bytes = math.prod(shape) * made.element_size()
    new_shared: Any = torch.UntypedStorage._new_shared  # noqa: SLF001  see above
    return made.set_(new_shared(n_bytes, device="cpu"), 0, tuple(shape), _strides(shape))


def _strides(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
