"""What a recipe may say about bands, masks and classes, checked and in one form, and found in files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import LegendClass
from m3leo_prep.core.text import near
from m3leo_prep.sources.local.header import BandHeader, Header

WHOLE = ""
"""Role of the one file that holds all bands of a scene; other files have their band's name, or ``mask``."""

_BAND_KEYS = ("file", "asset", "band")
_MASK_KEYS = (*_BAND_KEYS, "values")
_FORMS = "bands: [vv, vh], or {vv: 1, vh: 2}, {vv: '*_VV.tif'}, {vv: {file: ..., asset: ..., band: ...}}"


@dataclass(frozen=True, slots=True)
class Band:
    """Where a band of the layer is found."""

    name: str
    file: str = ""
    """Pattern of its file's name; what its ``*`` match is the name of the scene."""
    asset: str = ""
    """Its asset in a catalogue."""
    key: int | str | None = None
    """Number (from 1), name or NetCDF variable inside the file; None = the only one."""

    @property
    def is_apart(self) -> bool:
        """True if the band has a file of its own."""
        return bool(self.file or self.asset)


@dataclass(frozen=True, slots=True)
class Mask:
    """Pixels that the sensor saw and the recipe discards: those where a band has one of the values."""

    band: Band
    values: tuple[int, ...]


def parse_bands(value: Any) -> tuple[Band, ...] | None:
    """Return the bands that ``bands:`` asks for; None = all that the files have.

    Raises:
        ConfigError: not one of the forms.
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (Mapping, Sequence)) or not value:
        raise ConfigError(f"bands: {value!r} is not understood", hint=_FORMS)
    if isinstance(value, Mapping):
        bands = tuple(_band(str(name), where) for name, where in value.items())
    else:
        bands = tuple(Band(str(name), key=str(name)) for name in value)
    names = [band.name for band in bands]
    if len(set(names)) != len(names):
        raise ConfigError(f"bands: a name stands twice in {', '.join(names)}")
    if len({band.is_apart for band in bands}) > 1:
        raise ConfigError("bands: either all have a file (or asset) of their own, or none", hint=_FORMS)
    return bands


def parse_mask(value: Any) -> Mask | None:
    """Return what ``mask:`` asks for.

    Raises:
        ConfigError: unknown key, or no values.
    """
    if value is None:
        return None
    hint = "mask: {band: SCL, values: [3, 8, 9, 10]}, or {file: '*_SCL.tif', values: ...}, or {asset: scl, ...}"
    if not isinstance(value, Mapping):
        raise ConfigError(f"mask: {value!r} is not understood", hint=hint)
    for key in value:
        if key not in _MASK_KEYS:
            raise ConfigError(f"mask: unknown key '{key}'", hint=near(str(key), _MASK_KEYS))
    values = value.get("values")
    if isinstance(values, int):
        values = [values]
    if not isinstance(values, Sequence) or not values or not all(isinstance(v, int) for v in values):
        raise ConfigError("mask: needs `values`, the whole numbers that mean discard", hint=hint)
    where = {key: value[key] for key in _BAND_KEYS if key in value}
    if not where:
        raise ConfigError("mask: needs `band`, `file` or `asset`", hint=hint)
    return Mask(_band("mask", where), tuple(sorted(values)))


def parse_legend(value: Any) -> tuple[LegendClass, ...]:
    """Return the classes of ``legend:``: names from code 0, ``{code: name}`` or ``{code: {name, color}}``.

    Raises:
        ConfigError: a code that is no whole number, or twice the same.
    """
    if value is None:
        return ()
    hint = "legend: {10: Tree cover, 20: {name: Shrubland, color: '#ffbb22'}}, or a list of names from code 0"
    if isinstance(value, Mapping):
        classes = [_class(code, what, hint) for code, what in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        classes = [
            _class(what.get("code", k) if isinstance(what, Mapping) else k, what, hint) for k, what in enumerate(value)
        ]
    else:
        raise ConfigError(f"legend: {value!r} is not understood", hint=hint)
    codes = [one.code for one in classes]
    if len(set(codes)) != len(codes):
        raise ConfigError("legend: a code stands twice", hint=hint)
    return tuple(sorted(classes, key=lambda one: one.code))


def resolve(
    heads: Mapping[str, Header], bands: Sequence[Band] | None, mask: Mask | None, *, by_order: bool
) -> dict[str, tuple[Header, BandHeader]]:
    """Return file and header of each band, in order, without those that the scene lacks.

    Args:
        heads: headers of a scene's files by role.
        bands: what the recipe asks for; None = all that the file has but the mask.
        mask: the mask band, if any.
        by_order: names are given to bands that have none in the file, in order.

    Raises:
        ConfigError: no such band, or as many names as there are no bands.
    """
    whole = heads.get(WHOLE)
    if whole is None:
        return {b.name: (heads[b.name], heads[b.name].band(b.key)) for b in bands or () if b.name in heads}
    if bands is None:
        skip = mask.band.key if mask and not mask.band.is_apart else None
        own = [(band.name or f"b{k}", band) for k, band in enumerate(whole.bands, 1) if skip not in {band.name, k}]
        return {name: (whole, band) for name, band in own}
    unnamed = not any(band.name for band in whole.bands) or (len(whole.bands) == 1 and whole.driver != "netCDF")
    if not by_order or not unnamed:
        return {band.name: (whole, whole.band(band.key)) for band in bands}
    if len(bands) != len(whole.bands):
        raise ConfigError(
            f"has {len(whole.bands)} bands without names, the recipe names {len(bands)}",
            where=whole.path,
            hint="say which number each is: bands: {"
            + ", ".join(f"{b.name}: {k}" for k, b in enumerate(bands, 1))
            + "}",
        )
    return {band.name: (whole, own) for band, own in zip(bands, whole.bands, strict=True)}


def parse_remap(value: Any) -> dict[int, int] | None:
    """Return ``remap:`` with whole numbers on both sides.

    Raises:
        ConfigError: it is anything else.
    """
    if value is None:
        return None
    pairs = [(_code(old), _code(new)) for old, new in value.items()] if isinstance(value, Mapping) else []
    codes = {old: new for old, new in pairs if old is not None and new is not None}
    if not pairs or len(codes) < len(pairs):
        raise ConfigError(f"remap: {value!r} is not {{old code: new code}}", hint="remap: {255: 11}")
    return codes


def numbers(key: str, value: Any) -> tuple[float, ...] | None:
    """Return a number or a list of them as floats; None stays None."""
    if value is None:
        return None
    given = value if isinstance(value, (list, tuple)) else [value]
    try:
        return tuple(float(one) for one in given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {value!r} is neither a number nor a list of numbers") from error


def _band(name: str, where: Any) -> Band:
    if isinstance(where, bool) or where is None:
        raise ConfigError(f"bands: {name}: {where!r} is not understood", hint=_FORMS)
    if isinstance(where, int):
        return Band(name, key=where)
    if isinstance(where, str):
        return Band(name, file=where) if "*" in where else Band(name, key=where)
    if not isinstance(where, Mapping):
        raise ConfigError(f"bands: {name}: {where!r} is not understood", hint=_FORMS)
    for key in where:
        if key not in _BAND_KEYS:
            raise ConfigError(f"bands: {name}: unknown key '{key}'", hint=near(str(key), _BAND_KEYS))
    key = where.get("band")
    return Band(
        name,
        str(where.get("file", "")),
        str(where.get("asset", "")),
        key if key is None or isinstance(key, int) else str(key),
    )


def _class(given: Any, what: Any, hint: str) -> LegendClass:
    code = _code(given)
    if code is None:
        raise ConfigError(f"legend: code {given!r} is not a whole number", hint=hint)
    if isinstance(what, Mapping):
        return LegendClass(code, str(what.get("name", f"class_{code}")), str(what.get("color", "")))
    return LegendClass(code, str(what))


def _code(value: Any) -> int | None:
    """Return a whole number, or None; the keys of a recipe kept as JSON are text."""
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        return int(value)
    return value if type(value) is int else None
