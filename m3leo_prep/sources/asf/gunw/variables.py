"""What a granule's layers mean: names, kinds, units, and where each is in the file."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from m3leo_prep.core.raster import Kind, LegendClass, Variable

PHASE = "unwrapped_phase"
DISPLACEMENT = "displacement"
COMPONENTS = "components"
FILTERED = "coherence_filtered"
UNFILTERED = "coherence_unfiltered"
AMPLITUDE = "amplitude"
LOS = "los"
INCIDENCE = "incidence"
DEFAULT = (PHASE, COMPONENTS, FILTERED, UNFILTERED, AMPLITUDE)
"""Delivered where a recipe names none."""
GEOMETRY = (LOS, INCIDENCE)
"""Computed at the heights of the ground."""
NAMES = (*DEFAULT, *GEOMETRY)
STORED: Mapping[str, str] = MappingProxyType(
    {
        PHASE: "unwrappedPhase",
        COMPONENTS: "connectedComponents",
        FILTERED: "coherence",
        UNFILTERED: "unfilteredCoherence",
        AMPLITUDE: "amplitude",
    }
)
"""Names below ``science/grids/data``."""

WAVELENGTH_M = 0.05546576
METRES_PER_RADIAN = WAVELENGTH_M / (4 * math.pi)
"""4.4138 mm towards the sensor for each radian: the way there and back is two wavelengths for 4 pi."""
SIGN = "positive towards the sensor"
"""Of the later (reference) date against the earlier: "positive phase differences indicate movement towards the sensor"
(docs/guides/gunw_product_guide.md of ASFHyP3/hyp3-docs)."""
MAX_COMPONENTS = 20
"""Of one granule: ``maxComponents`` in ``isceobj/TopsProc/runUnwrapSnaphu.py`` of isce-framework/isce2."""
_NAMED = 3 * MAX_COMPONENTS
"""Components in the legend, should a granule have been made with a larger limit."""


def described(names: Sequence[str], *, displacement: bool, corrections: Collection[str]) -> tuple[Variable, ...]:
    """Return the variables of those names, in the order of ``NAMES``; components come with every phase."""
    wanted = {*names, *([COMPONENTS] if PHASE in names else [])}
    return tuple(_variable(name, corrections, displacement=displacement) for name in NAMES if name in wanted)


def _variable(name: str, corrections: Collection[str], *, displacement: bool) -> Variable:
    match name:
        case "unwrapped_phase":
            about: dict[str, Any] = {
                "components": COMPONENTS,
                "wavelength_m": WAVELENGTH_M,
                "sign": SIGN,
                "counts_from": "an unknown constant, for each connected component another one",
                "corrections": sorted(corrections),
            }
            if displacement:
                text = "Displacement along the line of sight, with whatever else delayed the signal"
                return _one(DISPLACEMENT, Kind.UNWRAPPED_PHASE, "m", text, **about)
            return _one(PHASE, Kind.UNWRAPPED_PHASE, "rad", "Unwrapped phase, later minus earlier date", **about)
        case "components":
            numbered = range(1, _NAMED + 1)
            legend = (
                LegendClass(0, "not reliably unwrapped", "#9e9e9e"),
                *(LegendClass(n, f"component {n}") for n in numbered),
            )
            text = "Connected component of the unwrapped phase"
            return Variable(COMPONENTS, Kind.CLASSES, (COMPONENTS,), "1", text, legend)
        case "coherence_filtered":
            text = "Coherence of the filtered interferogram"
            why = "estimated after the filter that smooths the phase: too high, not to be mixed with another one"
            return _one(FILTERED, Kind.COHERENCE, "1", text, estimated_on="filtered interferogram", bias=why)
        case "coherence_unfiltered":
            text = "Coherence of the unfiltered interferogram"
            return _one(UNFILTERED, Kind.COHERENCE, "1", text, estimated_on="unfiltered interferogram")
        case "amplitude":
            why = "product of both images' amplitudes (the file says watt); not calibrated, not terrain-corrected"
            return _one(AMPLITUDE, Kind.CONTINUOUS, "1", "Magnitude of the interferogram", radiometry=why)
        case "los":
            return Variable(
                LOS,
                Kind.CONTINUOUS,
                ("east", "north", "up"),
                "1",
                "Unit vector from the ground to the satellite",
                attributes={
                    "direction": "vector",
                    "points": "from the ground to the satellite",
                    "axes": "of the UTM zone of the scene's centre, up to 4 degrees from true north at latitude 60",
                },
            )
        case _:
            text = "Angle between the line of sight and the normal of the ellipsoid"
            return _one(INCIDENCE, Kind.CONTINUOUS, "degree", text, surface="ellipsoid")


def _one(name: str, kind: Kind, unit: str, text: str, **attributes: Any) -> Variable:
    """Return a variable of one band, which has its name."""
    return Variable(name, kind, (name,), unit, text, attributes=attributes)
