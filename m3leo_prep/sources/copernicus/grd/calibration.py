"""The look-up tables by which digital numbers become backscatter (calibration annotation)."""

from __future__ import annotations

import numpy as np

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.ops.sar.calibrate import Table
from m3leo_prep.sources.copernicus.grd import tags
from m3leo_prep.sources.copernicus.grd.safe import Annotation

TABLES = {
    "sigma0_ellipsoid": "sigmaNought",
    "gamma0_ellipsoid": "gamma",
    "beta0": "betaNought",
    # Terrain is flattened from the brightness in the slant plane; `gamma` knows the ellipsoid only.
    "gamma0_rtc": "betaNought",
}
"""Convention of a layer -> tag of its table."""


def read_gain(data: bytes, convention: str, annotation: Annotation, where: str) -> Table:
    """Return the table A of a convention: power = DN^2 / A^2.

    Lines come from the azimuth times, of which the numbers of lines in the file are rounded.

    Raises:
        CorruptError: it is damaged, or a value is not positive.
    """
    tag = TABLES[convention]
    root = tags.parse(data, where)
    rows = []
    for vector in tags.several(root, "calibrationVectorList/calibrationVector", where):
        samples, values = tags.pairs(vector, "pixel", tag, where)
        if (values <= 0).any():
            raise CorruptError(f"<{tag}> has values that are not positive", where=where)
        rows.append((annotation.line(tags.time(vector, "azimuthTime", where)), samples, values))
    return table(rows, "calibrationVector", where)


def read_first_number(data: bytes, where: str) -> float:
    """Return the first value of the first vector of the table ``dn``, by which noise of old products is scaled."""
    return tags.number(tags.parse(data, where), "calibrationVectorList/calibrationVector/dn", where)


def table(rows: list[tuple[float, np.ndarray, np.ndarray]], name: str, where: str) -> Table:
    """Return lines with their samples and values as a table, lines in order.

    Raises:
        CorruptError: two are of the same line.
    """
    ordered = sorted(rows, key=lambda row: row[0])
    lines = np.array([row[0] for row in ordered])
    if (np.diff(lines) <= 0).any():
        raise CorruptError(f"two <{name}> are of the same time", where=where)
    return Table(lines, tuple(row[1] for row in ordered), tuple(row[2] for row in ordered))
