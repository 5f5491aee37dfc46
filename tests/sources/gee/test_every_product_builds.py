"""Every row of the table is planned, built, read back and compared with what the archive holds, pixel by pixel."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry import box

from m3leo_prep.core import layer as layer_module
from m3leo_prep.core.area import Area
from m3leo_prep.core.raster import Item, Kind
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.runners.threads import Threads
from m3leo_prep.sources.gee.choice import Quantity
from m3leo_prep.sources.gee.products import row, row_names
from m3leo_prep.testing.earth_engine.evaluation.sampling import proj_name
from m3leo_prep.testing.earth_engine.holdings.schedule import Place
from m3leo_prep.testing.earth_engine.holdings.synthetic import SyntheticArchive

if TYPE_CHECKING:
    import xarray as xr

    from m3leo_prep.testing.earth_engine import StandIn

HERE = (6.1300, 49.6100, 6.1303, 49.6103)
AMERICA = (-80.0000, 45.0000, -79.9997, 45.0003)
PLACE = Place((6.10, 49.60, 6.15, 49.62))
SIDE = 32
YEARS = {"floods": 2018, "ghs-built-s-10m": 2018, "worldcover-v200": 2021, "firecci51": 2016}
SLOT = {"periods": [["2020-06-01", "2020-06-24"]]}
EDGE = 0.05
"""Of a pixel: a warp that is so far off is good enough."""
CODES = (Kind.CLASSES, Kind.BITS)
LARGEST = {"m2": 10_000.0, "people": 90.0}
"""Of a cell of 100 m."""
LEAST = {"firecci51": 0.0, "dynamic-world": 0.3, "dynamic-world-probabilities": 0.3}
"""Share of pixels that are valid where it is not nearly all."""
OF_AMERICA = ("aafc-crops", "us-landforms")


def said(name: str) -> dict[str, Any]:
    """Return a layer of all variables of a product; kernels that take one pixel, so that each is one of the archive."""
    one = row(name)
    layer: dict[str, Any] = {"source": "gee", "product": name, "resolution": 10 if one.pitch < 30 else 80}
    kinds = {q.variable.name: q.variable.kind for q in one.quantities if not q.flags_of}
    layer["variables"] = {
        each: {"correlation": 1} if kind is Kind.UNCERTAINTY else {} for each, kind in kinds.items() if each != "ratio"
    }
    if one.mode == "composite":
        layer |= {"slots": SLOT, "kernel": "nearest", "statistic": "max"}
        if one.family == "optical":
            layer["cloud"] = "none"
        if one.family == "radar":
            layer |= {"variables": {"backscatter": {"bands": ["vv", "vh"]}, "incidence": {}}, "orbits": ["ascending"]}
    elif name == "dynamic-world":
        layer["slots"] = SLOT
    elif one.years or one.first:
        layer["year"] = YEARS.get(name, 2020)
    if one.mode == "native" and Kind.AMOUNT not in kinds.values():
        layer |= {"resampling": "nearest", "statistic": "max" if name in ("firecci51", "floods") else "first"}
        if set(kinds.values()) & {Kind.CLASSES, Kind.BITS}:
            layer["statistic"] = "first"
    return layer


def recipe(names: list[str]) -> str:
    layers = {name.replace("-", "_"): said(name) for name in names}
    return str(
        {"name": "rows", "grid": {"chip_px": SIDE, "resolution": 10}, "layers": layers, "splits": {"policy": "none"}}
    )


@pytest.mark.parametrize(
    ("where", "names"),
    [(HERE, [name for name in row_names() if name not in OF_AMERICA]), (AMERICA, list(OF_AMERICA))],
    ids=["here", "america"],
)
def test_every_product_gives_what_the_archive_holds(
    where: tuple[float, float, float, float],
    names: list[str],
    earth_engine: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layer_module, "SHARD_CHIPS", (1,))
    earth_engine.archive = SyntheticArchive(places=(PLACE,), years=(2020, 2020))
    area = Area.from_geometry(box(*where), name="here")
    plan = make_plan(parse_recipe(recipe(names)), area, base=tmp_path)
    build(plan, tmp_path / "rows", runner=Threads(4))
    dataset = Dataset(tmp_path / "rows")
    for planned in plan.layers:
        layer, name = planned.layer, planned.layer.name.replace("_", "-")
        of = {q.variable.name: q for q in row(name).quantities}
        for array in layer.arrays:
            got = dataset.chip(0, layer.name, array.variable.name)
            quantity, where_from = of[array.variable.name], f"{name}, {array.variable.name}"
            numbers = [
                expected(earth_engine, planned.items, theirs, got, array.statistic, quantity)
                for theirs in theirs_of(quantity, array.variable.bands)
            ]
            want, sure = np.stack([one for one, _ in numbers]), np.stack([one for _, one in numbers])
            values = got.values.reshape(want.shape).astype(float)
            if quantity.variable.kind in CODES:
                valid = dataset.read(0, layer.name, array.variable.name)[1].reshape(want.shape)
                codes = {one.code for one in array.variable.legend}
                assert array.variable.kind is Kind.BITS or set(np.unique(values[valid])) <= codes, where_from
            else:
                valid = np.isfinite(values)
                if got.attrs["units"] == "dB":
                    want = 10 * np.log10(want)
            assert valid.mean() > LEAST.get(name, 0.8), where_from
            if quantity.flags_of:  # none of these pixels is one
                assert not values[valid].any(), where_from
                continue
            if array.variable.name == "incidence":  # between points 20 km apart: see the tests of radar
                assert 30 < values.min() <= values.max() < 46
                assert (got.attrs["provider_kernel"], got.attrs["provider_statistic"]) == ("bilinear", "mean")
                continue
            if array.variable.kind is Kind.AMOUNT:
                # Sums of parts of a few cells: between the least and the largest of the archive's, per area.
                share = (layer.pitch / row(name).pitch) ** 2
                assert values.min() >= 0, where_from
                assert values.max() <= LARGEST[quantity.variable.unit] * share, where_from
                assert abs(values.sum() / share - want.sum()) < 0.5 * want.sum() + LARGEST[quantity.variable.unit]
                continue
            same = sure & valid
            assert same.mean() > LEAST.get(name, 0.6), where_from
            off = np.abs(values - want)[same] > float(got.attrs.get("max_error", 0)) * 1.01 + 1e-5 * np.abs(want[same])
            assert off.mean() < 0.01, (where_from, values[same][off][:5], want[same][off][:5])


def theirs_of(quantity: Quantity, bands: tuple[str, ...]) -> list[str]:
    """Return Earth Engine's names of bands, which radar's have a direction behind."""
    theirs = dict(zip(quantity.variable.bands, quantity.names, strict=True))
    return [theirs[band.removesuffix("_asc")] for band in bands]


def expected(
    server: StandIn, items: tuple[Item, ...], theirs: str, at: xr.DataArray, statistic: str, quantity: Quantity
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return what the archive holds under the centres of a chip's pixels, and where it holds anything."""
    own = f"EPSG:{at.spatial_ref.item()}"
    best, sure = np.full((at.sizes["y"], at.sizes["x"]), np.nan), np.ones((at.sizes["y"], at.sizes["x"]), bool)
    # Images of the own zone come first, here and there.
    zones = ([i for i in items if i.properties["crs"] == own], [i for i in items if i.properties["crs"] != own])
    for zone in zones:
        looks = [under(server, item.id, theirs, at, quantity) for item in zone]
        if not looks:
            continue
        stack = [values for values, _ in looks]
        sure &= np.all([one for _, one in looks], axis=0)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = np.nanmax(stack, axis=0) if statistic == "max" else first(stack)
        best = np.where(np.isnan(best), one, best)
    return best, sure & np.isfinite(best)


def first(stack: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    out = stack[0]
    for one in stack[1:]:
        out = np.where(np.isnan(out), one, out)
    return out


def under(
    server: StandIn, image: str, theirs: str, at: xr.DataArray, quantity: Quantity
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return an image's values under the centres of a chip's pixels, NaN where it has none; and where no edge is near.

    By PROJ, pixel by pixel.
    """
    scene = server.archive.image(image)
    assert scene is not None
    (band,) = [one for one in scene.bands if one.name == theirs]
    x, y = np.meshgrid(at.x.values, at.y.values)
    x, y = Transformer.from_crs(f"EPSG:{at.spatial_ref.item()}", proj_name(band.crs), always_xy=True).transform(x, y)
    a, _, c, _, e, f = band.transform
    down, right = (y - f) / e, (x - c) / a
    sure = (np.abs(down - np.round(down)) > EDGE) & (np.abs(right - np.round(right)) > EDGE)
    rows, cols = np.floor(down).astype(int), np.floor(right).astype(int)
    inside = (rows >= 0) & (rows < band.shape[0]) & (cols >= 0) & (cols < band.shape[1])
    out = np.full(x.shape, np.nan)
    if inside.any():
        low, left = rows[inside].min(), cols[inside].min()
        values, valid = band.read(low, rows[inside].max() + 1, left, cols[inside].max() + 1)
        number = values[rows[inside] - low, cols[inside] - left].astype(float)
        seen = valid[rows[inside] - low, cols[inside] - left] & ~np.isin(number, [*quantity.nodata, *quantity.flags])
        ends = quantity.valid_range or (-np.inf, np.inf)
        seen &= (number >= ends[0]) & (number <= ends[1])
        linear = 10 ** (number / 10) if quantity.transform == "from_decibel" else number
        linear = number**2 if quantity.transform == "squared" else linear
        out[inside] = np.where(seen, linear * quantity.scale + quantity.offset, np.nan)
    return out, sure
