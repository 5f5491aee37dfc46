"""Ground that goes to a split whole: the areas of a ``region`` policy, the units of an ``admin`` one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.polygons import geodesic_km2
from m3leo_prep.core.recipe import AdminModel
from m3leo_prep.core.splits.policy import LEARNED, Regions, Split
from m3leo_prep.pipeline.area_files import SUFFIXES
from m3leo_prep.pipeline.areas import load_area
from m3leo_prep.pipeline.proportions.admin import read_disjoint

OVERLAP_TOLERANCE = 1e-4
"""Share of the smaller area that neighbours may overlap by: outlines of one border drawn by two hands."""


def load_regions(given: Mapping[str, str | Sequence[str]], base: Path) -> tuple[Regions, str]:
    """Return the areas of a ``region`` policy and what they were read from.

    Args:
        given: what ``--aoi`` takes, by split; files relative to ``base``.
        base: folder of the recipe.

    Raises:
        ConfigError: an area that cannot be read, or two of different splits that overlap.
    """
    names: list[str] = []
    homes: list[Split] = []
    polygons: list[BaseGeometry] = []
    for split, texts in given.items():
        for text in [texts] if isinstance(texts, str) else texts:
            is_file = Path(text).suffix.lower() in SUFFIXES
            area = load_area(str(base / Path(text).expanduser()) if is_file else text, yes=True)
            names.append(area.name)
            homes.append(Split[split.upper()])
            polygons.append(area.geometry)
    shapes = np.empty(len(polygons), object)
    shapes[:] = polygons
    regions = Regions(tuple(names), np.array(homes, np.uint8), shapes)
    _check_apart(regions)
    told = ", ".join(f"{home.name.lower()}={name}" for home, name in zip(homes, names, strict=True))
    return regions, f"{told} sha256:{_digest(shapes)}"


def load_units(admin: AdminModel, base: Path, shares: Mapping[str, float], seed: int) -> tuple[Regions, str]:
    """Return the units of an ``admin`` policy, each in one split, and what they were read from.

    Units are taken from the largest class of area down (factors of two), in an order inside it that the seed and the
    unit's id decide; each goes to the split that lacks most of its share of the land of all units. So the shares hold
    as nearly as units allow, and depend on the file alone: growth of an area gives no unit to another split.

    Args:
        admin: the recipe's file of units.
        base: folder that its path starts from.
        shares: of the land, by split.
        seed: of the order.

    Raises:
        ConfigError: the file cannot be read, its units overlap, or they are fewer than the splits.
    """
    names, shapes, _ = read_disjoint(admin, base)
    units: dict[str, BaseGeometry] = dict(zip(names, shapes.tolist(), strict=True))
    wanted = [split for split in LEARNED if shares.get(split.name.lower(), 0) > 0]
    areas = {name: geodesic_km2(polygon) for name, polygon in units.items()}
    # A unit that is a mere line fills no split.
    solid = [name for name, area in areas.items() if area > 0]
    if len(solid) < len(wanted):
        raise ConfigError(
            f"{len(solid)} administrative units cannot fill {len(wanted)} splits",
            where=f"admin {admin.path}",
            hint="give a file of smaller units, or another policy",
        )
    order = sorted(solid, key=lambda name: (-np.floor(np.log2(areas[name])), _hash(seed, name), name))
    lacking = {split: shares[split.name.lower()] * sum(areas.values()) for split in wanted}
    homes = dict.fromkeys(names, wanted[0])
    filled: set[Split] = set()
    for left, name in zip(range(len(order), 0, -1), order, strict=True):
        empty = [split for split in wanted if split not in filled]
        among = empty if len(empty) == left else wanted  # the last units go where there is none yet
        homes[name] = max(among, key=lambda split: lacking[split])
        lacking[homes[name]] -= areas[name]
        filled.add(homes[name])
    regions = Regions(tuple(names), np.array([homes[name] for name in names], np.uint8), shapes)
    return regions, f"{Path(admin.path).name} column {admin.id} sha256:{_digest(shapes, names)}"


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()


def _digest(polygons: NDArray[np.object_], names: Sequence[str] = ()) -> str:
    digest = hashlib.sha256("\x00".join(names).encode())
    for wkb in shapely.to_wkb(polygons, byte_order=1):
        digest.update(wkb)
    return digest.hexdigest()


def _check_apart(regions: Regions) -> None:
    first, second = shapely.STRtree(regions.polygons).query(regions.polygons, predicate="intersects")
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        if i < j and regions.homes[i] != regions.homes[j]:
            shared = geodesic_km2(shapely.intersection(regions.polygons[i], regions.polygons[j]))
            smaller = min(geodesic_km2(regions.polygons[k]) for k in (i, j))
            if shared > OVERLAP_TOLERANCE * smaller:
                one, other = (f"'{regions.names[k]}' ({Split(regions.homes[k]).name.lower()})" for k in (i, j))
                raise ConfigError(
                    f"the areas {one} and {other} overlap by {shared:,.4g} km2",
                    where="splits.regions",
                    hint="a place can lie in one split only: give areas that do not overlap",
                )
