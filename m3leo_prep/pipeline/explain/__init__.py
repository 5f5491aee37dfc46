"""Where the pixels of a dataset came from."""

from m3leo_prep.pipeline.explain.chip import explain

__all__ = ["explain"]
