"""From what the catalogue lists to items: images of the wide swath, each acquisition once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from m3leo_prep.core.errors import SourceError
from m3leo_prep.core.raster import Item, Slot
from m3leo_prep.sources._backscatter import POLARISATIONS, Band
from m3leo_prep.sources.stac.passes import dated, direction, track

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from m3leo_prep.sources.stac.found import Found

_NAME = re.compile(
    r"(?P<platform>S1[A-Z])_IW_GRDH_1S(?P<seen>[SD][HV])_(?P<start>\d{8}T\d{6})_(?P<stop>\d{8}T\d{6})_(?P<orbit>\d{6})_"
    r"(?P<datatake>[0-9A-F]{6})_(?:[0-9A-F]{4})?(?P<cog>_COG)?(?:\.SAFE)?"
)
"""https://sentiwiki.copernicus.eu/web/s1-products, "Naming convention". The four digits are of the files' content: the
copy as COG has others than the product that it was made of."""
_ASSETS = {
    "annotation": "schema-product-{}",
    "calibration": "schema-calibration-{}",
    "noise": "schema-noise-{}",
    "measurement": "{}",
}
"""By part of the SAFE, its asset in the catalogue (https://stac.dataspace.copernicus.eu/v1, sentinel-1-grd)."""


def find_images(
    bands: Sequence[Band], tracks: Sequence[int], area: BaseGeometry, slots: Sequence[Slot]
) -> Iterator[Item]:
    """Yield the images that meet ``area`` in any slot, in order of time and name, each acquisition once.

    Most are in the archive twice, as ESA delivers them and as a COG: the COG is taken, of which windows can be read.

    Args:
        bands: of the layer: only images seen from their directions.
        tracks: relative orbits that are wanted; none = all.
        area: lon/lat.
        slots: with times.

    Raises:
        ConfigError: a slot without times.
        TriedOut, RateLimited, SourceError: from the catalogue.
    """
    from m3leo_prep.sources.stac.catalogues import CDSE, catalogue
    from m3leo_prep.sources.stac.search import search

    where = catalogue(CDSE)
    found: dict[str, Found] = {}
    for start, end in dated(slots):
        found |= {one.id: one for one in search(where, [where.collection("s1-grd")], area, start, end)}
    yield from images(list(found.values()), bands, tracks, slots)


def images(
    found: Sequence[Found], bands: Sequence[Band], tracks: Sequence[int], slots: Sequence[Slot]
) -> Iterator[Item]:
    """Yield as items what ``find_images`` yields of what was found; arguments as there."""
    ways = {band.direction for band in bands}
    seen = [
        one
        for one in found
        if direction(one) in ways
        and (not tracks or track(one) in tracks)
        and any(slot.contains(one.start) for slot in slots)
    ]
    for one, copies in once(seen):
        yield described(one, copies)


def once(found: Sequence[Found]) -> Iterator[tuple[Found, int]]:
    """Yield of each image the copy to be read, with how many others there are, by start and name; no other products.

    A COG comes before the product that it was made of, then what was processed last.
    """
    groups: dict[tuple[str, ...], list[tuple[bool, str, str, Found]]] = {}
    for one in found:
        name = _NAME.fullmatch(one.id)
        if name is not None:
            rank = name["cog"] is not None, str(one.properties.get("processing:datetime") or ""), one.id, one
            key = name.group("platform", "seen", "start", "stop", "orbit", "datatake")
            groups.setdefault(key, []).append(rank)
    chosen = [(max(group, key=lambda rank: rank[:3])[3], len(group) - 1) for group in groups.values()]
    yield from sorted(chosen, key=lambda pair: (str(pair[0].start), pair[0].id))


def described(found: Found, copies: int) -> Item:
    """Return an image as an item.

    Raises:
        SourceError: the catalogue does not tell where its files are.
    """
    name = _NAME.fullmatch(found.id)
    assert name is not None
    folder, nodes = _folder(found)
    paths = _paths(found, folder)
    has = [one.upper() for one in POLARISATIONS if f"path_measurement_{one.upper()}" in paths]
    said, version = found.properties, ipf(found)
    return Item(
        id=found.id,
        footprint=found.footprint,
        version=_version(found),
        datetime=found.start,
        # A data take is one sweep of the antenna: its slices share its number, and no other pass of the mission has it.
        acquisition=f"{name['platform']}-{name['datatake']}",
        properties={
            "relative_orbit": track(found),
            "orbit_direction": direction(found),
            "platform": name["platform"],
            "polarisations": " ".join(has),
            "datatake": name["datatake"],
            "is_cog": int(name["cog"] is not None),
            **({"product_version": version} if version else {}),
            **(
                {"timeliness": str(said["product:timeliness_category"])}
                if "product:timeliness_category" in said
                else {}
            ),
            **({"other_copies": copies} if copies else {}),
            "folder": folder,
            **({"nodes": nodes} if nodes else {}),
            **paths,
            **{f"size_{one}": int(found.assets[one.lower()].properties.get("file:size") or 0) for one in has},
        },
    )


def ipf(found: Found) -> str:
    """Return the version of ESA's processor as the catalogue tells it, ``3.31``; nothing if it does not.

    For the record only: what is done to pixels follows the product's manifest.
    """
    said = re.fullmatch(r"0*(\d+)\.(\d+)", str(found.properties.get("processing:version", "")))
    # Versions below 2 are of no product in the archive, but of programs that copied it.
    return f"{said[1]}.{said[2]}" if said and int(said[1]) >= 2 else ""


def _folder(found: Found) -> tuple[str, str]:
    """Return where the SAFE lies, and its product's address by https if the catalogue tells one."""
    for asset in found.assets.values():
        folder, inside, _ = asset.href.partition(".SAFE/")
        if inside:
            other = str(asset.properties.get("alternate", {}).get("https", {}).get("href", ""))
            nodes, told, _ = other.partition("/Nodes(")
            return f"{folder}.SAFE", nodes if told else ""
    raise SourceError("the catalogue does not tell where the files of this product are", where=found.id)


def _paths(found: Found, folder: str) -> Mapping[str, str]:
    """Return ``path_noise_VV`` -> path in the SAFE, of each file that the catalogue names."""
    kept: dict[str, str] = {}
    for polarisation in POLARISATIONS:
        for part, named in _ASSETS.items():
            asset = found.assets.get(named.format(polarisation))
            if asset is not None and asset.href.startswith(f"{folder}/"):
                kept[f"path_{part}_{polarisation.upper()}"] = asset.href.removeprefix(f"{folder}/")
    return kept


def _version(found: Found) -> str:
    """Return what changes when a file of the product does, and not when it moves to another host."""
    stamps = [
        (name, asset.properties.get("file:size"), asset.properties.get("file:checksum"))
        for name, asset in sorted(found.assets.items())
        if asset.properties.get("file:checksum") or asset.properties.get("file:size")
    ]
    return hashlib.sha256(repr((found.id, stamps)).encode()).hexdigest()[:16]
