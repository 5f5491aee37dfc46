"""Slope and aspect of built chips: right at 60 N, without a seam, and refused where there is no height."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import xarray as xr
from pyproj import Transformer

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.plan import Plan, digest_of
from m3leo_prep.core.reasons import Reason
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.ops import terrain
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.explain.chip import explain
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.plan import make_plan
from m3leo_prep.pipeline.unit import UnitBuilder
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads

from .conftest import area, plan, tree

DEGREES = """
    from dataclasses import dataclass
    import numpy as np
    from pyproj import Transformer
    from shapely.geometry import box
    from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable
    from m3leo_prep.sources._native import NativeGrid


    @dataclass(frozen=True)
    class Heights:
        '''Heights on a lon/lat grid, as functions of the UTM coordinates: a plane, rough ground, sea, or half of it.'''

        ground: str = "plane"
        seconds: float = 1.0
        kind: str = "continuous"
        unit: str = "m"
        name: str = "height"
        n_bands: int = 1
        gives: str = ""
        split: float = 0.0  # easting at which two tiles meet

        def describe(self):
            bands = tuple("abc"[: self.n_bands])
            variable = Variable(self.name, Kind(self.kind), bands, self.unit)
            return SourceInfo((variable,), version="1", pitch=self.seconds * 30.92, is_static=True)

        def find(self, area, slots):
            for name in ("west", "east") if self.split else ("dem",):
                yield Item(name, box(-180, -80, 180, 84), version="1")

        def read(self, items, geobox, slot):
            grid = NativeGrid("EPSG:4326", self.seconds / 3600)
            window = grid.window(geobox)
            lon, lat = np.meshgrid(*grid.centres(window))
            e, n = Transformer.from_crs(4326, 32632, always_xy=True).transform(lon, lat)
            valid = np.ones(e.shape, bool)
            if self.ground == "plane":
                z = 500 + 0.30 * (e - 645_000) + 0.17 * (n - 6_655_000)
            elif self.ground == "rough":
                z = 300 + 40 * np.sin(e / 70) + 30 * np.cos(n / 55)
            else:
                z = np.zeros(e.shape)
            if self.ground == "half":
                valid = e < 645_000
            for item in items:
                part = {"dem": valid, "west": valid & (e < self.split), "east": valid & (e >= self.split)}[item.id]
                data = np.where(part, z, -9999).astype("float32")
                name = self.gives or self.name
                yield Raster(data[None], part[None], grid.geobox(window), item, name)
    """
PLANE_EAST, PLANE_NORTH = 0.30, 0.17
AT_60N = (11.600, 60.000, 11.612, 60.004)
WIDER = (11.590, 59.998, 11.620, 60.008)


def recipe(**options: object) -> str:
    dem = {"source": "./my_source.py:Heights", "terrain": ["slope", "aspect"]} | options
    return f"name: hills\ngrid: {{chip_px: 32, resolution: 10}}\nlayers:\n  dem: {dem}\n"


@pytest.fixture
def base(write_source: Callable[[str], Path]) -> Path:
    return write_source(DEGREES)


def planned(base: Path, bounds: tuple[float, float, float, float] = AT_60N, **options: object) -> Plan:
    return plan(recipe(**options), area(bounds), base)


def made(base: Path, bounds: tuple[float, float, float, float] = AT_60N, **options: object) -> xr.Dataset:
    out = base / "out"
    build(planned(base, bounds, **options), out, runner=Threads(2))
    return xr.open_zarr(out / "chips.zarr", group="dem", chunks=None).load()


# -- right -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "pitch"), [(1.0, 10), (1.0, 20), (0.3, 40), (3.0, 10)])
def test_a_plane_at_60_north(base: Path, seconds: float, pitch: int) -> None:
    """D53: within 0.1 degree, from degrees twice as long as wide, on lattices finer and coarser than the source."""
    ds = made(base, seconds=seconds, resolution=pitch)
    slope, aspect = ds["slope"].values, ds["aspect"].values
    assert np.isfinite(slope).all(), "no pixel is lost at the edge of a chip"
    assert np.isfinite(aspect).all()
    assert np.abs(slope - np.degrees(np.arctan(np.hypot(PLANE_EAST, PLANE_NORTH)))).max() < 0.1
    toward = np.degrees(np.arctan2(aspect[:, 0], aspect[:, 1]))
    assert np.abs(toward - np.degrees(np.arctan2(-PLANE_EAST, -PLANE_NORTH))).max() < 0.1
    assert (ds["slope_valid"].values == 100).all()
    assert (ds["aspect_reason"].values == Reason.OK).all()


def test_in_degrees_before_projection_it_would_be_wrong(base: Path) -> None:
    """The same plane, differenced on its own grid with 111 km a degree: several degrees off, and turned."""
    one = planned(base)
    cells = one.cells
    geobox = cells.grid.geobox(int(cells.epsg[0]), int(cells.col[0]), int(cells.row[0]), 10.0)
    layer = one.layers[0]
    (raster,) = open_source(layer.source).read(layer.items, geobox, layer.layer.slots[0])
    slope, aspect, _ = terrain.horn(raster.data[0], raster.valid[0], 111_320 / 3600)
    assert np.abs(slope - np.degrees(np.arctan(np.hypot(PLANE_EAST, PLANE_NORTH)))).min() > 3
    toward = np.degrees(np.arctan2(aspect[0], aspect[1]))
    assert np.abs(toward - np.degrees(np.arctan2(-PLANE_EAST, -PLANE_NORTH))).min() > 10


# -- without a seam --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pitch", [10, 40])
def test_chips_built_alone_equal_chips_built_together(base: Path, pitch: int) -> None:
    whole = planned(base, WIDER, ground="rough", resolution=pitch)
    assert len(whole.cells) > 6
    build(whole, base / "together", runner=Threads(2))
    together = xr.open_zarr(base / "together/chips.zarr", group="dem", chunks=None)
    for row in range(3, 7):
        alone = replace(whole, cells=whole.cells[row : row + 1])
        build(alone, base / f"alone{row}", runner=Threads(1))
        one = xr.open_zarr(base / f"alone{row}/chips.zarr", group="dem", chunks=None)
        for name in ("height", "slope", "aspect"):
            assert one[name].values[0].tobytes() == together[name].values[row].tobytes()


def test_windows_cut_smaller_give_the_same_bytes(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = planned(base, WIDER, ground="rough")
    build(whole, base / "large", runner=Threads(2))
    windows = []
    make = UnitBuilder._make

    def watched(self: UnitBuilder, job):  # type: ignore[no-untyped-def]
        windows.append(len(job.window))
        return make(self, job)

    monkeypatch.setattr(UnitBuilder, "_make", watched)
    monkeypatch.setattr(UnitBuilder, "_bytes", lambda *_: 2**40)
    build(whole, base / "small", runner=Threads(1))
    assert 1 in windows
    assert tree(base / "small") == tree(base / "large")


def test_slopes_agree_across_the_seam_with_what_a_whole_image_gives(base: Path) -> None:
    """Heights of all chips laid side by side, differenced by numpy: inside chips and across their borders."""
    ds = made(base, WIDER, ground="rough", resolution=10)
    col = ((ds["x0"] - ds["x0"].min()) / 320).astype(int).values
    row = ((ds["y0"].max() - ds["y0"]) / 320).astype(int).values
    height, slope = (np.full((32 * (row.max() + 1), 32 * (col.max() + 1)), np.nan) for _ in range(2))
    for k, (i, j) in enumerate(zip(row, col, strict=True)):
        at = np.s_[32 * i : 32 * i + 32, 32 * j : 32 * j + 32]
        height[at], slope[at] = ds["height"].values[k, 0], ds["slope"].values[k, 0]
    z = np.lib.stride_tricks.sliding_window_view(height, (3, 3))
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 80
    expected = np.degrees(np.arctan(np.hypot((z * kernel).sum((2, 3)), (z * kernel.T).sum((2, 3)))))
    known = np.isfinite(expected)
    assert known.mean() > 0.5
    assert np.abs(slope[1:-1, 1:-1] - expected)[known].max() < 1e-4


def test_tiles_that_meet_at_a_chips_edge_leave_no_seam(base: Path) -> None:
    one = made(base, ground="rough", resolution=10)
    edge = float(one["x0"][0]) + 320 + 25
    build(planned(base, ground="rough", resolution=10, split=edge), base / "tiled", runner=Threads(2))
    tiled = xr.open_zarr(base / "tiled/chips.zarr", group="dem", chunks=None)
    for name in ("height", "slope", "aspect"):
        assert tiled[name].values.tobytes() == one[name].values.tobytes()


def test_a_tile_that_gives_only_slopes_is_told_as_used(base: Path) -> None:
    """The tile that begins at the chip's edge gives it no height, but the slopes of its last column."""
    cells = planned(base).cells
    edge = float(cells.grid.geobox(int(cells.epsg[0]), int(cells.col[0]), int(cells.row[0]), 10.0).boundingbox.right)
    tiles = {"seconds": 0.3, "resolution": 10, "split": edge}
    for name, wanted, used in (("with", ["slope"], {"west", "east"}), ("without", [], {"west"})):
        build(planned(base, terrain=wanted, **tiles), base / name, runner=Threads(1))
        (slot,) = explain(base / name, 0, "dem").slots
        assert {item.id for item in slot.items} == used


# -- what is missing -------------------------------------------------------------------------------------------------


def test_the_edge_of_the_heights_has_no_slope(base: Path) -> None:
    """Where heights end, a slope would need one that is not there; the rest is as without the edge."""
    ds = made(base, ground="half", bounds=WIDER)
    there, sloping = np.isfinite(ds["height"].values[:, 0]), np.isfinite(ds["slope"].values[:, 0])
    assert 0.1 < there.mean() < 0.9
    assert not (sloping & ~there).any()
    lost = there & ~sloping
    assert 0 < lost.sum() <= 2 * 32 * ds.sizes["chip"]
    assert (ds["slope_reason"].values == ds["height_reason"].values).all()


def test_flat_sea_has_a_slope_and_no_aspect(base: Path) -> None:
    ds = made(base, ground="sea")
    assert (ds["slope"].values == 0).all()
    assert np.isnan(ds["aspect"].values).all()
    assert (ds["slope_reason"].values == Reason.OK).all()
    assert (ds["aspect_reason"].values == Reason.OUT_OF_RANGE).all(), "seen, and no cloud"
    told = explain(base / "out", 0, "dem.aspect", x=3, y=3)
    assert told.pixel is not None
    assert "flat ground" in told.pixel.bands[0].missing


# -- told ------------------------------------------------------------------------------------------------------------


def test_attributes_say_what_was_done(base: Path) -> None:
    ds = made(base)
    for name in ("slope", "aspect"):
        attributes = ds[name].attrs
        assert attributes["computed_from"] == "height"
        assert "Horn" in attributes["algorithm"]
        assert "after projection" in attributes["algorithm"]
        assert attributes["lattice_pitch_m"] == 20.0
        assert attributes["north"].startswith("grid north")
        assert attributes["kernel"] == "horn"
    assert ds["slope"].attrs["units"] == "degree"
    assert list(ds["aspect_band"].values) == ["east", "north"]
    assert ds["height"].attrs["kernel"] == "bilinear"
    assert "down the slope" in ds["aspect"].attrs["long_name"]


def test_verify_and_explain(base: Path) -> None:
    made(base, ground="rough")
    assert verify(base / "out").problems == []
    told = explain(base / "out", 0, "dem", x=0, y=0)
    assert told.pixel is not None
    by_name = {band.variable: band for band in told.pixel.bands if band.band != "north"}
    assert by_name["height"].reproduced, "a pixel at the chip's corner is the right one"
    assert by_name["slope"].origin is None
    assert by_name["slope"].value == pytest.approx(float(xr.open_zarr(
        base / "out/chips.zarr", group="dem", chunks=None)["slope"][0, 0, 0, 0]))  # fmt: skip
    assert any("slope is computed from height" in note for note in told.notes)
    assert all("height is computed" not in note for note in told.notes)
    slots = explain(base / "out", 0, "dem").slots
    assert {item.id for item in slots[0].items} == {"dem"}


def test_the_digest_depends_on_the_version(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = planned(base).layers[0]
    assert one.op_versions["terrain"] == terrain.VERSION
    monkeypatch.setattr(terrain, "VERSION", terrain.VERSION + 1)
    other = planned(base).layers[0]
    assert digest_of(one.settings()) != digest_of(other.settings())
    plain = planned(base, terrain=[]).layers[0]
    assert "terrain" not in plain.op_versions


def test_a_recipe_that_was_written_is_read_again(base: Path) -> None:
    made(base)
    again = parse_recipe((base / "out/recipe.yaml").read_text())
    assert again.layers["dem"].terrain == ["slope", "aspect"]
    known = make_plan(again, area(AT_60N), base=base)
    assert digest_of(known.layers[0].settings()) == digest_of(planned(base).layers[0].settings())


# -- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "reflectance"}, "reflectance"),
        ({"unit": "1"}, "needs one height"),
        ({"unit": "feet"}, "feet"),
        ({"n_bands": 2}, "needs one height"),
        ({"statistic": "count"}, "needs one height"),
        ({"name": "slope"}, "has the name of what"),
        ({"terrain": ["roughness"]}, "roughness"),
        ({"terrain": ["slope", "slope"]}, "each once"),
    ],
)
def test_what_is_no_height_is_refused(base: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        planned(base, **options)
    assert caught.value.where


def test_other_sources_are_refused(base: Path) -> None:
    text = dedent("""
        name: hills
        grid: {chip_px: 32, resolution: 10}
        layers:
          cover: {source: synthetic, product: landcover, terrain: [slope]}
    """)
    with pytest.raises(ConfigError, match="needs one height"):
        plan(text, base=base)


def test_a_source_does_not_give_what_is_computed(base: Path) -> None:
    with pytest.raises(ConfigError, match="a variable 'slope' that describe"):
        made(base, gives="slope")


def test_grid_north_is_not_true_north() -> None:
    """Why the attribute says so: at 60 N, 2.6 degrees from the central meridian, they differ by more than 2 degrees."""
    to_utm = Transformer.from_crs(4326, 32632, always_xy=True)
    (e0, e1), (n0, n1) = to_utm.transform([11.6, 11.6], [60.0, 60.001])
    assert abs(np.degrees(np.arctan2(e1 - e0, n1 - n0))) > 2
