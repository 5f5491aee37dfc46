"""The questions of scripts/live_asf.py, asked of the stand-in: each is answered as m3leo-prep takes for granted."""

from __future__ import annotations

import runpy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.testing.earthdata import EarthdataStandIn, Granule

for package in ("asf_search", "hyp3_sdk", "obstore"):
    pytest.importorskip(package)
SCRIPT = Path(__file__).parents[1] / "scripts" / "live_asf.py"


@pytest.fixture
def names(earthdata: EarthdataStandIn, tmp_path: Path) -> dict[str, Any]:
    """Return what the script defines, with a stand-in that holds what it asks for."""
    names = runpy.run_path(str(SCRIPT))
    file = tmp_path / "file"
    file.write_bytes(b"II*\0" + bytes(100))
    around = names["FAIRBANKS"].buffer(1).envelope
    pair = datetime(2024, 8, 16, 2, 8, tzinfo=UTC)
    gunw, rtc = names["GUNW"], names["RTC"]
    earthdata.add(Granule(gunw, "gunw", names["BAY"].envelope, pair, pair, files={f"{gunw}.nc": file}))
    old = datetime(2020, 1, 5, tzinfo=UTC)
    earthdata.add(Granule("S1-GUNW-x-v2_0_4", "gunw", names["BAY"], old, old, collection="SENTINEL-1_INTERFEROGRAMS"))
    burst = datetime(2023, 12, 2, 16, 29, tzinfo=UTC)
    earthdata.add(Granule(rtc, "opera-rtc", around, burst, burst, files={f"{rtc}_mask.tif": file}))
    valid = datetime(2014, 4, 3, tzinfo=UTC)
    earthdata.add(Granule("static", "opera-rtc-static", around, valid, valid))
    for dataset, end in (("slc", ("zip",)), ("grd", ("zip",)), ("burst", ("tiff", "xml"))):
        files = {f"{dataset}.{suffix}": file for suffix in end}
        earthdata.add(Granule(dataset, dataset, around, burst, burst, files=files))
    folder = earthdata.bucket / names["TILE"]
    folder.mkdir(parents=True)
    (folder / "N38W123_fall_vv_COH12.tif").write_bytes(b"II*\0" + bytes(5000))
    return names


def test_every_question_is_answered(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert names["main"]() == 0
    said = capsys.readouterr().out
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(names["QUESTIONS"])
    assert [row[0].split()[2:] for row in rows] == [[] if "told" in row[2] else ["yes"] for row in rows]
    assert "C1595422627-ASF v2.0.4: 1" in rows[2][3]
    assert "8000 credits are left" in rows[10][3]


def test_another_answer_is_counted_and_no_secret_told(
    names: dict[str, Any], earthdata: EarthdataStandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    names["main"].__globals__["QUESTIONS"] = (
        ("a question", "an answer", lambda: (False, "another")),
        names["QUESTIONS"][0],
    )
    assert names["main"]() == 1
    said = capsys.readouterr().out
    assert "| 1 **NO** | a question | an answer | another |" in said
    assert earthdata.held.token not in said
