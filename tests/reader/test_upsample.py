"""Coarse layers on the finest lattice: by areas of pixels, never across what is missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from m3leo_prep.core.encoding import Encoding
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.testing.layers import make_array, make_layer

torch = pytest.importorskip("torch")

from m3leo_prep.reader.learning.chips import ChipDataset  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.collate import collate  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.upsample import upsample  # noqa: E402  it imports torch


def by_hand(values, valid, factor):
    """Return the weighted mean of the (up to four) valid pixels around each fine pixel's centre."""
    height, width = values.shape
    made = np.zeros((height * factor, width * factor))
    for y, x in np.ndindex(made.shape):
        row, column = (y + 0.5) / factor - 0.5, (x + 0.5) / factor - 0.5
        total = weight = 0.0
        for j in range(height):
            for i in range(width):
                # Beyond the centres of the outermost pixels these go on.
                near_y = max(0.0, 1 - abs(min(max(row, 0), height - 1) - j))
                near_x = max(0.0, 1 - abs(min(max(column, 0), width - 1) - i))
                total += near_y * near_x * valid[j, i] * values[j, i]
                weight += near_y * near_x * valid[j, i]
        if valid[y // factor, x // factor]:
            made[y, x] = total / weight
    return made


@given(st.integers(2, 5), st.data())
def test_bilinear_is_the_mean_of_valid_neighbours_by_nearness(factor, data):
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    values = data.draw(arrays.arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)))
    valid = data.draw(arrays.arrays(bool, shape))
    lead = torch.from_numpy(np.stack([values, values * 2]))
    mask = torch.from_numpy(np.stack([valid, valid]))
    found, there = upsample(lead, mask, factor, smooth=True)
    np.testing.assert_allclose(found[0], by_hand(values, valid, factor), atol=2e-4)
    np.testing.assert_allclose(found[1], 2 * found[0], atol=1e-6)
    expected = np.repeat(np.repeat(valid, factor, axis=0), factor, axis=1)
    np.testing.assert_array_equal(there[1], expected)


def test_values_are_repeated_where_they_are_not_smooth():
    values = torch.tensor([[1, 3], [255, 7]])
    found, there = upsample(values, values != 255, 2, smooth=False)
    assert found.tolist() == [[1, 1, 3, 3], [1, 1, 3, 3], [255, 255, 7, 7], [255, 255, 7, 7]]
    assert there.tolist() == [[True] * 4] * 2 + [[False, False, True, True]] * 2


def test_phases_directions_and_codes_are_repeated_by_either_method(tools, tmp_path):
    """Between 359 and 1 degrees lies no 180, whichever kind says that they are degrees."""
    from dataclasses import replace

    float32 = Encoding("float32", None)
    plain = make_array("plain", Kind.CONTINUOUS, ("p",), encoding=float32)
    arrays_ = [
        make_array("wrapped", Kind.WRAPPED_PHASE, ("w",), encoding=float32),
        make_array("phase", Kind.UNWRAPPED_PHASE, ("u",), encoding=float32),
        make_array("angle", Kind.ANGLE, ("inc",), encoding=float32),
        make_array("map", Kind.CLASSES, ("map",)),
        make_array("flags", Kind.BITS, ("qa",)),
        make_array("wind", Kind.CONTINUOUS, ("azimuth",), encoding=replace(float32, unit="degree")),
        make_array("down", Kind.CONTINUOUS, ("east", "north"), encoding=float32),
        plain,
    ]
    layers = [make_layer(one, name=one.variable.name, size=4) for one in arrays_]
    names = [layer.name for layer in layers]
    made = tools.write(tmp_path, [make_layer(make_array(), name="fine", size=8), *layers], n_chips=2)
    near, between = (
        ChipDataset(made.path, layers=["fine", *names], upsample=how, phase="raw") for how in ("nearest", "bilinear")
    )
    one, other = collate(near.__getitems__([0, 1])), collate(between.__getitems__([0, 1]))
    for name in names:
        assert torch.equal(one[f"{name}_mask"], other[f"{name}_mask"])
        assert torch.equal(one[name], other[name]) == (name != "plain"), name


def test_samples_have_the_pixels_of_the_finest_layer(tools, tmp_path):
    fine = make_layer(make_array(), name="fine", n_slots=2, size=12)
    coarse = make_layer(make_array("coh", Kind.COHERENCE, ("coh12",)), name="coarse", n_slots=3, size=4, shard_slots=3)
    cover = make_layer(make_array("map", Kind.CLASSES, ("map",)), name="cover", size=6)
    made = tools.write(tmp_path, [fine, coarse, cover], n_chips=4)
    kinds = {"layers": ["fine", "coarse"], "labels": ["cover"], "normalize": {"coarse": (0.5, 0.25)}}
    plain = ChipDataset(made.path, **kinds)
    seen = []

    def look(sample):
        seen.append(sample["coarse"].shape)
        return sample

    for method in ("nearest", "bilinear"):
        chips = ChipDataset(made.path, **kinds, upsample=method, transform=look)
        samples = chips.__getitems__([2, 0, 3])
        batch = collate(samples)
        assert batch["coarse"].shape == batch["coarse_mask"].shape == (3, 3, 1, 12, 12)
        assert batch["cover"].shape == (3, 1, 12, 12)
        assert batch["coarse"].data_ptr() == samples[0]["coarse"].data_ptr()
        for sample, row in zip(samples, (2, 0, 3), strict=True):
            raw = plain[row]
            assert torch.equal(sample["fine"], raw["fine"])
            assert torch.equal(sample["cover"], raw["cover"].repeat_interleave(2, 1).repeat_interleave(2, 2))
            whole = raw["coarse"].repeat_interleave(3, 2).repeat_interleave(3, 3)
            mask = raw["coarse_mask"].repeat_interleave(3, 2).repeat_interleave(3, 3)
            assert torch.equal(sample["coarse_mask"], mask)
            if method == "nearest":
                assert torch.equal(sample["coarse"], whole)
            else:
                there = raw["coarse_mask"]
                torch.testing.assert_close(sample["coarse"][..., 1::3, 1::3][there], raw["coarse"][there])
                assert (sample["coarse"][~mask] == 0).all()
                assert not torch.equal(sample["coarse"], whole)
    assert set(seen) == {(3, 1, 12, 12)}


def test_what_cannot_be_brought_there_is_refused(tools, tmp_path):
    people = make_array("people", Kind.AMOUNT, ("n",), encoding=Encoding("float32", None))
    layers = [
        make_layer(make_array(), name="fine", size=12),
        make_layer(people, name="people", size=6),
        make_layer(make_array(), name="odd", size=8),
    ]
    made = tools.write(tmp_path, layers, n_chips=2)
    with pytest.raises(ConfigError, match=r"'people' is an amount per pixel"):
        ChipDataset(made.path, layers=["fine", "people"], upsample="nearest")
    with pytest.raises(ConfigError, match=r"'odd' cannot be upsampled: 8 pixels do not divide 12"):
        ChipDataset(made.path, layers=["fine", "odd"], upsample="nearest")
    assert len(ChipDataset(made.path, layers=["people"], upsample="nearest")) == 2
