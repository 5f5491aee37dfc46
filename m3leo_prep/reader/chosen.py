"""Which pair or orbit a rule chose for a chip: what the companions say of each slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from m3leo_prep.reader.companions import open_companion
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredLayer
from m3leo_prep.store.shard import ZARR

DATES = ("secondary_time", "reference_time")
ORBIT = ("orbit_direction", "relative_orbit")
FACTS = (*DATES, *ORBIT, "frame", "perp_baseline", "product_version", "phase_reference")
"""Companions of pairs and orbits, by name."""
_WAYS = {0: "ascending", 1: "descending"}


def chosen(dataset: Dataset, row: int, layer: StoredLayer, names: Sequence[str] = FACTS) -> list[dict[str, Any]]:
    """Return by slot what is known of the pair or orbit that stands there; nothing of periods, which say it themselves.

    Dates are ISO 8601 in UTC, directions words, versions as ``3.0.1``, ``perp_baseline`` in m, ``phase_reference`` in
    the unit of the phase (a list where that has several bands). What is not known, or differs between the items of the
    slot, is left out.

    Args:
        dataset: the dataset.
        row: of the chip.
        layer: one of its layers.
        names: of the companions to look at.

    Raises:
        StoreError: they cannot be read.
        VerifyError: they are damaged.
    """
    made: list[dict[str, Any]] = [{} for _ in layer.slots]
    if layer.is_static or layer.slots[0].kind == "period":
        return made
    files = dataset.manifest.get("files", {})
    for name in names:
        if f"{ZARR}/{layer.name}/{name}/zarr.json" not in files:
            continue
        stored = open_companion(dataset.root, layer.name, name)
        for facts, value in zip(made, stored.row(row), strict=True):
            if (known := _told(name, value, stored.fill)) is not None:
                facts[name] = known
    return made


def words(facts: Mapping[str, Any]) -> str:
    """Return a slot in a few words: ``20200715 to 20200901``, ``ascending 44``; empty if unknown.

    >>> words({"secondary_time": "2020-07-15T05:30:00+00:00", "reference_time": "2020-09-01T05:30:00+00:00"})
    '20200715 to 20200901'
    """
    if all(name in facts for name in DATES):
        return " to ".join(facts[name][:10].replace("-", "") for name in DATES)
    return " ".join(str(facts[name]) for name in ORBIT if name in facts)


def _told(name: str, value: Any, fill: Any) -> Any:
    """Return a companion's value for people, None where it is not known."""
    if np.ndim(value):
        bands = [_told(name, one, fill) for one in value]
        return None if all(one is None for one in bands) else bands
    if value == fill or value != value:  # noqa: PLR0124  NaN
        return None
    if name in DATES:
        return datetime.fromtimestamp(int(value), UTC).isoformat()
    if name == "orbit_direction":
        return _WAYS.get(int(value))
    if name == "product_version":
        code = int(value)
        return f"{code // 10_000}.{code // 100 % 100}.{code % 100}"
    return value.item()
