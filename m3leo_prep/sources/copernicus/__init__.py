"""The source ``copernicus``: Sentinel-1 and Sentinel-2 of the Copernicus Data Space, as archived or made by SNAP."""

from m3leo_prep.sources.copernicus.source import Copernicus

__all__ = ["Copernicus"]
