"""The manifest, as a reader needs it: which layers there are and how their pixels are stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.defaults import COUNTED
from m3leo_prep.core.encoding import decode
from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.core.format import FORMAT_VERSION, is_newer
from m3leo_prep.core.layer import Codec
from m3leo_prep.core.raster import Slot
from m3leo_prep.core.text import near
from m3leo_prep.ports.blobs import Readable

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class StoredArray:
    """One variable of a layer, as stored."""

    name: str
    kind: str
    bands: tuple[str, ...]
    unit: str
    """Of the physical values; ``class`` for codes."""
    dtype: str
    fill: int | None
    """Code of a missing pixel; None for floats, where it is NaN."""
    scale: float
    band_chunk: int
    about: Mapping[str, Any] = field(default_factory=dict)
    """The variable's whole entry in the manifest."""
    codec: Codec = "zstd"
    """How its chunks are compressed."""

    @property
    def is_class(self) -> bool:
        """True where values are codes, not quantities."""
        return self.unit == "class"

    @property
    def is_count(self) -> bool:
        """True where it tells of how many acquisitions another variable was made."""
        return self.about.get("method") == COUNTED

    @property
    def fill_value(self) -> int | float:
        """The code of a missing pixel as a number."""
        return np.nan if self.fill is None else self.fill

    def unit_of(self, band: str) -> str:
        """Return the unit of a band: the variable's, unless its source says one for each."""
        return str(self.about.get("attributes", {}).get("band_units", {}).get(band, self.unit))

    @property
    def attributes(self) -> dict[str, Any]:
        """What a user must know of the values: unit, kind, statistic, kernel, error bound, radiometric identity."""
        known = ("kind", "statistic", "method", "max_error")
        about = {key: self.about[key] for key in known if self.about.get(key) is not None}
        return {"units": self.unit} | about | dict(self.about.get("attributes", {}))

    def physical(self, codes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return (values, valid): float32 with NaN where missing, or the codes themselves for classes."""
        return decode(codes, self)


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """One layer, as stored."""

    name: str
    role: str
    pitch: float
    size: int
    slots: tuple[Slot, ...]
    shard_chips: int
    shard_slots: int
    chunk_slots: int
    arrays: Mapping[str, StoredArray]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    citation: str = ""

    @property
    def is_static(self) -> bool:
        """True for a layer without a time axis."""
        return self.slots[0].is_static

    @property
    def own(self) -> tuple[StoredArray, ...]:
        """Its variables but for counts, which tell of them: what is meant where the layer alone is named."""
        return tuple(array for array in self.arrays.values() if not array.is_count)

    def key(self, array: StoredArray) -> str:
        """Return how a variable is called: ``layer`` where it is the layer's only one, else ``layer.variable``."""
        return self.name if self.own == (array,) else f"{self.name}.{array.name}"

    def array(self, variable: str | None = None) -> StoredArray:
        """Return a variable, or the only one.

        Raises:
            ConfigError: no such variable, or none named where there are several.
        """
        if variable is None and len(self.own) == 1:
            return self.own[0]
        if variable is None:
            names = ", ".join(self.arrays)
            raise ConfigError("name one of the variables", where=f"layer {self.name}", hint=f"choose from: {names}")
        if variable not in self.arrays:
            hint = near(variable, self.arrays)
            raise ConfigError(f"there is no variable '{variable}'", where=f"layer {self.name}", hint=hint)
        return self.arrays[variable]


def read_manifest(root: Readable) -> dict[str, Any]:
    """Return the manifest of the dataset at ``root``.

    Raises:
        StoreError: there is none, it is damaged, or of a newer major format version.
    """
    try:
        raw = root.get(MANIFEST)
    except FileNotFoundError as error:
        hint = "run `build`, or give the folder or address that holds manifest.json"
        raise StoreError("no finished dataset here", where=root.url, hint=hint) from error
    try:
        manifest = json.loads(raw)
        newer = is_newer(str(manifest["format_version"]))
        manifest["layers"].items()
        if root.is_remote:
            manifest["manifest_digest"].encode()  # under which its files are kept here
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            "this is not a manifest", where=f"{root.url}/{MANIFEST}", hint="run `build` again, or pull it again"
        ) from error
    if newer:
        raise StoreError(
            f"the dataset has format version {manifest['format_version']}, newer than the {FORMAT_VERSION} known here",
            where=root.url,
            hint="pip install --upgrade m3leo-prep",
        )
    return dict(manifest)


def stored_layers(manifest: Mapping[str, Any]) -> dict[str, StoredLayer]:
    """Return the layers of a manifest by name."""
    return {name: _layer(name, about) for name, about in manifest["layers"].items()}


def _layer(name: str, about: Mapping[str, Any]) -> StoredLayer:
    return StoredLayer(
        name=name,
        role=about["role"],
        pitch=about["pitch"],
        size=about["size"],
        slots=tuple(
            Slot(slot["label"], _when(slot["start"]), _when(slot["end"]), about.get("slot_kind", "period"))
            for slot in about["slots"]
        ),
        shard_chips=about["shard_chips"],
        shard_slots=about["shard_slots"],
        chunk_slots=about["chunk_slots"],
        arrays={array["name"]: _array(array) for array in about["arrays"]},
        attributes=about.get("attributes", {}),
        licence=about.get("licence", ""),
        citation=about.get("citation", ""),
    )


def _array(about: Mapping[str, Any]) -> StoredArray:
    return StoredArray(
        name=about["name"],
        kind=about["kind"],
        bands=tuple(about["bands"]),
        unit=about["unit"],
        dtype=about["dtype"],
        fill=about["fill"],
        scale=about["scale"],
        band_chunk=about["band_chunk"],
        about=about,
        codec=about.get("codec", "zstd"),
    )


def _when(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
