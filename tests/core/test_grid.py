"""The UTM grid: checks D1 to D7, ids, ownership, ground areas."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from m3leo_prep.core.cover import z_order
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells, Grid, owned_mask
from m3leo_prep.core.zones import all_zones, project, unproject, zone_of

GRID = Grid()
QUICK = settings(max_examples=25, deadline=None, derandomize=True)
GEOD = Geod(ellps="WGS84")


def keys(cells: Cells) -> set[tuple[int, int, int]]:
    return set(zip(cells.epsg.tolist(), cells.col.tolist(), cells.row.tolist(), strict=True))


def geodesic_km2(geometry: shapely.Geometry) -> float:
    parts = [shapely.geometry.polygon.orient(part) for part in shapely.get_parts(geometry)]
    return sum(abs(GEOD.geometry_area_perimeter(shapely.segmentize(part, 0.02))[0]) for part in parts) / 1e6


# --- D1: exact corners -----------------------------------------------------------------------------------


@pytest.mark.parametrize("epsg", [32632, 32732, 32601, 32760])
def test_d1_a_chip_is_4480_m_with_corners_on_multiples_of_10_m(epsg):
    for col, row in [(0, 0), (-1, 0), (74, 2083), (-75, 1233)]:
        box = GRID.geobox(epsg, col, row)
        a = box.affine
        assert tuple(box.shape) == (448, 448)
        assert (a.a, a.b, a.d, a.e) == (10.0, 0.0, 0.0, -10.0)
        assert (a.c % 10, a.f % 10) == (0, 0)
        bounds = box.extent.boundingbox
        assert (bounds.right - bounds.left, bounds.top - bounds.bottom) == (4480.0, 4480.0)
        assert a.c == 500_000 + col * 4480
        assert a.f == (10_000_000 - row * 4480 if epsg > 32700 else (row + 1) * 4480)
        assert box.crs.epsg == epsg


def test_a_block_is_its_chips_side_by_side():
    for epsg in (32633, 32733):
        block = GRID.block_geobox(epsg, -3, 40, 4, 3, 20)
        assert tuple(block.shape) == (3 * 224, 4 * 224)
        down = 1 if epsg > 32700 else -1
        for y in range(3):
            for x in range(4):
                chip = GRID.geobox(epsg, -3 + x, 40 + down * y, 20)
                assert chip.affine.c == block.affine.c + x * 4480
                assert chip.affine.f == block.affine.f - y * 4480
                assert chip.affine[0] == block.affine[0] == 20


@pytest.mark.parametrize(("pitch", "near"), [(30.0, "28 m, 32 m"), (0.0, "1 m"), (9000.0, "4480 m"), (3.3, "4 m")])
def test_a_pitch_that_does_not_divide_the_chip_is_refused_with_the_nearest_that_do(pitch, near):
    with pytest.raises(ConfigError, match="does not divide") as error:
        GRID.geobox(32632, 0, 0, pitch)
    assert near in error.value.hint


def test_the_lattices_of_the_design_divide_the_chip():
    assert [GRID.chip_size(pitch) for pitch in (10, 20, 40, 80, 140, 2.5)] == [448, 224, 112, 56, 32, 1792]
    assert [Grid(100, 10.0).chip_size(pitch) for pitch in (10, 20, 40, 100, 250)] == [100, 50, 25, 10, 4]


@pytest.mark.parametrize("bad", [(0, 10.0), (3, 0.5), (448, 1000.0)])
def test_a_grid_without_whole_metres_is_refused(bad):
    with pytest.raises(ConfigError, match="has a side of"):
        Grid(*bad)


# --- D2: ids -----------------------------------------------------------------------------------------------


def test_d2_golden_ids():
    """These never change: published datasets carry them."""
    assert GRID.chip_id(32632, 12, 1234) == "u1_4480_32N_E012_1234"
    assert GRID.chip_id(32632, -1, 0) == "u1_4480_32N_W001_0000"
    assert GRID.chip_id(32705, 0, 7) == "u1_4480_05S_E000_0007"
    x, y = project(32632, 9.45, 57.2)
    cell = GRID.cells(shapely.box(9.4499, 57.1999, 9.4501, 57.2001))
    assert cell.ids() == ["u1_4480_32N_E006_1415"]
    assert (int((x - 5e5) // 4480), int(y // 4480)) == (6, 1415)


@QUICK
@given(st.sampled_from(all_zones()), st.integers(-2000, 2000), st.integers(0, 99_999), st.sampled_from([448, 100]))
def test_d2_ids_round_trip(epsg, col, row, chip_px):
    grid = Grid(chip_px)
    assert grid.parse_id(grid.chip_id(epsg, col, row)) == (epsg, col, row)


def test_d2_a_million_ids_do_not_collide():
    col, row = np.meshgrid(np.arange(-250, 250, dtype=np.int32), np.arange(1000, dtype=np.int32))
    n = col.size
    ids: list[str] = []
    for epsg in (32632, 32732):
        cells = Cells(GRID, np.full(n, epsg, np.int32), col.ravel(), row.ravel())
        ids += cells.ids()
        for k in (0, 1, 249_999, n - 1):
            assert cells.ids()[k] == GRID.chip_id(epsg, int(cells.col[k]), int(cells.row[k]))
    assert len(set(ids)) == len(ids) == 1_000_000


@pytest.mark.parametrize(
    "bad",
    [
        "u2_4480_32N_E012_1234",
        "u1_1000_32N_E012_1234",
        "u1_4480_61N_E012_1234",
        "u1_4480_00N_E012_1234",
        "u1_4480_32N_W000_1234",
        "u1_4480_32N_E0012_1234",
        "u1_4480_32N_E012_01234",
        "u1_4480_32N_E012_1234\n",
        "1bc070af07c71",
        "",
    ],
)
def test_d2_a_foreign_or_non_canonical_id_is_refused(bad):
    with pytest.raises(ConfigError, match="is not a chip id of this grid"):
        GRID.parse_id(bad)


# --- D3: no gap, one owner ----------------------------------------------------------------------------------


def pack(epsg, col, row) -> np.ndarray:
    return (np.asarray(epsg, np.int64) << 40) + ((np.asarray(col, np.int64) + 2**19) << 20) + row


def points_in(south: float, north: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-180, 180, n), rng.uniform(south, north, n)


@pytest.mark.parametrize(("south", "north"), [(-1, 1), (29, 31), (59, 61), (79, 81), (-60, -58), (71, 73), (55, 57)])
def test_d3_every_point_lies_in_a_chip_and_is_owned_once(south, north):
    cells = GRID.cells(shapely.box(-180, south, 180, north))
    have = np.sort(pack(cells.epsg, cells.col, cells.row))
    lon, lat = points_in(south, north, 100_000, 1)
    owners = np.zeros(len(lon), int)
    covered = np.zeros(len(lon), int)
    own = zone_of(lon, lat)
    for epsg in np.unique(own):
        # Points that could lie under this zone's cells: the zone and a degree around, in its own hemisphere.
        distance = np.abs((lon - (epsg % 100 * 6 - 183) + 180) % 360 - 180) * np.cos(np.radians(lat))
        near = np.flatnonzero((distance < 7) & ((lat >= 0) == (epsg < 32700)))
        x, y = project(int(epsg), lon[near], lat[near])
        col = np.floor((x - 500_000) / 4480).astype(np.int64)
        row = np.floor((1e7 - y if epsg > 32700 else y) / 4480).astype(np.int64)
        wanted = pack(epsg, col, row)
        inside = have[np.searchsorted(have, wanted).clip(max=len(have) - 1)] == wanted
        covered[near] += inside
        owners[near] += inside & (own[near] == epsg)
    assert covered.min() >= 1
    assert (owners == 1).all()
    assert covered.max() > 1  # cells do overlap along the seams, so the ownership above was needed


def test_d3_the_naive_rule_centre_in_strip_would_leave_gaps():
    """Guards the test above: cells taken by their centre miss ground at a seam."""
    cells = GRID.cells(shapely.box(10, 59, 14, 61))
    lon, lat = cells.lon_lat()
    by_centre = cells[zone_of(lon, lat) == cells.epsg]
    rng = np.random.default_rng(2)
    lon, lat = 12 + rng.uniform(-0.1, 0.1, 20_000), rng.uniform(59.1, 60.9, 20_000)

    def gaps(chosen: Cells) -> int:
        tree = shapely.STRtree(chosen.polygons())
        hit = tree.query(shapely.points(lon, lat), predicate="within")[0]
        return len(lon) - len(np.unique(hit))

    assert gaps(cells) == 0
    assert gaps(by_centre) > 0


def test_the_owned_mask_is_the_zone_of_each_pixel_centre():
    lon, lat = 12.0, 60.0
    x, y = project(32632, lon, lat)
    col, row = int((x - 500_000) // 4480), int(y // 4480)
    mask = owned_mask(GRID, 32632, col, row, 40)
    assert mask.shape == (112, 112)
    assert 0 < mask.mean() < 1
    box = GRID.geobox(32632, col, row, 40)
    for i, j in [(0, 0), (5, 111), (111, 3), (50, 60)]:
        plon, _ = unproject(32632, box.affine.c + (j + 0.5) * 40, box.affine.f - (i + 0.5) * 40)
        assert mask[i, j] == (plon < 12)
    cell = Cells(GRID, *(np.array([v], np.int32) for v in (32632, col, row)))
    assert mask.mean() == pytest.approx(cell.owned_fraction()[0], abs=0.01)
    assert owned_mask(GRID, 32632, 0, 1400).all()


@pytest.mark.parametrize("lat", [0.01, 45.0, 63.9, 71.9, 83.0])
def test_pixels_owned_on_both_sides_of_a_seam_add_up_to_the_ground(lat):
    """Sum of owned pixels over all cells in a box at a seam equals the box, to a pixel along its outline."""
    lon = {63.9: 3.0, 71.9: 6.0, 83.0: 9.0}.get(lat, 6.0)
    step = 6 / 111 / np.cos(np.radians(lat))
    box = shapely.box(lon - step, lat - 0.05, lon + step, lat + 0.05) if lat > 1 else shapely.box(5.9, 0, 6.1, 0.1)
    cells = GRID.cells(box)
    assert len(np.unique(cells.epsg)) == 2
    total = 0.0
    for epsg, col, row in keys(cells):
        geobox = GRID.geobox(epsg, col, row, 40)
        x, y = np.meshgrid(*(geobox.coordinates[axis].values for axis in ("x", "y")))
        plon, plat = unproject(epsg, x, y)
        inside = shapely.contains_xy(box, plon, plat) & owned_mask(GRID, epsg, col, row, 40)
        k = Cells(GRID, *(np.array([v], np.int32) for v in (epsg, col, row))).area_km2()[0] / 4480**2
        total += inside.sum() * 1600 * k
    assert total == pytest.approx(geodesic_km2(box), rel=0.004)


# --- D4: owned areas -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("south", [0.0, -10.0, 40.0, 55.0, 68.0])
def test_d4_owned_areas_of_a_box_add_up(south):
    box = shapely.box(1.0, south, 11.0, south + 10)
    cells = GRID.cells(box)
    inner = shapely.contains_properly(shapely.buffer(box, 1e-9), cells.polygons())
    owned = cells.owned_fraction() * cells.area_km2()
    # Cells across the outline count by the part of their ground inside the box.
    rim = cells[~inner]
    part = shapely.area(shapely.intersection(rim.polygons(), box)) / shapely.area(rim.polygons())
    inside_strip = np.minimum(part, owned[~inner] / rim.area_km2())
    total = owned[inner].sum() + (inside_strip * rim.area_km2()).sum()
    assert total == pytest.approx(geodesic_km2(box), rel=1e-3)
    assert cells.area_km2().sum() > 1.004 * geodesic_km2(box)  # without ownership seams and rim count twice


def test_cell_areas_are_geodesic():
    rng = np.random.default_rng(3)
    for lat in (-75.0, -30.0, 0.05, 45.0, 70.0, 83.5):
        cells = GRID.cells(
            shapely.box(2.9, lat - 0.03, 9.0, lat + 0.03) if lat > 1 else shapely.box(0, lat, 6, lat + 0.05)
        )
        cells = cells[rng.choice(len(cells), 8)]
        for quad, area in zip(cells.polygons(), cells.area_km2(), strict=True):
            # The quad's straight lon/lat edges leave out up to a metre along a parallel.
            assert GEOD.geometry_area_perimeter(quad)[0] / 1e6 == pytest.approx(area, rel=2e-4)


def test_the_area_of_a_cell_at_the_central_meridian_is_exact():
    cell = Cells(GRID, *(np.array([v], np.int32) for v in (32632, 0, 1300)))
    x = 500_000 + np.r_[np.arange(0, 4480, 10), np.full(448, 4480), np.arange(4480, 0, -10), np.zeros(448)]
    y = 1300 * 4480 + np.r_[np.zeros(448), np.arange(0, 4480, 10), np.full(448, 4480), np.arange(4480, 0, -10)]
    lon, lat = unproject(32632, x, y)
    assert GEOD.polygon_area_perimeter(lon, lat)[0] / 1e6 == pytest.approx(cell.area_km2()[0], rel=1e-6)


# --- D5: the antimeridian -------------------------------------------------------------------------------------


def test_d5_an_area_across_the_antimeridian_has_the_cells_of_its_halves():
    west, east = shapely.box(177, -20, 180, -15), shapely.box(-180, -20, -178, -15)
    both = GRID.cells(shapely.MultiPolygon([west, east]))
    assert keys(both) == keys(GRID.cells(west)) | keys(GRID.cells(east))
    assert set(both.epsg.tolist()) == {32760, 32701}
    lon, _ = both.lon_lat()
    assert (np.abs(lon) > 176.9).all()
    assert (np.abs(lon) <= 180).all()
    bounds = shapely.bounds(both.polygons())
    crossing = bounds[:, 2] - bounds[:, 0] > 1
    assert crossing.any()
    assert all(shapely.get_num_geometries(polygon) == 2 for polygon in both.polygons()[crossing])
    # Split or not, the outlines keep their ground.
    assert shapely.area(both.polygons()).sum() == pytest.approx(
        (both.area_km2() / 111.2**2 / np.cos(np.radians(both.lon_lat()[1]))).sum(), rel=0.01
    )
    fraction = both.owned_fraction() * both.area_km2()
    assert fraction.sum() == pytest.approx(geodesic_km2(west) + geodesic_km2(east), rel=0.05)


# --- D6: seams, equator, exceptions --------------------------------------------------------------------------


def test_d6_no_cell_straddles_the_equator():
    cells = GRID.cells(shapely.box(7, -1, 11, 1))
    assert set(cells.epsg.tolist()) == {32632, 32732}
    for polygon, epsg in zip(cells.polygons(), cells.epsg, strict=True):
        _, south, _, north = polygon.bounds
        assert south >= -1e-9 if epsg == 32632 else north <= 1e-9
    rows = {epsg: cells.row[cells.epsg == epsg].min() for epsg in (32632, 32732)}
    assert rows == {32632: 0, 32732: 0}
    touching = cells[(cells.row == 0) & (cells.col == 0)]
    assert touching.owned_fraction().tolist() == [1, 1]
    assert not touching.zone_shared().any()


def test_d6_an_area_that_ends_at_the_equator_stays_in_its_hemisphere():
    assert set(GRID.cells(shapely.box(7, 0, 8, 1)).epsg.tolist()) == {32632}
    assert set(GRID.cells(shapely.box(7, -1, 8, 0)).epsg.tolist()) == {32732}


@pytest.mark.parametrize(
    ("box", "zones"),
    [
        ((5.5, 49.5, 6.5, 50.0), {32631, 32632}),
        ((4.0, 60.0, 6.5, 61.0), {32632}),  # 32V reaches west to 3 E
        ((2.5, 60.0, 3.5, 61.0), {32631, 32632}),
        ((10.0, 78.0, 20.0, 79.0), {32633}),  # 33X: 9 E to 21 E, there is no 32X and 34X
        ((8.5, 78.0, 9.5, 79.0), {32631, 32633}),
        ((20.0, 78.0, 34.0, 79.0), {32633, 32635, 32637}),
        ((4.0, 55.5, 5.0, 56.5), {32631, 32632}),
        ((-180.0, 10.0, 180.0, 10.1), set(range(32601, 32661))),
    ],
)
def test_d6_zones_follow_the_standard_strips(box, zones):
    assert set(GRID.cells(shapely.box(*box)).epsg.tolist()) == zones


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"),
    [
        (0, 0, 32631),
        (6, 45, 32632),
        (5.999999, 45, 32631),
        (-180, 10, 32601),
        (180, 10, 32601),
        (179.999, -10, 32760),
        (540, 10, 32601),
        (3, 56, 32632),
        (2.99, 56, 32631),
        (3, 64, 32631),
        (8.99, 72, 32631),
        (9, 72, 32633),
        (33, 84, 32637),
        (42, 75, 32638),
        (10, -0.0001, 32732),
        (10, 84.0001, 0),
        (10, -80.0001, 0),
        (10, np.nan, 0),
        (np.nan, 10, 0),
        (-1e-15, 10, 32630),
    ],
)
def test_every_point_has_one_zone(lon, lat, epsg):
    assert int(zone_of(lon, lat)) == epsg


@pytest.mark.parametrize(
    "box", [(5.6, 60.0, 6.4, 60.4), (2.6, 59.9, 3.4, 60.3), (4.0, 55.8, 5.0, 56.2), (8, 77.9, 10, 78.2)]
)
def test_no_unmarked_cell_overlaps_a_cell_of_another_zone(box):
    cells = GRID.cells(shapely.box(*box))
    marked = cells.zone_shared()
    polygons = cells.polygons()
    left, right = shapely.STRtree(polygons).query(polygons, predicate="overlaps")
    foreign = cells.epsg[left] != cells.epsg[right]
    overlapping = np.unique(left[foreign])
    if len(np.unique(cells.epsg)) > 1:
        assert len(overlapping) > 0
        assert marked[overlapping].all()
        assert (cells.owned_fraction()[overlapping] == 1).any()  # owned whole and overlapped all the same
    else:
        assert len(overlapping) == 0
    assert marked[cells.owned_fraction() < 1].all()
    assert not marked.all()


# --- D7 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [(0, 84.5, 10, 85.5), (0, 80, 10, 84.01), (-60, -85, -50, -79), (0, -90, 360, 90)])
def test_d7_beyond_utm_is_refused(box):
    with pytest.raises(ConfigError, match="UNSUPPORTED_LATITUDE"):
        GRID.cells(shapely.box(*box))


def test_d7_the_ends_of_utm_are_inside():
    assert len(GRID.cells(shapely.box(10, 83.9, 11, 84))) > 0
    assert len(GRID.cells(shapely.box(10, -80, 11, -79.9))) > 0


def test_no_such_zone_is_refused():
    for epsg in (4326, 32600, 32661, 32761, 3035):
        with pytest.raises(ConfigError, match="not a UTM zone"):
            GRID.geobox(epsg, 0, 0)


# --- the set of cells ------------------------------------------------------------------------------------------

boxes = st.builds(
    lambda lon, lat, w, h: shapely.box(lon, lat, min(lon + w, 180), min(lat + h, 84)),
    st.floats(-179, 178, allow_subnormal=False),
    st.floats(-78, 82, allow_subnormal=False),
    st.floats(0.01, 1.5),
    st.floats(0.01, 0.8),
)


@QUICK
@given(boxes, st.floats(-0.7, 0.7), st.floats(-0.4, 0.4))
def test_cells_of_a_union_are_the_union_of_cells(first, dx, dy):
    second = shapely.affinity.translate(first, dx, dy)
    second = shapely.intersection(second, shapely.box(-180, -80, 180, 84))
    union = shapely.union_all([first, second])
    assert keys(GRID.cells(union)) == keys(GRID.cells(first)) | keys(GRID.cells(second))


@QUICK
@given(boxes, st.floats(0.1, 0.9))
def test_cells_of_a_part_are_among_the_cells_of_the_whole(box, scale):
    part = shapely.affinity.scale(box, scale, scale)
    assert keys(GRID.cells(part)) <= keys(GRID.cells(box))


@QUICK
@given(st.lists(boxes, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_polygons_does_not_matter(parts, random):
    parts = list(shapely.get_parts(shapely.union_all(parts)))
    shuffled = random.sample(parts, len(parts))
    one, two = (GRID.cells(shapely.MultiPolygon(order)) for order in (parts, shuffled))
    assert one.ids() == two.ids()
    assert len(set(one.ids())) == len(one)


@QUICK
@given(boxes)
def test_every_cell_meets_the_area_and_none_is_missing(box):
    """Against an independent, plain search: densified outlines and all cells around."""
    got = keys(GRID.cells(box))
    lon, lat = np.meshgrid(*(np.linspace(*shapely.bounds(box)[axes], 40) for axes in ([0, 2], [1, 3])))
    inside = shapely.contains_xy(box, lon, lat)
    for a, b in zip(lon[inside], lat[inside], strict=True):
        epsg = int(zone_of(a, b))
        x, y = project(epsg, a, b)
        y = 1e7 - y if epsg > 32700 else y
        assert (epsg, int((x - 5e5) // 4480), int(y // 4480)) in got
    cells = GRID.cells(box)
    assert (shapely.distance(cells.polygons(), box) < 1e-4).all()


def test_holes_are_left_out():
    hole = shapely.box(8.4, 50.4, 9.6, 51.6)
    ring = shapely.box(8, 50, 10, 52).difference(hole)
    lon, lat = GRID.cells(ring).lon_lat()
    assert not shapely.contains_xy(shapely.box(8.5, 50.5, 9.5, 51.5), lon, lat).any()
    assert len(GRID.cells(ring)) < len(GRID.cells(shapely.box(8, 50, 10, 52)))


def test_cells_come_by_zone_then_in_z_order():
    cells = GRID.cells(shapely.box(5, -2, 13, 2))
    assert (np.diff(cells.epsg) >= 0).all()
    for epsg in np.unique(cells.epsg):
        zone = cells[cells.epsg == epsg]
        assert (np.diff(z_order(zone.col, zone.row).astype(np.int64)) > 0).all()


def test_z_order_keeps_aligned_blocks_together_also_west_of_the_meridian():
    col, row = (axis.ravel() for axis in np.meshgrid(np.arange(-16, 16), np.arange(32)))
    order = np.argsort(z_order(col, row))
    blocks = np.column_stack([col[order] // 8, row[order] // 8])
    assert (np.diff(blocks, axis=0) != 0).any(axis=1).sum() == 15
    by_hand = [
        sum(((c + 2**20) >> b & 1) << 2 * b | (r >> b & 1) << (2 * b + 1) for b in range(21)) for c, r in [(-5, 9)]
    ]
    assert z_order(np.array([-5]), np.array([9])).tolist() == by_hand


def test_an_empty_or_flat_geometry_has_no_cells():
    for geometry in (shapely.Polygon(), shapely.Point(9, 50), shapely.LineString([(9, 50), (10, 51)])):
        cells = GRID.cells(geometry)
        assert len(cells) == 0
        assert cells.ids() == []
        assert len(cells.polygons()) == len(cells.area_km2()) == len(cells.owned_fraction()) == 0
        assert len(cells.lon_lat()[0]) == len(cells.zone_shared()) == 0


def test_footprints_are_the_projected_corners():
    cells = GRID.cells(shapely.box(8.9, 50, 9.1, 50.1))
    x0, y0 = cells.upper_left()
    for polygon, epsg, x, y in zip(cells.polygons(), cells.epsg, x0, y0, strict=True):
        px, py = project(int(epsg), *np.array(polygon.exterior.coords)[:4].T)
        np.testing.assert_allclose(px, [x, x + 4480, x + 4480, x], atol=1e-4)
        np.testing.assert_allclose(py, [y - 4480, y - 4480, y, y], atol=1e-4)
        assert polygon.exterior.is_ccw


def test_an_edge_along_a_cell_edge_makes_no_sliver_chips():
    """The central meridian and the equator are lines of the grid; what only touches them has no cell beyond."""
    for epsg in all_zones()[::7]:
        middle, sign = epsg % 100 * 6 - 183, -1 if epsg > 32700 else 1
        for lat in (0.0, 17.3, 50.0, 70.0):
            span = sorted((sign * lat, sign * (lat + 0.3)))
            east = GRID.cells(shapely.box(middle, span[0], middle + 0.2, span[1]))
            west = GRID.cells(shapely.box(middle - 0.2, span[0], middle, span[1]))
            assert east.col.min() == 0
            assert west.col.max() == -1
            assert min(east.row.min(), west.row.min()) >= 0
