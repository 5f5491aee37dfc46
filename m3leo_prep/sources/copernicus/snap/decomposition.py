"""``s1-h-a-alpha-snap``: entropy, anisotropy and alpha of dual-polarised Sentinel-1 SLC scenes, by SNAP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Absent, Item, Kind, Raster, Slot, SourceInfo, Variable
from m3leo_prep.sources._backscatter import BOTH
from m3leo_prep.sources._options import one_of
from m3leo_prep.sources._radar import SHORT, directions, tracks
from m3leo_prep.sources.copernicus.snap.coherence import SWATHS, chosen_swaths, pixels
from m3leo_prep.sources.copernicus.snap.product import CITATION, LICENCE, MadeBySnap, checked_pitch, facts, release

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.source import Source
    from m3leo_prep.sources.snap.chains import Grid, Looks, Swath
    from m3leo_prep.sources.snap.shelf import Task

VERSION = "1"
"""Bumped when the same scenes and the same SNAP would give other pixels."""
WHERE = "source 'copernicus', product 's1-h-a-alpha-snap'"
NAMES = {"entropy": "Entropy", "anisotropy": "Anisotropy", "alpha": "Alpha"}
"""Our name -> SNAP's (``HAlphaC2`` of the microwave toolbox)."""
_TEXTS = {
    "entropy": ("1", "Entropy of the polarimetric covariance, 0 = one mechanism, 1 = random"),
    "anisotropy": ("1", "Anisotropy of the polarimetric covariance"),
    "alpha": ("degree", "Mean alpha angle of the polarimetric covariance, 0...90"),
}
PAIRS = {"vv+vh": ("VV", "VH"), "hh+hv": ("HH", "HV")}
MOST_WINDOW = 100


@dataclass(frozen=True, slots=True)
class SnapHAlpha(MadeBySnap):
    """Entropy, anisotropy and alpha, float32, a band for each orbit direction."""

    product: str = "s1-h-a-alpha-snap"
    _: KW_ONLY
    polarisations: str = "vv+vh"
    """``vv+vh`` or ``hh+hv``: scenes with one polarisation have no covariance."""
    orbits: Sequence[str] = BOTH
    """Directions; each is a band."""
    relative_orbits: Any = "all"
    """Tracks whose scenes are taken: ``all``, or a list of numbers."""
    swaths: Sequence[str] = tuple(SWATHS)
    """Parts of the scenes: ``iw1`` is nearest to the satellite."""
    looks: Sequence[int] = (4, 1)
    """Pixels in slant range and azimuth that are averaged first: about 15 m x 14 m on the ground."""
    window: int = 5
    """Pixels in both directions over which the covariance is averaged then."""
    pitch: float = 20.0
    """Metres."""
    _ways: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _tracks: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _swaths: tuple[Swath, ...] = field(init=False, repr=False, compare=False)
    _looks: Looks = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        one_of("polarisations", self.polarisations, tuple(PAIRS), WHERE)
        object.__setattr__(self, "_ways", directions(self.orbits))
        chosen = tracks(self.relative_orbits)
        one_of("relative_orbits", "all" if isinstance(chosen, tuple) else chosen, ("all",), WHERE)
        object.__setattr__(self, "_tracks", chosen if isinstance(chosen, tuple) else ())
        object.__setattr__(self, "_swaths", chosen_swaths(self.swaths, WHERE))
        object.__setattr__(self, "_looks", pixels("looks", self.looks, WHERE))
        if type(self.window) is not int or not 1 <= self.window <= MOST_WINDOW:
            raise ConfigError(f"window: {self.window!r} is not a number from 1 to {MOST_WINDOW}", where=WHERE)
        object.__setattr__(self, "pitch", checked_pitch(self.pitch, WHERE))

    @property
    def scenes(self) -> tuple[str, ...]:
        """One."""
        return ("scene",)

    def describe(self) -> SourceInfo:
        """Return the variables, with looks and window."""
        about = facts(
            looks=f"{self._looks.range}x{self._looks.azimuth}",
            window=self.window,
            filter="Refined Lee",
            polarisations=self.polarisations,
        )
        variables = [
            Variable(name, Kind.CONTINUOUS, tuple(f"{name}_{SHORT[way]}" for way in self._ways), unit, text, (), about)
            for name, (unit, text) in _TEXTS.items()
        ]
        return SourceInfo(
            tuple(variables),
            version=f"{VERSION} snap-{release()}",
            pitch=self.pitch,
            fetches_once=True,
            licence=LICENCE,
            citation=CITATION,
            attributes={"snap": release(), "swaths": list(self._swaths)},
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the dual-polarised scenes that meet the area in any slot, in order of time and name.

        Raises:
            ConfigError: a slot without times.
            TriedOut, RateLimited, SourceError: from the catalogue.
        """
        from m3leo_prep.sources.copernicus.snap.scenes import find_scenes

        for scene in find_scenes("SLC_", self._ways, self._tracks, area, slots):
            if scene.polarisations == PAIRS[self.polarisations]:
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
                        "scene": scene.name,
                        "scene_size": scene.size,
                    },
                )

    def task(self, item: Item, grid: Grid) -> Task:
        """Return what makes a scene's result."""
        from m3leo_prep.sources.snap.chains import decomposition
        from m3leo_prep.sources.snap.shelf import Task

        return Task(
            item.id,
            (str(item.properties["scene"]),),
            grid,
            lambda inputs, output: decomposition(
                inputs[0],
                output,
                grid,
                PAIRS[self.polarisations],
                swaths=self._swaths,
                looks=self._looks,
                window=self.window,
            ),
            NAMES,
        )

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002  items are dated
        """Yield the variables of each scene around ``geobox``, on the grid of its zone.

        Raises:
            PrepError: see ``MadeBySnap.around``.
        """
        for item in items:
            found = self.around(item, geobox, self.pitch)
            if found is None:
                continue
            # SNAP's no data is 0 in all three: no covariance has all of them 0 but that of nothing.
            seen = np.all([np.isfinite(plane) for plane in found.planes.values()], axis=0)
            seen &= np.any([plane != 0 for plane in found.planes.values()], axis=0)
            at = self._ways.index(str(item.properties["orbit_direction"]))
            shape = (len(self._ways), *found.geobox.shape)
            for name in NAMES:
                data, valid = np.zeros(shape, np.float32), np.zeros(shape, bool)
                data[at], valid[at] = found.planes[name], seen
                yield Raster(data, valid, found.geobox, found.item, name)


if TYPE_CHECKING:
    _source: type[Source] = SnapHAlpha
