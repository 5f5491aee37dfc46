"""The statistics that a dataset ships, as a loader needs them: mean and std of the bands that are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.selection import Pick

MeanStd = tuple[NDArray[np.float32], NDArray[np.float32]]


def read_statistics(dataset: Dataset, layer: str, policy: str | None = None) -> dict[str, Any]:
    """Return what ``stats/<layer>.json`` says: of train only, or of all chips where there are no splits.

    Args:
        dataset: the dataset.
        layer: one of its layers.
        policy: a split policy that was added to the recipe's; None = the recipe's.

    Raises:
        ConfigError: the dataset has no statistics of this layer.
        StoreError: they cannot be read.
    """
    name = f"stats/{layer}.json" if policy is None else f"stats/{layer}.{policy}.json"
    if name not in dataset.manifest.get("files", {}):
        command = f"m3leo-prep stats {dataset.url}" + (f" --policy {policy}" if policy else "")
        hint = f"make them: `{command}`; or pass your own: normalize={{'{layer}': (mean, std)}}"
        whose = f" by the policy '{policy}'" if policy else ""
        raise ConfigError(f"there are no statistics of '{layer}'{whose} here", where=dataset.url, hint=hint)
    try:
        return dict(json.loads(dataset.root.get(name)))
    except (OSError, ValueError) as error:
        hint = "pull it again, or make it: `m3leo-prep stats`"
        raise StoreError(
            f"these statistics cannot be read: {error}", where=f"{dataset.url}/{name}", hint=hint
        ) from error


def shipped(
    datasets: Sequence[Dataset], picks: Sequence[Mapping[str, Pick]], policy: str | None = None
) -> dict[str, MeanStd]:
    """Return (mean, std) of every quantity that is read, by key, each (band, 1, 1) float32 in physical units.

    Those of several datasets become what they would be if all were one: each counts by its valid pixels. A band
    whose pixels are all the same has std 1, so that only its mean is subtracted. Slots are pooled.

    Args:
        datasets: the datasets.
        picks: what is read of each, by key.
        policy: a split policy that was added to the recipe's; None = the recipe's.

    Raises:
        ConfigError: no statistics; a band without valid pixels; some made from train and some from all chips.
        StoreError: they cannot be read.
    """
    return {key: _of_key(key, datasets, picks, policy) for key, pick in picks[0].items() if not pick.array.is_class}


def _of_key(key: str, datasets: Sequence[Dataset], picks: Sequence[Mapping[str, Pick]], policy: str | None) -> MeanStd:
    parts, sources = [], {}
    for dataset, pick in zip(datasets, picks, strict=True):
        layer, array = pick[key].layer, pick[key].array
        document = read_statistics(dataset, layer.name, policy)
        sources[document["from"]] = dataset.url
        bands = document["variables"][array.name]["bands"]
        told = [bands[array.bands[band]] for band in pick[key].bands]
        # A band without valid pixels adds nothing, whatever stands for its mean.
        parts.append([[about["count"], about["mean"] or 0.0, about["std"] or 0.0] for about in told])
    if len(sources) > 1:
        told_where = " and ".join(f"from {source} ({path})" for source, path in sources.items())
        hint = "give all of them splits, or pass your own (mean, std)"
        raise ConfigError(f"the statistics of '{key}' are made {told_where}", hint=hint)
    mean, std = _pooled(np.array(parts))
    for place, band in enumerate(picks[0][key].bands):
        if np.isnan(mean[place]):
            name = picks[0][key].array.bands[band]
            hint = f"leave it out: bands={{'{key}': [...]}}; or pass your own (mean, std)"
            raise ConfigError(f"band '{name}' of '{key}' has no valid pixel to take statistics from", hint=hint)
    return mean.astype(np.float32).reshape(-1, 1, 1), std.astype(np.float32).reshape(-1, 1, 1)


def _pooled(parts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (mean, std) per band of parts (part, band, 3) of counts, means, stds; NaN where all counts are 0."""
    n, mean, std = np.moveaxis(parts, -1, 0)
    total = n.sum(axis=0)
    share = np.divide(n, total, out=np.full(n.shape, np.nan), where=total > 0)
    whole = (share * mean).sum(axis=0)
    spread = np.sqrt((share * (std**2 + (mean - whole) ** 2)).sum(axis=0))
    return whole, np.where(spread == 0, 1.0, spread)
