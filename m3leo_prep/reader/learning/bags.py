"""Bags of chips: all chips of an administrative unit together, with what is known of the unit as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near

if TYPE_CHECKING:
    from m3leo_prep.reader.dataset import Dataset
    from m3leo_prep.reader.learning.chips import ChipDataset


@dataclass(frozen=True, slots=True, eq=False)
class Bag:
    """Chips of one unit, and the proportions that a model is to reproduce over them."""

    unit: str
    split: str
    """Of its chips; empty where they have none."""
    indices: NDArray[np.int64]
    """Of samples of the ``ChipDataset``, in its order."""
    proportions: NDArray[np.float32]
    """(class,), in the order of ``Bags.classes``; they sum to 1."""
    coverage: float
    """Share of the unit's land that built chips cover, in or out of the split."""


class Bags:
    """Batches for learning from label proportions: each is chips of one unit, and each chip is in one of them.

    Give it to ``DataLoader(chips, batch_sampler=bags)``. A bag holds chips of one dataset and one split only. Units
    without proportions (see ``reason_<layer>`` of ``units.parquet``) and chips in no unit are left out: ``left_out``
    counts those chips. A pass goes on to the next epoch; ``set_epoch`` chooses another.
    """

    def __init__(
        self,
        chips: ChipDataset,
        *,
        layer: str,
        unit: str = "unit",
        target: Literal["own", "built"] = "own",
        max_size: int | None = None,
        seed: int = 0,
    ) -> None:
        """Gather the bags.

        Args:
            chips: the samples.
            layer: label layer, as in the columns ``prop_<layer>_<class>``.
            unit: name of the units, as in the column ``admin_<unit>``.
            target: proportions of the whole unit by the label itself, or of what its built chips contain.
            max_size: most chips of a batch: a larger bag is dealt out evenly over several, anew in each epoch.
            seed: of the order of batches, and of chips inside.

        Raises:
            ConfigError: the dataset has no such units or proportions.
            StoreError: a table cannot be read.
        """
        if max_size is not None and max_size < 1:
            raise ConfigError(f"max_size must be at least 1, not {max_size}")
        if target not in {"own", "built"}:
            raise ConfigError(f"target must be 'own' or 'built', not {target!r}")
        self.classes: tuple[str, ...] = ()
        """Names of the classes."""
        self.left_out = 0
        """Samples that are in no bag."""
        self._bags: list[Bag] = []
        self._max_size, self._seed, self._epoch = max_size, seed, 0
        first = 0
        for dataset, rows in chips.parts:
            self._gather(dataset, rows, first, layer, unit, target, chips.split_column)
            first += len(rows)
        if not self._bags:
            raise ConfigError(
                "no chip lies in a unit with proportions", hint="see the columns reason_* of units.parquet"
            )

    def bag(self, index: int) -> Bag:
        """Return a bag by its number; they are in the order of datasets, units and splits."""
        return self._bags[index]

    @property
    def bags(self) -> Sequence[Bag]:
        """All bags."""
        return tuple(self._bags)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; the same epoch gives the same order."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches of one epoch."""
        return sum(self._n_parts(bag) for bag in self._bags)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of this epoch, each the indices of samples of one bag."""
        random = np.random.default_rng([self._seed, self._epoch])
        self._epoch += 1
        batches = [
            part.tolist()
            for bag in self._bags
            for part in np.array_split(random.permutation(bag.indices), self._n_parts(bag))
        ]
        for place in random.permutation(len(batches)).tolist():
            yield batches[place]

    def _gather(
        self,
        dataset: Dataset,
        rows: NDArray[np.int64],
        first: int,
        layer: str,
        unit: str,
        target: str,
        split_column: str,
    ) -> None:
        """Add the bags of one dataset, whose samples are numbered from ``first``."""
        where = dataset.url
        admin, told = dataset.manifest.get("admin"), dataset.manifest.get("proportions") or {}
        if admin is None:
            hint = "build it with `admin: {path: units.geojson, id: COLUMN}` in the recipe"
            raise ConfigError("this dataset has no administrative units", where=where, hint=hint)
        if unit != admin["name"]:
            hint = near(unit, [admin["name"]])
            raise ConfigError(f"this dataset has no units named '{unit}'", where=where, hint=hint)
        columns = {name: about for name, about in told.get("columns", {}).items() if about["what"] == "prop"}
        if layer not in columns:
            raise ConfigError(f"there are no proportions of '{layer}'", where=where, hint=near(layer, columns))
        classes = tuple(columns[layer]["classes"])
        if self.classes and classes != self.classes:
            message = f"its classes are {', '.join(classes)}, those of the first dataset {', '.join(self.classes)}"
            raise ConfigError(message, where=where, hint="group both in the same way in their recipes")
        self.classes = classes
        begin = f"prop_built_{layer}_" if target == "built" else f"prop_{layer}_"
        names = [begin + one for one in classes]
        units = dataset.table("units.parquet")
        if not set(names) <= set(units.column_names):
            why = told.get("not_of_units", {}).get(layer)
            hint = "build it" if why is None else "target='built' takes what the built chips of a unit hold"
            why = why or "the layer is not built yet"
            raise ConfigError(f"units have no proportions of '{layer}': {why}", where=where, hint=hint)
        shares = np.stack([units[name].to_numpy() for name in names], axis=1)
        known = {name: k for k, name in enumerate(units["unit"].to_pylist()) if np.isfinite(shares[k]).all()}
        coverage = units["coverage"].to_numpy()
        columns_read = [f"admin_{unit}", split_column]
        table = dataset.table("chips.parquet", columns_read)
        owner, split = (np.array([v or "" for v in table[c].to_pylist()], str)[rows] for c in columns_read)
        places: dict[tuple[str, str], list[int]] = {}
        for place, key in enumerate(zip(owner.tolist(), split.tolist(), strict=True)):
            if key[0] in known:
                places.setdefault(key, []).append(first + place)
            else:
                self.left_out += 1
        for key in sorted(places):
            k = known[key[0]]
            indices = np.array(places[key], np.int64)
            self._bags.append(Bag(*key, indices, shares[k].astype(np.float32), float(coverage[k])))

    def _n_parts(self, bag: Bag) -> int:
        return 1 if self._max_size is None else -(-len(bag.indices) // self._max_size)
