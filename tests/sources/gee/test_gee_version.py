"""The version of a layer's source: what decides numbers is in it, what only tells of them is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from m3leo_prep.sources.gee import EarthEngine
from m3leo_prep.sources.gee import source as source_module


def version(monkeypatch: pytest.MonkeyPatch, change=None) -> str:
    with monkeypatch.context() as patch:
        if change is not None:
            chosen = source_module.choose
            patch.setattr(source_module, "choose", lambda source: change(chosen(source)))
        return EarthEngine("cci-agb", year=2020).describe().version


def test_a_corrected_text_rebuilds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"title": "another", "licence": "another", "citation": "another", "url": "another"}
    changed = version(monkeypatch, lambda c: replace(c, row=replace(c.row, **texts)))
    assert changed == version(monkeypatch)


@pytest.mark.parametrize("field", [{"scale": 0.5}, {"nodata": (7.0,)}, {"transform": "squared"}])
def test_another_meaning_of_the_numbers_does(field: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(choice):
        first, *others = choice.quantities
        return replace(choice, quantities=(replace(first, **field), *others))

    assert version(monkeypatch, change) != version(monkeypatch)


def test_another_asset_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert version(monkeypatch, lambda c: replace(c, row=replace(c.row, asset="x"))) != version(monkeypatch)
