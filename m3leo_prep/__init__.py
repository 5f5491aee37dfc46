"""m3leo-prep: satellite archives in, verified machine-learning chip datasets out."""

from __future__ import annotations

__version__ = "0.1.0"
