"""The order of training: everything once, the same everywhere, mixed as much as it says, resumable."""

from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.testing.layers import make_array, make_layer

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402  torch may be absent

from m3leo_prep.reader.learning.chips import ChipDataset  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.loader import ChipLoader  # noqa: E402  it imports torch
from m3leo_prep.reader.learning.sampler import ChipSampler  # noqa: E402  it imports torch

sizes = st.integers(1, 300)
FIXED = [0, 14, 13, 1, 15, 12, 3, 2, 18, 5, 4, 6, 17, 7, 19, 16, 8, 22, 11, 9, 10, 23, 21, 20]


@pytest.fixture(scope="module")
def of_size(tools, tmp_path_factory):
    """Return datasets of any number of chips, in shards of 4: as many rows of one on disk, again and again."""
    layer = make_layer(make_array(), name="s1", size=2)
    chips = ChipDataset(tools.write(tmp_path_factory.mktemp("order") / "d", [layer]).path, layers=["s1"])

    class Long:
        picks = chips.picks

        def __init__(self, n):
            self.n = n

        @property
        def parts(self):
            return [(chips.datasets[0], np.arange(self.n))]

        def __len__(self):
            return self.n

    return Long


def ranks(chips, world, **options):
    return [list(ChipSampler(chips, rank=rank, num_replicas=world, **options)) for rank in range(world)]


@settings(max_examples=30, deadline=None)
@given(n=sizes, world=st.integers(1, 7), window=st.integers(1, 90), seed=st.integers(-5, 2**40), shuffle=st.booleans())
def test_every_sample_is_dealt_exactly_once(of_size, n, world, window, seed, shuffle):
    dealt = ranks(of_size(n), world, window=window, seed=seed, shuffle=shuffle, even=None)
    assert sorted(itertools.chain(*dealt)) == list(range(n))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    assert [len(ChipSampler(of_size(n), rank=r, num_replicas=world, even=None)) for r in range(world)] == [
        len(one) for one in dealt
    ]


@settings(max_examples=30, deadline=None)
@given(n=sizes, world=st.integers(1, 7))
def test_even_ranks_repeat_or_leave_out_less_than_one_each(of_size, n, world):
    repeated, dropped = (list(itertools.chain(*ranks(of_size(n), world, even=how))) for how in ("repeat", "drop"))
    assert len(repeated) % world == len(dropped) % world == 0
    assert set(repeated) == set(range(n))
    assert len(repeated) - n < world
    assert len(set(dropped)) == len(dropped) == n - n % world
    assert len(ChipSampler(of_size(n), rank=0, num_replicas=world)) * world == len(repeated)


def test_what_is_left_out_changes_with_the_epoch(of_size):
    sampler = ChipSampler(of_size(41), rank=0, num_replicas=4, even="drop")
    assert len({int(sampler.order(epoch)[-1]) for epoch in range(20)}) > 5


def test_an_order_is_fixed_for_all_time_and_differs_by_epoch_and_seed(of_size):
    sampler = ChipSampler(of_size(24), window=2, seed=7)
    # Written down once: other numbers would break resuming with a later version.
    assert sampler.order(0).tolist() == FIXED
    assert sampler.order(1).tolist() != sampler.order(0).tolist()
    assert ChipSampler(of_size(24), window=2, seed=8).order(0).tolist() != sampler.order(0).tolist()


def test_a_pass_goes_on_to_the_next_epoch_and_set_epoch_chooses(of_size):
    sampler = ChipSampler(of_size(30))
    first, second = list(sampler), list(sampler)
    assert (first, second) == (sampler.order(0).tolist(), sampler.order(1).tolist())
    sampler.set_epoch(0)
    assert list(sampler) == first
    sampler.set_epoch(5)
    assert list(sampler) == sampler.order(5).tolist()


def test_a_step_of_all_ranks_together_does_not_depend_on_how_many_they_are(of_size):
    chips = of_size(48)
    whole = list(ChipSampler(chips))
    for world in (2, 3, 4):
        dealt = ranks(chips, world)
        together = list(itertools.chain(*zip(*dealt, strict=True)))
        assert together == whole


def test_at_any_time_chips_come_from_a_window_of_shards(of_size):
    n, window = 400, 5
    order = ChipSampler(of_size(n), window=window).order(0)
    shards = order // 4
    for block in shards.reshape(-1, 4 * window):
        assert len(np.unique(block)) == window
    assert len(np.unique(shards[:20])) == window
    assert (np.sort(np.unique(shards[:20])) != np.arange(window)).any()  # windows are of shards anywhere


@pytest.mark.parametrize("window", [4, 16, 320])
def test_batches_mix_as_much_as_the_documentation_says(of_size, window):
    """Shards in a batch: of a window, of a full shuffle, and by the formula of the class."""
    n, size = 4 * 16 * 20, 16
    sampler = ChipSampler(of_size(n), window=window, seed=3)
    batches = np.concatenate([sampler.order(epoch).reshape(-1, size) for epoch in range(5)]) // 4
    mixed = np.mean([len(np.unique(batch)) for batch in batches])
    # Drawn without replacement, a few more than by the formula.
    expected = window * (1 - (1 - 1 / window) ** size)
    assert expected * 0.98 <= mixed <= min(window, expected * 1.15)


def test_a_window_of_all_shards_is_a_full_shuffle(of_size):
    """Each sample comes at each place equally often: chi square of 20 x 20 cells."""
    n = 20
    sampler = ChipSampler(of_size(n), window=99)
    seen = np.zeros((n, n))
    for epoch in range(1000):
        seen[np.arange(n), sampler.order(epoch)] += 1
    chi_square = ((seen - 50) ** 2 / 50).sum()
    assert abs(chi_square - 361) < 5 * np.sqrt(2 * 361)


@settings(max_examples=30, deadline=None)
@given(
    n=sizes,
    world=st.integers(1, 5),
    size=st.integers(1, 40),
    done=st.integers(0, 50),
    even=st.sampled_from(["repeat", "drop", None]),
)
def test_resuming_is_as_if_nothing_had_happened(of_size, n, world, size, done, even):
    chips = of_size(n)
    for rank in range(world):
        options = {"rank": rank, "num_replicas": world, "even": even, "seed": 3}
        whole = ChipSampler(chips, **options)
        expected = [list(whole), list(whole), list(whole)]
        stopped = ChipSampler(chips, **options)
        list(stopped)
        pass_of_two = iter(stopped)
        taken = [next(pass_of_two) for _ in range(min(done * size, len(expected[1])))]
        again = ChipSampler(chips, **options)
        again.load_state_dict(stopped.state_dict())
        if taken == expected[1] or not taken:
            # At the end of an epoch, the next one is to come; a generator that gave nothing has not begun.
            assert list(again) == (expected[2] if taken or not expected[1] else expected[1])
            continue
        assert taken + list(again) == expected[1]
        assert list(again) == expected[2]


def test_a_state_goes_on_with_another_number_of_ranks(of_size):
    chips = of_size(96)
    two = [ChipSampler(chips, rank=rank, num_replicas=2) for rank in range(2)]
    done = [list(itertools.islice(iter(sampler), 12)) for sampler in two]
    state = two[0].state_dict(taken=12)
    rest = []
    for rank in range(3):
        sampler = ChipSampler(chips, rank=rank, num_replicas=3)
        sampler.load_state_dict(state)
        rest.append(list(sampler))
    assert sorted(itertools.chain(*done, *rest)) == list(range(96))


def test_a_state_of_another_order_is_refused(of_size):
    state = ChipSampler(of_size(96)).state_dict()
    others = [ChipSampler(of_size(95))]
    changes = ({"seed": 1}, {"window": 2}, {"shuffle": False}, {"weights": np.arange(96)}, {"weights": np.ones(96)})
    for other in (*others, *(ChipSampler(of_size(96), **change) for change in changes)):
        with pytest.raises(ConfigError, match="order with"):
            other.load_state_dict(state)
        with pytest.raises(ConfigError, match="order with"):
            ChipSampler(of_size(96)).load_state_dict(other.state_dict())
    ChipSampler(of_size(96), even="drop").load_state_dict(json.loads(json.dumps(state)))


def test_a_state_of_as_many_other_chips_is_refused(shared_made):
    one, other = (
        ChipDataset(shared_made.path, layers=["s1"], ids=shared_made.ids[part]) for part in (slice(5), slice(5, 10))
    )
    with pytest.raises(ConfigError, match="other chips"):
        ChipSampler(other).load_state_dict(ChipSampler(one).state_dict())
    both = ChipDataset([shared_made.path] * 2, layers=["s1"], ids=shared_made.ids[:5])
    ChipSampler(both).load_state_dict(ChipSampler(both).state_dict())


def test_set_epoch_keeps_the_place_of_a_state_of_that_epoch_only(of_size):
    sampler = ChipSampler(of_size(30))
    state = sampler.state_dict() | {"epoch": 4, "offset": 10}
    sampler.load_state_dict(state)
    sampler.set_epoch(4)
    assert list(sampler) == sampler.order(4)[10:].tolist()
    sampler.load_state_dict(state)
    sampler.set_epoch(5)
    assert sampler.state_dict()["offset"] == 0
    assert list(sampler) == sampler.order(5).tolist()


@settings(max_examples=25, deadline=None)
@given(weights=st.lists(st.floats(0, 10), min_size=1, max_size=60).filter(any), n=st.integers(1, 200))
def test_weights_are_kept_to_within_two_draws_of_each_sample(of_size, weights, n):
    sampler = ChipSampler(of_size(len(weights)), weights=weights, num_samples=n, window=3)
    drawn = np.bincount(sampler.order(2), minlength=len(weights))
    expected = n * np.array(weights) / np.sum(weights)
    assert drawn.sum() == n
    assert (np.abs(drawn - expected) < 2).all()
    assert not drawn[np.array(weights) == 0].any()


def test_equal_weights_are_a_shuffle_and_weighted_draws_differ_by_epoch(of_size):
    sampler = ChipSampler(of_size(64), weights=np.ones(64))
    assert sorted(sampler.order(0)) == list(range(64))
    tilted = ChipSampler(of_size(64), weights=np.arange(64), num_samples=20)
    assert sorted(tilted.order(0)) != sorted(tilted.order(1))


def test_weighted_draws_keep_to_the_window(of_size):
    order = ChipSampler(of_size(400), weights=np.linspace(1, 2, 400), window=5).order(0)
    # A window of five shards is drawn from at least 5 * 4 / 1.5 times.
    assert len(np.unique(order[:13] // 4)) <= 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2, "num_replicas": 2}, "rank 2 of 2"),
        ({"rank": 0}, "rank 0 of None"),
        ({"window": 0}, "window"),
        ({"even": "pad"}, "even must be"),
        ({"weights": [1.0]}, "weights of shape"),
        ({"weights": np.zeros(9)}, "not all 0"),
        ({"weights": np.full(9, np.nan)}, "finite"),
        ({"num_samples": 3}, "goes with weights"),
    ],
)
def test_options_that_make_no_sense_are_refused(of_size, options, message):
    with pytest.raises(ConfigError, match=message):
        ChipSampler(of_size(9), **options)


def test_several_datasets_are_mixed(tools, tmp_path):
    layer = make_layer(make_array(), name="s1", size=2)
    roots = [tools.write(tmp_path / name, [layer], prefix=name).path for name in "ab"]
    chips = ChipDataset(roots, layers=["s1"])
    order = ChipSampler(chips).order(0)
    assert sorted(order) == list(range(20))
    assert 2 < (order[:10] < 10).sum() < 8


def test_chips_in_another_order_are_still_read_by_shard(shared_made):
    ids = [shared_made.ids[row] for row in (9, 0, 4, 1, 5, 8, 2)]
    chips = ChipDataset(shared_made.path, layers=["s1"], ids=ids)
    rows = np.array([9, 0, 4, 1, 5, 8, 2])[ChipSampler(chips, window=1).order(0)]
    changes = np.count_nonzero(np.diff(rows // 4))
    assert changes == 2  # three shards, one after the other


def batches_of(loader):
    return [[str(name) for name in batch["chip_id"]] for batch in loader]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("done", range(5))
def test_a_loader_resumes_after_the_batch_that_was_handed_out(shared_made, done, drop_last):
    chips = ChipDataset(shared_made.path, layers=["s1"])

    def make():
        return ChipLoader(chips, batch_size=3, drop_last=drop_last, sampler=ChipSampler(chips, window=1, seed=1))

    whole = make()
    expected = [batches_of(whole), batches_of(whole)]
    done = min(done, len(expected[0]))
    stopped = make()
    passing = iter(stopped)
    for _ in range(done):
        next(passing)
    again = make()
    again.load_state_dict(pickle.loads(pickle.dumps(stopped.state_dict())))
    is_over = done == len(expected[0])
    assert batches_of(again) == (expected[1] if is_over else expected[0][done:])
    assert batches_of(again) == ([] if is_over else expected[1]) or is_over
    assert len(again) == len(expected[0])


def test_what_workers_read_ahead_does_not_count(shared_made):
    chips = ChipDataset(shared_made.path, layers=["s1"])
    loader = ChipLoader(chips, batch_size=2, num_workers=1, prefetch_factor=4)
    passing = iter(loader)
    next(passing)
    assert loader.state_dict()["offset"] == 2
    assert loader.sampler.state_dict()["offset"] > 2 or loader.sampler.state_dict()["epoch"] == 1
    del passing


def test_a_loader_keeps_to_what_it_is_told(shared_made):
    chips = ChipDataset(shared_made.path, layers=["s1"])
    ids = shared_made.ids
    assert batches_of(ChipLoader(chips, batch_size=5, shuffle=False)) == [ids[:5], ids[5:]]
    assert sorted(itertools.chain(*batches_of(ChipLoader(chips, batch_size=5, shuffle=True)))) == ids
    assert batches_of(ChipLoader(chips, batch_size=5)) == batches_of(ChipLoader(chips, batch_size=5, shuffle=True))
    by_hand = ChipLoader(chips, batch_sampler=[[3, 1], [2]])
    assert batches_of(by_hand) == [["c003", "c001"], ["c002"]]
    assert by_hand.state_dict() == {}
    alone = ChipLoader(chips, batch_size=None, shuffle=False)
    assert [sample["chip_id"] for sample in alone] == ids
    assert alone.dataset[0]["s1"].shape == next(iter(alone))["s1"].shape


def test_a_plain_loader_takes_the_sampler(shared_made):
    chips = ChipDataset(shared_made.path, layers=["s1"])
    sampler = ChipSampler(chips)
    seen = batches_of(DataLoader(chips, sampler=sampler, batch_size=4))
    assert list(itertools.chain(*seen)) == [shared_made.ids[k] for k in sampler.order(0)]
