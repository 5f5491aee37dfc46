"""Reading the XML files of a SAFE: what is missing or no number is told by file and tag."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import CorruptError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SECOND = timedelta(seconds=1)


def parse(data: bytes, where: str) -> Element:
    """Return the root of a file.

    Raises:
        CorruptError: it is no XML, or cut short.
    """
    # Entities that grow without end are refused by expat 2.4.1 and newer, which every Python since 3.11 comes with.
    from xml.etree.ElementTree import ParseError, fromstring

    try:
        return fromstring(data)  # noqa: S314  see above
    except ParseError as error:
        raise CorruptError(f"is no whole XML file ({error})", where=where) from None


def text(node: Element, path: str, where: str) -> str:
    """Return the text of a tag below ``node``.

    Raises:
        CorruptError: there is no such tag, or nothing in it.
    """
    found = (node.findtext(path) or "").strip()
    if not found:
        raise CorruptError(f"has no <{path}>", where=where)
    return found


def several(node: Element, path: str, where: str) -> list[Element]:
    """Return the tags of a path below ``node``, in order.

    Raises:
        CorruptError: there is none.
    """
    found = node.findall(path)
    if not found:
        raise CorruptError(f"has no <{path}>", where=where)
    return found


def number(node: Element, path: str, where: str) -> float:
    """Return a finite number.

    Raises:
        CorruptError: there is none.
    """
    return float(numbers(node, path, where)[0])


def numbers(node: Element, path: str, where: str) -> NDArray[np.float64]:
    """Return a list of finite numbers, one at least.

    Raises:
        CorruptError: there is none, or something else.
    """
    said = text(node, path, where)
    try:
        found = np.array(said.split(), np.float64)
    except ValueError:
        found = np.empty(0)
    if not found.size or not np.isfinite(found).all():
        raise CorruptError(f"<{path}> is not made of numbers: {said[:40]!r}", where=where)
    return found


def time(node: Element, path: str, where: str) -> datetime:
    """Return a time, UTC without saying so, as all times in a SAFE.

    Raises:
        CorruptError: it is none.
    """
    said = text(node, path, where)
    try:
        return datetime.fromisoformat(said.removesuffix("Z"))
    except ValueError:
        raise CorruptError(f"<{path}> is no time: {said[:40]!r}", where=where) from None


def pairs(node: Element, keys: str, values: str, where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two lists of numbers that belong together, the first one rising.

    Args:
        node: which has both.
        keys: path of the first list.
        values: path of the second.
        where: name of the file.

    Raises:
        CorruptError: one is missing, they differ in length, or the first does not rise.
    """
    first, second = numbers(node, keys, where), numbers(node, values, where)
    if len(first) != len(second):
        raise CorruptError(f"has {len(second)} <{values}> for {len(first)} <{keys}>", where=where)
    if (np.diff(first) <= 0).any():
        raise CorruptError(f"<{keys}> does not rise", where=where)
    return first, second
