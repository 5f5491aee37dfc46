"""Reading a SAFE: a real product's files, older layouts, copies as COG, and damage."""

import re
import zipfile

import numpy as np
import pytest

from m3leo_prep.core.errors import CorruptError
from m3leo_prep.ops.sar.calibrate import noise_power
from m3leo_prep.sources.copernicus.grd.calibration import read_first_number, read_gain
from m3leo_prep.sources.copernicus.grd.noise import check_estimated, read_noise, scale_of
from m3leo_prep.sources.copernicus.grd.safe import read_annotation, read_ipf

NAME = "S1A_IW_GRDH_1SDV_20210119T031653_20210119T031718_036201_043ED0_8255"
WHERE = "a product"


@pytest.fixture(scope="module")
def real(shared_data):
    """Return what gives a file of a real product: of VV, by the beginning of its name."""
    with zipfile.ZipFile(shared_data / "s1_grd" / f"{NAME}.zip") as archive:
        names = [n for n in archive.namelist() if re.search(r"(-vv-.*\.xml|manifest\.safe)$", n)]
        kept = {n.rpartition("/")[2]: archive.read(n) for n in names}
    return lambda start: next(data for name, data in kept.items() if name.startswith(start))


@pytest.fixture(scope="module")
def annotation(real):
    return read_annotation(real("s1a-iw-grd-vv"), WHERE)


def test_a_real_annotation(annotation):
    assert annotation.shape == (16854, 25931)
    assert annotation.spacing == (10.0, 10.0)
    assert annotation.part == (5, 10)
    assert not annotation.noise_removed
    assert annotation.orbit.times.size == 17
    assert annotation.geolocation.lon.shape == (10, 21)


def test_a_real_manifest(real):
    assert read_ipf(real("manifest"), WHERE) == (3, 31)


def test_of_a_cog_the_version_of_the_processor_counts_not_that_of_the_copy(real):
    # As the Data Space wraps it: the processing chain of ESA inside that of the copy.
    chain = re.search(rb"<safe:processing name.*</safe:processing>", real("manifest"), re.DOTALL)[0]
    copy = (
        b'<safe:processing name="COG Conversion"><safe:facility organisation="CloudFerro">'
        b'<safe:software name="Sentinel-1 COGifier" version="001.00"/></safe:facility>'
        b"<safe:resource>" + chain + b"</safe:resource></safe:processing>"
    )
    assert read_ipf(real("manifest").replace(chain, copy), WHERE) == (3, 31)


def test_the_tables_at_their_nodes(real, annotation):
    data = real("calibration")
    sigma, beta = (read_gain(data, kind, annotation, WHERE) for kind in ("sigma0_ellipsoid", "gamma0_rtc"))
    assert {value for row in beta.values for value in row} == {474.0}
    assert (sigma.lines[0], len(sigma.lines)) == (0.0, 27)
    # The numbers of lines in the file are the same, but rounded.
    said = [int(n) for n in re.findall(rb"<line>(\d+)</line>", data)]
    np.testing.assert_allclose(sigma.lines, said, atol=0.51)
    assert np.abs(sigma.lines - said).max() > 0.3
    assert read_first_number(data, WHERE) == 474.0


def test_sigma_is_beta_times_the_sine_of_the_incidence(real, annotation):
    sigma, gamma = (
        read_gain(real("calibration"), f"{one}_ellipsoid", annotation, WHERE) for one in ("sigma0", "gamma0")
    )
    first = re.search(rb"<incidenceAngle>(\S+)<", real("s1a-iw-grd-vv").split(b"<geolocationGridPoint>")[1])
    angle = np.radians(float(first[1]))
    sine, tangent = ((474 / one.values[0]) ** 2 for one in (sigma, gamma))
    assert sine[0] == pytest.approx(np.sin(angle), rel=0.01)  # the tables have a height of their own
    np.testing.assert_allclose(tangent, np.tan(np.arcsin(sine)), rtol=1e-5)


def test_the_noise_of_both_directions(real, annotation):
    noise = read_noise(real("noise"), 1.0, annotation, WHERE)
    assert [(b.rows, b.cols) for b in noise.blocks] == [
        ((0, 16854), (0, 8743)),
        ((0, 16854), (8743, 17562)),
        ((0, 16854), (17562, 25931)),
    ]
    sigma = read_gain(real("calibration"), "sigma0_ellipsoid", annotation, WHERE)
    middle = noise_power(noise, (8000, 8001), (1000, 24000))[0] / sigma.rows((8000, 8001), (1000, 24000))[0][0] ** 2
    # Noise of the sensor is specified as at most -22 dB, and about -26 is usual.
    level = 10 * np.log10(middle)
    assert -32 < level.min() < level.max() < -22


def test_the_layout_before_version_2_90(real, annotation):
    data = real("noise")
    old = data.replace(b"noiseRange", b"noise").replace(b"noiseLut", b"noiseLut")
    old = re.sub(rb"<noiseAzimuthVectorList.*</noiseAzimuthVectorList>", b"", old, flags=re.DOTALL)
    assert b"<noiseVectorList" in old
    now, then = (read_noise(one, 1.0, annotation, WHERE) for one in (data, old))
    assert then.blocks == ()
    np.testing.assert_array_equal(then.along_range.values, now.along_range.values)
    np.testing.assert_allclose(
        read_noise(old, 2.0, annotation, WHERE).along_range.values, 2 * np.array(now.along_range.values)
    )


def test_noise_of_old_versions_is_scaled():
    assert scale_of((3, 31), 474.0) == scale_of((2, 50), 474.0) == 1.0
    assert scale_of((2, 43), 474.0) == pytest.approx(75088.7 * 474**2)
    assert scale_of((2, 33), 474.0) == pytest.approx(75088.7 * 474)


@pytest.mark.parametrize("keep", [0, 1000, 500_000])
def test_a_file_that_ends_early_is_told(real, keep):
    with pytest.raises(CorruptError, match="no whole XML"):
        read_annotation(real("s1a-iw-grd-vv")[:keep], WHERE)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"<azimuthTimeInterval>", b"<other>", "XML"),
        (b"azimuthTimeInterval", b"other", "has no <imageAnnotation/imageInformation/azimuthTimeInterval>"),
        (b"<numberOfLines>16854", b"<numberOfLines>many", "not made of numbers"),
        (b"<numberOfLines>16854", b"<numberOfLines>0", "without lines"),
        (b"<productFirstLineUtcTime>2021", b"<productFirstLineUtcTime>soon", "no time"),
        (b"<productType>GRD", b"<productType>SLC", "of type SLC"),
        (b"<line>0</line>", b"<line>7</line>", "tie points|make no grid"),
        (b"<sr0>8.01", b"<sr0>9.01", "miss the product's own tie points"),
        (b"srgrCoefficients", b"other", "has no <srgrCoefficients>"),
    ],
)
def test_an_annotation_that_contradicts_itself_is_told(real, old, new, said):
    data = real("s1a-iw-grd-vv")
    assert old in data
    count = 1 if old.startswith(b"<line>") or new == b"<other>" else -1
    with pytest.raises(CorruptError, match=said) as told:
        read_annotation(data.replace(old, new, count), WHERE)
    assert told.value.where == WHERE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"<sigmaNought count", b"<gone count", "XML"),
        (rb"<sigmaNought count=\"650\">\S+", b'<sigmaNought count="650">', "has 649 <sigmaNought> for 650 <pixel>"),
        (rb"<sigmaNought count=\"650\">\S+", b'<sigmaNought count="650">0.0', "not positive"),
        (rb"<sigmaNought count=\"650\">\S+", b'<sigmaNought count="650">nan', "not made of numbers"),
        (rb">0 40 80", b">0 80 40", "does not rise"),
        (b"calibrationVectorList", b"other", "has no <calibrationVectorList"),
    ],
)
def test_a_table_that_is_damaged_is_told(real, annotation, old, new, said):
    data, count = re.subn(old, new, real("calibration"), count=0 if old.startswith(b"cal") else 1)
    assert count
    with pytest.raises(CorruptError, match=said):
        read_gain(data, "sigma0_ellipsoid", annotation, WHERE)


def test_noise_that_was_never_estimated_is_told(real, annotation):
    data = re.sub(rb"(<noiseRangeLut[^>]*>)[^<]*", lambda m: m[1] + b"0 " * 653, real("noise"))
    with pytest.raises(CorruptError, match="zero everywhere") as told:
        check_estimated(read_noise(data, 1.0, annotation, WHERE), WHERE)
    assert "noise: false" in told.value.hint


def test_a_manifest_without_a_version_is_told(real):
    with pytest.raises(CorruptError, match="names no version"):
        read_ipf(real("manifest").replace(b"Sentinel-1 IPF", b"Another"), WHERE)
