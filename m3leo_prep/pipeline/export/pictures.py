"""Chips as rasters of other tools, one file per variable and slot: GeoTIFF and PNG."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from m3leo_prep.core.raster import Kind
from m3leo_prep.core.reasons import Reason
from m3leo_prep.pipeline.export.about import Files, chip_place, facts_of, key_of, legend_of, plain_name
from m3leo_prep.reader.chosen import chosen
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.manifest import StoredArray, StoredLayer
from m3leo_prep.reader.picture.looks import looks
from m3leo_prep.reader.picture.panels import Block, make_block
from m3leo_prep.reader.picture.quality import read_quality
from m3leo_prep.reader.selection import Pick

TILE = 256


def geotiff(dataset: Dataset, rows: Sequence[int], picks: Sequence[Pick]) -> Files:
    """Yield a GeoTIFF per chip, variable and slot; a legend's names go beside it, where GDAL keeps them."""
    for row, at, slot, name in _pictures(dataset, rows, picks):
        pick = picks[at]
        yield f"{name}.tif", partial(_write_geotiff, dataset, row, pick.layer, pick.array, slot)
        if _is_indexed(pick.array):
            yield f"{name}.tif.aux.xml", partial(_write_categories, pick.array)


def png(dataset: Dataset, rows: Sequence[int], picks: Sequence[Pick]) -> Files:
    """Yield a picture per chip, variable, slot and look of ``show``; transparent where one of its bands is missing."""

    @lru_cache(1)
    def block(row: int, at: int) -> Block:
        from m3leo_prep.reader.picture.page import colour

        layer, array = picks[at].layer, picks[at].array
        return make_block(dataset, row, layer, array, max_slots=len(layer.slots), pixels=layer.size, colour=colour)

    for row, at, slot, name in _pictures(dataset, rows, picks):
        layer, array = picks[at].layer, picks[at].array
        views = looks(array, layer=layer.name, n_slots=len(layer.slots))
        about = facts_of(dataset, row, layer, array)
        for number, look in enumerate(views):
            view = f"_{plain_name(look.title.partition(':')[0])}" if len(views) > 1 else ""
            yield f"{name}{view}.png", partial(_write_png, partial(block, row, at), number, slot, about)


def _pictures(dataset: Dataset, rows: Sequence[int], picks: Sequence[Pick]) -> Iterator[tuple[int, int, int, str]]:
    """Yield (row, place among the picks, slot, name of the file without its ending)."""
    for row in rows:
        for at, pick in enumerate(picks):
            for slot in pick.slots:
                step = "" if pick.layer.is_static else f"_{plain_name(pick.layer.slots[slot].label)}"
                yield row, at, slot, f"{chip_place(dataset, row)['chip_id']}/{key_of(pick)}{step}"


def _write_geotiff(dataset: Dataset, row: int, layer: StoredLayer, array: StoredArray, slot: int, path: Path) -> None:
    import rasterio

    values, _ = dataset.read(row, layer.name, array.name, slots=None if layer.is_static else [slot])
    values = values if layer.is_static else values[0]
    box = _geobox(dataset, row, layer)
    side = min(TILE, -(-layer.size // 16) * 16)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=layer.size,
        height=layer.size,
        count=len(array.bands),
        dtype=values.dtype,
        crs=str(box.crs),
        transform=box.affine,
        nodata=array.fill if array.is_class else np.nan,
        tiled=True,
        blockxsize=side,
        blockysize=side,
        interleave="band",
        compress="deflate",
        predictor=2 if array.is_class else 3,
    ) as file:
        file.write(values)
        file.descriptions = array.bands
        file.units = ["" if array.is_class else array.unit] * len(array.bands)
        span = layer.slots[slot]
        times = (
            {}
            if span.start is None
            else {"slot_start": span.start.isoformat(), "slot_end": str(span.end and span.end.isoformat())}
        )
        which = chosen(dataset, row, layer)[slot]
        about = facts_of(dataset, row, layer, array) | {"slot": span.label} | times | which
        file.update_tags(**{key: _text(value) for key, value in about.items() if value not in ("", None)})
        quality = read_quality(dataset, row, layer, array)
        for band in range(len(array.bands)):
            why = Reason(int(quality.reason[slot, band])).name
            file.update_tags(band + 1, reason=why, valid_percent=int(quality.valid[slot, band]))
        if _is_indexed(array):
            file.update_tags(1, **{f"class_{entry['code']}": entry["name"] for entry in legend_of(array)})
            colours = {entry["code"]: _rgb(entry["color"]) for entry in legend_of(array) if entry["color"]}
            if colours:
                file.write_colormap(1, colours)


def _write_categories(array: StoredArray, path: Path) -> None:
    """Write names of classes as GDAL's side file, since TIFF has no place for them; the n-th is that of code n."""
    names = {entry["code"]: entry["name"] for entry in legend_of(array)}
    lines = "".join(f"<Category>{escape(names.get(code, ''))}</Category>" for code in range(max(names) + 1))
    band = f'<PAMRasterBand band="1"><CategoryNames>{lines}</CategoryNames></PAMRasterBand>'
    path.write_text(f"<PAMDataset>{band}</PAMDataset>\n", encoding="utf-8")


def _write_png(draw: Callable[[], Block], look: int, slot: int, about: Mapping[str, Any], path: Path) -> None:
    from matplotlib.image import imsave

    strip = draw().strips[look]
    picture = strip.panels[slot].picture
    there = np.isfinite(picture).all(axis=-1, keepdims=True)
    rgba = np.concatenate([np.where(there, picture, 0), there], axis=-1)
    words = {
        "Title": f"{about['chip_id']} {about['layer']} {strip.panels[slot].label} {strip.look.title}",
        "Copyright": about["licence"],
    }
    # Latin-1 is all that a PNG's plain text may hold.
    text = {key: str(value).encode("latin-1", "replace").decode("latin-1") for key, value in words.items()}
    imsave(path, np.rint(255 * rgba).astype(np.uint8), format="png", metadata={"Software": "m3leo-prep", **text})


def _geobox(dataset: Dataset, row: int, layer: StoredLayer) -> GeoBox:
    """Return the pixels of a layer in a chip."""
    chip = chip_place(dataset, row)
    corner = Affine(layer.pitch, 0, chip["x0"], 0, -layer.pitch, chip["y0"])
    return GeoBox((layer.size, layer.size), corner, f"EPSG:{chip['epsg']}")


def _is_indexed(array: StoredArray) -> bool:
    """True for one band of classes with names: what TIFF's colour tables and GDAL's categories can hold."""
    return array.kind == Kind.CLASSES and array.is_class and len(array.bands) == 1 and bool(legend_of(array))


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
