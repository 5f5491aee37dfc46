"""The tiling of the first M3LEO release: golden vectors (published ids, README example, CONUS chips)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely

from m3leo_prep.core import geetiles
from m3leo_prep.core.errors import ConfigError

LUXEMBOURG = Path(__file__).parents[3] / "shared" / "data" / "vector" / "luxembourg.wkt"

CONUS = {
    "1bc070af07c71": (-73.435319715, 42.132342609, -73.381381815, 42.172478321),
    "2ce1d0d6ece74": (-73.0327034, 42.677879825, -72.9781837, 42.718094374),
    "1dfe3beb5a3dc": (-73.191180903, 42.073623945, -73.137304009, 42.113751712),
    "186dd6ba3cfba": (-72.999341493, 42.508923371, -72.945003022, 42.549113928),
    "21e3946b2e6ce": (-72.901652239, 42.605607581, -72.847208922, 42.64581284),
    "2cef02514febb": (-73.014098623, 42.23132488, -72.960055462, 42.271475502),
}


@pytest.fixture(scope="module")
def luxembourg() -> shapely.Geometry:
    if not LUXEMBOURG.is_file():
        pytest.skip("needs ../shared/data/vector/luxembourg.wkt (its licence forbids a copy here)")
    return shapely.from_wkt(LUXEMBOURG.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("chip_id", "box"), CONUS.items())
def test_published_conus_ids(chip_id, box):
    assert geetiles.identifier(shapely.box(*box)) == chip_id


@pytest.mark.parametrize("box", CONUS.values())
def test_published_conus_chips_lie_on_the_reproduced_lattice(box):
    """The published grid is UTM 14N with a known phase; a chip of ours there has the published corners."""
    from pyproj import Transformer

    forward = Transformer.from_crs(4326, 32614, always_xy=True)
    lon, lat = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    x, y = forward.transform(lon, lat)
    assert x % 4480 == pytest.approx(3102.826355, abs=1e-3)
    assert y % 4480 == pytest.approx(728.435992, abs=1e-3)
    half_lon = 4479 / 2 / ((forward.transform(lon + 0.001, lat)[0] - x) * 1000)
    half_lat = 4479 / 2 / ((forward.transform(lon, lat + 0.001)[1] - y) * 1000)
    np.testing.assert_allclose((lon - half_lon, lat - half_lat, lon + half_lon, lat + half_lat), box, atol=2e-9)


@pytest.mark.parametrize(
    ("metres", "count", "digest", "first"),
    [
        (1000, 2774, "14c55eb7d417f", ["132e3b06023c3", "162479949c39b", "2d10bfe632887"]),
        (4480, 159, "1a400f831129d", ["1f7ae845c4e6b"]),
    ],
)
def test_luxembourg_is_reproduced(luxembourg, metres, count, digest, first):
    chips = geetiles.chips(luxembourg, metres)
    ids = [geetiles.identifier(chip) for chip in chips]
    assert geetiles.utm_epsg(luxembourg) == 32632
    assert len(chips) == count
    assert ids[: len(first)] == first
    assert geetiles.set_hash(ids) == digest
    assert geetiles.set_hash(ids[::-1]) != digest
    # Ring order of the original: SW, NW, NE, SE, SW.
    ring = np.array(chips[0].exterior.coords)
    west, south, east, north = chips[0].bounds
    assert ring.tolist() == [[west, south], [west, north], [east, north], [east, south], [west, south]]


def test_ids_do_not_depend_on_print_options():
    box = shapely.box(*CONUS["1bc070af07c71"])
    with np.printoptions(precision=2, linewidth=20, suppress=True, threshold=3):
        assert geetiles.identifier(box) == "1bc070af07c71"


def test_ids_are_13_digits_and_depend_on_the_fifth_decimal_only():
    west, south, east, north = 10.12345, 50.12345, 10.2, 50.2
    one = geetiles.identifier(shapely.box(west, south, east, north))
    assert len(one) == 13
    assert geetiles.identifier(shapely.box(west + 3e-6, south, east, north)) == one
    assert geetiles.identifier(shapely.box(west + 1e-5, south, east, north)) != one
    # The id sees the bounding box alone.
    assert geetiles.identifier(shapely.Polygon([(west, south), (east, north), (east, south)])) == one


def test_beyond_utm_is_refused():
    with pytest.raises(ConfigError, match="UNSUPPORTED_LATITUDE"):
        geetiles.chips(shapely.box(10, 85, 11, 86), 4480)


@pytest.mark.parametrize(
    ("metres", "angle", "n_bands", "shares", "k", "counts"),
    [
        (1000, 0.9, 60, (0.6, 0.2, 0.2), 1.2378, (1639, 563, 572)),
        (4480, 0.9, 60, (0.6, 0.2, 0.2), 0.5791, (95, 28, 36)),
        (1000, 0.78, 8, (0.5, 0.3, 0.2), 1.3277, (1265, 653, 856)),
    ],
)
def test_luxembourg_splits_are_reproduced(luxembourg, metres, angle, n_bands, shares, k, counts):
    named = dict(zip(("train", "val", "test"), shares, strict=True))
    splits, found = geetiles.split(geetiles.chips(luxembourg, metres), n_bands=n_bands, angle=angle, shares=named)
    assert found == pytest.approx(k, abs=5e-5)
    assert tuple(np.bincount(splits, minlength=3).tolist()) == counts


def row_of_boxes(n):
    return [shapely.box(x, 0, x + 1, 1) for x in range(n)]


def test_split_bands_repeat_train_test_val():
    """Angle pi/2: bands of equal longitude, one box each; the cycle is train, train, train, test, val."""
    shares = {"train": 0.6, "val": 0.2, "test": 0.2}
    splits, _ = geetiles.split(row_of_boxes(10), n_bands=10, angle=np.pi / 2, shares=shares)
    assert splits.tolist() == [0, 0, 0, 2, 1] * 2
    # Between pi/4 and pi/2 latitude weighs in too, which is the same for all here.
    steep, _ = geetiles.split(row_of_boxes(10), n_bands=10, angle=0.9, shares=shares)
    assert steep.tolist() == splits.tolist()
    # 0.5/0.2 is rounded to 2 (half to even) and 0.3/0.2 to 1, so the README's own 50/30/20 becomes 50/25/25.
    uneven = {"train": 0.5, "val": 0.3, "test": 0.2}
    splits, _ = geetiles.split(row_of_boxes(8), n_bands=8, angle=np.pi / 2, shares=uneven)
    assert splits.tolist() == [0, 0, 2, 1] * 2
    more_test = {"train": 0.5, "val": 0.125, "test": 0.375}
    splits, _ = geetiles.split(row_of_boxes(8), n_bands=8, angle=np.pi / 2, shares=more_test)
    assert splits.tolist() == [0, 0, 0, 0, 2, 2, 2, 1]


def test_splits_that_the_original_would_have_guessed_are_refused():
    shares = {"train": 0.6, "val": 0.2, "test": 0.2}
    with pytest.raises(ConfigError, match=r"(?s)no width of bands cuts these 3 chips into 5 bands"):
        geetiles.split(row_of_boxes(3), n_bands=5, angle=0.9, shares=shares)
    with pytest.raises(ConfigError, match=r"(?s)repeat after 5 bands, but there are 4.*n_bands from 5"):
        geetiles.split(row_of_boxes(9), n_bands=4, angle=0.9, shares=shares)
    with pytest.raises(ConfigError, match="sum to"):
        geetiles.split(row_of_boxes(9), n_bands=5, angle=0.9, shares={"train": 0.5})
