"""Print what leaks under every split policy, and under the first release's tiling and bands on the same ground.

    python scripts/compare_split_policies.py
    python scripts/compare_split_policies.py --units provinces.geojson --units-id iso_3166_2 --json leakage.json

The ground is the north-east of the United States: about 20 000 chips of 448 px of 10 m, in three UTM zones. Labels are
the land cover of the synthetic Earth, 8 x 8 points a chip. The first release tiled CONUS in the one zone of its middle
and cut it into 60 bands; its chips of the same ground are cut out of that.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from m3leo_prep.core import geetiles
from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.core.recipe import AdminModel
from m3leo_prep.core.splits.auto import auto_buffer_km, choose_block_km
from m3leo_prep.core.splits.bands import assign_bands
from m3leo_prep.core.splits.blocks import assign_blocks
from m3leo_prep.core.splits.policy import Assignment, Regions, Split, SplitPolicy
from m3leo_prep.core.splits.regions import assign_regions
from m3leo_prep.core.splits.scattered import assign_random
from m3leo_prep.core.splits.seams import yield_overlaps
from m3leo_prep.pipeline.leakage.report import Leakage, examine_chips
from m3leo_prep.pipeline.splitting.regions import load_units
from m3leo_prep.sources.synthetic.earth import ground
from m3leo_prep.sources.synthetic.facts import LEGEND

AREA = shapely.box(-79.6, 40.6, -70.6, 45.4)
CONUS = shapely.box(-125.0, 24.5, -66.9, 49.4)
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
SEED = 42
YIELDS = SplitPolicy("none").yields
NATIVE = {"250 m": 250.0, "0.1 deg": 11_132.0}
"""Sources whose pixels chips may share: MODIS, and a weather model."""
POINTS = 8
"""Points of land cover along a chip's side."""

Labels = Mapping[str, NDArray[np.float64]]
Case = tuple[str, NDArray[np.object_], NDArray[np.uint8], Labels, SplitPolicy | None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=Path, help="polygons for the policy admin (default: boxes of 0.5 degrees)")
    parser.add_argument("--units-id", default="id", help="the column that names them")
    parser.add_argument("--json", type=Path, help="write the whole reports there")
    chosen = parser.parse_args()
    documents = {}
    print(f"{'':<9}{'chips':>7}{'train':>7}{'val':>6}{'test':>6}{'buffer':>7}", end="")
    print(f"{'apart':>8}{'overlap':>8}{'px 250m':>8}{'px .1°':>7}{'label':>6}")
    for name, polygons, split, labels, policy in cases(units(chosen.units, chosen.units_id)):
        found = examine_chips(polygons, split, labels, native=NATIVE, policy=policy)
        print(line(name, found), flush=True)
        documents[name] = found.document()
    print(LEGEND_OF_TABLE)
    if chosen.json:
        chosen.json.write_text(json.dumps(documents, indent=1), encoding="utf-8")


LEGEND_OF_TABLE = """
buffer     share of all chips that belong to no split because they are too near to another one
apart      least distance from a train to a test chip on the ellipsoid
overlap    share of test chips that lie on ground of a train or val chip
px         share of test chips that may hold a source pixel of that size that a train chip holds too
label      distance in km at which land cover ceases to be alike (Moran's I, the median class)
geetiles   60 bands, as the first release cut them, across this small area on our grid
legacy     the tiling and the 60 bands of the first release, cut out of CONUS"""


def cases(regions: Regions) -> Iterator[Case]:
    """Yield every way to split the ground: name, chips, splits, labels, policy."""
    cells = Grid().cells(AREA)
    polygons = cells.polygons()
    labels = land_cover(polygons)
    for name, assignment, buffer_km in assignments(cells, regions):
        yield name, polygons, assignment.split, labels, SplitPolicy(name, SHARES, SEED, buffer_km=buffer_km)
    yield "none", polygons, np.full(len(cells), Split.NONE, np.uint8), labels, None

    boxes = geetiles.chips(CONUS, 4480)
    split, _ = geetiles.split(boxes, n_bands=60, angle=0.9, shares=SHARES)
    here = shapely.intersects(boxes, AREA)
    yield "legacy", boxes[here], split[here], land_cover(boxes[here]), None


def assignments(cells: Cells, regions: Regions) -> Iterator[tuple[str, Assignment, float]]:
    """Yield every policy: its name, what it assigns, and its buffer in km."""
    buffer_km = auto_buffer_km(math.sqrt(2) * cells.grid.cell_m, 10.0)
    block_km = choose_block_km(cells, buffer_km, SHARES, SEED)
    blocks = assign_blocks(cells, block_km=block_km, buffer_km=buffer_km, shares=SHARES, seed=SEED, yields=YIELDS)
    yield "blocks", blocks, buffer_km
    bands = assign_bands(
        cells,
        band_km=4 * buffer_km,
        angle_deg=30.0,
        buffer_km=buffer_km,
        shares=SHARES,
        seed=SEED,
        yields=YIELDS,
    )
    yield "bands", bands, buffer_km
    homes = [Split(int(home)) for home in regions.homes]
    admin = assign_regions(cells, list(regions.polygons), homes, rest=Split.NONE, buffer_km=buffer_km, yields=YIELDS)
    yield "admin", admin, buffer_km
    held_out = [shapely.box(-73.5, 41.2, -69.8, 42.9), shapely.box(-79.7, 43.0, -76.5, 45.5)]
    region = assign_regions(
        cells, held_out, [Split.TEST, Split.VAL], rest=Split.TRAIN, buffer_km=buffer_km, yields=YIELDS
    )
    yield "region", region, buffer_km
    yield "random", assign_random(cells, shares=SHARES, seed=SEED, yields=YIELDS), 0.0
    split, _ = geetiles.split(cells.polygons(), n_bands=60, angle=0.9, shares=SHARES)
    published = Assignment(split, split, np.full(len(split), -1, np.int64))
    yield "geetiles", yield_overlaps(cells, published, YIELDS), 0.0


def units(path: Path | None, column: str) -> Regions:
    """Return the units of the policy admin, each in one split."""
    if path is not None:
        return load_units(AdminModel(path=str(path.resolve()), id=column), Path.cwd(), SHARES, SEED)[0]
    west, south, east, north = AREA.bounds
    x, y = np.meshgrid(np.arange(west - 0.1, east, 0.5), np.arange(south - 0.1, north, 0.5))
    boxes = np.asarray(shapely.box(x.ravel(), y.ravel(), x.ravel() + 0.5, y.ravel() + 0.5), object)
    homes = np.random.default_rng(SEED).permutation(np.arange(len(boxes)) % 5)
    kinds = np.array([Split.TRAIN, Split.TRAIN, Split.TRAIN, Split.VAL, Split.TEST], np.uint8)
    return Regions(tuple(f"box {k}" for k in range(len(boxes))), kinds[homes], boxes)


def land_cover(polygons: NDArray[np.object_]) -> Labels:
    """Return the class shares of chips with four corners, from the synthetic Earth's truth at points."""
    corners = shapely.get_coordinates(polygons).reshape(len(polygons), 5, 2)[:, :4]
    u, v = (axis.ravel() for axis in np.meshgrid(*[(np.arange(POINTS) + 0.5) / POINTS] * 2))
    weights = np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v])
    lon, lat = np.moveaxis(np.einsum("cka,kp->cpa", corners, weights), -1, 0)
    codes = ground(lon, lat, SEED).classes
    return {entry.name: (codes == entry.code).mean(axis=1) for entry in LEGEND}


def line(name: str, found: Leakage) -> str:
    """Return a row of the table."""
    chips = sum(found.counts.values())
    gap = found.gaps["train-test"]
    apart = "-" if gap is None else f"{gap.metres:,.0f} m"
    shared = {one.layer: f"{one.share:.1%}" if found.counts["test"] else "-" for one in found.pixels}
    overlap = f"{found.overlap.share:.1%}" if found.counts["test"] else "-"
    known = sorted(km for km in found.recommended.values() if km is not None)
    label = f"{known[len(known) // 2]:.0f} km" if known else "-"
    kept = "" if found.promise is None or found.promise.kept else "  promise broken"
    return (
        f"{name:<9}{chips:>7,}{found.counts['train']:>7}{found.counts['val']:>6}{found.counts['test']:>6}"
        f"{found.counts['buffer'] / chips:>7.1%}{apart:>8}{overlap:>8}{shared['250 m']:>8}{shared['0.1 deg']:>7}"
        f"{label:>6}{kept}"
    )


if __name__ == "__main__":
    main()
