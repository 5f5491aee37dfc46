"""What a layer takes from each of the sources that its recipe lists."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError, CredentialsError, MissingDependency, SourceError
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.recipe import Recipe, SplitsModel
from m3leo_prep.core.sample import Sample
from m3leo_prep.pipeline.costing.projection import LayerCost, costs
from m3leo_prep.pipeline.origins import Objects
from m3leo_prep.pipeline.plan import make_plan


@dataclass(frozen=True, slots=True)
class Offer:
    """One of the sources of a layer."""

    layer: str
    source: str
    is_chosen: bool
    """The recipe as it stands takes this one."""
    items: int | None
    """None where it cannot be asked."""
    pitch: float | None
    """Metres of the pixels that the layer would have."""
    cost: LayerCost | None
    """None where it cannot tell."""
    obstacle: str = ""
    """Why it cannot be asked, and the way out."""


def compare(
    recipe: Recipe,
    area: Area,
    *,
    base: Path,
    work_bytes: int,
    layers: Collection[str] | None = None,
    sample: Sample | None = None,
    skip_buffer: bool = False,
    sources: Objects | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Offer, ...]:
    """Return what each listed source of each layer would take, layers and sources in the recipe's order.

    A source that lacks a login, a package or data here is an offer with an obstacle.

    Args:
        recipe: of which layers list several sources.
        area: where.
        base: folder that the recipe's relative paths start from.
        work_bytes: working memory of one worker's window.
        layers: look at these only; None = all.
        sample: as for a plan.
        skip_buffer: likewise.
        sources: sources given as objects, by name.
        say: receives one line per step.

    Raises:
        ConfigError: no layer lists several sources, or there is nothing to plan whichever is taken.
    """
    if not skip_buffer:  # which split a chip is in says nothing of what it takes
        recipe = recipe.model_copy(update={"splits": SplitsModel(policy="none")})
    wanted = {name: model for name, model in recipe.layers.items() if layers is None or name in layers}
    plan = partial(make_plan, area=area, base=base, sample=sample, skip_buffer=skip_buffer, sources=sources)
    plan(recipe, only=[])  # what is wrong with the area is told once, and not of every source
    offers: list[Offer] = []
    for name, model in wanted.items():
        for source in model.alternatives:
            say(f"comparing {name} from {source}")
            offers.append(_offer(recipe, name, source, partial(plan, only=[name]), work_bytes))
    if not offers:
        raise ConfigError(
            "no layer here lists several sources", hint="write them as `source: [copernicus, gee]`, or plan it as it is"
        )
    return tuple(offers)


def _offer(recipe: Recipe, layer: str, source: str, planned: Callable[[Recipe], Plan], work_bytes: int) -> Offer:
    is_chosen = recipe.layers[layer].source == source
    try:
        plan = planned(recipe.with_source(layer, source))
        rows = costs(plan, work_bytes=work_bytes)
    except (ConfigError, CredentialsError, MissingDependency, SourceError) as error:
        told = f"{error.message} ({error.hint})" if error.hint else error.message
        return Offer(layer, source, is_chosen, None, None, None, told)
    (made,) = plan.layers
    return Offer(layer, source, is_chosen, len(made.items), made.layer.pitch, rows[0] if rows else None)
