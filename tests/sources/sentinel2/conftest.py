"""Small Sentinel-2 tiles on this machine: files written by GDAL, and items as catalogues list them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry import Polygon, mapping

from m3leo_prep.sources.local.outline import footprint
from m3leo_prep.sources.stac.found import Asset, Found

PITCHES = {"SCL": 20, "AOT": 20, "WVP": 20, "CLDPRB": 20, "B01": 60, "B09": 60, "B10": 60}
PITCHES |= {"B02": 10, "B03": 10, "B04": 10, "B08": 10}
X0, Y0 = 600_000, 5_600_040
SIDE = 1200
"""Metres of a tile: 120, 60 and 20 pixels."""
Scene = Callable[..., Found]


def offsets_xml(baseline: str, offset: float | None, level: str = "2A") -> str:
    """Return the part of the product's metadata that says what its numbers mean."""
    tag, of = ("BOA_ADD_OFFSET", "BOA_") if level == "2A" else ("RADIO_ADD_OFFSET", "")
    listed = "" if offset is None else "".join(f'<{tag} band_id="{n}">{offset:g}</{tag}>' for n in range(13))
    return (
        f'<n1:User xmlns:n1="https://example.org"><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>'
        f"<{of}QUANTIFICATION_VALUE>10000</{of}QUANTIFICATION_VALUE>{listed}</n1:User>"
    )


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Return what writes one tile, given the numbers of its files, and returns it as a catalogue lists it."""
    return scenes_in(tmp_path)


def scenes_in(parent: Path) -> Scene:
    """Return the same that writes into a folder."""

    def write(
        files: Mapping[str, NDArray[Any]],
        *,
        baseline: str = "05.09",
        offset: float | None = -1000,
        start: str = "20230821T105629",
        tile: str = "31UFS",
        epsg: int = 32631,
        corner: tuple[float, float] = (X0, Y0),
        driver: str = "GTiff",
        metadata: bool = True,
        name: str = "",
        collection: str = "sentinel-2-l2a",
        **properties: Any,
    ) -> Found:
        import rasterio
        from odc.geo.geobox import GeoBox

        level = "1C" if collection.endswith("l1c") else "2A"
        number = baseline.replace(".", "")
        name = name or f"S2A_MSIL{level}_{start}_N{number}_R094_T{tile}_20230822T021825"
        folder = parent / f"{name}.SAFE"
        folder.mkdir(exist_ok=True)
        assets = {}
        for file, numbers in files.items():
            pitch = PITCHES.get(file, 20)
            transform = Affine(pitch, 0, corner[0], 0, -pitch, corner[1])
            path = folder / f"{file}.{'jp2' if driver != 'GTiff' else 'tif'}"
            lossless = {"QUALITY": "100", "REVERSIBLE": "YES"}
            blocks = {"tiled": True, "blockxsize": 64, "blockysize": 64}
            profile = {"driver": driver, "dtype": numbers.dtype, "count": 1, "crs": f"EPSG:{epsg}"}
            how = blocks if driver == "GTiff" else lossless
            rows, cols = numbers.shape
            with rasterio.open(path, "w", height=rows, width=cols, transform=transform, **profile, **how) as data:
                data.write(numbers, 1)
            assets[file] = Asset(str(path), properties={"file:size": path.stat().st_size})
        area = footprint(GeoBox(numbers.shape, transform, f"EPSG:{epsg}")) if files else Polygon()
        if metadata:
            path = folder / f"MTD_MSIL{level}.xml"
            path.write_text(offsets_xml(baseline, offset, level))
            assets["product_metadata"] = Asset(str(path))
        from datetime import UTC, datetime

        when = datetime.strptime(start, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        said = {
            "processing:version": baseline,
            "eopf:datatake_id": f"GS2A_{start}_042640_N{baseline}",
            "eopf:datastrip_id": f"S2A_OPER_MSI_L2A_DS_2APS_20230822T021825_S{start}_N{baseline}",
            "grid:code": f"MGRS-{tile}",
            "eo:cloud_cover": 12.5,
            "sat:relative_orbit": 94,
            "datetime": when.isoformat(),
        }
        return Found(name, collection, area, when, when, {**said, **properties}, assets)

    return write


def flat(file: str, number: int, dtype: str = "uint16") -> NDArray[Any]:
    """Return a file full of one number."""
    side = SIDE // PITCHES.get(file, 20)
    return np.full((side, side), number, dtype)


def clear() -> NDArray[np.uint8]:
    """Return a scene classification of vegetation."""
    return flat("SCL", 4, "uint8")


@pytest.fixture
def catalogue(tmp_path: Path) -> Callable[..., str]:
    """Return what writes a catalogue of some tiles, and returns its path."""
    return catalogues_in(tmp_path)


def catalogues_in(parent: Path) -> Callable[..., str]:
    """Return the same that writes into a folder."""

    def write(*tiles: Found) -> str:
        features = [
            {
                "type": "Feature",
                "stac_version": "1.1.0",
                "id": tile.id,
                "collection": tile.collection,
                "geometry": mapping(tile.footprint),
                "bbox": list(tile.footprint.bounds),
                "properties": tile.properties,
                "assets": {name: {"href": one.href, **one.properties} for name, one in tile.assets.items()},
                "links": [],
            }
            for tile in tiles
        ]
        path = parent / "catalogue.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return str(path)

    return write
