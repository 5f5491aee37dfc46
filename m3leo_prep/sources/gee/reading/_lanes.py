"""Kernel that takes records of two-byte bands apart, four bands of four pixels at once, as whole words.

One number at a time, most of the time goes into addresses: this takes less than half of it.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

_EVEN = np.uint64(0x0000_FFFF_0000_FFFF)
_LOW = np.uint64(0x0000_0000_FFFF_FFFF)
_16, _32 = np.uint64(16), np.uint64(32)


@nb.njit("void(uint64[:, :, ::1], uint64[:, :, :])", cache=True, nogil=True)
def take_apart(records: Any, places: Any) -> None:
    """Write all bands to their places.

    Args:
        records: (row, col, bands / 4); a word holds four bands of a pixel, the first one lowest.
        places: (band, row, col / 4); a word holds four pixels of a band, the first one lowest.
    """
    bands, rows, words = places.shape
    for row in range(rows):
        for four in range(bands // 4):
            a, b = places[4 * four, row], places[4 * four + 1, row]
            c, d = places[4 * four + 2, row], places[4 * four + 3, row]
            for k in range(words):
                p, q = records[row, 4 * k, four], records[row, 4 * k + 1, four]
                r, s = records[row, 4 * k + 2, four], records[row, 4 * k + 3, four]
                # A 4 x 4 transpose: within pairs of words first, then of their halves.
                pq, qp = (p & _EVEN) | ((q & _EVEN) << _16), ((p >> _16) & _EVEN) | (q & ~_EVEN)
                rs, sr = (r & _EVEN) | ((s & _EVEN) << _16), ((r >> _16) & _EVEN) | (s & ~_EVEN)
                a[k] = (pq & _LOW) | (rs << _32)
                b[k] = (qp & _LOW) | (sr << _32)
                c[k] = (pq >> _32) | (rs & ~_LOW)
                d[k] = (qp >> _32) | (sr & ~_LOW)
