"""What the leakage report says of each column of splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from m3leo_prep.pipeline.leakage.report import examine
from m3leo_prep.pipeline.report.labels import told
from m3leo_prep.reader.dataset import Dataset

LEARNED = {"train", "val", "test"}


def leakages(dataset: Dataset, chips: Mapping[str, Sequence[str]]) -> dict[str, Mapping[str, Any]]:
    """Return the leakage report's document by column of splits.

    Args:
        dataset: the dataset.
        chips: by column, the splits that have chips; a column without train, val and test has no report.
    """
    colors = {column: color for label in told(dataset) for column, (_, color) in label.classes.items()}
    made: dict[str, Mapping[str, Any]] = {}
    for column, names in chips.items():
        if not LEARNED & set(names):
            continue
        document = examine(dataset, column).document()
        for one in document["histograms"]:
            one["colors"] = [colors.get(f"prop_{one['label']}_{name}", "") for name in one["classes"]]
        made[column] = document
    return made
