"""One chunk as bytes: blosc (zstd or lz4), or as it is, then crc32c."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from m3leo_prep.core.errors import VerifyError
from m3leo_prep.core.layer import Codec

CRC_BYTES = 4
LEVELS = {"zstd": 3, "lz4": 5}
"""Of blosc, by compressor."""


def crc32c(data: bytes | memoryview) -> bytes:
    """Return the checksum of ``data`` as Zarr appends it: 4 bytes, little-endian."""
    # The C extension takes bytes and arrays, but no memoryview; this view copies nothing.
    return int(google_crc32c.value(np.frombuffer(data, np.uint8))).to_bytes(CRC_BYTES, "little")


def checked(data: bytes | memoryview, what: str, where: str = "") -> memoryview:
    """Return ``data`` without its checksum.

    Raises:
        VerifyError: it is damaged.
    """
    view = memoryview(data)
    check(view[:-CRC_BYTES], view[-CRC_BYTES:], what, where)
    return view[:-CRC_BYTES]


def check(body: bytes | memoryview, crc: bytes | bytearray | memoryview, what: str, where: str = "") -> None:
    """Raise VerifyError if ``crc`` is not the checksum of ``body``: it is damaged."""
    if len(crc) < CRC_BYTES or crc32c(body) != crc:
        raise VerifyError(
            f"{what} is damaged: its crc32c checksum does not match",
            hint="delete this file and run `build` again, or pull it again",
            where=where,
        )


@dataclass(frozen=True, slots=True)
class ChunkCodec:
    """Encodes and decodes the chunks of one dtype; same chunk, same bytes, in any thread of any process."""

    dtype: str
    codec: Codec = "zstd"
    """``none``: the bytes as they are, with their checksum."""

    def encode(self, chunk: NDArray[Any]) -> bytes:
        """Return the chunk in C order, little-endian, compressed, with its checksum.

        Raises:
            TypeError: the chunk has another dtype, which a silent cast would wrap.
        """
        stored = self.stored_dtype
        if chunk.dtype != stored:
            msg = f"the chunk is {chunk.dtype}, its array {self.dtype}"
            raise TypeError(msg)
        raw = np.ascontiguousarray(chunk, stored).reshape(-1)
        if self.codec == "none":
            plain = raw.tobytes()
            return plain + crc32c(plain)
        # Blosc's own threads cut blocks by their number: the same chunk would give different bytes.
        blosc.use_threads = False
        shuffle = blosc.BITSHUFFLE if stored.itemsize > 1 else blosc.NOSHUFFLE
        payload: bytes = blosc.compress(raw, self.codec.encode(), LEVELS[self.codec], shuffle, 0, stored.itemsize)
        return payload + crc32c(payload)

    def decode(self, payload: bytes | memoryview, shape: Sequence[int], *, where: str = "") -> NDArray[Any]:
        """Return the chunk of that shape.

        Raises:
            VerifyError: damaged, or of another size; ``where`` names the place.
        """
        out = np.empty(tuple(shape), self.stored_dtype)
        self.decode_into(payload, out, where=where)
        return out

    def decode_into(self, payload: bytes | memoryview, out: NDArray[Any], *, where: str = "") -> None:
        """Fill ``out`` (C-contiguous, of the codec's dtype) with the chunk; errors as in ``decode``."""
        body = checked(payload, "the chunk", where)
        if self.codec == "none":
            n_bytes = len(body)
        else:
            n_bytes = blosc._cbuffer_sizes(body)[0] if len(body) > HEADER_BYTES else -1  # noqa: SLF001  (no public name)
        if n_bytes != out.nbytes:
            raise VerifyError(f"the chunk holds {n_bytes} bytes, not {out.nbytes}", where=where)
        if self.codec == "none":
            out[...] = np.frombuffer(body, self.stored_dtype).reshape(out.shape)
        elif out.nbytes:
            blosc.use_threads = False
            blosc.decompress(body, out)

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The dtype on disk, little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")

    def document(self) -> list[dict[str, Any]]:
        """Return the codecs as Zarr v3 metadata."""
        itemsize = self.stored_dtype.itemsize
        to_bytes: dict[str, Any] = {"name": "bytes"}
        if itemsize > 1:
            to_bytes["configuration"] = {"endian": "little"}
        compressed = [] if self.codec == "none" else [blosc_document(itemsize, self.codec)]
        return [to_bytes, *compressed, {"name": "crc32c"}]


HEADER_BYTES = 16
"""Length of a blosc header; https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst"""


def blosc_document(itemsize: int, codec: Codec = "zstd") -> dict[str, Any]:
    """Return Zarr v3's metadata of our blosc settings for items of that size."""
    return {
        "name": "blosc",
        "configuration": {
            "typesize": itemsize,
            "cname": codec,
            "clevel": LEVELS[codec],
            "shuffle": "bitshuffle" if itemsize > 1 else "noshuffle",
            "blocksize": 0,
        },
    }


def is_missing(chunk: NDArray[Any], fill: float) -> bool:
    """Return True if every value is the fill value (NaN counts as equal to NaN); such a chunk is not stored."""
    if chunk.size == 0:
        return True
    if isinstance(fill, float) and math.isnan(fill):
        return bool(np.isnan(chunk.flat[0])) and bool(np.isnan(chunk).all())
    return bool(chunk.flat[0] == fill) and bool((chunk == fill).all())
