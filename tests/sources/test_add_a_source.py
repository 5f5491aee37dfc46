"""The source of the guide is a good one, as short as the title says, and loads from a recipe's folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from odc.geo.geobox import GeoBox

from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.core.recipe import parse_recipe
from m3leo_prep.ports.registry import load_source
from m3leo_prep.ports.source import Source
from m3leo_prep.testing.source import SourceContract

PAGE = (Path(__file__).resolve().parents[2] / "docs/guides/add-a-source.md").read_text()


def block(title: str) -> str:
    """Return the block of the page that is written to the file ``title``."""
    (found,) = re.findall(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


class TestTheGuidesSource(SourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        (tmp_path / "my_source.py").write_text(block("my_source.py"))
        (layer,) = parse_recipe(block("my-recipe.yaml")).layers.values()
        return load_source(layer.source, layer.options, base=tmp_path)

    def test_values(self, source: Source, slots: Sequence[Slot], geobox: GeoBox, some: list[Item]) -> None:
        (raster,) = source.read(some, geobox, slots[0])
        _, y = raster.geobox.transform * (0.5, 10.5)
        assert raster.data[0, 10] == pytest.approx(np.full(raster.data.shape[2], y * 111.32))


def test_it_has_twenty_lines() -> None:
    body = block("my_source.py").partition("class MySource")[2].splitlines()[1:]
    assert len([line for line in body if line.strip()]) <= 20


def test_its_contract_has_four_lines() -> None:
    body = block("test_my_source.py").partition("class TestMySource")[2]
    assert len([line for line in ("class TestMySource" + body).splitlines() if line.strip()]) == 4


def test_the_recipe_names_the_file_beside_it() -> None:
    assert yaml.safe_load(block("my-recipe.yaml"))["layers"]["distance"]["source"] == "./my_source.py:MySource"
