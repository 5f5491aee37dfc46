"""What the archive measures: variables, their bands, the files that hold them, and what the stored numbers mean.

Names and scales: the producer's documentation in the bucket (index.html, 2021-09-08) and ASF's user guide. 0 is no data
in every file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Kind, LegendClass, Variable
from m3leo_prep.core.text import near

NODATA = 0
POLARISATIONS = ("vv", "hh")
"""Of coherence and of its decay."""
BANDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "coherence": ("coh06", "coh12", "coh18", "coh24", "coh36", "coh48"),
        "backscatter": ("vv", "vh", "hh", "hv"),
        "decay": ("rho", "tau", "rmse"),
    }
)
DEFAULT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"coherence": ("coh12", "coh24", "coh36", "coh48"), "backscatter": ("vv", "vh"), "decay": ("rho", "tau", "rmse")}
)
DECAY_UNITS: Mapping[str, str] = MappingProxyType({"rho": "1", "tau": "day", "rmse": "1"})
"""The model is (1 - rho) exp(-t / tau) + rho with t the repeat interval, which the paper counts in days throughout
(doi:10.1038/s41597-022-01189-6, equation 3); no page states tau's unit in words."""
GEOMETRY = ("inc", "lsmap")
LEGEND = (
    LegendClass(1, "ok", "#d9d9d9"),
    LegendClass(5, "layover", "#fdae61"),
    LegendClass(17, "shadow", "#2b5c8a"),
    LegendClass(21, "layover_and_shadow", "#7b3294"),
)
_SCALES = {
    "coherence": lambda dn: dn / 100,
    "backscatter": lambda dn: dn**2 / 10**8.3,
    "decay": lambda dn: dn / 1000,
}


@dataclass(frozen=True, slots=True)
class Stack:
    """One variable and, for each of its bands, what its files are called after tile and season, or tile and orbit."""

    variable: Variable
    files: tuple[str, ...]

    def values(self, stored: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
        """Return values of stored numbers (uint8 or uint16), which may be used, and which were seen at all.

        Masked first, then converted. Backscatter: DN ** 2 / 10 ** 8.3 in linear power, which is 20 log10(DN) - 83 in
        dB. Coherence: DN / 100. Decay: DN / 1000. Float32, rounded once; incidence in degrees as float32; classes as
        stored, of which those that the producer does not tell were seen, and may not be used.
        """
        seen = stored != NODATA
        name = self.variable.name
        if name == "lsmap":
            return stored, np.isin(stored, [entry.code for entry in LEGEND]), seen
        if name == "inc":
            return stored.astype(np.float32), seen, seen
        return _table(name)[stored], seen, seen


@cache
def _table(variable: str) -> NDArray[np.float32]:
    """Return the value of each stored number 0...65535."""
    table = np.asarray(_SCALES[variable](np.arange(2**16, dtype=np.float64)), np.float32)
    table.setflags(write=False)
    return table


def seasonal(variables: Any, polarisation: str) -> tuple[Stack, ...]:
    """Return the stacks that ``variables:`` asks for, in its order: names, or name -> bands; None = the main ones.

    Raises:
        ConfigError: a name or a band that the archive does not have.
    """
    if polarisation not in POLARISATIONS:
        raise ConfigError(
            f"polarisation: '{polarisation}' is not one of coherence",
            hint=f"{near(polarisation, POLARISATIONS)}; backscatter names its own as bands",
        )
    asked = DEFAULT if variables is None else _asked(variables)
    return tuple(_stack(name, bands, polarisation) for name, bands in asked.items())


def geometric(bands: Any) -> tuple[Stack, ...]:
    """Return the stacks of ``inc`` and ``lsmap``, each a variable of its own.

    Raises:
        ConfigError: another band.
    """
    return tuple(Stack(_GEOMETRY[band], (band,)) for band in _named("bands", bands, GEOMETRY))


def _asked(variables: Any) -> dict[str, tuple[str, ...]]:
    given = variables if isinstance(variables, Mapping) else dict.fromkeys(_named("variables", variables, BANDS))
    _named("variables", tuple(given), BANDS)
    return {
        name: DEFAULT[name] if bands is None else _named(f"variables: {name}", bands, BANDS[name])
        for name, bands in given.items()
    }


def _named(where: str, given: Any, known: Sequence[str] | Mapping[str, Any]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, Sequence) or not names:
        raise ConfigError(f"{where}: {given!r} is not a list of names", hint="choose from: " + ", ".join(known))
    for name in names:
        if name not in known:
            raise ConfigError(f"{where}: the archive has no '{name}'", hint=near(str(name), known))
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}: names one twice: {', '.join(names)}")
    return tuple(names)


def _stack(name: str, bands: tuple[str, ...], polarisation: str) -> Stack:
    match name:
        case "coherence":
            variable = Variable(
                name,
                Kind.COHERENCE,
                bands,
                long_name="Median coherence of the season by days between the images",
                attributes={"polarisation": polarisation},
            )
            return Stack(variable, tuple(f"{polarisation}_{band.upper()}" for band in bands))
        case "backscatter":
            variable = Variable(
                name,
                Kind.POWER,
                bands,
                long_name="Mean backscatter of the season, gamma nought, terrain flattened",
                attributes={"backscatter_convention": "gamma0_rtc", "noise_removed": True},
            )
            return Stack(variable, tuple(f"{band}_AMP" for band in bands))
        case _:
            units = {band: DECAY_UNITS[band] for band in bands}
            variable = Variable(
                name,
                Kind.CONTINUOUS,
                bands,
                unit=units[bands[0]] if len(set(units.values())) == 1 else "mixed",
                long_name="Decay of coherence: (1 - rho) exp(-t / tau) + rho after t days, and the misfit",
                attributes={"polarisation": polarisation, "band_units": units},
            )
            return Stack(variable, tuple(f"{polarisation}_{band}" for band in bands))


_GEOMETRY = {
    "inc": Variable("inc", Kind.CONTINUOUS, ("inc",), unit="degree", long_name="Local incidence angle, whole degrees"),
    "lsmap": Variable("lsmap", Kind.CLASSES, ("lsmap",), long_name="Layover and shadow", legend=LEGEND),
}
