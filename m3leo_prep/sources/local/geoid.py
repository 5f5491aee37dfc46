"""Heights above the geoid to heights above the ellipsoid and back, by a grid of geoid undulations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind
from m3leo_prep.core.text import near
from m3leo_prep.sources._native import Window, transformer
from m3leo_prep.sources.local import pixels
from m3leo_prep.sources.local.header import Header, read_header
from m3leo_prep.sources.local.values import Conversion

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Datum = Literal["ellipsoid", "geoid"]
DATUMS = ("ellipsoid", "geoid")
ELLIPSOID = "ellipsoid"


@dataclass(frozen=True, slots=True)
class Geoid:
    """Heights are brought to ``datum`` by a raster of undulations N: ellipsoidal height h = H + N above the geoid."""

    path: str
    datum: Datum

    @classmethod
    def parse(cls, path: str, datum: str) -> Geoid | None:
        """Return what ``geoid:`` and ``datum:`` ask for; None if neither is said.

        Raises:
            ConfigError: one without the other, or no known datum.
        """
        if not path and not datum:
            return None
        if not path or not datum:
            hint = "geoid: egm2008.tif with datum: ellipsoid (heights above the geoid become ellipsoidal), or the other"
            raise ConfigError("geoid, datum: each needs the other", hint=hint)
        if datum not in DATUMS:
            raise ConfigError(f"datum: '{datum}' is not known", hint=near(datum, DATUMS))
        return cls(path, "ellipsoid" if datum == ELLIPSOID else "geoid")

    def header(self) -> Header:
        """Return the header of the file of undulations.

        Raises:
            ConfigError: it has several bands.
        """
        head = read_header(self.path)
        head.band(None)
        return head

    def check(self, known: str, where: str) -> None:
        """Raise ConfigError if heights are what they would become, as far as the file or its product tells."""
        if known and (known.startswith(ELLIPSOID)) == (self.datum == ELLIPSOID):
            raise ConfigError(
                f"datum: {self.datum}, but its heights are that already ({known})",
                where=where,
                hint="leave out `geoid:` and `datum:`",
            )

    def shift(
        self, values: NDArray[Any], valid: NDArray[np.bool_], grid: GeoBox, window: Window
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return (heights in the new datum, valid), each (y, x); not valid where there is no undulation."""
        undulation, known = self.undulations(grid, window)
        sign = 1.0 if self.datum == ELLIPSOID else -1.0
        shifted = np.where(valid, values, 0).astype(np.float64) + sign * undulation
        return shifted.astype(np.float32), valid & known

    def undulations(self, grid: GeoBox, window: Window) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return (undulation in metres, known) at the pixel centres of a window, bilinear between those of the file.

        Positions are counted from the whole grid's origin, so that a pixel gets the same bits in every window.
        """
        head = self.header()
        shape = window.row1 - window.row0, window.col1 - window.col0
        rows, cols = np.mgrid[window.row0 : window.row1, window.col0 : window.col1] + 0.5
        a, b = grid.transform, ~head.geobox.transform
        x, y = a.a * cols + a.b * rows + a.c, a.d * cols + a.e * rows + a.f
        if str(grid.crs) != str(head.geobox.crs):
            x, y = transformer(str(grid.crs), str(head.geobox.crs)).transform(x, y)
        if head.geobox.crs is not None and head.geobox.crs.geographic:
            west = head.geobox.boundingbox.left
            x = west + (x - west) % 360.0
        u, v = b.a * x + b.b * y + b.c, b.d * x + b.e * y + b.f
        height, width = head.geobox.shape
        inside = np.isfinite(u) & np.isfinite(v) & (u >= 0) & (u <= width) & (v >= 0) & (v <= height)
        if not inside.any():
            return np.zeros(shape), inside
        # Half a pixel at the rim lies beyond the outermost centres: their value is kept.
        u, v = (
            np.clip(np.where(inside, u, 0.5) - 0.5, 0, width - 1),
            np.clip(np.where(inside, v, 0.5) - 0.5, 0, height - 1),
        )
        col, row = np.minimum(u.astype(np.int64), max(width - 2, 0)), np.minimum(v.astype(np.int64), max(height - 2, 0))
        near_rows, near_cols = row[inside], col[inside]
        box = Window(
            int(near_rows.min()), min(int(near_rows.max()) + 2, height),
            int(near_cols.min()), min(int(near_cols.max()) + 2, width),
        )  # fmt: skip
        band = head.band(None)
        stored = pixels.read(head, band.key, box)
        n, valid = Conversion(Kind.CONTINUOUS).apply(stored, band, head.path)[:2]
        r = np.where(inside, row - box.row0, 0)
        c = np.where(inside, col - box.col0, 0)
        r1, c1 = np.minimum(r + 1, n.shape[0] - 1), np.minimum(c + 1, n.shape[1] - 1)
        fy, fx = v - row, u - col
        n = np.where(valid, n, 0).astype(np.float64)
        total = (1 - fy) * ((1 - fx) * n[r, c] + fx * n[r, c1]) + fy * ((1 - fx) * n[r1, c] + fx * n[r1, c1])
        return total, inside & valid[r, c] & valid[r, c1] & valid[r1, c] & valid[r1, c1]
