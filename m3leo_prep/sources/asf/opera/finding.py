"""From the catalogue's granules to items: newest versions only, bursts of one pass together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.sources._backscatter import POLARISATIONS, Band
from m3leo_prep.sources.asf.opera.names import Name, layer_of, parse
from m3leo_prep.sources.asf.orbits import orbit_day

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.sources.asf.service.found import Found

MASK = "mask"
"""The file of layover and shadow, beside each granule's images."""


def find_bursts(bands: Sequence[Band], area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
    """Yield the bursts that meet ``area`` in any slot, of the directions asked for, in order of time and name.

    Of a burst that was processed again, the newest is taken.

    Raises:
        ConfigError: a slot without times.
        TransientError, SourceError: from the catalogue.
    """
    from m3leo_prep.sources.asf.service.search import search

    ways = {band.direction for band in bands}
    found: dict[str, Found] = {}
    for start, end in spans(slots):
        found |= {one.name: one for one in search("opera-rtc", area, start, end)}
    seen = [
        one for one in found.values() if _direction(one) in ways and any(slot.contains(one.start) for slot in slots)
    ]
    for one, older in newest(seen, _look, lambda name: (name.processed, name.version)):
        yield _burst(one, older, bands)


def find_static(ways: Sequence[str], layers: Sequence[str], area: BaseGeometry) -> Iterator[Item]:
    """Yield the static layers of the bursts that meet ``area``, whatever their date says, by track and burst.

    They are dated 2014-04-03, the day from which they hold: no slot's dates may leave them out, and none are asked for.

    Raises:
        TransientError, SourceError: from the catalogue.
    """
    from m3leo_prep.sources.asf.service.search import search

    seen = [one for one in search("opera-rtc-static", area, None, None) if _direction(one) in ways]
    for one, older in newest(seen, _place, lambda name: (name.when, name.version, name.processed)):
        yield _static(one, older, layers)


def spans(slots: Sequence[Slot]) -> list[tuple[datetime, datetime]]:
    """Return the times that slots cover, in order, those that touch as one.

    Raises:
        ConfigError: a slot without times.
    """
    times: list[tuple[datetime, datetime]] = []
    for slot in slots:
        if slot.start is None or slot.end is None:
            raise ConfigError(
                "opera-rtc has an image every few days since 2016: say of which time",
                where="source 'asf'",
                hint="slots: {months: 2020}",
            )
        times.append((slot.start, slot.end))
    merged: list[tuple[datetime, datetime]] = []
    for start, end in sorted(times):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def newest(
    found: Iterable[Found], key: Callable[[Found, Name], Hashable], age: Callable[[Name], Any]
) -> Iterator[tuple[Found, int]]:
    """Yield the newest of those that share a key, with how many older ones there are, by start and name."""
    groups: dict[Hashable, list[tuple[Any, str, Found]]] = {}
    for one in found:
        name = parse(one.name)
        groups.setdefault(key(one, name), []).append((age(name), one.name, one))
    chosen = [(max(group, key=lambda entry: entry[:2])[2], len(group) - 1) for group in groups.values()]
    yield from sorted(chosen, key=lambda pair: (pair[0].start, pair[0].name))


def _look(found: Found, name: Name) -> Hashable:
    """One burst of one pass."""
    return name.burst, _pass(found, name)


def _place(_found: Found, name: Name) -> Hashable:
    return name.burst


def _burst(found: Found, older: int, bands: Sequence[Band]) -> Item:
    name, way = parse(found.name), _direction(found)
    wanted = dict.fromkeys(band.polarisation for band in bands if band.direction == way)
    files = _files(found)
    has = [layer for layer in files if layer.lower() in POLARISATIONS]
    noisy = {"noise_removed": "no"} if str(found.properties.get("noiseCorrection", "")).upper() == "FALSE" else {}
    return Item(
        id=found.name,
        footprint=found.footprint,
        version=_version(found),
        datetime=found.start,
        acquisition=_pass(found, name),
        properties={
            "relative_orbit": name.track,
            "orbit_direction": way,
            "platform": name.platform,
            "polarisations": " ".join(has),
            **noisy,
            **({"older_versions": older} if older else {}),
            **_kept(found, files, [*(layer for layer in wanted if layer in files), MASK]),
        },
    )


def _static(found: Found, older: int, layers: Sequence[str]) -> Item:
    name, way = parse(found.name), _direction(found)
    files = _files(found)
    return Item(
        id=found.name,
        footprint=found.footprint,
        version=_version(found),
        acquisition=f"{way}-T{name.track:03}",
        properties={
            "relative_orbit": name.track,
            "orbit_direction": way,
            "platform": name.platform,
            "valid_from": f"{name.when[:4]}-{name.when[4:6]}-{name.when[6:8]}",
            **({"older_versions": older} if older else {}),
            **_kept(found, files, [layer for layer in layers if layer in files]),
        },
    )


def _pass(found: Found, name: Name) -> str:
    """Return what the bursts of one pass of the satellite share: platform, track, and the day on which it began.

    Not the absolute orbit: the catalogue tells that of the scene which a burst was cut from, and it changes at the
    equator, in the middle of a pass.
    """
    return f"{name.platform}-T{name.crossing:03}-{orbit_day(name.crossing, found.start):%Y%m%d}"


def _direction(found: Found) -> str:
    return str(found.said("flightDirection")).lower()


def _files(found: Found) -> dict[str, str]:
    """Return layer -> address of the granule's rasters, in order of the layers' names."""
    named = {layer_of(url, found.name): url for url in found.urls}
    return {layer: named[layer] for layer in sorted(named) if layer}


def _kept(found: Found, files: Mapping[str, str], layers: Sequence[str]) -> dict[str, str | int]:
    """Return what reading needs of some files.

    Raises:
        SourceError: the mask, which every granule has, is not there.
    """
    kept: dict[str, str | int] = {}
    for layer in layers:
        if layer not in files:
            raise SourceError(f"the catalogue names no {layer} file of this granule", where=found.name)
        url = files[layer]
        kept[f"url_{layer}"] = url
        kept[f"size_{layer}"] = int(found.size.get(url, 0))
        kept[f"checksum_{layer}"] = str(found.checksum.get(url, ""))
    return kept


def _version(found: Found) -> str:
    """Return what changes when a raster of the granule does, and not when it moves to another host."""
    stamps = [(layer, found.size.get(url), found.checksum.get(url)) for layer, url in _files(found).items()]
    return hashlib.sha256(repr(stamps).encode()).hexdigest()[:16]
