"""The optional abilities of a layer's source: whether it has one, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from m3leo_prep.core.choice import PairRule
from m3leo_prep.core.plan import LayerPlan, Plan, SourceSpec
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.ports.advice import Advising
from m3leo_prep.ports.guarded import Guarded, guard

Answer = TypeVar("Answer")


def bare(spec: SourceSpec) -> object:
    """Return the layer's source itself, of which ``isinstance`` tells whether it has an ability of the ports."""
    source = open_source(spec)
    return source.source if isinstance(source, Guarded) else source


def asked(spec: SourceSpec, method: str, ask: Callable[[], Answer]) -> Answer:
    """Return what a source's optional method answers; what goes wrong in somebody's own source is told as its fault."""
    if isinstance(open_source(spec), Guarded):
        with guard(spec.name, f"{method}()"):
            return ask()
    return ask()


def waits_for_providers(plan: Plan, layers: Collection[str] | None = None) -> bool:
    """Return whether several reads at once pay for a layer that is built; None = all layers."""
    built = [one for one in plan.layers if layers is None or one.layer.name in layers]
    return any(open_source(one.source).describe().concurrent_reads > 1 for one in built)


def advice(plan: LayerPlan) -> tuple[str, ...]:
    """Return what the layer's source warns of, and windows of its slots that reach beyond the pairs that it forms."""
    source = bare(plan.source)
    said = _beyond(plan)
    if isinstance(source, Advising):
        said += asked(plan.source, "advise", lambda: tuple(source.advise(plan.items, plan.layer.slots)))
    return tuple(f"{plan.layer.name}: {line}" for line in said)


def _beyond(plan: LayerPlan) -> tuple[str, ...]:
    rule, most = plan.layer.rule, open_source(plan.source).describe().pair_days
    if not isinstance(rule, PairRule) or most is None:
        return ()
    names = [name for name, _, longest in rule.windows if longest > most]
    told = f"the source forms pairs of at most {most} days: pairs beyond are missing in window {', '.join(names)}"
    return (f"{told} (`max_days:` of the layer says so)",) if names else ()
