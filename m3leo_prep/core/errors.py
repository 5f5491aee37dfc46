"""The error tree: what happened, where, and the way out.

PrepError                 1   a bug if raised bare
├── ConfigError           2   recipe, area or arguments (also a ValueError)
├── MissingDependency     2   an extra is not installed (also an ImportError)
├── CredentialsError      3   log in first
├── SourceError           4   a provider or an input file
│   ├── TransientError    4   may pass: retry
│   │   └── TriedOut      4   may pass, but the source has tried for long enough: a hole that the next run fills
│   │       └── RateLimited   the provider said "too often" each time
│   ├── TooLarge          4   split the request
│   ├── NoData            4   nothing there: a reason, not a failure
│   ├── CorruptError      4   the file is damaged: a hole with reason CORRUPT
│   └── QuotaReached     75   the provider allows no more for now: resume later
├── StoreError            5   disk, lock, format on disk (also an OSError)
├── PublishError          5
└── VerifyError           6   the dataset is not what it says
"""

from __future__ import annotations

from datetime import UTC, datetime

EXIT_INCOMPLETE = 7
"""Exit code of a complete build with holes that may fill."""
EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C; what is finished is kept."""


class PrepError(Exception):
    """An error that teaches: ``message`` says what, ``where`` the place, ``hint`` the way out."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by parts, so that worker processes can hand errors back."""
        return _rebuild, (type(self), self.message, self.hint, self.where)


def _rebuild(kind: type[PrepError], message: str, hint: str, where: str) -> PrepError:
    return kind(message, hint=hint, where=where)


class ConfigError(PrepError, ValueError):
    """A recipe, area or argument is wrong."""

    exit_code = 2


class MissingDependency(PrepError, ImportError):
    """An optional package is not installed; the hint is the install line."""

    exit_code = 2


class CredentialsError(PrepError):
    """No or refused credentials; the hint is the login step."""

    exit_code = 3


class SourceError(PrepError):
    """A source could not deliver."""

    exit_code = 4


class TransientError(SourceError):
    """May pass: worth a retry."""


class TriedOut(TransientError):
    """May pass, but the source has tried as often as makes sense: nobody repeats or splits it in this run."""


class RateLimited(TriedOut):
    """The provider refused each attempt as one too many; the chip gets reason RATE_LIMITED."""


class TooLarge(SourceError):
    """The request must be split."""


class NoData(SourceError):
    """The source has nothing there."""


class CorruptError(SourceError):
    """An input file is damaged; the chip gets reason CORRUPT and the run goes on."""


class QuotaReached(SourceError):
    """A quota or budget is used up; ``until`` is when to go on (UTC if it names no zone), None if nobody knows."""

    exit_code = 75

    def __init__(self, message: str, *, until: datetime | None = None, hint: str = "", where: str = "") -> None:
        super().__init__(message, hint=hint, where=where)
        self.until = None if until is None else (until if until.tzinfo else until.replace(tzinfo=UTC)).astimezone(UTC)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_quota, (self.message, self.until, self.hint, self.where)


def _rebuild_quota(message: str, until: datetime | None, hint: str, where: str) -> QuotaReached:
    return QuotaReached(message, until=until, hint=hint, where=where)


class StoreError(PrepError, OSError):
    """The dataset folder cannot be written or read."""

    exit_code = 5


class PublishError(PrepError):
    """Uploading failed."""

    exit_code = 5


class VerifyError(PrepError):
    """The dataset is not what its manifest says."""

    exit_code = 6
