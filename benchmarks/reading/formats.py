"""The same chips in the formats of others: how each is written, and how one chip is read at random, as codes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from reading.clock import Read
from reading.datasets import LAYER

PARQUET_CHIPS = 64
"""Files in one Parquet file; M3LEO does not say how many its have."""


@dataclass(frozen=True, slots=True)
class Format:
    """One way to keep chips."""

    write: Callable[[Path, NDArray[np.int16]], None] | None
    """None: it reads our own dataset, which is there."""
    open: Callable[[Path], Read]


def by_zarr_python(path: Path) -> Read:
    """Return how zarr-python reads our pixels."""
    array = zarr.open_array(_pixels(path), mode="r")
    return lambda row: array[row]


def by_zarrs(path: Path) -> Read:
    """Return how zarr-python reads our pixels through the pipeline of zarrs."""
    import zarrs  # noqa: F401  registers the pipeline

    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        array = zarr.open_array(_pixels(path), mode="r")
    # The pipeline is the array's own from here on, and the configuration everybody's again.
    assert type(array.async_array.codec_pipeline).__name__ == "ZarrsCodecPipeline"
    return lambda row: array[row]


def by_tensorstore(path: Path) -> Read:
    """Return how tensorstore reads our pixels; it keeps shard indexes, as we do, but no pixels."""
    import tensorstore

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": _pixels(path)}}
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 0}})
    array = tensorstore.open(spec, context=context, open=True).result()
    return lambda row: array[row].read().result()


def write_geotiffs(path: Path, codes: NDArray[np.int16]) -> None:
    """Write a GeoTIFF a chip: deflate with the horizontal predictor, tiles of 128."""
    path.mkdir()
    for row, chip in enumerate(codes):
        (path / f"{row}.tif").write_bytes(_geotiff(chip))


def by_rasterio(path: Path) -> Read:
    """Return how rasterio reads a GeoTIFF a chip."""
    import rasterio

    def read(row: int) -> Any:
        with rasterio.open(path / f"{row}.tif") as file:
            return file.read()

    return read


def write_parquet(path: Path, codes: NDArray[np.int16]) -> None:
    """Write as M3LEO is published: whole GeoTIFFs as rows (path, content, ds) of zstd Parquet files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.mkdir()
    for first in range(0, len(codes), PARQUET_CHIPS):
        some = codes[first : first + PARQUET_CHIPS]
        names = [f"europe/s1grd-2020/{first + k}.tif" for k in range(len(some))]
        columns = {"path": names, "content": [_geotiff(chip) for chip in some], "ds": ["s1grd-2020"] * len(some)}
        pq.write_table(pa.table(columns), path / f"{first // PARQUET_CHIPS}.zstd.parquet", compression="zstd")


def by_parquet(path: Path) -> Read:
    """Return how one chip comes out of such a file: the row of that path, then the GeoTIFF in it."""
    import pyarrow.parquet as pq
    import rasterio

    def read(row: int) -> Any:
        wanted = [("path", "=", f"europe/s1grd-2020/{row}.tif")]
        table = pq.read_table(path / f"{row // PARQUET_CHIPS}.zstd.parquet", columns=["content"], filters=wanted)
        with rasterio.open(io.BytesIO(table["content"][0].as_py())) as file:
            return file.read()

    return read


def write_hdf5(path: Path, codes: NDArray[np.int16]) -> None:
    """Write one HDF5 file, a chip a chunk: gzip 4 behind a byte shuffle."""
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=codes, chunks=(1, *codes.shape[1:]), compression="gzip", shuffle=True)


def by_h5py(path: Path) -> Read:
    """Return how h5py reads a chip."""
    import h5py

    data = h5py.File(path)["x"]
    return lambda row: data[row]


def write_npy(path: Path, codes: NDArray[np.int16]) -> None:
    """Write one .npy file."""
    with path.open("wb") as file:
        np.save(file, codes)


def by_memmap(path: Path) -> Read:
    """Return how a chip is copied out of a memory map."""
    data = np.load(path, mmap_mode="r")
    return lambda row: np.array(data[row])


FORMATS = {
    "zarr-python": Format(None, by_zarr_python),
    "zarrs": Format(None, by_zarrs),
    "tensorstore": Format(None, by_tensorstore),
    "GeoTIFF deflate": Format(write_geotiffs, by_rasterio),
    "HDF5 gzip": Format(write_hdf5, by_h5py),
    "M3LEO parquet": Format(write_parquet, by_parquet),
    "np.memmap": Format(write_npy, by_memmap),
}


def _pixels(path: Path) -> str:
    return str(path / "chips.zarr" / LAYER / "value")


def _geotiff(chip: NDArray[np.int16]) -> bytes:
    import rasterio
    from rasterio.io import MemoryFile

    bands, height, width = chip.shape
    how = {
        "driver": "GTiff",
        "compress": "deflate",
        "predictor": 2,
        "tiled": True,
        "blockxsize": 128,
        "blockysize": 128,
    }
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)}
    with MemoryFile() as memory:
        with memory.open(count=bands, height=height, width=width, dtype="int16", nodata=-32768, **how, **place) as file:
            file.write(chip)
        return bytes(memory.getbuffer())
