"""Splits that a csv lists, chip by chip."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.splits.policy import Split
from m3leo_prep.core.text import near

ID_COLUMNS = ("chip_id", "identifier")
"""The second is what the first M3LEO release wrote."""
SPLIT_COLUMN = "split"
NAMES = tuple(split.name.lower() for split in Split if split is not Split.NONE)
SHOWN = 3
"""Unknown chips that are named."""


def read_listed(path: Path) -> tuple[dict[str, Split], str]:
    """Return the split of each chip that a csv lists, and what it was read from: its name and SHA-256.

    Args:
        path: with the columns ``chip_id`` (or ``identifier``) and ``split``; an empty split means none.

    Raises:
        ConfigError: no such file, no csv, a column is missing, a chip stands twice, or a split has another name.
    """
    where = f"splits.file {path}"
    try:
        data = path.read_bytes()
        # A space after a comma is no part of a value, and the quotes behind it are quotes.
        rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), skipinitialspace=True)
        columns = [name.strip() for name in rows.fieldnames or ()]
        rows.fieldnames = columns
        lines = list(rows)
    except FileNotFoundError:
        raise ConfigError("no such file", where=where, hint="check `splits.file`") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"the file cannot be read as csv: {error}", where=where) from error
    column = next((name for name in ID_COLUMNS if name in columns), None)
    if column is None or SPLIT_COLUMN not in columns:
        missing = " or ".join(ID_COLUMNS) if column is None else SPLIT_COLUMN
        raise ConfigError(
            f"there is no column {missing}, only: {', '.join(columns) or 'none'}",
            where=where,
            hint="the first line names the columns: chip_id,split",
        )
    listed: dict[str, Split] = {}
    for number, line in enumerate(lines, 2):
        chip, name = (line[column] or "").strip(), (line[SPLIT_COLUMN] or "").strip()
        if name and name not in NAMES:
            raise ConfigError(f"there is no split '{name}'", where=f"{where}, line {number}", hint=near(name, NAMES))
        if chip in listed:
            raise ConfigError(f"the chip '{chip}' stands twice", where=f"{where}, line {number}")
        listed[chip] = Split[name.upper()] if name else Split.NONE
    return listed, f"{path.name} sha256:{hashlib.sha256(data).hexdigest()}"


def codes_by_id(listed: Mapping[str, Split], ids: Sequence[str]) -> NDArray[np.uint8]:
    """Return (chip,) the listed splits, ``NONE`` for chips that are not listed."""
    return np.array([listed.get(chip, Split.NONE) for chip in ids], np.uint8)


def check_known(listed: Mapping[str, Split], ids: Sequence[str], area: str, origin: str) -> None:
    """Raise ConfigError if chips are listed that the area has not."""
    known = set(ids)
    unknown = [chip for chip in listed if chip not in known]
    if unknown:
        named = ", ".join(f"'{chip}'" for chip in unknown[:SHOWN])
        more = f" and {len(unknown) - SHOWN:,} more" if len(unknown) > SHOWN else ""
        raise ConfigError(
            f"{len(unknown):,} of {len(listed):,} listed chips are not in '{area}': {named}{more}",
            where=f"splits.file {origin.split(' sha256:', maxsplit=1)[0]}",
            hint="chip ids are those of chips.parquet; leave out the chips of other areas or chip sizes",
        )
