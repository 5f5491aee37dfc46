"""Quicklooks of a few chips: every layer as ``show`` draws it, small, as pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from m3leo_prep.core.errors import MissingDependency
from m3leo_prep.pipeline.report.html import number
from m3leo_prep.pipeline.report.picks import Pick
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.reader.picture.legend import Shown
from m3leo_prep.reader.picture.looks import Look
from m3leo_prep.reader.picture.panels import Block, Panel, Strip, make_block
from m3leo_prep.reader.picture.stretch import Floats

PIXELS = 192
"""Side of a picture."""
LOOKS, SLOTS = 2, 2
"""Of a variable that are shown, at most."""
QUALITY = 82
MOST_ROWS = 60
"""Looks in one page; the rest is named, so that a page stays small."""


@dataclass(frozen=True, slots=True)
class Thumb:
    """One look at one chip in one slot."""

    source: str
    """``data:`` address of the picture; empty where nothing is valid."""
    slot: str
    valid: float
    why: str
    limits: str
    """Of the colours, where they depend on the chip."""
    span: str = ""
    """Of the values, where colours repeat and cannot tell."""
    about: str = ""
    """Which pair or orbit it is, where that differs from chip to chip."""


@dataclass(frozen=True, slots=True)
class Looked:
    """One look at a variable, chip by chip."""

    layer: str
    variable: str
    title: str
    key: tuple[str, ...]
    """What the colours mean, where it is the same for every chip."""
    ramp: str
    """``data:`` address of the colours from low to high, where they are a ramp."""
    unit: str
    note: str
    """What else must be said of the colours."""
    classes: tuple[Shown, ...]
    thumbs: tuple[tuple[Thumb, ...], ...]
    """(chip, slot)."""

    @property
    def is_fitted(self) -> bool:
        """True where the limits of the colours differ from chip to chip."""
        return len({thumb.limits for thumbs in self.thumbs for thumb in thumbs if thumb.limits}) > 1


@dataclass(frozen=True, slots=True)
class Sheet:
    """All looks at the chips that are shown."""

    picks: tuple[Pick, ...]
    rows: tuple[Looked, ...]
    left_out: tuple[str, ...]
    """Layers that are not drawn."""


def make_sheet(dataset: Dataset, picks: Sequence[Pick]) -> Sheet:
    """Return the pictures of the chips.

    Raises:
        MissingDependency: matplotlib is not installed.
        StoreError: a shard or a table is absent.
        VerifyError: one is damaged.
    """
    rows: list[Looked] = []
    left_out = []
    for layer in dataset.layers.values():
        if len(rows) >= MOST_ROWS:
            left_out.append(layer.name)
            continue
        for array in layer.arrays.values():
            rows += _looked(dataset, picks, layer, array)
    return Sheet(tuple(picks), tuple(rows), tuple(left_out))


def _looked(dataset: Dataset, picks: Sequence[Pick], layer: StoredLayer, array: StoredArray) -> Iterator[Looked]:
    try:
        from m3leo_prep.reader.picture.page import colour
    except ModuleNotFoundError as error:
        raise MissingDependency("a report needs matplotlib", hint="pip install 'm3leo-prep[plot]'") from error
    blocks = [
        make_block(dataset, pick.row, layer, array, max_slots=SLOTS, pixels=PIXELS, colour=colour) for pick in picks
    ]
    for place in _chosen(blocks[0]):
        strips = [block.strips[place] for block in blocks]
        look = strips[0].look
        ramp = _address(colour(look.colours, np.linspace(0, 1, 96))[None], lossless=True) if look.colours else ""
        yield Looked(
            layer.name,
            array.name,
            look.title,
            _key(look),
            ramp,
            look.unit,
            look.note,
            _classes(strips),
            tuple(tuple(_thumb(strip.look, panel) for panel in strip.panels) for strip in strips),
        )


def _chosen(block: Block) -> list[int]:
    """Return which looks are shown: composites where there are any."""
    composites = [place for place, strip in enumerate(block.strips) if strip.look.form == "composite"]
    return (composites or list(range(len(block.strips))))[:LOOKS]


def _key(look: Look) -> tuple[str, ...]:
    """Return the limits of a composite's channels, one a line."""
    if look.form != "composite":
        return ()
    return tuple(
        f"{name} {number(channel.limits[0])} ... {number(channel.limits[1])} {look.unit}".strip()
        for name, channel in zip(look.names, look.channels, strict=True)
        if channel.limits is not None
    )


def _thumb(look: Look, panel: Panel) -> Thumb:
    limits = ""
    if look.form in {"ramp", "relief"} and (span := look.channels[0].limits) is not None:
        limits = f"{number(span[0], 3)} ... {number(span[1], 3)}"
    source = _address(panel.picture, lossless=look.form == "classes") if panel.valid > 0 else ""
    ends = "" if panel.span is None else f"{number(panel.span[0], 3)} to {number(panel.span[1], 3)} rad"
    return Thumb(source, panel.label, panel.valid, panel.why, limits, ends, panel.about)


def _classes(strips: Sequence[Strip]) -> tuple[Shown, ...]:
    """Return the classes that any of the chips has, in the order of their codes."""
    found = {shown.code: shown for strip in strips for shown in strip.classes}
    return tuple(found[code] for code in sorted(found))


def _address(picture: Floats, *, lossless: bool) -> str:
    """Return colours as the address of a WebP picture; missing pixels are transparent."""
    from PIL import Image

    there = np.isfinite(picture[..., 0])
    pixels = np.dstack([np.rint(255 * np.nan_to_num(picture)), 255.0 * there]).astype(np.uint8)
    image = Image.fromarray(pixels if not there.all() else np.ascontiguousarray(pixels[..., :3]))
    made = io.BytesIO()
    image.save(made, "WEBP", quality=QUALITY, lossless=lossless, method=4)
    return "data:image/webp;base64," + base64.b64encode(made.getvalue()).decode()
