"""Sources that composite themselves, and those whose answers are waited for: asked once, several at a time."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import xarray as xr

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.reasons import Reason
from m3leo_prep.pipeline import unit as unit_module
from m3leo_prep.pipeline.build import build
from m3leo_prep.runners.threads import Threads

from .conftest import plan, tree

SOURCE = """
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
from shapely.geometry import box
from m3leo_prep.core.errors import RateLimited, TooLarge, TransientError, TriedOut
from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable


@dataclass(frozen=True)
class Summing:
    '''Gives, on the lattice, the mean of what its items say: 1, 2 and 3; the last two lie east of a meridian.'''

    log: str = ""
    word: str = ""
    reads: int = 1
    kernel: str = "bilinear"
    statistic: str = "mean"

    def describe(self):
        value = Variable("v", Kind.POWER, ("a", "b"), kernel=self.kernel)
        return SourceInfo((value,), version="1", pitch=10.0, composites=True, concurrent_reads=self.reads)

    def find(self, area, slots):
        for n, west in enumerate((-180, 9.3056, 9.3056)):
            yield Item(f"item{n}", box(west, -90, 180, 90), datetime=datetime(2020, 1, 5 + n, tzinfo=UTC))

    def read(self, items, geobox, slot):
        with Path(self.log).open("a") as log:
            names = ",".join(item.id for item in items)
            at = f"{geobox.affine.c} {geobox.affine.f}"
            log.write(f"{slot.label} {geobox.shape[0]}x{geobox.shape[1]} {names} {at}\\n")
        small = geobox.shape[0] * geobox.shape[1] <= 32 * 32
        if self.word == "tried":
            raise TriedOut("it is down")
        if self.word == "limited":
            raise RateLimited("too often")
        if self.word == "large" and not small:
            raise TooLarge("too much")
        x, y = geobox.affine * (0.5, 0.5)
        cols = np.arange(geobox.shape[1]) * 10 + x
        data = np.empty((2, *geobox.shape), np.float32)
        data[0] = 1e-3 * (cols % 977) + sum(int(item.id[-1]) + 1 for item in items) / len(items)
        data[1] = 7
        valid = np.ones(data.shape, bool)
        valid[1] = False
        yield Raster(data, valid, geobox, items[0], "v")
"""

RECIPE = """
name: summing
grid: {chip_px: 32, resolution: 10}
layers:
  a:
    source: "./my_source.py:Summing"
    log: LOG
    word: "WORD"
    reads: READS
    slots: {months: 2020}
"""


@pytest.fixture
def made(tmp_path: Path, write_source):
    """Return a function that builds and gives the result, the dataset, and what the source was asked."""
    base = write_source(SOURCE)

    def make(word: str = "", reads: int = 1, out: str = "d", more: str = "", **how):
        log = tmp_path / f"{out}.log"
        text = RECIPE.replace("LOG", str(log)).replace("WORD", word).replace("READS", str(reads)) + more
        result = build(plan(text, base=base), tmp_path / out, runner=Threads(2), **how)
        return result, tmp_path / out, log.read_text().splitlines()

    return make


def zarr(path: Path) -> xr.Dataset:
    return xr.open_zarr(path / "chips.zarr", group="a", chunks=None).load()


def test_all_items_of_a_slot_are_asked_for_at_once(made) -> None:
    _, path, asked = made()
    ds = zarr(path)
    # January only has items; each window is asked for once, for all of its items together.
    assert len(asked) == len(set(asked))
    assert {line.split()[0] for line in asked} == {"2020-01"}
    assert any("item0,item1,item2" in line for line in asked)
    assert (ds.v_reason[:, 0, 0] == Reason.OK).all()
    assert (ds.v_reason[:, 0, 1] == Reason.NO_ACQUISITION).all()
    assert (ds.v_reason[:, 1:] == Reason.NO_ACQUISITION).all()


def test_the_sources_kernel_is_what_is_recorded(made) -> None:
    _, path, _ = made()
    assert zarr(path).v.attrs["kernel"] == "bilinear"


def test_provenance_names_the_items_that_reach_the_chip(made) -> None:
    _, path, _ = made()
    rows = pq.read_table(next((path / "provenance" / "a").glob("*.parquet"))).to_pandas()
    chips = pq.read_table(path / "chips.parquet").to_pandas()
    west = chips[chips.lon < 9.303]["chip_id"].tolist()
    east = chips[chips.lon > 9.308]["chip_id"].tolist()
    assert west
    assert east
    here = rows[(rows["slot"] == "2020-01") & (rows["band"] == "a")].set_index("chip_id")["items"]
    assert all(list(here[chip]) == ["item0"] for chip in west)
    assert all(list(here[chip]) == ["item0", "item1", "item2"] for chip in east)


def test_many_reads_at_once_give_the_same_bytes(made) -> None:
    _, one, _ = made(reads=1, out="one")
    _, many, asked = made(reads=5, out="many")
    first, second = tree(one), tree(many)
    same = [name for name in first if name.startswith("chips.zarr") and not name.endswith("zarr.json")]
    assert same
    assert all(first[name] == second[name] for name in same)
    assert len(asked) == len(set(asked))


def test_little_memory_means_smaller_windows_and_no_fewer_chips(made) -> None:
    _, large, _ = made(reads=4, out="large")
    _, small, asked = made(reads=4, out="small", work_bytes=50_000)
    assert max(int(line.split()[1].split("x")[1]) for line in asked) == 32
    a, b = tree(large), tree(small)
    # The composite of a window is that of its items: chips west of the meridian have fewer in a window of their own.
    assert set(a) == set(b)


def test_what_is_too_large_is_asked_for_in_parts(made) -> None:
    result, path, asked = made(word="large", reads=3)
    assert result.retryable == 0
    assert (zarr(path).v_reason[:, 0, 0] == Reason.OK).all()
    assert any("64x" in line or "x64" in line for line in asked)


@pytest.mark.parametrize(("word", "reason"), [("tried", Reason.PROVIDER_ERROR), ("limited", Reason.RATE_LIMITED)])
def test_what_was_tried_out_is_asked_for_once_and_left_open(made, word: str, reason: Reason) -> None:
    result, path, asked = made(word=word)
    assert len(asked) == len(set(asked))  # neither repeated nor cut smaller
    assert (zarr(path).v_reason[:, 0] == reason).all()
    assert result.retryable


def test_reads_run_together(tmp_path: Path, write_source) -> None:
    waiting = SOURCE.replace("        with Path(self.log)", "        BOTH.wait()\n        with Path(self.log)")
    base = write_source("import threading\nBOTH = threading.Barrier(2, timeout=20)\n" + waiting)
    text = RECIPE.replace("LOG", str(tmp_path / "log")).replace("WORD", "").replace("READS", "2")
    text = text.replace("{months: 2020}", "{periods: [[2020-01-05, 2020-01-05], [2020-01-06, 2020-01-06]]}")
    # The two slots of a window wait for each other: read one after the other, they would wait in vain.
    result = build(plan(text, base=base), tmp_path / "d", runner=Threads(1))
    assert result.retryable == 0


def test_resampling_is_refused_where_the_source_did_it(made) -> None:
    with pytest.raises(ConfigError, match=r"bilinear") as error:
        made(more="    resampling: nearest\n")
    assert "kernel:" in error.value.hint


def test_a_coarser_lattice_is_made_here(made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_module, "PAUSE_SECONDS", 0.0)
    _, path, _ = made(more="    resolution: 40\n")
    assert zarr(path).v.attrs["kernel"] == "bspline"
