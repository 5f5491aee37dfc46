"""A stand-in for Google Earth Engine on this machine, which the real client talks to.

``python -m m3leo_prep.testing.earth_engine`` starts it with an archive of the synthetic Earth and prints the two lines
to type in another terminal; every ``gee`` layer then works without an account. In tests:

    with StandIn(SyntheticArchive()) as server:
        os.environ["M3LEO_PREP_EE_URL"] = server.url

The client is the real one: the description of the API and the list of algorithms are the copies that
``earthengine-api`` ships with its own tests. Expressions are evaluated by the public rules (each cites its page), sizes
and quotas are enforced with the service's own texts, faults are made on demand, requests are recorded.

What it cannot prove, and ``make live-gee`` is for:

- how masked pixels arrive in each format: here as 0, which is what others report;
- Earth Engine's own arithmetic: its interpolation next to masked pixels, the type of what is computed, its pyramids (a
  request in pixels of twice the image's own or more is refused here, loudly), geodesic edges, its rounding;
- time, memory and EECU: here a fixed rate per pixel and image, and ``Computation timed out.`` by a rule or on demand;
- which images exist, and their ids where these are marked *unverified* in the modules ``scenes_*``;
- texts marked *ours* in the module ``limits``;
- accounts: any token is good until it is told to expire.
"""

from m3leo_prep.testing.earth_engine.archive import Archive, Scene, SceneBand
from m3leo_prep.testing.earth_engine.holdings.rasters import FolderArchive
from m3leo_prep.testing.earth_engine.holdings.schedule import (
    ASCENDING_ONLY,
    JUTLAND,
    LUXEMBOURG,
    NO_SUMMER,
    PLACES,
    Place,
)
from m3leo_prep.testing.earth_engine.holdings.synthetic import SyntheticArchive
from m3leo_prep.testing.earth_engine.serving.limits import Limits
from m3leo_prep.testing.earth_engine.serving.record import Expression, Request
from m3leo_prep.testing.earth_engine.serving.server import StandIn

__all__ = [
    "ASCENDING_ONLY",
    "JUTLAND",
    "LUXEMBOURG",
    "NO_SUMMER",
    "PLACES",
    "Archive",
    "Expression",
    "FolderArchive",
    "Limits",
    "Place",
    "Request",
    "Scene",
    "SceneBand",
    "StandIn",
    "SyntheticArchive",
]
