"""Is the dataset what it says? Everything found is named; nothing is repaired.

Quick: every file is there in its size, small files by their sha256, georeference and tables against the grid, and a
seeded sample of chips. Full: also the sha256 of every shard, every chunk decoded, every value in range, every reason
true. Both derive a sample of chips again from the source where the build state is still there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np

from m3leo_prep.core.plan import Plan, digest_of
from m3leo_prep.pipeline.findings import Report
from m3leo_prep.pipeline.manifest import manifest_digest
from m3leo_prep.pipeline.proportions.checks import label_problems
from m3leo_prep.pipeline.splitting.checks import problems_of
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.verify_pixels import PixelCheck
from m3leo_prep.store.ledger import ShardFile
from m3leo_prep.store.shard import sha256_of
from m3leo_prep.store.tables import read_shards, read_table

SAMPLE_CHIPS = 8
"""Chips per layer that are derived again from the source, and whose stored pixels ``--quick`` reads."""


def verify(
    path: str | Path,
    *,
    quick: bool = False,
    sample: int = SAMPLE_CHIPS,
    seed: int = 0,
    on_shard: Callable[[str], None] = lambda _: None,
) -> Report:
    """Return what is wrong with a dataset.

    Args:
        path: the dataset's folder.
        quick: leave out what reads every byte.
        sample: chips per layer that are re-derived from the source.
        seed: of the sample.
        on_shard: called with the name of each shard that is read.
    """
    path = Path(path)
    report = Report(path)
    folder = DatasetFolder(path)
    manifest = _manifest(folder, report)
    if manifest is None:
        return report
    _small_files(folder, manifest, report)
    if not report.ok:
        return report  # what follows reads these files
    shards = read_shards(folder.blobs)
    _splits(folder, manifest, report)
    _labels(folder, manifest, report)
    plan = folder.frozen()
    unfinished = {p.layer.name for p in plan.layers} - manifest["layers"].keys() if plan else set()
    _shard_files(folder, manifest, shards, unfinished, report, hashes=not quick)
    check = PixelCheck(folder, manifest, report, seed=seed)
    for name in manifest["layers"]:
        check.georeference(name)
        check.stored(name, on_shard, most=SAMPLE_CHIPS if quick else None)
    if plan is None:
        report.notes.append("the build state is not here: the grid was not checked and no chip derived again")
    elif not _is_finished(plan, manifest):
        report.add(".m3leo/plan", "a build of this dataset is not finished: run the same `build` again")
    else:
        _chips(folder, plan, manifest, report)
        for layer in plan.layers:
            if layer.layer.name in manifest["layers"]:
                check.rederived(plan, layer, sample)
    return report


def _manifest(folder: DatasetFolder, report: Report) -> dict[str, Any] | None:
    try:
        manifest = folder.manifest
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        report.add("manifest.json", f"not valid JSON: {error}")
        return None
    if manifest is None:
        report.add("manifest.json", "missing: no finished dataset lies here (run `build`)")
        return None
    if manifest.get("manifest_digest") != manifest_digest(manifest):
        report.add("manifest.json", "edited or damaged: it does not match its own digest")
        return None
    return manifest


def _small_files(folder: DatasetFolder, manifest: dict[str, Any], report: Report) -> None:
    for name, digest in manifest["files"].items():
        report.count("files")
        try:
            if sha256_of(folder.blobs, name) != digest:
                report.add(name, "edited or damaged: its sha256 is not the manifest's")
        except FileNotFoundError:
            report.add(name, "missing")


def _shard_files(
    folder: DatasetFolder,
    manifest: dict[str, Any],
    shards: dict[str, ShardFile],
    unfinished: AbstractSet[str],
    report: Report,
    *,
    hashes: bool,
) -> None:
    """Check that all shards are there, and nothing else but what layers that are not finished have so far."""
    report.notes += [f"layer {name} is not finished and not part of the dataset" for name in sorted(unfinished)]
    for name, shard in shards.items():
        report.count("shards")
        size = folder.blobs.size(name)
        if shard.bytes == 0:
            if size is not None:
                report.add(name, "must be absent (all missing), but a file lies there")
        elif size is None:
            report.add(name, "missing")
        elif size != shard.bytes:
            report.add(name, f"{size:,} bytes instead of {shard.bytes:,}")
        elif hashes and sha256_of(folder.blobs, name) != shard.sha256:
            report.add(name, "damaged: its sha256 is not that of shards.parquet")
    known = set(shards) | set(manifest["files"]) | {"manifest.json"}
    for place in ("chips.zarr", "provenance"):
        for name in folder.blobs.list(place):
            if name not in known and name.split("/")[1] not in unfinished:
                report.add(name, "not part of this dataset")


def _splits(folder: DatasetFolder, manifest: dict[str, Any], report: Report) -> None:
    """Check that splits are what their policies say, and that no ground lies in two."""
    for text in problems_of(folder.blobs, manifest, read_table(folder.blobs, "chips.parquet")):
        report.add("chips.parquet", text)
    if manifest.get("splits"):
        report.count("splits", len(manifest["splits"]))


def _labels(folder: DatasetFolder, manifest: dict[str, Any], report: Report) -> None:
    """Check that proportions sum to 1, and that units and chips share no more ground than they have."""
    for where, text in label_problems(folder.blobs, manifest, read_table(folder.blobs, "chips.parquet")):
        report.add(where, text)
    if manifest.get("admin"):
        report.count("units", manifest["admin"]["n_units"])


def _is_finished(plan: Plan, manifest: dict[str, Any]) -> bool:
    """Return whether the frozen plan is the one that the dataset was last closed with."""
    closed = {name: layer["settings_digest"] for name, layer in manifest["layers"].items()}
    planned = {layer.layer.name: digest_of(layer.settings()) for layer in plan.layers}
    same = all(planned.get(name) == digest for name, digest in closed.items())
    return same and len(plan.cells) == manifest["n_chips"]


def _chips(folder: DatasetFolder, plan: Plan, manifest: dict[str, Any], report: Report) -> None:
    """Check every row of chips.parquet against the grid."""
    table = read_table(folder.blobs, "chips.parquet")
    cells = plan.cells
    if not (len(table) == len(cells) == manifest["n_chips"]):
        report.add("chips.parquet", f"{len(table)} rows, planned {len(cells)}, manifest {manifest['n_chips']}")
        return
    x0, y0 = cells.upper_left()
    expected = {"chip_id": np.array(cells.ids(), object), "epsg": cells.epsg, "x0": x0, "y0": y0}
    for name, values in expected.items():
        found = table[name].to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(found != values)
        if len(wrong):
            row = int(wrong[0])
            report.add("chips.parquet", f"{name} of row {row} is {found[row]!r}, the grid says {values[row]!r}")
    report.count("chips", len(table))
