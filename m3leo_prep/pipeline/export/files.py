"""A few chips as files of other tools: checked first, then written one by one, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from m3leo_prep.core.errors import ConfigError, MissingDependency, StoreError
from m3leo_prep.core.text import near
from m3leo_prep.pipeline.export.about import Write
from m3leo_prep.pipeline.export.packed import netcdf, webdataset
from m3leo_prep.pipeline.export.pictures import geotiff, png
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.selection import resolve

MOST_CHIPS = 1_000
FORMATS = {
    "geotiff": (geotiff, "build"),
    "png": (png, "plot"),
    "netcdf": (netcdf, "build"),
    "webdataset": (webdataset, ""),
}
"""What makes the files of a format, and the extra that it needs."""


def export(
    dataset: Dataset | str | Path,
    chips: Sequence[str | int],
    format: str,  # noqa: A002  the word of the command line
    out: str | Path,
    layers: Sequence[str] | None = None,
) -> list[Path]:
    """Write a few chips in the format of other tools, and return the files.

    Args:
        dataset: the dataset, or its folder.
        chips: ids or rows.
        format: ``geotiff`` (a file per chip, variable and slot), ``png`` (likewise, for eyes), ``netcdf`` (a file per
            chip with a group per layer) or ``webdataset`` (one tar).
        out: folder for the files; made if it is not there.
        layers: names of layers, or of single variables as ``layer.variable``; None = all.

    Raises:
        ConfigError: an unknown format, chip, layer or variable, no chip, too many, or a file that exists already.
        MissingDependency: the format needs an extra.
        StoreError: the dataset cannot be read, or a file cannot be written.
        VerifyError: a shard is damaged.
    """
    if format not in FORMATS:
        raise ConfigError(f"unknown format '{format}'", hint=near(format, FORMATS))
    opened = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    rows = list(dict.fromkeys(opened.row(chip) for chip in chips))
    if not rows:
        raise ConfigError("no chip to export", hint="name chips by id or row, such as 0,1")
    if len(rows) > MOST_CHIPS:
        raise ConfigError(
            f"{len(rows):,} chips are more than a few: export writes up to {MOST_CHIPS:,}",
            hint="use the dataset itself: mp.ChipDataset for training, mp.open_dataset for xarray",
        )
    picks = list(resolve(opened, opened.layers if layers is None else layers, {}, {}, counts=True).values())
    make, extra = FORMATS[format]
    folder = Path(out)
    files = [(folder / name, write) for name, write in make(opened, rows, picks)]
    there = [path for path, _ in files if path.exists()]
    if there:
        more = f" and {len(there) - 1:,} more" if len(there) > 1 else ""
        raise ConfigError(f"{there[0]}{more} exists already", hint="give another --out, or remove it first")
    for path, write in files:
        try:
            _put(path, write)
        except MissingDependency:
            raise
        except ImportError as error:
            hint = f"pip install 'm3leo-prep[{extra}]'"
            raise MissingDependency(f"{format} needs {error.name}, which is not installed", hint=hint) from error
    return [path for path, _ in files]


def _put(path: Path, write: Write) -> None:
    """Write a file under another name first, so that it is there whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except StoreError:
        raise
    except OSError as error:
        hint = "see to space and rights there, or give another --out"
        raise StoreError(f"this file cannot be written: {error}", where=str(path), hint=hint) from error
