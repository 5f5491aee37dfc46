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
    from m3leo_prep.reader.chips import ChipDataset
    from m3leo_prep.reader.dataset import Dataset
    from m3leo_prep.reader.views import open_dataset

__version__ = "0.1.0"
__all__ = ["Area", "ChipDataset", "Dataset", "Recipe", "Sample", "build", "open_dataset", "plan", "verify"]

_HOMES = {
    "Area": "core.area",
    "ChipDataset": "reader.chips",
    "Dataset": "reader.dataset",
    "Recipe": "core.recipe",
    "Sample": "core.sample",
    "build": "api",
    "open_dataset": "reader.views",
    "plan": "api",
    "verify": "pipeline.verify",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
