"""The source ``copernicus``: one class for each of its products, found by name."""

from __future__ import annotations

from types import MappingProxyType

from m3leo_prep.sources._by_product import ByProduct

_HERE = "m3leo_prep.sources.copernicus"


class Copernicus(ByProduct):
    """Sentinel-1 and Sentinel-2 of the Copernicus Data Space Ecosystem; each product has its own options.

    ``Copernicus(product="s2-l2a", ...)``; see docs/reference/copernicus-products.md.
    """

    __slots__ = ()
    NAME = "copernicus"
    PRODUCTS = MappingProxyType(
        {
            "s2-l2a": f"{_HERE}.optical:S2L2A",
            "s2-l1c": f"{_HERE}.optical:S2L1C",
            "s1-grd": f"{_HERE}.grd.source:S1Grd",
            "s1-rtc-snap": f"{_HERE}.snap.rtc:SnapRtc",
            "s1-coherence-snap": f"{_HERE}.snap.coherence:SnapCoherence",
            "s1-h-a-alpha-snap": f"{_HERE}.snap.decomposition:SnapHAlpha",
        }
    )

    def probe(self) -> str:
        """Return which login was found and that it is taken, by one tiny request."""
        from m3leo_prep.sources.copernicus.service.login import probe

        return probe()
