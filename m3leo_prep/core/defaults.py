"""The safe choices: lattice, resampling and statistic by kind of quantity.

What may be averaged how follows the table "Resampling by kind" of the alignment page. Every default chosen here
is written into the resolved recipe and into the attributes of the arrays.
"""

from __future__ import annotations

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.layer import Array, Statistic
from m3leo_prep.core.raster import Kind, Variable

LADDER = (10.0, 20.0, 40.0, 50.0, 80.0, 100.0, 140.0, 200.0, 250.0, 280.0, 500.0, 560.0, 1000.0, 1120.0)
"""Pitches in metres from which a layer without ``resolution:`` takes its own; those that divide the cell."""
COARSENING = 2.0
"""From this ratio of target to native pitch on, a layer is averaged instead of interpolated."""


def dividing_pitches(cell_m: float) -> list[float]:
    """Return the pitches of the ladder that divide a cell of ``cell_m`` metres."""
    return [p for p in LADDER if p <= cell_m and abs(round(cell_m / p) * p - cell_m) < 1e-6]


def default_pitch(native: float | None, cell_m: float, finest: float) -> float:
    """Return an honest pitch: the coarsest of the ladder not above the native one (5 % tolerance)."""
    if native is None:
        return finest
    fits = [p for p in {finest, *dividing_pitches(cell_m)} if p <= native * 1.05]
    return max(fits, default=finest)


def default_method(kind: Kind, native: float | None, pitch: float) -> str:
    """Return the name of the warp method for a kind of quantity."""
    coarser = native is not None and pitch / native >= COARSENING
    match kind:
        case Kind.POWER | Kind.COHERENCE:
            # A positive kernel of flat noise gain, widened by itself where the target is coarser (ADR 0003).
            return "bspline"
        case Kind.REFLECTANCE | Kind.CONTINUOUS:
            return "average" if coarser else "bilinear"
        case Kind.UNCERTAINTY:
            return QUADRATURE["average" if coarser else "bilinear"]
        case Kind.WRAPPED_PHASE:
            return "complex"
        case Kind.UNWRAPPED_PHASE:
            return "component"
        case Kind.ANGLE:
            return "angle"
        case Kind.AMOUNT:
            return "sum"
        case Kind.CLASSES:
            return "mode" if coarser else "nearest"
        case Kind.BITS:
            return "bitor" if coarser else "nearest"


QUADRATURE = {"bilinear": "quadrature_bilinear", "average": "quadrature_average"}
"""By the method of a quantity, that of its standard deviation: the same weights, added in quadrature."""
HORN = "horn"
"""Method of what is computed on the lattice from a layer's height, see ``ops.terrain``: nothing is resampled."""
COUNTED = "counted"
"""Method of what tells of how many acquisitions another array was made."""
COUNT = "_count"
"""Ends the name of what is counted, behind that of its variable."""


def is_computed(array: Array) -> bool:
    """Return whether an array is computed from another one of its layer, and not read from the source."""
    return array.method in {HORN, COUNTED}


def is_count(array: Array) -> bool:
    """Return whether an array tells of how many acquisitions another one of its layer was made."""
    return array.method == COUNTED


def is_terrain(array: Array) -> bool:
    """Return whether an array is computed from its neighbours' heights."""
    return array.method == HORN


_SMOOTH = frozenset({"nearest", "bilinear", "bspline", "average"})
ALLOWED_METHODS: dict[Kind, frozenset[str]] = {
    Kind.POWER: _SMOOTH,
    Kind.COHERENCE: _SMOOTH,
    Kind.REFLECTANCE: _SMOOTH | {"cubic"},
    Kind.WRAPPED_PHASE: frozenset({"nearest", "complex"}),
    Kind.UNWRAPPED_PHASE: frozenset({"nearest", "component"}),
    Kind.ANGLE: frozenset({"nearest", "angle"}),
    Kind.CONTINUOUS: _SMOOTH | {"cubic"},
    Kind.UNCERTAINTY: frozenset({"nearest", *QUADRATURE.values()}),
    Kind.AMOUNT: frozenset({"sum"}),
    Kind.CLASSES: frozenset({"nearest", "mode"}),
    Kind.BITS: frozenset({"nearest", "bitor"}),
}
"""Methods whose result still means the same quantity."""


def check_method(kind: Kind, method: str, *, where: str) -> None:
    """Raise ConfigError if ``method`` would make numbers without meaning."""
    if method not in ALLOWED_METHODS[kind]:
        raise ConfigError(
            f"resampling '{method}' makes no sense for {kind} values",
            where=where,
            hint="choose from: " + ", ".join(sorted(ALLOWED_METHODS[kind])),
        )


def default_statistic(kind: Kind, *, is_static: bool) -> Statistic:
    """Return how several items of one slot become one value."""
    match kind:
        case Kind.POWER | Kind.COHERENCE:
            return "mean"
        case Kind.REFLECTANCE:
            return "median"
        case Kind.CONTINUOUS if not is_static:
            return "mean"
        case _:
            return "first"


AVERAGING = frozenset({"mean", "median"})
NOT_AVERAGED = frozenset({Kind.CLASSES, Kind.BITS, Kind.ANGLE, Kind.WRAPPED_PHASE, Kind.UNWRAPPED_PHASE})
"""Kinds whose codes, angles or phases have no plain mean."""
ONE_ITEM = frozenset({"first", "last", "least_cloudy"})
"""Statistics that take a pixel from the first item, in some order, that has it."""


def check_statistic(kind: Kind, statistic: Statistic, *, where: str) -> None:
    """Raise ConfigError if ``statistic`` would average what has no average."""
    if statistic in AVERAGING and kind in NOT_AVERAGED:
        raise ConfigError(
            f"statistic '{statistic}' makes no sense for {kind} values",
            where=where,
            hint="use `statistic: first`",
        )
    if statistic == "medoid" and kind is not Kind.REFLECTANCE:
        raise ConfigError(
            f"statistic 'medoid' is for the bands of a spectrum, not for {kind} values",
            where=where,
            hint="use `statistic: median` or `mean`",
        )
    if kind is Kind.UNCERTAINTY and statistic not in ONE_ITEM:
        raise ConfigError(
            f"statistic '{statistic}' over several items is not known for standard deviations: their errors correlate",
            where=where,
            hint="use `statistic: first`, and a slot for each date",
        )


def check_correlation(variable: Variable, *, where: str) -> None:
    """Raise ConfigError if a standard deviation does not say how the errors of neighbouring pixels correlate."""
    rho = variable.attributes.get("correlation")
    if isinstance(rho, bool) or not isinstance(rho, int | float) or not 0 <= rho <= 1:
        said = "says no `correlation`" if rho is None else f"says `correlation: {rho!r}`"
        raise ConfigError(
            f"the standard deviation '{variable.name}' {said} of the errors of neighbouring source pixels",
            where=where,
            hint="give the variable's attribute `correlation`: 0 (independent) ... 1 (the same error everywhere)",
        )
