"""What a build takes from its providers: projected, measured, and kept within a budget."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from m3leo_prep import api
from m3leo_prep.core.errors import ConfigError, QuotaReached, SourceError
from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.pipeline.abilities import bare
from m3leo_prep.pipeline.areas import load_area
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.costing import budget as budget_module
from m3leo_prep.pipeline.costing import reads as reads_module
from m3leo_prep.pipeline.costing.budget import Budget, BudgetReached
from m3leo_prep.pipeline.costing.layout import lay_out
from m3leo_prep.pipeline.costing.projection import costs, project, spread
from m3leo_prep.pipeline.costing.reads import layer_reads
from m3leo_prep.pipeline.parts import Part, share
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.todo import find_todo
from m3leo_prep.pipeline.unit import WORK_BYTES
from m3leo_prep.pipeline.windows import cut
from m3leo_prep.runners.threads import Threads

from .conftest import LARGE, area, plan

SOURCE = """
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
import json
import numpy as np
from shapely.geometry import box
from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable
from m3leo_prep.ports.cost import Cost


@dataclass(frozen=True)
class Charging:
    '''A provider that composites, asks for each chip's worth of pixels once, and charges by pixel and item.'''

    log: str = ""
    rate: float = 1e-6
    tells: bool = True
    fails: str = ""
    once: bool = False

    def describe(self):
        value = Variable("v", Kind.CONTINUOUS, ("a",), kernel="bilinear")
        return SourceInfo((value,), version="1", pitch=10.0, composites=True, fetches_once=self.once)

    def find(self, area, slots):
        for month in (1, 2, 3):
            for n, west in enumerate((-180, 9.3056)):
                when = datetime(2020, month, 5 + n, tzinfo=UTC)
                yield Item(f"m{month}n{n}", box(west, -90, 180, 90), datetime=when)

    def _charge(self, items, geobox):
        busy = 1 + geobox.affine.c % 977 / 977  # some places are dearer
        return self.rate * geobox.shape[0] * geobox.shape[1] * len(items) * busy

    def estimate(self, windows, slots, items):
        if self.fails == "estimate":
            raise ValueError("no idea")
        if self.once:
            with Path(self.log).open("a") as log:
                told = ["estimate", len(windows), [slot.label for slot in slots], [i.id for i in items]]
                log.write(json.dumps(told) + "\\n")
            return Cost(2 * len(items), 1000 * len(items))
        n = sum(1 for window in windows for slot in slots)
        size = sum(4 * window.shape[0] * window.shape[1] for window in windows for slot in slots)
        return Cost(n, size, (n * 0.1, n * 1.0), {}, {"fuel": {"Small": 150, "Large": 1000}}, ("a second each",))

    def measure(self, items, geobox, slot):
        self._note("measure", items, geobox, slot)
        units = {"fuel": self._charge(items, geobox)} if self.tells else {}
        return Cost(1, 4 * geobox.shape[0] * geobox.shape[1], (1.0, 1.0), units)

    def advise(self, items, slots):
        return [f"{len(items)} images in {len(slots)} slots"]

    def read(self, items, geobox, slot):
        self._note("read", items, geobox, slot)
        data = np.full((1, *geobox.shape), 7, np.float32)
        yield Raster(data, np.ones(data.shape, bool), geobox, items[0], "v")

    def _note(self, what, items, geobox, slot):
        with Path(self.log).open("a") as log:
            place = [geobox.affine.c, geobox.affine.f, *geobox.shape]
            told = [what, slot.label, place, [i.id for i in items], self._charge(items, geobox)]
            log.write(json.dumps(told) + "\\n")
"""

RECIPE = """
name: charged
grid: {chip_px: 32, resolution: 10}
layers:
  a:
    source: "./my_source.py:Charging"
    log: LOG
    slots: {months: 2020}
  free: {source: ramp}
"""
SLOTS_WITH_ITEMS = 3


class Provider:
    """A source in a file, and what it was asked."""

    def __init__(self, base: Path, log: Path) -> None:
        self.base, self.log = base, log

    def plan(self, more: str = "", where=None, **how):
        text = RECIPE.replace("LOG", str(self.log)).replace("    slots:", more + "    slots:")
        return plan(text, where or area(LARGE), base=self.base, **how)

    def asked(self, what: str = "read"):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in map(json.loads, lines) if line[0] == what]


@pytest.fixture
def provider(tmp_path: Path, write_source) -> Provider:
    return Provider(write_source(SOURCE), tmp_path / "log")


def only(rows):
    (row,) = rows
    return row


# -- windows of a whole layer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit_chips", [64, 256])
@pytest.mark.parametrize("gaps", [0.0, 0.1, 0.6])
def test_the_windows_of_all_units_at_once_are_those_of_cut(unit_chips: int, gaps: float) -> None:
    rng = np.random.default_rng(3)
    cells = Grid(448, 10).cells(load_area("luxembourg").geometry)
    south = Cells(cells.grid, cells.epsg + 100, cells.col - 40, cells.row)
    cells = Cells(
        cells.grid, *(np.concatenate([getattr(c, k) for c in (cells, south)]) for k in ("epsg", "col", "row"))
    )
    rows = np.flatnonzero(rng.random(len(cells)) >= gaps)
    layout = lay_out(cells, rows, rows // unit_chips)
    expected = []
    for unit in np.unique(rows // unit_chips):
        mine = rows[rows // unit_chips == unit]
        expected += [(w.index.tolist(), list(w.shape)) for w in cut(cells[mine], mine)]
    found = [(layout.rows(k).tolist(), layout.shape[k].tolist()) for k in range(len(layout))]
    assert found == sorted(expected)
    assert layout.first.tolist() == [rows[0] for rows, _ in found]


def test_no_chips_have_no_windows() -> None:
    cells = Grid(448, 10).cells(load_area("luxembourg").geometry)
    assert len(lay_out(cells, np.array([], int), np.array([], int))) == 0


# -- projection ----------------------------------------------------------------------------------------------------


def test_what_is_projected_is_what_the_build_asks_for(provider: Provider, tmp_path: Path) -> None:
    made = provider.plan()
    row = only(costs(made, work_bytes=WORK_BYTES))
    assert (row.layer, row.source) == ("a", "./my_source.py:Charging")
    build(made, tmp_path / "d", runner=Threads(1))
    asked = provider.asked()
    assert row.cost.requests == len(asked) > 10
    assert row.cost.bytes == sum(4 * line[2][2] * line[2][3] for line in asked)
    assert row.cost.seconds == pytest.approx((0.1 * len(asked), 1.0 * len(asked)))
    assert row.cost.notes == ("a second each",)


def test_every_read_is_the_builds_in_place_slot_and_items(provider: Provider, tmp_path: Path) -> None:
    made = provider.plan()
    for memory in (WORK_BYTES, 60_000):
        tasks = [(unit, None) for unit in made.units(frozenset({"a"}))]
        reads = layer_reads(made, "a", tasks, None, memory)
        provider.log.unlink(missing_ok=True)
        build(made, tmp_path / str(memory), runner=Threads(1), work_bytes=memory)
        told = {
            (r.slot.label, r.geobox.affine.c, r.geobox.affine.f, *r.geobox.shape, *(i.id for i in r.items))
            for r in reads
        }
        assert told == {(line[1], *line[2], *line[3]) for line in provider.asked()}


def test_only_what_is_left_is_projected(provider: Provider, tmp_path: Path) -> None:
    small, out = provider.plan(where=area()), tmp_path / "d"
    build(small, out, runner=Threads(1))
    folder = DatasetFolder(out)
    large = provider.plan(previous=folder.frozen())

    def left(made):
        todo = find_todo(made, made.units(), folder.ledger.records(), folder.blobs)
        return only(costs(made, todo.tasks, blobs=folder.blobs, work_bytes=WORK_BYTES)).cost

    assert left(folder.frozen()).requests == 0
    grown = left(large)
    provider.log.unlink()
    build(large, out, runner=Threads(1))
    assert grown.requests == len(provider.asked())
    assert grown.bytes == sum(4 * line[2][2] * line[2][3] for line in provider.asked())
    assert 0 < grown.bytes < only(costs(large, work_bytes=WORK_BYTES)).cost.bytes


def test_a_sample_of_windows_stands_for_a_real_area(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 5 % (here 2 %), with a tenth of the windows looked at."""
    monkeypatch.setattr("m3leo_prep.core.layer.SHARD_CHIPS", (64,))
    text = (
        RECIPE.replace("LOG", str(provider.log))
        .replace("chip_px: 32", "chip_px: 448")
        .replace("  free: {source: ramp}", "")
    )
    luxembourg = plan(text, load_area("luxembourg"), base=provider.base)
    monkeypatch.setattr(reads_module, "SAMPLE", 10**9)
    exact = only(costs(luxembourg, work_bytes=WORK_BYTES)).cost
    assert (
        len(layer_reads(luxembourg, "a", [(u, None) for u in luxembourg.units()], None, WORK_BYTES)) == exact.requests
    )
    monkeypatch.setattr(reads_module, "SAMPLE", 12)
    tasks = [(u, None) for u in luxembourg.units()]
    some = layer_reads(luxembourg, "a", tasks, None, WORK_BYTES)
    assert len(some) < exact.requests / 2
    sampled = only(costs(luxembourg, work_bytes=WORK_BYTES)).cost
    assert sampled.requests == pytest.approx(exact.requests, rel=0.02)
    assert sampled.bytes == pytest.approx(exact.bytes, rel=0.02)


def test_what_is_fetched_once_is_asked_for_once(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    made = provider.plan("    once: true\n")
    reads = layer_reads(made, "a", [(unit, None) for unit in made.units()], None, WORK_BYTES)
    windows = {read.geobox for read in reads}
    ids = {item.id for read in reads for item in read.items}
    assert len(windows) > 1
    assert 1 < len(ids) < sum(len(read.items) for read in reads)
    row = only(costs(made, work_bytes=WORK_BYTES))
    assert (row.cost.requests, row.cost.bytes) == (2 * len(ids), 1000 * len(ids))
    (told,) = provider.asked("estimate")
    assert told[1] == len(windows)
    assert set(told[3]) == ids
    assert len(told[3]) == len(ids)
    # Of windows that are a sample none are named, and still every item.
    monkeypatch.setattr(reads_module, "SAMPLE", 2)
    assert only(costs(made, work_bytes=WORK_BYTES)).cost == row.cost
    assert [line[1] for line in provider.asked("estimate")] == [len(windows), 0]


def test_a_budget_holds_what_is_fetched_once(provider: Provider, tmp_path: Path) -> None:
    """All of it is allowed before the build begins, and no unit is charged for it again."""
    made = provider.plan("    once: true\n")
    need = only(costs(made, work_bytes=WORK_BYTES)).cost.requests
    assert len(list(made.units(frozenset({"a"})))) > 1
    with pytest.raises(ConfigError, match=f"about {need} requests are needed"):
        build(made, tmp_path / "d", runner=Threads(1), budget=Budget({"requests": need - 1}))
    build(made, tmp_path / "d", runner=Threads(1), budget=Budget({"requests": need}))
    assert len(provider.asked()) == len(
        layer_reads(made, "a", [(unit, None) for unit in made.units()], None, WORK_BYTES)
    )


def test_a_source_that_fails_to_estimate_is_named(provider: Provider) -> None:
    with pytest.raises(SourceError, match=r"Charging.*estimate\(\).*no idea") as error:
        costs(provider.plan("    fails: estimate\n"), work_bytes=WORK_BYTES)
    assert "my_source.py, line" in error.value.where


def test_what_the_source_warns_of_is_in_the_plan(provider: Provider) -> None:
    assert "a: 6 images in 12 slots" in provider.plan().warnings


# -- measuring -----------------------------------------------------------------------------------------------------


def test_measuring_reads_a_few_windows_and_projects_them(provider: Provider) -> None:
    made = provider.plan("    rate: 0.001\n")
    row = only(costs(made, work_bytes=WORK_BYTES, measure=5))
    tried = provider.asked("measure")
    assert row.measured == len(tried) == 5
    assert len({(line[1], *line[2]) for line in tried}) == 5  # never the same window twice
    assert len({line[1] for line in tried}) == SLOTS_WITH_ITEMS
    assert row.spent.requests == 5
    assert row.spent.units["fuel"] == pytest.approx(sum(line[4] for line in tried))
    exact = exact_fuel(made)
    charge = row.charges["fuel"]
    assert charge.low < exact < charge.high
    assert row.cost.units["fuel"] == charge.expected == pytest.approx(exact, rel=0.3)
    everything = only(costs(made, work_bytes=WORK_BYTES, measure=1000)).charges["fuel"]
    assert everything.expected == pytest.approx(exact)
    # The same windows are tried each time.
    again = len(provider.asked("measure"))
    costs(made, work_bytes=WORK_BYTES, measure=5)
    assert provider.asked("measure")[again:] == tried


def exact_fuel(made) -> float:
    tasks = [(unit, None) for unit in made.units(frozenset({"a"}))]
    source = bare(made.layer("a").source)
    return sum(source._charge(r.items, r.geobox) for r in layer_reads(made, "a", tasks, None, WORK_BYTES))


def test_a_projection_worked_by_hand() -> None:
    # Rates 1 and 3 for 10 pixels each: 2 on average; residuals -10 and 10, standard error of the rate 1.
    charge = project([10.0, 30.0], [10, 10], 100.0)
    assert charge == budget_charge(200.0, 40.0, 400.0, 2.0)
    assert project([5.0], [10], 100.0) == budget_charge(50.0, None, None, 0.5)
    assert project([10.0, 10.0], [10, 10], 20.0).low == 20.0  # never less than was charged already


def budget_charge(*parts):
    from m3leo_prep.pipeline.costing.projection import Charge

    return Charge(*parts)


def test_tried_windows_are_spread_over_place_and_slots() -> None:
    places, slots = 40, 12
    tried = spread(places * slots, 24)
    assert len(set(tried)) == 24
    assert tried == sorted(tried)
    assert max(np.diff(tried)) < 2 * places * slots / 24
    assert len({k % slots for k in tried}) >= 8
    assert spread(3, 5) == [0, 1, 2]


# -- budgets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["requests"], "is not a budget"),
        (["requests=many"], "is not a budget"),
        (["requests=-1"], "number from 0"),
        (["requests=nan"], "number from 0"),
        (["requests=1", "requests=2"], "twice"),
    ],
)
def test_what_is_no_budget_is_told(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Budget.parse(texts)


def test_budgets_are_read() -> None:
    assert Budget.parse(["eecu-hours=100", " requests = 5e3 "]).limits == {"eecu-hours": 100.0, "requests": 5000.0}


@pytest.mark.parametrize("name", ["requests", "gigabytes", "fuel"])
def test_a_build_above_its_budget_does_not_begin(provider: Provider, tmp_path: Path, name: str) -> None:
    made = provider.plan("    rate: 0.001\n")
    row = only(costs(made, work_bytes=WORK_BYTES))
    need = {"requests": row.cost.requests, "gigabytes": row.cost.bytes / 1e9, "fuel": exact_fuel(made)}[name]
    with pytest.raises(ConfigError, match=rf"{name} are needed \(a .*the budget is") as error:
        build(made, tmp_path / "d", runner=Threads(1), budget=Budget({name: 0.5 * need}))
    assert all(way in error.value.hint for way in ("--sample", "--layers", "slots"))
    assert provider.asked() == []
    assert len(provider.asked("measure")) == (budget_module.MEASURED if name == "fuel" else 0)
    assert not (tmp_path / "d" / "chips.zarr").exists()


def test_a_build_within_its_budget_is_built(provider: Provider, tmp_path: Path) -> None:
    made = provider.plan("    rate: 0.001\n")
    n = only(costs(made, work_bytes=WORK_BYTES)).cost.requests
    limits = {"requests": n + budget_module.MEASURED, "fuel": 2 * exact_fuel(made)}
    api.build(made, tmp_path / "d", workers=1, budget=limits)
    assert len(provider.asked()) == n


def test_a_name_that_nobody_charges_in_is_refused_before_anything(provider: Provider, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"charged in 'feul'") as error:
        build(provider.plan(), tmp_path / "d", runner=Threads(1), budget=Budget({"feul": 1}))
    assert "fuel" in error.value.hint
    assert not provider.log.exists()


def test_a_provider_that_tells_no_charge_cannot_be_kept_to_one(provider: Provider, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not tell"):
        build(provider.plan("    tells: false\n"), tmp_path / "d", runner=Threads(1), budget=Budget({"fuel": 1e9}))


def test_the_build_stops_before_the_budget_and_goes_on_later(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was projected from too few windows is too little: counting stops the build in time."""
    made, out = provider.plan(), tmp_path / "d"
    exact = only(costs(made, work_bytes=WORK_BYTES)).cost.requests
    monkeypatch.setattr(budget_module.Budget, "check", lambda *_: None)
    limit = exact - 4
    with pytest.raises(BudgetReached, match=r"budget of \d+ requests is reached.*of a are left") as error:
        build(made, out, runner=Threads(2), budget=Budget({"requests": limit}), on_quota="wait")
    assert isinstance(error.value, QuotaReached)
    assert error.value.exit_code == 75
    first = len(provider.asked())
    assert limit - 3 <= first <= limit  # a shard is three requests at most... or none of it
    # Layers that cost nothing are built, and the next run makes the rest.
    assert (out / "chips.zarr" / "free").is_dir()
    build(made, out, runner=Threads(2), budget=Budget({"requests": limit}))
    assert len(provider.asked()) == exact
    keys = [(line[1], *line[2]) for line in provider.asked()]
    assert len(keys) == len(set(keys))


def test_measuring_counts_too(provider: Provider, tmp_path: Path) -> None:
    made = provider.plan("    rate: 0.001\n")
    # All that is left fits; with what measuring took it does not.
    with pytest.raises(ConfigError, match="fuel are needed"):
        build(made, tmp_path / "d", runner=Threads(1), budget=Budget({"fuel": 1.0001 * projected_fuel(made)}))


def projected_fuel(made) -> float:
    return only(costs(made, work_bytes=WORK_BYTES, measure=budget_module.MEASURED)).charges["fuel"].expected


def test_parts_project_their_own_share(provider: Provider, tmp_path: Path) -> None:
    made = provider.plan()
    whole = only(costs(made, work_bytes=WORK_BYTES)).cost.requests
    shares = []
    for number in (1, 2):
        units = [(u, None) for u in share(made, frozenset({"a"}), Part(number, 2))]
        shares.append(only(costs(made, units, work_bytes=WORK_BYTES)).cost.requests)
    assert sum(shares) == whole
    assert min(shares) > 0
    build(made, tmp_path / "d", runner=Threads(1), part=Part(1, 2), budget=Budget({"requests": shares[0]}))
    assert len(provider.asked()) == shares[0]
    with pytest.raises(ConfigError, match="requests are needed"):
        build(made, tmp_path / "d", runner=Threads(1), part=Part(2, 2), budget=Budget({"requests": shares[1] - 1}))
