"""Windows: every chip once, anchored to the zone's grid and not to what happens to be there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.pipeline.windows import EDGE, Window, cut

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
    blocks = []
    for window in windows_of(make_cells(places), edge):
        epsg, col, row = window.cells.epsg, window.cells.col, window.cells.row
        here = {
            (int(e), int(np.floor(c / edge)), int(np.floor(r / edge))) for e, c, r in zip(epsg, col, row, strict=True)
        }
        assert len(here) == 1
        blocks += here
        rows, cols = window.shape
        assert 1 <= rows <= edge
        assert 1 <= cols <= edge
        assert {0} <= set((col - col.min()).tolist())
        assert window.geobox(10.0).shape == (rows * 32, cols * 32)
    assert len(blocks) == len(set(blocks)), "one window a block"


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
    places = [(0, 8), (1, 9), (8, 8)]  # col, row: two chips in one block, one in the next
    for epsg, first_down in ((NORTH, [1, 0]), (SOUTH, [0, 1])):
        cells = make_cells([(epsg, col, row) for col, row in places])
        one, two = windows_of(cells)
        assert one.index.tolist() == [0, 1]
        assert two.index.tolist() == [2]
        assert one.shape == (2, 2)
        assert [(down, right) for _, down, right in one.places()] == [(first_down[0], 0), (first_down[1], 1)]
    top = windows_of(make_cells([(NORTH, 0, 8), (NORTH, 1, 9)]))[0].geobox(10.0)
    assert (top.affine.c, top.affine.f) == (500_000, 10 * 320)
    top = windows_of(make_cells([(SOUTH, 0, 8), (SOUTH, 1, 9)]))[0].geobox(10.0)
    assert (top.affine.c, top.affine.f) == (500_000, 10_000_000 - 8 * 320)


def test_columns_west_of_the_central_meridian_are_in_blocks_of_their_own() -> None:
    """-1 // 8 is -1: a block never spans the anchor with more than eight cells."""
    cells = make_cells([(NORTH, col, 0) for col in range(-8, 8)])
    assert [window.index.tolist() for window in windows_of(cells)] == [list(range(8)), list(range(8, 16))]


@given(places=_places)
def test_windows_do_not_depend_on_the_other_chips_of_the_unit(places: list[tuple[int, int, int]]) -> None:
    """What else is in the unit may crop a window, but a chip stays in its block."""
    cells = make_cells(places)
    half = np.arange(0, len(cells), 2)
    together = {i: n for n, window in enumerate(windows_of(cells)) for i in window.index.tolist()}
    alone = {i: n for n, window in enumerate(cut(cells[half], half)) for i in window.index.tolist()}
    for a in half.tolist():
        for b in half.tolist():
            assert (together[a] == together[b]) == (alone[a] == alone[b])


@given(places=_places)
def test_windows_come_in_order_of_their_first_chip(places: list[tuple[int, int, int]]) -> None:
    firsts = [int(window.index[0]) for window in windows_of(make_cells(places))]
    assert firsts == sorted(firsts)
    for window in windows_of(make_cells(places)):
        assert window.index.tolist() == sorted(window.index.tolist())


@given(places=_places)
def test_splitting_refines_down_to_single_chips(places: list[tuple[int, int, int]]) -> None:
    for window in windows_of(make_cells(places)):
        assert window.edge == EDGE
        parts = window.split()
        assert sorted(i for part in parts for i in part.index.tolist()) == sorted(window.index.tolist())
        for part in parts:
            assert part.edge == EDGE // 2
            assert max(part.shape) <= EDGE // 2
            again = cut(part.cells, part.index, EDGE // 2)
            assert len(again) == 1, "a part is one aligned block of half the edge"
        singles = [one for two in parts for four in two.split() for one in four.split()]
        assert sorted(i for one in singles for i in one.index.tolist()) == sorted(window.index.tolist())
        assert all(len(one) == 1 and one.edge == 1 for one in singles)
        assert [one.index.tolist() for one in window.split(1)] == [[i] for i in window.index.tolist()]


def test_a_single_chip_splits_into_itself() -> None:
    (window,) = windows_of(make_cells([(NORTH, 3, 4)]), edge=1)
    (same,) = window.split()
    assert same.index.tolist() == [0]
    assert same.geobox(10.0) == window.geobox(10.0)
