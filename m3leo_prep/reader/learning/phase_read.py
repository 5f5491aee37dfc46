"""Unwrapped phase as a dataset gives it to samples: counted from what the store keeps of each chip, or viewed else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.learning.meta import documents, values_beside
from m3leo_prep.reader.learning.phase import View, check_view, cos_sin, metres_towards_sensor, seen
from m3leo_prep.reader.learning.tensors import torch
from m3leo_prep.reader.learning.transforms.info import KeyInfo
from m3leo_prep.reader.selection import Pick
from m3leo_prep.reader.statistics import MeanStd

REFERENCE = "phase_reference"


@dataclass(frozen=True, slots=True, eq=False)
class PhaseRead:
    """How the unwrapped phase of several datasets is read."""

    view: View
    keys: frozenset[str]
    """Of the samples that are unwrapped phase."""
    references: tuple[Mapping[str, NDArray[np.float32]], ...]
    """By dataset and key, (sample, slot, band) in the unit of the phase; NaN where nothing is valid. Of the views that
    have a reference."""
    metres: tuple[Mapping[str, float], ...]
    """By dataset and key, what one unit of phase is towards the sensor; of displacement only."""

    def wraps(self, key: str) -> bool:
        """Return whether a key gets two channels for each band."""
        return self.view == "wrapped" and key in self.keys

    def statistics(self, part: int, place: int, key: str, given: MeanStd | None) -> MeanStd | None:
        """Return (mean, std) by which a sample is read: taking off the reference is part of normalising.

        Args:
            part: number of the dataset.
            place: of the sample in it.
            key: of the sample.
            given: (mean, std) in the unit of the view, or None.
        """
        reference = self.references[part].get(key)
        if reference is None:
            return None if self.wraps(key) else given
        metre = self.metres[part].get(key, 1.0)
        mean, std = (np.zeros((1, 1, 1)), np.ones((1, 1, 1))) if given is None else given
        zero = np.nan_to_num(reference[place].astype(np.float64))[..., None, None]
        return (zero + mean / metre).astype(np.float32), np.broadcast_to(std / metre, zero.shape).astype(np.float32)

    def viewed(
        self,
        key: str,
        values: torch.Tensor,
        valid: torch.Tensor,
        of: Sequence[int],
        places: Sequence[int],
        make: Callable[..., torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (values, valid) of unwrapped phase as samples get it.

        Args:
            key: of the samples.
            values: (sample, slot, band, y, x) as read with ``statistics``.
            valid: likewise.
            of: (sample,) number of its dataset.
            places: (sample,) its place in that.
            make: allocates a tensor of a shape and dtype.
        """
        for n, (part, place) in enumerate(zip(of, places, strict=True)):
            reference = self.references[part].get(key)
            if reference is not None and (gone := np.isnan(reference[place])).any():
                valid[n][torch.from_numpy(gone)] = False
                values[n][torch.from_numpy(gone)] = 0
        if not self.wraps(key):
            return values, valid
        shape = (*values.shape[:2], 2 * values.shape[2], *values.shape[3:])
        return cos_sin(values, valid, (make(shape, dtype=torch.float32), make(shape, dtype=torch.bool)))

    def described(self, keys: Mapping[str, KeyInfo]) -> dict[str, KeyInfo]:
        """Return the keys with what the view makes of them.

        Raises:
            ConfigError: metres cannot be wrapped.
        """
        return {key: seen(info, self.view, key) if key in self.keys else info for key, info in keys.items()}

    def normalized(self, statistics: Mapping[str, MeanStd], *, is_shipped: bool) -> dict[str, MeanStd]:
        """Return (mean, std) by key in the units of the view.

        Args:
            statistics: by key; those of phase that a dataset ships are of rereferenced phase in its stored unit.
            is_shipped: they are the dataset's own, not given by the user.

        Raises:
            ConfigError: they do not fit the view.
        """
        made = dict(statistics)
        for key in self.keys & statistics.keys():
            if self.view == "wrapped":
                if not is_shipped:
                    hint = "leave it out of `normalize`"
                    raise ConfigError(f"cosine and sine of '{key}' are not normalised", hint=hint)
                del made[key]
            elif is_shipped and self.view == "raw":
                hint = f"phase='rereferenced', or pass your own: normalize={{'{key}': (mean, std), ...}}"
                raise ConfigError(f"the statistics of '{key}' count phase from each chip's reference", hint=hint)
            elif is_shipped and self.view == "displacement":
                factors = {of[key] for of in self.metres if key in of}
                if len(factors) > 1:
                    hint = f"pass your own: normalize={{'{key}': (mean, std), ...}}"
                    raise ConfigError(f"datasets differ in wavelength or sign of '{key}'", hint=hint)
                mean, std = statistics[key]
                metre = np.float32(factors.pop())
                made[key] = mean * metre, std * abs(metre)
        return made


def read_phase(
    view: View, datasets: Sequence[Dataset], picks: Sequence[Mapping[str, Pick]], rows: Sequence[NDArray[np.int64]]
) -> PhaseRead:
    """Return how unwrapped phase is read of these rows of each dataset.

    Raises:
        ConfigError: no such view, no reference in a dataset, or a wavelength or sign that is not known.
        StoreError: the references cannot be read.
    """
    check_view(view)
    of = [{key: pick for key, pick in part.items() if pick.array.kind == Kind.UNWRAPPED_PHASE} for part in picks]
    references: list[dict[str, NDArray[np.float32]]] = [{} for _ in of]
    metres: list[dict[str, float]] = [{} for _ in of]
    for place, (dataset, phases) in enumerate(zip(datasets, of, strict=True)):
        for key, pick in phases.items():
            if view in {"rereferenced", "displacement"}:
                references[place][key] = _references(dataset, key, pick, rows[place])
            if view == "displacement":
                array = pick.array
                metres[place][key] = metres_towards_sensor(key, array.unit, array.attributes)
    return PhaseRead(view, frozenset(key for phases in of for key in phases), tuple(references), tuple(metres))


def _references(dataset: Dataset, key: str, pick: Pick, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    layer = pick.layer.name
    about = documents(dataset, layer).get(REFERENCE)
    if about is None or about["attributes"].get("of_variable") != pick.array.name:
        hint = "build the dataset again, or read it with phase='raw' (and PhaseView, which takes medians itself)"
        raise ConfigError(f"the dataset does not keep what '{key}' is counted from", where=dataset.url, hint=hint)
    found = values_beside(dataset, layer, REFERENCE, about, {key: pick}, rows)
    return found.reshape(len(rows), len(pick.slots), len(pick.bands))
