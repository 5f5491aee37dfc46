"""``python -m m3leo_prep.testing.earthdata FOLDER``: the stand-in by hand."""

from __future__ import annotations

import argparse
import errno
import shlex
import sys
import threading
from pathlib import Path

from m3leo_prep.testing.earthdata.server import EarthdataStandIn


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m m3leo_prep.testing.earthdata",
        description="A stand-in for Earthdata and the Alaska Satellite Facility; prints how to use it. Ctrl-C ends it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="where the bucket's objects and the certificate are kept")
    parser.add_argument("--port", type=int, default=8443, metavar="N", help="on 127.0.0.1; 0 takes any that is free")
    parser.add_argument("--example", action="store_true", help="hold the small archive of testing.earthdata.example")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    try:
        with EarthdataStandIn(given.folder, port=given.port) as earthdata:
            if given.example:
                from m3leo_prep.testing.earthdata.example import fill

                fill(earthdata)
            sys.stdout.write(_greeting(earthdata))
            sys.stdout.flush()
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        taken = f"port {given.port} is in use; choose another one with --port, or 0 for any"
        sys.stderr.write(f"error: {taken if error.errno == errno.EADDRINUSE else error}\n")
        return 1
    return 0


def _greeting(earthdata: EarthdataStandIn) -> str:
    """Return what to type elsewhere."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in earthdata.environment.items()]
    lines += [
        "",
        f"A stand-in for Earthdata and ASF with {len(earthdata.held.granules)} granules; stop it with Ctrl-C.",
    ]
    lines += [f"Objects of the public bucket: {earthdata.bucket}"]
    lines += ["Only its own certificate is trusted where these are set: other services need another terminal."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
