"""How a variable is shown, by what its numbers mean: which bands make a picture, between which limits.

Limits are fixed wherever the quantity allows it, so that two chips compare; else they are robust over all slots.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from m3leo_prep.core.raster import Kind
from m3leo_prep.reader.manifest import StoredArray
from m3leo_prep.reader.picture.stretch import Floats, log_stretch, robust_limits, stretch

MOST_SINGLE = 4
"""Bands drawn one by one where there is no composite of them."""
MOST_PANELS = 24
"""Panels of a variable, above which only its first composites are drawn."""
CO_DB, CROSS_DB, RATIO_DB = (-25.0, 0.0), (-32.0, -5.0), (0.0, 15.0)
SIGHT = {"east": (-0.8, 0.8), "north": (-0.25, 0.25), "up": (0.6, 1.0)}
"""Parts of a unit vector from the ground to a satellite on a near-polar orbit that looks 20 to 50 degrees aside."""
VISIBLE, INFRARED = (0.0, 0.3), (0.0, 0.5)
GAMMA = 1.4
_POLARISATIONS = {"vv": "vh", "hh": "hv"}
_COLOURS = {
    "blue": {"blue", "b02", "b2"},
    "green": {"green", "b03", "b3"},
    "red": {"red", "b04", "b4"},
    "nir": {"nir", "nir08", "b08", "b8"},
}
"""Sentinel-2's band numbers; the names of other sensors' bands must say the colour."""
_HEIGHT = {"height", "elevation", "dem", "dsm", "dtm", "altitude", "relief", "topography", "terrain"}
_CANOPY = {"canopy", "tree", "trees", "building", "buildings", "vegetation"}
_TILTED = {"inc", "incidence", "look", "lia", "slope", "zenith", "elevation"}


@dataclass(frozen=True, slots=True)
class Channel:
    """A number per pixel: a band, or the difference of two."""

    band: int
    limits: tuple[float, float] | None
    """Shown from darkest to brightest; None until ``fitted``."""
    minus: int | None = None
    gamma: float = 1.0
    is_log: bool = False
    is_centred: bool = False
    """Counted from the panel's median: an unwrapped phase has no zero of its own."""
    is_wrapped: bool = False
    """Then shown modulo 2 pi: as fringes."""

    def value(self, bands: Mapping[int, Floats]) -> Floats:
        """Return (..., y, x) of (..., y, x) by band, NaN where one of them is missing."""
        found = self._counted(bands)
        return found - 2 * np.pi * np.ceil((found - np.pi) / (2 * np.pi)) if self.is_wrapped else found

    def span(self, bands: Mapping[int, Floats]) -> tuple[float, float] | None:
        """Return the least and the largest value where colours repeat and cannot tell; None else, and of nothing."""
        if not self.is_wrapped:
            return None
        found = self._counted(bands)
        finite = found[np.isfinite(found)]
        return (float(finite.min()), float(finite.max())) if finite.size else None

    def _counted(self, bands: Mapping[int, Floats]) -> Floats:
        found = bands[self.band] if self.minus is None else bands[self.band] - bands[self.minus]
        if not self.is_centred:
            return found
        made: Floats = found - np.apply_along_axis(_middle, -1, found.reshape(*found.shape[:-2], -1))[..., None, None]
        return made

    def level(self, value: Floats) -> Floats:
        """Return brightness, 0...1, NaN where missing."""
        assert self.limits is not None
        if self.is_log:
            return log_stretch(value, self.limits[1])
        return stretch(value, *self.limits, self.gamma)


@dataclass(frozen=True, slots=True)
class Look:
    """One way to draw a variable: one panel per slot."""

    title: str
    form: Literal["composite", "ramp", "relief", "classes"]
    channels: tuple[Channel, ...]
    """Red, green and blue of a composite, else one."""
    colours: str = ""
    """Name of matplotlib's map, of a ramp."""
    unit: str = ""
    names: tuple[str, ...] = ()
    """Of a composite's channels."""
    note: str = ""
    """What else must be said of the colours."""
    is_smooth: bool = True
    """False where neighbouring pixels have no mean: codes, and phases around a jump."""

    @property
    def bands(self) -> tuple[int, ...]:
        """Bands that it needs, in order, once each."""
        wanted = [band for channel in self.channels for band in (channel.band, channel.minus) if band is not None]
        return tuple(dict.fromkeys(wanted))

    def fitted(self, bands: Mapping[int, Floats]) -> Look:
        """Return the look with limits for these values, (slot, y, x) by band; fixed limits stay."""
        return replace(self, channels=tuple(self._fit(channel, bands) for channel in self.channels))

    def _fit(self, channel: Channel, bands: Mapping[int, Floats]) -> Channel:
        if channel.limits is not None or self.form == "classes":
            return channel
        value = channel.value(bands)
        if channel.is_log:
            finite = value[np.isfinite(value)]
            return replace(channel, limits=(0.0, float(finite.max(initial=0.0)) or 1.0))
        low, high = robust_limits(value, 0.5 if self.form == "relief" else 2.0)
        if channel.is_centred:
            low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
        least = LEAST_RELIEF if self.form == "relief" else LEAST_SPAN * max(abs(low), abs(high))
        if high - low < least:
            low, high = (low + high - least) / 2, (low + high + least) / 2
        return replace(channel, limits=(low, high))


LEAST_RELIEF = 10.0
"""Metres that a relief's colours span at least, so that flat land looks flat."""
LEAST_SPAN = 1e-3
"""Part of the larger value that other colours span at least, so that rounding does not look like a pattern."""


def looks(array: StoredArray, *, layer: str = "", n_slots: int = 1) -> tuple[Look, ...]:
    """Return the ways to draw a variable: composites where its bands allow them, else up to ``MOST_SINGLE`` bands.

    Args:
        array: the variable.
        layer: name of its layer, which may say what the band's does not.
        n_slots: panels that each look will take; where they become many, the least telling looks are left out.
    """
    every = range(len(array.bands))
    is_count = array.about.get("statistic") == "count"
    if is_count and "computed_from" in array.attributes:
        # Of how many acquisitions its pixels are made: bands seen together hardly differ.
        return (_ramp(array, 0, None, "viridis", note=" acquisitions"),)
    kind = Kind.CONTINUOUS if is_count else array.kind  # counts are plain numbers
    match kind:
        case Kind.CLASSES | Kind.BITS:
            made = [Look(array.bands[band], "classes", (Channel(band, None),), is_smooth=False) for band in every]
        case Kind.POWER if array.unit == "dB":
            composites, made = _backscatter(array)
            if composites:
                return _few(composites, composites + made, n_slots)
        case Kind.REFLECTANCE:
            composites = _optical(array.bands)
            if composites:
                return _few(composites[:1], composites, n_slots)
            made = [_ramp(array, band, INFRARED, "gray", gamma=GAMMA) for band in every]
        case Kind.COHERENCE:
            made = [_ramp(array, band, (0.0, 1.0), "gray") for band in every]
        case Kind.WRAPPED_PHASE:
            made = [_ramp(array, band, (-np.pi, np.pi), "twilight", is_smooth=False) for band in every]
        case Kind.UNWRAPPED_PHASE:
            made = [_unwrapped(array, band) for band in every]
        case Kind.ANGLE:
            made = [_angle(array, band, layer) for band in every]
        case Kind.AMOUNT:
            made = [_ramp(array, band, None, "magma", is_log=True) for band in every]
        case _:
            made = _sight(array) or [_continuous(array, band, layer) for band in every]
    return tuple(made[:MOST_SINGLE])


def _few(best: Sequence[Look], every: Sequence[Look], n_slots: int) -> tuple[Look, ...]:
    return tuple(every if len(every) * n_slots <= MOST_PANELS else best)


def _ramp(
    array: StoredArray,
    band: int,
    limits: tuple[float, float] | None,
    colours: str,
    *,
    note: str = "",
    is_smooth: bool = True,
    **channel: Any,
) -> Look:
    unit = "" if array.unit_of(array.bands[band]) == "1" else array.unit_of(array.bands[band])
    return Look(
        array.bands[band], "ramp", (Channel(band, limits, **channel),), colours, f"{unit}{note}", is_smooth=is_smooth
    )


def _backscatter(array: StoredArray) -> tuple[list[Look], list[Look]]:
    """Return a composite for each orbit that has both polarisations, and the bands themselves."""
    groups: dict[tuple[str, ...], dict[str, int]] = {}
    singles: list[Look] = []
    for band, name in enumerate(array.bands):
        words = _words(name)
        (polarisation,) = [word for word in words if word in {"vv", "vh", "hh", "hv"}][:1] or [""]
        if polarisation:
            rest = tuple(word for word in words if word != polarisation)
            groups.setdefault(rest, {}).setdefault(polarisation, band)
        limits = CO_DB if polarisation in _POLARISATIONS else CROSS_DB if polarisation else None
        singles.append(_ramp(array, band, limits, "gray"))
    composites = []
    for rest, found in groups.items():
        for co, cross in _POLARISATIONS.items():
            if co in found and cross in found:
                channels = (
                    Channel(found[co], CO_DB),
                    Channel(found[cross], CROSS_DB),
                    Channel(found[co], RATIO_DB, minus=found[cross]),
                )
                orbit = f"{' '.join(rest)}: " if rest else ""
                names = (co.upper(), cross.upper(), f"{co.upper()}/{cross.upper()}")
                composites.append(Look(f"{orbit}{', '.join(names)}", "composite", channels, unit="dB", names=names))
    return composites, singles


def _optical(bands: Sequence[str]) -> list[Look]:
    """Return the composites that the bands allow."""
    at = {
        colour: band
        for colour, names in _COLOURS.items()
        for band, name in reversed(list(enumerate(bands)))
        if names & {name.lower(), *_words(name)}
    }
    made = []
    if {"red", "green", "blue"} <= at.keys():
        names = ("red", "green", "blue")
        channels = tuple(Channel(at[name], VISIBLE, gamma=GAMMA) for name in names)
        made.append(Look("true colour: red, green, blue", "composite", channels, names=names))
    if {"nir", "red", "green"} <= at.keys():
        infrared = Channel(at["nir"], INFRARED, gamma=GAMMA)
        visible = (Channel(at[name], VISIBLE, gamma=GAMMA) for name in ("red", "green"))
        names = ("near infrared", "red", "green")
        made.append(Look(f"false colour: {', '.join(names)}", "composite", (infrared, *visible), names=names))
    return made


def _unwrapped(array: StoredArray, band: int) -> Look:
    """Return fringes of a phase in rad; displacement, stored as such, from red to blue."""
    if array.unit != "rad":
        return _ramp(array, band, None, "RdBu", is_centred=True, note=" from the panel's median")
    look = _ramp(
        array,
        band,
        (-np.pi, np.pi),
        "twilight",
        note=" from the panel's median, wrapped",
        is_smooth=False,
        is_centred=True,
        is_wrapped=True,
    )
    wavelength = array.attributes.get("wavelength_m")
    fringe = f", {50 * float(wavelength):.1f} cm" if wavelength else ""
    return replace(look, note=f"one turn of colours: one fringe (2π{fringe})")


def _sight(array: StoredArray) -> list[Look]:
    """Return one picture of a unit vector towards the sensor: its east, north and up parts as red, green and blue."""
    at = {name.lower().removeprefix("los_"): band for band, name in enumerate(array.bands)}
    if array.unit != "1" or at.keys() != SIGHT.keys():
        return []
    channels = tuple(Channel(at[name], limits) for name, limits in SIGHT.items())
    return [Look(f"unit vector: {', '.join(SIGHT)}", "composite", channels, names=tuple(SIGHT))]


def _angle(array: StoredArray, band: int, layer: str) -> Look:
    names = {*_words(array.bands[band]), *_words(array.name), *_words(layer)}
    if names & _TILTED:
        return _ramp(array, band, None, "viridis")
    return _ramp(array, band, (0.0, 360.0), "twilight", is_smooth=False)


def _continuous(array: StoredArray, band: int, layer: str) -> Look:
    names = {*_words(array.bands[band]), *_words(array.name), *_words(layer)}
    if array.unit in {"m", "metre", "meter"} and names & _HEIGHT and not names & _CANOPY:
        return Look(array.bands[band], "relief", (Channel(band, None),), "relief", "m")
    if set(array.bands) == {"east", "north"} and array.unit == "1":
        return _ramp(array, band, (-1.0, 1.0), "RdBu", note="unit vector down the slope")
    if array.unit in {"%", "percent"}:
        return _ramp(array, band, (0.0, 100.0), "viridis")
    return _ramp(array, band, None, "viridis")


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]


def _middle(values: Floats) -> np.floating[Any]:
    """Return the median of the finite values, 0 if there are none."""
    finite = values[np.isfinite(values)]
    return values.dtype.type(np.median(finite) if finite.size else 0.0)
