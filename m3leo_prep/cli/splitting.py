"""``split``: adding a split policy, showing those there are; and the splits of a plan for ``plan`` and ``build``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from m3leo_prep.blobs.location import local_path
from m3leo_prep.cli.render import ERR, OUT, print_json, print_table
from m3leo_prep.core.errors import ConfigError, VerifyError
from m3leo_prep.core.plan import Plan
from m3leo_prep.core.recipe import AdminModel, SplitsModel
from m3leo_prep.core.splits.policy import LEARNED, SHARE_TOLERANCE, Split, SplitPolicy
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.splitting.losses import counts, told

Rows = list[tuple[Any, ...]]
LEARNED_NAMES = tuple(split.name.lower() for split in LEARNED)


def run_split(
    dataset: str,
    *,
    policy: str | None,
    name: str | None,
    shares: str | None,
    seed: int | None,
    block_km: float | None,
    buffer_km: float | None,
    correlation_km: float | None,
    buffer_side: str | None,
    angle: float | None,
    n_bands: int | None,
    file: str | None,
    regions: Sequence[str],
    admin: str | None,
    admin_id: str | None,
    stratify: str | None,
    as_json: bool,
) -> None:
    """Add a policy to a dataset; without ``policy``, show and check those it has."""
    given = {
        "shares": None if shares is None else _shares(shares),
        "seed": seed,
        "block_km": block_km,
        "buffer_km": buffer_km,
        "correlation_km": correlation_km,
        "buffer_side": buffer_side,
        "angle": angle,
        "n_bands": n_bands,
        "file": file,
        "regions": _regions(regions) or None,
        "stratify": stratify,
    }
    said = {key: value for key, value in given.items() if value is not None}
    if policy is None:
        if said or name or admin or admin_id:
            raise ConfigError("settings of a policy without --policy", hint="say which: --policy blocks")
        _show(local_path(dataset), as_json=as_json)
        return
    _add(local_path(dataset), _model(policy, said), name or "", _admin(admin, admin_id), as_json=as_json)


def print_splits(plan: Plan) -> None:
    """Print the splits of a plan to standard output."""
    if plan.splits is not None and plan.split is not None:
        _print(f"splits: {told(plan.splits)}", _rows(counts(plan.split), plan.buffer_loss))


def splits_in_words(plan: Plan) -> tuple[str, ...]:
    """Return the splits of a plan, a line for the policy and one for the chips."""
    if plan.splits is None or plan.split is None:
        return ()
    found = counts(plan.split)
    chips = ", ".join(
        f"{row[0]} {row[1]:,} ({row[2]})" + (f" losing {row[3]}" if row[3] not in {"", "0 %"} else "")
        for row in _rows(found, plan.buffer_loss)
    )
    return f"splits: {told(plan.splits)}", f"  {chips}"


def splits_document(plan: Plan) -> dict[str, Any] | None:
    """Return the splits of a plan as JSON values."""
    if plan.splits is None or plan.split is None:
        return None
    return {"policy": plan.splits.document(), "chips": counts(plan.split), "buffer_loss": dict(plan.buffer_loss)}


def _add(path: Path, model: SplitsModel, name: str, admin: AdminModel | None, *, as_json: bool) -> None:
    from m3leo_prep.pipeline.splitting.rewrite import add_policy

    with ERR.status(f"splitting by {model.policy}"):
        added = add_policy(path, model, name=name, admin=admin, base=Path.cwd())
        apart = _distances(added.column.codes, added.chips)
    for warning in added.warnings:
        ERR.print(f"warning: {warning}", soft_wrap=True)
    column = added.column
    if as_json:
        told_of = {"path": str(path), "column": column.name, "is_new": added.is_new, "metres": apart}
        print_json(told_of | column.entry())
        return
    _print(f"{column.name}: {told(column.policy)}", _rows(counts(column.codes), column.loss))
    _print_distances(apart)
    if added.is_new:
        OUT.print(f"added to {path}/chips.parquet; pixels were not touched", soft_wrap=True)
    else:
        OUT.print("it is there already: nothing was written")


def _show(path: Path, *, as_json: bool) -> None:
    """Show the policies of a dataset.

    Raises:
        VerifyError: they are not what the manifest says, or chips of different splits share ground.
    """
    from m3leo_prep.pipeline.splitting.checks import look

    with ERR.status("looking at the splits"):
        entries, problems = look(path)
    if as_json:
        print_json({"path": str(path), "splits": entries, "problems": problems})
    elif not entries:
        OUT.print(f"{path} has no splits. Add some: m3leo-prep split {path} --policy blocks", soft_wrap=True)
    else:
        for place, (name, entry) in enumerate(entries.items()):
            if place:
                OUT.print()
            _print(f"{name}: {told(SplitPolicy.of(entry['policy']))}", _rows(entry["chips"], entry["buffer_loss"]))
    if problems:
        raise VerifyError("; ".join(problems[:5]), where=str(path), hint="run `build` again, which writes them anew")


def _print(title: str, rows: Rows) -> None:
    OUT.print(title, style="italic", soft_wrap=True)
    columns = ("split", "chips", "share", "lost to the buffer")
    kept = len(columns) if any(row[-1] for row in rows) else len(columns) - 1
    print_table("", columns[:kept], [row[:kept] for row in rows])


def _rows(found: Mapping[str, int], loss: Mapping[str, float]) -> Rows:
    """Return (split, chips, share of all chips, loss); nothing for a loss where no buffer could take any."""
    total = sum(found.values())
    names = [split.name.lower() for split in Split]
    buffered = any(loss.values())
    return [
        (
            name,
            found.get(name, 0),
            _percent(found.get(name, 0) / total),
            _percent(loss[name]) if buffered and name in loss else "",
        )
        for name in names
        if found.get(name) or loss.get(name)
    ]


def _percent(share: float) -> str:
    """Return a share in percent.

    >>> _percent(0.5), _percent(0.004)
    ('50 %', '0.4 %')
    """
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.0995 else f"{100 * share:.1f} %"


def _distances(codes: Any, chips: Any) -> dict[str, float]:
    """Return the least distance in metres between chips of two splits, by ``train-test`` and the like."""
    import numpy as np
    import shapely

    from m3leo_prep.pipeline.leakage.checks import gaps_between
    from m3leo_prep.pipeline.leakage.ground import Ground

    ground = Ground.of(np.array(shapely.from_wkb(chips["geometry"].to_pylist()), object))
    return {pair: gap.metres for pair, gap in gaps_between(ground, codes).items() if gap is not None}


def _print_distances(apart: Mapping[str, float]) -> None:
    for pair, metres in apart.items():
        length = f"{metres / 1000:,.3g} km" if metres >= 1000 else f"{metres:.0f} m"
        OUT.print(
            f"{pair.replace('-', ' to ')}: {length} apart at least" if metres else f"{pair.replace('-', ' to ')}: touch"
        )


def _model(policy: str, said: Mapping[str, Any]) -> SplitsModel:
    try:
        return SplitsModel.model_validate({"policy": policy, **said})
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        words = re.findall(r"'(\w+)'", str(first.get("ctx", {}).get("expected", "")))
        value = str(first["input"])
        raise ConfigError(
            f"{value!r} is not known" if words else f"{first['msg']} (found {value})",
            where=option,
            hint=near(value, words),
        ) from None


def _shares(text: str) -> dict[str, float]:
    """Return shares as parts of 1: ``60/20/20``, or ``80/20`` for train and test."""
    try:
        parts = [float(part) / 100 for part in text.split("/")]
    except ValueError:
        parts = []
    names = {2: ("train", "test"), 3: LEARNED_NAMES}.get(len(parts))
    if names is None:
        raise ConfigError(
            f"the shares '{text}' are no percentages", where="--shares", hint="train/val/test, such as 60/20/20"
        )
    if abs(sum(parts) - 1) > SHARE_TOLERANCE:
        rest = 100 * (1 - sum(parts[1:]))
        way = "/".join(f"{share:.6g}" for share in (rest, *(100 * part for part in parts[1:])))
        raise ConfigError(
            f"the shares '{text}' sum to {100 * sum(parts):.6g} %, not to 100 %",
            where="--shares",
            hint=f"such as {way if rest >= 0 and sum(parts) > 0.02 else '60/20/20'}",
        )
    return dict(zip(names, parts, strict=True))


def _regions(texts: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        split, _, area = text.partition("=")
        if not area or split not in LEARNED_NAMES:
            raise ConfigError(
                f"'{text}' is no region", where="--region", hint="SPLIT=AREA, such as --region test=italy"
            )
        found.setdefault(split, []).append(area)
    return found


def _admin(path: str | None, column: str | None) -> AdminModel | None:
    if (path is None) != (column is None):
        raise ConfigError("--admin and --admin-id go together", hint="--admin units.geojson --admin-id COLUMN")
    return None if path is None or column is None else AdminModel(path=path, id=column)
