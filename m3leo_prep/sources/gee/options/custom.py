"""Options of ``collection`` and ``script``: what is in no table is said in the recipe."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.sources.gee.choice import Choice, Kernel, Mode, Quantity, Row
from m3leo_prep.sources.gee.options.common import check_year, kernel_of, refuse, statistic_of, told
from m3leo_prep.sources.gee.options.said import parse_variables
from m3leo_prep.sources.gee.products import CATALOGUE

if TYPE_CHECKING:
    from m3leo_prep.sources.gee.source import EarthEngine

_SMOOTH = frozenset({Kind.POWER, Kind.COHERENCE, Kind.REFLECTANCE, Kind.CONTINUOUS})
_OF_PRODUCT = (
    "bands", "orbits", "relative_orbits", "cloud", "cloud_classes", "clear_from", "max_cloud",
)  # fmt: skip


def of_collection(source: EarthEngine) -> Choice:
    """Return what a layer with ``collection`` asks for.

    With ``statistic`` (or ``composite: server``) Earth Engine composites; else images come in their own pixels.

    Raises:
        ConfigError: an option is missing or makes no sense.
    """
    quantities = _quantities(source)
    is_server = source.composite == "server" or (source.composite == "" and source.statistic != "")
    if source.composite not in {"", "server", "local"}:
        raise ConfigError(f"composite: '{source.composite}' is not known", hint="choose from: local, server")
    mode: Mode = "composite" if is_server else "native"
    row = _row(source, quantities, mode, parse_filters(source.filters))
    return _choice(source, row, mode)


def of_script(source: EarthEngine) -> Choice:
    """Return what a layer with ``script`` asks for, as far as it is known without running it.

    Raises:
        ConfigError: no such file, or an option that is missing or makes no sense.
    """
    refuse(source, ("filters", "composite"), "the function in `script` decides it")
    if source.year is not None:
        raise ConfigError(
            "year: a script is given the days of its slot", hint=f"say `slots: {{years: [{source.year}]}}` instead"
        )
    path, colon, function = source.script.rpartition(":")
    if not colon or not path.endswith(".py") or not function.isidentifier():
        raise ConfigError(f"script: '{source.script}' is not file.py:function", hint="script: ./ndvi.py:image")
    try:
        code = Path(path).read_bytes()
    except OSError as error:
        hint = "the path is relative to the recipe's folder"
        raise ConfigError(f"script: no file {path}: {error.strerror}", hint=hint) from error
    row = _row(source, _quantities(source), "computed", {})
    return _choice(source, row, "computed", code=hashlib.sha256(code).hexdigest())


def parse_filters(given: Any) -> dict[str, Any]:
    """Return ``filters:`` with its values checked: a value, a list of values, or ``{min, max}``.

    Raises:
        ConfigError: anything else.
    """
    hint = "filters: {instrumentMode: IW, resolution_meters: [10, 25], CLOUDY_PIXEL_PERCENTAGE: {max: 20}}"
    if not isinstance(given, Mapping):
        raise ConfigError(f"filters: {given!r} is not understood", hint=hint)
    for key, value in given.items():
        if not _is_filter(value):
            raise ConfigError(f"filters: {key}: {value!r} is not understood", hint=hint)
    return {str(key): list(value) if isinstance(value, tuple) else value for key, value in given.items()}


def _quantities(source: EarthEngine) -> tuple[Quantity, ...]:
    refuse(source, _OF_PRODUCT, "is for products; say `variables:` and `filters:`")
    return parse_variables(source.variables)


def _row(source: EarthEngine, quantities: Sequence[Quantity], mode: Mode, filters: Mapping[str, Any]) -> Row:
    pitch = source.pitch
    if isinstance(pitch, bool) or not isinstance(pitch, (int, float)) or not 0 < pitch < math.inf:
        said = "is missing" if pitch is None else f"{pitch!r} is not a length in metres"
        raise ConfigError(f"pitch: {said}: native pixel size in metres", hint="pitch: 30")
    return Row(
        name="",
        # The file's name only: where it lies is not what it is.
        title=source.collection or Path(source.script).name,
        asset=source.collection,
        is_collection=True,
        family="plain",
        mode=mode,
        pitch=float(pitch),
        # What a script gives may be a composite, which cannot be resampled.
        kernel="nearest" if mode == "computed" else _safe_kernel(quantities),
        quantities=tuple(quantities),
        licence=source.licence or "unknown",
        citation=source.citation,
        url=CATALOGUE + source.collection.replace("/", "_") if source.collection else "",
        filters=filters,
        reach_m=2 * float(pitch),
        main={one.variable.name: one.variable.bands for one in quantities if not one.flags_of},
    )


def _choice(source: EarthEngine, row: Row, mode: Mode, *, code: str = "") -> Choice:
    check_year(source.year)
    kernel = kernel_of(source.kernel, row.kernel, row.quantities, mode)
    statistic = statistic_of(source.statistic, row.quantities, mode)
    quantities = told(row.quantities, mode, kernel, statistic, {})
    return Choice(row, quantities, mode, kernel, statistic, year=source.year, script=source.script, code=code)


def _safe_kernel(quantities: Sequence[Quantity]) -> Kernel:
    """Return the finest kernel that makes sense for all of them: Earth Engine's own would be nearest."""
    return "bilinear" if all(one.variable.kind in _SMOOTH for one in quantities) else "nearest"


def _is_filter(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(_is_value, value))
    if isinstance(value, Mapping):
        return bool(value) and set(value) <= {"min", "max"} and all(map(_is_number, value.values()))
    return _is_value(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_value(value: Any) -> bool:
    return isinstance(value, (str, bool)) or _is_number(value)
