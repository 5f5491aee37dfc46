"""The product ``gunw``: options, and who does what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Absent, Item, Raster, Slot, SourceInfo
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.text import near
from m3leo_prep.ports.heights import Heights
from m3leo_prep.sources._radar import TRACKS
from m3leo_prep.sources.asf.gunw.variables import (
    DEFAULT,
    DISPLACEMENT,
    GEOMETRY,
    NAMES,
    PHASE,
    described,
)
from m3leo_prep.sources.asf.source import Asf

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.cost import Cost
    from m3leo_prep.ports.heights import OnHeights
    from m3leo_prep.ports.source import Source
    from m3leo_prep.sources.asf.gunw.reading import Wanted

VERSION = "1"
"""Bumped when the same granules would give other pixels."""
PITCH_M = 92.77
"""3 arc seconds of latitude."""
VERSIONS = (2, 3)
CORRECTIONS = ("ionosphere", "solid_earth_tide", "troposphere")
DEEP = ("solid_earth_tide", "troposphere")
"""Corrections that change with the height of the ground."""
CONCURRENT_READS = 4
"""Granules of a unit under way at once: each is downloaded whole."""
_WHERE = "product 'gunw'"


@dataclass(frozen=True, slots=True)
class Gunw(Asf):
    """Interferograms of ARIA: unwrapped phase, coherence and geometry of pairs, in slots that a rule chooses."""

    product: str = "gunw"
    _: KW_ONLY
    variables: Sequence[str] = ()
    """What to deliver; none = all but ``los`` and ``incidence``, which need the layer's ``dem``."""
    displacement: bool = False
    """Phase as ``displacement`` in metres towards the sensor, 4.4138 mm for each radian."""
    corrections: Sequence[str] = ()
    """Subtracted from the phase: ``ionosphere``, ``solid_earth_tide``, ``troposphere``; version 3 has them."""
    versions: Sequence[int] = VERSIONS
    """Main versions of the product that may be used."""
    tracks: Sequence[int] = ()
    """Relative orbits that may be used; none = all."""

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ConfigError: one is not known.
        """
        _check("variables", self._names, NAMES)
        _check("corrections", self.corrections, CORRECTIONS)
        _check("versions", self.versions, VERSIONS)
        _check("tracks", self.tracks, range(1, TRACKS + 1))
        if not self.versions:
            raise ConfigError("versions: none may be used", where=_WHERE, hint="versions: [2, 3]")
        if not isinstance(self.displacement, bool):
            raise ConfigError(f"displacement: {self.displacement!r} is neither true nor false", where=_WHERE)
        if PHASE not in self._names and (self.displacement or self.corrections):
            said = "displacement" if self.displacement else "corrections"
            raise ConfigError(f"{said}: the layer delivers no phase", where=_WHERE, hint=f"variables: [{PHASE}]")

    @property
    def _names(self) -> tuple[str, ...]:
        """What to deliver, by the names of ``NAMES``."""
        if not isinstance(self.variables, Sequence) or isinstance(self.variables, str):
            raise ConfigError(f"variables: {self.variables!r} is no list", where=_WHERE, hint=f"variables: [{PHASE}]")
        named = tuple(self.variables) or DEFAULT
        return tuple(PHASE if self.displacement and name == DISPLACEMENT else name for name in named)

    def describe(self) -> SourceInfo:
        """Return variables, version and limits; see ``Source``."""
        variables = described(self._names, displacement=self.displacement, corrections=self.corrections)
        needs_heights = set(GEOMETRY)
        if set(self.corrections) & set(DEEP):
            needs_heights |= {PHASE, DISPLACEMENT}
        return SourceInfo(
            variables,
            VERSION,
            pitch=PITCH_M,
            joint=True,
            slot_kinds=("pair",),
            nothing=Reason.NOT_IN_DATASET,
            on_heights=tuple(variable.name for variable in variables if variable.name in needs_heights),
            concurrent_reads=CONCURRENT_READS,
            fetches_once=True,
            licence="NASA Earth science data policy",
            citation=(
                "ARIA Sentinel-1 Geocoded Unwrapped Interferograms (NASA JPL, ASF DAAC); Buzzanga et al. 2020, "
                "doi:10.1029/2020GL090013; contains modified Copernicus Sentinel data, processed by ESA"
            ),
            attributes={"product": "ARIA-S1-GUNW", "reference": "the later date of each pair", "polarization": "VV"},
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield granules whose both dates lie in one of the slots, frames of a pair next to each other."""
        from m3leo_prep.sources.asf.gunw.finding import find

        yield from find(area, slots, versions=self.versions, tracks=self.tracks)

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002 - the port's
        """Yield the pixels of granules; nothing of what needs heights."""
        from m3leo_prep.sources.asf.gunw.reading import read

        yield from read(self._wanted(), items, geobox)

    def read_on_heights(
        self,
        items: Sequence[Item],
        geobox: GeoBox,
        slot: Slot,  # noqa: ARG002 - the port's
        heights: Heights,
    ) -> Iterable[Raster | Absent]:
        """Yield the pixels of granules, and geometry on ``geobox``; see ``OnHeights``."""
        from m3leo_prep.sources.asf.gunw.reading import read

        yield from read(self._wanted(), items, geobox, heights)

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:  # noqa: ARG002 - the port's
        """Return requests and bytes of fetching all granules, each once and whole."""
        from m3leo_prep.sources.asf.fetching import fetching

        return fetching({str(item.properties["url"]): int(item.properties["size"]) for item in items})

    def advise(self, items: Sequence[Item], slots: Sequence[Slot]) -> Sequence[str]:  # noqa: ARG002 - the port's
        """Return what to know of the granules that were found."""
        from m3leo_prep.sources.asf.gunw.finding import advise

        return advise(items)

    def _wanted(self) -> Wanted:
        from m3leo_prep.sources.asf.gunw.reading import Wanted

        return Wanted(self.describe().variables, tuple(sorted(self.corrections)))


def _check(option: str, given: Sequence[object], known: Sequence[object]) -> None:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ConfigError(f"{option}: {given!r} is no list", where=_WHERE, hint=f"{option}: [{known[0]}]")
    for one in given:
        if isinstance(one, bool) or one not in known:
            shown = [str(value) for value in known] if len(known) < 10 else []
            hint = near(str(one), shown) if shown else f"numbers from {known[0]} to {known[-1]}"
            raise ConfigError(f"{option}: {one!r} is not known", where=_WHERE, hint=hint)
    if len(set(given)) < len(given):
        raise ConfigError(f"{option}: something stands twice", where=_WHERE)


if TYPE_CHECKING:
    _source: type[Source] = Gunw
    _on_heights: type[OnHeights] = Gunw
