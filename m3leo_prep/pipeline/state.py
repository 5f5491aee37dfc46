"""The build state inside a dataset folder: the frozen plan, so that a resumed build asks no catalogue again.

DATASET/.m3leo/plan/plan.json           recipe, area, layers as resolved
DATASET/.m3leo/plan/cells-<content>.parquet       the chips, in row order
DATASET/.m3leo/plan/items-<layer>-<content>.parquet
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.area import Area
from m3leo_prep.core.choice import rule_of
from m3leo_prep.core.encoding import Encoding
from m3leo_prep.core.errors import StoreError
from m3leo_prep.core.format import FORMAT_VERSION, is_newer
from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.core.layer import Array, Layer
from m3leo_prep.core.plan import LayerPlan, Plan, SourceSpec, compression
from m3leo_prep.core.raster import Item, Kind, LegendClass, Slot, Variable
from m3leo_prep.core.recipe import Recipe
from m3leo_prep.core.sample import Sample
from m3leo_prep.core.splits.policy import SplitPolicy
from m3leo_prep.pipeline.splitting.tables import regions_of, regions_table
from m3leo_prep.reader.copies.pulled import PULLED
from m3leo_prep.store.ledger import Ledger
from m3leo_prep.store.tables import read_table, write_table
from m3leo_prep.store.zarr_array import to_json

STATE = ".m3leo"
PLAN = f"{STATE}/plan/plan.json"


class DatasetFolder:
    """One dataset on a local disk: its blobs, its ledger and its frozen plan."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = LocalBlobs(path)
        self.ledger = Ledger(path / STATE / "ledger")

    @property
    def state(self) -> Path:
        """The folder of the build state."""
        return self.path / STATE

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest, or None before the first ``finalize``.

        Raises:
            StoreError: it was written by a newer version.
            ValueError: it is no JSON.
        """
        try:
            made: dict[str, Any] = json.loads(self.blobs.get("manifest.json"))
        except FileNotFoundError:
            return None
        check_version(made, str(self.path))
        return made

    def check_usable(self) -> None:
        """Refuse a folder that holds anything but a dataset of ours.

        Raises:
            StoreError: it is a file, or a folder with other things in it.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise StoreError(f"{self.path} is a file, not a folder", hint="give a folder as --out")
        if self.state.is_dir() and not self.blobs.size(PULLED):
            return
        if (self.path / "manifest.json").is_file():
            raise StoreError(
                f"{self.path} holds a dataset without the state of its build (.m3leo): it can be read, not built on",
                hint="copy the folder .m3leo of the original too, or give a new folder as --out",
            )
        # Another part of the build may just have begun: its state comes before all else.
        if any(self.path.iterdir()) and not self.state.is_dir():
            raise StoreError(
                f"the folder {self.path} holds something else", hint="give a new or an empty folder as --out"
            )

    def holds(self, plan: Plan) -> bool:
        """Return whether exactly this plan is frozen here."""
        try:
            return self.blobs.get(PLAN) == to_json(_frozen_form(plan)[0])
        except FileNotFoundError:
            return False

    def freeze(self, plan: Plan) -> None:
        """Write the plan; ``plan.json`` last, so that a torn write is never taken for a plan."""
        # Tables get new names, so that the old plan stays whole until the new one is in place.
        old = set(self.blobs.list(f"{STATE}/plan")) - {PLAN}
        document, tables = _frozen_form(plan)
        for name, table in tables.items():
            if name not in old:
                write_table(self.blobs, name, table)
        self.blobs.put(PLAN, to_json(document))
        for name in old - tables.keys():
            self.blobs.delete(name)

    def frozen(self, *, layer: str | None = None) -> Plan | None:
        """Return the frozen plan, or None if there is none.

        Args:
            layer: the only one that is wanted; of the others nothing is read, and the plan lacks them.

        Raises:
            StoreError: it was written by a newer version, or is damaged.
        """
        try:
            document = json.loads(self.blobs.get(PLAN))
            is_plan = isinstance(document, dict) and "format_version" in document
        except FileNotFoundError:
            return None
        except ValueError:
            is_plan = False
        if not is_plan:
            raise StoreError(
                "the frozen plan is damaged",
                hint="put it back from a backup; or delete .m3leo and build into a new folder",
                where=f"{self.path}/{PLAN}",
            )
        if document["format_version"].split(".")[0] != FORMAT_VERSION.split(".")[0]:
            raise StoreError(
                f"the dataset was planned by format {document['format_version']}, this version knows {FORMAT_VERSION}",
                hint="pip install --upgrade m3leo-prep",
                where=str(self.path),
            )
        recipe = _recipe(document["recipe"])
        grid = Grid(recipe.grid.chip_px, recipe.grid.resolution)
        names = document["tables"]
        table = self._plan_table(names["cells"])
        columns = [table[name].to_numpy().astype(np.int32) for name in ("epsg", "col", "row")]
        area = document["area"]
        outline = Area(area["name"], shapely.from_wkt(area["wkt"]), area["source"], area["licence"], area["note"])
        wanted = [doc for doc in document["layers"] if layer in {None, doc["layer"]["name"]}]
        layers = tuple(self._layer(doc, names) for doc in wanted)
        drawn = document.get("sample")  # plans of before samples have none
        policy = document.get("splits")  # and those of before splits none
        return Plan(
            recipe,
            outline,
            grid,
            Cells(grid, *columns),
            layers,
            sample=None if drawn is None else Sample(**drawn),
            splits=None if policy is None else SplitPolicy.of(policy),
            split=None if policy is None else table["split"].to_numpy().astype(np.uint8),
            regions=regions_of(self._plan_table(names["regions"])) if "regions" in names else None,
            buffer_loss=document.get("buffer_loss", {}),
            skip_buffer=document.get("skip_buffer", False),
        )

    def _plan_table(self, name: str) -> pa.Table:
        try:
            return read_table(self.blobs, name)
        except FileNotFoundError as error:
            raise StoreError(
                "a part of the frozen plan is missing",
                hint="copy the dataset's .m3leo folder again; or delete it and build into a new folder",
                where=f"{self.path}/{name}",
            ) from error

    def _layer(self, document: dict[str, Any], names: dict[str, str]) -> LayerPlan:
        doc = dict(document)
        layer = doc.pop("layer")
        kind = layer.pop("slot_kind", "period")
        slots = tuple(Slot(s["label"], _time(s["start"]), _time(s["end"]), kind) for s in layer.pop("slots"))
        arrays = tuple(_array(a) for a in layer.pop("arrays"))
        rule = rule_of(layer.pop("rule")) if "rule" in layer else None
        made = Layer(**layer, slots=slots, arrays=arrays, rule=rule)
        source = SourceSpec(**doc.pop("source"))
        heights = self._layer(doc.pop("heights"), names) if "heights" in doc else None
        items = _items(self._plan_table(names[f"items-{made.name}"]))
        return LayerPlan(layer=made, source=source, items=items, heights=heights, **doc)


def _frozen_form(plan: Plan) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """Return what is written of a plan: ``plan.json`` and its tables by name; equal plans give equal forms."""
    document = {
        "format_version": FORMAT_VERSION,
        "n_chips": len(plan.cells),
        "recipe": plan.recipe.resolved(),
        "area": {
            "name": plan.area.name,
            "wkt": shapely.to_wkt(plan.area.geometry, rounding_precision=-1),
            "source": plan.area.source,
            "licence": plan.area.licence,
            "note": plan.area.note,
        },
        "sample": plan.sample and plan.sample.document(),
        "splits": plan.splits and plan.splits.document(),
        "buffer_loss": dict(plan.buffer_loss),
        "skip_buffer": plan.skip_buffer,
        "layers": [_layer_document(layer) for layer in plan.layers],
    }
    every = [one for layer in plan.layers for one in (layer, layer.heights) if one is not None]
    tables = {f"items-{layer.layer.name}": _items_table(layer.items) for layer in every}
    columns: dict[str, Any] = {"epsg": plan.cells.epsg, "col": plan.cells.col, "row": plan.cells.row}
    if plan.split is not None:
        columns["split"] = plan.split
    tables["cells"] = pa.table({name: pa.array(values) for name, values in columns.items()})
    if plan.regions is not None:
        tables["regions"] = regions_table(plan.regions)
    names = {name: f"{STATE}/plan/{name}-{_content(table)}.parquet" for name, table in tables.items()}
    return document | {"tables": names}, {names[name]: table for name, table in tables.items()}


def _recipe(document: dict[str, Any]) -> Recipe:
    """Return the recipe of a frozen plan; a key of ``splits`` that was never used is gone since."""
    splits = {key: value for key, value in document["splits"].items() if key != "units"}
    return Recipe.model_validate(document | {"splits": splits})


def _content(table: pa.Table) -> str:
    """Return a name for what a table holds."""
    digest = hashlib.sha256()
    for column in table.combine_chunks().columns:
        for buffer in (b for chunk in column.chunks for b in chunk.buffers() if b is not None):
            digest.update(buffer)
    return digest.hexdigest()[:16]


def _layer_document(plan: LayerPlan) -> dict[str, Any]:
    layer = plan.layer
    return {
        "layer": {
            "name": layer.name,
            "role": layer.role,
            "pitch": layer.pitch,
            "size": layer.size,
            "shard_chips": layer.shard_chips,
            "shard_slots": layer.shard_slots,
            "chunk_slots": layer.chunk_slots,
            "attributes": dict(layer.attributes),
            "slots": [
                {"label": s.label, "start": s.start and s.start.isoformat(), "end": s.end and s.end.isoformat()}
                for s in layer.slots
            ],
            "arrays": [_array_document(array) for array in layer.arrays],
            **({"slot_kind": layer.slots[0].kind, "rule": layer.rule.document()} if layer.rule else {}),
        },
        "source": _source_document(plan.source),
        "source_version": plan.source_version,
        "op_versions": dict(plan.op_versions),
        "licence": plan.licence,
        "citation": plan.citation,
        "pitch": plan.pitch,
        **({"heights": _layer_document(plan.heights)} if plan.heights else {}),
        **({"ground_reach": plan.ground_reach} if plan.ground_reach else {}),
    }


def _source_document(spec: SourceSpec) -> dict[str, Any]:
    extra = {"code": spec.code, "made_from": spec.made_from}
    document = {"name": spec.name, "options": dict(spec.options), "base": spec.base}
    return document | {name: value for name, value in extra.items() if value}


def _array_document(array: Array) -> dict[str, Any]:
    variable, encoding = array.variable, array.encoding
    return {
        "variable": {
            "name": variable.name,
            "kind": str(variable.kind),
            "bands": list(variable.bands),
            "unit": variable.unit,
            "long_name": variable.long_name,
            "legend": [[c.code, c.name, c.color] for c in variable.legend],
            "attributes": dict(variable.attributes),
            **({"kernel": variable.kernel} if variable.kernel else {}),
        },
        "encoding": {
            "dtype": encoding.dtype,
            "fill": encoding.fill,
            "scale": encoding.scale,
            "transform": encoding.transform,
            "valid_min": str(float(encoding.valid_min)),
            "valid_max": str(float(encoding.valid_max)),
            "unit": encoding.unit,
        },
        "method": array.method,
        "statistic": array.statistic,
        "band_chunk": array.band_chunk,
        **compression(array),
    }


def _array(document: dict[str, Any]) -> Array:
    doc = dict(document)
    variable = doc.pop("variable")
    legend = tuple(LegendClass(*c) for c in variable.pop("legend"))
    kind, bands = Kind(variable.pop("kind")), tuple(variable.pop("bands"))
    encoding = doc.pop("encoding")
    encoding |= {name: float(encoding[name]) for name in ("valid_min", "valid_max")}
    return Array(
        variable=Variable(kind=kind, bands=bands, legend=legend, **variable),
        encoding=Encoding(**encoding),
        **doc,
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _items_table(items: tuple[Item, ...]) -> pa.Table:
    return pa.table(
        {
            "id": pa.array([i.id for i in items], pa.string()),
            "version": pa.array([i.version for i in items], pa.string()),
            "datetime": pa.array([i.datetime for i in items], pa.timestamp("us", "UTC")),
            "acquisition": pa.array([i.acquisition for i in items], pa.string()),
            "properties": pa.array([json.dumps(dict(i.properties), sort_keys=True) for i in items], pa.string()),
            "footprint": pa.array(list(shapely.to_wkb([i.footprint for i in items])), pa.binary()),
        }
    )


def _items(table: pa.Table) -> tuple[Item, ...]:
    footprints = shapely.from_wkb(table["footprint"].to_pylist())
    return tuple(
        Item(
            id=row["id"],
            footprint=footprint,
            version=row["version"],
            datetime=row["datetime"].astimezone(UTC) if row["datetime"] else None,
            acquisition=row["acquisition"],
            properties=json.loads(row["properties"]),
        )
        for row, footprint in zip(table.drop_columns("footprint").to_pylist(), footprints, strict=True)
    )


def check_version(manifest: Any, where: str) -> None:
    """Raise StoreError if a manifest was written by a newer version."""
    version = str(manifest.get("format_version", FORMAT_VERSION)) if isinstance(manifest, dict) else ""
    if version.partition(".")[0].isdigit() and is_newer(version):
        raise StoreError(
            f"the dataset has format version {version}, newer than the {FORMAT_VERSION} known here",
            hint="pip install --upgrade m3leo-prep",
            where=where,
        )
