"""Windows: every chip once, anchored to the zone's grid and not to what happens to be there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.pipeline.windows import EDGE, MAX_SPARE, Window, cut
from m3leo_prep.ports.source import READ_MARGIN

GRID = Grid(32, 10)
NORTH, SOUTH, NEXT = 32632, 32732, 32633


def make_cells(places: list[tuple[int, int, int]]) -> Cells:
    epsg, col, row = (np.array(column, np.int32) for column in zip(*places, strict=True))
    return Cells(GRID, epsg, col, row)


def windows_of(cells: Cells, edge: int = EDGE) -> list[Window]:
    return cut(cells, np.arange(len(cells)), edge)


_places = st.lists(
    st.tuples(st.sampled_from([NORTH, SOUTH, NEXT]), st.integers(-20, 20), st.integers(0, 30)),
    min_size=1,
    max_size=40,
    unique=True,
)


@given(places=_places, edge=st.sampled_from([1, 2, 4, 8]))
def test_every_chip_is_in_exactly_one_window(places: list[tuple[int, int, int]], edge: int) -> None:
    cells = make_cells(places)
    windows = windows_of(cells, edge)
    assert sorted(i for window in windows for i in window.index.tolist()) == list(range(len(cells)))
    for window in windows:
        assert len(window) == len(window.cells) == len(window.index)
        assert window.cells.ids() == cells[window.index].ids()


@given(places=_places, edge=st.sampled_from([1, 2, 4, 8]))
def test_a_window_lies_in_one_aligned_block_and_fits_its_chips(places: list[tuple[int, int, int]], edge: int) -> None:
    blocks: list[set[tuple[int, int, int]]] = []
    for window in windows_of(make_cells(places), edge):
        epsg, col, row = window.cells.epsg, window.cells.col, window.cells.row
        here = {
            (int(e), int(np.floor(c / edge)), int(np.floor(r / edge))) for e, c, r in zip(epsg, col, row, strict=True)
        }
        assert len(here) == 1
        rows, cols = window.shape
        assert 1 <= rows <= window.edge <= edge
        assert 1 <= cols <= window.edge
        blocks.append(
            {
                (int(epsg[0]), int(c), int(r))
                for c in range(min(col), max(col) + 1)
                for r in range(min(row), max(row) + 1)
            }
        )
        assert {0} <= set((col - col.min()).tolist())
        assert window.geobox(10.0).shape == (rows * 32, cols * 32)
    assert len(set().union(*blocks)) == sum(len(block) for block in blocks), "no ground is read twice"


@given(places=_places)
def test_little_more_is_read_than_is_kept(places: list[tuple[int, int, int]]) -> None:
    """With the margin of kernels around it, a window of 448-px chips has less than 1.2 of its chips' pixels."""
    for window in windows_of(make_cells(places)):
        rows, cols = window.shape
        read = (rows * 448 + 2 * READ_MARGIN) * (cols * 448 + 2 * READ_MARGIN)
        assert read <= 1.2 * len(window) * 448**2


@given(places=_places)
def test_a_block_is_cut_only_where_it_must_be(places: list[tuple[int, int, int]]) -> None:
    cells = make_cells(places)
    for window in windows_of(cells):
        if window.edge < EDGE:
            above = 2 * window.edge
            keys = np.stack([cells.epsg, cells.col // above, cells.row // above])
            mates = cells[(keys == keys[:, window.index[:1]]).all(axis=0)]
            spanned = (int(np.ptp(mates.row)) + 1) * (int(np.ptp(mates.col)) + 1)
            assert spanned > MAX_SPARE * len(mates)


def test_a_full_block_is_one_window_and_a_cluster_in_an_empty_one_too() -> None:
    full = [(NORTH, col, row) for col in range(8, 16) for row in range(16, 24)]
    cluster = [(NORTH, col, row) for col in (2, 3) for row in (4, 5)]
    assert [len(window) for window in windows_of(make_cells(full + cluster))] == [64, 4]
    far = [(NORTH, col, row) for col in (6, 7) for row in (0, 1)]
    assert [len(window) for window in windows_of(make_cells(cluster + far))] == [4, 4]
    missing = [place for place in full if place[1:] not in {(8, 16), (12, 20)}]
    assert [len(window) for window in windows_of(make_cells(missing))] == [62], "62 of 64 are read together"
    corner = [(NORTH, 0, 0), (NORTH, 0, 1), (NORTH, 1, 0)]
    assert [len(window) for window in windows_of(make_cells(corner))] == [1, 1, 1]


@pytest.mark.parametrize("pitch", [10.0, 20.0, 80.0])
@given(places=_places)
def test_each_chip_lies_where_its_window_says(pitch: float, places: list[tuple[int, int, int]]) -> None:
    """Both hemispheres: southern rows count downward, and up is north all the same."""
    cells = make_cells(places)
    size = GRID.chip_size(pitch)
    for window in windows_of(cells):
        box = window.geobox(pitch)
        corners = []
        for index, down, right in window.places():
            chip = GRID.geobox(int(cells.epsg[index]), int(cells.col[index]), int(cells.row[index]), pitch)
            part = box[down * size : (down + 1) * size, right * size : (right + 1) * size]
            assert part == chip
            corners.append((down, right))
        assert len(set(corners)) == len(window)
        downs, rights = zip(*corners, strict=True)
        assert (min(downs), min(rights)) == (0, 0), "cropped to the chips that are there"
        assert (max(downs) + 1, max(rights) + 1) == window.shape


def test_worked_by_hand_in_the_north_and_in_the_south() -> None:
    places = [(0, 8), (0, 9), (8, 8)]  # col, row: two chips in one block, one in the next
    for epsg, first_down in ((NORTH, [1, 0]), (SOUTH, [0, 1])):
        cells = make_cells([(epsg, col, row) for col, row in places])
        one, two = windows_of(cells)
        assert one.index.tolist() == [0, 1]
        assert two.index.tolist() == [2]
        assert one.shape == (2, 1)
        assert [(down, right) for _, down, right in one.places()] == [(first_down[0], 0), (first_down[1], 0)]
    top = windows_of(make_cells([(NORTH, 0, 8), (NORTH, 0, 9)]))[0].geobox(10.0)
    assert (top.affine.c, top.affine.f) == (500_000, 10 * 320)
    top = windows_of(make_cells([(SOUTH, 0, 8), (SOUTH, 0, 9)]))[0].geobox(10.0)
    assert (top.affine.c, top.affine.f) == (500_000, 10_000_000 - 8 * 320)


def test_columns_west_of_the_central_meridian_are_in_blocks_of_their_own() -> None:
    """-1 // 8 is -1: a block never spans the anchor with more than eight cells."""
    cells = make_cells([(NORTH, col, 0) for col in range(-8, 8)])
    assert [window.index.tolist() for window in windows_of(cells)] == [list(range(8)), list(range(8, 16))]


@given(places=_places)
def test_a_block_is_cut_whatever_else_is_in_the_unit(places: list[tuple[int, int, int]]) -> None:
    """The windows of a block are those that the block alone has."""
    cells = make_cells(places)
    keys = np.stack([cells.epsg, cells.col // EDGE, cells.row // EDGE])
    together = {tuple(window.index.tolist()) for window in windows_of(cells)}
    for key in np.unique(keys, axis=1).T:
        block = np.flatnonzero((key == keys.T).all(axis=1))
        for window in cut(cells[block], block):
            assert tuple(window.index.tolist()) in together


@given(places=_places)
def test_windows_come_in_order_of_their_first_chip(places: list[tuple[int, int, int]]) -> None:
    firsts = [int(window.index[0]) for window in windows_of(make_cells(places))]
    assert firsts == sorted(firsts)
    for window in windows_of(make_cells(places)):
        assert window.index.tolist() == sorted(window.index.tolist())


@given(places=_places)
def test_splitting_refines_down_to_single_chips(places: list[tuple[int, int, int]]) -> None:
    for window in windows_of(make_cells(places)):
        left = [window]
        for edge in (4, 2, 1):
            left = [part for one in left for part in (one.split() if one.edge > edge else [one])]
            assert sorted(i for part in left for i in part.index.tolist()) == sorted(window.index.tolist())
            for part in left:
                assert part.edge <= edge
                assert max(part.shape) <= edge
                assert len(cut(part.cells, part.index, part.edge)) == 1, "a part is cut no further"
        assert all(len(one) == 1 and one.edge == 1 for one in left)
        assert [one.index.tolist() for one in window.split(1)] == [[i] for i in window.index.tolist()]


def test_a_single_chip_splits_into_itself() -> None:
    (window,) = windows_of(make_cells([(NORTH, 3, 4)]), edge=1)
    (same,) = window.split()
    assert same.index.tolist() == [0]
    assert same.geobox(10.0) == window.geobox(10.0)
