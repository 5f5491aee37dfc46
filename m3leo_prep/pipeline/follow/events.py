"""What a run tells the outside: an append-only event log, and a small status file that ``status`` reads.

DATASET/.m3leo/log.jsonl, log-part-1-of-3.jsonl     one JSON object a line, of every run; one file a writer, because
                                                    appending to one file from several nodes tears lines on NFS
DATASET/.m3leo/status/build.json, part-1-of-3.json  the last run of that writer, replaced whole

Both are conveniences: a disk that is full for them never stops a build.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

WRITE_SECONDS = 1.0
"""Between two status files, at least."""
HEARTBEAT_SECONDS = 30.0
"""Between two status files, at most, while nothing happens: a file that is much older is of a dead writer."""
RATE_UNITS = 200
"""The rate is that of this many last units."""

_LOGGER = logging.getLogger(__name__)


class RunLog:
    """What one run of a build does; every method may be called from any thread, and none of them raises OSError."""

    def __init__(
        self,
        state: Path,
        writer: str,
        *,
        part: tuple[int, int] | None = None,
        warn: Callable[[str], None] = _LOGGER.warning,
    ) -> None:
        """Open the log of a run. Call ``started`` when the build's lock is held.

        Args:
            state: the dataset's ``.m3leo`` folder.
            writer: ``build``, or ``part-1-of-3``.
            part: (1, 3) for that part.
            warn: receives one line if the log, and one if the status file cannot be written.
        """
        self._state, self._writer = state, writer
        self._warn = warn
        self._lock = threading.Lock()
        self._log: int | None = None
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._keep_fresh, name="run-log", daemon=True)
        self._warned = False
        self._is_fresh = True
        self._written = 0.0
        self._times: deque[float] = deque(maxlen=RATE_UNITS + 1)
        self._running: dict[str, dict[str, str]] = {}
        self._document = _blank(writer, part)

    def started(self, units: Mapping[str, int], done_before: Mapping[str, int]) -> None:
        """Note the work: per layer, the units of this run's share, and how many of them were done before."""
        with self._lock:
            known = self._document
            with contextlib.suppress(metadata.PackageNotFoundError):  # run from a folder, not installed
                known["version"] = metadata.version("m3leo-prep")
            plans = _plans(self._state)
            for name, old in _take_over(self._state / "status", self._writer).items():
                known["made"] = max(known["made"] or "", old.get("made") or "") or None
                for layer, counts in old["layers"].items():
                    # Not of this run, and planned as it was: what earlier ones made of it still stands.
                    if layer not in units and is_of_plan(counts, plans.get(layer)):
                        kept = known["layers"].setdefault(layer, _no_counts() | {"plan": plans.get(layer)})
                        _add(kept, counts)
                if name != self._writer:
                    with contextlib.suppress(
                        OSError
                    ):  # the folder is read-only: the warning comes with the first write
                        (self._state / "status" / f"{name}.json").unlink()
            for layer, n in units.items():
                known["layers"][layer] = _no_counts() | {
                    "units": n,
                    "done": done_before.get(layer, 0),
                    "plan": plans.get(layer),
                }
            self._open()
            self._tell(
                "started",
                version=known["version"],
                host=known["host"],
                pid=known["pid"],
                units=dict(units),
                done_before=dict(done_before),
            )
            self._times.append(time.monotonic())
            self._write()
        self._beat.start()

    def began(self, unit_id: str, layer: str) -> None:
        """Note that a unit was handed to a worker; in the status file only, so that the log stays small."""
        with self._lock:
            self._running[unit_id] = {"unit": unit_id, "layer": layer, "since": _now()}
            self._is_fresh = False

    def finished(
        self,
        unit_id: str,
        layer: str,
        *,
        retryable: int,
        bytes: int,  # noqa: A002  the log's own word
        reasons: Mapping[str, int],
        damaged: int,
    ) -> None:
        """Note a unit that is in the ledger: its holes to ask for again, bytes, reasons by name, items lost."""
        more: dict[str, Any] = {"retryable": int(retryable), "bytes": int(bytes), "damaged": int(damaged)}
        more["reasons"] = {name: int(n) for name, n in reasons.items()}
        with self._lock:
            begun = self._running.pop(unit_id, None)
            counts = self._document["layers"].setdefault(layer, _no_counts())
            _add(counts, {"done": 1, **more})
            self._times.append(time.monotonic())
            self._document["made"] = _now()
            self._is_fresh = False
            self._tell(
                "finished",
                unit=unit_id,
                layer=layer,
                seconds=None if begun is None else round(_since(begun["since"]), 3),
                **more,
            )

    def dropped(self, unit_id: str) -> None:
        """Note a unit that was handed out but not made, and will be tried again."""
        with self._lock:
            self._running.pop(unit_id, None)
            self._is_fresh = False
            self._tell("dropped", unit=unit_id)

    def waiting(self, what: str, until: datetime | None, message: str) -> None:
        """Note that the run waits: for which source's quota, until when (None: not known)."""
        with self._lock:
            found = {"what": what, "until": None if until is None else _iso(until), "message": message}
            self._document["waiting"] = found
            self._document["rate"] = self._rate()
            self._times.clear()
            self._tell("waiting", **found)
            self._write()

    def resumed(self) -> None:
        """Note that the waiting is over."""
        with self._lock:
            self._document["waiting"] = None
            self._times.append(time.monotonic())
            self._tell("resumed")
            self._write()

    def ended(self, exit_code: int, message: str = "") -> None:
        """Note the end, good or bad; what was running then was not made."""
        if self._beat.ident is None:  # refused before any work: what earlier runs made still stands
            self.started({}, {})
        with self._lock:
            self._document["ended"] = {"exit": exit_code, "message": message, "time": _now()}
            self._running.clear()
            self._tell("ended", exit=exit_code, message=message)
            self._write()
        self.close()

    def close(self) -> None:
        """Stop writing. A run that closes without ``ended`` is seen as stopped."""
        self._stop.set()
        if self._beat.is_alive() and threading.current_thread() is not self._beat:
            self._beat.join()
        with self._lock:
            if self._log is not None:
                os.close(self._log)
                self._log = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep_fresh(self) -> None:
        while not self._stop.wait(WRITE_SECONDS):
            with self._lock:
                if not self._is_fresh or time.monotonic() - self._written >= HEARTBEAT_SECONDS:
                    self._write()

    def _rate(self) -> float | None:
        """Return units per second over the last units, as far as they are of the time since start or waiting."""
        if len(self._times) < 2:
            return self._document["rate"] if self._document["waiting"] else None
        return (len(self._times) - 1) / max(1e-9, time.monotonic() - self._times[0])

    def _open(self) -> None:
        name = "log.jsonl" if self._writer == "build" else f"log-{self._writer}.jsonl"
        try:
            self._log = os.open(self._state / name, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            size = os.fstat(self._log).st_size
            if size and os.pread(self._log, 1, size - 1) != b"\n":  # a run that was killed left half a line
                self._append(b"\n")
        except OSError as error:
            self._give_up(error)

    def _tell(self, event: str, **facts: object) -> None:
        if self._log is None:
            return
        line = {"time": _now(), "event": event, "run": self._document["run"]} | facts
        try:
            self._append((json.dumps(line) + "\n").encode())
        except OSError as error:
            self._give_up(error)

    def _append(self, data: bytes) -> None:
        assert self._log is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self._log, view) :]

    def _give_up(self, error: OSError) -> None:
        if self._log is not None:
            os.close(self._log)
            self._log = None
        self._warn(f"the event log in {self._state} cannot be written ({error.strerror}); the build goes on without it")

    def _write(self) -> None:
        """Replace the status file."""
        document = self._document
        document["updated"] = _now()
        document["running"] = sorted(self._running.values(), key=lambda unit: unit["since"])
        document["rate"] = self._rate()
        self._written, self._is_fresh = time.monotonic(), True
        folder = self._state / "status"
        beside = folder / f".{self._writer}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(document))
            beside.replace(folder / f"{self._writer}.json")
        except OSError as error:
            if not self._warned:
                self._warned = True
                self._warn(f"the status in {folder} cannot be written ({error.strerror}): `status` shows an older one")


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a log; lines that a crash cut are left out."""
    with path.open("rb") as file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event


def read_status_files(state: Path) -> dict[str, dict[str, Any]]:
    """Return the last run of each writer, by writer; a file that cannot be read is left out."""
    found = {}
    for path in sorted((state / "status").glob("*.json")):
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError):  # removed by a build that starts, or not ours
            continue
        if isinstance(document, dict) and document.keys() >= _blank("", None).keys():
            found[path.stem] = document
    return found


def layer_plans(document: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of each layer's part of a frozen plan: counts made with another one tell nothing."""
    tables = document.get("tables", {})
    found = {}
    for entry in document["layers"]:
        name = entry["layer"]["name"]
        parts = [entry, tables.get("cells"), tables.get(f"items-{name}")]
        found[name] = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    return found


def is_of_plan(counts: Mapping[str, Any], plan: str | None) -> bool:
    """Return whether counts are of this plan of their layer, as far as is known."""
    return None in {counts.get("plan"), plan} or counts["plan"] == plan


def _plans(state: Path) -> dict[str, str]:
    try:
        return layer_plans(json.loads((state / "plan" / "plan.json").read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):  # no plan, or none that could be built from
        return {}


def _take_over(folder: Path, writer: str) -> dict[str, dict[str, Any]]:
    """Return the status files that this writer replaces: its own, all for a whole build, other counts for a part."""
    found = read_status_files(folder.parent)
    if writer == "build":
        return found
    count = writer.rpartition("-")[2]
    return {
        name: d
        for name, d in found.items()
        if name == writer or (name != "build" and not name.endswith(f"-of-{count}"))
    }


def _blank(writer: str, part: tuple[int, int] | None) -> dict[str, Any]:
    """Return the status of a run that has not started."""
    return {
        "run": uuid.uuid4().hex[:12],
        "writer": writer,
        "part": part,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "version": "",
        "started": _now(),
        "updated": _now(),
        "made": None,
        "layers": {},
        "running": [],
        "waiting": None,
        "rate": None,
        "ended": None,
    }


def _no_counts() -> dict[str, Any]:
    return {"units": 0, "done": 0, "retryable": 0, "bytes": 0, "damaged": 0, "reasons": {}}


def _add(counts: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name in ("units", "done", "retryable", "bytes", "damaged"):
        counts[name] += more.get(name, 0)
    for reason, n in more.get("reasons", {}).items():
        counts["reasons"][reason] = counts["reasons"].get(reason, 0) + n


def _now() -> str:
    return _iso(datetime.now(UTC))


def _iso(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds")


def _since(text: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
