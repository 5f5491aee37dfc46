"""Hints: near names first, else all choices."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from m3leo_prep.core.text import near


def test_a_near_name_is_suggested() -> None:
    assert near("worldcovr", ["s1grd", "worldcover"]) == "did you mean 'worldcover'?"
    assert near("maen", ["mean", "median", "max"]) == "did you mean 'mean' or 'median'?"


def test_without_a_near_name_all_are_listed_in_order() -> None:
    assert near("zzz", ["b", "a", "a"]) == "choose from: a, b"
    assert near("zzz", (name for name in ("b", "a"))) == "choose from: a, b"


def test_without_choices_nothing_is_said() -> None:
    assert near("x", []) == ""


def test_at_most_three_are_suggested() -> None:
    many = [f"layer{n}" for n in range(9)]
    assert near("layer", many).count("'") == 6
    assert near("layer", many, most=1).count("'") == 2


@given(word=st.text(max_size=6), choices=st.lists(st.text("abc", min_size=1, max_size=4), max_size=5))
def test_it_never_fails_and_never_depends_on_order(word: str, choices: list[str]) -> None:
    hint = near(word, choices)
    assert hint == near(word, list(reversed(choices)))
    assert bool(hint) == bool(choices)
    if word in choices:
        assert f"'{word}'" in hint


def test_a_folder_full_of_files_does_not_fill_the_screen() -> None:
    hint = near("zzz", [f"scene{n:05}" for n in range(2000)])
    assert hint.endswith("scene00059 and 1,940 more")
