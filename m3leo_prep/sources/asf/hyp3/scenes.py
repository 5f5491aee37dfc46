"""Scenes and bursts of the archive: which are there, and what their records say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.sources._backscatter import Band

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.sources.asf.service.found import Found

_SCENE = re.compile(
    r"(S1[A-D])_IW_(?:GRDH|SLC_)_1S([SD])([VH])_(\d{8}T\d{6})_\d{8}T\d{6}_(\d{6})_[0-9A-F]{6}_[0-9A-F]{4}"
)
"""What RTC_GAMMA takes (ASFHyP3/hyp3@0973e6d, ``job_spec/RTC_GAMMA.yml``): platform, single or dual, main polarisation,
start, absolute orbit."""
_HELD = {"SV": ("VV",), "SH": ("HH",), "DV": ("VV", "VH"), "DH": ("HH", "HV")}


def find_scenes(
    dataset: str, bands: Sequence[Band], tracks: Sequence[int], area: BaseGeometry, slots: Sequence[Slot]
) -> list[Item]:
    """Return the scenes that meet ``area`` in any slot and have one of the bands, in order of time and name.

    Raises:
        ConfigError: a slot without times.
        TransientError, SourceError: from the catalogue.
    """
    items: dict[tuple[str, str], Item] = {}
    for found in searched(dataset, area, slots, "hyp3-rtc"):
        parts = _SCENE.fullmatch(found.name)
        if parts is None or not any(slot.contains(found.start) for slot in slots):
            continue
        held, way, track = _HELD[parts[2] + parts[3]], direction(found), int(found.said("pathNumber"))
        wanted = any(band.direction == way and band.polarisation in held for band in bands)
        if wanted and (not tracks or track in tracks):
            # A scene that ESA made again comes second in order of name: one of both is paid for.
            items[(parts[1], parts[4])] = Item(
                id=found.name,
                footprint=found.footprint,
                datetime=found.start,
                acquisition=f"{parts[1]}-{parts[5]}",
                properties={
                    "orbit_direction": way,
                    "relative_orbit": track,
                    "platform": parts[1],
                    "polarisations": " ".join(held),
                },
            )
    return sorted(items.values(), key=lambda item: (item.datetime, item.id))


def searched(dataset: Any, area: BaseGeometry, slots: Sequence[Slot], product: str, **more: Any) -> list[Found]:
    """Return what the catalogue has in the slots' times, in order of time and name, each once.

    Raises:
        ConfigError: a slot without times.
    """
    from m3leo_prep.sources.asf.service.search import search

    found = {one.name: one for start, end in spans(slots, product) for one in search(dataset, area, start, end, **more)}
    return sorted(found.values(), key=lambda one: (one.start, one.name))


def spans(slots: Iterable[Slot], product: str) -> list[tuple[datetime, datetime]]:
    """Return the times that slots cover, in order, those that touch as one.

    Raises:
        ConfigError: a slot without times.
    """
    merged: list[tuple[datetime, datetime]] = []
    times = [(slot.start, slot.end) for slot in slots]
    for start, end in sorted((start, end) for start, end in times if start is not None and end is not None):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    if any(start is None or end is None for start, end in times):
        raise ConfigError(
            f"{product} is made of images of every few days: say of which time",
            where="source 'asf'",
            hint="slots: {months: 2020}, or {dates: [2020-06-01]}: each scene in them is ordered",
        )
    return merged


def direction(found: Found) -> str:
    """Return ``ascending`` or ``descending``."""
    return str(found.said("flightDirection")).lower()
