"""Incidence and line of sight at the ground's heights: closed forms, a satellite placed by hand, cuts and edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.sources.asf.gunw.geometry import incidence, los
from m3leo_prep.testing.earthdata.files.gunw import NODE
from tests.sources.asf.gunw_geometry.granules import NORTH, WEST, chip, granule, hills, level

Floats = NDArray[np.float64]
TO_LONLAT = Transformer.from_crs(32611, 4326, always_xy=True)


def linear(h: Floats, lat: Floats, lon: Floats) -> Floats:
    """Return an incidence angle that is linear in height, latitude and longitude (D38)."""
    return 30 + 2 * (lon + 119) + (lat - 34) + 0.5e-3 * h


def azimuth(value: float) -> Any:
    return lambda h, lat, lon: value + 0.0 * (h + lat + lon)


def centres(geobox: Any) -> tuple[Floats, Floats]:
    """Return (lat, lon) pixel by pixel, by pyproj alone."""
    to = geobox.transform
    x, y = np.meshgrid(
        to.c + to.a * (np.arange(geobox.shape[1]) + 0.5), to.f + to.e * (np.arange(geobox.shape[0]) + 0.5)
    )
    if geobox.crs.projected:
        x, y = TO_LONLAT.transform(x, y)
    return y, x


@pytest.mark.parametrize("target", ["chip", "product"])
def test_incidence_is_exact_where_it_is_linear_and_the_nearest_node_is_not(tmp_path: Path, target: str) -> None:
    file = granule(tmp_path, geometry={"incidenceAngle": linear, "azimuthAngle": azimuth(-168)})
    geobox = chip(300) if target == "chip" else file.geobox[20:380, 30:470]
    made, valid = incidence(file, geobox, hills)
    (lat, lon), height = centres(geobox), hills(geobox)[0]
    assert made.dtype == np.float32
    assert valid.all()
    assert np.abs(made - linear(height, lat, lon)).max() < 1e-4, "float32 of stored angles; D38 asks for 0.01 degree"
    nodes = np.array([-1500.0, 0.0, 3000.0, 9000.0])
    nearest = nodes[np.abs(nodes - height[..., None]).argmin(axis=-1)]
    at = linear(nearest, np.rint(lat / NODE) * NODE, np.rint(lon / NODE) * NODE)
    assert np.abs(at - linear(height, lat, lon)).max() > 0.5, "what the nearest node would give"


def test_line_of_sight_points_from_the_ground_to_a_satellite(tmp_path: Path) -> None:
    """A satellite on a straight line in a flat world: the vector is known everywhere, not only at nodes."""
    pass_x, up = -4.0e5, 7.0e5

    def to_satellite(h: Floats, lat: Floats, lon: Floats) -> tuple[Floats, Floats, Floats]:
        east = pass_x - (lon - WEST) * 9e4 + 0.0 * h
        return east, -0.2 * east + 0.0 * lat, up - h

    def angle(h: Floats, lat: Floats, lon: Floats) -> Floats:
        e, n, u = to_satellite(h, lat, lon)
        return np.degrees(np.arctan2(np.hypot(e, n), u))

    def turn(h: Floats, lat: Floats, lon: Floats) -> Floats:
        e, n, _ = to_satellite(h, lat, lon)
        return np.degrees(np.arctan2(n, e))

    file = granule(tmp_path, geometry={"incidenceAngle": angle, "azimuthAngle": turn})
    geobox = chip(300)
    made, valid = los(file, geobox, hills)
    (lat, lon), height = centres(geobox), hills(geobox)[0]
    truth = np.stack(np.broadcast_arrays(*to_satellite(height.astype(float), lat, lon)))
    truth /= np.sqrt((truth**2).sum(axis=0))
    assert made.shape == (3, 300, 300)
    assert made.dtype == np.float32
    assert valid.all()
    assert np.degrees(np.sqrt(((made - truth) ** 2).sum(axis=0))).max() < 0.003
    assert np.abs(np.sqrt((made.astype(float) ** 2).sum(axis=0)) - 1).max() < 1e-6
    assert (made[0] < 0).all(), "ascending and right-looking: the satellite is in the west"
    assert (made[1] > 0).all(), "and, as it flies north-north-west, a little north of west"
    down = incidence(file, geobox, hills)[0]
    assert np.abs(made[2] - np.cos(np.radians(down.astype(float)))).max() < 2e-5
    assert (made[2] > 0).all()


@pytest.mark.parametrize("before", [359.0, -1.0])
def test_azimuth_359_beside_1_is_0(tmp_path: Path, before: float) -> None:
    """D21: west of 119.1 W the angle is 359, east of it 1; midway it is 0, not 180."""
    split = {
        "incidenceAngle": lambda h, lat, lon: 35 + 0.0 * (h + lat + lon),
        "azimuthAngle": lambda h, lat, lon: np.where(lon < -119.15, before, 1.0) + 0.0 * (h + lat),
    }
    file = granule(tmp_path, geometry=split)
    (east, north, _), valid = los(file, file.geobox, level(100))
    turn = np.degrees(np.arctan2(north, east))
    assert valid.all()
    assert np.abs(turn).max() < 1.001
    midway = np.abs(centres(file.geobox)[1] + 119.15) < 0.0005
    assert np.abs(turn[midway]).max() < 0.1


def test_one_pixel_has_the_same_bits_in_every_cut(tmp_path: Path) -> None:
    file = granule(tmp_path, geometry={"incidenceAngle": linear, "azimuthAngle": azimuth(-168)})
    for whole in (chip(120), file.geobox[10:130, 200:320]):
        for read in (incidence, los):
            full, _ = read(file, whole, hills)
            for rows, cols in ((slice(0, 40), slice(60, 120)), (slice(37, 98), slice(1, 2))):
                part, _ = read(file, whole[rows, cols], hills)
                assert part.tobytes() == full[..., rows, cols].tobytes()


def test_not_known_outside_the_nodes_where_the_height_is_not_and_where_the_product_has_none(tmp_path: Path) -> None:
    def gap(h: Floats, lat: Floats, lon: Floats) -> Floats:
        return np.where((np.abs(lon + 119.2) < 0.01) & (np.abs(lat - 34.4) < 0.01), -9999.0, linear(h, lat, lon))

    file = granule(tmp_path, geometry={"incidenceAngle": gap, "azimuthAngle": azimuth(-168)})
    lat, lon = centres(file.geobox)
    for read in (incidence, los):
        assert not read(file, file.geobox, level(9500))[1].any(), "above the highest node"
        made, valid = read(file, file.geobox.translate_pix(0, -250), level(0))
        assert not valid[:100].any(), "north of the nodes"
        assert valid[-100:, -100:].all()
        assert np.isnan(made[..., :100, :]).all()
        made, valid = read(file, file.geobox, level(0))
        near = (np.abs(lon + 119.2) < NODE - 1e-3) & (np.abs(lat - 34.4) < NODE - 1e-3)
        far = (np.abs(lon + 119.2) > NODE + 1e-3) | (np.abs(lat - 34.4) > NODE + 1e-3)
        assert not valid[near].any()
        assert valid[far].all()
        assert np.array_equal(np.isfinite(made).reshape(-1, *valid.shape).all(axis=0), valid)

    def half(geobox: Any) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        height, known = hills(geobox)
        known[:, : known.shape[1] // 2] = False
        return height, known

    _, valid = los(file, chip(60), half)
    assert not valid[:, :30].any()
    assert valid[:, 30:].all()


def test_a_granule_across_the_antimeridian(tmp_path: Path) -> None:
    """Its longitudes go on beyond 180, or below -180; targets count from -180 to 180."""
    for n, west in enumerate((179.8, -180.2)):
        about = round(west)

        def tilt(h: Floats, lat: Floats, lon: Floats, about: int = about) -> Floats:
            return 35 + 2 * (lon - about) + 0.0 * (h + lat)

        geometry = {"incidenceAngle": tilt, "azimuthAngle": azimuth(-168)}
        file = granule(tmp_path, west=west, geometry=geometry, serial=n)
        to_utm = Transformer.from_crs(4326, 32660, always_xy=True)
        x, y = to_utm.transform(180.0, NORTH - 0.15)
        geobox = GeoBox((50, 50), Affine(200, 0, round(x) - 5000, 0, -200, round(y) + 5000), "EPSG:32660")
        made, valid = incidence(file, geobox, level(0))
        assert valid.all(), west
        assert np.abs(np.diff(made, axis=1) - 2 * 200 / 91_800).max() < 2e-4, "no jump"
        assert np.abs(made.mean() - 35) < 0.01


def test_a_granule_without_geometry_is_damaged(tmp_path: Path) -> None:
    file = granule(tmp_path, geometry={"incidenceAngle": linear})
    with pytest.raises(CorruptError, match="azimuthAngle"):
        los(file, chip(), hills)
