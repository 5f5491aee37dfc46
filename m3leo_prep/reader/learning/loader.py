"""A DataLoader whose place in an epoch can be saved: it counts what the trainer got, not what workers read ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import MissingDependency
from m3leo_prep.reader.learning.collate import collate
from m3leo_prep.reader.learning.sampler import ChipSampler

try:
    from torch.utils.data import DataLoader, Sampler
except ImportError as error:
    raise MissingDependency("ChipLoader needs PyTorch", hint="pip install 'm3leo-prep[torch]'") from error

if TYPE_CHECKING:
    from m3leo_prep.reader.learning.chips import ChipDataset


class ChipLoader(DataLoader[Any]):
    """A ``DataLoader`` of chips that resumes in the middle of an epoch, with any number of workers.

    ``state_dict()`` goes into a checkpoint; after ``load_state_dict()`` the next pass gives the batches that were still
    to come. Lightning does both by itself, as with torchdata's ``StatefulDataLoader``. Random transforms go on with
    other random numbers than the interrupted run would have drawn.
    """

    def __init__(self, dataset: ChipDataset, *, sampler: Sampler[int] | None = None, **options: Any) -> None:
        """Make a loader.

        Args:
            dataset: the samples.
            sampler: their order, as a rule a ``ChipSampler``; None = one with its defaults, which shuffles unless
                ``shuffle=False``. Of another sampler, or a ``batch_sampler``, no place is kept.
            options: as of ``torch.utils.data.DataLoader``; ``collate_fn`` is ``mp.collate``, if nothing else is said.
        """
        if options.get("batch_size", 1) is not None:
            options.setdefault("collate_fn", collate)
        if sampler is None and options.get("batch_sampler") is None:
            sampler = ChipSampler(dataset, shuffle=options.pop("shuffle", None) is not False)
        super().__init__(dataset, sampler=sampler, **options)
        self._taken = 0

    def __iter__(self) -> Any:
        """Yield the batches of an epoch, or the rest of one."""
        self._taken = 0
        for batch in super().__iter__():
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return where the training is: after the batch that was handed out last."""
        if not isinstance(self.sampler, ChipSampler):
            return {}
        size = self.batch_size or 1
        n_batches = self.sampler.left // size if self.drop_last else -(-self.sampler.left // size)
        is_over = 0 < n_batches <= self._taken
        return self.sampler.state_dict(self.sampler.left if is_over else self._taken * size)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            ConfigError: it is the state of another order.
        """
        if isinstance(self.sampler, ChipSampler) and state:
            self.sampler.load_state_dict(state)
            self._taken = 0
