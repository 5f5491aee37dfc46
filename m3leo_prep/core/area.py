"""An area: a named polygon on the ground, valid and ready for the grid."""

from __future__ import annotations

from dataclasses import dataclass

from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.polygons import clean, geodesic_km2, to_lon_lat
from m3leo_prep.core.zones import check_latitude

MIN_AREA_KM2 = 1e-4
"""One 10 m pixel; what is smaller is a mistake."""


@dataclass(frozen=True, slots=True)
class Area:
    """A named polygon in lon/lat."""

    name: str
    geometry: MultiPolygon | Polygon
    """Valid, EPSG:4326 (lon, lat), inside -180...180 (split at the antimeridian) and 80 S...84 N."""
    source: str = ""
    licence: str = ""
    note: str = ""
    warnings: tuple[str, ...] = ()
    """What had to be changed in the input."""

    @classmethod
    def from_geometry(
        cls,
        geometry: BaseGeometry,
        *,
        name: str,
        crs: str = "EPSG:4326",
        source: str = "",
        licence: str = "",
        note: str = "",
    ) -> Area:
        """Return an area from any geometry with polygons in it, checked and repaired.

        Args:
            geometry: polygons, multipolygons or collections of them; longitude (or easting) first.
            name: how messages and the dataset call it.
            crs: of the coordinates, anything that pyproj understands.
            source: where the outline comes from.
            licence: of the outline.
            note: what a reader should know about it.

        Raises:
            ConfigError: no polygon, no extent, not lon/lat, or UNSUPPORTED_LATITUDE.
        """
        where = f"area '{name}'"
        valid, warnings = clean(to_lon_lat(geometry, crs), where)
        check_latitude(valid, where)
        size = geodesic_km2(valid)
        if size < MIN_AREA_KM2:
            raise ConfigError(
                f"the area has {size * 1e6:.3g} m2, less than one 10 m pixel",
                hint="draw a polygon with an extent; a point needs a buffer or a box around it",
                where=where,
            )
        return cls(name, valid, source, licence, note, warnings)

    @property
    def area_km2(self) -> float:
        """Area on the ellipsoid in km2."""
        return geodesic_km2(self.geometry)
