"""A procedural Earth with physics and known truth."""

from m3leo_prep.sources.synthetic.source import Synthetic

__all__ = ["Synthetic"]
