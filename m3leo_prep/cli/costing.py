"""What a build takes from its providers, for people and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from m3leo_prep.cli.lines import say
from m3leo_prep.cli.render import OUT, duration, print_table, size

if TYPE_CHECKING:
    from m3leo_prep.pipeline.costing.comparison import Offer
    from m3leo_prep.pipeline.costing.projection import Charge, LayerCost


LEAST_SHOWN = 0.001


def costs_document(rows: Sequence[LayerCost]) -> list[dict[str, Any]]:
    """Return the same as JSON values."""
    return [asdict(row) for row in rows]


def short_source(name: str) -> str:
    """Return a source's name, of one in a file only that of its class or of the file: tables are narrow."""
    return name.rpartition(":")[2].rpartition("/")[2]


def print_costs(rows: Sequence[LayerCost]) -> None:
    """Print requests, download and time by layer and provider, then what was measured and what that comes to."""
    if not rows:
        return
    OUT.print()
    table = [_line(row.layer, row.source, [row]) for row in rows]
    for source in dict.fromkeys(row.source for row in rows):
        of_source = [row for row in rows if row.source == source]
        if len(of_source) > 1:
            table.append(_line("together", source, of_source))
    columns = ("layer", "provider", "requests", "download", "time")
    print_table("to be fetched, before compression", columns, table)
    for note in dict.fromkeys(note for row in rows for note in row.cost.notes):
        say(note)
    for row in rows:
        if row.measured:
            _measured(row)
    for unit in dict.fromkeys(unit for row in rows for unit in row.cost.allowances):
        _unit(unit, [row for row in rows if unit in row.cost.allowances])


def offers_document(offers: Sequence[Offer]) -> list[dict[str, Any]]:
    """Return what sources offer as JSON values."""
    return [asdict(offer) for offer in offers]


def print_offers(offers: Sequence[Offer]) -> None:
    """Print what each source that a layer lists would take; the one that the recipe takes has a star."""
    table: list[tuple[Any, ...]] = []
    for offer in offers:
        name = short_source(offer.source) + (" *" if offer.is_chosen else "")
        if offer.items is None:
            table.append((offer.layer, name, "-", "-", "-", "-", "-"))
            continue
        fetched: tuple[Any, ...] = ("not told",) * 3
        if offer.cost is not None:
            fetched = _line(offer.layer, offer.source, [offer.cost])[2:]
        table.append((offer.layer, name, offer.items, f"{offer.pitch:g} m", *fetched))
    columns = ("layer", "source", "items", "pixel", "requests", "download", "time")
    print_table("sources compared; * is what the recipe takes", columns, table)
    for offer in offers:
        name = f"{offer.layer} from {short_source(offer.source)}"
        if offer.obstacle:
            say(f"{name}: {offer.obstacle}")
        elif offer.cost is not None:
            for unit in offer.cost.cost.allowances:
                _unit(unit, [offer.cost], name)
    say("another one is taken with --source LAYER=NAME")


def _line(layer: str, source: str, rows: Sequence[LayerCost]) -> tuple[Any, ...]:
    low, high = (math.fsum(row.cost.seconds[end] for row in rows) for end in (0, 1))
    time = duration(low) if duration(low) == duration(high) else f"{duration(low)} to {duration(high)}"
    if not high:
        time = "not known"
    requests, n_bytes = sum(row.cost.requests for row in rows), sum(row.cost.bytes for row in rows)
    return layer, short_source(source), requests, size(n_bytes), time


def _measured(row: LayerCost) -> None:
    n, spent = row.measured, row.spent
    charged = ", ".join([f"{_number(value)} {_spoken(unit)}" for unit, value in spent.units.items()])
    took = f"{spent.requests:,} requests, {size(spent.bytes)}" + (f", {charged}" if charged else "")
    say(f"measured {row.layer}: reading {n} {'window' if n == 1 else 'windows'} took {took}")
    for unit, charge in row.charges.items():
        say(f"all of {row.layer}: about {_charge(charge)} {_spoken(unit)}", 2)


def _charge(charge: Charge) -> str:
    if charge.low is None or charge.high is None:
        return _number(charge.expected)
    low, expected, high = (_number(value) for value in (charge.low, charge.expected, charge.high))
    return expected if low == high else f"{expected} ({low} to {high})"


def _unit(unit: str, rows: Sequence[LayerCost], name: str = "") -> None:
    """Print what a provider's own unit comes to, of what is called ``name``, beside what the provider gives a month."""
    allowances: dict[str, float] = {}
    for row in rows:
        allowances |= row.cost.allowances[unit]
    unknown = [row.layer for row in rows if unit not in row.cost.units]
    if len(unknown) < len(rows):
        total = math.fsum(row.cost.units.get(unit, 0.0) for row in rows)
        shares = ", ".join(f"{_percent(total / given)} of {tier} ({given:,.0f})" for tier, given in allowances.items())
        spent = f"about {_number(total)}"
        told = f"{name}: {spent} {_spoken(unit)}" if name else f"{_spoken(unit)}: {spent} together"
        say(f"{told}; of what a month gives: {shares}")
    if unknown:
        say(
            f"{_spoken(unit)} of {name or ', '.join(unknown)}: not known before a few windows are read, "
            "which `m3leo-prep plan --measure 4` does"
        )


def _spoken(unit: str) -> str:
    return unit.replace("_", "-")


def _number(value: float) -> str:
    if 0 < value < LEAST_SHOWN:
        return f"less than {LEAST_SHOWN}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _percent(share: float) -> str:
    return "less than 0.1 %" if share < 0.001 else f"{100 * share:,.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"
