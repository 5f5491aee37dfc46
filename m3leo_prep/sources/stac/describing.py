"""What an item of a catalogue becomes: the properties that are kept, what is one acquisition, and what it declares."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from m3leo_prep.core.errors import SourceError
from m3leo_prep.sources._scenes import Declared
from m3leo_prep.sources.stac.found import Asset, Found

KEPT: Mapping[str, str] = MappingProxyType(
    {
        "platform": "platform",
        "sat:orbit_state": "orbit_direction",
        "sat:relative_orbit": "relative_orbit",
        "s2:processing_baseline": "processing_baseline",
        "processing:version": "processing_version",
        "eo:cloud_cover": "cloud_cover",
    }
)
"""Properties of a catalogue's items that ours keep, by their names there."""
_PASS = ("s2:datatake_id", "s1:datatake_id", "sat:absolute_orbit")
"""What tiles and slices of one pass of a satellite share, first found."""
_SIGNED = re.compile(
    r"(^|&)((x-(amz|goog)-)?sig(nature)?|([\w-]+[_-])?(token|api_?key|jwt|secret|password)|"
    r"(access|subscription|[\w-]+-subscription)?[_-]?key|auth|authorization)=",
    re.IGNORECASE,
)


def about(found: Found) -> dict[str, str | int | float]:
    """Return the properties that an item of ours keeps, by our names."""
    values = {name: found.properties.get(key) for key, name in KEPT.items()}
    return {name: value for name, value in values.items() if isinstance(value, (str, int, float))}


def acquisition(found: Found) -> str:
    """Return what the items of one pass of a satellite share; empty if the item does not say."""
    said = next((str(found.properties[key]) for key in _PASS if found.properties.get(key)), "")
    return f"{found.properties.get('platform') or ''} {said}".strip() if said else ""


def version(found: Found, assets: Iterable[Asset]) -> str:
    """Return what changes when the pixels of some assets may have changed."""
    files = [[one.href, one.properties.get("file:size"), one.properties.get("file:checksum")] for one in assets]
    text = json.dumps([files, found.properties.get("updated")], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_href(asset: Asset, where: str) -> str:
    """Return the address of an asset, which will be kept in the dataset.

    Raises:
        SourceError: it holds a signature or a key: those expire, and are secrets.
    """
    link = urlsplit(asset.href)
    if _SIGNED.search(link.query) or link.username or link.password:
        raise SourceError(
            "an address is signed, or holds a key",
            where=where,
            hint="catalogues whose links open without one can be used; such addresses expire, and would be kept",
        )
    return asset.href


def https(asset: Asset) -> str:
    """Return the address by https that stands beside that of an object store (extension "alternate"); or nothing."""
    other = str(((asset.properties.get("alternate") or {}).get("https") or {}).get("href") or "")
    return other if asset.href.startswith("s3://") and other.startswith("https://") else ""


def declared(asset: Asset, band: int | str | None) -> Declared:
    """Return what an item says of the numbers of one band of an asset.

    By the raster extension in STAC 1.0 (``raster:bands``), the common metadata of 1.1 (``bands``), or for the asset as
    a whole.

    Args:
        asset: the asset.
        band: number (from 1) or name; None = the only one.
    """
    whole = asset.properties
    some = whole.get("raster:bands") or whole.get("bands") or ()
    own: Mapping[str, Any] = {}
    if isinstance(band, str):
        named = whole.get("bands") or whole.get("eo:bands") or ()
        at = next((k for k, one in enumerate(named) if one.get("name") == band), len(some))
    else:
        at = (band or 1) - 1
    if at < len(some):
        own = some[at]
    return Declared(*(_number(own, whole, key) for key in ("scale", "offset", "nodata")))


def _number(own: Mapping[str, Any], whole: Mapping[str, Any], key: str) -> float | None:
    for table in (own, whole):
        for name in (key, f"raster:{key}"):
            value = table.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value)
            if isinstance(value, str) and value in {"nan", "inf", "-inf"}:  # as JSON has to write them
                return float(value)
    return None
