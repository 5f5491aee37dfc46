"""XML as the archives' files have it, built from nested calls."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

Element = ET.Element


def node(tag: str, *inside: Any, **attributes: object) -> Element:
    """Return an element of elements, or of one value: text, a number, a truth, a time, or an array of numbers."""
    made = Element(tag, {key: str(value) for key, value in attributes.items()})
    for one in inside:
        if isinstance(one, Element):
            made.append(one)
        else:
            made.text = _text(one)
            if isinstance(one, np.ndarray):
                made.set("count", str(one.size))
    return made


def listed(tag: str, elements: list[Element]) -> Element:
    """Return an element of equal ones that tells how many there are."""
    return node(tag, *elements, count=len(elements))


def written(root: Element) -> bytes:
    """Return a file's bytes."""
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="UTF-8", xml_declaration=True))


def _text(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case datetime():
            return f"{value:%Y-%m-%dT%H:%M:%S.%f}"
        case float():
            return f"{value:.15e}"
        case np.ndarray() if value.dtype.kind == "f":
            return " ".join(f"{one:.15e}" for one in value)
        case np.ndarray():
            return " ".join(str(one) for one in value)
    return str(value)
