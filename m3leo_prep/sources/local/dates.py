"""When a raster was acquired, as far as its name or its tags tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath

from m3leo_prep.core.errors import ConfigError

_IN_NAME = re.compile(
    r"(?<!\d)((?:19|20)\d{2})(-?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])"
    r"(?:[T_ ]?([01]\d|2[0-3])[:-]?([0-5]\d)[:-]?([0-5]\d))?(?!\d)"
)
_DIRECTIVES = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "j": 3, "y": 2}
_BY_DIGITS = {4: "%Y", 6: "%Y%m", 7: "%Y%j", 8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_ACQUISITION_TAGS = ("datetime", "acquisitiondatetime", "acquisition_datetime", "acquisition_time")
_WRITTEN_TAG = "tifftag_datetime"
"""The baseline tag says when the file was made, often hours after the pass: asked last."""


def check_pattern(pattern: str) -> None:
    """Refuse a ``date:`` that is neither a strftime pattern nor a regular expression with a date in it."""
    try:
        _regex(pattern)
    except re.error as error:
        hint = "write a strftime pattern such as %Y%m%d, or a regular expression with a group around the date"
        raise ConfigError(f"date: '{pattern}' is not a pattern: {error}", hint=hint) from error


def from_name(name: str, pattern: str = "") -> datetime | None:
    """Return the date in a relative path, UTC, or None; the file's own name is asked before its folders.

    Args:
        name: the path, with ``/``.
        pattern: strftime pattern, or regular expression (its group ``date``, else its first group, else all of
            it); empty = ``YYYYMMDD`` or ``YYYY-MM-DD``, with a time of day if one follows. The first date counts.
    """
    for part in reversed(PurePosixPath(name).parts):
        found = _search(part, pattern)
        if found is not None:
            return found
    return None


def from_tags(tags: Mapping[str, str], *, written: bool = False) -> datetime | None:
    """Return the acquisition time in a file's tags, UTC, or None; with ``written`` the time it was made."""
    lower = {key.lower(): value for key, value in tags.items()}
    for key in (_WRITTEN_TAG,) if written else _ACQUISITION_TAGS:
        if key in lower and (found := parse(lower[key])) is not None:
            return found
    return None


def parse(text: str) -> datetime | None:
    """Return an ISO 8601 or TIFF (``2021:04:01 06:57:06``) time as UTC, or None if it is none."""
    text = text.strip()
    if re.fullmatch(r"\d{4}:\d{2}:\d{2} \d{2}:\d{2}:\d{2}", text):
        text = text[:10].replace(":", "-") + text[10:]
    # Python keeps six digits of a second; providers write up to nine.
    text = re.sub(r"(\.\d{6})\d+", r"\1", text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _search(text: str, pattern: str) -> datetime | None:
    if not pattern:
        for match in _IN_NAME.finditer(text):
            year, _, month, day, hour, minute, second = match.groups(default="0")
            clock = (int(hour), int(minute), int(second))
            try:
                return datetime(int(year), int(month), int(day), *clock, tzinfo=UTC)
            except ValueError:  # such as 20200231: a number, not a date
                continue
        return None
    hit = _regex(pattern).search(text)
    if hit is None:
        return None
    found = hit.groupdict().get("date") or (hit.group(1) if hit.re.groups else hit.group())
    try:
        if "%" in pattern:
            return datetime.strptime(found, pattern).replace(tzinfo=UTC)
        digits = re.sub(r"\D", "", found)
        form = _BY_DIGITS.get(len(digits))
        return datetime.strptime(digits, form).replace(tzinfo=UTC) if form else None
    except ValueError:
        return None


def _regex(pattern: str) -> re.Pattern[str]:
    if "%" not in pattern:
        return re.compile(pattern)
    parts = re.split(r"%(.)", pattern)
    out = re.escape(parts[0])
    for directive, literal in zip(parts[1::2], parts[2::2], strict=True):
        if directive not in _DIRECTIVES:
            raise re.error(f"%{directive} is not one of {', '.join('%' + d for d in _DIRECTIVES)}")
        out += rf"\d{{{_DIRECTIVES[directive]}}}" + re.escape(literal)
    return re.compile(f"({out})")
