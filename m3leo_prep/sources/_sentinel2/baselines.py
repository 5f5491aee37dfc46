"""Processing baselines, and what a stored number means by them.

Reflectance = (number + offset) / quantification; number 0 is no data, 65535 is saturated. Since baseline 04.00 the
offset is -1000, before there was none (https://sentiwiki.copernicus.eu/web/s2-products, "Level-2A"). Old scenes were
processed again with newer baselines: the date of a scene says nothing of its offset, and is never asked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree as ET

from m3leo_prep.core.errors import CorruptError, SourceError
from m3leo_prep.sources._sentinel2.bands import BANDS, Band, Level

NODATA = 0
"""As the metadata's ``Special_Values`` say."""
HIGHEST = 2**15 - 1
"""Numbers above it are no reflectance: 65535 is saturated, and some copies hold what wrapped around below 0
(https://github.com/Element84/earth-search/issues/78)."""
FIRST_WITH_OFFSET = "04.00"
OFFSET = -1000.0
"""Of every band so far; the metadata's own numbers go first."""
QUANTIFICATION = 10_000.0
FINE = 1000.0
"""Quantification of aerosol optical thickness, and of water vapour in cm."""

_PROPERTIES = ("processing:version", "s2:processing_baseline", "processing:baseline")
_NAMES = ("s2:product_uri",)
_DATATAKES = ("eopf:datatake_id", "s2:datatake_id")


@dataclass(frozen=True, slots=True)
class Radiometry:
    """What the numbers of one image mean."""

    offsets: tuple[float, ...]
    """By number of the band."""
    quantification: float = QUANTIFICATION
    aerosol: float = FINE
    vapour: float = FINE

    def taken_away(self) -> Radiometry:
        """Return the same for files from whose numbers the offset has been taken already."""
        return replace(self, offsets=(0.0,) * len(self.offsets))

    def offset(self, band: Band) -> float:
        """Return what is added to a band's numbers."""
        return self.offsets[band.number]


def baseline_of(name: str, properties: Mapping[str, Any]) -> str:
    """Return the processing baseline of an item, such as ``05.09``.

    It is taken from the item's property, else from the product's name, else from the identifier of its data take;
    never from a date.

    Raises:
        SourceError: nothing says it, or property and name say two.
    """
    said = next((_plain(properties[key]) for key in _PROPERTIES if properties.get(key)), "")
    product = next((str(properties[key]) for key in _NAMES if properties.get(key)), name)
    found = re.search(r"_N(\d\d)(\d\d)_", product)
    named = f"{found[1]}.{found[2]}" if found else ""
    if said and named and said != named:
        raise SourceError(
            f"its property says processing baseline {said}, its name ({product}) says {named}",
            where=name,
            hint="nobody can tell its radiometric offset: report it to the catalogue",
        )
    if said or named:
        return said or named
    taken = (re.search(r"_N(\d\d\.\d\d)$", str(properties.get(key, ""))) for key in _DATATAKES)
    last = next((match[1] for match in taken if match), "")
    if not last:
        raise SourceError(
            "nothing says its processing baseline: neither a property "
            f"({', '.join(_PROPERTIES)}) nor its name nor its data take",
            where=name,
            hint="without it nobody can tell the radiometric offset; the date of a scene does not say it",
        )
    return last


def _plain(value: Any) -> str:
    """Return ``05.09`` for the ways in which catalogues write it."""
    text = f"{value:05.2f}" if isinstance(value, float) else str(value)
    found = re.fullmatch(r"(\d{1,2})\.(\d{1,2})", text)
    return f"{int(found[1]):02}.{found[2]:<02}" if found else ""


def has_offset(baseline: str) -> bool:
    """Return whether images of a baseline have an offset."""
    return baseline >= FIRST_WITH_OFFSET


def by_baseline(baseline: str, stated: Collection[float], *, taken_away: bool, where: str) -> Radiometry:
    """Return the meaning of an image's numbers where only the catalogue tells.

    Args:
        baseline: of the image.
        stated: the offsets that the catalogue states, in units of the numbers; empty = it states none.
        taken_away: the catalogue says that the offset is not in the files any more.
        where: for messages.

    Raises:
        CorruptError: the stated offset is not that of the baseline.
    """
    expected = OFFSET if has_offset(baseline) else 0.0
    radiometry = Radiometry((expected,) * len(BANDS))
    check_stated(radiometry, stated, f"processing baseline {baseline}", taken_away=taken_away, where=where)
    return radiometry.taken_away() if taken_away else radiometry


def check_stated(own: Radiometry, stated: Collection[float], of: str, *, taken_away: bool, where: str) -> None:
    """Raise CorruptError if a catalogue states other offsets than an image has, before any was taken away.

    Args:
        own: what the image has.
        stated: by the catalogue, in units of the numbers; empty = it states none.
        of: where ``own`` comes from, for the message.
        taken_away: the catalogue says that the offset is not in the files any more.
        where: for messages.
    """
    # Some catalogues go on stating the product's own offset when they have taken it away, others state 0.
    allowed = {*own.offsets, 0.0} if taken_away else set(own.offsets)
    if not set(stated) <= allowed:
        said, has = (" and ".join(f"{offset:g}" for offset in sorted(set(some))) for some in (stated, own.offsets))
        raise CorruptError(
            f"the catalogue states a radiometric offset of {said}, {of} has {has}",
            where=where,
            hint="nobody can tell which is right: report it to the catalogue",
        )


def by_metadata(xml: bytes, level: Level, baseline: str, *, where: str) -> Radiometry:
    """Return the meaning of an image's numbers as its ``MTD_MSIL2A.xml`` or ``MTD_MSIL1C.xml`` says.

    Args:
        xml: the file.
        level: of the product.
        baseline: as the catalogue says it.
        where: for messages.

    Raises:
        CorruptError: it is no such file, is of another baseline, or its offsets are not those of its baseline.
    """
    try:
        root = ET.fromstring(xml)  # noqa: S314  expat itself refuses entities that expand without end
    except ET.ParseError as error:
        raise CorruptError(f"the metadata is no XML ({error})", where=where) from error
    own = _first(root, "PROCESSING_BASELINE")
    if own is None:
        raise CorruptError("the metadata says no processing baseline", where=where)
    if own != baseline:
        raise CorruptError(
            f"the catalogue says processing baseline {baseline}, the product's metadata says {own}", where=where
        )
    prefix = "BOA" if level == "2A" else "RADIO"
    plain = "QUANTIFICATION_VALUE" if level == "1C" else "BOA_QUANTIFICATION_VALUE"
    listed = {
        int(element.get("band_id", -1)): _number(element.text, where)
        for element in root.iter()
        if _tag(element) == f"{prefix}_ADD_OFFSET"
    }
    offsets = tuple(listed.get(number, 0.0) for number in range(len(BANDS)))
    if has_offset(own) != any(offsets) or (listed and not set(range(len(BANDS))) <= set(listed)):
        raise CorruptError(
            f"processing baseline {own} {'has' if has_offset(own) else 'has no'} radiometric offsets, "
            f"the product's metadata lists {sorted(set(listed.values())) or 'none'} for {len(listed)} bands",
            where=where,
            hint="nobody can tell which is right: leave the image out",
        )
    return Radiometry(
        offsets,
        _number(_first(root, plain, f"L2A_{plain}"), where),
        _number(_first(root, "AOT_QUANTIFICATION_VALUE", "L2A_AOT_QUANTIFICATION_VALUE") or FINE, where),
        _number(_first(root, "WVP_QUANTIFICATION_VALUE", "L2A_WVP_QUANTIFICATION_VALUE") or FINE, where),
    )


def _tag(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _first(root: ET.Element, *tags: str) -> str | None:
    """Return the text of the first element with one of some names."""
    return next((str(element.text).strip() for element in root.iter() if _tag(element) in tags), None)


def _number(text: str | float | None, where: str) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise CorruptError(f"the metadata holds '{text or ''}' where a number belongs", where=where) from error
