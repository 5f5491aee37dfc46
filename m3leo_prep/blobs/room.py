"""Where caches lie on this machine and how large they may be, as the environment says."""

from __future__ import annotations

import os
from pathlib import Path

from m3leo_prep.core.errors import ConfigError

FOLDER_VARIABLE = "M3LEO_PREP_CACHE"
DEFAULT_FOLDER = "~/.cache/m3leo-prep"


def cache_folder() -> Path:
    """Return the folder of all caches: ``$M3LEO_PREP_CACHE``, else ``~/.cache/m3leo-prep``."""
    return Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER).expanduser()


def allowed_bytes(variable: str, default_gb: str, *, hint: str) -> int:
    """Return the bytes that a variable allows in GB.

    Args:
        variable: of the environment; unset or empty = ``default_gb``.
        default_gb: GB.
        hint: what may stand there.

    Raises:
        ConfigError: it is no size.
    """
    given = os.environ.get(variable) or default_gb
    try:
        allowed = int(float(given) * 1e9)
    except (ValueError, OverflowError):
        allowed = -1
    if allowed < 0:
        raise ConfigError(f"{given!r} is no size in GB", where=variable, hint=hint)
    return allowed
