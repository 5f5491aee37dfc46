"""Sizes that people write, and how many workers fit."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.pipeline.resources import (
    LEAST_WORK_BYTES,
    WAITING_WORKERS,
    WORKER_BYTES,
    default_workers,
    parse_bytes,
    work_bytes,
)
from m3leo_prep.pipeline.unit import WORK_BYTES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8GB", 8 * 10**9),
        ("8 gb", 8 * 10**9),
        (" 2.5GiB ", 5 * 2**29),
        ("512MiB", 512 * 2**20),
        ("512mb", 512 * 10**6),
        (".5kB", 500),
        ("1KiB", 1024),
        ("123", 123),
        ("123B", 123),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "much", "8 GB free", "-1GB", "1.2.3MB", "8TB/s", "GB", "1e9", "8,5GB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a size[\s\S]*8GB or 512MiB"):
        parse_bytes(text)


@given(n=st.integers(0, 10**6))
def test_whole_numbers_are_exact(n: int) -> None:
    assert parse_bytes(f"{n}MiB") == n * 2**20
    assert parse_bytes(f"{n} kb") == n * 1000


def test_there_is_always_one_worker_and_never_more_than_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert default_workers(1) == 1
    assert default_workers(WORKER_BYTES - 1) == 1
    assert default_workers(10**15) == cores
    assert 1 <= default_workers() <= cores


def test_more_of_them_wait_for_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert default_workers(10**15, waits=True) == WAITING_WORKERS
    assert default_workers(3 * WORKER_BYTES, waits=True) == 3


def test_workers_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert default_workers(3 * WORKER_BYTES) == 3
    assert default_workers(4 * WORKER_BYTES - 1) == 3


def test_the_free_memory_is_what_counts_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_AVPHYS_PAGES": 5 * WORKER_BYTES // 4096}.__getitem__)
    assert default_workers() == 5


def test_the_memory_of_a_window() -> None:
    assert work_bytes(None, 4) == WORK_BYTES
    assert work_bytes(4 * WORKER_BYTES, 4) == WORK_BYTES
    assert work_bytes(2 * WORKER_BYTES, 4) == WORK_BYTES // 2
    assert work_bytes(10**15, 4) == WORK_BYTES, "more than enough changes nothing"
    assert work_bytes(1, 4) == LEAST_WORK_BYTES, "a single chip must fit"
