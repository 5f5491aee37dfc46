"""Where decoded chunks go: each is checked and decoded once, however many want planes of it."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.reader.pixels import held
from m3leo_prep.reader.pixels.pieces import Plan, Run
from m3leo_prep.store.codec import CRC_BYTES, checked


class Sink(Protocol):
    """Where the planes of one chip's variable go, numbered as in the result: slots, and the bands of each."""

    def straight(self, first: int, planes: int) -> NDArray[Any] | None:
        """Return (plane, pixel) codes to be filled, or None if they must be handed to ``put``."""
        ...

    def put(self, first: int, codes: NDArray[Any]) -> None:
        """Take codes (plane, pixel), which are valid only during the call."""
        ...

    def miss(self, first: int, planes: int) -> None:
        """Take note that these planes are missing."""
        ...


class Want(NamedTuple):
    """One chip of one variable."""

    layer: StoredLayer
    array: StoredArray
    row: int
    plan: Plan
    sink: Sink


Uses = list[tuple[Want, tuple[Run, ...]]]
"""Who wants a chunk, and which planes of it."""


class Codes(NamedTuple):
    """Stored codes, as they are."""

    planes: NDArray[Any]
    fill: float

    def straight(self, first: int, planes: int) -> NDArray[Any]:
        """Return the place itself."""
        return self.planes[first : first + planes]

    def put(self, first: int, codes: NDArray[Any]) -> None:
        """Copy them."""
        self.planes[first : first + len(codes)] = codes

    def miss(self, first: int, planes: int) -> None:
        """Write the code of a missing pixel."""
        self.planes[first : first + planes] = self.fill


def hand_out(payload: memoryview, uses: Uses) -> None:
    """Check and decode a chunk, and give everyone the planes they want.

    Raises:
        VerifyError: it is damaged.
    """
    plan = uses[0][0].plan
    out = straight(uses)
    if out is not None:
        plan.codec.decode_into(payload, out)
        return
    codes = _decoded(plan, payload)
    for want, runs in uses:
        for run in runs:
            want.sink.put(run.target, codes[run.source : run.source + run.planes])


def straight(uses: Uses) -> NDArray[Any] | None:
    """Return the place where a whole chunk can be decoded to: one wants it, all of it, in one run."""
    want, runs = uses[0]
    planes = want.plan.chunk_shape[0]
    if len(uses) > 1 or len(runs) > 1 or runs[0].planes != planes:
        return None
    return want.sink.straight(runs[0].target, planes)


def _decoded(plan: Plan, payload: memoryview) -> NDArray[Any]:
    """Return a chunk's codes in this thread's scratch memory, or in ``payload`` itself if it is not compressed."""
    shape, dtype = plan.chunk_shape, plan.dtype
    n_bytes = shape[0] * shape[1] * dtype.itemsize
    if plan.codec.codec == "none" and len(payload) == n_bytes + CRC_BYTES:
        return np.ndarray(shape, dtype, checked(payload, "the chunk"))
    codes: NDArray[Any] = np.ndarray(shape, dtype, held.scratch.get("codes", n_bytes))
    plan.codec.decode_into(payload, codes)
    return codes
