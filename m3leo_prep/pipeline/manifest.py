"""The manifest: what was made, from what, and the digest of every small file. No times, no hosts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from importlib import metadata
from typing import Any

import numpy as np

from m3leo_prep.core.format import FORMAT_VERSION
from m3leo_prep.core.layer import Array
from m3leo_prep.core.plan import Plan, compression, digest_of
from m3leo_prep.pipeline.rows import LayerRows
from m3leo_prep.pipeline.state import STATE, DatasetFolder
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.store.ledger import ShardFile
from m3leo_prep.store.shard import ZARR, sha256_of
from m3leo_prep.store.zarr_array import to_json

DESCRIPTION = ("README.md", "croissant.json", "previews/")
"""Files that tell of the dataset as a whole, made when it is published; a name that ends in / is a folder."""
LIBRARIES = ("m3leo-prep", "numpy", "numba", "pyproj", "shapely", "odc-geo", "numcodecs", "rasterio", "pyarrow", "zarr")


def make_manifest(
    folder: DatasetFolder, plan: Plan, done: list[LayerRows], shards: list[ShardFile], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the manifest of the finished layers, its own digest included; ``about`` is what else it says."""
    layers = {rows.plan.layer.name: _layer_manifest(rows) for rows in done}
    listed = {shard.path for shard in shards}
    manifest = {
        "format_version": FORMAT_VERSION,
        "dataset_id": digest_of([plan.recipe.name, plan.area.name, plan.recipe.grid.model_dump()])[:16],
        "name": plan.recipe.name,
        "area": {"name": plan.area.name, "source": plan.area.source, "licence": plan.area.licence},
        "grid": plan.recipe.grid.model_dump(),
        "n_chips": len(plan.cells),
        "sample": plan.sample and plan.sample.document(),
        "skip_buffer": plan.skip_buffer,
        **about,
        "layers": layers,
        "shards": {"count": len(shards), "bytes": sum(shard.bytes for shard in shards)},
        "libraries": _libraries(),
        "files": {name: sha256_of(folder.blobs, name) for name in _small_files(folder, listed, layers.keys())},
    }
    return manifest | {"manifest_digest": digest_of(manifest)}


def _small_files(folder: DatasetFolder, shards: set[str], layers: AbstractSet[str]) -> Iterator[str]:
    """Yield every published file of finished layers but the shards (which have their own table) and the manifest."""
    for name in folder.blobs.list():
        top, _, below = name.partition("/")
        unfinished = top in {ZARR, "provenance"} and "/" in below and below.split("/")[0] not in layers
        if name not in shards and name != "manifest.json" and top != STATE and not unfinished:
            yield name


def _layer_manifest(rows: LayerRows) -> dict[str, Any]:
    plan, layer = rows.plan, rows.described()
    return {
        "role": layer.role,
        "pitch": layer.pitch,
        "native_pitch": plan.pitch,
        "size": layer.size,
        "slots": [
            {"label": s.label, "start": s.start and s.start.isoformat(), "end": s.end and s.end.isoformat()}
            for s in layer.slots
        ],
        **({"slot_kind": layer.slots[0].kind, "rule": layer.rule.document()} if layer.rule else {}),
        **({"dem": plan.heights.layer.name.partition(".")[0]} if plan.heights else {}),
        "shard_chips": layer.shard_chips,
        "shard_slots": layer.shard_slots,
        "chunk_slots": layer.chunk_slots,
        "arrays": [_array_manifest(array) for array in layer.arrays],
        "attributes": dict(layer.attributes),
        "source": plan.source.name,
        "source_version": plan.source_version,
        "operations": dict(plan.op_versions),
        "settings_digest": digest_of(plan.settings()),
        "n_items": len(plan.items),
        "items_digest": digest_of([[item.id, item.version] for item in plan.items]),
        "licence": plan.licence,
        "citation": plan.citation,
    }


def _array_manifest(array: Array) -> dict[str, Any]:
    encoding, variable = array.encoding, array.variable
    return {
        "name": variable.name,
        "kind": str(variable.kind),
        "bands": list(variable.bands),
        "unit": encoding.unit,
        "dtype": encoding.dtype,
        "fill": encoding.fill,
        "scale": encoding.scale,
        "transform": encoding.transform,
        "valid_min": _finite(encoding.valid_min),
        "valid_max": _finite(encoding.valid_max),
        "band_chunk": array.band_chunk,
        **compression(array),
        "method": array.method,
        "statistic": array.statistic,
        "max_error": encoding.max_error,
        "legend": [{"code": c.code, "name": c.name, "color": c.color} for c in variable.legend],
        "attributes": dict(variable.attributes),
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def described(files: Iterable[str]) -> list[str]:
    """Return which of these files describe the dataset and are no part of its data."""
    folders = tuple(name for name in DESCRIPTION if name.endswith("/"))
    return [name for name in files if name in DESCRIPTION or name.startswith(folders)]


def rewrite(blobs: Blobs, manifest: Mapping[str, Any], changed: Iterable[str] = (), **keys: Any) -> None:
    """Write ``manifest.json`` anew after some small files of the dataset were written again, added or deleted.

    Call it last: until then a reader sees what the old manifest says. A description of the dataset as it was goes.

    Args:
        blobs: the dataset.
        manifest: as it was read.
        changed: names of the files that are not what they were.
        **keys: what else the manifest is to say.
    """
    files = dict(manifest["files"])
    manifest = dict(manifest)
    if "card" not in keys and manifest.pop("card", None) is not None:
        for name in described(files):
            blobs.delete(name)
        changed = {*changed, *described(files)}
    for name in changed:
        files.pop(name, None)
        if blobs.size(name) is not None:
            files[name] = sha256_of(blobs, name)
    made = {key: value for key, value in manifest.items() if key != "manifest_digest"}
    made |= {**keys, "files": dict(sorted(files.items()))}
    blobs.put("manifest.json", to_json(made | {"manifest_digest": digest_of(made)}))


def manifest_digest(manifest: dict[str, Any]) -> str:
    """Return what ``manifest_digest`` must be for a manifest read back."""
    return digest_of({key: value for key, value in manifest.items() if key != "manifest_digest"})
