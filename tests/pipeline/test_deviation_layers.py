"""A quantity and its standard deviation in one layer: same weights, right errors, refused where they part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.plan import digest_of
from m3leo_prep.pipeline.build import build
from m3leo_prep.pipeline.explain.chip import explain
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.runners.threads import Threads

from .conftest import plan, tree

BIOMASS = """
    from dataclasses import dataclass
    from datetime import UTC, datetime
    import numpy as np
    from shapely.geometry import box
    from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable
    from m3leo_prep.sources._native import NativeGrid


    @dataclass(frozen=True)
    class Biomass:
        '''Biomass 100 everywhere with holes, its standard deviation 20, on the chips' own grid cut finer.'''

        pitch: float = 10.0
        kind: str = "continuous"
        correlation: object = 0.0
        dated: bool = False

        def describe(self):
            about = {} if self.correlation is None else {"correlation": self.correlation}
            agb = Variable("agb", Kind(self.kind), ("agb",), "Mg/ha")
            sd = Variable("agb_sd", Kind.UNCERTAINTY, ("agb_sd",), "Mg/ha", attributes=about)
            return SourceInfo((agb, sd), version="1", pitch=self.pitch, is_static=not self.dated)

        def find(self, area, slots):
            when = datetime(2020, 1, 5, tzinfo=UTC) if self.dated else None
            yield Item("i", box(-180, -80, 180, 84), datetime=when)

        def read(self, items, geobox, slot):
            grid = NativeGrid(str(geobox.crs), self.pitch)
            window = grid.window(geobox)
            row, col = np.mgrid[window.row0 : window.row1, window.col0 : window.col1]
            valid = ((row * 7919 + col * 104729) % 11 > 1)[None]
            for name, value in (("agb", 100), ("agb_sd", 20)):
                data = np.where(valid, value, -9999).astype("float32")
                yield Raster(data, valid, grid.geobox(window), items[0], name)
    """
JANUARY = {"periods": [["2020-01-01", "2020-02-01"]]}


@pytest.fixture
def base(write_source: Callable[[str], Path]) -> Path:
    return write_source(BIOMASS)


def recipe(**options: object) -> str:
    said = {"source": "./my_source.py:Biomass"} | options
    layer = ", ".join(f"{key}: {'null' if value is None else value}" for key, value in said.items())
    return f"name: agb\ngrid: {{chip_px: 32, resolution: 10}}\nlayers:\n  agb: {{{layer}}}\n"


def made(base: Path, out: str, **options: object) -> xr.Dataset:
    build(plan(recipe(**options), base=base), base / out, runner=Threads(2))
    return xr.open_zarr(base / out / "chips.zarr", group="agb", chunks=None).load()


@pytest.mark.parametrize("rho", [0, 0.25, 1])
def test_sixteen_pixels_become_one(base: Path, rho: float) -> None:
    """40 m of 10 m: the biomass stays, independent errors shrink by the root of the pixels that are there."""
    ds = made(base, "out", correlation=rho, resolution=40)
    agb, sd = ds["agb"].values[:, 0], ds["agb_sd"].values[:, 0]
    assert ds["agb"].attrs["kernel"] == "average"
    assert ds["agb_sd"].attrs["kernel"] == "quadrature_average"
    assert ds["agb_sd"].attrs["correlation"] == rho
    assert ds["agb_sd"].attrs["units"] == "Mg/ha"
    assert np.array_equal(np.isfinite(agb), np.isfinite(sd))
    assert agb == pytest.approx(100)
    n = (1 - rho) / (sd.astype(float) ** 2 / 20**2 - rho) if rho < 1 else np.full(sd.shape, 14.0)
    assert np.abs(n - np.rint(n)).max() < 1e-3, "how many pixels each is made of"
    assert 10 <= n.min() <= n.max() <= 16
    assert sd.max() <= 20.00001


def test_at_its_own_pixels_it_is_untouched(base: Path) -> None:
    """D104: nothing is resampled, so nothing shrinks."""
    ds = made(base, "out", resolution=10)
    there = np.isfinite(ds["agb_sd"].values)
    assert 0.5 < there.mean() < 1
    assert (ds["agb_sd"].values[there] == 20).all()


def test_verify_and_explain(base: Path) -> None:
    made(base, "out", correlation=0.3, resolution=20)
    assert verify(base / "out").problems == []
    told = explain(base / "out", 0, "agb", x=3, y=4)
    assert told.pixel is not None
    assert [band.reproduced for band in told.pixel.bands] == [True, True]
    origin = told.pixel.bands[1].origin
    assert origin is not None
    assert origin.scenes[0].kernel == "quadrature_average: the weights of average, added in quadrature"


def test_a_word_for_the_layer_holds_for_both(base: Path) -> None:
    ds = made(base, "out", resampling="bilinear", resolution=20)
    assert [ds[name].attrs["kernel"] for name in ("agb", "agb_sd")] == ["bilinear", "quadrature_bilinear"]
    ds = made(base, "near", resampling="nearest", resolution=20)
    assert [ds[name].attrs["kernel"] for name in ("agb", "agb_sd")] == ["nearest", "nearest"]


def test_another_correlation_is_another_dataset(base: Path) -> None:
    """Its digest tells, even if the source's author forgets to raise the version."""
    one, other = (plan(recipe(correlation=rho), base=base).layers[0] for rho in (0.1, 0.2))
    assert digest_of(one.settings()) != digest_of(other.settings())
    array = one.settings()["arrays"][1]
    assert array["correlation"] == 0.1
    assert "correlation" not in one.settings()["arrays"][0]


def test_the_plan_survives_a_round_trip(base: Path) -> None:
    whole = plan(recipe(correlation=0.5, resolution=40), base=base)
    build(whole, base / "out", runner=Threads(1))
    before = tree(base / "out")
    assert build(whole, base / "out", runner=Threads(1)).built == 0
    assert tree(base / "out") == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"correlation": None}, "says no `correlation`"),
        ({"correlation": 1.5}, "correlation: 1.5"),
        ({"kind": "amount"}, "not the standard deviation of 'agb' by sum"),
        ({"kind": "power"}, "not the standard deviation of 'agb' by bspline"),
        ({"resampling": "cubic"}, "'cubic' makes no sense for uncertainty"),
        ({"dated": "true", "slots": JANUARY}, "mean of several items"),
        ({"statistic": "mean"}, "not known for standard deviations"),
        ({"statistic": "count"}, "not known for standard deviations"),
    ],
)
def test_where_they_would_part_it_is_refused(base: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        plan(recipe(**options), base=base)
    assert caught.value.hint
    assert caught.value.where == "layer agb"


def test_a_series_takes_one_item_a_slot(base: Path) -> None:
    ds = made(base, "out", dated="true", slots=JANUARY, statistic="first")
    assert ds["agb_sd"].dims[:2] == ("chip", "time")
    assert np.nanmax(ds["agb_sd"].values) == 20
