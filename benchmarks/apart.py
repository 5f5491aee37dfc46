"""Cases of a benchmark, each in a process of its own, so that none pays for another's memory or imports."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def run(script: str, *arguments: str) -> dict[str, Any]:
    """Return what a script prints for some arguments: one JSON object."""
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
