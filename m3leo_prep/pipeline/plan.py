"""From a recipe and an area to a plan: chips, layers, items, units. Metadata only, no pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core import defaults
from m3leo_prep.core.area import Area
from m3leo_prep.core.encoding import Encoding, default_encoding
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.core.layer import Array, Layer, band_chunk, shard_rule
from m3leo_prep.core.plan import NOT_IN_DIGEST, LayerPlan, Plan, SourceSpec, digest_of
from m3leo_prep.core.raster import Item, Kind, SourceInfo, Variable
from m3leo_prep.core.recipe import EncodingModel, LayerModel, Recipe
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.ports.source import Source

Progress = Callable[[str], None]
KERNEL_REACH = 16
"""Native pixels beyond a chip's edge within which an item is looked for; more than any kernel reaches."""
COMPANIONS = frozenset(
    {"count", "time", "time_bounds", "bound", "x", "y", "epsg", "x0", "y0", "band", "chip"}
    | {"first_time", "mean_time", "last_time", "relative_orbit", "orbit_direction"}
)
"""Names of arrays beside the pixels, which no variable may take."""
MAX_FILES = 100_000
MAX_ENTRIES = 10_000
"""What a Hugging Face repository and one of its folders take (Hub documentation, repository recommendations)."""
BUILT_POLICIES = frozenset({"none"})


def make_plan(
    recipe: Recipe,
    area: Area,
    *,
    base: Path,
    previous: Plan | None = None,
    refresh: bool = False,
    say: Progress = lambda _: None,
) -> Plan:
    """Return what will be built.

    Args:
        recipe: what is asked.
        area: where.
        base: folder that the recipe's relative paths start from.
        previous: the frozen plan of the dataset that is continued or grown; its rows stay, its items are not
            asked for again.
        refresh: ask the sources again for all items.
        say: receives one line per step.

    Raises:
        ConfigError: nothing to build, an unknown name, or settings that cannot work together.
    """
    if recipe.grid.tiling != "utm":
        raise ConfigError(
            f"the tiling '{recipe.grid.tiling}' only lists chips and ids so far",
            hint="build with `tiling: utm`",
        )
    if recipe.splits.policy not in BUILT_POLICIES:
        raise ConfigError(
            f"the split policy '{recipe.splits.policy}' is not built yet",
            where=f"recipe {recipe.name}, splits.policy",
            hint="use `splits: {policy: none}`; the chips carry everything that a later split needs",
        )
    grid = Grid(recipe.grid.chip_px, recipe.grid.resolution)
    say(f"tiling {area.name}")
    cells = grid.cells(area.geometry)
    if len(cells) == 0:
        raise ConfigError(f"the area '{area.name}' meets no chip", hint="is it empty, or smaller than a point?")
    if previous is not None:
        cells = _grown(previous, cells, area)
    layers = []
    for name, model in recipe.layers.items():
        say(f"looking for items of {name}")
        layers.append(_plan_layer(name, model, grid, cells, area, base, previous, refresh=refresh))
    plan = Plan(recipe, area, grid, cells, tuple(layers), area.warnings)
    _check_limits(plan)
    return plan


def _check_limits(plan: Plan) -> None:
    """Raise ConfigError if the dataset could not be published: too many files, or too many in one folder."""
    files = plan.estimate().files
    entries = max(math.ceil(len(plan.cells) / layer.layer.shard_chips) for layer in plan.layers)
    if files > MAX_FILES or entries > MAX_ENTRIES:
        raise ConfigError(
            f"{files:,} shards, {entries:,} in one folder: a repository takes {MAX_FILES:,} files, "
            f"{MAX_ENTRIES:,} in a folder",
            hint="build the area in parts, or fewer layers to a dataset: readers join several",
        )


def _grown(previous: Plan, cells: Cells, area: Area) -> Cells:
    """Return the old rows followed by the new cells, so that no row ever moves."""

    def keys(some: Cells) -> list[tuple[int, int, int]]:
        return list(zip(some.epsg.tolist(), some.col.tolist(), some.row.tolist(), strict=True))

    old, new = keys(previous.cells), keys(cells)
    if old == new:
        return previous.cells
    missing = len(set(old) - set(new))
    if missing:
        raise ConfigError(
            f"the dataset holds '{previous.area.name}' with {missing:,} chips outside '{area.name}'",
            hint="a dataset only grows: give an area that contains the old one, or another --out",
        )
    known = set(old)
    fresh = np.array([key not in known for key in new])
    added = cells[fresh]
    return Cells(
        cells.grid,
        np.concatenate([previous.cells.epsg, added.epsg]),
        np.concatenate([previous.cells.col, added.col]),
        np.concatenate([previous.cells.row, added.row]),
    )


def _plan_layer(
    name: str,
    model: LayerModel,
    grid: Grid,
    cells: Cells,
    area: Area,
    base: Path,
    previous: Plan | None,
    *,
    refresh: bool,
) -> LayerPlan:
    where = f"layer {name}"
    spec = SourceSpec(model.source, model.options, str(base))
    source = open_source(spec)
    info = source.describe()
    old = next((p for p in previous.layers if p.layer.name == name), None) if previous else None
    layer = resolve_layer(name, model, info, grid, n_chips=len(cells), old=old.layer if old else None)
    plan = LayerPlan(
        layer=layer,
        source=spec,
        source_version=info.version,
        op_versions=_op_versions(layer),
        items=(),
        licence=info.licence,
        citation=info.citation,
        pitch=info.pitch,
    )
    native = max(layer.pitch, info.pitch or 0.0)
    same = (
        old is not None
        and _same_place(old.source, spec)
        and digest_of(old.settings()) == digest_of(plan.settings())
        and old.layer.slots == layer.slots
    )
    if same and old is not None and previous is not None and not refresh:
        grew = len(cells) > len(previous.cells)
        items = _merged(old.items, _find(source, area, layer, native)) if grew else old.items
    else:
        items = _find(source, area, layer, native)
    if not items:
        raise ConfigError(
            f"source '{model.source}' has nothing in '{area.name}' for {_span(layer)}",
            where=where,
            hint="check the area, the slots, and the files or product of this layer",
        )
    return LayerPlan(**{**_fields(plan), "items": items})


def _same_place(one: SourceSpec, other: SourceSpec) -> bool:
    """Return whether two sources read the same files: what the digest leaves out, because items tell it."""
    same = all(one.options.get(key) == other.options.get(key) for key in NOT_IN_DIGEST)
    return same and (one.base == other.base or not NOT_IN_DIGEST & one.options.keys())


def _fields(plan: LayerPlan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}


def _span(layer: Layer) -> str:
    return "any time" if layer.is_static else f"{layer.slots[0].label} to {layer.slots[-1].label}"


def _find(source: Source, area: Area, layer: Layer, native: float) -> tuple[Item, ...]:
    from m3leo_prep.pipeline.derive import in_groups

    return in_groups(source.find(_search_area(area.geometry, layer.size * layer.pitch, native), layer.slots))


def _search_area(geometry: BaseGeometry, cell_m: float, native: float) -> BaseGeometry:
    """Return the area widened by more than a chip and a kernel: chips reach over the area's edge, kernels over theirs.

    Args:
        geometry: lon/lat.
        cell_m: side of a chip in metres.
        native: pitch of the source in metres.
    """
    _, south, _, north = geometry.bounds
    reach = (2 * cell_m + KERNEL_REACH * native) / 111_000
    widest = math.cos(math.radians(min(max(abs(south), abs(north)) + reach, 86.0)))
    wide = geometry.buffer(reach / widest)
    # What reaches over 180 degrees comes in again on the other side.
    turns = [translate(wide, by) for by in (-360, 0, 360)]
    return shapely.union_all([shapely.box(-180, -90, 180, 90).intersection(turn) for turn in turns])


def _merged(old: tuple[Item, ...], found: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return the found items in the source's order, the known ones as frozen, after those no longer found."""
    from m3leo_prep.pipeline.derive import in_groups

    known = {item.id: item for item in old}
    gone = known.keys() - {item.id for item in found}
    kept = [item for item in old if item.id in gone]
    return in_groups([*kept, *(known.get(item.id, item) for item in found)])


def _op_versions(layer: Layer) -> dict[str, int]:
    # Imported here: the operations need numba, which only a build needs.
    from m3leo_prep.ops import composite, join, warp

    versions = {f"warp.{array.method}": warp.VERSIONS[warp.Method(array.method)] for array in layer.arrays}
    return versions | {"composite": composite.VERSION, "join": join.VERSION}


def resolve_layer(
    name: str, model: LayerModel, info: SourceInfo, grid: Grid, *, n_chips: int, old: Layer | None = None
) -> Layer:
    """Return a layer with every choice made: lattice, slots, methods, encodings, chunks and shards.

    Args:
        name: of the layer.
        model: what the recipe says.
        info: what the source delivers.
        grid: the chip grid.
        n_chips: chips of the area.
        old: the layer as frozen in the dataset, whose shards keep their shape.

    Raises:
        ConfigError: choices that make no sense, with those that do.
    """
    where = f"layer {name}"
    pitch = model.resolution or defaults.default_pitch(info.pitch, grid.cell_m, grid.resolution)
    try:
        size = grid.chip_size(pitch)
    except ConfigError as error:
        raise ConfigError(error.message, where=where, hint=error.hint) from None
    try:
        slots = parse_slots(model.slots)
    except ConfigError as error:
        raise ConfigError(error.message, where=where, hint=error.hint) from None
    if info.is_static and not slots[0].is_static:
        raise ConfigError(
            f"source '{model.source}' has no times, but the layer asks for slots",
            where=where,
            hint="remove `slots:`",
        )
    arrays = tuple(
        _resolve_array(v, model, info, pitch, is_static=slots[0].is_static, where=where) for v in info.variables
    )
    per_slot = sum(array.n_bands * array.itemsize for array in arrays) * size**2
    n, t, chunk_slots = shard_rule(
        chip_slot_bytes=per_slot, n_slots=len(slots), n_chips=n_chips, dear_blocks=info.dear_blocks
    )
    if old is not None and (old.slots, old.size) == (slots, size):
        n, t, chunk_slots = old.shard_chips, old.shard_slots, old.chunk_slots
    return Layer(name, model.role, pitch, size, slots, arrays, n, t, chunk_slots, dict(info.attributes))


def _resolve_array(
    variable: Variable, model: LayerModel, info: SourceInfo, pitch: float, *, is_static: bool, where: str
) -> Array:
    if variable.name in COMPANIONS or variable.name.endswith(("_reason", "_valid", "_band")):
        raise ConfigError(
            f"the source's variable '{variable.name}' has the name of an array beside the pixels",
            where=where,
            hint="rename it in the source (`variable:` of local)",
        )
    method = model.resampling or defaults.default_method(variable.kind, info.pitch, pitch)
    defaults.check_method(variable.kind, method, where=where)
    statistic = model.statistic or defaults.default_statistic(variable.kind, is_static=is_static)
    defaults.check_statistic(variable.kind, statistic, where=where)
    try:
        encoding = _encoding(variable, model.encoding)
    except ConfigError as error:
        raise ConfigError(error.message, where=where, hint=error.hint) from None
    if statistic == "count":
        encoding = Encoding("uint16", 65535, valid_min=0, valid_max=65534, unit="1")
    chunk = model.band_chunk or band_chunk(len(variable.bands))
    if len(variable.bands) % chunk:
        raise ConfigError(f"band_chunk {chunk} does not divide {len(variable.bands)} bands", where=where)
    return Array(variable, encoding, method, statistic, chunk)


def _encoding(variable: Variable, model: EncodingModel | None) -> Encoding:
    """Return the stored form: the kind's default, or the recipe's own."""
    default = default_encoding(variable)
    if model is None:
        return default
    is_float = model.dtype == "float32"
    is_class = variable.kind in {Kind.CLASSES, Kind.BITS}
    if is_class and (is_float or model.scale != 1.0):
        raise ConfigError("class codes are stored as unscaled integers")
    if variable.kind is Kind.CLASSES and model.dtype != "uint8":
        raise ConfigError("classes are stored as uint8", hint="remap the codes to 0...254")
    info = None if is_float else np.iinfo(model.dtype)
    fill = model.fill
    if fill is None and info is not None:
        fill = int(info.min) if info.min < 0 else int(info.max)
    low, high = default.valid_min, default.valid_max
    if info is not None and fill is not None:
        codes = (info.min + (fill == info.min), info.max - (fill == info.max))
        low = max(default.valid_min, codes[0] * model.scale)
        high = min(default.valid_max, codes[1] * model.scale)
    loses = (low > default.valid_min > -np.inf and model.valid_min is None) or (
        high < default.valid_max < np.inf and model.valid_max is None
    )
    if loses:
        raise ConfigError(
            f"{model.dtype} x {model.scale:g} holds {low:g} ... {high:g} only, "
            f"{variable.kind} values lie in {default.valid_min:g} ... {default.valid_max:g}",
            hint="use a wider dtype or a coarser scale, or say valid_min and valid_max to mask the rest",
        )
    low = low if model.valid_min is None else model.valid_min
    high = high if model.valid_max is None else model.valid_max
    return Encoding(model.dtype, fill, model.scale, default.transform, low, high, unit=default.unit)
