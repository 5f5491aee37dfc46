"""A finished dataset, in a folder or at an address: its manifest, its tables, its chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from m3leo_prep.blobs.cached import cached
from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.blobs.location import open_root
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.ports.blobs import Readable
from m3leo_prep.reader.files import read_table
from m3leo_prep.reader.ids import closest
from m3leo_prep.reader.manifest import StoredLayer, read_manifest, stored_layers
from m3leo_prep.reader.pixels.faults import listed_digest
from m3leo_prep.reader.pixels.shards import ShardReader

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure


class Dataset:
    """What a build made, opened for reading; nothing but the manifest is read until it is asked for."""

    def __init__(self, location: str | Path | Readable) -> None:
        """Open the dataset at ``location``: a folder, or an address such as ``hf://datasets/OWNER/NAME``.

        What is read of a remote dataset is kept in a local cache of bounded size; see ``blobs.cached``.

        Raises:
            StoreError: no finished dataset there, or one of a newer major format version.
            CredentialsError: it may not be read with these credentials, or without any.
            MissingDependency: reading there needs an extra.
        """
        root = open_root(location) if isinstance(location, (str, Path)) else location
        self.manifest: Mapping[str, Any] = read_manifest(root)
        self.root: Readable = cached(root, str(self.manifest["manifest_digest"])) if root.is_remote else root
        """Where its files are read from."""
        self.layers: Mapping[str, StoredLayer] = stored_layers(self.manifest)
        self.reader = ShardReader(self.root, opened=listed_digest(self.manifest))

    @property
    def url(self) -> str:
        """Where it is, for people: its folder, or its address without secrets."""
        return self.root.url

    @property
    def path(self) -> Path:
        """Its folder.

        Raises:
            ConfigError: it is not on this machine.
        """
        if isinstance(self.root, LocalBlobs):
            return self.root.root
        hint = f"fetch it first: `m3leo-prep pull {self.url} FOLDER`"
        raise ConfigError("this needs the dataset in a folder of this machine", where=self.url, hint=hint)

    def __len__(self) -> int:
        return int(self.manifest["n_chips"])

    def __repr__(self) -> str:
        lines = [
            f"<Dataset {self.manifest['name']}, area {self.manifest['area']['name']}: {len(self):,} chips>  {self.url}"
        ]
        for layer in self.layers.values():
            slots = "static" if layer.is_static else f"{len(layer.slots)} slots"
            lines.append(f"  {layer.name} ({layer.role}): {layer.size} x {layer.size} px of {layer.pitch:g} m, {slots}")
            lines += [f"    {a.name} [{a.unit}]: {', '.join(a.bands)}" for a in layer.arrays.values()]
        return "\n".join(lines)

    @cached_property
    def chips(self) -> pd.DataFrame:
        """The chips, one per row; ``geometry`` is WKB (``geopandas.read_parquet`` reads shapes)."""
        frame: pd.DataFrame = self.table("chips.parquet").to_pandas()
        return frame

    @cached_property
    def shards(self) -> pd.DataFrame:
        """The shards: ``path``, ``bytes`` (0 = all missing, no file) and ``sha256``."""
        frame: pd.DataFrame = self.table("shards.parquet").to_pandas()
        return frame

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return one of the dataset's Parquet tables, or some of its columns.

        Raises:
            StoreError: it cannot be read.
        """
        return read_table(self.root, name, columns)

    def provenance(self, layer: str) -> list[str]:
        """Return the names of the tables that say from which items a layer's chips were made."""
        return sorted(name for name in self.manifest["files"] if name.startswith(f"provenance/{layer}/"))

    def layer(self, name: str) -> StoredLayer:
        """Return a layer.

        Raises:
            ConfigError: there is none of that name.
        """
        if name not in self.layers:
            raise ConfigError(f"there is no layer '{name}'", where=self.url, hint=near(name, self.layers))
        return self.layers[name]

    def row(self, chip: str | int) -> int:
        """Return the row of a chip id, or the row itself if it exists.

        Raises:
            ConfigError: no such chip.
        """
        if isinstance(chip, str):
            if chip not in self._rows:
                found = near(chip, closest(chip, list(self._rows)))
                hint = found if found.startswith("did you") else "ids are in the column chip_id of chips.parquet"
                raise ConfigError(f"there is no chip '{chip}'", where=self.url, hint=hint)
            return self._rows[chip]
        if not 0 <= chip < len(self):
            raise ConfigError(f"there is no row {chip}", where=self.url, hint=f"rows are 0 ... {len(self) - 1}")
        return int(chip)

    def read(
        self,
        chip: str | int,
        layer: str,
        variable: str | None = None,
        *,
        slots: Sequence[int] | None = None,
        bands: Sequence[int] | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return (values, valid) of a chip: (time, band, y, x), or (band, y, x) if static.

        Args:
            chip: id or row.
            layer: name of the layer.
            variable: name of the variable; not needed where the layer has one.
            slots: indices of slots; None = all.
            bands: indices of bands; None = all.

        Returns:
            float32 in physical units with NaN where missing, or the stored codes of classes; and True where valid.

        Raises:
            ConfigError: no such chip, layer or variable.
            StoreError: a shard is absent or short.
            VerifyError: a shard is damaged.
        """
        stored = self.layer(layer)
        array = stored.array(variable)
        return array.physical(self.reader.read(stored, array, self.row(chip), slots, bands))

    def chip(self, chip: str | int, layer: str, variable: str | None = None) -> xr.DataArray:
        """Return a chip as georeferenced pixels, for the ``odc`` and ``rio`` accessors; see ``views.georeferenced``.

        Args:
            chip: id or row.
            layer: name of the layer.
            variable: name of the variable; not needed where the layer has one.

        Raises:
            ConfigError: no such chip, layer or variable.
            StoreError: a shard is absent or short.
            VerifyError: a shard is damaged.
        """
        from m3leo_prep.reader.views import georeferenced

        row = self.row(chip)
        stored = self.layer(layer)
        place = self._places.slice(row, 1).to_pylist()[0]
        values, _ = self.read(row, layer, variable)
        return georeferenced(stored, stored.array(variable), values, **place)

    def plot(self, chip: str | int, layers: Sequence[str] | None = None) -> Figure:
        """Return a picture of a chip: every layer and slot, legends, scale, and what is missing and why.

        A notebook shows it; ``savefig`` writes it.

        Args:
            chip: id or row.
            layers: layers, or single variables as ``layer.variable``; None = all.

        Raises:
            ConfigError: no such chip, layer or variable.
            MissingDependency: matplotlib is not installed.
            StoreError: a shard or a table is absent.
            VerifyError: one is damaged.
        """
        from m3leo_prep.reader.picture.plot import plot

        return plot(self, chip, layers=layers)

    @cached_property
    def _places(self) -> pa.Table:
        return self.table("chips.parquet", ["chip_id", "epsg", "x0", "y0"])

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {chip: row for row, chip in enumerate(self._places["chip_id"].to_pylist())}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "manifest": self.manifest, "layers": self.layers, "reader": self.reader}
