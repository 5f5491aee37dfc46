"""What ``doctor`` finds out about this machine: Python, memory, disk, packages. Imports no heavy package."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

NAME = "m3leo-prep"
LEAST_PYTHON = (3, 11)
LEAST_FREE_BYTES = 2 * 10**9
"""Less free disk than this is warned about: room for the demo and for little else."""
NOT_SHOWN = frozenset({"all", "dev", "snap", "lightning"})
"""Extras that are collections, or that bring no package of their own."""
NETWORK_DISKS = ("nfs", "nfs4", "lustre", "cifs", "smb3", "beegfs", "gpfs", "fuse.sshfs")

State = Literal["ok", "info", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    """ok; info: not here, and not needed; warn: it works, but; fail: it does not."""
    seen: str
    next: str = ""
    """The exact command or step that mends it."""
    is_login: bool = False
    """A missing or refused login."""


def machine(folder: Path) -> Iterator[Finding]:
    """Yield what is found about this machine, and about ``folder`` as the place of a dataset."""
    yield _python()
    yield Finding(NAME, "ok", f"{_version(NAME) or 'not installed'}, in {Path(__file__).parents[1]}")
    yield _memory()
    yield _disk(folder)
    yield _file_system(folder)
    yield _projections()


def _python() -> Finding:
    is_new = sys.version_info[:2] >= LEAST_PYTHON
    seen = f"{sys.version.split()[0]} at {sys.executable}"
    wanted = ".".join(map(str, LEAST_PYTHON))
    return Finding("Python", "ok" if is_new else "fail", seen, "" if is_new else f"install Python {wanted} or newer")


def _memory() -> Finding:
    from m3leo_prep.pipeline.resources import WORKER_BYTES, default_workers

    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    workers = default_workers()
    seen = f"{len(os.sched_getaffinity(0))} cores, {free / 1e9:.1f} GB free: {workers} workers"
    if free < WORKER_BYTES:
        need = f"a worker may take {WORKER_BYTES / 1e9:.1f} GB"
        return Finding("memory", "warn", f"{seen}; {need}", "m3leo-prep build ... --workers 1 --memory 1GB")
    return Finding("memory", "ok", seen)


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    seen = f"{free / 1e9:,.1f} GB free in {folder}"
    if free < LEAST_FREE_BYTES:
        return Finding("disk", "warn", seen, "build on another disk: m3leo-prep build ... --out /there/NAME")
    return Finding("disk", "ok", seen)


def _file_system(folder: Path) -> Finding:
    """Try what a build does to its folder: lock a file against a second builder, and rename over a file."""
    kind = _kind(folder)
    other = "give a folder on a local disk: m3leo-prep build ... --out /there/NAME"
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".m3leo-doctor-") as name:
            locks = _locks(Path(name))
            (Path(name) / "new").write_bytes(b"new")
            (Path(name) / "old").write_bytes(b"old")
            (Path(name) / "new").replace(Path(name) / "old")
            renames = (Path(name) / "old").read_bytes() == b"new"
    except OSError as error:
        seen = f"{folder} ({kind}): {error.strerror}"
        return Finding("file system", "warn", seen, "go to a folder that you may write, or give one as --out")
    if not locks or not renames:
        fault = "files cannot be locked" if not locks else "files cannot be replaced"
        return Finding("file system", "warn", f"{kind}: {fault}", other)
    if kind in NETWORK_DISKS:
        seen = f"{kind}: locks and renames work on this machine; other machines may not see the locks"
        return Finding("file system", "warn", seen, "build from one machine at a time, or with --part I/N")
    return Finding("file system", "ok", f"{kind}: locks and renames files")


def _locks(folder: Path) -> bool:
    with (folder / "lock").open("wb") as first, (folder / "lock").open("wb") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _kind(folder: Path) -> str:
    """Return the type of file system as the system names it, such as ``ext4``; "disk" where it does not tell."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "disk"
    here = folder.resolve()
    mounts = {Path(_plain(line.split()[1])): line.split()[2] for line in lines}
    return next((mounts[place] for place in (here, *here.parents) if place in mounts), "disk")


def _plain(mount: str) -> str:
    r"""Return a path of /proc/mounts with its escapes (``\040`` is a space) undone."""
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), mount)


def _projections() -> Finding:
    """Project a point whose place is known, from PROJ's own data, without the network."""
    import pyproj.network
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    reinstall = "pip install --force-reinstall pyproj"
    hint = f"unset PROJ_DATA and PROJ_LIB, or {reinstall}" if _proj_variables() else reinstall
    try:
        x, y = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform(9.0, 0.0)
    except ProjError as error:
        return Finding("projections", "fail", f"PROJ does not work: {error}", hint)
    if abs(x - 500_000) > 1e-3 or abs(y) > 1e-3:
        return Finding("projections", "fail", f"PROJ puts (9, 0) at ({x:.1f}, {y:.1f}), not (500000, 0)", hint)
    if pyproj.network.is_network_enabled():  # type: ignore[attr-defined]  # compiled; its stub does not export it
        seen = "PROJ may load grids from the network, which can move pixels by what is online"
        return Finding("projections", "warn", seen, "unset PROJ_NETWORK")
    return Finding("projections", "ok", "PROJ works from its own data, network off")


def _proj_variables() -> bool:
    return "PROJ_DATA" in os.environ or "PROJ_LIB" in os.environ


def groups() -> dict[str, dict[str, str]]:
    """Return for each optional group of packages what it asks for: package -> least version (or empty)."""
    try:
        ours = distribution(NAME)
    except PackageNotFoundError:
        return {}
    found: dict[str, dict[str, str]] = {
        extra: {} for extra in ours.metadata.get_all("Provides-Extra") or [] if extra not in NOT_SHOWN
    }
    for requirement in ours.requires or []:
        asked = re.match(r"([\w.-]+)(?:\[[^\]]*\])?(?:>=([\d.]+))?", requirement)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        if asked and extra and extra[1] in found and asked[1] != NAME:
            found[extra[1]][asked[1]] = asked[2] or ""
    base = found.get("build", {})
    own = {e: {p: v for p, v in asked.items() if e == "build" or p not in base} for e, asked in found.items()}
    return dict(sorted(own.items(), key=lambda pair: (pair[0] != "build", pair[0])))


def packages(*, needed: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """Yield one finding per optional group; what is missing is a fault only in a ``needed`` one."""
    for extra, asked in groups().items():
        name = f"extra {extra}"
        have = {package: _version(package) for package in asked}
        seen = ", ".join(f"{package} {v or 'not installed'}" for package, v in have.items())
        old = [p for p, v in have.items() if v is not None and _numbers(v) < _numbers(asked[p])]
        seen += "".join(f"; {package} must be {asked[package]} or newer" for package in old)
        if not old and all(have.values()):
            yield Finding(name, "ok", seen)
            continue
        state: State = "fail" if extra in needed else ("warn" if old else "info")
        yield Finding(name, state, seen, f"pip install '{NAME}[{extra}]'")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    release = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in release[0].split(".")) if release else ()


def kernels() -> Finding:
    """Return whether numba compiles, and where it keeps what it compiled."""
    if find_spec("numba") is None:
        return Finding("kernels", "info", "numba is not installed: datasets can be read, not built")
    import numba
    from numba.core.caching import FunctionCache

    from m3leo_prep.ops import _moments

    try:
        doubled = numba.njit(lambda x: x + x)(21)
    except numba.core.errors.NumbaError as error:
        return Finding(
            "kernels", "fail", f"numba does not compile: {str(error).splitlines()[0]}", "pip install -U numba"
        )
    assert doubled == 42
    try:
        folder = FunctionCache(_moments.moments.py_func).cache_path  # type: ignore[no-untyped-call]  # numba has no types
    except RuntimeError:
        seen = "numba compiles, but finds no folder to keep it in: every run compiles for a while"
        return Finding("kernels", "warn", seen, "export NUMBA_CACHE_DIR=~/.cache/numba")
    return Finding("kernels", "ok", f"numba compiles; kept in {folder}")
