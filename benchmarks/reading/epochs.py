"""One shuffled epoch in a process of its own, from the first worker's start to its end; run by ``bench_epoch.py``.

python -m reading.epochs NAME FOLDER SCALE SHAPE...

Every contestant ends with batches of 32: float32, normalised, 0 where missing, and a mask. Prints one JSON line. Needs
only NumPy and PyTorch for the formats of others, so that it runs in the environment of the peers as well.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numcodecs import blosc
from torch.utils.data import DataLoader, Dataset

from reading.samples import MEAN, STD, normalised

BATCH, WORKERS, EPOCHS = 32, 2, 4


class Converted(Dataset[Any]):
    """Chips of an indexed source, converted."""

    def __init__(self, codes: Any, scale: float) -> None:
        self.codes, self.scale = codes, scale

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> Any:
        return tensors(self.codes[index], self.scale)


def tensors(codes: Any, scale: float) -> dict[str, torch.Tensor]:
    """Return values and mask of one chip."""
    values, valid = normalised(codes, scale)
    return {"image": torch.from_numpy(values), "image_mask": torch.from_numpy(valid)}


def decoded(payload: bytes, shape: tuple[int, ...]) -> Any:
    """Return the codes that blosc (zstd 3, bitshuffle: our own codec) made of one chip."""
    blosc.use_threads = False
    return np.frombuffer(blosc.decompress(payload), np.int16).reshape(shape)


def encoded(codes: Any) -> bytes:
    """Return a chip as one frame of our own codec."""
    blosc.use_threads = False
    return bytes(blosc.compress(np.ascontiguousarray(codes).reshape(-1), b"zstd", 3, blosc.BITSHUFFLE, 0, 2))


def ours(path: Path) -> Iterable[Any]:
    """Return a loader of the package."""
    from m3leo_prep import ChipDataset
    from m3leo_prep.reader.learning.collate import collate
    from reading.datasets import LAYER

    chips = ChipDataset(path, layers=[LAYER], normalize={LAYER: (MEAN, STD)})
    return DataLoader(chips, BATCH, shuffle=True, num_workers=WORKERS, collate_fn=collate)


def memmap(path: Path, scale: float) -> Iterable[Any]:
    """Return a loader of a memory map."""
    return DataLoader(Converted(np.load(path, mmap_mode="r"), scale), BATCH, shuffle=True, num_workers=WORKERS)


def webdataset(path: Path, scale: float, shape: tuple[int, ...]) -> Iterable[Any]:
    """Return a loader of tar shards, shuffled by shards and by a buffer."""
    import webdataset as wds

    shards = sorted(str(file) for file in path.glob("*.tar"))
    chips = (
        wds.WebDataset(shards, shardshuffle=len(shards), seed=0)
        .shuffle(256)
        .map(lambda sample: tensors(decoded(sample["bin"], shape), scale))
    )
    return DataLoader(chips, BATCH, num_workers=WORKERS)


def litdata(path: Path, scale: float, shape: tuple[int, ...]) -> Iterable[Any]:
    """Return litdata's own loader, shuffled."""
    from litdata import StreamingDataLoader, StreamingDataset

    class Chips(StreamingDataset):  # type: ignore[misc]  untyped
        def __getitem__(self, index: Any) -> Any:
            return tensors(decoded(super().__getitem__(index), shape), scale)

    return StreamingDataLoader(Chips(str(path), shuffle=True), batch_size=BATCH, num_workers=WORKERS)


def mosaic(path: Path, scale: float, shape: tuple[int, ...]) -> Iterable[Any]:
    """Return a loader of mosaic-streaming, shuffled."""
    from streaming import StreamingDataset

    class Chips(StreamingDataset):  # type: ignore[misc]  untyped
        def __getitem__(self, index: int) -> Any:
            return tensors(decoded(super().__getitem__(index)["x"], shape), scale)

    return DataLoader(Chips(local=str(path), shuffle=True, batch_size=BATCH), BATCH, num_workers=WORKERS)


def write(name: str, path: Path, codes: Any) -> None:
    """Write a format of others; ours are written by ``reading.datasets``."""
    match name:
        case "np.memmap":
            with path.open("wb") as file:
                np.save(file, codes)
        case "webdataset":
            import webdataset as wds

            path.mkdir()
            with wds.ShardWriter(str(path / "%04d.tar"), maxcount=64, verbose=0) as sink:
                for k, chip in enumerate(codes):
                    sink.write({"__key__": f"{k:06d}", "bin": encoded(chip)})
        case "litdata":
            import litdata as lit

            with _quiet():
                lit.optimize(_Encoded(codes), list(range(len(codes))), str(path), chunk_bytes="16MB", num_workers=1)
        case "mosaic-streaming":
            from streaming import MDSWriter

            with MDSWriter(out=str(path), columns={"x": "bytes"}, size_limit=16 * 2**20) as sink:
                for chip in codes:
                    sink.write({"x": encoded(chip)})


class _Encoded:
    """Encodes one chip; pickles, as litdata's workers need it."""

    def __init__(self, codes: Any) -> None:
        self.codes = codes

    def __call__(self, index: int) -> bytes:
        return encoded(self.codes[index])


class _quiet:  # noqa: N801  used as a function
    """Sends litdata's prints and bars to nowhere."""

    def __enter__(self) -> None:
        self.before = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = io.StringIO()

    def __exit__(self, *_: object) -> None:
        sys.stdout, sys.stderr = self.before


def run(loader: Iterable[Any]) -> dict[str, float]:
    """Return the best of the epochs behind the first: chips a second, and CPU ms a chip of all processes."""
    best: dict[str, float] = {}
    for epoch in range(EPOCHS):
        cpu, start, first, n, held = _cpu(), time.perf_counter(), 0.0, 0, 0
        for batch in loader:
            first = first or time.perf_counter()
            n += len(batch["image"])
            held = held or len(batch["image"])
        end = time.perf_counter()
        if epoch:
            found = {
                "chips_per_s": n / (end - start),
                "steady_chips_per_s": (n - held) / (end - first),
                "cpu_ms": 1e3 * (_cpu() - cpu) / n,
            }
            best = {key: (min if key == "cpu_ms" else max)(value, best.get(key, value)) for key, value in found.items()}
    return best | {"chips": n}


def _cpu() -> float:
    """Return CPU seconds of this process and of its workers that ended."""
    times = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in times)


def main() -> None:
    """Write or read, as the command line says."""
    what, name, path, scale, *shape = sys.argv[1:]
    if name in {"mosaic-streaming", "litdata"}:
        from peers.shim import operators_of_torchvision

        operators_of_torchvision()
    if what == "write":
        write(name, Path(path), np.load(scale, mmap_mode="r"))
        return
    sizes = tuple(map(int, shape))
    torch.manual_seed(0)
    loaders = {"webdataset": webdataset, "litdata": litdata, "mosaic-streaming": mosaic}
    if name == "np.memmap":
        loader = memmap(Path(path), float(scale))
    elif name in loaders:
        loader = loaders[name](Path(path), float(scale), sizes)
    else:
        loader = ours(Path(path))
    print(json.dumps(run(loader)))


if __name__ == "__main__":
    main()
