"""The questions of scripts/live_gee.py, asked of the stand-in: each is answered as m3leo-prep takes for granted."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.testing.earth_engine import LUXEMBOURG, StandIn, SyntheticArchive

pytest.importorskip("ee")
SCRIPT = Path(__file__).parents[1] / "scripts" / "live_gee.py"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Yield what the script defines, with a stand-in of one place and year that answers it."""
    from m3leo_prep.sources.gee.service import session

    with StandIn(SyntheticArchive(places=(LUXEMBOURG,), years=(2020, 2020))) as server:
        monkeypatch.setenv("M3LEO_PREP_EE_URL", server.url)
        monkeypatch.setenv("M3LEO_PREP_EE_PROJECT", "stand-in")
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        monkeypatch.delenv("M3LEO_PREP_EE_TOKEN", raising=False)
        session.reset()
        yield runpy.run_path(str(SCRIPT))
        session.reset()


def test_every_question_is_answered(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert names["main"]() == 0
    said = capsys.readouterr().out
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(names["QUESTIONS"])
    marks = [row[0].split() for row in rows]
    assert [mark[2:] for mark in marks] == [
        [] if "told" in row[2] or "fractions" in row[2] else ["yes"] for row in rows
    ]
    assert "failed" not in said
    assert "0.3" in rows[6][3]  # the bilinear edge: the chip lies 3 m beside the mask's pixels
    assert "EECU" in rows[10][3]


def test_another_answer_is_counted(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ("a question", "an answer", lambda service: (False, "another"))
    names["main"].__globals__["QUESTIONS"] = (wrong,)
    assert names["main"]() == 1
    assert "| 1 **NO** | a question | an answer | another |" in capsys.readouterr().out
