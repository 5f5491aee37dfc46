"""From a finished dataset to a published one: verified, described, sent in steps, the manifest last."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m3leo_prep.blobs.location import local_path, scheme
from m3leo_prep.core.errors import ConfigError, CredentialsError, PublishError
from m3leo_prep.pipeline.state import DatasetFolder
from m3leo_prep.pipeline.verify import verify
from m3leo_prep.ports.target import Outgoing, Target
from m3leo_prep.publish.description.describe import describe
from m3leo_prep.publish.description.licences import decide
from m3leo_prep.publish.holes import check_holes
from m3leo_prep.publish.limits import check_limits
from m3leo_prep.publish.targets.location import open_target
from m3leo_prep.reader.copies.pulled import read_part
from m3leo_prep.reader.manifest import MANIFEST, read_manifest
from m3leo_prep.store.lock import BuildLock
from m3leo_prep.store.shard import ZARR
from m3leo_prep.store.tables import read_shards

OWN = re.compile(
    rf"{ZARR}/.+|provenance/[^/]+/part-\d+\.parquet|stats/[^/]+\.json|previews/(part-\d+\.parquet|map\.png)"
)
"""Names that only a dataset gives: those that it no longer has go, and nothing else."""
ROOT_METADATA = f"{ZARR}/zarr.json"


@dataclass(frozen=True, slots=True)
class Published:
    """What was published, or would be."""

    url: str
    """What readers open."""
    page: str
    """Where people look at it; empty where there is no such page."""
    revision: str
    """The commit; empty where the place keeps no history."""
    sent: int
    """Files."""
    sent_bytes: int
    there: int
    """Files that were there already with the same bytes."""
    removed: int
    """Files that the dataset no longer has."""
    steps: int
    licence: str
    """As the Hub knows it."""
    warnings: tuple[str, ...]
    is_dry_run: bool


def publish(
    dataset: str | Path,
    target: str,
    *,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    licence: str | None = None,
    allow_holes: bool = False,
    say: Callable[[str], None] = lambda _: None,
    on_start: Callable[[int, int], None] = lambda _files, _bytes: None,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> Published:
    """Publish a dataset, or bring a published one up to date; run again to go on after a cut.

    Shards come first and the manifest in the last step, so that no reader ever sees a manifest whose shards are not
    there; where something that is there changes, the old manifest goes before. What is there with the same bytes is
    not sent again.

    Every byte is checked before, and no chip derived again from its source: ``build`` did that, ``verify`` does it, and
    whoever sends on after a cut need not ask the providers once more.

    Args:
        dataset: its folder.
        target: where to; see ``open_target``.
        private: make the repository a private one.
        revision: branch of the repository.
        dry_run: write nothing anywhere, and say what would be sent. Card and previews are not made then, and of the
            pixels only a sample is checked.
        licence: of the published dataset; None = what the licences of the inputs decide.
        allow_holes: publish although a later build may fill some holes.
        say: told what goes on.
        on_start: called once with the number of files to send and their bytes.
        on_bytes: called with the size of each file that is sent.

    Raises:
        VerifyError: the dataset is not what it says.
        ConfigError: the target, or the licence.
        PublishError: holes, limits, another dataset there, or it was refused; sending again goes on from there.
        CredentialsError: no login that may write there.
        StoreError: there is no finished dataset in the folder, or somebody builds it.
    """
    path = local_path(dataset)
    place = open_target(target, private=private, revision=revision, say=say)
    if scheme(place.url) == "file" and Path(place.url).resolve() == path.resolve():
        raise ConfigError("a dataset is not published into its own folder", where=place.url)
    folder = DatasetFolder(path)
    with nullcontext() if dry_run else _alone(folder):
        warnings = _logged_in(place, only_warn=dry_run)
        _check_same(place, folder)
        if not dry_run and folder.state.is_dir():
            folder.blobs.clean()  # what a publish left half-written that was killed
        manifest = _checked(folder, allow_holes=allow_holes, quick=dry_run, say=say)
        if dry_run:
            stated = manifest.get("licence") or {}
            chosen = decide(manifest, licence or (stated["id"] if stated.get("stated") else None))
        else:
            say("writing card, metadata and previews")
            # What the card says of where it is, it keeps in a folder.
            address = None if scheme(place.url) == "file" else place.url
            chosen = describe(path, target=address, licence=licence, say=say).licence
        files = _files(folder)
        warnings += check_limits(files, place.limits, place.url)
        if not dry_run:
            say(f"looking at {place.url}")
            place.prepare()
        names = {file.name for file in files}
        missing = place.missing(files)
        _check_alone(place, names)
        hides = _changes_what_is_read(missing, place)
        if hides and files[-1] not in missing:
            missing.append(files[-1])
        stale = sorted(name for name in place.listed() - names if OWN.fullmatch(name))
        steps = list(_steps(missing, place))
        n_bytes = sum(file.size for file in missing)
        if not dry_run:
            on_start(len(missing), n_bytes)
            if hides:
                place.remove([MANIFEST], f"Begin to update {manifest['name']}")
            for number, step in enumerate(steps, 1):
                place.send(step, _note(manifest["name"], number, len(steps)), on_bytes)
            if stale:
                place.remove(stale, f"Remove what {manifest['name']} no longer has")
    return Published(
        url=place.url,
        page=place.page,
        revision=place.revision,
        sent=len(missing),
        sent_bytes=n_bytes,
        there=len(files) - len(missing),
        removed=len(stale),
        steps=len(steps),
        licence=chosen.hub_id,
        warnings=warnings,
        is_dry_run=dry_run,
    )


def _logged_in(place: Target, *, only_warn: bool) -> tuple[str, ...]:
    """Return what would be refused, or raise it: before hours are spent on checking the dataset."""
    try:
        place.check()
    except CredentialsError as error:
        if not only_warn:
            raise
        return (f"{error.message}: {error.hint}",)
    return ()


def _alone(folder: DatasetFolder) -> AbstractContextManager[object]:
    return BuildLock(folder.state) if folder.state.is_dir() else nullcontext()


def _checked(folder: DatasetFolder, *, allow_holes: bool, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the manifest of a dataset that is whole and what it says."""
    _check_whole(folder)
    say("checking a sample" if quick else "checking every byte")
    report = verify(folder.path, quick=quick, sample=0)
    report.raise_if_bad()
    manifest = folder.manifest
    assert manifest is not None, "verify finds where there is none"
    plan = folder.frozen()
    unfinished = [p.layer.name for p in plan.layers if p.layer.name not in manifest["layers"]] if plan else []
    if unfinished:
        raise PublishError(
            f"the build is not finished: {', '.join(unfinished)} is not part of the dataset yet",
            where=str(folder.path),
            hint="run the same `build` again until it is done, then publish",
        )
    if not allow_holes:
        check_holes(report.reasons, manifest, folder.path)
    return manifest


def _check_whole(folder: DatasetFolder) -> None:
    """Raise PublishError if this is a part of a dataset, which ``verify`` has nothing against."""
    part = read_part(folder.path)
    names = [shard.path for shard in read_shards(folder.blobs).values() if shard.bytes] if part else []
    absent = sum(folder.blobs.size(name) is None for name in names)
    if absent:
        raise PublishError(
            f"{absent:,} of {len(names):,} shards are not here: only a part of the dataset was pulled",
            where=str(folder.path),
            hint="pull the whole dataset, or publish it from where it was built",
        )


def _files(folder: DatasetFolder) -> list[Outgoing]:
    """Return all files to publish: shards, then the others, then those that a reader opens first, the manifest last.

    Digests are those of the dataset's own tables, which were checked just before.
    """
    manifest_bytes = folder.blobs.get(MANIFEST)
    manifest = json.loads(manifest_bytes)
    shards = [shard for shard in read_shards(folder.blobs).values() if shard.bytes]
    small = [
        Outgoing(name, folder.path / name, (folder.path / name).stat().st_size, digest)
        for name, digest in sorted(manifest["files"].items(), key=lambda item: (_is_root(item[0]), item[0]))
    ]
    return [
        *(Outgoing(shard.path, folder.path / shard.path, shard.bytes, shard.sha256) for shard in shards),
        *small,
        Outgoing(MANIFEST, folder.path / MANIFEST, len(manifest_bytes), hashlib.sha256(manifest_bytes).hexdigest()),
    ]


def _is_root(name: str) -> bool:
    """Return whether a file is one of those that say what there is: tables, card, root metadata."""
    return "/" not in name or name == ROOT_METADATA


def _check_same(place: Target, folder: DatasetFolder) -> None:
    """Raise PublishError if another dataset lies there."""
    dataset_id = read_manifest(folder.blobs)["dataset_id"]
    there = place.manifest()
    if there is None:
        return
    try:
        found = json.loads(there)["dataset_id"]
    except (ValueError, KeyError, TypeError):
        found = "something else"
    if found != dataset_id:
        raise PublishError(
            "another dataset lies there (another name, area or grid)",
            where=place.url,
            hint="publish to a new name, or remove that one first",
        )


def _check_alone(place: Target, names: AbstractSet[str]) -> None:
    """Raise PublishError if something that is no dataset lies where no history would bring it back."""
    there = place.listed()
    foreign = sorted(name for name in there - names if not OWN.fullmatch(name))
    if foreign and MANIFEST not in there and not place.step.is_atomic:
        raise PublishError(
            f"something else lies there, such as {foreign[0]}", where=place.url, hint="give a new or an empty place"
        )


def _steps(files: Sequence[Outgoing], place: Target) -> Iterator[list[Outgoing]]:
    """Yield files in steps, in their order; those of the root, the manifest among them, share the last one."""
    step: list[Outgoing] = []
    for file in files:
        n_bytes = sum(other.size for other in step) + file.size
        is_full = len(step) == place.step.files or n_bytes > place.step.bytes
        if step and (is_full or _is_root(file.name) != _is_root(step[-1].name)):
            yield step
            step = []
        step.append(file)
    if step:
        yield step


def _changes_what_is_read(missing: Sequence[Outgoing], place: Target) -> bool:
    """Return whether a manifest lies there that would speak, for a while, of files that are not what they were."""
    there = place.listed()
    changed = [file.name for file in missing if file.name in there and file.name != MANIFEST]
    return MANIFEST in there and any(not (_is_root(name) and place.step.is_atomic) for name in changed)


def _note(name: str, number: int, of: int) -> str:
    return f"Publish {name}" if number == of else f"Add files of {name} (step {number} of {of})"
