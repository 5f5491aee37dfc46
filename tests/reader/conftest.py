"""Small datasets written with the store's own calls: every code is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from shapely.geometry import box

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.encoding import Encoding
from m3leo_prep.core.layer import Layer
from m3leo_prep.core.raster import Kind
from m3leo_prep.store.metadata import (
    ChipColumns,
    array_grid,
    chunk_shape,
    quality,
    shard_shape,
    write_hierarchy,
)
from m3leo_prep.store.shard import ChunkCodec, is_missing, shard_name, write_shard
from m3leo_prep.store.tables import write_chips, write_shards
from m3leo_prep.testing.layers import make_array, make_layer, random_codes

N_CHIPS = 10


@dataclass
class Made:
    """A dataset on disk and the codes that went in, by layer and variable."""

    path: Path
    layers: tuple[Layer, ...]
    codes: dict[tuple[str, str], np.ndarray]
    ids: list[str]

    def shard(self, layer, variable, *at):
        return self.path / shard_name(layer, variable, at)

    def edit_manifest(self, change):
        manifest = json.loads((self.path / "manifest.json").read_text())
        change(manifest)
        (self.path / "manifest.json").write_text(json.dumps(manifest))


def shards_of(blobs, layer, array, values):
    """Write a variable as a build does and return its shard files."""
    codec, fill = ChunkCodec(array.encoding.dtype, array.codec), array.encoding.fill_value
    shard, chunk, grid = shard_shape(layer, array), chunk_shape(layer, array), array_grid(layer, array)
    made = []
    for place in np.ndindex(*(-(-n // s) for n, s in zip(values.shape, shard, strict=True))):
        chunks = {}
        for key in np.ndindex(*grid):
            start = [p * s + k * c for p, s, k, c in zip(place, shard, key, chunk, strict=True)]
            piece = values[tuple(slice(a, a + c) for a, c in zip(start, chunk, strict=True))]
            if piece.shape == chunk and not is_missing(piece, fill):
                chunks[key] = codec.encode(piece)
        made.append(write_shard(blobs, shard_name(layer.name, array.variable.name, place), chunks, grid))
    return made


def manifest_of(layers, n_chips):
    """Return the manifest, written out apart from the code that writes it in a build."""
    return {
        "format_version": "1.0",
        "dataset_id": "0123456789abcdef",
        "name": "small",
        "area": {"name": "nowhere"},
        "n_chips": n_chips,
        "layers": {
            layer.name: {
                "role": layer.role,
                "pitch": layer.pitch,
                "size": layer.size,
                "slots": [
                    {"label": s.label, "start": s.start and s.start.isoformat(), "end": s.end and s.end.isoformat()}
                    for s in layer.slots
                ],
                "shard_chips": layer.shard_chips,
                "shard_slots": layer.shard_slots,
                "chunk_slots": layer.chunk_slots,
                "arrays": [
                    {
                        "name": a.variable.name,
                        "kind": str(a.variable.kind),
                        "bands": list(a.variable.bands),
                        "unit": a.encoding.unit,
                        "dtype": a.encoding.dtype,
                        "fill": a.encoding.fill,
                        "scale": a.encoding.scale,
                        "transform": a.encoding.transform,
                        "band_chunk": a.band_chunk,
                        "codec": a.codec,
                        "method": a.method,
                        "statistic": a.statistic,
                        "max_error": a.encoding.max_error,
                        "legend": [{"code": c.code, "name": c.name, "color": c.color} for c in a.variable.legend],
                        "attributes": dict(a.variable.attributes),
                    }
                    for a in layer.arrays
                ],
                "attributes": dict(layer.attributes),
                "licence": "CC0-1.0",
                "citation": "",
            }
            for layer in layers
        },
    }


def write_dataset(path, layers, *, n_chips=N_CHIPS, seed=1, missing=0.3, split=None, codes=None, prefix="c"):
    """Write a whole dataset; ``codes`` overrides the random ones by (layer, variable)."""
    blobs, rng = LocalBlobs(path), np.random.default_rng(seed)
    columns = ChipColumns(
        np.full(n_chips, 32631, np.int32),
        (500_000 + 4480 * np.arange(n_chips)).astype(np.int32),
        np.full(n_chips, 5_600_000, np.int32),
    )
    ids = [f"{prefix}{row:03d}" for row in range(n_chips)]
    made, shards, companions, valid_columns = {}, [], {}, {}
    for layer in layers:
        companions[layer.name] = {}
        for array in layer.arrays:
            name = array.variable.name
            values = (codes or {}).get((layer.name, name))
            if values is None:
                values = random_codes(layer, array, n_chips, rng, missing)
            made[layer.name, name] = values
            shards += shards_of(blobs, layer, array, values)
            fill = array.encoding.fill
            part = (np.isfinite(values) if fill is None else values != fill).mean(axis=(-1, -2))
            percent = np.where(part == 1, 100, np.where(part == 0, 0, np.clip(part * 100, 1, 99))).astype(np.uint8)
            companions[layer.name] |= quality(layer, array, np.zeros_like(percent), percent)
            valid_columns[f"valid_{layer.name}"] = part.reshape(n_chips, -1).mean(axis=1).astype(np.float32)
    write_hierarchy(blobs, layers, columns, companions, attributes={})
    write_shards(blobs, shards)
    write_chips(
        blobs,
        "chips.parquet",
        {
            "chip_id": np.array(ids),
            "row": np.arange(n_chips),
            "epsg": columns.epsg,
            "x0": columns.x0,
            "y0": columns.y0,
            "lon": np.arange(n_chips) + 0.05,
            "lat": np.full(n_chips, 50.05),
            "split": pa.nulls(n_chips, pa.string()) if split is None else pa.array(split, pa.string()),
        }
        | valid_columns,
        np.array([box(i, 50, i + 0.1, 50.1) for i in range(n_chips)]),
    )
    blobs.put("manifest.json", json.dumps(manifest_of(layers, n_chips)).encode())
    return Made(Path(path), tuple(layers), made, ids)


def all_layers():
    """Return layers of every kind of chunk: see the names."""
    return [
        make_layer(make_array(), name="s1", n_slots=5, shard_slots=2),
        make_layer(
            make_array("reflectance", Kind.REFLECTANCE, tuple("abcdef"), band_chunk=3),
            name="s2",
            n_slots=4,
            shard_slots=4,
            chunk_slots=4,
        ),
        make_layer(
            make_array("coherence", Kind.COHERENCE, ("coh12", "coh24")),
            make_array("phase", Kind.UNWRAPPED_PHASE, ("phase",)),
            name="insar",
            n_slots=2,
            shard_slots=2,
        ),
        make_layer(
            make_array("height", Kind.CONTINUOUS, ("h", "slope"), band_chunk=1, encoding=Encoding("float32", None)),
            name="dem",
        ),
        make_layer(make_array("map", Kind.CLASSES, ("map",)), name="cover"),
        make_layer(make_array("angle", Kind.ANGLE, ("inc",)), make_array("flags", Kind.BITS, ("qa",)), name="extra"),
    ]


@pytest.fixture(scope="session")
def tools():
    return SimpleNamespace(write=write_dataset, layers=all_layers, n_chips=N_CHIPS)


@pytest.fixture(scope="session")
def shared_made(tmp_path_factory):
    """Return one dataset with all layers; tests that damage or edit make their own."""
    split = ["train"] * 6 + ["val"] * 2 + ["test"] + ["buffer"]
    return write_dataset(tmp_path_factory.mktemp("reader") / "small", all_layers(), split=split)


SEAM = """
name: seam
grid: {chip_px: 32, resolution: 10}
layers:
  position: {source: ramp}
  coarse: {source: ramp, resolution: 40, resampling: average}
  landcover: {role: label, source: synthetic, product: landcover}
  s1: {source: synthetic, product: s1, slots: {periods: [[2020-06-01, 2020-06-12], [2020-07-07, 2020-07-12]]}}
"""


@pytest.fixture(scope="session")
def seam(tmp_path_factory):
    """Return a built dataset on both sides of a zone's border, four chips a shard; nobody changes it."""
    from m3leo_prep.core import layer as layer_module
    from m3leo_prep.core.area import Area
    from m3leo_prep.core.recipe import parse_recipe
    from m3leo_prep.pipeline.build import build
    from m3leo_prep.pipeline.plan import make_plan
    from m3leo_prep.runners.threads import Threads

    path = tmp_path_factory.mktemp("seam") / "seam"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "SHARD_CHIPS", (4,))
        area = Area.from_geometry(box(5.992, 50.0, 6.008, 50.006), name="seam")
        build(make_plan(parse_recipe(SEAM), area, base=Path()), path, runner=Threads(2))
    return path


@pytest.fixture
def made(tmp_path):
    """Return a dataset of one two-band series that a test may damage: nothing missing, 10 chips in shards of 4."""
    layer = make_layer(make_array(), name="s1", n_slots=3, shard_slots=3)
    return write_dataset(tmp_path / "own", [layer], missing=0.0)
