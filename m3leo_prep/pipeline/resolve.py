"""From what a recipe says of a layer, and what its source delivers, to the layer with every choice made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from m3leo_prep.core import defaults
from m3leo_prep.core.choice import parse_rule
from m3leo_prep.core.encoding import Encoding, default_encoding
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Grid
from m3leo_prep.core.layer import Array, Codec, Layer, band_chunk, shard_rule
from m3leo_prep.core.plan import SourceSpec
from m3leo_prep.core.raster import Kind, Slot, SourceInfo, Variable
from m3leo_prep.core.recipe import EncodingModel, LayerModel
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.pipeline.origins import Objects, spec_of
from m3leo_prep.ports.registry import option_names, source_class, source_names

METRES = frozenset({"m", "metre", "metres", "meter", "meters"})
COMPANIONS = frozenset(
    {"count", "time", "time_bounds", "bound", "x", "y", "epsg", "x0", "y0", "band", "chip"}
    | {"first_time", "mean_time", "last_time", "relative_orbit", "orbit_direction", "reference_time", "secondary_time"}
    | {"frame", "perp_baseline", "product_version", "phase_reference"}
)
"""Names of arrays beside the pixels, which no variable may take."""
CODES = frozenset({Kind.CLASSES, Kind.BITS})


def source_spec(model: LayerModel, base: Path, sources: Objects | None = None) -> SourceSpec:
    """Return how a layer's source is made; ``sources`` are those given as objects.

    A source that applies the statistic itself takes it as an option.
    """
    options = model.options
    if model.statistic is not None and _takes_statistic(model.source):
        options["statistic"] = model.statistic
    return spec_of(model.source, options, base, sources or {})


def _takes_statistic(source: str) -> bool:
    return source in source_names() and "statistic" in option_names(source_class(source))


def resolve_layer(
    name: str,
    model: LayerModel,
    info: SourceInfo,
    grid: Grid,
    *,
    n_chips: int,
    codec: Codec = "zstd",
    old: Layer | None = None,
) -> Layer:
    """Return a layer with every choice made: lattice, slots, methods, encodings, chunks and shards.

    Args:
        name: of the layer.
        model: what the recipe says.
        info: what the source delivers.
        grid: the chip grid.
        n_chips: chips of the area.
        codec: of its chunks, as ``Recipe.codec`` gives it.
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
        rule = parse_rule(model.slots)
        slots = rule.slots() if rule else parse_slots(model.slots, year=info.year)
    except ConfigError as error:
        raise ConfigError(error.message, where=where, hint=error.hint) from None
    if slots[0].kind not in info.slot_kinds:
        raise ConfigError(
            f"source '{model.source}' has no items that fill {slots[0].kind}s here",
            where=where,
            hint="say `slots:` as " + " or ".join(_FORMS[kind] for kind in info.slot_kinds),
        )
    if rule is not None and model.role == "label":
        raise ConfigError(
            f"slots of {slots[0].kind}s are chosen chip by chip, which makes no labels",
            where=where,
            hint="remove `role: label`",
        )
    if info.is_static and not slots[0].is_static:
        raise ConfigError(
            f"source '{model.source}' has no times, but the layer asks for slots",
            where=where,
            hint="remove `slots:`",
        )
    arrays = tuple(
        _resolve_array(v, model, info, pitch, is_static=slots[0].is_static, where=where) for v in info.variables
    )
    _check_deviations(arrays, where)
    phases = [array.variable.name for array in arrays if array.variable.kind is Kind.UNWRAPPED_PHASE]
    if len(phases) > 1:
        raise ConfigError(
            f"{', '.join(phases)}: a layer has one unwrapped phase, because it has one `phase_reference`",
            where=where,
            hint="make each a layer of its own",
        )
    read = arrays
    if model.counts:
        arrays += _counts(read, info, where)
    if model.terrain:
        arrays += _terrain(model.terrain, read, pitch, is_static=slots[0].is_static, where=where)
    arrays = tuple(replace(array, codec=codec) for array in arrays)
    per_slot = sum(array.n_bands * array.itemsize for array in arrays) * size**2
    n, t, chunk_slots = shard_rule(
        chip_slot_bytes=per_slot, n_slots=len(slots), n_chips=n_chips, dear_blocks=info.dear_blocks
    )
    if old is not None and old.size == size and (old.slots == slots or _is_longer(slots, old)):
        n, t, chunk_slots = old.shard_chips, old.shard_slots, old.chunk_slots
    return Layer(name, model.role, pitch, size, slots, arrays, n, t, chunk_slots, dict(info.attributes), rule)


_FORMS = {
    "period": "`{seasons: 2020}`, months, years, dates or periods",
    "pair": "`{pairs: {year: 2020, windows: {short: [0, 60]}, pick: far}}`",
    "orbit": "`{orbits: 4}`",
}
"""How a recipe says slots of a kind."""


def _is_longer(slots: tuple[Slot, ...], old: Layer) -> bool:
    """Return whether slots only go on behind the old ones, and chunks of the old ones can stay."""
    return slots[: len(old.slots)] == old.slots and old.chunk_slots == 1


def _resolve_array(
    variable: Variable, model: LayerModel, info: SourceInfo, pitch: float, *, is_static: bool, where: str
) -> Array:
    if variable.name in COMPANIONS or variable.name.endswith(("_reason", "_valid", "_band")):
        raise ConfigError(
            f"the source's variable '{variable.name}' has the name of an array beside the pixels",
            where=where,
            hint="rename it in the source (`variable:` of local)",
        )
    if variable.kind in CODES and any(other.kind not in CODES for other in info.variables):
        # Flags beside a quantity: what the recipe says of the layer is meant for the quantity. Only which item comes
        # first must be the same for both.
        order = model.statistic if model.statistic in defaults.ONE_ITEM else None
        model = model.model_copy(update={"resampling": None, "statistic": order, "encoding": None})
    if variable.kernel and model.resampling:
        raise ConfigError(
            f"'{variable.name}' is resampled where it comes from, by {variable.kernel}",
            where=where,
            hint="say `kernel:`, an option of its source, instead of `resampling:`",
        )
    # Where the source resamples to the lattice, its kernel is what was done; else, and where a finer lattice is left to
    # be made coarser, it is done here.
    ready = variable.kernel and not (info.pitch and pitch / info.pitch >= defaults.COARSENING)
    method = model.resampling or (variable.kernel if ready else "")
    method = method or defaults.default_method(variable.kind, info.pitch, pitch)
    if variable.kind is Kind.UNCERTAINTY:
        defaults.check_correlation(variable, where=where)
        method = defaults.QUADRATURE.get(method, method)
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


def _counts(arrays: tuple[Array, ...], info: SourceInfo, where: str) -> tuple[Array, ...]:
    """Return what tells of how many acquisitions the pixels of each quantity are made."""
    if info.composites:
        raise ConfigError(
            "`counts:` needs the single acquisitions, but this source delivers what it has composited itself",
            where=where,
            hint="add a layer of the same with `statistic: count`, or say `composite: local` where the source has it",
        )
    quantities = [array for array in arrays if array.variable.kind not in CODES]
    if not quantities or any(array.statistic == "count" for array in quantities):
        said = "is a count itself" if quantities else "holds codes alone, which one acquisition gives"
        raise ConfigError(f"`counts:` says nothing where the layer {said}", where=where, hint="remove `counts:`")
    taken = {array.variable.name for array in arrays}
    encoding = Encoding("uint16", 65535, valid_min=0, valid_max=65534, unit="1")
    made = []
    for array in quantities:
        of = array.variable
        name = of.name + defaults.COUNT
        if name in taken:
            raise ConfigError(
                f"the source's variable '{name}' has the name of what `counts` adds",
                where=where,
                hint="rename it in the source (`variable:` of local)",
            )
        whole = "valid in all bands" if array.statistic == "medoid" else "valid"
        about = {"computed_from": of.name, "algorithm": f"acquisitions of the slot whose pixel is {whole}"}
        title = f"number of acquisitions of {of.name}"
        variable = Variable(name, Kind.CONTINUOUS, of.bands, "1", title, (), about)
        made.append(Array(variable, encoding, defaults.COUNTED, "count", array.band_chunk))
    return tuple(made)


def _check_deviations(arrays: tuple[Array, ...], where: str) -> None:
    """Raise ConfigError if a standard deviation would not be that of the layer's quantities."""
    quantities = [array for array in arrays if array.variable.kind not in {Kind.UNCERTAINTY, *CODES}]
    for array in arrays:
        if array.variable.kind is not Kind.UNCERTAINTY:
            continue
        for other in quantities:
            name, of = array.variable.name, other.variable.name
            if array.method != defaults.QUADRATURE.get(other.method, other.method):
                raise ConfigError(
                    f"'{name}' is {array.method}, which is not the standard deviation of '{of}' by {other.method}",
                    where=where,
                    hint="say `resampling: bilinear`, `average` or `nearest` for the layer",
                )
            if array.statistic != other.statistic:
                raise ConfigError(
                    f"'{of}' is the {other.statistic} of several items, '{name}' the deviation of one",
                    where=where,
                    hint="say `statistic: first` for the layer",
                )


def _terrain(
    wanted: list[Literal["slope", "aspect"]], arrays: tuple[Array, ...], pitch: float, *, is_static: bool, where: str
) -> tuple[Array, ...]:
    """Return the arrays that are computed from the layer's height.

    Raises:
        ConfigError: the layer is not one static height in metres.
    """
    heights = [array for array in arrays if array.variable.kind is Kind.CONTINUOUS]
    height = heights[0] if heights else arrays[0]
    variable = height.variable
    is_height = len(heights) == len(variable.bands) == 1 and variable.unit in METRES and height.statistic != "count"
    if not (is_static and is_height):
        found = ", ".join(f"'{a.variable.name}' ({a.variable.kind}, {a.variable.unit})" for a in arrays)
        raise ConfigError(
            f"`terrain` needs one height: one continuous band in m without slots; found {found}",
            where=where,
            hint="remove `terrain:`, or name a height model; if it is one, its `unit` must say m",
        )
    taken = [array.variable.name for array in arrays if array.variable.name in wanted]
    if taken:
        raise ConfigError(
            f"the source's variable '{taken[0]}' has the name of what `terrain` computes",
            where=where,
            hint="rename it in the source (`variable:` of local)",
        )
    about = {
        "computed_from": variable.name,
        "algorithm": "Horn (1981), 3 x 3 pixels, after projection",
        "lattice_pitch_m": pitch,
        "north": "grid north of the UTM zone; the zone's scale (0.9996 ... 1.001) is not corrected",
    }
    made = {
        "slope": (
            Variable("slope", Kind.CONTINUOUS, ("slope",), "degree", "slope of the ground", (), about),
            Encoding("float32", None, valid_min=0.0, valid_max=90.0, unit="degree"),
        ),
        "aspect": (
            Variable(
                "aspect",
                Kind.CONTINUOUS,
                ("east", "north"),
                "1",
                "unit vector down the slope",
                (),
                about | {"flat_ground": "missing: it has no direction"},
            ),
            Encoding("float32", None, valid_min=-1.0, valid_max=1.0),
        ),
    }
    return tuple(Array(*made[name], defaults.HORN, height.statistic, len(made[name][0].bands)) for name in wanted)


def _encoding(variable: Variable, model: EncodingModel | None) -> Encoding:
    """Return the stored form: the kind's default, or the recipe's own."""
    default = default_encoding(variable)
    if model is None:
        return default
    is_float = model.dtype == "float32"
    is_class = variable.kind in CODES
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
