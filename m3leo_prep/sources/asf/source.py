"""The source ``asf``: one class for each of its products, found by name."""

from __future__ import annotations

from types import MappingProxyType

from m3leo_prep.sources._by_product import ByProduct

_HERE = "m3leo_prep.sources.asf"


class Asf(ByProduct):
    """Coherence, interferograms and RTC backscatter of the Alaska Satellite Facility; each product has its own options.

    ``Asf(product="gunw", ...)``; see docs/reference/asf-products.md.
    """

    __slots__ = ()
    NAME = "asf"
    PRODUCTS = MappingProxyType(
        {
            "gssic": f"{_HERE}.gssic.source:Gssic",
            "gssic-geometry": f"{_HERE}.gssic.geometry:GssicGeometry",
            "gunw": f"{_HERE}.gunw.source:Gunw",
            "opera-rtc": f"{_HERE}.opera.source:OperaRtc",
            "opera-rtc-static": f"{_HERE}.opera.static:OperaRtcStatic",
            "hyp3-rtc": f"{_HERE}.hyp3.rtc:Hyp3Rtc",
            "hyp3-insar": f"{_HERE}.hyp3.insar:Hyp3Insar",
        }
    )

    def probe(self) -> str:
        """Return which login was found and that it is taken, by one tiny request; what needs none says other things."""
        from m3leo_prep.sources.asf.service.earthdata import probe

        return probe()
