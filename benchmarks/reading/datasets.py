"""Finished datasets of given codes, written with the store's own writers and without a build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.encoding import default_encoding
from m3leo_prep.core.format import FORMAT_VERSION
from m3leo_prep.core.layer import Array, Codec, Layer, band_chunk
from m3leo_prep.core.plan import compression, digest_of
from m3leo_prep.core.raster import STATIC, Kind, Variable
from m3leo_prep.store.codec import ChunkCodec
from m3leo_prep.store.documents import array_document, array_grid, chunk_shape
from m3leo_prep.store.ledger import ShardFile
from m3leo_prep.store.shard import shard_name, write_shard
from m3leo_prep.store.tables import write_chips, write_shards
from m3leo_prep.store.zarr_array import to_json
from reading.pixels import Case

LAYER = "image"
SHARD_CHIPS = 64
KINDS = {"power": Kind.POWER, "reflectance": Kind.REFLECTANCE}


def layer_of(case: Case, codec: Codec = "zstd") -> Layer:
    """Return a static layer in its kind's default encoding and chunks."""
    bands = tuple(f"b{n}" for n in range(case.bands))
    about = {"backscatter_convention": "sigma0_ellipsoid"} if case.kind == "power" else {}
    variable = Variable("value", KINDS[case.kind], bands, attributes=about)
    array = Array(variable, default_encoding(variable), "cubic", "mean", band_chunk(case.bands), codec)
    return Layer(LAYER, "input", 10.0, case.size, (STATIC,), (array,), SHARD_CHIPS, 1, 1)


def write_dataset(folder: Path, case: Case, codes: NDArray[np.int16], codec: Codec = "zstd") -> Layer:
    """Write these chips, (chip, band, y, x), as a dataset that ``Dataset`` opens."""
    layer, blobs = layer_of(case, codec), LocalBlobs(folder)
    n = len(codes)
    files = [write_one(blobs, layer, k, codes[k * SHARD_CHIPS :][:SHARD_CHIPS]) for k in range(-(-n // SHARD_CHIPS))]
    write_tables(folder, layer, n, files)
    return layer


def write_many(folder: Path, case: Case, codes: NDArray[np.int16], n: int) -> Layer:
    """Write a dataset of ``n`` chips whose shards are all one, by links: they hold the same chips."""
    layer, blobs = layer_of(case), LocalBlobs(folder)
    first = write_one(blobs, layer, 0, codes[:SHARD_CHIPS])
    files = [first]
    for k in range(1, -(-n // SHARD_CHIPS)):
        # c/0/0/0/0 -> c/K/0/0/0: the folder of a shard is what is linked.
        (folder / first.path).parents[2].with_name(str(k)).symlink_to("0", target_is_directory=True)
        files.append(ShardFile(shard_name(LAYER, "value", (k,)), first.bytes, sha256(str(k).encode()).hexdigest()))
    write_tables(folder, layer, n, files)
    return layer


def write_one(blobs: LocalBlobs, layer: Layer, shard: int, codes: NDArray[np.int16]) -> ShardFile:
    """Write one shard of these chips."""
    (array,) = layer.arrays
    codec = ChunkCodec(array.encoding.dtype, array.codec)
    grid, shape, step = array_grid(layer, array), chunk_shape(layer, array), array.band_chunk
    chunks = {
        (chip, band, 0, 0): codec.encode(codes[chip, band * step : (band + 1) * step].reshape(shape))
        for chip in range(len(codes))
        for band in range(grid[1])
    }
    return write_shard(blobs, shard_name(layer.name, array.variable.name, (shard,)), chunks, grid)


def write_tables(folder: Path, layer: Layer, n: int, files: Sequence[ShardFile]) -> None:
    """Write everything but the pixels, with the columns of a build."""
    blobs, rows = LocalBlobs(folder), np.arange(n)
    (array,) = layer.arrays
    blobs.put(f"chips.zarr/{layer.name}/{array.variable.name}/zarr.json", to_json(array_document(layer, array, n)))
    write_shards(blobs, files)
    lon, lat = rows % 1000 / 10, rows // 1000 / 20
    columns: dict[str, Any] = {
        "chip_id": np.array([f"u1_448_32N_E{row // 1000:03d}_{10_000 + row % 1000}" for row in rows.tolist()]),
        "row": rows,
        "epsg": np.full(n, 32632, np.int32),
        "x0": (4480 * (rows % 1000)).astype(np.int32),
        "y0": (4480 * (rows // 1000)).astype(np.int32),
        "lon": lon,
        "lat": lat,
        "area_km2": np.full(n, 20.07),
        "owned_fraction": np.ones(n),
        "zone_shared": np.zeros(n, bool),
        "split": pa.array(np.array(["train", "train", "train", "val", "test"])[rows // 64 % 5]),
        f"valid_{layer.name}": np.full(n, 98.4, np.float32),
    }
    write_chips(blobs, "chips.parquet", columns, shapely.box(lon, lat, lon + 0.07, lat + 0.04))
    manifest = {
        "format_version": FORMAT_VERSION,
        "dataset_id": "0123456789abcdef",
        "name": "bench",
        "area": {"name": "nowhere"},
        "n_chips": n,
        "splits": {"split": {}},
        "layers": {layer.name: _layer(layer, array)},
        "files": {"chips.parquet": "", "shards.parquet": ""},
    }
    blobs.put("manifest.json", to_json(manifest | {"manifest_digest": digest_of([manifest, files[0].sha256])}))


def _layer(layer: Layer, array: Array) -> Mapping[str, Any]:
    e, v = array.encoding, array.variable
    stored = {
        "name": v.name,
        "kind": str(v.kind),
        "bands": list(v.bands),
        "unit": e.unit,
        "dtype": e.dtype,
        "fill": e.fill,
        "scale": e.scale,
        "transform": e.transform,
        "valid_min": e.valid_min,
        "valid_max": e.valid_max,
        "band_chunk": array.band_chunk,
        **compression(array),
        "method": array.method,
        "statistic": array.statistic,
        "max_error": e.max_error,
        "legend": [],
        "attributes": dict(v.attributes),
    }
    return {
        "role": layer.role,
        "pitch": layer.pitch,
        "size": layer.size,
        "slots": [{"label": slot.label, "start": None, "end": None} for slot in layer.slots],
        "shard_chips": layer.shard_chips,
        "shard_slots": layer.shard_slots,
        "chunk_slots": layer.chunk_slots,
        "arrays": [stored],
        "attributes": {},
    }
