"""One job of HyP3: what is asked for, its name, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from m3leo_prep.core.plan import digest_of

FREE_CREDITS = 8000.0
"""A month, of HyP3 Basic: https://hyp3-docs.asf.alaska.edu/using/credits/ (ASFHyP3/hyp3-docs@0d86d88)."""
TIER = "HyP3 Basic, free"
RTC_CREDITS: Mapping[int, float] = MappingProxyType({30: 5.0, 20: 15.0, 10: 60.0})
"""By pixel spacing in metres, from the same page."""
BURST_CREDITS = 1.0
"""Of one pair of bursts, whatever its looks (ASFHyP3/hyp3@0973e6d, ``job_spec/INSAR_ISCE_BURST.yml``)."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is ordered; equal parameters make equal jobs, whoever asks for them, and when."""

    kind: str
    """``RTC_GAMMA``, ``INSAR_ISCE_BURST``."""
    parameters: str
    """Canonical JSON of its parameters."""
    credits: float
    what: str
    """Which it is, for people: its scene, or its pair."""

    @classmethod
    def of(cls, prepared: Mapping[str, Any], cost: float, what: str) -> Job:
        """Return the job that ``hyp3_sdk`` prepared."""
        text = json.dumps(prepared["job_parameters"], sort_keys=True, separators=(",", ":"))
        return cls(str(prepared["job_type"]), text, cost, what)

    @property
    def name(self) -> str:
        """Digest of what is asked for, by which it is found again: the same product is never paid for twice."""
        return f"m3leo-prep-{self.kind.lower()}-{digest_of([self.kind, json.loads(self.parameters)])[:24]}"

    def prepared(self) -> dict[str, Any]:
        """Return what HyP3 is sent."""
        return {"job_type": self.kind, "job_parameters": json.loads(self.parameters), "name": self.name}


def next_month(now: datetime) -> datetime:
    """Return when HyP3 gives new credits: it compares months in UTC (ASFHyP3/hyp3@0973e6d, ``dynamo/user.py``).

    >>> next_month(datetime(2026, 12, 5, tzinfo=UTC)).isoformat()
    '2027-01-01T00:00:00+00:00'
    """
    return datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
