"""``croissant.json``: what ``mlcroissant`` makes of it, and that its figures are the dataset's."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlcroissant
import numpy as np
import pyarrow.parquet as pq
import pytest

from m3leo_prep.pipeline.report.figures import figures
from m3leo_prep.publish.description.card.about import About
from m3leo_prep.publish.description.croissant import CONTEXT, croissant
from m3leo_prep.publish.description.describe import describe
from m3leo_prep.publish.description.licences import decide
from m3leo_prep.reader.dataset import Dataset

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def made(rich_described: Path) -> dict[str, Any]:
    return dict(json.loads((rich_described / "croissant.json").read_text(encoding="utf-8")))


def test_mlcroissant_finds_no_error(rich_described: Path) -> None:
    """Only the date of publication is missing: what is written follows from the dataset alone, and that does not."""
    issues = mlcroissant.Dataset(jsonld=rich_described / "croissant.json").metadata.ctx.issues
    assert list(issues.errors) == []
    assert all("datePublished" in str(one) for one in issues.warnings)


def test_records_can_be_read_where_the_files_lie(plain: Path) -> None:
    describe(plain)
    dataset = mlcroissant.Dataset(jsonld=plain / "croissant.json")
    chips = list(dataset.records("chips"))
    table = pq.read_table(plain / "chips.parquet")
    assert [chip["chips/chip_id"].decode() for chip in chips] == table["chip_id"].to_pylist()
    assert [chip["chips/lon"] for chip in chips] == table["lon"].to_pylist()
    first = next(iter(dataset.records("previews")))
    assert np.asarray(first["previews/landcover"]).shape == (96, 96, 3)


def test_its_context_is_the_standard_one_and_geocroissants(made: dict[str, Any]) -> None:
    from mlcroissant._src.core.context import Context
    from mlcroissant._src.core.rdf import make_context

    context = Context(conforms_to="http://mlcommons.org/croissant/1.1")
    assert make_context(context) == {key: value for key, value in CONTEXT.items() if key != "geocr"}
    assert made["conformsTo"] == ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/geo/1.0"]


def test_digests_coverage_and_licence_are_those_of_the_dataset(made: dict[str, Any], rich_described: Path) -> None:
    files = {one["contentUrl"]: one for one in made["distribution"] if one["@type"] == "cr:FileObject"}
    for name in ("chips.parquet", "shards.parquet", "units.parquet", "recipe.yaml"):
        assert files[name]["sha256"] == hashlib.sha256((rich_described / name).read_bytes()).hexdigest()
    import geopandas

    west, south, east, north = geopandas.read_parquet(rich_described / "chips.parquet").total_bounds
    box = [float(value) for value in made["spatialCoverage"]["geo"]["box"].split()]
    assert box == pytest.approx([south, west, north, east], abs=1e-6)
    assert made["temporalCoverage"] == "2020-06-01/2020-07-12"  # the last slot ends with that day
    assert made["license"] == "https://creativecommons.org/licenses/by/4.0/"
    assert made["isLiveDataset"] is False
    assert "someone" in made["citeAs"]


def test_every_array_tells_its_bands_shape_and_resolution(made: dict[str, Any], rich_described: Path) -> None:
    import zarr

    (pixels,) = [one for one in made["recordSet"] if one["@id"] == "pixels"]
    fields = {field["name"]: field for field in pixels["field"]}
    assert set(fields) == {"dem.height", "dem.slope", "s1.backscatter", "s2.reflectance", "landcover.landcover"}
    group = zarr.open_group(rich_described / "chips.zarr", mode="r")
    for name, field in fields.items():
        array = group[name.replace(".", "/")]
        assert field["arrayShape"] == ",".join(str(n) for n in array.shape)
        assert field["geocr:bandConfiguration"]["geocr:totalBands"] == array.shape[-3]
    assert fields["dem.height"]["geocr:spatialResolution"]["value"] == 40.0
    told = {one["name"]: one["value"] for one in fields["s1.backscatter"]["additionalProperty"]}
    assert (told["unit"], told["backscatter_convention"]) == ("dB", "gamma0_rtc")
    assert "geocr:spectralBandMetadata" not in made  # the synthetic Earth was seen by no Sentinel


def test_wavelengths_are_told_of_what_the_sentinels_saw(rich_described: Path) -> None:
    dataset = Dataset(rich_described)
    manifest = copy.deepcopy(dict(dataset.manifest))
    for name in ("s1", "s2"):
        manifest["layers"][name]["licence"] = "Copernicus Sentinel data terms (free, full and open)"
    chips, previews = (
        pq.read_schema(rich_described / name) for name in ("chips.parquet", "previews/part-00000.parquet")
    )
    about = About(manifest, figures(dataset), decide(manifest, "cc-by-4.0"), "", "0" * 64, 1)
    made = json.loads(croissant(about, chips, previews))
    waves = {one["name"]: one["geocr:centerWavelength"] for one in made["geocr:spectralBandMetadata"]}
    assert (waves["s2.red"]["value"], waves["s2.red"]["unitText"]) == (664.6, "nm")
    assert waves["s1.vv_asc"]["value"] == pytest.approx(299_792_458 / 5.405e9 * 100)
    assert not any(name.startswith("dem") for name in waves)
    assert made["usageInfo"][0] == "Contains modified Copernicus Sentinel data 2020."
    assert replace(about, target="hf://datasets/a/b@main/x").hub_name == "a/b"
