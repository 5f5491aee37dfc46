"""Chips as tensors: the dataset class for PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.reader.copies.staging import Root, staged
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.learning.batch import Job, fill
from m3leo_prep.reader.learning.membership import Members, Values, Wanted, find_members
from m3leo_prep.reader.learning.meta import Beside, columns_of, companions_of, resolve_columns
from m3leo_prep.reader.learning.owned import owned_mask as mask_of
from m3leo_prep.reader.learning.owned import read_places
from m3leo_prep.reader.learning.phase import View
from m3leo_prep.reader.learning.phase_read import read_phase
from m3leo_prep.reader.learning.tensors import IGNORE_INDEX, Sample, TorchDataset, buffer, torch
from m3leo_prep.reader.learning.together import Normalize, check_all, resolve_all, statistics_of, union
from m3leo_prep.reader.learning.transforms.base import bound
from m3leo_prep.reader.learning.transforms.info import Keys, describe
from m3leo_prep.reader.learning.upsample import METHODS, factors, is_smooth
from m3leo_prep.reader.learning.upsample import upsample as finer
from m3leo_prep.reader.selection import Bands, Pick, Slots

if TYPE_CHECKING:
    from m3leo_prep.reader.learning.torchgeo import TorchGeoChips

__all__ = ["IGNORE_INDEX", "ChipDataset", "Sample"]


class ChipDataset(TorchDataset[Sample]):
    """Chips of one or several datasets, as dictionaries of tensors.

    ``chips[i]`` has for each key (``layer``, or ``layer.variable`` where a layer has several) a float32 tensor (time,
    band, y, x), static (band, y, x), in physical units, 0 where missing; classes are int64 with 255 where missing.
    ``<key>_mask`` is bool, True where valid; ``chip_id`` and ``row`` say which chip it is. It pickles, and works in
    forked and spawned workers. In a ``DataLoader``, ``collate_fn=mp.collate`` saves a copy of each batch.
    """

    def __init__(
        self,
        root: Root | Sequence[Root],
        *,
        layers: Sequence[str],
        labels: Sequence[str] = (),
        split: str | None = None,
        split_column: str = "split",
        label_budget: float | None = None,
        only: Values | None = None,
        without: Values | None = None,
        bands: Bands | None = None,
        slots: Slots | None = None,
        missing: Literal["mask", "drop"] = "mask",
        normalize: Normalize = None,
        phase: View = "rereferenced",
        meta: Sequence[str] = (),
        columns: Sequence[str] = (),
        owned_mask: bool = False,
        upsample: Literal["nearest", "bilinear"] | None = None,
        transform: Callable[[Sample], Sample] | None = None,
        ids: Sequence[str] | None = None,
        allow_mixed: bool = False,
        allow_missing_layers: bool = False,
        stage: str | Path | None = None,
    ) -> None:
        """Choose what to read; no pixel is read yet.

        Args:
            root: folder or address of a dataset, or an opened ``Dataset``; or several, whose chips follow each other.
            layers: layers, or single variables as ``layer.variable``.
            labels: more of the same: what is learned.
            split: only chips of this split; None = all.
            split_column: ``split_<name>`` for a policy that was added as ``<name>``.
            label_budget: only this share of the train chips (0.01 = 1 %), each budget part of any larger one; goes with
                ``split="train"``.
            only: only chips with one of these values, by column of ``chips.parquet``, such as
                ``{"admin_country": ["IT", "FR"]}``.
            without: leave such chips out.
            bands: names of bands by key, in the order wanted; only these are read.
            slots: labels or indices of slots by layer, in the order wanted; only these are read.
            missing: ``drop`` leaves out chips where something asked for has no valid pixel at all.
            normalize: True = by the statistics that the dataset ships, made from train only (from all chips where it
                has no splits; of several datasets as if they were one; all slots of a layer alike), by the policy of
                ``split_column``; the name of an added policy = by those of its train; or (mean, std) by key, each one
                number or one per band read, in physical units. Classes are never touched.
            phase: what unwrapped phase becomes. ``rereferenced``: minus the reference that the dataset keeps of each
                chip and slot, the median of the chip's largest connected component, which is what its statistics count
                from. ``raw``: as stored, with the arbitrary constant of each pair. ``wrapped``: cosine and sine of what
                is stored, two channels in the place of each band, never normalised. ``displacement``: metres along the
                line of sight, positive towards the sensor, from that reference.
            meta: arrays beside the layers, such as ``relative_orbit`` or ``s1.mean_time``: as ``<layer>_<name>``,
                float32 (time,), times in days since 1970-01-01 (to 1.5 minutes); 0 where unknown, and
                ``<layer>_<name>_mask`` False.
            columns: columns of ``chips.parquet`` by their names, float32 with a mask likewise, or strings;
                ``prop_<layer>`` means the shares of all classes together: float32 (class,).
            owned_mask: add ``owned_mask``, bool (y, x) on the finest lattice read: False where another UTM zone has the
                same ground in a chip of its own.
            upsample: bring every layer to the finest lattice read, before ``transform``: ``nearest`` repeats pixels,
                ``bilinear`` interpolates between valid ones (never classes, phases or directions).
            transform: applied to each sample, last.
            ids: only these chips, in this order.
            allow_mixed: accept datasets that mean different things by the same layer.
            allow_missing_layers: accept datasets that lack some of the layers. In their samples nothing of these is
                valid, and ``<key>_present``, which is added for each layer that some dataset lacks, is False.
            stage: folder on a fast local disk: what is needed is copied there first, and read from there ever after,
                without a network.

        Raises:
            ConfigError: an unknown name, statistics that fit no key, datasets that differ.
            StoreError: no finished dataset there.
        """
        roots: list[Root] = [root] if isinstance(root, (str, Path, Dataset)) else list(root)
        if not roots:
            raise ConfigError("no dataset is given")
        if missing not in {"mask", "drop"}:
            raise ConfigError(f"missing must be 'mask' or 'drop', not {missing!r}")
        if upsample is not None and upsample not in METHODS:
            raise ConfigError(f"upsample must be 'nearest' or 'bilinear', not {upsample!r}")
        names = [*layers, *labels]
        wanted = Wanted(split, split_column, label_budget, only or {}, without or {})

        def choose(datasets: Sequence[Dataset]) -> tuple[list[dict[str, Pick]], list[Members]]:
            lenient = allow_missing_layers
            picks = resolve_all(datasets, names, bands or {}, slots or {}, allow_missing_layers=lenient)
            check_all(datasets, picks, allow_mixed=allow_mixed)
            members = find_members(datasets, wanted, ids)
            if missing == "drop":
                chosen = zip(members, datasets, picks, strict=True)
                members = [part.with_data(dataset, pick) for part, dataset, pick in chosen]
            return picks, members

        def needs(datasets: Sequence[Dataset]) -> list[tuple[dict[str, Pick], NDArray[np.int64]]]:
            picks, members = choose(datasets)
            return [(pick, part.rows) for pick, part in zip(picks, members, strict=True)]

        if stage is None:
            self.datasets = tuple(one if isinstance(one, Dataset) else Dataset(one) for one in roots)
        else:
            self.datasets = tuple(staged(roots, Path(stage), needs))
        self.picks, members = choose(self.datasets)
        self.split_column = split_column
        self._union = union(self.picks)
        self._phase = read_phase(phase, self.datasets, self.picks, [part.rows for part in members])
        of_datasets = statistics_of(normalize, split_column, self.datasets, self.picks)
        is_shipped = normalize is True or isinstance(normalize, str)
        self._statistics = self._phase.normalized(of_datasets, is_shipped=is_shipped)
        stored = describe(self.picks, self._statistics)
        self.keys: Keys = self._phase.described(stored)
        """What each key of a sample is, before ``transform``."""
        self.transform = bound(transform, self.keys)
        self._factors = {} if upsample is None else factors(self.picks)
        self._smooth = {key for key, info in stored.items() if upsample == "bilinear" and is_smooth(info)}
        self._ids = pa.chunked_array([chunk for part in members for chunk in part.ids.chunks], pa.string())
        self._rows = np.concatenate([part.rows for part in members])
        self._starts = np.cumsum([0, *(len(part.rows) for part in members)])
        self._beside = _beside(self.datasets, self.picks, members, meta, columns)
        lattices = [(pick.layer.size, pick.layer.pitch) for pick in self._union.values()]
        self._finest = max(lattices)
        self._places = [read_places(*one) for one in self.parts] if owned_mask else None

    @property
    def ids(self) -> list[str]:
        """Chip ids, in the order of the samples."""
        ids: list[str] = self._ids.to_pylist()
        return ids

    @property
    def parts(self) -> list[tuple[Dataset, NDArray[np.int64]]]:
        """Each dataset and the rows of its samples; the samples of one dataset follow those of the one before."""
        return list(zip(self.datasets, np.split(self._rows, self._starts[1:-1]), strict=True))

    def as_torchgeo(self, **options: Any) -> TorchGeoChips:
        """Return these chips under the names of TorchGeo's samples; see ``TorchGeoChips`` for the options."""
        from m3leo_prep.reader.learning.torchgeo import TorchGeoChips

        return TorchGeoChips(self, **options)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<ChipDataset of {len(self):,} chips: {', '.join(self._union)}>"

    def __getitem__(self, index: int) -> Sample:
        """Return one sample.

        Raises:
            IndexError: beyond the end.
            StoreError: a shard is absent or short.
            VerifyError: a shard is damaged.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """Return the samples of a batch, read together; each is its own, even one that is asked for twice.

        Their tensors are views of one buffer per key, which ``collate`` finds again; whoever keeps one sample of many
        for long clones its tensors, or the whole buffers stay. Errors as of one sample.
        """
        places = np.array([self._place(index) for index in indices], np.int64)
        of = np.searchsorted(self._starts, places, side="right") - 1
        rows = self._rows[places].tolist()
        samples: list[Sample] = [{} for _ in rows]
        inside = places - self._starts[of]
        self._add_pixels(samples, of.tolist(), rows, inside.tolist())
        self._add_beside(samples, of, inside)
        for sample, place, row in zip(samples, places.tolist(), rows, strict=True):
            sample["chip_id"] = self._ids[place].as_py()
            sample["row"] = row
        return samples if self.transform is None else [self.transform(sample) for sample in samples]

    def _place(self, index: int) -> int:
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return place % len(self)

    def _add_pixels(self, samples: list[Sample], of: list[int], rows: list[int], places: list[int]) -> None:
        """Read what is picked of each sample's row; ``of`` is the number of its dataset, ``places`` count in it."""
        jobs: list[list[Job]] = [[] for _ in self.datasets]
        read = {}
        for key, pick in self._union.items():
            # What is made finer, or something else, is read into memory of this process alone.
            make = buffer if self._factors.get(key, 1) == 1 and not self._phase.wraps(key) else torch.empty
            shape = (len(samples), len(pick.slots), len(pick.bands), pick.layer.size, pick.layer.size)
            values = make(shape, dtype=torch.int64 if pick.array.is_class else torch.float32)
            valid = make(shape, dtype=torch.bool)
            is_everywhere = all(key in picks for picks in self.picks)
            for n, (into, mask) in enumerate(zip(values.numpy(), valid.numpy(), strict=True)):
                one = self.picks[of[n]].get(key)
                if not is_everywhere:
                    samples[n][f"{key}_present"] = one is not None
                if one is None:
                    into.fill(IGNORE_INDEX if pick.array.is_class else 0)
                    mask.fill(0)
                else:
                    mean_std = self._phase.statistics(of[n], places[n], key, self._statistics.get(key))
                    jobs[of[n]].append(Job(one, rows[n], into, mask, mean_std))
            read[key] = values, valid
        for dataset, of_dataset in zip(self.datasets, jobs, strict=True):
            fill(dataset.reader, of_dataset)
        for key, coarse in read.items():
            if key in self._phase.keys:
                make = buffer if self._factors.get(key, 1) == 1 else torch.empty
                coarse = self._phase.viewed(key, *coarse, of, places, make)  # noqa: PLW2901  in the place of what was read
            values, valid = finer(*coarse, self._factors.get(key, 1), smooth=key in self._smooth)
            if self._union[key].layer.is_static:
                values, valid = values.squeeze(1), valid.squeeze(1)
            for n, sample in enumerate(samples):
                sample |= {key: values[n], f"{key}_mask": valid[n]}

    def _add_beside(self, samples: list[Sample], of: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        """Add what is known beside the pixels; ``places`` count in each dataset."""
        if self._places is not None:
            size, pitch = self._finest
            owned = buffer((len(samples), size, size), torch.bool)
            for n, sample in enumerate(samples):
                owned[n] = torch.from_numpy(mask_of(self._places[of[n]], int(places[n]), size, pitch))
                sample["owned_mask"] = owned[n]
        for key, example in self._beside[0].items():
            found = [self._beside[part][key][place] for part, place in zip(of.tolist(), places.tolist(), strict=True)]
            if not isinstance(example, np.ndarray):
                for sample, text in zip(samples, found, strict=True):
                    sample[key] = text.as_py() or ""
                continue
            values = buffer((len(samples), *example.shape[1:]), torch.float32)
            valid = buffer(values.shape, torch.bool)
            for n, sample in enumerate(samples):
                values[n] = torch.as_tensor(found[n])
                sample |= {key: values[n], f"{key}_mask": valid[n]}
            torch.logical_not(torch.isnan(values), out=valid)
            values.masked_fill_(~valid, 0)


def _beside(
    datasets: Sequence[Dataset],
    picks: Sequence[dict[str, Pick]],
    members: Sequence[Members],
    meta: Sequence[str],
    columns: Sequence[str],
) -> list[Beside]:
    """Return what is known beside the pixels, by dataset, the same keys of each.

    Raises:
        ConfigError: an unknown name, or one that is a key of the samples already.
    """
    known = union(picks)
    named = [resolve_columns(dataset, columns) for dataset in datasets]
    for dataset, other in zip(datasets, named, strict=True):
        if other != named[0]:
            message = "classes of labels differ, so their shares do not go together"
            raise ConfigError(message, where=f"{datasets[0].url} and {dataset.url}")
    layers = {pick.layer.name for pick in known.values()}
    made = [
        companions_of(dataset, pick, meta, part.rows, layers) | columns_of(dataset, named[0], part.rows)
        for dataset, pick, part in zip(datasets, picks, members, strict=True)
    ]
    every = {key: values for beside in reversed(made) for key, values in beside.items()}
    for asked in meta:
        of, _, name = asked.rpartition(".")
        if not any(f"{layer}_{name}" in every for layer in layers if of in {"", layer}):
            raise ConfigError(f"there is no '{name}' beside {of or ', '.join(sorted(layers))}")
    for beside, part in zip(made, members, strict=True):
        for key, example in every.items():
            if key not in beside:  # of a layer that this dataset lacks
                beside[key] = np.full((len(part.rows), *example.shape[1:]), np.nan, np.float32)
    taken = {"chip_id", "row", "owned_mask", *(f"{key}{end}" for key in known for end in ("", "_mask", "_present"))}
    for key in every:
        if key in taken:
            raise ConfigError(f"'{key}' of `meta` or `columns` is a key of the samples already")
    return made
