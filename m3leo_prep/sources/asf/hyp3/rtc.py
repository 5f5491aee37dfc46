"""``hyp3-rtc``: backscatter of whole Sentinel-1 scenes, terrain corrected on demand at 10, 20 or 30 m."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.raster import Absent, Item, Kind, Raster, Slot, SourceInfo, Variable
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources._backscatter import BOTH, Band, choose_bands
from m3leo_prep.sources._options import one_of, several, switch
from m3leo_prep.sources._radar import tracks
from m3leo_prep.sources.asf.hyp3.jobs import RTC_CREDITS, Job
from m3leo_prep.sources.asf.hyp3.source import CITATION, LICENCE, Hyp3

if TYPE_CHECKING:
    from pathlib import Path

    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.ordering import Ordering
    from m3leo_prep.ports.source import Source

VERSION = "1"
"""Bumped when the same scenes would give other pixels."""
WHERE = "source 'asf', product 'hyp3-rtc'"
BACKSCATTER, INCIDENCE = "backscatter", "local_incidence"
LAYOVER, SHADOW = 4, 16
"""Bits of ``_ls_map.tif`` (ASFHyP3/hyp3-gamma@44742a4, ``metadata/templates/rtc/readme.md.txt.j2``)."""
_BITS = {"layover": LAYOVER, "shadow": SHADOW}


@dataclass(frozen=True, slots=True)
class Hyp3Rtc(Hyp3):
    """Backscatter in linear power, float32, band by polarisation and orbit direction, on the scene's UTM grid.

    Each scene of a slot is ordered: 5, 15 or 60 credits at 30, 20 or 10 m.
    """

    product: str = "hyp3-rtc"
    _: KW_ONLY
    bands: Sequence[str] = ()
    """``[vv, vh]``, or with the direction ``[vv_asc, vh_desc]``, in order; none = vv and vh."""
    orbits: Sequence[str] = BOTH
    """Directions; each is a set of bands."""
    relative_orbits: Any = "all"
    """Tracks whose scenes are ordered: ``all``, or a list of numbers."""
    scenes: str = "grd"
    """What HyP3 starts from: ``grd`` or ``slc``."""
    resolution: int = 30
    """Pixel spacing in metres: 10, 20 or 30."""
    radiometry: str = "gamma0"
    """``gamma0`` or ``sigma0``, both terrain corrected."""
    speckle_filter: bool = False
    """HyP3's Enhanced Lee filter."""
    dem_matching: bool = False
    """Coregister each scene to the height model, rather than trust its orbit."""
    include_inc_map: bool = False
    """Deliver ``local_incidence``, too."""
    mask: Sequence[str] = ("layover", "shadow")
    """What is discarded; ``none`` = neither."""
    _bands: tuple[Band, ...] = field(init=False, repr=False, compare=False)
    _tracks: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _bits: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_bands", choose_bands(self.bands, self.orbits))
        chosen = tracks(self.relative_orbits)
        one_of("relative_orbits", "all" if isinstance(chosen, tuple) else chosen, ("all",), WHERE)
        object.__setattr__(self, "_tracks", chosen if isinstance(chosen, tuple) else ())
        one_of("scenes", self.scenes, ("grd", "slc"), WHERE)
        one_of("resolution", self.resolution, tuple(RTC_CREDITS), WHERE)
        one_of("radiometry", self.radiometry, ("gamma0", "sigma0"), WHERE)
        for key in ("speckle_filter", "dem_matching", "include_inc_map"):
            switch(key, getattr(self, key), WHERE)
        dropped = several("mask", self.mask, tuple(_BITS), tuple(_BITS), WHERE)
        object.__setattr__(self, "_bits", sum(_BITS[name] for name in dropped))

    def describe(self) -> SourceInfo:
        """Return the variables and their radiometric identity."""
        variables = [
            Variable(
                BACKSCATTER,
                Kind.POWER,
                tuple(band.name for band in self._bands),
                long_name=f"Backscatter, {self.radiometry[:-1]} nought, terrain corrected",
                attributes={
                    "backscatter_convention": f"{self.radiometry}_rtc",
                    "dem": "Copernicus GLO-30",
                    "speckle_filter": "enhanced Lee" if self.speckle_filter else "none",
                    "dem_matching": self.dem_matching,
                    "discarded": [name for name, bit in _BITS.items() if self._bits & bit],
                },
            )
        ]
        if self.include_inc_map:
            ways = dict.fromkeys(band.name.split("_")[1] for band in self._bands)
            variables.append(
                Variable(
                    INCIDENCE,
                    Kind.CONTINUOUS,
                    tuple(f"incidence_{way}" for way in ways),
                    "degree",
                    "Angle between the line of sight and the normal of the terrain",
                    attributes={"surface": "terrain"},
                )
            )
        return SourceInfo(
            tuple(variables),
            version=VERSION,
            pitch=float(self.resolution),
            fetches_once=True,
            licence=LICENCE,
            citation=CITATION.format("hyp3_gamma"),
            attributes={"asf": "HyP3 RTC_GAMMA"},
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the scenes that meet the area in any slot, in order of time and name."""
        from m3leo_prep.sources.asf.hyp3.scenes import find_scenes

        yield from find_scenes(self.scenes, self._bands, self._tracks, area, slots)

    def job(self, item: Item) -> Job:
        """Return the job that makes a scene's product."""
        parameters = {
            "granules": [item.id],
            "resolution": self.resolution,
            "radiometry": self.radiometry,
            "scale": "power",
            "speckle_filter": self.speckle_filter,
            "dem_matching": self.dem_matching,
            "dem_name": "copernicus",
            "include_inc_map": self.include_inc_map,
            "include_dem": False,
            "include_rgb": False,
            "include_scattering_area": False,
        }
        prepared = {"job_type": "RTC_GAMMA", "job_parameters": parameters}
        return Job.of(prepared, RTC_CREDITS[self.resolution], item.id)

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002  items are dated
        """Yield the power of each scene around ``geobox``.

        Raises:
            CorruptError: HyP3 could not make it, or what it made is damaged.
            TriedOut: it is not here yet.
        """
        from m3leo_prep.sources.asf.hyp3 import shelf

        for item in items:
            yield from self._rasters(item, shelf.product(self.job(item)), geobox)

    def _rasters(self, item: Item, product: Path, geobox: GeoBox) -> Iterator[Raster | Absent]:
        """Yield what one product holds; the bands of the other direction are there, and observed nowhere."""
        from m3leo_prep.sources.asf.hyp3.raster import cut, there

        way = item.properties["orbit_direction"]
        own = [band for band in self._bands if band.direction == way]
        missing = tuple(band.name for band in own if not there(product, band.polarisation))
        if missing:
            yield Absent(item, BACKSCATTER, missing, Reason.BAND_NOT_IN_PRODUCT)
        has = [band for band in own if there(product, band.polarisation)]
        if has:
            found = cut(product, [*(band.polarisation for band in has), "ls_map"], geobox)
            if found is None:
                return
            shape = (len(self._bands), *found.data.shape[1:])
            data, valid, masked = np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, bool)
            for k, band in enumerate(self._bands):
                if band in has:
                    data[k] = found.data[has.index(band)]
                    valid[k], masked[k] = sorted_out(data[k], found.data[-1].astype(np.uint8), self._bits)
            yield Raster(data, valid, found.geobox, item, BACKSCATTER, masked)
        if self.include_inc_map:
            yield from self._incidence(item, product, geobox)

    def _incidence(self, item: Item, product: Path, geobox: GeoBox) -> Iterator[Raster]:
        from m3leo_prep.sources.asf.hyp3.raster import cut

        found = cut(product, ["inc_map"], geobox)
        if found is None:
            return
        ways = list(dict.fromkeys(band.direction for band in self._bands))
        shape = (len(ways), *found.data.shape[1:])
        data, valid = np.zeros(shape, np.float32), np.zeros(shape, bool)
        at = ways.index(str(item.properties["orbit_direction"]))
        data[at] = np.degrees(found.data[0])
        valid[at] = np.isfinite(found.data[0]) & (found.data[0] != 0)
        yield Raster(data, valid, found.geobox, item, INCIDENCE)


def sorted_out(
    power: NDArray[np.float32], codes: NDArray[np.uint8], discarded: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pixels may be used, and which were seen and discarded, both (y, x).

    A power of exactly 0 is no data (ASFHyP3/hyp3-gamma, ``create_amp(..., nodata=0)``), which the product has outside
    the scene, and where layover or shadow leaves nothing: there the sensor did look.

    Args:
        power: (y, x).
        codes: (y, x) bits of layover and shadow.
        discarded: bits of what is not used.
    """
    number = np.isfinite(power) & (power != 0)
    dropped = (codes & discarded) != 0
    hidden = (codes & (LAYOVER | SHADOW)) != 0
    return number & ~dropped, (number & dropped) | (hidden & ~number)


if TYPE_CHECKING:
    _source: type[Source] = Hyp3Rtc
    _ordering: type[Ordering] = Hyp3Rtc
