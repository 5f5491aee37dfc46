"""The contract that every ``Blobs`` must keep: subclass ``BlobsContract`` and give it a ``blobs`` fixture.

class TestMine(BlobsContract):
    @pytest.fixture
    def blobs(self, tmp_path): return MyBlobs(tmp_path)
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from m3leo_prep.core.errors import StoreError
from m3leo_prep.ports.blobs import Blobs, Readable


class BlobsContract:
    """Tests of the port; each gets empty blobs."""

    @pytest.fixture
    def blobs(self) -> Blobs:
        """Return the empty blobs under test."""
        raise NotImplementedError

    def test_is_blobs(self, blobs: Blobs) -> None:
        """The adapter has the port's methods."""
        assert isinstance(blobs, Blobs)
        assert isinstance(blobs, Readable)

    def test_says_where_it_is(self, blobs: Blobs) -> None:
        """The address is for people: it holds no query and no password, and stays the same in a copy."""
        assert blobs.url
        assert "?" not in blobs.url
        assert "@" not in blobs.url
        assert isinstance(blobs.is_remote, bool)
        assert pickle.loads(pickle.dumps(blobs)).url == blobs.url  # noqa: S301  (our own bytes)

    def test_what_was_put_is_got(self, blobs: Blobs) -> None:
        """Bytes, views and empty blobs come back as they were."""
        blobs.put("a/b/c", b"hello")
        blobs.put("a/view", memoryview(b"0123")[1:3])
        blobs.put("empty", b"")
        assert blobs.get("a/b/c") == b"hello"
        assert blobs.get("a/view") == b"12"
        assert blobs.get("empty") == b""

    def test_parts_are_joined(self, blobs: Blobs) -> None:
        """An iterable of parts is one blob."""
        blobs.put("parts", (part for part in (b"one", memoryview(b"two"), b"")))
        assert blobs.get("parts") == b"onetwo"

    def test_failing_parts_leave_nothing(self, blobs: Blobs) -> None:
        """If the parts stop with an error, the blob is not there, and an older one is untouched."""

        def parts() -> Iterator[bytes]:
            yield b"half"
            raise KeyError

        blobs.put("old", b"old")
        for name in ("new", "old"):
            with pytest.raises(KeyError):
                blobs.put(name, parts())
        assert list(blobs.list()) == ["old"]
        assert blobs.get("old") == b"old"

    def test_put_replaces(self, blobs: Blobs) -> None:
        """The last put wins, also where it is shorter."""
        blobs.put("a", b"long text")
        blobs.put("a", b"short")
        assert blobs.get("a") == b"short"

    def test_if_absent(self, blobs: Blobs) -> None:
        """``if_absent`` writes once and then refuses."""
        blobs.put("a", b"1", if_absent=True)
        with pytest.raises(FileExistsError):
            blobs.put("a", b"2", if_absent=True)
        assert blobs.get("a") == b"1"
        assert list(blobs.list()) == ["a"]

    def test_if_absent_has_one_winner(self, blobs: Blobs) -> None:
        """Of many at once, exactly one gets through."""

        def attempt(i: int) -> bool:
            try:
                blobs.put("a", b"%d" % i, if_absent=True)
            except FileExistsError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(attempt, range(8))) == 1

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [
            (0, None, b"0123456789"),
            (3, None, b"3456789"),
            (3, 4, b"3456"),
            (8, 9, b"89"),
            (-3, None, b"789"),
            (-3, 2, b"78"),
            (-30, 2, b"01"),
            (10, 1, b""),
            (4, 0, b""),
        ],
    )
    def test_ranges(self, blobs: Blobs, start: int, length: int | None, expected: bytes) -> None:
        """A range is what slicing says."""
        blobs.put("a", b"0123456789")
        assert blobs.get("a", start, length) == expected

    def test_absence(self, blobs: Blobs) -> None:
        """What is not there is said so, and deleting it is fine."""
        blobs.put("folder/a", b"1")
        for name in ("nothing", "folder", "folder/a/b"):
            with pytest.raises(FileNotFoundError):
                blobs.get(name)
            assert blobs.size(name) is None
        blobs.delete("nothing")

    def test_size(self, blobs: Blobs) -> None:
        """The size is in bytes."""
        blobs.put("a", b"12345")
        assert blobs.size("a") == 5

    def test_list_is_sorted_and_by_folder(self, blobs: Blobs) -> None:
        """Names come sorted as strings; a prefix is a folder, not the start of a word."""
        names = ["a", "b.txt", "b/1", "b/10", "b/2", "b/c/d", "bc/e", "c"]
        for name in reversed(names):
            blobs.put(name, b"x")
        assert list(blobs.list()) == sorted(names)
        assert list(blobs.list("b")) == ["b/1", "b/10", "b/2", "b/c/d"]
        assert list(blobs.list("b/c/")) == ["b/c/d"]
        assert list(blobs.list("nothing")) == []

    def test_delete(self, blobs: Blobs) -> None:
        """A deleted blob is gone."""
        blobs.put("a/b", b"1")
        blobs.delete("a/b")
        assert blobs.size("a/b") is None
        assert list(blobs.list()) == []

    @pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/x", "", "a//b", "./a", "a/", "a\\b"])
    def test_names_stay_inside(self, blobs: Blobs, name: str) -> None:
        """A name that could lead out of the root is refused."""
        with pytest.raises(StoreError):
            blobs.put(name, b"x")
        with pytest.raises(StoreError):
            blobs.get(name)

    def test_pickles(self, blobs: Blobs) -> None:
        """Worker processes get a working copy."""
        blobs.put("a", b"1")
        assert pickle.loads(pickle.dumps(blobs)).get("a") == b"1"  # noqa: S301  (our own bytes)
