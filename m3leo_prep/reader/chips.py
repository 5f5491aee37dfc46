"""Chips as tensors: the dataset class for PyTorch."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from m3leo_prep.core.encoding import CLASS_FILL
from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.core.text import near
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.selection import Bands, Pick, Slots, check_agreement, check_keys, has_data, resolve
from m3leo_prep.reader.statistics import MeanStd, shipped

try:
    import torch
    from torch.utils.data import Dataset as TorchDataset
except ImportError as error:
    raise MissingDependency("ChipDataset needs PyTorch", hint="pip install 'm3leo-prep[torch]'") from error

IGNORE_INDEX = CLASS_FILL
"""What class tensors hold where there is no class; the ``ignore_index`` to give to a loss."""
Sample = dict[str, Any]


class ChipDataset(TorchDataset[Sample]):
    """Chips of one or several datasets, as dictionaries of tensors.

    ``chips[i]`` has for each key (``layer``, or ``layer.variable`` where a layer has several) a float32 tensor (time,
    band, y, x), static (band, y, x), in physical units, 0 where missing; classes are int64 with 255 where missing.
    ``<key>_mask`` is bool, True where valid; ``chip_id`` and ``row`` say which chip it is. It pickles, and works in
    forked and spawned workers.
    """

    def __init__(
        self,
        root: str | Path | Sequence[str | Path],
        *,
        layers: Sequence[str],
        labels: Sequence[str] = (),
        split: str | None = None,
        split_column: str = "split",
        label_budget: float | None = None,
        bands: Bands | None = None,
        slots: Slots | None = None,
        missing: Literal["mask", "drop"] = "mask",
        normalize: Mapping[str, tuple[ArrayLike, ArrayLike]] | bool | str | None = None,
        transform: Callable[[Sample], Sample] | None = None,
        ids: Sequence[str] | None = None,
        allow_mixed: bool = False,
    ) -> None:
        """Choose what to read; no pixel is read yet.

        Args:
            root: folder of a dataset, or of several, whose chips follow each other.
            layers: layers, or single variables as ``layer.variable``.
            labels: more of the same: what is learned.
            split: only chips of this split; None = all.
            split_column: ``split_<name>`` for a policy that was added as ``<name>``.
            label_budget: only this share of the train chips (0.01 = 1 %), each budget part of any larger one; goes with
                ``split="train"``.
            bands: names of bands by key, in the order wanted; only these are read.
            slots: labels or indices of slots by layer, in the order wanted; only these are read.
            missing: ``drop`` leaves out chips where something asked for has no valid pixel at all.
            normalize: True = by the statistics that the dataset ships, made from train only (from all chips where it
                has no splits; of several datasets as if they were one; all slots of a layer alike), by the policy of
                ``split_column``; the name of an added policy = by those of its train; or (mean, std) by key, each one
                number or one per band read, in physical units. Classes are never touched.
            transform: applied to each sample, last.
            ids: only these chips, in this order.
            allow_mixed: accept datasets that mean different things by the same layer.

        Raises:
            ConfigError: an unknown name, statistics that fit no key, datasets that differ.
            StoreError: no finished dataset there.
        """
        roots = [root] if isinstance(root, (str, Path)) else list(root)
        if not roots:
            raise ConfigError("no dataset is given")
        if missing not in {"mask", "drop"}:
            raise ConfigError(f"missing must be 'mask' or 'drop', not {missing!r}")
        self.datasets = tuple(Dataset(path) for path in roots)
        names = [*layers, *labels]
        self.picks = tuple(resolve(dataset, names, bands or {}, slots or {}) for dataset in self.datasets)
        check_agreement(self.datasets, self.picks, allow_mixed=allow_mixed)
        self.transform = transform
        self.split_column = split_column
        if normalize is True or isinstance(normalize, str):
            policy = normalize if isinstance(normalize, str) else split_column.removeprefix("split")[1:] or None
            self._statistics = shipped(self.datasets, self.picks, policy)
        else:
            self._statistics = _statistics(normalize or None, self.picks[0])
        parts = [_Chips(dataset, split, split_column, label_budget) for dataset in self.datasets]
        if ids is not None:
            _check_ids(ids, parts)
            parts = [part.only(ids) for part in parts]
        if missing == "drop":
            parts = [part.with_data(pick) for part, pick in zip(parts, self.picks, strict=True)]
        self._ids = np.concatenate([part.ids for part in parts])
        self._rows = np.concatenate([part.rows for part in parts])
        self._part = np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts])

    @property
    def ids(self) -> list[str]:
        """Chip ids, in the order of the samples."""
        return [str(chip) for chip in self._ids]

    @property
    def parts(self) -> list[tuple[Dataset, NDArray[np.int64]]]:
        """Each dataset and the rows of its samples; the samples of one dataset follow those of the one before."""
        return [(dataset, self._rows[self._part == k]) for k, dataset in enumerate(self.datasets)]

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<ChipDataset of {len(self):,} chips: {', '.join(self.picks[0])}>"

    def __getitem__(self, index: int) -> Sample:
        """Return one sample.

        Raises:
            IndexError: beyond the end.
            StoreError: a shard is absent or short.
            VerifyError: a shard is damaged.
        """
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        part, row = int(self._part[place]), int(self._rows[place])
        reader = self.datasets[part].reader
        sample: Sample = {}
        for key, pick in self.picks[part].items():
            codes = reader.read(pick.layer, pick.array, row, pick.slots, pick.bands)
            values, valid = pick.array.physical(codes)
            if pick.array.is_class:
                values = values.astype(np.int64)
                values[~valid] = IGNORE_INDEX
            else:
                if key in self._statistics:
                    mean, std = self._statistics[key]
                    values -= mean
                    values /= std
                values[~valid] = 0
            sample[key] = torch.from_numpy(values)
            sample[f"{key}_mask"] = torch.from_numpy(valid)
        sample["chip_id"] = str(self._ids[place])
        sample["row"] = row
        return sample if self.transform is None else self.transform(sample)

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """Return the samples of a batch, read in the order in which they lie on disk."""
        # Each is read by itself even when asked for twice: a random transform must not repeat itself.
        order = sorted(range(len(indices)), key=lambda position: indices[position] % max(1, len(self)))
        samples = {position: self[indices[position]] for position in order}
        return [samples[position] for position in range(len(indices))]


class _Chips:
    """Some chips of one dataset."""

    def __init__(self, dataset: Dataset, split: str | None, column: str, budget: float | None) -> None:
        ranked = column.replace("split", "label_rank", 1)
        columns = ["chip_id", column, *([] if budget is None else [ranked])]
        entries = ["split", *dataset.manifest.get("splits", {})]
        if column not in entries:
            raise ConfigError(
                f"there is no split column '{column}'",
                where=str(dataset.path),
                hint=near(column, dict.fromkeys(entries)),
            )
        if budget is not None and (split != "train" or not 0 < budget <= 1):
            raise ConfigError(
                f"a label budget of {budget} for split={split!r}",
                hint="a budget is a share above 0 and up to 1 of the train chips: label_budget=0.01, split='train'",
            )
        if budget is not None and column not in dataset.manifest.get("splits", {}):
            others = ", ".join(f"split_column='{name}'" for name in dataset.manifest.get("splits", {}))
            raise ConfigError(
                f"'{column}' assigns no chip, so it has no label budgets",
                where=str(dataset.path),
                hint=others or f"add splits: `m3leo-prep split {dataset.path} --policy blocks`",
            )
        table = dataset.table("chips.parquet", columns)
        self.dataset = dataset
        self.ids = np.array(table["chip_id"].to_pylist(), str)
        self.rows = np.arange(len(self.ids))
        if split is not None:
            splits = np.array([name or "" for name in table[column].to_pylist()], str)
            known = sorted(set(splits.tolist()) - {""})
            if split not in known:
                hint = near(split, known) or "this dataset has no splits: leave `split` out, or pass `ids`"
                raise ConfigError(f"there is no split '{split}'", where=str(dataset.path), hint=hint)
            chosen = splits == split
            if budget is not None:
                n_train = int(chosen.sum())
                ranks = table[ranked].to_numpy(zero_copy_only=False)
                if np.isnan(ranks[chosen]).all():
                    raise ConfigError(
                        f"{ranked} holds nothing yet: the label layer that stratifies it is not built",
                        where=str(dataset.path),
                        hint="run `build` again, with that layer",
                    )
                chosen &= ranks <= budget
                if not chosen.any():
                    raise ConfigError(
                        f"a budget of {budget:g} of {n_train:,} train chips holds none",
                        where=str(dataset.path),
                        hint=f"one chip is {math.ceil(1e6 / n_train) / 1e6:g} of them",
                    )
            self._keep(np.flatnonzero(chosen))

    def only(self, ids: Sequence[str]) -> _Chips:
        """Keep these ids, in their order; those that are elsewhere are left out."""
        places = {str(chip): place for place, chip in enumerate(self.ids)}
        return self._keep(np.array([places[chip] for chip in ids if chip in places], np.int64))

    def with_data(self, picks: Mapping[str, Pick]) -> _Chips:
        """Keep chips that have a valid pixel of everything that is read."""
        kept = np.ones(len(self.rows), bool)
        for pick in picks.values():
            kept &= has_data(self.dataset, pick)[self.rows]
        return self._keep(np.flatnonzero(kept))

    def _keep(self, places: NDArray[np.int64]) -> _Chips:
        self.ids, self.rows = self.ids[places], self.rows[places]
        return self


def _check_ids(ids: Sequence[str], parts: Sequence[_Chips]) -> None:
    unknown = set(ids).difference(*(part.ids.tolist() for part in parts))
    if unknown:
        first = next(chip for chip in ids if chip in unknown)
        hint = "ids are in the column chip_id of chips.parquet; with `split`, only those of the split count"
        raise ConfigError(f"{len(unknown)} of the ids are not here, the first is '{first}'", hint=hint)


def _statistics(
    normalize: Mapping[str, tuple[ArrayLike, ArrayLike]] | None, picks: Mapping[str, Pick]
) -> dict[str, MeanStd]:
    """Return (mean, std) by key, each (band, 1, 1) or (1, 1, 1) float32."""
    if normalize is None:
        return {}
    if not isinstance(normalize, Mapping):
        raise ConfigError(
            "normalize takes True, the name of a split policy, or {key: (mean, std)}",
            hint="True takes the dataset's own; yours would be such as normalize={'s1grd': (-12.0, 5.0)}",
        )
    quantities = [key for key, pick in picks.items() if not pick.array.is_class]
    check_keys("normalize", normalize, quantities)
    made = {}
    for key, pair in normalize.items():
        mean, std = (np.asarray(values, np.float32).reshape(-1, 1, 1) for values in pair)
        n_bands = len(picks[key].bands)
        if {len(mean), len(std)} - {1, n_bands}:
            raise ConfigError(f"{len(mean)} means and {len(std)} stds do not fit {n_bands} bands", where=key)
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise ConfigError("means must be finite, and stds finite and above 0", where=key)
        made[key] = mean, std
    return made
