"""``python -m m3leo_prep.testing.hub``: the stand-in by hand."""

from __future__ import annotations

import argparse
import errno
import sys
import threading

from m3leo_prep.testing.hub.server import HubStandIn


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m m3leo_prep.testing.hub",
        description="A stand-in for the Hugging Face Hub on this machine; prints how to use it. Ctrl-C ends it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=8096, metavar="N", help="on 127.0.0.1; 0 takes any that is free")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="that every answer waits")
    given = parser.parse_args(arguments)
    try:
        with HubStandIn(port=given.port, latency=given.latency) as hub:
            sys.stdout.write(_greeting(hub))
            sys.stdout.flush()
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                sys.stderr.write(f"\n{_summary(hub)}\n")
    except KeyboardInterrupt:  # a second one
        return 0
    except OSError as error:
        taken = (
            f"port {given.port} is in use, perhaps by another stand-in; choose another one with --port, or 0 for any"
        )
        sys.stderr.write(f"error: {taken if error.errno == errno.EADDRINUSE else error}\n")
        return 1
    return 0


def _greeting(hub: HubStandIn) -> str:
    """Return what to type elsewhere."""
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "HF_HUB_DISABLE_XET": "1"}
    lines = [f"export {name}={value}" for name, value in settings.items()]
    lines += ["", "A stand-in for the Hugging Face Hub: user 'me', organisation 'our-lab'; stop it with Ctrl-C."]
    lines += [f"Read only: HF_TOKEN={hub.read_token}. Another user: HF_TOKEN={hub.stranger_token}."]
    return "\n".join(lines) + "\n"


def _summary(hub: HubStandIn) -> str:
    """Return what was asked in all, one line."""
    failed = sum(request.status >= 400 or not request.status for request in hub.requests)
    sent = sum(request.bytes for request in hub.requests) / 2**20
    received = sum(request.received for request in hub.requests) / 2**20
    return f"{len(hub.requests)} requests, {failed} failed; {received:.1f} MiB came in, {sent:.1f} MiB went out"


if __name__ == "__main__":
    sys.exit(main())
