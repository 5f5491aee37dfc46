"""Chips per second of the shard reader beside zarr-python's ``array[i]``, one process, warm files; prints JSON.

python benchmarks/bench_read.py
"""

import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import zarr

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.layer import Layer
from m3leo_prep.core.raster import STATIC, Kind, Slot
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.reader.shards import ShardReader
from m3leo_prep.store.metadata import array_document, array_grid, chunk_shape
from m3leo_prep.store.shard import ChunkCodec, shard_name, write_shard
from m3leo_prep.store.tables import write_shards
from m3leo_prep.store.zarr_array import to_json
from m3leo_prep.testing.layers import make_array

N_CHIPS, SHARD = 128, 64


def layers(size: int) -> dict[str, Layer]:
    """Return backscatter in four seasons and a class map."""
    seasons = tuple(
        Slot(f"q{q}", datetime(2020, 3 * q + 1, 1, tzinfo=UTC), datetime(2020, 3 * q + 2, 1, tzinfo=UTC))
        for q in range(4)
    )
    power = make_array("backscatter", Kind.POWER, ("vv_asc", "vh_asc", "vv_desc", "vh_desc"))
    classes = make_array("map", Kind.CLASSES, ("map",))
    return {
        "s1_four_seasons": Layer("s1", "input", 10.0, size, seasons, (power,), SHARD, 4, 1),
        "classes": Layer("cover", "label", 10.0, size, (STATIC,), (classes,), SHARD, 1, 1),
    }


def make_store(folder: Path, layer: Layer) -> tuple[StoredLayer, StoredArray]:
    """Write speckle, or patches of classes, and return how they are stored."""
    (array,) = layer.arrays
    rng = np.random.default_rng(0)
    codec, grid, chunk = ChunkCodec(array.encoding.dtype), array_grid(layer, array), chunk_shape(layer, array)
    blobs, files = LocalBlobs(folder), []
    for shard in range(N_CHIPS // SHARD):
        chunks = {}
        for key in np.ndindex(*grid):
            if layer.is_static:
                values = np.kron(rng.integers(0, 11, [n // 16 for n in chunk[-2:]]), np.ones((16, 16))).astype(np.uint8)
            else:
                values = (1000 * np.log10(rng.gamma(4.4, 0.02, chunk))).astype(np.int16)
            chunks[key] = codec.encode(values.reshape(chunk))
        at = (shard,) if layer.is_static else (shard, 0)
        files.append(write_shard(blobs, shard_name(layer.name, array.variable.name, at), chunks, grid))
    write_shards(blobs, files)
    blobs.put(
        f"chips.zarr/{layer.name}/{array.variable.name}/zarr.json", to_json(array_document(layer, array, N_CHIPS))
    )
    e, v = array.encoding, array.variable
    stored = StoredArray(v.name, str(v.kind), v.bands, e.unit, e.dtype, e.fill, e.scale, array.band_chunk)
    return StoredLayer(
        layer.name, layer.role, layer.pitch, layer.size, layer.slots, SHARD, layer.shard_slots, 1, {v.name: stored}
    ), stored


def rate(read: Callable[[int], object], order: list[int]) -> float:
    """Return chips per second, the best of three rounds."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        for row in order:
            read(row)
        times.append(time.perf_counter() - start)
    return len(order) / min(times)


def run(size: int = 448) -> dict[str, dict[str, float]]:
    """Return, by layer, chips per second: codes by us and by zarr-python, one slot of several, physical values."""
    order = np.random.default_rng(1).permutation(N_CHIPS).tolist()
    result = {}
    for name, layer in layers(size).items():
        with tempfile.TemporaryDirectory() as folder:
            stored, array = make_store(Path(folder), layer)
            reader = ShardReader(Path(folder))
            plain = zarr.open_array(Path(folder) / "chips.zarr" / layer.name / array.name, mode="r")
            for row in order[:8]:
                np.testing.assert_array_equal(reader.read(stored, array, row), plain[row])
            ours = rate(lambda row: reader.read(stored, array, row), order)  # noqa: B023  called before the next round
            theirs = rate(lambda row: plain[row], order)  # noqa: B023  as above
            physical = rate(lambda row: array.physical(reader.read(stored, array, row)), order)  # noqa: B023  as above
            one = rate(lambda row: reader.read(stored, array, row, (0,), (0,)), order)  # noqa: B023  as above
            result[name] = {
                "codes_chips_per_s": round(ours, 1),
                "zarr_python_chips_per_s": round(theirs, 1),
                "ratio": round(ours / theirs, 2),
                "physical_chips_per_s": round(physical, 1),
                "one_slot_one_band_chips_per_s": round(one, 1),
            }
    return result


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
