"""``s1-rtc-snap``: gamma nought of whole Sentinel-1 GRD scenes, terrain corrected by SNAP onto the chips' grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from m3leo_prep.core.raster import Absent, Item, Kind, Raster, Slot, SourceInfo, Variable
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources._backscatter import BOTH, Band, choose_bands
from m3leo_prep.sources._options import one_of, several, switch
from m3leo_prep.sources._radar import tracks
from m3leo_prep.sources.copernicus.snap.product import CITATION, LICENCE, MadeBySnap, checked_pitch, facts, release

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.source import Source
    from m3leo_prep.sources.snap.chains import Grid
    from m3leo_prep.sources.snap.shelf import Task

VERSION = "1"
"""Bumped when the same scenes and the same SNAP would give other pixels."""
WHERE = "source 'copernicus', product 's1-rtc-snap'"
BACKSCATTER, INCIDENCE = "backscatter", "local_incidence"
MASK = "layover_shadow"
_BITS = {"layover": 1, "shadow": 2}
"""Of SNAP's band ``layoverShadowMask``: 3 is both."""
CLIPS_BEFORE = 14
"""First release of SNAP that leaves what noise removal makes negative (``clipNegativeValues``); others floor it."""


@dataclass(frozen=True, slots=True)
class SnapRtc(MadeBySnap):
    """Backscatter in linear power, float32, band by polarisation and orbit direction."""

    product: str = "s1-rtc-snap"
    _: KW_ONLY
    bands: Sequence[str] = ()
    """``[vv, vh]``, or with the direction ``[vv_asc, vh_desc]``, in order; none = vv and vh."""
    orbits: Sequence[str] = BOTH
    """Directions; each is a set of bands."""
    relative_orbits: Any = "all"
    """Tracks whose scenes are taken: ``all``, or a list of numbers."""
    mask: Sequence[str] = ("layover", "shadow")
    """What is discarded; ``none`` = neither."""
    incidence: bool = False
    """Deliver ``local_incidence``, too."""
    speckle_filter: bool = False
    """Filter each image before it is geocoded (Refined Lee)."""
    pitch: float = 10.0
    """Metres."""
    _bands: tuple[Band, ...] = field(init=False, repr=False, compare=False)
    _tracks: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _bits: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_bands", choose_bands(self.bands, self.orbits))
        chosen = tracks(self.relative_orbits)
        one_of("relative_orbits", "all" if isinstance(chosen, tuple) else chosen, ("all",), WHERE)
        object.__setattr__(self, "_tracks", chosen if isinstance(chosen, tuple) else ())
        dropped = several("mask", self.mask, tuple(_BITS), tuple(_BITS), WHERE)
        object.__setattr__(self, "_bits", sum(_BITS[name] for name in dropped))
        for key in ("incidence", "speckle_filter"):
            switch(key, getattr(self, key), WHERE)
        object.__setattr__(self, "pitch", checked_pitch(self.pitch, WHERE))

    @property
    def scenes(self) -> tuple[str, ...]:
        """One."""
        return ("scene",)

    def describe(self) -> SourceInfo:
        """Return the variables and their radiometric identity."""
        snap = release()
        about = {
            "backscatter_convention": "gamma0_rtc",
            "noise_removed": True,
            "noise_floored": snap != "none" and int(snap.partition(".")[0]) < CLIPS_BEFORE,
            "speckle_filter": "Refined Lee" if self.speckle_filter else "none",
            "discarded": [name for name, bit in _BITS.items() if self._bits & bit],
        }
        text = "Backscatter, gamma nought, terrain corrected"
        names = tuple(band.name for band in self._bands)
        variables = [Variable(BACKSCATTER, Kind.POWER, names, "1", text, (), facts(**about))]
        if self.incidence:
            text = "Angle between the line of sight and the normal of the terrain"
            names = tuple(f"incidence_{way}" for way in self._ways().values())
            about = {"surface": "terrain"}
            variables.append(Variable(INCIDENCE, Kind.CONTINUOUS, names, "degree", text, (), facts(**about)))
        return SourceInfo(
            tuple(variables),
            version=f"{VERSION} snap-{snap}",
            pitch=self.pitch,
            fetches_once=True,
            licence=LICENCE,
            citation=CITATION,
            attributes={"snap": snap},
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the scenes that meet the area in any slot, in order of time and name.

        Raises:
            ConfigError: a slot without times.
            TriedOut, RateLimited, SourceError: from the catalogue.
        """
        from m3leo_prep.sources.copernicus.snap.scenes import find_scenes

        for scene in find_scenes("GRDH", self._ways(), self._tracks, area, slots):
            yield Item(
                id=scene.name,
                footprint=scene.footprint,
                version=scene.version,
                datetime=scene.start,
                acquisition=scene.acquisition,
                properties={
                    "relative_orbit": scene.track,
                    "orbit_direction": scene.direction,
                    "platform": scene.platform,
                    "polarisations": " ".join(scene.polarisations),
                    "scene": scene.name,
                    "scene_size": scene.size,
                },
            )

    def task(self, item: Item, grid: Grid) -> Task:
        """Return what makes a scene's result: all of its polarisations that the layer wants."""
        from m3leo_prep.sources.snap.chains import rtc
        from m3leo_prep.sources.snap.shelf import Task

        names = self._held(item)
        bands = {name: f"Gamma0_{name}" for name in names} | {MASK: "layoverShadowMask"}
        if self.incidence:
            bands[INCIDENCE] = "localIncidenceAngle"
        return Task(
            item.id,
            (str(item.properties["scene"]),),
            grid,
            lambda inputs, output: rtc(
                inputs[0], output, grid, names, incidence=self.incidence, filtered=self.speckle_filter
            ),
            bands,
        )

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002  items are dated
        """Yield the power of each scene around ``geobox``, on the grid of its zone.

        Raises:
            PrepError: see ``MadeBySnap.around``.
        """
        for item in items:
            yield from self._rasters(item, geobox)

    def _rasters(self, item: Item, geobox: GeoBox) -> Iterator[Raster | Absent]:
        """Yield what one scene holds; the bands of the other direction are there, and observed nowhere."""
        way, held = item.properties["orbit_direction"], self._held(item)
        missing = [band.name for band in self._bands if band.direction == way and band.polarisation not in held]
        if missing:
            yield Absent(item, BACKSCATTER, tuple(missing), Reason.BAND_NOT_IN_PRODUCT)
        found = self.around(item, geobox, self.pitch) if held else None
        if found is None:
            return
        planes, where = found.planes, found.geobox
        shape = (len(self._bands), *where.shape)
        data, valid, masked = np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, bool)
        hidden = planes[MASK].astype(np.uint8)
        for k, band in enumerate(self._bands):
            if band.direction == way and band.polarisation in held:
                data[k] = planes[band.polarisation]
                # SNAP's no data is exactly 0; where terrain hides the ground, the sensor did look.
                number = np.isfinite(data[k]) & (data[k] != 0)
                dropped = (hidden & self._bits) != 0
                valid[k] = number & ~dropped
                masked[k] = (number & dropped) | (~number & (hidden != 0))
        yield Raster(data, valid, where, found.item, BACKSCATTER, masked)
        if self.incidence:
            ways = list(self._ways())
            angle = np.zeros((len(ways), *where.shape), np.float32)
            seen = np.zeros(angle.shape, bool)
            angle[ways.index(str(way))] = planes[INCIDENCE]
            seen[ways.index(str(way))] = np.isfinite(planes[INCIDENCE]) & (planes[INCIDENCE] != 0)
            yield Raster(angle, seen, where, found.item, INCIDENCE)

    def _held(self, item: Item) -> tuple[str, ...]:
        """Return the polarisations that are wanted of a scene and that it has."""
        has = str(item.properties["polarisations"]).split()
        way = item.properties["orbit_direction"]
        return tuple(dict.fromkeys(b.polarisation for b in self._bands if b.direction == way and b.polarisation in has))

    def _ways(self) -> dict[str, str]:
        """Return direction -> its short name, in order of the bands."""
        return {band.direction: band.name.split("_")[1] for band in self._bands}


if TYPE_CHECKING:
    _source: type[Source] = SnapRtc
