"""The Parquet tables of a dataset: same rows, same bytes."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.errors import StoreError
from m3leo_prep.ports.blobs import Blobs, Readable
from m3leo_prep.store.ledger import ShardFile

ROW_GROUP = 65_536
SHARD_SCHEMA = pa.schema([("path", pa.string()), ("bytes", pa.int64()), ("sha256", pa.string())])


def write_table(blobs: Blobs, name: str, table: pa.Table) -> str:
    """Write a table as Parquet and return its sha256.

    Everything in the file follows from the table and the pyarrow version: pandas' notes in the schema, which name
    library versions, are dropped, and rows are cut into groups of a fixed size.
    """
    kept = {key: value for key, value in (table.schema.metadata or {}).items() if key != b"pandas"}
    sink = io.BytesIO()
    pq.write_table(
        # One chunk per column: how the rows were put together must not show in the bytes.
        table.replace_schema_metadata(kept).combine_chunks(),
        sink,
        row_group_size=ROW_GROUP,
        compression="zstd",
        compression_level=3,
        version="2.6",
    )
    blobs.put(name, sink.getbuffer())
    return hashlib.sha256(sink.getbuffer()).hexdigest()


def read_table(blobs: Readable, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a table, or some of its columns.

    Raises:
        FileNotFoundError: no such table.
        StoreError: it is not Parquet, or damaged.
    """
    data = blobs.get(name)
    try:
        return pq.read_table(pa.BufferReader(data), columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise StoreError(
            f"this table cannot be read: {error}", hint="run `build` again, or pull it again", where=name
        ) from error


def write_chips(
    blobs: Blobs, name: str, columns: Mapping[str, NDArray[Any] | pa.Array], geometry: NDArray[np.object_]
) -> str:
    """Write GeoParquet 1.1 (WKB, lon/lat) and return its sha256.

    Args:
        blobs: the dataset.
        name: ``chips.parquet`` and the like.
        columns: one value per row, in the order of the file; ``pa.Array`` where nulls are needed.
        geometry: (row,) shapely geometries in lon/lat (OGC:CRS84, GeoParquet's default).
    """
    wkb = shapely.to_wkb(geometry, byte_order=1, output_dimension=2)
    arrays = {key: value if isinstance(value, pa.Array) else _array(value) for key, value in columns.items()}
    table = pa.table(arrays | {"geometry": pa.array(wkb, pa.binary())})
    about: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted({shape.geom_type for shape in geometry if shape is not None}),
    }
    if len(geometry):
        about["bbox"] = [float(v) for v in shapely.total_bounds(geometry)]
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": about}}
    return write_table(blobs, name, table.replace_schema_metadata({b"geo": json.dumps(geo).encode()}))


def write_shards(blobs: Blobs, shards: Iterable[ShardFile], name: str = "shards.parquet") -> str:
    """Write the table of all shards, sorted by path, and return its sha256, which the manifest holds."""
    rows = sorted((shard.path, shard.bytes, shard.sha256) for shard in shards)
    columns: list[Sequence[Any]] = [list(c) for c in zip(*rows, strict=True)] if rows else [[], [], []]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, SHARD_SCHEMA, strict=True)]
    return write_table(blobs, name, pa.Table.from_arrays(arrays, schema=SHARD_SCHEMA))


def read_shards(blobs: Readable, name: str = "shards.parquet") -> dict[str, ShardFile]:
    """Return all shards of the dataset by path."""
    table = read_table(blobs, name, SHARD_SCHEMA.names)
    rows = zip(*(table[column].to_pylist() for column in SHARD_SCHEMA.names), strict=True)
    return {path: ShardFile(path, n_bytes, sha256) for path, n_bytes, sha256 in rows}


def provenance_name(layer: str, part: int) -> str:
    """Return the name of a part of a layer's provenance."""
    return f"provenance/{layer}/part-{part:05d}.parquet"


def _array(values: NDArray[Any]) -> pa.Array:
    """Return numpy values as an arrow array; strings of any kind as plain strings."""
    return pa.array(values.tolist(), pa.string()) if values.dtype.kind in "UT" else pa.array(values)
