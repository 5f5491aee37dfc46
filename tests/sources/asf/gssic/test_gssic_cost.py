"""What is projected is what the bucket then sends, as far as sizes tell it."""

import pytest

from m3leo_prep.core.raster import Item
from m3leo_prep.sources.asf.gssic.cost import fetching, of_file
from m3leo_prep.sources.asf.gssic.layout import HEADER_BYTES
from m3leo_prep.sources.asf.gssic.source import Gssic
from m3leo_prep.sources.asf.gssic.tiles import Tile
from m3leo_prep.testing.earthdata.files.gssic import write_tile
from tests.sources.asf.gssic.gssic_archive import MEXICO
from tests.sources.asf.gssic.test_gssic_reading import SUMMER, asked, chip, find, noise

TILE = Tile.named(MEXICO)


@pytest.mark.parametrize("n", [1, 3, 9])
def test_windows_cost_what_they_are_said_to(earthdata, n):
    """A few windows, and so many that the whole file is fetched."""
    path = write_tile(earthdata.bucket, f"{MEXICO}_summer_vv_COH12", noise())
    source = Gssic(variables={"coherence": ["coh12", "coh24"]})
    windows = [chip(-99.5, 19.05 + 0.1 * k, 32614, 28) for k in range(n)]
    items = find(source, windows[0])
    said = source.estimate(windows, SUMMER, items)
    for window in windows:
        list(source.read(items, window, SUMMER[0]))
    got = asked(earthdata)
    assert said.requests == len(got)
    assert said.bytes == pytest.approx(sum(one.bytes for one in got), abs=0.02 * path.stat().st_size)


def test_no_windows_are_all_rows(earthdata):
    size = 1_000_000
    item = Item("a", TILE.footprint, properties={"tile": MEXICO, "season": "summer", "vv_COH12": size})
    assert fetching([item], ["vv_COH12", "vv_COH24"], []).bytes == HEADER_BYTES + 4 * size // 10 + size
    far = chip(10.5, 47.5, 32632)
    assert fetching([item], ["vv_COH12"], [far]).requests == 0


def test_a_file_by_hand():
    assert of_file(1_000_000, []) == (0, 0)
    assert of_file(1_000_000, [range(2, 4), range(3, 4)]) == (2, HEADER_BYTES + 200_000)
    assert of_file(1_000_000, [range(2, 4), range(3, 8)]) == (3, HEADER_BYTES + 200_000 + 1_000_000)
    assert of_file(9_000, [range(2)]) == (2, 18_000), "the header was all of it"


def test_a_list_of_names_knows_no_size():
    item = Item("a", TILE.footprint, properties={"tile": MEXICO, "season": "summer", "vv_COH12": 0})
    said = fetching([item], ["vv_COH12"], [chip(-99.5, 19.5, 32614)])
    assert (said.requests, said.bytes) == (2, HEADER_BYTES * 0)
    assert "1 files are of unknown size" in said.notes[1]
