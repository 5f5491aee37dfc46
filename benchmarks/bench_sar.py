"""Refined Lee and the dual-polarised decomposition, in megapixels per CPU-second; prints JSON lines.

python benchmarks/bench_sar.py

``scipy`` and ``numpy`` are what one would write first, timed in the same run: the refined filter by convolutions with
each of its half windows, the decomposition by ``numpy.linalg.eigh`` of a matrix a pixel. Both give the same numbers.
``ratio`` is of the two; it holds on a machine that does other things besides, megapixels a second do not.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from apart import run
from numpy.typing import NDArray
from reading import shown

from m3leo_prep.ops.sar.polarimetry import Covariance, covariance, h_a_alpha
from m3leo_prep.ops.sar.speckle import refined_lee

EDGE = 2048
PLAIN_EDGE = 512
ROUNDS = 5
LOOKS = 4.4
TARGET = 20.0
"""Megapixels per CPU-second, of both."""


def main() -> None:
    """Run every case, each in a process of its own; ``bench_sar.py CASE`` is one."""
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(CASES[sys.argv[1]]()))
        return
    rows = []
    for kind in CASES:
        case = run(__file__, kind)
        sys.stdout.write(json.dumps({"bench": "sar", "case": kind, **case, "target": TARGET}) + "\n")
        rows.append((kind, *case.values()))
    shown.table("SAR on arrays", ("", "Mpx per CPU-s", "the plain way", "ratio", "largest difference"), rows)


def _refined() -> dict[str, Any]:
    power = np.random.default_rng(0).gamma(LOOKS, 1 / LOOKS, (EDGE, EDGE)).astype(np.float32)
    small = power[:PLAIN_EDGE, :PLAIN_EDGE]
    ours = refined_lee(small, np.ones(small.shape, bool), looks=LOOKS)
    inner = (slice(5, -5), slice(5, -5))
    worst = np.abs(ours / _refined_plainly(small) - 1)[inner].max()
    return _compared(
        partial(refined_lee, power, np.ones(power.shape, bool), looks=LOOKS), partial(_refined_plainly, small), worst
    )


def _decomposed() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    first, second = (
        (rng.normal(size=(EDGE, EDGE)) + 1j * rng.normal(size=(EDGE, EDGE))).astype(np.complex64) for _ in range(2)
    )
    matrix = covariance(first, 0.3 * second + 0.1 * first, np.ones(first.shape, bool))
    small = Covariance(*(part[:PLAIN_EDGE, :PLAIN_EDGE] for part in matrix))
    worst = max(np.abs(a - b).max() for a, b in zip(h_a_alpha(small)[:3], _decomposed_plainly(small), strict=True))
    return _compared(partial(h_a_alpha, matrix), partial(_decomposed_plainly, small), worst)


def _compared(ours: Callable[[], Any], plain: Callable[[], Any], worst: float) -> dict[str, Any]:
    ours()
    fast, slow = [], []
    for _ in range(ROUNDS):
        fast.append(EDGE**2 / 1e6 / _seconds(ours))
        slow.append(PLAIN_EDGE**2 / 1e6 / _seconds(plain))
    return {
        "mpx_per_cpu_s": round(max(fast), 1),
        "plain_mpx_per_cpu_s": round(max(slow), 2),
        "ratio": round(max(fast) / max(slow), 1),
        "largest_difference": float(f"{worst:.1e}"),
    }


def _seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _refined_plainly(power: NDArray[Any]) -> NDArray[Any]:
    """Return the refined filter of an image without gaps: statistics of all eight half windows, then a choice."""
    from scipy.ndimage import correlate, shift, uniform_filter

    value = power.astype(np.float64)
    thirds = uniform_filter(value, 3)
    # Means of the nine 3 x 3 pixels around each pixel: a b c / d . e / f g h.
    a, b, c, d, e, f, g, h = (
        shift(thirds, (-2 * y, -2 * x), order=0)
        for y, x in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
    )
    gradients = np.abs([c + e + h - a - d - f, f + g + h - a - b - c, b + c + e - d - f - g, e + h + g - b - a - d])
    pair = gradients.argmax(axis=0)
    first, second = np.choose(pair, [e, g, c, h]), np.choose(pair, [d, b, f, a])
    half = 2 * pair + (np.abs(first - thirds) > np.abs(second - thirds))
    rows, cols = np.mgrid[-3:4, -3:4]
    mean, variance = np.empty((8, *value.shape)), np.empty((8, *value.shape))
    for number, inside in enumerate(one for s in (cols, rows, cols - rows, cols + rows) for one in (s >= 0, s <= 0)):
        mean[number] = correlate(value, inside / 28)
        variance[number] = (correlate(value**2, inside / 28) - mean[number] ** 2) * 28 / 27
    mean, variance = (np.take_along_axis(stack, half[None], axis=0)[0] for stack in (mean, variance))
    signal = np.maximum((variance - mean**2 / LOOKS) / (1 + 1 / LOOKS), 0)
    made: NDArray[Any] = mean + signal / variance * (value - mean)
    return made


def _decomposed_plainly(matrix: Covariance) -> tuple[NDArray[Any], ...]:
    stacked = np.empty((*matrix.c11.shape, 2, 2), np.complex128)
    stacked[..., 0, 0], stacked[..., 1, 1] = matrix.c11, matrix.c22
    stacked[..., 0, 1], stacked[..., 1, 0] = matrix.c12, matrix.c12.conj()
    values, vectors = np.linalg.eigh(stacked)
    share = values / values.sum(axis=-1, keepdims=True)
    entropy = -(share * np.log2(share)).sum(axis=-1)
    alpha = (share * np.degrees(np.arccos(np.minimum(np.abs(vectors[..., 0, :]), 1)))).sum(axis=-1)
    return entropy, share[..., 1] - share[..., 0], alpha


CASES = {"refined Lee": _refined, "H/A/alpha": _decomposed}


if __name__ == "__main__":
    main()
