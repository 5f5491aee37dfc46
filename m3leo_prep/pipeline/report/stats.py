"""The statistics that a dataset ships, as they are stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from m3leo_prep.core.errors import StoreError
from m3leo_prep.reader.dataset import Dataset


def stored_statistics(dataset: Dataset) -> dict[str, Mapping[str, Any]]:
    """Return ``stats/<layer>.json`` by layer, of those that have one.

    Raises:
        StoreError: one is damaged.
    """
    made: dict[str, Mapping[str, Any]] = {}
    for layer in dataset.layers:
        name = f"stats/{layer}.json"
        try:
            made[layer] = json.loads(dataset.root.get(name))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            hint = "run `m3leo-prep stats` again"
            where = f"{dataset.url}/{name}"
            raise StoreError(f"these statistics cannot be read: {error}", where=where, hint=hint) from error
    return made
