"""The plan: chips, layers, items and units of work. Metadata only, no pixels."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.area import Area
from m3leo_prep.core.format import FORMAT_VERSION
from m3leo_prep.core.grid import GRID_VERSION, Cells, Grid
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.raster import Item, Kind, Slot, Variable
from m3leo_prep.core.recipe import Recipe
from m3leo_prep.core.sample import Sample
from m3leo_prep.core.splits.policy import Regions, SplitPolicy

NOT_IN_DIGEST = frozenset({"path", "geoid", "script", "tile_list"})
"""Source options that say where files are, not what is in them: items carry their own id and version, and the version
of a source with a ``script`` holds its code."""


PHASE_REFERENCE = 1
"""Version of how the reference of unwrapped phase is found, which ledger records hold."""


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """How to make a layer's source again, anywhere: it pickles, the source need not."""

    name: str
    options: Mapping[str, Any]
    base: str = ""
    """Folder that relative paths and ``./my_source.py`` start from."""
    code: str = field(default="", compare=False)
    """SHA-256 of ``my_source.py``, or of the ``script`` among the options, so that every worker runs the same; in no
    digest: the source's ``version`` is."""
    made_from: str = ""
    """Class of the object that was given for it, which a digest names it by; empty for a source found by name."""
    instance: Any = field(default=None, compare=False, repr=False)
    """That object; never written down."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One layer x one shard index: the unit of work, of retry and of commit."""

    layer: str
    chip_shard: int
    slot_shard: int
    first_row: int
    last_row: int
    """One beyond the last row that exists."""
    first_slot: int
    last_slot: int

    @property
    def rows(self) -> range:
        """Rows of its chips."""
        return range(self.first_row, self.last_row)

    @property
    def slots(self) -> range:
        """Indices of its slots."""
        return range(self.first_slot, self.last_slot)

    @property
    def id(self) -> str:
        """Stable name, also of its ledger record."""
        return f"{self.layer}/{self.chip_shard}/{self.slot_shard}"


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """A layer, where its pixels come from, and the items that may hold them."""

    layer: Layer
    source: SourceSpec
    source_version: str
    op_versions: Mapping[str, int]
    """Version of each operation that makes this layer's pixels."""
    items: tuple[Item, ...]
    licence: str = "unknown"
    citation: str = ""
    pitch: float | None = None
    """Native pixel size in metres, for messages."""
    heights: LayerPlan | None = None
    """The layer that ``dem`` names, on this layer's lattice: what the source is told of the ground."""
    ground_reach: float = 0.0
    """Metres around a chip whose heights decide its pixels, too."""

    def settings(self) -> dict[str, Any]:
        """Return everything but chips, slots and items that decides the stored bytes, as JSON values."""
        layer = self.layer
        return {
            "format": FORMAT_VERSION,
            "grid": GRID_VERSION,
            "layer": layer.name,
            "pitch": layer.pitch,
            "size": layer.size,
            "chunk_slots": layer.chunk_slots,
            "shard": [layer.shard_chips, layer.shard_slots],
            "source": self.source.made_from or self.source.name,
            "options": {k: v for k, v in self.source.options.items() if k not in NOT_IN_DIGEST},
            "source_version": self.source_version,
            "ops": dict(self.op_versions),
            **({"rule": layer.rule.document()} if layer.rule else {}),
            **({"heights": self.heights.settings()} if self.heights else {}),
            "arrays": [
                {
                    "name": array.variable.name,
                    "kind": array.variable.kind,
                    "bands": list(array.variable.bands),
                    "method": array.method,
                    "statistic": array.statistic,
                    "band_chunk": array.band_chunk,
                    **compression(array),
                    **_correlation(array.variable),
                    **({"reference": PHASE_REFERENCE} if array.variable.kind is Kind.UNWRAPPED_PHASE else {}),
                    "encoding": {
                        "dtype": array.encoding.dtype,
                        "fill": array.encoding.fill,
                        "scale": array.encoding.scale,
                        "transform": array.encoding.transform,
                        "range": [str(float(array.encoding.valid_min)), str(float(array.encoding.valid_max))],
                    },
                }
                for array in layer.arrays
            ],
        }

    def units(self, n_chips: int) -> Iterator[Unit]:
        """Yield the units of this layer, slots outermost, so that neighbours of one slot run together."""
        layer = self.layer
        for t in range(layer.n_slot_shards):
            first_slot = t * layer.shard_slots
            last_slot = min(first_slot + layer.shard_slots, len(layer.slots))
            for i in range(math.ceil(n_chips / layer.shard_chips)):
                first = i * layer.shard_chips
                last = min(first + layer.shard_chips, n_chips)
                yield Unit(layer.name, i, t, first, last, first_slot, last_slot)

    def raw_bytes(self, n_chips: int) -> int:
        """Return the uncompressed size of the layer's pixels."""
        per_slot = sum(a.n_bands * a.itemsize for a in self.layer.arrays) * self.layer.size**2
        return per_slot * len(self.layer.slots) * n_chips


def compression(array: Array) -> dict[str, str]:
    """Return what is written down of an array's codec: nothing of zstd, which all had before there was a choice."""
    return {} if array.codec == "zstd" else {"codec": array.codec}


def _correlation(variable: Variable) -> dict[str, float]:
    """Return the one attribute of a variable that decides pixels."""
    return {"correlation": variable.attributes["correlation"]} if variable.kind is Kind.UNCERTAINTY else {}


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be built: frozen in the dataset before the first pixel."""

    recipe: Recipe
    area: Area
    grid: Grid
    cells: Cells
    """Row = array row. Sorted by zone and Z-order; growth appends."""
    layers: tuple[LayerPlan, ...]
    warnings: tuple[str, ...] = field(default=())
    sample: Sample | None = None
    """How ``cells`` were drawn from those of the area; None: all of them."""
    splits: SplitPolicy | None = None
    """How ``split`` was assigned; None: not at all (policy ``none``)."""
    split: NDArray[np.uint8] | None = field(default=None, compare=False)
    """(chip,) ``Split`` codes in row order, None under policy ``none``."""
    regions: Regions | None = field(default=None, compare=False)
    """What ``splits`` gives to splits whole, under the policies ``region`` and ``admin``."""
    buffer_loss: Mapping[str, float] = field(default_factory=dict)
    """Share of the area's chips that the buffer takes, by split; ``all``: of all that have one."""
    skip_buffer: bool = False
    """Whether chips that lie too near to another split were left out of ``cells``."""

    def layer(self, name: str) -> LayerPlan:
        """Return the plan of one layer (KeyError if there is none)."""
        for plan in self.layers:
            if plan.layer.name == name:
                return plan
        raise KeyError(name)

    def units(self, layers: frozenset[str] | None = None) -> Iterator[Unit]:
        """Yield all units, or those of some layers."""
        for plan in self.layers:
            if layers is None or plan.layer.name in layers:
                yield from plan.units(len(self.cells))

    def estimate(self) -> Estimate:
        """Return what building this will take."""
        n = len(self.cells)
        rows = []
        for plan in self.layers:
            files = sum(1 for _ in plan.units(n)) * len(plan.layer.arrays)
            rows.append(
                LayerEstimate(
                    plan.layer.name,
                    len(plan.items),
                    len(plan.layer.slots),
                    plan.raw_bytes(n),
                    files,
                    plan.layer.size,
                )
            )
        return Estimate(n, tuple(rows))


@dataclass(frozen=True, slots=True)
class LayerEstimate:
    """Cost of one layer."""

    layer: str
    items: int
    slots: int
    raw_bytes: int
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cost of a plan."""

    chips: int
    layers: tuple[LayerEstimate, ...]

    @property
    def raw_bytes(self) -> int:
        """Uncompressed bytes: an upper bound of what is written."""
        return sum(row.raw_bytes for row in self.layers)

    @property
    def files(self) -> int:
        """Shards, at most."""
        return sum(row.files for row in self.layers)


def chip_digests(
    ids: list[str], settings_digest: str, slots: tuple[Slot, ...], items: list[list[list[Item]]]
) -> NDArray[np.uint8]:
    """Return (chip, slot, 16) digests: what one chip of a unit is made of in one slot.

    Args:
        ids: chip ids.
        settings_digest: of the layer.
        slots: of the unit.
        items: per chip, per slot, the items that may reach it.
    """
    heads = [hashlib.sha256(f"{settings_digest}{(s.label, str(s.start), str(s.end))}".encode()) for s in slots]
    digests = []
    for chip_id, per_slot in zip(ids, items, strict=True):
        for head, slot_items in zip(heads, per_slot, strict=True):
            one = head.copy()
            one.update(chip_id.encode())
            for item in slot_items:
                one.update(f"\x00{item.id}\x01{item.version}".encode())
            digests.append(one.digest()[:16])
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(ids), len(slots), 16)
