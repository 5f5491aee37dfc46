"""The real client connected to a stand-in that holds one small image collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from shapely import box

from m3leo_prep.testing.earth_engine import Scene, SceneBand, StandIn

COLLECTION = "TEST/RAMP"
TRANSFORM = (10.0, 0.0, 500_003.0, 0.0, -10.0, 5_000_007.0)


def _counted(r0: int, r1: int, c0: int, c1: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return 1000 row + col as float32, masked in column 3."""
    rows, cols = np.mgrid[r0:r1, c0:c1]
    return (1000.0 * rows + cols).astype(np.float32), cols != 3


def _small(r0: int, r1: int, c0: int, c1: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    rows, cols = np.mgrid[r0:r1, c0:c1]
    return ((rows + cols) % 200).astype(np.uint8), np.ones(rows.shape, bool)


def scene(day: int) -> Scene:
    bands = tuple(
        SceneBand(name, dtype, "EPSG:32631", TRANSFORM, (40_000, 40_000), read)
        for name, dtype, read in (("count", "float32", _counted), ("small", "uint8", _small))
    )
    properties = {
        "system:index": f"day{day}",
        "system:time_start": day * 86_400_000,
        "kind": "odd" if day % 2 else "even",
    }
    return Scene(f"{COLLECTION}/day{day}", box(2.9, 40.0, 9.0, 46.0), bands, properties)


class Shelf:
    """An archive of five images, or of some others."""

    def __init__(self, scenes: Sequence[Scene] = ()) -> None:
        self.scenes = scenes or [scene(day) for day in range(5)]

    def image(self, name: str) -> Scene | None:
        return next((scene for scene in self.scenes if scene.id == name), None)

    def collection(self, name: str) -> Sequence[Scene] | None:
        return self.scenes if name == COLLECTION else None


def grid(width: int = 8, height: int = 6, col: int = 0, row: int = 0) -> dict[str, Any]:
    """Return pixels of the images' own, as a request has them."""
    a, _, c, _, e, f = TRANSFORM
    affine = {"scaleX": a, "shearX": 0, "translateX": c + a * col, "shearY": 0, "scaleY": e, "translateY": f + e * row}
    return {"crsCode": "EPSG:32631", "dimensions": {"width": width, "height": height}, "affineTransform": affine}


@pytest.fixture(scope="module")
def running() -> Iterator[StandIn]:
    with StandIn(Shelf()) as server:
        yield server


@pytest.fixture
def server(running: StandIn) -> Iterator[StandIn]:
    """Yield the stand-in, the client initialised and not repeating anything."""
    ee = pytest.importorskip("ee")
    from google.oauth2.credentials import Credentials

    running.reset()
    ee.Initialize(credentials=Credentials(token="word"), project="ours", url=running.url)
    ee.data.setMaxRetries(0)
    running.requests.clear()
    yield running
    ee.data.setMaxRetries(5)
    ee.Reset()
