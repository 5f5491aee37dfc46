"""The ledger survives a crash at any byte, finds damage, and orders runs without a clock; the lock lets one build."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.store.ledger import BuildLock, Ledger, Record, ShardFile


def record(unit, digest="d", **kwargs):
    shards = (ShardFile(f"chips.zarr/{unit}", 10, "ab" * 32), ShardFile(f"chips.zarr/{unit}/empty", 0, ""))
    arrays = {"s1.reason": np.arange(12, dtype=np.uint8).reshape(2, 3, 2), "s1.mean": np.array([1.5, np.nan])}
    return Record(unit, digest, shards, retryable=2, arrays=arrays, info={"items": ["a", "b"]}, **kwargs)


def write(folder, writer, *records):
    with Ledger(folder).open_segment(writer) as segment:
        for made in records:
            segment.append(made)
    return segment.path


def test_records_come_back(tmp_path):
    write(tmp_path, "main", record("u1"), record("u2"))
    got = Ledger(tmp_path).records()
    assert list(got) == ["u1", "u2"]
    one, expected = got["u1"], record("u1")
    assert (one.digest, one.shards, one.retryable, one.info) == ("d", expected.shards, 2, {"items": ["a", "b"]})
    assert set(one.arrays) == {"s1.reason", "s1.mean"}
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(one.arrays[name], array)
        assert one.arrays[name].dtype == array.dtype
        assert one.arrays[name].flags.writeable


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["u1", "<i4", "<i8", "<f4", "<f8", "?", "<M8[s]", "<U5"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_any_array_comes_back(tmp_path_factory, array):
    folder = tmp_path_factory.mktemp("ledger")
    write(folder, "main", Record("u", "d", arrays={"a": array}))
    got = Ledger(folder).records()["u"].arrays["a"]
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    assert got.tobytes() == array.tobytes()


def test_no_ledger_has_no_records(tmp_path):
    assert Ledger(tmp_path / "nothing").records() == {}


def test_the_last_record_of_a_unit_wins(tmp_path):
    write(tmp_path, "main", record("u", "old"), record("v", "v1"), record("u", "new"))
    assert Ledger(tmp_path).records()["u"].digest == "new"


@pytest.mark.parametrize("writers", [("a", "b", "a"), ("b", "a", "b"), ("part-2", "main", "part-10")])
def test_a_later_run_wins_whatever_its_writers_name(tmp_path, writers):
    """Names sort one way and runs another: runs count; file times are not looked at."""
    for i, writer in enumerate(writers):
        path = write(tmp_path, writer, record("u", f"run {i}"))
        stamp = 1e9 - i
        os.utime(path, (stamp, stamp))
    assert Ledger(tmp_path).records()["u"].digest == "run 2"


def test_many_runs_keep_their_order(tmp_path):
    for i in range(12):
        write(tmp_path, "main", record("u", str(i)))
    assert Ledger(tmp_path).records()["u"].digest == "11"


def test_parts_side_by_side(tmp_path):
    """Two writers open at once, each with units of its own; one ledger reads both."""
    ledger = Ledger(tmp_path)
    with ledger.open_segment("part-1") as one, ledger.open_segment("part-2") as two:
        for i in range(4):
            (one, two)[i % 2].append(record(f"u{i}"))
        assert set(Ledger(tmp_path).records()) == {"u0", "u1", "u2", "u3"}


def test_many_threads_and_processes(tmp_path):
    code = """
import sys, threading
from pathlib import Path
import numpy as np
from m3leo_prep.store.ledger import Ledger, Record
who = sys.argv[2]
with Ledger(Path(sys.argv[1])).open_segment("same") as segment:
    def work(t):
        for i in range(5):
            segment.append(Record(f"{who}-{t}-{i}", "d", arrays={"a": np.full(500, t)}))
    threads = [threading.Thread(target=work, args=(t,)) for t in range(4)]
    [t.start() for t in threads]; [t.join() for t in threads]
"""
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(i)]) for i in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    got = Ledger(tmp_path).records()
    assert len(got) == 40
    for unit, made in got.items():
        assert (made.arrays["a"] == int(unit.split("-")[1])).all()


def test_a_torn_end_is_ignored_at_any_byte(tmp_path):
    path = write(tmp_path, "main", record("u1"), record("u2"))
    whole = path.read_bytes()
    first = len(whole) // 2
    assert whole[first : first + 4] == b"M3LR"
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert list(Ledger(tmp_path).records()) == (["u1"] if cut >= first else [])
    path.write_bytes(whole[: first + 100] + bytes(len(whole) - first - 100))  # a crash may leave zeros
    assert list(Ledger(tmp_path).records()) == ["u1"]


def test_building_goes_on_after_a_torn_end(tmp_path):
    path = write(tmp_path, "main", record("u1"), record("u2"))
    path.write_bytes(path.read_bytes()[:-7])
    write(tmp_path, "main", record("u2", "again"))
    got = Ledger(tmp_path).records()
    assert (list(got), got["u2"].digest) == (["u1", "u2"], "again")


def test_one_flipped_byte_before_an_intact_record_is_named(tmp_path):
    """Never read past as if it were a torn end: either the records refuse, or the arrays that are damaged do."""
    path = write(tmp_path, "main", record("u1"), record("u2"))
    whole = path.read_bytes()
    refused, late = [], 0
    for position in range(len(whole) // 2):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            records = Ledger(tmp_path).records()
        except StoreError as error:
            refused.append((error.message, error.where))
            continue
        with pytest.raises(StoreError, match="damaged at byte"):
            dict(records["u1"].arrays)
        late += 1
    assert set(refused) == {("the ledger is damaged at byte 0", str(path))}
    assert len(refused) > 100
    assert late > 10


def test_a_flipped_byte_in_the_last_record_drops_it(tmp_path):
    path = write(tmp_path, "main", record("u1"), record("u2"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert list(Ledger(tmp_path).records()) == ["u1"]


def test_an_unused_segment_leaves_no_file(tmp_path):
    write(tmp_path, "main")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writer", ["", "a/b", "..\\x"])
def test_bad_writer_names(tmp_path, writer):
    with pytest.raises(ConfigError):
        Ledger(tmp_path).open_segment(writer)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's tmpfs")
def test_full_disk_keeps_the_segment_whole(tmp_path):
    """D87: an append that does not fit is undone; what was there stays, and it goes on after making room."""
    folder = tmp_path / "mount"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        (folder / "ballast").write_bytes(bytes(40_000))
        noise = np.random.default_rng(0).integers(0, 256, 30_000, np.uint8)
        with Ledger(folder / "ledger").open_segment("main") as segment:
            segment.append(record("u1"))
            with pytest.raises(StoreError, match="No space left"):
                segment.append(Record("u2", "d", arrays={"a": noise}))
            (folder / "ballast").unlink()
            segment.append(Record("u2", "d", arrays={"a": noise}))
            segment.append(record("u3"))
        got = Ledger(folder / "ledger").records()
        assert list(got) == ["u1", "u2", "u3"]
        np.testing.assert_array_equal(got["u2"].arrays["a"], noise)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_hundred_thousand_units_stay_cheap(tmp_path):
    """Reading 20 000 records takes a fifth of 100 000's allowance of 10 s; arrays are not touched."""
    path = write(tmp_path, "main", record("u1"))
    frame = path.read_bytes()
    path.write_bytes(frame * 20_000)
    started = time.process_time()
    assert list(Ledger(tmp_path).records()) == ["u1"]
    assert time.process_time() - started < 2


HOLD = """
import sys, time
from pathlib import Path
from m3leo_prep.store.ledger import BuildLock
with BuildLock(Path(sys.argv[1]), *sys.argv[2:]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold(tmp_path):
    """Return a function that has another process hold the lock."""
    children = []

    def start(*part):
        child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path), *part], stdout=subprocess.PIPE)
        children.append(child)
        assert child.stdout.readline() == b"held\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_second_builder_is_refused_and_told_who(tmp_path, hold):
    first = hold()
    with pytest.raises(StoreError, match=f"process {first.pid} on .*\n  hint: wait"), BuildLock(tmp_path):
        pass
    first.kill()  # as kill -9 or a crash would: the lock is free at once
    first.wait()
    with BuildLock(tmp_path):
        pass


def test_the_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(KeyError), BuildLock(tmp_path):
        raise KeyError
    with BuildLock(tmp_path), pytest.raises(StoreError, match="another build"), BuildLock(tmp_path):
        pass


def test_parts_share_but_not_with_a_whole_build_nor_with_themselves(tmp_path, hold):
    first = hold("1-of-2")
    with BuildLock(tmp_path, "2-of-2"):
        pass
    with pytest.raises(StoreError, match=f"process {first.pid} "), BuildLock(tmp_path, "1-of-2"):
        pass
    with pytest.raises(StoreError, match="another build"), BuildLock(tmp_path):
        pass
    first.kill()
    first.wait()
    with BuildLock(tmp_path):
        pass


def test_threads_appending_while_another_reads(tmp_path):
    """A reader (`status`) sees whole records only."""
    ledger, done = Ledger(tmp_path), threading.Event()
    seen = []

    def read():
        while not done.is_set():
            seen.append(len(ledger.records()))

    reader = threading.Thread(target=read)
    with ledger.open_segment("main") as segment:
        reader.start()
        for i in range(60):
            segment.append(record(f"u{i}"))
        done.set()
        reader.join()
    assert seen == sorted(seen)
    assert len(ledger.records()) == 60
