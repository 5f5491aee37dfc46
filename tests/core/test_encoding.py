"""Encodings: the error bound, the fill code, rounding, and never a wrapped value (D85, D86, D91)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from m3leo_prep.core.encoding import CLASS_FILL, Encoding, decode, default_encoding, encode
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind, LegendClass, Variable

QUANTITIES = [
    Kind.POWER,
    Kind.COHERENCE,
    Kind.REFLECTANCE,
    Kind.WRAPPED_PHASE,
    Kind.UNWRAPPED_PHASE,
    Kind.ANGLE,
    Kind.CONTINUOUS,
]
EXTREMES = [
    *[0.0, -0.0, 1.0, -1.0, 1e-5, 1e-6, 1e-38, 1e38, -1e38, 3.4e38, np.inf, -np.inf, np.nan],
    *[65535.0, 65536.0, -32768.0, -32769.0, 327.67, 2.0**31, -(2.0**31), 2.0**32],
    *[255.0, 256.0, 360.0, 359.999, 3.2766, 3.2767],
]


def encoding_of(kind):
    return default_encoding(Variable("v", kind, ("a",)))


def block(values, dtype=np.float32):
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float64).astype(dtype).reshape(1, 1, -1)


def physical(values, encoding):
    """What should be stored, in float64: the independent reference."""
    values = values.astype(np.float64)
    if encoding.transform == "db":
        floor = float(np.float32(10.0**-5))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(values <= floor, -50.0, 10 * np.log10(np.maximum(values, floor)))
    return values


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", QUANTITIES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_round_trip_within_the_bound(kind, dtype, data):
    """Every value is within the stated error of the truth, or masked and counted; nothing else happens."""
    encoding = encoding_of(kind)
    width = 32 if dtype is np.float32 else 64
    inside = st.floats(-5, 5, width=width) | st.floats(-400, 400, width=width)
    element = inside | st.floats(width=width) | st.sampled_from(EXTREMES).map(dtype)
    values = data.draw(hnp.arrays(dtype, (2, 2, 3), elements=element))
    valid = data.draw(hnp.arrays(bool, (2, 2, 3)))
    made = encode(values, valid, encoding)
    assert made.codes.dtype == encoding.dtype
    got, holds = decode(made.codes, encoding)
    np.testing.assert_array_equal(holds, made.valid)
    assert not (made.valid & ~valid).any()
    truth = physical(values, encoding)
    if encoding.dtype == "float32":
        # What float32 cannot hold is as impossible as infinity.
        np.testing.assert_array_equal(made.valid, valid & (np.abs(truth) <= np.finfo(np.float32).max))
    slack = 1e-38 + 4 * np.finfo(np.float32).eps * np.abs(truth[made.valid])  # float32 arithmetic on either side
    assert (np.abs(got[made.valid] - truth[made.valid]) <= encoding.max_error * 1.0001 + slack).all()
    margin = 4 * np.finfo(np.float32).eps * max(abs(encoding.valid_min), 1)
    if np.isfinite(encoding.valid_max):
        surely_in = valid & (truth > encoding.valid_min + margin) & (truth < encoding.valid_max - margin)
        if encoding.transform == "db":
            surely_in |= valid & np.isfinite(values) & (truth == -50)
        assert (made.valid | ~surely_in).all()
        assert (got[made.valid] >= encoding.valid_min - encoding.max_error - margin).all()
        assert (got[made.valid] <= encoding.valid_max + encoding.max_error + margin).all()
    np.testing.assert_array_equal(made.out_of_range, np.count_nonzero(valid & ~made.valid, axis=(1, 2)))


@pytest.mark.parametrize("kind", QUANTITIES)
def test_extremes_and_missing_give_no_warning(kind):
    """D86: whatever lies under the mask, and beyond all ranges, no warning and never the fill code as a value."""
    encoding = encoding_of(kind)
    values = block(EXTREMES)
    for valid in (np.zeros(values.shape, bool), np.ones(values.shape, bool)):
        made = encode(values, valid, encoding)
        if encoding.fill is not None:
            np.testing.assert_array_equal(made.codes == encoding.fill, ~made.valid)
        if not valid.any():
            assert not made.valid.any()
            assert made.out_of_range.sum() == made.floored.sum() == 0


def test_backscatter_by_hand():
    """Power 1 is 0 dB; 0.1 is -10 dB; <= 1e-5 is -50 dB, valid and counted; nothing wraps (the old tool wrapped)."""
    values = block([1, 0.1, 10 ** (-3.1), 1.585, 0, -0.01, 1e-5, 1e-4, 1e7, np.nan, np.inf])
    valid = np.ones(values.shape, bool)
    valid[..., 1] = False
    made = encode(values, valid, encoding_of(Kind.POWER))
    fill = -32768
    assert made.codes.ravel().tolist() == [0, fill, -3100, 200, -5000, -5000, -5000, -4000, fill, fill, fill]
    assert made.floored.tolist() == [3]
    assert made.out_of_range.tolist() == [3]


def test_rounding_is_half_to_even():
    encoding = Encoding("int16", -32768, 0.5, valid_min=-100, valid_max=100)
    values = block([0.25, 0.75, 1.25, 1.75, -0.25, -0.75, 0.26])
    made = encode(values, np.ones(values.shape, bool), encoding)
    assert made.codes.ravel().tolist() == [0, 2, 2, 4, 0, -2, 1]


def test_per_band_counts():
    values = np.array([[[2.0, 0.5]], [[0.5, 0.5]], [[-1.0, 7.0]]], np.float32)
    made = encode(values, np.ones(values.shape, bool), encoding_of(Kind.COHERENCE))
    assert made.out_of_range.tolist() == [1, 0, 2]
    assert made.codes.ravel().tolist() == [255, 125, 125, 125, 255, 255]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "int64", "uint64", "float32"])
@pytest.mark.parametrize("kind", [Kind.CLASSES, Kind.BITS])
def test_classes_are_exact_for_any_dtype_of_the_source(kind, dtype):
    """Codes that fit come back the same; those that do not are masked and counted, never wrapped modulo 256."""
    encoding = encoding_of(kind)
    highest = int(encoding.fill) - 1
    info = np.iinfo(dtype) if dtype != "float32" else np.iinfo("int32")
    wanted = [0, 1, 10, 100, 127, 200, 254, 255, 256, 300, 65534, 65535, 65536, 65791, -1, -32768]
    codes = [c for c in wanted if info.min <= c <= info.max]
    values = np.array(codes, dtype).reshape(1, 1, -1)
    made = encode(values, np.ones(values.shape, bool), encoding)
    expected = [c if 0 <= c <= highest else encoding.fill for c in codes]
    assert made.codes.ravel().tolist() == expected
    assert made.valid.ravel().tolist() == [0 <= c <= highest for c in codes]
    assert made.out_of_range.tolist() == [sum(not 0 <= c <= highest for c in codes)]
    got, _ = decode(made.codes, encoding)
    assert got.dtype == encoding.dtype


def test_integers_with_a_scale():
    """Whole degrees as int16 into uint16 x 100."""
    values = np.array([[[0, 90, 360, 361, -1]]], np.int16)
    made = encode(values, np.ones(values.shape, bool), encoding_of(Kind.ANGLE))
    assert made.codes.ravel().tolist() == [0, 9000, 36000, 65535, 65535]


def test_floats_stay_as_they_are():
    encoding = encoding_of(Kind.CONTINUOUS)
    values = block([1.1, -0.0, 3.4e38, np.inf, 5])
    valid = np.array([[[True, True, True, True, False]]])
    made = encode(values, valid, encoding)
    np.testing.assert_array_equal(made.codes.ravel(), np.array([1.1, -0.0, 3.4e38, np.nan, np.nan], np.float32))
    assert made.out_of_range.tolist() == [1]


@pytest.mark.parametrize("kind", list(Kind))
def test_the_fill_code_is_no_legal_value(kind):
    encoding = encoding_of(kind)
    assert (encoding.fill is None) == (encoding.dtype == "float32")
    if encoding.fill is not None and np.isfinite(encoding.valid_max):
        assert not encoding.valid_min <= encoding.fill * encoding.scale <= encoding.valid_max


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"dtype": "uint8", "fill": 255, "valid_min": 0, "valid_max": 300}, "cannot hold"),
        ({"dtype": "uint8", "fill": 255, "valid_min": -1, "valid_max": 3}, "cannot hold"),
        ({"dtype": "int16", "fill": -32768, "scale": 0.001, "valid_min": 0, "valid_max": 100}, "cannot hold"),
        ({"dtype": "uint8", "fill": 0, "valid_min": 0, "valid_max": 200}, "legal value"),
        ({"dtype": "uint8", "fill": None, "valid_min": 0, "valid_max": 200}, "needs a fill"),
        ({"dtype": "int16", "fill": -32768}, "cannot hold"),
    ],
)
def test_impossible_encodings_are_refused(given, match):
    with pytest.raises(ConfigError, match=match):
        Encoding(**given)


def test_a_legend_that_uses_the_fill_code_is_refused():
    variable = Variable("map", Kind.CLASSES, ("map",), legend=(LegendClass(CLASS_FILL, "snow"),))
    with pytest.raises(ConfigError, match="remap"):
        default_encoding(variable)


@pytest.mark.parametrize("given", ["uint8", "int8", "uint16", "int16", "int32", "bool"])
@pytest.mark.parametrize("stored", ["uint8", "uint16", "int16", "int32"])
def test_the_fill_code_does_not_wrap_in_the_type_of_the_values(given: str, stored: str) -> None:
    """The fill of a wide type does not fit the narrow one that a source gave."""
    info = np.iinfo(stored)
    fill = int(info.min) if info.min < 0 else int(info.max)
    encoding = Encoding(stored, fill, valid_min=0, valid_max=100, unit="class")
    values = np.array([[[1, 0, 1]]]).astype(given)
    valid = np.array([[[True, True, False]]])
    encoded = encode(values, valid, encoding)
    assert encoded.codes.tolist() == [[[1, 0, fill]]]
    assert encoded.valid.tolist() == [[[True, True, False]]]


def test_flags_of_a_byte_keep_their_holes() -> None:
    encoding = default_encoding(Variable("qa", Kind.BITS, ("flags",)))
    encoded = encode(np.array([[[1, 255, 7]]], np.uint8), np.array([[[True, True, False]]]), encoding)
    assert encoded.codes.tolist() == [[[1, 255, encoding.fill]]]
    assert encoding.fill not in {1, 255}
