"""Several datasets as one: what is read of each, whether they mean the same by it, and how it is normalised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.selection import Bands, Pick, Slots, check_agreement, check_keys, resolve
from m3leo_prep.reader.statistics import MeanStd, shipped

Picks = Sequence[Mapping[str, Pick]]
"""By dataset and key."""
Normalize = Mapping[str, tuple[ArrayLike, ArrayLike]] | bool | str | None


def resolve_all(
    datasets: Sequence[Dataset], names: Sequence[str], bands: Bands, slots: Slots, *, allow_missing_layers: bool
) -> list[dict[str, Pick]]:
    """Return what to read of each dataset, by key; see ``selection.resolve``.

    Args:
        datasets: the datasets.
        names: layers, or single variables as ``layer.variable``.
        bands: names of bands by key.
        slots: labels or indices of slots by layer or key.
        allow_missing_layers: a dataset may lack layers that another has.

    Raises:
        ConfigError: an unknown layer, variable, band or slot; a dataset without any of the layers.
    """
    if not allow_missing_layers:
        return [resolve(dataset, names, bands, slots) for dataset in datasets]
    somewhere = {layer for dataset in datasets for layer in dataset.layers}
    made = []
    for dataset in datasets:
        lacking = somewhere - set(dataset.layers)
        mine = [name for name in names if _layer(name) not in lacking]
        if names and not mine:
            raise ConfigError(f"this dataset has none of {', '.join(names)}", where=dataset.url)
        own_bands = {key: value for key, value in bands.items() if _layer(key) not in lacking}
        own_slots = {key: value for key, value in slots.items() if _layer(key) not in lacking}
        made.append(resolve(dataset, mine, own_bands, own_slots))
    return made


def check_all(datasets: Sequence[Dataset], picks: Picks, *, allow_mixed: bool) -> None:
    """Raise ConfigError if a layer means another thing in another dataset that has it; see ``check_agreement``."""
    for layer in dict.fromkeys(pick.layer.name for of_dataset in picks for pick in of_dataset.values()):
        parts = [{key: pick for key, pick in of.items() if pick.layer.name == layer} for of in picks]
        having = [(dataset, part) for dataset, part in zip(datasets, parts, strict=True) if part]
        check_agreement([dataset for dataset, _ in having], [part for _, part in having], allow_mixed=allow_mixed)


def union(picks: Picks) -> dict[str, Pick]:
    """Return every key with the pick of the first dataset that has it."""
    made: dict[str, Pick] = {}
    for of_dataset in picks:
        for key, pick in of_dataset.items():
            made.setdefault(key, pick)
    return made


def statistics_of(
    normalize: Normalize, split_column: str, datasets: Sequence[Dataset], picks: Picks
) -> dict[str, MeanStd]:
    """Return (mean, std) by key, each (band, 1, 1) or (1, 1, 1) float32; nothing where nothing is normalised.

    Raises:
        ConfigError: no statistics, or some that fit nothing.
        StoreError: they cannot be read.
    """
    if normalize is True or isinstance(normalize, str):
        policy = normalize if isinstance(normalize, str) else split_column.removeprefix("split")[1:] or None
        made: dict[str, MeanStd] = {}
        for key in union(picks):
            having = [(dataset, {key: of[key]}) for dataset, of in zip(datasets, picks, strict=True) if key in of]
            made |= shipped([dataset for dataset, _ in having], [part for _, part in having], policy)
        return made
    if not normalize:
        return {}
    if not isinstance(normalize, Mapping):
        raise ConfigError(
            "normalize takes True, the name of a split policy, or {key: (mean, std)}",
            hint="True takes the dataset's own; yours would be such as normalize={'s1grd': (-12.0, 5.0)}",
        )
    return _given(normalize, union(picks))


def _given(normalize: Mapping[str, tuple[ArrayLike, ArrayLike]], picks: Mapping[str, Pick]) -> dict[str, MeanStd]:
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


def _layer(name: str) -> str:
    return name.partition(".")[0]
