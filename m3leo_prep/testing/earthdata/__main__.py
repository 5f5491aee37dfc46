"""``python -m m3leo_prep.testing.earthdata``: the stand-in by hand."""

from __future__ import annotations

import argparse
import errno
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from m3leo_prep.testing.earthdata.server import EarthdataStandIn


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m m3leo_prep.testing.earthdata",
        description="A stand-in for Earthdata and the Alaska Satellite Facility with a small archive; prints how "
        "to use it. Ctrl-C ends it.",
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", help="where its files are while it runs (default: a temporary one)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8443,
        metavar="N",
        help="on 127.0.0.1, and the next one for the public bucket; 0 takes any that are free (default: %(default)s)",
    )
    parser.add_argument("--empty", action="store_true", help="hold nothing, in place of the example")
    given = parser.parse_args(arguments)
    try:
        with EarthdataStandIn(given.folder, port=given.port) as earthdata:
            if not given.empty:
                from m3leo_prep.testing.earthdata.example import fill

                sys.stderr.write("writing the example's files, some seconds ...\n")
                fill(earthdata)
            try:
                sys.stdout.write(_greeting(earthdata))
                sys.stdout.flush()
                threading.Event().wait()
            except KeyboardInterrupt:
                sys.stderr.write(f"\n{_summary(earthdata)}\n")
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        taken = f"port {given.port} or the next is in use, perhaps by another stand-in; choose another with --port"
        sys.stderr.write(f"error: {taken if error.errno == errno.EADDRINUSE else error}\n")
        return 1
    return 0


def _greeting(earthdata: EarthdataStandIn) -> str:
    """Return what to type elsewhere, and what there is."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in earthdata.environment.items()]
    lines += [
        "",
        "A stand-in for Earthdata and ASF; stop it with Ctrl-C. Type the lines above in another terminal, and",
    ]
    lines += ["ask for real data in a third: only this stand-in's certificate is trusted there. It holds", ""]
    lines += list(_holdings(earthdata)) or ["  nothing"]
    lines += ["", f"and as objects of the public bucket what is below {earthdata.bucket}"]
    return "\n".join(lines) + "\n"


def _holdings(earthdata: EarthdataStandIn) -> Iterator[str]:
    """Yield a line for each dataset: how much, where (west, south, east, north) and when."""
    import shapely

    tiles = sorted({path.parent.name for path in earthdata.bucket.rglob("*.tif")})
    if tiles:
        yield f"  {'gssic':<17} {len(tiles)} tile{'s' * (len(tiles) > 1)}: {', '.join(tiles)}"
    for dataset in dict.fromkeys(granule.dataset for granule in earthdata.held.granules):
        found = [granule for granule in earthdata.held.granules if granule.dataset == dataset]
        bounds = shapely.union_all([granule.footprint for granule in found]).bounds
        first, last = (f"{day:%Y-%m-%d}" for day in (min(g.start for g in found), max(g.stop for g in found)))
        when = first if first == last else f"{first} to {last}"
        where = ",".join(f"{edge:.2f}" for edge in bounds)
        yield f"  {dataset:<17} {len(found)} granules, {when}, --aoi {where}"


def _summary(earthdata: EarthdataStandIn) -> str:
    """Return what was asked in all, one line."""
    failed = sum(request.status >= 400 or not request.status for request in earthdata.requests)
    sent = sum(request.bytes for request in earthdata.requests) / 2**20
    return f"{len(earthdata.requests)} requests, {failed} failed; {sent:.1f} MiB went out"


if __name__ == "__main__":
    sys.exit(main())
