"""Classes for the eye: their names, their colours, their shares."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.raster import Kind
from m3leo_prep.reader.manifest import StoredArray

_FIRST = (
    *("#ddcc77", "#4477aa", "#228833", "#cc3311", "#66ccee", "#aa3377", "#ee7733", "#882255", "#bbcc33", "#009988"),
    *("#ffaabb", "#332288", "#997700", "#44bb99", "#ee3377", "#77aadd", "#555500", "#ee99aa", "#004488", "#99ddff"),
)
"""Distinct also for most colour-blind eyes; classes beyond these get colours by formula."""
UNRELIABLE = "#8f8f8f"
"""Of connected component 0."""
_GOLDEN = 0.618034
_USUAL = {
    ("water", "sea", "ocean", "river", "lake", "lagoons", "estuaries"): "#2b6cb8",
    ("tree", "trees", "forest", "woodland"): "#1f7a33",
    ("shrub", "shrubs", "shrubland", "heathland", "moors", "sclerophyllous"): "#c9a227",
    ("grass", "grassland", "grasslands", "rangeland", "pasture", "pastures"): "#b5d96a",
    ("crop", "crops", "cropland", "arable", "agriculture", "agricultural", "cultivation"): "#e8b4e8",
    ("built", "urban", "building", "buildings", "industrial"): "#d7301f",
    ("bare", "sand", "sands", "rocks", "rock", "soil", "desert"): "#b8a58a",
    ("snow", "ice", "glaciers"): "#e3f6fb",
    ("wetland", "wetlands", "marsh", "marshes", "bogs", "mangroves", "flooded"): "#2aa198",
    ("cloud", "clouds"): "#8b8ba7",
}
"""Colours that people expect of classes whose name says what they are."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One class that is there."""

    code: int
    name: str
    color: str
    """``#rrggbb``."""
    share: float
    """Of the valid pixels, 0...1."""


def shown_classes(
    array: StoredArray, codes: NDArray[Any], valid: NDArray[np.bool_], *, is_components: bool = False
) -> tuple[Shown, ...]:
    """Return the classes among the valid codes, the most frequent first.

    A code keeps its colour in every chip: the product's own, else one by its place in the legend.

    Args:
        array: the variable.
        codes: of any shape.
        valid: same shape.
        is_components: they number connected components of an unwrapped phase, 0 what is unreliable.
    """
    found, counts = np.unique(codes[valid], return_counts=True)
    order = np.lexsort((found, -counts))
    total = max(1, int(counts.sum()))
    names, colors = _legend(array)
    is_bits = array.kind == Kind.BITS
    made = []
    for code, count in zip(found[order].tolist(), counts[order].tolist(), strict=True):
        if is_components:
            name = names.get(code) or (f"component {code}" if code else "0: not unwrapped reliably")
            color = color_at(code - 1) if code else UNRELIABLE
        else:
            name = _bits(code, names) if is_bits else names.get(code, f"code {code}")
            color = color_at(code) if is_bits else colors.get(code) or color_at(code)
        made.append(Shown(code, name, color, count / total))
    return tuple(made)


def color_at(place: int) -> str:
    """Return the colour of the class at a place of a legend without colours, ``#rrggbb``."""
    if 0 <= place < len(_FIRST):
        return _FIRST[place]
    light = (0.55, 0.75, 0.95)[place % 3]
    red, green, blue = colorsys.hsv_to_rgb(place * _GOLDEN % 1, (0.9, 0.6, 0.4)[place // 3 % 3], light)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def paint(codes: NDArray[Any], classes: Iterable[Shown]) -> NDArray[np.float32]:
    """Return (..., 3) colours of codes, 0...1; codes of no class are NaN."""
    made = np.full((*codes.shape, 3), np.nan, np.float32)
    for shown in classes:
        made[codes == shown.code] = np.array(_rgb(shown.color)) / 255
    return made


def _legend(array: StoredArray) -> tuple[dict[int, str], dict[int, str]]:
    """Return names and colours by code; no two classes of a legend get the same colour from here."""
    names: dict[int, str] = {}
    colors: dict[int, str] = {}
    for place, entry in enumerate(array.about.get("legend") or []):
        code, name = int(entry["code"]), str(entry["name"])
        names[code] = name
        free = (color for color in _shades(_usual(name)) if color not in colors.values())
        colors[code] = str(entry.get("color") or next(free, "") or color_at(place))
    return names, colors


def _usual(name: str) -> str:
    words = set(re.split(r"[^a-z]+", name.lower()))
    return next((color for known, color in _USUAL.items() if words & set(known)), "")


def _shades(color: str) -> Iterator[str]:
    """Yield a colour, then lighter and darker ones."""
    if not color:
        return
    yield color
    for share, towards in ((0.4, 255), (0.35, 0), (0.65, 255), (0.6, 0)):
        mixed = [round((1 - share) * part + share * towards) for part in _rgb(color)]
        yield f"#{mixed[0]:02x}{mixed[1]:02x}{mixed[2]:02x}"


def _rgb(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def _bits(code: int, names: dict[int, str]) -> str:
    """Return which flags are set; a legend of flags gives the mask of each."""
    named = [name for mask, name in names.items() if mask and code & mask == mask]
    rest = code & ~sum(mask for mask in names if mask.bit_count() == 1)
    named += [f"bit {bit}" for bit in range(rest.bit_length()) if rest >> bit & 1 and not names.get(1 << bit)]
    return " + ".join(named) or "no flag set"
