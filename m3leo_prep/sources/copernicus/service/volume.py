"""What reading takes from the Data Space, and what it gives in a month."""

from __future__ import annotations

from m3leo_prep.ports.cost import Cost
from m3leo_prep.sources.copernicus.service.access import CONNECTIONS, MONTHLY_BYTES, PER_MINUTE

BYTES_PER_SECOND = 20 * 10**6
"""Of one connection (https://documentation.dataspace.copernicus.eu/Quotas.html)."""
SLOW_BYTES_PER_SECOND = 10**6
"""Of the only connection that is left when a month's volume is used up. The same page."""
UNIT, TIER = "gigabytes", "a general user's 30 days"


def estimated(requests: int, n_bytes: int, *, notes: tuple[str, ...] = ()) -> Cost:
    """Return the cost of so many requests and bytes at the Data Space.

    Its time is that of the line and of the requests that a minute allows, whichever is more; at most that of one
    connection that gets a quarter of its line. What lies beyond a month's volume comes at 1 MB/s.
    """
    usual = min(n_bytes, MONTHLY_BYTES)
    late = (n_bytes - usual) / SLOW_BYTES_PER_SECOND
    least = max(usual / (CONNECTIONS * BYTES_PER_SECOND), requests * 60 / PER_MINUTE) + late
    most = max(4 * usual / BYTES_PER_SECOND, requests * 60 / PER_MINUTE) + late
    return Cost(
        requests,
        n_bytes,
        (least, most),
        {UNIT: n_bytes / 1e9},
        {UNIT: {TIER: MONTHLY_BYTES / 1e9}},
        notes,
    )
