"""The medoid: which look it takes, against a plain count of distances."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from m3leo_prep.ops.composite import Composite, Look
from m3leo_prep.ops.medoid import VERSION, medoid


def _sums(spectra: np.ndarray, whole: np.ndarray) -> dict[int, float]:
    there = np.flatnonzero(whole).tolist()
    return {i: sum(float(np.linalg.norm(spectra[i] - spectra[j])) for j in there) for i in there}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**31))
def test_it_is_the_look_nearest_to_all_others(n: int, bands: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, bands, 3, 4))
    whole = rng.random((n, 3, 4)) < 0.7
    found = medoid(values, whole)
    for y, x in np.ndindex(3, 4):
        sums = _sums(values[:, :, y, x], whole[:, y, x])
        if not sums:
            assert found[y, x] == -1
            continue
        assert sums[found[y, x]] <= min(sums.values()) + 1e-12, "of one band, the two in the middle are equally near"


def test_its_bands_were_seen_together_where_a_median_mixes_them() -> None:
    spectra = [(0.1, 0.5), (0.2, 0.9), (0.3, 0.1)]
    looks = [Look(np.array(s, np.float32).reshape(2, 1, 1), *[np.ones((2, 1, 1), bool)] * 2) for s in spectra]
    made, mixed = Composite("medoid"), Composite("median")
    for look in looks:
        made.add(look)
        mixed.add(look)
    chosen, median = made.result(), mixed.result()
    assert chosen is not None
    assert median is not None
    assert chosen.values.ravel().tolist() == [np.float32(0.1), np.float32(0.5)]
    assert median.values.ravel().tolist() == [np.float32(0.2), np.float32(0.5)], "no day looked like that"


def test_a_look_with_a_masked_band_cannot_be_it() -> None:
    whole, part = np.ones((2, 1, 1), bool), np.array([True, False]).reshape(2, 1, 1)
    composite = Composite("medoid")
    composite.add(Look(np.full((2, 1, 1), 0.2, np.float32), part, whole))
    only = composite.result()
    assert only is not None
    assert not only.valid.any()
    assert only.observed.all(), "it was seen all the same"
    composite.add(Look(np.full((2, 1, 1), 0.7, np.float32), whole, whole))
    both = composite.result()
    assert both is not None
    assert both.values.ravel().tolist() == [np.float32(0.7)] * 2


def test_of_equal_ones_the_first_is_taken() -> None:
    values = np.array([[3.0], [1.0]]).reshape(2, 1, 1, 1)
    assert medoid(values, np.ones((2, 1, 1), bool)).item() == 0


def test_its_output_changes_with_its_version_only() -> None:
    rng = np.random.default_rng(0)
    found = medoid(rng.normal(size=(5, 3, 32, 32)).astype(np.float32), rng.random((5, 32, 32)) < 0.8)
    assert (VERSION, hashlib.sha256(found.tobytes()).hexdigest()[:16]) == (1, "baeb65cdb7570ad8")
