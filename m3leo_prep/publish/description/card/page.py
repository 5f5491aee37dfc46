"""The card as a whole: its head, what the dataset is, its sections."""

from __future__ import annotations

from collections.abc import Iterator

from m3leo_prep.publish.description.card import contents, origins, using
from m3leo_prep.publish.description.card.about import About
from m3leo_prep.publish.description.card.head import head, pretty_name
from m3leo_prep.publish.description.card.words import escaped, number, several, share, size
from m3leo_prep.publish.description.licences import last_day

MARK = "<!-- Made by m3leo-prep from the dataset's manifest and tables: changes here are lost. -->"
"""How a card of ours is told from a page that somebody wrote."""


def card(about: About) -> str:
    """Return ``README.md``."""
    sections = (
        f"# {escaped(pretty_name(about.manifest))}",
        *_opening(about),
        using.loading(about),
        contents.layers(about),
        contents.splits(about),
        contents.labels(about),
        contents.missing(about),
        origins.origins(about),
        origins.limits(about),
        origins.licence(about),
        using.citation(about),
    )
    text = "\n\n".join([MARK, *(part for part in sections if part)])
    return f"{head(about.manifest, about.licence, about.hub_page)}{text}\n"


def _opening(about: About) -> Iterator[str]:
    whole, layers = about.figures.overview, about.figures.layers
    if whole.description:
        yield escaped(whole.description)
    counts = [(role, sum(one.role == role for one in layers)) for role in ("input", "label")]
    roles = [several(n, f"{role} layer") for role, n in counts if n]
    times = f", from {whole.first[:10]} to {last_day(whole.last)}" if whole.first and whole.last else ""
    yield (
        f"**{several(whole.n_chips, 'chip')}**, each a square of {number(whole.chip_km, 4)} km "
        f"({about.manifest['grid']['chip_px']} px of {number(whole.resolution_m)} m) in the area "
        f"**{escaped(whole.area)}**, {number(whole.chips_km2)} km² in all{times}. Each has "
        f"{' and '.join(roles)} ({', '.join(f'`{one.name}`' for one in layers)}) on one UTM grid, in "
        f"{several(whole.shards, 'Zarr shard')} of {size(whole.shard_bytes)} together."
    )
    zones = ", ".join(f"{code} ({n:,})" if len(whole.zones) > 1 else code for code, n in list(whole.zones.items())[:12])
    more = f" and {len(whole.zones) - 12} more" if len(whole.zones) > 12 else ""
    if whole.sample:
        yield f"It is a sample of the area: {_sample(about)}."
    yield "![Map of the chips](previews/map.png)"
    west, south, east, north = whole.bounds
    shown = (
        "every chip"
        if about.n_previews == whole.n_chips
        else f"{about.n_previews:,} of the chips ({share(about.n_previews / whole.n_chips)}), evenly of each split"
    )
    yield (
        f"Their centres lie between {_lon(west)} and {_lon(east)}, {_lat(south)} and {_lat(north)}; projections: "
        f"{zones}{more}. `previews/` has small pictures of {shown}: missing ground is hatched; of a layer with several "
        "slots, one is drawn, which its column `…_slot` names; colours are for the eye, not for measuring."
    )


def _sample(about: About) -> str:
    sample = about.figures.overview.sample or {}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in sample.items() if value is not None)


def _lon(value: float) -> str:
    return f"{abs(value):.2f}° {'W' if value < 0 else 'E'}"


def _lat(value: float) -> str:
    return f"{abs(value):.2f}° {'S' if value < 0 else 'N'}"
