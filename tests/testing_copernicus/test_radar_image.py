"""The radar that makes the test images, against closed forms: orbit, place, and power of flat and of tilted ground."""

import numpy as np
import pytest
from pyproj import Transformer

from m3leo_prep.testing.copernicus.files.orbit import HEADINGS, Orbit, geocentric, geodetic
from m3leo_prep.testing.copernicus.files.radar_image import Ground, image

EPSG, LEFT, TOP, PITCH, SIZE = 32632, 280_000.0, 5_502_000.0, 20.0, 200
GAMMA = 0.1
INNER = slice(40, -40)


def lattice(heights=lambda _x, _y: 300.0, bright=None):
    """Return a ground of one backscatter, but for one cell."""
    x, y = np.meshgrid(LEFT + PITCH * np.arange(SIZE + 1), TOP - PITCH * np.arange(SIZE + 1))
    gamma = np.full((1, SIZE, SIZE), GAMMA)
    if bright is not None:
        gamma[0][bright] = 1000 * GAMMA
    return Ground(EPSG, LEFT, TOP, PITCH, np.broadcast_to(heights(x, y), x.shape).astype(float), gamma)


@pytest.fixture(params=[True, False], ids=["ascending", "descending"])
def orbit(request):
    return Orbit(6.0, 49.6, ascending=request.param)


def test_the_velocity_is_the_derivative_of_the_position(orbit):
    times, step = np.array([-40.0, 0.0, 3.0]), 1e-2
    numeric = (orbit.position(times + step) - orbit.position(times - step)) / (2 * step)
    np.testing.assert_allclose(orbit.velocity(times), numeric, atol=1e-4)
    assert (np.sign(orbit.velocity(np.zeros(1))[0, 2]) > 0) == orbit.ascending


def test_a_place_is_seen_where_it_is_and_to_the_right(orbit):
    point = np.moveaxis(geocentric(6.05, 49.58, 250.0), 0, -1)
    time, distance = orbit.seen(point[None])
    back = orbit.ground(time, distance, 250.0)
    assert np.linalg.norm(back - point) < 1e-3
    away = point - orbit.position(time)[0]
    assert abs(away @ orbit.velocity(time)[0]) < 1e-2  # metres squared a second: abeam to less than a nanometre
    ahead, up = orbit.velocity(time)[0], orbit.position(time)[0]
    assert np.cross(ahead, up) @ away > 0


def test_level_ground_has_the_beta_nought_of_its_incidence(orbit):
    seen = image(lattice(), orbit)
    expected = GAMMA / np.tan(np.radians(seen.incidence_across))
    found = seen.beta[0][INNER, INNER]
    np.testing.assert_allclose(found.mean(axis=0), expected[INNER], rtol=2e-3)
    assert np.abs(found / expected[INNER] - 1).max() < 0.03  # pieces of ground are counted evenly


@pytest.mark.parametrize("slope", [-0.2, 0.15, 0.3])
def test_a_tilted_plane_has_that_of_its_local_incidence(orbit, slope):
    look = np.radians(HEADINGS[orbit.ascending] + 90)
    to_degrees = Transformer.from_crs(EPSG, 4326, always_xy=True)
    lon, lat = to_degrees.transform(LEFT + PITCH * SIZE / 2, TOP - PITCH * SIZE / 2)
    turn = np.radians((lon - 9) * np.sin(np.radians(lat)))  # of grid north
    east, north = np.sin(look - turn), np.cos(look - turn)

    def heights(x, y):
        across = (x - LEFT - PITCH * SIZE / 2) * east + (y - TOP + PITCH * SIZE / 2) * north
        return 300 - slope * across  # rises towards the satellite's side where the slope is positive

    seen = image(lattice(heights), orbit)
    lines, samples = (size // 2 for size in seen.beta.shape[1:])
    local = seen.incidence_across[samples] + np.degrees(np.arctan(slope))
    middle = seen.beta[0][lines - 20 : lines + 20, samples - 20 : samples + 20].mean()
    assert middle == pytest.approx(GAMMA / np.tan(np.radians(local)), rel=0.01)


def test_a_bright_cell_is_where_its_place_is_said_to_be_seen(orbit):
    cell = (90, 110)
    seen = image(lattice(lambda x, y: 300 + 40 * np.sin(x / 900) * np.cos(y / 700), cell), orbit)
    x, y = LEFT + PITCH * (cell[1] + 0.5), TOP - PITCH * (cell[0] + 0.5)
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(x, y)
    height = 300 + 40 * np.sin(x / 900) * np.cos(y / 700)
    line, sample = (float(one[0]) for one in seen.pixel(*(np.array([one]) for one in (lon, lat, height))))
    power = np.where(seen.beta[0] > 2 * GAMMA / np.tan(np.radians(37)), seen.beta[0], 0)
    rows, columns = np.indices(power.shape)
    assert (rows * power).sum() / power.sum() == pytest.approx(line, abs=0.1)
    assert (columns * power).sum() / power.sum() == pytest.approx(sample, abs=0.1)
    place = geodetic(seen.ground(np.array([line]), np.array([sample])))
    assert place[2][0] == pytest.approx(seen.height, abs=0.01)


def test_a_ground_that_is_no_whole_number_of_coarse_cells_is_refused(orbit):
    odd = Ground(EPSG, LEFT, TOP, PITCH, np.zeros((31, 41)), np.ones((1, 30, 40)))
    with pytest.raises(ValueError, match="multiples of 20"):
        image(odd, orbit)
