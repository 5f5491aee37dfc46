"""Regions as a table: frozen with the plan, and published with the dataset, so that its splits can be made again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import shapely

from m3leo_prep.core.splits.policy import Regions, codes_of, names_of


def regions_table(regions: Regions) -> pa.Table:
    """Return regions as a table: name, split, geometry (WKB, lon/lat)."""
    return pa.table(
        {
            "name": pa.array(regions.names, pa.string()),
            "split": pa.array(names_of(regions.homes).tolist(), pa.string()),
            "geometry": pa.array(list(shapely.to_wkb(regions.polygons)), pa.binary()),
        }
    )


def regions_of(table: pa.Table) -> Regions:
    """Return the regions of such a table."""
    polygons = np.array(shapely.from_wkb(table["geometry"].to_pylist()), object)
    return Regions(tuple(table["name"].to_pylist()), codes_of(table["split"].to_pylist()), polygons)
