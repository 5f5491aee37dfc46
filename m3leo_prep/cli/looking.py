"""``show``: a picture of a chip, and in words what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m3leo_prep.cli.render import ERR, OUT, print_json, print_table
from m3leo_prep.core.errors import ConfigError, StoreError
from m3leo_prep.reader.dataset import Dataset
from m3leo_prep.reader.picture.plot import chosen_arrays
from m3leo_prep.reader.picture.quality import NOT_BUILT, Quality, read_quality

FORMATS = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


def run_show(dataset: str, chip: str, *, out: str | None, layers: Sequence[str] | None, as_json: bool) -> None:
    """Write a chip's picture and print where it is and what the chip holds."""
    opened = Dataset(dataset)
    row = opened.row(int(chip) if chip.isdecimal() else chip)
    chip_id = str(opened.table("chips.parquet", ["chip_id"])["chip_id"][row])
    path = _target(out, chip_id)
    held = [(layer, array, read_quality(opened, row, layer, array)) for layer, array in chosen_arrays(opened, layers)]
    with ERR.status("drawing"):
        _save(opened.plot(row, layers), path)
    if as_json:
        made: dict[str, Any] = {}
        for layer, array, quality in held:
            slots = [_slot(slot.label, place, array.bands, quality) for place, slot in enumerate(layer.slots)]
            made.setdefault(layer.name, {})[array.name] = slots
        print_json({"path": str(path), "chip_id": chip_id, "row": row, "layers": made})
        return
    rows = []
    for layer, array, quality in held:
        name = layer.key(array)
        bands = range(len(array.bands))
        rows += [[name, s.label, _valid(quality, i), quality.words(i, bands)] for i, s in enumerate(layer.slots)]
    print_table(f"chip {chip_id}, row {row}", ["layer", "slot", "valid", "missing"], rows)
    OUT.print(f"picture: {path}", soft_wrap=True)


def _target(out: str | None, chip_id: str) -> Path:
    """Return the file to write.

    Raises:
        ConfigError: it cannot be written there, or not in that format.
    """
    path = Path(out or f"{chip_id}.png")
    if path.is_dir():
        path /= f"{chip_id}.png"
    if path.suffix.lower() not in FORMATS:
        hint = "name a file that ends in " + ", ".join(FORMATS[:3])
        raise ConfigError(f"'{path.name}' is no name of a picture", where="--out", hint=hint)
    if not path.parent.is_dir():
        hint = f"make it first: mkdir -p {path.parent}"
        raise ConfigError(f"there is no folder {path.parent}", where="--out", hint=hint)
    return path


def _save(figure: Any, path: Path) -> None:
    # Speckle hardly compresses: the fastest level takes a third of the time for a tenth more bytes.
    options = {"pil_kwargs": {"compress_level": 1}} if path.suffix.lower() == ".png" else {}
    try:
        figure.savefig(path, **options)
    except OSError as error:
        raise StoreError(f"the picture cannot be written: {error.strerror}", where=str(path)) from error


def _slot(label: str, place: int, bands: Sequence[str], quality: Quality) -> dict[str, Any]:
    """Return how much of each band is valid, in percent, None where not built; and why the rest is missing."""
    shares = {
        band: None if quality.valid[place, at] == NOT_BUILT else int(quality.valid[place, at])
        for at, band in enumerate(bands)
    }
    why = {band: words for at, band in enumerate(bands) if (words := quality.words(place, [at]))}
    return {"slot": label, "valid_percent": shares, "missing": why}


def _valid(quality: Quality, slot: int) -> str:
    """Return the valid share of a slot's bands, from the least to the most where they differ."""
    shares = [0 if share == NOT_BUILT else int(share) for share in quality.valid[slot]]
    return f"{min(shares)} %" if min(shares) == max(shares) else f"{min(shares)} ... {max(shares)} %"
