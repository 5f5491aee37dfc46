"""The source ``tiles``: maps of the Earth cut into files with known names, in public buckets that need no login."""

from m3leo_prep.sources.tiles.source import Tiles

__all__ = ["Tiles"]
