"""The order in which chips are read: shuffled by shard, the same on every machine, dealt to ranks, resumable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.core.sample import mix
from m3leo_prep.reader.learning.targets import stored_shares

try:
    from torch import distributed
    from torch.utils.data.distributed import DistributedSampler
except ImportError as error:
    raise MissingDependency("ChipSampler needs PyTorch", hint="pip install 'm3leo-prep[torch]'") from error

if TYPE_CHECKING:
    from m3leo_prep.reader.learning.chips import ChipDataset

Even = Literal["repeat", "drop"]
_BLOCK = 4096
"""Indices turned into Python's integers at once, to keep memory small."""
_SHARDS, _INSIDE, _DRAWS = (np.uint64(k) for k in range(3))
"""What a number is drawn for."""


# A DistributedSampler, so that trainers which bring one of their own for several devices leave this one alone.
class ChipSampler(DistributedSampler[int]):
    """Indices of a ``ChipDataset``, in an order for training: ``DataLoader(chips, sampler=ChipSampler(chips))``.

    Shards are shuffled, and chips within a window of so many shards: at any time the chips come from at most ``window``
    shards, so that reads stay near each other, and a batch of B chips mixes window * (1 - (1 - 1 / window) ** B) of
    them (28 shards in a batch of 64 with a window of 32). A window as wide as the dataset is a full shuffle.

    The order is a function of seed and epoch alone, on every machine and for any number of ranks, among which it is
    dealt one by one: what all ranks read together in a step does not depend on how many they are. A pass goes on to
    the next epoch; ``set_epoch`` chooses another.
    """

    def __init__(
        self,
        chips: ChipDataset,
        *,
        shuffle: bool = True,
        seed: int = 0,
        window: int = 32,
        rank: int | None = None,
        num_replicas: int | None = None,
        even: Even | None = "repeat",
        weights: Sequence[float] | NDArray[np.floating] | None = None,
        num_samples: int | None = None,
    ) -> None:
        """Choose the order; nothing is read but the layout of the dataset.

        Args:
            chips: the samples.
            shuffle: False = one after the other, as they are.
            seed: of the order; the same on all ranks.
            window: shards whose chips are mixed.
            rank: which of the processes this is; None = as ``torch.distributed`` says, 0 without it.
            num_replicas: how many processes there are; None likewise, 1 without it.
            even: what is done where the samples cannot be dealt evenly, since ranks that wait for each other in every
                step hang if one of them has a step more: ``repeat`` lets the first ranks' last samples be seen
                twice (at most one a rank; none is left out), ``drop`` leaves out at most one a rank (others in each
                epoch); None = every sample exactly once, and some ranks have one less: not for DDP.
            weights: how often each sample is drawn, one number of at least 0 a sample; drawn with replacement, each
                within 2 times of its share of the epoch, then put in an order as above.
            num_samples: samples of an epoch, with ``weights``; None = as many as there are.

        Raises:
            ConfigError: numbers that make no sense.
        """
        if not len(chips):
            raise ConfigError("there is no chip to sample")
        if rank is None and num_replicas is None:
            there = distributed.is_available() and distributed.is_initialized()
            rank, num_replicas = (distributed.get_rank(), distributed.get_world_size()) if there else (0, 1)
        if rank is None or num_replicas is None or not 0 <= rank < num_replicas:
            raise ConfigError(f"rank {rank} of {num_replicas}", hint="ranks are 0 ... num_replicas - 1; give both")
        if window < 1:
            raise ConfigError(f"window must be at least 1 shard, not {window}")
        if even not in {"repeat", "drop", None}:
            raise ConfigError(f"even must be 'repeat', 'drop' or None, not {even!r}")
        if num_samples is not None and (weights is None or num_samples < 1):
            raise ConfigError("num_samples is at least 1, and goes with weights")
        super().__init__(chips, num_replicas, rank, shuffle, seed)
        self.window, self.even = window, even
        self._weights = None if weights is None else _shares(weights, len(chips))
        self._n = num_samples or len(chips)
        self._shard = _shards(chips) if shuffle else None
        self._crc = _crc(*(rows for _, rows in chips.parts), self._shard, self._weights)
        self._offset = self._given = 0
        self._begun = False
        self._next: int | None = None

    @classmethod
    def balanced(cls, chips: ChipDataset, *, layer: str, **options: Any) -> ChipSampler:
        """Return a sampler that lets the classes of a label appear equally.

        As if each time a class were drawn, all alike, and then a chip by how much of that class it holds: chips of one
        class each appear in equal numbers. Chips without proportions (too little of the label is valid) are never
        drawn, and classes that no chip holds do not count.

        Args:
            chips: the samples.
            layer: label, as in the columns ``prop_<layer>_<class>`` of ``chips.parquet``.
            options: as above.

        Raises:
            ConfigError: the dataset has no such proportions, or no chip of these has any.
        """
        _, shares = stored_shares(chips, layer)
        shares = np.nan_to_num(shares.astype(np.float64))
        of_class = shares.sum(axis=0)
        if not of_class.any():
            raise ConfigError(f"none of these chips has proportions of '{layer}'")
        present = of_class > 0
        return cls(chips, weights=(shares[:, present] / of_class[present]).sum(axis=1), **options)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; a state that was loaded keeps its place if it is of that epoch."""
        self._next = epoch

    def __len__(self) -> int:
        """Return the samples of a whole epoch of this rank."""
        return self._count(self._n)

    def __iter__(self) -> Iterator[int]:
        """Yield the samples of this rank: those of an epoch, or the rest of one after ``load_state_dict``."""
        epoch = self.epoch + self._begun if self._next is None else self._next
        if self._begun or epoch != self.epoch:
            self._offset = 0
        self.epoch, self._next, self._begun, self._given = epoch, None, True, 0
        mine = self._deal(self.order(epoch))
        for start in range(0, len(mine), _BLOCK):
            for index in mine[start : start + _BLOCK].tolist():
                self._given += 1
                yield index

    @property
    def left(self) -> int:
        """Samples that the pass that was begun last had to give to this rank."""
        return self._count(max(0, self._n - self._offset))

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the samples of an epoch of all ranks together, in order."""
        chosen = np.arange(self._n)
        if self._weights is not None:
            # One draw from each of n equal strata: as random as any, and no sample is missed by bad luck.
            places = (chosen + _unit(self._random(epoch, _DRAWS, self._n))) / self._n
            chosen = np.searchsorted(self._weights, places, side="right")
            np.minimum(chosen, np.searchsorted(self._weights, 1.0), out=chosen)  # 1 - 2**-53 is rounded up
        if self._shard is None:
            return chosen
        n_shards = int(self._shard.max()) + 1
        place = np.empty(n_shards, np.int64)
        place[np.argsort(self._random(epoch, _SHARDS, n_shards), kind="stable")] = np.arange(n_shards)
        n_windows = -(-n_shards // self.window)
        key = (place * n_windows // n_shards).astype(np.uint64)[self._shard[chosen]]
        key <<= np.uint64(40)
        key |= self._random(epoch, _INSIDE, self._n) >> np.uint64(24)
        return chosen[np.argsort(key, kind="stable")]

    def state_dict(self, taken: int | None = None) -> dict[str, Any]:
        """Return where the training is, for ``load_state_dict`` of a sampler with any number of ranks.

        Args:
            taken: samples of this rank since the pass began that were trained on: batches done times their size. None
                = all that were drawn, which with workers is too many, since they draw batches ahead: ``ChipLoader``
                counts for you.
        """
        about = {"samples": self._n, "seed": self.seed, "window": self.window, "chips": self._crc}
        if not self._begun:
            moves = self._next is not None and self._next != self.epoch
            return about | {"epoch": self._next if moves else self.epoch, "offset": 0 if moves else self._offset}
        taken = self._given if taken is None else taken
        if taken >= self.left:
            return about | {"epoch": self.epoch + 1, "offset": 0}
        return about | {"epoch": self.epoch, "offset": self._offset + taken * self.num_replicas}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next pass gives the rest of its epoch.

        Raises:
            ConfigError: it is the state of another order, whose rest would not be this one's.
        """
        hint = "make the same dataset and sampler as before, or train without this state"
        for name, mine in (("samples", self._n), ("seed", self.seed), ("window", self.window)):
            if state[name] != mine:
                message = f"the state is of an order with {name} = {state[name]}, but this one has {mine}"
                raise ConfigError(message, hint=hint)
        if state["chips"] != self._crc:
            message = (
                "the state is of an order with other chips, layers or weights, or of one that is shuffled otherwise"
            )
            raise ConfigError(message, hint=hint)
        self.epoch, self._offset = int(state["epoch"]), int(state["offset"])
        self._begun, self._next = False, None

    def _count(self, n: int) -> int:
        if self.even == "repeat":
            return -(-n // self.num_replicas)
        return n // self.num_replicas if self.even == "drop" else max(0, -(-(n - self.rank) // self.num_replicas))

    def _deal(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        end = self._offset + self.left * self.num_replicas if self.even else len(order)
        # Repeats are of the epoch's beginning, also of a pass that begins in its middle.
        return np.resize(order, end)[self._offset + self.rank :: self.num_replicas]

    def _random(self, epoch: int, what: np.uint64, n: int) -> NDArray[np.uint64]:
        # Hashes and no random generator: NumPy does not promise the same numbers in later versions.
        seeds = mix(mix(np.array([self.seed % 2**64], np.uint64)) ^ np.uint64(epoch))
        return mix(mix(seeds ^ (what + np.uint64(1))) ^ np.arange(n, dtype=np.uint64))


def _unit(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return numbers of [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _shares(weights: Sequence[float] | NDArray[np.floating], n: int) -> NDArray[np.float64]:
    """Return the cumulative share of each sample, ending in exactly 1."""
    given: NDArray[np.float64] = np.asarray(weights, np.float64)
    if given.shape != (n,):
        raise ConfigError(f"weights of shape {given.shape} for {n} samples")
    if not (np.isfinite(given).all() and (given >= 0).all() and given.any()):
        raise ConfigError("weights must be finite, at least 0, and not all 0")
    total: NDArray[np.float64] = np.cumsum(given / given.max())
    total /= total[-1]
    return total


def _crc(*arrays: NDArray[Any] | None) -> int:
    """Return one number for all that an order is made of, besides numbers that say themselves what they are."""
    made = 0
    for array in arrays:
        # The last bits of sums of weights are not the same on every machine.
        same = b"" if array is None else array.astype("<f4" if array.dtype.kind == "f" else "<i8").tobytes()
        made = crc32(same, crc32(str(len(same)).encode(), made))
    return made


def _shards(chips: ChipDataset) -> NDArray[np.int64]:
    """Return the shard of each sample, numbered over all datasets, by the layer that has the most to read."""
    found: list[NDArray[np.int64]] = []
    first = 0
    for (_, rows), picks in zip(chips.parts, chips.picks, strict=True):
        sizes = {
            key: pick.layer.size**2 * len(pick.slots) * len(pick.bands) * np.dtype(pick.array.dtype).itemsize
            for key, pick in picks.items()
        }
        largest = picks[max(sizes, key=sizes.__getitem__)].layer
        shards, number = np.unique(rows // largest.shard_chips, return_inverse=True)
        found.append(number + first)
        first += len(shards)
    return np.concatenate(found)
