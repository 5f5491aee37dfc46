"""Where the services are: the real ones, or those that the environment names (a stand-in, a mirror)."""

from __future__ import annotations

import os
from dataclasses import dataclass

STAND_IN, STAND_IN_S3 = "M3LEO_PREP_CDSE", "M3LEO_PREP_CDSE_S3"
BUCKET = "eodata"
"""https://documentation.dataspace.copernicus.eu/APIs/S3.html"""


@dataclass(frozen=True, slots=True)
class Hosts:
    """Host names with an optional port, always spoken to by https; and the endpoint of the object store."""

    identity: str = "identity.dataspace.copernicus.eu"
    catalogue: str = "catalogue.dataspace.copernicus.eu"
    """OData."""
    stac: str = "stac.dataspace.copernicus.eu"
    download: str = "download.dataspace.copernicus.eu"
    objects: str = "https://eodata.dataspace.copernicus.eu"
    """Endpoint of the object store that holds ``eodata``."""
    trusted: tuple[str, ...] = ("dataspace.copernicus.eu",)
    """Domains, subdomains included, that a token may be shown to."""

    @property
    def token_url(self) -> str:
        """Where tokens are given (https://documentation.dataspace.copernicus.eu/APIs/Token.html)."""
        return f"https://{self.identity}/auth/realms/CDSE/protocol/openid-connect/token"

    @property
    def odata_url(self) -> str:
        """Root of the catalogue by OData (https://documentation.dataspace.copernicus.eu/APIs/OData.html)."""
        return f"https://{self.catalogue}/odata/v1"

    @property
    def download_url(self) -> str:
        """Root of the products' files."""
        return f"https://{self.download}/odata/v1"

    @property
    def stac_url(self) -> str:
        """Root of the catalogue by STAC."""
        return f"https://{self.stac}/v1"

    def trusts(self, host: str) -> bool:
        """Return whether a token may be shown to a host, with or without a port."""
        name = host.partition(":")[0].rstrip(".").lower()
        return any(name == domain or name.endswith(f".{domain}") for domain in self.trusted)


def hosts() -> Hosts:
    """Return the services' hosts.

    ``M3LEO_PREP_CDSE=localhost:8443`` puts one host in place of all but the object store;
    ``M3LEO_PREP_CDSE_S3=http://127.0.0.1:8333`` names the endpoint of that.
    """
    real = Hosts()
    objects = os.environ.get(STAND_IN_S3, "").rstrip("/") or real.objects
    there = os.environ.get(STAND_IN, "")
    if not there:
        return Hosts(objects=objects)
    # A stand-in's second name is that of its data, as the real service sends on from one host to another.
    return Hosts(there, there, there, there, objects, (there.partition(":")[0], "127.0.0.1"))
