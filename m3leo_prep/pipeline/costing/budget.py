"""Budgets: what a build may take from its providers, checked before it begins and kept while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from m3leo_prep.core.errors import ConfigError, QuotaReached
from m3leo_prep.core.plan import Plan, Unit
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.abilities import bare
from m3leo_prep.pipeline.costing.projection import LayerCost, costs, estimated
from m3leo_prep.pipeline.costing.reads import Tasks, unit_reads
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.ports.cost import Cost, Estimating
from m3leo_prep.store.ledger import Record

COUNTED = ("requests", "gigabytes")
"""Names that mean the same with every provider; others are units that some provider charges in."""
MEASURED = 4
"""Windows of each layer that are read first where a budget is in a provider's own unit."""


class BudgetReached(QuotaReached):
    """What was allowed for this build is used up."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one run may take at most, by name: ``requests``, ``gigabytes``, or a provider's own unit."""

    limits: Mapping[str, float]

    def __post_init__(self) -> None:
        for name, limit in self.limits.items():
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit < math.inf:
                raise ConfigError(f"a budget is a number from 0, not '{limit}'", where=name, hint=_EXAMPLE)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Budget:
        """Return the budget written as ``["eecu-hours=100", "requests=5000"]``.

        Raises:
            ConfigError: not of that form, or a name twice.
        """
        limits: dict[str, float] = {}
        for text in texts:
            name, _, number = (part.strip() for part in text.partition("="))
            if name in limits:
                raise ConfigError(f"--budget gives {name} twice", hint="say each once")
            try:
                limits[name] = float(number)
            except ValueError:
                raise ConfigError(f"'{text}' is not a budget", hint=_EXAMPLE) from None
        return cls(limits)

    def check_names(self, rows: Sequence[LayerCost]) -> None:
        """Raise ConfigError for a name that no layer's provider charges in."""
        known = [*COUNTED, *dict.fromkeys(_spoken(unit) for row in rows for unit in row.cost.allowances)]
        for name in self.limits:
            if name not in known:
                raise ConfigError(f"no layer of this build is charged in '{name}'", hint=near(name, known))

    def check(self, rows: Sequence[LayerCost]) -> None:
        """Raise ConfigError if what is projected is more than the budget, with the figures and the ways out."""
        for name, limit in self.limits.items():
            shares = {row.layer: amount(row.cost, name) for row in rows}
            told = {layer: share for layer, share in shares.items() if share}
            if spent := _spent(rows, name):
                told["measuring"] = spent
            total = math.fsum(told.values())
            if total > limit:
                each = ", ".join(f"{what} {_number(share)}" for what, share in told.items())
                raise ConfigError(
                    f"about {_number(total)} {name} are needed ({each}), the budget is {limit:g}",
                    hint="fewer chips with --sample, fewer layers with --layers, fewer slots in the recipe, "
                    "or a larger --budget",
                )


_EXAMPLE = "write it as --budget eecu-hours=100; names: eecu-hours, " + ", ".join(COUNTED)


def amount(cost: Cost, name: str) -> float:
    """Return what a cost comes to under a budget's name; 0 where it is not known."""
    if name == "requests":
        return cost.requests
    if name == "gigabytes":
        return cost.bytes / 1e9
    return cost.units.get(name.replace("-", "_"), 0.0)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _spoken(unit: str) -> str:
    return unit.replace("_", "-")


def _spent(rows: Sequence[LayerCost], name: str) -> float:
    """Return what measuring took."""
    return math.fsum(amount(row.spent, name) for row in rows)


class Meter:
    """Counts what a running build takes, and says stop before it is more than the budget.

    What is fetched once for the whole build is counted from its beginning.
    """

    def __init__(self, budget: Budget, rows: Sequence[LayerCost], plan: Plan, blobs: Blobs, work_bytes: int) -> None:
        self._budget = budget
        self._rates = {row.layer: {name: charge.per_pixel for name, charge in row.charges.items()} for row in rows}
        self._plan = plan
        self._blobs = blobs
        self._work_bytes = work_bytes
        self._once = {row.layer for row in rows if row.is_once}
        self._taken = {
            name: _spent(rows, name) + math.fsum(amount(row.cost, name) for row in rows if row.is_once)
            for name in budget.limits
        }
        self._of_unit: dict[str, Cost] = {}

    def take(self, unit: Unit, prior: Record | None) -> None:
        """Count what making a unit takes.

        Raises:
            BudgetReached: it would be more than the budget; nothing is counted then.
        """
        cost = self._cost(unit, prior)
        for name, limit in self._budget.limits.items():
            taken, more = self._taken[name], amount(cost, name)
            if more and taken + more > limit * (1 + 1e-9):
                raise BudgetReached(
                    f"the budget of {limit:g} {name} is reached: about {_number(taken)} are used, the next "
                    f"shard of {unit.layer} takes {_number(more)}"
                )
        self._of_unit[unit.id] = cost
        for name in self._taken:
            self._taken[name] += amount(cost, name)

    def give_back(self, unit: Unit) -> None:
        """Count a unit that was not made after all as nothing."""
        cost = self._of_unit.pop(unit.id)
        for name in self._taken:
            self._taken[name] -= amount(cost, name)

    def _cost(self, unit: Unit, prior: Record | None) -> Cost:
        layer = self._plan.layer(unit.layer)
        source = bare(layer.source)
        if unit.layer in self._once or not isinstance(source, Estimating):
            return Cost()
        reads = unit_reads(self._plan, unit, prior, self._blobs, self._work_bytes)
        cost = estimated(layer, source, reads)
        pixels = sum(read.pixels for read in reads)
        units = {name: rate * pixels for name, rate in self._rates.get(unit.layer, {}).items()}
        return Cost(cost.requests, cost.bytes, units=units)


def admit(
    budget: Budget,
    plan: Plan,
    tasks: Tasks,
    *,
    layers: frozenset[str],
    blobs: Blobs,
    work_bytes: int,
    say: Callable[[str], None],
) -> Meter:
    """Return the meter of a build that its budget allows; a few windows are read first where a unit asks for it.

    Raises:
        ConfigError: more is projected than the budget, or it names what nobody charges in.
        PrepError: from a source that is measured.
    """
    look = partial(costs, plan, tasks, layers=layers, blobs=blobs, work_bytes=work_bytes, say=say)
    rows = look()
    budget.check_names(rows)
    budget.check(rows)
    own = {name.replace("-", "_") for name in budget.limits.keys() - set(COUNTED)}
    if own:
        rows = look(measure=MEASURED, units=own)
        for row in rows:
            for name in own & row.cost.allowances.keys():
                if row.cost.requests and name not in row.cost.units:
                    raise ConfigError(
                        f"the provider does not tell what reading takes in {_spoken(name)}",
                        where=f"layer {row.layer}",
                        hint="leave out this --budget, or give one in requests or gigabytes",
                    )
        budget.check(rows)
    return Meter(budget, rows, plan, blobs, work_bytes)
