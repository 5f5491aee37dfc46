"""The cache of downloads: made once by whoever asks, bounded, never taking what is used or kept, healed."""

from __future__ import annotations

import fcntl
import gc
import multiprocessing
import os
import pickle
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from m3leo_prep.core.errors import ConfigError, CorruptError, StoreError
from m3leo_prep.sources.http.cache import FileCache, downloads

MB = 10**6


def maker(size: int = MB, made: list[Path] | None = None) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        if made is not None:
            made.append(path)
        path.write_bytes(b"x" * size)

    return make


def no_maker(path: Path) -> None:
    raise AssertionError(path)


@pytest.fixture
def cache(tmp_path: Path) -> FileCache:
    return FileCache(tmp_path / "downloads", 10 * MB)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def there(cache: FileCache, *names: str) -> list[str]:
    """Return which of the names are in the cache, without using them."""
    return [name for name in names if (cache._place(name) / name.rsplit("/", 1)[-1]).exists()]


def test_a_file_is_made_once_and_keeps_its_name(cache: FileCache) -> None:
    made: list[Path] = []
    first = cache.file("a.org/x/0.tiff", maker(5, made))
    other = cache.file("a.org/y/0.tiff", maker(6, made))
    assert [first.name, other.name, first == other] == ["0.tiff", "0.tiff", False]
    assert cache.file("a.org/x/0.tiff", no_maker) == first
    assert FileCache(cache.folder, cache.limit).file("a.org/x/0.tiff", no_maker).read_bytes() == b"xxxxx"
    assert len(made) == 2
    assert pickle.loads(pickle.dumps(first)) == first


@pytest.mark.parametrize("name", ["..", "a/..", "a/", "a/.making", "", "a/\x00".rstrip("\x00")])
def test_odd_names_stay_inside_and_collide_with_nothing(cache: FileCache, name: str) -> None:
    path = cache.file(name, maker(3))
    assert path.resolve().is_relative_to(cache.folder.resolve())
    assert path.name == "file"
    assert cache.file(name, no_maker) == path


def test_threads_wait_for_the_first(cache: FileCache) -> None:
    made: list[Path] = []
    begun = threading.Barrier(8)

    def make(path: Path) -> None:
        made.append(path)
        time.sleep(0.05)
        path.write_bytes(b"whole")

    def ask(_: int) -> bytes:
        begun.wait()
        return cache.file("f", make).read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {b"whole"}
    assert len(made) == 1


def test_threads_share_what_the_first_one_met(cache: FileCache) -> None:
    made: list[Path] = []
    begun = threading.Barrier(6)

    def make(path: Path) -> None:
        made.append(path)
        time.sleep(0.1)
        raise CorruptError("damaged")

    def ask(_: int) -> str:
        begun.wait()
        with pytest.raises(CorruptError):
            cache.file("f", make)
        return "seen"

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(6))) == ["seen"] * 6
    assert len(made) == 1
    assert cache.file("f", maker(3)).stat().st_size == 3, "later it may be there"


def test_after_an_interruption_the_next_one_makes_it(cache: FileCache) -> None:
    begun = threading.Event()

    def interrupted(path: Path) -> None:
        path.write_bytes(b"half")
        begun.set()
        time.sleep(0.05)
        raise KeyboardInterrupt

    def first() -> None:
        with pytest.raises(KeyboardInterrupt):
            cache.file("f", interrupted)

    with ThreadPoolExecutor(2) as pool:
        stopped = pool.submit(first)
        begun.wait()
        assert pool.submit(lambda: cache.file("f", maker(7)).stat().st_size).result() == 7
        stopped.result()


def _ask(folder: Path, log: Path, start: object) -> None:
    def make(path: Path) -> None:
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.2)
        path.write_bytes(b"whole")

    start.wait()  # type: ignore[attr-defined]  # a barrier of processes
    assert FileCache(folder, 10 * MB).file("f", make).read_bytes() == b"whole"


def test_processes_wait_for_the_first(cache: FileCache, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    log = tmp_path / "log"
    asking = [context.Process(target=_ask, args=(cache.folder, log, start)) for _ in range(3)]
    for process in asking:
        process.start()
    for process in asking:
        process.join()
    assert [process.exitcode for process in asking] == [0, 0, 0]
    assert log.read_text() == "made\n"


def test_a_maker_that_is_killed_leaves_nothing_that_is_believed(cache: FileCache) -> None:
    def make(path: Path) -> None:
        path.write_bytes(b"half")
        path.with_name(f"{path.name}.part").write_bytes(b"ha")
        os.kill(os.getpid(), 9)

    process = multiprocessing.get_context("fork").Process(target=cache.file, args=("f", make))
    process.start()
    process.join()
    assert process.exitcode == -9
    seen: list[bytes] = []

    def again(path: Path) -> None:
        seen.append(path.with_name(f"{path.name}.part").read_bytes())
        assert not path.exists()
        path.write_bytes(b"whole")

    assert cache.file("f", again).read_bytes() == b"whole"
    assert seen == [b"ha"], "what a download left to go on with is there"


def test_what_was_used_last_stays_and_the_size_is_bounded(cache: FileCache) -> None:
    for number in range(40):
        cache.file(f"{number}", maker())
        if number >= 2:
            cache.file("2", no_maker)
        assert size_of(cache.folder) <= cache.limit
        time.sleep(0.002)  # times of use are told apart by the file system's clock
    left = there(cache, *map(str, range(40)))
    assert "2" in left
    assert len(left) >= 6
    assert set(left) - {"2"} == {str(k) for k in range(40 - len(left) + 1, 40)}
    assert len(list(cache.folder.iterdir())) == len(left), "nothing else is left of what was removed"


def test_what_is_used_or_kept_is_never_removed(cache: FileCache) -> None:
    used = cache.file("used", maker())
    cache.file("kept", maker(), keep=True)
    cache.file("kept later", maker())
    cache.file("kept later", no_maker, keep=True)
    for number in range(30):
        cache.file(f"{number}", maker())
    assert there(cache, "used", "kept", "kept later") == ["used", "kept", "kept later"]
    text = str(used)
    del used
    gc.collect()
    for number in range(30, 60):
        cache.file(f"{number}", maker())
    assert not Path(text).exists(), "nobody used it any more"
    assert there(cache, "kept", "kept later") == ["kept", "kept later"]
    assert size_of(cache.folder) <= cache.limit + 2 * MB


def test_who_waited_while_a_file_was_removed_and_made_anew_holds_the_new_one(cache: FileCache) -> None:
    cache.file("f", maker(9))
    gc.collect()
    (place,) = cache.folder.iterdir()
    with ThreadPoolExecutor(1) as pool, (place / ".used").open("rb+") as used:
        fcntl.flock(used, fcntl.LOCK_EX)  # as who removes it
        waiting = pool.submit(cache.file, "f", no_maker)
        while not waits_for(used):
            time.sleep(0.001)
        shutil.copytree(place, place.with_name("new"))
        place.rename(place.with_name("old"))
        place.with_name("new").rename(place)
        fcntl.flock(used, fcntl.LOCK_UN)
        held = waiting.result()
    shutil.rmtree(place.with_name("old"))
    for number in range(30):
        cache.file(f"{number}", maker())
    assert held.exists()


def waits_for(file: BinaryIO) -> bool:
    """Return whether somebody waits for the lock of a file, by what the kernel tells."""
    inode = f":{os.fstat(file.fileno()).st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_process_that_was_forked_meanwhile_locks_nobody_out(cache: FileCache) -> None:
    context = multiprocessing.get_context("fork")
    done = context.Event()
    child = context.Process(target=done.wait)

    def fail(path: Path) -> None:
        child.start()
        raise CorruptError("no")

    try:
        with pytest.raises(CorruptError):
            cache.file("f", fail)
        with ThreadPoolExecutor(1) as pool:
            again = pool.submit(cache.file, "f", maker(9))
            try:
                assert again.result(timeout=5).exists()
            finally:
                done.set()
    finally:
        child.join()


def test_what_was_removed_in_part_is_removed_for_good(cache: FileCache) -> None:
    """Whoever removed it was stopped after the locks were gone."""
    cache.file("half", maker(8 * MB))
    gc.collect()
    (place,) = cache.folder.iterdir()
    (place / ".making").unlink()
    (place / ".used").unlink()
    for number in range(8):
        cache.file(f"{number}", maker())
    assert not place.exists()
    assert size_of(cache.folder) <= cache.limit


def test_what_another_process_uses_is_not_removed(cache: FileCache) -> None:
    context = multiprocessing.get_context("fork")
    has, done = context.Event(), context.Event()

    def use() -> None:
        path = cache.file("used", maker())
        has.set()
        done.wait()
        assert path.exists()

    process = context.Process(target=use)
    process.start()
    has.wait()
    for number in range(30):
        cache.file(f"{number}", maker())
    assert there(cache, "used")
    done.set()
    process.join()
    assert process.exitcode == 0
    for number in range(30, 60):
        cache.file(f"{number}", maker())
    assert not there(cache, "used")


def test_everything_in_use_may_be_more_than_the_limit(cache: FileCache) -> None:
    held = [cache.file(f"{number}", maker()) for number in range(15)]
    assert all(path.exists() for path in held)
    nothing = FileCache(cache.folder.with_name("none"), 0)
    assert nothing.file("a", maker()).exists(), "also where nothing shall stay"


def test_leftovers_of_downloads_go_too(cache: FileCache) -> None:
    def make(path: Path) -> None:
        path.with_name(f"{path.name}.part").write_bytes(b"x" * 8 * MB)
        raise CorruptError("no")

    with pytest.raises(CorruptError):
        cache.file("gone", make)
    for number in range(8):
        cache.file(f"{number}", maker())
    assert size_of(cache.folder) <= cache.limit


def test_leftovers_alone_are_bounded_too(cache: FileCache) -> None:
    def make(path: Path) -> None:
        path.with_name(f"{path.name}.part").write_bytes(b"x" * MB)
        raise CorruptError("no")

    for number in range(30):
        with pytest.raises(CorruptError):
            cache.file(f"{number}", make)
        assert size_of(cache.folder) <= cache.limit


def test_a_full_disk_is_given_room_by_what_was_not_used_for_longest(
    cache: FileCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk of 5 MB, as the system tells of it and as whoever writes finds it."""
    cache.limit = 10**12

    def free() -> int:
        return 5 * MB - size_of(cache.folder)

    def make(path: Path) -> None:
        if free() < MB:
            raise StoreError("No space left on device")
        path.write_bytes(b"x" * MB)

    used = shutil.disk_usage(cache.folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: used._replace(free=free()))
    for number in range(12):
        cache.file(f"{number}", make)
        time.sleep(0.002)
    held = [cache.file(f"{number}", make) for number in (9, 10, 11)]
    assert all(path.exists() for path in held)
    held.append(cache.file("12", make))
    with pytest.raises(StoreError, match="No space left"):
        cache.file("one more", make)
    assert all(path.exists() for path in held)


def damage_short(path: Path) -> None:
    os.truncate(path, 10)


def damage_gone(path: Path) -> None:
    path.unlink()


def damage_other(path: Path) -> None:
    path.write_bytes(b"y" * path.stat().st_size)


def damage_note(path: Path) -> None:
    (path.parent / ".entry").write_bytes(b"\x00[")


@pytest.mark.parametrize("damage", [damage_short, damage_gone, damage_other, damage_note])
def test_a_damaged_file_is_made_anew_also_while_it_is_used(cache: FileCache, damage: Callable[[Path], None]) -> None:
    held = cache.file("f", maker(100))
    damage(held)
    assert cache.file("f", maker(50)).stat().st_size == 50
    assert cache.file("f", no_maker) == held


def test_a_reader_may_say_that_it_is_damaged(cache: FileCache) -> None:
    cache.forget("f")
    held = cache.file("f", maker(100))
    with held.open("rb") as opened:
        cache.forget("f")
        assert cache.file("f", maker(50)).stat().st_size == 50
        assert len(opened.read()) == 100, "who has it open reads on"


def test_a_warm_cache_may_be_read_only(cache: FileCache) -> None:
    if os.geteuid() == 0:
        pytest.skip("for this user every folder can be written")
    path = cache.file("f", maker(9))
    path.parent.chmod(0o500)
    try:
        assert cache.file("f", no_maker) == path
    finally:
        path.parent.chmod(0o700)


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="the cache cannot be used") as caught:
        FileCache(tmp_path / "file" / "below", MB).file("f", maker())
    assert "M3LEO_PREP_CACHE" in caught.value.hint


def test_downloads_are_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M3LEO_PREP_CACHE", str(tmp_path))
    monkeypatch.delenv("M3LEO_PREP_DOWNLOADS_GB", raising=False)
    assert (downloads().folder, downloads().limit) == (tmp_path / "downloads", 50 * 10**9)
    monkeypatch.setenv("M3LEO_PREP_DOWNLOADS_GB", "0.5")
    assert downloads().limit == 5 * 10**8
    assert downloads() is downloads(), "threads know of each other"
    for wrong in ("-1", "much", "inf", "nan"):
        monkeypatch.setenv("M3LEO_PREP_DOWNLOADS_GB", wrong)
        with pytest.raises(ConfigError, match="no size"):
            downloads()
