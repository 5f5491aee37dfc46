"""Where the services are: the real ones, or those that the environment names (a stand-in, a mirror)."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hosts:
    """Host names with an optional port, always spoken to by https; and addresses of other services."""

    cmr: str = "cmr.earthdata.nasa.gov"
    """Catalogue."""
    urs: str = "urs.earthdata.nasa.gov"
    """Earthdata Login."""
    auth: str = "cumulus.asf.alaska.edu"
    """Where ``asf_search`` asks for its session's cookie."""
    hyp3: str = "https://hyp3-api.asf.alaska.edu"
    bucket: str = ""
    """Endpoint of the object store that holds GSSIC; empty = Amazon's, in us-west-2."""
    trusted: tuple[str, ...] = ("earthdata.nasa.gov", "asf.alaska.edu", "asf.earthdatacloud.nasa.gov")
    """Domains, subdomains included, that a login may be shown to."""


def hosts() -> Hosts:
    """Return the services' hosts.

    ``M3LEO_PREP_EARTHDATA=localhost:8443`` puts one host in place of the catalogue, the login and HyP3;
    ``M3LEO_PREP_GSSIC_URL`` names the endpoint of the bucket.
    """
    real = Hosts()
    stand_in = os.environ.get("M3LEO_PREP_EARTHDATA", "")
    bucket = os.environ.get("M3LEO_PREP_GSSIC_URL", "").rstrip("/")
    if not stand_in:
        return Hosts(bucket=bucket)
    name = stand_in.partition(":")[0]
    return Hosts(stand_in, stand_in, stand_in, f"https://{stand_in}", bucket or real.bucket, (name,))
