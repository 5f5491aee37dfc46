"""Google Earth Engine: products, collections and a user's own images, on the chip grid."""

from m3leo_prep.sources.gee.source import EarthEngine

__all__ = ["EarthEngine"]
