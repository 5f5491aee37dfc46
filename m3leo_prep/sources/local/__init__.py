"""Rasters of one's own: folders and catalogues of GeoTIFF, JP2 and NetCDF."""

from m3leo_prep.sources.local.source import Local

__all__ = ["Local"]
