"""What a person should know of the granules that were found: which files they have, and what they lack."""

from __future__ import annotations

from collections.abc import Sequence

from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.sources._backscatter import Band

_NAMED = 6
"""Slots that are named one by one."""


def files_of(items: Sequence[Item]) -> dict[str, int]:
    """Return address -> bytes of the files of some items, 0 = the catalogue does not say."""
    return {
        str(value): int(item.properties[f"size_{key.removeprefix('url_')}"])
        for item in items
        for key, value in item.properties.items()
        if key.startswith("url_")
    }


def advise(bands: Sequence[Band], items: Sequence[Item], slots: Sequence[Slot]) -> list[str]:
    """Return warnings: directions and slots without a burst, polarisations that are missing, what was left out."""
    if not items:
        return ["no burst at all: OPERA RTC-S1 begins on 2016-04-14 and has land only, without Antarctica"]
    warnings = []
    for way in dict.fromkeys(band.direction for band in bands):
        own = [item for item in items if item.properties["orbit_direction"] == way]
        empty = [slot.label for slot in slots if not any(slot.contains(item.datetime) for item in own)]
        if not own:
            other = "descending" if way == "ascending" else "ascending"
            warnings.append(f"no {way} burst at all: `orbits: [{other}]` drops its bands")
        elif empty:
            warnings.append(f"no {way} burst in {_names(empty)}")
        for layer in dict.fromkeys(band.polarisation for band in bands if band.direction == way):
            without = [item for item in own if layer not in str(item.properties["polarisations"]).split()]
            if without:
                have = sorted({str(item.properties["polarisations"]) for item in without})
                warnings.append(
                    f"{len(without):,} of {len(own):,} {way} bursts have no {layer}: they have {' or '.join(have)}"
                )
    older = sum(int(item.properties.get("older_versions", 0)) for item in items)
    if older:
        warnings.append(f"older versions of bursts that were processed again are left out: {older:,}")
    noisy = sum(item.properties.get("noise_removed") == "no" for item in items)
    if noisy:
        warnings.append(f"thermal noise was not removed from {noisy:,} of {len(items):,} bursts")
    return warnings


def _names(labels: Sequence[str]) -> str:
    rest = len(labels) - _NAMED
    return ", ".join(labels) if rest <= 1 else f"{', '.join(labels[:_NAMED])} and {rest:,} more"
