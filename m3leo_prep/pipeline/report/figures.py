"""The numbers of a report: counted from a dataset's tables, before anything is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from m3leo_prep.core.errors import StoreError
from m3leo_prep.pipeline.report.absent import Absent, absent
from m3leo_prep.pipeline.report.labels import LabelFigures, UnitFigures, label_figures, told, unit_figures
from m3leo_prep.pipeline.report.leaks import leakages
from m3leo_prep.pipeline.report.reasons import ReasonFigures, reason_figures
from m3leo_prep.pipeline.report.scenes import SceneFigures, scene_figures
from m3leo_prep.pipeline.report.stats import stored_statistics
from m3leo_prep.pipeline.splitting.columns import MAIN, rank_name
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredLayer
from m3leo_prep.store.shard import ZARR

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "val", "test", "buffer", "none")
NO_SPLIT = SPLITS[-1]
BUDGETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Label budgets that are counted, shares of the train chips."""
VALID_BINS = 20
"""Of the histogram of valid shares: 5 % each, the last with 100 %."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The dataset as a whole."""

    name: str
    area: str
    description: str
    dataset_id: str
    format_version: str
    manifest_digest: str
    area_source: str
    area_licence: str
    sample: Mapping[str, Any] | None
    n_chips: int
    chip_px: int
    resolution_m: float
    chip_km: float
    chips_km2: float
    """Of all chips together, on the ellipsoid."""
    bounds: tuple[float, float, float, float]
    """West, south, east, north of the chips' centres, degrees."""
    zones: Mapping[str, int]
    """Chips by EPSG code."""
    first: str | None
    """Start of the first slot and end of the last, dates."""
    last: str | None
    shards: int
    shard_bytes: int
    libraries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LayerFigures:
    """One layer: how it is stored, how much of it is there, how large it is."""

    name: str
    role: str
    pitch_m: float
    size_px: int
    n_slots: int
    slot_kind: str
    """``period``, ``pair`` or ``orbit``."""
    first: str | None
    last: str | None
    source: str
    source_version: str
    licence: str
    citation: str
    variables: tuple[Mapping[str, Any], ...]
    """Name, kind, unit, dtype, scale, bands, and how pixels were resampled and composited."""
    valid_mean: float
    """Percent of pixels, over all chips, slots and bands."""
    valid_min: float
    valid_median: float
    n_full: int
    """Chips of which every pixel is valid."""
    n_empty: int
    """Chips without any."""
    valid_histogram: tuple[int, ...]
    """Chips by valid share, ``VALID_BINS`` equal bins of 0...100 %."""
    shards: int
    shards_absent: int
    """By design: nothing to store."""
    bytes: int


@dataclass(frozen=True, slots=True)
class SplitFigures:
    """One column of splits."""

    column: str
    policy: Mapping[str, Any]
    """What the manifest says of it; empty where it says nothing."""
    buffer_loss: Mapping[str, float]
    """Share of the chips of each split that its buffer takes."""
    chips: Mapping[str, int]
    """By name; ``none`` = chips in no split."""
    km2: Mapping[str, float]
    budgets: Mapping[str, int]
    """Train chips in the nested label budgets; empty where they are not ranked."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Every number of a report."""

    overview: Overview
    layers: tuple[LayerFigures, ...]
    reasons: tuple[ReasonFigures, ...]
    labels: tuple[LabelFigures, ...]
    units: UnitFigures | None
    splits: tuple[SplitFigures, ...]
    leakage: Mapping[str, Mapping[str, Any]]
    """By column of splits."""
    statistics: Mapping[str, Mapping[str, Any]]
    """By layer, as stored."""
    scenes: tuple[SceneFigures, ...]
    absent: tuple[Absent, ...]

    def document(self) -> dict[str, Any]:
        """Return all of them as JSON values; what is not known is null."""
        made: dict[str, Any] = _plain(asdict(self))
        return made


def figures(dataset: Dataset) -> Figures:
    """Return the numbers of a dataset's report.

    Raises:
        StoreError: a table is absent or damaged.
        VerifyError: an array beside the pixels is damaged.
    """
    chips: pd.DataFrame = dataset.table("chips.parquet").drop_columns("geometry").to_pandas()
    shards = dataset.table("shards.parquet", ["path", "bytes"])
    recipe = _recipe(dataset)
    layers = tuple(_layer(dataset, layer, chips, shards) for layer in dataset.layers.values())
    splits = tuple(_splits(dataset, chips))
    labels = label_figures(told(dataset), chips)
    units = unit_figures(dataset)
    statistics = stored_statistics(dataset)
    return Figures(
        overview=_overview(dataset, chips, layers, recipe),
        layers=layers,
        reasons=reason_figures(dataset),
        labels=labels,
        units=units,
        splits=splits,
        leakage=leakages(dataset, {found.column: [*found.chips] for found in splits}),
        statistics=statistics,
        scenes=scene_figures(dataset),
        absent=absent(dataset, recipe, splits, labels, units, statistics),
    )


def _overview(
    dataset: Dataset, chips: pd.DataFrame, layers: Iterable[LayerFigures], recipe: Mapping[str, Any]
) -> Overview:
    manifest = dataset.manifest
    grid = manifest["grid"]
    firsts, lasts = ([getattr(layer, end) for layer in layers if layer.first] for end in ("first", "last"))
    epsg, counts = np.unique(chips["epsg"].to_numpy(), return_counts=True)
    lon, lat = chips["lon"], chips["lat"]
    return Overview(
        name=manifest["name"],
        area=manifest["area"]["name"],
        description=str(recipe.get("description") or ""),
        dataset_id=manifest["dataset_id"],
        format_version=str(manifest["format_version"]),
        manifest_digest=str(manifest.get("manifest_digest", "")),
        area_source=str(manifest["area"].get("source") or ""),
        area_licence=str(manifest["area"].get("licence") or ""),
        sample=manifest.get("sample"),
        n_chips=len(chips),
        chip_px=int(grid["chip_px"]),
        resolution_m=float(grid["resolution"]),
        chip_km=float(grid["chip_px"] * grid["resolution"] / 1000),
        chips_km2=float(chips["area_km2"].sum()),
        bounds=(float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())),
        zones={f"EPSG:{code}": int(n) for code, n in zip(epsg, counts, strict=True)},
        first=min(firsts, default=None),
        last=max(lasts, default=None),
        shards=sum(layer.shards for layer in layers),
        shard_bytes=sum(layer.bytes for layer in layers),
        libraries=dict(manifest.get("libraries", {})),
    )


def _layer(dataset: Dataset, layer: StoredLayer, chips: pd.DataFrame, shards: pa.Table) -> LayerFigures:
    about = dataset.manifest["layers"][layer.name]
    valid: NDArray[np.float64] = chips[f"valid_{layer.name}"].to_numpy(np.float64)
    folder = f"{ZARR}/{layer.name}/"
    sizes = [
        size
        for path, size in zip(shards["path"].to_pylist(), shards["bytes"].to_pylist(), strict=True)
        if path.startswith(folder)
    ]
    starts = [slot.start.date().isoformat() for slot in layer.slots if slot.start is not None]
    ends = [slot.end.date().isoformat() for slot in layer.slots if slot.end is not None]
    variables = [
        {
            "name": array.name,
            "kind": array.kind,
            "unit": array.unit,
            "units": {band: array.unit_of(band) for band in array.bands},
            "dtype": array.dtype,
            "scale": array.scale,
            "bands": list(array.bands),
            "method": array.about.get("method"),
            "statistic": array.about.get("statistic"),
            "classes": len(array.about.get("legend") or []),
        }
        for array in layer.arrays.values()
    ]
    return LayerFigures(
        name=layer.name,
        role=layer.role,
        pitch_m=layer.pitch,
        size_px=layer.size,
        n_slots=0 if layer.is_static else len(layer.slots),
        slot_kind=layer.slots[0].kind,
        first=min(starts, default=None),
        last=max(ends, default=None),
        source=about["source"],
        source_version=str(about.get("source_version", "")),
        licence=layer.licence,
        citation=layer.citation,
        variables=tuple(variables),
        valid_mean=float(valid.mean()),
        valid_min=float(valid.min()),
        valid_median=float(np.median(valid)),
        n_full=int((valid == 100).sum()),
        n_empty=int((valid == 0).sum()),
        valid_histogram=tuple(np.histogram(valid, VALID_BINS, (0, 100))[0].tolist()),
        shards=len(sizes),
        shards_absent=sizes.count(0),
        bytes=sum(sizes),
    )


def _splits(dataset: Dataset, chips: pd.DataFrame) -> Iterable[SplitFigures]:
    """Yield the columns of splits that assign any chip."""
    stored = dataset.manifest.get("splits") or {}
    for column in chips.columns:
        if column != MAIN and not column.startswith(f"{MAIN}_"):
            continue
        if chips[column].isna().all():
            continue
        names = chips[column].fillna(NO_SPLIT).astype(str)
        counts = Counter(names)
        order = sorted(counts, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))
        km2 = chips["area_km2"].groupby(names).sum()
        entry = stored.get(column) or {}
        rank = chips.get(rank_name(column))
        yield SplitFigures(
            column,
            dict(entry.get("policy") or {}),
            dict(entry.get("buffer_loss") or {}),
            {name: counts[name] for name in order},
            {name: float(km2[name]) for name in order},
            {} if rank is None or rank.isna().all() else {f"{100 * b:g} %": int((rank <= b).sum()) for b in BUDGETS},
        )


def _recipe(dataset: Dataset) -> Mapping[str, Any]:
    """Return the recipe as it was resolved; empty where the dataset has none."""
    try:
        return dict(yaml.safe_load(dataset.root.get("recipe.yaml")) or {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        where = f"{dataset.url}/recipe.yaml"
        raise StoreError(f"this recipe cannot be read: {error}", where=where, hint="run `build` again") from error


def _plain(value: Any) -> Any:
    """Return JSON values: numbers that are not finite are None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
