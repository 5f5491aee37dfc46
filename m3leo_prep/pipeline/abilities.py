"""The optional abilities of a layer's source: whether it has one, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

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
    """Return what the layer's source warns of."""
    source = bare(plan.source)
    if not isinstance(source, Advising):
        return ()
    said = asked(plan.source, "advise", lambda: tuple(source.advise(plan.items, plan.layer.slots)))
    return tuple(f"{plan.layer.name}: {line}" for line in said)
