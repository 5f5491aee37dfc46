"""What the names of OPERA granules and files say."""

from __future__ import annotations

import re
from dataclasses import dataclass

from m3leo_prep.core.errors import SourceError
from m3leo_prep.sources._radar import TRACKS

_NAME = re.compile(
    r"OPERA_L2_RTC-S1(?P<static>-STATIC)?"
    r"_T(?P<track>\d{3})-(?P<number>\d+)-(?P<swath>[A-Z]{2}\d)"
    r"_(?P<when>\d{8}(?:T\d{6}Z)?)"
    r"(?:_(?P<processed>\d{8}T\d{6}Z))?"
    r"_(?P<platform>S1[A-Z])"
    r"_(?P<spacing>\d+)"
    r"_v(?P<version>\d+(?:\.\d+)*)"
)
"""``OPERA_L2_RTC-S1_T131-279916-IW1_20231202T162856Z_20231202T232622Z_S1A_30_v1.0`` and
``OPERA_L2_RTC-S1-STATIC_T161-344054-IW2_20140403_S1B_30_v1.0``, as in ASF's catalogue; the producer's code puts the
time of processing into names of static layers, too (opera-adt/RTC, ``populate_product_id``)."""

_BURST_SECONDS, _FIRST_SECONDS, _ORBIT_SECONDS = 2.758273, 2.299849, 12 * 86400 / TRACKS
"""From one burst to the next, from the equator to the first of orbit 1, and of an orbit (ESA's burst map, as
opera-adt/s1-reader numbers bursts)."""


@dataclass(frozen=True, slots=True)
class Name:
    """The parts of a granule's name."""

    burst: str
    """Of ESA's burst map, such as ``T131-279916-IW1``."""
    track: int
    """Relative orbit."""
    when: str
    """Start of sensing, or of a static layer's validity: ``20231202T162856Z``, ``20140403``."""
    processed: str
    """Empty where the name does not say it."""
    platform: str
    version: tuple[int, ...]

    @property
    def crossing(self) -> int:
        """Relative orbit that begins, at the equator, in the pass that the burst belongs to.

        Relative and absolute orbits count up where a pass crosses the equator northward: before it, a burst still has
        the orbit that ends. Where in its orbit a burst is, its number says.
        """
        number = int(self.burst.split("-")[1])
        seconds = number * _BURST_SECONDS + _FIRST_SECONDS - (self.track - 1) * _ORBIT_SECONDS
        return self.track % TRACKS + 1 if seconds > 3 / 4 * _ORBIT_SECONDS else self.track


def parse(name: str) -> Name:
    """Return the parts of a granule's name.

    Raises:
        SourceError: it is not named as OPERA RTC-S1 granules are.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise SourceError(
            f"'{name}' is not named as OPERA RTC-S1 granules are",
            where="source 'asf'",
            hint="the archive may have changed its names: update m3leo-prep, or report it",
        )
    return Name(
        burst=f"T{found['track']}-{found['number']}-{found['swath']}",
        track=int(found["track"]),
        when=found["when"],
        processed=found["processed"] or "",
        platform=found["platform"],
        version=tuple(int(part) for part in found["version"].split(".")),
    )


def layer_of(file: str, name: str) -> str:
    """Return what a file of a granule holds, such as ``VV`` or ``mask``; nothing if it is no raster of it.

    >>> layer_of("https://host/G_v1.0_local_incidence_angle.tif", "G_v1.0")
    'local_incidence_angle'
    """
    own = file.rpartition("/")[2]
    return own[len(name) + 1 : -len(".tif")] if own.startswith(f"{name}_") and own.endswith(".tif") else ""
