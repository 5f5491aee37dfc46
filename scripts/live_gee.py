"""Ask Earth Engine, by ten tiny requests, what no stand-in can show, and print a report to paste into an issue.

Needs an account: see docs/guides/earth-engine.md. Run it with ``make live-gee``. Nothing in the report is secret.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from m3leo_prep.core.errors import PrepError
from m3leo_prep.sources.gee.reading.requests import MAX_BYTES, Band, Request
from m3leo_prep.sources.gee.service.session import Session, session

CHIP = GeoBox((64, 64), Affine(10, 0, 290_400, 0, -10, 5_499_840), "EPSG:32632")
"""A corner of a chip near Luxembourg."""
S1, S2 = "COPERNICUS/S1_GRD_FLOAT", "COPERNICUS/S2_SR_HARMONIZED"
Answer = tuple[bool | None, str]
"""Whether it is as m3leo-prep takes for granted (None: only told), and what was seen."""


def main() -> int:
    """Print the report; return how many answers differ from what is taken for granted."""
    service = session()
    print(f"# Earth Engine, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n\n{service.probe()}\n")
    print("| | question | taken for granted | seen |\n|---|---|---|---|")
    wrong = 0
    for number, (question, expected, ask) in enumerate(QUESTIONS, 1):
        try:
            fine, seen = ask(service)
        except PrepError as error:
            fine, seen = False, f"failed: {error.message}"
        wrong += fine is False
        print(f"| {number} {'' if fine is None else 'yes' if fine else '**NO**'} | {question} | {expected} | {seen} |")
    print(f"\n{wrong} of {len(QUESTIONS)} are not as expected." if wrong else "\nAll as expected.")
    return wrong


def _pixels(service: Session, image: Any, geobox: GeoBox = CHIP, form: str = "NPY") -> Any:
    """Return a structured array of the image's pixels as they come, masked ones included."""
    import ee

    rows, cols = geobox.shape
    grid = Request(0, rows, 0, cols, 0, 1).grid(geobox)
    request = {"expression": image, "fileFormat": form, "grid": grid}
    body = service.run(lambda: ee.data.computePixels(request), what="the report")
    return np.load(io.BytesIO(body)) if form == "NPY" else body


def _value(service: Session, thing: Any) -> Any:
    import ee

    return service.run(lambda: ee.data.computeValue(thing), what="the report")


def _masked_npy(service: Session) -> Answer:
    import ee

    seen = _pixels(service, ee.Image.constant(7).updateMask(0).toInt16().rename("a"))["a"]
    return bool((seen == 0).all()), f"{np.unique(seen).tolist()}"


def _masked_tiff(service: Session) -> Answer:
    import ee
    import rasterio

    body = _pixels(service, ee.Image.constant(7).updateMask(0).toInt16().rename("a"), form="GEO_TIFF")
    with rasterio.MemoryFile(body) as memory, memory.open() as file:
        mask = " ".join(flag.name for flag in file.mask_flag_enums[0])
        return None, f"pixels {np.unique(file.read(1)).tolist()}, nodata {file.nodata}, mask {mask}"


def _sentinel(service: Session) -> Answer:
    import ee

    image = ee.Image.constant(7).updateMask(0).unmask(-32768, sameFootprint=False).toInt16().rename("a")
    seen = _pixels(service, image)["a"]
    return bool((seen == -32768).all()), f"{seen.dtype} {np.unique(seen).tolist()}"


def _date_end(service: Session) -> Answer:
    import ee

    here = ee.Geometry.Point([6.1, 49.6])
    images = ee.ImageCollection(S2).filterBounds(here)
    first = images.filterDate("2020-06-01", "2020-07-01").first()
    start = first.date()
    ends = images.filterDate("2020-05-01", start).filter(ee.Filter.eq("system:index", first.get("system:index")))
    begins = images.filterDate(start, start.advance(1, "second")).size()
    at_end, at_start = _value(service, ee.List([ends.size(), begins]))
    return at_end == 0 and at_start > 0, f"an image at the end: {at_end}, at the start: {at_start}"


def _place(service: Session) -> Answer:
    import ee

    seen = _pixels(service, ee.Image.pixelLonLat())
    x = CHIP.transform.c + 10 * (np.arange(64) + 0.5)
    y = CHIP.transform.f - 10 * (np.arange(64) + 0.5)
    lon, lat = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform(*np.meshgrid(x, y))
    off = max(np.abs(seen["longitude"] - lon).max(), np.abs(seen["latitude"] - lat).max())
    return bool(off < 1e-7), f"pixel centres are off by {off:.1e} degrees at most"


def _nearest(service: Session) -> Answer:
    import ee

    zone = ee.Filter.stringStartsWith("MGRS_TILE", "32")
    tiles = ee.ImageCollection(S2).filterBounds(ee.Geometry.Point([6.1, 49.6])).filter(zone)
    image = tiles.filterDate("2020-06-01", "2020-07-01").first().select(["B5"])
    seen = _pixels(service, image)["B5"]
    blocks = seen.reshape(32, 2, 32, 2)
    same = bool((blocks == blocks[:, :1, :, :1]).all())
    return same, "20-m pixels are repeated" if same else "20-m pixels are not simply repeated"


def _edge(service: Session) -> Answer:
    import ee

    half = ee.Image.pixelCoordinates(ee.Projection("EPSG:32632").atScale(10)).select("x").lt(29_072)
    image = ee.Image.constant(1).updateMask(half).reproject("EPSG:32632", [10, 0, 290_403, 0, -10, 5_499_843])
    mask = _pixels(service, image.resample("bilinear").mask().toFloat().rename("a"))["a"]
    return None, f"masks of a bilinear edge: {np.unique(mask.astype(float).round(3))[:6].tolist()}"


def _median(service: Session) -> Answer:
    import ee

    two = ee.ImageCollection([ee.Image.constant(value).toFloat().rename("a") for value in (1.0, 2.0)])
    seen = float(_pixels(service, two.median())["a"][0, 0])
    return seen == 1.5, f"the median of 1 and 2 is {seen:g}"


def _cast(service: Session) -> Answer:
    import ee

    image = ee.Image.cat(
        ee.Image.constant(40_000).toInt16().rename("high"), ee.Image.constant(-5).toUint8().rename("low")
    )
    seen = _pixels(service, image)
    high, low = int(seen["high"][0, 0]), int(seen["low"][0, 0])
    return (high, low) == (32767, 0), f"40000 as int16 is {high}, -5 as uint8 is {low}"


def _size(service: Session) -> Answer:
    """A byte band counts two: 24 MiB of them are the limit."""
    import ee

    side = int((MAX_BYTES / Band("a", "uint8", 255).bytes) ** 0.5)
    image = ee.Image.constant(1).toUint8().rename("a")
    fits = _pixels(service, image, GeoBox((side, side), CHIP.transform, CHIP.crs)).shape == (side, side)
    try:
        _pixels(service, image, GeoBox((side + 2, side + 2), CHIP.transform, CHIP.crs))
    except PrepError as error:
        return fits, f"{side} px a side pass; {side + 2} px are refused: {error.message}"
    return False, f"{side + 2} px a side pass too: the mask may not be counted"


def _compute(service: Session) -> Answer:
    """What a chip of a season of Sentinel-1 takes."""
    import ee

    season = (
        ee.ImageCollection(S1)
        .filterDate("2020-06-01", "2020-09-01")
        .filterBounds(ee.Geometry.Point([6.1, 49.6]))
        .filter(ee.Filter.eq("orbitProperties_pass", "ASCENDING"))
        .select(["VV", "VH"])
    )
    chip = GeoBox((448, 448), CHIP.transform, CHIP.crs)
    with _profiled() as profiles:
        _pixels(service, season.map(lambda image: image.resample("bilinear")).mean(), chip)
    n = _value(service, season.size())
    return None, f"{n} images; profile {' '.join(profiles) or 'none was sent'}"


@contextmanager
def _profiled() -> Iterator[list[str]]:
    """Collect the compute profiles of what is asked for inside."""
    import ee

    ids: list[str] = []
    told: list[str] = []
    with ee.data.profiling(ids.append):
        yield told
    if ids:
        text = str(ee.ApiFunction.call_("Profile.getProfiles", ids=ids, format="text").getInfo())
        told.append("<br>".join(text.replace("|", "/").splitlines()[:4]))


QUESTIONS: tuple[tuple[str, str, Callable[[Session], Answer]], ...] = (
    ("a masked pixel in NPY", "arrives as 0, hence the sentinel", _masked_npy),
    ("a masked pixel in GEO_TIFF", "only told", _masked_tiff),
    ("`unmask(-32768, False)` of a masked pixel", "-32768 as int16", _sentinel),
    ("the end of `filterDate`", "excluded; the start included", _date_end),
    ("`pixelLonLat` on the chip grid", "as pyproj within 1e-7 degrees", _place),
    ("a 20-m band of Sentinel-2 on 10 m", "nearest: each pixel twice", _nearest),
    ("masks where a bilinear kernel meets an edge", "fractions; at least 0.5 counts", _edge),
    ("the median of an even number of images", "mean of the middle two", _median),
    ("casting beyond the type", "saturates", _cast),
    ("48 MiB, one byte of mask for each band and pixel", "at the limit passes, above is refused", _size),
    ("EECU of a chip and a season of Sentinel-1", "only told", _compute),
)

if __name__ == "__main__":
    sys.exit(1 if main() else 0)
