"""From stored numbers to physical values: mask first, convert second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.sources.local.classes import NO_CLASS, bin_codes, refuse, remapped, unknown
from m3leo_prep.sources.local.header import BandHeader

CODES = frozenset({Kind.CLASSES, Kind.BITS})


class Values(NamedTuple):
    """One band of a window, each (y, x)."""

    data: NDArray[Any]
    valid: NDArray[np.bool_]
    """True where ``data`` is a value."""
    present: NDArray[np.bool_]
    """True where the file has data: a value or a flag."""
    flags: NDArray[np.uint8]
    """0 = a value, n = the n-th flag."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How the numbers of a file become values of a kind."""

    kind: Kind
    """Of what the file holds, before ``bins``."""
    scale: float | None = None
    offset: float | None = None
    """None = as the file declares."""
    decibel: bool = False
    amplitude: bool = False
    """Scaled values are amplitudes: squared to power."""
    nodata: tuple[float, ...] | None = None
    """In stored numbers; None = as the file declares."""
    remap: Mapping[int, int] | None = None
    merge: bool = False
    """``remap`` may make one class of several."""
    flags: tuple[int, ...] = ()
    """Stored numbers that are no values, in order."""
    bins: tuple[float, ...] | None = None
    """Edges of the classes that values are put into."""
    ignore_unknown: bool = False
    """Codes that the legend lacks are masked and counted, not refused."""

    def missing(self, band: BandHeader) -> tuple[float, ...]:
        """Return the stored numbers that mean no data."""
        if self.nodata is not None:
            return self.nodata
        return () if band.nodata is None else (float(band.nodata),)

    def apply(
        self,
        stored: NDArray[Any],
        band: BandHeader,
        where: str,
        legend: Iterable[int] = (),
        there: NDArray[Any] | None = None,
    ) -> Values:
        """Return the values of one band.

        uint8, uint16, int16 and class codes stay as they are; everything else, and all that is scaled or was in
        dB or amplitudes, is float32. NaN and infinity are never valid.

        Args:
            stored: (y, x) numbers as the file has them.
            band: what the file says of them.
            where: the file, for messages.
            legend: codes that a class may have; empty = any.
            there: (y, x), true where the file's own mask band says that there are data; None = everywhere.

        Raises:
            ConfigError: a class band with fractions, or with codes that the legend lacks.
        """
        present = _present(stored, self.missing(band))
        if there is not None:
            present = present & (there != 0)
        flags, valid = np.broadcast_to(np.uint8(0), stored.shape), present
        if self.flags:
            flags = np.zeros(stored.shape, np.uint8)
            for number, code in enumerate(self.flags, 1):
                flags[present & (stored == code)] = number
            valid = present & (flags == 0)
        if self.kind in CODES:
            return Values(self._codes(stored, valid, where, legend), valid, present, flags)
        values, valid = self._values(stored, valid, band)
        if self.bins is not None:
            values = bin_codes(values, self.bins)
        return Values(values, valid, present, flags)

    def _values(
        self, stored: NDArray[Any], valid: NDArray[np.bool_], band: BandHeader
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        scale = band.scale if self.scale is None else self.scale
        offset = band.offset if self.offset is None else self.offset
        if scale != 1 or offset != 0 or self.decibel or self.amplitude:
            values = np.where(valid, stored, 0).astype(np.float64) * scale + offset
            if self.decibel:
                values = 10.0 ** (values / 10.0)
            if self.amplitude:
                values *= values
            with np.errstate(over="ignore"):
                values = values.astype(np.float32)
            return values, valid & np.isfinite(values)
        if stored.dtype in {np.dtype("u1"), np.dtype("u2"), np.dtype("i2")}:
            return stored, valid
        if stored.dtype == np.int8:
            return stored.astype(np.int16), valid
        with np.errstate(over="ignore", invalid="ignore"):
            values = stored.astype(np.float32)
        return values, valid & np.isfinite(values)

    def _codes(self, stored: NDArray[Any], valid: NDArray[np.bool_], where: str, legend: Iterable[int]) -> NDArray[Any]:
        codes = stored
        if stored.dtype.kind == "f":
            codes = np.where(valid, stored, 0)
            if (codes != np.round(codes)).any():
                hint = "name the kind it is, such as continuous"
                raise ConfigError(f"kind: {self.kind} but its values have fractions", where=where, hint=hint)
            codes = codes.astype(np.int32)
        elif stored.dtype == np.int8:
            codes = stored.astype(np.int16)
        named = remapped(codes, valid, self.remap, where, merge=self.merge) if self.remap else codes
        if legend:
            strange = unknown(named, valid, legend)
            if strange.any():
                if not self.ignore_unknown:
                    raise refuse(codes[strange], where)
                named = np.where(strange, named.dtype.type(NO_CLASS), named)
        return named


def _present(stored: NDArray[Any], missing: tuple[float, ...]) -> NDArray[np.bool_]:
    """Return where a number is none of ``missing`` and finite."""
    valid = np.isfinite(stored) if stored.dtype.kind == "f" else np.ones(stored.shape, bool)
    for number in missing:
        if np.isnan(number):
            continue
        if stored.dtype.kind == "f":
            # A float32 file declares -3.4028234663852886e+38 in decimal: compare as the file stores it.
            with np.errstate(over="ignore"):
                valid &= stored != stored.dtype.type(number)
            continue
        limits = np.iinfo(stored.dtype)
        if number == int(number) and limits.min <= number <= limits.max:
            valid &= stored != stored.dtype.type(int(number))
    return valid
