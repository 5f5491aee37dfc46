"""The source ``stac``: rasters that a STAC API or a static catalogue lists, wherever they lie."""

from m3leo_prep.sources.stac.source import Stac

__all__ = ["Stac"]
