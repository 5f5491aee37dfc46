"""Catalogues of files: trees, single items, lists of items and GeoParquet; here and on a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shapely.geometry import box

from m3leo_prep.blobs import http
from m3leo_prep.core.errors import ConfigError, SourceError
from m3leo_prep.sources.stac.catalogues import catalogue
from m3leo_prep.sources.stac.search import answers, search
from tests.sources.stac.stac_server import item

AREA = box(9.2, 49.2, 9.4, 49.4)


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def tree(folder):
    """Write a catalogue of two collections, with links that turn in a circle."""
    links = [{"rel": "child", "href": "./b/collection.json"}, {"rel": "child", "href": "a/collection.json"}]
    write(folder / "catalog.json", {"type": "Catalog", "links": [*links, {"rel": "item", "href": "far.json"}]})
    for name, count in (("a", 3), ("b", 2)):
        links = [{"rel": "item", "href": f"items/{k}.json"} for k in range(count)]
        links += [{"rel": "child", "href": "../catalog.json"}, {"rel": "root", "href": "../nowhere.json"}]
        write(folder / name / "collection.json", {"type": "Collection", "id": name, "links": links})
        for k in range(count):
            assets = {"dem": {"href": "../files/dem.tif"}, "web": {"href": "https://example.org/x.tif"}}
            one = item(f"{name}{k}", collection=name, assets=assets, when=f"2020-06-0{k + 1}T00:00:00Z")
            write(folder / name / "items" / f"{k}.json", one)
    write(folder / "far.json", item("far", box(0, 0, 1, 1), collection="a"))
    return folder / "catalog.json"


def names(path, collections=(), **more):
    return [one.id for one in search(catalogue(str(path)), collections, AREA, None, None, **more)]


def test_a_tree_is_read_once_each(tmp_path):
    path = tree(tmp_path)
    assert names(path) == ["a0", "b0", "a1", "b1", "a2"]
    assert names(path, ["b"]) == ["b0", "b1"]
    found = search(catalogue(str(path)), ["a"], AREA, None, None)[0]
    assert Path(found.assets["dem"].href).resolve() == tmp_path / "a" / "files" / "dem.tif"
    assert found.assets["web"].href == "https://example.org/x.tif"
    assert answers(catalogue(str(path))) == f"6 items in {path}"


def test_a_tree_on_a_server_is_the_same(web, monkeypatch):
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.0005)
    tree(web.folder)
    address = f"{web.url}/catalog.json"
    found = search(catalogue(address), ["a"], AREA, None, None)
    assert [one.id for one in found] == ["a0", "a1", "a2"]
    assert found[0].assets["dem"].href == f"{web.url}/a/files/dem.tif"
    (web.folder / "a" / "items" / "1.json").unlink()
    with pytest.raises(SourceError, match="linked by the catalogue, but is not there"):
        names(address)
    with pytest.raises(ConfigError, match="does not exist"):
        names(f"{web.url}/none.json")


def test_one_id_in_two_collections_is_asked_about(tmp_path):
    rows = [item("2020", collection=name, when=f"2020-0{k}-01T00:00:00Z") for k, name in ((1, "b"), (2, "a"))]
    write(tmp_path / "items.json", {"type": "FeatureCollection", "features": rows})
    with pytest.raises(ConfigError, match="collections 'b' and 'a' both have an item '2020'"):
        names(tmp_path / "items.json")
    (found,) = search(catalogue(str(tmp_path / "items.json")), ["a"], AREA, None, None)
    assert found.start.month == 2


def test_lists_and_single_items(tmp_path):
    write(
        tmp_path / "items.json", {"type": "FeatureCollection", "features": [item("x"), item("y", cloud=9), item("x")]}
    )
    assert names(tmp_path / "items.json") == ["x", "y"]
    assert names(tmp_path / "items.json", query={"cloud": {"gt": 5}}) == ["y"]
    write(tmp_path / "one.json", item("one"))
    assert names(tmp_path / "one.json") == ["one"]


def test_geoparquet(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [item("p0"), item("p1", when="2020-07-01T00:00:00Z")]
    table = pa.table(
        {
            "id": [row["id"] for row in rows],
            "collection": ["things"] * 2,
            "geometry": [box(*row["bbox"]).wkb for row in rows],
            "datetime": [row["properties"]["datetime"] for row in rows],
            "assets": [{"dem": {"href": "https://example.org/a.tif"}}] * 2,
        }
    )
    pq.write_table(table, tmp_path / "items.parquet")
    found = search(catalogue(str(tmp_path / "items.parquet")), ["things"], AREA, None, None)
    assert [(one.id, one.start.month) for one in found] == [("p0", 6), ("p1", 7)]
    assert found[0].assets["dem"].href == "https://example.org/a.tif"


def test_what_is_no_catalogue(tmp_path):
    for text, said in (("[]", "no JSON object"), ("{", "no readable JSON"), ('{"type": "Map"}', "is no catalogue")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ConfigError, match=said):
            names(tmp_path / "bad.json")
    path = tree(tmp_path)
    with pytest.raises(ConfigError, match="no item of collection 'c'") as caught:
        names(path, ["c"])
    assert "a, b" in caught.value.hint
    with pytest.raises(ConfigError, match="cannot be asked"):
        names(path, ["a"], filter={"op": "="})
    write(tmp_path / "twice.json", {"type": "FeatureCollection", "features": [item("x"), item("x", cloud=1)]})
    with pytest.raises(SourceError, match="'x' stands twice"):
        names(tmp_path / "twice.json")
