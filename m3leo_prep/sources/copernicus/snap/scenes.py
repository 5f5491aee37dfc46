"""Whole scenes of the wide swath that SNAP can start from, each acquisition once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from m3leo_prep.core.raster import Slot
from m3leo_prep.sources.stac.passes import dated, direction, track

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.sources.stac.found import Found

COLLECTIONS = {"GRDH": "sentinel-1-grd", "SLC_": "sentinel-1-slc"}
"""By type as the products' names say it (https://stac.dataspace.copernicus.eu/v1; items as the generator of that
catalogue has them: https://github.com/eu-cdse/eometadatatool, ``stac/sentinel-1-slc/examples``)."""
_NAME = re.compile(
    r"(?P<platform>S1[A-Z])_IW_(?P<type>GRDH|SLC_)_1S(?P<seen>[SD][HV])_(?P<start>\d{8}T\d{6})_(?P<stop>\d{8}T\d{6})_"
    r"(?P<orbit>\d{6})_(?P<datatake>[0-9A-F]{6})_(?:[0-9A-F]{4})?(?P<cog>_COG)?(?:\.SAFE)?"
)
"""https://sentiwiki.copernicus.eu/web/s1-products, "Naming convention"."""
POLARISATIONS = {"SV": ("VV",), "SH": ("HH",), "DV": ("VV", "VH"), "DH": ("HH", "HV")}
"""By the two letters of a name."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene."""

    name: str
    """As the catalogue has it, and as it is fetched."""
    platform: str
    datatake: str
    start: datetime
    footprint: BaseGeometry
    direction: str
    track: int
    polarisations: tuple[str, ...]
    size: int
    """Bytes of its files, as far as the catalogue tells."""
    version: str

    @property
    def acquisition(self) -> str:
        """What the scenes of one sweep share, and no other scene of the mission."""
        return f"{self.platform}-{self.datatake}"


def find_scenes(
    kind: str, ways: Collection[str], tracks: Collection[int], area: BaseGeometry, slots: Sequence[Slot]
) -> list[Scene]:
    """Return the scenes that meet ``area`` in any slot, by time and name, each once.

    Args:
        kind: ``GRDH`` or ``SLC_``.
        ways: directions that are wanted.
        tracks: relative orbits that are wanted; none = all.
        area: lon/lat.
        slots: with times.

    Raises:
        ConfigError: a slot without times.
        TriedOut, RateLimited, SourceError: from the catalogue.
    """
    from m3leo_prep.sources.stac.catalogues import CDSE, catalogue
    from m3leo_prep.sources.stac.search import search

    found: list[Found] = []
    for start, end in dated(slots):
        found += search(catalogue(CDSE), [COLLECTIONS[kind]], area, start, end)
    return [
        scene
        for scene in once(found, kind)
        if scene.direction in ways
        and (not tracks or scene.track in tracks)
        and any(slot.contains(scene.start) for slot in slots)
    ]


def once(found: Iterable[Found], kind: str) -> list[Scene]:
    """Return each scene of a kind once, by time and name.

    It is in the archive as ESA delivers it and, of GRD, as a COG: SNAP is given the first where there is one. Of scenes
    that were processed again, the last.
    """
    groups: dict[tuple[str, ...], list[tuple[bool, str, str, Found]]] = {}
    for one in found:
        name = _NAME.fullmatch(one.id)
        if name is not None and name["type"] == kind and one.start is not None:
            key = name.group("platform", "seen", "start", "stop", "orbit", "datatake")
            rank = name["cog"] is None, str(one.properties.get("processing:datetime") or ""), one.id, one
            groups.setdefault(key, []).append(rank)
    chosen = [_scene(max(group, key=lambda rank: rank[:3])[3]) for group in groups.values()]
    return sorted(chosen, key=lambda scene: (scene.start, scene.name))


def _scene(found: Found) -> Scene:
    name = _NAME.fullmatch(found.id)
    assert name is not None
    assert found.start is not None
    sizes = {name.lower(): int(asset.properties.get("file:size") or 0) for name, asset in found.assets.items()}
    archive = sizes.pop("product", 0)  # all the others together; GRD have a capital P
    return Scene(
        name=found.id.removesuffix(".SAFE"),
        platform=name["platform"],
        datatake=name["datatake"],
        start=found.start,
        footprint=found.footprint,
        direction=direction(found),
        track=track(found),
        polarisations=POLARISATIONS[name["seen"]],
        size=archive or sum(sizes.values()),
        # Another processing is another name; what the archive repairs has another time.
        version=str(found.properties.get("processing:datetime") or found.properties.get("created") or ""),
    )
