"""Settings and files of splits that cannot be right: each is refused with what, where and the way out."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely.geometry import mapping

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.splits.policy import Split

from .conftest import HERE, MakePlan, by_id

TINY = (11.86, 57.10, 11.90, 57.12)


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ("{shares: {train: 0.6, val: 0.2, test: 0.1}}", ["the shares sum to 0.9, not to 1", "train: 0.7"]),
        ("{angle: 3}", ["splits.angle: the policy blocks has no angle", "it knows", "block_km"]),
        ("{policy: bands, n_bands: 5}", ["splits.n_bands: the policy bands has no n_bands"]),
        ("{policy: region, block_km: 5, regions: {test: italy}}", ["the policy region has no block_km"]),
        ("{policy: none, seed: 3}", ["splits.seed: there are no splits", "nothing else"]),
        ("{policy: file}", ["the policy file names no file", "chip_id and split"]),
        ("{policy: file, file: nothing.csv}", ["nothing.csv: no such file"]),
        ("{policy: admin}", ["the policy admin needs administrative units", "--admin-id"]),
        ("{policy: region}", ["the policy region names no region", "test: italy"]),
        ("{policy: region, regions: {test: atlantis}}", ["unknown area 'atlantis'"]),
        ("{correlation_km: 3, buffer_km: 3}", ["correlation_km and buffer_km are both given"]),
        ("{buffer_km: -1}", ["buffer_km is -1", "0 for none"]),
        ("{block_km: 0.1, buffer_km: 0.6}", ["blocks of 0.1 km for chips of 0.32 km"]),
        ("{block_km: 4, stratify: position}", ["there is no label layer 'position'"]),
        (
            "{policy: region, regions: {test: '11.9,57,12,58', val: '11.95,57,12.1,58'}}",
            ["splits.regions: the areas", "(test)", "(val)", "overlap by", "km2"],
        ),
        ("{policy: region, regions: {test: '1,1,2,2'}}", ["the split test is empty", "do not meet this area"]),
        ("{policy: region, regions: {test: '11,57,13,58'}}", ["the split train is empty", "cover all of it"]),
    ],
)
def test_settings_that_cannot_be_right(splits: str, words: list[str], planned: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(f"splits: {splits}", base=tmp_path)
    for word in words:
        assert word in str(caught.value)


def test_fewer_than_ten_blocks_name_other_policies(planned: MakePlan) -> None:
    with pytest.raises(ConfigError, match=r"(?s)too small for blocks.*bands, admin or none"):
        planned("splits: {}", TINY)


def test_a_buffer_that_eats_a_split_names_it_and_a_block_that_works(planned: MakePlan) -> None:
    with pytest.raises(ConfigError) as caught:
        planned("splits: {block_km: 1.5, buffer_km: 1.5}")
    message = str(caught.value)
    assert "the buffer of 1.5 km takes all" in message
    assert "chips of train in 'here'" in message
    found = message.partition("block_km: ")[2].partition(" ")[0]
    plan = planned(f"splits: {{block_km: {found}, buffer_km: 1.5}}")
    assert {Split.TRAIN, Split.VAL, Split.TEST} <= set(by_id(plan).values())


def test_a_region_cannot_be_eaten_by_its_own_buffer(planned: MakePlan) -> None:
    with pytest.raises(ConfigError, match=r"(?s)the buffer of 30 km takes all .* chips of train.*a smaller buffer_km"):
        planned("splits: {policy: region, buffer_km: 30, regions: {test: '11.9,57,11.95,58'}}")


def test_two_neighbours_may_share_a_border(planned: MakePlan) -> None:
    plan = planned("splits: {policy: region, buffer_km: 0, regions: {test: '11.9,57,12,58', val: '12,57,12.1,58'}}")
    assert {Split.TRAIN, Split.VAL, Split.TEST} <= set(by_id(plan).values())


def _units(path: Path, boxes: list[tuple[str, tuple[float, float, float, float]]]) -> None:
    features = [
        {"type": "Feature", "properties": {"code": code}, "geometry": mapping(shapely.box(*box))} for code, box in boxes
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def test_too_few_units_and_units_elsewhere(planned: MakePlan, tmp_path: Path) -> None:
    admin = "splits: {policy: admin, buffer_km: 0}\nadmin: {path: units.geojson, id: code}"
    _units(tmp_path / "units.geojson", [("a", (11.8, 57, 11.95, 58)), ("b", (11.95, 57, 12.2, 58))])
    with pytest.raises(ConfigError, match="2 administrative units cannot fill 3 splits"):
        planned(admin, base=tmp_path)
    _units(
        tmp_path / "units.geojson",
        [("a", (11.8, 57, 11.95, 58)), ("b", (11.95, 57, 12.2, 58)), ("c", (20, 57, 20.2, 58))],
    )
    with pytest.raises(ConfigError, match=r"(?s)the split .* is empty.*units of this area alone"):
        planned(admin, base=tmp_path)


def test_units_that_overlap(planned: MakePlan, tmp_path: Path) -> None:
    boxes = [("a", (11.8, 57, 11.95, 58)), ("b", (11.9, 57, 12.0, 58)), ("c", (12.0, 57, 12.2, 58))]
    _units(tmp_path / "units.geojson", boxes)
    with pytest.raises(ConfigError, match="overlap"):
        planned("splits: {policy: admin, buffer_km: 0}\nadmin: {path: units.geojson, id: code}", base=tmp_path)


def _csv(folder: Path, lines: list[str], head: str = "chip_id,split") -> str:
    (folder / "splits.csv").write_text("\n".join([head, *lines]) + "\n")
    return "splits: {policy: file, file: splits.csv}"


def test_a_file_decides_chip_by_chip(planned: MakePlan, tmp_path: Path) -> None:
    ids = planned("", TINY).cells.ids()
    names = ["train", "val", "test", "buffer", ""]
    lines = [f"{chip},{names[n % 5]}" for n, chip in enumerate(ids[:-3])]
    for head in ("chip_id,split", "identifier,split"):
        plan = planned(_csv(tmp_path, lines, head), TINY, base=tmp_path)
        codes = [0, 1, 2, 3, 255]
        assert list(by_id(plan).values()) == [codes[n % 5] for n in range(len(ids) - 3)] + [255] * 3
        n_none = sum(1 for n in range(len(ids) - 3) if n % 5 == 4) + 3
        assert any(f"{n_none} of {len(ids):,} chips of 'here' are not in the file" in text for text in plan.warnings)
    assert plan.splits is not None
    assert plan.splits.origin.startswith("splits.csv sha256:")


def test_a_file_that_a_spreadsheet_wrote(planned: MakePlan, tmp_path: Path) -> None:
    first, second, *_ = planned("", TINY).cells.ids()
    text = f'chip_id, split ,note\r\n"{first}", "train","a, b"\r\n {second} ,test\r\n\r\n'
    (tmp_path / "splits.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = by_id(planned("splits: {policy: file, file: splits.csv}", TINY, base=tmp_path))
    assert (found[first], found[second]) == (Split.TRAIN, Split.TEST)
    assert set(list(found.values())[2:]) == {Split.NONE}


def test_units_without_ground_fill_no_split(planned: MakePlan, tmp_path: Path) -> None:
    west, south, east, north = TINY
    edges = np.linspace(west, east, 4)
    shapes = [shapely.box(a, south - 0.01, b, north + 0.01) for a, b in itertools.pairwise(edges)]
    shapes.append(shapely.Polygon([(12.1, 57.1), (12.2, 57.1), (12.3, 57.1), (12.1, 57.1)]))
    features = [
        {"type": "Feature", "properties": {"code": f"u{n}"}, "geometry": mapping(s)} for n, s in enumerate(shapes)
    ]
    (tmp_path / "units.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    shares = "{train: 0.98, val: 0.01, test: 0.01}"
    splits = f"splits: {{policy: admin, buffer_km: 0, shares: {shares}}}\nadmin: {{path: units.geojson, id: code}}"
    assert {Split.TRAIN, Split.VAL, Split.TEST} <= set(by_id(planned(splits, TINY, base=tmp_path)).values())


def test_chips_of_two_zones_on_one_ground_yield_under_a_file(planned: MakePlan, tmp_path: Path) -> None:
    cells = planned("", HERE).cells
    lines = [
        f"{chip},{'train' if epsg == 32632 else 'test'}" for chip, epsg in zip(cells.ids(), cells.epsg, strict=True)
    ]
    plan = planned(_csv(tmp_path, lines), HERE, base=tmp_path)
    assert plan.split is not None
    assert (plan.split[cells.epsg == 32633] == Split.TEST).all()
    yielded = plan.split == Split.BUFFER
    assert yielded.any()
    assert cells.zone_shared()[yielded].all()
    shapes = cells.polygons()
    _, pairs = shapely.STRtree(shapes[plan.split == Split.TEST]).query(shapes[plan.split == Split.TRAIN], "overlaps")
    assert len(pairs) == 0


def test_a_changed_file_splits_anew(planned: MakePlan, tmp_path: Path) -> None:
    ids = planned("", TINY).cells.ids()
    first = planned(_csv(tmp_path, [f"{chip},train" for chip in ids]), TINY, base=tmp_path)
    same = planned(_csv(tmp_path, [f"{chip},train" for chip in ids]), TINY, base=tmp_path, previous=first)
    assert not same.warnings
    other = planned(_csv(tmp_path, [f"{chip},test" for chip in ids]), TINY, base=tmp_path, previous=first)
    assert set(by_id(other).values()) == {Split.TEST}
    assert "other settings or files of file" in other.warnings[0]


@pytest.mark.parametrize(
    ("lines", "head", "words"),
    [
        (["u1_320_99X,train", "v,val", "w,test", "x,test"], "chip_id,split", ["4 of 4 listed chips are not in 'here'"]),
        (["a,trian"], "chip_id,split", ["line 2: there is no split 'trian'", "did you mean 'train'"]),
        (["a,train", "a,train"], "chip_id,split", ["line 3: the chip 'a' stands twice"]),
        (["a,train"], "chip,split", ["there is no column chip_id or identifier, only: chip, split"]),
        (["a,train"], "chip_id,fold", ["there is no column split"]),
    ],
)
def test_files_that_cannot_be_right(
    planned: MakePlan, tmp_path: Path, lines: list[str], head: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(_csv(tmp_path, lines, head), TINY, base=tmp_path)
    for word in words:
        assert word in str(caught.value)


def test_unknown_chips_are_named_and_counted(planned: MakePlan, tmp_path: Path) -> None:
    lines = [f"chip{n},train" for n in range(5)]
    with pytest.raises(ConfigError, match="'chip0', 'chip1', 'chip2' and 2 more"):
        planned(_csv(tmp_path, lines), TINY, base=tmp_path)
