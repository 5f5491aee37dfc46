"""The radiometric offset: by processing baseline, never by date, exactly once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.core.errors import CorruptError, SourceError
from m3leo_prep.sources._sentinel2.bands import BANDS
from m3leo_prep.sources._sentinel2.baselines import Radiometry, baseline_of, by_baseline, by_metadata, has_offset
from tests.sources.sentinel2.conftest import offsets_xml

RED = BANDS[3]


def reflectance(radiometry: Radiometry, number: float) -> float:
    return (number + radiometry.offset(RED)) / radiometry.quantification


@pytest.mark.parametrize(
    ("baseline", "number", "expected"),
    [("03.01", 1000, 0.1), ("04.00", 2000, 0.1), ("05.09", 2000, 0.1), ("05.00", 500, -0.05), ("02.14", 1, 0.0001)],
)
def test_numbers_of_a_baseline(baseline: str, number: int, expected: float) -> None:
    offset = -1000.0 if baseline >= "04.00" else None
    own = by_metadata(offsets_xml(baseline, offset).encode(), "2A", baseline, where="x")
    told = by_baseline(baseline, [offset or 0.0], taken_away=False, where="x")
    assert reflectance(own, number) == reflectance(told, number) == pytest.approx(expected, abs=1e-12)


def test_the_metadata_of_real_products(shared_data: Path) -> None:
    new, old = sorted((shared_data / "s2" / "metadata").iterdir())
    own = by_metadata((new / "MTD_MSIL2A.xml").read_bytes(), "2A", "05.09", where="x")
    assert own == Radiometry((-1000.0,) * 13, 10_000.0, 1000.0, 1000.0)
    assert by_metadata((old / "MTD_MSIL2A.xml").read_bytes(), "2A", "02.14", where="x") == Radiometry((0.0,) * 13)
    level1 = next((shared_data / "s2").glob("S2A_MSIL1C_*"))
    first = by_metadata((level1 / "MTD_MSIL1C.xml").read_bytes(), "1C", "02.06", where="x")
    assert first == Radiometry((0.0,) * 13)


def test_bands_may_differ() -> None:
    xml = offsets_xml("05.11", -1000).replace('band_id="3">-1000', 'band_id="3">-900').encode()
    own = by_metadata(xml, "2A", "05.11", where="x")
    assert (own.offset(RED), own.offset(BANDS[2])) == (-900, -1000)


@pytest.mark.parametrize(
    ("xml", "baseline", "message"),
    [
        (offsets_xml("05.09", None), "05.09", "05.09 has radiometric offsets.*lists none"),
        (offsets_xml("03.01", -1000), "03.01", "03.01 has no radiometric offsets"),
        (offsets_xml("05.09", -1000), "05.11", "catalogue says processing baseline 05.11.*says 05.09"),
        (offsets_xml("05.09", -1000).replace('band_id="12"', 'band_id="99"'), "05.09", "for 13 bands"),
        (offsets_xml("05.09", -1000, "1C"), "05.09", "lists none"),
        ("<n1:U", "05.09", "no XML"),
        ("<U/>", "05.09", "no processing baseline"),
        (offsets_xml("05.09", -1000).replace("10000", "many"), "05.09", "where a number belongs"),
    ],
)
def test_what_does_not_fit_together_is_refused(xml: str, baseline: str, message: str) -> None:
    with pytest.raises(CorruptError, match=message):
        by_metadata(xml.encode(), "2A", baseline, where="x")


def test_a_catalogue_that_has_taken_the_offset_away() -> None:
    # Earth Search states -0.1 all the same.
    for stated in ([-1000.0], [0.0], []):
        assert reflectance(by_baseline("05.09", stated, taken_away=True, where="x"), 1000) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("baseline", "stated", "said"),
    [
        ("05.09", [0.0], "offset of 0, processing baseline 05.09 has -1000"),
        ("03.01", [-1000.0], "offset of -1000, processing baseline 03.01 has 0"),
        ("05.09", [-500.0], "offset of -500"),
        ("05.09", [-1000.0, 0.0], "offset of -1000 and 0, processing baseline 05.09 has -1000"),
    ],
)
def test_a_catalogue_that_contradicts_the_baseline(baseline: str, stated: list[float], said: str) -> None:
    with pytest.raises(CorruptError, match=said):
        by_baseline(baseline, stated, taken_away=False, where="x")


NAMED = "S2B_MSIL2A_20180322T074609_N0500_R135_T36NYH_20230612T214223"


@pytest.mark.parametrize(
    ("name", "properties", "baseline"),
    [
        (NAMED, {}, "05.00"),
        ("x", {"processing:version": "05.00"}, "05.00"),
        ("x", {"s2:processing_baseline": 5.1}, "05.10"),
        ("x", {"s2:processing_baseline": "2.14"}, "02.14"),
        ("S2A_13TDE_20231008_0_L2A", {"s2:product_uri": f"{NAMED}.SAFE"}, "05.00"),
        ("x", {"s2:datatake_id": "GS2A_20231008T175231_043324_N05.09"}, "05.09"),
    ],
)
def test_where_the_baseline_is_said(name: str, properties: dict[str, Any], baseline: str) -> None:
    assert baseline_of(name, properties) == baseline


def test_no_baseline_is_no_guess() -> None:
    with pytest.raises(SourceError, match="nothing says its processing baseline") as error:
        baseline_of("S2A_13TDE_20231008_0_L2A", {"datetime": "2023-10-08T18:02:55Z"})
    assert "date" in error.value.hint
    with pytest.raises(SourceError, match=r"02\.14.*says 05\.00"):
        baseline_of(NAMED, {"processing:version": "02.14"})


def test_a_scene_of_2018_processed_again_has_the_offset() -> None:
    assert has_offset(baseline_of(NAMED, {}))
