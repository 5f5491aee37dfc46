"""Plain Zarr v3 documents and small unsharded arrays, in plain code."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.ports.blobs import Blobs
from m3leo_prep.store.codec import ChunkCodec, blosc_document

Document = dict[str, Any]


def to_json(document: Mapping[str, Any]) -> bytes:
    """Return a document as it is stored; NaN is refused, because JSON has none."""
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def json_fill(fill: float | str) -> float | int | str:
    """Return a fill value as Zarr v3 metadata writes it."""
    if isinstance(fill, str):
        return fill
    if isinstance(fill, (float, np.floating)) and not math.isfinite(fill):
        return "NaN" if math.isnan(fill) else "Infinity" if fill > 0 else "-Infinity"
    return fill.item() if isinstance(fill, np.generic) else fill


def document(
    *,
    shape: Sequence[int],
    data_type: str,
    chunk_shape: Sequence[int],
    fill_value: float | str,
    codecs: list[Document],
    attributes: Mapping[str, Any],
    dims: Sequence[str],
) -> Document:
    """Return the ``zarr.json`` of an array."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [int(n) for n in shape],
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [int(n) for n in chunk_shape]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": json_fill(fill_value),
        "codecs": codecs,
        "attributes": dict(attributes),
        "dimension_names": list(dims),
        "storage_transformers": [],
    }


def write_array(
    blobs: Blobs,
    path: str,
    values: NDArray[Any],
    *,
    dims: Sequence[str],
    attributes: Mapping[str, Any],
    chunks: Sequence[int],
    fill_value: float | str,
) -> None:
    """Write an unsharded array: its chunks first, then its ``zarr.json``.

    Every chunk is written, so that an absent file is always damage, never data.

    Args:
        blobs: where to.
        path: folder of the array, such as ``chips.zarr/s1grd/x``.
        values: numbers, or strings (object or str dtype).
        dims: name of each axis.
        attributes: JSON values.
        chunks: shape of a chunk; edge chunks are padded with the fill value.
        fill_value: a number, or a string for strings.
    """
    is_text = values.dtype.kind in "OUT"
    stored = values.astype(object) if is_text else values.astype(values.dtype.newbyteorder("<"), copy=False)
    chunks = tuple(max(1, int(n)) for n in chunks)
    codec = ChunkCodec("uint8" if is_text else stored.dtype.name)
    grid = [math.ceil(n / c) for n, c in zip(stored.shape, chunks, strict=True)]
    for place in itertools.product(*(range(n) for n in grid)):
        piece = stored[tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, chunks, strict=True))]
        if piece.shape != chunks:
            whole = np.full(chunks, fill_value, stored.dtype)
            whole[tuple(slice(0, n) for n in piece.shape)] = piece
            piece = whole
        raw = np.frombuffer(_vlen_utf8(piece), np.uint8) if is_text else piece
        blobs.put("/".join([path, "c", *map(str, place)]), codec.encode(raw))
    made = document(
        shape=stored.shape,
        data_type="string" if is_text else stored.dtype.name,
        chunk_shape=chunks,
        fill_value=fill_value,
        codecs=[{"name": "vlen-utf8"}, blosc_document(1), {"name": "crc32c"}] if is_text else codec.document(),
        attributes=attributes,
        dims=dims,
    )
    blobs.put(f"{path}/zarr.json", to_json(made))


def consolidate(
    blobs: Blobs,
    root: str = "chips.zarr",
    attributes: Mapping[str, Any] | None = None,
    groups: Mapping[str, Document] | None = None,
    keep: AbstractSet[str] | None = None,
) -> None:
    """Write consolidated metadata into each group below ``root``, and into the root itself, last.

    A reader that opens a group therefore sees it as it was before, or as it is now, and no mixture.

    Args:
        blobs: the dataset, with the documents of its arrays in place.
        root: folder of the root group.
        attributes: attributes of the root group; None keeps what it has.
        groups: documents of new or changed groups by path; the others keep what they have.
        keep: paths of the groups and arrays that belong to the dataset; None = all that are found.
    """
    found = {name.removesuffix("/zarr.json"): _read(blobs, name) for name in _documents(blobs, root)}
    found |= groups or {}
    if keep is not None:
        found = {path: node for path, node in found.items() if path in keep or path == root}
    top = found.pop(root, None) or group({})
    if attributes is not None:
        top["attributes"] = dict(attributes)
    for path, node in sorted(found.items()):
        if node["node_type"] == "group":
            blobs.put(f"{path}/zarr.json", to_json(_consolidated(path, node, found)))
    blobs.put(f"{root}/zarr.json", to_json(_consolidated(root, top, found)))


def group(attributes: Mapping[str, Any]) -> Document:
    """Return the ``zarr.json`` of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}


def _documents(blobs: Blobs, root: str) -> Iterator[str]:
    for name in blobs.list(root):
        if name.endswith("/zarr.json"):
            yield name


def _read(blobs: Blobs, name: str) -> Document:
    made: Document = json.loads(blobs.get(name))
    made.pop("consolidated_metadata", None)
    return made


def _consolidated(path: str, node: Document, found: Mapping[str, Document]) -> Document:
    """Return a group's document with the documents of everything below it."""
    below = {name.removeprefix(f"{path}/"): made for name, made in sorted(found.items()) if name.startswith(f"{path}/")}
    return node | {"consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": below}}


def _vlen_utf8(values: NDArray[Any]) -> bytes:
    """Return strings as Zarr's ``vlen-utf8``: their number, then length and bytes of each, little-endian uint32."""
    encoded = [str(text).encode() for text in values.reshape(-1)]
    parts = [len(encoded).to_bytes(4, "little")]
    for text in encoded:
        parts += [len(text).to_bytes(4, "little"), text]
    return b"".join(parts)
