"""What fetching whole files takes, as far as the catalogue tells."""

from __future__ import annotations

from collections.abc import Mapping

from m3leo_prep.ports.cost import Cost

NOTE = "each file is fetched once and kept in the folder of downloads; less is fetched of those that are there"


def fetching(files: Mapping[str, int]) -> Cost:
    """Return requests and bytes of some files, each once; no time is known.

    Args:
        files: address -> bytes, 0 = the catalogue does not say.
    """
    unknown = sum(size == 0 for size in files.values())
    said = f"{unknown:,} of {len(files):,} files are of unknown size and are not in the download"
    return Cost(len(files), sum(files.values()), notes=(NOTE, said) if unknown else (NOTE,))
