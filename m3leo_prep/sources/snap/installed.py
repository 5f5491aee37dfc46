"""Where SNAP is on this machine, and which release; asks it nothing that its files tell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from m3leo_prep.core.errors import ConfigError, MissingDependency
from m3leo_prep.sources.snap.schema import releases

GPT, SNAPPY, HOME = "M3LEO_PREP_GPT", "M3LEO_PREP_SNAPPY", "SNAP_HOME"
FOLDERS = (
    "~/esa-snap", "~/snap", "~/.local/esa-snap", "/opt/esa-snap", "/opt/snap", "/usr/local/esa-snap", "/usr/local/snap",
    "/Applications/esa-snap", "/Applications/snap",
)  # fmt: skip
"""What its installer proposes, and where people put it."""
INSTALL = f"install it from https://step.esa.int/main/download, or: export {GPT}=/path/to/esa-snap/bin/gpt"
_SECONDS = 120.0
"""A Java machine on a slow disk has told its release by then."""
_RELEASE = re.compile(r"(\d+)(\.\d+)*")


@dataclass(frozen=True, slots=True)
class Snap:
    """An installed SNAP."""

    way: Literal["gpt", "esa_snappy"]
    program: Path
    """``gpt``, or the Python that ``esa_snappy`` is configured for."""
    release: str
    """Such as ``13.0.0``."""

    @property
    def major(self) -> int:
        """Number of the release, by which operators and parameters change."""
        return int(self.release.partition(".")[0])

    def __str__(self) -> str:
        return f"SNAP {self.release} ({self.way}: {self.program})"


def find() -> Snap:
    """Return the SNAP to use.

    ``M3LEO_PREP_SNAPPY`` names the Python that ``esa_snappy`` is configured for, to run graphs by it; else it is the
    first ``gpt`` of ``M3LEO_PREP_GPT``, of ``SNAP_HOME``, on the ``PATH``, and in the usual folders.

    Raises:
        MissingDependency: there is none, or one too old.
        ConfigError: what the environment names is no SNAP.
    """
    snap = look()
    if snap is None:
        raise MissingDependency("ESA SNAP was not found", hint=INSTALL)
    if snap.major < min(releases()):
        raise MissingDependency(
            f"{snap} is too old: its operators are known from release {min(releases())} on", hint=INSTALL
        )
    return snap


def look() -> Snap | None:
    """Return the SNAP that is there, however old; None if there is none.

    Raises:
        ConfigError: what the environment names is no SNAP.
    """
    named = os.environ.get(SNAPPY, "")
    if named:
        return _named(SNAPPY, Path(named).expanduser(), "esa_snappy")
    named = os.environ.get(GPT, "")
    if named:
        return _named(GPT, Path(named).expanduser(), "gpt")
    home = os.environ.get(HOME, "")
    if home and (Path(home).expanduser() / "bin" / "gpt").is_file():
        return _named(HOME, Path(home).expanduser() / "bin" / "gpt", "gpt")
    on_path = shutil.which("gpt")
    places = [*([Path(on_path)] if on_path else []), *(Path(folder).expanduser() / "bin/gpt" for folder in FOLDERS)]
    for gpt in places:
        release = _release_of_files(gpt) if gpt.is_file() else ""
        if release:  # other programs are called gpt, too: only one beside SNAP's own files is meant
            return Snap("gpt", gpt, release)
    return None


def _named(variable: str, program: Path, way: Literal["gpt", "esa_snappy"]) -> Snap:
    if not program.is_file() or not os.access(program, os.X_OK):
        raise ConfigError(f"{program} is no program", where=variable, hint=f"unset {variable}, or {INSTALL}")
    release = _release_of_files(program) if way == "gpt" else ""
    release = release or _release_told(program, way, program.stat().st_mtime_ns)
    if not release:
        raise ConfigError(f"{program} tells no release of SNAP", where=variable, hint=f"unset {variable}, or {INSTALL}")
    return Snap(way, program, release)


def _release_of_files(gpt: Path) -> str:
    """Return the release that ``VERSION.txt`` of SNAP's own folder tells; nothing if there is none."""
    try:
        # SystemUtils.getReleaseVersion of snap-engine reads the same file.
        text = (gpt.resolve().parents[1] / "VERSION.txt").read_text(encoding="utf-8", errors="replace")
    except (OSError, IndexError):
        return ""
    found = _RELEASE.search(text)
    return found[0] if found else ""


@lru_cache(maxsize=8)
def _release_told(program: Path, way: str, stamp: int) -> str:
    """Return the release that a program tells of itself, asked once; nothing if it is no SNAP."""
    del stamp
    from m3leo_prep.sources.snap import snappy

    command = [str(program), "--diag"] if way == "gpt" else [str(program), snappy.__file__, "--release"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603  the user's own program
    except (OSError, subprocess.TimeoutExpired):
        return ""
    line = re.search(r"SNAP Release version\s+(\S+)", told.stdout)
    found = _RELEASE.match(line[1]) if line else None
    return found[0] if found else ""
