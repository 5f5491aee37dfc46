"""What building each layer takes from its provider, as far as its source can tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.plan import LayerPlan, Plan
from m3leo_prep.core.raster import Item
from m3leo_prep.pipeline.abilities import asked, bare
from m3leo_prep.pipeline.costing.reads import Read, Tasks, layer_reads
from m3leo_prep.pipeline.ordering import needed_items, once
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.ports.cost import Cost, Estimating, Measuring

GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it fall evenly between 0 and 1, whatever the number of slots."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a layer will be charged in one unit of its provider, from a few reads."""

    expected: float
    low: float | None
    """Two standard errors below; None after a single read."""
    high: float | None
    per_pixel: float
    """Of a window that is read."""


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one layer takes."""

    layer: str
    source: str
    cost: Cost
    """Of all that is left to read."""
    measured: int = 0
    """Reads that were tried."""
    spent: Cost = field(default_factory=Cost)
    """What trying them took."""
    charges: Mapping[str, Charge] = field(default_factory=dict)
    """By unit, what was projected from them."""
    is_once: bool = False
    """True where it is of items, each fetched once for the whole build, and not of single windows."""


def costs(
    plan: Plan,
    tasks: Tasks | None = None,
    *,
    layers: Iterable[str] | None = None,
    blobs: Blobs | None = None,
    work_bytes: int,
    measure: int = 0,
    units: Collection[str] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[LayerCost, ...]:
    """Return what building takes, for each layer whose source can tell.

    Args:
        plan: what is built.
        tasks: units to be made, with their records; None = all.
        layers: look at these only; None = all.
        blobs: where the records' shards lie.
        work_bytes: working memory of one worker's window.
        measure: windows of each layer that are read to see what the provider charges, where its source can tell.
        units: measure only layers that may be charged in one of these; None = all.
        say: receives one line per step.

    Raises:
        PrepError: from a source that is measured.
    """
    chosen = None if layers is None else frozenset(layers)
    found = []
    for layer in plan.layers:
        name = layer.layer.name
        source = bare(layer.source)
        if not isinstance(source, Estimating) or (chosen is not None and name not in chosen):
            continue
        todo = [(unit, None) for unit in layer.units(len(plan.cells))] if tasks is None else tasks
        reads = layer_reads(plan, name, todo, blobs, work_bytes)
        is_once = fetches_once(layer)
        items = once(needed_items(plan, name, todo, blobs)) if is_once else []
        cost = _of_items(layer, source, reads, items) if is_once else estimated(layer, source, reads)
        row = LayerCost(name, layer.source.name, cost, is_once=is_once)
        is_wanted = units is None or not row.cost.allowances.keys().isdisjoint(units)
        if measure and reads and is_wanted and isinstance(source, Measuring):
            row = _measured(row, layer, source, reads, measure, say)
        found.append(row)
    return tuple(found)


def fetches_once(layer: LayerPlan) -> bool:
    """Return whether what is fetched of an item serves every window that it reaches."""
    return open_source(layer.source).describe().fetches_once


def _of_items(layer: LayerPlan, source: Estimating, reads: Sequence[Read], items: Sequence[Item]) -> Cost:
    """Return what fetching items takes, each once however many windows it reaches."""
    are_all = all(read.weight == 1 for read in reads)
    windows = list({read.geobox: None for read in reads}) if are_all else []
    return asked(layer.source, "estimate", lambda: source.estimate(windows, layer.layer.slots, items))


def estimated(layer: LayerPlan, source: Estimating, reads: Sequence[Read]) -> Cost:
    """Return what some reads take, by their weights."""

    def ask() -> list[Cost]:
        # What is read nowhere costs nothing, but tells in what the provider charges.
        return [source.estimate([], [], []), *(source.estimate([r.geobox], [r.slot], r.items) for r in reads)]

    return _sum(asked(layer.source, "estimate", ask), [1.0, *(read.weight for read in reads)])


def _sum(parts: Sequence[Cost], weights: Sequence[float]) -> Cost:
    def total(numbers: Iterable[float]) -> float:
        return math.fsum(number * weight for number, weight in zip(numbers, weights, strict=True))

    names = dict.fromkeys(name for part in parts for name in part.units)
    allowances: dict[str, Mapping[str, float]] = {}
    for part in parts:
        allowances |= part.allowances
    return Cost(
        round(total(part.requests for part in parts)),
        round(total(part.bytes for part in parts)),
        (total(part.seconds[0] for part in parts), total(part.seconds[1] for part in parts)),
        {name: total(part.units.get(name, 0.0) for part in parts) for name in names},
        allowances,
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _measured(
    row: LayerCost,
    layer: LayerPlan,
    source: Measuring,
    reads: Sequence[Read],
    wanted: int,
    say: Callable[[str], None],
) -> LayerCost:
    """Return the costs of a layer with what a few reads were charged, projected to all."""
    tried = [reads[k] for k in spread(len(reads), wanted)]
    taken: list[Cost] = []
    for number, read in enumerate(tried, 1):
        say(f"measuring {row.layer}: window {number} of {len(tried)}, {read.slot.label}")

        def ask(read: Read = read) -> Cost:
            return source.measure(read.items, read.geobox, read.slot)

        taken.append(asked(layer.source, "measure", ask))
    pixels = [read.pixels for read in tried]
    whole = math.fsum(read.weight * read.pixels for read in reads)
    spent = _sum(taken, [1.0] * len(taken))
    charges = {name: project([cost.units.get(name, 0.0) for cost in taken], pixels, whole) for name in spent.units}
    units = dict(row.cost.units) | {name: charge.expected for name, charge in charges.items()}
    allowances = dict(row.cost.allowances) | dict(spent.allowances)
    return replace(
        row,
        cost=replace(row.cost, units=units, allowances=allowances),
        measured=len(tried),
        spent=spent,
        charges=charges,
    )


def spread(n: int, wanted: int) -> list[int]:
    """Return ``wanted`` of ``range(n)``: one in each of so many equal parts, at places that vary from part to part.

    Reads are in order of place, and for each place of slots: so all parts of the area and all slots have their turn.
    """
    if n <= wanted:
        return list(range(n))
    return [int((k + (k + 0.5) * GOLDEN % 1) * n / wanted) for k in range(wanted)]


def project(charged: Sequence[float], pixels: Sequence[int], whole: float) -> Charge:
    """Return the charge of ``whole`` pixels from what a few reads were charged: a ratio estimate.

    Its standard error is that of Cochran, Sampling Techniques (1977), section 6.4; less than what was charged already
    it cannot be.
    """
    n, rate = len(charged), math.fsum(charged) / math.fsum(pixels)
    expected = rate * whole
    if n < 2:
        return Charge(expected, None, None, rate)
    squares = math.fsum((c - rate * p) ** 2 for c, p in zip(charged, pixels, strict=True))
    error = math.sqrt(squares / (n * (n - 1))) / (math.fsum(pixels) / n) * whole
    return Charge(expected, max(min(math.fsum(charged), expected), expected - 2 * error), expected + 2 * error, rate)


def check_layers(rows: Sequence[LayerCost], measure: int) -> None:
    """Raise ConfigError if something was to be measured and no source can."""
    if measure and not any(row.measured for row in rows):
        raise ConfigError(
            "no source of this plan can tell what a read takes", hint="leave out --measure, or choose other --layers"
        )
