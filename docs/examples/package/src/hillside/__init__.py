"""Rolling hills, from a formula: an example of a source in a package of its own."""

from hillside.source import Hillside

__all__ = ["Hillside"]
