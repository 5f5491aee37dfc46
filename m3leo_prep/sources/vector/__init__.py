"""The source ``vector``: polygons of any file as a layer of classes."""

from m3leo_prep.sources.vector.source import Vector

__all__ = ["Vector"]
