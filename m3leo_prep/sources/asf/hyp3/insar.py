"""``hyp3-insar``: interferograms of single Sentinel-1 bursts, made on demand at 20, 40 or 80 m."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Absent, Item, Kind, LegendClass, Raster, Slot, SourceInfo, Variable
from m3leo_prep.sources._options import one_of, several, switch
from m3leo_prep.sources._radar import tracks
from m3leo_prep.sources.asf.hyp3.jobs import BURST_CREDITS, Job
from m3leo_prep.sources.asf.hyp3.phase import MAX_COMPONENTS, METRES_PER_RADIAN, WAVELENGTH_M, rasters
from m3leo_prep.sources.asf.hyp3.source import CITATION, LICENCE, Hyp3

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.ordering import Ordering
    from m3leo_prep.ports.source import Source

VERSION = "1"
"""Bumped when the same pairs would give other pixels."""
WHERE = "source 'asf', product 'hyp3-insar'"
PITCH: Mapping[str, float] = MappingProxyType({"20x4": 80.0, "10x2": 40.0, "5x1": 20.0})
"""Pixel spacing in metres by looks (docs/guides/burst_insar_product_guide.md of ASFHyP3/hyp3-docs@0d86d88)."""
DEFAULT = ("unwrapped_phase", "components", "coherence_filtered")
NAMES = (*DEFAULT, "wrapped_phase", "los", "incidence")
AWAY, TOWARDS = "positive away from the sensor", "positive towards the sensor"
MOST_DAYS = 400


@dataclass(frozen=True, slots=True)
class Hyp3Insar(Hyp3):
    """Phase, coherence and look vectors of burst pairs, on the UTM grid of the burst: 1 credit a pair."""

    product: str = "hyp3-insar"
    _: KW_ONLY
    variables: Sequence[str] = ()
    """Of ``unwrapped_phase``, ``components``, ``coherence_filtered`` (these by default), ``wrapped_phase``, ``los``,
    ``incidence``."""
    looks: str = "20x4"
    """In range x azimuth: ``20x4`` (80 m), ``10x2`` (40 m), ``5x1`` (20 m)."""
    polarisation: str = "vv"
    """``vv`` or ``hh``."""
    relative_orbits: Any = "all"
    """Tracks whose bursts are paired: ``all``, or a list of numbers."""
    max_days: int = 60
    """Pairs whose dates are further apart are not formed: at least the longest of the slots' windows, or the plan
    warns."""
    apply_water_mask: bool = False
    """Leave water out before unwrapping."""
    displacement: bool = False
    """Deliver ``displacement`` in metres towards the sensor in place of the unwrapped phase."""
    _names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _tracks: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = several("variables", self.variables, NAMES, DEFAULT, WHERE)
        if "unwrapped_phase" in names and "components" not in names:
            names = tuple(name for name in NAMES if name in names or name == "components")
        object.__setattr__(self, "_names", names)
        one_of("looks", self.looks, tuple(PITCH), WHERE)
        one_of("polarisation", self.polarisation, ("vv", "hh"), WHERE)
        for key in ("apply_water_mask", "displacement"):
            switch(key, getattr(self, key), WHERE)
        if isinstance(self.max_days, bool) or not isinstance(self.max_days, int) or not 1 <= self.max_days <= MOST_DAYS:
            raise ConfigError(f"max_days: {self.max_days!r} is not a number from 1 to {MOST_DAYS}", where=WHERE)
        chosen = tracks(self.relative_orbits)
        one_of("relative_orbits", "all" if isinstance(chosen, tuple) else chosen, ("all",), WHERE)
        object.__setattr__(self, "_tracks", chosen if isinstance(chosen, tuple) else ())

    def describe(self) -> SourceInfo:
        """Return the variables, with sign and processing."""
        return SourceInfo(
            tuple(self._variable(name) for name in self._names),
            version=VERSION,
            pitch=PITCH[self.looks],
            slot_kinds=("pair",),
            pair_days=self.max_days,
            fetches_once=True,
            licence=LICENCE,
            citation=CITATION.format("hyp3_isce2"),
            attributes={"asf": "HyP3 INSAR_ISCE_BURST", "looks": self.looks, "water_mask": self.apply_water_mask},
        )

    def _variable(self, name: str) -> Variable:
        match name:
            case "unwrapped_phase":
                about = {
                    "components": "components",
                    "wavelength_m": WAVELENGTH_M,
                    "sign": TOWARDS if self.displacement else AWAY,
                    "counts_from": "an unknown constant, for each connected component another one",
                    "filter": "Goldstein-Werner, strength 0.5",
                }
                if self.displacement:
                    about["metres_per_radian"] = -METRES_PER_RADIAN
                    text = "Displacement along the line of sight, with whatever else delayed the signal"
                    return Variable("displacement", Kind.UNWRAPPED_PHASE, ("displacement",), "m", text, (), about)
                return Variable(name, Kind.UNWRAPPED_PHASE, (name,), "rad", "Unwrapped phase", (), about)
            case "components":
                legend = (
                    LegendClass(0, "not reliably unwrapped", "#9e9e9e"),
                    *(LegendClass(n, f"component {n}") for n in range(1, 6 * MAX_COMPONENTS + 1)),
                )
                return Variable(name, Kind.CLASSES, (name,), "1", "Connected component of the unwrapped phase", legend)
            case "coherence_filtered":
                why = "estimated after the filter that smooths the phase: too high, not to be mixed with another one"
                about = {"estimated_on": "filtered interferogram", "estimator": "phase sigma (phsig)", "bias": why}
                text = "Coherence of the filtered interferogram"
                return Variable(name, Kind.COHERENCE, (name,), "1", text, (), about)
            case "wrapped_phase":
                return Variable(name, Kind.WRAPPED_PHASE, (name,), "rad", "Wrapped phase, filtered", (), {"sign": AWAY})
            case "los":
                text = "Unit vector from the ground to the satellite"
                about = {"direction": "vector", "points": "from the ground to the satellite"}
                return Variable(name, Kind.CONTINUOUS, ("east", "north", "up"), "1", text, (), about)
            case _:
                text = "Angle between the line of sight and the vertical"
                return Variable(name, Kind.CONTINUOUS, (name,), "degree", text, (), {"surface": "ellipsoid"})

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the pairs of bursts that meet the area, both dates in a slot."""
        from m3leo_prep.sources.asf.hyp3.pairs import find_pairs

        yield from find_pairs(self.polarisation.upper(), self.max_days, self._tracks, area, slots)

    def job(self, item: Item) -> Job:
        """Return the job of a pair; HyP3 calls the earlier date the reference."""
        parameters = {
            "granules": [item.properties["earlier"], item.properties["later"]],
            "looks": self.looks,
            "apply_water_mask": self.apply_water_mask,
        }
        return Job.of({"job_type": "INSAR_ISCE_BURST", "job_parameters": parameters}, BURST_CREDITS, item.id)

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002  a pair is one
        """Yield what each pair's product holds around ``geobox``.

        Raises:
            CorruptError: HyP3 could not make it, or what it made is damaged.
            TriedOut: it is not here yet.
        """
        from m3leo_prep.sources.asf.hyp3 import shelf

        for item in items:
            made = shelf.product(self.job(item))
            yield from rasters(item, made, self._names, geobox, displacement=self.displacement)


if TYPE_CHECKING:
    _source: type[Source] = Hyp3Insar
    _ordering: type[Ordering] = Hyp3Insar
