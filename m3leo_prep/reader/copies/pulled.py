"""What of a published dataset lies in this folder: written by ``pull``, read by whoever checks the folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import StoreError

PULLED = ".m3leo/pulled.json"


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a dataset that was pulled, and from where."""

    url: str
    """Without secrets."""
    dataset_id: str
    manifest_digest: str
    """Of the dataset as it was there; empty until the pull of a state has ended."""
    shards: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """By ``layer.variable``: which shards along the chips are here."""

    def covers(self, name: str) -> bool:
        """Return whether a shard, or a small file of a layer, is part of what was pulled."""
        layer, variable, number = place(name)
        if number is not None:
            return number in self.shards.get(f"{layer}.{variable}", ())
        return not layer or layer in self.layers

    @property
    def layers(self) -> frozenset[str]:
        """The layers of which something was pulled."""
        return frozenset(key.partition(".")[0] for key in self.shards)

    def joined(self, other: Mapping[str, Iterable[int]]) -> dict[str, frozenset[int]]:
        """Return its shards together with others."""
        keys = sorted({*self.shards, *other})
        return {key: frozenset(self.shards.get(key, ())) | frozenset(other.get(key, ())) for key in keys}

    def write(self, blobs: LocalBlobs) -> None:
        """Write it; shards as runs of numbers, so that the file stays small."""
        shards = {key: _runs(numbers) for key, numbers in sorted(self.shards.items())}
        document = {
            "from": self.url,
            "dataset_id": self.dataset_id,
            "manifest_digest": self.manifest_digest,
            "shards": shards,
        }
        blobs.put(PULLED, (json.dumps(document, indent=1) + "\n").encode())


def read_part(folder: Path) -> Part | None:
    """Return what was pulled into a folder, or None where nothing was.

    Raises:
        StoreError: the note of it is damaged.
    """
    try:
        document: dict[str, Any] = json.loads(LocalBlobs(folder).get(PULLED))
        shards = {key: _numbers(runs) for key, runs in document["shards"].items()}
        return Part(document["from"], document["dataset_id"], document["manifest_digest"], shards)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            "the note of what was pulled is damaged",
            where=f"{folder}/{PULLED}",
            hint="delete it and run the same `pull` again: files that are right are kept",
        ) from error


def place(name: str) -> tuple[str, str, int | None]:
    """Return the layer of a file, its variable, and its number along the chips if it is a shard.

    >>> place("chips.zarr/s1/backscatter/c/7/0/0/0/0"), place("provenance/s1/part-00000.parquet"), place("README.md")
    (('s1', 'backscatter', 7), ('s1', '', None), ('', '', None))
    """
    parts = name.split("/")
    if parts[0] == "chips.zarr" and len(parts) > 2:
        is_pixels = len(parts) >= 8 and parts[3] == "c"  # (chip, [time,] band, y, x)
        return parts[1], parts[2], int(parts[4]) if is_pixels else None
    return (parts[1] if parts[0] == "provenance" and len(parts) > 2 else ""), "", None


def _runs(numbers: Iterable[int]) -> str:
    """Return numbers as runs.

    >>> _runs({1, 2, 3, 7})
    '1-3,7'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _numbers(runs: str) -> frozenset[int]:
    """Return the numbers of runs.

    >>> sorted(_numbers("1-3,7"))
    [1, 2, 3, 7]
    """
    ends = [run.split("-") for run in runs.split(",") if run]
    return frozenset(number for run in ends for number in range(int(run[0]), int(run[-1]) + 1))
