"""A finished dataset in a folder: its manifest, its tables, its chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.core.text import near
from m3leo_prep.reader.ids import closest
from m3leo_prep.reader.manifest import StoredLayer, read_manifest, stored_layers
from m3leo_prep.reader.shards import ShardReader

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure


class Dataset:
    """What a build made, opened for reading; nothing but the manifest is read until it is asked for."""

    def __init__(self, path: str | Path) -> None:
        """Open the dataset in folder ``path``.

        Raises:
            StoreError: no finished dataset there, or one of a newer major format version.
        """
        self.path = Path(path)
        self.manifest: Mapping[str, Any] = read_manifest(self.path)
        self.layers: Mapping[str, StoredLayer] = stored_layers(self.manifest)
        self.reader = ShardReader(self.path)

    def __len__(self) -> int:
        return int(self.manifest["n_chips"])

    def __repr__(self) -> str:
        lines = [
            f"<Dataset {self.manifest['name']}, area {self.manifest['area']['name']}: {len(self):,} chips>  {self.path}"
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
        try:
            # Not pq.read_table: it loads pyarrow's dataset machinery first, a quarter of a second for nothing.
            with pq.ParquetFile(self.path / name) as file:
                unknown = set(columns or ()).difference(file.schema_arrow.names)
                if unknown:
                    raise ValueError(f"it has no column {', '.join(sorted(unknown))}")  # noqa: TRY301  one message
                return file.read(columns)
        except (OSError, ValueError) as error:
            message = f"this table cannot be read: {error}"
            hint = "run `build` again, or pull it again"
            raise StoreError(message, where=str(self.path / name), hint=hint) from error

    def layer(self, name: str) -> StoredLayer:
        """Return a layer.

        Raises:
            ConfigError: there is none of that name.
        """
        if name not in self.layers:
            raise ConfigError(f"there is no layer '{name}'", where=str(self.path), hint=near(name, self.layers))
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
                raise ConfigError(f"there is no chip '{chip}'", where=str(self.path), hint=hint)
            return self._rows[chip]
        if not 0 <= chip < len(self):
            raise ConfigError(f"there is no row {chip}", where=str(self.path), hint=f"rows are 0 ... {len(self) - 1}")
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
        return {"path": self.path, "manifest": self.manifest, "layers": self.layers, "reader": self.reader}
