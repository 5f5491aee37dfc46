"""The source ``asf``: what the Alaska Satellite Facility archives of Sentinel-1, or makes of it on demand."""

from m3leo_prep.sources.asf.source import Asf

__all__ = ["Asf"]
