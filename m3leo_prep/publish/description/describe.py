"""Describing a finished dataset: its card, its Croissant metadata, its previews. Same dataset, same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pyarrow.parquet as pq

from m3leo_prep.blobs.local import LocalBlobs
from m3leo_prep.blobs.location import scheme
from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.plan import digest_of
from m3leo_prep.pipeline.manifest import described, rewrite
from m3leo_prep.pipeline.report.figures import figures
from m3leo_prep.publish.description.card.about import About
from m3leo_prep.publish.description.card.page import MARK, card
from m3leo_prep.publish.description.croissant import croissant
from m3leo_prep.publish.description.licences import Licence, decide
from m3leo_prep.publish.description.map import draw_map
from m3leo_prep.publish.description.previews import FOLDER, write_previews
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.store.shard import sha256_of

VERSION = 1
"""Of what is written here: a new one describes datasets anew."""
CARD, CROISSANT, MAP = "README.md", "croissant.json", f"{FOLDER}/map.png"
OWN = ("card", "licence", "manifest_digest")
"""What of a manifest tells of the description and not of the dataset."""


@dataclass(frozen=True, slots=True)
class Described:
    """What describes a dataset."""

    files: tuple[str, ...]
    licence: Licence
    is_new: bool
    """False where everything was there already."""


def describe(
    folder: Path,
    *,
    target: str | None = None,
    licence: str | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Described:
    """Write the card, ``croissant.json``, the previews and the map of a dataset, and its manifest anew.

    Nothing is written where all of it is there for this dataset, target and licence.

    Args:
        folder: the dataset.
        target: the address that readers will open; None = as before, or unknown. A folder is not told.
        licence: identifier of the Hub; None = as was stated before, or what the inputs allow.
        say: told what is being made.

    Raises:
        ConfigError: the licence cannot be decided, or is not allowed; or somebody's own README.md lies there.
        MissingDependency: matplotlib is not installed.
        StoreError: no finished dataset, or a table or shard is absent.
        VerifyError: something is damaged.
    """
    dataset = Dataset(folder)
    blobs, manifest = LocalBlobs(folder), dataset.manifest
    before = manifest.get("card") or {}
    address = str(before.get("target", "")) if target is None else public_address(target)
    stated = manifest.get("licence") or {}
    decided = decide(manifest, licence or (stated["id"] if stated.get("stated") else None))
    core = core_of(manifest)
    digest = digest_of([VERSION, core, address, decided.document()])
    old = described(manifest["files"])
    if before.get("digest") == digest and all(_is_there(blobs, manifest, name) for name in old):
        return Described(tuple(old), decided, is_new=False)
    _refuse_foreign(blobs, folder)
    say("pictures of chips")
    parts = write_previews(dataset, blobs)
    say("map")
    blobs.put(MAP, draw_map(dataset))
    say("card")
    schemas = (dataset.path / "chips.parquet", dataset.path / parts[0])
    chips, previews = (pq.read_schema(path) for path in schemas)
    n_previews = sum(pq.read_metadata(dataset.path / part).num_rows for part in parts)
    about = About(core, figures(dataset), decided, address, digest_of(core), n_previews)
    blobs.put(CROISSANT, croissant(about, chips, previews))
    blobs.put(CARD, card(about).encode())
    files = (CARD, CROISSANT, MAP, *parts)
    for name in set(old).difference(files):
        blobs.delete(name)
    told = {"licence": decided.document(), "card": {"digest": digest, "target": address}}
    rewrite(blobs, manifest, {*old, *files}, **told)
    return Described(files, decided, is_new=True)


def core_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a manifest says of the dataset itself, whether it is described or not."""
    own = set(described(manifest["files"]))
    files = {name: digest for name, digest in manifest["files"].items() if name not in own}
    return {key: value for key, value in manifest.items() if key not in OWN} | {"files": files}


def public_address(target: str) -> str:
    """Return an address as a card may tell it: without login and query; empty for a folder.

    >>> public_address("s3://bucket/demo?token=1"), public_address("out/demo")
    ('s3://bucket/demo', '')
    """
    if scheme(target) == "file":
        return ""
    parts = urlsplit(target)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def _is_there(blobs: LocalBlobs, manifest: Mapping[str, Any], name: str) -> bool:
    return blobs.size(name) is not None and sha256_of(blobs, name) == manifest["files"][name]


def _refuse_foreign(blobs: LocalBlobs, folder: Path) -> None:
    if blobs.size(CARD) is not None and MARK.encode() not in blobs.get(CARD):
        hint = "move it away; what it says can stand in the recipe's `description:`, which the card begins with"
        raise ConfigError("somebody's own page lies where the card goes", where=str(folder / CARD), hint=hint)
