"""``publish`` and ``pull``: datasets up, and down again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Self

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.blobs.location import local_path, scheme
from m3leo_prep.blobs.names import shown
from m3leo_prep.cli.render import ERR, OUT, Bar, print_json, progress, size
from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.publish.targets.location import as_location
from m3leo_prep.reader.copies.pulling import Pulled, pull
from m3leo_prep.reader.manifest import MANIFEST, read_manifest


def run_publish(
    dataset: str,
    target: str,
    *,
    private: bool,
    revision: str | None,
    dry_run: bool,
    licence: str | None,
    allow_holes: bool,
    as_json: bool,
) -> None:
    """Publish a dataset and say where it is."""
    # Imported here: with it come the build's own modules.
    from m3leo_prep.publish.publishing import Published, publish

    path = local_path(dataset)
    if not (path / MANIFEST).is_file():
        hint = "give the folder that `build --out` made; a build that is not done yet is published when it is"
        raise StoreError(f"there is no finished dataset at {dataset}", hint=hint)
    manifest = read_manifest(LocalBlobs(path))
    with _Files("sending", "sent") as files:
        made: Published = publish(
            dataset,
            target,
            private=private,
            revision=revision,
            dry_run=dry_run,
            licence=licence,
            allow_holes=allow_holes,
            say=files.say,
            on_start=files.start,
            on_bytes=lambda _: files.step(),
        )
    for warning in made.warnings:
        ERR.print(f"warning: {warning}", style="yellow", soft_wrap=True)
    if as_json:
        print_json(asdict(made))
        return
    files_text = f"{made.sent:,} files, {size(made.sent_bytes)}"
    there = f"; {made.there:,} are there already" if made.there else ""
    if made.is_dry_run:
        OUT.print(f"would send {files_text}, in {made.steps:,} steps{there}, to {made.url}", soft_wrap=True)
        OUT.print(f"licence: {made.licence}; the card, croissant.json and previews are made when it is published")
        return
    removed = f"; {made.removed:,} removed" if made.removed else ""
    OUT.print(f"published {made.url}", soft_wrap=True)
    OUT.print(f"sent {files_text}{there}{removed}; licence {made.licence}")
    if made.page:
        OUT.print(f"page: {made.page}", soft_wrap=True)
    if made.revision:
        OUT.print(f"commit: {made.revision}")
    _say_how_to_open(made.url, list(manifest["layers"]))


def run_pull(
    source: str,
    folder: str | None,
    *,
    layers: list[str] | None,
    split: str | None,
    policy: str | None,
    as_json: bool,
) -> None:
    """Fetch a dataset or a part of it, and say where it is."""
    location = as_location(source)
    if policy is not None and split is None:
        raise ConfigError("--policy says which splits are meant", hint="say which of them with --split, such as test")
    column = "split" if policy is None else f"split_{policy}"
    place = location if scheme(location) == "file" else shown(location)
    if scheme(location) == "hf":
        place = place.partition("@")[0]
    into = local_path(folder or place.rstrip("/").rpartition("/")[2])
    with _Files("fetching", "fetched", " of pixels") as files:
        files.say(f"looking at {source}" if "://" not in location else "looking at what is there")
        made: Pulled = pull(
            location,
            into,
            layers=layers,
            split=split,
            split_column=column,
            on_start=files.start,
            on_file=lambda _name, _size: files.step(),
        )
    if as_json:
        print_json(asdict(made))
        return
    if made.has_changed:
        OUT.print("the dataset has changed there since it was pulled: what was here is brought up to date")
    kept = f"; {made.kept:,} were here already" if made.kept else ""
    OUT.print(f"pulled {made.url} into {made.folder}", soft_wrap=True)
    OUT.print(f"fetched {made.files:,} files, {size(made.bytes)}{kept}")
    if made.shards < made.all_shards:
        OUT.print(
            f"here are {made.shards:,} of {made.all_shards:,} shards, of {', '.join(made.layers)}; pull again for more",
            soft_wrap=True,
        )
    only = "" if split is None else f', split="{split}"' + (f', split_column="{column}"' if policy else "")
    _say_how_to_open(str(made.folder), list(made.layers), only)


def _say_how_to_open(location: str, layers: Sequence[str], only: str = "") -> None:
    names = ", ".join(f'"{name}"' for name in layers)
    OUT.print("open it in Python:")
    OUT.print("  import m3leo_prep as mp")
    OUT.print(f'  chips = mp.ChipDataset("{location}", layers=[{names}]{only})', soft_wrap=True)


class _Files:
    """What goes on, as a context: words until the number of files is known, a bar from then on."""

    def __init__(self, doing: str, done: str, of: str = "") -> None:
        """``doing`` and ``done`` say what is done with files, ``of`` what their bytes are of."""
        self._doing, self._done, self._of = doing, done, of
        self._bar: Bar | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def say(self, text: str) -> None:
        """Show what goes on."""
        if self._bar is None:
            ERR.print(text, soft_wrap=True)
        else:
            self._bar.note(text)

    def start(self, files: int, n_bytes: int) -> None:
        """Show how much there is to do."""
        if files:
            ERR.print(f"{files:,} files, {size(n_bytes)}{self._of}", soft_wrap=True)
            self._bar = self._open.enter_context(progress({self._doing: files}, "files", made=self._done))

    def step(self) -> None:
        """Note that a file is done; whatever was waited for is over."""
        if self._bar is not None:
            self._bar.note("")
            self._bar.step(self._doing)
