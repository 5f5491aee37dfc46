"""Small pictures of chips in Parquet, which the Hub's viewer shows and ``datasets`` loads as images."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from m3leo_prep.core.errors import MissingDependency
from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.reader.picture.looks import Look, looks
from m3leo_prep.reader.picture.panels import chosen_slots, draw_looks
from m3leo_prep.reader.picture.quality import read_quality
from m3leo_prep.reader.picture.stretch import Floats

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER = "previews"
PIXELS = 112
"""Side of a picture at most; coarse layers keep their pixels, each repeated a whole number of times."""
MOST = 1000
"""Chips that have pictures."""
ROWS = 250
"""Chips in one file, so that a file of 30 layers stays below 50 MB."""
GROUP_ROWS = 50
"""Of a row group: the viewer fetches one to show a page."""
QUALITY = 85
HATCH_EVERY = 6
"""Pixels between the lines of missing ground."""
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How ``datasets`` stores an image."""


def write_previews(dataset: Dataset, blobs: Blobs) -> list[str]:
    """Write ``previews/part-00000.parquet`` and so on; return the names.

    One row per chip: ``chip_id``, ``split``, one picture per layer, the slots that are shown, ``lon`` and ``lat``.

    Raises:
        MissingDependency: matplotlib is not installed.
        StoreError: a shard or a table is absent.
        VerifyError: one is damaged.
    """
    chips = dataset.table("chips.parquet", ["chip_id", "split", "lon", "lat"])
    rows = chosen_rows(chips["split"].to_pylist())
    names = []
    for part, start in enumerate(range(0, len(rows), ROWS)):
        table = _table(dataset, chips, rows[start : start + ROWS])
        sink = io.BytesIO()
        # Pictures are compressed already.
        pq.write_table(table, sink, row_group_size=GROUP_ROWS, compression="none", version="2.6")
        names.append(f"{FOLDER}/part-{part:05d}.parquet")
        blobs.put(names[-1], sink.getbuffer())
    return names


def chosen_rows(splits: Sequence[str | None], most: int = MOST) -> NDArray[np.int64]:
    """Return the rows that get pictures, in order: all, or as many of each split as there is room for.

    Rows lie along a curve that fills the ground, so every n-th one is spread over all of it.

    Args:
        splits: of every chip; None = in no split.
        most: rows at most.
    """
    names = np.array(["" if name is None else name for name in splits], object)
    groups = [np.flatnonzero(names == name) for name in sorted(set(names.tolist()))]
    if len(names) <= most:
        return np.arange(len(names))
    picked, left = [], most
    # The smallest first: what it does not need, the others get.
    for place, rows in enumerate(sorted(groups, key=len)):
        share = min(len(rows), left // (len(groups) - place))
        picked.append(rows[np.arange(share) * len(rows) // max(share, 1)])
        left -= share
    return np.sort(np.concatenate(picked))


def columns_of(dataset: Dataset) -> list[tuple[StoredLayer, StoredArray]]:
    """Return the layers that are drawn, inputs and labels, with the variable that stands for each: its first."""
    return [(layer, next(iter(layer.arrays.values()))) for layer in dataset.layers.values()]


def _table(dataset: Dataset, chips: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """Return the rows' pictures, with what tells the viewer that they are pictures."""
    few = chips.take(pa.array(rows))
    columns: dict[str, Any] = {"chip_id": few["chip_id"], "split": few["split"]}
    slots: dict[str, Any] = {}
    ids = few["chip_id"].to_pylist()
    for layer, array in columns_of(dataset):
        drawn = [_picture(dataset, row, layer, array) for row in rows.tolist()]
        pictures = [
            {"bytes": data, "path": f"{chip}.{ending}"} for chip, (data, ending, _) in zip(ids, drawn, strict=True)
        ]
        columns[layer.name] = pa.array(pictures, IMAGE)
        if not layer.is_static:
            slots[f"{layer.name}_slot"] = pa.array([label for *_, label in drawn], pa.string())
    table = pa.table(columns | slots | {"lon": few["lon"], "lat": few["lat"]}).combine_chunks()
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": _features(table.schema)}})})


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return how ``datasets`` writes the types of a table's columns."""
    plain = {pa.string(): "string", pa.float64(): "float64"}
    return {
        field.name: {"_type": "Image"} if field.type == IMAGE else {"dtype": plain[field.type], "_type": "Value"}
        for field in schema
    }


def _picture(dataset: Dataset, row: int, layer: StoredLayer, array: StoredArray) -> tuple[bytes, str, str]:
    """Return a layer of a chip as an encoded picture, its format, and the slot that it shows."""
    try:
        from m3leo_prep.reader.picture.page import colour
    except ModuleNotFoundError as error:
        raise MissingDependency("pictures need matplotlib", hint="pip install 'm3leo-prep[plot]'") from error
    quality = read_quality(dataset, row, layer, array)
    (slot,) = chosen_slots(quality, 1)
    look = _best(looks(array, layer=layer.name), quality.valid[slot])
    block = draw_looks(dataset, row, layer, array, [look], quality, [slot], pixels=PIXELS, colour=colour)
    (strip,) = block.strips
    (panel,) = strip.panels
    image = as_image(panel.picture)
    made = io.BytesIO()
    if strip.look.form == "classes":  # few colours: exact, and small
        image.save(made, "PNG", optimize=True)
        return made.getvalue(), "png", panel.label
    image.save(made, "JPEG", quality=QUALITY, subsampling=0)
    return made.getvalue(), "jpg", panel.label


def _best(found: Sequence[Look], valid: NDArray[np.uint8]) -> Look:
    """Return the first look, unless another one, such as that of the other orbit, shows more of the chip.

    Args:
        found: composites go before single bands.
        valid: (band,) percent; 255 = not built.
    """
    shares = np.where(valid > 100, 0, valid)
    return max(found, key=lambda look: (look.form == "composite", shares[list(look.bands)].min()))


def as_image(picture: Floats) -> Image:
    """Return colours as a picture; missing ground is hatched, which no colour of a layer is.

    Args:
        picture: (n, n, 3), 0...1, NaN where missing.
    """
    from PIL import Image

    times = max(1, PIXELS // len(picture))
    pixels = np.rint(255 * np.nan_to_num(picture)).astype(np.uint8).repeat(times, axis=0).repeat(times, axis=1)
    missing = np.isnan(picture).any(axis=-1).repeat(times, axis=0).repeat(times, axis=1)
    pixels[missing] = _hatch(len(pixels))[missing]
    return Image.fromarray(pixels)


@cache
def _hatch(side: int) -> NDArray[np.uint8]:
    """Return (side, side, 3) what stands for missing ground."""
    from m3leo_prep.reader.picture.page import HATCH_FACE, HATCH_LINE

    y, x = np.indices((side, side))
    face, line = (np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) for color in (HATCH_FACE, HATCH_LINE))
    return np.where(((x + y) % HATCH_EVERY == 0)[..., None], line, face).astype(np.uint8)
