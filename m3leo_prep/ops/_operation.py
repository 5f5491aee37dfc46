"""Which coordinate operation is used, chosen by rule, and its transformers, one per thread."""

from __future__ import annotations

import threading
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from pyproj.exceptions import ProjError
from pyproj.transformer import TransformerGroup

from m3leo_prep.core.errors import ConfigError

METRES_PER_DEGREE = 111_319.5
"""One degree of longitude at the equator."""

_local = threading.local()
_choice_lock = threading.Lock()


def coordinate_operation(src_crs: Any, dst_crs: Any) -> str:
    """Return the operation from target to source as ``name: PROJ pipeline``, to be recorded with the pixels.

    The rule: the first operation in PROJ's order that needs no grid file, so that the result depends neither
    on the network nor on what is installed; a ballpark operation only if there is no other.
    """
    name, pipeline = _choose(str(dst_crs), str(src_crs))
    return f"{name}: {pipeline}"


def transform(
    from_crs: Any, to_crs: Any, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return map coordinates in ``to_crs``, shaped as given, not finite where they are undefined."""
    if from_crs == to_crs:
        return x, y
    key = (str(from_crs), str(to_crs))
    transformers: dict[tuple[str, str], Transformer] = _local.__dict__.setdefault("transformers", {})
    transformer = transformers.get(key)
    if transformer is None:
        transformer = transformers[key] = Transformer.from_pipeline(_choose(*key)[1])
    new_x, new_y = transformer.transform(x, y)
    return new_x, new_y


@lru_cache(maxsize=256)
def _choose(from_crs: str, to_crs: str) -> tuple[str, str]:
    """Return (name, pipeline) of the operation, longitude before latitude."""
    if from_crs == to_crs:
        return "identity", "proj=noop"
    # catch_warnings changes the process: one thread at a time. The warning says that a grid is missing.
    with _choice_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            candidates = TransformerGroup(from_crs, to_crs, always_xy=True).transformers
        except ProjError as error:
            raise ConfigError(f"cannot go from {from_crs} to {to_crs}: {error}") from error
    gridless = [t for t in candidates if not any(step.grids for step in t.operations or ())]
    if not gridless:
        raise ConfigError(
            f"no operation without grid files from {from_crs} to {to_crs}",
            hint="bring the source to a WGS 84 based CRS first",
        )
    best = next((t for t in gridless if t.accuracy >= 0), gridless[0])
    return str(best.description), str(best.definition)
