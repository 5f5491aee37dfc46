"""The sections of a card about where the pixels come from, what they are not good for, and their licence."""

from __future__ import annotations

from collections.abc import Iterator

from m3leo_prep.publish.description.card.about import About
from m3leo_prep.publish.description.card.words import escaped, number, several, table

MOST_VERSIONS = 4
_TABLES = (
    "`provenance/LAYER/` names the scenes, dates, orbits and product versions of every chip, slot and band; "
    "`recipe.yaml` is what was asked for, with every choice written out; `manifest.json` holds the SHA-256 of every "
    "small file and `shards.parquet` that of every shard; `stats/LAYER.json` has mean, spread, percentiles and "
    "histogram of each band."
)


def origins(about: About) -> str:
    """Return the sources, scenes, dates and methods of each layer, and the software."""
    scenes = {one.layer: one for one in about.figures.scenes}
    rows = []
    for layer in about.figures.layers:
        made = scenes[layer.name]
        dates = f"{made.first[:10]} to {made.last[:10]}" if made.first and made.last else "undated"
        versions = ", ".join(escaped(version) for version in made.versions[:MOST_VERSIONS])
        if len(made.versions) > MOST_VERSIONS:
            versions += f", … ({len(made.versions)} in all)"
        methods = dict.fromkeys(
            " → ".join(str(way) for way in (one["method"], one["statistic"]) if way) for one in layer.variables
        )
        rows.append(
            [
                f"`{layer.name}`",
                f"{escaped(layer.source)} (version {escaped(layer.source_version)})",
                f"{made.scenes:,}",
                dates,
                versions or "not told",
                f"{made.most_observations:,}",
                ", ".join(methods),
            ]
        )
    head = (
        "layer",
        "source",
        "scenes",
        "acquired",
        "product version",
        "acquisitions in a slot, at most",
        "resampled → combined",
    )
    software = ", ".join(f"{name} {version}" for name, version in about.figures.overview.libraries.items())
    return "\n\n".join(
        [
            "## Where the pixels come from",
            table(head, rows, numbers=(2, 5)),
            f"{_TABLES} Made with {escaped(software)}.",
        ]
    )


def limits(about: About) -> str:
    """Return what is known to be wrong, or not there."""
    lines = list(_limits(about))
    return "\n\n".join(["## Known limits", "\n".join(f"- {line}" for line in lines)]) if lines else ""


def _limits(about: About) -> Iterator[str]:
    for one in about.figures.absent:
        yield f"No {escaped(one.part)}: {escaped(one.why)}."
    if len(about.figures.overview.zones) > 1:
        yield "Where two UTM zones meet, chips overlap (`zone_shared`, `owned_fraction` in `chips.parquet`)."
    for made in about.figures.scenes:
        if made.pixels_out_of_range:
            yield f"`{made.layer}`: {several(made.pixels_out_of_range, 'impossible value')} made missing."
        if made.pixels_floored:
            yield f"`{made.layer}`: {several(made.pixels_floored, 'value')} raised to the least that can be stored."
    for layer in about.figures.layers:
        native = about.manifest["layers"][layer.name].get("native_pitch")
        if native and native > 1.5 * layer.pitch_m:
            yield (
                f"`{layer.name}` is stored in pixels of {number(layer.pitch_m)} m, but its source has pixels of "
                f"{number(float(native))} m."
            )
    if any(one.source == "synthetic" for one in about.figures.layers):
        yield "Layers of the source `synthetic` show an invented Earth: to try software on, not to learn about ours."


def licence(about: About) -> str:
    """Return the licence of the dataset, what its inputs ask, and their notices in full."""
    given = about.licence
    link = f"[{escaped(given.name)}]({given.url})" if given.url.startswith("http") else escaped(given.name)
    why = "as its publisher says" if given.is_stated else "the freest that the licences of its inputs allow"
    rows = [
        [
            escaped(one.what),
            (f"[{escaped(one.name)}]({one.url})" if one.url else escaped(one.name)) if one.name else _unknown(one.says),
            escaped(one.citation) or "—",
        ]
        for one in given.attributions
    ]
    made = ["## Licence", f"{link} (`{given.hub_id}`), {why}.", table(("made of", "licence", "source"), rows)]
    if given.notices:
        made.append("Whoever passes the data on passes these notices on too:")
        made += [f"> {escaped(notice)}" for notice in given.notices]
    return "\n\n".join(made)


def _unknown(says: str) -> str:
    return f"{escaped(says)} (not known to this software)" if says else "not told"
