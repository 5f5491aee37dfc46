"""A stand-in for the Hugging Face Hub on this machine, which the real clients talk to.

``python -m m3leo_prep.testing.hub`` starts it and prints what to type in another terminal. In tests:

    with HubStandIn() as hub:
        os.environ["HF_ENDPOINT"], os.environ["HF_TOKEN"] = hub.endpoint, hub.token

It holds dataset repositories only, with commits, branches, tags and large files (LFS); it has no Xet: set
``HF_HUB_DISABLE_XET=1``, since the client has no way back. What it refuses and how is what the Hub's own client and its
issues tell of; see each route.
"""

from m3leo_prep.testing.hub.faults import (
    Fault,
    broken,
    cut,
    cut_upload,
    dropped,
    error,
    flipped,
    lost,
    rate_limited,
    reset,
    slow,
    stale,
    storage_exceeded,
)
from m3leo_prep.testing.hub.record import Request
from m3leo_prep.testing.hub.server import HubStandIn

__all__ = [
    "Fault",
    "HubStandIn",
    "Request",
    "broken",
    "cut",
    "cut_upload",
    "dropped",
    "error",
    "flipped",
    "lost",
    "rate_limited",
    "reset",
    "slow",
    "stale",
    "storage_exceeded",
]
