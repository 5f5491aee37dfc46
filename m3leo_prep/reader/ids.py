"""Which ids a mistyped one may mean, fast among hundreds of thousands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def closest(wanted: str, ids: Sequence[str], most: int = 20) -> list[str]:
    """Return the ids that share most characters with ``wanted``, counted place by place from both ends, best first.

    Args:
        wanted: what was typed; upper and lower case are the same.
        ids: any number of them.
        most: how many to return at most.
    """
    if not ids:
        return []
    forward = _same(wanted, ids)
    backward = _same(wanted[::-1], [chip[::-1] for chip in ids])
    shared = forward + backward
    return [ids[place] for place in np.argsort(-shared, kind="stable")[:most].tolist()]


def _same(wanted: str, ids: Sequence[str]) -> NDArray[np.int64]:
    """Return (id,) how many characters agree, counted from the start."""
    table = np.char.lower(np.array(ids, "S"))
    letters = table.view(np.uint8).reshape(len(ids), -1)
    typed = np.frombuffer(wanted.lower().encode()[: letters.shape[1]].ljust(letters.shape[1], b"\1"), np.uint8)
    return np.asarray(np.count_nonzero(letters == typed, axis=1))
