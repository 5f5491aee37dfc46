"""LocalBlobs keeps the contract, and a crash, a full disk or a read-only folder leaves no half blob (D87, D92)."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.core.errors import StoreError
from m3leo_prep.testing.blobs import BlobsContract


class TestLocalBlobs(BlobsContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> LocalBlobs:
        return LocalBlobs(tmp_path / "root")


def everything(root: Path) -> list[str]:
    """All files, also the hidden ones, without going through the code under test."""
    return sorted(str(Path(d, f).relative_to(root)) for d, _, files in os.walk(root) for f in files)


def test_temporary_names_are_hidden_and_refused(tmp_path):
    blobs = LocalBlobs(tmp_path)
    blobs.put("a/b", b"1")
    (tmp_path / "a" / ".b.123.part").write_bytes(b"half")
    assert list(blobs.list()) == ["a/b"]
    with pytest.raises(StoreError):
        blobs.put("a/.x.part", b"")
    assert blobs.clean() == 1
    assert everything(tmp_path) == ["a/b"]


def test_a_name_of_full_length_can_be_written(tmp_path):
    blobs = LocalBlobs(tmp_path)
    blobs.put("n" * 255, b"1")
    with pytest.raises(StoreError, match="hint: the path is too long"):
        blobs.put("n" * 256, b"1")


def test_a_killed_writer_leaves_nothing_visible(tmp_path):
    """Kill -9 in the middle of a put: the old blob stays, the new one is not there, `clean` removes the rest."""
    LocalBlobs(tmp_path).put("old", b"old")
    code = """
import sys, time
from pathlib import Path
from m3leo_prep.blobs.local import LocalBlobs
def parts():
    yield b"x" * 100_000
    print("half", flush=True)
    time.sleep(60)
LocalBlobs(Path(sys.argv[1])).put(sys.argv[2], parts())
"""
    for name in ("old", "new"):
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"half\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    blobs = LocalBlobs(tmp_path)
    assert list(blobs.list()) == ["old"]
    assert blobs.get("old") == b"old"
    assert blobs.clean() == 2
    assert everything(tmp_path) == ["old"]


@pytest.fixture
def mounted(tmp_path):
    """Return a function that mounts a small tmpfs; skips where mounting is not allowed."""
    folder = tmp_path / "mount"
    folder.mkdir()
    done = []

    def mount(options: str) -> Path:
        result = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
        )
        if result.returncode:
            pytest.skip("needs the right to mount a tmpfs")
        done.append(folder)
        return folder

    yield mount
    for path in done:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's tmpfs")
def test_full_disk(mounted):
    """D87: a clear error, no half blob, no temporary file, and it goes on once there is space."""
    root = mounted("size=1m")
    blobs = LocalBlobs(root)
    blobs.put("first", bytes(600_000))
    with pytest.raises(StoreError, match="disk is full") as caught:
        blobs.put("folder/second", (bytes(100_000) for _ in range(6)))
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert "second" in caught.value.where
    with pytest.raises(StoreError, match="disk is full"):
        blobs.put("first", bytes(600_000))  # replacing needs room for both
    assert everything(root) == ["first"]
    assert blobs.get("first") == bytes(600_000)
    blobs.delete("first")
    blobs.put("folder/second", bytes(600_000))
    assert list(blobs.list()) == ["folder/second"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's tmpfs")
def test_read_only_file_system(mounted):
    root = mounted("size=1m,ro")
    with pytest.raises(StoreError, match="read-only"):
        LocalBlobs(root).put("a", b"1")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="you may not write there"):
            LocalBlobs(tmp_path).put("a", b"1")
    finally:
        tmp_path.chmod(0o700)


def test_readers_see_the_old_or_the_new_and_nothing_else(tmp_path):
    """A reader beside a writer that replaces a blob over and over."""
    blobs = LocalBlobs(tmp_path)
    blobs.put("a", b"0" * 50_000)
    code = """
import sys
from pathlib import Path
from m3leo_prep.blobs.local import LocalBlobs
blobs = LocalBlobs(Path(sys.argv[1]))
for i in range(200):
    blobs.put("a", [b"%d" % (i % 10) * 5_000] * 10)
"""
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    seen = 0
    while child.poll() is None:
        data = blobs.get("a")
        assert data == data[:1] * 50_000
        seen += 1
        time.sleep(0.001)
    assert child.returncode == 0
    assert seen > 3


def test_the_file_mode_follows_the_umask(tmp_path):
    """Others must be able to read a published folder: no 0600 from a temporary file."""
    LocalBlobs(tmp_path).put("a", b"1")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask
