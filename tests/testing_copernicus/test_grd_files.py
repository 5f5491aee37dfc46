"""GRD products that are written for tests, read by the clients of others."""

from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio

from m3leo_prep.testing.copernicus.files.grd import BETA, Scene, write
from m3leo_prep.testing.copernicus.files.orbit import Orbit
from m3leo_prep.testing.copernicus.files.radar_image import Ground, image

EPOCH = datetime(2020, 6, 4, 17, 40, 0, 123_456, UTC)


@pytest.fixture(scope="module")
def seen():
    rows, columns = np.mgrid[:121, :121]
    heights = 300 + 30 * np.sin(columns / 20) * np.cos(rows / 25)
    gamma = np.stack([np.full((120, 120), 0.2), np.full((120, 120), 0.04)])
    return image(Ground(32632, 280_000.0, 5_502_000.0, 20.0, heights, gamma), Orbit(5.97, 49.6, ascending=True))


@pytest.mark.parametrize("cog", [False, True])
def test_xarray_sentinel_reads_a_product_and_calibrates_it(seen, tmp_path, cog):
    xarray, client = pytest.importorskip("xarray"), pytest.importorskip("xarray_sentinel")
    scene = Scene(seen, EPOCH)
    product = write(tmp_path, scene, cog=cog)

    def group(name):
        return xarray.open_dataset(str(product.folder), engine="sentinel-1", group=f"IW/VV{name}")

    power = client.calibrate_intensity(group("").measurement, group("/calibration").betaNought).values
    inner = slice(5, -5), slice(45, -45)  # its tables end at the last step of 40 samples
    noise = scene.noise / BETA**2
    np.testing.assert_allclose((power - noise)[inner], seen.beta[0][inner], rtol=0.015)  # whole digital numbers
    orbit = group("/orbit")
    assert np.abs(orbit.position.values.T - seen.orbit.position(np.arange(-8, 9) * 10.0)).max() < 1e-3
    coefficients = group("/coordinate_conversion").srgrCoefficients.values[0]
    np.testing.assert_allclose(coefficients, seen.to_ground, rtol=1e-12)
    azimuth = group("/noise_azimuth").noiseAzimuthLut.values
    assert azimuth.max() == pytest.approx(1.04, abs=0.001)


def test_both_forms_have_the_same_pixels_and_control_points_on_the_ground(seen, tmp_path):
    scene = Scene(seen, EPOCH, seed=1)
    plain, cog = (write(tmp_path, scene, cog=one) for one in (False, True))
    assert cog.name == plain.name.replace(".SAFE", "_COG.SAFE")
    assert cog.prefix == plain.prefix.replace("IW_GRDH_1S", "IW_GRDH_1S-COG")
    files = [next(one.folder.glob("measurement/*-vv-*.tiff")) for one in (plain, cog)]
    with rasterio.open(files[0]) as first, rasterio.open(files[1]) as second:
        np.testing.assert_array_equal(first.read(1), second.read(1))
        assert second.block_shapes == [(512, 512)]
        points, crs = second.gcps
    assert crs.to_epsg() == 4326
    found = [seen.pixel(np.array([p.x]), np.array([p.y]), np.array([p.z])) for p in points]
    np.testing.assert_allclose([line[0] for line, _ in found], [p.row for p in points], atol=1e-3)
    np.testing.assert_allclose([sample[0] for _, sample in found], [p.col for p in points], atol=1e-3)
    outline = plain.footprint
    assert outline.is_valid
    assert outline.contains(outline.centroid)


def test_speckle_has_the_looks_of_the_product(seen):
    still, seeded = Scene(seen, EPOCH), Scene(seen, EPOCH, seed=5)
    ratio = seeded.digital[0].astype(float) ** 2 / still.digital[0].astype(float) ** 2
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    assert 1 / ratio.var() == pytest.approx(4.4, rel=0.05)


def test_before_ipf_290_noise_has_one_table_and_borders_are_not_zero(seen, tmp_path):
    old = write(tmp_path, Scene(seen, EPOCH, ipf="002.72", border=12))
    text = next(old.folder.glob("annotation/calibration/noise-*-vv-*")).read_text()
    assert "<noiseLut " in text
    assert "noiseAzimuth" not in text
    with rasterio.open(next(old.folder.glob("measurement/*-vv-*"))) as file:
        edge = file.read(1)[:, :12]
    assert 0 < edge.min() < edge.max() < 20
    assert (Scene(seen, EPOCH, border=12).digital[0][:, :12] == 0).all()


def test_the_item_names_every_file_where_the_archive_has_it(seen, tmp_path):
    product = write(tmp_path, Scene(seen, EPOCH, polarisations=("VV", "VH")), cog=True)
    item = product.item
    assert item["collection"] == "sentinel-1-grd"
    assert item["id"].endswith("_COG")
    assert item["properties"]["sat:relative_orbit"] == (33_000 - 73) % 175 + 1
    for asset in [asset for name, asset in item["assets"].items() if name != "Product"]:
        path = asset["href"].removeprefix(f"s3://eodata/{product.key}/")
        assert (product.folder / path).stat().st_size == asset["file:size"]
        assert asset["alternate"]["https"]["href"].endswith(f"/Nodes({path.rsplit('/')[-1]})/$value")
