"""Tables: same rows, same bytes; chips.parquet is GeoParquet that others read."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import StoreError
from m3leo_prep.store.ledger import ShardFile
from m3leo_prep.store.tables import (
    provenance_name,
    read_shards,
    read_table,
    write_chips,
    write_shards,
    write_table,
)

SQUARES = shapely.box([0.0, 10, -20], [40.0, 41, -5], [1.0, 11, -19], [41.0, 42, -4])
COLUMNS = {
    "chip_id": np.array(["a", "b", "ç"]),
    "row": np.arange(3, dtype=np.int64),
    "owned_fraction": np.array([1, 0.5, 0.25], np.float32),
    "zone_shared": np.array([False, True, True]),
    "split": pa.array(["train", None, "test"]),
}


@pytest.fixture
def blobs(tmp_path):
    return LocalBlobs(tmp_path)


def test_tables_round_trip(blobs):
    table = pa.table({"a": [1, 2, None], "b": ["x", "y", "z"], "c": [[1], [], [2, 3]]})
    digest = write_table(blobs, "t.parquet", table)
    assert read_table(blobs, "t.parquet").equals(table)
    assert read_table(blobs, "t.parquet", ["b"]).column_names == ["b"]
    assert digest == hashlib.sha256(blobs.get("t.parquet")).hexdigest()


def test_the_bytes_depend_on_the_rows_only(blobs):
    """Not on how the table was put together, nor on pandas, whose schema notes name its version."""
    frame = pd.DataFrame({"a": range(1000), "b": [f"word {i % 7}" for i in range(1000)]})
    whole = pa.Table.from_pandas(frame, preserve_index=False)
    assert b"pandas" in whole.schema.metadata
    pieces = pa.concat_tables([whole.slice(i, 90) for i in range(0, 1000, 90)])
    plain = whole.replace_schema_metadata(None)
    digests = {write_table(blobs, "t", table) for table in (whole, pieces, plain)}
    assert len(digests) == 1
    assert write_table(blobs, "t", plain.slice(1)) not in digests


def test_the_bytes_do_not_depend_on_process_locale_or_time_zone(blobs, tmp_path):
    code = (
        "import sys, pyarrow as pa; from pathlib import Path; from m3leo_prep.blobs.local import LocalBlobs;"
        "from m3leo_prep.store.tables import write_table; import datetime as d;"
        "t = pa.table({'a': [1.5, 2.5], 't': [d.datetime(2020, 1, 1, tzinfo=d.UTC)] * 2});"
        "print(write_table(LocalBlobs(Path(sys.argv[1])), 't', t))"
    )
    seen = set()
    for change in ({"TZ": "UTC"}, {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}):
        command = [sys.executable, "-c", code, str(tmp_path)]
        seen.add(subprocess.run(command, env={**os.environ, **change}, capture_output=True, check=True).stdout)
    assert len(seen) == 1


def test_chips_are_geoparquet(blobs, tmp_path):
    write_chips(blobs, "chips.parquet", COLUMNS, SQUARES)
    geo = json.loads(pq.read_schema(tmp_path / "chips.parquet").metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"] == {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "bbox": [-20.0, -5.0, 11.0, 42.0],
    }
    table = read_table(blobs, "chips.parquet")
    assert table.column_names == [*COLUMNS, "geometry"]
    assert table["split"].to_pylist() == ["train", None, "test"]
    assert table.schema.field("owned_fraction").type == pa.float32()
    assert table.schema.field("zone_shared").type == pa.bool_()
    assert table.schema.field("chip_id").type == pa.string()


def test_geopandas_reads_the_chips(blobs, tmp_path):
    geopandas = pytest.importorskip("geopandas")
    write_chips(blobs, "chips.parquet", COLUMNS, SQUARES)
    frame = geopandas.read_parquet(tmp_path / "chips.parquet")
    assert frame.crs == "OGC:CRS84"
    assert list(frame.chip_id) == ["a", "b", "ç"]
    assert all(a.equals(b) for a, b in zip(frame.geometry, SQUARES, strict=True))


def test_no_chips(blobs):
    write_chips(blobs, "chips.parquet", {"row": np.zeros(0, np.int64)}, np.zeros(0, object))
    assert read_table(blobs, "chips.parquet").num_rows == 0


def test_shards_are_sorted_and_come_back(blobs):
    shards = [ShardFile("b", 5, "ff"), ShardFile("a", 0, ""), ShardFile("c", 2**40, "00")]
    digest = write_shards(blobs, shards)
    assert list(read_shards(blobs)) == ["a", "b", "c"]
    assert set(read_shards(blobs).values()) == set(shards)
    assert write_shards(blobs, reversed(shards)) == digest
    write_shards(blobs, [], "none.parquet")
    assert read_shards(blobs, "none.parquet") == {}


def test_damaged_tables_are_named(blobs):
    write_table(blobs, "t.parquet", pa.table({"a": [1]}))
    blobs.put("t.parquet", blobs.get("t.parquet")[:-20])
    with pytest.raises(StoreError, match=r"t\.parquet"):
        read_table(blobs, "t.parquet")
    with pytest.raises(FileNotFoundError):
        read_table(blobs, "nothing.parquet")


def test_provenance_names_sort_as_numbers():
    assert provenance_name("s1", 2) < provenance_name("s1", 10)
    assert provenance_name("s1", 2) == "provenance/s1/part-00002.parquet"
