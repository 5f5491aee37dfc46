"""Any address that fsspec knows can be read; what it cannot read is said."""

from __future__ import annotations

import pickle
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core.errors import ConfigError, CredentialsError, MissingDependency, StoreError
from m3leo_prep.ports.blobs import Readable

fsspec = pytest.importorskip("fsspec")
known_implementations = pytest.importorskip("fsspec.registry").known_implementations
other = pytest.importorskip("m3leo_prep.blobs.other")

DATA = bytes(range(100))


@pytest.fixture(scope="module")
def files():
    memory = fsspec.filesystem("memory")
    folder = f"/{uuid.uuid4().hex}"
    memory.pipe_file(f"{folder}/data/a b", DATA)
    memory.pipe_file(f"{folder}/data/empty", b"")
    yield other.open_other(f"memory:/{folder}/data")
    memory.rm(folder, recursive=True)


@given(start=st.integers(-130, 130), length=st.none() | st.integers(0, 130))
def test_ranges_are_what_slicing_says(files, start, length):
    expected = DATA[start:] if start >= -100 else DATA
    assert files.get("a b", start, length) == expected[:length]
    assert files.get("empty", start, length) == b""


def test_it_is_readable_and_pickles(files):
    assert isinstance(files, Readable)
    assert files.is_remote
    assert pickle.loads(pickle.dumps(files)).get("a b", 3, 2) == DATA[3:5]


def test_sizes_and_absence(files):
    assert files.size("a b") == 100
    assert files.size("empty") == 0
    root = other.open_other(files.url.rpartition("/")[0])
    assert root.size("data") is None, "a folder is no file"
    for name in ("nothing", "nothing/a"):
        assert files.size(name) is None
        for length in (None, 0, 5):
            with pytest.raises(FileNotFoundError, match=name):
                files.get(name, 0, length)
    with pytest.raises(StoreError, match="not a name inside"):
        files.get("../x")


def test_what_is_not_known(monkeypatch):
    with pytest.raises(ConfigError, match=r"gihub:// is not a known(.|\n)*did you mean 'github'"):
        other.open_other("gihub://a")
    with pytest.raises(ConfigError, match=r"zzzz:// is not a known(.|\n)*https://, s3://"):
        other.open_other("zzzz://a")
    missing = {"class": "nowhere.FileSystem", "err": "zzzz needs the package zzzzfs"}
    monkeypatch.setitem(known_implementations, "zzzz", missing)
    with pytest.raises(MissingDependency, match="needs the package zzzzfs"):
        other.open_other("zzzz://a")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError("no"), CredentialsError),
        (OSError("sftp://me:word@host failed"), StoreError),
        (ValueError("strange"), StoreError),
    ],
)
def test_errors_are_ours_and_show_no_secret(error, kind, monkeypatch):
    class Failing(fsspec.AbstractFileSystem):
        protocol = "failing"

        def info(self, path, **_):
            raise error

        cat_file = info

    fsspec.register_implementation("failing", Failing, clobber=True)
    files = other.open_other("failing://me:word@host/folder?token=abc")
    assert files.url == "failing://host/folder"
    for call in (lambda: files.get("a"), lambda: files.size("a")):
        with pytest.raises(kind) as caught:
            call()
        assert "word" not in str(caught.value)
        assert "abc" not in str(caught.value)
        assert caught.value.where == "failing://host/folder/a"


def test_the_address_of_a_repository_is_shown_whole():
    assert other.OtherFiles("github://owner:name@main/data").url == "github://owner:name@main/data"
