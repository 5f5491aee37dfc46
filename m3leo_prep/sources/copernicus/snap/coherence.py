"""``s1-coherence-snap``: coherence of pairs of Sentinel-1 SLC scenes, and their interferograms, by SNAP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Absent, Item, Kind, Raster, Slot, SourceInfo, Variable
from m3leo_prep.sources._options import one_of, several
from m3leo_prep.sources._radar import SHORT, directions, tracks
from m3leo_prep.sources.copernicus.snap.product import CITATION, LICENCE, MadeBySnap, checked_pitch, facts, release
from m3leo_prep.sources.snap.chains import Looks, Swath

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.source import Source
    from m3leo_prep.sources.snap.chains import Grid
    from m3leo_prep.sources.snap.shelf import Task

VERSION = "1"
"""Bumped when the same pairs and the same SNAP would give other pixels."""
WHERE = "source 'copernicus', product 's1-coherence-snap'"
COHERENCE, PHASE = "coherence", "wrapped_phase"
REAL, IMAGINARY = "real", "imaginary"
SWATHS: Mapping[str, Swath] = MappingProxyType({"iw1": "IW1", "iw2": "IW2", "iw3": "IW3"})
"""Name in a recipe -> SNAP's."""
MOST_DAYS = 400


@dataclass(frozen=True, slots=True)
class SnapCoherence(MadeBySnap):
    """Coherence, float32, 0...1; and the wrapped phase without that of the ellipsoid and of the terrain."""

    product: str = "s1-coherence-snap"
    _: KW_ONLY
    variables: Sequence[str] = (COHERENCE,)
    """Of ``coherence`` and ``wrapped_phase``."""
    polarisation: str = "vv"
    """``vv``, ``vh``, ``hh`` or ``hv``."""
    orbits: Sequence[str] = tuple(SHORT)
    """Directions whose scenes are paired."""
    relative_orbits: Any = "all"
    """Tracks whose scenes are paired: ``all``, or a list of numbers."""
    max_days: int = 24
    """Pairs whose dates are further apart are not formed."""
    swaths: Sequence[str] = tuple(SWATHS)
    """Parts of the scenes: ``iw1`` is nearest to the satellite."""
    window: Sequence[int] = (20, 5)
    """Pixels in slant range and azimuth over which coherence is estimated: about 70 m x 70 m on the ground."""
    looks: Sequence[int] = (4, 1)
    """Pixels that are averaged afterwards: about 15 m x 14 m on the ground."""
    pitch: float = 20.0
    """Metres."""
    _names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _ways: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _tracks: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _swaths: tuple[Swath, ...] = field(init=False, repr=False, compare=False)
    _sizes: tuple[Looks, Looks] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = several("variables", self.variables, (COHERENCE, PHASE), (COHERENCE,), WHERE)
        if not names:
            raise ConfigError("variables: lists nothing", where=WHERE, hint=f"variables: [{COHERENCE}]")
        object.__setattr__(self, "_names", names)
        one_of("polarisation", self.polarisation, ("vv", "vh", "hh", "hv"), WHERE)
        object.__setattr__(self, "_ways", directions(self.orbits))
        chosen = tracks(self.relative_orbits)
        one_of("relative_orbits", "all" if isinstance(chosen, tuple) else chosen, ("all",), WHERE)
        object.__setattr__(self, "_tracks", chosen if isinstance(chosen, tuple) else ())
        if type(self.max_days) is not int or not 1 <= self.max_days <= MOST_DAYS:
            raise ConfigError(f"max_days: {self.max_days!r} is not a number from 1 to {MOST_DAYS}", where=WHERE)
        object.__setattr__(self, "_swaths", chosen_swaths(self.swaths, WHERE))
        sizes = tuple(pixels(key, getattr(self, key), WHERE) for key in ("window", "looks"))
        object.__setattr__(self, "_sizes", sizes)
        object.__setattr__(self, "pitch", checked_pitch(self.pitch, WHERE))

    @property
    def scenes(self) -> tuple[str, ...]:
        """Two."""
        return ("later", "earlier")

    def describe(self) -> SourceInfo:
        """Return the variables, with window, looks and sign."""
        window, looks = self._sizes
        made = facts(window=f"{window.range}x{window.azimuth}", looks=f"{looks.range}x{looks.azimuth}")
        about = {
            COHERENCE: Variable(
                COHERENCE,
                Kind.COHERENCE,
                (COHERENCE,),
                "1",
                "Interferometric coherence",
                (),
                {**made, "bias": "not corrected"},
            ),
            PHASE: Variable(
                PHASE,
                Kind.WRAPPED_PHASE,
                (PHASE,),
                "rad",
                "Wrapped phase without that of the ellipsoid and of the terrain",
                (),
                {**made, "sign": "later scene times the conjugate of the earlier one", "filter": "none"},
            ),
        }
        return SourceInfo(
            tuple(about[name] for name in self._names),
            version=f"{VERSION} snap-{release()}",
            pitch=self.pitch,
            slot_kinds=("pair",),
            pair_days=self.max_days,
            fetches_once=True,
            licence=LICENCE,
            citation=CITATION,
            attributes={"snap": release(), "swaths": list(self._swaths)},
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the pairs of scenes of one track whose dates lie in one slot, by later date, earlier date and name.

        Raises:
            ConfigError: a slot without times.
            TriedOut, RateLimited, SourceError: from the catalogue.
        """
        from m3leo_prep.sources.copernicus.snap.pairs import find_pairs

        yield from find_pairs(self.polarisation.upper(), self._ways, self._tracks, self.max_days, area, slots)

    def task(self, item: Item, grid: Grid) -> Task:
        """Return what makes a pair's result; the later scene gives the geometry."""
        from m3leo_prep.sources.snap.chains import coherence
        from m3leo_prep.sources.snap.shelf import Task

        with_phase = PHASE in self._names
        window, looks = self._sizes
        bands = {COHERENCE: "coh_.*"} | ({REAL: "i_ifg_.*", IMAGINARY: "q_ifg_.*"} if with_phase else {})
        return Task(
            item.id,
            tuple(str(item.properties[key]) for key in self.scenes),
            grid,
            lambda inputs, output: coherence(
                inputs[0],
                inputs[1],
                output,
                grid,
                self.polarisation.upper(),
                swaths=self._swaths,
                window=window,
                looks=looks,
                interferogram=with_phase,
            ),
            bands,
        )

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002  a pair is one
        """Yield the variables of each pair around ``geobox``, on the grid of its zone.

        Raises:
            PrepError: see ``MadeBySnap.around``.
        """
        for item in items:
            found = self.around(item, geobox, self.pitch)
            if found is None:
                continue
            estimate, where = found.planes[COHERENCE], found.geobox
            # SNAP's no data is exactly 0, which no estimate over a window of many pixels is.
            seen = np.isfinite(estimate) & (estimate > 0)
            if COHERENCE in self._names:
                yield Raster(estimate[None], seen[None], where, found.item, COHERENCE)
            if PHASE in self._names:
                real, imaginary = found.planes[REAL], found.planes[IMAGINARY]
                phase = np.arctan2(imaginary, real)
                there = seen & np.isfinite(phase) & ((real != 0) | (imaginary != 0))
                yield Raster(phase[None], there[None], where, found.item, PHASE)


def chosen_swaths(given: Any, where: str) -> tuple[Swath, ...]:
    """Return the swaths that a recipe asks for, as SNAP names them, from near to far.

    Raises:
        ConfigError: unknown, none, or some that do not touch.
    """
    names = several("swaths", given, tuple(SWATHS), tuple(SWATHS), where)
    if not names or names == ("iw1", "iw3"):
        raise ConfigError("swaths: must lie side by side", where=where, hint="swaths: [iw1, iw2, iw3]")
    return tuple(SWATHS[name] for name in names)


def pixels(key: str, given: Any, where: str) -> Looks:
    """Return how many pixels in range and azimuth a recipe asks for.

    Raises:
        ConfigError: not two whole numbers from 1 to 90.
    """
    ok = isinstance(given, (list, tuple)) and len(given) == 2 and all(type(n) is int and 1 <= n <= 90 for n in given)
    if not ok:
        raise ConfigError(f"{key}: {given!r} is not [range, azimuth]", where=where, hint=f"{key}: [4, 1]")
    return Looks(given[0], given[1])


if TYPE_CHECKING:
    _source: type[Source] = SnapCoherence
