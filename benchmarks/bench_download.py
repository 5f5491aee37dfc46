"""Granules over the network: the share of a throttled server's limit that is used, CPU and memory; prints JSON lines.

python benchmarks/bench_download.py

The servers are processes of their own. ``throttled``: ``m3leo_prep.testing.web``, all connections together get
BANDWIDTH, and each answer waits LATENCY. ``login and TLS``: the Earthdata stand-in, where each connection gets its
share of BANDWIDTH, a granule comes by a redirect to a signed address and goes into the cache. ``unthrottled``: what the
client can do on this machine, with the server beside it. Size and MD5 are checked in all.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import shapely
from reading import shown
from reading.serving import serving

from m3leo_prep.sources.asf.service.granules import granule
from m3leo_prep.sources.http.download import download
from m3leo_prep.testing.earthdata import EarthdataStandIn, Granule

FILES, SIZE = 12, 6 * 10**6
"""A granule of GUNW has 50 to 100 MB; what each costs besides its bytes weighs less there."""
LATENCY = 0.02
BANDWIDTH = 12.5e6
"""Bytes a second: 100 Mbit/s, which the servers can keep to on a busy machine."""
CONNECTIONS = 4
LEAST_SHARE = 0.9
HEAD = b"\x89HDF\r\n\x1a\n"
DAY = datetime(2021, 7, 23)


def main() -> None:
    """Run every case."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-download-") as made:
        folder = Path(made, "served")
        folder.mkdir()
        data = np.random.default_rng(5).bytes(SIZE - len(HEAD))
        names = [f"granule-{number:02d}.nc" for number in range(FILES)]
        for name in names:
            (folder / name).write_bytes(HEAD + data)
        digest = f"md5:{hashlib.md5(HEAD + data, usedforsecurity=False).hexdigest()}"
        for connections, limit in ((1, BANDWIDTH), (CONNECTIONS, BANDWIDTH), (CONNECTIONS, None)):
            with serving(folder, latency=LATENCY if limit else 0, bandwidth=limit) as server:
                fetch = partial(_plain, server.url, Path(made), digest)
                rows.append(_timed("throttled" if limit else "unthrottled", connections, limit, names, fetch))
        with _earthdata(folder, names) as (environment, urls):
            os.environ.update(environment)
            os.environ["M3LEO_PREP_CACHE"] = str(Path(made, "cache"))
            fetch = partial(granule, size=SIZE, checksum=digest, kind="netcdf")
            rows.append(_timed("login and TLS", CONNECTIONS, BANDWIDTH, urls, fetch))
            rows.append(_timed("all in the cache", CONNECTIONS, None, urls, fetch))
    columns = ("", "connections", "MB/s", "share of the limit", "CPU s a GB", "peak MiB")
    shown.table(f"{FILES} granules of {SIZE / 1e6:g} MB", columns, rows)


def _plain(url: str, folder: Path, digest: str, name: str) -> Path:
    return download(f"{url}/{name}", folder / name, size=SIZE, checksum=digest, magic=(HEAD,), where=name)


def _timed(
    case: str, connections: int, limit: float | None, names: list[str], fetch: Callable[[str], Path]
) -> list[object]:
    with ThreadPoolExecutor(connections) as pool:
        busy, start = time.process_time(), time.perf_counter()
        list(pool.map(fetch, names))
        seconds, cpu = time.perf_counter() - start, time.process_time() - busy
    speed = len(names) * SIZE / seconds
    share = speed / limit if limit else None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    target = {"at_least": LEAST_SHARE} if limit and connections == CONNECTIONS else {}
    cpu_per_gb = cpu / (len(names) * SIZE / 1e9)
    shown.line(
        bench="download", case=case, connections=connections, files=len(names), mb=SIZE / 1e6, seconds=seconds,
        bandwidth=limit, mb_per_s=speed / 1e6, share=share, cpu_s_per_gb=cpu_per_gb, peak_mib=peak, **target,
    )  # fmt: skip
    said = shown.verdict(share, LEAST_SHARE, at_least=True) if share is not None and target else share
    return [case, connections, speed / 1e6, said, cpu_per_gb, peak]


@contextmanager
def _earthdata(folder: Path, names: list[str]) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Serve files as granules until the end of the block; yield the environment and the granules' addresses."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(folder, names, theirs), daemon=True)
    process.start()
    try:
        yield mine.recv()
    finally:
        mine.send(None)
        process.join()


def _serve(folder: Path, names: list[str], line: Connection) -> None:
    with EarthdataStandIn() as server:
        server.latency, server.line = LATENCY, BANDWIDTH / CONNECTIONS
        area = shapely.box(0, 0, 1, 1)
        granules = [Granule(name[:-3], "gunw", area, DAY, DAY, files={name: folder / name}) for name in names]
        server.add(*granules)
        line.send((server.environment, [server.url(one) for one in granules]))
        line.recv()


if __name__ == "__main__":
    main()
