"""The shard rule (design, section 3) against sums worked by hand, and what holds for every layer."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core.layer import SHARD_CHIPS, Layer, band_chunk, shard_rule
from m3leo_prep.core.raster import STATIC, Kind
from m3leo_prep.testing.layers import make_array, make_layer

MIB, GIB = 2**20, 2**30


@pytest.mark.parametrize(
    ("what", "chip_slot_bytes", "n_slots", "expected"),
    [
        # 448 x 448 x 2 bands x 2 bytes = 802 816; x 12 = 9.2 MiB; 64 chips are 588 MiB > 128 MiB, so N = 64;
        # 1 GiB / (64 x 802 816) = 20.9, so all 12 slots are in one shard.
        ("VV and VH, 10 m int16, 12 months", 448 * 448 * 2 * 2, 12, (64, 12, 1)),
        # 5 218 304; 1 GiB / (64 x 5 218 304) = 3.2: at most 3 slots, 4 shards of 3.
        ("13 bands of Sentinel-2, 12 months", 448 * 448 * 13 * 2, 12, (64, 3, 1)),
        # 3 211 264; 1 GiB / (64 x 3 211 264) = 5.2: at most 5, 3 shards; evened out: 4 each, not 5, 5, 2.
        ("8 bands, 12 months", 448 * 448 * 8 * 2, 12, (64, 4, 1)),
        # 12 544 x 4 = 50 176 < 64 KiB: the series is one chunk; 1024 chips are 49 MiB, 4096 are 196.
        ("4 bands of 80-m coherence, 4 seasons", 56 * 56 * 4, 4, (1024, 4, 4)),
        # 12 544 x 12 = 150 528 > 64 KiB; 256 chips are 36.8 MiB, 1024 are 147 > 128.
        ("4 bands of 80-m coherence, 12 months", 56 * 56 * 4, 12, (256, 12, 1)),
        # 200 704; 256 chips are 49 MiB, 1024 are 196.
        ("10-m classes, static", 448 * 448, 1, (256, 1, 1)),
        # 1 024 bytes: 4096 chips are 4 MiB; one slot needs no series.
        ("140-m percent cover, static", 32 * 32, 1, (4096, 1, 1)),
        ("140-m percent cover, yearly", 32 * 32, 20, (4096, 20, 20)),
    ],
)
def test_worked_by_hand(what: str, chip_slot_bytes: int, n_slots: int, expected: tuple[int, int, int]) -> None:
    assert shard_rule(chip_slot_bytes=chip_slot_bytes, n_slots=n_slots, n_chips=300_000) == expected, what


def test_the_limits_themselves_are_inside() -> None:
    assert shard_rule(chip_slot_bytes=128 * MIB // 256, n_slots=1, n_chips=1)[0] == 256
    assert shard_rule(chip_slot_bytes=128 * MIB // 256 + 1, n_slots=1, n_chips=1)[0] == 64
    assert shard_rule(chip_slot_bytes=GIB // 64 // 3, n_slots=3, n_chips=1)[1] == 3
    assert shard_rule(chip_slot_bytes=2**14, n_slots=4, n_chips=1)[2] == 1, "64 KiB are not below 64 KiB"
    assert shard_rule(chip_slot_bytes=2**14 - 1, n_slots=4, n_chips=1)[2] == 4


def test_above_512_000_chips_n_rises() -> None:
    """8 000 chip-shards of 64; a folder of the Hub holds 10 000 entries."""

    def n(chips: int) -> int:
        return shard_rule(chip_slot_bytes=448 * 448 * 2 * 2, n_slots=12, n_chips=chips)[0]

    assert (n(512_000), n(512_001)) == (64, 256)
    assert (n(2_048_000), n(2_048_001)) == (256, 1024)
    assert n(6_800_000) == 1024
    # 1 GiB / (256 x 802 816) = 5.2: three shards of four slots.
    assert shard_rule(chip_slot_bytes=448 * 448 * 2 * 2, n_slots=12, n_chips=600_000) == (256, 4, 1)


def test_dear_blocks_make_larger_units_of_fewer_slots() -> None:
    size = 448 * 448 * 3 * 2
    assert shard_rule(chip_slot_bytes=size, n_slots=12, n_chips=1000) == (64, 12, 1)
    # 1 GiB / (256 x 1 204 224) = 3.5
    assert shard_rule(chip_slot_bytes=size, n_slots=12, n_chips=1000, dear_blocks=True) == (256, 3, 1)
    small = 56 * 56
    assert shard_rule(chip_slot_bytes=small, n_slots=1, n_chips=1000, dear_blocks=True)[0] == 4096, "never smaller"


@given(
    size=st.sampled_from([32, 56, 112, 224, 448]),
    bands=st.integers(1, 16),
    itemsize=st.sampled_from([1, 2, 4]),
    n_slots=st.integers(1, 366),
    n_chips=st.integers(1, 6_800_000),
    dear=st.booleans(),
)
def test_what_holds_for_every_layer(
    size: int, bands: int, itemsize: int, n_slots: int, n_chips: int, dear: bool
) -> None:
    bytes_ = size * size * bands * itemsize
    n, t, chunk = shard_rule(chip_slot_bytes=bytes_, n_slots=n_slots, n_chips=n_chips, dear_blocks=dear)
    assert n in SHARD_CHIPS
    assert math.ceil(n_chips / n) <= 8000
    assert 1 <= t <= n_slots
    assert n * bytes_ * t <= GIB or t == 1
    shards = math.ceil(n_slots / t)
    assert shards * t - n_slots < shards, "evened out: no shard is empty, none a whole slot short of another"
    assert chunk in {1, n_slots}
    assert chunk == 1 or (t == n_slots and chunk * bytes_ < 64 * 1024)
    larger = [m for m in SHARD_CHIPS if m > n]
    if larger and not dear:
        assert larger[0] * bytes_ * n_slots > 128 * MIB, "the largest that fits"


@pytest.mark.parametrize(
    ("n_bands", "expected"),
    [(1, 1), (2, 2), (3, 3), (4, 4), (5, 1), (6, 3), (8, 4), (9, 3), (10, 2), (11, 1), (12, 4), (13, 1), (16, 4)],
)
def test_bands_per_chunk(n_bands: int, expected: int) -> None:
    assert band_chunk(n_bands) == expected


@given(n_bands=st.integers(1, 400))
def test_bands_per_chunk_is_the_largest_divisor_up_to_four(n_bands: int) -> None:
    assert band_chunk(n_bands) == max(n for n in (1, 2, 3, 4) if n_bands % n == 0)


def test_an_array_knows_its_size() -> None:
    array = make_array(kind=Kind.POWER, bands=("vv", "vh"))
    assert (array.itemsize, array.n_bands) == (2, 2)
    assert make_array(kind=Kind.CLASSES, bands=("class",)).itemsize == 1
    assert make_array(kind=Kind.CONTINUOUS, bands=("a", "b", "c")).itemsize == 4


def test_a_layer_knows_its_time_axis() -> None:
    static: Layer = make_layer(make_array())
    assert static.slots == (STATIC,)
    assert static.is_static
    timed = make_layer(make_array(), n_slots=12, shard_slots=5)
    assert not timed.is_static
    assert timed.n_slot_shards == 3
