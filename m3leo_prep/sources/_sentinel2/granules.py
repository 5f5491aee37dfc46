"""From what a catalogue lists to items: one for each tile of a data take, in its newest processing."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.sources._sentinel2.bands import BANDS
from m3leo_prep.sources._sentinel2.baselines import QUANTIFICATION, baseline_of, has_offset
from m3leo_prep.sources._sentinel2.choice import AEROSOL, CLOUDY, SCL, VAPOUR, Choice

if TYPE_CHECKING:
    from m3leo_prep.sources.stac.found import Asset, Found

LONGEST = timedelta(hours=1)
"""A data take is shorter. Its tiles are dated by when it began, some catalogues date them by when each was seen."""
METADATA = "MTD"
"""The product's own metadata, beside its rasters."""
PROBE = BANDS[0].code
"""Coastal aerosol: the smallest file of a band (60 m), and dark over plants, water and shadow. It is asked where the
catalogue's word on the offset is doubted."""
APPLIED = "earthsearch:boa_offset_applied"
"""Of Earth Search: the offset is not in the files any more."""
HARMONISED = "sentinel-2-l2a"
"""Its collection of which that is said of too few images (https://github.com/Element84/earth-search/issues/66 and /71;
https://github.com/cirrus-geo/cirrus-earth-search/issues/33). ``sentinel-2-c1-l2a`` keeps the product's own numbers."""
_COMMON = {"swir1": "swir16", "swir2": "swir22"}
"""Names that Earth Search and stactools give to bands, where they differ from ours."""
_ASSETS: Mapping[str, tuple[str, ...]] = {
    **{band.code: (f"{band.code}_{band.pitch}m", band.code, _COMMON.get(band.name, band.name)) for band in BANDS},
    SCL: ("SCL_20m", "SCL", "scl"),
    AEROSOL: ("AOT_20m", "AOT", "aot"),
    VAPOUR: ("WVP_20m", "WVP", "wvp"),
    CLOUDY: ("CLDPRB_20m", "MSK_CLDPRB_20m", "cloud"),
    METADATA: ("product_metadata", "product-metadata"),
}
"""By file, the names of its asset: of the Data Space, Planetary Computer, Earth Search."""
_NAME = re.compile(
    r"(?P<platform>S2[A-Z])_MSIL(?:1C|2A)_(?P<start>\d{8}T\d{6})_(?:N\d{4}_)?R(?P<orbit>\d{3})_T(?P<tile>\d{2}[A-Z]{3})_"
)
"""Of a product (https://sentiwiki.copernicus.eu/web/s2-products, "Naming convention"); one catalogue drops the N."""
_PROBABILITY = "QI_DATA/MSK_CLDPRB_20m.jp2"
"""In a granule's folder; the Data Space's items do not list it."""


@dataclass(frozen=True, slots=True)
class _Granule:
    found: Found
    baseline: str
    datatake: str
    tile: str
    began: datetime | None


def spans(slots: Sequence[Slot], what: str) -> list[tuple[datetime, datetime]]:
    """Return the times in which catalogues may date what fills some slots, in order, those that touch as one.

    Raises:
        ConfigError: a slot without times.
    """
    times: list[tuple[datetime, datetime]] = []
    for slot in slots:
        if slot.start is None or slot.end is None:
            raise ConfigError(f"{what} has images every few days: say of which time", hint="slots: {months: 2020}")
        times.append((slot.start, slot.end + LONGEST))
    merged: list[tuple[datetime, datetime]] = []
    for start, end in sorted(times):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def items_of(listed: Iterable[Found], choice: Choice, slots: Sequence[Slot]) -> Iterator[Item]:
    """Yield the images that fill any slot, in order of time and name: of several processings, the newest.

    ``older_versions`` of an item are those that were left out for it.

    Raises:
        SourceError: an image whose processing baseline nobody can tell.
    """
    granules = [_granule(found) for found in {found.id: found for found in listed}.values()]
    seen = [one for one in granules if any(slot.contains(one.began) for slot in slots)]
    chosen = [(one, older) for one, older in newest(seen) if not _is_cloudy(one.found, choice.clouds.max_cloud)]
    for one, older in sorted(
        chosen, key=lambda pair: (pair[0].began or datetime.max.replace(tzinfo=UTC), pair[0].found.id)
    ):
        yield _item(one, older, choice)


def newest(granules: Sequence[_Granule]) -> Iterator[tuple[_Granule, int]]:
    """Yield those to be used, each with how many others of the same data take and tile it stands for.

    Of several processings the highest baseline is taken. A tile may come in two parts, where a data strip ends: with
    the same baseline both are kept; of one part that is there twice, what was processed last.
    """
    groups: dict[tuple[str, str], list[_Granule]] = {}
    for one in granules:
        groups.setdefault((one.datatake, one.tile), []).append(one)
    for group in groups.values():
        highest = max(one.baseline for one in group)
        parts: dict[str, _Granule] = {}
        for one in sorted(group, key=lambda one: (_processed(one.found), one.found.id)):
            if one.baseline == highest:
                parts[_strip(one.found)] = one
        for number, one in enumerate(parts.values()):
            yield one, 0 if number else len(group) - len(parts)


def _granule(found: Found) -> _Granule:
    said = found.properties
    name = _NAME.match(str(said.get("s2:product_uri") or found.id))
    taken = re.match(r"G(S2[A-Z])_(\d{8}T\d{6})_", _said(said, "eopf:datatake_id", "s2:datatake_id"))
    platform, start = taken.groups() if taken else (name["platform"], name["start"]) if name else ("", "")
    began = datetime.strptime(start, "%Y%m%dT%H%M%S").replace(tzinfo=UTC) if start else found.start
    tile = _said(said, "grid:code", "s2:mgrs_tile").removeprefix("MGRS-").removeprefix("T") or (
        name["tile"] if name else ""
    )
    return _Granule(
        found,
        baseline_of(found.id, said),
        f"{platform}_{start}" if start else found.id,
        tile.rjust(5, "0") if tile else found.id,
        began,
    )


def _item(one: _Granule, older: int, choice: Choice) -> Item:
    found, said = one.found, one.found.properties
    name = _NAME.match(str(said.get("s2:product_uri") or found.id))
    orbit = said.get("sat:relative_orbit") or (int(name["orbit"]) if name else None)
    cloud = _cloud(found)
    doubtful = said.get(APPLIED) is False and found.collection == HARMONISED and has_offset(one.baseline)
    return Item(
        id=found.id,
        footprint=found.footprint,
        version=_version(one),
        datetime=one.began,
        acquisition=one.datatake,
        properties={
            "processing_baseline": one.baseline,
            "datatake": one.datatake,
            "tile": one.tile,
            **({"relative_orbit": int(orbit)} if orbit else {}),
            **({"cloud_cover": cloud} if cloud is not None else {}),
            **({"older_versions": older} if older else {}),
            **({"offset_taken_away": 1} if said.get(APPLIED) else {}),
            **({"offset_doubtful": 1} if doubtful else {}),
            **_stated(found, choice),
            **_files(found, (*choice.files, METADATA, *((PROBE, SCL) if doubtful else ()))),
        },
    )


def _files(found: Found, files: Sequence[str]) -> dict[str, str | int]:
    """Return where some files lie, and their bytes where the catalogue tells."""
    kept: dict[str, str | int] = {}
    for file in dict.fromkeys(files):
        asset = _asset(found, file)
        if asset is not None:
            kept[f"url_{file}"] = asset.href
            kept[f"size_{file}"] = int(asset.properties.get("file:size") or 0)
    if CLOUDY in files and f"url_{CLOUDY}" not in kept:
        folder = next((folder for folder in map(_folder, found.assets.values()) if folder), "")
        if folder:
            kept[f"url_{CLOUDY}"] = f"{folder}/{_PROBABILITY}"
    return kept | _nodes(found)


def _asset(found: Found, file: str) -> Asset | None:
    return next((found.assets[name] for name in _ASSETS[file] if name in found.assets), None)


def _folder(asset: Asset) -> str:
    """Return the folder of the granule in a product as ESA delivers it; empty if the file lies in none."""
    folder, inside, _ = asset.href.rpartition("/IMG_DATA/")
    return folder if inside and ".SAFE/GRANULE/" in folder and asset.href.endswith(".jp2") else ""


def _nodes(found: Found) -> dict[str, str]:
    """Return the root of the product by https, where the catalogue names one beside the object store's address."""
    for asset in found.assets.values():
        other = str(asset.properties.get("alternate", {}).get("https", {}).get("href", ""))
        root, inside, _ = other.partition("/Nodes(")
        if inside and asset.href.startswith("s3://"):
            return {"nodes": root}
    return {}


def _stated(found: Found, choice: Choice) -> dict[str, str]:
    """Return the radiometric offsets that the item itself states of bands, in units of the numbers: ``-1000``."""
    stated = set()
    for asset in (_asset(found, band.code) for band in choice.bands):
        said = {} if asset is None else {**_first_band(asset), **asset.properties}
        offset, scale = (said.get(f"raster:{key}", said.get(key)) for key in ("offset", "scale"))
        if isinstance(offset, (int, float)):
            stated.add(offset / scale if isinstance(scale, (int, float)) and scale else offset * QUANTIFICATION)
    return {"stated_offset": " ".join(f"{offset:g}" for offset in sorted(stated))} if stated else {}


def _first_band(asset: Asset) -> Mapping[str, Any]:
    listed = asset.properties.get("raster:bands") or asset.properties.get("bands") or ()
    return listed[0] if listed else {}


def _version(one: _Granule) -> str:
    """Return what changes when a raster of the image or its meaning does, and not when it moves to another host."""
    found = one.found
    stamps = [
        (name, asset.properties.get("file:size"), asset.properties.get("file:checksum"))
        for name, asset in sorted(found.assets.items())
        if asset.properties.get("file:checksum") or asset.properties.get("file:size")
    ]
    made = (one.baseline, _processed(found), found.properties.get(APPLIED), stamps)
    return hashlib.sha256(repr(made).encode()).hexdigest()[:16]


def _processed(found: Found) -> str:
    return _said(found.properties, "processing:datetime", "s2:generation_time", "created")


def _strip(found: Found) -> str:
    """Return when the data strip's sensing began, or where the image lies if nothing tells."""
    named = re.search(r"_S(\d{8}T\d{6})_", _said(found.properties, "eopf:datastrip_id", "s2:datastrip_id"))
    return named[1] if named else str(found.footprint.wkt)


def _is_cloudy(found: Found, most: float | None) -> bool:
    cloud = _cloud(found)
    return most is not None and cloud is not None and cloud > most


def _cloud(found: Found) -> float | None:
    """Return percent of cloud, None where the catalogue does not tell."""
    cloud = found.properties.get("eo:cloud_cover")
    return float(cloud) if isinstance(cloud, (int, float)) and math.isfinite(cloud) else None


def _said(properties: Mapping[str, Any], *keys: str) -> str:
    return next((str(properties[key]) for key in keys if properties.get(key)), "")
