"""A small archive where two UTM zones meet, around 6.0 E, 49.6 N, so that everything can be tried without an account.

In the summer of 2020: Sentinel-2 L2A of three tiles, two of one zone that overlap and one of the next zone; Sentinel-1
GRD of an ascending and a descending pass, twice each, both as ESA's product and as its copy in COG; RTC of the same;
WorldCover and GLO-30. The ground is that of the source ``synthetic``, one ground for all; the layout is the archives'.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from m3leo_prep.testing.copernicus.files.items import collection

if TYPE_CHECKING:
    from m3leo_prep.testing.copernicus.stand_in import CopernicusStandIn

BOUNDS = (5.965, 49.556, 6.048, 49.614)
"""West, south, east, north in degrees: where most of it is; Sentinel-2 west of 6.0 only north of 49.58."""
COLLECTIONS = {
    "cdse": {
        "sentinel-2-l2a": "Sentinel-2 Level-2A",
        "sentinel-2-l1c": "Sentinel-2 Level-1C",
        "sentinel-1-grd": "Sentinel-1 Level-1 GRD",
    },
    "earth_search": {"sentinel-2-l2a": "Sentinel-2 Level-2A"},
    "planetary_computer": {"sentinel-2-l2a": "Sentinel-2 Level-2A", "sentinel-1-rtc": "Sentinel 1 RTC"},
}


def fill(copernicus: CopernicusStandIn) -> None:
    """Put the archive into a stand-in, in place of whatever its catalogues hold."""
    from m3leo_prep.testing.copernicus import example_optical, example_radar, example_tiles

    copernicus.reset()
    for name, known in COLLECTIONS.items():
        copernicus.publish(name, [collection(*one) for one in known.items()], [])
    folder = Path(tempfile.mkdtemp(dir=copernicus.folder))
    with ThreadPoolExecutor(2) as pool:  # GDAL and numba let go of the interpreter
        work = [
            pool.submit(module.fill, copernicus, folder) for module in (example_tiles, example_radar, example_optical)
        ]
        for one in work:
            one.result()
    copernicus.holds_example = True
