"""A server for ``bench_gee.py``, in a process of its own: the stand-in, but its pixels are ready and not computed.

Lists and descriptions of images are the synthetic archive's. Pixels are noise of the type and size asked for, made once
for each: a server that computed them in Python would be slower than the clients to be compared. Commands come on stdin,
one a line: ``latency SECONDS [BYTES]`` (of all answers from now on: so long each, and longer by its bytes at BYTES a
second), ``records`` (prints and forgets what was asked).
"""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from m3leo_prep.testing.earth_engine import LUXEMBOURG, Place, StandIn, SyntheticArchive
from m3leo_prep.testing.earth_engine.serving.answers import Answer, Service
from m3leo_prep.testing.earth_engine.serving.record import Request

_CASTS = {"toUint8": "uint8", "toUint16": "uint16", "toInt16": "int16", "toInt32": "int32", "toFloat": "float32"}


class Ready(Service):
    """Answers requests for pixels at once."""

    bodies: dict[Any, bytes]
    making: threading.Lock
    rate: float
    """Bytes that a connection gets a second."""

    def answer(self, request: Request) -> Answer:
        """Return noise for pixels, and the stand-in's own answer to anything else."""
        if request.route != "computePixels":
            return super().answer(request)
        dtypes = _dtypes(request.expression.graph)
        fields = [(name, dtypes.get(name, "float32")) for name in request.bands]
        width, height = request.size
        self.limits.pixels(width, height, [dtype for _, dtype in fields])
        with self.making:
            key = (tuple(fields), width, height)
            if key not in self.bodies:
                self.bodies[key] = _noise(fields, height, width)
            body = self.bodies[key]
        time.sleep(len(body) / self.rate)
        return Answer(body, "application/octet-stream")


def _noise(fields: list[tuple[str, str]], height: int, width: int) -> bytes:
    rng = np.random.default_rng(0)
    pixels = np.empty((height, width), fields)
    for name, dtype in fields:
        match dtype:
            case "float32":  # power of radar, with speckle
                pixels[name] = 0.1 * rng.standard_gamma(4.0, (height, width), np.float32) / 4
            case "uint8":  # a class that most legends have; of what was observed: yes
                pixels[name] = 1 if name == "observed" else 10
            case _:
                pixels[name] = rng.normal(1500, 60, (height, width))
    file = io.BytesIO()
    np.save(file, pixels)
    return file.getvalue()


def _dtypes(graph: Mapping[str, Any]) -> dict[str, str]:
    """Return the types that bands are cast to, by name: ``cast(unmask(select(image, names)))``."""
    values = graph["values"]

    def node(given: Mapping[str, Any]) -> Mapping[str, Any]:
        return node(values[given["valueReference"]]) if "valueReference" in given else given

    def calls(given: Any) -> Iterator[Mapping[str, Any]]:
        # The casts stand near the root: at most within one ``cat`` and its ``select``.
        call = node(given).get("functionInvocationValue")
        if call is None:
            for one in node(given).get("arrayValue", {}).get("values", []):
                yield from calls(one)
        elif call["functionName"].removeprefix("Image.") in _CASTS:
            yield call
        else:
            for name in ("input", "dstImg", "srcImg", "images"):
                if name in call["arguments"]:
                    yield from calls(call["arguments"][name])

    found: dict[str, str] = {}
    for call in calls(values[graph["result"]]):
        (value,) = call["arguments"].values()
        unmask = node(value)["functionInvocationValue"]
        if unmask["functionName"] != "Image.unmask":
            continue
        select = node(unmask["arguments"]["input"])["functionInvocationValue"]
        names = node(select["arguments"]["bandSelectors"])
        listed = names.get("constantValue") or [node(n)["constantValue"] for n in names["arrayValue"]["values"]]
        found |= dict.fromkeys(listed, _CASTS[call["functionName"].removeprefix("Image.")])
    return found


def main() -> None:
    """Serve until stdin ends; the first line told is the address."""
    server = StandIn(SyntheticArchive(places=(LUXEMBOURG, Place((8.7, 49.4, 9.6, 50.3))), years=(2016, 2020)))
    old = server._service  # noqa: SLF001  (the one thing that is replaced)
    ready = Ready(old.archive, dataclasses.replace(old.limits), old.eecu_rate)
    server._service = ready  # noqa: SLF001  (as above)
    ready.bodies, ready.making, ready.rate = {}, threading.Lock(), float("inf")
    with server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        for line in sys.stdin:
            match line.split():
                case ["latency", seconds, *rate]:
                    server.latency = float(seconds)
                    ready.rate = float(rate[0]) if rate else float("inf")
                    told: Any = "ok"
                case _:
                    told = [_record(request) for request in server.requests]
                    server.requests.clear()
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


def _record(request: Request) -> dict[str, Any]:
    row = {"route": request.route, "began": request.began, "ended": request.ended, "status": request.status}
    row |= {"sent": request.sent, "grid": request.grid, "in_flight": request.in_flight}
    return row | {"assets": request.expression.assets[:1], "bands": request.bands}


if __name__ == "__main__":
    main()
