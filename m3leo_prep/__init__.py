"""m3leo-prep: satellite archives in, verified machine-learning chip datasets out.

>>> import m3leo_prep as mp
>>> plan = mp.plan(aoi="demo", recipe="demo")   # doctest: +SKIP
>>> dataset = mp.build(plan, out="demo")        # doctest: +SKIP

Names are loaded when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m3leo_prep.api import build, plan
    from m3leo_prep.core.area import Area
    from m3leo_prep.core.recipe import Recipe
    from m3leo_prep.core.sample import Sample
    from m3leo_prep.pipeline.verify import verify
    from m3leo_prep.reader.copies.pulling import pull
    from m3leo_prep.reader.dataset import Dataset
    from m3leo_prep.reader.learning.chips import ChipDataset
    from m3leo_prep.reader.learning.collate import collate
    from m3leo_prep.reader.learning.loader import ChipLoader
    from m3leo_prep.reader.learning.sampler import ChipSampler
    from m3leo_prep.reader.views import open_dataset

__version__ = "0.1.0"
__all__ = [
    "Area",
    "ChipDataset",
    "ChipLoader",
    "ChipSampler",
    "Dataset",
    "Recipe",
    "Sample",
    "build",
    "collate",
    "open_dataset",
    "plan",
    "pull",
    "verify",
]

_HOMES = {
    "Area": "core.area",
    "ChipDataset": "reader.learning.chips",
    "ChipLoader": "reader.learning.loader",
    "ChipSampler": "reader.learning.sampler",
    "Dataset": "reader.dataset",
    "Recipe": "core.recipe",
    "Sample": "core.sample",
    "build": "api",
    "collate": "reader.learning.collate",
    "open_dataset": "reader.views",
    "plan": "api",
    "pull": "reader.copies.pulling",
    "verify": "pipeline.verify",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
