"""A stand-in for NASA's Earthdata and the Alaska Satellite Facility on this machine, which the real clients talk to.

``python -m m3leo_prep.testing.earthdata`` starts it and prints what to type in another terminal. In tests:

    with EarthdataStandIn() as earthdata:
        os.environ.update(earthdata.environment)
        earthdata.add(Granule("S1-GUNW-A-R-...", "gunw", footprint, start, stop, {"PATH_NUMBER": 64}, {name: path}))

It is the catalogue (CMR), Earthdata Login, the hosts of data with their redirects, HyP3 and the public bucket of GSSIC.
What it answers is what the installed clients read and send; see each module.
"""

from m3leo_prep.testing.earthdata.faults import (
    Fault,
    accepted,
    cut,
    error,
    expired,
    flipped,
    gateway_page,
    login_page,
    rate_limited,
    reordered_page,
    repeated_page,
    reset,
    short_page,
    slow,
    truncated,
    twice,
    unauthorized,
    unranged,
)
from m3leo_prep.testing.earthdata.granules import Granule
from m3leo_prep.testing.earthdata.holdings import BUCKET, Job
from m3leo_prep.testing.earthdata.record import Request
from m3leo_prep.testing.earthdata.server import EarthdataStandIn

__all__ = [
    "BUCKET",
    "EarthdataStandIn",
    "Fault",
    "Granule",
    "Job",
    "Request",
    "accepted",
    "cut",
    "error",
    "expired",
    "flipped",
    "gateway_page",
    "login_page",
    "rate_limited",
    "reordered_page",
    "repeated_page",
    "reset",
    "short_page",
    "slow",
    "truncated",
    "twice",
    "unauthorized",
    "unranged",
]
