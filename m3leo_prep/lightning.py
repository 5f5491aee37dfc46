"""Chips for Lightning, configured in Python, by Hydra or by Lightning's command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.reader.learning.chips import ChipDataset
from m3leo_prep.reader.learning.collate import collate
from m3leo_prep.reader.learning.loader import ChipLoader
from m3leo_prep.reader.learning.phase import View
from m3leo_prep.reader.learning.sampler import ChipSampler, Even

try:
    from lightning.pytorch import LightningDataModule
except ImportError as error:
    raise MissingDependency("ChipDataModule needs Lightning", hint="pip install 'm3leo-prep[lightning]'") from error

import torch
from torch.utils.data import DataLoader

Sample = dict[str, Any]
Transformed = Callable[[Sample], Sample]


class ChipDataModule(LightningDataModule):
    """Chips of one or several datasets for training, validation, test and prediction.

    Hydra makes one from ``_target_: m3leo_prep.lightning.ChipDataModule`` and the arguments below.

    A ``Trainer`` on several devices gets a ``ChipSampler`` of its own for each, and leaves it there; checkpoints in the
    middle of an epoch go on with the batches that were still to come. In validation, test and prediction on several
    devices the last samples may be seen twice, as with Lightning's own samplers: ``chip_id`` tells them.
    """

    def __init__(
        self,
        root: str | Path | Sequence[str | Path],
        layers: Sequence[str],
        labels: Sequence[str] = (),
        *,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        train_split: str | None = "train",
        val_split: str | None = "val",
        test_split: str | None = "test",
        predict_split: str | None = None,
        split_column: str = "split",
        label_budget: float | None = None,
        only: Mapping[str, Sequence[Any]] | None = None,
        hold_out: Mapping[str, Sequence[Any]] | None = None,
        bands: Mapping[str, Sequence[str]] | None = None,
        slots: Mapping[str, Sequence[Any]] | None = None,
        missing: Literal["mask", "drop"] = "mask",
        normalize: bool | str | Mapping[str, Any] = True,
        phase: View = "rereferenced",
        meta: Sequence[str] = (),
        columns: Sequence[str] = (),
        owned_mask: bool = False,
        upsample: Literal["nearest", "bilinear"] | None = None,
        transform: Transformed | None = None,
        eval_transform: Transformed | None = None,
        seed: int = 0,
        window: int = 32,
        even: Even | None = "repeat",
        balance: str | None = None,
        drop_last: bool = True,
        pin_memory: bool | None = None,
        persistent_workers: bool = True,
        prefetch_factor: int | None = None,
        multiprocessing_context: str | None = None,
        allow_mixed: bool = False,
        allow_missing_layers: bool = False,
        stage: str | Path | None = None,
    ) -> None:
        """Choose what is read and how; nothing is opened yet.

        Args:
            root: dataset or datasets; this and what is not told here is as of ``ChipDataset``.
            layers: inputs.
            labels: what is learned.
            batch_size: chips of a batch, of each device.
            eval_batch_size: of validation, test and prediction; None = the same.
            num_workers: processes that read, of each loader.
            train_split: chips to train on; None = all.
            val_split: chips to validate on; None = there is no validation.
            test_split: chips to test on; None = all (of ``hold_out``, where there is one).
            predict_split: chips to predict; None = all.
            split_column: column of these splits.
            label_budget: share of the train chips that may be used.
            only: only chips with these values, by column of ``chips.parquet``.
            hold_out: values by column, such as ``{"admin_country": ["IT"]}``: never trained or validated on, and the
                only chips that are tested on.
            bands: names of bands by key.
            slots: labels or indices of slots by layer.
            missing: ``drop`` leaves out chips without data.
            normalize: True = by the dataset's statistics of train.
            phase: what unwrapped phase becomes: ``rereferenced``, ``raw``, ``wrapped`` or ``displacement``.
            meta: arrays beside the layers.
            columns: columns of ``chips.parquet``.
            owned_mask: add the mask of the zone's own pixels.
            upsample: all layers on the finest lattice.
            transform: of training samples.
            eval_transform: of the others.
            seed: of the order of training samples.
            window: shards that are mixed.
            even: what is done where training samples cannot be dealt evenly to devices.
            balance: label whose classes appear equally in training.
            drop_last: leave out the last, smaller batch of training.
            pin_memory: None = where there is a GPU.
            persistent_workers: keep workers between epochs.
            prefetch_factor: batches that each worker reads ahead.
            multiprocessing_context: ``fork``, ``spawn`` or ``forkserver``.
            allow_mixed: accept datasets that mean different things by the same layer.
            allow_missing_layers: accept datasets that lack some layers.
            stage: folder of a local disk to copy to first.
        """
        super().__init__()
        if batch_size < 1 or (eval_batch_size or 1) < 1 or num_workers < 0:
            raise ConfigError("batch sizes are at least 1, and num_workers at least 0")
        self._options = {
            name: _plain(value)
            for name, value in {
                "layers": layers,
                "labels": labels,
                "split_column": split_column,
                "bands": bands,
                "slots": slots,
                "missing": missing,
                "normalize": normalize or None,
                "phase": phase,
                "meta": meta,
                "columns": columns,
                "owned_mask": owned_mask,
                "upsample": upsample,
                "allow_mixed": allow_mixed,
                "allow_missing_layers": allow_missing_layers,
                "stage": stage,
            }.items()
        }
        self.root = root if isinstance(root, (str, Path)) else list(root)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self._splits = {"train": train_split, "val": val_split, "test": test_split, "predict": predict_split}
        self._label_budget = label_budget
        self._only, self._hold_out = _plain(only or {}), _plain(hold_out or {})
        self._transforms = {"train": transform}
        self._eval_transform = eval_transform
        self._sampling: dict[str, Any] = {"seed": seed, "window": window, "even": even}
        self._balance, self._drop_last = balance, drop_last
        self._loading: dict[str, Any] = {
            "num_workers": num_workers,
            "collate_fn": collate,
            "pin_memory": torch.cuda.is_available() if pin_memory is None else pin_memory,
        }
        if num_workers:
            self._loading |= {
                "persistent_workers": persistent_workers,
                "prefetch_factor": prefetch_factor,
                "multiprocessing_context": multiprocessing_context,
            }
        self.chips: dict[str, ChipDataset] = {}
        """The samples by use: train, val, test, predict; filled by ``setup``."""

    def setup(self, stage: str | None = None) -> None:
        """Open what a stage needs: ``fit``, ``validate``, ``test``, ``predict``; None = all.

        Raises:
            ConfigError: an unknown name, or nothing is left to train, validate, test or predict on.
            StoreError: no finished dataset there.
        """
        uses = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}
        for use in ("train", "val", "test", "predict") if stage is None else uses[stage]:
            if use not in self.chips and not (use == "val" and self._splits["val"] is None):
                self.chips[use] = self._open(use)

    def train_dataloader(self) -> ChipLoader:
        """Return the loader of training: shuffled by shard, anew in each epoch."""
        chips, options = self.chips["train"], self._sampling | self._ranks()
        sampler = (
            ChipSampler(chips, **options)
            if self._balance is None
            else ChipSampler.balanced(chips, layer=self._balance, **options)
        )
        # One short batch is better than none at all.
        drop_last = self._drop_last and len(sampler) >= self.batch_size
        return ChipLoader(chips, sampler=sampler, batch_size=self.batch_size, drop_last=drop_last, **self._loading)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Return the loader of validation, in the order of the samples; nothing where there is none."""
        return self._in_order("val") if "val" in self.chips else []

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the loader of the test."""
        return self._in_order("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the loader of prediction."""
        return self._in_order("predict")

    def _open(self, use: str) -> ChipDataset:
        only, without = dict(self._only), {}
        if use == "test":
            only |= self._hold_out
        elif use != "predict":
            without = self._hold_out
        chips = ChipDataset(
            self.root,
            split=self._splits[use],
            label_budget=self._label_budget if use == "train" else None,
            only=only,
            without=without,
            transform=self._transforms.get(use, self._eval_transform),
            **self._options,
        )
        if not len(chips):
            hint = f"`only`, `hold_out` and {use}_split={self._splits[use]!r} leave none; {use}_split=None: all splits"
            raise ConfigError(
                f"there is no chip for {use}", hint="val_split=None does without" if use == "val" else hint
            )
        return chips

    def _in_order(self, use: str) -> DataLoader[Any]:
        sampler = ChipSampler(self.chips[use], shuffle=False, **self._ranks())
        return DataLoader(self.chips[use], sampler=sampler, batch_size=self.eval_batch_size, **self._loading)

    def _ranks(self) -> dict[str, Any]:
        """Return rank and number of replicas, as the strategy of the trainer deals data."""
        ranks = None if self.trainer is None else self.trainer.distributed_sampler_kwargs
        return ranks or {}


def _plain(value: Any) -> Any:
    """Return lists and dictionaries for what a configuration holds in their place."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return [_plain(one) for one in value] if is_list else value
