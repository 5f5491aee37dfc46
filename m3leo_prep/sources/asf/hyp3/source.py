"""What the products of HyP3 share: their items are jobs, ordered before they are read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from m3leo_prep.core.errors import CredentialsError, SourceError
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.ports.cost import Cost
from m3leo_prep.ports.ordering import Orders
from m3leo_prep.sources.asf.hyp3.jobs import FREE_CREDITS, TIER, Job
from m3leo_prep.sources.asf.source import Asf

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

POLL_SECONDS = 60.0
"""Between two looks: what the real client waits (hyp3_sdk 7.7, ``HyP3.watch``)."""
NOTE = "ordered products take minutes to hours, which HyP3 does not tell beforehand, nor their sizes"
LICENCE = "Copernicus Sentinel data terms (free, full and open)"
"""Of what the products are made; HyP3's documentation names no licence of its own (ASFHyP3/hyp3-docs@0d86d88)."""
CITATION = (
    "ASF DAAC HyP3, using the {} plugin. Hogenson, K., et al. (2020). Hybrid Pluggable Processing Pipeline (HyP3): "
    "A cloud-native infrastructure for generic processing of SAR data. https://doi.org/10.5281/zenodo.4646138"
)
"""``docs/citing-snippet.md`` of ASFHyP3/hyp3-docs@0d86d88, and the credit of the products' README files."""


class Hyp3(Asf):
    """A product that HyP3 makes of each item."""

    __slots__ = ()

    @abstractmethod
    def job(self, item: Item) -> Job:
        """Return the job that makes an item."""

    def order(self, items: Sequence[Item]) -> int:
        """Order what is neither here nor ordered yet; see ``Ordering``."""
        from m3leo_prep.sources.asf.hyp3 import desk

        return desk.order([self.job(item) for item in items])

    def watch(self, items: Sequence[Item]) -> Orders:
        """Ask once how far the jobs are, and fetch what is made; see ``Ordering``."""
        from m3leo_prep.sources.asf.hyp3 import fetching

        return fetching.watch({item.id: self.job(item) for item in items})

    @property
    def poll_seconds(self) -> float:
        """Seconds between two looks."""
        return POLL_SECONDS

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:
        """Return the credits of the items that are not ordered yet; reading costs nothing once they are here.

        One look at the list of one's jobs, where a login is there; without, all are counted.
        """
        del windows, slots
        allowances = {"credits": {TIER: FREE_CREDITS}}
        if not items:
            return Cost(units={"credits": 0.0}, allowances=allowances)
        from m3leo_prep.sources.asf.hyp3 import desk

        jobs = [self.job(item) for item in items]
        try:
            return Cost(units={"credits": desk.to_pay(jobs)}, allowances=allowances, notes=(NOTE,))
        except (CredentialsError, SourceError) as error:
            every = {job.name: job.credits for job in jobs}
            note = f"credits: HyP3 was not asked what is ordered already ({error.message}); all of it is counted"
            return Cost(units={"credits": sum(every.values())}, allowances=allowances, notes=(NOTE, note))

    def probe(self) -> str:
        """Return what the account has left; one tiny request."""
        from m3leo_prep.sources.asf.hyp3.client import Client

        left = Client().credits()
        return "HyP3: no limit of credits" if left is None else f"HyP3: {left:,g} credits left this month"


def period(slots: Sequence[Slot]) -> tuple[datetime | None, datetime | None]:
    """Return the first start and the last end of some slots."""
    starts = [slot.start for slot in slots if slot.start is not None]
    ends = [slot.end for slot in slots if slot.end is not None]
    return (min(starts), max(ends)) if len(starts) == len(slots) == len(ends) and slots else (None, None)
