"""Why there is no, or not all, data: one fixed table of numbers, append-only."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """One number per chip x slot x band, stored as uint8."""

    OK = 0
    """Every pixel was observed, masked or not."""
    PARTIAL_COVERAGE = 1
    """Some pixels were never observed."""
    NO_ACQUISITION = 2
    NOT_IN_DATASET = 3
    ALL_CLOUD = 4
    """Everything observed was masked away (cloud, shadow, layover ...)."""
    BAND_NOT_IN_PRODUCT = 5
    LAYER_NOT_IN_VERSION = 6
    OUT_OF_RANGE = 7
    """Every value lay outside the physically possible range."""
    CORRUPT = 8
    PROVIDER_ERROR = 9
    AUTH_FAILED = 10
    RATE_LIMITED = 11
    NOT_BUILT = 255
    """The fill value: nobody has looked yet."""


RETRYABLE = frozenset({Reason.PROVIDER_ERROR, Reason.AUTH_FAILED, Reason.RATE_LIMITED})
"""Holes that the next run asks for again; all others are final."""
