"""What SNAP makes of scenes of the Data Space, read around chips: the stand-ins for both are real processes."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import Polygon, box

pytest.importorskip("trustme")
from m3leo_prep.core.choice import parse_rule
from m3leo_prep.core.errors import ConfigError, MissingDependency, NoData
from m3leo_prep.core.raster import Absent, Item, Kind, Raster, Slot
from m3leo_prep.core.reasons import Reason
from m3leo_prep.ports.cost import Estimating
from m3leo_prep.ports.source import Probing, Source
from m3leo_prep.sources.copernicus import Copernicus
from m3leo_prep.sources.copernicus.snap.pairs import paired
from m3leo_prep.sources.copernicus.snap.scenes import once
from m3leo_prep.sources.stac.found import Asset, Found
from m3leo_prep.testing.copernicus.app import CopernicusApp
from m3leo_prep.testing.copernicus.catalogue_odata import row_of
from m3leo_prep.testing.snap import FakeSnap, field, pack, write_scene

RTC, COHERENCE, H_ALPHA = "s1-rtc-snap", "s1-coherence-snap", "s1-h-a-alpha-snap"
GRD = "S1A_IW_GRDH_1SDV_20210119T031653_20210119T031718_036201_043ED0_8255"
SLC = "S1A_IW_SLC__1SDV_20210119T031652_20210119T031719_036201_043ED0_1234"
BEFORE = "S1A_IW_SLC__1SDV_20210107T031652_20210107T031719_036026_0438AE_ABCD"
CORNERS = [(9.0, 49.50), (9.0412, 49.5023), (9.0399, 49.5266), (8.9991, 49.5251)]
PLACE = Polygon(CORNERS)
CHIP = GeoBox((128, 128), Affine(10, 0, 500_640, 0, -10, 5_485_440), "EPSG:32632")
"""Inside the scene, on the lattice of 10 m."""
JANUARY = Slot("2021-01", datetime(2021, 1, 1, tzinfo=UTC), datetime(2021, 2, 1, tzinfo=UTC))


def when(name):
    return datetime.strptime(name.split("_1S")[1][3:18], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


def found(name, footprint=PLACE, *, track=37, way="descending", made="2021-01-20T00:00:00Z"):
    told = {"sat:orbit_state": way, "sat:relative_orbit": track, "processing:datetime": made}
    assets = {one: Asset(f"s3://eodata/{name}.SAFE/{one}", properties={"file:size": 10**9}) for one in ("vv", "vh")}
    return Found(name, "sentinel-1", footprint, when(name), when(name) + timedelta(seconds=27), told, assets)


# -- finding ---------------------------------------------------------------------------------------------------------


def test_snap_gets_the_product_as_delivered_not_its_copy_and_the_last_processing():
    cog, older = f"{GRD[:-4]}0FF0_COG", f"{GRD[:-4]}AAAA"
    scenes = once([found(cog, made="2024"), found(older, made="2021"), found(GRD, made="2023"), found(SLC)], "GRDH")
    assert [scene.name for scene in scenes] == [GRD]
    (only,) = once([found(cog)], "GRDH")
    assert only.name == cog, "some are there as COG alone"
    (scene,) = scenes
    assert (scene.acquisition, scene.track, scene.polarisations) == ("S1A-043ED0", 37, ("VV", "VH"))
    assert scene.size == 2 * 10**9


@pytest.mark.parametrize("name", ["product", "Product"])
def test_the_archive_is_counted_once(name):
    """As the real items have it: an asset for each file, and one for all of them together."""
    one = found(SLC)
    archive = Asset("https://download.dataspace.copernicus.eu/x", properties={"file:size": 2 * 10**9 + 5})
    (scene,) = once([replace(one, assets={**one.assets, name: archive})], "SLC_")
    assert scene.size == 2 * 10**9 + 5


def test_other_modes_and_products_are_left_alone():
    others = ["S1A_EW_GRDM_1SDH_20210119T031653_20210119T031718_036201_043ED0_8255", "S1A_IW_OCN__2SDV_20210119T031653"]
    assert once([replace(found(GRD), id=name) for name in others], "GRDH") == []


def shifted(name, north):
    return found(name, Polygon([(x, y + north) for x, y in CORNERS]))


def test_scenes_of_one_track_are_paired_where_they_overlap_enough():
    height = 0.0251
    scenes = once(
        [found(SLC), found(BEFORE), shifted(BEFORE.replace("20210107T031652", "20210107T031717"), 0.9 * height)], "SLC_"
    )
    items = paired(scenes, 12, [JANUARY])
    assert [(item.properties["later"], item.properties["earlier"]) for item in items] == [(SLC, BEFORE)]
    (item,) = items
    assert item.acquisition == "S1A-043ED0_S1A-0438AE"
    assert item.datetime == when(SLC)
    assert item.properties["secondary_time"] < item.properties["reference_time"]
    assert item.properties["orbit_direction"] == "descending"
    assert paired(scenes, 11, [JANUARY]) == [], "12 days apart"
    second_half = Slot("later", datetime(2021, 1, 10, tzinfo=UTC), JANUARY.end)
    assert paired(scenes, 12, [second_half]) == [], "both dates lie in the slot"
    assert paired(once([found(SLC), found(BEFORE, track=38)], "SLC_"), 12, [JANUARY]) == [], "another track"


def test_two_slices_of_a_pass_are_frames_of_one_pair_which_a_rule_chooses():
    half = 0.0125
    later_slice = BEFORE.replace("20210107T031652_20210107T031719", "20210107T031717_20210107T031744")
    scenes = [found(SLC), found(BEFORE), shifted(later_slice, half)]
    items = paired(once(scenes, "SLC_"), 12, [JANUARY])
    assert len(items) == 2
    assert len({item.acquisition for item in items}) == 1
    rule = parse_rule({"pairs": {"year": 2021, "windows": {"short": [6, 12]}}})
    ((chosen),) = rule.choose(box(9.01, 49.505, 9.03, 49.52), items)
    assert [item.properties["earlier"] for item in chosen] == [BEFORE], "the frame that covers the chip alone"


# -- options ---------------------------------------------------------------------------------------------------------


def test_what_is_described():
    info = Copernicus(product=RTC, bands=["vv"], incidence=True).describe()
    backscatter, angle = info.variables
    assert (backscatter.kind, backscatter.bands) == (Kind.POWER, ("vv_asc", "vv_desc"))
    assert backscatter.attributes["backscatter_convention"] == "gamma0_rtc"
    assert angle.bands == ("incidence_asc", "incidence_desc")
    assert info.pitch == 10.0
    pair = Copernicus(product=COHERENCE, variables=["wrapped_phase", "coherence"]).describe()
    assert [variable.kind for variable in pair.variables] == [Kind.COHERENCE, Kind.WRAPPED_PHASE]
    assert (pair.slot_kinds, pair.pair_days) == (("pair",), 24)
    assert pair.variables[0].attributes["window"] == "20x5"
    polar = Copernicus(product=H_ALPHA, orbits=["ascending"]).describe()
    assert [variable.bands for variable in polar.variables] == [("entropy_asc",), ("anisotropy_asc",), ("alpha_asc",)]


@pytest.mark.parametrize(
    ("product", "options"),
    [
        (RTC, {"pitch": 30}),  # does not divide the easting that the chips count from
        (RTC, {"pitch": True}),
        (RTC, {"mask": ["clouds"]}),
        (RTC, {"relative_orbits": "best"}),
        (RTC, {"speckle_filter": "lee"}),
        (COHERENCE, {"swaths": ["iw1", "iw3"]}),
        (COHERENCE, {"window": [20]}),
        (COHERENCE, {"looks": [0, 1]}),
        (COHERENCE, {"max_days": 0}),
        (COHERENCE, {"variables": "none"}),
        (COHERENCE, {"polarisation": "vvvh"}),
        (H_ALPHA, {"polarisations": "vv"}),
        (H_ALPHA, {"window": 0}),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(product, options):
    with pytest.raises(ConfigError):
        Copernicus(product=product, **options)


def test_the_release_of_snap_is_part_of_the_version(monkeypatch, tmp_path):
    """The digest of a unit has the source's version: another SNAP makes other pixels, and they are built anew."""
    for release, floored in (("13.0.4", True), ("14.0.0", False)):
        monkeypatch.setenv("M3LEO_PREP_GPT", str(FakeSnap(tmp_path / release, release).gpt))
        for product in (RTC, COHERENCE, H_ALPHA):
            assert Copernicus(product=product).describe().version == f"1 snap-{release}"
        assert Copernicus(product=RTC).describe().variables[0].attributes["noise_floored"] is floored


def test_costs_are_the_scenes_each_once():
    source = Copernicus(product=COHERENCE)
    assert isinstance(source, Source)
    assert isinstance(source, Estimating)
    assert isinstance(source, Probing)
    scenes = once([found(SLC), found(BEFORE), found(BEFORE.replace("20210107", "20210113"))], "SLC_")
    items = paired(scenes, 24, [JANUARY])
    assert len(items) == 3
    cost = source.estimate((), (), items)
    assert cost.bytes == 3 * 2 * 10**9
    assert "3 results" in cost.notes[0]


def test_how_much_disk_results_take_is_told_beforehand(monkeypatch, tmp_path):
    """A scene of 250 km x 180 km in pixels of 10 m, each 4 bytes; they are kept, and nobody asked for a limit."""
    monkeypatch.setenv("M3LEO_PREP_SNAP", str(tmp_path))
    scene = replace(grd(), footprint=box(8.0, 48.2, 11.37, 49.8))
    for options, planes in (({"bands": ["vv"]}, 2), ({"bands": ["vv", "vh"], "incidence": True}, 4)):
        told = " ".join(Copernicus(product=RTC, **options).estimate((), (), [scene, scene]).notes)
        kept, beside = map(float, re.search(r"up to ([\d.]+) GB, and ([\d.]+) GB more", told).groups())
        assert kept == pytest.approx(2 * planes * 250_000 * 180_000 / 100 * 4 / 1e9, rel=0.03)
        assert kept / 2 < beside < kept
        assert str(tmp_path) in told


# -- reading ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app():
    with CopernicusApp() as started:
        yield started


@pytest.fixture(scope="module")
def installed_snap(tmp_path_factory):
    """A stand-in whose results are kept from test to test, as a user's are."""
    return FakeSnap(tmp_path_factory.mktemp("snap"))


@pytest.fixture
def snap(app, installed_snap, tmp_path, monkeypatch):
    """SNAP and the Data Space, which holds three scenes."""
    from m3leo_prep.blobs import http

    app.reset()
    fake, results = installed_snap, installed_snap.home.with_name("results")
    folders = {"M3LEO_PREP_SNAP": results, "M3LEO_PREP_CACHE": tmp_path / "cache", "HOME": tmp_path}
    for name in ("M3LEO_PREP_SNAPPY", "CDSE_S3_ACCESS_KEY", "CDSE_S3_SECRET_KEY", "CDSE_TOTP", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**app.environment, **fake.environment, **folders}.items():
        monkeypatch.setenv(name, str(value))
    http._pool.cache_clear()  # its connections trust another certificate
    for name in (GRD, SLC, BEFORE):
        archive = pack(write_scene(tmp_path / "archive", name, CORNERS))
        app.add(row_of(f"{name}.SAFE", when(name), archive=archive), archive)
    return fake


def grd(**more):
    told = {"orbit_direction": "descending", "relative_orbit": 37, "polarisations": "VV VH", "scene": GRD, **more}
    return Item(GRD, PLACE, datetime=when(GRD), acquisition="S1A-043ED0", properties=told)


def truth(geobox, band):
    at = geobox.transform
    x = at.c + (np.arange(geobox.shape[1]) + 0.5) * at.a
    y = at.f + (np.arange(geobox.shape[0]) + 0.5) * at.e
    return field(x[None], y[:, None], band)


def test_backscatter_is_what_snap_wrote_on_the_chips_own_pixels(snap):
    source = Copernicus(product=RTC, bands=["vh_desc", "vv_asc", "vv_desc"], incidence=True)
    power, angle = source.read([grd()], CHIP, JANUARY)
    assert isinstance(power, Raster)
    assert power.data.shape == (3, *power.geobox.shape)
    offset = ~power.geobox.transform * (CHIP.transform.c, CHIP.transform.f)
    assert offset == (round(offset[0]), round(offset[1])), "whole pixels: what follows copies them bit for bit"
    assert min(offset) >= 4, "the margin that kernels need"
    np.testing.assert_allclose(
        power.data[0][power.valid[0]], truth(power.geobox, "Gamma0_VH")[power.valid[0]], rtol=1e-6
    )
    np.testing.assert_allclose(
        power.data[2][power.valid[2]], truth(power.geobox, "Gamma0_VV")[power.valid[2]], rtol=1e-6
    )
    assert not power.observed[1].any(), "the other direction is not in this scene"
    hidden = truth(power.geobox, "layoverShadowMask") != 0
    assert hidden.any()
    np.testing.assert_array_equal(power.masked[2], hidden)
    np.testing.assert_array_equal(power.valid[2], ~hidden)
    np.testing.assert_allclose(angle.data[0], truth(angle.geobox, "localIncidenceAngle"), rtol=1e-6)
    assert angle.valid[0].all()
    assert not angle.valid[1].any()
    runs = len(snap.runs)
    again = next(iter(source.read([grd()], CHIP.pad(30), JANUARY)))
    assert len(snap.runs) == runs, "other windows of the zone cost nothing more"
    at = [round(number) for number in ~again.geobox.transform * (power.geobox.transform.c, power.geobox.transform.f)]
    inside = again.data[:, at[1] : at[1] + power.data.shape[1], at[0] : at[0] + power.data.shape[2]]
    np.testing.assert_array_equal(inside, power.data)


def test_what_is_masked_can_be_chosen(snap):
    shadow = Copernicus(product=RTC, bands=["vv_desc"], mask=["shadow"])
    nothing = Copernicus(product=RTC, bands=["vv_desc"], mask="none")
    codes = truth(CHIP, "layoverShadowMask")
    assert {1, 2} & set(np.unique(codes))
    runs = []
    for source, dropped in ((shadow, (2, 3)), (nothing, ())):
        (raster,) = source.read([grd()], CHIP, JANUARY)
        runs.append(len(snap.runs))
        mask = truth(raster.geobox, "layoverShadowMask")
        np.testing.assert_array_equal(raster.valid[0], ~np.isin(mask, dropped))
    assert runs[0] == runs[1], "masks are ours, not SNAP's"


def test_a_polarisation_that_a_scene_lacks_is_told(snap):
    absent, raster = Copernicus(product=RTC).read([grd(polarisations="VV")], CHIP, JANUARY)
    assert isinstance(absent, Absent)
    assert (absent.bands, absent.reason) == (("vh_desc",), Reason.BAND_NOT_IN_PRODUCT)
    assert raster.valid.any(axis=(1, 2)).tolist() == [False, False, True, False]


def test_coherence_and_phase_of_a_pair(snap):
    (item,) = paired(once([found(SLC), found(BEFORE)], "SLC_"), 12, [JANUARY])
    source = Copernicus(product=COHERENCE, variables=["coherence", "wrapped_phase"], pitch=10)
    coherence, phase = source.read([item], CHIP, JANUARY)
    np.testing.assert_allclose(coherence.data[0], truth(coherence.geobox, "coh"), rtol=1e-6)
    real, imaginary = truth(phase.geobox, "i_ifg"), truth(phase.geobox, "q_ifg")
    np.testing.assert_allclose(phase.data[0], np.arctan2(imaginary, real), atol=1e-6)
    assert coherence.valid.all()
    assert phase.valid.all()
    edge = GeoBox((300, 300), Affine(10, 0, 499_500, 0, -10, 5_487_500), "EPSG:32632")
    for raster in source.read([item], edge, JANUARY):  # the first two rows are SNAP's no data, not a coherence of 0
        assert raster.valid.any()
        assert not raster.valid[0, :2].any()
    far = GeoBox((64, 64), Affine(10, 0, 600_000, 0, -10, 5_400_000), "EPSG:32632")
    assert list(source.read([item], far, JANUARY)) == []


def test_entropy_anisotropy_and_alpha(snap):
    item = Item(SLC, PLACE, datetime=when(SLC), properties={"orbit_direction": "descending", "scene": SLC})
    rasters = list(Copernicus(product=H_ALPHA, pitch=10).read([item], CHIP, JANUARY))
    assert [raster.variable for raster in rasters] == ["entropy", "anisotropy", "alpha"]
    for raster, band in zip(rasters, ("Entropy", "Anisotropy", "Alpha"), strict=True):
        np.testing.assert_allclose(raster.data[1], truth(raster.geobox, band), rtol=1e-6)
        assert raster.valid[1].all()
        assert not raster.valid[0].any()


def test_each_zone_has_its_own_result(snap):
    """A chip of the neighbouring zone is cut from pixels of that zone: nothing is resampled twice."""
    source = Copernicus(product=RTC, bands=["vv_desc"])
    list(source.read([grd()], CHIP, JANUARY))
    runs = len(snap.runs)
    corner = CHIP.to_crs("EPSG:32631").transform
    other = GeoBox((64, 64), Affine(10, 0, corner.c // 640 * 640, 0, -10, corner.f // 640 * 640), "EPSG:32631")
    for geobox in (CHIP, other):
        (raster,) = source.read([grd()], geobox, JANUARY)
        assert raster.geobox.crs == geobox.crs
        np.testing.assert_allclose(raster.data[0], truth(raster.geobox, "Gamma0_VV"), rtol=1e-6)
    assert len(snap.runs) == runs + 1


def test_without_snap_the_step_is_told_and_nothing_is_fetched(snap, app, monkeypatch, tmp_path):
    from m3leo_prep.sources.snap import installed

    monkeypatch.delenv("M3LEO_PREP_GPT")
    monkeypatch.delenv("SNAP_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(installed, "FOLDERS", ())
    source = Copernicus(product=RTC)
    for ask in (source.probe, lambda: list(source.read([grd()], CHIP, JANUARY))):
        with pytest.raises(MissingDependency, match="not found") as caught:
            ask()
        assert "step.esa.int" in caught.value.hint
    assert not [request for request in app.requests if "Products" in request.path]


def test_a_scene_that_the_archive_does_not_give_is_not_made(snap):
    runs = len(snap.runs)
    with pytest.raises(NoData):
        list(Copernicus(product=RTC).read([grd(scene=f"{GRD[:-4]}0000")], CHIP, JANUARY))
    assert len(snap.runs) == runs
