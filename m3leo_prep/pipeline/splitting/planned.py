"""The splits of a plan: the policy frozen or chosen, every chip assigned, and what to warn of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.area import Area
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.grid import Cells, Grid
from m3leo_prep.core.layer import Layer
from m3leo_prep.core.plan import Plan, SourceSpec
from m3leo_prep.core.recipe import Recipe, SplitsModel
from m3leo_prep.core.splits.policy import LEARNED, Regions, Split, SplitPolicy
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.origins import open_source
from m3leo_prep.pipeline.proportions.groups import find_targets
from m3leo_prep.pipeline.resolve import resolve_layer
from m3leo_prep.pipeline.splitting.assign import assign, check_filled
from m3leo_prep.pipeline.splitting.files import check_known
from m3leo_prep.pipeline.splitting.losses import buffer_loss, told, warnings
from m3leo_prep.pipeline.splitting.resolve import KEYS, Frozen, Resolved, Setting, auto_buffer, check_keys, resolve


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """What a plan knows of its splits."""

    policy: SplitPolicy | None = None
    """None: the recipe asks for none."""
    regions: Regions | None = None
    codes: NDArray[np.uint8] | None = None
    """(chip,) ``Split`` of each of the area's cells."""
    loss: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def of(self, area_cells: Cells, cells: Cells) -> NDArray[np.uint8] | None:
        """Return (chip,) the splits of some of the area's cells."""
        return None if self.codes is None else self.codes[_places(area_cells, cells)]

    def without_buffer(self, area_cells: Cells) -> Cells:
        """Return the area's cells but those in the buffer."""
        return area_cells if self.codes is None else area_cells[self.codes != Split.BUFFER]

    def missing(self, area_cells: Cells, cells: Cells) -> tuple[str, ...]:
        """Return which splits of the area are not among the cells that a sample drew, in words."""
        codes = self.of(area_cells, cells)
        if codes is None or self.codes is None:
            return ()
        gone = [s.name.lower() for s in LEARNED if (self.codes == s).any() and not (codes == s).any()]
        return (f"the sample holds no chip of {' and '.join(gone)}: draw more",) if gone else ()


def plan_splits(
    recipe: Recipe,
    area: Area,
    cells: Cells,
    specs: Mapping[str, SourceSpec],
    *,
    base: Path,
    previous: Plan | None,
    say: Callable[[str], None],
) -> Splits:
    """Return the splits of an area.

    A dataset that is continued keeps its policy, with what was chosen for it, while the recipe asks for the same. Where
    it asks for another, that replaces the old one for every chip, and a warning says so; pixels do not depend on it.

    Args:
        recipe: what is asked.
        area: where.
        cells: all cells of the area, whatever part of them is built.
        specs: the layers' sources.
        base: folder of the recipe.
        previous: the frozen plan of the dataset that is continued.
        say: receives one line per step.

    Raises:
        ConfigError: settings that do not fit, files that cannot be used, a split without chips.
    """
    model, old = recipe.splits, None if previous is None else previous.splits
    where = f"recipe {recipe.name}"
    if model.policy == "none":
        check_keys(model, where)
        gone = (f"the recipe asks for no splits any more: those by {told(old)} are removed",) if old else ()
        return Splits(warnings=gone)
    setting = Setting(base, label_pixel(recipe, cells.grid, specs), recipe.admin, f"{where}, splits")
    _check_stratify(recipe)
    say(f"splitting {len(cells):,} chips by {model.policy}")
    resolved, notes = _continued(model, cells, setting, previous)
    if resolved.listed:
        check_known(resolved.listed, cells.ids(), area.name, resolved.policy.origin)
    made = assign(resolved, cells)
    check_filled(resolved, cells, made, area.name)
    if previous is not None and old is not None:
        if _same_splits(old, resolved.policy):
            _check_stable(previous, cells, made.split, area)
        else:
            notes = (*notes, _changed(previous, old, resolved.policy, cells, made.split))
    loss = buffer_loss(made)
    notes = (*notes, *warnings(resolved.policy, loss), *_without(resolved, made.split, area))
    return Splits(resolved.policy, resolved.regions, made.split, loss, notes)


def skips_buffer(previous: Plan | None, splits: Splits, *, skip_buffer: bool, say: Callable[[str], None]) -> bool:
    """Return whether chips in the buffer are left out: as a dataset that is continued was begun.

    Raises:
        ConfigError: there are no splits, or the dataset holds such chips already.
    """
    if previous is not None and previous.skip_buffer:
        if splits.policy is None:
            raise ConfigError(
                f"chips of '{previous.area.name}' were left out by --skip-buffer, but the recipe has no splits now",
                hint="put `splits:` back as it was, or give another --out",
            )
        if not skip_buffer:
            say("chips in the buffer are left out, as the dataset was begun with --skip-buffer")
        return True
    if not skip_buffer:
        return False
    if splits.policy is None:
        raise ConfigError(
            "--skip-buffer without splits",
            hint="write `splits: {}` into the recipe, which means blocks, or leave it away",
        )
    if previous is not None:
        raise ConfigError(
            f"the dataset of '{previous.area.name}' was begun without --skip-buffer",
            hint="leave it away, or give another --out",
        )
    return True


def label_pixel(recipe: Recipe, grid: Grid, specs: Mapping[str, SourceSpec]) -> float:
    """Return the coarsest pixel of the recipe's label layers in metres, stored or native; 0 without labels."""
    coarsest = 0.0
    for name, layer in recipe.layers.items():
        if layer.role == "label":
            info = open_source(specs[name]).describe()
            stored = resolve_layer(name, layer, info, grid, n_chips=1).pitch
            coarsest = max(coarsest, stored, info.pitch or 0.0)
    return coarsest


def _continued(
    model: SplitsModel, cells: Cells, setting: Setting, previous: Plan | None
) -> tuple[Resolved, tuple[str, ...]]:
    """Return the policy that is in force, and what to say about how it came to be."""
    old = None if previous is None else previous.splits
    if previous is None or old is None:
        return resolve(model, cells, setting), ()
    pinned = resolve(model, cells, setting, Frozen(old, previous.recipe.splits))
    if _same_splits(pinned.policy, old):
        auto = auto_buffer(cells, setting.label_pixel_m, model.correlation_km)
        if model.buffer_km == "auto" and "buffer_km" in KEYS[old.policy] and auto > old.buffer_km:
            note = (
                f"the buffer stays at {old.buffer_km:.4g} km, which the dataset was begun with, though its labels now "
                f"ask for {auto:.4g} km (write buffer_km: {auto:.4g} to split anew)"
            )
            return pinned, (note,)
        return pinned, ()
    if previous.skip_buffer:
        raise ConfigError(
            f"the chips in the buffer of the old splits ({told(old)}) were left out of this dataset, so it cannot take "
            "others",
            where=setting.where,
            hint="put the old settings back, give another --out, or add a policy beside it: m3leo-prep split",
        )
    return resolve(model, cells, setting), ()


def _same_splits(one: SplitPolicy, other: SplitPolicy) -> bool:
    """Return whether two policies give all chips the same splits: label budgets alone hang on what stratifies them."""
    return replace(one, stratify="") == replace(other, stratify="")


def _changed(previous: Plan, old: SplitPolicy, new: SplitPolicy, cells: Cells, codes: NDArray[np.uint8]) -> str:
    """Return what another policy does to the chips that are there, in words."""
    moved, there = _moved(previous, cells, codes)
    words = (told(old), told(new))
    how = " -> ".join(words) if words[0] != words[1] else f"other settings or files of {words[0]}"
    return f"{moved:,} of {there:,} chips change their split, pixels stay: {how}"


def _moved(previous: Plan, cells: Cells, codes: NDArray[np.uint8]) -> tuple[int, int]:
    """Return how many chips of a previous plan change their split, and how many of them are looked at."""
    assert previous.split is not None, "it has a policy"
    inside = np.isin(_key(previous.cells), _key(cells))  # an area that lacks some is refused later
    now = codes[_places(cells, previous.cells[inside])]
    return int((previous.split[inside] != now).sum()), len(now)


def check_stratify(recipe: Recipe, layers: Sequence[Layer]) -> None:
    """Raise ConfigError if the layer that stratifies label budgets gets no proportions of classes."""
    name = recipe.splits.stratify
    if name is None:
        return
    having = {target.layer for target in find_targets(layers, recipe.proportions) if target.what == "prop"}
    if name not in having:
        raise ConfigError(
            f"there are no label proportions of '{name}' to stratify by",
            where=f"recipe {recipe.name}, splits.stratify",
            hint=near(name, having) or "name a label layer of classes with a legend, or leave stratify out",
        )


def _check_stratify(recipe: Recipe) -> None:
    name = recipe.splits.stratify
    if name is None:
        return
    labels = [layer for layer, model in recipe.layers.items() if model.role == "label"]
    if name not in labels:
        raise ConfigError(
            f"there is no label layer '{name}'", where=f"recipe {recipe.name}, splits.stratify", hint=near(name, labels)
        )


def _check_stable(previous: Plan, cells: Cells, codes: NDArray[np.uint8], area: Area) -> None:
    """Raise ConfigError if chips that are there would change their split."""
    moved, _ = _moved(previous, cells, codes)
    if moved:
        assert previous.splits is not None, "it has a policy"
        raise ConfigError(
            f"under the policy {previous.splits.policy} {moved:,} chips of '{previous.area.name}' would change their "
            f"split with '{area.name}'",
            where="splits",
            hint="give another --out, or a policy that growth does not move: blocks, bands, region or admin",
        )


def _without(resolved: Resolved, codes: NDArray[np.uint8], area: Area) -> tuple[str, ...]:
    """Return how many chips of the area have no split, in words."""
    n = int((codes == Split.NONE).sum())
    if n == 0:
        return ()
    why = {"admin": "lie in no unit", "file": "are not in the file, or without a split there"}
    what = why.get(resolved.policy.policy, "are given to none")
    return (f"{n:,} of {len(codes):,} chips of '{area.name}' {what}: they belong to no split",)


def _places(cells: Cells, some: Cells) -> NDArray[np.int64]:
    """Return where each of some cells stands among ``cells``."""
    keys = [_key(one) for one in (cells, some)]
    order = np.argsort(keys[0], kind="stable")
    return order[np.searchsorted(keys[0], keys[1], sorter=order)]


def _key(cells: Cells) -> NDArray[np.int64]:
    """Return a number of each cell, different for different ones."""
    col, row = cells.col.astype(np.int64) + 2**20, cells.row.astype(np.int64)
    return (cells.epsg.astype(np.int64) << 42) | (col << 21) | row
