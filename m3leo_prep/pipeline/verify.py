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

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.blobs.location import open_root
from m3leo_prep.core.plan import Plan, digest_of
from m3leo_prep.pipeline.findings import Report
from m3leo_prep.pipeline.manifest import manifest_digest
from m3leo_prep.pipeline.proportions.checks import label_problems
from m3leo_prep.pipeline.splitting.checks import problems_of
from m3leo_prep.pipeline.state import DatasetFolder, check_version
from m3leo_prep.pipeline.verify_pixels import PixelCheck
from m3leo_prep.ports.blobs import Blobs, Readable
from m3leo_prep.reader.copies.pulled import Part, read_part
from m3leo_prep.reader.manifest import MANIFEST
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
        path: the dataset's folder, or its address: then all that is read comes over the network.
        quick: leave out what reads every byte.
        sample: chips per layer that are re-derived from the source.
        seed: of the sample.
        on_shard: called with the name of each shard that is read.
    """
    root = open_root(path)
    report = Report(root.url)
    manifest = _manifest(root, report)
    if manifest is None:
        return report
    part = read_part(root.root) if isinstance(root, LocalBlobs) else None
    _small_files(root, manifest, part, report)
    if not report.ok:
        return report  # what follows reads these files
    shards = read_shards(root)
    _splits(root, manifest, report)
    _labels(root, manifest, report)
    plan = DatasetFolder(root.root).frozen() if isinstance(root, LocalBlobs) else None
    unfinished = {p.layer.name for p in plan.layers} - manifest["layers"].keys() if plan else set()
    absent = _not_pulled(root, shards, part, report)
    there = {name: shard for name, shard in shards.items() if name not in absent}
    _shard_files(root, manifest, there, unfinished, report, hashes=not quick)
    check = PixelCheck(root, manifest, report, seed=seed, absent=absent)
    for name in [name for name in manifest["layers"] if part is None or name in part.layers]:
        check.georeference(name)
        check.stored(name, on_shard, most=SAMPLE_CHIPS if quick else None)
    if plan is None:
        report.notes.append("the build state is not here: the grid was not checked and no chip derived again")
    elif not _is_finished(plan, manifest):
        report.add(".m3leo/plan", "a build of this dataset is not finished: run the same `build` again")
    else:
        _chips(root, plan, manifest, report)
        for layer in plan.layers:
            if layer.layer.name in manifest["layers"]:
                check.rederived(plan, layer, sample)
    return report


def _manifest(root: Readable, report: Report) -> dict[str, Any] | None:
    try:
        raw = root.get(MANIFEST)
    except FileNotFoundError:
        report.add(MANIFEST, "missing: no finished dataset lies here (run `build`)")
        return None
    try:
        manifest: dict[str, Any] = json.loads(raw)
    except ValueError as error:
        report.add(MANIFEST, f"not valid JSON: {error}")
        return None
    check_version(manifest, root.url)
    if manifest.get("manifest_digest") != manifest_digest(manifest):
        report.add("manifest.json", "edited or damaged: it does not match its own digest")
        return None
    return manifest


def _not_pulled(root: Readable, shards: dict[str, ShardFile], part: Part | None, report: Report) -> frozenset[str]:
    """Return the shards that nobody fetched, and note how many; none where the dataset was built."""
    if part is None:
        return frozenset()
    found = {n for n, shard in shards.items() if shard.bytes and not part.covers(n) and root.size(n) is None}
    if found:
        with_pixels = sum(shard.bytes > 0 for shard in shards.values())
        report.notes.append(f"{len(found):,} of {with_pixels:,} shards were not pulled from {part.url}")
    return frozenset(found)


def _small_files(root: Readable, manifest: dict[str, Any], part: Part | None, report: Report) -> None:
    for name, digest in manifest["files"].items():
        if part is not None and not part.covers(name) and root.size(name) is None:
            continue  # of a layer that was not pulled
        report.count("files")
        try:
            if sha256_of(root, name) != digest:
                report.add(name, "edited or damaged: its sha256 is not the manifest's")
        except FileNotFoundError:
            report.add(name, "missing")


def _shard_files(
    root: Readable,
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
        size = root.size(name)
        if shard.bytes == 0:
            if size is not None:
                report.add(name, "must be absent (all missing), but a file lies there")
        elif size is None:
            report.add(name, "missing")
        elif size != shard.bytes:
            report.add(name, f"{size:,} bytes instead of {shard.bytes:,}")
        elif hashes and sha256_of(root, name) != shard.sha256:
            report.add(name, "damaged: its sha256 is not that of shards.parquet")
    known = set(shards) | set(manifest["files"]) | {"manifest.json"}
    for place in ("chips.zarr", "provenance"):
        for name in root.list(place) if isinstance(root, Blobs) else ():
            if name not in known and name.split("/")[1] not in unfinished:
                report.add(name, "not part of this dataset")


def _splits(root: Readable, manifest: dict[str, Any], report: Report) -> None:
    """Check that splits are what their policies say, and that no ground lies in two."""
    for text in problems_of(root, manifest, read_table(root, "chips.parquet")):
        report.add("chips.parquet", text)
    if manifest.get("splits"):
        report.count("splits", len(manifest["splits"]))


def _labels(root: Readable, manifest: dict[str, Any], report: Report) -> None:
    """Check that proportions sum to 1, and that units and chips share no more ground than they have."""
    for where, text in label_problems(root, manifest, read_table(root, "chips.parquet")):
        report.add(where, text)
    if manifest.get("admin"):
        report.count("units", manifest["admin"]["n_units"])


def _is_finished(plan: Plan, manifest: dict[str, Any]) -> bool:
    """Return whether the frozen plan is the one that the dataset was last closed with."""
    closed = {name: layer["settings_digest"] for name, layer in manifest["layers"].items()}
    planned = {layer.layer.name: digest_of(layer.settings()) for layer in plan.layers}
    same = all(planned.get(name) == digest for name, digest in closed.items())
    return same and len(plan.cells) == manifest["n_chips"]


def _chips(root: Readable, plan: Plan, manifest: dict[str, Any], report: Report) -> None:
    """Check every row of chips.parquet against the grid."""
    table = read_table(root, "chips.parquet")
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
