"""Sentinel-1 GRD: backscatter of the wide swath, calibrated here, on the layer's own lattice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Absent, Item, Kind, Raster, Slot, SourceInfo, Variable
from m3leo_prep.sources._backscatter import BOTH
from m3leo_prep.sources.copernicus.grd.options import RTC, Options, choose
from m3leo_prep.sources.copernicus.source import Copernicus

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.ports.cost import Cost
    from m3leo_prep.ports.heights import Heights, OnDatum, OnHeights
    from m3leo_prep.ports.source import Source

VERSION = "1"
"""Bumped when the same images would give other pixels."""
PITCH = 10.0
KERNEL = "bspline"
GROUND_REACH = 4800.0
"""Metres: what flattening sees of the ground (``ops.sar.flatten.REACH``), and some pixels more of up to 224 m."""
CONCURRENT_READS = 2
SEA = "at sea level where the layer of heights has none of the sea"
_NAMES = {
    "sigma0_ellipsoid": "sigma nought, on the ellipsoid",
    "gamma0_ellipsoid": "gamma nought, on the ellipsoid",
    "beta0": "beta nought",
    RTC: "gamma nought, terrain flattened",
}


@dataclass(frozen=True, slots=True)
class S1Grd(Copernicus):
    """Backscatter in linear power, float32, band by polarisation and orbit direction.

    Sampled in the image where the pixels of the lattice lie: it is resampled once.
    """

    product: str = "s1-grd"
    _: KW_ONLY
    bands: Sequence[str] = ()
    """``[vv, vh]``, or with the direction ``[vv_asc, vh_desc]``, in order; none = vv and vh."""
    orbits: Sequence[str] = BOTH
    """Directions; each is a set of bands."""
    relative_orbits: Any = "all"
    """Tracks: ``all``, or their numbers."""
    convention: str = RTC
    """``gamma0_rtc`` (flattened on the terrain), ``sigma0_ellipsoid``, ``gamma0_ellipsoid`` or ``beta0``."""
    noise: bool = True
    """Thermal noise is taken away."""
    geocoding: str = "terrain"
    """``terrain``: by range and Doppler on the layer's ``dem:``. ``ellipsoid``: by the product's tie points."""
    dem_datum: str = ""
    """What the heights are above: ``ellipsoid``, ``egm2008``, ``egm96``; none = what their layer tells."""
    force: bool = False
    """``geocoding: ellipsoid`` in relief, too."""
    _options: Options = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        options = choose(
            bands=self.bands,
            orbits=self.orbits,
            relative_orbits=self.relative_orbits,
            convention=self.convention,
            noise=self.noise,
            geocoding=self.geocoding,
            dem_datum=self.dem_datum,
            force=self.force,
        )
        object.__setattr__(self, "_options", options)

    def describe(self) -> SourceInfo:
        """Return the one variable, ``backscatter``, and its radiometric identity."""
        options = self._options
        variable = Variable(
            "backscatter",
            Kind.POWER,
            tuple(band.name for band in options.bands),
            long_name=f"Backscatter, {_NAMES[options.convention]}",
            attributes={
                "backscatter_convention": options.convention,
                "noise_removed": options.noise,
                "geolocation": "range_doppler_terrain" if options.terrain else "gcp_ellipsoid",
                "orbit_source": "state vectors of the product's annotation",
                "border_noise": "IPF 2.90 and newer: 0; older: cut by the rule of MPC-0243, at most 1000 pixels",
                "speckle_filter": "none",
                "discarded": ["shadow", "layover"] if options.convention == RTC else [],
                **({"dem_datum": options.datum} if options.datum else {}),
                **({"sea": SEA} if options.terrain else {}),
            },
            kernel=KERNEL,
        )
        return SourceInfo(
            (variable,),
            version=VERSION,
            pitch=PITCH,
            concurrent_reads=CONCURRENT_READS,
            on_heights=(variable.name,) if options.terrain else (),
            ground_reach=GROUND_REACH if options.convention == RTC else 0.0,
            licence="Copernicus Sentinel data terms (free, full and open)",
            citation="Contains modified Copernicus Sentinel data",
            attributes={"copernicus": "sentinel-1-grd"},
        )

    def find(self, area: BaseGeometry, slots: Sequence[Slot]) -> Iterator[Item]:
        """Yield the images that meet the area in any slot, each once, in order of time and name.

        Raises:
            ConfigError: a slot without times.
            TriedOut, RateLimited, SourceError: from the catalogue.
        """
        from m3leo_prep.sources.copernicus.grd.finding import find_images

        yield from find_images(self._options.bands, self._options.tracks, area, slots)

    def check_datum(self, vertical_datum: str) -> None:
        """Raise if heights above this cannot be brought above the ellipsoid, where images are placed on them.

        Raises:
            ConfigError: it is not clear what they are above, or ``dem_datum`` contradicts it.
            MissingDependency: PROJ lacks the file of the geoid.
        """
        from m3leo_prep.sources.copernicus.grd.heights import check_geoid, datum_of

        if self._options.terrain:
            check_geoid(datum_of(self._options.datum, vertical_datum, self.product))

    def read(self, items: Sequence[Item], geobox: GeoBox, slot: Slot) -> Iterable[Raster | Absent]:  # noqa: ARG002  items are dated
        """Yield the power of each image on ``geobox`` itself.

        Raises:
            ConfigError: it is to be placed on terrain, whose heights nobody gave.
            CorruptError, TransientError, CredentialsError: from its files.
        """
        return self._read(items, geobox, None)

    def read_on_heights(
        self,
        items: Sequence[Item],
        geobox: GeoBox,
        slot: Slot,  # noqa: ARG002  items are dated
        heights: Heights,
    ) -> Iterable[Raster | Absent]:
        """Yield what ``read`` yields, placed on the ground that ``heights`` tells."""
        return self._read(items, geobox, heights)

    def estimate(self, windows: Sequence[GeoBox], slots: Sequence[Slot], items: Sequence[Item]) -> Cost:
        """Return requests and bytes of the blocks that windows touch, and of what is read of each product once."""
        from m3leo_prep.sources.copernicus.grd.telling import estimate

        return estimate(self._options, windows, slots, items)

    def advise(self, items: Sequence[Item], slots: Sequence[Slot]) -> Sequence[str]:
        """Return what to know of the images that were found."""
        from m3leo_prep.sources.copernicus.grd.telling import advise

        return advise(self._options, items, slots)

    def _read(self, items: Sequence[Item], geobox: GeoBox, heights: Heights | None) -> Iterator[Raster | Absent]:
        if self._options.terrain and heights is None:
            raise ConfigError("geocoding: terrain needs heights", where=self.product, hint="name their layer: `dem:`")
        from m3leo_prep.sources.copernicus.grd.reading import read_image
        from m3leo_prep.sources.stac.catalogues import CDSE, catalogue

        access = catalogue(CDSE).access()
        for item in items:
            yield from read_image(item, self._options, access, geobox, heights)


if TYPE_CHECKING:
    _source: type[Source] = S1Grd
    _on_heights: type[OnHeights] = S1Grd
    _on_datum: type[OnDatum] = S1Grd
