"""Datasets of Sentinel-1 and Sentinel-2, made by commands against real STAC and S3 servers on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyproj import Transformer

import m3leo_prep as mp
from m3leo_prep.cli.main import main
from m3leo_prep.core.reasons import Reason
from m3leo_prep.pipeline.verify import verify

from .conftest import _use, geoid_of

AREA = "5.985,49.578,6.015,49.592"
"""Chips of both zones, where tiles of one zone overlap."""
RECIPE = """
name: sentinels
grid: {chip_px: 128, resolution: 10}
layers:
  s2:
    source: [copernicus, {stac: {catalogue: earth-search}}]
    product: s2-l2a
    slots: {periods: [[2020-06-01, 2020-06-30], [2020-07-01, 2020-07-31], [2020-08-01, 2020-08-31]]}
    bands: [red, nir, swir1]
    cloud: scl
    statistic: median
    counts: true
  s1: {source: copernicus, product: s1-grd, slots: {periods: [[2020-06-01, 2020-07-31]]}, bands: [vv, vh], dem: dem}
  rtc: {source: stac, product: s1-rtc, slots: {periods: [[2020-06-01, 2020-07-31]]}, bands: [vv, vh]}
  dem: {source: tiles, product: glo30, terrain: [slope]}
  worldcover: {role: label, source: tiles, product: worldcover, year: 2021}
"""


@pytest.fixture(scope="module")
def built(copernicus_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder with the datasets, built by the commands that a person types."""
    from m3leo_prep.testing.copernicus.example import fill

    folder = tmp_path_factory.mktemp("sentinels")
    if not copernicus_server.holds_example:
        fill(copernicus_server)
    with pytest.MonkeyPatch.context() as patch, geoid_of(copernicus_server):
        _use(copernicus_server, patch, folder)
        patch.chdir(folder)
        Path("sentinels.yaml").write_text(RECIPE)
        command(patch, "doctor --recipe sentinels.yaml")
        command(patch, f"build --aoi {AREA} --recipe sentinels.yaml --out sentinels --yes")
        command(patch, f"build --aoi {AREA} --recipe sentinels.yaml --out open --source s2=stac --layers s2 --yes")
        copernicus_server.forget()
        yield folder


def command(patch: pytest.MonkeyPatch, line: str) -> None:
    patch.setattr(sys, "argv", ["m3leo-prep", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0, line


def lonlat(dataset: mp.Dataset, row: int, layer: str, variable: str) -> tuple[Any, Any]:
    chip = dataset.chip(row, layer, variable)
    x, y = np.meshgrid(chip.x.values, chip.y.values)
    epsg = int(dataset.chips["epsg"].iloc[row])
    return Transformer.from_crs(epsg, 4326, always_xy=True).transform(x, y)


def test_it_verifies_by_the_command(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(built)
        command(patch, "verify sentinels")
        command(patch, "report sentinels")
    assert {32631, 32632} == set(mp.Dataset(built / "sentinels").chips["epsg"])


def test_sentinel_2_is_the_same_from_the_data_space_and_from_earth_search(built: Path) -> None:
    ours, theirs = (mp.open_dataset(built / name)["s2"] for name in ("sentinels", "open"))
    one, other = ours["reflectance"].to_numpy(), theirs["reflectance"].to_numpy()
    both = np.isfinite(one) & np.isfinite(other)
    assert both.mean() > 0.3
    assert np.array_equal(np.isfinite(one), np.isfinite(other))
    # Earth Search takes the offset away in whole numbers, and what is below 0 with it.
    assert np.abs(one - other)[both & (one > 0)].max() < 2e-4
    assert np.array_equal(ours["reflectance_count"].fillna(-1), theirs["reflectance_count"].fillna(-1))


def test_clouds_and_days_without_an_image_are_told_apart(built: Path) -> None:
    tree = mp.open_dataset(built / "sentinels")
    reasons = tree["s2"]["reflectance_reason"].to_numpy()[..., 0]
    assert (reasons[:, 2] == Reason.ALL_CLOUD).any()
    assert set(np.unique(reasons[:, 2])) <= {Reason.ALL_CLOUD, Reason.NO_ACQUISITION}
    assert set(np.unique(reasons[:, 0])) <= {Reason.OK, Reason.PARTIAL_COVERAGE, Reason.NO_ACQUISITION}
    count = tree["s2"]["reflectance_count"].to_numpy()
    valid = np.isfinite(tree["s2"]["reflectance"].to_numpy())
    assert (count[valid] >= 1).all()
    assert not (count[~valid] > 0).any()
    assert np.nanmax(count[:, 0]) <= 3, "a datatake counts once, however many tiles and processings there are"


def test_own_terrain_correction_gives_what_the_catalogue_has_ready(built: Path) -> None:
    """Two ways from one ground: our flattening of GRD in radar geometry, and RTC images made of the truth."""
    tree = mp.open_dataset(built / "sentinels")
    ours, ready = (10 ** (tree[name]["backscatter"].to_numpy()[:, 0] / 10) for name in ("s1", "rtc"))
    assert tree["s1"]["backscatter"].attrs["backscatter_convention"] == "gamma0_rtc"
    for band in range(4):
        both = np.isfinite(ours[:, band]) & np.isfinite(ready[:, band])
        assert both.mean() > 0.3
        mean = ours[:, band][both].mean() / ready[:, band][both].mean()
        assert abs(10 * np.log10(mean)) < 0.2
        coarse = [block_means(one[:, band], 16) for one in (ours, ready)]
        there = np.isfinite(coarse[0]) & np.isfinite(coarse[1])
        assert np.corrcoef(coarse[0][there], coarse[1][there])[0, 1] > 0.9, "a shift would blur what is alike"


def block_means(power: Any, side: int) -> Any:
    rows, cols = (n // side for n in power.shape[1:])
    return power[:, : rows * side, : cols * side].reshape(len(power), rows, side, cols, side).mean(axis=(2, 4))


def test_maps_are_those_of_the_ground(built: Path) -> None:
    from m3leo_prep.testing.copernicus.example_tiles import ground, heights

    dataset = mp.Dataset(built / "sentinels")
    tree = mp.open_dataset(built / "sentinels")
    for row in (0, len(dataset.chips) - 1):
        lon, lat = lonlat(dataset, row, "dem", "height")
        assert np.abs(tree["dem"]["height"].to_numpy()[row, 0] - heights(lon, lat)).max() < 0.5
        lon, lat = lonlat(dataset, row, "worldcover", "classes")
        codes = tree["worldcover"]["classes"].to_numpy()[row, 0]
        assert (codes == ground(lon, lat).classes)[codes != 255].mean() > 0.95, "edges fall to either side"


def test_the_plan_tells_what_is_fetched_and_compares_sources(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(built)
        command(patch, f"plan --aoi {AREA} --recipe sentinels.yaml --layers s2 --compare --json")
    offers = json.loads(capsys.readouterr().out)["offers"]
    assert [(offer["source"], offer["is_chosen"]) for offer in offers] == [("copernicus", True), ("stac", False)]
    assert all(offer["cost"]["cost"]["bytes"] > 0 for offer in offers)


def test_the_open_recipe_builds_without_a_login_and_within_what_it_promises(
    copernicus_server: Any,
    earthdata: Any,
    built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``m3leo-open`` as it is shipped, on chips of its own size; no request carries a login."""
    from m3leo_prep.testing.earthdata.example import fill as fill_earthdata

    fill_earthdata(earthdata)
    for name, value in (earthdata.environment | copernicus_server.environment).items():
        monkeypatch.setenv(name, value)
    authorities = tmp_path / "both.pem"
    authorities.write_text(
        "".join(Path(one.environment["SSL_CERT_FILE"]).read_text() for one in (earthdata, copernicus_server))
    )
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, str(authorities))
    for name in ("CDSE_USERNAME", "CDSE_PASSWORD", "CDSE_S3_ACCESS_KEY", "CDSE_S3_SECRET_KEY", "EARTHDATA_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("M3LEO_PREP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    copernicus_server.forget()
    line = "--aoi 6.01,49.60,6.02,49.61 --recipe m3leo-open"
    command(monkeypatch, f"plan {line} --json")
    planned_text = capsys.readouterr().out
    before = limited_bytes()
    command(monkeypatch, f"build {line} --out first --yes")
    assert verify(tmp_path / "first").ok
    tree = mp.open_dataset(tmp_path / "first")
    for layer, variable in (("s1rtc", "backscatter"), ("s2", "reflectance"), ("dem", "height"), ("gssic", "coherence")):
        assert np.isfinite(tree[layer][variable].to_numpy()).any(), layer
    asked = [*copernicus_server.requests, *earthdata.requests]
    assert asked
    assert not any(request.authorized for request in asked)
    taken = sum(request.bytes for request in asked) + limited_bytes() - before
    planned = json.loads(planned_text)
    promised = sum(cost["cost"]["bytes"] for cost in planned["costs"])
    assert 0 < taken < 200e6
    assert promised < 200e6


@pytest.fixture
def two_factors(copernicus_server: Any, built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Yield the stand-in as a user without keys has it, with a code for each login; what was of June 4 is offline."""
    del built  # of whose environment this is a part
    app = copernicus_server.app
    for name in ("CDSE_S3_ACCESS_KEY", "CDSE_S3_SECRET_KEY"):
        monkeypatch.delenv(name)
    app.identity.totp = "JBSWY3DPEHPK3PXP"
    monkeypatch.setenv("CDSE_TOTP", app.identity.totp)
    monkeypatch.setenv("M3LEO_PREP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    held = dict(app.held)
    app.held |= {
        key: ({**row, "Online": False}, path) for key, (row, path) in held.items() if "_MSIL2A_20200604" in row["Name"]
    }
    copernicus_server.forget()
    app.identity.logins = 0
    yield app
    app.held, app.identity.totp = held, ""


def test_a_build_by_token_shows_no_secret_and_tells_what_is_offline(
    two_factors: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    periods = "[[2020-06-01, 2020-06-10], [2020-06-11, 2020-06-20]]"
    layer = f"{{source: copernicus, product: s2-l2a, slots: {{periods: {periods}}}, bands: [red], cloud: none}}"
    Path("late.yaml").write_text(f"name: late\ngrid: {{chip_px: 128, resolution: 10}}\nlayers: {{s2: {layer}}}\n")
    line = "--aoi 6.008,49.598,6.009,49.599 --recipe late.yaml"
    with caplog.at_level("DEBUG"):
        command(monkeypatch, f"plan {line} --json")
        command(monkeypatch, f"build {line} --out late --yes")
        command(monkeypatch, f"build {line} --out late --yes")
    shown = "\n".join([caplog.text, *capfd.readouterr()])
    reasons = mp.open_dataset("late")["s2"]["reflectance_reason"].to_numpy()[..., 0]
    assert (reasons[:, 0] == Reason.CORRUPT).all()
    assert set(reasons[:, 1]) <= {Reason.OK, Reason.PARTIAL_COVERAGE}
    assert "MSIL2A_20200604" in shown
    assert "the product is offline" in shown
    assert "1/1 units, 0 made" in shown, "what is final is not asked for again"
    assert two_factors.identity.logins == 1
    secrets = [*two_factors.identity.secrets(), two_factors.identity.totp]
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "logins"]
    kept_text = [path.read_bytes().decode("latin-1") for path in kept]
    kept_text += [str(pq.read_table(path).to_pylist()) for path in kept if path.suffix == ".parquet"]
    assert len(kept) > 10
    for secret in secrets:
        assert not any(secret in text for text in [shown, *kept_text]), secret[:6]


def limited_bytes() -> int:
    """Return what all providers of remote files have sent to this process."""
    from m3leo_prep.sources.remote import limits

    return sum(limit.usage()[1] for limit in limits._limits.values())
