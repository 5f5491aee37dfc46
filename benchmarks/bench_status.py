"""Time and memory of ``m3leo-prep status`` for a build of a million units, as one process each. Target: 2 s.

``followed``: sixteen parts have left their status, two of them with 64 running units. ``ledger_only``: a state without
status files, whose ledger of as many records has to be read; no target, but one should know.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import shapely

from m3leo_prep.pipeline.follow.events import RunLog
from m3leo_prep.store.ledger import Record, ShardFile, _pack

PARTS = 16
SLOTS = 10


def run(units: int = 1_000_000) -> dict[str, Any]:
    """Return wall seconds and peak memory of both."""
    with tempfile.TemporaryDirectory(prefix="bench-status-") as name:
        folder = Path(name)
        shards = units // SLOTS
        _plan(folder, shards)
        _parts(folder, units)
        made = {"units": units, "target_s": 2.0, "followed": _measure(folder)}
        shutil.rmtree(folder / ".m3leo/status")
        start = time.monotonic()
        made["ledger_bytes"] = _ledger(folder / ".m3leo/ledger", shards)
        made["ledger_written_s"] = time.monotonic() - start
        made["ledger_only"] = _measure(folder)
        return made


def _plan(folder: Path, shards: int) -> None:
    """Write a plan with an outline of many vertices."""
    outline = shapely.to_wkt(shapely.Point(0, 0).buffer(1, 20_000), rounding_precision=-1)
    layer = {"name": "s1grd", "shard_chips": 64, "shard_slots": 1, "slots": [{}] * SLOTS}
    document = {
        "format_version": "1.0",
        "n_chips": shards * 64,
        "recipe": {"name": "bench"},
        "area": {"name": "bench", "wkt": outline},
        "layers": [{"layer": layer}],
    }
    (folder / ".m3leo/plan").mkdir(parents=True)
    (folder / ".m3leo/plan/plan.json").write_text(json.dumps(document))


def _parts(folder: Path, units: int) -> None:
    for i in range(1, PARTS + 1):
        with RunLog(folder / ".m3leo", f"part-{i}-of-{PARTS}", part=(i, PARTS)) as log:
            log.started({"s1grd": units // PARTS}, {"s1grd": units // PARTS - 500})
            for n in range(500):
                unit = f"s1grd/{n}/{i}"
                log.began(unit, "s1grd")
                if i > 2 or n < 436:
                    log.finished(unit, "s1grd", retryable=0, bytes=10**7, reasons={"OK": 64}, damaged=0)
            if i > 2:
                log.ended(0)
            else:
                time.sleep(1.5)  # until the status file has it


def _ledger(folder: Path, shards: int) -> int:
    folder.mkdir(parents=True)
    path = folder / "build-000001.seg"
    shard = (ShardFile("chips.zarr/s1grd/backscatter/c/0/0/0/0/0", 10**7, "0" * 64),)
    info = {"items": ["S1A_IW_GRDH_1SDV_20200101T000000"] * 4, "damaged": [], "operations": {}}
    with path.open("wb", buffering=2**20) as file:
        for i in range(shards):
            for t in range(SLOTS):
                file.write(_pack(Record(f"s1grd/{i}/{t}", "0" * 64, shard, info=info)))
    return path.stat().st_size


def _measure(folder: Path) -> dict[str, Any]:
    """Return what one call takes, twice, the second one telling the steady state."""
    command = [sys.executable, "-c", "from m3leo_prep.cli.main import main; main()", "status", str(folder), "--json"]
    for _ in range(2):
        start = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            answer = json.loads(process.stdout.read())
            _, code, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(code)
        wall = time.monotonic() - start
    return {
        "wall_s": wall,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1e3,
        "done": answer["done"],
    }


if __name__ == "__main__":
    print(json.dumps(run(*map(int, sys.argv[1:])), indent=1))
