"""Datasets and chips as xarray, in physical units."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from xarray.backends import BackendArray
from xarray.core import indexing

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.reader.pixels.shards import ShardReader
from m3leo_prep.reader.zarr_store import ReadableStore
from m3leo_prep.store.shard import ZARR


def georeferenced(
    layer: StoredLayer, array: StoredArray, values: NDArray[Any], *, chip_id: str, epsg: int, x0: float, y0: float
) -> xr.DataArray:
    """Return a chip's values with their place: dims (time, band, y, x), or (band, y, x) if static.

    ``x`` and ``y`` are pixel centres in m in the chip's UTM zone, ``spatial_ref`` holds its CRS, ``time`` is the start
    of each slot (the number of a pair or orbit) and ``slot`` its name.
    """
    geobox = GeoBox((layer.size, layer.size), Affine(layer.pitch, 0, x0, 0, -layer.pitch, y0), f"EPSG:{epsg}")
    coords: dict[Any, Any] = {"band": list(array.bands), **xr_coords(geobox)}
    dims: tuple[str, ...] = ("band", "y", "x")
    if not layer.is_static:
        coords |= {"time": slot_times(layer), "slot": ("time", [slot.label for slot in layer.slots])}
        dims = ("time", *dims)
    attributes = array.attributes | {"chip_id": chip_id, "layer": layer.name}
    if array.is_class:
        attributes["_FillValue"] = array.fill
    made = xr.DataArray(values, coords, dims, name=array.name, attrs=attributes)
    made.encoding["grid_mapping"] = "spatial_ref"
    return made


def slot_times(layer: StoredLayer) -> NDArray[Any]:
    """Return (time,) the start of each slot, datetime64[ns]; of pairs and orbits, which are only numbered, int64."""
    if layer.slots[0].kind != "period":
        return np.arange(len(layer.slots))
    starts = [slot.start.replace(tzinfo=None) for slot in layer.slots if slot.start is not None]
    return np.array(starts, "datetime64[ns]")


def open_dataset(path: str | Path, *, chunks: Literal["shard"] | None = None) -> xr.DataTree:
    """Return a dataset as a tree with one node per layer, read when it is looked at.

    Quantities are float32 in physical units with NaN where missing, classes keep their codes; coordinates and
    companions are those of the store. Unlike plain Zarr, a shard that is listed but absent is an error, not NaN.

    Args:
        path: folder of the dataset, or its address.
        chunks: None, or ``shard`` for dask arrays with one chunk per shard.

    Raises:
        ConfigError: another ``chunks``.
        MissingDependency: ``shard`` without dask.
        StoreError: no finished dataset there, or one of a newer major format version.
    """
    if chunks not in {None, "shard"}:
        raise ConfigError(f"chunks must be None or 'shard', not {chunks!r}")
    if chunks == "shard" and find_spec("dask") is None:
        raise MissingDependency("chunks='shard' needs dask", hint="pip install 'm3leo-prep[dask]'")
    dataset = Dataset(path)
    attributes = {key: dataset.manifest[key] for key in ("name", "dataset_id", "format_version")}
    attributes["area"] = dataset.manifest["area"]["name"]
    store = dataset.path / ZARR if isinstance(dataset.root, LocalBlobs) else ReadableStore(dataset.root, ZARR)
    nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs=attributes)}
    for name, layer in dataset.layers.items():
        pixels = list(layer.arrays)
        stored = xr.open_zarr(store, group=name, chunks=None, drop_variables=pixels)
        raw = xr.open_zarr(store, group=name, chunks=None, mask_and_scale=False)
        for variable, array in layer.arrays.items():
            lazy = indexing.LazilyIndexedArray(_Pixels(dataset.reader, layer, array, raw[variable].shape))
            hidden = {"_FillValue", "scale_factor", "add_offset", "valid_range"} if not array.is_class else set()
            kept = {key: value for key, value in raw[variable].attrs.items() if key not in hidden}
            stored[variable] = xr.Variable(raw[variable].dims, lazy, kept)
        if chunks == "shard":
            sizes = {"chip": layer.shard_chips} | ({} if layer.is_static else {"time": layer.shard_slots})
            stored = stored.chunk(sizes)
        nodes[name] = stored
    return xr.DataTree.from_dict(nodes, name=dataset.manifest["name"])


class _Pixels(BackendArray):
    """A variable of all chips, read chip by chip when indexed."""

    def __init__(self, reader: ShardReader, layer: StoredLayer, array: StoredArray, shape: tuple[int, ...]) -> None:
        self.reader = reader
        self.layer = layer
        self.array = array
        self.shape = shape
        self.dtype = np.dtype(array.dtype if array.is_class else np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Return the values of an outer index: one integer, slice or index array per axis."""
        wanted = [np.arange(n)[k] for n, k in zip(self.shape, key, strict=True)]
        rows, *slots, bands = (np.atleast_1d(places).tolist() for places in wanted[:-2])
        y, x = (k if isinstance(k, slice) else np.atleast_1d(k) for k in key[-2:])
        out = np.empty([np.size(places) for places in wanted], self.dtype)
        for place, row in enumerate(rows):
            codes = self.reader.read(self.layer, self.array, row, slots[0] if slots else None, bands)
            values, _ = self.array.physical(codes)
            out[place] = values[..., y, :][..., x]
        single = tuple(axis for axis, places in enumerate(wanted) if np.ndim(places) == 0)
        return out.squeeze(single)
