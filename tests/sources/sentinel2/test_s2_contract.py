"""Sentinel-2 from a catalogue of files: the rules of every source, and what its options change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.raster import Slot
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.ports.source import Source
from m3leo_prep.sources.stac import Stac
from m3leo_prep.testing.source import SourceContract
from tests.sources.sentinel2.conftest import X0, Y0, Scene, catalogues_in, clear, flat, scenes_in


def source_of(catalogue: str, **options: Any) -> Source:
    return cast(
        "Source", cast("Any", Stac)(product="s2-l2a", catalogue=catalogue, collection="sentinel-2-l2a", **options)
    )


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a catalogue: two tiles of one pass, one of another; one tile in two processings."""
    folder = tmp_path_factory.mktemp("tiles")
    scene = scenes_in(folder)
    rng = np.random.default_rng(2)

    def files(cloud: float) -> dict[str, Any]:
        scl = np.where(rng.random((60, 60)) < cloud, 9, clear()).astype(np.uint8)
        numbers = {name: rng.integers(1, 9000, flat(name, 0).shape, np.uint16) for name in ("B04", "B11")}
        return {**numbers, "SCL": scl}

    east = (X0 + 600, Y0)
    tiles = [
        scene(files(0.1)),
        scene(files(0.1), baseline="04.00"),
        scene(files(0.2), tile="31UGS", corner=east),
        scene(files(0.3), start="20230901T105629"),
    ]
    return catalogues_in(folder)(*tiles)


class TestSentinel2(SourceContract):
    """A catalogue of files."""

    @pytest.fixture
    def source(self, listed: str) -> Source:
        return source_of(listed, bands=["red", "swir1"], variables=["reflectance", "scl"], dilate=40)

    @pytest.fixture
    def area(self) -> BaseGeometry:
        return box(4.4, 50.52, 4.45, 50.56)

    @pytest.fixture
    def slots(self) -> Sequence[Slot]:
        return parse_slots({"periods": [["2023-08-01", "2023-08-31"], ["2023-09-01", "2023-09-30"]]})

    @pytest.fixture
    def geobox(self) -> GeoBox:
        return GeoBox((32, 32), Affine(10, 0, X0 + 500, 0, -10, Y0 - 500), "EPSG:32631")


def test_what_is_found(scene: Scene, catalogue: Callable[..., str]) -> None:
    files = {"B04": flat("B04", 2000), "SCL": clear()}
    tiles = [scene(files), scene(files, baseline="02.14", offset=None), scene(files, start="20230901T105629")]
    source = source_of(catalogue(*tiles), bands=["red"])
    slots = parse_slots({"periods": [["2023-08-01", "2023-08-31"]]})
    (item,) = source.find(box(4.4, 50.5, 4.5, 50.6), slots)
    assert item.properties["processing_baseline"] == "05.09"
    assert item.properties["older_versions"] == 1
    assert not list(source.find(box(14, 50, 15, 51), slots))
