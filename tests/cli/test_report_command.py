"""``report``: where the page lies, what is printed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import m3leo_prep as mp
from m3leo_prep.cli.reporting import run_report
from m3leo_prep.core.errors import ConfigError, StoreError

RECIPE = """\
name: reported
grid: {chip_px: 32, resolution: 10}
layers:
  landcover: {role: label, source: synthetic, product: landcover}
"""
BOX = "9.300,57.100,9.306,57.103"


def test_the_page_and_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    mp.build(mp.plan(BOX, RECIPE), tmp_path / "made")
    capsys.readouterr()
    run_report("made", out=None, as_json=False)
    out, err = capsys.readouterr()
    page = (tmp_path / "made-report.html").read_text(encoding="utf-8")
    assert out.startswith("report: made-report.html, ")
    assert "not there: splits (no split policy assigned the chips)" in err
    assert page.startswith("<!doctype html>")
    run_report("made", out="pages.html", as_json=True)
    out, _ = capsys.readouterr()
    told = json.loads(out)
    assert told["path"] == "pages.html"
    assert told["overview"]["n_chips"] == len(mp.Dataset(tmp_path / "made"))
    assert (tmp_path / "pages.html").read_text(encoding="utf-8") == page
    for out, message in [
        ("page.pdf", "no name of a page"),
        ("no/page.html", "there is no folder no"),
        ("made/page.html", "the page would lie inside the dataset"),
    ]:
        with pytest.raises(ConfigError, match=message):
            run_report("made", out=out, as_json=False)
    with pytest.raises(StoreError, match="no finished dataset here"):
        run_report("nothing", out=None, as_json=False)
