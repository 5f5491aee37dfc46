"""``stats/<layer>.json``: what is written of a layer's statistics, and when it holds no longer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.plan import Plan, digest_of
from m3leo_prep.core.raster import Kind
from m3leo_prep.core.splits.policy import Split
from m3leo_prep.pipeline.rows import LayerRows
from m3leo_prep.pipeline.statistics.bins import Bins
from m3leo_prep.pipeline.statistics.numbers import PERCENTILES, drawn, merge, percentiles, tidy
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.store.ledger import ShardFile
from m3leo_prep.store.zarr_array import to_json

STATS = "stats"


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of one variable's valid pixels in the chips that count."""

    name: str
    kind: str
    unit: str
    bands: tuple[str, ...]
    scale: float
    moments: NDArray[np.float64]
    """(chip, slot, band, 5) ``ops.summary.MOMENTS``"""
    bins: Bins | None = None
    counts: NDArray[np.int64] | None = None
    """(band, bin); None where they are not known."""
    classes: NDArray[np.int64] | None = None
    """(band, 256) pixels per code; None for what has no legend."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which chips count, and of which pixels."""

    policy: str
    """Name of the split policy; ``none``: all chips count."""
    ids: tuple[str, ...]
    """The chips that count, in row order."""
    shards: tuple[ShardFile, ...]
    """Of the layer."""

    def made_of(self) -> dict[str, str]:
        """Return digests of the pixels and of the chips: what the statistics hold for."""
        return {"pixels": pixels_digest(self.shards), "chips": digest_of(list(self.ids))}


def pixels_digest(shards: Iterable[ShardFile]) -> str:
    """Return the digest of all pixels of a layer."""
    return digest_of(sorted([shard.path, shard.sha256] for shard in shards))


def stats_name(layer: str, policy: str | None = None) -> str:
    """Return the name of a layer's statistics in the dataset; ``policy`` names one that was added to the recipe's."""
    return f"{STATS}/{layer}.json" if policy is None else f"{STATS}/{layer}.{policy}.json"


def describe(layer: str, n_slots: int, scope: Scope, measured: Iterable[Measured], missing: str = "") -> dict[str, Any]:
    """Return what is written of a layer's statistics.

    Args:
        layer: its name.
        n_slots: slots, which are pooled.
        scope: which chips count.
        measured: its variables.
        missing: why there are no percentiles; empty where there are.
    """
    return {
        "layer": layer,
        "policy": scope.policy,
        "from": "all chips" if scope.policy == "none" else "train",
        "chips": len(scope.ids),
        "slots_pooled": n_slots,
        "made_of": scope.made_of(),
        "percentiles_missing": missing or None,
        "variables": {one.name: _variable(one) for one in measured},
    }


def write_statistics(blobs: Blobs, plan: Plan, done: Iterable[LayerRows]) -> None:
    """Write the statistics of the finished layers, and delete those that hold no longer."""
    ids = np.array(plan.cells.ids())
    chosen = np.arange(len(ids)) if plan.split is None else np.flatnonzero(plan.split == Split.TRAIN)
    policy = "none" if plan.splits is None else plan.splits.policy
    digests: dict[str, str] = {}
    for rows in done:
        layer = rows.plan.layer
        scope = Scope(policy, tuple(ids[chosen].tolist()), rows.shards)
        missing = ""
        if rows.uncounted:
            missing = (
                f"{rows.uncounted} of {sum(1 for _ in rows.plan.units(len(ids)))} shards were counted for other splits"
                " or not at all; `m3leo-prep stats` reads their pixels"
            )
        made = describe(layer.name, len(layer.slots), scope, _measured(rows, chosen, policy), missing)
        if not (missing and _is_whole(blobs, made)):
            blobs.put(stats_name(layer.name), to_json(made))
        digests[layer.name] = made["made_of"]["pixels"]
    _remove_stale(blobs, digests)


def _is_whole(blobs: Blobs, made: Mapping[str, Any]) -> bool:
    """Return whether a pass over the pixels has made these statistics already, percentiles included."""
    try:
        there = json.loads(blobs.get(stats_name(made["layer"])))
    except (FileNotFoundError, ValueError):  # none yet, or damaged
        return False
    about = made.keys() - {"percentiles_missing", "variables"}
    return all(there.get(key) == made[key] for key in about) and there["percentiles_missing"] is None


def _remove_stale(blobs: Blobs, digests: Mapping[str, str]) -> None:
    """Delete statistics of layers that are gone, and those of further policies whose pixels are others now."""
    for name in list(blobs.list(STATS)):
        layer = name.removeprefix(f"{STATS}/").partition(".")[0]
        if name != stats_name(layer) and layer in digests:
            holds = json.loads(blobs.get(name))["made_of"]["pixels"] == digests[layer]
        else:
            holds = layer in digests
        if not holds:
            blobs.delete(name)


def _measured(rows: LayerRows, chosen: NDArray[np.int64], policy: str) -> Iterable[Measured]:
    split = Split.NONE if policy == "none" else Split.TRAIN
    for array in rows.plan.layer.arrays:
        variable = array.variable
        counts = rows.counts.get(variable.name)
        classes = rows.arrays.get(f"classes.{variable.name}")
        yield Measured(
            variable.name,
            str(variable.kind),
            array.encoding.unit,
            variable.bands,
            array.encoding.scale,
            rows.arrays[f"moments.{variable.name}"][chosen],
            None if counts is None else counts.bins,
            None if counts is None or rows.uncounted else counts.of(split),
            None if classes is None else classes[chosen].sum(axis=(0, 1)),
        )


def _variable(one: Measured) -> dict[str, Any]:
    bands = {band: _band(one, place) for place, band in enumerate(one.bands)}
    counted = {"counted_from": "phase_reference"} if one.kind == Kind.UNWRAPPED_PHASE else {}
    return {"kind": one.kind, "unit": one.unit, **counted, "bands": bands}


def _band(one: Measured, band: int) -> dict[str, Any]:
    moments = merge(one.moments[..., band, :])
    made: dict[str, Any] = {"count": moments.n}
    if one.unit == "class":
        if one.classes is not None:
            made["classes"] = {str(code): int(one.classes[band, code]) for code in np.flatnonzero(one.classes[band])}
        return made
    made |= {
        name: tidy(value, one.scale)
        for name, value in zip(
            ("mean", "std", "min", "max"), (moments.mean, moments.std, moments.low, moments.high), strict=True
        )
    }
    made |= {"percentiles": None, "percentile_resolution": None, "histogram": None}
    if one.counts is None or one.bins is None or moments.low is None or moments.high is None:
        return made
    values, off_by = percentiles(one.counts[band], one.bins, moments.low, moments.high)
    edges, counts = drawn(one.counts[band], one.bins)
    return made | {
        "percentiles": {str(q): tidy(value, one.scale) for q, value in zip(PERCENTILES, values, strict=True)},
        "percentile_resolution": tidy(off_by, one.scale),
        "histogram": {"edges": [tidy(edge, one.scale) for edge in edges], "counts": counts},
    }
