"""The rules of every source tried at once, where a test class of its own would make its files again for each."""

from __future__ import annotations

from m3leo_prep.testing.source_pixels import PIXEL_RULES
from m3leo_prep.testing.source_rules import RULES, Case, finds_the_same_elsewhere


def keep_all(case: Case) -> None:
    """Raise if a rule is not kept; that of other processes, which takes longest, is left to test classes."""
    for rule in (*RULES, *PIXEL_RULES):
        if rule.check is not finds_the_same_elsewhere:
            rule.check(case)
