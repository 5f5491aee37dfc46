"""Composites of single looks: medoid, the least cloudy, and of how many acquisitions each pixel was made."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

import m3leo_prep as mp
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.pipeline.explain import explain
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.reader.dataset import Dataset

SOURCE = """
from dataclasses import dataclass
from datetime import datetime, UTC
import numpy as np
from shapely.geometry import box
from m3leo_prep.core.raster import Item, Kind, Raster, SourceInfo, Variable
from m3leo_prep.sources._native import NativeGrid

CLOUD = (30.0, 10.0, 20.0)


@dataclass(frozen=True)
class Days:
    '''Three days, two tiles each; a stripe of clouds moves over the ground, and the tiles of a pass overlap.'''

    tells_cloud: bool = True

    def describe(self):
        return SourceInfo((Variable("reflectance", Kind("reflectance"), ("red", "nir")),), version="1", pitch=80.0)

    def find(self, area, slots):
        for day in range(3):
            for tile in "ab":
                about = {"cloud_cover": CLOUD[day]} if self.tells_cloud else {}
                yield Item(f"day{day}{tile}", box(-180, -90, 180, 90), version="1", acquisition=f"day{day}",
                           datetime=datetime(2020, 1, 1 + day, tzinfo=UTC), properties=about)

    def read(self, items, geobox, slot):
        grid = NativeGrid(str(geobox.crs), 80.0)
        window = grid.window(geobox)
        row, col = np.mgrid[window.row0 : window.row1, window.col0 : window.col1]
        for item in items:
            day, tile = int(item.id[3]), item.id[4]
            cloud = (row // 7 + day) % 3 == 0
            there = (col % 20 < 12) if tile == "a" else (col % 20 >= 8)
            valid = np.stack([there & ~cloud] * 2)
            data = np.stack([np.full(row.shape, 0.1 + 0.1 * day), np.full(row.shape, (0.5, 0.9, 0.1)[day])])
            yield Raster(data.astype("float32"), valid, grid.geobox(window), item, "reflectance", there & cloud)
"""


SLOTS = 'slots: {periods: [["2020-01-01", "2020-01-31"]]}, '


def built(tmp_path: Path, more: str, source: str = "./days.py:Days", slots: str = SLOTS) -> Any:
    (tmp_path / "days.py").write_text(SOURCE)
    (tmp_path / "r.yaml").write_text(
        dedent(
            f"""\
            name: days
            grid: {{chip_px: 32, resolution: 80}}
            layers:
              s2: {{source: "{source}", {slots}{more}}}
            """
        )
    )
    plan = mp.plan("6.0,49.6,6.02,49.62", str(tmp_path / "r.yaml"))
    return mp.build(plan, tmp_path / "out")


def days_valid(y: np.ndarray) -> np.ndarray:
    """Return (day, y) True where the stripe of clouds is elsewhere; rows count from the zone's origin."""
    return np.stack([(y // 7 + day) % 3 != 0 for day in range(3)])


def rows_of(dataset: Dataset, chip: int) -> np.ndarray:
    y0 = float(dataset.chips["y0"].iloc[chip])
    return (np.arange(32) + round((0.0 - y0) / 80)).astype(int)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return built(tmp_path_factory.mktemp("counted"), "statistic: medoid, counts: true")


def test_each_pixel_tells_of_how_many_acquisitions_it_was_made(counted: Any) -> None:
    tree = mp.open_dataset(counted.path)
    for chip in range(len(counted.chips)):
        seen = days_valid(rows_of(counted, chip)).sum(axis=0)
        count = tree["s2"]["reflectance_count"].values[chip, 0]
        assert np.array_equal(count, np.broadcast_to(seen[None, :, None], count.shape)), (
            "two tiles of a pass count once"
        )


def test_the_medoid_takes_one_day_for_both_bands(counted: Any) -> None:
    values = mp.open_dataset(counted.path)["s2"]["reflectance"].values[:, 0]
    pairs = {
        (round(float(r), 3), round(float(n), 3)) for r, n in zip(*values.swapaxes(0, 1).reshape(2, -1), strict=True)
    }
    assert pairs <= {(0.1, 0.5), (0.2, 0.9), (0.3, 0.1)}
    assert len(pairs) > 1


def test_explain_names_the_day_that_the_medoid_took(counted: Any) -> None:
    said = str(explain(counted.path, 0, "s2.reflectance", x=5, y=5))
    assert "nearest to all others in all bands" in said


def test_counts_are_explained_and_drawn_as_what_they_are(counted: Any) -> None:
    from m3leo_prep.reader.picture.looks import looks

    assert "of how many acquisitions reflectance was made" in str(explain(counted.path, 0, "s2", x=5, y=5))
    (look,) = looks(counted.layers["s2"].arrays["reflectance_count"], layer="s2")
    assert look.unit.strip() == "acquisitions"


def test_a_model_is_given_counts_only_where_they_are_named(counted: Any) -> None:
    assert {"s2", "s2_mask"} <= mp.ChipDataset(counted.path, layers=["s2"])[0].keys()
    assert not any("count" in key for key in mp.ChipDataset(counted.path, layers=["s2"])[0])
    both = mp.ChipDataset(counted.path, layers=["s2", "s2.reflectance_count"])[0]
    assert both["s2.reflectance_count"].max() == 2
    assert both["s2"].shape == both["s2.reflectance_count"].shape
    assert counted.chip(0, "s2").name == "reflectance"


def test_a_chip_is_as_valid_as_its_pixels_and_not_as_their_counts(tmp_path: Path) -> None:
    day = 'slots: {periods: [["2020-01-01", "2020-01-01"]]}, '
    dataset = built(tmp_path, "statistic: median, counts: true", slots=day)
    quality = mp.open_dataset(dataset.path)["s2"]["reflectance_valid"].to_numpy()
    assert 0 < quality.min() < quality.max() < 100, "a third is hidden by the stripe"
    assert np.allclose(dataset.chips["valid_s2"], quality.reshape(len(quality), -1).mean(axis=1))
    assert sum(verify(dataset.path, quick=True).reasons["s2"].values()) == quality.size


def test_exports_hold_counts_too(counted: Any, tmp_path: Path) -> None:
    from m3leo_prep.pipeline.export.files import export

    export(counted.path, [0], "geotiff", tmp_path / "tifs")
    assert any("count" in path.name for path in (tmp_path / "tifs").rglob("*.tif"))


def test_verify_finds_the_same_pixels_again(counted: Any) -> None:
    assert verify(counted.path).ok


def test_the_least_cloudy_day_wins_wherever_it_is_clear(tmp_path: Path) -> None:
    dataset = built(tmp_path, "statistic: least_cloudy, counts: true")
    tree = mp.open_dataset(dataset.path)
    valid = days_valid(rows_of(dataset, 0))
    red = np.select([valid[1], valid[2], valid[0]], [0.2, 0.3, 0.1])
    values = tree["s2"]["reflectance"].values[0, 0, 0]
    assert np.allclose(values, np.broadcast_to(red[:, None], values.shape), atol=1e-4)
    assert tree["s2"]["reflectance_count"].values[0, 0, 0, :, 0].tolist() == valid.sum(axis=0).tolist()


def test_items_that_tell_no_cloud_cannot_be_ordered_by_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cloud cover"):
        built(tmp_path, "statistic: least_cloudy, tells_cloud: false")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("source: synthetic, product: landcover, counts: true", "holds codes alone"),
        ("source: synthetic, product: s2, slots: {months: 2020}, statistic: count, counts: true", "is a count itself"),
    ],
)
def test_counts_of_what_has_none_are_refused(layer: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mp.plan("6.0,49.6,6.02,49.62", f"name: a\ngrid: {{chip_px: 32, resolution: 80}}\nlayers:\n  a: {{{layer}}}\n")


def test_counts_hinder_neither_slopes_nor_who_needs_heights(tmp_path: Path) -> None:
    recipe = (
        "name: a\ngrid: {chip_px: 32, resolution: 80}\nlayers:\n"
        "  dem: {source: synthetic, product: relief, counts: true, terrain: [slope]}\n"
    )
    dataset = mp.build(mp.plan("6.0,49.6,6.02,49.62", recipe), tmp_path / "out")
    tree = mp.open_dataset(dataset.path)["dem"]
    assert (tree["height_count"].to_numpy() == 1).all()
    assert np.isfinite(tree["slope"].to_numpy()).all()
    assert [key for key in mp.ChipDataset(dataset.path, layers=["dem"])[0] if "." in key and "mask" not in key] == [
        "dem.height",
        "dem.slope",
    ]


def test_a_medoid_of_heights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bands of a spectrum"):
        built(tmp_path, "statistic: medoid", source="ramp", slots="")


def test_the_server_of_earth_engine_makes_no_medoid() -> None:
    from m3leo_prep.sources.gee import EarthEngine

    with pytest.raises(ConfigError, match="composite: local"):
        EarthEngine("s2-sr", statistic="medoid")
    assert EarthEngine("s2-sr", statistic="medoid", composite="local")
