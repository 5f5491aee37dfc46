"""``python -m m3leo_prep.testing.copernicus``: the stand-in by hand."""

from __future__ import annotations

import argparse
import errno
import shlex
import sys
import threading
from pathlib import Path

from m3leo_prep.testing.copernicus.stand_in import CopernicusStandIn


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m m3leo_prep.testing.copernicus",
        description="A stand-in for the Copernicus Data Space, Earth Search, Planetary Computer and public buckets, "
        "with a small archive; prints how to use it. Ctrl-C ends it.",
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", help="where its files are while it runs (default: a temporary one)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8453,
        metavar="N",
        help="on 127.0.0.1, and the next one for open catalogues; 0 takes any that are free (default: %(default)s)",
    )
    parser.add_argument("--empty", action="store_true", help="hold nothing, in place of the example")
    given = parser.parse_args(arguments)
    try:
        sys.stderr.write("starting PostgreSQL, the STAC server and SeaweedFS, some seconds ...\n")
        with CopernicusStandIn(given.folder, port=given.port) as copernicus:
            if not given.empty:
                from m3leo_prep.testing.copernicus.example import fill

                sys.stderr.write("writing the example's files, some seconds more ...\n")
                fill(copernicus)
            try:
                sys.stdout.write(_greeting(copernicus, empty=given.empty))
                sys.stdout.flush()
                threading.Event().wait()
            except KeyboardInterrupt:
                sys.stderr.write(f"\n{_summary(copernicus)}\n")
    except KeyboardInterrupt:
        return 0
    except RuntimeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except OSError as error:
        taken = f"port {given.port} or the next is in use, perhaps by another stand-in; choose another with --port"
        sys.stderr.write(f"error: {taken if error.errno == errno.EADDRINUSE else error}\n")
        return 1
    return 0


def _greeting(copernicus: CopernicusStandIn, *, empty: bool) -> str:
    """Return what to type elsewhere, and what there is."""
    from m3leo_prep.testing.copernicus.example import BOUNDS

    lines = [f"export {name}={shlex.quote(value)}" for name, value in copernicus.environment.items()]
    lines += [
        "",
        "A stand-in for the Copernicus Data Space and open catalogues; stop it with Ctrl-C. Type the lines above in",
        "another terminal, and ask for real data in a third: only this stand-in's certificates are trusted there.",
    ]
    lines += (
        ["It holds nothing."] if empty else [f"The example lies around --aoi {','.join(map(str, BOUNDS))}; it holds"]
    )
    for catalogue, path in (
        ("Copernicus Data Space", f"https://{copernicus.app.host}/v1"),
        ("Earth Search", copernicus.environment["M3LEO_PREP_EARTH_SEARCH"]),
        ("Planetary Computer", copernicus.environment["M3LEO_PREP_PLANETARY_COMPUTER"]),
    ):
        lines.append(f"  {catalogue:<22} {path}")
        lines += [f"    {line}" for line in copernicus.held(path)]
    return "\n".join(lines) + "\n"


def _summary(copernicus: CopernicusStandIn) -> str:
    """Return what was asked in all, one line; the object store keeps no record."""
    asked = copernicus.requests
    failed = sum(request.status >= 400 or not request.status for request in asked)
    sent = sum(request.bytes for request in asked) / 2**20
    return f"{len(asked)} requests besides those of the object store, {failed} failed; {sent:.1f} MiB went out"


if __name__ == "__main__":
    sys.exit(main())
