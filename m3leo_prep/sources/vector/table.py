"""Which class a polygon has, by the value of its column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.encoding import CLASS_FILL
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import LegendClass
from m3leo_prep.core.text import near

NO_CLASS = CLASS_FILL
"""Code of a polygon whose value is no class: encoding masks and counts it as out of range."""
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Table:
    """Classes by value."""

    legend: tuple[LegendClass, ...]
    codes: Mapping[str, int]
    background: int | None = None
    """Code where no polygon lies; None = missing there."""

    def of(self, values: Sequence[str], where: str, *, ignore_unknown: bool) -> NDArray[np.int64]:
        """Return the code of each value.

        Raises:
            ConfigError: values that are no class, unless they are ignored (``NO_CLASS``).
        """
        strange = Counter(value for value in values if value not in self.codes)
        if strange and not ignore_unknown:
            listed = ", ".join(f"'{value}' ({n:,})" for value, n in sorted(strange.items())[:_SHOWN])
            more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
            raise ConfigError(
                f"has polygons whose value is no class: {listed}{more}",
                where=where,
                hint="name them in `classes:`, or say `unknown: ignore` to mask and count them",
            )
        return np.array([self.codes.get(value, NO_CLASS) for value in values], np.int64)


def make_table(classes: Any, background: Any, values: Sequence[str]) -> Table:
    """Return the classes of a layer.

    Args:
        classes: value -> code, or value -> ``{code, name, color}``; None = the values in order, from code 0.
        background: name or code of a class, or ``{code, name, color}``; None = nothing.
        values: of all polygons.

    Raises:
        ConfigError: it is anything else, or a code stands for two classes.
    """
    hint = "classes: {Lagoa: 1, Nordeste: 2}, or {Lagoa: {code: 1, name: Lagoa, color: '#aa0000'}}"
    if classes is None:
        classes = {value: code for code, value in enumerate(sorted(set(values) - {""}, key=_rank))}
    if not isinstance(classes, Mapping) or not classes:
        raise ConfigError(f"classes: {classes!r} is not understood", hint=hint)
    named = {str(value): _class(str(value), what, hint) for value, what in classes.items()}
    legend: dict[int, LegendClass] = {}
    for one in named.values():
        if legend.setdefault(one.code, one) != one:
            said = "give both the same `name`, if they are to be one class: {code: 1, name: ...}"
            raise ConfigError(f"classes: code {one.code} is '{legend[one.code].name}' and '{one.name}'", hint=said)
    under = None if background is None else _background(background, legend)
    if under is not None and legend.setdefault(under.code, under) != under:
        raise ConfigError(f"background: code {under.code} is the class '{legend[under.code].name}' already")
    wrong = [code for code in legend if not 0 <= code < CLASS_FILL]
    if wrong:
        said = f"codes are 0 ... {CLASS_FILL - 1}; more classes than that need several layers"
        raise ConfigError(f"classes: code {wrong[0]} does not fit one byte", hint=said)
    return Table(
        tuple(legend[code] for code in sorted(legend)),
        {value: one.code for value, one in named.items()},
        None if under is None else under.code,
    )


def _class(value: str, what: Any, hint: str) -> LegendClass:
    if isinstance(what, Mapping):
        for key in what:
            if key not in {"code", "name", "color"}:
                raise ConfigError(
                    f"classes: {value}: unknown key '{key}'", hint=near(str(key), ("code", "name", "color"))
                )
        code, name, color = what.get("code"), str(what.get("name", value)), str(what.get("color", ""))
    else:
        code, name, color = what, value, ""
    if type(code) is not int:
        raise ConfigError(f"classes: {value}: code {code!r} is not a whole number", hint=hint)
    return LegendClass(code, name, color)


def _background(background: Any, legend: Mapping[int, LegendClass]) -> LegendClass:
    """Return the class of a code or name that is there, or a new one."""
    if isinstance(background, Mapping):
        return _class("background", background, "background: {code: 0, name: sea}")
    if type(background) is int:
        return legend.get(background, LegendClass(background, "background"))
    named = [one for one in legend.values() if one.name == str(background)]
    return named[0] if named else LegendClass(max(legend) + 1, str(background))


def _rank(value: str) -> tuple[int, float, str]:
    """Sort numbers by size, before text."""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value
