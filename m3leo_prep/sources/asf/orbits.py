"""Orbits of Sentinel-1 by the clock: which of them an acquisition belongs to, also around midnight."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from m3leo_prep.sources._radar import TRACKS

_ORBIT = timedelta(days=12) / TRACKS
_CROSSING_TRACK, _CROSSING = 48, timedelta(hours=23, minutes=21, seconds=35)
_EARLY = timedelta(hours=6)


def orbit_day(track: int, when: datetime) -> date:
    """Return the UTC date on which the orbit of an acquisition began: frames on both sides of midnight share it.

    A relative orbit crosses the equator northward at the same time of day for years, and the next one 12 d / 175 later.
    The time of one of them is computed from a scene of orbit 48 (S1A_IW_SLC__1SDV_20230106T235934, descending at 41
    degrees north, 38 minutes after it); hours of error would change nothing.
    """
    began = (_CROSSING + (track - _CROSSING_TRACK) * _ORBIT) % timedelta(days=1)
    # An acquisition is 0 ... 99 minutes later; the day changes 6 hours before.
    return (when - began + _EARLY).date()
