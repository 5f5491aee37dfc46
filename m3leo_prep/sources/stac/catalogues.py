"""Which catalogue a recipe names, and how the files that it lists are opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from m3leo_prep.blobs.names import names_server, shown
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near

if TYPE_CHECKING:
    from m3leo_prep.sources.remote.access import Access

CDSE, EARTH_SEARCH, PLANETARY_COMPUTER = "cdse", "earth-search", "planetary-computer"
EARTH_SEARCH_URL = "https://earth-search.aws.element84.com/v1"
PLANETARY_COMPUTER_URL = "https://planetarycomputer.microsoft.com/api/stac/v1"
CDSE_URL = "https://stac.dataspace.copernicus.eu/v1"
_FILES = (".json", ".geojson", ".parquet", ".geoparquet")
EARTH_SEARCH_REGION = "us-west-2"
"""Of its buckets ``sentinel-cogs`` and ``e84-earth-search-sentinel-data``, as the hosts of its links say."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A STAC API, or a static catalogue: a file of JSON or GeoParquet, here or on a server."""

    name: str
    """``cdse``, ``earth-search``, ``planetary-computer``, or of anybody else's the host or path."""
    url: str
    """Root of the API, address of a file, or path."""

    @property
    def is_file(self) -> bool:
        """True for what cannot be an API: a path, or the address of a file."""
        link = urlsplit(self.url)
        return link.scheme not in {"http", "https"} or link.path.lower().endswith(_FILES)

    def collection(self, product: str) -> str:
        """Return the name of the collection that holds a product of ours.

        Raises:
            ConfigError: it holds none, or nobody knows which.
        """
        found = _KNOWN[self.name][1].get(product) if self.name in _KNOWN else None
        if found is None:
            have = [name for name, (_, held) in _KNOWN.items() if product in held]
            raise ConfigError(
                f"is not known to hold '{product}'",
                where=f"catalogue '{self.name}'",
                hint=f"catalogue: {' or '.join(have)}" if have else "name a `collection:` without a product",
            )
        return found

    def address(self, href: str) -> str:
        """Return how a file is opened that it links: those of Earth Search's buckets by S3, all others as they are."""
        link = urlsplit(href)
        end = f".s3.{EARTH_SEARCH_REGION}.amazonaws.com"
        if self.name == EARTH_SEARCH and link.scheme == "https" and (link.hostname or "").endswith(end):
            return f"s3://{(link.hostname or '').removesuffix(end)}{link.path}"
        return href

    def access(self) -> Access:
        """Return how its files are opened; asks nobody, and may hold keys.

        Raises:
            CredentialsError: it wants a login, and there is none.
        """
        return _ACCESS.get(self.name, _public)(self)


def catalogue(name_or_url: str) -> Catalogue:
    """Return the catalogue of a name, of the address of an API or file, or of a path.

    Raises:
        ConfigError: none of these.
    """
    said = str(name_or_url or "").strip()
    for name, (url, _) in _KNOWN.items():
        if said.rstrip("/") in {name, url().rstrip("/")}:
            return Catalogue(name, url().rstrip("/"))
    if "://" not in said:
        if "/" in said or "." in said:
            return Catalogue(said, said)
        raise ConfigError(f"catalogue: '{said}' is not known", hint=near(said, _KNOWN) or "or an address, or a path")
    kind, _, rest = said.partition("://")
    if kind.lower() not in {"http", "https", "s3"} or not names_server(said):
        raise ConfigError(f"catalogue: '{shown(said)}' is no address", hint="such as https://example.org/stac")
    if "@" in rest.partition("/")[0] or "?" in rest:
        raise ConfigError(
            "catalogue: an address with a login or a question in it is not taken: it would be kept in the dataset",
            hint="an open catalogue, such as https://example.org/stac; or a copy of its items: the path of a file",
        )
    return Catalogue(rest.partition("/")[0], said.rstrip("/"))


def _public(catalogue: Catalogue, region: str = "us-east-1") -> Access:
    """Return the access to public buckets; those of other regions are found."""
    from m3leo_prep.sources.remote.access import Access

    hint = "only files that need no login are read from here: fetch them, then `source: local`"
    return Access(catalogue.name, os.environ.get("M3LEO_PREP_OPEN_S3", "").rstrip("/"), region, hint=hint)


def _earth_search(catalogue: Catalogue) -> Access:
    return _public(catalogue, EARTH_SEARCH_REGION)


def _planetary_computer(catalogue: Catalogue) -> Access:
    from m3leo_prep.sources.remote.access import Access
    from m3leo_prep.sources.stac.signing import Sas

    return Access(catalogue.name, signing=Sas(catalogue.url))


def _cdse(_catalogue: Catalogue) -> Access:
    from m3leo_prep.sources.copernicus.service.access import access

    return access()


def _cdse_url() -> str:
    stand_in = os.environ.get("M3LEO_PREP_CDSE", "")
    return f"https://{stand_in}/v1" if stand_in else CDSE_URL


_ACCESS: Mapping[str, Callable[[Catalogue], Access]] = MappingProxyType(
    {CDSE: _cdse, EARTH_SEARCH: _earth_search, PLANETARY_COMPUTER: _planetary_computer}
)
_KNOWN: Mapping[str, tuple[Callable[[], str], Mapping[str, str]]] = MappingProxyType(
    {
        CDSE: (
            _cdse_url,
            MappingProxyType({"s2-l2a": "sentinel-2-l2a", "s2-l1c": "sentinel-2-l1c", "s1-grd": "sentinel-1-grd"}),
        ),
        EARTH_SEARCH: (
            lambda: os.environ.get("M3LEO_PREP_EARTH_SEARCH", EARTH_SEARCH_URL),
            MappingProxyType({"s2-l2a": "sentinel-2-l2a"}),
        ),
        PLANETARY_COMPUTER: (
            lambda: os.environ.get("M3LEO_PREP_PLANETARY_COMPUTER", PLANETARY_COMPUTER_URL),
            MappingProxyType({"s2-l2a": "sentinel-2-l2a", "s1-rtc": "sentinel-1-rtc"}),
        ),
    }
)
