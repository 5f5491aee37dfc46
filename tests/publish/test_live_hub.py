"""The questions of scripts/live_hub.py, asked of the stand-in: each is answered as m3leo-prep takes for granted."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from m3leo_prep.testing.hub import HubStandIn

pytest.importorskip("huggingface_hub")
pytest.importorskip("urllib3")
SCRIPT = Path(__file__).parents[2] / "scripts" / "live_hub.py"


def test_every_question_is_answered_and_nothing_is_left(
    hub: HubStandIn, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = runpy.run_path(str(SCRIPT))
    questions = names["QUESTIONS"]

    def other(session: Any) -> tuple[bool, str]:
        return session.repo not in hub.repos, "another"

    def broken(session: Any) -> tuple[bool, str]:
        raise RuntimeError(session.repo)

    wrong = ("a question", "an answer", other), ("a last one", "none", broken)
    names["main"].__globals__["QUESTIONS"] = (*questions, *wrong)
    with pytest.raises(RuntimeError, match="m3leo-prep-live"):
        names["main"]([str(plain)])
    said = capsys.readouterr().out
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("| ")][1:]
    told_only = {4, 7, 10}
    marks = ["" if number in told_only else " yes" for number in range(len(questions))]
    assert [row[0].rstrip() for row in rows] == [
        *(f"| {number}{mark}" for number, mark in enumerate(marks, 1)),
        f"| {len(questions) + 1} **NO**",
    ]
    assert "failed" not in said
    for secret in (hub.token, "Signature="):
        assert secret not in said
    assert hub.repos == {}
