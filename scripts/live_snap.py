"""Ask the SNAP on this machine what no stand-in can show: its operators, its parameters, and one tiny graph.

Prints a report to paste into an issue. Needs ESA SNAP, no account, and no network. Run it with ``make live-snap``;
given a Sentinel-1 GRD product (``make live-snap SCENE=S1A_IW_GRDH_...SAFE.zip``) it makes gamma nought of it, too,
which takes tens of minutes and lets SNAP fetch an orbit file and heights.
"""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from m3leo_prep.core.errors import PrepError
from m3leo_prep.sources.snap import dimap, gpt
from m3leo_prep.sources.snap.chains import Grid, rtc
from m3leo_prep.sources.snap.graph import Graph, Node
from m3leo_prep.sources.snap.installed import Snap, find
from m3leo_prep.sources.snap.making import orbits
from m3leo_prep.sources.snap.operators import Read, Write
from m3leo_prep.sources.snap.schema import Declared, operators, releases

GRID = Grid(32632, 10.0)
ANSWER_SECONDS = 300


def main(arguments: list[str]) -> int:
    """Print the report; return how many answers differ from what is taken for granted."""
    try:
        snap = find()
    except PrepError as error:
        print(error)
        return 1
    print(f"# {snap}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n")
    if snap.major not in releases():
        print(f"The operators of release {snap.major} are not known; those of {max(releases())} are compared.\n")
    print("| | question | seen |\n|---|---|---|")
    wrong = 0
    for question, answer in (*_operators(snap), ("A tiny raster is read and written as BEAM-DIMAP", _tiny(snap))):
        wrong += bool(answer)
        print(f"| {'**NO**' if answer else 'yes'} | {question} | {answer or 'as expected'} |")
    for scene in arguments:
        answer, seen = _whole(snap, Path(scene).expanduser())
        wrong += not answer
        print(f"| {'yes' if answer else '**NO**'} | Gamma nought of {Path(scene).name} | {seen} |")
    print(f"\n{wrong} are not as expected." if wrong else "\nAll as expected.")
    return wrong


def _operators(snap: Snap) -> list[tuple[str, str]]:
    """Return for each operator of the schema what ``gpt -h`` tells otherwise; nothing if it is the same."""
    if snap.way != "gpt":
        return [("Operators", "only gpt tells of its operators: unset M3LEO_PREP_SNAPPY")]
    return [(f"`{name}`", _differs(about, _help(snap, name))) for name, about in operators(snap.major).items()]


def _help(snap: Snap, operator: str) -> str:
    command = [str(snap.program), operator, "-h"]
    return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False).stdout


def _differs(about: Declared, told: str) -> str:
    if f"Unknown operator '{about.name}'" in told or "Usage:" not in told:
        return "there is no such operator"
    parts = re.split(r"^\s+-P(\w+)=<[^>]*>", told.partition("Graph XML Format")[0], flags=re.MULTILINE)[1:]
    seen = dict(zip(parts[::2], parts[1::2], strict=True))
    found = [f"has no `{name}`" for name in about.parameters if name not in seen]
    # Those of ReadOp and WriteOp that graphs leave out have no meaning in them.
    found += [
        f"also has `{name}`" for name in seen if name not in about.parameters and about.name not in {"Read", "Write"}
    ]
    for name, parameter in about.parameters.items():
        values = re.search(r"Value must be one of (.*?')\.", re.sub(r"\s+", " ", seen.get(name, "")))
        if values and parameter.values:
            theirs = set(re.findall(r"'([^']*)'", values[1]))
            found += [f"`{name}` takes no '{value}'" for value in parameter.values if value not in theirs]
    return "; ".join(found)


def _tiny(snap: Snap) -> str:
    """Return what is wrong with how SNAP writes a raster whose numbers and place are known."""
    import numpy as np
    import rasterio
    from affine import Affine

    values = np.arange(1, 65, dtype=np.float32).reshape(8, 8)
    place = Affine(10, 0, 500_000, 0, -10, 5_483_520)
    with TemporaryDirectory() as name:
        folder = Path(name)
        profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 1, "dtype": "float32", "crs": "EPSG:32632"}
        with rasterio.open(folder / "tiny.tif", "w", transform=place, **profile) as raster:
            raster.write(values, 1)
        read, write = Read(file=folder / "tiny.tif"), Write(file=folder / "output.dim")
        graph = Graph((Node("Read", read), Node("Write", write, ("Read",))))
        (folder / "graph.xml").write_text(graph.xml(snap.major), encoding="utf-8")
        try:
            gpt.run(snap, folder / "graph.xml", folder / "log", gpt.bounds(), "tiny raster")
            written = dimap.read(folder / "output.dim", GRID, "tiny raster")
        except PrepError as error:
            log = folder / "log"
            last = log.read_text(errors="replace").splitlines()[-3:] if log.exists() else []
            return f"{error.message} {' / '.join(last)}"
        if (written.west, written.north) != (place.c, place.f):
            return f"its corner is at ({written.west}, {written.north}), not ({place.c}, {place.f})"
        (band,) = written.bands
        return "" if np.array_equal(written.rows(band, 0, 8), values) else "its numbers are others"


def _whole(snap: Snap, scene: Path) -> tuple[bool, str]:
    """Run the chain on a real scene, in the zone of 9 degrees east whatever its own is, and look at the result."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        graph = rtc(scene, folder / "output.dim", GRID, ("VV",), incidence=True)
        (folder / "graph.xml").write_text(graph.xml(snap.major), encoding="utf-8")
        log = Path(f"live-snap-{scene.name}.log")
        try:
            gpt.run(snap, folder / "graph.xml", log, gpt.bounds(), scene.name)
            written = dimap.read(folder / "output.dim", GRID, scene.name)
        except PrepError as error:
            return False, f"{error.message} (log: {log})"
        rows, columns = written.shape
        bands = ", ".join(written.bands)
        wanted = {"Gamma0_VV", "layoverShadowMask", "localIncidenceAngle"} <= set(written.bands)
        return wanted, f"{columns} x {rows} px on the chips' grid; {bands}; orbits: {orbits(written)}; log: {log}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
