"""Handing a finished dataset on: its card and metadata, and publishing it to the Hub, an object store or a folder.

>>> from m3leo_prep.publish import publish
>>> publish("europe", "me/europe", dry_run=True)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m3leo_prep.publish.publishing import Published, publish

__all__ = ["Published", "publish"]


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: with it come the modules of the build."""
    if name in __all__:
        from m3leo_prep.publish import publishing

        return getattr(publishing, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
