"""From what a recipe or a command says of splits to a policy with every choice made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells
from m3leo_prep.core.recipe import AdminModel, SplitsModel
from m3leo_prep.core.splits.auto import BLOCK_PER_BUFFER, FEWEST, auto_buffer_km, choose_block_km
from m3leo_prep.core.splits.bands import bands_per_split
from m3leo_prep.core.splits.policy import Regions, Split, SplitPolicy
from m3leo_prep.core.splits.shares import validate_shares
from m3leo_prep.pipeline.splitting.files import read_listed
from m3leo_prep.pipeline.splitting.regions import load_regions, load_units

_ANY = {"policy", "seed", "stratify"}
_BUFFERED = {"buffer_km", "correlation_km", "buffer_side"}
KEYS: Mapping[str, set[str]] = {
    "none": {"policy"},
    "blocks": _ANY | _BUFFERED | {"shares", "block_km"},
    "bands": _ANY | _BUFFERED | {"shares", "block_km", "angle"},
    "admin": _ANY | _BUFFERED | {"shares"},
    "region": _ANY | _BUFFERED | {"regions"},
    "random": _ANY | {"shares", "buffer_side"},
    "geetiles": _ANY | {"shares", "buffer_side", "n_bands", "angle"},
    "file": _ANY | {"file", "buffer_side"},
}
"""Keys of ``splits:`` that each policy knows; ``buffer_side`` of the last three tells which of two chips on the same
ground yields."""
GEETILES_BANDS = 60
GEETILES_ANGLE = 0.9
"""Radians; with 60 bands, what the published splits of Europe and CONUS were made with."""


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """A policy, and what it reads from."""

    policy: SplitPolicy
    regions: Regions | None = None
    listed: Mapping[str, Split] = field(default_factory=dict)
    """Of the policy ``file``: splits by chip id."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a policy is resolved in."""

    base: Path
    """Folder that relative paths start from."""
    label_pixel_m: float
    """Coarsest pixel of any label layer; 0 without."""
    admin: AdminModel | None
    where: str
    """For messages: the recipe or the dataset."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """The policy of a dataset that is continued, and what it was resolved from."""

    policy: SplitPolicy
    model: SplitsModel


def resolve(model: SplitsModel, cells: Cells, setting: Setting, frozen: Frozen | None = None) -> Resolved:
    """Return the policy that ``model`` (not ``none``) asks for.

    Args:
        model: what is said.
        cells: all of the area's; the size of blocks is chosen by them.
        setting: what surrounds it.
        frozen: of the dataset that is continued: what was and is ``auto`` stays as it was chosen.

    Raises:
        ConfigError: keys that do not fit the policy, shares that do not sum to 1, files that cannot be used.
    """
    check_keys(model, setting.where)
    name = model.policy
    policy = SplitPolicy(name, seed=model.seed, buffer_side=model.buffer_side, stratify=model.stratify or "")
    keys = KEYS[name]
    if "shares" in keys:
        shares = {str(split): float(share) for split, share in model.shares.items()}
        validate_shares(shares)
        policy = replace(policy, shares=shares)
    if "buffer_km" in keys:
        policy = replace(policy, buffer_km=_buffer(model, cells, setting, frozen))
    match name:
        case "blocks" | "bands":
            if name == "bands":
                policy = replace(policy, angle=model.angle or 0.0)
            return Resolved(replace(policy, block_km=_block(model, policy, cells, frozen)))
        case "geetiles":
            n_bands, angle = model.n_bands or GEETILES_BANDS, GEETILES_ANGLE if model.angle is None else model.angle
            return Resolved(replace(policy, n_bands=n_bands, angle=angle))
        case "region":
            if not model.regions:
                raise ConfigError(
                    "the policy region names no region",
                    where=setting.where,
                    hint="say which area a split holds out: regions: {test: italy}, or --region test=italy",
                )
            regions, origin = load_regions({str(split): areas for split, areas in model.regions.items()}, setting.base)
            return Resolved(replace(policy, origin=origin), regions)
        case "admin":
            if setting.admin is None:
                raise ConfigError(
                    "the policy admin needs administrative units",
                    where=setting.where,
                    hint="`admin: {path: units.geojson, id: COLUMN}` in the recipe, or --admin FILE --admin-id COLUMN",
                )
            regions, origin = load_units(setting.admin, setting.base, policy.shares, policy.seed)
            return Resolved(replace(policy, origin=origin), regions)
        case "file":
            if not model.file:
                raise ConfigError(
                    "the policy file names no file",
                    where=setting.where,
                    hint="a csv with the columns chip_id and split: `file: splits.csv`, or --file splits.csv",
                )
            listed, origin = read_listed(setting.base / Path(model.file).expanduser())
            return Resolved(replace(policy, origin=origin), None, listed)
    return Resolved(policy)


def auto_buffer(cells: Cells, label_pixel_m: float, correlation_km: float | None) -> float:
    """Return the buffer in km that ``buffer_km: auto`` stands for."""
    return auto_buffer_km(math.sqrt(2) * cells.grid.cell_m, label_pixel_m, correlation_km)


def _buffer(model: SplitsModel, cells: Cells, setting: Setting, frozen: Frozen | None) -> float:
    if model.buffer_km != "auto":
        if model.correlation_km is not None:
            raise ConfigError(
                "correlation_km and buffer_km are both given",
                where=setting.where,
                hint="correlation_km is what `buffer_km: auto` is chosen by: leave one of them out",
            )
        if not (math.isfinite(model.buffer_km) and model.buffer_km >= 0):
            raise ConfigError(f"buffer_km is {model.buffer_km:g}", where=setting.where, hint="give km, 0 for none")
        return model.buffer_km
    if frozen is not None and "buffer_km" in KEYS[frozen.policy.policy]:
        before = frozen.model
        if (before.buffer_km, before.correlation_km) == (model.buffer_km, model.correlation_km):
            return frozen.policy.buffer_km
    return auto_buffer(cells, setting.label_pixel_m, model.correlation_km)


def _block(model: SplitsModel, policy: SplitPolicy, cells: Cells, frozen: Frozen | None) -> float:
    if model.block_km != "auto":
        return model.block_km
    if frozen is not None and frozen.policy.block_km is not None and frozen.model.block_km == "auto":
        return frozen.policy.block_km
    if policy.policy == "bands" and policy.buffer_km > 0:
        return _band(policy, cells)
    return choose_block_km(cells, policy.buffer_km, policy.shares, policy.seed)


def _band(policy: SplitPolicy, cells: Cells) -> float:
    """Return the width of bands in km: 16, 8 or 4 buffers, the first with ten bands in each split, else the last.

    An area has fewer bands than blocks, and a small one few: unlike few blocks they are no error.
    """
    widths = [times * policy.buffer_km for times in BLOCK_PER_BUFFER]
    wanted = np.array(validate_shares(policy.shares)) > 0
    for width in widths:
        if (bands_per_split(cells, width, policy.angle or 0.0, policy.shares, policy.seed)[wanted] >= FEWEST).all():
            return width
    return widths[-1]


def check_keys(model: SplitsModel, where: str) -> None:
    """Raise ConfigError for keys that say nothing to the policy."""
    known = KEYS[model.policy]
    given = [name for name, info in SplitsModel.model_fields.items() if getattr(model, name) != info.default]
    for name in given:
        if name not in known:
            means = "there are no splits" if model.policy == "none" else f"the policy {model.policy} has no {name}"
            knows = ", ".join(sorted(known - {"policy"})) or "nothing else"
            raise ConfigError(f"{means}", where=f"{where}, splits.{name}", hint=f"leave it out; it knows {knows}")
