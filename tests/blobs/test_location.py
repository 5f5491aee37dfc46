"""From what a person writes to a place: every way to name a folder, and no secret in what is said of an address."""

from __future__ import annotations

from pathlib import Path

import pytest

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.blobs.location import local_path, open_root
from m3leo_prep.blobs.names import shown
from m3leo_prep.core.errors import ConfigError


def test_every_way_to_name_a_folder(tmp_path, monkeypatch):
    folder = tmp_path / "a b"
    monkeypatch.chdir(tmp_path)
    for text in (f"{folder}/", folder.as_uri(), f"FILE://localhost{folder}/", f"file://{folder}"):
        assert local_path(text) == folder
    assert local_path("a b/") == local_path("./a b") == Path("a b")
    assert local_path("50%25 a://b") == Path("50%25 a://b"), "no address, whatever it looks like"
    assert local_path("C:\\data") == Path("C:\\data")
    assert open_root(folder) == LocalBlobs(folder)


@pytest.mark.parametrize(
    "address", ["s3://me:word@bucket/x?word", "https://me:word@host/x#word", "hf://datasets/a/b?word"]
)
def test_an_address_is_no_folder_and_the_way_to_one_is_said(address):
    with pytest.raises(ConfigError, match=f"m3leo-prep pull {shown(address)} FOLDER") as caught:
        local_path(address)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("location", [Path("s3://me:word@bucket/x"), Path("https://me:word@host/x"), "s3:/bucket/x"])
def test_an_address_that_went_through_path(location):
    with pytest.raises(ConfigError, match="lacks a slash") as caught:
        open_root(location)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["http://me:word@[half/x", "http://me:word@x:port/x/?word", "http://a@me:word@/x#word"]
)
def test_what_is_shown_of_an_odd_address_holds_no_secret(address):
    assert "word" not in shown(address)
