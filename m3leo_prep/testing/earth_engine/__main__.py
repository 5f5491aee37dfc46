"""``python -m m3leo_prep.testing.earth_engine``: the stand-in by hand."""

from __future__ import annotations

import argparse
import errno
import sys
import time
from pathlib import Path

from m3leo_prep.core.errors import PrepError
from m3leo_prep.testing.earth_engine.holdings.rasters import FolderArchive
from m3leo_prep.testing.earth_engine.holdings.schedule import PLACES, Place
from m3leo_prep.testing.earth_engine.holdings.synthetic import SyntheticArchive
from m3leo_prep.testing.earth_engine.serving.limits import Limits
from m3leo_prep.testing.earth_engine.serving.server import StandIn


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; returns the exit status."""
    given = _parser().parse_args(arguments)
    try:
        return _serve(given)
    except KeyboardInterrupt:
        return 0
    except (PrepError, OSError) as error:
        sys.stderr.write(f"error: {_said(error, given.port)}\n")
        return 1


def _said(error: Exception, port: int) -> str:
    """Return the error, with the way out where the port is taken."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} is in use, perhaps by another stand-in; choose another one with --port, or 0 for any"
    return str(error)


def _serve(given: argparse.Namespace) -> int:
    archive = _archive(given)
    server = StandIn(
        archive,
        port=given.port,
        latency=given.latency,
        limits=Limits(concurrency=given.concurrency, per_second=getattr(given, "per_second", None)),
        eecu_rate=given.eecu_rate,
    )
    server.faults.share = given.faults
    with server:
        sys.stdout.write(_greeting(server, archive, given))
        sys.stdout.flush()
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            sys.stderr.write(f"\n{_summary(server)}\n")
    return 0


def _greeting(server: StandIn, archive: SyntheticArchive | FolderArchive, given: argparse.Namespace) -> str:
    """Return what to type elsewhere, and what there is."""
    lines = [f"export M3LEO_PREP_EE_URL={server.url}", "export M3LEO_PREP_EE_PROJECT=stand-in", ""]
    lines.append("A stand-in for Earth Engine with these collections; stop it with Ctrl-C:")
    lines += [f"  {name}" for name in archive.holdings]
    if given.archive == "synthetic":
        first, last = given.years
        lines.append(f"Radar and optical images are of {first}-{last}, around (west south east north):")
        lines += ["  " + " ".join(f"{edge:g}" for edge in place.bounds) for place in _places(given)]
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m m3leo_prep.testing.earth_engine",
        description="A stand-in for Google Earth Engine on this machine; prints how to use it. Ctrl-C ends it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, default=8095, metavar="N", help="on 127.0.0.1; 0 takes any that is free")
    add("--archive", default="synthetic", metavar="WHAT", help="synthetic, or a folder with an index.yaml")
    add("--years", type=int, nargs=2, default=(2018, 2021), metavar=("FIRST", "LAST"), help="of dated images")
    add("--revisit", type=int, default=15, metavar="DAYS", help="until a track is seen again")
    # Without a default that is shown as None.
    add(
        "--area",
        type=float,
        nargs=4,
        default=argparse.SUPPRESS,
        metavar=("W", "S", "E", "N"),
        help="one more place with radar and optical images, in degrees",
    )
    add("--latency", type=float, default=0.0, metavar="SECONDS", help="that every answer waits")
    add("--concurrency", type=int, default=40, metavar="N", help="requests at once; more are answered 429")
    add(
        "--per-second",
        type=int,
        default=argparse.SUPPRESS,
        metavar="N",
        help="requests a second; more are answered 429 (default: no limit)",
    )
    add("--faults", type=float, default=0.0, metavar="SHARE", help="of the requests that fail once, such as 0.05")
    add("--eecu-rate", type=float, default=0.05, metavar="SECONDS", help="EECU-seconds of a million pixels of an image")
    return parser


def _archive(given: argparse.Namespace) -> SyntheticArchive | FolderArchive:
    if given.archive == "synthetic":
        return SyntheticArchive(places=_places(given), years=tuple(given.years), revisit=given.revisit)
    return FolderArchive(Path(given.archive))


def _places(given: argparse.Namespace) -> tuple[Place, ...]:
    return (*PLACES, Place(tuple(given.area))) if "area" in given else PLACES


def _summary(server: StandIn) -> str:
    """Return what was asked in all, one line."""
    requests = server.requests
    failed = sum(request.status != 200 for request in requests)
    most = max((request.in_flight for request in requests), default=0)
    sent = sum(request.sent for request in requests) / 2**20
    return (
        f"{len(requests)} requests, {failed} of them not answered with 200; at most {most} at once; {sent:.1f} MiB sent"
    )


if __name__ == "__main__":
    sys.exit(main())
