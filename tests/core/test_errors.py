"""Errors teach: what, where, the way out; and they travel between processes."""

from __future__ import annotations

import copy
import pickle

import pytest

from m3leo_prep.core import errors
from m3leo_prep.core.errors import ConfigError, MissingDependency, PrepError, SourceError, StoreError
from m3leo_prep.core.reasons import RETRYABLE, Reason

CODES = {
    "PrepError": 1,
    "ConfigError": 2,
    "MissingDependency": 2,
    "CredentialsError": 3,
    "SourceError": 4,
    "TransientError": 4,
    "TriedOut": 4,
    "RateLimited": 4,
    "TooLarge": 4,
    "NoData": 4,
    "CorruptError": 4,
    "QuotaReached": 75,
    "StoreError": 5,
    "PublishError": 5,
    "VerifyError": 6,
}
ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, PrepError)]


def test_exit_codes_are_those_of_the_contract() -> None:
    assert {kind.__name__: kind.exit_code for kind in ALL} == CODES


@pytest.mark.parametrize("kind", ALL)
def test_the_parts_come_together(kind: type[PrepError]) -> None:
    assert str(kind("it broke")) == "it broke"
    assert str(kind("it broke", where="layer s1")) == "layer s1: it broke"
    assert str(kind("it broke", hint="mend it")) == "it broke\n  hint: mend it"
    assert str(kind("it broke", hint="mend it", where="layer s1")) == "layer s1: it broke\n  hint: mend it"


@pytest.mark.parametrize("kind", ALL)
def test_they_pickle_whole(kind: type[PrepError]) -> None:
    for made in (kind("what", hint="how", where="there"), kind("what")):
        for again in (pickle.loads(pickle.dumps(made)), copy.copy(made)):
            assert type(again) is kind
            assert str(again) == str(made)
            assert (again.message, again.hint, again.where) == (made.message, made.hint, made.where)


def test_they_are_also_what_python_calls_them() -> None:
    assert issubclass(ConfigError, ValueError)
    assert issubclass(MissingDependency, ImportError)
    assert issubclass(StoreError, OSError)
    for name in ("TransientError", "TooLarge", "NoData", "CorruptError"):
        assert issubclass(getattr(errors, name), SourceError)


def test_every_error_has_a_line_about_itself() -> None:
    assert all((kind.__doc__ or "").strip() for kind in ALL)


def test_reasons_are_numbered_for_ever() -> None:
    """Append-only: these numbers are in files."""
    names = (
        "OK PARTIAL_COVERAGE NO_ACQUISITION NOT_IN_DATASET ALL_CLOUD BAND_NOT_IN_PRODUCT LAYER_NOT_IN_VERSION "
        "OUT_OF_RANGE CORRUPT PROVIDER_ERROR AUTH_FAILED RATE_LIMITED"
    )
    expected = {name: number for number, name in enumerate(names.split())} | {"NOT_BUILT": 255}
    assert {reason.name: reason.value for reason in Reason} == expected
    assert {reason.name for reason in RETRYABLE} == {"PROVIDER_ERROR", "AUTH_FAILED", "RATE_LIMITED"}
