"""Bring pixels from one grid to another: every method respects masks and gives the same bits for any blocking.

What may be resampled how is decided by the caller; here a method is exactly what its name says.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.ops import _mesh
from m3leo_prep.ops._operation import coordinate_operation

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["BSPLINE_NOISE_GAIN", "VERSIONS", "Method", "coordinate_operation", "is_coarse", "warp"]

BSPLINE_NOISE_GAIN = ((23**2 + 1) ** 2 / 1152**2, 0.25)
"""Variance of white noise after / before ``bspline`` at equal pitch: at worst and best between pixel centres
(0.2117) and on them (0.25). Bilinear has 0.25 and 1. Divided by the squared ratio of pitches when coarsening."""

_COARSE = 1.99
"""Pitch ratio from which phases and angles are averaged over the target pixel (2, less float noise)."""


class Method(StrEnum):
    """How target pixels follow from source pixels."""

    nearest = "nearest"
    """The source pixel under the target's centre; dtype kept."""
    bilinear = "bilinear"
    """Four neighbours, weights renormalised over valid ones."""
    cubic = "cubic"
    """Keys' cubic (a = -1/2), for optical data at like pitch: overshoots. Where neighbours are missing the
    weights are renormalised, and below three quarters of the weight the pixel is bilinear."""
    bspline = "bspline"
    """Cubic B-spline without prefilter: positive, flat noise gain; widened to the target pitch when coarser."""
    average = "average"
    """Mean weighted by exact overlap area."""
    mode = "mode"
    """The code that covers most of the target pixel, the lowest of equals; dtype kept."""
    sum = "sum"
    """Amounts per cell: value times overlap area / source cell area; totals are conserved."""
    complex = "complex"
    """Wrapped phase in rad, as exp(j phi): bilinear, area average when coarsening by 2 or more."""
    component = "component"
    """Unwrapped phase, from the connected component of the nearest pixel only; averaged when coarsening."""
    angle = "angle"
    """Degrees, as unit vectors: bilinear, area average when coarsening by 2 or more; result in 0...360."""
    bitor = "bitor"
    """Bits of every source pixel that covers at least 0.1 % of the target pixel; dtype kept."""
    quadrature_bilinear = "quadrature_bilinear"
    """Standard deviation of what ``bilinear`` makes, from those of its source pixels and their correlation."""
    quadrature_average = "quadrature_average"
    """Standard deviation of what ``average`` makes, likewise."""


VERSIONS: Mapping[Method, int] = MappingProxyType(dict.fromkeys(Method, 1))
"""Part of a unit's digest: bumped when a method's output changes."""

_MAX_CODES = 1 << 24
"""Range of codes that ``mode`` keeps a table for."""

_EXACT = frozenset({Method.nearest, Method.mode, Method.bitor})
QUADRATURE: Mapping[Method, Method] = MappingProxyType(
    {Method.quadrature_bilinear: Method.bilinear, Method.quadrature_average: Method.average}
)
"""By method of a standard deviation, the method of the quantity it belongs to."""


def warp(
    data: NDArray[Any],
    valid: NDArray[np.bool_],
    src: GeoBox,
    dst: GeoBox,
    method: Method,
    *,
    components: NDArray[Any] | None = None,
    correlation: float | None = None,
    min_weight: float = 0.5,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return ``data`` and its validity on ``dst``.

    Same CRS, same pitch and whole offset: the input, bit for bit, whatever the method. Otherwise the dtype is
    kept by nearest, mode and bitor, and is float32 (float64 for float64 input) for all others. The bits depend
    neither on how ``dst`` is cut into blocks nor on how ``src`` is cropped, as long as the crop holds the
    kernel's reach plus 4 px. Kernels release the GIL and run on the calling thread.

    A geographic source is cut where its own array ends, and a mesh cell (at most 64 px) through which the
    edge of a world projection runs is invalid.

    Args:
        data: (band, y, x), numbers; what invalid or non-finite pixels hold does not matter.
        valid: (band, y, x), True where a pixel may be used.
        src: Where ``data`` lies; north-up, south-up or rotated.
        dst: The target pixels.
        method: How; see ``Method``.
        components: (y, x) integer labels on ``src``, for ``component`` only.
        correlation: of the errors of any two source pixels under one kernel, 0...1, for quadrature only.
        min_weight: Least valid share of a kernel's weight (or of the covered area) for a valid pixel; for ``sum``
            any share will do.

    Returns:
        (band, Y, X) values, NaN or 0 where invalid, and (band, Y, X) validity.

    Raises:
        ConfigError: shapes do not fit, codes are not integers, labels or the correlation are missing, or no CRS.
        TooLarge: the source is larger than 131 072 px along an axis.
    """
    method = Method(method)
    _check(data, valid, src, method, components, correlation)
    if src.crs is None or dst.crs is None:
        raise ConfigError("a geobox without a CRS cannot be placed", hint="give the source its CRS")
    offset = _mesh.offset_if_aligned(src, dst)
    if offset is not None:
        row, col, flipped = offset
        return _shift(data, valid, dst, row, col, flipped=flipped)
    mesh = _mesh.build(src, dst)
    out_dtype = data.dtype if method in _EXACT else _out_dtype(data.dtype)
    window = mesh.window((data.shape[1], data.shape[2]))
    if window is None:
        return _nothing(data.shape[0], dst, out_dtype)
    rows, cols = window
    mesh = mesh.shifted(rows.start, cols.start)
    data, valid = data[:, rows, cols], valid[:, rows, cols]
    if method is Method.nearest:
        return _nearest(data, valid, mesh)
    if method in {Method.mode, Method.bitor}:
        return _codes(data, valid, mesh, method, min_weight)
    labels = None if components is None else np.require(components[rows, cols], np.int64, ["C", "W"])
    coarse = is_coarse(src, dst)
    if method in {Method.complex, Method.angle}:
        out, ok = _direction(data, valid, mesh, method, coarse=coarse, min_weight=min_weight)
    elif correlation is not None:
        out, ok = _deviation(data, valid, mesh, QUADRATURE[method], correlation, min_weight)
    else:
        source = np.where(valid, data, np.nan).astype(_work_dtype(data.dtype), copy=False)
        out, ok = _floats(source, mesh, method, labels, coarse=coarse, min_weight=min_weight)
    return out.astype(out_dtype, copy=False), ok


def is_coarse(src: GeoBox, dst: GeoBox) -> bool:
    """Return whether phases and angles are averaged over the target pixel instead of interpolated."""
    return _mesh.pitch_metres(dst) >= _COARSE * _mesh.pitch_metres(src)


def _check(
    data: NDArray[Any],
    valid: NDArray[np.bool_],
    src: GeoBox,
    method: Method,
    components: NDArray[Any] | None,
    correlation: float | None,
) -> None:
    if data.ndim != 3 or valid.shape != data.shape or data.shape[1:] != tuple(src.shape):
        raise ConfigError(
            f"data {data.shape}, valid {valid.shape} and geobox {tuple(src.shape)} do not fit",
            hint="data and valid are (band, y, x) on the source geobox",
        )
    if method in {Method.mode, Method.bitor} and data.dtype.kind not in "iub":
        raise ConfigError(f"{method} needs integer codes, not {data.dtype}", hint="cast the classes first")
    if data.dtype.kind not in "iubf":
        raise ConfigError(f"cannot warp {data.dtype}", hint="give real numbers; complex as two bands")
    if (components is not None) != (method is Method.component):
        raise ConfigError(
            f"components given: {components is not None}, method {method}",
            hint="component, and only component, needs the labels",
        )
    if (correlation is not None) != (method in QUADRATURE):
        raise ConfigError(
            f"correlation given: {correlation is not None}, method {method}",
            hint="quadrature, and only quadrature, needs the correlation of the errors",
        )
    if correlation is not None and not 0 <= correlation <= 1:
        raise ConfigError(f"a correlation of {correlation} is not in 0 ... 1")
    if components is not None and components.shape != data.shape[1:]:
        raise ConfigError(f"components {components.shape} must be (y, x) = {data.shape[1:]}")


def _work_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return float32 where it holds every value, else float64."""
    return np.result_type(dtype, np.float32)


def _out_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def _nothing(bands: int, dst: GeoBox, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    shape = (bands, dst.shape[0], dst.shape[1])
    return np.full(shape, _fill(dtype), dtype), np.zeros(shape, bool)


def _fill(dtype: np.dtype[Any]) -> Any:
    return np.array(np.nan if dtype.kind == "f" else 0, dtype)


def _shift(
    data: NDArray[Any], valid: NDArray[np.bool_], dst: GeoBox, row: int, col: int, *, flipped: bool
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the pixels themselves; target row i is source row ``row`` + i (- i if flipped)."""
    out, ok = _nothing(data.shape[0], dst, data.dtype)
    if flipped:
        data, valid, row = data[:, ::-1], valid[:, ::-1], data.shape[1] - 1 - row
    top, left = max(0, -row), max(0, -col)
    low, right = min(out.shape[1], data.shape[1] - row), min(out.shape[2], data.shape[2] - col)
    if top < low and left < right:
        target = np.s_[:, top:low, left:right]
        origin = np.s_[:, top + row : low + row, left + col : right + col]
        ok[target] = valid[origin]
        np.copyto(out[target], data[origin], where=ok[target])
    return out, ok


def _kernels() -> tuple[ModuleType, ModuleType]:
    try:
        from m3leo_prep.ops import _area, _point
    except ModuleNotFoundError as error:
        raise MissingDependency(f"resampling needs {error.name}", hint="pip install 'm3leo-prep[build]'") from error
    return _point, _area


def _nearest(data: NDArray[Any], valid: NDArray[np.bool_], mesh: _mesh.Mesh) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    point, _ = _kernels()
    # Only bytes move, so one kernel per item size serves all dtypes.
    plain = np.dtype(f"u{data.dtype.itemsize}")
    out = np.empty((data.shape[0], *mesh.shape), data.dtype)
    ok = np.empty(out.shape, bool)
    source = np.require(data, requirements=["C", "W"]).view(plain)
    mask = np.require(valid, requirements=["C", "W"])
    fill = _fill(data.dtype).view(plain)[()]
    point.nearest(source, mask, mesh.u, mesh.v, mesh.good, mesh.step, mesh.row, mesh.col, fill, out.view(plain), ok)
    return out, ok


def _codes(
    data: NDArray[Any], valid: NDArray[np.bool_], mesh: _mesh.Mesh, method: Method, min_weight: float
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    _, area = _kernels()
    # Two compiled kernels: bytes as they are, the rest as int64 (the order of codes decides ties).
    work = np.uint8 if data.dtype in {np.dtype(np.uint8), np.dtype(bool)} else np.int64
    source = np.require(data, work, ["C", "W"])
    mask = np.require(valid, requirements=["C", "W"])
    out = np.empty((data.shape[0], *mesh.shape), work)
    ok = np.empty(out.shape, bool)
    lowest, highest = 0, 255
    if work is np.int64 and method is Method.mode:
        lowest = int(source.min(where=mask, initial=np.iinfo(work).max))
        highest = int(source.max(where=mask, initial=np.iinfo(work).min))
        if highest - lowest >= _MAX_CODES:
            raise ConfigError(f"codes {lowest}...{highest} are too far apart", hint="renumber the classes")
    kind = area.MODE if method is Method.mode else area.BITOR
    area.codes(
        source,
        mask,
        lowest,
        highest,
        mesh.u,
        mesh.v,
        mesh.good,
        kind,
        mesh.step,
        mesh.row,
        mesh.col,
        min_weight,
        out,
        ok,
    )
    return out.astype(data.dtype, copy=False), ok


def _floats(
    source: NDArray[Any],
    mesh: _mesh.Mesh,
    method: Method,
    labels: NDArray[np.int64] | None,
    *,
    coarse: bool,
    min_weight: float,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the resampled ``source``, in which missing pixels are NaN."""
    point, area = _kernels()
    out = np.empty((source.shape[0], *mesh.shape), source.dtype)
    ok = np.empty(out.shape, bool)
    nodes = (mesh.u, mesh.v, mesh.good)
    # An amount is what lies in the pixel, however little of it is known: a threshold would lose people at coasts.
    place = (mesh.step, mesh.row, mesh.col, 0.0 if method is Method.sum else float(min_weight), out, ok)
    if method in {Method.average, Method.sum} or (method is Method.component and coarse):
        kind = area.SUM if method is Method.sum else area.AVERAGE
        area.average(source, np.empty((0, 0), np.int64) if labels is None else labels, *nodes, kind, *place)
    elif method is Method.component:
        point.component(source, labels, *nodes, *place)
    elif method is Method.bilinear:
        point.bilinear(source, *nodes, *place)
    else:
        kind = point.CUBIC if method is Method.cubic else point.BSPLINE
        point.taps(source, *nodes, mesh.scale, kind, *place)
    return out, ok


def _deviation(
    data: NDArray[Any],
    valid: NDArray[np.bool_],
    mesh: _mesh.Mesh,
    kernel: Method,
    correlation: float,
    min_weight: float,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the standard deviation of a weighted mean, from those of the pixels; a negative one is missing.

    ``s**2 = (1 - r) * sum (w_i s_i)**2 + r * (sum w_i s_i)**2`` for errors that all correlate by ``r``: the variance
    of a linear combination, sum of w_i w_j r_ij s_i s_j (JCGM 100:2008, GUM, equation 16), with r_ij = r for i != j.
    """
    source = np.where(valid & (data >= 0), data, np.nan).astype(_work_dtype(data.dtype), copy=False)
    together, ok = _floats(source, mesh, kernel, None, coarse=False, min_weight=min_weight)
    if correlation == 1:
        return together, ok
    point, area = _kernels()
    alone = np.empty(together.shape)
    nodes, place = (mesh.u, mesh.v, mesh.good), (mesh.step, mesh.row, mesh.col)
    if kernel is Method.average:
        # In float64, as the kernel counts: one for float32 in and float64 out would take long to compile.
        wide, no_labels = source.astype(np.float64, copy=False), np.empty((0, 0), np.int64)
        area.average(wide, no_labels, *nodes, area.QUADRATURE, *place, 0.0, alone, np.empty(ok.shape, bool))
    else:
        point.quadrature(source, *nodes, *place, alone)
    variance = (1 - correlation) * alone**2 + correlation * together.astype(np.float64) ** 2
    return np.where(ok, np.sqrt(variance), np.nan).astype(source.dtype), ok


def _direction(
    data: NDArray[Any],
    valid: NDArray[np.bool_],
    mesh: _mesh.Mesh,
    method: Method,
    *,
    coarse: bool,
    min_weight: float,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return phases in -pi...pi or angles in 0...360 from the mean of their unit vectors."""
    work = _work_dtype(data.dtype)
    angle = np.where(valid & np.isfinite(data), data, np.nan).astype(np.float64)
    if method is Method.angle:
        angle = np.deg2rad(angle)
    # float64 first: the last bit of a vectorised sine differs between CPUs and is rounded away.
    vectors = np.concatenate([np.cos(angle), np.sin(angle)]).astype(work)
    kernel = Method.average if coarse else Method.bilinear
    mean, ok = _floats(vectors, mesh, kernel, None, coarse=coarse, min_weight=min_weight)
    real, imaginary = mean[: len(data)].astype(np.float64), mean[len(data) :].astype(np.float64)
    # Opposite directions cancel: there is no mean direction.
    both = ok[: len(data)] & (np.hypot(real, imaginary) > 1e-6)
    out = np.arctan2(imaginary, real)
    if method is Method.angle:
        out = np.rad2deg(out) % 360.0
        out = np.where(out.astype(work) >= 360.0, 0.0, out)
    return np.where(both, out, np.nan).astype(work), both
