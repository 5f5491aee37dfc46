"""A few chips for other tools."""

from m3leo_prep.pipeline.export.files import FORMATS, MOST_CHIPS, export

__all__ = ["FORMATS", "MOST_CHIPS", "export"]
