"""What a place can take, held against what is to be published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from m3leo_prep.core.errors import PublishError
from m3leo_prep.pipeline.plan import MAX_ENTRIES, MAX_FILES
from m3leo_prep.ports.target import Limits, Outgoing

MAX_FILE_BYTES = 5 * 10**9
"""What S3 takes in one request, so that no file depends on how it is sent; the Hub recommends less than 20 GB."""
FREE_PUBLIC_BYTES = 5 * 10**12
FREE_PRIVATE_BYTES = 100 * 10**9
"""Of an account that pays nothing: "usually up to 5 TB for impactful work", 100 GB if private (Hub, storage limits)."""
PARTS = "publish it in parts: one repository per area or modality (`build --layers …`); readers join several"


def hub_limits(*, private: bool) -> Limits:
    """Return what a repository of the Hub takes."""
    return Limits(
        files=MAX_FILES,
        entries=MAX_ENTRIES,
        file_bytes=MAX_FILE_BYTES,
        free_bytes=FREE_PRIVATE_BYTES if private else FREE_PUBLIC_BYTES,
        source="https://huggingface.co/docs/hub/storage-limits",
    )


def check_limits(files: Sequence[Outgoing], limits: Limits, where: str) -> tuple[str, ...]:
    """Return what should be known of a dataset's size, if it can be published there.

    Raises:
        PublishError: too many files, too many in a folder, or a file too large.
    """
    for text in _beyond(files, limits):
        source = f" ({limits.source})" if limits.source else ""
        raise PublishError(f"{text}{source}", where=where, hint=PARTS)
    n_bytes = sum(file.size for file in files)
    if limits.free_bytes is None or n_bytes <= limits.free_bytes:
        return ()
    warning = (
        f"{n_bytes / 1e12:,.2f} TB is more than the {limits.free_bytes / 1e12:g} TB that an account holds without "
    )
    return (f"{warning}paying or asking ({limits.source}): {PARTS}",)


def _beyond(files: Sequence[Outgoing], limits: Limits) -> Iterator[str]:
    if limits.files is not None and len(files) > limits.files:
        yield f"{len(files):,} files: a repository takes {limits.files:,}"
    if limits.entries is not None:
        folder, n = max(_entries(files).items(), key=lambda item: item[1], default=("", 0))
        if n > limits.entries:
            yield f"{n:,} entries in {folder or 'the root'}: a folder takes {limits.entries:,}"
    if limits.file_bytes is not None:
        for file in files:
            if file.size >= limits.file_bytes:
                yield f"{file.name} has {file.size / 1e9:,.1f} GB: a file takes {limits.file_bytes / 1e9:g} GB"


def _entries(files: Sequence[Outgoing]) -> Counter[str]:
    """Return how many files and folders lie in each folder."""
    paths = {file.name for file in files}
    for file in files:
        parts = file.name.split("/")
        paths |= {"/".join(parts[:depth]) for depth in range(1, len(parts))}
    return Counter(path.rpartition("/")[0] for path in paths)
