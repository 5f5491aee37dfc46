"""Opening a dataset in a fresh process, its first batch, and its workers' memory; run by ``bench_open.py``.

python -m reading.opening ADDRESS BATCHES
"""

from __future__ import annotations

import json
import pickle
import random
import sys
import time
from typing import Any

LAYER, BATCH = "image", 32


class Weighed:
    """A transform that adds the memory which the process that runs it shares with no other, in MB."""

    def __init__(self) -> None:
        self.calls, self.found = 0, 0.0

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Return the sample with ``private_mb``; looked up once in 32 samples, as it takes a while."""
        if self.calls % BATCH == 0:
            self.found = _memory("/proc/self/smaps_rollup", "Private_Dirty")
        self.calls += 1
        return sample | {"private_mb": self.found}


def main() -> None:
    """Print one JSON line."""
    address, more = sys.argv[1], int(sys.argv[2])
    start = time.perf_counter()
    from m3leo_prep import ChipDataset
    from m3leo_prep.reader.learning.collate import collate

    imported, cpu, before = time.perf_counter(), time.process_time(), _memory("/proc/self/status", "VmHWM")
    chips = ChipDataset(address, layers=[LAYER], split="train")
    opened = time.perf_counter()
    order = random.Random(5).sample(range(len(chips)), min(BATCH * (more + 1), len(chips) // BATCH * BATCH))
    batches = [order[k : k + BATCH] for k in range(0, len(order), BATCH)]
    collate(chips.__getitems__(batches[0]))
    first = time.perf_counter()
    found = {
        "chips": len(chips),
        "import_s": imported - start,
        "open_s": opened - imported,
        "first_batch_s": first - opened,
        "wall_s": first - imported,
        "cpu_s": time.process_time() - cpu,
        "import_mb": before,
        "peak_mb": (peak := _memory("/proc/self/status", "VmHWM")),
        "added_mb": peak - before,
        "pickled_mb": len(pickle.dumps(chips)) / 1e6,
    }
    if more:
        from torch.utils.data import DataLoader

        chips = ChipDataset(address, layers=[LAYER], split="train", transform=Weighed())
        loader = DataLoader(chips, batch_sampler=batches[1:], num_workers=2, collate_fn=collate)
        held = [float(batch["private_mb"].max()) for batch in loader]
        some = max(1, len(held) // 8)
        found["worker_mb"] = max(held[-some:])
        found["worker_growth_mb"] = max(held[-some:]) - max(held[2 * some : 3 * some])
    print(json.dumps(found))


def _memory(file: str, what: str) -> float:
    """Return what the kernel says of this process, in MB."""
    with open(file, encoding="ascii") as lines:  # noqa: PTH123  one import less to measure
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(what))


if __name__ == "__main__":
    main()
