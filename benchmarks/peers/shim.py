"""Two operators without which torchvision of PyPI does not import on PyTorch without CUDA."""

from __future__ import annotations

import torch

_kept = []


def operators_of_torchvision() -> None:
    """Define them; nobody here calls them."""
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)  # they live as long as their library
