"""The leakage report: what is measured of one split of a dataset, or of chips that are no dataset of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.splits.policy import Split, SplitPolicy, codes_of
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.leakage.checks import Promise, gaps_between, promise
from m3leo_prep.pipeline.leakage.correlogram import Correlogram, correlograms, recommended_buffer_km
from m3leo_prep.pipeline.leakage.gaps import Gap, Overlap, overlaps
from m3leo_prep.pipeline.leakage.ground import GEOD, Ground
from m3leo_prep.pipeline.leakage.histograms import Histogram, column_names, histogram, label_columns
from m3leo_prep.pipeline.leakage.sharing import SharedPixels, SharedScenes, shared_pixels, shared_scenes
from m3leo_prep.reader.dataset import Dataset

Codes = NDArray[np.uint8]
Floats = NDArray[np.float64]

BANDS = 40
"""Of a correlogram."""


@dataclass(frozen=True, slots=True, eq=False)
class Leakage:
    """What was measured of one split."""

    column: str
    policy: SplitPolicy | None
    """What the manifest says; None where it says nothing."""
    counts: Mapping[str, int]
    """Chips by split; ``none`` = in no split."""
    gaps: Mapping[str, Gap | None]
    """By ``train-test``, ``train-val``, ``val-test``; None where one of the two has no chip."""
    overlap: Overlap
    promise: Promise | None
    """None without a policy."""
    pixels: tuple[SharedPixels, ...]
    scenes: tuple[SharedScenes, ...]
    histograms: tuple[Histogram, ...]
    correlograms: Mapping[str, Correlogram]
    """By label column."""
    notes: tuple[str, ...] = ()
    """What could not be measured, and why."""

    @property
    def recommended(self) -> dict[str, float | None]:
        """Recommended buffer in km by label column; None where likeness does not end within what was searched."""
        return {name: recommended_buffer_km(found) for name, found in self.correlograms.items()}

    @property
    def recommended_buffer_km(self) -> float | None:
        """The largest recommended buffer in km; None without labels, or where one has none."""
        found = list(self.recommended.values())
        known = [km for km in found if km is not None]
        return max(known) if found and len(known) == len(found) else None

    @property
    def searched_km(self) -> float | None:
        """How far correlograms reach."""
        first = next(iter(self.correlograms.values()), None)
        return None if first is None else float(first.distance_km[-1] + first.band_km / 2)

    def document(self) -> dict[str, Any]:
        """Return the report as JSON values; None for what is not known."""
        found = {
            "column": self.column,
            "policy": self.policy and self.policy.document(),
            "counts": dict(self.counts),
            "gaps": {name: gap and asdict(gap) for name, gap in self.gaps.items()},
            "overlap": {
                "pairs": len(self.overlap.pairs),
                "first": self.overlap.pairs[0].tolist() if len(self.overlap.pairs) else None,
                "area_km2": self.overlap.area_km2,
                "chips": self.overlap.chips,
                "share": self.overlap.share,
                "ground_share": self.overlap.ground_share,
            },
            "promise": self.promise and asdict(self.promise),
            "pixels": [asdict(one) for one in self.pixels],
            "scenes": [asdict(one) for one in self.scenes],
            "histograms": [asdict(one) for one in self.histograms],
            "correlograms": {name: one.document() for name, one in self.correlograms.items()},
            "recommended": self.recommended,
            "recommended_buffer_km": self.recommended_buffer_km,
            "searched_km": self.searched_km,
            "notes": list(self.notes),
        }
        return {key: _plain(value) for key, value in found.items()}


def examine(dataset: Dataset, column: str = "split", *, seed: int = 0) -> Leakage:
    """Return the leakage report of one column of splits; reads tables, no pixels.

    Args:
        dataset: what to look at.
        column: ``split``, or ``split_<name>`` of a further policy.
        seed: of the pairs that correlograms are estimated from.

    Raises:
        ConfigError: no such column, or it assigns no chip.
        StoreError: a table is damaged.
    """
    columns = column_names(dataset)
    splits = [name for name in columns if name == "split" or name.startswith("split_")]
    if column not in splits:
        raise ConfigError(f"there are no splits '{column}'", where=dataset.url, hint=near(column, splits))
    wanted = ["geometry", "lon", "lat", "area_km2", "owned_fraction", column]
    table = dataset.table("chips.parquet", wanted)
    split = codes_of(table[column].to_pylist())
    if not np.isin(split, (Split.TRAIN, Split.VAL, Split.TEST)).any():
        hint = "add one: `m3leo-prep split DATASET --policy blocks`"
        raise ConfigError(f"'{column}' assigns no chip", where=dataset.url, hint=hint)
    ground = Ground.of(np.asarray(shapely.from_wkb(table["geometry"].to_numpy()), object))
    lon, lat, km2, owned = (table[name].to_numpy().astype(np.float64) for name in wanted[1:5])
    labels, histograms = _labels(dataset, km2 * owned, split, set(columns))
    native, notes = _native(dataset)
    return _examined(
        column,
        _policy(dataset, column),
        ground,
        split,
        (lon, lat),
        labels,
        pixels=shared_pixels(ground, split, native, float(dataset.manifest["grid"]["resolution"])),
        scenes=shared_scenes(dataset, split),
        histograms=histograms,
        notes=notes,
        seed=seed,
    )


def examine_chips(
    polygons: NDArray[np.object_],
    split: Codes,
    values: Mapping[str, Floats],
    *,
    native: Mapping[str, float] | None = None,
    finest: float = 10.0,
    policy: SplitPolicy | None = None,
    seed: int = 0,
) -> Leakage:
    """Return the leakage report of chips that are no dataset of ours, such as those of the first release.

    Args:
        polygons: (chip,) lon/lat outlines.
        split: (chip,) ``Split`` codes.
        values: by name, (chip,) what correlograms are made of, such as class proportions.
        native: by layer, pitch of its source in metres, for pixels that chips share.
        finest: pixel of the chips in metres.
        policy: what the split promises, if it does.
        seed: of the pairs that correlograms are estimated from.
    """
    ground = Ground.of(polygons)
    middle = ground.centre / np.array([GEOD.a, GEOD.a, GEOD.b]) ** 2
    lon = np.degrees(np.arctan2(middle[:, 1], middle[:, 0]))
    lat = np.degrees(np.arctan2(middle[:, 2], np.hypot(middle[:, 0], middle[:, 1])))
    pixels = shared_pixels(ground, split, native or {}, finest)
    return _examined("split", policy, ground, split, (lon, lat), values, pixels=pixels, seed=seed)


def _examined(
    column: str,
    policy: SplitPolicy | None,
    ground: Ground,
    split: Codes,
    places: tuple[Floats, Floats],
    labels: Mapping[str, Floats],
    *,
    pixels: tuple[SharedPixels, ...],
    seed: int,
    scenes: tuple[SharedScenes, ...] = (),
    histograms: tuple[Histogram, ...] = (),
    notes: tuple[str, ...] = (),
) -> Leakage:
    gaps, shared = gaps_between(ground, split), overlaps(ground, split)
    reach = _reach_km(ground)
    varied = {name: values for name, values in labels.items() if reach > 0 and _varies(values)}
    return Leakage(
        column,
        policy,
        {one.name.lower(): int((split == one).sum()) for one in Split},
        gaps,
        shared,
        None if policy is None else promise(policy, ground, gaps, len(shared.pairs)),
        pixels,
        scenes,
        histograms,
        correlograms(*places, varied, max_km=reach, n_bins=BANDS, seed=seed) if varied else {},
        notes,
    )


def _varies(values: Floats) -> bool:
    there = values[np.isfinite(values)]
    return len(there) > 1 and bool((there != there[0]).any())


def _reach_km(ground: Ground) -> float:
    """Return how far correlograms reach: bands as wide as a chip, but no farther than half of where the chips lie.

    Pairs that are farther apart are few and at the edges (Legendre and Legendre 2012, 13.1).
    """
    if len(ground.centre) < 2:
        return 0.0
    extent = float(np.linalg.norm(np.ptp(ground.centre, axis=0)))
    return min(extent / 2, BANDS * math.sqrt(2) * float(np.median(ground.radius))) / 1000


def _labels(
    dataset: Dataset, owned: Floats, split: Codes, columns: set[str]
) -> tuple[dict[str, Floats], tuple[Histogram, ...]]:
    """Return label columns and class histograms, weighed by valid share x owned ground."""
    values: dict[str, Floats] = {}
    found = []
    for label, classes in label_columns(dataset).items():
        layer = max((name for name in dataset.layers if label == name or label.startswith(f"{name}_")), key=len)
        valid = f"valid_{layer}"
        table = dataset.table("chips.parquet", [*classes.values(), *([valid] if valid in columns else [])])
        weight = owned * (table[valid].to_numpy() if valid in columns else 1.0)
        proportions = {name: table[column].to_numpy().astype(np.float64) for name, column in classes.items()}
        found.append(histogram(label, proportions, weight, split))
        values |= {classes[name]: column for name, column in proportions.items()}
    return values, tuple(found)


def _native(dataset: Dataset) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the pitch of each layer's source in metres, and notes on those that do not tell it."""
    told = {name: about.get("native_pitch") for name, about in dataset.manifest["layers"].items()}
    notes = [
        f"layer {name}: its source does not tell the size of its pixels, so shared ones are not counted"
        for name, pitch in told.items()
        if pitch is None
    ]
    return {name: float(pitch) for name, pitch in told.items() if pitch is not None}, tuple(notes)


def _policy(dataset: Dataset, column: str) -> SplitPolicy | None:
    entry = dataset.manifest.get("splits", {}).get(column)
    return None if entry is None else SplitPolicy.of(entry["policy"])


def _plain(value: Any) -> Any:
    """Return JSON values: None for NaN, lists for tuples."""
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value
