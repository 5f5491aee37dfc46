"""A layer that may come from several sources: ``source: [copernicus, gee]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORM = "source: [copernicus, gee], or with what only one of them takes: [{gee: {product: s2-sr}}, copernicus]"


def spread(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a layer says with one source, the first it lists, and under ``alternatives`` what it says with each.

    A listed source is a name, or a name with keys of the layer that hold for it alone; those win over what the layer
    says for all.

    Raises:
        ValueError: no list of names, one twice, or sources listed elsewhere.
    """
    if "alternatives" in layer:
        raise ValueError(f"other sources stand beside the first; write them as {FORM}")
    listed = layer.get("source")
    if not isinstance(listed, list):
        return dict(layer)
    common = {key: value for key, value in layer.items() if key != "source"}
    made: dict[str, dict[str, Any]] = {}
    for entry in listed:
        name, own = _entry(entry)
        if name in made:
            raise ValueError(f"names '{name}' twice")
        made[name] = common | own | {"source": name}
    if not made:
        raise ValueError(f"names no source; write it as {FORM}")
    first = next(iter(made.values()))
    return first | ({"alternatives": made} if len(made) > 1 else {})


def _entry(entry: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((name, own),) = entry.items()
        if isinstance(own, Mapping) and "source" not in own:
            return str(name), dict(own)
    raise ValueError(f"a source is a name, or a name with its own keys; write it as {FORM}")
